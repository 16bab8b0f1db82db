"""Figures of explanations: image, dyadic mosaic, heatmap, reconstruction, one panel per scale.

Single panels go on a given axis; whole figures (:func:`explanation`, :func:`gallery`) have an alternative text, made
from the explanation. Images are RGB arrays in [0, 1], as ``model.display(x)`` returns them. The colour maps keep
their order in greyscale and for colour-blind readers. matplotlib is left as it was.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from cycler import cycler
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from wam.coefficients import Coefficients, Scale
from wam.explanation import Explanation
from wam.fourier import Fourier
from wam.frames import Wavelet

WIDTH = 6.0
"""Width of every figure in inches: text of 12 points is then 10 pixels high on a page 390 pixels wide."""

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Line and bar colours that colour-blind readers tell apart (Okabe and Ito)."""

Categories = Sequence[str] | None
"""Names of the classes, by index."""

_GAP, _LINE = 0.08, 0.2  # inches: between panels, and for a line of a title


def style() -> dict[str, Any]:
    """The one style of the figures, as matplotlib rc parameters: dark on white, large type, few lines."""
    large = dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize", "figure.titlesize"), 12.0)
    small = dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 11.0)
    return large | small | {
        "axes.prop_cycle": cycler(color=COLOURS), "axes.edgecolor": "0.3", "axes.axisbelow": True,
        "axes.spines.top": False, "axes.spines.right": False, "grid.color": "0.88", "legend.frameon": False,
        "lines.linewidth": 1.6, "image.cmap": "magma", "figure.figsize": (WIDTH, 3.4),
        "figure.facecolor": "white", "figure.constrained_layout.use": True,
    }  # fmt: skip


