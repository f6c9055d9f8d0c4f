// What the reader sees and touches. Works in a page and, through anywidget, in a notebook.
// Engine, WORKER (source text) and WASM (base64) come first; `model` is anywidget's or a stand-in.

const MANIFEST = 1;  // version of manifest.json, which lists the files with size and digest
const COLOURS = ['#2a78b5', '#e08020', '#4c9f70', '#c44e8a', '#d8d8d8'];
const CONTROLS = `
<div class="stage"><div class="window"><canvas class="picture" width="64" height="64" role="img"></canvas></div>
<p class="meter"></p><p class="status" role="status"></p></div>
<div class="panel">
  <div class="bar seedlings" role="group" aria-label="Emoji to begin with"></div>
  <div class="bar"><button data-do="play">Pause</button><button data-do="restart">Grow again</button>
    <button data-do="step">One step</button><button data-do="seed">New seed</button>
    <button data-do="wound">Wound</button><button data-do="link">Copy link</button></div>
  <label>Mutation <input type="range" name="mutation" min="0" max="1" step="0.01"><output></output></label>
  <label>Fire rate <input type="range" name="fire" min="0.05" max="1" step="0.05"><output></output></label>
  <label>Steps per second <input type="range" name="speed" min="1" max="200" step="1"><output></output></label>
  <label>Zoom <input type="range" name="zoom" min="1" max="6" step="0.5" value="1"><output></output></label>
  <label>Wound size <input type="range" name="radius" min="1" max="24" step="1" value="8"><output></output></label>
  <div class="bar">
    <label>Show <select name="channel"></select></label>
    <label>Grid <select name="side"><option>32</option><option>48</option><option selected>64</option><option>96</option><option>128</option></select></label>
    <label><input type="checkbox" name="endless"> grow without end</label></div>
  <details class="more"><summary>All emoji, their DNA, crossing</summary>
    <p class="load"><button data-do="load"></button> <progress hidden max="1" value="0"></progress></p>
    <div class="loaded" hidden>
      <label>Search <input type="search" name="search" placeholder="part of a name"></label>
      <div class="grid" role="listbox" aria-label="Emoji"></div>
      <p class="hint">The DNA: 512 genes of 16 letters, one column per gene. Paint on it, or use the arrow keys and space, to change letters.</p>
      <canvas class="dna" width="512" height="16" tabindex="0" aria-label="DNA strip"></canvas>
      <div class="bar"><label>With <input type="search" name="partner" list="" placeholder="another emoji's name"></label>
        <datalist></datalist><button data-do="cross">Cross</button></div>
      <label>Towards it <input type="range" name="mix" min="0" max="1" step="0.02" value="0"><output></output></label>
      <div class="bar"><label>Genes shared by names with <input type="search" name="group" placeholder="part of a name"></label>
        <label>over <select name="threshold"><option>0.5</option><option selected>0.7</option><option>0.9</option></select></label>
        <button data-do="inject">Inject</button><button data-do="clean">Own DNA</button></div>
      <label>A picture of your own <input type="file" name="upload" accept="image/*"></label>
    </div>
  </details>
</div>`;
const STYLE = `
.ncam{--line:#8886;display:grid;grid-template-columns:minmax(200px,340px) minmax(260px,1fr);gap:1rem;font:15px/1.4 system-ui,sans-serif;max-width:900px}
@media(max-width:620px){.ncam{grid-template-columns:1fr}}
.ncam .window{aspect-ratio:1;overflow:auto;border:1px solid var(--line);border-radius:8px;background:#fff}
.ncam .picture{display:block;width:100%;aspect-ratio:1;image-rendering:pixelated;touch-action:none;cursor:crosshair}
.ncam .status,.ncam .meter{margin:.3rem 0;font-size:.85em}.ncam .status{min-height:2.8em}.ncam .meter{font-variant-numeric:tabular-nums;opacity:.8}
.ncam .bar{display:flex;flex-wrap:wrap;gap:.4rem;align-items:center;margin:.35rem 0}
.ncam label{display:flex;gap:.5rem;align-items:center;margin:.2rem 0}.ncam input[type=range]{flex:1;min-width:90px}
.ncam output{min-width:3em;text-align:right;font-variant-numeric:tabular-nums}
.ncam button,.ncam select,.ncam input[type=search]{font:inherit;padding:.25rem .6rem;border:1px solid var(--line);border-radius:6px;background:transparent;color:inherit}
.ncam button:hover{background:#8883}.ncam :focus-visible{outline:3px solid #2a78b5;outline-offset:2px}
.ncam .seedlings button,.ncam .grid button{font-size:1.5rem;line-height:1.2;padding:.15rem .35rem}
.ncam [aria-pressed=true],.ncam [aria-selected=true]{background:#2a78b544}
.ncam .grid{display:flex;flex-wrap:wrap;max-height:190px;overflow:auto;border:1px solid var(--line);border-radius:6px;padding:.2rem}
.ncam .dna{width:100%;height:80px;image-rendering:pixelated;border:1px solid var(--line);border-radius:4px;touch-action:none;cursor:cell}
.ncam .hint{font-size:.85em;margin:.4rem 0 .2rem}.ncam summary{cursor:pointer;margin:.4rem 0}.ncam option{color:#111}`;

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const text = (data) => btoa(String.fromCharCode(...data));

