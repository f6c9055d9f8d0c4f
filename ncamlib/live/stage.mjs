// The stage: the growing picture and its frames, how large it is, and what wounds it.

import { goOn } from './growth.mjs';
import { pointerOn } from './panel.mjs';

const STEP = 2; // cells that an arrow key moves the aim

/** Kills a circle of cells; (x, y) may lie in any tile of the mosaic of all channels. */
export function wound(panel, x, y) {
  if (panel.waiting) return;
  const { side } = panel;
  const radius = Number(panel.input('radius').value);
  const [i, j] = [x, y].map((place) => (place % side) - 0.5); // a cell's number is that of its centre
  panel.post({ type: 'wound', x: i, y: j, radius, whole: panel.ended || panel.endless });
  panel.wounded = true;
  panel.say('Wounded. Watch what the cells around it do.');
  goOn(panel);
}

/** Enlarges about the middle of what is shown; the scroll bars do the rest. */
export function zoom(panel, factor) {
  const box = panel.find('.window');
  const picture = panel.find('.picture');
  const before = picture.clientWidth || 1;
  const x = (box.scrollLeft + box.clientWidth / 2) / before;
  const y = (box.scrollTop + box.clientHeight / 2) / before;
  picture.style.width = `${100 * factor}%`;
  box.scrollTo(x * picture.clientWidth - box.clientWidth / 2, y * picture.clientWidth - box.clientHeight / 2);
}

/** Fills the screen with the panel, or leaves it. */
export function fillScreen(panel) {
  if (document.fullscreenElement) document.exitFullscreen();
  else panel.root.requestFullscreen?.();
}

/** A mouse or pen paints wounds, a finger taps them: a swipe scrolls the page, but while the brush is held ready. */
export function listenToPicture(panel) {
  const picture = panel.find('.picture');
  const hit = (event) => {
    const [x, y] = pointerOn(picture, event, picture.width, picture.height);
    if (x >= 0 && x < picture.width && y >= 0 && y < picture.height) wound(panel, x, y);
  };
  let finger = false; // whether the last touch scrolls where it moves
  let down = false;
  picture.addEventListener('pointerdown', (event) => {
    finger = event.pointerType === 'touch' && !panel.brush;
    if (finger || event.button) return;
    down = true;
    picture.setPointerCapture(event.pointerId);
    hit(event);
  });
  picture.addEventListener('pointermove', (event) => {
    if (down) hit(event);
  });
  for (const end of ['pointerup', 'pointercancel']) {
    picture.addEventListener(end, () => {
      down = false;
    });
  }
  picture.addEventListener('click', (event) => {
    if (finger) hit(event); // a tap that did not scroll
  });
}

/** Holds the brush ready or puts it away: with it, a finger wounds where it moves. */
export function holdBrush(panel) {
  panel.brush = !panel.brush;
  panel.find('.picture').dataset.brush = panel.brush ? '1' : '';
  panel.find('[data-do=wound]').setAttribute('aria-pressed', String(panel.brush));
  panel.say(panel.brush ? 'Touch the picture to wound it; arrow keys aim, Enter wounds.' : 'Wounding is off.');
  if (panel.brush) panel.find('.picture').focus({ preventScroll: true });
}

/** On the focused picture arrow keys move an aim, Enter wounds there. */
export function listenToAim(panel) {
  const picture = panel.find('.picture');
  const aim = panel.find('.aim');
  let [x, y] = [0.5, 0.5]; // shares of the picture
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const clamp = (value) => Math.min(0.99, Math.max(0, value));
  const show = () => {
    aim.hidden = false;
    aim.style.left = `${picture.offsetLeft + x * picture.clientWidth}px`;
    aim.style.top = `${picture.offsetTop + y * picture.clientHeight}px`;
  };
  picture.addEventListener('keydown', (event) => {
    const move = moves[event.key];
    if (!move && event.key !== 'Enter') return;
    event.preventDefault();
    if (move) [x, y] = [clamp(x + (move[0] * STEP) / panel.side), clamp(y + (move[1] * STEP) / panel.side)];
    else wound(panel, x * picture.width, y * picture.height);
    show();
  });
  picture.addEventListener('blur', () => {
    aim.hidden = true;
  });
}

/** Asks the worker for a frame when the picture may have changed and can be seen, and shows it. */
export class Stage {
  waiting = false; // for a frame
  stale = false; // whether the picture may have changed since the last frame was asked for
  gone = false;

  /** `note` is said after the steps per second. */
  constructor(panel, note) {
    this.panel = panel;
    this.note = note;
    this.picture = panel.find('.picture');
    this.context = this.picture.getContext('2d');
    this.onScreen = true;
    this.observer = new IntersectionObserver((entries) => {
      this.onScreen = entries.at(-1).isIntersecting;
      this.look();
    });
    this.observer.observe(panel.root);
    this.looking = () => this.look();
    document.addEventListener('visibilitychange', this.looking);
  }

  /** Nothing runs that nobody sees. */
  look() {
    const { panel } = this;
    panel.visible = this.onScreen && !document.hidden;
    panel.post({ type: 'set', playing: panel.visible && panel.running });
  }

  /** The picture may have changed: a frame is asked for as soon as the browser draws one. */
  refresh() {
    this.stale = true;
    if (this.waiting || this.gone || !this.panel.visible) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.stale = false;
      const channel = Number(this.panel.input('channel').value);
      this.panel.worker.postMessage({ type: 'frame', channel, background: [255, 255, 255] });
    });
  }

  /** Shows a frame that the worker has painted. */
  show({ pixels, side, time, rate }) {
    const { picture, panel } = this;
    const { dataset } = panel.root;
    if (picture.width !== side) {
      picture.width = side;
      picture.height = side;
    }
    this.context.putImageData(new ImageData(pixels, side), 0, 0);
    if (panel.partner) panel.find('.child').getContext('2d').drawImage(picture, 0, 0, 64, 64);
    dataset.time = time;
    if (rate !== null) dataset.rate = rate.toFixed(0);
    const speed = panel.running ? `, ${dataset.rate ?? 0} steps per second${this.note}` : '';
    panel.find('.meter').textContent = `step ${time}${speed}`;
    this.waiting = false;
    if (this.stale || panel.running) this.refresh();
  }

  /** No more frames. */
  stop() {
    this.gone = true;
    this.observer.disconnect();
    document.removeEventListener('visibilitychange', this.looking);
  }
}
