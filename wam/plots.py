"""Figures of explanations: image, dyadic mosaic, heatmap, reconstruction, one panel per scale.

Single panels go on a given axis; whole figures (:func:`explanation`, :func:`gallery`) have an alternative text, made
from the explanation. Images are RGB arrays in [0, 1], as ``model.display(x)`` returns them. The colour maps keep
their order in greyscale and for colour-blind readers. matplotlib is left as it was.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from wam import layout, words
from wam.coefficients import Coefficients
from wam.explanation import Explanation
from wam.fourier import Fourier
from wam.layout import COLOURS, WIDTH, array, bare, style
from wam.words import Categories

__all__ = [
    "COLOURS",
    "WIDTH",
    "describe",
    "explanation",
    "gallery",
    "image",
    "mosaic",
    "overlay",
    "panels",
    "reconstruction",
    "style",
]


def image(ax: Axes, rgb: np.ndarray, title: str | None = None) -> None:
    """Show an image ``(height, width, 3)``, or ``(height, width, 1)`` in grey, in [0, 1], without ticks."""
    ax.imshow(np.clip(rgb, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="lanczos")
    bare(ax, title)


def overlay(ax: Axes, rgb: np.ndarray, heatmap: Tensor | np.ndarray, title: str | None = None) -> None:
    """Show a non-negative ``heatmap`` ``(height, width)``, up to its 99.5th percentile, over the darkened image."""
    heat = array(heatmap)
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
    tops = {key: float(np.percentile(array(band.abs()), 99.5)) for key, band in bands.items()}
    tops = dict.fromkeys(tops, max(tops.values())) if relative else tops
    shown = Coefficients({key: band / (tops[key] or 1) for key, band in bands.items()}, coefficients.shape)
    picture = array(shown.mosaic())[0, 0]
    picture = np.sign(picture) * np.abs(picture) ** (1 if relative else 0.6)
    ax.imshow(picture, cmap="PuOr" if signed else "magma", vmin=-1 if signed else 0, vmax=1)
    line = {"color": "0.3" if signed else "white", "linewidth": 0.8, "solid_capstyle": "butt"}
    for (_, orientation), (rows, columns) in shown.mosaic_blocks().items():
        if orientation == "diagonal":
            ax.plot([columns.start - 0.5] * 2, [-0.5, rows.stop - 0.5], **line)
            ax.plot([-0.5, columns.stop - 0.5], [rows.start - 0.5] * 2, **line)
    ax.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
    bare(ax, title)


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
    top = words.top(fraction)

    def panel(ax: Axes, heat: Tensor, title: str) -> None:
        overlay(ax, rgb, heat, title)

    with rc_context(style()):
        figure, axes = layout.by_scale(one, [(2, 1), (2, 1)], _aspect(rgb), categories, panel)
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
    shown, names = layout.labelled(rows, "row", _sample, categories, labels)
    titles = ("image", "mosaic", "heatmap", words.top(fraction))
    with rc_context(style()):
        tallest = max(_aspect(rgb) for _, rgb in shown)
        figure, axes = layout.rows([(4, int(not row)) for row in range(len(rows))], tallest, left=0.4)
        for row, ((one, rgb), name) in enumerate(zip(shown, names)):
            line = axes[4 * row :]
            _draw(line, [""] * 4 if row else titles, one, rgb, fraction)
            line[0].set_ylabel(textwrap.fill(name, 18), fontsize=10)
    said = (f"{name}: {words.shares(one)}" for (one, _), name in zip(shown, names))
    rows = f"{len(names)} row{'s' * (len(names) > 1)} of panels: {', '.join(titles)}."
    return figure, f"{rows} Share of the attribution per scale: {'; '.join(said)}."


def panels(rows: int, columns: int, aspect: float = 1.0, titles: int | Sequence[int] = 1) -> tuple[Figure, np.ndarray]:
    """An empty figure for pictures of height / width ``aspect``, ``titles`` lines above each row; ``axes[i, j]``."""
    with rc_context(style()):
        above = [titles] * rows if isinstance(titles, int) else titles
        figure, axes = layout.rows([(columns, n) for n in above], aspect)
    return figure, np.array(axes).reshape(rows, columns)


def describe(e: Explanation, sample: int = 0, categories: Categories = None) -> str:
    """An explanation in words: class, method, frame, score, share per scale, and where the heatmap lies.

    >>> import torch, wam, wam.plots
    >>> e = wam.saliency(lambda x: x.sum((2, 3)), torch.ones(1, 1, 8, 8), frame=wam.Wavelet("haar", levels=1, ndim=2))
    >>> wam.plots.describe(e, categories=["sum"]).partition(" The heatmap")[0]
    'sum: saliency, haar, 1 level. Score 64.00. Share of the attribution per scale: approximation 100 %, level 1 0.0 %.'
    """
    one = e[sample]
    text = f"{words.heading(one, categories)}. Score {one.score.item():.2f}. Share of the attribution per scale: "
    text += f"{words.shares(one)}."
    if len(one.attributions.shape) == 2 and not isinstance(e.frame, Fourier):
        heat = array(one.heatmap()[0])
        y, x = ((np.indices(heat.shape) * heat).sum((1, 2)) / (heat.sum() or 1)) / heat.shape
        text += f" The heatmap is centred {words.percent(x)} from the left and {words.percent(y)} from the top."
    return text


def _draw(axes, titles: Sequence[str], one: Explanation, rgb, fraction: float) -> None:
    image(axes[0], rgb, titles[0])
    mosaic(axes[1], one.attributions, title=titles[1])
    overlay(axes[2], rgb, one.heatmap()[0], titles[2])
    image(axes[3], reconstruction(one, rgb, fraction), titles[3])


def reconstruction(one: Explanation, rgb: np.ndarray, fraction: float) -> np.ndarray:
    """What :meth:`wam.explanation.Explanation.reconstruct` gives for one sample, in the colours of its image.

    Per channel of ``rgb``, ``(height, width, channels)``, by the affine map from model space to it that fits best.
    """
    x, part = one.frame.synthesis(one.coefficients), one.reconstruct(fraction)
    channels = []
    for seen, kept, colour in zip(array(x[0]), array(part[0]), np.moveaxis(rgb, -1, 0)):
        inner = (colour > 0) & (colour < 1)  # a clipped colour says nothing about the map
        varied = inner.any() and np.ptp(seen[inner]) > 0
        channels.append(np.polyval(np.polyfit(seen[inner], colour[inner], 1) if varied else (1, 0), kept))
    return np.stack(channels, axis=-1)


def _aspect(rgb: np.ndarray) -> float:
    return rgb.shape[0] / rgb.shape[1]


def _sample(e: Explanation, images: np.ndarray, sample: int) -> tuple[Explanation, np.ndarray]:
    shape, channels = e.attributions.shape, e.attributions.pack()[0].shape[1]
    if len(shape) != 2 or channels not in (1, 3):
        raise ValueError(f"this figure is for images, not for {channels} channels of {len(shape)} dimensions")
    if channels == 1 and np.shape(images)[-1:] == (3,):  # as classifiers show what they see in grey
        images = np.asarray(images)[..., :1]
    if np.shape(images) != (size := (len(e), *shape, channels)):
        raise ValueError(f"expected images {size}, got {np.shape(images)}: pass model.display(x) of the same x")
    return e[sample], np.asarray(images[sample], dtype=float)
