"""Every control of the live panel, from a server and from a file, by mouse, touch and keyboard."""

import re

import pytest
from reader import BLANK, BUILT, Reader, address, another_page, browser, difference, needs_page  # noqa: F401 -- fixtures

pytestmark = needs_page


@pytest.fixture(params=["server", "file"])
def place(request, address):  # noqa: F811
    return f"{address}/book/live.html" if request.param == "server" else (BUILT / "book" / "live.html").as_uri()


@pytest.fixture
def reader(browser, place):  # noqa: F811
    opened = Reader(browser, place)
    opened.page.wait_for_selector(".ncam .seedlings button")
    yield opened
    assert not opened.errors
    opened.close()


@pytest.fixture
def phone(browser, place):  # noqa: F811
    opened = Reader(browser, place, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    opened.page.wait_for_selector(".ncam .seedlings button")
    opened.page.evaluate("document.querySelector('.ncam').scrollIntoView()")  # what nobody sees does not grow
    yield opened
    assert not opened.errors
    opened.close()


def random_letters(opened):
    return int(opened.page.get_attribute(".ncam", "data-random"))


def middle(opened, selector):
    box = opened.page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_mutation_shows_what_is_random_and_grows_the_same_emoji(reader):
    clean = reader.grown()
    assert random_letters(reader) == 0
    half = reader.regrow(lambda: reader.slide("mutation", 0.5))
    assert random_letters(reader) == pytest.approx(4096, abs=150)
    assert f"{random_letters(reader):,} of 8,192 letters are random" in reader.page.inner_text(".ncam .counter")
    all_random = reader.regrow(lambda: reader.slide("mutation", 1))
    assert random_letters(reader) == 8192
    assert difference(clean, half) < difference(clean, all_random)
    assert difference(reader.regrow(lambda: reader.slide("mutation", 0)), clean) == 0
    other = reader.regrow(lambda: (reader.slide("mutation", 0.5), reader.press("reseed")))
    assert other != half


def test_crossing_is_two_taps(reader):
    first = reader.grown()
    second = reader.regrow(lambda: reader.page.click(".ncam .seedlings button >> nth=2"))
    reader.regrow(lambda: reader.page.click(".ncam .seedlings button >> nth=0"))
    reader.page.click(".ncam [data-slot=second]")
    child = reader.regrow(lambda: reader.page.click(".ncam .seedlings button >> nth=2"))
    assert min(difference(child, first), difference(child, second)) > 3
    assert "crossed with" in reader.status()
    assert reader.page.is_visible(".ncam .child")
    sibling = reader.regrow(lambda: reader.press("breed"))
    assert sibling != child
    towards = reader.regrow(lambda: reader.slide("mix", 1))
    assert difference(towards, second) < difference(towards, first)
    reader.regrow(lambda: reader.slide("mix", 0))
    assert difference(reader.regrow(lambda: reader.press("single")), first) == 0
    assert not reader.page.is_visible(".ncam .child")
    reader.page.click(".ncam [data-slot=second]")
    reader.regrow(lambda: reader.page.click(".ncam .seedlings button >> nth=2"))
    # Without a slot, a tap is for one emoji.
    assert difference(reader.regrow(lambda: reader.page.click(".ncam .seedlings button >> nth=0")), first) == 0
    assert reader.trait("partner") == ""


def test_surprise_me_crosses_two_emoji(reader):
    reader.regrow(lambda: reader.press("surprise"))
    assert "crossed with" in reader.status()
    assert reader.trait("partner")


def test_groups_write_their_letters_and_they_can_be_taken_back(reader):
    own = reader.grown()
    reader.page.click(".ncam .families summary")
    reader.page.wait_for_selector(".ncam .groups button", timeout=30_000)
    assert reader.page.locator(".ncam .groups button").count() > 5
    reader.page.fill(".ncam [name=group]", "keycap")
    assert "keycap (13)" in reader.page.inner_text(".ncam .groups")
    written = reader.regrow(lambda: reader.page.click(".ncam .groups button >> nth=0"))
    assert difference(written, own) > 3
    assert "share" in reader.status()
    assert reader.regrow(lambda: reader.press("clean")) == own


@pytest.mark.parametrize("text", ["🆘", "🆘️", ":sos:", "SOS button", "U+1F198", "sos_button", " Sos"])
def test_search_takes_any_spelling(reader, text):
    reader.see_all()
    reader.page.fill(".ncam [name=search]", text)
    shown = reader.page.locator(".ncam .all button:visible")
    assert shown.count() == 1
    assert shown.get_attribute("title") == "SOS button"
    reader.regrow(lambda: reader.page.press(".ncam [name=search]", "Enter"))
    assert reader.trait("emoji") == "🆘"
    reader.page.fill(".ncam [name=search]", "nothing like it")
    assert reader.page.is_visible(".ncam .none")
    reader.page.fill(".ncam [name=search]", "")
    assert reader.page.locator(".ncam .all button:visible").count() == 96


def test_wounding_playing_and_single_steps(reader):
    whole = reader.grown()
    assert reader.page.inner_text(".ncam [data-do=play]") == "Grow again"
    hurt = reader.regrow(lambda: reader.page.mouse.click(*middle(reader, ".ncam .picture")))
    assert difference(whole, hurt) > 1
    assert "does not heal" in reader.status()
    assert reader.regrow(lambda: reader.press("play")) == whole  # again, from one pixel
    assert difference(reader.regrow(lambda: reader.press("wound")), whole) > 1
    reader.press("step")
    before = reader.picture()
    reader.press("step")
    assert reader.picture() != before


def test_speed_fire_rate_grid_channels_zoom_and_endless_growth(reader):
    picture = reader.grown()
    reader.slide("speed", 120)
    assert reader.trait("steps_per_second") == 120
    assert reader.regrow(lambda: reader.slide("fire", 0.5)) != picture
    assert reader.regrow(lambda: reader.slide("fire", 1)) == picture
    reader.page.click(".ncam .more summary")
    reader.regrow(lambda: reader.page.select_option(".ncam [name=side]", "96"))
    assert reader.page.evaluate("document.querySelector('.ncam .picture').width") == 96
    assert int(reader.page.get_attribute(".ncam", "data-time")) == 48  # 32 on 64 cells
    reader.regrow(lambda: reader.page.select_option(".ncam [name=side]", "64"))
    reader.page.select_option(".ncam [name=channel]", "5")
    assert difference(reader.picture(), picture) > 10
    reader.page.select_option(".ncam [name=channel]", "-2")
    reader.page.wait_for_function("document.querySelector('.ncam .picture').width === 256")
    reader.page.select_option(".ncam [name=channel]", "-1")
    reader.page.wait_for_function("document.querySelector('.ncam .picture').width === 64")
    narrow = reader.page.locator(".ncam .picture").bounding_box()["width"]
    reader.slide("zoom", 4)
    assert reader.page.locator(".ncam .picture").bounding_box()["width"] == pytest.approx(4 * narrow, rel=0.05)
    reader.slide("zoom", 1)
    reader.page.check(".ncam [name=endless]")
    reader.page.wait_for_timeout(600)
    assert reader.trait("playing")
    assert int(reader.page.get_attribute(".ncam", "data-time")) > 32


def test_the_stage_stays_in_sight_while_controls_scroll(reader):
    reader.see_all()
    reader.page.click(".ncam .more summary")
    reader.page.locator(".ncam [name=upload]").scroll_into_view_if_needed()
    reader.page.wait_for_timeout(300)
    box = reader.page.locator(".ncam .picture").bounding_box()
    assert 0 <= box["y"] < 900 - box["height"]


def test_a_gene_is_read_and_repainted(reader):
    own = reader.grown()
    reader.page.click(".ncam .more summary")
    box = reader.page.locator(".ncam .dna").bounding_box()
    reader.page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 5)
    assert reader.page.inner_text(".ncam .gene").startswith("gene ")
    code = reader.trait("code")
    reader.page.mouse.down()
    reader.page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.5, steps=20)
    painted = reader.regrow(lambda: reader.page.mouse.up())
    assert reader.trait("code") != code
    assert painted != own
    assert "edited by hand" in reader.status()


