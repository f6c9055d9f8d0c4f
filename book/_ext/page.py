"""Small repairs to the pages: formulas without a script, no script twice. The live page's models, launch buttons.

Formulas become MathML when the book is built. Every current browser draws it, so the pages need
neither MathJax nor a network.
"""

import os
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx


def inline_math(writer: Any, node: nodes.Element) -> None:
    """A formula in a line of text."""
    writer.body.append(convert(node.astext(), display="inline"))
    raise nodes.SkipNode


def block_math(writer: Any, node: nodes.Element) -> None:
    """A formula on its own, with its number if it has one."""
    number = f'<span class="eqno">({node["number"]})</span>' if node.get("number") else ""
    identifier = f' id="{node["ids"][0]}"' if node.get("ids") else ""
    formula = convert(node.astext(), display="block")
    writer.body.append(f'<div class="math"{identifier}>{number}{formula}</div>\n')
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


def write_models(app: Sphinx, error: Exception | None) -> None:
    """Put beside the pages what the live manifold loads: the models named in `live_experiments`."""
    from ncamlib.live import assets

    if error is None and app.builder.format == "html":
        assets.write(app.config.live_experiments, Path(app.outdir) / "_static" / "live")


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
    return {"parallel_read_safe": True, "parallel_write_safe": True}
