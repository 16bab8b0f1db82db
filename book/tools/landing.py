"""The generated parts of the first page: the film, Fig. 1 of three modalities, where to start, how to cite.

    python book/tools/landing.py build/site

writes fragments below `book/generated` and their pictures below `book/_static/landing`. The models run on the
photograph, the recording and the digit that are shown, and every percentage is theirs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import matplotlib
import numpy as np
import torch
import yaml
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import film
import wam
from film import FRACTION, GROUND
from wam import audio, cubes, data, files, models, plots, spectrograms, voxels
from wam.coefficients import Coefficients
from wam.explanation import Explanation

PHOTOGRAPHS = {"film": 18, "figure": 17}  # of `wam.data.images()`
STEPS = 32  # gradients of every explanation
SIDE = 400  # pixels of a panel of Fig. 1
FILM = {"quality": 52}  # of the sheet of frames
CITATION = Path(__file__).parents[2] / "CITATION.cff"


@dataclass(frozen=True)
class Panel:
    """One picture of Fig. 1 and its name; if it is an input, what the model answers to it, and how it sounds."""

    picture: np.ndarray
    name: str
    alt: str
    answer: tuple[str, float] | None = None
    sound: audio.Clip | None = None


@dataclass(frozen=True)
class Row:
    """One modality: what and which model, and four panels."""

    kind: str
    model: str
    panels: tuple[Panel, Panel, Panel, Panel]


def photograph() -> Row:
    """The row of a photograph."""
    model = models.load("efficientnet_lite0")
    x = model.prepare(data.images()[PHOTOGRAPHS["figure"] : PHOTOGRAPHS["figure"] + 1])
    e = wam.integrated_gradients(model, x, frame=wam.Wavelet("haar", levels=4, ndim=2), steps=STEPS, max_batch=8)
    rgb = model.display(x)[0]
    draw = (
        lambda ax: plots.image(ax, rgb),
        lambda ax: plots.mosaic(ax, e.attributions),
        lambda ax: plots.overlay(ax, rgb, e.heatmap()[0]),
        lambda ax: plots.image(ax, model.display(e.reconstruct(FRACTION))[0]),
    )
    return _row(
        "Photograph", "EfficientNet-Lite0", model, x, e, draw, lambda z: z.softmax(1), "by level and orientation"
    )


def recording() -> Row:
    """The row of a sound: YAMNet, asked for ten animals, as in chapter 04."""
    files = data.recordings()
    model = models.load("yamnet").only(files.categories)
    (sound,) = (s for s in files if s.name == "duck")
    x = model.prepare(sound.clip.mono().resample(model.rate).fit(4).normalised())
    frame = wam.Wavelet("sym8", levels=6, ndim=1)
    e = wam.integrated_gradients(model, x, frame=frame, steps=STEPS, nodes="geometric", max_batch=4)
    part, heat = e.reconstruct(FRACTION), e.heatmap()[0]
    draw = (
        lambda ax: _waveform(ax, x[0, 0]),
        lambda ax: spectrograms.scalogram(ax, e.attributions, model.rate),
        lambda ax: _waveform(ax, x[0, 0], heat=heat),
        lambda ax: _waveform(ax, part[0, 0], behind=x[0, 0]),
    )
    row = _row("Recording", "YAMNet", model, x, e, draw, torch.sigmoid, "by octave, low to high, over time")
    heard = (audio.Clip(sound, model.rate) for sound in audio.levelled([x[0], part[0]]))
    panels = [replace(row.panels[i], sound=clip) for i, clip in zip((0, 3), heard)]
    return replace(row, panels=(panels[0], *row.panels[1:3], panels[1]))


def digit() -> Row:
    """The row of a volume."""
    model, digits = models.load("digits3d"), data.digits3d("test", 8)
    x = model.prepare(digits)[:1]
    e = wam.integrated_gradients(model, x, frame=wam.Wavelet("haar", levels=3, ndim=3), steps=STEPS)
    part = e.reconstruct(FRACTION)
    draw = (
        lambda ax: cubes.solid(ax, x[0]),
        lambda ax: _cube(ax, e.attributions),
        lambda ax: voxels.heatmap(ax, x[0], e.heatmap()[0]),
        lambda ax: cubes.solid(ax, part[0]),
    )
    return _row("3D shape", "a network of voxels", model, x, e, draw, lambda z: z.softmax(1), "by level and three axes")


def _row(kind, named, model, x, e: Explanation, draw, link, order: str) -> Row:
    def answer(given: Tensor) -> tuple[str, float]:
        with torch.no_grad():
            probabilities = link(model(given))[0]
        best = int(probabilities.argmax())
        return str(model.categories[best]), float(probabilities[best])

    part, top = answer(e.reconstruct(FRACTION)), f"{100 * FRACTION:.0f} %"
    said = f"{kind.lower()}, classified by {named}"
    texts = (
        ("input", f"A {said} as {answer(x)[0]}.", answer(x)),
        ("which wavelets", f"The attributions of the {kind.lower()} in the wavelet domain, {order}. "
         f"{plots.describe(e, 0, model.categories)}", None),
        ("where", f"The same attributions spread over the {kind.lower()}: bright where they are large.", None),
        (f"top {top}", f"The {kind.lower()}, rebuilt from the {top} of its wavelet coefficients that matter most: "
         f"classified as {part[0]}.", part),
    )  # fmt: skip
    return Row(kind, named, tuple(Panel(_panel(paint), name, alt, a) for paint, (name, alt, a) in zip(draw, texts)))


def _panel(paint: Callable[[Axes], None]) -> np.ndarray:
    with rc_context(plots.style()):
        figure = Figure(figsize=(3, 3), dpi=SIDE / 3, facecolor=GROUND, layout="none")
        ax = film.whole(figure)
        paint(ax)
        ax.set(xlabel="", ylabel="", xticks=[], yticks=[])
        ax.set_title("")
        ax.patch.set_alpha(0)
    return film.pixels(figure)


def _waveform(ax: Axes, samples: Tensor, heat: Tensor | None = None, behind: Tensor | None = None) -> None:
    """The extent of a waveform in every column of pixels, coloured by what matters there, or before another."""
    top = float((samples if behind is None else behind).abs().max()) * 1.05
    colour = np.array([(0.93, 0.92, 0.95)])
    if heat is not None:
        level = _columns(heat).sum(1)
        level = np.clip(level / np.percentile(level, 99.5), 0, 1) ** 0.7
        colour = (1 - level[:, None]) * 0.35 + level[:, None] * colormaps["inferno"](0.25 + 0.75 * level)[:, :3]
    for sound, shade in ((behind, np.array([(0.3, 0.3, 0.34)])), (samples, colour)):
        if sound is not None:
            columns = _columns(sound)
            ax.vlines(
                range(len(columns)), columns.min(1) - 0.004 * top, columns.max(1) + 0.004 * top, shade, linewidth=0.9
            )
    ax.set(xlim=(0, SIDE - 1), ylim=(-top, top))
    ax.spines[:].set_visible(False)


def _columns(values: Tensor) -> np.ndarray:
    """Values in as many stretches as a panel has columns."""
    each = len(values) // SIDE
    return values[: each * SIDE].view(SIDE, each).double().numpy()


def _cube(ax: Axes, attributions: Coefficients) -> None:
    """The mosaic of a volume, as a cube of cubes: bright where coefficients matter, each band on its own scale."""
    bands = {k: b.abs() / (b.abs().max() or 1) for k, b in attributions.bands.items()}
    level = Coefficients(bands, attributions.shape).mosaic()[0, 0].double().numpy() ** 0.7
    colours = colormaps["inferno"](0.15 + 0.85 * level)
    colours[..., 3] = np.where(level > 0.45, 1, np.where(level > 0.1, 0.1, 0))
    cubes.solid(ax, np.ones(level.shape), colours)


def figure_html(rows: Sequence[Row]) -> str:
    """Fig. 1 as a grid: a row per modality, on a narrow page two panels beside each other."""
    parts = []
    for row in rows:
        cells = []
        for i, panel in enumerate(row.panels):
            said = f"<b>{escape(panel.answer[0])}</b> {100 * panel.answer[1]:.0f} %" if panel.answer else "&nbsp;"
            player = (
                f'<audio controls preload="none" aria-label="{escape(row.kind)}, {escape(panel.name)}" '
                f'src="../_static/landing/{_file(row, i, "wav")}"></audio>'
            )
            cells.append(
                f'<div><img class="dark-light" src="../_static/landing/{_file(row, i)}" width="{SIDE}" height="{SIDE}" '
                f'loading="lazy" alt="{escape(panel.alt)}"><p>{escape(panel.name)}<br>{said}</p>'
                f"{player if panel.sound else ''}</div>"
            )
        head = f"<p><b>{escape(row.kind)}</b><br>{escape(row.model)}</p>"
        parts.append(f'<div class="modality">{head}{"".join(cells)}</div>')
    return f'<div class="wam-figure1">\n{"".join(parts)}\n</div>\n'


def start_html(config: dict) -> str:
    """Where to start: the chapter for a network of one's own, here and on Colab."""
    chapter, repository = "notebooks/09_your_own", config["repository"]
    path = repository["url"].removeprefix("https://github.com/")
    colab = f"{config['launch_buttons']['colab_url']}/github/{path}/blob/{repository['branch']}/{chapter}.ipynb"
    return (
        f'<p class="wam-start"><a href="../{chapter}.html">Explain your own</a> '
        f'<a href="{escape(colab)}">On Colab</a> <a href="gallery.html">Gallery</a></p>\n'
    )


