r"""Faithfulness: what happens to the score when the features that an explanation ranks are taken away, or put back.

Every metric is a sweep of the one engine, :mod:`wam.perturbation`, in any frame and dimension. The same numbers are
computed by different conventions in the literature: :class:`wam.perturbation.Protocol` names them.
``protocol="equations"`` is the text of the paper, ``protocol="released"`` the code of its authors as described.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real

import torch
from scipy import ndimage, stats
from torch import Tensor

from wam import perturbation
from wam.checks import positive
from wam.coefficients import Coefficients
from wam.explanation import Explanation
from wam.perturbation import Path, Protocol, Watch
from wam.scoring import Model, frozen

RELEASED_STEPS = {"wavelet": 64, "pixel": 128}
"""The steps of the authors' curves, which differ by the domain of the method."""

MAP_BLUR = 2.0
"""The Gaussian over the mosaic that precedes the authors' mu-fidelity, in coefficients."""

STATES = 128
"""How many random states the authors' mu-fidelity chooses its baseline from."""


@dataclass(frozen=True, eq=False)
class Curves:
    r"""Insertion and deletion of a batch, both from the same ranking.

    Attributes
    ----------
    fractions
        The share of the features (or of their energy) in :math:`u_k`, ``(batch, steps + 1)``, from 0 to 1, float64.
    insertion, deletion
        The output with only :math:`u_k` present (eq. 5), and with :math:`u_k` absent (eq. 6), ``(batch, steps + 1)``.
    ties
        The share of features that have the attribution of another one, ``(batch,)``: their order is drawn at random.
    peak
        The convention of the area (:class:`wam.perturbation.Protocol`).
    """

    fractions: Tensor
    insertion: Tensor
    deletion: Tensor
    ties: Tensor
    peak: bool = False

    @property
    def insertion_auc(self) -> Tensor:
        """The area under the insertion curve, ``(batch,)`` (eq. 7): the higher the better."""
        return self._area(self.insertion)

    @property
    def deletion_auc(self) -> Tensor:
        """The area under the deletion curve, ``(batch,)`` (eq. 7): the lower the better."""
        return self._area(self.deletion)

    @property
    def faithfulness(self) -> Tensor:
        """Insertion minus deletion, ``(batch,)`` (eq. 4)."""
        return self.insertion_auc - self.deletion_auc

    def _area(self, curve: Tensor) -> Tensor:
        curve = curve.double()
        return curve.mean(1) / curve.amax(1) if self.peak else torch.trapezoid(curve, self.fractions, dim=1)


