"""Figures, sliders and the ledger of the pages."""

import base64
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

import wam
from wam import book, plots

HOSTILE = "a \"quoted\" <b>bold</b> & 'single'"


class Page(HTMLParser):
    """Elements with their attributes, and text by element; every element that is opened must be closed."""

    VOID = ("img", "input")

    def __init__(self, html):
        super().__init__()
        self.elements, self.text, self.open = [], {}, []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text[self.open[-1]] = self.text.get(self.open[-1], "") + data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def shown(monkeypatch):
    """What the functions displayed, as HTML."""
    outputs = []
    monkeypatch.setattr(book, "display", lambda output: outputs.append(output.data))
    return outputs


@pytest.fixture(autouse=True)
def ledger_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("WAM_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setattr(book, "_chapter", {"name": None, "rows": {}})
    with plt.rc_context():
        yield tmp_path / "ledger"


def drawing(picture=False):
    fig, ax = plt.subplots(figsize=(3, 2))
    if picture:
        ax.imshow(np.random.default_rng(0).random((20, 30, 3)))
    else:
        ax.plot([0, 1], [1, 0])
    return fig


def decoded(attributes):
    kind, _, data = attributes["src"].partition(";base64,")
    assert kind == "data:image/webp"
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


@pytest.mark.parametrize("picture", [False, True])
def test_figure_is_an_image_on_white_with_text_and_caption(shown, picture):
    book.figure(drawing(picture), HOSTILE, HOSTILE)
    page = Page(shown[0])
    (image,) = page.all("img")
    assert image["alt"] == HOSTILE and page.text["figcaption"] == HOSTILE and not page.all("b")
    pixels = decoded(image)
    assert (pixels.width, pixels.height) == (int(image["width"]), int(image["height"]))
    assert abs(pixels.width - 3 * book.DPI) <= 1
    assert min(pixels.convert("RGB").getpixel((1, 1))) >= 250
    assert "width:100%" in image["style"] and "background:#fff" in image["style"]
    assert not plt.get_fignums()


def test_figure_without_alternative_text_is_an_error():
    with pytest.raises(ValueError, match="alternative text"):
        book.figure(drawing(), " ")
    plt.close("all")


def test_slider_holds_every_figure_and_its_text(shown):
    labels, alts = ["level 1", HOSTILE, "level 3"], ["first", HOSTILE, "third"]
    book.slider([drawing() for _ in labels], labels, alts, "A caption", label="Up to <level>")
    page = Page(shown[0])
    images, (control,), (frame,) = page.all("img"), page.all("input"), page.all("figure")
    assert [image["alt"] for image in images] == alts
    assert ["display:block" in image["style"] for image in images] == [True, False, False]
    assert (control["type"], control["min"], control["max"], control["value"]) == ("range", "0", "2", "0")
    assert control["aria-label"] == "Up to <level>" and control["aria-valuetext"] == "level 1"
    assert json.loads(frame["data-labels"]) == labels
    assert page.text["output"] == "level 1" and page.all("output")[0]["aria-live"] == "off"
    assert frame["id"] in control["oninput"] and page.all("label")[0]["for"] == control["id"]
    assert not re.search(r"https?:|<script|src=\"//", shown[0])


def test_sliders_on_one_page_do_not_share_ids(shown):
    for _ in range(2):
        book.slider([drawing()], ["only"], ["alt"], label="x")
    ids = [attributes["id"] for html in shown for _, attributes in Page(html).elements if "id" in attributes]
    assert len(ids) == 4 == len(set(ids))


def test_slider_of_unequal_lengths_is_an_error():
    with pytest.raises(ValueError, match="1 figures, 2 labels, 1 alternative texts"):
        book.slider([drawing()], ["a", "b"], ["a"])
    with pytest.raises(ValueError, match="0 figures"):
        book.slider([], [], [])
    plt.close("all")


def test_start_seeds_and_sets_the_style(ledger_folder):
    book.start("02_images", seed=3)
    drawn = torch.rand(2), np.random.rand()  # noqa: NPY002 - the global generator is what is tested
    book.start("02_images", seed=3)
    assert torch.equal(torch.rand(2), drawn[0]) and np.random.rand() == drawn[1]  # noqa: NPY002
    assert plt.rcParams["font.size"] == plots.style()["font.size"]
    with pytest.raises(ValueError, match="plain name"):
        book.start("../02_images")


def test_ledger_round_trip(ledger_folder, shown):
    book.start("02_images", profile="paper", seed=7)
    book.record("Table 1", "faithfulness | of <WAM>", 0.438, torch.tensor(0.41234), "partly", difference=-0.02566)
    book.record("Fig. 2", "panels", None, "5 scales", "reproduced")
    assert [path.name for path in ledger_folder.iterdir()] == ["02_images.json"]
    page = json.loads((ledger_folder / "02_images.json").read_text())
    assert page["rows"][0] == {
        "where": "Table 1", "verdict": "partly", "claim": "faithfulness | of <WAM>", "paper": "0.438", "here": "0.412",
        "difference": "-0.0257",
    }  # fmt: skip
    assert page["provenance"]["profile"] == "paper" and page["provenance"]["seed"] == 7
    assert page["provenance"]["torch"] == torch.__version__.partition("+")[0]
    assert [row["paper"] for row in page["rows"]] == ["0.438", "–"]


def test_a_second_run_replaces_the_rows_of_its_chapter_only(ledger_folder):
    for chapter in ("01_theory", "02_images"):
        book.start(chapter)
        book.record("eq. 1", "old", 1, 1, "reproduced")
    book.start("02_images")
    book.record("eq. 1", "new", 1, 2, "partly")
    book.record("eq. 1", "new", 1, 3, "not reproduced")  # the cell was run again
    rows = {path.stem: json.loads(path.read_text())["rows"] for path in ledger_folder.iterdir()}
    found = {name: [(row["claim"], row["here"], row["verdict"]) for row in several] for name, several in rows.items()}
    assert found == {"01_theory": [("old", "1", "reproduced")], "02_images": [("new", "3", "not reproduced")]}


def test_nothing_is_written_without_a_ledger(monkeypatch, tmp_path):
    monkeypatch.delenv("WAM_LEDGER")
    monkeypatch.chdir(tmp_path)
    book.record("eq. 1", "claim", 1, 1, "reproduced")
    assert not list(tmp_path.iterdir())


def test_interrupted_writes_leave_the_earlier_ledger(ledger_folder, monkeypatch):
    book.start("02_images")
    book.record("eq. 1", "claim", 1, 1, "reproduced")
    before = (ledger_folder / "02_images.json").read_text()

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(book.os, "replace", interrupted)
        book.record("eq. 2", "claim", 1, 1, "reproduced")
    assert [path.name for path in ledger_folder.iterdir()] == ["02_images.json"]
    assert (ledger_folder / "02_images.json").read_text() == before


@pytest.mark.parametrize(
    "row, message",
    [
        (("eq. 1", "claim", 1, 1, "proved"), "unknown verdict 'proved'; did you mean 'reproduced'"),
        (("eq. 1", "claim", 1, 1, "yes"), "'yes'; choose one of reproduced, partly, not reproduced, not testable here"),
        (("", "claim", 1, 1, "partly"), "place in the paper"),
        ((None, "claim", 1, 1, "partly"), "place in the paper"),
        (("eq. 1", "claim", 1, 1, "partly"), "wam.book.start"),
    ],
)
def test_bad_rows_are_errors(row, message):
    with pytest.raises(ValueError, match=message):
        book.record(*row)


def test_compare_shows_and_records(ledger_folder, shown):
    book.start("02_images")
    row = {"what": HOSTILE, "paper": None, "here": 0.12345, "difference": "+1", "verdict": "partly"}
    book.compare([row, {**row, "where": "Fig. 6"}], where="Fig. 2")
    page = Page(shown[0])
    assert len(page.all("th")) == 6 and len(page.all("td")) == 12 and not page.all("b")
    rows = json.loads((ledger_folder / "02_images.json").read_text())["rows"]
    assert [(row["where"], row["claim"], row["here"], row["difference"]) for row in rows] == [
        ("Fig. 2", HOSTILE, "0.123", "+1"),
        ("Fig. 6", HOSTILE, "0.123", "+1"),
    ]
    labels = re.findall('data-label="([a-z]+)"', shown[0])
    assert labels == 2 * ["where", "verdict", "what", "paper", "here", "difference"]  # where columns are too wide
    with pytest.raises(ValueError, match="lacks verdict, difference"):
        book.compare([{"what": "w", "paper": 1, "here": 1}], where="Fig. 2")


def test_a_table_is_escaped_titled_and_rectangular(shown):
    book.table(("name", "value"), [(HOSTILE, 0.123456), (None, torch.tensor(3))], title="**Title**")
    title, html = shown
    page = Page(html)
    assert title == "**Title**" and "<b>" not in html
    assert len(page.all("th")) == 2 and len(page.all("td")) == 4
    assert page.text["td"] == f"{HOSTILE}0.123–3"
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        book.table(("a", "b"), [(1,)])


def test_numbers_in_tables_do_not_break(shown):
    book.table(("a",), [("+0.12 [-0.10, +0.25] points, 1,250.5 %, 2e-16, level 3 - 1",)])
    whole = re.findall('nowrap">(.*?)</span>', shown[0])
    assert whole == ["[-0.10, +0.25]", "1,250.5 %", "2e-16"]
    assert re.sub("<[^>]+>", "", shown[0]) == "a+0.12 [-0.10, +0.25] points, 1,250.5 %, 2e-16, level 3 - 1"


def test_import_wam_does_not_import_matplotlib():
    code = "import sys, wam; sys.exit(any(m in sys.modules for m in ('matplotlib', 'IPython', 'ipywidgets')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(wam.__file__).parents[1]).returncode == 0
