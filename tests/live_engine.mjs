// Prints as JSON what the page's engine computes, for tests/test_live.py. node live_engine.mjs FILE WASM
import fs from 'node:fs';
import { Automaton } from '../ncamlib/live/automaton.mjs';
import { decodeGenes, predict } from '../ncamlib/live/decoder.mjs';
import { embed, nearest } from '../ncamlib/live/encoder.mjs';
import { genesOf, LETTER_BITS, likeliest, mutate, writeGenes } from '../ncamlib/live/letters.mjs';
import { parse } from '../ncamlib/live/safetensors.mjs';

const [file, wasm, request] = process.argv.slice(2);
const ask = JSON.parse(request.startsWith('{') ? request : fs.readFileSync(request));
const bytes = fs.readFileSync(file);
const { header, tensors } = parse(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
if (ask.picture) {
  const embedded = embed(tensors, Float32Array.from(ask.picture), 64);
  console.log(
    JSON.stringify({ embedding: [...embedded], genes: [...nearest(Float32Array.from(ask.levels), embedded)] }),
  );
  process.exit(0);
}
const own = writeGenes(genesOf(tensors.genes, ask.image), likeliest(tensors.words.data));
const written = mutate(own, ask.rate, ask.seed);
const embedding = decodeGenes(tensors, written);
const letters = written.map((letter) => letter & LETTER_BITS);
const weights = predict(tensors, embedding);
const automaton = new Automaton(wasm === '-' ? null : new WebAssembly.Module(fs.readFileSync(wasm)), ask.side);
automaton.weights = weights;
automaton.step(header, ask.fireRate, ask.seed, ask.steps);
const { state } = automaton;
const numbers = Object.entries({ letters, embedding, weights, state }).map(([name, values]) => [name, [...values]]);
console.log(JSON.stringify({ header, ...Object.fromEntries(numbers) }));