def perturbation_curves(
    model: Model,
    x: Tensor,
    explanation: Explanation,
    *,
    steps: int = 64,
    ranking: str | None = None,
    axis: str = "count",
    tied: bool | None = None,
    baseline: float | str | Tensor | None = None,
    output: str = "softmax",
    protocol: str | Protocol = "equations",
    seed: int = 0,
    max_batch: int | None = None,
    progress: bool = False,
) -> Curves:
    r"""Insertion and deletion curves, together (eqs. 5 to 7 of the paper).

    .. math:: \mathrm{Insertion}(k) = f(x_{[x_{-u_k} = x_0]}), \qquad \mathrm{Deletion}(k) = f(x_{[x_{u_k} = x_0]})

    with :math:`u_k` the most important features. The two share their end points, :math:`f(x_0)` and :math:`f(x)`,
    which are evaluated once (:math:`f(x_0)` once per batch if all samples share it): ``2 (steps - 1) + 1`` inputs of
    the model per sample, and one or more for :math:`f(x_0)`.

    Parameters
    ----------
    model, x
        As for :func:`wam.saliency`. Any device; ``float32`` or ``float64``.
    explanation
        Of ``x``, in any frame: its attributions rank the features, its target is watched. Attributions may have one
        channel where the input has several; the ranking is then shared by all channels.
    steps
        The number :math:`K` of steps (the released code: :data:`RELEASED_STEPS`).
    ranking, tied, baseline
        A convention that departs from the protocol's; see :class:`wam.perturbation.Protocol`.
    axis
        What grows by ``1 / steps`` per step: ``"count"``, the number of features, or ``"energy"``, their share of
        :math:`\sum |z - z_0|^2` (rounded down to whole features). It is the energy of the coefficients, which is that
        of the signal only in an orthogonal frame without borders. A ranking by magnitude is favoured on the one axis
        and handicapped on the other by construction.
    output
        One of :data:`wam.perturbation.OUTPUTS`.
    protocol
        ``"equations"``, ``"released"``, or a :class:`wam.perturbation.Protocol` of your own.
    seed
        Of the permutation that orders features of equal attribution; it is the same for every sample.
    max_batch
        The largest number of inputs in one pass of the model; by default the length of ``x``.
    progress
        Show a progress bar.

    Raises
    ------
    TypeError, ValueError
        If the explanation is of another input, or holds NaN (the message names method and sample); for an unknown
        option, fewer than one step or more than there are features; if a sample has no energy to order by.

    Examples
    --------
    A sum of four features, explained by the features themselves: the curves are their partial sums.

    >>> import torch, wam, wam.metrics
    >>> x = torch.tensor([[[4.0, 1.0, 3.0, 2.0]]])
    >>> e = wam.integrated_gradients(lambda x: x.sum(2), x, frame=wam.Pixel(), steps=1)
    >>> curves = wam.metrics.perturbation_curves(lambda x: x.sum(2), x, e, steps=4, output="logit")
    >>> curves.insertion, curves.deletion, curves.faithfulness
    (tensor([[ 0.,  4.,  7.,  9., 10.]]), tensor([[10.,  6.,  3.,  1.,  0.]]), tensor([2.5000], dtype=torch.float64))

    References
    ----------
    Petsiuk et al., RISE, 2018. Paper, section 3.3 and appendix B.1.
    """
    chosen = perturbation.conventions(protocol, ranking=ranking, tied=tied, baseline=baseline)
    path, steps = perturbation.path(model, x, [explanation], chosen), positive(steps, "steps")
    watch = _watch(model, output, explanation, x, max_batch)
    rank, ties = _ranking(explanation, path, chosen, seed)
    if steps > rank.shape[1]:
        raise ValueError(f"{steps} steps for {rank.shape[1]} features: take at most as many steps as features")
    wanted = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    counts, fractions = perturbation.counts(wanted, rank, path.change, axis)

    def mask(step: Tensor, sample: Tensor) -> Tensor:
        return rank[sample] < counts[sample, step + 1, None]

    with frozen(model), torch.no_grad():
        full, empty = (watch(path.finish(end))[:, None] for end in (path.x, path.x0))
        inserted, deleted = watch.sweep(path, mask, steps - 1, ("inserted", "deleted"), progress)
    insertion, deletion = torch.cat([empty, inserted, full], dim=1), torch.cat([full, deleted, empty], dim=1)
    return Curves(fractions, insertion, deletion, ties, chosen.peak)