def bibtex(citation: dict, config: dict) -> str:
    """The paper and this book as BibTeX: what `CITATION.cff` says, and the address of the configuration."""
    paper = citation["preferred-citation"]
    authors = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    return f"""\
@inproceedings{{kasmi{paper["year"]},
  author    = {{{authors}}},
  title     = {{{paper["title"]}}},
  booktitle = {{{paper["collection-title"]}}},
  series    = {{Proceedings of Machine Learning Research}},
  volume    = {{{paper["volume"]}}},
  pages     = {{{paper["start"]}--{paper["end"]}}},
  year      = {{{paper["year"]}}}
}}

@software{{wam,
  author  = {{{{{citation["authors"][0]["name"]}}}}},
  title   = {{{citation["title"]}}},
  version = {{{wam.__version__}}},
  url     = {{{config["repository"]["url"]}}}
}}
"""


def card(rows: Sequence[Row]) -> Image.Image:
    """The picture of social media, 1200 x 630: the title beside Fig. 1."""
    picture = Image.new("RGB", (1200, 630), tuple(round(255 * c) for c in GROUND))
    side, gap = 194, 8
    for i, row in enumerate(rows):
        for j, panel in enumerate(row.panels):
            place = (1200 - 4 * (side + gap) - 4 + j * (side + gap), 16 + i * (side + gap))
            picture.paste(film.image(panel.picture).resize((side, side), Image.Resampling.LANCZOS), place)
    draw = ImageDraw.Draw(picture)
    lines = ("One wave", "to explain", "them all,", "executed")
    font = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans-Bold.ttf")
    draw.multiline_text((40, 150), "\n".join(lines), (255, 255, 255), ImageFont.truetype(str(font), 52), spacing=18)
    draw.text((40, 450), "Where a classifier looks,", (255, 190, 110), ImageFont.truetype(str(font), 22))
    draw.text((40, 484), "and at what scale.", (255, 190, 110), ImageFont.truetype(str(font), 22))
    return picture


