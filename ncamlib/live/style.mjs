// How the panel looks.

export const STYLE = `
.ncam-live { container-type: inline-size; }
.ncam {
  --line: #8886; --accent: #2a78b5; --ground: var(--pst-color-background, Canvas);
  display: grid; grid-template-columns: minmax(0, 1fr); gap: .6rem 1.2rem; font: 15px/1.4 system-ui, sans-serif;
}
@container (min-width: 660px) {
  .ncam { grid-template-columns: minmax(0, 1.45fr) minmax(250px, 1fr); align-items: start; }
}
/* In one column the stage stays in sight only where it leaves room for the controls. */
@container (max-width: 659.98px) {
  .ncam .sights { max-width: max(15rem, 1.5 * (100vh - 22rem)); width: 100%; margin: 0 auto; }
}
.ncam p { margin: .25rem 0; }
.ncam [hidden] { display: none !important; }

.ncam .stage {
  position: sticky; top: var(--ncam-top, 0); z-index: 2; background: var(--ground); padding-bottom: .2rem;
}
@media (max-height: 34rem) {
  @container (max-width: 659.98px) { .ncam .stage { position: static; } }
}
.ncam .sights { display: grid; grid-template-columns: 2fr 1fr; gap: 6px; }
.ncam .window { position: relative; aspect-ratio: 1; overflow: auto; border: 1px solid var(--line); background: #fff; }
.ncam .picture {
  display: block; width: 100%; aspect-ratio: 1; image-rendering: pixelated;
  touch-action: pan-x pan-y; cursor: crosshair;
}
.ncam .picture[data-brush="1"] { touch-action: none; }
.ncam .aim {
  position: absolute; width: 18px; height: 18px; margin: -9px; border: 2px solid #d00; border-radius: 50%;
  outline: 2px solid #fff; pointer-events: none;
}
.ncam .genome { position: relative; border: 1px solid var(--line); }
.ncam .dna {
  display: block; position: absolute; inset: 0; width: 100%; height: 100%; image-rendering: pixelated;
  touch-action: pan-x pan-y; cursor: cell;
}
.ncam .mark { position: absolute; width: 25%; outline: 2px solid #000; outline-offset: 1px; pointer-events: none; }
.ncam .counter, .ncam .status, .ncam .load, .ncam .meter, .ncam .hint { font-size: .87em; }
.ncam .counter, .ncam .meter { font-variant-numeric: tabular-nums; }
.ncam .counter { min-height: 1.4em; }
.ncam .status { min-height: 2.8em; }
.ncam .seedlings { min-height: 46px; }
.ncam .gene { min-height: 1.4em; overflow-wrap: anywhere; }
.ncam:fullscreen { background: var(--ground); padding: 1rem; overflow: auto; align-content: center; }
.ncam:fullscreen .stage { top: 0; }
.ncam:fullscreen .sights { max-width: calc(1.5 * (100vh - 8rem)); margin: 0 auto; }
@media (min-width: 800px) { .ncam:fullscreen { grid-template-columns: minmax(0, 1fr) 340px; } }

.ncam .bar { display: flex; flex-wrap: wrap; gap: .4rem; align-items: center; margin: .45rem 0; }
.ncam label { display: flex; gap: .5rem; align-items: center; margin: .2rem 0; min-height: 28px; }
.ncam .main { font-weight: 600; font-size: 1.05em; }
.ncam input[type=range] { flex: 1; min-width: 90px; height: 28px; accent-color: var(--accent); touch-action: pan-y; }
.ncam [data-do=play] { min-width: 6.6em; }
.ncam .own { flex-wrap: wrap; }
.ncam input[type=file] { max-width: 100%; min-width: 0; font: inherit; }
.ncam input[type=checkbox] { width: 18px; height: 18px; }
.ncam input[type=search] { flex: 1; min-width: 0; }
.ncam output { min-width: 3em; text-align: right; font-variant-numeric: tabular-nums; }
.ncam button, .ncam select, .ncam input[type=search] {
  font: inherit; padding: .3rem .65rem; min-height: 34px;
  border: 1px solid var(--line); border-radius: 6px; background: transparent; color: inherit;
}
.ncam button:hover { background: #8883; }
.ncam :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.ncam [aria-pressed=true] {
  border-color: var(--accent); box-shadow: inset 0 0 0 1px var(--accent); background: #2a78b533;
}

.ncam .thumbs { display: flex; flex-wrap: wrap; gap: 3px; }
.ncam .thumbs button, .ncam .parents [data-slot] { padding: 3px; }
.ncam .thumb {
  display: block; width: 38px; height: 38px; background: #fff center / contain no-repeat; border-radius: 3px;
}
.ncam .all .thumb { width: 30px; height: 30px; }
.ncam .all, .ncam .groups { max-height: 230px; overflow: auto; margin: .3rem 0; padding: 3px; }
.ncam .groups { display: grid; gap: 4px; }
.ncam .groups button { display: flex; gap: 4px; align-items: center; text-align: left; padding: 3px 6px; }
.ncam .groups .thumb { width: 26px; height: 26px; }
.ncam .groups span:last-child { margin-left: .3rem; }
.ncam .parents > span[aria-hidden] { font-size: 1.3em; }
.ncam .parents [data-slot] { min-width: 46px; min-height: 46px; font-size: 1.3em; }
.ncam .child { width: 46px; height: 46px; image-rendering: pixelated; border: 1px solid var(--line); }
.ncam summary { cursor: pointer; padding: .35rem 0; min-height: 24px; }
.ncam option { color: #111; background: #fff; }
.ncam dialog {
  width: min(94vw, 460px); border: 1px solid var(--line); border-radius: 8px;
  color: CanvasText; background: Canvas;
}
.ncam dialog form { float: right; }
.ncam dialog h2 { margin: 0 0 .5rem; font-size: 1.2em; }
.ncam dialog textarea { width: 100%; font: 12px/1.4 monospace; }
.ncam dialog .qr { display: block; max-width: 100%; margin: .5rem auto; image-rendering: pixelated; }
.ncam .keys { display: grid; grid-template-columns: auto 1fr; gap: .2rem .8rem; margin: 0; }
.ncam .keys dt { font-family: monospace; }
.ncam .keys dd { margin: 0; }`;
