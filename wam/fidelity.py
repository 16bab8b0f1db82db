"""How well attributions predict what the model loses: mu-fidelity, over random sets of features."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from numbers import Real

import torch
from scipy import ndimage, stats
from torch import Tensor

from wam import perturbation
from wam.checks import choice, positive
from wam.coefficients import Coefficients
from wam.explanation import Explanation
from wam.perturbation import Path, Watch
from wam.protocol import Protocol, conventions
from wam.scoring import Model, frozen

MAP_BLUR = 2.0
"""The Gaussian over the mosaic that precedes the authors' mu-fidelity, in coefficients."""

STATES = 128
"""How many random states the authors' mu-fidelity chooses its baseline from."""


def mu_fidelity(
    model: Model,
    x: Tensor,
    explanations: Explanation | Sequence[Explanation],
    *,
    subsets: int = 128,
    size: float = 0.2,
    correlation: str = "spearman",
    output: str = "softmax",
    protocol: str | Protocol = "equations",
    seed: int = 0,
    max_batch: int | None = None,
    progress: bool = False,
) -> Tensor:
    r"""How well attributions predict the drop of the output when random features are taken away (eq. 8 of the paper).

    .. math:: \mu = \mathrm{Corr}_{|u| = d}\Big(\sum_{i \in u} g_i,\; f(x) - f(x_{[x_u = x_0]})\Big)

    with :math:`g = |\gamma|`, or :math:`g = \gamma` for a signed ranking. All explanations must be in one frame and
    of one target: the subsets, and the passes of the model, are shared by them all (``subsets`` inputs per sample).

    As released, features are the cells of a 28 by 28 grid over the mosaic, the map is blurred
    (:data:`wam.fidelity.MAP_BLUR`) before it is summed, the absent state is that of the random half of the cells, of
    128, that lowers the output most, and
    **the number printed is the mean of the correlation and its p-value**: no correlation at all then gives about 0.25
    (the p-value is uniform), a perfect one 0.5.

    Parameters
    ----------
    explanations
        One explanation of ``x``, or several.
    subsets, size
        The number of random subsets, and the share of the features in each.
    correlation
        ``"spearman"`` or ``"pearson"``.
    output, protocol, max_batch, progress
        As for :func:`wam.metrics.perturbation_curves`.
    seed
        Subset :math:`i` depends on ``(seed, i)`` and the number of features alone, and is the same for every sample.

    Returns
    -------
    Tensor
        ``(batch,)`` for one explanation, ``(explanations, batch)`` for several, in float64; NaN where either side of
        the correlation is constant.

    Raises
    ------
    TypeError, ValueError
        As :func:`wam.metrics.perturbation_curves`; if the explanations differ in frame or target; for fewer than three
        subsets, or a size that takes none or all of the features.

    Examples
    --------
    The terms of a sum predict its drop perfectly, and reversed they mispredict it perfectly:

    >>> import torch, wam, wam.metrics
    >>> from wam.protocol import Protocol
    >>> x = torch.rand(1, 1, 64, dtype=torch.float64)
    >>> e = wam.integrated_gradients(lambda x: x.sum(2), x, frame=wam.Pixel(), steps=1)
    >>> for model in (lambda x: x.sum(2), lambda x: -x.sum(2)):
    ...     mu = wam.metrics.mu_fidelity(model, x, e, protocol=Protocol("signed"), output="logit")
    ...     print(round(mu.item(), 9))
    1.0
    -1.0

    References
    ----------
    Bhatt et al., Evaluating and aggregating feature-based model explanations, 2020. Paper, appendix B.2.
    """
    chosen = conventions(protocol, x)
    several = [explanations] if isinstance(explanations, Explanation) else list(explanations)
    choice(correlation, ("spearman", "pearson"), "correlation")
    draws, seed = positive(subsets, "subsets", least=3), positive(seed, "seed", least=0)
    path = perturbation.path(model, x, several, chosen)
    watch = Watch(model, output, several[0], max_batch)
    channels = path.change.shape[1]
    g, cell = [perturbation.importance(e, channels, chosen) for e in several], None
    if chosen.cells:
        cell = _cells(path, chosen.cells)
        g = torch.stack([_cell_sums(values.sum(1), path, chosen.cells) for values in g])
    else:
        g = torch.stack([values.expand(-1, 1 if chosen.tied else channels, -1).flatten(1) for values in g])
    features = g.shape[2]
    if not isinstance(size, Real) or not 0 < (count := round(size * features) if 0 < size < 1 else 0) < features:
        raise ValueError(f"size must be a share of the {features} features, more than none and less than all: {size!r}")
    sets = perturbation.subsets(features, count, draws, (seed, 0)).to(x.device)
    with frozen(model), torch.no_grad():
        if chosen.cells:
            halves = perturbation.subsets(features, features // 2, STATES, (seed, 1)).to(x.device)
            path = _least_likely(watch, path, _masks(halves, features, cell))
        (kept,) = watch.sweep(path, _masks(sets, features, cell), draws, ("deleted",), progress)
    sums = torch.stack([g[:, :, u].double().sum(2) for u in sets], dim=2)
    fidelity, p_value = _correlation(sums, -kept.double().expand_as(sums), correlation)
    fidelity = (fidelity + p_value) / 2 if chosen.p_value else fidelity
    return fidelity[0] if isinstance(explanations, Explanation) else fidelity


def _masks(sets: Tensor, features: int, cell: Tensor | None) -> perturbation.Mask:
    """The masks of the sets ``(draws, count)``, of features or of the cells that coefficients lie in."""

    def mask(draw: Tensor, sample: Tensor) -> Tensor:
        taken = torch.zeros(len(draw), features, dtype=torch.bool, device=sets.device).scatter_(1, sets[draw], True)
        return taken if cell is None else taken[:, cell]

    return mask


def _least_likely(watch: Watch, path: Path, mask: perturbation.Mask) -> Path:
    """The path from the one of :data:`STATES` random states that lowers each sample's output most."""
    (seen,) = watch.sweep(path, mask, STATES, ("inserted",))
    sample = torch.arange(len(path.x), device=path.x.device)
    taken = mask(seen.argmin(1), sample)
    x0 = path.x0 + path.part(taken, sample)
    return replace(path, x0=x0, change=path.change * ~taken[:, None])


def _grid(shape: Sequence[int], across: int) -> Tensor:
    """The cell of every place of a picture, on a grid of ``across`` by ``across``."""
    if len(shape) != 2 or min(shape) < across:
        raise ValueError(f"{across} by {across} cells need a mosaic of two dimensions, not smaller; this is {shape}")
    rows, columns = (torch.arange(n) * across // n for n in shape)
    return rows[:, None] * across + columns


def _cells(path: Path, across: int) -> Tensor:
    """The cell of the mosaic that each of the ``n`` packed coefficients of a channel lies in."""
    n = path.change.shape[2]
    order = Coefficients.unpack(torch.arange(n).view(1, 1, n), path.spec).mosaic(fill=-1)[0, 0]
    covered, cell = order >= 0, torch.empty(n, dtype=torch.long)
    cell[order[covered]] = _grid(order.shape, across)[covered]
    return cell.to(path.x.device)


def _cell_sums(values: Tensor, path: Path, across: int) -> Tensor:
    """Values ``(batch, n)`` laid out as a mosaic, blurred, and summed over its cells: ``(batch, cells)``."""
    picture = Coefficients.unpack(values[:, None].cpu(), path.spec).mosaic()[:, 0]
    blurred = torch.from_numpy(ndimage.gaussian_filter(picture.numpy(), (0, MAP_BLUR, MAP_BLUR))).flatten(1)
    cell = _grid(picture.shape[1:], across).flatten()
    return blurred.new_zeros(len(values), across**2).index_add_(1, cell, blurred).to(values.device)


def _correlation(one: Tensor, other: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Correlation and its two-sided p-value along the last axis; NaN where a side is constant."""
    a, b = (values.cpu().numpy() for values in (one, other))
    if kind == "spearman":
        a, b = stats.rankdata(a, axis=-1), stats.rankdata(b, axis=-1)
    with warnings.catch_warnings(action="ignore", category=stats.ConstantInputWarning):
        found = stats.pearsonr(a, b, axis=-1)
    return tuple(torch.from_numpy(found_).to(one.device) for found_ in (found.statistic, found.pvalue))
