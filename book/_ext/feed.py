"""The changelog as an RSS feed: `changelog.xml` beside its page, one item per dated heading."""

import re
from datetime import datetime, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from markdown_it import MarkdownIt
from page import address
from sphinx.application import Sphinx

PAGE = "book/changelog"
ENTRY = re.compile(r"^### (\d{4}-\d\d-\d\d) · (.+)$", re.MULTILINE)


def feed(changelog: str, title: str, page: str) -> bytes:
    """The dated entries of a changelog in Markdown as RSS 2.0; `page` is the address of its page."""
    rss = ElementTree.Element("rss", version="2.0")
    channel = ElementTree.SubElement(rss, "channel")
    for tag, text in (
        ("title", title),
        ("link", page),
        ("description", f"What is new in {title}"),
    ):
        ElementTree.SubElement(channel, tag).text = text
    _, *parts = ENTRY.split(changelog)
    for date, name, text in zip(parts[0::3], parts[1::3], parts[2::3], strict=True):
        day = datetime.fromisoformat(date).replace(tzinfo=timezone.utc)
        body = MarkdownIt().render(text.split("\n## ")[0])
        item = ElementTree.SubElement(channel, "item")
        guid = ElementTree.SubElement(item, "guid", isPermaLink="false")
        guid.text = f"{date} {name}"
        for tag, text in (
            ("title", name),
            ("link", page),
            ("pubDate", format_datetime(day)),
            ("description", body),
        ):
            ElementTree.SubElement(item, tag).text = text
    return ElementTree.tostring(rss, encoding="utf-8", xml_declaration=True)


def write_feed(app: Sphinx, error: Exception | None) -> None:
    """Write the feed when the pages are there."""
    if error is None and app.builder.format == "html":
        text = (Path(app.srcdir) / "CHANGELOG.md").read_text(encoding="utf-8")
        site = address()
        page = f"{site}{PAGE}.html" if site else "changelog.html"
        (Path(app.outdir) / f"{PAGE}.xml").write_bytes(
            feed(text, app.config.html_title, page)
        )


def announce(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Let feed readers find the feed from its page."""
    if page == PAGE:
        link = '<link rel="alternate" type="application/rss+xml" href="changelog.xml" />'
        context["metatags"] = context.get("metatags", "") + link


def setup(app: Sphinx) -> dict[str, Any]:
    """Register both with Sphinx."""
    app.connect("html-page-context", announce)
    app.connect("build-finished", write_feed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
