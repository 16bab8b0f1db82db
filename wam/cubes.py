"""Volumes drawn as cubes, in parallel projection, and the seven orientations of their details.

Depth leads away from the viewer, height down and width to the right. Faces are painted far to near: one cube can hide
another only if it is not behind it along any axis, so the picture is exact. matplotlib's own voxels take some forty
times as long.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from torch import Tensor

from wam import layout, words
from wam.coefficients import Coefficients
from wam.frames import Wavelet
from wam.layout import array, bare, style

AXES = ("depth", "height", "width")
"""The names of the axes."""

VIEW = (25.0, 20.0)
"""From where a shape is seen: degrees to the right of its front, and degrees above it."""

_LIGHT = np.array([-0.25, 0.6, -0.76])  # comes from this much right, up and away of the viewer
_GHOST = (0.55, 0.55, 0.55, 0.12)  # the shape around what is marked
_ORIENTATIONS = ("daa", "ada", "aad", "dda", "dad", "add", "ddd")  # across faces, along edges, at corners


def solid(
    ax: Axes,
    volume: Tensor | np.ndarray,
    colours: np.ndarray | None = None,
    *,
    view: tuple[float, float] = VIEW,
    title: str | None = None,
) -> None:
    """Draw the shape in a volume as shaded cubes, in the frame of the volume; an empty volume is an empty frame.

    Parameters
    ----------
    volume
        ``([channels,] depth, height, width)``. The shape is the voxels above half of the largest, in the mean over
        channels.
    colours
        Red, green, blue and opacity per voxel, ``(depth, height, width, 4)``, in place of a grey shape. A face is drawn
        where the next voxel is less opaque.
    view
        As :data:`VIEW`. A volume is drawn at the same size from all around.

    Raises
    ------
    ValueError
        If ``volume`` has other axes, or ``colours`` do not fit it.
    """
    shape = shape_of(volume)
    colours = np.where(shape[..., None], (0.86, 0.86, 0.86, 1), 0) if colours is None else np.asarray(colours)
    if colours.shape != (*shape.shape, 4):
        raise ValueError(f"expected colours {(*shape.shape, 4)}, four numbers per voxel, got {colours.shape}")
    screen = _screen(view)
    corners = np.array(list(itertools.product((-1, 1), repeat=3)))
    edges = [(a, b) for a, b in itertools.combinations(corners, 2) if (a != b).sum() == 1]
    behind = [(a, b) for a, b in edges if (a * np.where(screen[2] > 0, 1, -1) > 0)[a == b].any()]
    frame = np.array(behind) * shape.shape / 2 @ screen[:2].T
    ax.add_collection(LineCollection(frame, colors="0.8", linewidths=0.7, zorder=0))
    outlines, fill = _faces(colours, screen)
    lines = {"edgecolors": fill * (0.78, 0.78, 0.78, 1), "linewidths": 4.5 / max(shape.shape)}
    ax.add_collection(PolyCollection(outlines, facecolors=fill, **lines))
    wide, high = _extent(shape.shape, view)
    ax.set(xlim=(-wide / 2, wide / 2), ylim=(-high / 2, high / 2), aspect="equal")
    bare(ax, title)


def shape_of(volume: Tensor | np.ndarray) -> np.ndarray:
    """Where the shape in a volume is: the voxels above half of the largest, in the mean over channels."""
    values = array(volume)
    if values.ndim not in (3, 4) or values.size == 0:
        raise ValueError(f"expected a volume ([channels,] depth, height, width), got shape {values.shape}")
    values = values.reshape(-1, *values.shape[-3:]).mean(0)
    if np.isnan(values).any():
        raise ValueError(f"{np.isnan(values).sum()} voxels are NaN")
    return (values > 0.5 * values.max()) & (values > 0)


def orientations(ax: Axes, coefficients: Coefficients) -> str:
    """Draw the share of every level and orientation as a table, coarse to fine, and return it in words.

    An orientation is named by the axes along which its coefficients hold details: one across a face, two across an
    edge, all three at a corner.

    Parameters
    ----------
    coefficients
        Attributions or coefficients of a wavelet in three dimensions; shares of absolute values, means over the batch.

    Raises
    ------
    ValueError
        If there are no such orientations.
    """
    levels, names = coefficients.scales[1:], [_words(key) for key in _ORIENTATIONS]
    if not levels or not {(level, key) for level in levels for key in _ORIENTATIONS} < set(coefficients.bands):
        raise ValueError(f"expected the seven orientations of volumes per level, got {list(coefficients.bands)}")
    sums = {key: array(band.abs()).sum((1, 2, 3, 4)) for key, band in coefficients.bands.items()}
    whole = sum(sums.values())
    share = {key: float((part / np.where(whole > 0, whole, np.nan)).mean()) for key, part in sums.items()}
    table = np.array([[share[level, key] for key in _ORIENTATIONS] for level in levels])
    ax.imshow(table, cmap="magma", vmin=0, vmax=table.max() or 1, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        dark = "black" if value > 0.6 * table.max() or math.isnan(value) else "white"
        ax.text(column, row, words.percent(value), ha="center", va="center", fontsize=10, color=dark)
    ax.vlines([2.5, 5.5], -0.5, len(levels) - 0.5, color="white", linewidth=2.5)
    ax.set_xticks(range(7), [name.replace(" + ", "\n+ ") for name in names], fontsize=10)
    ax.set_yticks(range(len(levels)), map(words.scale, levels))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(f"approximation: {words.percent(rest := share[levels[0], 'approx'])}", loc="left", pad=4)
    rows = (", ".join(f"{name} {words.percent(value)}" for name, value in zip(names, row)) for row in table)
    said = " ".join(f"{words.scale(level).capitalize()}: {row}." for level, row in zip(levels, rows))
    return f"Share per level and orientation. Approximation: {words.percent(rest)}. {said}"


def bands(volume: Tensor, frame: Wavelet) -> tuple[Figure, str]:
    """The shape of a volume, and where the seven orientations of the finest level have large coefficients in it.

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
        If the volume or the frame has other dimensions.

    Examples
    --------
    A wall across the depth, one voxel thick, is a face and nothing else:

    >>> import torch, wam, wam.cubes
    >>> wall = torch.zeros(1, 8, 8, 8)
    >>> wall[:, 3] = 1
    >>> figure, alt = wam.cubes.bands(wall, wam.Wavelet("haar", levels=1, ndim=3))
    >>> alt.partition("energy: ")[2].partition(", depth +")[0]
    'depth 100 %, height 0.0 %, width 0.0 %'
    """
    if volume.ndim != 4 or frame.ndim != 3:
        raise ValueError(f"expected a volume (channels, *three axes) and its frame, got {volume.shape} and {frame}")
    shape, z = shape_of(volume), frame.analysis(volume[None]).bands
    sizes = [_grown(array(z[1, key][0].abs().sum(0)), shape.shape) for key in _ORIENTATIONS]
    energy = np.array([float(z[1, key].double().square().sum()) for key in _ORIENTATIONS])
    top, floor = np.max(sizes), 1e-5 * float(volume.abs().max())  # what rounding leaves is nothing
    shares = energy / energy.sum() if top > floor else np.full(7, np.nan)
    names = [_words(key) for key in _ORIENTATIONS]
    with rc_context(style()):
        figure, panels = layout.rows([(4, 2)] * 2, aspect(volume))
        solid(panels[0], volume, title="shape\n")
        for ax, name, size, share in zip(panels[1:], names, sizes, shares):
            colours = np.where(shape[..., None], _GHOST, 0.0)
            large = size > max(0.2 * top, floor)
            colours[large] = _inferno(size[large] / top)
            solid(ax, volume, colours, title=f"{'all three' if name == names[-1] else name}\n{words.percent(share)}")
    said = ", ".join(f"{name} {words.percent(share)}" for name, share in zip(names, shares))
    text = f"The shape, and the large coefficients of {frame.name} at level 1, by the axes along which they hold"
    return figure, f"{text} details, with shares of the energy: {said}."


def _screen(view: tuple[float, float]) -> np.ndarray:
    """The directions right, up and away of the viewer, in the axes of a volume: the rows of a matrix."""
    turn, tilt = np.radians(view)
    right, ahead = np.array([math.sin(turn), 0, math.cos(turn)]), np.array([math.cos(turn), 0, -math.sin(turn)])
    down = np.array([0, 1, 0])
    up, away = math.sin(tilt) * ahead - math.cos(tilt) * down, math.cos(tilt) * ahead + math.sin(tilt) * down
    return np.stack([right, up, away])


def _extent(shape: Sequence[int], view: tuple[float, float]) -> tuple[float, float]:
    """Width and height of what a volume covers as it turns about the vertical axis, with a little air."""
    across, tilt = math.hypot(shape[0], shape[2]), math.radians(view[1])
    return 1.01 * across, 1.01 * (math.cos(tilt) * shape[1] + abs(math.sin(tilt)) * across)


def aspect(volume: Tensor | np.ndarray) -> float:
    """Height / width of a drawn volume."""
    wide, high = _extent(np.shape(volume)[-3:], VIEW)
    return high / wide


def _faces(colours: np.ndarray, screen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All visible faces, far to near: outlines on the screen ``(faces, 4, 2)`` and colours ``(faces, 4)``."""
    shape, opacity = colours.shape[:3], np.pad(colours[..., 3], 1)
    ranks = [np.arange(n)[:: -1 if away > 0 else 1] for away, n in zip(screen[2], shape)]
    order, parts = np.ravel_multi_index(np.ix_(*ranks), shape), []
    for axis, away in enumerate(screen[2]):
        if abs(away) < 1e-9:
            continue  # seen edge on
        side, others = -1 if away > 0 else 1, [other for other in range(3) if other != axis]
        place = np.argwhere(colours[..., 3] > np.roll(opacity, -side, axis)[1:-1, 1:-1, 1:-1])
        step = np.zeros((9, 3), int)
        step[:, axis], step[:, others] = side, list(itertools.product((-1, 0, 1), repeat=2))
        shadow = (opacity[tuple((place[:, None] + 1 + step).T)] >= 1).mean(0)  # how much of its sky a face does not see
        corner = np.zeros((4, 3))
        corner[:, axis], corner[:, others] = side / 2, np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)]) / 2
        points = (place + 0.5 - np.array(shape) / 2)[:, None] + corner
        light = min(0.62 + 0.42 * max(side * screen[:, axis] @ _LIGHT, 0), 1) * (1 - 0.35 * shadow)
        fill = colours[tuple(place.T)] * np.stack([light, light, light, np.ones(len(place))], axis=1)
        parts.append((points @ screen[:2].T, fill, order[tuple(place.T)]))
    outlines, fill, rank = (np.concatenate(part) for part in zip(*parts))
    nearer = np.argsort(rank, kind="stable")
    return outlines[nearer], fill[nearer]


def _words(orientation: str) -> str:
    return " + ".join(name for name, letter in zip(AXES, orientation) if letter == "d")


def _inferno(level: np.ndarray) -> np.ndarray:
    return colormaps["inferno"](0.2 + 0.75 * level**0.7)  # neither black nor white


def _grown(band: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A finest band at the size of the volume; what long wavelets keep beyond the border is left out on both sides."""
    for axis, n in enumerate(shape):
        kept = min(-(-n // 2), band.shape[axis])
        start = (band.shape[axis] - kept) // 2
        band = band.take(range(start, start + kept), axis).repeat(2, axis).take(range(n), axis)
    return band
