"""Charts of means with their intervals (:func:`wam.comparison.summary`), and of shares per scale.

:func:`lines`, :func:`bars` and :func:`scales` come as ``(Figure, alt)``; the alternative text lists what is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from wam import words
from wam.explanation import Explanation
from wam.layout import COLOURS, WIDTH, array, style

_MARKS = "osD^vPX"
_DASHES = ("-", "--", "-.", ":")


def lines(
    table: pd.DataFrame,
    x: str,
    series: str,
    *,
    ylabel: str,
    names: Mapping[str, str] | None = None,
    limits: tuple[float, float] | None = None,
    height: float = 4.0,
) -> tuple[Figure, str]:
    """A line per series over the steps of ``x``, in the order of the table, each with its interval as a band.

    Parameters
    ----------
    table
        A summary: the columns ``x``, ``series``, ``mean``, ``low`` and ``high``. A missing mean leaves a gap.
    x, series
        The column of the steps, and that of the lines. Equal names of different steps would be one: number them.
    ylabel
        Name of the vertical axis.
    names
        What to write for a step, by its value in ``x``.
    limits
        Of the vertical axis.
    height
        Of the figure, in inches.

    Raises
    ------
    ValueError
        If a column is missing, or there is nothing to draw.

    Examples
    --------
    >>> import pandas as pd
    >>> from wam import charts
    >>> rows = [("a", 0, 1.0, 0.9, 1.0), ("a", 1, 0.5, 0.4, 0.6)]
    >>> table = pd.DataFrame(rows, columns=["method", "depth", "mean", "low", "high"])
    >>> charts.lines(table, "depth", "method", ylabel="correlation")[1]
    'Lines of correlation, with 95 % intervals. a: 0 1.00, 1 0.50.'
    """
    steps, labels = _checked(table, x, series)
    place = {step: i for i, step in enumerate(steps)}
    names = {step: str(step) for step in steps} | dict(names or {})
    said = []
    with rc_context(style()):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        ax = figure.subplots()
        for i, label in enumerate(labels):
            part = table[table[series] == label]
            at = part[x].map(place)
            look = {"color": COLOURS[i % len(COLOURS)], "linestyle": _DASHES[i // len(COLOURS) % len(_DASHES)]}
            ax.plot(at, part["mean"], marker=_MARKS[i % len(_MARKS)], markersize=4.5, label=label, **look)
            ax.fill_between(at, part["low"], part["high"], color=look["color"], alpha=0.18, linewidth=0)
            means = part["mean"].round(2) + 0.0  # without the sign of -0.00
            said.append(f"{label}: " + ", ".join(f"{names[s]} {m:.2f}" for s, m in zip(part[x], means)))
        long = max(len(names[step]) for step in steps) > 3
        turned = {"rotation": 60, "ha": "right"} if long else {}
        ax.set_xticks(range(len(steps)), [names[s] for s in steps], **turned)
        ax.set_ylabel(ylabel)
        if limits:
            ax.set_ylim(*limits)
        ax.grid(axis="y")
        _legend(figure, ax)
    return figure, f"Lines of {ylabel}, with 95 % intervals. {'; '.join(said)}."


def bars(
    table: pd.DataFrame,
    x: str,
    series: str,
    *,
    ylabel: str,
    names: Mapping[str, str] | None = None,
) -> tuple[Figure, str]:
    """Grouped bars: a group per value of ``x``, in the order of the table, a colour per series, whiskers for intervals.

    Parameters, errors and result are those of :func:`lines`; means are shares, written in percent.

    Examples
    --------
    >>> import pandas as pd
    >>> from wam import charts
    >>> table = pd.DataFrame([("ERM", "1", 0.25, 0.2, 0.3)], columns=["network", "scale", "mean", "low", "high"])
    >>> charts.bars(table, "scale", "network", ylabel="share of importance")[1]
    'Bars of share of importance, with 95 % intervals. ERM: 1 25 %.'
    """
    steps, labels = _checked(table, x, series)
    names = {step: str(step) for step in steps} | dict(names or {})
    width, said = 0.84 / len(labels), []
    with rc_context(style()):
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        ax = figure.subplots()
        for i, label in enumerate(labels):
            part = table[table[series] == label].set_index(x).reindex(steps)
            at = np.arange(len(steps)) + (i - (len(labels) - 1) / 2) * width
            reach = np.abs(part[["low", "high"]].sub(part["mean"], axis=0).to_numpy().T)
            whiskers = {"ecolor": "0.2", "elinewidth": 1.2, "capsize": 0}
            colour, hatch = COLOURS[i % len(COLOURS)], "///" if i >= len(COLOURS) else None
            look = {"label": label, "color": colour, "hatch": hatch}
            ax.bar(at, part["mean"], 0.94 * width, yerr=reach, error_kw=whiskers, **look)
            values = (f"{names[s]} {100 * m:.0f} %" for s, m in part["mean"].items() if not np.isnan(m))
            said.append(f"{label}: {', '.join(values)}")
        ax.set_xticks(range(len(steps)), [names[s] for s in steps])
        ax.set_ylabel(ylabel)
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        ax.tick_params(axis="x", length=0)
        ax.axhline(0, color="0.3", linewidth=0.8)
        ax.grid(axis="y")
        _legend(figure, ax)
    return figure, f"Bars of {ylabel}, with 95 % intervals. {'; '.join(said)}."


def profile(ax: Axes, explanations: Explanation | Mapping[str, Explanation], *, scores: bool = False) -> str:
    """Draw bars of the share of the attribution per scale, coarse to fine, and return their values in words.

    Means over samples; of several samples a dot each.

    Parameters
    ----------
    explanations
        One explanation, or several of equal scales by label, side by side.
    scores
        Draw the signed sums (:meth:`wam.explanation.Explanation.scale_scores`) in place of the shares.

    Raises
    ------
    ValueError
        If the explanations have different scales.
    """
    named = explanations if isinstance(explanations, Mapping) else {explanations.method: explanations}
    scales, width = next(iter(named.values())).scales, 0.8 / len(named)
    text = "Signed sum of the attributions per scale." if scores else "Share of the attribution per scale."
    for i, (label, e) in enumerate(named.items()):
        if e.scales != scales:
            raise ValueError(f"explanations of different scales, {scales} and {e.scales}: draw them apart")
        values = array(e.scale_scores() if scores else e.scale_profile())
        place, several = np.arange(len(scales)) + (i - (len(named) - 1) / 2) * width, len(values) > 1
        ax.bar(place, values.mean(0), 0.92 * width, label=label, color=COLOURS[i % len(COLOURS)])
        if several:
            x = np.broadcast_to(place, values.shape)
            ax.scatter(x, values, s=12, color="white", edgecolors="0.15", linewidths=0.8, zorder=3)
        text += f" {label}{f', mean of {len(values)}' if several else ''}: {words.by_scale(e, values.mean(0), scores)}."
    ax.set_xticks(range(len(scales)), [words.scale(scale, "approx.") for scale in scales])
    ax.set_ylabel("signed sum of attributions" if scores else "share of attribution")
    if not scores:
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.tick_params(axis="x", length=0)
    ax.axhline(0, color="0.3", linewidth=0.8)
    ax.grid(axis="y")
    if len(named) > 1:
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    return text


def scales(e: Explanation) -> tuple[Figure, str]:
    """The :func:`profile` of one explanation, and below it, of integrated gradients, the contributions to the score."""
    signed = e.completeness_gap is not None
    with rc_context(style()):
        figure = Figure(figsize=(WIDTH, 5.4 if signed else 3.0))
        axes = figure.subplots(1 + signed, 1, squeeze=False)[:, 0]
        text = [profile(ax, e, scores=k == 1) for k, ax in enumerate(axes)]
        if signed:
            axes[1].set_ylabel("contribution to the score")
    return figure, " ".join(text)


def _checked(table: pd.DataFrame, x: str, series: str) -> tuple[Sequence, Sequence]:
    if missing := [name for name in (x, series, "mean", "low", "high") if name not in table]:
        raise ValueError(f"the table has no column {missing[0]!r}; it has {list(table.columns)}")
    if not len(table):
        raise ValueError("there is nothing to draw: the table has no rows")
    return list(table[x].drop_duplicates()), list(table[series].drop_duplicates())


def _legend(figure: Figure, ax) -> None:
    if len(handles := ax.get_legend_handles_labels()[0]) > 1:
        longest = max(len(handle.get_label()) for handle in handles)
        columns = 4 if longest < 10 else 3 if longest < 12 else 2
        figure.legend(loc="outside upper left", ncols=columns, columnspacing=1.2, handlelength=1.6)