def image(ax: Axes, rgb: np.ndarray, title: str | None = None) -> None:
    """Show an image ``(height, width, 3)``, or ``(height, width, 1)`` in grey, in [0, 1], without ticks."""
    ax.imshow(np.clip(rgb, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="lanczos")
    _bare(ax, title)


def overlay(ax: Axes, rgb: np.ndarray, heatmap: Tensor | np.ndarray, title: str | None = None) -> None:
    """Show a non-negative ``heatmap`` ``(height, width)``, up to its 99.5th percentile, over the darkened image."""
    heat = _array(heatmap)
    heat = np.clip(heat / (np.percentile(heat, 99.5) or heat.max() or 1), 0, 1)[..., None] ** 0.7
    grey = np.average(rgb, axis=2, weights=[0.299, 0.587, 0.114][: rgb.shape[2]])[..., None]
    image(ax, (1 - heat) * 0.55 * grey + heat * colormaps["inferno"](heat[..., 0])[..., :3], title)


def mosaic(
    ax: Axes, coefficients: Coefficients, sample: int = 0, *, signed: bool = False, relative: bool = False, title=None
) -> None:
    """Show coefficients or attributions of an image as a dyadic mosaic, absolute values summed over channels.

    The approximation is in the upper left corner, and every level surrounds what is coarser: vertical details on the
    right, horizontal ones below, diagonal ones in the corner. What long wavelets keep beyond the border is left out.

    Parameters
    ----------
    signed
        Show the signed sums over channels in their place, on a diverging map, white at zero.
    relative
        Show true relative magnitudes. By default each band is scaled to its own 99.5th percentile and brightened (power
        0.6), because fine bands would be black otherwise.

    Raises
    ------
    ValueError
        If the bands do not form a mosaic of two dimensions.
    """
    bands = {}
    for (level, orientation), band in coefficients[sample].bands.items():
        if band.ndim != 4:
            raise ValueError(f"a mosaic needs bands of two dimensions, not {band.ndim - 2}; see charts.profile()")
        for axis, n in enumerate(coefficients.shape, start=2):
            kept = min(-(-n // 2**level), band.shape[axis])
            band = band.narrow(axis, (band.shape[axis] - kept) // 2, kept)
        bands[level, orientation] = (band if signed else band.abs()).sum(1, keepdim=True)
    tops = {key: float(np.percentile(_array(band.abs()), 99.5)) for key, band in bands.items()}
    tops = dict.fromkeys(tops, max(tops.values())) if relative else tops
    shown = Coefficients({key: band / (tops[key] or 1) for key, band in bands.items()}, coefficients.shape)
    picture = _array(shown.mosaic())[0, 0]
    picture = np.sign(picture) * np.abs(picture) ** (1 if relative else 0.6)
    ax.imshow(picture, cmap="PuOr" if signed else "magma", vmin=-1 if signed else 0, vmax=1)
    line = {"color": "0.3" if signed else "white", "linewidth": 0.8, "solid_capstyle": "butt"}
    for (_, orientation), (rows, columns) in shown.mosaic_blocks().items():
        if orientation == "diagonal":
            ax.plot([columns.start - 0.5] * 2, [-0.5, rows.stop - 0.5], **line)
            ax.plot([-0.5, columns.stop - 0.5], [rows.start - 0.5] * 2, **line)
    ax.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
    _bare(ax, title)


def explanation(
    e: Explanation, images: np.ndarray, sample: int = 0, fraction: float = 0.1, *, categories: Categories = None
) -> tuple[Figure, str]:
    """One explanation of one image, as in Fig. 2 of the paper.

    The image, the mosaic of the attributions, the heatmap over the image, the reconstruction from the ``fraction`` of
    the coefficients with the largest attributions, and a heatmap per scale with its share.

    Parameters
    ----------
    images
        The RGB images ``(batch, height, width, 3)`` that are explained, in the order of ``e``.

    Raises
    ------
    ValueError
        If ``e`` does not explain images in a frame that has a mosaic, or ``images`` do not fit it.
    """
    one, rgb = _sample(e, images, sample)
    top = _top(fraction)

    def panel(ax: Axes, heat: Tensor, title: str) -> None:
        overlay(ax, rgb, heat, title)

    with rc_context(style()):
        figure, axes = _by_scale(one, [(2, 1), (2, 1)], rgb, categories, panel)
        _draw(axes, ("image", "attributions", "heatmap", f"{top} of coefficients"), one, rgb, fraction)
    text = "Panels: the image, the mosaic of the attributions, the heatmap over the image, the reconstruction from the"
    return figure, f"{describe(one, 0, categories)} {text} {top} of the coefficients, the heatmap of every scale."


def gallery(
    rows: Sequence[tuple[Explanation, np.ndarray, int]],
    fraction: float = 0.1,
    *,
    categories: Categories = None,
    labels: Sequence[str] | None = None,
) -> tuple[Figure, str]:
    """Several explanations as rows of small panels, as in Fig. 15 of the paper.

    Parameters
    ----------
    rows
        ``(explanation, images, sample)`` for every row; they may differ in method, frame and model.
    labels
        A label per row, or an error; by default the name of its class.
    """
    shown, names = _listing(rows, "row", _sample, categories, labels)
    titles = ("image", "mosaic", "heatmap", _top(fraction))
    with rc_context(style()):
        tallest = max((rgb for _, rgb in shown), key=lambda rgb: rgb.shape[0] / rgb.shape[1])
        figure, axes = _layout([(4, int(not row)) for row in range(len(rows))], tallest, left=0.4)
        for row, ((one, rgb), name) in enumerate(zip(shown, names)):
            line = axes[4 * row :]
            _draw(line, [""] * 4 if row else titles, one, rgb, fraction)
            line[0].set_ylabel(textwrap.fill(name, 18), fontsize=10)
    said = (f"{name}: {_listed(one, one.scale_profile()[0].tolist())}" for (one, _), name in zip(shown, names))
    rows = f"{len(names)} row{'s' * (len(names) > 1)} of panels: {', '.join(titles)}."
    return figure, f"{rows} Share of the attribution per scale: {'; '.join(said)}."


def panels(rows: int, columns: int, aspect: float = 1.0, titles: int | Sequence[int] = 1) -> tuple[Figure, np.ndarray]:
    """An empty figure for pictures of height / width ``aspect``, ``titles`` lines above each row; ``axes[i, j]``."""
    with rc_context(style()):
        above = [titles] * rows if isinstance(titles, int) else titles
        figure, axes = _layout([(columns, n) for n in above], np.empty((round(1000 * aspect), 1000)))
    return figure, np.array(axes).reshape(rows, columns)


def describe(e: Explanation, sample: int = 0, categories: Categories = None) -> str:
    """An explanation in words: class, method, frame, score, share per scale, and where the heatmap lies.

    >>> import torch, wam, wam.plots
    >>> e = wam.saliency(lambda x: x.sum((2, 3)), torch.ones(1, 1, 8, 8), frame=wam.Wavelet("haar", levels=1, ndim=2))
    >>> wam.plots.describe(e, categories=["sum"]).partition(" The heatmap")[0]
    'sum: saliency, haar, 1 level. Score 64.00. Share of the attribution per scale: approximation 100 %, level 1 0.0 %.'
    """
    one = e[sample]
    text = f"{_heading(one, categories)}. Score {one.score.item():.2f}. Share of the attribution per scale: "
    text += f"{_listed(one, one.scale_profile()[0].tolist())}."
    if len(one.attributions.shape) == 2 and not isinstance(e.frame, Fourier):
        heat = _array(one.heatmap()[0])
        y, x = ((np.indices(heat.shape) * heat).sum((1, 2)) / (heat.sum() or 1)) / heat.shape
        text += f" The heatmap is centred {_percent(x)} from the left and {_percent(y)} from the top."
    return text


def _layout(rows: Sequence[tuple[int, int]], rgb: np.ndarray, heading: str = "", left: float = 0.0):
    """Axes for rows of ``(panels, title lines)``, placed in inches: figures of one kind are of one size."""
    aspect, top = rgb.shape[0] / rgb.shape[1], 1.3 * _LINE * (heading.count("\n") + 1) if heading else 0.0
    places = []  # of every panel: left, top, width
    for count, lines in rows:
        width = (WIDTH - left - (count + 1) * _GAP) / count
        top += lines * _LINE + _GAP
        places += [(left + _GAP + i * (width + _GAP), top, width) for i in range(count)]
        top += width * aspect
    height = top + _GAP
    figure = Figure(figsize=(WIDTH, height), layout="none")
    figure.text(_GAP / WIDTH, 1 - _GAP / height, heading, va="top", fontsize=12, fontweight="bold")
    boxes = ((x / WIDTH, 1 - (y + w * aspect) / height, w / WIDTH, w * aspect / height) for x, y, w in places)
    return figure, [figure.add_axes(box) for box in boxes]


def _by_scale(one: Explanation, head: list[tuple[int, int]], picture: np.ndarray, categories, draw):
    """A figure of rows of panels, ``head``, and a panel per scale below them, which ``draw(ax, heat, title)`` fills."""
    shares, heats = one.scale_profile()[0].tolist(), one.scale_heatmaps()[0]
    count = len(shares) if len(shares) > 1 else 0  # the one scale of pixels is the heatmap
    across, first = 3 if count in (3, 5, 6) else min(count, 4) or 1, sum(panels for panels, _ in head)
    rows = [*head, *[(across, 1)] * -(-count // across)]
    figure, axes = _layout(rows, picture, textwrap.fill(_heading(one, categories), 56))
    for ax, scale, share, heat in zip(axes[first:], one.scales, shares, heats):
        draw(ax, heat, f"{_scale(scale, 'approx.')}: {_percent(share)}")
    for ax in axes[first + count :]:
        ax.remove()
    return figure, axes


def _listing(cells, noun: str, sample, categories, labels):
    """The explanations of a gallery with what they explain, and their names."""
    if not cells:
        raise ValueError(f"a gallery needs {noun}s, got 0 {noun}s")
    shown = [sample(*cell) for cell in cells]
    names = [_class(one, categories) for one, _ in shown] if labels is None else list(labels)
    if len(names) != len(cells):
        raise ValueError(f"{len(names)} labels for {len(cells)} {noun}s: give one per {noun}")
    return shown, names


def _draw(axes, titles: Sequence[str], one: Explanation, rgb, fraction: float) -> None:
    image(axes[0], rgb, titles[0])
    mosaic(axes[1], one.attributions, title=titles[1])
    overlay(axes[2], rgb, one.heatmap()[0], titles[2])
    image(axes[3], _reconstruction(one, rgb, fraction), titles[3])


def _reconstruction(one: Explanation, rgb: np.ndarray, fraction: float) -> np.ndarray:
    """In colours: per channel, the affine map from model space that gives the image."""
    x, part = one.frame.synthesis(one.coefficients), one.reconstruct(fraction)
    channels = []
    for seen, kept, colour in zip(_array(x[0]), _array(part[0]), np.moveaxis(rgb, -1, 0)):
        inner = (colour > 0) & (colour < 1)  # a clipped colour says nothing about the map
        varied = inner.any() and np.ptp(seen[inner]) > 0
        channels.append(np.polyval(np.polyfit(seen[inner], colour[inner], 1) if varied else (1, 0), kept))
    return np.stack(channels, axis=-1)


def _sample(e: Explanation, images: np.ndarray, sample: int) -> tuple[Explanation, np.ndarray]:
    shape, channels = e.attributions.shape, e.attributions.pack()[0].shape[1]
    if len(shape) != 2 or channels not in (1, 3):
        raise ValueError(f"this figure is for images, not for {channels} channels of {len(shape)} dimensions")
    if np.shape(images) != (size := (len(e), *shape, channels)):
        raise ValueError(f"expected images {size}, got {np.shape(images)}: pass model.display(x) of the same x")
    return e[sample], np.asarray(images[sample], dtype=float)


def _bare(ax: Axes, title: str | None) -> None:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.set_title(title or "", pad=4)


def _listed(e: Explanation, values: Sequence[float], signed: bool = False) -> str:
    if math.isnan(values[0]):
        return "none, all attributions are zero"
    numbers = (f"{value:+.2f}" if signed else _percent(value) for value in values)
    return ", ".join(f"{_scale(scale)} {number}" for scale, number in zip(e.scales, numbers))


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.{int(share < 0.0995)}f} %"


def _top(share: float) -> str:
    return f"top {100 * share:.3g} %"


def _scale(scale: Scale, approximation: str = "approximation") -> str:
    return approximation if scale == "approx" else f"level {scale}" if scale else "pixels"


def _class(one: Explanation, categories: Categories) -> str:
    return f"class {int(one.target)}" if categories is None else categories[int(one.target)]


def _heading(one: Explanation, categories: Categories) -> str:
    name = one.frame.name if isinstance(one.frame, Wavelet) else type(one.frame).__name__.lower()
    count = getattr(one.frame, "levels", 0)
    levels = f", {count} level{'s' * (count > 1)}" if count else ""
    return f"{_class(one, categories)}: {one.method.replace('smoothgrad', 'SmoothGrad')}, {name}{levels}"


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    return values.detach().cpu().double().numpy() if isinstance(values, Tensor) else np.asarray(values, float)
