// What the parts of the live panel share: its elements, the model's traits, the worker, and what is growing.

import { toText } from './base64.mjs';
import { mutate, packLetters } from './letters.mjs';

/** The shared state of one panel. `model` is anywidget's or a stand-in, `root` the element that holds the controls. */
export class Panel {
  manifold = null; // once loaded: { header, genes, words, spellings, sprite }, the genes of all emoji as levels
  loading = null; // the promise of that
  chosen = null; // the emoji that grows, { emoji, name, letters } as lookUp of gallery.mjs gives it, or a picture
  partner = null; // the other parent, if there is one
  aim = ''; // which parent the next tap chooses: 'first', 'second', or neither
  bred = null; // the letters of the emoji, or of the child of both
  letters = null; // the same as the reader has changed them, before mutation
  mix = 0; // how far what grows lies towards the partner
  surgery = ''; // what was done to the emoji's own letters, in words
  encoder = null; // the encoder's file, once sent to the worker
  visible = true; // whether the panel is on the screen
  waiting = false; // nothing grows until the reader chooses, or what was asked for is loaded
  kept = ''; // a sentence that stays until then
  unloaded = ''; // why loading failed
  stuck = false; // whether something waits to grow until what could not be loaded is there
  running = false; // whether it grows, here: the trait `playing` is of all views
  spared = false; // whether another view has just ended: this one goes on
  ended = false; // whether the growth is over
  wounded = false; // whether a wound was made since it began
  endless = false; // whether it lives on until the reader stops it
  epoch = 0; // counts growths: a 'done' of an older one comes too late
  turn = 0; // counts what was asked to grow: only the last grows
  choices = 0; // counts what the reader chose
  asked = 0; // counts the questions to the worker
  decoding = false; // whether the worker turns letters into weights
  held = false; // whether the reader paused since it was asked to grow
  pending = null; // letters that wait for it: only the last do

  constructor(model, root, worker) {
    this.model = model;
    this.root = root;
    this.worker = worker;
    this.seedlings = model.get('seedlings');
    this.listeners = {};
    this.waiters = new Map(); // of the worker's answers, by the number of the question
    worker.onmessage = ({ data }) => {
      this.waiters.get(data.id)?.(data);
      this.waiters.delete(data.id);
      for (const react of this.listeners[data.type] ?? []) react(data);
    };
  }

  /** Has the worker's messages of a type heard. */
  hear(type, react) {
    this.listeners[type] ??= [];
    this.listeners[type].push(react);
  }

  /** Tells the worker something; its answer, or the error that it met. */
  ask(message, transfer = []) {
    const id = ++this.asked;
    return new Promise((resolve, reject) => {
      this.waiters.set(id, (answer) => {
        if (answer.error) reject(new Error(answer.error));
        else resolve(answer);
      });
      this.post({ ...message, id }, transfer);
    });
  }

  /** Shows a dialog. */
  open(title, parts) {
    const dialog = this.find('dialog');
    dialog.querySelector('h2').textContent = title;
    dialog.querySelector('div').replaceChildren(...parts);
    dialog.onclick = ({ target }) => target === dialog && dialog.close(); // beside it
    dialog.showModal();
  }

  /** The first element that a CSS selector finds. */
  find(selector) {
    return this.root.querySelector(selector);
  }

  /** All elements that a CSS selector finds. */
  findAll(selector) {
    return [...this.root.querySelectorAll(selector)];
  }

  /** The control with a name. */
  input(name) {
    return this.find(`[name="${name}"]`);
  }

  /** Cells from edge to edge of the grid. */
  get side() {
    return Number(this.input('side').value);
  }

  /** Tells the reader something, unless something more important stands there. */
  say(sentence) {
    if (!this.kept) this.find('.status').textContent = sentence;
  }

  /** Tells the reader something that stays. */
  warn(sentence) {
    this.kept = sentence;
    this.find('.status').textContent = sentence;
  }

