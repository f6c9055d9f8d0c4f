// The panel's markup and style, and what is filled in when it opens.

import { element } from './panel.mjs';

/** Picture and controls. `data-do` names an action of widget.mjs, `name` an input. */
export const CONTROLS = `
<div class="stage">
  <div class="window"><canvas class="picture" width="64" height="64" role="img"></canvas></div>
  <p class="meter"></p>
  <p class="status" role="status"></p>
</div>
<div class="panel">
  <div class="bar seedlings" role="group" aria-label="Emoji to begin with"></div>
  <div class="bar">
    <button data-do="play">Pause</button>
    <button data-do="restart">Grow again</button>
    <button data-do="step">One step</button>
    <button data-do="seed">New seed</button>
    <button data-do="wound">Wound</button>
    <button data-do="link">Copy link</button>
  </div>
  <label>Mutation <input type="range" name="mutation" min="0" max="1" step="0.01"><output></output></label>
  <label>Fire rate <input type="range" name="fire" min="0.05" max="1" step="0.05"><output></output></label>
  <label>Steps per second <input type="range" name="speed" min="1" max="200" step="1"><output></output></label>
  <label>Zoom <input type="range" name="zoom" min="1" max="6" step="0.5" value="1"><output></output></label>
  <label>Wound size <input type="range" name="radius" min="1" max="24" step="1" value="8"><output></output></label>
  <div class="bar">
    <label>Show <select name="channel"></select></label>
    <label>Grid <select name="side">
      <option>32</option><option>48</option><option selected>64</option><option>96</option><option>128</option>
    </select></label>
    <label><input type="checkbox" name="endless"> grow without end</label>
  </div>
  <details class="more">
    <summary>All emoji, their DNA, crossing</summary>
    <p class="load"><button data-do="load"></button> <progress hidden max="1" value="0"></progress></p>
    <div class="loaded" hidden>
      <label>Search <input type="search" name="search" placeholder="part of a name"></label>
      <div class="grid" role="listbox" aria-label="Emoji"></div>
      <p class="hint">The DNA: 512 genes of 16 letters, one column per gene.
        Paint on it, or use the arrow keys and space, to change letters.</p>
      <canvas class="dna" width="512" height="16" tabindex="0" aria-label="DNA strip"></canvas>
      <div class="bar">
        <label>With <input type="search" name="partner" list="" placeholder="another emoji's name"></label>
        <datalist></datalist>
        <button data-do="cross">Cross</button>
      </div>
      <label>Towards it <input type="range" name="mix" min="0" max="1" step="0.02" value="0"><output></output></label>
      <div class="bar">
        <label>Genes shared by names with <input type="search" name="group" placeholder="part of a name"></label>
        <label>over <select name="threshold">
          <option>0.5</option><option selected>0.7</option><option>0.9</option>
        </select></label>
        <button data-do="inject">Inject</button>
        <button data-do="clean">Own DNA</button>
      </div>
      <label>A picture of your own <input type="file" name="upload" accept="image/*"></label>
    </div>
  </details>
</div>`;

/** How it looks. */
export const STYLE = `
.ncam {
  --line: #8886;
  display: grid; grid-template-columns: minmax(200px, 340px) minmax(260px, 1fr); gap: 1rem;
  font: 15px/1.4 system-ui, sans-serif; max-width: 900px;
}
@media (max-width: 620px) { .ncam { grid-template-columns: 1fr; } }

.ncam .window {
  aspect-ratio: 1; overflow: auto;
  border: 1px solid var(--line); border-radius: 8px; background: #fff;
}
.ncam .picture {
  display: block; width: 100%; aspect-ratio: 1; image-rendering: pixelated;
  touch-action: none; cursor: crosshair;
}
.ncam .status, .ncam .meter { margin: .3rem 0; font-size: .85em; }
.ncam .status { min-height: 2.8em; }
.ncam .meter { font-variant-numeric: tabular-nums; opacity: .8; }

.ncam .bar { display: flex; flex-wrap: wrap; gap: .4rem; align-items: center; margin: .35rem 0; }
.ncam label { display: flex; gap: .5rem; align-items: center; margin: .2rem 0; }
.ncam input[type=range] { flex: 1; min-width: 90px; }
.ncam output { min-width: 3em; text-align: right; font-variant-numeric: tabular-nums; }
.ncam button, .ncam select, .ncam input[type=search] {
  font: inherit; padding: .25rem .6rem;
  border: 1px solid var(--line); border-radius: 6px; background: transparent; color: inherit;
}
.ncam button:hover { background: #8883; }
.ncam :focus-visible { outline: 3px solid #2a78b5; outline-offset: 2px; }
.ncam .seedlings button, .ncam .grid button { font-size: 1.5rem; line-height: 1.2; padding: .15rem .35rem; }
.ncam [aria-pressed=true], .ncam [aria-selected=true] { background: #2a78b544; }

.ncam .grid {
  display: flex; flex-wrap: wrap; max-height: 190px; overflow: auto;
  border: 1px solid var(--line); border-radius: 6px; padding: .2rem;
}
.ncam .dna {
  width: 100%; height: 80px; image-rendering: pixelated;
  border: 1px solid var(--line); border-radius: 4px; touch-action: none; cursor: cell;
}
.ncam .hint { font-size: .85em; margin: .4rem 0 .2rem; }
.ncam summary { cursor: pointer; margin: .4rem 0; }
.ncam option { color: #111; }`;

// What the numbers in `channel` mean, -2 and on.
const CHANNEL_NAMES = ['all channels', 'picture', 'red', 'green', 'blue', 'alpha'];
for (let i = 1; i <= 12; i++) CHANNEL_NAMES.push(`hidden ${i}`);

/** Fills in what the model decides: channels, names to begin with, the size of the files. */
export function fillControls(panel) {
  const { model } = panel;
  const channel = panel.input('channel');
  channel.append(...CHANNEL_NAMES.map((textContent, i) => element('option', { textContent, value: i - 2 })));
  channel.value = -1;
  for (const name of ['partner', 'group']) if (model.get(name)) panel.input(name).value = model.get(name);
  if (!model.get('encoder').bytes) panel.input('upload').parentElement.remove();
  const megabytes = (model.get('manifold').bytes / 1e6).toFixed(1);
  panel.find('[data-do=load]').textContent = `Load all emoji (${megabytes} MB)`;
}

/** The sliders that move a trait of the model. */
export const SLIDERS = { mutation: 'mutation_rate', fire: 'fire_rate', speed: 'steps_per_second' };

/** Sets the sliders to the model's traits, and writes every slider's value beside it. */
export function showValues(panel) {
  for (const [name, trait] of Object.entries(SLIDERS)) panel.input(name).value = panel.model.get(trait);
  for (const range of panel.findAll('input[type=range]')) {
    range.parentElement.querySelector('output').textContent = range.value;
  }
}
