"""What the reader chooses is what grows: links restore all of it, nothing late takes its place, and it is in reach."""

import io
from urllib.parse import quote

import pytest
from PIL import Image, ImageDraw
from reader import BLANK, BUILT, Reader, another_page, browser, difference, needs_page  # noqa: F401 -- fixtures

pytestmark = needs_page
BOOK = (BUILT / "book").as_uri()
CONTROLS = """() => [...document.querySelectorAll('.ncam .panel :is(button, input, select, summary)')]
  .filter((e) => e.checkVisibility() && !e.closest('details:not([open]) > :not(summary)'))"""
COVERED = f"""() => ({CONTROLS})().filter((e) => !['center', 'end'].some((block) => {{
  e.scrollIntoView({{ block, behavior: 'instant' }});
  const box = e.getBoundingClientRect();
  const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  return e.contains(top) || e.closest('label')?.contains(top);
}})).map((e) => e.outerHTML.slice(0, 60))"""
SPY = """() => {
  const send = Worker.prototype.postMessage;
  window.sent = [];
  Worker.prototype.postMessage = function (message, ...rest) {
    window.sent.push(message.type);
    return send.call(this, message, ...rest);
  };
}"""


@pytest.fixture
def opened(browser):  # noqa: F811
    readers = []

    def at(link="", page="live", **options):
        readers.append(Reader(browser, f"{BOOK}/{page}.html{link}", **options))
        readers[-1].page.wait_for_selector(".ncam .seedlings button")
        readers[-1].page.locator(".ncam .picture").first.scroll_into_view_if_needed()
        return readers[-1]

    yield at
    for reader in readers:
        assert not reader.errors
        reader.close()


def link_of(reader):
    """The link that Share shows, from the hash on."""
    reader.page.click(".ncam [data-do=link]")
    text = reader.page.input_value(".ncam dialog[open] textarea")
    reader.page.keyboard.press("Escape")
    return "#" + text.split("#")[1]


def tap(reader, place):
    reader.page.click(f".ncam .seedlings button >> nth={place}")


def cross(reader, place):
    reader.page.click(".ncam [data-slot=second]")
    return reader.regrow(lambda: tap(reader, place))