def _file(row: Row, i: int, suffix: str = "webp") -> str:
    return f"{row.kind.lower().replace(' ', '-')}-{i + 1}.{suffix}"


def save(file, picture: Image.Image, **options) -> None:
    """Write a picture as WebP, or as what `format` says."""
    picture.save(file, **({"format": "webp", "method": 5} | options))


def _write(path: Path, picture: Image.Image, **options) -> None:
    files.replace(path, lambda scratch: save(scratch, picture, **options))


def main(site: Path) -> None:
    """Compute and write everything; the fragment of Fig. 1 is the last file."""
    pictures, fragments = site / "book" / "_static" / "landing", site / "book" / "generated"
    for folder in (pictures, fragments):
        folder.mkdir(parents=True, exist_ok=True)
    model = models.load("efficientnet_lite0")
    x = model.prepare(data.images()[PHOTOGRAPHS["film"] : PHOTOGRAPHS["film"] + 1])
    e = wam.integrated_gradients(model, x, frame=wam.Wavelet("haar", levels=4, ndim=2), steps=STEPS, max_batch=8)
    frames, target = film.shoot(model, e), int(e.target)
    html = film.html(frames, film.asked(model, frames, target), e, model.categories[target])
    _write(pictures / "film.webp", film.sheet(frames), **FILM)
    _write(pictures / "still.webp", film.image(frames[-1].picture), quality=80)
    rows = (photograph(), recording(), digit())
    for row in rows:
        for i, panel in enumerate(row.panels):
            _write(pictures / _file(row, i), film.image(panel.picture), quality=82)
            if panel.sound:
                panel.sound.write(pictures / _file(row, i, "wav"))
    _write(pictures / "card.jpg", card(rows), format="jpeg", quality=85)
    config, citation = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in (site / "_config.yml", CITATION))
    texts = {"film.html": html, "start.html": start_html(config), "cite.bib": bibtex(citation, config)}
    for name, text in (texts | {"figure1.html": figure_html(rows)}).items():
        files.replace(fragments / name, lambda scratch, text=text: scratch.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python book/tools/landing.py SITE")
    main(Path(sys.argv[1]))
