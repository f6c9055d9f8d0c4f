// The stage: the growing picture, its frames, and what a pointer on it does.

import { goOn, play } from './growth.mjs';
import { pointerOn } from './panel.mjs';

/** Kills a circle of cells; (x, y) may lie in any tile of the mosaic of all channels. */
export function wound(panel, x, y) {
  const { side } = panel;
  panel.post({ type: 'wound', x: x % side, y: y % side, radius: Number(panel.input('radius').value) });
  goOn(panel);
  play(panel, true);
}

/** Enlarges about the middle of what is shown; the scroll bars do the rest. */
export function zoom(panel, factor) {
  const box = panel.find('.window');
  const picture = panel.find('.picture');
  const before = picture.clientWidth || 1;
  const x = (box.scrollLeft + box.clientWidth / 2) / before;
  const y = (box.scrollTop + box.clientHeight / 2) / before;
  picture.style.width = `${100 * factor}%`;
  box.tabIndex = factor > 1 ? 0 : -1;
  picture.style.touchAction = factor > 1 ? 'pan-x pan-y' : 'none';
  box.scrollTo(x * picture.clientWidth - box.clientWidth / 2, y * picture.clientWidth - box.clientHeight / 2);
}

/** Painting on the picture wounds it, a double click plants a seed. */
export function listenToPicture(panel) {
  const picture = panel.find('.picture');
  const place = (event) => pointerOn(picture, event, picture.width, picture.height);
  let down = false;
  picture.addEventListener('pointerdown', (event) => {
    down = true;
    picture.setPointerCapture(event.pointerId);
    wound(panel, ...place(event));
  });
  picture.addEventListener('pointermove', (event) => {
    if (down) wound(panel, ...place(event));
  });
  for (const end of ['pointerup', 'pointercancel']) {
    picture.addEventListener(end, () => {
      down = false;
    });
  }
  picture.addEventListener('dblclick', (event) => {
    const [x, y] = place(event).map((value) => Math.floor(value) % panel.side);
    panel.post({ type: 'plant', x, y });
  });
}

/** Asks the worker for frames while the panel is on the screen, and shows them. */
export class Stage {
  waiting = false; // for a frame
  gone = false;

  /** `note` is said after the steps per second. */
  constructor(panel, note) {
    this.panel = panel;
    this.note = note;
    this.picture = panel.find('.picture');
    this.context = this.picture.getContext('2d');
    this.observer = new IntersectionObserver((entries) => {
      panel.visible = entries.at(-1).isIntersecting;
      panel.post({ type: 'set', playing: panel.visible && panel.model.get('playing') });
    });
    this.observer.observe(panel.root);
  }

  /** Asks for a frame whenever the browser draws one. */
  run() {
    requestAnimationFrame(() => {
      if (this.gone) return;
      if (this.panel.visible && !this.waiting) {
        this.waiting = true;
        const channel = Number(this.panel.input('channel').value);
        this.panel.post({ type: 'frame', channel, background: [255, 255, 255] });
      }
      this.run();
    });
  }

  /** Shows a frame that the worker has painted. */
  show({ pixels, side, time, rate }) {
    const { picture, panel } = this;
    const { dataset } = panel.root;
    this.waiting = false;
    if (picture.width !== side) {
      picture.width = side;
      picture.height = side;
    }
    this.context.putImageData(new ImageData(pixels, side), 0, 0);
    dataset.time = time;
    if (rate !== null) dataset.rate = rate.toFixed(0);
    panel.find('.meter').textContent = `step ${time}, ${dataset.rate ?? 0} steps per second${this.note}`;
  }

  /** No more frames. */
  stop() {
    this.gone = true;
    this.observer.disconnect();
  }
}
