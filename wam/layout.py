"""Layout and style of the figures: one width, one set of colours, panels of one size, titles of the same words."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from wam import words
from wam.explanation import Explanation
from wam.words import Categories

WIDTH = 6.0
"""Width of every figure in inches: text of 12 points is then 10 pixels high on a page 390 pixels wide."""

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Line and bar colours that colour-blind readers tell apart (Okabe and Ito)."""

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


def rows(
    counts: Sequence[tuple[int, int]], aspect: float, heading: str = "", left: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """A figure of rows of panels, placed in inches, so that figures of one kind are of one size.

    Parameters
    ----------
    counts
        ``(panels, title lines)`` for every row.
    aspect
        Height / width of what every panel shows.
    heading
        Of the figure, with its line breaks.
    left
        Inches that stay free on the left, for labels of the rows.

    Examples
    --------
    >>> from wam import layout
    >>> figure, axes = layout.rows([(2, 1), (4, 0)], aspect=1.0)
    >>> len(axes), figure.get_size_inches().round(2).tolist()
    (6, [6.0, 4.72])
    """
    top = 1.3 * _LINE * (heading.count("\n") + 1) if heading else 0.0
    places = []  # of every panel: left, top, width
    for count, lines in counts:
        width = (WIDTH - left - (count + 1) * _GAP) / count
        top += lines * _LINE + _GAP
        places += [(left + _GAP + i * (width + _GAP), top, width) for i in range(count)]
        top += width * aspect
    height = top + _GAP
    figure = Figure(figsize=(WIDTH, height), layout="none")
    figure.text(_GAP / WIDTH, 1 - _GAP / height, heading, va="top", fontsize=12, fontweight="bold")
    boxes = ((x / WIDTH, 1 - (y + w * aspect) / height, w / WIDTH, w * aspect / height) for x, y, w in places)
    return figure, [figure.add_axes(box) for box in boxes]


def by_scale(
    one: Explanation,
    head: Sequence[tuple[int, int]],
    aspect: float,
    categories: Categories,
    draw: Callable[[Axes, Tensor, str], None],
) -> tuple[Figure, list[Axes]]:
    """A figure of ``head``, rows of :func:`rows`, and below a panel per scale, filled by ``draw(ax, heat, title)``.

    The scales are those of an explanation of one sample; the one scale of pixels has no panel, being the heatmap.
    """
    shares, heats = one.scale_profile()[0].tolist(), one.scale_heatmaps()[0]
    count = len(shares) if len(shares) > 1 else 0
    across, first = 3 if count in (3, 5, 6) else min(count, 4) or 1, sum(panels for panels, _ in head)
    below = [(across, 1)] * -(-count // across)
    figure, axes = rows([*head, *below], aspect, textwrap.fill(words.heading(one, categories), 56))
    for ax, scale, share, heat in zip(axes[first:], one.scales, shares, heats):
        draw(ax, heat, f"{words.scale(scale, 'approx.')}: {words.percent(share)}")
    for ax in axes[first + count :]:
        ax.remove()
    return figure, axes


def labelled(
    cells: Sequence[tuple], noun: str, sample: Callable, categories: Categories, labels: Sequence[str] | None
) -> tuple[list[tuple[Explanation, np.ndarray]], list[str]]:
    """The explanations of the cells of a gallery, by ``sample(*cell)``, with what they explain, and their labels.

    A ``ValueError`` if there are no cells, or not as many labels; by default a label is the name of the class.
    """
    if not cells:
        raise ValueError(f"a gallery needs {noun}s, got 0 {noun}s")
    shown = [sample(*cell) for cell in cells]
    names = [words.category(one, categories) for one, _ in shown] if labels is None else list(labels)
    if len(names) != len(cells):
        raise ValueError(f"{len(names)} labels for {len(cells)} {noun}s: give one per {noun}")
    return shown, names


def bare(ax: Axes, title: str | None) -> None:
    """No ticks and no frame, and the title close to the picture."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.set_title(title or "", pad=4)


def array(values: Tensor | np.ndarray) -> np.ndarray:
    """A tensor, or something like an array, as ``float64`` on the CPU."""
    return values.detach().cpu().double().numpy() if isinstance(values, Tensor) else np.asarray(values, float)
