"""A reader of the built book in headless Chromium: what they do, and what they see."""

import contextlib
import functools
import html
import http.server
import json
import os
import threading
from pathlib import Path

import pytest

from ncamlib.machine import browser as find_browser

BUILT = Path(__file__).resolve().parent.parent / "_build" / "html"
CHROMIUM = find_browser()
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
needs_page = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
    pytest.mark.skipif(not (BUILT / "book" / "live.html").exists(), reason="the book is not built: run make book"),
]
PICTURE = """() => {
  const c = document.querySelector('.ncam .picture');
  return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data);
}"""
BLANK = [255] * 4 * 64 * 64


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address():
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=BUILT))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Reader:
    """What a reader does and sees."""

    def __init__(self, browser, url: str, **options):
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.page = self.context.new_page()
        self.errors, self.requests = [], []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)
        self.page.wait_for_selector("[data-ncam-live][data-alive]")

    def close(self):
        self.context.close()

    def trait(self, name):
        return self.page.evaluate(f"document.querySelector('[data-ncam-live]').ncam.get({name!r})")

    def set(self, name, value):
        self.page.evaluate(
            "([name, value]) => document.querySelector('[data-ncam-live]').ncam.set(name, value)", [name, value]
        )

    def slide(self, name, value):
        self.page.evaluate(
            """([name, value]) => {
              const e = document.querySelector(`.ncam [name="${name}"]`);
              e.value = value; e.dispatchEvent(new Event('input', { bubbles: true }));
            }""",
            [name, value],
        )

    def press(self, action):
        self.page.evaluate("document.querySelectorAll('.ncam details').forEach((e) => { e.open = true; })")
        self.page.click(f'.ncam [data-do="{action}"]')

    def says(self, words):
        """Wait until the status line says some words."""
        self.page.wait_for_function(
            "words => document.querySelector('.ncam .status').textContent.includes(words)", arg=words
        )

    def status(self):
        return self.page.inner_text(".ncam .status")

    def grown(self):
        """The picture when the growth has ended."""
        self.page.wait_for_selector('.ncam[data-state="grown"]')
        return self.picture()

    def picture(self):
        self.page.wait_for_timeout(200)  # a frame or two
        return self.page.evaluate(PICTURE)

    def regrow(self, action):
        """Do something that starts a new growth; the picture at its end."""
        self.page.evaluate("document.querySelector('.ncam').dataset.state = ''")
        action()
        return self.grown()

    def see_all(self):
        """Open the gallery of all emoji."""
        self.page.click(".ncam .everything summary")
        self.page.wait_for_selector(".ncam .all button", timeout=30_000)

    def pick(self, text):
        """Choose an emoji by searching for it."""
        self.page.fill(".ncam [name=search]", text)
        return self.regrow(lambda: self.page.click(".ncam .all button:visible >> nth=0"))


@contextlib.contextmanager
def another_page(change, like="live"):
    """The name of a page beside the built ones whose panel begins with other traits: `change` alters them."""
    built = BUILT / "book" / f"{like}.html"
    text = built.read_text(encoding="utf-8")
    escaped = text.split('data-props="')[1].split('"')[0]
    properties = json.loads(html.unescape(escaped))
    change(properties)
    page = built.with_name(f"another-{like}-{os.getpid()}.html")  # of this process: tests run in several
    page.write_text(text.replace(escaped, html.escape(json.dumps(properties))), encoding="utf-8")
    try:
        yield page.stem
    finally:
        page.unlink()


def difference(a, b):
    return sum(abs(x - y) for x, y in zip(a, b, strict=True)) / len(a)
