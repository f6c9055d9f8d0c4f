// Prints as JSON what the page's engine computes, for tests/test_live.py. node live_engine.mjs FILE WASM
import fs from 'fs';
import * as engine from '../ncamlib/live/engine.mjs';

const [file, wasm, request] = process.argv.slice(2);
const ask = JSON.parse(request.startsWith('{') ? request : fs.readFileSync(request));
const bytes = fs.readFileSync(file);
const { header, tensors } = engine.parse(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
if (ask.picture) {
  const image = Float32Array.from(ask.picture), embedded = engine.embed(tensors, image, 64);
  console.log(JSON.stringify({ embedding: [...embedded], letters: [...engine.writeGenes(tensors, embedded)] }));
  process.exit(0);
}
const letters = engine.mutate(engine.unpackLetters(tensors.letters, ask.image), ask.rate, ask.seed);
const embedding = engine.decodeGenes(tensors, letters), weights = engine.predict(tensors, embedding);
const automaton = new engine.Automaton(wasm === '-' ? null : new WebAssembly.Module(fs.readFileSync(wasm)), ask.side);
automaton.weights = weights;
automaton.step(header, ask.fireRate, ask.seed, ask.steps);
const out = { header, letters: [...letters], embedding: [...embedding], weights: [...weights], state: [...automaton.state] };
console.log(JSON.stringify(out));
