"""Sphinx's settings: the Markdown of this directory as a site, in the order of the links on ``index.md``.

sphinx-build --fail-on-warning docs build/docs
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent

project = "django-callcache"
author = "The django-callcache authors"
copyright = author  # noqa: A001 - Sphinx's name
version = release = re.search(r'__version__ = "(.+)"', (ROOT / "django_callcache/__init__.py").read_text())[1]

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = []
myst_heading_anchors = 4
myst_links_external_new_tab = False
nitpicky = True
# Blocks name their language themselves; what names none is not guessed at.
highlight_language = "none"

html_theme = "furo"
html_title = f"django-callcache {version}"
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

LINK = re.compile(r"^- \[.+?\]\(([\w-]+)\.md\)", re.MULTILINE)
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


def setup(app: Sphinx) -> None:
    """Have the navigation made of the front page's own links."""
    app.connect("source-read", navigate)


def navigate(app: Sphinx, document: str, source: list[str]) -> None:
    """Add a hidden table of contents for each list of links on the front page, under its heading."""
    if document != "index":
        return
    _, *parts = HEADING.split(source[0])
    for caption, text in zip(parts[::2], parts[1::2], strict=True):
        if pages := LINK.findall(text):
            lines = ["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```"]
            source[0] += "\n" + "\n".join(lines) + "\n"
