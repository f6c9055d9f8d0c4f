"""The built book, as a browser sees it: no error, nothing missing, nothing asked of another host."""

import email.utils
import functools
import html.parser
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
import types
import urllib.parse
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from fontTools.ttLib import TTFont
from PIL import Image
from reader import browser  # noqa: F401 -- a fixture

from ncamlib.chapters import figures
from ncamlib.machine import browser as find_browser
from ncamlib.results import tables

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "_build" / "html"
CHROMIUM = find_browser()
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--virtual-time-budget=4000",
    "--enable-logging=stderr",
    "--dump-dom",
]

toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [toc["root"], *(chapter["file"] for chapter in toc["chapters"])]
built = pytest.mark.skipif(not BUILT.exists(), reason="the book is not built: run make book")


class Page(html.parser.HTMLParser):
    """What a page loads, where it links to, the anchors it has, its pictures without a description."""

    def __init__(self, text: str):
        super().__init__()
        self.loads, self.links, self.anchors, self.undescribed = [], [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors |= {values["id"]} if "id" in values else set()
        if tag in ("script", "img", "iframe", "source") and values.get("src"):
            self.loads.append(values["src"])
        if tag == "link" and values.get("rel") not in ("canonical", "search", "index", "next", "prev", "author"):
            self.loads.append(values.get("href", ""))
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag == "img" and not values.get("alt"):
            self.undescribed.append(values.get("src"))


@functools.cache
def parse(file: Path) -> Page:
    return Page(file.read_text(encoding="utf-8"))


@built
@pytest.mark.parametrize("page", PAGES)
class TestPages:
    def test_loads_nothing_from_elsewhere(self, page):
        for target in parse(BUILT / f"{page}.html").loads:
            assert not re.match(r"(https?:)?//", target), f"{page} loads {target}"

    def test_pictures_are_described(self, page):
        assert not parse(BUILT / f"{page}.html").undescribed

    def test_links_lead_somewhere(self, page):
        here = BUILT / f"{page}.html"
        for link in parse(here).links:
            url = urllib.parse.urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (here.parent / urllib.parse.unquote(url.path)).resolve() if url.path else here
            assert target.exists(), f"{page} links to {link}"
            if url.fragment and target.suffix == ".html":
                assert urllib.parse.unquote(url.fragment) in parse(target).anchors, f"{page} links to {link}"

    @pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
    def test_browser_shows_it_without_complaint(self, page, site, tmp_path):
        address, missing = site
        log = tmp_path / "net.json"
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}/profile", f"--log-net-log={log}"]
        shown = subprocess.run(
            [*command, f"{address}/{page}.html"], capture_output=True, text=True, timeout=120, check=True
        )
        assert "<h1" in shown.stdout
        # Every line on the console is a complaint, but for what the theme says of its own work.
        said = [line for line in shown.stderr.splitlines() if "CONSOLE" in line]
        assert not [line for line in said if not re.search(r"\[(PST|togglebutton)\]: ", line)]
        assert not missing, f"missing: {missing}"
        assert requested_hosts(log) == {urllib.parse.urlsplit(address).netloc}


