"""The live manifold on the built page: what it loads, checks, computes and links to."""

import base64
import gzip
import hashlib
import re
import time

import pytest
import torch
from PIL import Image
from reader import BLANK, BUILT, Reader, address, browser, difference, needs_page  # noqa: F401 -- fixtures

from ncamlib import data
from ncamlib.data.pictures import to_picture
from ncamlib.live import assets, build, module
from ncamlib.model import checkpoint, dna, genetics

pytestmark = needs_page


@pytest.fixture
def reader(browser, address):  # noqa: F811
    opened = Reader(browser, f"{address}/book/live.html")
    opened.page.wait_for_selector(".ncam .seedlings button")
    yield opened
    assert not opened.errors
    hosts = {url.split("/")[2] for url in opened.requests if url.startswith("http")}
    assert hosts == {address.split("/")[2]}
    opened.close()


def test_growth_begins_at_once_without_loading(reader):
    first = reader.grown()
    assert difference(first, BLANK) > 20
    assert not any("/live/" in url.split("_static")[-1] for url in reader.requests)
    again = reader.regrow(lambda: reader.press("play"))
    assert again == first
    other = reader.regrow(lambda: reader.page.click(".ncam .seedlings button >> nth=1"))
    assert difference(first, other) > 10


def test_what_the_first_automata_grow_is_what_the_manifold_grows(reader):
    """Their weights travel in 8 bits."""
    early = reader.grown()
    reader.see_all()
    late = reader.regrow(lambda: reader.set("mutation_rate", 1e-9))  # no letter changes, but all is computed anew
    assert 0 < difference(early, late) < 4


GROW = """async ([source, wasm, image, steps]) => {
  const engine = await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
  const packed = (await fetch('../_static/live/chars-dna-syn-manifold.bin')).body;
  const file = await new Response(packed.pipeThrough(new DecompressionStream('gzip'))).arrayBuffer();
  const { header, tensors } = engine.parse(file);
  const own = engine.writeGenes(engine.genesOf(tensors.genes, image), engine.likeliest(tensors.words.data));
  const letters = engine.mutate(own, 0.5, 7);
  const kernel = new WebAssembly.Module(Uint8Array.from(atob(wasm), (c) => c.charCodeAt(0)));
  const automaton = new engine.Automaton(kernel, 64);
  const embedding = engine.decodeGenes(tensors, letters), weights = engine.predict(tensors, embedding);
  automaton.weights = weights;
  automaton.step(header, 1, 7, steps);
  const soft = Uint8Array.from({ length: 256 * 16 * 4 }, (_, i) => 1 + (((i * 7919) % 251) ** 2 >> 8));
  const group = [0, 1, 2].map((one) => Uint8Array.from({ length: 512 }, (_, i) => 37 * one + 101 * i));
  const shared = [0.5, 0.7].flatMap((limit) => [...engine.sharedLetters(group, soft, limit)]);
  const all = { letters, embedding, weights, state: automaton.state, shared };
  return Object.fromEntries(Object.entries(all).map(([name, values]) => [name, [...values]]));
}"""


def shipped(model):
    """A model whose decoder has the weights that the page is sent."""
    import safetensors.torch

    content = gzip.decompress((BUILT / "_static" / "live" / "chars-dna-syn-manifold.bin").read_bytes())
    tensors = safetensors.torch.load(content)
    for name, tensor in model.state_dict().items():
        if name in tensors:
            scale = tensors.get(f"{name}.scale", torch.ones(1)).view(-1, *[1] * (tensor.ndim - 1))
            tensor.copy_((tensors[name].float() * scale).view_as(tensor))
    return model


