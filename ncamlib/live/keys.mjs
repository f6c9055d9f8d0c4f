// Keyboard shortcuts, while the focus is in the panel, and the list of them.

import { element } from './panel.mjs';

/** What a key does, by the name of the button that does the same. */
const KEYS = {
  ' ': ['play', 'space', 'pause or go on'],
  g: ['restart', 'g', 'grow again from one pixel'],
  m: ['mutate', 'm', 'replace half of the DNA, or none'],
  x: ['surprise', 'x', 'cross two emoji at random'],
  b: ['breed', 'b', 'another child of the same parents'],
  s: ['step', 's', 'one step'],
  w: ['wound', 'w', 'wound with a finger, or aim with the arrow keys and Enter'],
  f: ['screen', 'f', 'full screen, and back'],
  l: ['link', 'l', 'copy a link'],
  '?': ['keys', '?', 'this list'],
};

/** Lets keys press buttons, where no text is being typed. */
export function listenToShortcuts(panel, actions) {
  panel.root.addEventListener('keydown', (event) => {
    const [name] = KEYS[event.key] ?? [];
    if (!name || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.matches('[type=search], [type=text], select, dialog *')) return;
    if (event.key === ' ' && event.target.matches('button, input, summary, .dna')) return;
    event.preventDefault();
    event.stopPropagation();
    actions[name](panel);
  });
}

/** The list of shortcuts. */
export function listKeys() {
  const list = element('dl', { className: 'keys' });
  for (const [, key, does] of Object.values(KEYS)) {
    list.append(element('dt', { textContent: key }), element('dd', { textContent: does }));
  }
  return list;
}
