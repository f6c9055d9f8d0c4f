// The panel's markup, and what is filled in when it opens.

import { element } from './panel.mjs';

/** Stage and controls. `data-do` names an action of widget.mjs, `name` an input. */
export const CONTROLS = `
<div class="stage">
  <div class="sights">
    <div class="window">
      <canvas class="picture" width="64" height="64" role="img" tabindex="0" aria-label="A grid of cells"></canvas>
      <span class="aim" hidden></span>
    </div>
    <div class="genome">
      <canvas class="dna" width="64" height="128" role="img" tabindex="0"
        aria-label="The DNA: one square per letter. Arrow keys move, space changes a letter."></canvas>
      <span class="mark" hidden></span>
    </div>
  </div>
  <p class="counter"></p>
  <p class="status" role="status"></p>
  <p class="load" role="status" hidden></p>
</div>
<div class="panel">
  <div class="bar parents" role="group" aria-label="Parents">
    <button type="button" data-slot="first"></button>
    <span aria-hidden="true">×</span>
    <button type="button" data-slot="second"></button>
    <canvas class="child" width="64" height="64" role="img" aria-label="Their child" hidden></canvas>
    <button type="button" data-do="breed" hidden>Another child</button>
    <button type="button" data-do="single" hidden aria-label="No partner">✕</button>
    <span class="hint cross">Cross two emoji: press +, then tap one.</span>
  </div>
  <div class="thumbs seedlings" role="group" aria-label="Emoji to begin with"></div>
  <div class="bar">
    <button type="button" data-do="play">Pause</button>
    <button type="button" data-do="wound" aria-pressed="false">Wound</button>
    <button type="button" data-do="surprise">Surprise me</button>
    <button type="button" data-do="screen">Full screen</button>
    <button type="button" data-do="link">Share</button>
    <button type="button" data-do="keys" aria-label="Keyboard shortcuts">?</button>
  </div>
  <label class="trained" hidden>Trained to <select name="regime"></select></label>
  <label class="main">Mutation <input type="range" name="mutation" min="0" max="1" step="0.01"><output></output></label>
  <p class="hint">The share of the DNA that is replaced by random letters.</p>
  <details class="everything">
    <summary>All emoji</summary>
    <label>Search <input type="search" name="search" placeholder="name, emoji or U+1F198"></label>
    <div class="thumbs all" role="group" aria-label="All emoji"></div>
    <p class="hint none" hidden>No emoji of this model is called that.</p>
  </details>
  <details class="families">
    <summary>Genes of a group</summary>
    <p class="hint">Press a group: the letters that most of it share are written into the DNA.</p>
    <label>Search <input type="search" name="group" placeholder="a word of the names"></label>
    <div class="bar">
      <button type="button" data-do="clean">Its own DNA again</button>
      <label>Letters shared by more than <select name="threshold">
        <option value="0.5">50%</option><option value="0.7" selected>70%</option><option value="0.9">90%</option>
      </select></label>
    </div>
    <div class="groups" role="group" aria-label="Groups"></div>
  </details>
  <details class="more">
    <summary>Advanced</summary>
    <p class="hint gene">Point at the DNA to read a gene, press to change letters.</p>
    <label>Between the parents
      <input type="range" name="mix" min="0" max="1" step="0.02" value="0"><output></output></label>
    <label>Cells that update <input type="range" name="fire" min="0.05" max="1" step="0.05"><output></output></label>
    <label>Steps per second <input type="range" name="speed" min="1" max="200" step="1"><output></output></label>
    <label>Zoom <input type="range" name="zoom" min="1" max="6" step="0.5" value="1"><output></output></label>
    <label>Wound size <input type="range" name="radius" min="1" max="24" step="1" value="8"><output></output></label>
    <div class="bar">
      <label>Show <select name="channel"></select></label>
      <label>Grid <select name="side">
        <option>32</option><option>48</option><option selected>64</option><option>96</option><option>128</option>
      </select></label>
    </div>
    <label><input type="checkbox" name="endless"> never stop growing</label>
    <div class="bar">
      <button type="button" data-do="restart">Grow again</button>
      <button type="button" data-do="step">One step</button>
      <button type="button" data-do="reseed">Other random letters</button>
    </div>
    <label class="own">A picture of your own <input type="file" name="upload" accept="image/*"></label>
    <p class="meter"></p>
  </details>
</div>
<dialog><form method="dialog"><button>Close</button></form><h2></h2><div></div></dialog>`;

// What the numbers in `channel` mean, -2 and on.
const CHANNEL_NAMES = ['all channels', 'picture', 'red', 'green', 'blue', 'alpha'];
for (let i = 1; i <= 12; i++) CHANNEL_NAMES.push(`hidden ${i}`);

// What a model was trained to, by the regime's name.
const AIMS = { growing: 'grow', persistent: 'grow and stay', regenerating: 'grow, stay and heal' };

/** Fills in what the model decides. */
export function fillControls(panel) {
  const { model } = panel;
  const channel = panel.input('channel');
  channel.append(...CHANNEL_NAMES.map((textContent, i) => element('option', { textContent, value: i - 2 })));
  channel.value = -1;
  panel.input('group').value = model.get('group');
  const regimes = model.get('regimes');
  panel.find('.trained').hidden = regimes.length < 2;
  panel
    .input('regime')
    .append(...regimes.map(({ name }) => element('option', { value: name, textContent: AIMS[name] })));
}

/** The sliders that move a trait of the model. */
export const SLIDERS = { mutation: 'mutation_rate', fire: 'fire_rate', speed: 'steps_per_second' };
const READINGS = { ...SLIDERS, mix: 'mix' };
const SHARES = ['mutation', 'fire', 'mix'];

/** Sets the controls to the model's traits, and writes every slider's value beside it. */
export function showValues(panel) {
  panel.input('regime').value = panel.regime.name;
  panel.find('.own').hidden = !panel.regime.encoder.there;
  const side = panel.input('side');
  side.value = panel.model.get('side');
  if (!side.value) side.append(element('option', { textContent: panel.model.get('side'), selected: true }));
  for (const [name, trait] of Object.entries(READINGS)) panel.input(name).value = panel.model.get(trait);
  for (const range of panel.findAll('input[type=range]')) {
    // A slider stands at the nearest of its own values; what is used may lie between two, or beyond its end.
    const value = READINGS[range.name] ? panel.model.get(READINGS[range.name]) : Number(range.value);
    range.parentElement.querySelector('output').textContent = SHARES.includes(range.name)
      ? `${Number((100 * value).toFixed(1))}%`
      : value;
  }
}
