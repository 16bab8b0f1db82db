r"""Faithfulness: what happens to the score when the features that an explanation ranks are taken away, or put back.

Every metric is a sweep of the one engine, :mod:`wam.perturbation`, in any frame and dimension. The same numbers are
computed by different conventions in the literature: :class:`wam.protocol.Protocol` names them.
``protocol="equations"`` is the text of the paper, ``protocol="released"`` the code of its authors as described.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wam import perturbation
from wam.checks import as_tensor, finite, positive, share
from wam.explanation import Explanation
from wam.fidelity import mu_fidelity
from wam.protocol import Protocol, conventions
from wam.scoring import Model, frozen, predict

__all__ = [
    "Curves",
    "faithfulness_on_spectra",
    "input_fidelity",
    "mu_fidelity",
    "perturbation_curves",
    "perturbed",
]


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
        The convention of the area (:class:`wam.protocol.Protocol`).
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
    axis: str = "count",
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
        The number :math:`K` of steps (the released code: 64 for wavelets, 128 for pixels).
    axis
        What grows by ``1 / steps`` per step: ``"count"``, the number of features, or ``"energy"``, their share of
        :math:`\sum |z - z_0|^2` (rounded down to whole features). It is the energy of the coefficients, which is that
        of the signal only in an orthogonal frame without borders. A ranking by magnitude is favoured on the one axis
        and handicapped on the other by construction.
    output
        One of :data:`wam.perturbation.OUTPUTS`.
    protocol
        ``"equations"``, ``"released"``, or a :class:`wam.protocol.Protocol` of your own: ranking, channels, baseline.
    seed
        Of the permutation that orders features of equal attribution; it is the same for every sample.
    max_batch
        The largest number of inputs in one pass of the model; by default the length of ``x``.

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
    chosen = conventions(protocol, x)
    path, rank, ties = perturbation.ranked(model, x, explanation, chosen, seed)
    watch, steps = perturbation.Watch(model, output, explanation, max_batch), positive(steps, "steps")
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
    axis: str = "count",
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
    path, rank, _ = perturbation.ranked(model, x, explanation, conventions(protocol, x), seed)
    what = "fractions must be numbers from 0 to 1"
    wanted = as_tensor(fractions, what, dtype=torch.float64)
    if wanted.ndim != 1 or not len(wanted) or not bool(((wanted >= 0) & (wanted <= 1)).all()):
        raise ValueError(f"{what}, got {fractions!r}")
    counts, _ = perturbation.counts(wanted, rank, path.change, axis)
    sample = torch.arange(len(x), device=x.device).repeat(len(wanted))
    part = path.part(rank[sample] < counts.T.reshape(-1, 1), sample)
    return tuple(seen(part, sample).unflatten(0, (-1, len(x))) for seen in (path.inserted, path.deleted))


def faithfulness_on_spectra(
    model: Model,
    x: Tensor,
    explanation: Explanation,
    *,
    fraction: float = 0.5,
    output: str = "logit",
    protocol: str | Protocol = "equations",
    seed: int = 0,
    max_batch: int | None = None,
) -> Tensor:
    r"""How far the output falls when the explained part is removed (FF, eq. 9 of the paper).

    .. math:: \mathrm{FF}_x = f(x)_c - f\big(x \odot (1 - m_\gamma)\big)_c

    where :math:`m_\gamma` keeps the ``fraction`` of the features with the largest attributions: of the spectrogram, of
    the coefficients of the waveform, or of any other frame. The paper reports the median over clips.

    Parameters
    ----------
    fraction
        The share of the features that is removed: one half in the authors' code, which the paper does not say.
    output
        The logit, as eq. 9 says, by default. The authors' code computes a drop of the probability, of a network that
        ends in sigmoids: ``output="sigmoid", protocol="released"``.
    model, x, explanation, protocol, seed, max_batch
        As for :func:`perturbation_curves`.

    Notes
    -----
    Errors are those of :func:`perturbation_curves`, and for a fraction outside 0 to 1; the result is ``(batch,)``.

    Examples
    --------
    Half of the features of a sum, the large ones, are removed:

    >>> import torch, wam, wam.metrics
    >>> x = torch.tensor([[[4.0, 1.0, 3.0, 2.0]]])
    >>> e = wam.integrated_gradients(lambda x: x.sum(2), x, frame=wam.Pixel(), steps=1)
    >>> wam.metrics.faithfulness_on_spectra(lambda x: x.sum(2), x, e)
    tensor([7.])

    References
    ----------
    Parekh et al., Listen to interpret, 2022. Paper, appendix B.2.
    """
    shares = [0.0, share(fraction, "fraction")]
    _, (whole, without) = perturbed(x, explanation, shares, model=model, protocol=protocol, seed=seed)
    watch = perturbation.Watch(model, output, explanation, max_batch)
    with frozen(model), torch.no_grad():
        return watch(whole) - watch(without)


def input_fidelity(
    model: Model,
    x: Tensor,
    explanation: Explanation,
    *,
    fraction: float = 0.5,
    protocol: str | Protocol = "equations",
    seed: int = 0,
    max_batch: int | None = None,
) -> Tensor:
    r"""Whether the explained part alone gets the same class (Fid-In, eq. 10 of the paper).

    .. math:: \mathrm{Fid\text{-}In} = \frac1n \sum_i
              I\big[\arg\max_c f(x_i)_c = \arg\max_c f(x_i \odot m_\gamma)_c\big]

    Parameters, errors and the mask are those of :func:`faithfulness_on_spectra`. Only the order of the scores matters,
    so it is the same for logits and probabilities.

    The result is 1 or 0 per sample, ``(batch,)``: its mean is the paper's number.

    Examples
    --------
    >>> import torch, wam, wam.metrics
    >>> x = torch.tensor([[[4.0, 1.0, 3.0, 2.0]]])
    >>> e = wam.saliency(lambda x: x.flatten(1), x, target=0, frame=wam.Pixel())
    >>> wam.metrics.input_fidelity(lambda x: x.flatten(1), x, e, fraction=0.25)
    tensor([1.])

    References
    ----------
    Paissan et al., Posthoc interpretation via quantization, 2023. Paper, appendix B.2.
    """
    shares = [0.0, share(fraction, "fraction")]
    (_, kept), (whole, _) = perturbed(x, explanation, shares, model=model, protocol=protocol, seed=seed)
    max_batch = len(x) if max_batch is None else positive(max_batch, "max_batch")
    with frozen(model):
        (score, before), (left, after) = (predict(model, inputs, None, max_batch) for inputs in (whole, kept))
    finite(torch.stack([score, left], dim=1), "the score")
    return (before == after).to(x.dtype)
