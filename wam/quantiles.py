r"""Quantiles of a ranking: how many of the most important features suffice for a class, and how many are necessary.

Appendix C.2 of the paper calls what is left a static minimal image: nothing is optimised, the order comes from an
explanation. The features are added and taken away by the one engine, :mod:`wam.perturbation`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wam import metrics, perturbation
from wam.explanation import Explanation
from wam.metrics import Curves
from wam.protocol import Protocol, conventions
from wam.scoring import Model, frozen


class Quantile(NamedTuple):
    """Where an answer of the model changes along a ranking; each ``(batch,)``.

    ``share``: the smallest share of the features from which on the answer *stays* changed; NaN if it is not changed at
    the end. ``first``: the smallest share of the sweep at which it is changed at all. ``monotone``: whether it changes
    at most once in the sweep, so that the two mean the same.
    """

    share: Tensor
    first: Tensor
    monotone: Tensor


@dataclass(frozen=True, eq=False)
class Static:
    """Static minimal inputs, by an explanation's ranking (:func:`static`).

    Attributes
    ----------
    insertion
        Of the most important features, inserted into the baseline: how many make the class the predicted one.
    deletion
        Of the most important features, taken from the input: how many make it lose the class.
    sufficient
        The inputs with only the ``insertion`` share present, ``(batch, channels, *spatial)``; where that is NaN, with
        all.
    curves
        The sweep: 1 where the class is the predicted one.
    """

    insertion: Quantile
    deletion: Quantile
    sufficient: Tensor
    curves: Curves


def static(
    model: Model,
    x: Tensor,
    explanation: Explanation,
    steps: int = 64,
    *,
    protocol: str | Protocol = "equations",
    seed: int = 0,
    max_batch: int | None = None,
    progress: bool = False,
) -> Static:
    r"""How many of the most important features suffice for the class, and how many are necessary (appendix C.2).

    A sweep of ``steps`` even shares shows where the prediction changes; between the last two of them that disagree a
    bisection finds the feature. The prediction need not be monotone along the ranking: what is returned is the share
    from which on the sweep shows no other change, and ``first`` and ``monotone`` say what came before. What changes
    and changes back between two neighbours of the sweep is not seen; ``steps`` equal to the number of features sees
    all.

    Parameters
    ----------
    model, x, explanation
        As for :func:`wam.metrics.perturbation_curves`. For the control that asks no model, give
        :func:`wam.controls.magnitude` of it.
    steps
        The shares of the sweep: ``2 steps + 2 log2(features / steps)`` inputs of the model per sample, about.
    protocol, seed, max_batch, progress
        As for :func:`wam.metrics.perturbation_curves`; so are the errors.

    Examples
    --------
    Class 0 needs a sum of more than 6.5, of 4 + 3 + 2 + 1; and loses it with the 4:

    >>> import torch, wam, wam.minimal
    >>> def model(x):
    ...     return torch.cat([x.sum(2), torch.full((len(x), 1), 6.5)], dim=1)
    >>> x = torch.tensor([[[4.0, 1.0, 3.0, 2.0]]])
    >>> e = wam.integrated_gradients(model, x, target=0, frame=wam.Pixel(), steps=1)
    >>> found = wam.minimal.static(model, x, e, steps=4)
    >>> found.insertion.share.item(), found.deletion.share.item(), found.sufficient[0, 0]
    (0.5, 0.25, tensor([4., 0., 3., 0.]))
    """
    protocol = conventions(protocol, x)
    options = {"output": "top1", "protocol": protocol, "seed": seed, "max_batch": max_batch, "progress": progress}
    curves = metrics.perturbation_curves(model, x, explanation, steps=steps, **options)
    path, rank, _ = perturbation.ranked(model, x, explanation, protocol, seed)
    watch = perturbation.Watch(model, "top1", explanation, max_batch)
    grid = (curves.fractions * rank.shape[1]).round().long()

    def is_first(kind: str, count: Tensor) -> Tensor:
        (answer,) = watch.sweep(path, lambda _, sample: rank[sample] < count[sample, None], 1, (kind,))
        return answer[:, 0] > 0.5

    def bisected(kind: str, changed: Tensor) -> tuple[Quantile, Tensor]:
        """The quantile, and how many features that is; ``changed`` are the answers of the sweep."""
        tail = changed.flip(1).long().cumprod(1).sum(1)  # how many of them, at the end, stay changed
        begins = (steps + 1 - tail).clamp_max(steps)[:, None]
        high, low = (grid.gather(1, place.clamp_min(0))[:, 0] for place in (begins, begins - 1))
        low = torch.where(tail == 0, high, low)
        while bool((apart := high - low > 1).any()):
            middle = (low + high) // 2
            yes = is_first(kind, middle) == (kind == "inserted")
            low, high = torch.where(apart & ~yes, middle, low), torch.where(apart & yes, middle, high)
        first = curves.fractions.gather(1, changed.long().argmax(1)[:, None])[:, 0]
        share = torch.where(tail == 0, torch.nan, high.double() / rank.shape[1])
        first = torch.where(changed.any(1), first, torch.nan)
        return Quantile(share, first, changed.long().diff(dim=1).ne(0).sum(1) <= 1), high

    with frozen(model), torch.no_grad():
        insertion, count = bisected("inserted", curves.insertion > 0.5)
        deletion, _ = bisected("deleted", curves.deletion < 0.5)
    sample = torch.arange(len(x), device=x.device)
    sufficient = path.inserted(path.part(rank < count[:, None], sample), sample)
    return Static(insertion, deletion, sufficient, curves)
