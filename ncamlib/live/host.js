// Starts the live panel in a page: gives it a stand-in for anywidget's model, set from the link's hash.
// It runs as an ordinary script inside the element that holds the module's text.

(() => {
  const place = document.currentScript.parentElement;
  const state = JSON.parse(place.dataset.props);
  const initial = { ...state };
  const listeners = {};

  const model = {
    get: (trait) => state[trait],
    set(trait, value) {
      if (state[trait] === value) return;
      state[trait] = value;
      for (const react of listeners[`change:${trait}`] ?? []) react();
    },
    on(event, react) {
      listeners[event] ??= [];
      listeners[event].push(react);
    },
    off() {},
    save_changes() {},
    send() {},
  };

  // The numbers of a link: its word, the trait, from, to, whether whole.
  const NUMBERS = [
    ['mutation', 'mutation_rate', 0, 1, false],
    ['fire', 'fire_rate', 0.05, 1, false],
    ['seed', 'seed', 0, 2 ** 32 - 1, true],
  ];

  /** What is wrong with a number of the link, in words; '' if nothing is. */
  function wrong(key, text, from, to, whole) {
    const value = Number(text);
    if (text.trim() && value >= from && value <= to && (!whole || Number.isInteger(value))) return '';
    return `${key}=${text.slice(0, 20)} (it must be ${whole ? 'a whole number ' : ''}from ${from} to ${to})`;
  }

  /** Sets what the link says, and the rest back to how the page began; a link to a heading changes nothing.
   *  A link that cannot be followed is not followed by half: `complaint` says why. */
  function follow(set) {
    const link = new URLSearchParams(location.hash.slice(1));
    const given = NUMBERS.filter(([key]) => link.has(key));
    if (!given.length && !link.has('emoji') && !link.has('code')) return;
    const faults = given.map(([key, , ...bounds]) => wrong(key, link.get(key), ...bounds)).filter(Boolean);
    if (faults.length) {
      set('complaint', `This link cannot be followed: ${faults.join(', ')}. Choose an emoji to grow.`);
      return;
    }
    for (const [key, trait] of NUMBERS) set(trait, link.has(key) ? Number(link.get(key)) : initial[trait]);
    set('code', initial.code);
    for (const key of ['emoji', 'code']) if (link.has(key)) set(key, link.get(key));
    set('complaint', '');
  }

  async function start() {
    const source = place.querySelector('script[type="text/ncam-live"]').textContent;
    const module = await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
    module.default.render({ model, el: place });
    place.ncam = model;
    place.dataset.alive = '1';
  }

  follow((trait, value) => {
    state[trait] = value;
  });
  addEventListener('hashchange', () => follow(model.set));
  start().catch((error) => place.append(`The live manifold could not start: ${error}`));
})();
