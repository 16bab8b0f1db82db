"""The generated parts of the first page and of the gallery show what the models answer and what the chapters drew."""

import io
import json
import re
from pathlib import Path

import jupytext
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
import yaml
from bs4 import BeautifulSoup
from PIL import Image

import film
import gallery
import landing
import wam
from wam import book, data, models

ROOT = Path(__file__).resolve().parent.parent
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())


@pytest.fixture(scope="module")
def shot():
    """The model, the photograph, its explanation, the film and what the model is said to answer."""
    model = models.load("efficientnet_lite0")
    x = model.prepare(data.images()[18:19])
    e = wam.integrated_gradients(model, x, frame=wam.Wavelet("haar", levels=3, ndim=2), steps=4)
    frames = film.shoot(model, e)
    return model, x, e, frames, film.asked(model, frames, int(e.target))


# the film


def test_film_lasts_five_seconds_and_fits_a_page(shot):
    *_, frames, _ = shot
    assert 4.5 < sum(frame.seconds for frame in frames) < 5.5
    assert all(frame.picture.shape == (film.STAGE, film.STAGE, 3) for frame in frames)
    sheet, file = film.sheet(frames), io.BytesIO()
    landing.save(file, sheet, **landing.FILM)
    assert len(file.getvalue()) <= 700_000
    k = len(frames) - 1
    place = (k % film.COLUMNS * film.STAGE, k // film.COLUMNS * film.STAGE)
    last = sheet.crop((*place, place[0] + film.STAGE, place[1] + film.STAGE))
    assert np.array_equal(last, film.image(frames[-1].picture))


def test_probability_is_the_answer_to_what_is_shown(shot):
    model, x, e, frames, said = shot
    flat, spec = e.coefficients.pack()
    order = e.attributions.pack()[0].abs().flatten().argsort(descending=True)
    seen = {}
    for frame, probability in zip(frames, said):
        if frame.kept not in seen:
            kept = torch.zeros(flat.numel())
            kept[order[: round(frame.kept * flat.numel())]] = 1
            part = e.frame.synthesis(wam.Coefficients.unpack(flat * kept.view_as(flat), spec))
            with torch.no_grad():
                seen[frame.kept] = float(model(part).softmax(1)[0, e.target[0]]), part
        answer, part = seen[frame.kept]
        assert probability == pytest.approx(answer, abs=2e-3)
        torch.testing.assert_close(frame.x, part, atol=1e-4, rtol=0)
    assert len(seen) > 8 and max(seen) == 1 and min(seen) < 0.01
    assert seen[1][0] == pytest.approx(float(model(x).detach().softmax(1)[0, e.target[0]]), abs=1e-3)


def test_pictures_of_the_film_are_their_inputs(shot):
    model, _, e, frames, _ = shot
    added = [frame for frame in frames if frame.words.startswith("Add")]
    for frame in (frames[0], *added):
        shown = model.display(frame.x)[0]
        shown = np.asarray(film.image(shown).resize((film.STAGE,) * 2, Image.Resampling.BICUBIC), dtype=float) / 255
        assert np.abs(np.clip(frame.picture, 0, 1) - shown).mean() < 0.01
    apart = film.Stage(model, e).apart(1.0)
    corner = film.STAGE // 8  # of the approximation, after three levels
    small = model.display(frames[0].x)[0].reshape(28, 8, 28, 8, 3).mean((1, 3))
    block = np.asarray(film.image(apart[:corner, :corner]).resize((28, 28), Image.Resampling.BOX), dtype=float) / 255
    assert np.abs(block - small).mean() < 0.03


def test_scales_light_up_one_by_one_where_coefficients_matter(shot):
    model, _, e, frames, _ = shot
    lit = [frame.lit for frame in frames]
    assert lit == sorted(lit) and set(lit) == set(range(len(e.scales) + 1))
    stage = film.Stage(model, e)
    before, after = stage.lighting(len(e.scales) - 1), stage.lighting(len(e.scales))
    half = film.STAGE // 2
    assert np.abs(before - after)[:half, :half].max() < 1e-9  # the coarse scales stay
    assert np.abs(before - after)[half:, half:].mean() > 0.01  # the finest is lit last
    kept = e.attributions.bands[1, "diagonal"][0].abs().amax(0).numpy()
    bright = np.asarray(film.image(after[half:, half:]).resize(kept.shape, Image.Resampling.BOX), float).sum(2)
    assert np.corrcoef(np.argsort(np.argsort(kept.ravel())), bright.ravel())[0, 1] > 0.2


def test_film_on_its_page(shot):
    model, _, e, frames, said = shot
    name = model.categories[int(e.target)]
    page = BeautifulSoup(film.html(frames, said, e, name), "html.parser")
    rows = json.loads(page.figure["data-frames"])
    assert [row[2] for row in rows] == [round(p, 4) for p in said] and len(rows) == len(frames)
    assert name in page.img["alt"] and f"{100 * said[-1]:.0f} %" in page.img["alt"]
    assert page.output.text == f"{100 * said[-1]:.0f} %"  # without scripts: the last picture
    assert page.button["type"] == "button" and page.canvas["aria-hidden"] == "true"
    shares = [float(li.find_all("span")[-1].text.rstrip(" %")) for li in page.find_all("li")]
    assert shares == pytest.approx((100 * e.scale_profile()[0]).tolist(), abs=0.5)
    assert page.li.span.text == "over 16 px" and page.find_all("li")[-1].span.text == "2–4 px"


# Fig. 1


@pytest.mark.parametrize("make", [landing.photograph, landing.recording, landing.digit], ids=lambda make: make.__name__)
def test_row_of_figure_1_says_what_the_model_answers(make):
    row = make()
    first, *between, last = row.panels
    assert all(len(panel.alt) > 40 for panel in row.panels) and not any(panel.answer for panel in between)
    assert "approximation" in between[0].alt and first.answer[0] in first.alt and last.answer[0] in last.alt
    for panel in row.panels:
        assert panel.picture.shape == (landing.SIDE, landing.SIDE, 3) and panel.picture.std() > 0.02
    assert np.abs(first.picture - last.picture).mean() > 1e-4
    assert 0 < last.answer[1] <= 1
    if make is landing.digit:
        digits, model = data.digits3d("test", 1), models.load("digits3d")
        answer = model(model.prepare(digits)).detach().softmax(1)
        assert first.answer == (model.categories[answer.argmax()], pytest.approx(float(answer.max()), abs=1e-4))
    page = BeautifulSoup(landing.figure_html([row]), "html.parser")
    assert [image["alt"] for image in page.find_all("img")] == [panel.alt for panel in row.panels]
    assert len(page.find_all("audio")) == 2 * (make is landing.recording)


# the rest of the first page


def test_first_page_shows_every_fragment():
    text = (ROOT / "book" / "intro.md").read_text()
    assert set(re.findall(r"generated/([\w.]+)", text)) == {"start.html", "film.html", "figure1.html", "cite.bib"}


def test_start_leads_to_the_chapter_here_and_on_colab():
    links = [a["href"] for a in BeautifulSoup(landing.start_html(CONFIG), "html.parser").find_all("a")]
    here, colab, _ = links
    assert here == "../notebooks/09_your_own.html"
    owner = CONFIG["repository"]["url"].removeprefix("https://github.com/")
    assert colab == f"https://colab.research.google.com/github/{owner}/blob/main/notebooks/09_your_own.ipynb"


def test_citation_is_that_of_the_repository():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    text = landing.bibtex(citation, CONFIG)
    for author in citation["preferred-citation"]["authors"]:
        assert f"{author['family-names']}, {author['given-names']}" in text
    assert text.count("{") == text.count("}") and CONFIG["repository"]["url"] in text and wam.__version__ in text


# the gallery


def chapter(*cells):
    """An executed chapter: headings as text, tagged figures as outputs."""
    made = [nbformat.v4.new_markdown_cell("# 01 One: a title\n\n```\n# no heading\n```")]
    for cell in cells:
        if isinstance(cell, str):
            made.append(nbformat.v4.new_markdown_cell(cell))
        else:
            made.append(nbformat.v4.new_code_cell("draw()", outputs=cell[1], metadata={"tags": cell[0]}))
    return nbformat.v4.new_notebook(cells=made)


def shown(alt="Bars of something."):
    figure, ax = plt.subplots()
    ax.bar([0, 1], [1, 2])
    return [nbformat.v4.new_output("display_data", {"text/html": book.framed(book.img(figure, alt), "caption")})]


def test_gallery_holds_the_tagged_figures_and_no_other():
    notebook = chapter("## First & `second`", (["gallery"], shown("A")), (["hide-input"], shown("B")), "### Third",
                       (["hide-input", "gallery"], shown("C")))  # fmt: skip
    found = gallery.cards("01_one", notebook)
    assert [(card.alt, card.title, card.number) for card in found] == [("A", "First & `second`", 1), ("C", "Third", 2)]
    page = BeautifulSoup(gallery.html(found), "html.parser")
    assert [a["href"] for a in page.find_all("a")] == [
        "../notebooks/01_one.html#first-second",
        "../notebooks/01_one.html#third",
    ]
    assert page.span.text == "First & second01 One" and page.img["alt"] == "A"
    assert found[0].picture.width == gallery.WIDTH and np.ptp(np.asarray(found[0].picture)) > 100


OUTPUTS = {
    "nothing": [],
    "text": [nbformat.v4.new_output("stream", text="text")],
    "no image": [nbformat.v4.new_output("display_data", {"text/html": "<p>"})],
    "no words": [
        nbformat.v4.new_output("display_data", {"text/html": '<img alt=" " src="data:image/webp;base64,AA">'})
    ],
}


@pytest.mark.parametrize("outputs", OUTPUTS.values(), ids=OUTPUTS)
def test_tagged_cell_without_an_image_is_an_error(outputs):
    notebook = chapter("## Section", (["gallery"], outputs))
    with pytest.raises(ValueError, match="01_one, cell 2 is tagged `gallery` and shows no image"):
        gallery.cards("01_one", notebook)


def test_gallery_is_written_whole(tmp_path):
    (tmp_path / "notebooks").mkdir()
    with pytest.raises(ValueError, match="no cell of the 0 chapters"):
        gallery.main(tmp_path)
    nbformat.write(chapter("## Section", (["gallery"], shown())), tmp_path / "notebooks" / "01_one.ipynb")
    gallery.main(tmp_path)
    (image,) = BeautifulSoup((tmp_path / "book/generated/gallery.html").read_text(), "html.parser").find_all("img")
    assert Image.open(tmp_path / "book" / "generated" / image["src"]).format == "WEBP"
    nbformat.write(chapter("## Section", (["gallery"], [])), tmp_path / "notebooks" / "02_two.ipynb")
    with pytest.raises(ValueError, match="02_two"):
        gallery.main(tmp_path)
    assert (tmp_path / "book" / "generated" / image["src"]).exists()


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_every_chapter_is_in_the_gallery(path):
    cells = [cell for cell in jupytext.read(path).cells if gallery.TAG in cell.metadata.get("tags", [])]
    assert 1 <= len(cells) <= 2
    assert all(re.search(r"book\.(figure|slider)\(|\.show\(", cell.source) for cell in cells)