/** Four letters to a byte, and back; "none" cannot be written and becomes letter 0. */
export function packLetters(letters) {
  const out = new Uint8Array(letters.length / 4);
  letters.forEach((letter, i) => { out[i >> 2] |= (letter & 3) << (2 * (i & 3)); });
  return out;
}

/** Letters that most of a group share, else NONE; letters are hard, so the mean is a count. */
export function meanGenes(group, threshold) {
  const out = new Uint8Array(group[0].length).fill(NONE), count = new Uint16Array(4);
  for (let i = 0; i < out.length; i++) {
    count.fill(0);
    for (const letters of group) count[letters[i]]++;
    for (let a = 0; a < 4; a++) if (count[a] > threshold * group.length) out[i] = a;
  }
  return out;
}

/** One of the files: 'manifold' (decoder and letters) or 'encoder'. */
async function load(model, file, progress) {
  const { url } = model.get(file);
  if (!url) {  // in a notebook Python sends it
    return new Promise((resolve) => {
      model.on('msg:custom', (message, buffers) => {
        if (message.type === file) { const b = buffers[0]; resolve(b.buffer.slice(b.byteOffset, b.byteOffset + b.byteLength)); }
      });
      model.send({ type: 'load', file });
    });
  }
  const get = async (address, options) => {
    let response;
    try { response = await fetch(address, options); } catch { throw new Error('The manifold could not be loaded: this page must be opened from a web server for that.'); }
    if (!response.ok) throw new Error(`The manifold could not be loaded (${response.status}): reload the page to try again.`);
    return response;
  };
  const place = new URL(url, document.baseURI), manifest = await (await get(new URL('manifest.json', place), { cache: 'no-cache' })).json();
  const known = manifest.version === MANIFEST && manifest.files[place.pathname.split('/').at(-1)];
  if (!known) throw new Error('The manifold beside this page is another than it knows: reload the page.');
  const { bytes: total, sha256 } = known, response = await get(`${place}?${sha256}`);
  const out = new Uint8Array(total), reader = response.body.getReader();
  let at = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (at + value.length > total) throw new Error('The manifold is larger than it should be: reload the page.');
    out.set(value, at); at += value.length; progress(at / total);
  }
  if (globalThis.crypto?.subtle) {
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', out));
    if ([...digest].map((b) => b.toString(16).padStart(2, '0')).join('') !== sha256) throw new Error('The manifold is damaged: reload the page to load it again.');
  }
  return out.buffer;
}

