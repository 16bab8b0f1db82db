"""Figures of volumes and of their explanations: shapes, what matters in them scale by scale, slices, orientations.

Shapes are drawn as cubes (:mod:`wam.cubes`). Single panels go on a given axis (:func:`scales`, :func:`heatmap`,
:func:`orientations`), whole figures come with an alternative text, and :func:`turning` and :func:`slicing` give what
:func:`wam.book.slider` takes, all in the style of :mod:`wam.plots`. Heatmaps are drawn on the shape; how much of them
lies there, the texts say.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from wam import plots
from wam.checks import positive
from wam.coefficients import Coefficients
from wam.cubes import VIEW, proportions, shape_of, solid
from wam.explanation import Explanation
from wam.frames import Wavelet
from wam.plots import COLOURS, WIDTH, _array, _layout, _percent, _scale, style

AXES = ("depth", "height", "width")
"""The names of the axes; those of a clip are ``("time", "height", "width")``."""

COLUMNS = ("shape", "scales", "heatmap")
"""The panels of :func:`gallery`."""

SHARE = 0.5
"""What is marked on a shape: the fewest of its voxels that hold this share of a heatmap there."""

_MARKS = {"coarse": "#FFD23F", "fine": COLOURS[0], "both": "#222222"}  # light to dark, in print too
_GHOST = (0.55, 0.55, 0.55, 0.12)  # the shape around what is marked
_ORIENTATIONS = ("daa", "ada", "aad", "dda", "dad", "add", "ddd")  # across faces, along edges, at corners
_PLANES = ((1, 2), (0, 2), (1, 0))  # the rows and columns of a slice across each axis


def scales(
    ax: Axes,
    volume: Tensor | np.ndarray,
    coarse: Tensor | np.ndarray,
    fine: Tensor | np.ndarray,
    *,
    view: tuple[float, float] = VIEW,
    title: str | None = None,
) -> str:
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
    return f"Marked, of {shape.sum()} voxels, those with {_percent(SHARE)} of each heatmap on the shape: {counts}."


def heatmap(
    ax: Axes,
    volume: Tensor | np.ndarray,
    heat: Tensor | np.ndarray,
    *,
    view: tuple[float, float] = VIEW,
    title: str | None = None,
) -> None:
    """Draw a non-negative ``heat`` ``(depth, height, width)`` on the shape: bright where it is large.

    What :data:`SHARE` marks is opaque, the rest translucent.
    """
    shape = shape_of(volume)
    heat = _heat(shape, heat)
    colours = _inferno(heat / (heat.max() or 1))
    colours[..., 3] = np.where(_most(heat), 1, _GHOST[3]) * shape
    solid(ax, volume, colours, view=view, title=title)


def explanation(
    e: Explanation,
    volumes: Tensor | np.ndarray,
    sample: int = 0,
    *,
    axes: Sequence[str] = AXES,
    categories: Sequence[str] | None = None,
) -> tuple[Figure, str]:
    """One explanation of one volume, as in Figs. 5 and 17 to 19 of the paper.

    The shape, what matters at coarse and at fine scales (:func:`scales`, with the finer half of the scales as fine),
    the heatmap of all scales, and a heatmap per scale with its share of the attribution.

    Parameters
    ----------
    volumes
        What is explained, ``(batch, channels, depth, height, width)``, in the order of ``e``.
    axes
        The names of the axes in the alternative text, as :data:`AXES`.
    categories
        Names of the classes, by index.

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
    heats, shares = one.scale_heatmaps()[0], one.scale_profile()[0].tolist()
    count = len(heats) if len(heats) > 1 else 0  # the one scale of voxels is the heatmap
    columns, across = COLUMNS if count else COLUMNS[::2], 3 if count in (3, 5, 6) else min(count, 4) or 1
    with rc_context(style()):
        rows = [(len(columns), 1), *[(across, 1)] * -(-count // across)]
        figure, panels = _layout(rows, proportions(volume), textwrap.fill(plots._heading(one, categories), 56))
        marked = [_draw(ax, column, one, volume) for ax, column in zip(panels, columns)][1]
        for ax, scale, share, heat in zip(panels[len(columns) :], one.scales, shares, heats):
            heatmap(ax, volume, heat, title=f"{_scale(scale, 'approx.')}: {_share(share)}")
        for ax in panels[len(columns) + count :]:
            ax.remove()
    said = f"coarse and fine scales, the heatmap, the heatmap of every scale. {marked}" if count else "the heatmap."
    return figure, f"{_describe(one, volume, categories, axes)} Panels: the shape, {said}"


def gallery(
    cells: Sequence[tuple[Explanation, Tensor | np.ndarray, int]],
    columns: Sequence[str] = ("heatmap",) * 5,
    *,
    categories: Sequence[str] | None = None,
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
        As :func:`explanation`; and for no cell, an unknown column, or not one label per cell.
    """
    if not cells or not columns or not set(columns) <= set(COLUMNS):
        raise ValueError(f"a gallery needs cells and columns of {COLUMNS}, got {len(cells)} cells, {tuple(columns)}")
    shown = [_sample(*cell) for cell in cells]
    names = [plots._class(one, categories) for one, _ in shown] if labels is None else list(labels)
    if len(names) != len(cells):
        raise ValueError(f"{len(names)} labels for {len(cells)} cells: give one per cell")
    with rc_context(style()):
        tallest = max((proportions(volume) for _, volume in shown), key=len)
        heading = " " if "scales" in columns else ""  # room for the legend
        figure, panels = _layout([(len(columns), 1)] * -(-len(cells) // len(columns)), tallest, heading)
        drawn = zip(panels, itertools.cycle(columns), shown, names)
        said = [f"{name}: {_draw(ax, column, *pair, title=name)}" for ax, column, pair, name in drawn]
        if heading:
            _legend(figure, loc="upper left")
        for ax in panels[len(cells) :]:
            ax.remove()
    return figure, f"{len(cells)} panels, {len(columns)} in a row: {', '.join(columns)}. {' '.join(said)}"


def turning(
    e: Explanation,
    volumes: Tensor | np.ndarray,
    sample: int = 0,
    *,
    turns: int = 12,
    categories: Sequence[str] | None = None,
) -> tuple[list[Figure], list[str], list[str]]:
    """What matters at coarse and fine scales, and the heatmap, from all around: figures, labels and texts of a slider.

    Parameters
    ----------
    turns
        The number of views, from the front and on to the right; the others as for :func:`explanation`.

    Raises
    ------
    ValueError
        As :func:`explanation`.
    """
    one, volume = _sample(e, volumes, sample)
    figures, texts, angles = [], [], [360 * k / turns for k in range(positive(turns, "turns"))]
    for angle in angles:
        columns = COLUMNS[1:] if len(one.scales) > 1 else COLUMNS[::2]
        with rc_context(style()):
            figure, panels = _layout([(2, 1)], proportions(volume))
            said = [_draw(ax, column, one, volume, (angle, VIEW[1])) for ax, column in zip(panels, columns)]
        figures.append(figure)
        texts.append(f"{plots._heading(one, categories)}. Seen {angle:.0f}° to the right of the front. {said[0]}")
    return figures, [f"{angle:.0f}°" for angle in angles], texts


def slices(
    e: Explanation,
    volumes: Tensor | np.ndarray,
    sample: int = 0,
    at: Sequence[int] | None = None,
    *,
    axes: Sequence[str] = AXES,
    categories: Sequence[str] | None = None,
) -> tuple[Figure, str]:
    """Three slices through one voxel, with the heatmap of all scales over the darkened volume.

    Seen from the front, from above (the front is below) and from the right (the front is on the left), with voxels of
    one size and colours on one range, from 0 to the largest of the volume.

    Parameters
    ----------
    at
        The voxel, counted from 0 along every axis; by default where the heatmap is largest.
    axes
        The names of the axes; the others as for :func:`explanation`.

    Raises
    ------
    ValueError
        As :func:`explanation`; and if there is no such voxel.
    """
    one, volume = _sample(e, volumes, sample)
    heat = _array(one.heatmap()[0])
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
            _slice(ax := figure.add_axes(box), _blend(volume, heat), axis, at[axis], f"{axes[axis]} {at[axis]}")
            ax.set_xlabel(axes[column], fontsize=10, labelpad=3)
            ax.set_ylabel(axes[row], fontsize=10, labelpad=3)
            for line, index in ((ax.axhline, at[row]), (ax.axvline, at[column])):
                line(index, color="white", linewidth=0.7, linestyle=(0, (4, 3)), alpha=0.7)
            left += unit * wide + 0.36
    place, value = ", ".join(f"{name} {i}" for name, i in zip(axes, at)), heat[at] / (heat.max() or 1)
    text = f"Slices through {place}, counted from 0, where the heatmap has {_percent(value)} of its largest value."
    return figure, f"{_describe(one, volume, categories, axes)} {text}"


def slicing(
    e: Explanation,
    volumes: Tensor | np.ndarray,
    sample: int = 0,
    axis: int = 0,
    *,
    axes: Sequence[str] = AXES,
    categories: Sequence[str] | None = None,
) -> tuple[list[Figure], list[str], list[str]]:
    """Every slice across an axis, without and with the heatmap: figures, labels and texts of a slider.

    The slices lie as in :func:`slices`, with colours on one range for all of them.

    Parameters
    ----------
    axis
        Across which axis: 0, 1 or 2; the others as for :func:`slices`.

    Raises
    ------
    ValueError
        As :func:`explanation`; and for another axis.
    """
    one, volume = _sample(e, volumes, sample)
    if axis not in (0, 1, 2):
        raise ValueError(f"a volume has the axes 0, 1 and 2, not {axis!r}")
    heat = _array(one.heatmap()[0])
    pictures = {"volume": _blend(volume, 0 * heat) / 0.55, "heatmap": _blend(volume, heat)}
    shares, figures = heat.sum(_PLANES[axis]) / (heat.sum() or 1), []
    for index in range(heat.shape[axis]):
        with rc_context(style()):
            figure, panels = _layout([(2, 1)], np.empty([heat.shape[k] for k in _PLANES[axis]]))
            for ax, (name, picture) in zip(panels, pictures.items()):
                _slice(ax, picture, axis, index, name)
        figures.append(figure)
    labels, name = [f"{axes[axis]} {index}" for index in range(len(figures))], plots._heading(one, categories)
    return figures, labels, [f"{name}. {at}: {_percent(part)} of the heatmap." for at, part in zip(labels, shares)]


def orientations(ax: Axes, coefficients: Coefficients, *, power: int = 1, axes: Sequence[str] = AXES) -> str:
    """Draw the share of every level and orientation as a table, coarse to fine, and return it in words.

    An orientation is named by the axes along which its coefficients hold details: one across a face, two across an
    edge, all three at a corner.

    Parameters
    ----------
    coefficients
        Attributions or coefficients of a wavelet in three dimensions; shares are means over the batch.
    power
        1 for shares of the sum of absolute values, 2 for shares of the energy.

    Raises
    ------
    ValueError
        If there are no such orientations.
    """
    levels, names = coefficients.scales[1:], [_words(key, axes) for key in _ORIENTATIONS]
    if not levels or not {(level, key) for level in levels for key in _ORIENTATIONS} < set(coefficients.bands):
        raise ValueError(f"expected the seven orientations of volumes per level, got {list(coefficients.bands)}")
    sums = {key: (_array(band.abs()) ** power).sum((1, 2, 3, 4)) for key, band in coefficients.bands.items()}
    whole = sum(sums.values())
    share = {key: float((part / np.where(whole > 0, whole, np.nan)).mean()) for key, part in sums.items()}
    table = np.array([[share[level, key] for key in _ORIENTATIONS] for level in levels])
    ax.imshow(table, cmap="magma", vmin=0, vmax=table.max() or 1, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        dark = "black" if value > 0.6 * table.max() or math.isnan(value) else "white"
        ax.text(column, row, _share(value), ha="center", va="center", fontsize=10, color=dark)
    ax.vlines([2.5, 5.5], -0.5, len(levels) - 0.5, color="white", linewidth=2.5)
    ax.set_xticks(range(7), [name.replace(" + ", "\n+ ") for name in names], fontsize=10)
    ax.set_yticks(range(len(levels)), map(_scale, levels))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(f"approximation: {_share(rest := share[levels[0], 'approx'])}", loc="left", pad=4)
    rows = (", ".join(f"{name} {_share(value)}" for name, value in zip(names, row)) for row in table)
    said = " ".join(f"{_scale(level).capitalize()}: {row}." for level, row in zip(levels, rows))
    return f"Share per level and orientation. Approximation: {_share(rest)}. {said}"


def bands(volume: Tensor, frame: Wavelet, level: int = 1, *, axes: Sequence[str] = AXES) -> tuple[Figure, str]:
    """The shape of a volume, and where the seven orientations of one level have large coefficients in it.

    Coefficients above a fifth of the largest detail of the level (absolute values, summed over channels) are drawn as
    the blocks of voxels that they stand for, bright where they are large. Titles give shares of the energy of the
    seven.

    Parameters
    ----------
    volume
        ``(channels, depth, height, width)``.
    frame
        A wavelet in three dimensions.

    Raises
    ------
    ValueError
        If the volume or the frame has other dimensions, or there is no such level.

    Examples
    --------
    A wall across the depth, one voxel thick, is a face and nothing else:

    >>> import torch, wam, wam.voxels
    >>> wall = torch.zeros(1, 8, 8, 8)
    >>> wall[:, 3] = 1
    >>> figure, alt = wam.voxels.bands(wall, wam.Wavelet("haar", levels=1, ndim=3))
    >>> alt.partition("energy: ")[2].partition(", depth +")[0]
    'depth 100 %, height 0.0 %, width 0.0 %'
    """
    if volume.ndim != 4 or frame.ndim != 3 or level not in range(1, frame.levels + 1):
        raise ValueError(f"no level {level} of {frame} in a volume {tuple(volume.shape)} of (channels, *three axes)")
    shape, z = shape_of(volume), frame.analysis(volume[None]).bands
    sizes = [_grown(_array(z[level, key][0].abs().sum(0)), level, shape.shape) for key in _ORIENTATIONS]
    energy = np.array([float(z[level, key].double().square().sum()) for key in _ORIENTATIONS])
    top, floor = np.max(sizes), 1e-5 * float(volume.abs().max())  # what rounding leaves is nothing
    shares = energy / energy.sum() if top > floor else np.full(7, np.nan)
    words = [_words(key, axes) for key in _ORIENTATIONS]
    with rc_context(style()):
        figure, panels = _layout([(4, 2)] * 2, proportions(volume))
        solid(panels[0], volume, title="shape\n")
        for ax, name, size, share in zip(panels[1:], words, sizes, shares):
            colours = np.where(shape[..., None], _GHOST, 0.0)
            large = size > max(0.2 * top, floor)
            colours[large] = _inferno(size[large] / top)
            solid(ax, volume, colours, title=f"{'all three' if name == words[-1] else name}\n{_share(share)}")
    said = ", ".join(f"{name} {_share(share)}" for name, share in zip(words, shares))
    text = f"The shape, and the large coefficients of {frame.name} at level {level}, by the axes along which they hold"
    return figure, f"{text} details, with shares of the energy: {said}."


def _sample(e: Explanation, volumes, sample: int) -> tuple[Explanation, np.ndarray]:
    shape, size = e.attributions.shape, np.shape(volumes)
    if len(shape) != 3:
        raise ValueError(f"this figure is for volumes, not for inputs of {len(shape)} dimensions")
    if len(size) != 5 or size[0] != len(e) or size[2:] != shape:
        wanted = ", ".join(map(str, (len(e), "channels", *shape)))
        raise ValueError(f"expected volumes ({wanted}), got {tuple(size)}: pass the x that is explained")
    return e[sample], _array(volumes[sample])


def _draw(ax: Axes, column: str, one: Explanation, volume, view=VIEW, title: str | None = None) -> str:
    """Draw one of :data:`COLUMNS`; in words what is marked, or the shares of the scales."""
    if column == "scales":
        heats, half = one.scale_heatmaps()[0], -(-len(one.scales) // 2)
        said = scales(ax, volume, heats[:half].sum(0), heats[half:].sum(0), view=view, title=title)
        coarse, fine = (", ".join(map(_scale, part)) for part in (one.scales[:half], one.scales[half:]))
        return f"{said} Coarse is {coarse}; fine is {fine or 'nothing'}."
    if column == "shape":
        solid(ax, volume, view=view, title=title or column)
    else:
        heatmap(ax, volume, one.heatmap()[0], view=view, title=title or column)
    return f"{_profile(one)}."


def _describe(one: Explanation, volume, categories, axes: Sequence[str] = AXES) -> str:
    heat, shape = _array(one.heatmap()[0]), shape_of(volume)
    text = f"{plots._heading(one, categories)}. Score {one.score.item():.2f}. "
    text += "" if shape.any() else "The volume is empty: it has no shape. "
    text += f"Share of the attribution per scale: {_profile(one)}."
    if not heat.any():
        return text
    centre = (np.indices(heat.shape) * heat).sum((1, 2, 3)) / heat.sum() / heat.shape
    place = ", ".join(f"{_percent(part)} along the {name}" for part, name in zip(centre, axes))
    there = (
        f"{_percent(heat[shape].sum() / heat.sum())} of it lies on the shape, {_percent(shape.mean())} of the volume"
    )
    return f"{text} The heatmap is centred {place}; {there}."


def _profile(one: Explanation) -> str:
    shares = one.scale_profile()[0].tolist()
    return "none, all attributions are zero" if math.isnan(shares[0]) else plots._listed(one, shares)


def _share(value: float) -> str:
    return "–" if math.isnan(value) else _percent(value)


def _words(orientation: str, axes: Sequence[str]) -> str:
    return " + ".join(name for name, letter in zip(axes, orientation) if letter == "d")


def _inferno(level: np.ndarray) -> np.ndarray:
    return colormaps["inferno"](0.2 + 0.75 * level**0.7)  # neither black nor white


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
    plots._bare(ax, title)


def _heat(shape: np.ndarray, heat: Tensor | np.ndarray) -> np.ndarray:
    """A heatmap on the shape, if it is one of it."""
    values = _array(heat)
    if values.shape != shape.shape or not (values >= 0).all():
        raise ValueError(f"expected a heatmap {shape.shape} without negative values or NaN, got shape {values.shape}")
    return values * shape


def _most(heat: np.ndarray) -> np.ndarray:
    """Where the fewest values lie that hold :data:`SHARE` of the sum, and all that equal the least of them."""
    ranked = np.sort(heat, axis=None)[::-1]
    held = ranked.cumsum()
    least = ranked[np.searchsorted(held, SHARE * held[-1] * (1 - 1e-9))]
    return (heat >= least * (1 - 1e-6)) & (heat > 0)


def _grown(band: np.ndarray, level: int, shape: Sequence[int]) -> np.ndarray:
    """A band at the size of the volume; what long wavelets keep beyond the border is left out on both sides."""
    for axis, n in enumerate(shape):
        kept = min(-(-n // 2**level), band.shape[axis])
        start = (band.shape[axis] - kept) // 2
        band = band.take(range(start, start + kept), axis).repeat(2**level, axis).take(range(n), axis)
    return band
