"""The live manifold on the built page, driven as a reader drives it."""

import base64
import functools
import hashlib
import http.server
import threading
import urllib.parse
from pathlib import Path

import pytest
import torch
from PIL import Image

from ncamlib import data
from ncamlib.live import build, module
from ncamlib.machine import browser as find_browser
from ncamlib.model import checkpoint, dna

BUILT = Path(__file__).resolve().parent.parent / "_build" / "html"
CHROMIUM = find_browser()
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
    pytest.mark.skipif(not (BUILT / "book" / "live.html").exists(), reason="the book is not built: run make book"),
]
PICTURE = """() => {
  const c = document.querySelector('.ncam .picture');
  return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data);
}"""


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

    def __init__(self, browser, url: str):
        self.page = browser.new_page(viewport={"width": 1280, "height": 900})
        self.errors, self.requests = [], []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)
        self.page.wait_for_selector("[data-ncam-live][data-alive]")

    def trait(self, name):
        return self.page.evaluate(f"document.querySelector('[data-ncam-live]').ncam.get({name!r})")

    def slide(self, name, value):
        self.page.evaluate(
            """([name, value]) => {
              const e = document.querySelector(`.ncam [name="${name}"]`);
              e.value = value; e.dispatchEvent(new Event('input', { bubbles: true }));
            }""",
            [name, value],
        )

    def press(self, action):
        self.page.click(f'.ncam [data-do="{action}"]')

    def status(self):
        return self.page.inner_text(".ncam .status")

    def grown(self):
        """The picture when the growth has ended."""
        self.page.wait_for_function("document.querySelector('.ncam .status').textContent.includes(' after ')")
        return self.picture()

    def picture(self):
        self.page.wait_for_timeout(200)  # a frame or two
        return self.page.evaluate(PICTURE)

    def regrow(self, action):
        """Do something that starts a new growth; the picture at its end."""
        self.page.evaluate("document.querySelector('.ncam .status').textContent = ''")
        action()
        return self.grown()

    def open_drawer(self):
        self.page.click(".ncam summary")
        self.page.wait_for_selector(".ncam .grid button", timeout=30_000)


@pytest.fixture
def reader(browser, address):
    opened = Reader(browser, f"{address}/book/live.html")
    opened.page.wait_for_selector(".ncam .seedlings button")
    yield opened
    assert not opened.errors
    hosts = {url.split("/")[2] for url in opened.requests if url.startswith("http")}
    assert hosts == {address.split("/")[2]}
    opened.page.close()


def difference(a, b):
    return sum(abs(x - y) for x, y in zip(a, b, strict=True)) / len(a)


def test_growth_begins_at_once_without_loading(reader):
    first = reader.grown()
    assert difference(first, [255] * len(first)) > 20
    assert not any(".safetensors" in url for url in reader.requests)
    again = reader.regrow(lambda: reader.press("restart"))
    assert again == first
    other = reader.regrow(lambda: reader.page.click(".ncam .seedlings button >> nth=1"))
    assert difference(first, other) > 10


GROW = """async ([source, wasm, image, steps]) => {
  const engine = await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
  const file = await (await fetch('../_static/live/chars-dna-syn-manifold.safetensors')).arrayBuffer();
  const { header, tensors } = engine.parse(file);
  const letters = engine.mutate(engine.unpackLetters(tensors.letters, image), 0.5, 7);
  const kernel = new WebAssembly.Module(Uint8Array.from(atob(wasm), (c) => c.charCodeAt(0)));
  const automaton = new engine.Automaton(kernel, 64);
  const embedding = engine.decodeGenes(tensors, letters), weights = engine.predict(tensors, embedding);
  automaton.weights = weights;
  automaton.step(header, 1, 7, steps);
  const all = { letters, embedding, weights, state: automaton.state };
  return Object.fromEntries(Object.entries(all).map(([name, values]) => [name, [...values]]));
}"""


