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

  /** Sets what the link says, and the rest back to how the page began; a link to a heading changes nothing. */
  function follow(set) {
    const link = new URLSearchParams(location.hash.slice(1));
    const numbers = { mutation: 'mutation_rate', fire: 'fire_rate', seed: 'seed' };
    if (!['emoji', 'code', ...Object.keys(numbers)].some((key) => link.has(key))) return;
    for (const trait of [...Object.values(numbers), 'code']) set(trait, initial[trait]);
    for (const [key, trait] of Object.entries(numbers)) {
      if (link.get(key) && Number.isFinite(Number(link.get(key)))) set(trait, Number(link.get(key)));
    }
    for (const key of ['emoji', 'code']) if (link.has(key)) set(key, link.get(key));
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
