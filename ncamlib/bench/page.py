"""Times the live manifold on the built page in headless Chromium; `python -m ncamlib.bench.page` records it.

Needs playwright and a Chromium (`pip install -e '.[test]'`). Writes `figures/live.json`, which the chapter shows.
"""

import argparse
import contextlib
import datetime
import functools
import http.server
import json
import statistics
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ncamlib.config import to_dict
from ncamlib.errors import NcamError
from ncamlib.machine import browser, device_name
from ncamlib.project import Records, commit, project_root

FLAGS = ("--no-sandbox", "--disable-gpu")
SECONDS, MOVES = 5, 15
SLOWER, MBIT, LATENCY = 4, 1.6, 150  # processor, Mbit/s and milliseconds of a slow phone
# Counts the frames drawn, and notes when one differs from the frame before.
COUNT = """
(() => {
  const draw = CanvasRenderingContext2D.prototype.putImageData;
  globalThis.drawn = { frames: 0, changed: 0, last: 0, first: 0, shift: 0 };
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) drawn.shift += entry.value;
  }).observe({ type: 'layout-shift', buffered: true });
  CanvasRenderingContext2D.prototype.putImageData = function (image, x, y) {
    draw.call(this, image, x, y);
    if (!this.canvas.classList.contains('picture')) return;
    let sum = 0;
    for (let i = 0; i < image.data.length; i++) sum = (sum * 31 + image.data[i]) | 0;
    drawn.frames++;
    if (sum !== drawn.last) drawn.changed = performance.now();
    if (drawn.frames > 1 && !drawn.first && sum !== drawn.last) drawn.first = drawn.changed;
    drawn.last = sum;
  };
})();
"""
MOVE = """
async (value) => {
  const slider = document.querySelector('.ncam [name="mutation"]'), before = performance.now();
  slider.value = value;
  slider.dispatchEvent(new Event('input', { bubbles: true }));
  while (drawn.changed < before) await new Promise((resolve) => setTimeout(resolve, 1));
  return drawn.changed - before;
}
"""


@dataclass(frozen=True)
class Speed:
    """The speed of the built page, and where it was measured."""

    steps_per_second: float  # as many as it can
    frames_per_second: float  # meanwhile
    slider_to_frame_ms: float  # median
    slider_to_frame_ms_worst: float
    front_page_kb: float  # all that the front page loads before the first click, uncompressed
    first_growth_slow_s: float  # until its first picture changes, with the processor and network of a slow phone
    layout_shift: float  # cumulative, of the same
    browser: str
    device: str
    date: str
    commit: str


RECORDS = Records("live.json", Speed)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder to this machine. -> its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def measure() -> Speed:
    """Steps and frames per second while an emoji grows without end, and milliseconds from slider to changed picture."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise NcamError("timing the page needs playwright: pip install -e '.[test]'") from error
    chromium, built = browser(), project_root() / "_build" / "html"
    if chromium is None or not (built / "book" / "live.html").exists():
        raise NcamError("timing the page needs Chromium and the built book: install it, run make book")
    with served(built) as address, sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = opened.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script(COUNT)
        page.goto(f"{address}/book/live.html")
        page.wait_for_selector("[data-ncam-live][data-alive]")
        page.click(".ncam .everything summary")
        page.wait_for_selector(".ncam .all button", timeout=60_000)
        steps, frames = _rates(page)
        waits = _waits(page)
        kilobytes, first, shift = _front(opened, address)
        version = opened.version
        opened.close()
    return Speed(
        steps_per_second=round(steps, 1),
        frames_per_second=round(frames, 1),
        slider_to_frame_ms=round(statistics.median(waits), 1),
        slider_to_frame_ms_worst=round(max(waits), 1),
        front_page_kb=round(kilobytes, 1),
        first_growth_slow_s=round(first, 2),
        layout_shift=round(shift, 4),
        browser=f"Chromium {version}, headless",
        device=device_name(torch.device("cpu")).split(", ")[0],
        date=datetime.date.today().isoformat(),
        commit=commit(),
    )


def _rates(page: Any) -> tuple[float, float]:
    """(Steps, drawn frames) per second, as fast as it goes."""
    page.evaluate("document.querySelector('[data-ncam-live]').ncam.set('steps_per_second', 10000)")
    page.click(".ncam .more summary")
    page.check(".ncam [name=endless]")
    page.wait_for_timeout(1000)
    look = "[performance.now(), drawn.frames, Number(document.querySelector('.ncam').dataset.time)]"
    then, frames, steps = page.evaluate(look)
    page.wait_for_timeout(1000 * SECONDS)
    now, more_frames, more_steps = page.evaluate(look)
    page.uncheck(".ncam [name=endless]")
    seconds = (now - then) / 1000
    return (more_steps - steps) / seconds, (more_frames - frames) / seconds


def _front(opened: Any, address: str) -> tuple[float, float, float]:
    """Of the front page on a slow phone: kilobytes loaded, seconds to the first changed picture, layout shift."""
    context = opened.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.add_init_script(COUNT)
    session, sizes = context.new_cdp_session(page), []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    session.send("Network.enable")
    network = {"downloadThroughput": MBIT * 1e6 / 8, "uploadThroughput": MBIT * 1e6 / 8, "latency": LATENCY}
    session.send("Network.emulateNetworkConditions", {"offline": False, **network})
    session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    page.goto(f"{address}/book/intro.html", wait_until="commit")
    page.wait_for_function("drawn.first > 0", timeout=60_000)
    page.wait_for_selector(".ncam[data-state=grown]", timeout=60_000)
    first, shift = page.evaluate("[drawn.first, drawn.shift]")
    context.close()
    return sum(sizes) / 1000, first / 1000, shift


def _waits(page: Any) -> list[float]:
    """Milliseconds from moving the mutation slider to the first changed picture, several times."""
    page.click(".ncam [data-do=restart]")
    page.evaluate("document.querySelector('[data-ncam-live]').ncam.set('steps_per_second', 60)")
    page.wait_for_timeout(500)
    waits = []
    for i in range(MOVES):
        page.wait_for_function("!document.querySelector('[data-ncam-live]').ncam.get('playing')")
        page.wait_for_timeout(200)  # no frame of the last growth is on its way
        waits.append(page.evaluate(MOVE, 0.2 + 0.6 * (i % 2) + i / 100))
    return waits


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m ncamlib.bench.page", description=__doc__).parse_args()
    try:
        speed = measure()
    except NcamError as error:
        sys.exit(f"{error}")
    RECORDS.save([speed])
    print(json.dumps(to_dict(speed), indent=1))