def test_the_browser_computes_what_the_library_does(reader):
    """On the trained model that the page loads: letters, embedding, weights, and 64 steps."""
    engine = module.joined("safetensors.mjs", "letters.mjs", "decoder.mjs", "automaton.mjs")
    wasm = base64.b64encode(build.BINARY.read_bytes()).decode()
    answer = {name: torch.tensor(v) for name, v in reader.page.evaluate(GROW, [engine, wasm, 3, 64]).items()}
    model, header = checkpoint.load_model("chars-dna-syn")
    images = data.emoji(header["images"])
    with torch.no_grad():
        own, mutation = model.encode(images.pixels[3:4]).argmax(-1), dna.seeded_mutation((1, 512, 16), 0.5, 7)
        letters = torch.where(mutation < 0, own, mutation)
        embedding = model.code.decode(torch.nn.functional.one_hot(letters, 4).float())
        weights = model.predictor(embedding)
        grown = model.grow(weights, 64, backend="reference")[0]
    assert answer["letters"].tolist() == letters.flatten().tolist()
    torch.testing.assert_close(answer["embedding"], embedding[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(answer["weights"], torch.cat([w.flatten() for w in weights]), atol=1e-4, rtol=1e-4)
    state = answer["state"].view(66, 66, 16)[1:-1, 1:-1].permute(2, 0, 1)
    assert (state - grown).abs().max() < 1e-4 * max(1, grown.abs().max().item())


def test_mutation_grows_the_same_emoji_from_a_damaged_code(reader):
    reader.grown()
    reader.open_drawer()
    clean = reader.grown()
    half = reader.regrow(lambda: reader.slide("mutation", 0.5))
    all_random = reader.regrow(lambda: reader.slide("mutation", 1))
    assert difference(clean, half) < difference(clean, all_random)
    assert reader.trait("mutation_rate") == 1
    assert reader.regrow(lambda: reader.slide("mutation", 0)) == clean


def test_wound_seed_and_single_steps_change_the_picture(reader):
    whole = reader.grown()
    box = reader.page.locator(".ncam .picture").bounding_box()
    hurt = reader.regrow(lambda: reader.page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5))
    assert difference(whole, hurt) > 1
    reader.press("step")
    assert reader.picture() != hurt
    before = reader.picture()
    reader.press("seed")
    assert reader.picture() != before


def test_play_pause_speed_fire_rate_grid_and_channels(reader):
    picture = reader.grown()
    assert not reader.trait("playing")
    reader.press("play")
    assert reader.trait("playing")
    reader.press("play")
    assert not reader.trait("playing")
    reader.slide("speed", 120)
    assert reader.trait("steps_per_second") == 120
    slow = reader.regrow(lambda: reader.slide("fire", 0.5))
    assert slow != picture
    assert reader.regrow(lambda: reader.slide("fire", 1)) == picture
    reader.page.select_option(".ncam [name=side]", "96")
    reader.grown()
    reader.page.wait_for_function("document.querySelector('.ncam .picture').width === 96")
    reader.page.select_option(".ncam [name=side]", "64")
    reader.regrow(lambda: reader.press("restart"))
    reader.page.select_option(".ncam [name=channel]", "5")
    assert difference(reader.picture(), picture) > 10


def test_search_dna_cross_mix_and_injection(reader):
    reader.open_drawer()
    reader.page.fill(".ncam [name=search]", "hundred")
    assert reader.page.locator(".ncam .grid button:visible").count() == 1
    hundred = reader.regrow(lambda: reader.page.click(".ncam .grid button:visible"))
    assert reader.trait("emoji") == "💯"
    code = reader.trait("code")

    reader.page.fill(".ncam [name=partner]", "A_button_(blood_type)")
    crossed = reader.regrow(lambda: reader.press("cross"))
    assert reader.trait("code") != code
    assert difference(hundred, crossed) > 5
    assert reader.regrow(lambda: reader.press("clean")) == hundred
    assert reader.trait("code") == code

    towards = reader.regrow(lambda: reader.slide("mix", 1))
    assert difference(hundred, towards) > 10
    reader.regrow(lambda: reader.press("clean"))

    reader.page.fill(".ncam [name=group]", "keycap")
    injected = reader.regrow(lambda: reader.press("inject"))
    assert reader.trait("code") != code
    assert injected != hundred
    reader.regrow(lambda: reader.press("clean"))

    box = reader.page.locator(".ncam .dna").bounding_box()
    reader.page.mouse.move(box["x"] + 20, box["y"] + 20)
    reader.page.mouse.down()
    reader.page.mouse.move(box["x"] + 300, box["y"] + 30, steps=20)
    reader.page.mouse.up()
    assert reader.trait("code") != code


def test_a_picture_of_ones_own_is_read_and_grown(reader, tmp_path):
    images = data.emoji("chars")
    straight = images.pixels[images.index("💯")].clone()
    straight[:3] /= straight[3:].clamp_min(1e-6)
    path = tmp_path / "mine.png"
    Image.fromarray((straight.permute(1, 2, 0) * 255).round().byte().numpy(), "RGBA").save(path)
    reader.open_drawer()
    reader.page.fill(".ncam [name=search]", "hundred")
    known = reader.regrow(lambda: reader.page.click(".ncam .grid button:visible"))
    letter = reader.regrow(lambda: reader.page.evaluate("document.querySelectorAll('.ncam .grid button')[40].click()"))
    mine = reader.regrow(lambda: reader.page.set_input_files(".ncam [name=upload]", path))
    assert difference(mine, known) < 3 < difference(letter, known)

    (tmp_path / "broken.png").write_bytes(b"no picture")
    reader.page.set_input_files(".ncam [name=upload]", tmp_path / "broken.png")
    reader.page.wait_for_function("document.querySelector('.ncam .status').textContent.includes('not a picture')")


def test_all_channels_are_shown_side_by_side(reader):
    reader.grown()
    reader.page.select_option(".ncam [name=channel]", "-2")
    reader.page.wait_for_function("document.querySelector('.ncam .picture').width === 256")
    reader.page.select_option(".ncam [name=channel]", "-1")
    reader.page.wait_for_function("document.querySelector('.ncam .picture').width === 64")


def test_a_link_reproduces_what_is_seen(reader, browser, address):
    """Also an emoji outside the instant row, and DNA that was edited."""
    reader.open_drawer()
    reader.page.fill(".ncam [name=search]", "sos")
    reader.regrow(lambda: reader.page.click(".ncam .grid button:visible"))
    own = reader.trait("code")
    reader.page.fill(".ncam [name=partner]", "hundred_points")
    reader.regrow(lambda: reader.press("cross"))
    shown = reader.regrow(lambda: reader.slide("mutation", 0.3))
    code = reader.trait("code")
    assert code != own
    query = urllib.parse.urlencode(
        {"emoji": reader.trait("emoji"), "code": code, "mutation": 0.3, "fire": 1, "seed": 0}
    )
    other = Reader(browser, f"{address}/book/live.html#{query}")
    other.page.wait_for_selector(".ncam .grid button", timeout=30_000, state="attached")
    other.page.wait_for_timeout(1500)
    assert (other.trait("code"), other.trait("emoji")) == (code, "🆘")
    assert other.regrow(lambda: other.press("restart")) == shown
    assert other.regrow(lambda: other.slide("mutation", 0)) != shown
    other.open_drawer()
    other.press("clean")
    assert other.trait("code") == own
    other.page.close()


def test_the_page_follows_another_link(reader):
    reader.grown()
    whole = reader.regrow(lambda: reader.page.evaluate("location.hash = '#emoji=🆘'"))
    assert reader.trait("emoji") == "🆘"
    damaged = reader.regrow(lambda: reader.page.evaluate("location.hash = '#emoji=🆘&mutation=0.5&seed=3'"))
    assert (reader.trait("mutation_rate"), reader.trait("seed")) == (0.5, 3)
    assert difference(whole, damaged) > 1


def test_zoom_enlarges_about_the_middle(reader):
    reader.grown()
    before = reader.page.locator(".ncam .picture").bounding_box()
    reader.slide("zoom", 4)
    after, window = (reader.page.locator(f".ncam .{part}").bounding_box() for part in ("picture", "window"))
    assert after["width"] == pytest.approx(4 * before["width"], rel=0.05)
    assert window["width"] == pytest.approx(before["width"], rel=0.05)
    assert after["x"] + after["width"] / 2 == pytest.approx(window["x"] + window["width"] / 2, abs=12)
    whole = reader.picture()
    x, y = window["x"] + window["width"] / 2, window["y"] + window["height"] / 2
    hurt = reader.regrow(lambda: reader.page.mouse.click(x, y))
    assert difference(whole, hurt) > 1
    reader.slide("zoom", 1)
    assert reader.page.locator(".ncam .picture").bounding_box() == before


@pytest.mark.parametrize(
    "body",
    [
        '{"version": 99, "files": {}}',
        "no JSON",
        "[]",
        "null",
        '{"version": 1}',
        '{"version": 1, "files": {"chars-dna-syn-manifold.safetensors": {"bytes": -1, "sha256": 3}}}',
    ],
)
def test_another_manifest_is_refused(browser, address, body):
    """In a sentence that stays, while what grew goes on growing."""
    opened = Reader(browser, f"{address}/book/live.html")
    opened.page.route("**/manifest.json", lambda route: route.fulfill(body=body))
    opened.page.click(".ncam summary")
    opened.page.wait_for_function("document.querySelector('.ncam .status').textContent.includes('reload the page')")
    opened.page.wait_for_timeout(2500)
    assert "another than it knows: reload the page" in opened.status()
    assert difference(opened.picture(), [255] * 4 * 64 * 64) > 20
    opened.page.close()


def test_a_damaged_manifold_is_refused(browser, address):
    opened = Reader(browser, f"{address}/book/live.html")

    def damage(route):
        body = bytearray(route.fetch().body())
        body[-1] ^= 1
        route.fulfill(body=bytes(body))

    opened.page.route("**/*-manifold.safetensors*", damage)
    opened.page.click(".ncam summary")
    opened.page.wait_for_function("document.querySelector('.ncam .status').textContent.includes('damaged')")
    opened.page.close()


def test_the_page_is_light_before_the_first_click():
    plain, live = (len((BUILT / "book" / f"{name}.html").read_bytes()) for name in ("choices", "live"))
    assert live - plain < 500_000


LETTERS = base64.b64encode(bytes(2048)).decode()
BAD_LINKS = {
    "emoji=%F0%9F%86%98&code=***": "The DNA in this link is damaged",
    f"emoji=%F0%9F%86%98&code={LETTERS[:-4]}": "The DNA in this link is damaged",
    "emoji=nothing_like_it": "“nothing_like_it” is none of the emoji",
    "emoji=%F0%9F%A7%8C": "is none of the emoji",
    "emoji=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E": "“<img src=x onerror=alert(1)>” is none of the emoji",
    "emoji=%F0%9F%86%98&mutation=5": "mutation=5 (it must be from 0 to 1)",
    "mutation=nan": "mutation=nan (it must be from 0 to 1)",
    "fire=0": "fire=0 (it must be from 0.05 to 1)",
    "seed=1.5": "seed=1.5 (it must be a whole number from 0 to 4294967295)",
    "seed=-1&mutation=Infinity": "mutation=Infinity",
    "mutation=": "mutation= (it must be",
}


@pytest.mark.parametrize("link", BAD_LINKS)
def test_a_link_that_cannot_be_followed_says_so_and_grows_nothing(browser, address, link):
    opened = Reader(browser, f"{address}/book/live.html#{link}")
    said = BAD_LINKS[link]
    opened.page.wait_for_function(
        "said => document.querySelector('.ncam .status').textContent.includes(said)", arg=said
    )
    opened.page.wait_for_timeout(2500)
    assert said in opened.status(), "it does not stay"
    assert opened.picture() == [255] * 4 * 64 * 64, "something grows"
    # What the reader tries next grows nothing by accident either; an emoji that is chosen does.
    for action in ("play", "restart", "step"):
        opened.press(action)
    opened.slide("fire", 0.9)
    assert opened.picture() == [255] * 4 * 64 * 64
    assert said in opened.status()
    opened.page.click(".ncam .seedlings button >> nth=1")
    assert difference(opened.grown(), [255] * 4 * 64 * 64) > 10
    assert not opened.errors
    opened.page.close()


def test_a_good_link_after_a_bad_one_is_followed(reader):
    whole = reader.grown()
    reader.page.evaluate("location.hash = '#mutation=7'")
    reader.page.wait_for_timeout(500)
    assert "cannot be followed" in reader.status()
    assert reader.picture() == [255] * 4 * 64 * 64
    reader.page.evaluate("location.hash = '#mutation=0'")
    reader.page.wait_for_timeout(500)
    assert "cannot be followed" not in reader.status()
    assert reader.grown() == whole


@pytest.mark.parametrize("length", [0, 3, 55, 56, 63, 64, 65, 1000])
def test_the_digest_without_encryption_is_sha256(reader, length):
    content = bytes(i * 7 % 256 for i in range(length))
    script = "async ([source, bytes]) => [...(await import(URL.createObjectURL(new Blob([source], "
    script += "{ type: 'text/javascript' })))).plainSha256(new Uint8Array(bytes))]"
    digest = reader.page.evaluate(script, [module.joined("sha256.mjs"), list(content)])
    assert bytes(digest) == hashlib.sha256(content).digest()


def test_dna_can_be_edited_from_the_keyboard(reader):
    reader.open_drawer()
    before = reader.trait("code")
    reader.page.focus(".ncam .dna")
    reader.page.keyboard.press("ArrowRight")
    assert "gene 2, letter 1" in reader.status()
    reader.regrow(lambda: reader.page.keyboard.press("Space"))
    assert reader.trait("code") != before


def test_from_a_file_the_embedded_automata_grow_and_the_rest_is_explained(browser):
    opened = Reader(browser, (BUILT / "book" / "live.html").as_uri())
    assert difference(opened.grown(), [255] * 4 * 64 * 64) > 20
    opened.page.click(".ncam summary")
    opened.page.wait_for_function("document.querySelector('.ncam .status').textContent.includes('web server')")
    assert not opened.errors
    opened.page.close()
