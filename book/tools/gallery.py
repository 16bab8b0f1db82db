"""The gallery: a card for every figure whose cell is tagged `gallery` in a chapter, made of the executed notebooks.

    python book/tools/gallery.py build/site

reads `notebooks/*.ipynb` there and writes `book/generated/gallery.html` and the thumbnails it shows. A card has the
alternative text of its figure, and leads to the section in which the figure stands.
"""

from __future__ import annotations

import base64
import io
import re
import shutil
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from docutils.nodes import make_id
from PIL import Image

from wam import files

TAG = "gallery"
WIDTH = 520  # pixels of a thumbnail


@dataclass(frozen=True)
class Card:
    """A figure of a chapter."""

    chapter: str  # the name of its file
    number: int  # its place among the figures of the chapter
    part: str  # the title of the chapter
    title: str  # the heading of the section
    alt: str
    picture: Image.Image


def cards(chapter: str, notebook: nbformat.NotebookNode) -> list[Card]:
    """The tagged figures of an executed chapter; `ValueError` if a tagged cell shows no image."""
    found, headings = [], []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            headings += re.findall(r"^#+ +(.+?) *$", re.sub(r"```.*?```", "", cell.source, flags=re.S), re.M)
        if TAG not in cell.metadata.get("tags", []):
            continue
        pages = [
            output["data"]["text/html"] for output in cell.get("outputs", []) if "text/html" in output.get("data", {})
        ]
        image = BeautifulSoup("".join("".join(page) for page in pages), "html.parser").find("img")
        if image is None or not image.get("alt", "").strip() or not image["src"].startswith("data:image/"):
            raise ValueError(
                f"{chapter}, cell {index} is tagged `{TAG}` and shows no image with an alternative text: execute the "
                "chapter, show the figure with wam.book.figure or slider, or take the tag away"
            )
        if len(headings) < 2:
            raise ValueError(f"{chapter}, cell {index} is tagged `{TAG}` and stands in no section: give it a heading")
        with Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))) as picture:
            size = (WIDTH, round(picture.height * WIDTH / picture.width))
            picture = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        found.append(Card(chapter, len(found) + 1, headings[0], headings[-1], image["alt"].strip(), picture))
    return found


def html(found: list[Card]) -> str:
    """The cards as a grid of links."""
    items = "".join(
        f'<a href="../notebooks/{card.chapter}.html#{anchor(card.title)}"><img class="dark-light" loading="lazy" '
        f'src="../_static/gallery/{_file(card)}" width="{card.picture.width}" height="{card.picture.height}" '
        f'alt="{escape(card.alt)}"><span><span class="title">{escape(_plain(card.title))}</span><br>'
        f'<span class="chapter">{escape(_plain(card.part).partition(":")[0])}</span></span></a>\n'
        for card in found
    )
    return f'<div class="wam-gallery">\n{items}</div>\n'


def anchor(heading: str) -> str:
    """The name that Sphinx gives to the section with this heading.

    >>> anchor("Figures 3A and 16: minimal images")
    'figures-3a-and-16-minimal-images'
    """
    return make_id(_plain(heading))


def _plain(heading: str) -> str:
    return re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", heading)


def _file(card: Card) -> str:
    return f"{card.chapter}-{card.number}.webp"


def main(site: Path) -> None:
    """Make the gallery of a site; the fragment is the last file."""
    chapters = sorted((site / "notebooks").glob("*.ipynb"))
    found = [card for path in chapters for card in cards(path.stem, nbformat.read(path, as_version=4))]
    if not found:
        raise ValueError(f"no cell of the {len(chapters)} chapters in {site / 'notebooks'} is tagged `{TAG}`")
    pictures, fragment = site / "book" / "_static" / "gallery", site / "book" / "generated" / "gallery.html"
    shutil.rmtree(pictures, ignore_errors=True)
    for folder in (pictures, fragment.parent):
        folder.mkdir(parents=True, exist_ok=True)
    for card in found:
        card.picture.save(pictures / _file(card), "webp", quality=80, method=5)
    files.replace(fragment, lambda scratch: scratch.write_text(html(found), encoding="utf-8"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python book/tools/gallery.py SITE")
    try:
        main(Path(sys.argv[1]))
    except ValueError as error:
        sys.exit(f"error: {error}")
