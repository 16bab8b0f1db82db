"""The front of sparsity against score, from runs of :func:`wam.minimal.optimise` at several alphas."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from wam import comparison
from wam.frames import Frame
from wam.gradients import Target
from wam.minimal import as_alphas, optimise
from wam.scoring import Model


@dataclass(frozen=True, eq=False)
class Pareto:
    """Sparsity against score.

    Attributes
    ----------
    runs
        A row for every alpha and input, as :meth:`wam.minimal.Minimal.table`.
    front
        A row for every alpha: means over the inputs with their intervals, as :func:`front`.
    """

    runs: pd.DataFrame
    front: pd.DataFrame


def pareto(
    model: Model,
    x: Tensor,
    target: Target,
    frame: Frame,
    alphas: float | Sequence[float] | Tensor = (1.0, 10.0, 100.0),
    steps: int = 500,
    *,
    fall: float = 0.5,
    confidence: float = 0.95,
    **options,
) -> Pareto:
    r"""The front of sparsity and score (Fig. 3B of the paper), with alpha extended until the score falls.

    Parameters
    ----------
    model, x, target, frame, steps
        As for :func:`wam.minimal.optimise`.
    alphas
        The first values, one or several. While the mean score at the largest has not fallen, and ten times the largest
        (if it is not 0) changes something, that follows.
    fall
        The score has fallen when it is below this share of the score at the full mask: lower by ``1 - fall`` of its
        size.
    confidence
        Of the intervals.
    options
        Those of :func:`wam.minimal.optimise`; so are the errors.

    Examples
    --------
    >>> import torch, wam, wam.pareto
    >>> x = torch.tensor([[[4.0, 1.0, 3.0, 2.0]]])
    >>> found = wam.pareto.pareto(lambda x: x.sum(2), x, 0, wam.Pixel(), alphas=[1.0], objective="score")
    >>> found.front[["alpha", "sparsity", "score"]].values.tolist()
    [[1.0, 0.0, 10.0], [10.0, 0.5, 7.0], [100.0, 1.0, 0.0]]
    """
    tables, alphas, before = [], as_alphas(alphas).unique().tolist(), None
    while True:
        try:
            found = optimise(model, x, target, frame, alphas, steps, **options)
        except KeyboardInterrupt:
            if not tables:
                raise
            warnings.warn(f"interrupted: the front ends before alpha = {alphas[-1]:g}", stacklevel=2)
            break
        if found.interrupted and tables:  # with other numbers of steps it is no part of the front
            break
        target, (score, sparsity) = found.target, (found.score[-1], found.sparsity[-1, :, -1])
        tables.append(found.table())
        original, last, end = score[:, 0].mean(), score[:, -1].mean(), torch.stack([score[:, -1], sparsity])
        fallen = bool(original - last >= (1 - fall) * original.abs())
        idle = alphas[-1] == 0 or bool((sparsity == 1).all()) or (before is not None and torch.equal(before, end))
        if found.interrupted or fallen or idle:
            break
        alphas, before = [10 * alphas[-1]], end
    runs = pd.concat(tables, ignore_index=True)
    return Pareto(runs, front(runs, confidence=confidence))


def front(runs: pd.DataFrame, *, confidence: float = 0.95) -> pd.DataFrame:
    """Means over the inputs for every alpha, with bootstrap intervals (:func:`wam.comparison.summary`).

    Columns: ``alpha``, ``alpha_sum``, ``n``, and for each of ``sparsity``, ``score``, ``probability`` and ``kept``
    (whose mean is the share of inputs that keep their class) the mean and ``_low`` and ``_high``.
    """
    runs = runs.sort_values("alpha", kind="stable")
    columns = {}
    for name in ("sparsity", "score", "probability", "kept"):
        means = comparison.summary(runs, ["alpha", "alpha_sum"], name, confidence=confidence)
        columns |= {"alpha": means["alpha"], "alpha_sum": means["alpha_sum"], "n": means["n"]}
        columns |= {name: means["mean"], f"{name}_low": means["low"], f"{name}_high": means["high"]}
    return pd.DataFrame(columns)
