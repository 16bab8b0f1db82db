"""Volumes drawn as cubes, in parallel projection.

Depth leads away from the viewer, height down and width to the right. Faces are painted far to near: one cube can hide
another only if it is not behind it along any axis, so the picture is exact. matplotlib's own voxels take some forty
times as long.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from torch import Tensor

from wam import plots
from wam.plots import _array

VIEW = (25.0, 20.0)
"""From where a shape is seen: degrees to the right of its front, and degrees above it."""

_LIGHT = np.array([-0.25, 0.6, -0.76])  # comes from this much right, up and away of the viewer


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
    plots._bare(ax, title)


def shape_of(volume: Tensor | np.ndarray) -> np.ndarray:
    """Where the shape in a volume is: the voxels above half of the largest, in the mean over channels."""
    values = _array(volume)
    if values.ndim not in (3, 4) or values.size == 0:
        raise ValueError(f"expected a volume ([channels,] depth, height, width), got shape {values.shape}")
    values = values.reshape(-1, *values.shape[-3:]).mean(0)
    if np.isnan(values).any():
        raise ValueError(f"{np.isnan(values).sum()} voxels are NaN")
    return (values > 0.5 * values.max()) & (values > 0)


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


def proportions(volume) -> np.ndarray:
    """An empty picture of the proportions of a drawn volume, for a layout."""
    wide, high = _extent(np.shape(volume)[-3:], VIEW)
    return np.empty((round(1000 * high / wide), 1000))


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
