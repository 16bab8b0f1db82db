"""Charts of means with their intervals (:func:`wam.comparison.summary`): lines over ordered steps, and grouped bars.

Each comes as ``(Figure, alt)``; the alternative text lists the values that are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from wam.plots import COLOURS, WIDTH, style

_MARKS = "osD^vPX"
_DASHES = ("-", "--", "-.", ":")


def lines(
    table: pd.DataFrame,
    x: str,
    series: str,
    *,
    ylabel: str,
    xlabel: str = "",
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
    ylabel, xlabel
        Names of the axes.
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
            said.append(f"{label}: " + ", ".join(f"{names[s]} {m:.2f}" for s, m in zip(part[x], part["mean"])))
        long = max(len(names[step]) for step in steps) > 3
        ax.set_xticks(
            range(len(steps)), [names[s] for s in steps], rotation=60 if long else 0, ha="right" if long else "center"
        )
        ax.set(xlabel=xlabel, ylabel=ylabel)
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
    xlabel: str = "",
    names: Mapping[str, str] | None = None,
    percent: bool = True,
    height: float = 3.4,
) -> tuple[Figure, str]:
    """Grouped bars: a group per value of ``x``, in the order of the table, a colour per series, whiskers for intervals.

    Parameters, errors and result are those of :func:`lines`; ``percent`` writes the vertical axis in percent.

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
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        ax = figure.subplots()
        for i, label in enumerate(labels):
            part = table[table[series] == label].set_index(x).reindex(steps)
            at = np.arange(len(steps)) + (i - (len(labels) - 1) / 2) * width
            reach = np.abs(part[["low", "high"]].sub(part["mean"], axis=0).to_numpy().T)
            whiskers = {"ecolor": "0.2", "elinewidth": 1.2, "capsize": 0}
            colour, hatch = COLOURS[i % len(COLOURS)], "///" if i >= len(COLOURS) else None
            ax.bar(
                at, part["mean"], 0.94 * width, yerr=reach, label=label, color=colour, hatch=hatch, error_kw=whiskers
            )
            values = ((names[step], mean) for step, mean in part["mean"].items() if not np.isnan(mean))
            said.append(
                f"{label}: " + ", ".join(f"{n} {100 * m:.0f} %" if percent else f"{n} {m:.2f}" for n, m in values)
            )
        ax.set_xticks(range(len(steps)), [names[s] for s in steps])
        ax.set(xlabel=xlabel, ylabel=ylabel)
        if percent:
            ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        ax.tick_params(axis="x", length=0)
        ax.axhline(0, color="0.3", linewidth=0.8)
        ax.grid(axis="y")
        _legend(figure, ax)
    return figure, f"Bars of {ylabel}, with 95 % intervals. {'; '.join(said)}."


def _checked(table: pd.DataFrame, x: str, series: str) -> tuple[Sequence, Sequence]:
    if missing := [name for name in (x, series, "mean", "low", "high") if name not in table]:
        raise ValueError(f"the table has no column {missing[0]!r}; it has {list(table.columns)}")
    if not len(table):
        raise ValueError("there is nothing to draw: the table has no rows")
    return list(table[x].drop_duplicates()), list(table[series].drop_duplicates())


def _legend(figure: Figure, ax) -> None:
    if len(handles := ax.get_legend_handles_labels()[0]) > 1:
        longest = max(len(handle.get_label()) for handle in handles)
        figure.legend(
            loc="outside upper left",
            ncols=4 if longest < 10 else 3 if longest < 12 else 2,
            columnspacing=1.2,
            handlelength=1.6,
        )
