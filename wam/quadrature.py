r"""Where integrated gradients evaluates the path, and with what weight.

Each rule approximates :math:`\int_0^1 h(\alpha)\,d\alpha \approx \sum_k w_k h(\alpha_k)`; weights sum to 1. The
gradient of a trained network changes fastest near the baseline, so rules that spend more evaluations there err less:
``benchmarks/nodes.py`` measures all of them on real networks, and its result decides the default.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wam.checks import choice, positive

RULES = ("quadratic", "gauss-legendre", "trapezoid", "adaptive", "geometric")
"""The names of the rules; the first is the default of :func:`wam.integrated_gradients`."""

SWEEP = 9
"""Points of the forward sweep of the adaptive rule, both ends included (their scores are needed anyway)."""

FLOOR = 1e-4
"""The lowest level of the geometric rule, as a share of the input: 1/10,000, -80 dB of a sound."""


class Nodes(NamedTuple):
    """Positions on the path and their weights, ``(steps,)`` or ``(steps, batch)`` each, in ``float64``."""

    alpha: Tensor
    weight: Tensor


def check_rule(rule: str, steps: int) -> int:
    """``steps`` as an integer, or an error that names the rules if there is no such rule, or too few steps for it.

    Raises
    ------
    ValueError
        For an unknown rule, fewer than one step, or one step of the trapezoid.
    """
    choice(rule, RULES, "rule for the nodes")
    return positive(steps, f"steps ({rule} nodes)", least=2 if rule == "trapezoid" else 1)


def fixed(rule: str, steps: int) -> Nodes:
    r"""The nodes of a rule that does not look at the score.

    ``"quadratic"``
        The midpoint rule in :math:`u = \sqrt\alpha`: :math:`\alpha_k = u_k^2`, :math:`w_k = 2 u_k / K`, with
        :math:`u_k = (k - \tfrac12) / K`. Half of the evaluations lie in the first quarter of the path.
    ``"gauss-legendre"``
        Exact for polynomials of degree :math:`2K - 1`.
    ``"trapezoid"``
        Equal steps from 0 to 1, both ends included, as in the code released with the paper.
    ``"geometric"``
        Equal steps of loudness, in decibels: cells with the edges :math:`0, \varepsilon^{1 - 1/K}, \dots,
        \varepsilon^{1/K}, 1`, :math:`\varepsilon` = :data:`FLOOR`, each with its length as its weight and its node at
        the geometric middle :math:`\varepsilon^{1 - (k - 1/2) / K}`. For models that hear logarithms, as those with a
        log-mel spectrogram do: their score grows with the level of a sound in decibels.

    Examples
    --------
    >>> from wam import quadrature
    >>> quadrature.fixed("quadratic", 2)
    Nodes(alpha=tensor([0.0625, 0.5625], dtype=torch.float64), weight=tensor([0.2500, 0.7500], dtype=torch.float64))
    """
    steps = check_rule(rule, steps)
    if rule == "quadratic":
        u = (np.arange(steps) + 0.5) / steps
        alpha, weight = u**2, 2 * u / steps
    elif rule == "gauss-legendre":
        t, w = np.polynomial.legendre.leggauss(steps)
        alpha, weight = (t + 1) / 2, w / 2
    elif rule == "geometric":
        edges = FLOOR ** (1 - np.arange(steps + 1) / steps)
        alpha, weight = np.sqrt(edges[1:] * edges[:-1]), np.diff(edges)
        weight[0] += edges[0]
    else:
        alpha, weight = np.linspace(0, 1, steps), np.full(steps, 1 / (steps - 1))
        weight[[0, -1]] /= 2
    return Nodes(torch.from_numpy(alpha), torch.from_numpy(weight))


def sweep() -> Tensor:
    r"""Where the adaptive rule looks at the score first: :data:`SWEEP` points equally spaced in :math:`\sqrt\alpha`."""
    return torch.linspace(0, 1, SWEEP, dtype=torch.float64) ** 2


def adaptive(scores: Tensor, steps: int) -> Nodes:
    r"""Nodes placed where the score changes along the path.

    The interval :math:`[u_m, u_{m+1}]` of :func:`sweep`, :math:`u = \sqrt\alpha`, gets a share of the steps
    proportional to :math:`\tfrac12 \Delta u_m + \tfrac12 \sqrt{|\Delta f_m| \Delta u_m}` (each term normalised to sum
    to 1). One node is in the middle of each of the resulting cells, which is its weight. The first term keeps any
    part of the path from being starved of nodes.

    Changes are rounded to 1/1024 of their sum first. The scores of a real network depend in their last digits on the
    other inputs of the batch; the nodes then do not, unless a change lies right between two steps of the rounding.

    Parameters
    ----------
    scores
        The score at the points of :func:`sweep`, ``(SWEEP, batch)``.
    steps
        The number of nodes.

    Returns
    -------
    Nodes
        ``(steps, batch)`` each, in the order of the path, on the CPU.
    """
    change = scores.detach().double().cpu().diff(dim=0).abs()
    change = (1024 * change / change.sum(0).clamp_min(1e-300)).round().sqrt()
    uniform = torch.full_like(change, 1 / (SWEEP - 1))
    total = change.sum(0)
    density = torch.where(total > 0, 0.5 * uniform + 0.5 * change / total.clamp_min(1), uniform)
    share = np.concatenate([np.zeros((1, density.shape[1])), density.cumsum(0).numpy()])
    u, quantiles = np.linspace(0, 1, SWEEP), np.linspace(0, 1, steps + 1)
    edges = np.stack([np.interp(quantiles, column / column[-1], u) for column in share.T], axis=1) ** 2
    return Nodes(torch.from_numpy((edges[1:] + edges[:-1]) / 2), torch.from_numpy(np.diff(edges, axis=0)))
