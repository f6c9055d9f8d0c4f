// Fetches the model's files: from beside the page, checked against its manifest, or from a notebook's kernel.

import { sha256Of } from './sha256.mjs';

const VERSION = 1; // of manifest.json, which lists the files with size and digest
const MOST_BYTES = 2 ** 28; // of a file

/** The bytes of one file, 'manifold' (decoder and letters) or 'encoder'; progress(share) hears how it goes. */
export async function loadFile(model, file, progress) {
  const { url } = model.get(file);
  return url ? fromServer(url, progress) : fromKernel(model, file);
}

function fromKernel(model, file) {
  return new Promise((resolve) => {
    model.on('msg:custom', (message, buffers) => {
      if (message.type !== file) return;
      const { buffer, byteOffset, byteLength } = buffers[0];
      resolve(buffer.slice(byteOffset, byteOffset + byteLength));
    });
    model.send({ type: 'load', file });
  });
}

async function fromServer(url, progress) {
  const place = new URL(url, document.baseURI);
  const { bytes, sha256 } = await described(place);
  const response = await get(`${place}?${sha256}`);
  const data = await readAll(response.body.getReader(), bytes, progress);
  await check(data, sha256);
  return data.buffer;
}

async function get(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new Error('The manifold could not be loaded: this page must be opened from a web server for that.');
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