def test_the_keyboard_does_it_all(reader):
    own = reader.grown()
    reader.page.focus(".ncam .picture")
    reader.page.keyboard.press("ArrowRight")
    assert reader.page.is_visible(".ncam .aim")
    assert difference(reader.regrow(lambda: reader.page.keyboard.press("Enter")), own) > 1
    assert reader.regrow(lambda: reader.page.keyboard.press("g")) == own
    half = reader.regrow(lambda: reader.page.keyboard.press("m"))
    assert random_letters(reader) == pytest.approx(4096, abs=150)
    assert reader.regrow(lambda: reader.page.keyboard.press("m")) == own != half
    reader.regrow(lambda: reader.page.keyboard.press("x"))
    reader.regrow(lambda: reader.page.keyboard.press("b"))
    reader.page.keyboard.press("?")
    assert "full screen" in reader.page.inner_text(".ncam dialog")
    reader.page.keyboard.press("Escape")
    reader.page.focus(".ncam .dna")
    reader.page.keyboard.press("ArrowRight")
    assert "gene 1, letter 2" in reader.status()
    code = reader.trait("code")
    reader.regrow(lambda: reader.page.keyboard.press(" "))
    assert reader.trait("code") != code
    reader.page.keyboard.press("f")
    reader.page.wait_for_function("document.fullscreenElement !== null")
    assert reader.page.locator(".ncam .picture").bounding_box()["height"] > 500
    half = reader.regrow(lambda: reader.page.keyboard.press("m"))  # keys and controls are there, too
    assert half != BLANK
    assert reader.page.is_visible(".ncam [data-do=screen]")
    reader.page.keyboard.press("f")
    reader.page.wait_for_function("document.fullscreenElement === null")
    reader.page.focus(".ncam [name=search]") if reader.page.is_visible(".ncam [name=search]") else reader.see_all()
    reader.page.fill(".ncam [name=search]", "")
    reader.page.focus(".ncam [name=search]")
    reader.page.keyboard.type("x")  # a letter of a text is no shortcut
    assert reader.page.input_value(".ncam [name=search]") == "x"