def picture(colour):
    drawn = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(drawn).ellipse((8, 8, 56, 56), fill=colour)
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    return {"name": f"{colour}.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


def upload(reader, *colours):
    reader.page.evaluate("document.querySelector('.ncam .more').open = true")
    for colour in colours:
        reader.page.set_input_files(".ncam [name=upload]", picture(colour))


@pytest.mark.parametrize("size", [(640, 360), (667, 375), (320, 256), (640, 600), (844, 390), (390, 800), (1280, 900)])
def test_no_control_stays_covered(opened, size):
    """Below the picture, which stays in sight while they scroll; also at 400 percent."""
    reader = opened(viewport={"width": size[0], "height": size[1]})
    assert len(reader.page.evaluate(f"({CONTROLS})().map((e) => e.tagName)")) > 10
    assert reader.page.evaluate(COVERED) == []


def test_a_link_is_passed_on_whole(opened):
    reader = opened("#emoji=💯&fire=0.5&side=48&seed=3&mutation=0.25")
    reader.grown()
    assert reader.page.input_value(".ncam [name=side]") == "48"
    link = link_of(reader)
    assert all(part in link for part in ("fire=0.5", "side=48", "seed=3", "mutation=0.25"))
    assert difference(opened(link).grown(), reader.picture()) == 0


@pytest.mark.parametrize(("link", "said"), [("#side=0", "side=0 (it must be a whole number"), ("#mix=2", "mix=2")])
def test_a_number_out_of_bounds_is_said(opened, link, said):
    reader = opened(link)
    reader.says("This link cannot be followed")
    assert said in reader.status()


def test_between_the_parents_is_shared_and_ends_with_the_next_choice(opened):
    reader = opened()
    reader.grown()
    child = cross(reader, 2)
    between = reader.regrow(lambda: reader.slide("mix", 0.7))
    assert difference(between, child) > 1
    assert difference(opened(link_of(reader)).grown(), between) == 0
    reader.page.focus(".ncam .dna")
    edited = reader.regrow(lambda: reader.page.keyboard.press(" "))  # the letters are the child's
    assert reader.trait("mix") == 0
    assert difference(edited, between) > 1
    reader.regrow(lambda: reader.slide("mix", 0.7))
    reader.regrow(lambda: reader.press("single"))
    assert reader.page.input_value(".ncam [name=mix]") == "0"
    assert difference(cross(reader, 2), child) == 0


def test_another_child_is_another_also_of_edited_dna(opened):
    reader = opened()
    reader.grown()
    cross(reader, 2)
    reader.page.focus(".ncam .dna")
    reader.regrow(lambda: reader.page.keyboard.press(" "))
    code = reader.trait("code")
    reader.regrow(lambda: reader.press("breed"))
    assert reader.trait("code") != code
    between = reader.regrow(lambda: reader.slide("mix", 0.7))
    assert "lies between the parents" in reader.page.inner_text(".ncam .counter")
    assert difference(reader.regrow(lambda: reader.press("breed")), between) > 1
    assert reader.trait("mix") == 0


def test_a_child_that_was_edited_is_shared_with_other_random_letters(opened):
    """Which parent a letter is from decides what its probabilities are: the link tells it by the seed."""
    reader = opened(page="04_genetic_engineering")
    reader.grown()
    cross(reader, 2)
    reader.page.focus(".ncam .dna")
    edited = reader.regrow(lambda: reader.page.keyboard.press(" "))
    code = reader.trait("code")
    shown = reader.regrow(lambda: reader.press("reseed"))
    assert reader.trait("code") == code
    assert difference(shown, edited) > 0
    again = opened(link_of(reader), "04_genetic_engineering")
    assert difference(again.grown(), shown) == 0
    assert again.page.inner_text(".ncam .counter") == reader.page.inner_text(".ncam .counter")


def test_a_page_that_begins_otherwise_is_shared_as_it_is(opened):
    with another_page(lambda traits: traits.update(mutation_rate=0.5, seed=3)) as page:
        reader = opened(page=page)
        reader.grown()
        shown = reader.regrow(lambda: reader.slide("mutation", 0))
        assert difference(opened(link_of(reader), page).grown(), shown) == 0


def test_a_page_that_begins_paused_stays_so_when_all_is_loaded(opened):
    with another_page(lambda traits: traits.update(mutation_rate=0.5, playing=False)) as page:
        reader = opened(page=page)
        reader.page.wait_for_selector(".ncam .all button", state="attached", timeout=30_000)
        reader.page.wait_for_timeout(1000)
        assert not reader.trait("playing")
        assert reader.page.get_attribute(".ncam", "data-time") == "0"


SECOND = """async () => {
  const place = document.querySelector('[data-ncam-live]');
  const packed = atob(place.querySelector('script[type="text/ncam-live"]').textContent);
  const blob = new Blob([Uint8Array.from(packed, (c) => c.charCodeAt(0))]);
  const source = await new Response(blob.stream().pipeThrough(new DecompressionStream('gzip'))).text();
  const { default: live } = await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
  const el = document.body.appendChild(document.createElement('div'));
  el.id = 'second';
  live.render({ model: place.ncam, el });
  el.scrollIntoView();
}"""


@pytest.mark.parametrize("paused", [False, True])
def test_a_second_view_in_a_notebook_grows_what_has_grown(opened, paused):
    """And stays paused if the first was."""
    with another_page(lambda traits: traits.update(playing=not paused)) as page:
        reader = opened(page=page)
        if not paused:
            reader.grown()
        reader.page.evaluate(SECOND)
        if paused:
            reader.page.wait_for_selector("#second .ncam[data-time]")
            reader.page.wait_for_timeout(1000)
        else:
            reader.page.wait_for_selector('#second .ncam[data-state="grown"]')
        assert reader.page.get_attribute("#second .ncam", "data-time") == ("0" if paused else "32")


def test_of_two_views_that_grow_the_first_to_end_does_not_stop_the_other(opened):
    with another_page(lambda traits: traits.update(steps_per_second=10)) as page:
        reader = opened(page=page)
        reader.page.wait_for_function("document.querySelector('.ncam').dataset.time > 8")
        reader.page.evaluate(SECOND)
        reader.page.wait_for_selector('#second .ncam[data-state="growing"]')
        reader.page.evaluate("document.querySelector('#second').style.cssText = 'position: fixed; inset: 0'")
        reader.page.evaluate("document.querySelector('.ncam').scrollIntoView()")  # both are seen
        reader.page.wait_for_selector('[data-ncam-live] .ncam[data-state="grown"]')
        assert reader.page.get_attribute("#second .ncam", "data-state") == "growing"
        reader.page.wait_for_selector('#second .ncam[data-state="grown"][data-time="32"]')


def test_two_panels_on_a_page_load_what_is_theirs(opened):
    front = BUILT / "book" / "intro.html"
    text = front.read_text(encoding="utf-8")
    begin, end = text.index("<div data-ncam-live"), text.index("})();</script></div>") + len("})();</script></div>")
    with another_page(lambda traits: traits["regimes"].reverse(), "intro") as page:
        other = front.with_name(f"{page}.html")
        other.write_text(other.read_text(encoding="utf-8") + text[begin:end], encoding="utf-8")
        reader = opened("#emoji=🆘&mutation=0.5", page)
        every = "document.querySelectorAll('[data-ncam-live]')"
        reader.page.wait_for_function(f"[...{every}].every((e) => e.dataset.alive)")
        reader.page.evaluate(f"{every}[1].ncam.set('mutation_rate', 0.25)")
        reader.page.wait_for_function(f"[...{every}].every((e) => e.querySelector('.all button'))", timeout=60_000)
        assert reader.page.evaluate(f"[...{every}].map((e) => e.ncam.get('mutation_rate'))") == [0.5, 0.25]


def test_a_slider_that_moves_fast_leaves_no_queue(opened):
    reader = opened()
    reader.grown()
    reader.regrow(lambda: reader.slide("mutation", 0.3))  # all is loaded
    reader.page.evaluate(SPY)
    sweep = """() => {
      const slider = document.querySelector('.ncam [name=mutation]');
      for (let i = 1; i <= 60; i++) {
        slider.value = i / 60;
        slider.dispatchEvent(new Event('input', { bubbles: true }));
      }
    }"""
    swept = reader.regrow(lambda: reader.page.evaluate(sweep))
    reader.page.wait_for_timeout(500)
    assert (
        reader.page.evaluate("window.sent.filter((type) => type === 'letters').length") == 2
    )  # the first and the last
    assert difference(reader.regrow(lambda: reader.press("restart")), swept) == 0
    assert difference(opened(link_of(reader)).grown(), swept) == 0


def test_letters_alone_are_certain_and_need_no_manifold_to_be_refused(opened):
    """Links of older pages to a picture of one's own have its letters only."""
    reader = opened("#emoji=&code=***")
    reader.says("damaged")
    assert not any("manifold" in request for request in reader.requests)
    code = reader.page.evaluate("btoa(String.fromCharCode(...new Uint8Array(2048).map((_, i) => (37 * i) & 255)))")
    shown = [opened(f"#emoji={emoji}&code={quote(code)}", page="02_encodings").grown() for emoji in ("", "🍕")]
    assert difference(*shown) > 0  # the letters of the pizza keep their probabilities


def test_a_bad_link_does_not_lose_a_picture_of_ones_own(opened):
    reader = opened()
    reader.grown()
    upload(reader, "red")
    reader.says("Your picture is grown")
    own, link = reader.grown(), link_of(reader)
    reader = opened(link)
    assert difference(reader.grown(), own) == 0
    go = "hash => { location.hash = hash; }"
    reader.page.evaluate(go, "mutation=7")
    reader.says("cannot be followed")
    assert difference(reader.regrow(lambda: reader.page.evaluate(go, link)), own) == 0


@pytest.mark.parametrize(("chapter", "changed"), [("02_encodings", 3), ("live", 1)])
def test_a_picture_of_ones_own_is_shared_by_its_dna(opened, chapter, changed):
    """Also crossed, between the parents, and edited; in one of the models the letters are soft."""
    reader = opened(page=chapter)
    first = reader.grown()
    upload(reader, "red")
    reader.says("your picture")
    seen = [reader.grown()]
    links = [link_of(reader)]
    assert difference(seen[0], first) > 3
    reader.page.evaluate("document.querySelectorAll('.ncam details').forEach((e) => { e.open = true; })")
    changes = (
        lambda: cross(reader, 2),
        lambda: reader.regrow(lambda: reader.slide("mix", 0.3)),
        lambda: reader.regrow(lambda: reader.page.click(".ncam .groups button >> nth=0")),
    )
    for change in changes[:changed]:
        seen.append(change())
        links.append(link_of(reader))
    for link, grown in zip(links, seen, strict=True):
        assert "code=" in link
        other = opened(link, page=chapter)
        assert difference(other.grown(), grown) == 0
        other.says(" picture")
        assert link_of(other) == link  # it can be passed on


def test_the_last_choice_grows_whatever_is_still_read(opened):
    reader = opened()
    reader.grown()
    upload(reader, "red")
    reader.says("Your picture is grown")
    red = reader.picture()
    reader.page.evaluate("document.querySelector('.ncam').dataset.state = ''")
    upload(reader, "green", "red")
    reader.says("Your picture is grown")
    reader.page.wait_for_timeout(1500)
    assert difference(reader.grown(), red) == 0
    upload(reader, "green")
    tap(reader, 2)
    reader.page.wait_for_timeout(3000)
    assert reader.trait("emoji") != ""
    assert "your picture" not in reader.status().lower()


def test_a_picture_of_ones_own_ends_with_its_model(opened):
    """Its DNA means nothing to another; a link to something else is followed."""
    reader = opened()
    reader.grown()
    upload(reader, "red")
    reader.says("Your picture is grown")
    cross(reader, 2)
    reader.set("regime", "regenerating")
    reader.says("means nothing to another model")
    assert (reader.trait("partner"), reader.trait("code"), reader.trait("playing")) == ("", "", False)
    reader.regrow(lambda: tap(reader, 1))
    assert "crossed" not in reader.status()


def test_a_picture_of_ones_own_keeps_growing_when_python_gives_it_a_partner(opened):
    reader = opened()
    reader.grown()
    upload(reader, "red")
    reader.says("Your picture is grown")
    own = reader.grown()
    child = reader.regrow(lambda: reader.set("partner", "🆗"))
    assert (reader.trait("emoji"), reader.trait("partner")) == ("", "🆗")
    assert "crossed with" in reader.status()
    assert difference(child, own) > 1
    assert difference(reader.regrow(lambda: reader.set("partner", "")), own) == 0


def test_a_link_is_followed_from_a_picture_of_ones_own(opened):
    reader = opened()
    reader.grown()
    upload(reader, "red")
    reader.says("Your picture is grown")
    go = "hash => { location.hash = hash; }"
    reader.regrow(lambda: reader.page.evaluate(go, "emoji=💯&regime=regenerating"))
    assert reader.trait("emoji") == "💯"
    reader.regrow(lambda: reader.page.evaluate(go, "emoji=💯&partner=🆗&mix=0.7&seed=4"))
    assert (reader.trait("mix"), reader.page.input_value(".ncam [name=mix]")) == (0.7, "0.7")


def test_what_is_paused_while_the_newest_letters_wait_stays_so(opened):
    reader = opened()
    reader.grown()
    reader.regrow(lambda: reader.slide("mutation", 0.3))
    for rate in (0.4, 0.5, 0.6):
        reader.slide("mutation", rate)
    reader.page.evaluate("document.querySelector('.ncam [data-do=play]').click()")
    reader.page.wait_for_timeout(1000)
    assert not reader.trait("playing")


def test_the_complaint_of_a_link_ends_with_the_next_choice(opened):
    reader = opened("#mutation=7")
    reader.says("This link cannot be followed")
    reader.regrow(lambda: tap(reader, 1))
    assert reader.trait("complaint") == ""


def test_nothing_to_change_is_said(opened):
    """After a link that names no emoji of this model."""
    reader = opened("#emoji=zzz")
    reader.says("is none of the emoji")
    reader.press("play")
    assert not reader.trait("playing")
    for _ in range(2):  # on and off
        reader.page.evaluate("document.querySelector('.ncam [name=endless]').click()")
        assert not reader.trait("playing")
    reader.press("clean")
    reader.says("Choose an emoji first.")
    reader.page.click(".ncam .groups button >> nth=0")
    reader.says("Choose an emoji first.")
    reader.page.click(".ncam [data-slot=second]")
    reader.regrow(lambda: tap(reader, 1))
    assert reader.trait("emoji") != "zzz"
    assert reader.trait("partner") == ""


def test_what_a_search_finds_is_reached_by_tab(opened):
    reader = opened()
    reader.page.click(".ncam .everything summary")
    reader.page.fill(".ncam [name=search]", "sos")  # maybe before all emoji are there
    reader.page.wait_for_selector(".ncam .all button:visible", timeout=30_000)
    reader.page.wait_for_function("document.querySelectorAll('.ncam .all button:not([hidden])').length === 1")
    reader.page.focus(".ncam [name=search]")
    reader.page.keyboard.press("Tab")
    assert reader.page.evaluate("document.activeElement.title") == "SOS button"
    reader.page.fill(".ncam [name=search]", "")
    assert reader.page.locator(".ncam .all button[tabindex='0']").count() == 1


def test_a_stroke_that_was_cancelled_paints_no_more(opened):
    reader = opened()
    reader.grown()
    point = """([type, x, buttons]) => {
      const dna = document.querySelector('.ncam .dna');
      const box = dna.getBoundingClientRect();
      const at = { clientX: box.x + x * box.width, clientY: box.y + box.height / 2 };
      const about = { pointerId: 1, pointerType: 'pen', buttons, bubbles: true };
      dna.setPointerCapture = () => {};
      dna.dispatchEvent(new PointerEvent(type, { ...at, ...about }));
    }"""
    for event in (["pointerdown", 0.2, 1], ["pointercancel", 0.2, 0]):
        reader.page.evaluate(point, event)
    code = reader.trait("code")
    reader.page.evaluate(point, ["pointermove", 0.8, 0])
    assert reader.trait("code") == code


def test_a_notebook_is_given_a_line_of_python(opened):
    """It follows no links."""
    reader = opened()
    reader.grown()
    cross(reader, 2)
    reader.page.evaluate("document.querySelector('[data-ncam-live]').ncam.initial = undefined")
    reader.page.click(".ncam [data-do=link]")
    line = reader.page.input_value(".ncam dialog textarea")
    given = {}
    eval(line, {"LiveManifold": lambda name, **traits: given.update(traits, experiment=name)})
    assert given["experiment"] == "chars-dna-syn"
    assert (given["emoji"], given["partner"]) == (reader.trait("emoji"), reader.trait("partner"))
    assert not reader.page.is_visible(".ncam .qr")


def test_what_stands_beside_a_slider_is_what_is_used(opened):
    """Also where no stop of the slider is."""
    reader = opened("#fire=0.33&mutation=0.004")
    reader.grown()
    beside = "name => document.querySelector(`.ncam [name=${name}]`).parentElement.querySelector('output').textContent"
    assert [reader.page.evaluate(beside, name) for name in ("fire", "mutation")] == ["33%", "0.4%"]


def test_a_wound_is_where_the_pointer_is(opened):
    reader = opened()
    reader.grown()
    reader.slide("radius", 1)
    reader.page.evaluate(SPY.replace("message.type", "message"))
    box = reader.page.locator(".ncam .picture").bounding_box()
    cell, middle = box["width"] / 64, box["y"] + box["height"] / 2
    reader.page.mouse.move(box["x"] + 62.5 * cell, middle)  # the centre of cell 62
    reader.page.mouse.down()
    reader.page.mouse.move(box["x"] + 70 * cell, middle)  # beside the picture
    reader.page.mouse.up()
    wounds = reader.page.evaluate("window.sent.filter(({ type }) => type === 'wound').map(({ x }) => x)")
    assert wounds == pytest.approx([62], abs=0.1)