  /** Grows nothing for now. */
  wait() {
    this.waiting = true;
    this.pending = null;
    this.epoch++;
    this.post({ type: 'clear' });
    this.running = false;
    this.set('playing', false);
  }

  /** The worker met an error. */
  stopped(error) {
    this.warn(`The automaton stopped: ${error}. Reload the page to try again.`);
  }

  /** Says why what was asked for cannot grow; nothing else grows in its place. */
  refuse(sentence) {
    this.wait();
    this.warn(sentence);
  }

  /** What the reader chose will grow, and what stood there is over. */
  settle() {
    this.waiting = false;
    this.stuck = false;
    this.kept = '';
    this.choices++;
  }

  /** The reader chose something: what stood there is over, and so is the complaint of a link. */
  decide() {
    this.settle();
    if (this.model.get('complaint')) this.set('complaint', '');
  }

  /** Whether there is something to change or cross; says so if not. */
  ready() {
    if (!this.chosen) this.warn('Choose an emoji first.');
    return this.chosen !== null;
  }

  /** What grows is again nothing but what the letters say. */
  unmix() {
    this.mix = 0;
    this.set('mix', 0);
  }

  /** Tells the worker something, and asks for a picture of it; `transfer` lists the buffers that go over to it. */
  post(message, transfer = []) {
    this.worker.postMessage(message, transfer);
    this.stage?.refresh();
  }

  /** Sets a trait of the model, if that changes it. */
  set(trait, value) {
    if (this.model.get(trait) === value) return;
    this.model.set(trait, value);
    this.model.save_changes();
  }

  /** How the model that grows was trained: { name, experiment, manifold, encoder }, the files as { url, there }. */
  get regime() {
    return this.trained(this.model.get('regime'));
  }

  /** The model of a regime; the first if there is none of that name. */
  trained(regime) {
    const [first, ...others] = this.model.get('regimes');
    return others.find(({ name }) => name === regime) ?? first;
  }

  /** Whether the seedlings are of the model that grows. */
  get early() {
    return this.regime === this.model.get('regimes')[0];
  }

  /** Whether what has grown lives on. */
  get lasting() {
    return this.regime.name !== 'growing';
  }

  /** The letters as text, for a link; of a picture of the reader's own, the levels of its genes come first. */
  get code() {
    const letters = packLetters(this.letters);
    return toText(this.own ? Uint8Array.of(...this.chosen.genes, ...letters) : letters);
  }

  /** The share of the letters that is replaced at random. */
  get rate() {
    return this.model.get('mutation_rate');
  }

  /** The letters with the mutations of now; `hits` (as long), if given, becomes 1 where a letter is replaced. */
  mutated(letters, hits) {
    return mutate(letters, this.rate, this.model.get('seed'), hits);
  }

  /** What grows, in words. */
  get name() {
    const { chosen, partner, mix } = this;
    if (partner && mix > 0)
      return `what lies ${Math.round(100 * mix)}% of the way from ${chosen.name} to ${partner.name}`;
    return chosen.name + this.surgery;
  }

  /** Whether a picture of the reader's own grows. */
  get own() {
    return this.chosen?.emoji === '';
  }

  /** Whether the letters are others than those that were chosen or bred. */
  get edited() {
    return this.letters?.some((letter, i) => letter !== this.bred[i]) ?? false;
  }

  /** Whether the letters are those of the emoji as they were learned. */
  get untouched() {
    return this.letters.every((letter, i) => letter === this.chosen.letters[i]);
  }
}

/** A new element of a kind, with properties and data attributes. */
export function element(kind, properties, data = {}) {
  const made = Object.assign(document.createElement(kind), properties);
  Object.assign(made.dataset, data);
  return made;
}

/** Where the pointer is on a canvas, in units of which it has `width` x `height`. */
export function pointerOn(canvas, event, width, height) {
  const box = canvas.getBoundingClientRect();
  return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
}