def swipe(opened, selector, far=150):
    """A finger moves up over an element; how far the page scrolled."""
    opened.page.evaluate("css => document.querySelector(css).scrollIntoView({ block: 'center' })", selector)
    opened.page.wait_for_timeout(200)
    x, y = middle(opened, selector)
    session = opened.context.new_cdp_session(opened.page)
    before = opened.page.evaluate("scrollY")
    for moved in range(0, far, 10):
        kind = "touchMove" if moved else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y - moved}]})
        opened.page.wait_for_timeout(16)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    opened.page.wait_for_timeout(300)
    return opened.page.evaluate("scrollY") - before


def test_a_swipe_over_the_picture_scrolls_and_harms_nothing(phone):
    whole = phone.grown()
    code = phone.trait("code")
    for selector in (".ncam .picture", ".ncam .dna"):
        assert swipe(phone, selector) > 100
    assert phone.picture() == whole
    assert phone.trait("code") == code


def test_a_finger_does_it_all(phone):
    whole = phone.grown()
    hurt = phone.regrow(lambda: phone.page.touchscreen.tap(*middle(phone, ".ncam .picture")))
    assert difference(whole, hurt) > 1
    phone.regrow(lambda: phone.page.tap(".ncam [data-do=play]"))
    code = phone.trait("code")
    phone.regrow(lambda: phone.page.touchscreen.tap(*middle(phone, ".ncam .dna")))
    assert phone.trait("code") != code
    phone.regrow(lambda: phone.page.tap(".ncam .seedlings button >> nth=1"))
    phone.page.tap(".ncam [data-slot=second]")
    phone.regrow(lambda: phone.page.tap(".ncam .seedlings button >> nth=3"))
    assert "crossed with" in phone.status()
    phone.page.tap(".ncam [data-do=wound]")
    assert phone.page.get_attribute(".ncam [data-do=wound]", "aria-pressed") == "true"
    assert phone.page.evaluate("getComputedStyle(document.querySelector('.ncam .picture')).touchAction") == "none"
    small = phone.page.evaluate(
        """() => [...document.querySelectorAll('.ncam :is(button, input, select, summary)')]
          .filter((e) => e.offsetParent && Math.min(e.offsetWidth, e.offsetHeight) < 24 && e.type !== 'checkbox')
          .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert not small


def test_idle_is_idle(reader):
    """No frame of a still picture is asked for, and nothing grows in a hidden tab."""
    reader.grown()
    reader.page.mouse.move(0, 0)
    count = """async ([enough, milliseconds]) => {
      const draw = CanvasRenderingContext2D.prototype.putImageData;
      let frames = 0;
      CanvasRenderingContext2D.prototype.putImageData = function (...all) { frames++; return draw.apply(this, all); };
      const end = performance.now() + milliseconds;
      while (frames < enough && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 50));
      CanvasRenderingContext2D.prototype.putImageData = draw;
      return frames;
    }"""
    assert reader.page.evaluate(count, [1, 1500]) == 0
    reader.page.click(".ncam .more summary")
    reader.page.check(".ncam [name=endless]")
    assert reader.page.evaluate(count, [10, 20_000]) >= 10  # at once on an idle machine
    hide = "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
    reader.page.evaluate(f"{hide} document.dispatchEvent(new Event('visibilitychange'))")
    reader.page.wait_for_timeout(300)
    then = reader.page.get_attribute(".ncam", "data-time")
    reader.page.wait_for_timeout(800)
    assert reader.page.get_attribute(".ncam", "data-time") == then
    reader.page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    reader.page.wait_for_function(f"document.querySelector('.ncam').dataset.time > {then}")


def test_those_who_want_no_motion_see_the_end(browser, place):  # noqa: F811
    opened = Reader(browser, place, reduced_motion="reduce")
    still = opened.grown()
    assert difference(still, BLANK) > 20
    assert int(opened.page.get_attribute(".ncam", "data-time")) == 32
    opened.close()


@pytest.fixture
def switcher(browser, place):  # noqa: F811
    """The front page, which has two models to switch between; the one that heals is chosen."""
    opened = Reader(browser, place.replace("live.html", "intro.html"))
    opened.page.wait_for_selector(".ncam .seedlings button")
    opened.grown()
    opened.regrow(lambda: opened.page.select_option(".ncam [name=regime]", "regenerating"))
    yield opened
    assert not opened.errors
    opened.close()


def test_a_wound_heals_before_the_readers_eyes(switcher):
    switcher.regrow(lambda: switcher.page.mouse.click(*middle(switcher, ".ncam .picture")))
    done = re.match(r"(\d+)% of the wound has healed", switcher.status())
    assert done, switcher.status()
    assert int(done[1]) > 30


@pytest.fixture
def pretender(browser, place):  # noqa: F811
    """A page with the growing model, and the same once more as if it had been trained to heal."""

    def twice(properties):
        grows = properties["regimes"][0]
        properties["regimes"] = [grows, {**grows, "name": "regenerating"}]

    with another_page(twice, "intro") as page:
        opened = Reader(browser, place.replace("live.html", f"{page}.html"))
        opened.page.wait_for_selector(".ncam .seedlings button")
        opened.grown()
        opened.regrow(lambda: opened.page.select_option(".ncam [name=regime]", "regenerating"))
        yield opened
        opened.close()


def test_how_much_of_a_wound_has_healed_is_measured(pretender):
    """This model does not heal: the line says so by the number, not by what the model is called."""
    pretender.regrow(lambda: pretender.page.mouse.click(*middle(pretender, ".ncam .picture")))
    assert pretender.status().startswith("0% of the wound has healed")


def test_what_stays_lives_on_until_the_reader_stops_it(switcher):
    switcher.slide("speed", 200)
    assert switcher.page.inner_text(".ncam [data-do=play]") == "Play"
    switcher.press("play")
    switcher.says("lives on")
    switcher.page.wait_for_function("Number(document.querySelector('.ncam').dataset.time) > 100", timeout=60_000)
    switcher.page.mouse.click(*middle(switcher, ".ncam .picture"))
    switcher.page.wait_for_timeout(1000)
    assert switcher.trait("playing"), "a wound stopped it"
    switcher.press("play")
    assert not switcher.trait("playing")


def test_the_reader_switches_between_models(switcher):
    switcher.regrow(lambda: switcher.page.mouse.click(*middle(switcher, ".ncam .picture")))
    switcher.press("link")
    link = switcher.page.input_value(".ncam dialog textarea")
    assert "regime=regenerating" in link
    switcher.page.keyboard.press("Escape")
    switcher.regrow(lambda: switcher.page.select_option(".ncam [name=regime]", "growing"))
    switcher.regrow(lambda: switcher.page.mouse.click(*middle(switcher, ".ncam .picture")))
    assert "does not heal" in switcher.status()
    assert "“Trained to”" in switcher.status()
    switcher.press("link")
    # As the page begins. The link is shown when it has been copied.
    switcher.page.wait_for_function("!document.querySelector('.ncam dialog textarea').value.includes('regime')")
    switcher.page.keyboard.press("Escape")
    switcher.regrow(lambda: switcher.page.evaluate("link => { location.hash = new URL(link).hash; }", link))
    assert switcher.page.input_value(".ncam [name=regime]") == "regenerating"
    switcher.page.evaluate("location.hash = 'regime=immortal'")
    switcher.says("There is no model “immortal” on this page")