def test_the_browser_computes_what_the_library_does(reader):
    """On the trained model that the page loads: letters, embedding, weights, 40 steps, and what a group shares."""
    engine = module.joined("safetensors.mjs", "letters.mjs", "decoder.mjs", "automaton.mjs")
    wasm = base64.b64encode(build.BINARY.read_bytes()).decode()
    answer = {name: torch.tensor(v) for name, v in reader.page.evaluate(GROW, [engine, wasm, 3, 40]).items()}
    model, header = checkpoint.load_model("chars-dna-syn")
    images = data.emoji(header["images"])
    with torch.no_grad():
        words = assets.Words.of(model, images)
        own, mutation = words.code(words.read(model, images.pixels[3:4])), dna.seeded_mutation((1, 512, 16), 0.5, 7)
        model = shipped(model)
        code = dna.mutate(own, mutation)
        embedding = model.code.decode(code)
        weights = model.predictor(embedding)
        grown = model.grow(weights, 40, backend="reference")[0]
    soft = (1 + (torch.arange(256 * 16 * 4) * 7919 % 251).square() // 256).view(256, 16, 4)
    group = (37 * torch.arange(3)[:, None] + 101 * torch.arange(512)) % 256
    means = [genetics.mean_genes(assets.Words(words.levels, soft).code(group), limit) for limit in (0.5, 0.7)]
    shared = torch.stack([torch.where(genes.sum(-1) > 0, genes.argmax(-1), 4) for genes in means])
    assert answer["shared"].tolist() == shared.flatten().tolist()
    assert 0 < (shared == 4).float().mean() < 1
    assert (answer["letters"] & 7).tolist() == code.argmax(-1).flatten().tolist()
    torch.testing.assert_close(answer["embedding"], embedding[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(answer["weights"], torch.cat([w.flatten() for w in weights]), atol=1e-4, rtol=1e-4)
    state = answer["state"].view(66, 66, 16)[1:-1, 1:-1].permute(2, 0, 1)
    assert (state - grown).abs().max() < 1e-4 * max(1, grown.abs().max().item())


def test_a_picture_of_ones_own_becomes_dna(reader, tmp_path):
    """A picture of the training set is encoded as the library did it, so it grows as its emoji does."""
    images = data.emoji("chars")
    colour = images.pixels[images.index("SOS_button")]
    straight = torch.cat([colour[:3] / colour[3:].clamp_min(1e-6), colour[3:]]).clamp(0, 1)
    path = tmp_path / "mine.png"
    Image.fromarray((straight.permute(1, 2, 0) * 255).round().byte().numpy(), "RGBA").save(path)
    reader.see_all()
    known, letter = reader.pick("sos"), reader.pick("regional k")
    reader.page.click(".ncam .more summary")
    mine = reader.regrow(lambda: reader.page.set_input_files(".ncam [name=upload]", path))
    assert difference(mine, known) < 3 < difference(letter, known)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    reader.page.set_input_files(".ncam [name=upload]", tmp_path / "broken.png")
    reader.says("not a picture")


def follow(opened, link):
    """Open a link in a page that is open."""
    opened.page.evaluate("link => { location.hash = link; }", link)


def test_a_link_is_short_and_reproduces_what_is_seen(reader, browser, address):  # noqa: F811
    """Also a child of two emoji outside the instant row, and DNA that was edited."""
    reader.see_all()
    reader.pick("sos")
    reader.page.click(".ncam [data-slot=second]")
    reader.pick("hundred")
    shown = reader.regrow(lambda: reader.slide("mutation", 0.3))
    reader.press("link")
    link = reader.page.input_value(".ncam dialog textarea")
    assert len(link) < 150
    other = Reader(browser, link)
    assert other.grown() == shown
    assert (other.trait("emoji"), other.trait("partner"), other.trait("mutation_rate")) == ("🆘", "💯", 0.3)
    other.close()

    reader.page.keyboard.press("Escape")
    edited = reader.regrow(lambda: reader.page.click(".ncam .groups button >> nth=0"))
    reader.press("link")
    reader.page.wait_for_function("document.querySelector('.ncam dialog textarea').value.includes('code=')")
    link = reader.page.input_value(".ncam dialog textarea")
    assert "too long for a QR code" in reader.page.inner_text(".ncam dialog")
    other = Reader(browser, link)
    assert other.grown() == edited
    assert other.regrow(lambda: other.press("clean")) == shown
    other.close()


def test_the_qr_code_holds_the_link(reader):
    zxingcpp = pytest.importorskip("zxingcpp")
    reader.grown()
    reader.press("link")
    link = reader.page.input_value(".ncam dialog textarea")
    drawn = reader.page.evaluate(
        """() => {
          const c = document.querySelector('.ncam .qr');
          return [c.width, Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.width).data)];
        }"""
    )
    modules = torch.tensor(drawn[1], dtype=torch.uint8).view(drawn[0], drawn[0], 4)[..., 0]
    picture = to_picture((modules.float() / 255).expand(3, -1, -1)).resize(
        (8 * drawn[0],) * 2, Image.Resampling.NEAREST
    )
    (read,) = zxingcpp.read_barcodes(picture)
    assert read.text == link


@pytest.mark.parametrize("length", [1, 17, 53, 78, 106, 134, 154, 192, 230, 271])
def test_qr_codes_of_every_size_can_be_read(reader, length):
    zxingcpp = pytest.importorskip("zxingcpp")
    text = ("https://example.org/é#" + "emoji=%F0%9F%86%98&" * 20).encode()[:length].decode(errors="ignore")
    script = "async ([source, text]) => (await import(URL.createObjectURL(new Blob([source], "
    script += "{ type: 'text/javascript' })))).qrCode(text).map((row) => row.map(Number))"
    modules = 1 - torch.tensor(reader.page.evaluate(script, [module.joined("qr.mjs"), text]))
    framed = torch.nn.functional.pad(modules.float(), (4, 4, 4, 4), value=1).expand(3, -1, -1)
    (read,) = zxingcpp.read_barcodes(to_picture(framed).resize((8 * framed.shape[-1],) * 2, Image.Resampling.NEAREST))
    assert read.text == text


def test_the_page_follows_another_link(reader):
    reader.grown()
    whole = reader.regrow(lambda: follow(reader, "#emoji=🆘"))
    assert reader.trait("emoji") == "🆘"
    damaged = reader.regrow(lambda: follow(reader, "#emoji=🆘&mutation=0.5&seed=3"))
    assert (reader.trait("mutation_rate"), reader.trait("seed")) == (0.5, 3)
    assert difference(whole, damaged) > 1


@pytest.mark.parametrize(
    "body",
    [
        '{"version": 99, "files": {}}',
        "no JSON",
        "[]",
        "null",
        '{"version": 2}',
        '{"version": 2, "files": {"chars-dna-syn-manifold.bin": {"bytes": -1, "sha256": 3}}}',
    ],
)
def test_another_manifest_is_refused(browser, address, body):  # noqa: F811
    """In a sentence that stays, while what grew goes on growing."""
    opened = Reader(browser, f"{address}/book/live.html")
    opened.page.route("**/manifest.json", lambda route: route.fulfill(body=body))
    opened.page.click(".ncam .everything summary")
    opened.says("reload the page")
    opened.page.wait_for_timeout(2500)
    assert "another than it knows: reload the page" in opened.status()
    assert difference(opened.picture(), BLANK) > 20
    opened.close()


def test_a_damaged_manifold_is_refused(browser, address):  # noqa: F811
    opened = Reader(browser, f"{address}/book/live.html")

    def damage(route):
        body = bytearray(route.fetch().body())
        body[-1] ^= 1
        route.fulfill(body=bytes(body))

    opened.page.route("**/*-manifold.bin*", damage)
    opened.page.click(".ncam .everything summary")
    opened.says("damaged")
    opened.close()


LETTERS = base64.b64encode(bytes(2048)).decode()
BAD_LINKS = {
    "emoji=%F0%9F%86%98&code=***": "The DNA in this link is damaged",
    f"emoji=%F0%9F%86%98&code={LETTERS[:-4]}": "The DNA in this link is damaged",
    "emoji=nothing_like_it": "“nothing_like_it” is none of the emoji",
    "emoji=%F0%9F%A7%8C": "is none of the emoji",
    "emoji=%F0%9F%86%98&partner=%F0%9F%A7%8C": "is none of the emoji",
    "emoji=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E": "“<img src=x onerror=alert(1)>” is none of the emoji",
    "emoji=%F0%9F%86%98&mutation=5": "mutation=5 (it must be from 0 to 1)",
    "mutation=nan": "mutation=nan (it must be from 0 to 1)",
    "fire=0": "fire=0 (it must be from 0.05 to 1)",
    "seed=1.5": "seed=1.5 (it must be a whole number from 0 to 4294967295)",
    "seed=-1&mutation=Infinity": "mutation=Infinity",
    "mutation=": "mutation= (it must be",
}


@pytest.mark.parametrize("link", BAD_LINKS)
def test_a_link_that_cannot_be_followed_says_so_and_grows_nothing(browser, address, link):  # noqa: F811
    opened = Reader(browser, f"{address}/book/live.html#{link}")
    said = BAD_LINKS[link]
    opened.says(said)
    opened.page.wait_for_timeout(2500)
    assert said in opened.status(), "it does not stay"
    assert opened.picture() == BLANK, "something grows"
    # What the reader tries next grows nothing by accident either; an emoji that is chosen does.
    for action in ("play", "restart", "step"):
        opened.press(action)
    opened.slide("fire", 0.9)
    assert opened.picture() == BLANK
    assert said in opened.status()
    opened.page.click(".ncam .seedlings button >> nth=1")
    assert difference(opened.grown(), BLANK) > 10
    assert not opened.errors
    opened.close()


@pytest.mark.parametrize(
    ("bad", "said"),
    [("mutation=7", "cannot be followed"), ("emoji=zzz", "is none of"), ("partner=zzz", "is none of")],
)
def test_a_good_link_after_a_bad_one_is_followed(reader, bad, said):
    whole = reader.grown()
    follow(reader, f"#{bad}")
    reader.says(said)
    assert reader.picture() == BLANK
    reader.regrow(lambda: follow(reader, "#mutation=0"))
    assert said not in reader.status()
    assert reader.picture() == whole


def test_what_could_not_be_loaded_is_neither_shown_nor_said(reader):
    """Without it the letters of a mutant have no picture; once it is there, nothing complains any more."""
    reader.grown()
    reader.page.route("**/*manifold.bin*", lambda route: route.abort())
    reader.slide("mutation", 0.5)
    reader.says("could not be loaded")
    assert reader.picture() == BLANK
    reader.page.unroute("**/*manifold.bin*")
    assert difference(reader.regrow(lambda: reader.slide("mutation", 0.6)), BLANK) > 1
    assert "with 60% of its DNA" in reader.status()


def test_a_group_that_is_pressed_while_another_model_loads_harms_nothing(browser, address):  # noqa: F811
    opened = Reader(browser, f"{address}/book/intro.html")
    opened.grown()
    opened.see_all()

    def late(route):
        time.sleep(1)
        route.continue_()

    opened.page.route("**/*regrow-manifold.bin*", late)
    opened.page.evaluate("document.querySelectorAll('.ncam details').forEach((e) => { e.open = true; })")
    opened.page.evaluate(
        """() => {
          const regime = document.querySelector('.ncam [name=regime]');
          regime.value = 'regenerating';
          regime.dispatchEvent(new Event('input', { bubbles: true }));
          document.querySelector('.ncam .groups button').click();
          document.querySelector('.ncam [data-slot=second]').click();
        }"""
    )
    assert difference(opened.regrow(lambda: None), BLANK) > 10
    assert not opened.errors
    opened.close()


@pytest.mark.parametrize("length", [0, 3, 55, 56, 63, 64, 65, 1000])
def test_the_digest_without_encryption_is_sha256(reader, length):
    content = bytes(i * 7 % 256 for i in range(length))
    script = "async ([source, bytes]) => [...(await import(URL.createObjectURL(new Blob([source], "
    script += "{ type: 'text/javascript' })))).plainSha256(new Uint8Array(bytes))]"
    digest = reader.page.evaluate(script, [module.joined("sha256.mjs"), list(content)])
    assert bytes(digest) == hashlib.sha256(content).digest()


def test_the_page_is_light():
    """What is loaded before the first click, and up to the first mutation."""
    front = (BUILT / "book" / "intro.html").read_text(encoding="utf-8")
    weight = len(front.encode())
    for link in set(re.findall(r'(?:src|href)="\.\./([^"?#]+)', front)):
        file = BUILT / link
        if file.suffix in (".css", ".js", ".svg", ".png", ".webp"):
            weight += file.stat().st_size
    assert weight <= 600_000
    assert (BUILT / "_static" / "live" / "chars-dna-syn-manifold.bin").stat().st_size <= 3_000_000
