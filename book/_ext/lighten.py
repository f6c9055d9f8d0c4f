"""Lighter pages: what no page uses is left out, unused rules of the theme are dropped, large pictures are shrunk."""

import re
from pathlib import Path
from typing import Any

import tinycss2
from PIL import Image
from sphinx.application import Sphinx

# Scripts and styles of extensions that this book does not use, by a part of their address or text.
UNUSED = (
    "fontawesome",
    "thebe",
    "sphinx-design",
    "design-tabs",
    "sd-tabs",
    "widget-state+json",
)
ELEMENTS = re.compile(
    rf"[ \t]*<(script|link)\b(?:(?!>)[^\n])*?(?:{'|'.join(map(re.escape, UNUSED))})(?:(?!</script>).)*?"
    r"(?:</script>|/>)\n?",
    re.DOTALL,
)
INLINE = re.compile(r"[ \t]*<script>const THEBE_JS_URL.*?</script>\n?", re.DOTALL)
SEARCH = re.compile(
    r"[ \t]*<script src=\"[^\"]*(?:searchtools|language_data|searchindex)\.js[^\"]*\"></script>\n?"
)
# What keeps assistive software from reading a page well, in templates that are not ours.
REPAIRS = {
    'role="doc-biblioentry"': 'role="listitem"',  # of a list
    'title="Search" aria-label="Search"': 'title="Search"',  # the button says "Search Ctrl+K"
    '<summary aria-label="Toggle hidden content">': "<summary>",  # which says what it shows
    '<div id="pst-primary-sidebar"': '<div id="pst-primary-sidebar" role="complementary" aria-label="Book"',
    '<th class="head"><p></p></th>': "<td></td>",
    '<meta name="viewport" content="width=device-width, initial-scale=1" />': "",  # a second one
}
# Scripts that wait until the end of the page need not come before its contents.
PRELOAD = re.compile(r"[ \t]*<link rel=\"preload\" as=\"script\"[^>]*>\n?")
LATER = re.compile(
    r"<script (src=\"[^\"]*(?:doctools|sphinx_highlight|clipboard|button|book-theme)[^\"]*\.js)"
)
DRAWING = re.compile(
    r"<figure (?=[^>]*>\s*(?:<a [^>]*>)?<img [^>]*\.svg)"
)  # which scrolls on a phone
WORD = re.compile(r"[\w-]+")
HEAVY = 100_000  # bytes of a picture that is worth another format


def lighten(text: str, searches: bool = False) -> str:
    """A page without what it does not use; only the page of results `searches`."""
    text = PRELOAD.sub("", INLINE.sub("", ELEMENTS.sub("", text)))
    if not searches:
        text = SEARCH.sub("", text)
    text = DRAWING.sub('<figure tabindex="0" ', text)
    text = LATER.sub(r"<script defer \1", text)
    for wrong, right in REPAIRS.items():
        text = text.replace(wrong, right)
    return text


def used(selector: str, words: set[str]) -> bool:
    """Whether all classes and identifiers of one selector occur somewhere, outside of its :not()."""
    plain = re.sub(r":not\([^()]*(?:\([^()]*\)[^()]*)*\)", "", selector)
    return all(
        name.replace("\\", "") in words
        for name in re.findall(r"[.#]((?:\\.|[\w-])+)", plain)
    )


def purge(css: str, words: set[str]) -> str:
    """A stylesheet without the rules that match nothing in pages and scripts, which consist of these words."""
    kept = []
    for rule in tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True):
        if (
            rule.type == "at-rule"
            and rule.content
            and rule.lower_at_keyword in ("media", "supports")
        ):
            inner = purge(tinycss2.serialize(rule.content), words)
            if inner:
                kept.append(
                    f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{inner}}}"
                )
        elif rule.type == "at-rule" and rule.lower_at_keyword == "font-face":
            continue  # of icons
        elif rule.type == "qualified-rule":
            selectors = [part.strip() for part in split(rule.prelude)]
            wanted = [selector for selector in selectors if used(selector, words)]
            if wanted:
                kept.append(
                    f"{','.join(wanted)}{{{tinycss2.serialize(rule.content).strip()}}}"
                )
        elif rule.type != "error":
            kept.append(rule.serialize())
    return "\n".join(kept)


def split(prelude: list[Any]) -> list[str]:
    """The selectors of a rule."""
    parts: list[list[Any]] = [[]]
    for token in prelude:
        if token.type == "literal" and token.value == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return [tinycss2.serialize(part) for part in parts]


def shrink(picture: Path) -> str:
    """Write a picture as WebP beside it, a fifth of the size for a difference that nobody sees; its name."""
    small = picture.with_suffix(".webp")
    if not small.exists() or small.stat().st_mtime < picture.stat().st_mtime:
        Image.open(picture).convert("RGB").save(small, quality=90, method=4)
    return small.name


def lighten_all(app: Sphinx, error: Exception | None) -> None:
    """Go over all pages, then over the stylesheets."""
    if error is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    words: set[str] = set()
    renamed = {
        heavy.name: shrink(heavy)
        for heavy in (out / "_images").glob("*.png")
        if heavy.stat().st_size > HEAVY
    }
    for page in out.rglob("*.html"):
        text = lighten(page.read_text(encoding="utf-8"), page.name == "search.html")
        for old, new in renamed.items():
            text = text.replace(f"_images/{old}", f"_images/{new}")
        page.write_text(text, encoding="utf-8")
        words.update(WORD.findall(text))
    for script in (out / "_static").rglob("*.js"):
        if "live" not in script.parts and "fontawesome" not in script.name:
            words.update(WORD.findall(script.read_text(encoding="utf-8")))
    for sheet in (out / "_static").rglob("*.css"):
        if sheet.name != "book.css":
            sheet.write_text(
                purge(sheet.read_text(encoding="utf-8"), words), encoding="utf-8"
            )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx, last."""
    app.connect("build-finished", lighten_all, priority=999)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
