"""Figures of explanations of volumes: what matters in a shape scale by scale, from all around, and in slices.

Shapes are drawn as cubes (:mod:`wam.cubes`). Single panels go on a given axis (:func:`scales`, :func:`heatmap`), whole
figures come with an alternative text, and :func:`turning` gives what :func:`wam.book.slider` takes, all in the style of
:mod:`wam.plots`. Heatmaps are drawn on the shape; how much of them lies there, the texts say.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from wam import layout, plots, words
from wam.checks import positive
from wam.cubes import _GHOST, AXES, VIEW, _inferno, aspect, shape_of, solid
from wam.explanation import Explanation
from wam.layout import COLOURS, WIDTH, array, bare, style
from wam.words import Categories

Values = Tensor | np.ndarray

COLUMNS = ("shape", "scales", "heatmap")
"""The panels of :func:`gallery`."""

SHARE = 0.5
"""What is marked on a shape: the fewest of its voxels that hold this share of a heatmap there."""

_MARKS = {"coarse": "#FFD23F", "fine": COLOURS[0], "both": "#222222"}  # light to dark, in print too
_PLANES = ((1, 2), (0, 2), (1, 0))  # the rows and columns of a slice across each axis


def scales(ax: Axes, volume: Values, coarse: Values, fine: Values, *, view=VIEW, title: str | None = None) -> str:
    """Mark what matters most at coarse and at fine scales in the translucent shape, and return it in words.

    Of each of the two heatmaps ``(depth, height, width)`` the fewest voxels of the shape are marked that hold
    :data:`SHARE` of what lies on the shape, and all voxels that matter as much as the least of them. Coarse is yellow,
    fine is blue, both is black. A legend takes the place of a title.
    """
    shape = shape_of(volume)
    first, second = (_most(_heat(shape, heat)) for heat in (coarse, fine))
    where = {"coarse": first & ~second, "fine": second & ~first, "both": first & second}
    colours = np.where(shape[..., None], _GHOST, 0.0)
    for name, marked in where.items():
        colours[marked] = (*to_rgb(_MARKS[name]), 1)
    solid(ax, volume, colours, view=view, title=title)
    if title is None:
        _legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1))
    counts = ", ".join(f"{marked.sum()} {name}" for name, marked in where.items())
    return f"Marked, of {shape.sum()} voxels, those with {words.percent(SHARE)} of each heatmap on the shape: {counts}."


def heatmap(ax: Axes, volume: Values, heat: Values, *, view=VIEW, title: str | None = None) -> None:
    """Draw a non-negative ``heat`` ``(depth, height, width)`` on the shape: bright where it is large.

    What :data:`SHARE` marks is opaque, the rest translucent.
    """
    shape = shape_of(volume)
    heat = _heat(shape, heat)
    colours = _inferno(heat / (heat.max() or 1))
    colours[..., 3] = np.where(_most(heat), 1, _GHOST[3]) * shape
    solid(ax, volume, colours, view=view, title=title)


def explanation(
    e: Explanation, volumes: Values, sample: int = 0, *, categories: Categories = None
) -> tuple[Figure, str]:
    """One explanation of one volume, as in Figs. 5 and 17 to 19 of the paper.

    The shape, what matters at coarse and at fine scales (:func:`scales`, with the finer half of the scales as fine),
    the heatmap of all scales, and a heatmap per scale with its share of the attribution.

    Parameters
    ----------
    volumes
        What is explained, ``(batch, channels, depth, height, width)``, in the order of ``e``.

    Raises
    ------
    ValueError
        If ``e`` does not explain volumes, or ``volumes`` do not fit it.

    Examples
    --------
    >>> import torch, wam, wam.voxels
    >>> x, frame = torch.ones(1, 1, 8, 8, 8), wam.Wavelet("haar", levels=1, ndim=3)
    >>> e = wam.saliency(lambda x: x.sum((2, 3, 4)), x, frame=frame)
    >>> figure, alt = wam.voxels.explanation(e, x, categories=["sum"])
    >>> print(alt.partition(" The heatmap")[0])
    sum: saliency, haar, 1 level. Score 512.00. Share of the attribution per scale: approximation 100 %, level 1 0.0 %.
    """
    one, volume = _sample(e, volumes, sample)
    columns = COLUMNS if len(one.scales) > 1 else COLUMNS[::2]

    def panel(ax: Axes, heat: Tensor, title: str) -> None:
        heatmap(ax, volume, heat, title=title)

    with rc_context(style()):
        figure, panels = layout.by_scale(one, [(len(columns), 1)], aspect(volume), categories, panel)
        marked = [_draw(ax, column, one, volume) for ax, column in zip(panels, columns)][1]
    said = f"coarse and fine scales, the heatmap, the heatmap of every scale. {marked}"
    said = said if len(columns) > 2 else "the heatmap."
    return figure, f"{_describe(one, volume, categories)} Panels: the shape, {said}"


def gallery(
    cells: Sequence[tuple[Explanation, Values, int]],
    columns: Sequence[str] = ("heatmap",) * 5,
    *,
    categories: Categories = None,
    labels: Sequence[str] | None = None,
) -> tuple[Figure, str]:
    """Several explanations as small panels, as in Fig. 20 of the paper.

    Parameters
    ----------
    cells
        ``(explanation, volumes, sample)`` for every panel, row by row; they may differ in method, frame and model.
    columns
        What each column shows, of :data:`COLUMNS`; say ``("shape", "heatmap", "heatmap")``.
    labels
        A label per panel; by default the name of its class.

    Raises
    ------
    ValueError
        As :func:`explanation`; for no cell, an unknown column, or not one label per cell.
    """
    if not columns or not set(columns) <= set(COLUMNS):
        raise ValueError(f"a gallery needs columns of {COLUMNS}, got {tuple(columns)}")
    shown, names = layout.labelled(cells, "cell", _sample, categories, labels)
    with rc_context(style()):
        tallest = max(aspect(volume) for _, volume in shown)
        heading = " " if "scales" in columns else ""  # room for the legend
        figure, panels = layout.rows([(len(columns), 1)] * -(-len(cells) // len(columns)), tallest, heading)
        drawn = zip(panels, itertools.cycle(columns), shown, names)
        said = [f"{name}: {_draw(ax, column, *pair, title=name)}" for ax, column, pair, name in drawn]
        if heading:
            _legend(figure, loc="upper left")
        for ax in panels[len(cells) :]:
            ax.remove()
    what = ", ".join(dict.fromkeys(columns))
    return figure, f"{len(cells)} panels, {len(columns)} in a row: {what}. {' '.join(said)}"


def turning(
    e: Explanation, volumes: Values, sample: int = 0, *, turns: int = 12, categories: Categories = None
) -> tuple[list[Figure], list[str], list[str]]:
    """What matters at coarse and fine scales, and the heatmap, from all around: figures, labels and texts of a slider.

    Seen from the front and on to the right, ``turns`` times; parameters and errors are those of :func:`explanation`.
    """
    one, volume = _sample(e, volumes, sample)
    figures, texts, angles = [], [], [360 * k / turns for k in range(positive(turns, "turns"))]
    for angle in angles:
        columns = COLUMNS[1:] if len(one.scales) > 1 else COLUMNS[::2]
        with rc_context(style()):
            figure, panels = layout.rows([(2, 1)], aspect(volume))
            said = [_draw(ax, column, one, volume, (angle, VIEW[1])) for ax, column in zip(panels, columns)]
        figures.append(figure)
        texts.append(f"{words.heading(one, categories)}. Seen {angle:.0f}° to the right of the front. {said[0]}")
    return figures, [f"{angle:.0f}°" for angle in angles], texts


def slices(
    e: Explanation,
    volumes: Values,
    sample: int = 0,
    at: Sequence[int] | None = None,
    *,
    categories: Categories = None,
) -> tuple[Figure, str]:
    """Three slices through one voxel, with the heatmap of all scales over the darkened volume.

    Seen from the front, from above (the front is below) and from the right (the front is on the left), with voxels of
    one size and colours on one range, from 0 to the largest of the volume.

    Parameters
    ----------
    at
        The voxel, counted from 0 along every axis; by default where the heatmap is largest.

    Raises
    ------
    ValueError
        As :func:`explanation`; and if there is no such voxel.
    """
    one, volume = _sample(e, volumes, sample)
    heat = array(one.heatmap()[0])
    at = tuple(map(int, np.unravel_index(heat.argmax(), heat.shape) if at is None else at))
    if len(at) != 3 or not all(0 <= i < n for i, n in zip(at, heat.shape)):
        raise ValueError(f"no voxel {at} in a volume {heat.shape}: give three indices, counted from 0")
    sizes = [(heat.shape[row], heat.shape[column]) for row, column in _PLANES]
    unit, left = (WIDTH - 1.1) / sum(wide for _, wide in sizes), 0.28  # inches
    height = unit * max(high for high, _ in sizes) + 0.6
    with rc_context(style()):
        figure = Figure(figsize=(WIDTH, height), layout="none")
        for axis, ((row, column), (high, wide)) in enumerate(zip(_PLANES, sizes)):
            box = (left / WIDTH, 1 - (0.3 + unit * high) / height, unit * wide / WIDTH, unit * high / height)
            _slice(ax := figure.add_axes(box), _blend(volume, heat), axis, at[axis], f"{AXES[axis]} {at[axis]}")
            ax.set_xlabel(AXES[column], fontsize=10, labelpad=3)
            ax.set_ylabel(AXES[row], fontsize=10, labelpad=3)
            for line, index in ((ax.axhline, at[row]), (ax.axvline, at[column])):
                line(index, color="white", linewidth=0.7, linestyle=(0, (4, 3)), alpha=0.7)
            left += unit * wide + 0.36
    place, value = ", ".join(f"{name} {i}" for name, i in zip(AXES, at)), heat[at] / (heat.max() or 1)
    text = f"Slices through {place}, counted from 0, where the heatmap has {words.percent(value)} of its largest value."
    return figure, f"{_describe(one, volume, categories)} {text}"


def _sample(e: Explanation, volumes, sample: int) -> tuple[Explanation, np.ndarray]:
    shape, size = e.attributions.shape, np.shape(volumes)
    if len(shape) != 3:
        raise ValueError(f"this figure is for volumes, not for inputs of {len(shape)} dimensions")
    if len(size) != 5 or size[0] != len(e) or size[2:] != shape:
        wanted = ", ".join(map(str, (len(e), "channels", *shape)))
        raise ValueError(f"expected volumes ({wanted}), got {tuple(size)}: pass the x that is explained")
    return e[sample], array(volumes[sample])


def _draw(ax: Axes, column: str, one: Explanation, volume, view=VIEW, title: str | None = None) -> str:
    """Draw one of :data:`COLUMNS`; in words what is marked, or the shares of the scales."""
    if column == "scales":
        heats, half = one.scale_heatmaps()[0], -(-len(one.scales) // 2)
        said = scales(ax, volume, heats[:half].sum(0), heats[half:].sum(0), view=view, title=title)
        coarse, fine = (", ".join(map(words.scale, part)) for part in (one.scales[:half], one.scales[half:]))
        return f"{said} Coarse is {coarse}; fine is {fine or 'nothing'}."
    if column == "shape":
        solid(ax, volume, view=view, title=title or column)
    else:
        heatmap(ax, volume, one.heatmap()[0], view=view, title=title or column)
    return f"{words.shares(one)}."


def _describe(one: Explanation, volume, categories) -> str:
    heat, shape = array(one.heatmap()[0]), shape_of(volume)
    text = plots.describe(one, 0, categories) + ("" if shape.any() else " The volume is empty: it has no shape.")
    if not heat.any():
        return text
    centre = (np.indices(heat.shape) * heat).sum((1, 2, 3)) / heat.sum() / heat.shape
    place = ", ".join(f"{words.percent(part)} along the {name}" for part, name in zip(centre, AXES))
    there = f"{words.percent(heat[shape].sum() / heat.sum())} of it lies on the shape"
    return f"{text} The heatmap is centred {place}; {there}, {words.percent(shape.mean())} of the volume."


def _legend(owner: Axes | Figure, **place) -> None:
    handles = [Patch(color=colour, label=name) for name, colour in _MARKS.items()]
    near = {"handlelength": 0.8, "handletextpad": 0.35, "columnspacing": 0.8, "borderaxespad": 0.1}
    owner.legend(handles=handles, ncols=3, fontsize=10, **near, **place)


def _blend(volume: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The colours of :func:`wam.plots.overlay`, on one range for all slices."""
    grey, heat = volume.mean(0)[..., None], (heat / (heat.max() or 1))[..., None] ** 0.7
    grey = np.clip(grey / (grey.max() or 1), 0, 1)
    return (1 - heat) * 0.55 * grey + heat * colormaps["inferno"](heat[..., 0])[..., :3]


def _slice(ax: Axes, picture: np.ndarray, axis: int, index: int, title: str) -> None:
    plane = picture.take(index, axis)
    plane = plane.swapaxes(0, 1) if axis == 2 else plane
    ax.imshow(plane, origin="lower" if axis == 1 else "upper", interpolation="nearest")
    bare(ax, title)


def _heat(shape: np.ndarray, heat: Tensor | np.ndarray) -> np.ndarray:
    """A heatmap on the shape, if it is one of it."""
    values = array(heat)
    if values.shape != shape.shape or not (values >= 0).all():
        raise ValueError(f"expected a heatmap {shape.shape} without negative values or NaN, got shape {values.shape}")
    return values * shape


def _most(heat: np.ndarray) -> np.ndarray:
    """Where the fewest values lie that hold :data:`SHARE` of the sum, and all that equal the least of them."""
    ranked = np.sort(heat, axis=None)[::-1]
    held = ranked.cumsum()
    least = ranked[np.searchsorted(held, SHARE * held[-1] * (1 - 1e-9))]
    return (heat >= least * (1 - 1e-6)) & (heat > 0)
