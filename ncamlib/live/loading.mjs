// Fetches the model's files: from beside the page, checked by their digests, or from a notebook's kernel.

import { toBytes } from './base64.mjs';
import { likeliest } from './letters.mjs';
import { sha256Of } from './sha256.mjs';

const VERSION = 3; // of manifest.json, which lists the files with size and digest
const MOST_BYTES = 2 ** 28; // of a file

/** Loads the decoder and the genes of all emoji, once; whether they are there. */
export function loadManifold(panel) {
  panel.loading ??= load(panel);
  return panel.loading;
}

async function load(panel) {
  const line = panel.find('.load');
  const { regime } = panel;
  const current = () => regime === panel.regime; // else another is loaded by now
  const progress = (share) => {
    line.textContent = `Loading the decoder and the DNA of all emoji: ${Math.round(100 * share)}%`;
  };
  line.hidden = false;
  progress(0);
  try {
    const buffer = await loadFile(panel, 'manifold', progress);
    if (!current()) return false;
    const { header, genes, words, sprite } = await panel.ask({ type: 'manifold', buffer }, [buffer]);
    if (!current()) return false;
    const sheet = URL.createObjectURL(new Blob([sprite], { type: 'image/webp' }));
    panel.manifold = { header, genes, words, spellings: likeliest(words), sprite: sheet };
    panel.opened();
    if (panel.kept && panel.kept === panel.unloaded) panel.warn('');
    return true;
  } catch (error) {
    if (current()) {
      panel.unloaded = error.message;
      panel.warn(error.message);
      panel.loading = null;
    }
    return false;
  } finally {
    if (current()) {
      line.hidden = true;
      line.textContent = '';
    }
  }
}

/** The bytes of one file, 'manifold' (decoder and genes) or 'encoder'; progress(share) hears how it goes. */
export async function loadFile({ model, regime }, file, progress) {
  const { url } = regime[file];
  if (!url) return unpacked(await fromKernel(model, file, regime.name));
  if (location.protocol === 'file:') return unpacked(await fromScript(url));
  return unpacked(await fromServer(url, progress));
}

/** What a file packed by gzip holds. */
function unpacked(data) {
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(stream).arrayBuffer();
}

function fromKernel(model, file, regime) {
  return new Promise((resolve, reject) => {
    const hear = (message, buffers) => {
      if (message.type !== file || message.regime !== regime) return;
      model.off('msg:custom', hear);
      if (message.error) reject(new Error(message.error));
      else resolve(new Uint8Array(buffers[0].buffer, buffers[0].byteOffset, buffers[0].byteLength));
    };
    model.on('msg:custom', hear);
    model.send({ type: 'load', file, regime });
  });
}

/** A page that was opened as a file may load nothing but scripts: the same file, written as one, that calls `ncamFile`.
 *  While it runs, the document names it, so that several can be loaded at once, also by other panels. */
function fromScript(url) {
  const script = document.createElement('script');
  globalThis.ncamFile = (sha256, text) => document.currentScript.serve(sha256, text);
  return new Promise((resolve, reject) => {
    const fail = (what) => reject(new Error(`The manifold ${what} this page: build the book again.`));
    script.serve = (sha256, text) => {
      script.onload = null;
      const data = toBytes(text);
      check(data, sha256).then(() => resolve(data), reject);
    };
    script.onload = () => fail('is not what belongs beside');
    script.onerror = () => fail('is not beside');
    script.src = url.replace(/\.bin$/, '.js');
    document.head.append(script);
  }).finally(() => script.remove());
}

async function fromServer(url, progress) {
  const place = new URL(url, document.baseURI);
  const { bytes, sha256 } = await described(place);
  const response = await get(`${place}?${sha256}`);
  const data = await readAll(response.body.getReader(), bytes, progress);
  await check(data, sha256);
  return data;
}

async function get(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new Error('The manifold could not be loaded: check the connection, then reload the page.');
  }
  if (response.ok) return response;
  throw new Error(`The manifold could not be loaded (${response.status}): reload the page to try again.`);
}

/** Size and digest of a file, out of the manifest beside it. */
async function described(place) {
  const answer = await get(new URL('manifest.json', place), { cache: 'no-cache' });
  const manifest = await answer.json().catch(() => null);
  const known = manifest?.version === VERSION && manifest.files?.[place.pathname.split('/').at(-1)];
  const { bytes, sha256 } = known || {};
  if (bytes > 0 && bytes <= MOST_BYTES && /^[0-9a-f]{64}$/.test(sha256)) return known;
  throw new Error('The manifold beside this page is another than it knows: reload the page.');
}

async function readAll(reader, total, progress) {
  const out = new Uint8Array(total);
  for (let at = 0; ; ) {
    const { done, value } = await reader.read();
    if (done && at < total) throw new Error('The manifold is shorter than it should be: reload the page.');
    if (done) return out;
    if (at + value.length > total) throw new Error('The manifold is larger than it should be: reload the page.');
    out.set(value, at);
    at += value.length;
    progress(at / total);
  }
}

async function check(data, sha256) {
  if ((await sha256Of(data)) !== sha256) throw new Error('The manifold is damaged: reload the page to load it again.');
}