def perturbed(
    x: Tensor,
    explanation: Explanation,
    fractions: Sequence[float],
    *,
    model: Model | None = None,
    ranking: str | None = None,
    axis: str = "count",
    tied: bool | None = None,
    baseline: float | str | Tensor | None = None,
    protocol: str | Protocol = "equations",
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """What the model sees along the curves: with only the top ``fractions`` present, and with them absent.

    Returns two tensors ``(len(fractions), *x.shape)``. Parameters are those of :func:`perturbation_curves`; the
    ``model`` is needed for its ``mean`` and ``std`` alone, where the protocol asks for them.

    Examples
    --------
    >>> import torch, wam, wam.metrics
    >>> x = torch.tensor([[[4.0, 1.0, 3.0, 2.0]]])
    >>> e = wam.saliency(lambda x: (x**2).sum(2), x, frame=wam.Pixel())
    >>> inserted, deleted = wam.metrics.perturbed(x, e, [0.5])
    >>> inserted[0, 0], deleted[0, 0]
    (tensor([[4., 0., 3., 0.]]), tensor([[0., 1., 0., 2.]]))
    """
    chosen = perturbation.conventions(protocol, ranking=ranking, tied=tied, baseline=baseline)
    path = perturbation.path(model, x, [explanation], chosen)
    rank, _ = _ranking(explanation, path, chosen, seed)
    wanted = torch.as_tensor(fractions, dtype=torch.float64)
    if wanted.ndim != 1 or not len(wanted) or not bool(((wanted >= 0) & (wanted <= 1)).all()):
        raise ValueError(f"fractions must be numbers from 0 to 1, got {fractions!r}")
    counts, _ = perturbation.counts(wanted, rank, path.change, axis)
    sample = torch.arange(len(x), device=x.device).repeat(len(wanted))
    part = path.part(rank[sample] < counts.T.reshape(-1, 1), sample)
    return tuple(seen(part, sample).unflatten(0, (-1, len(x))) for seen in (path.inserted, path.deleted))


def mu_fidelity(
    model: Model,
    x: Tensor,
    explanations: Explanation | Sequence[Explanation],
    *,
    subsets: int = 128,
    size: float = 0.2,
    correlation: str = "spearman",
    ranking: str | None = None,
    tied: bool | None = None,
    baseline: float | str | Tensor | None = None,
    output: str = "softmax",
    protocol: str | Protocol = "equations",
    seed: int = 0,
    max_batch: int | None = None,
    progress: bool = False,
) -> Tensor:
    r"""How well attributions predict the drop of the output when random features are taken away (eq. 8 of the paper).

    .. math:: \mu = \mathrm{Corr}_{|u| = d}\Big(\sum_{i \in u} g_i,\; f(x) - f(x_{[x_u = x_0]})\Big)

    with :math:`g = |\gamma|`, or :math:`g = \gamma` for ``ranking="signed"``. All explanations must be in one frame and
    of one target: the subsets, and the passes of the model, are shared by them all (``subsets`` inputs per sample).

    As released, features are the cells of a 28 by 28 grid over the mosaic, the map is blurred (:data:`MAP_BLUR`) before
    it is summed, the absent state is that of the random half of the cells, of 128, that lowers the output most, and
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
    ranking, tied, baseline, output, protocol, max_batch, progress
        As for :func:`perturbation_curves`.
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
        As :func:`perturbation_curves`; if the explanations differ in frame or target; for fewer than three subsets, or
        a size that takes none or all of the features.

    Examples
    --------
    The terms of a sum predict its drop perfectly, and reversed they mispredict it perfectly:

    >>> import torch, wam, wam.metrics
    >>> x = torch.rand(1, 1, 64, dtype=torch.float64)
    >>> e = wam.integrated_gradients(lambda x: x.sum(2), x, frame=wam.Pixel(), steps=1)
    >>> for model in (lambda x: x.sum(2), lambda x: -x.sum(2)):
    ...     mu = wam.metrics.mu_fidelity(model, x, e, ranking="signed", output="logit")
    ...     print(round(mu.item(), 9))
    1.0
    -1.0

    References
    ----------
    Bhatt et al., Evaluating and aggregating feature-based model explanations, 2020. Paper, appendix B.2.
    """
    chosen = perturbation.conventions(protocol, ranking=ranking, tied=tied, baseline=baseline)
    several = [explanations] if isinstance(explanations, Explanation) else list(explanations)
    if correlation not in ("spearman", "pearson"):
        raise ValueError(f"unknown correlation {correlation!r}; choose 'spearman' or 'pearson'")
    draws, seed = positive(subsets, "subsets", least=3), positive(seed, "seed", least=0)
    path = perturbation.path(model, x, several, chosen)
    watch = _watch(model, output, several[0], x, max_batch)
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


def _watch(model: Model, output: str, e: Explanation, x: Tensor, max_batch: int | None) -> Watch:
    return Watch(model, output, e.target, len(x) if max_batch is None else positive(max_batch, "max_batch"))


def _ranking(e: Explanation, path: Path, protocol: Protocol, seed: int) -> tuple[Tensor, Tensor]:
    """The rank of every feature, and the share of features in ties; one-channel attributions tie the channels."""
    return perturbation.ranks(perturbation.importance(e, path.change.shape[1], protocol).flatten(1), seed)


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
        raise ValueError(
            f"{across} by {across} cells need a mosaic of two dimensions, not smaller; this one is {shape}"
        )
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
    with warnings.catch_warnings(action="ignore", category=(stats.ConstantInputWarning)):
        found = stats.pearsonr(a, b, axis=-1)
    return tuple(torch.from_numpy(found_).to(one.device) for found_ in (found.statistic, found.pvalue))
