"""Small repairs to the pages: formulas without a script, no script twice, descriptions for shared links.
The live page's models, launch buttons.

Formulas become MathML when the book is built. Every current browser draws it, so the pages need
neither MathJax nor a network.
"""

import html
import os
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

LONGEST = 200  # characters of a description
PREVIEW = "preview.png"  # for shared links
PICTURED = "💯 🅰 🆔 🆗 🈯 🆘 3️⃣ 🇾"


def inline_math(writer: Any, node: nodes.Element) -> None:
    """A formula in a line of text."""
    writer.body.append(convert(node.astext(), display="inline"))
    raise nodes.SkipNode


def block_math(writer: Any, node: nodes.Element) -> None:
    """A formula on its own, with its number if it has one."""
    number = f'<span class="eqno">({node["number"]})</span>' if node.get("number") else ""
    identifier = f' id="{node["ids"][0]}"' if node.get("ids") else ""
    formula = convert(node.astext(), display="block")
    writer.body.append(
        f'<div class="math" tabindex="0"{identifier}>{number}{formula}</div>\n'
    )
    raise nodes.SkipNode


def drop_repeated_scripts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """The theme emits one inline script twice, and its constants may not be declared again."""
    seen, kept = set(), []
    for script in context.get("script_files", []):
        body = getattr(script, "attributes", {}).get("body")
        if body is None or body not in seen:
            kept.append(script)
        seen.add(body)
    context["script_files"] = kept


def describe(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """What search engines and shared links show of a page: its first paragraph and a picture of grown emoji."""
    paragraphs = [] if doctree is None else list(doctree.findall(nodes.paragraph))
    if not paragraphs:
        return
    words = " ".join(paragraphs[0].astext().split())
    text = words if len(words) <= LONGEST else f"{words[:LONGEST].rsplit(' ', 1)[0]}…"
    site, up = address(), "../" * page.count("/")
    about = {
        "description": text,
        "og:title": context["title"],
        "og:description": text,
        "og:type": "article",
        "og:image": f"{site or up}_static/{PREVIEW}",
        "og:url": f"{site}{page}.html" if site else "",
        "twitter:card": "summary_large_image",
    }
    kind = {True: "property", False: "name"}
    tags = [
        f'<meta {kind[name.startswith("og:")]}="{name}" content="{html.escape(value)}" />'
        for name, value in about.items()
        if value
    ]
    context["metatags"] = "\n".join([context.get("metatags", ""), *tags])


def widen(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Pages that open with the live panel have no second sidebar: the panel takes its place."""
    if page in ("book/intro", "book/live"):
        context["meta"] = {
            **(context.get("meta") or {}),
            "html_theme.sidebar_secondary.remove": "true",
        }


def address() -> str:
    """Where the book is published from NCAM_REPOSITORY=OWNER/NAME, with a slash; empty if it is not."""
    owner, _, name = os.environ.get("NCAM_REPOSITORY", "").partition("/")
    return f"https://{owner}.github.io/{name}/" if name else ""


def write_preview(folder: Path) -> None:
    """A picture of grown emoji, 1200 x 630, for shared links."""
    import torch
    from ncamlib import data, load_model
    from ncamlib.data.pictures import enlarge, sheet, to_picture
    from PIL import Image

    model, header = load_model("chars-dna-syn")
    images = data.emoji(header["images"])
    pixels = images.pixels[[images.index(key) for key in PICTURED.split()]]
    with torch.no_grad():
        grown = model.nca.visible(model.grow(model.weights(pixels), model.config.steps))
    emoji = to_picture(sheet(enlarge(grown, 4), 4, gap=40))
    preview = Image.new("RGB", (1200, 630), "white")
    preview.paste(emoji, ((1200 - emoji.width) // 2, (630 - emoji.height) // 2))
    folder.mkdir(parents=True, exist_ok=True)
    preview.save(folder / PREVIEW)


def write_models(app: Sphinx, error: Exception | None) -> None:
    """Put beside the pages what the live manifold loads: the models named in `live_experiments`."""
    from ncamlib.live import assets

    if error is None and app.builder.format == "html":
        static = Path(app.outdir) / "_static"
        assets.write(app.config.live_experiments, static / "live")
        write_preview(static)


def add_launch_buttons(app: Sphinx, config: Any) -> None:
    """Where the book is published from a repository, NCAM_REPOSITORY=OWNER/NAME, link to it and to Colab.

    The branch `colab` holds the notebooks with a cell that installs the project (`colab.py`).
    """
    repository = os.environ.get("NCAM_REPOSITORY")
    if repository:
        config.html_theme_options |= {
            "repository_url": f"https://github.com/{repository}",
            "repository_branch": "colab",
            "path_to_docs": "",
            "use_repository_button": True,
            "launch_buttons": {"colab_url": "https://colab.research.google.com"},
        }


def setup(app: Sphinx) -> dict[str, Any]:
    """Register both with Sphinx."""
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.add_config_value("live_experiments", [], "html")
    app.connect("config-inited", add_launch_buttons)
    app.connect("build-finished", write_models)
    app.connect("html-page-context", drop_repeated_scripts, priority=999)
    app.connect("html-page-context", describe)
    app.connect("html-page-context", widen, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
