"""A font for formulas, so that parentheses stretch on machines without one: STIX Two Math, cut down to what is used.

It comes from the npm package that package.json names (SIL Open Font License). Where that is not installed, formulas are set
in whatever mathematical font the reader has.
"""

import html
import re
from pathlib import Path
from typing import Any

from fontTools import subset
from sphinx.application import Sphinx
from sphinx.util import logging

PACKAGE = Path("node_modules/@fontsource/stix-two-math")
SOURCE = PACKAGE / "files" / "stix-two-math-latin-400-normal.woff"
FAMILY, FILE = "Formulas", "formulas.woff"
FORMULA = re.compile(r"<math\b.*?</math>", re.DOTALL)
TAG = re.compile(r"<[^>]*>")
ROOT, RADICAL = (
    re.compile(r"<m(sqrt|root)\b"),
    "√",
)  # an element, whose sign is in no text
# Single letters are set in mathematical italics: where these begin, after which letter.
ITALICS = {"A": 0x1D434, "a": 0x1D44E, "Α": 0x1D6E2, "α": 0x1D6FC}
PLANCK = "ℎ"  # the italic h, which has another place
FACE = (
    "@font-face {{ font-family: {family}; src: url({file}); font-display: swap; }}\n"
    'math {{ font-family: {family}, "STIX Two Math", "Latin Modern Math", "Cambria Math", math; }}\n'
)


def characters(pages: list[str]) -> set[str]:
    """Every character that the formulas of some pages need."""
    formulas = [formula for page in pages for formula in FORMULA.findall(page)]
    found = {c for formula in formulas for c in html.unescape(TAG.sub("", formula))}
    italics = {
        chr(start + ord(c) - ord(first))
        for first, start in ITALICS.items()
        for c in found
        if 0 <= ord(c) - ord(first) < 26
    }
    roots = set(RADICAL) if any(ROOT.search(formula) for formula in formulas) else set()
    return found | italics | roots | {PLANCK}


def cut(source: Path, target: Path, wanted: set[str]) -> None:
    """Write the part of a font that these characters need, with all sizes of what stretches."""
    options = subset.Options(
        flavor="woff", layout_features=["*"], name_IDs=[0, 13, 14], notdef_outline=True
    )
    font = subset.load_font(str(source), options)
    cutter = subset.Subsetter(options)
    cutter.populate(text="".join(sorted(wanted)))
    cutter.subset(font)
    subset.save_font(font, str(target), options)


def add(app: Sphinx, error: Exception | None) -> None:
    """Put the font beside the built pages, and name it in their stylesheet."""
    source = Path(app.srcdir) / SOURCE
    if error is not None or app.builder.format != "html":
        return
    if not source.exists():
        logging.getLogger(__name__).info(
            "formulas are set in the reader's fonts: %s is not installed", PACKAGE
        )
        return
    out = Path(app.outdir)
    pages = [page.read_text(encoding="utf-8") for page in out.rglob("*.html")]
    static = out / "_static"
    cut(source, static / FILE, characters(pages))
    sheet, face = static / "book.css", FACE.format(family=FAMILY, file=FILE)
    text = sheet.read_text(encoding="utf-8")
    if face not in text:
        sheet.write_text(text + face, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("build-finished", add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