function render({ model, el }) {
  const root = document.createElement('div');
  root.className = 'ncam';
  root.innerHTML = `<style>${STYLE}</style>${CONTROLS}`;
  el.append(root);
  const $ = (query) => root.querySelector(query), input = (name) => $(`[name="${name}"]`);
  const say = (sentence) => { $('.status').textContent = sentence; };
  const fast = typeof WebAssembly === 'object' && WebAssembly.validate(bytes(WASM));
  const worker = new Worker(URL.createObjectURL(new Blob([WORKER], { type: 'text/javascript' })));
  const post = (message, transfer = []) => worker.postMessage(message, transfer);
  const seedlings = model.get('seedlings'), picture = $('.picture'), context = picture.getContext('2d');
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  let data = null, own = null, letters = null, name = '', surgery = '', visible = true, waiting = false, gone = false;

  post({ type: 'start', wasm: fast ? bytes(WASM).buffer : null });
  const set = (key, value) => { if (model.get(key) !== value) { model.set(key, value); model.save_changes(); } };
  // A picture twice as large takes twice as many steps to grow.
  const steps = () => Math.round((data?.header.steps ?? model.get('steps')) * Number(input('side').value) / seedlings[0].rule.size);
  const until = () => (input('endless').checked ? Infinity : steps());

  function grow() {
    post({ type: 'set', side: Number(input('side').value), fireRate: model.get('fire_rate'), seed: model.get('seed'), speed: model.get('steps_per_second'), until: until() });
    post({ type: 'restart' });
    if (still) { post({ type: 'step', n: Math.min(until(), 64) }); play(false); } else play(true);
    picture.setAttribute('aria-label', `${name}${surgery}, grown from one pixel` + (letters && model.get('mutation_rate') > 0 ? `, ${Math.round(100 * model.get('mutation_rate'))}% of its letters replaced` : ''));
  }
  let epoch = 0;  // a 'done' of an older growth comes too late
  function play(on) {
    set('playing', on);
    post({ type: 'set', playing: on && visible, epoch: on ? ++epoch : epoch });
    $('[data-do=play]').textContent = on ? 'Pause' : 'Play';
  }
  function express() {  // letters -> weights -> growth
    if (!data) return;
    const damage = (code) => mutate(code, model.get('mutation_rate'), model.get('seed')), mutated = damage(letters);
    const share = Number(input('mix').value), two = share > 0 ? other() : null;
    if (two) post({ type: 'mix', one: mutated, two: damage(two), share, rule: data.header });
    else post({ type: 'letters', letters: mutated, rule: data.header });
    drawDNA(mutated);
    grow();
  }
  function choose(index) {
    own = unpackLetters(data.letters, index);
    letters = new Uint8Array(own);
    name = data.header.names[index].replaceAll('_', ' ');
    input('mix').value = 0; surgery = '';
    set('emoji', data.header.emoji[index]);
    set('code', text(packLetters(letters)));
    for (const b of root.querySelectorAll('.grid button')) b.setAttribute('aria-selected', b.dataset.index === String(index));
    say(name);
    express();
  }
  let current = 0;
  function startSeedling(i, clicked = true) {
    const { emoji, title, weights, rule } = seedlings[i];
    current = i;
    for (const b of root.querySelectorAll('.seedlings button')) b.setAttribute('aria-pressed', b.dataset.i === String(i));
    if (data) { choose(find(emoji)); return; }
    name = title.replaceAll('_', ' ');
    if (clicked) { asked = { emoji, code: '' }; set('code', ''); set('emoji', emoji); }
    post({ type: 'weights', weights: fromHalf(bytes(weights).buffer, 0, WEIGHTS), rule });
    say(name);
    grow();
  }
  const find = (key) => Math.max(data.header.emoji.indexOf(key), data.header.names.indexOf(key));
  function useCode(code) {  // from a link or from Python; '' is the emoji's own
    try {
      const found = code ? unpackLetters({ shape: [1, own.length / 4], data: bytes(code) }, 0) : new Uint8Array(own);
      if (code && bytes(code).length !== own.length / 4) throw new Error();
      letters = found; surgery = '';
      set('code', text(packLetters(letters)));
      express();
    } catch { letters = new Uint8Array(own); surgery = ''; express(); say('The DNA in this link is damaged: the emoji grows from its own.'); }
  }

  async function fetchManifold() {
    if (data || $('progress').hidden === false) return;
    $('progress').hidden = false;
    try {
      const buffer = await load(model, 'manifold', (share) => { $('progress').value = share; });
      post({ type: 'manifold', buffer }, [buffer]);
    } catch (error) { say(error.message); $('progress').hidden = true; }
  }
  function loaded(message) {
    data = { header: message.header, letters: message.letters };
    $('.load').hidden = true; $('.loaded').hidden = false;
    const list = $('datalist'); list.id = `names-${Math.random().toString(36).slice(2)}`; input('partner').setAttribute('list', list.id);
    data.header.names.forEach((n, i) => {
      const button = Object.assign(document.createElement('button'), { textContent: data.header.emoji[i], title: n.replaceAll('_', ' ') });
      Object.assign(button.dataset, { index: i, name: n.toLowerCase() });
      button.setAttribute('role', 'option'); button.setAttribute('aria-label', button.title);
      button.tabIndex = i ? -1 : 0;
      button.onclick = () => choose(i);
      $('.grid').append(button);
      list.append(Object.assign(document.createElement('option'), { value: n }));
    });
    const { emoji, code } = asked, wanted = find(emoji);
    choose(wanted < 0 ? 0 : wanted);
    if (code) useCode(code);
  }
  // What a link or Python asked for before the manifold was there; a click on a seedling replaces it.
  let asked = { emoji: model.get('emoji'), code: model.get('code') };

  /** The picture, fitted into a square, as premultiplied planes in [0, 1]. */
  async function readPicture(chosen) {
    const bitmap = await createImageBitmap(chosen), side = data.header.size, canvas = new OffscreenCanvas(side, side), c = canvas.getContext('2d');
    const scale = side / Math.max(bitmap.width, bitmap.height), w = bitmap.width * scale, h = bitmap.height * scale;
    c.imageSmoothingQuality = 'high';
    c.drawImage(bitmap, (side - w) / 2, (side - h) / 2, w, h);
    const pixels = c.getImageData(0, 0, side, side).data, out = new Float32Array(4 * side * side);
    for (let i = 0; i < side * side; i++) {
      const alpha = pixels[4 * i + 3] / 255;
      for (let k = 0; k < 3; k++) out[k * side * side + i] = pixels[4 * i + k] / 255 * alpha;
      out[3 * side * side + i] = alpha;
    }
    return out;
  }
  let image = null, encoder = null;
  async function upload(chosen) {
    try { image = await readPicture(chosen); } catch { say('This file is not a picture that the browser can read: choose a PNG or JPEG.'); return; }
    say('Reading the picture...');
    try {
      if (!encoder) {
        encoder = await load(model, 'encoder', () => {});
        post({ type: 'encoder', buffer: encoder }, [encoder]);
      } else post({ type: 'encode', image, side: data.header.size });
    } catch (error) { encoder = null; say(error.message); }
  }

  function drawDNA(shown) {
    const canvas = $('.dna'), c = canvas.getContext('2d'), image = c.createImageData(512, 16);
    for (let g = 0; g < 512; g++) for (let l = 0; l < 16; l++) {
      const colour = COLOURS[shown[16 * g + l]], o = 4 * (512 * l + g);
      for (let k = 0; k < 3; k++) image.data[o + k] = parseInt(colour.slice(1 + 2 * k, 3 + 2 * k), 16);
      image.data[o + 3] = 255;
    }
    c.putImageData(image, 0, 0);
  }
  const other = () => {
    const index = data.header.names.indexOf(input('partner').value);
    if (index < 0) { say('Choose the other emoji by its name first.'); return null; }
    return unpackLetters(data.letters, index);
  };
  const actions = {
    play: () => { if (!model.get('playing')) post({ type: 'set', more: until() }); play(!model.get('playing')); },
    restart: grow,
    step: () => { play(false); post({ type: 'step', n: 1 }); },
    seed: () => post({ type: 'plant', x: Number(input('side').value) >> 1, y: Number(input('side').value) >> 1 }),
    wound: () => { const n = Number(input('side').value); hurt(0.62 * n, 0.4 * n); },
    link: () => {
      const link = new URL(location.href.split('#')[0]);
      link.hash = new URLSearchParams({ emoji: model.get('emoji'), mutation: model.get('mutation_rate'), fire: model.get('fire_rate'), seed: model.get('seed'), code: model.get('code') });
      navigator.clipboard?.writeText(link.href).then(() => say('The link is copied.'), () => say(link.href)) ?? say(link.href);
    },
    load: fetchManifold,
    cross: () => {
      const two = other(); if (!two) return;
      const word = mix(model.get('seed') >>> 0);  // every gene from one parent or the other
      letters = letters.map((letter, i) => (mix(word ^ mix(i >> 4)) & 1 ? two[i] : letter));
      set('code', text(packLetters(letters))); surgery += ` crossed with ${input('partner').value.replaceAll('_', ' ')}`; say(name + surgery); express();
    },
    inject: () => {
      // Whole words where there are any, as in the library's chapters; else any part of a name.
      const key = input('group').value.trim().toLowerCase().replaceAll(' ', '_');
      const having = (part, around) => data.header.names.flatMap((n, i) => (part && `${around}${n.toLowerCase()}${around}`.includes(part) ? [i] : []));
      const words = having(key && `_${key}_`, '_'), group = (words.length ? words : having(key, '')).map((i) => unpackLetters(data.letters, i));
      if (!group.length) { say(`No emoji has '${key}' in its name.`); return; }
      const genes = meanGenes(group, Number(input('threshold').value));
      letters = letters.map((letter, i) => (genes[i] === NONE ? letter : genes[i]));
      set('code', text(packLetters(letters)));
      surgery += ` with ${genes.reduce((n, g) => n + (g !== NONE), 0)} letters shared by ${group.length} emoji`; say(name + surgery); express();
    },
    clean: () => { letters = new Uint8Array(own); input('mix').value = 0; surgery = ''; set('code', text(packLetters(letters))); say(name); express(); },
  };
  function hurt(x, y) {
    const side = Number(input('side').value);
    x %= side; y %= side;
    post({ type: 'wound', x, y, radius: Number(input('radius').value) });
    post({ type: 'set', more: until() });
    play(true);
  }

  function zoom(factor) {  // about the middle of what is shown; the scroll bars do the rest
    const box = $('.window'), before = picture.clientWidth || 1;
    const x = (box.scrollLeft + box.clientWidth / 2) / before, y = (box.scrollTop + box.clientHeight / 2) / before;
    picture.style.width = `${100 * factor}%`;
    box.tabIndex = factor > 1 ? 0 : -1;
    picture.style.touchAction = factor > 1 ? 'pan-x pan-y' : 'none';
    box.scrollTo(x * picture.clientWidth - box.clientWidth / 2, y * picture.clientWidth - box.clientHeight / 2);
  }

  const sliders = { mutation: 'mutation_rate', fire: 'fire_rate', speed: 'steps_per_second' };
  const show = () => {
    for (const [control, trait] of Object.entries(sliders)) input(control).value = model.get(trait);
    for (const range of root.querySelectorAll('input[type=range]')) range.parentElement.querySelector('output').textContent = range.value;
  };
  const react = {
    'change:mutation_rate': () => { show(); if (data) express(); else fetchManifold(); },
    'change:fire_rate': () => { show(); grow(); },
    'change:steps_per_second': () => { show(); post({ type: 'set', speed: model.get('steps_per_second') }); },
    'change:seed': () => { if (data) express(); else grow(); },
    'change:playing': () => { if (model.get('playing')) post({ type: 'set', epoch, wake: until() }); $('[data-do=play]').textContent = model.get('playing') ? 'Pause' : 'Play'; post({ type: 'set', playing: model.get('playing') && visible }); },
    'change:emoji': () => { if (!data) { asked = { emoji: model.get('emoji'), code: '' }; if (asked.emoji !== seedlings[current].emoji) fetchManifold(); return; } const i = find(model.get('emoji')); if (i >= 0 && data.header.names[i].replaceAll('_', ' ') !== name) choose(i); },
    'change:code': () => {
      const code = model.get('code');
      if (!data) { asked.code = code; if (code) fetchManifold(); } else if (code !== text(packLetters(letters))) useCode(code);
    },
  };
  for (const [event, handler] of Object.entries(react)) model.on(event, handler);

  root.addEventListener('click', (e) => { const action = e.target.dataset?.do; if (action) actions[action](); });
  root.addEventListener('input', (e) => {
    const { name: control, value } = e.target;
    if (sliders[control]) set(sliders[control], Number(value));
    else if (control === 'mix' && data) { if (other()) express(); else e.target.value = 0; }
    else if (control === 'search') for (const b of root.querySelectorAll('.grid button')) b.hidden = !b.dataset.name.includes(value.toLowerCase());
    else if (control === 'upload') { if (e.target.files[0]) upload(e.target.files[0]); }
    else if (control === 'side') grow();
    else if (control === 'zoom') zoom(Number(value));
    else if (control === 'endless') { post({ type: 'set', more: until() }); if (e.target.checked) play(true); }
    show();
  });
  $('details').addEventListener('toggle', () => { if ($('details').open) fetchManifold(); });
  const where = (e, canvas, w, h) => { const r = canvas.getBoundingClientRect(); return [(e.clientX - r.left) / r.width * w, (e.clientY - r.top) / r.height * h]; };
  let down = false;
  picture.addEventListener('pointerdown', (e) => { down = true; picture.setPointerCapture(e.pointerId); hurt(...where(e, picture, picture.width, picture.height)); });
  picture.addEventListener('pointermove', (e) => { if (down) hurt(...where(e, picture, picture.width, picture.height)); });
  for (const end of ['pointerup', 'pointercancel']) picture.addEventListener(end, () => { down = false; });
  picture.addEventListener('dblclick', (e) => { const [x, y] = where(e, picture, picture.width, picture.height); const side = Number(input('side').value); post({ type: 'plant', x: Math.floor(x) % side, y: Math.floor(y) % side }); });
  let brush = null;
  const paintDNA = (e) => {
    const [g, l] = where(e, $('.dna'), 512, 16).map(Math.floor), i = 16 * g + l;
    if (g < 0 || g > 511 || l < 0 || l > 15) return;
    brush ??= (letters[i] + 1) & 3;
    letters[i] = brush; set('code', text(packLetters(letters))); drawDNA(mutate(letters, model.get('mutation_rate'), model.get('seed')));
  };
  $('.dna').addEventListener('pointerdown', (e) => { brush = null; paintDNA(e); $('.dna').setPointerCapture(e.pointerId); });
  $('.dna').addEventListener('pointermove', (e) => { if (brush !== null) paintDNA(e); });
  $('.dna').addEventListener('pointerup', () => { if (brush !== null) { brush = null; express(); } });

  const cursor = [0, 0];
  $('.dna').addEventListener('keydown', (e) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
    if (!move && e.key !== ' ') return;
    e.preventDefault();
    if (move) { cursor[0] = Math.min(511, Math.max(0, cursor[0] + move[0])); cursor[1] = Math.min(15, Math.max(0, cursor[1] + move[1])); }
    const i = 16 * cursor[0] + cursor[1];
    if (!move) { letters[i] = (letters[i] + 1) & 3; set('code', text(packLetters(letters))); express(); }
    say(`gene ${cursor[0] + 1}, letter ${cursor[1] + 1}: ${'CGAT'[letters[i]]}`);
  });
  $('.grid').addEventListener('keydown', (e) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[e.key], shown = [...root.querySelectorAll('.grid button:not([hidden])')];
    if (!move || !shown.length) return;
    e.preventDefault();
    const to = shown[Math.min(shown.length - 1, Math.max(0, shown.indexOf(e.target) + move))];
    for (const b of shown) b.tabIndex = b === to ? 0 : -1;
    to.focus();
  });

  worker.onmessage = ({ data: message }) => {
    if (message.type === 'frame') {
      waiting = false;
      if (picture.width !== message.side) { picture.width = picture.height = message.side; }
      context.putImageData(new ImageData(message.pixels, message.side), 0, 0);
      root.dataset.time = message.time;
      if (message.rate !== null) root.dataset.rate = message.rate.toFixed(0);
      $('.meter').textContent = `step ${message.time}, ${root.dataset.rate ?? 0} steps per second${fast ? '' : ' (slowly: no WebAssembly SIMD here)'}`;
    } else if (message.type === 'loaded') loaded(message);
    else if (message.type === 'encoder') post({ type: 'encode', image, side: data.header.size });
    else if (message.type === 'encoded') {
      own = message.letters; letters = new Uint8Array(own); name = 'your picture'; surgery = ''; input('mix').value = 0;
      set('code', text(packLetters(letters))); express();
    } else if (message.type === 'done' && message.epoch === epoch) { play(false); say(`${name}${surgery} after ${message.time} steps. Paint on it to wound it; move a slider to grow it again.`); }
    else if (message.type === 'error') say(`The automaton stopped: ${message.text}. Reload the page to try again.`);
  };
  const frame = () => {
    if (gone) return;
    if (visible && !waiting) { waiting = true; post({ type: 'frame', channel: Number(input('channel').value), background: [255, 255, 255] }); }
    requestAnimationFrame(frame);
  };
  const observer = new IntersectionObserver((entries) => { visible = entries.at(-1).isIntersecting; post({ type: 'set', playing: visible && model.get('playing') }); });
  observer.observe(root);

  input('channel').append(Object.assign(document.createElement('option'), { textContent: 'all channels', value: -2 }));
  ['picture', 'red', 'green', 'blue', 'alpha', ...Array.from({ length: 12 }, (_, i) => `hidden ${i + 1}`)].forEach((label, i) => {
    input('channel').append(Object.assign(document.createElement('option'), { textContent: label, value: i - 1 }));
  });
  input('channel').value = -1;
  for (const control of ['partner', 'group']) if (model.get(control)) input(control).value = model.get(control);
  seedlings.forEach(({ emoji, title }, i) => {
    const button = Object.assign(document.createElement('button'), { textContent: emoji, title: title.replaceAll('_', ' '), onclick: () => startSeedling(i) });
    button.dataset.i = i; button.setAttribute('aria-label', button.title);
    $('.seedlings').append(button);
  });
  if (!model.get('encoder').bytes) input('upload').parentElement.remove();
  $('[data-do=load]').textContent = `Load all emoji (${(model.get('manifold').bytes / 1e6).toFixed(1)} MB)`;
  show();
  const first = seedlings.findIndex((s) => [s.emoji, s.title].includes(asked.emoji));
  const begin = model.get('playing');
  startSeedling(Math.max(0, first), false);
  if (!begin) play(false);
  if (asked.code || (first < 0 && asked.emoji) || model.get('mutation_rate') > 0) fetchManifold();
  requestAnimationFrame(frame);
  return () => { gone = true; observer.disconnect(); worker.terminate(); };
}

export default { render };
