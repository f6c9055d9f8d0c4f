// What the parts of the live panel share: its elements, the model's traits, the worker, and what is growing.

import { toText } from './base64.mjs';
import { packLetters, unpackLetters } from './letters.mjs';

/** The shared state of one panel. `model` is anywidget's or a stand-in, `root` the element that holds the controls. */
export class Panel {
  manifold = null; // once loaded: { header, letters }, the letters of all emoji packed
  own = null; // the emoji's own letters
  letters = null; // the same as the reader has changed them, before mutation
  name = ''; // of what grows
  surgery = ''; // what was done to its letters, in words
  seedling = 0; // which of the instant row was chosen last
  image = null; // a picture of the reader's own
  encoder = null; // the encoder's file, once sent to the worker
  visible = true; // whether the panel is on the screen
  waiting = false; // nothing grows until the reader chooses, or what was asked for is loaded
  kept = ''; // a sentence that stays until then
  epoch = 0; // counts growths: a 'done' of an older one comes too late

  constructor(model, root, worker) {
    this.model = model;
    this.root = root;
    this.worker = worker;
    this.seedlings = model.get('seedlings');
    // What a link or Python asked for before the manifold was there; a click on a seedling replaces it.
    this.asked = { emoji: model.get('emoji'), code: model.get('code') };
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
    this.epoch++;
    this.post({ type: 'clear' });
    this.set('playing', false);
  }

  /** Says why what was asked for cannot grow; nothing else grows in its place. */
  refuse(sentence) {
    this.wait();
    this.warn(sentence);
  }

  /** The reader has chosen, or what was asked for is there. */
  settle() {
    this.waiting = false;
    this.kept = '';
  }

  /** Tells the worker something; `transfer` lists the buffers that go over to it. */
  post(message, transfer = []) {
    this.worker.postMessage(message, transfer);
  }

  /** Sets a trait of the model, if that changes it. */
  set(trait, value) {
    if (this.model.get(trait) === value) return;
    this.model.set(trait, value);
    this.model.save_changes();
  }

  /** The letters as text, for a link. */
  get code() {
    return toText(packLetters(this.letters));
  }

  /** Grows these letters from now on, changed as `surgery` says; the model hears of them. */
  useLetters(letters, surgery) {
    this.letters = letters;
    this.surgery = surgery;
    this.set('code', this.code);
  }

  /** The emoji's own letters, to be changed. */
  ownLetters() {
    return new Uint8Array(this.own);
  }

  /** The letters of one emoji of the manifold. */
  lettersOf(index) {
    return unpackLetters(this.manifold.letters, index);
  }

  /** The letters of the emoji that is named as partner; where there is none, the reader is told, and null. */
  partner() {
    const index = this.manifold.header.names.indexOf(this.input('partner').value);
    if (index >= 0) return this.lettersOf(index);
    this.say('Choose the other emoji by its name first.');
    return null;
  }
}

/** A name of the data as people write it. */
export const spaced = (name) => name.replaceAll('_', ' ');

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
