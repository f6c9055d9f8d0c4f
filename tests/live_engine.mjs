// Prints as JSON what the page's engine computes, for tests/test_live.py. node live_engine.mjs FILE WASM
import fs from 'node:fs';
import { Automaton } from '../ncamlib/live/automaton.mjs';
import { decodeGenes, predict } from '../ncamlib/live/decoder.mjs';
import { embed, writeGenes } from '../ncamlib/live/encoder.mjs';
import { mutate, unpackLetters } from '../ncamlib/live/letters.mjs';
import { parse } from '../ncamlib/live/safetensors.mjs';

const [file, wasm, request] = process.argv.slice(2);
const ask = JSON.parse(request.startsWith('{') ? request : fs.readFileSync(request));
const bytes = fs.readFileSync(file);
const { header, tensors } = parse(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
if (ask.picture) {
  const embedded = embed(tensors, Float32Array.from(ask.picture), 64);
  console.log(JSON.stringify({ embedding: [...embedded], letters: [...writeGenes(tensors, embedded)] }));
  process.exit(0);
}
const letters = mutate(unpackLetters(tensors.letters, ask.image), ask.rate, ask.seed);
const embedding = decodeGenes(tensors, letters);
const weights = predict(tensors, embedding);
const automaton = new Automaton(wasm === '-' ? null : new WebAssembly.Module(fs.readFileSync(wasm)), ask.side);
automaton.weights = weights;
automaton.step(header, ask.fireRate, ask.seed, ask.steps);
const { state } = automaton;
const numbers = Object.entries({ letters, embedding, weights, state }).map(([name, values]) => [name, [...values]]);
console.log(JSON.stringify({ header, ...Object.fromEntries(numbers) }));
