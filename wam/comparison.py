"""Means, differences and ranks of the methods in a tidy table (:mod:`wam.benchmark`), each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

RESAMPLES = 2000
"""The number of bootstrap resamples behind every interval."""


def summary(
    table: pd.DataFrame, by: str | Sequence[str], value: str = "value", *, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    r"""The mean of every group, with its percentile bootstrap interval.

    Parameters
    ----------
    table
        A tidy table, such as :func:`wam.benchmark.run` returns.
    by
        The columns whose values make a group; groups come in the order of the table.
    value
        The column to be averaged.
    confidence
        Of the interval: the quantiles :math:`(1 \mp c) / 2` of the means of :data:`RESAMPLES` resamples.
    seed
        Of the resamples; they are the same for every group of the same size.

    Returns
    -------
    pandas.DataFrame
        The columns ``by``, then ``mean``, ``low``, ``high``, ``n`` (how many values) and ``dropped`` (how many were
        missing). The interval of fewer than two values is NaN; that of equal ones has no width.

    Raises
    ------
    ValueError
        If a column is not in the table.

    Examples
    --------
    >>> import pandas as pd
    >>> from wam import comparison
    >>> table = pd.DataFrame({"method": ["a", "a", "b", "b"], "value": [1.0, 1.0, 2.0, None]})
    >>> comparison.summary(table, "method")
      method  mean  low  high  n  dropped
    0      a   1.0  1.0   1.0  2        0
    1      b   2.0  NaN   NaN  1        1

    References
    ----------
    Efron and Tibshirani, An introduction to the bootstrap, 1993, chapter 13.
    """
    by = _columns(table, by, value)
    rows = []
    for group, part in table.groupby(by, sort=False, dropna=False):
        values = part[value].to_numpy(dtype=float, na_value=np.nan)
        kept = values[~np.isnan(values)]
        rows.append((*group, *_interval(kept, confidence, seed), len(kept), len(values) - len(kept)))
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "n", "dropped"])


def differences(
    table: pd.DataFrame,
    one: str,
    other: str,
    by: str | Sequence[str],
    value: str = "value",
    *,
    column: str = "method",
    inputs: str | Sequence[str] = ("model", "input"),
) -> pd.DataFrame:
    """The mean difference ``one - other`` over the inputs that both have, paired, with its interval.

    Parameters
    ----------
    table, by, value
        As for :func:`summary`.
    one, other, column
        Two values of the column that is compared.
    inputs
        The columns that say which input a row is about.

    Returns
    -------
    pandas.DataFrame
        As of :func:`summary`; ``n`` counts pairs, ``dropped`` the inputs of which one value is missing.

    Raises
    ------
    ValueError
        If a column or one of the two is not in the table, or one has two values for one input in one group: then
        ``by`` lacks a column, or the table has to be narrowed first.

    Examples
    --------
    >>> import pandas as pd
    >>> from wam import comparison
    >>> rows = [("net", i, m, v) for i, (a, b) in enumerate([(1, 3), (5, 7)]) for m, v in (("a", a), ("b", b))]
    >>> table = pd.DataFrame(rows, columns=["model", "input", "method", "value"])
    >>> comparison.differences(table, "b", "a", by="model")
      model  mean  low  high  n  dropped
    0   net   2.0  2.0   2.0  2        0
    """
    by, inputs = _columns(table, by, value, column), _columns(table, inputs)
    for name in (one, other):
        if name not in set(table[column]):
            known = sorted(set(table[column].dropna()))
            raise ValueError(f"{name!r} is not in the column {column!r}, which has {known}")
    wide = _wide(table[table[column].isin([one, other])], by, inputs, column, value)
    paired = (wide[one] - wide[other]).rename(value).reset_index()
    return summary(paired, by, value)


def ranks(table: pd.DataFrame, by: str | Sequence[str]) -> pd.DataFrame:
    """The mean rank of every method by ``value`` on the same input, 1 for the largest; ties share their mean rank.

    The result is that of :func:`summary`, with ``method`` after ``by``; errors are those of :func:`differences`. Only
    inputs on which every method of the group has a value count; ``dropped`` says how many do not.

    Examples
    --------
    >>> import pandas as pd
    >>> from wam import comparison
    >>> rows = [("net", 0, "a", 0.3), ("net", 0, "b", 0.1), ("net", 1, "a", 0.2), ("net", 1, "b", 0.2)]
    >>> table = pd.DataFrame(rows, columns=["model", "input", "method", "value"])
    >>> comparison.ranks(table, by="model")[["method", "mean", "n"]]
      method  mean  n
    0      a  1.25  2
    1      b  1.75  2
    """
    by, inputs = _columns(table, by, "value", "method"), _columns(table, ("model", "input"))
    parts = []
    for _, part in table.groupby(by, sort=False, dropna=False):
        wide = _wide(part, by, inputs, "method", "value")
        ranked = wide.rank(axis=1, ascending=False).where(wide.notna().all(axis=1))
        parts.append(ranked[part["method"].drop_duplicates()].melt(ignore_index=False).reset_index())
    return summary(pd.concat(parts), [*by, "method"])


def _wide(table: pd.DataFrame, by: list[str], inputs: list[str], column: str, value: str) -> pd.DataFrame:
    """A row for every input of every group, a column for every method."""
    index = [*by, *(name for name in inputs if name not in by)]
    twice = table.duplicated([*index, column])
    if twice.any():
        where = table.loc[twice, [*index, column]].iloc[0].to_dict()
        raise ValueError(f"there are two values for {where}: add columns to `by`, or narrow the table first")
    values = table.assign(**{value: table[value].astype(float)})
    return values.pivot(index=index, columns=column, values=value)


def _columns(table: pd.DataFrame, names: str | Sequence[str], *others: str) -> list[str]:
    names = [names] if isinstance(names, str) else list(names)
    for name in (*names, *others):
        if name not in table:
            raise ValueError(f"the table has no column {name!r}; it has {', '.join(map(str, table))}")
    return names


def _interval(values: np.ndarray, confidence: float, seed: int) -> tuple[float, float, float]:
    mean = values.mean() if len(values) else np.nan
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be a share between 0 and 1, such as 0.95, got {confidence!r}")
    if len(values) < 2:
        return mean, np.nan, np.nan
    means = _resamples(len(values), seed) @ values / len(values)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return mean, low, high


@lru_cache(maxsize=2)
def _resamples(n: int, seed: int) -> np.ndarray:
    """How often each of ``n`` values is in each resample, ``(RESAMPLES, n)``: the draws of SciPy's ``bootstrap``."""
    drawn = np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))
    drawn += n * np.arange(RESAMPLES)[:, None]
    return np.bincount(drawn.ravel(), minlength=RESAMPLES * n).reshape(RESAMPLES, n).astype(np.float32)