def requested_hosts(log: Path) -> set[str]:
    """Every host that the page asked for anything, from Chromium's own network log."""
    text = log.read_text(encoding="utf-8")
    content = json.loads(text if text.rstrip().endswith("}") else text.rstrip().rstrip(",") + "]}")
    starts = content["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    events = [e for e in content["events"] if e["type"] == starts and "params" in e]
    page = [e for e in events if "initiator" in e["params"] and e["params"].get("initiator") != "not an origin"]
    urls = [urllib.parse.urlsplit(e["params"]["url"]) for e in page]
    return {url.netloc for url in urls if url.scheme in ("http", "https", "ws", "wss")}


@pytest.fixture(scope="module")
def site():
    """The built book on a local port, and the paths that were asked for in vain."""
    missing = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def send_error(self, code, *rest):
            missing.append(self.path)
            super().send_error(code, *rest)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=BUILT))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", missing
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("file", ["README.md", "book/intro.md", "book/choices.md"])
def test_tables_are_rendered_from_the_recorded_results(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    written = [part.split(tables.END)[0].strip() for part in text.split(tables.BEGIN)[1:]]
    assert written == tables.rendered()[file], "run ncam list --write"


def test_the_readme_snippet_runs(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    snippet = text.split("```python\n")[1].split("```")[0]
    subprocess.run([sys.executable, "-c", snippet], check=True, cwd=tmp_path)
    assert (tmp_path / "a.gif").stat().st_size > 1000


# Every chapter runs with other parameters than its own, quickly, and its output says so.
SMOKE = {
    "01_growth": ({"emoji": "🆒", "rows": 1}, "COOL_button"),
    "02_encodings": ({"sample": 3, "shown": 2}, "DNA-SYN 16-512"),
    "04_genetic_engineering": ({"group_b": "Santa", "targets": "🍕", "thresholds": "0.6", "sample": 3}, "Santa: "),
    "05_ablation": ({"retrain": True, "minutes": 0.03, "dataset": "chars", "sample": 4, "shown": 2}, "Trained afresh"),
    "06_cifar10": ({"data_dir": "pictures", "sample": 2, "shown": 2}, "measured on 2 of 3 pictures"),
    "07_single_nca": ({"emoji": "🆒"}, "1 picture"),
    "08_beyond": ({"sample": 4, "shown": 3, "factor": 2}, "never seen"),
    "09_regeneration": ({"kind": "half", "after": 19, "shown": 2}, "T after damage"),
    "03_subsets": ({"subsets": "emos", "sample": 4, "shown": 2}, "shipped: emos"),
    "evidence": ({"most": 2}, "DNA codes are as good"),
    "live": ({"first": "🆒", "mutation_rate": 0.25}, "COOL_button"),
    "performance": ({"grid": 16, "steps": 2, "batch": 1}, "bmm eager"),
    "reproduce": ({"only_recorded": False}, "cifar10-dna-syn"),
}
NOTEBOOKS = [page for page in PAGES if (ROOT / f"{page}.ipynb").exists()]


@pytest.mark.long
@pytest.mark.parametrize("page", NOTEBOOKS)
def test_a_chapter_runs_elsewhere_with_other_parameters(page, tmp_path):
    changes, expected = SMOKE[Path(page).name]
    before = {f: f.stat().st_mtime_ns for f in (ROOT / "figures").iterdir()}
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        Image.new("RGB", (32, 32), (80 * i, 40, 200)).save(tmp_path / "pictures" / f"{i}.png")
    given = [word for name, value in changes.items() for word in ("-p", name, str(value))]
    command = [sys.executable, "-m", "papermill", str(ROOT / f"{page}.ipynb"), "out.ipynb", *given]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert expected in (tmp_path / "out.ipynb").read_text(encoding="utf-8")
    # The figures of the book are those of its own parameters.
    assert {f: f.stat().st_mtime_ns for f in (ROOT / "figures").iterdir()} == before


def test_photographs_are_downloaded_if_asked_for():
    """The cell alone: the photographs are not here."""
    cells = json.loads((ROOT / "book" / "06_cifar10.ipynb").read_text(encoding="utf-8"))["cells"]
    (source,) = [text for text in ("".join(cell["source"]) for cell in cells) if '"download"' in text]
    asked = []

    def load(*arguments):
        asked.append(arguments)
        raise InterruptedError

    for given, folder in ("download", None), ("pictures", Path("pictures")):
        p = types.SimpleNamespace(data_dir=Path(given))
        with pytest.raises(InterruptedError):
            exec(source, {"p": p, "data": types.SimpleNamespace(load=load)})
        assert asked.pop() == ("cifar10", 32, 3, folder)


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_what_chance_decides_follows_the_seed(page):
    cells = json.loads((ROOT / f"{page}.ipynb").read_text(encoding="utf-8"))["cells"]
    source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    for call in re.findall(r"draw_(?:fire|mutation)\((.*)\)", source):
        assert "generator=" in call or call.count(",") > 1, call


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_parameters_are_documented(page):
    from papermill.inspection import inspect_notebook

    parameters = inspect_notebook(str(ROOT / f"{page}.ipynb"))
    assert parameters
    for name, about in parameters.items():
        assert about["inferred_type_name"] != "None", f"{name} has no type"
        assert about["help"], f"{name} has no help"


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_notebooks_keep_no_state_of_widgets(page):
    """The page brings the live module itself; a copy in every notebook would be shown beside it and grow stale."""
    notebook = json.loads((ROOT / f"{page}.ipynb").read_text(encoding="utf-8"))
    assert "widgets" not in notebook["metadata"]
    for cell in notebook["cells"]:
        assert not (cell.get("outputs") and "live" in cell["metadata"].get("tags", []))


def test_published_notebooks_install_the_project_first(tmp_path):
    import importlib.util

    import nbformat

    found = importlib.util.spec_from_file_location("colab", ROOT / "book" / "_ext" / "colab.py")
    colab = importlib.util.module_from_spec(found)
    found.loader.exec_module(colab)
    for notebook in (ROOT / "book").glob("*.ipynb"):
        shutil.copy(notebook, tmp_path)
    for _ in range(2):  # again makes no difference
        names = colab.add_install_cells(tmp_path, "https://github.com/someone/ncam")
    assert len(names) == len(NOTEBOOKS)
    for name in names:
        notebook = nbformat.read(tmp_path / name, as_version=4)
        nbformat.validate(notebook)
        committed = nbformat.read(ROOT / "book" / name, as_version=4)
        assert "git clone -q --depth 1 https://github.com/someone/ncam" in notebook.cells[0].source
        assert [c.source for c in notebook.cells[1:]] == [c.source for c in committed.cells]


def test_the_changelog_is_a_feed():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    feed = ElementTree.parse(BUILT / "book" / "changelog.xml")
    assert feed.findtext("channel/title") == "Neural Cellular Automata Manifold"
    items = feed.findall("channel/item")
    assert [item.findtext("title") for item in items] == re.findall(r"^### .* · (.*)$", changelog, re.MULTILINE)
    dates = [email.utils.parsedate_to_datetime(item.findtext("pubDate")) for item in items]
    assert dates == sorted(dates, reverse=True)
    assert all("<li>" in item.findtext("description") for item in items)
    assert 'type="application/rss+xml" href="changelog.xml"' in (BUILT / "book" / "changelog.html").read_text()


def _committed(file: Path) -> bytes:
    command = ["git", "-C", str(ROOT), "show", f"HEAD:figures/{file.name}"]
    return subprocess.run(command, capture_output=True, check=True).stdout


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
@pytest.mark.parametrize("file", sorted((ROOT / "figures").glob("*.png")), ids=lambda f: f.stem)
def test_figures_are_those_that_were_committed(file):
    """Executing the chapters rewrites them: on another machine they must look the same."""
    try:
        before = _committed(file)
    except subprocess.CalledProcessError:
        pytest.skip("not committed yet")
    assert figures.different(before, file.read_bytes()) < 0.002


CHAPTER = str(ROOT / "book" / "01_growth.ipynb")


def test_an_unknown_parameter_stops_a_chapter_with_the_choices(tmp_path):
    command = [sys.executable, "-m", "papermill", CHAPTER, "out.ipynb", "-p", "stepps", "3"]
    failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert failed.returncode != 0
    assert "unknown parameter 'stepps': choose one of experiment, emoji, steps" in failed.stderr


AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
AUDIT = """async (theme) => {
  document.documentElement.dataset.theme = theme;
  await new Promise((resolve) => setTimeout(resolve, 200));
  const colours = { runOnly: { type: 'rule', values: ['color-contrast', 'link-in-text-block'] } };
  const { violations } = await axe.run(theme === 'dark' ? colours : { resultTypes: ['violations'] });
  return violations.flatMap(({ id, impact, nodes }) =>
    nodes.map(({ html }) => `${impact} ${id}: ${html.slice(0, 150)}`));
}"""


CUT_OFF = """() => [...document.querySelectorAll('html, .bd-article pre')]
  .filter((e) => e.scrollWidth > e.clientWidth + 1).length"""


@pytest.mark.long
@built
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.skipif(not AXE.exists(), reason="axe is not installed: run npm ci")
@pytest.mark.parametrize(("width", "themes"), [(1280, ["light", "dark"]), (400, ["light"])])
def test_pages_are_accessible_and_nothing_is_cut_off(browser, site, width, themes):  # noqa: F811
    """No violation of any impact, wide or narrow, nor of the rules of colours in the dark; nothing overflows."""
    found = []
    page = browser.new_page(viewport={"width": width, "height": 900})
    for name in PAGES:
        page.goto(f"{site[0]}/{name}.html")
        page.add_style_tag(content="*, *::before, *::after { transition: none !important; }")  # colours at once
        page.evaluate(AXE.read_text(encoding="utf-8"))
        for theme in themes:
            found += [f"{name} {theme}: {fault}" for fault in page.evaluate(AUDIT, theme)]
        found += [f"{name}: cut off"] * page.evaluate(CUT_OFF)
    page.close()
    assert not found


@built
@pytest.mark.parametrize("page", PAGES)
def test_shared_links_have_a_description_and_a_picture(page):
    text = (BUILT / f"{page}.html").read_text(encoding="utf-8")
    (description,) = re.findall(r'<meta name="description" content="([^"]{40,})" />', text)
    assert f'<meta property="og:description" content="{description}" />' in text
    (picture,) = re.findall(r'<meta property="og:image" content="([^"]+)" />', text)
    with Image.open((BUILT / f"{page}.html").parent / picture) as preview:
        assert preview.size == (1200, 630)


@built
def test_pages_load_what_they_use_only():
    for page in PAGES:
        text = (BUILT / f"{page}.html").read_text(encoding="utf-8")
        assert not re.search(r"fontawesome\.js|thebe|sphinx-design|widget-state", text), page
        for picture in re.findall(r'<img [^>]*src="([^"]+)"', text):
            if not picture.startswith("data:"):
                assert (BUILT / f"{page}.html").parent.joinpath(picture).stat().st_size < 350_000, picture


@pytest.mark.skipif(not (ROOT / "node_modules" / "@fontsource").exists(), reason="the font of the formulas is not here")
def test_formulas_have_a_font_in_which_parentheses_stretch(browser):  # noqa: F811
    page = browser.new_page()
    page.goto((BUILT / "book" / "method.html").as_uri())
    page.evaluate("() => document.fonts.ready")
    fonts = page.evaluate("() => [...document.fonts].map((face) => [face.family, face.status])")
    assert fonts == [["Formulas", "loaded"]]
    heights = page.evaluate(
        """() => [...document.querySelectorAll('math mo')].filter((mo) => ['(', '['].includes(mo.textContent.trim()))
             .map((mo) => mo.getBoundingClientRect().height)"""
    )
    assert max(heights) > 2 * min(heights)
    font = BUILT / "_static" / "formulas.woff"
    assert font.stat().st_size < 40_000
    assert page.locator("math msqrt").count() > 0
    assert ord("√") in TTFont(font).getBestCmap()  # an element's sign, which is in no text
    page.close()
