r"""Controls: rankings that know nothing of the model, or only the magnitude or the scale of the coefficients.

Each takes an explanation for its coefficients, its class and the shape of its attributions, and returns one in the same
frame with other attributions. What a method scores above a control is what it knows beyond it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from wam.checks import as_baseline, positive, recorded
from wam.coefficients import Coefficients
from wam.explanation import Explanation


def random(explanation: Explanation, seed: int = 0) -> Explanation:
    r"""Uniform noise in place of the attributions: the numbers :math:`1/n, 2/n, \dots, 1` in random order.

    No two of the ``n`` attributions of a sample are equal (as long as the dtype can tell :math:`n` numbers apart:
    :math:`2^{24}` in ``float32``), and all are positive, so that signed and absolute rankings agree. The order depends
    on ``seed``, an integer of at least 0, and ``n`` alone: it is the same for every sample, in every batch, on every
    device.

    Examples
    --------
    >>> import torch, wam, wam.controls
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> e = wam.controls.random(wam.saliency(net, torch.randn(2, 1, 4), frame=wam.Pixel()))
    >>> e.method, e.attributions.pack()[0].sort().values[1].tolist()
    ('random', [[0.25, 0.5, 0.75, 1.0]])
    """
    seed = positive(seed, "seed", least=0)
    flat, spec = explanation.attributions.pack()
    (order,) = _shuffles(flat[0].numel(), seed, flat.device, 1)
    noise = ((order + 1).double() / len(order)).to(flat.dtype).view_as(flat[0]).expand_as(flat)
    return _controlled(explanation, Coefficients.unpack(noise, spec), "random", {"seed": seed})


def magnitude(explanation: Explanation, baseline: float | Tensor = 0.0) -> Explanation:
    r"""The magnitude of the coefficients: what is large is called important, and no model is asked.

    .. math:: \gamma = |z - z_0|, \qquad z_0 = W x_0

    For attributions of one channel, :math:`\gamma` is the Euclidean norm of this over the channels.

    Parameters
    ----------
    baseline
        :math:`x_0` in model space: a number, or a tensor that broadcasts to the inputs. With 0, the mean colour of a
        model with normalised inputs, :math:`\gamma = |z|`.

    Raises
    ------
    TypeError, ValueError
        If the baseline is neither a number nor a tensor, does not broadcast to the inputs, or is not finite.

    Examples
    --------
    >>> import torch, wam, wam.controls
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> e = wam.saliency(net, torch.tensor([[[3.0, -4.0, 0.0, 1.0]]]), frame=wam.Pixel())
    >>> wam.controls.magnitude(e).attributions.pack()[0], wam.controls.magnitude(e, 3).attributions.pack()[0]
    (tensor([[[3., 4., 0., 1.]]]), tensor([[[0., 7., 3., 2.]]]))
    """
    z = explanation.coefficients
    x0, shared = as_baseline(baseline, explanation.frame.synthesis(z))
    z = z - explanation.frame.analysis(x0[:1] if shared else x0)
    settings = {"baseline": recorded(baseline)}
    return _controlled(explanation, _magnitudes(z, explanation.attributions), "magnitude", settings)


def coarse_first(explanation: Explanation) -> Explanation:
    r"""The scale alone: what is coarser is called more important, and neither model nor input is asked.

    :math:`\gamma = j` at level :math:`j`, and :math:`J + 1` for the approximation. All attributions of a scale are
    equal, so what ranks them orders them at random (:func:`wam.metrics.perturbation_curves`).

    Examples
    --------
    >>> import torch, wam, wam.controls
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 3))
    >>> e = wam.saliency(net, torch.randn(1, 1, 8), frame=wam.Wavelet("haar", levels=2, ndim=1))
    >>> wam.controls.coarse_first(e).attributions.pack()[0].tolist()
    [[[3.0, 3.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0]]]
    """
    like = explanation.attributions
    bands = {(j, o): torch.full_like(band, j + (o == "approx")) for (j, o), band in like.bands.items()}
    return _controlled(explanation, Coefficients(bands, like.shape), "coarse first", {})


def permuted(explanation: Explanation, bins: int = 256, seed: int = 0) -> Explanation:
    r"""The attributions permuted among coefficients of nearly equal magnitude :math:`|z|`.

    In every sample the coefficients are sorted by :math:`|z|`, cut into ``bins`` runs of equal length, and the
    attributions are permuted at random within every run. A ranking by the result inserts and deletes as many
    coefficients as the original, and, up to the width of the bins, as much energy; where they lie and at which scale
    is forgotten. What the original scores above it is what it knows beyond the magnitude. For attributions of one
    channel, the magnitude is the Euclidean norm over the channels.

    Parameters
    ----------
    bins
        The number of runs. Coefficients that are exactly zero (a dark border, a sparse volume) have no magnitude to
        be matched: they form one further bin of their own, and the others are cut into ``bins`` runs, or fewer,
        so that each has two at least.
    seed
        Breaks ties between equal magnitudes and permutes. What it draws is the same for every sample, in every
        batch, on every device.

    Raises
    ------
    ValueError
        If ``bins`` is not between 1 and half the number of attributions of a sample (of a bin of one, nothing is
        permuted), or ``seed`` is not an integer of at least 0.

    Examples
    --------
    >>> import torch, wam, wam.controls
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    >>> e = wam.smoothgrad(net, torch.randn(2, 1, 64), frame=wam.Wavelet("haar", levels=3, ndim=1), samples=2)
    >>> control = wam.controls.permuted(e, bins=8)
    >>> mine, other = control.attributions.pack()[0], e.attributions.pack()[0]
    >>> control.method, bool(mine.sort().values.eq(other.sort().values).all()), bool(mine.eq(other).all())
    ('permuted smoothgrad', True, False)
    """
    bins, seed = positive(bins, "bins"), positive(seed, "seed", least=0)
    flat, spec = explanation.attributions.pack()
    values, size = flat.flatten(1), flat[0].numel()
    if 2 * bins > size:
        raise ValueError(f"bins must be at most {size // 2}, half of the {size} attributions of a sample, got {bins}")
    z = _magnitudes(explanation.coefficients, explanation.attributions).pack()[0].flatten(1)
    ties, mix = _shuffles(size, seed, flat.device, 2)
    order = ties[z[:, ties].argsort(dim=1, stable=True)]  # by magnitude, equal ones at random
    zeros = (z == 0).sum(1, keepdim=True)
    rank = torch.arange(size, device=flat.device) - zeros
    own = ((size - zeros) // 2).clamp(1, bins)  # of a bin of one, nothing would be permuted
    runs = torch.where(rank < 0, -1, rank * own // (size - zeros).clamp_min(1))
    partner = mix[runs[:, mix].argsort(dim=1, stable=True)]  # ranks by bin, at random within
    mixed = torch.empty_like(values).scatter_(1, order, values.gather(1, order.gather(1, partner)))
    settings = {**explanation.settings, "bins": bins, "permutation_seed": seed}
    attributions = Coefficients.unpack(mixed.view_as(flat), spec)
    return _controlled(explanation, attributions, f"permuted {explanation.method}", settings)


def oracle(explanation: Explanation, target: Tensor) -> Explanation:
    r"""The ranking that knows a part of the input, and so separates it from the rest as well as any mask can.

    With the coefficients :math:`t` of the target and :math:`r = z - t` of the rest, keeping a coefficient brings the
    result nearer to the target by :math:`t^2 - r^2` (in an orthogonal frame; otherwise about so). The attributions are
    that, shifted so that the least is 0, because rankings are by magnitude. Nobody has such knowledge: it is an upper
    bound, known as the ideal binary mask.

    Parameters
    ----------
    explanation, target
        Of the mixture; the part of it that is sought, of the shape of the input, or an error.

    Examples
    --------
    >>> import torch, wam, wam.controls
    >>> target, rest = torch.tensor([[[3.0, 0.0]]]), torch.tensor([[[1.0, 2.0]]])
    >>> e = wam.saliency(lambda x: x.sum(2), target + rest, frame=wam.Pixel())
    >>> wam.controls.oracle(e, target).attributions.pack()[0]
    tensor([[[12.,  0.]]])

    References
    ----------
    Wang: On ideal binary mask as the computational goal of auditory scene analysis, 2005.
    """
    (whole, spec), (part, _) = explanation.coefficients.pack(), explanation.frame.analysis(target.detach()).pack()
    if whole.shape != part.shape:
        shapes = f"{(*whole.shape[:2], *spec.shape)}, got {tuple(target.shape)}"
        raise ValueError(f"the target must have the shape of the input, {shapes}")
    nearer = part * part - (whole - part) * (whole - part)
    nearer = nearer - nearer.flatten(1).amin(1)[:, None, None]
    return _controlled(explanation, Coefficients.unpack(nearer, spec), "oracle", {})


def _magnitudes(z: Coefficients, like: Coefficients) -> Coefficients:
    """``|z|`` with as many channels as ``like`` has."""
    channels = {band.shape[1] for band in like.bands.values()}
    return z.map(lambda band: band.norm(dim=1, keepdim=True)) if channels == {1} else z.abs()


def _shuffles(size: int, seed: int, device: torch.device, count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(size, generator=generator).to(device) for _ in range(count)]


def _controlled(explanation: Explanation, attributions: Coefficients, method: str, settings: dict) -> Explanation:
    none = dict.fromkeys(("baseline_score", "completeness_gap", "layer", "gradient"))
    return replace(explanation, attributions=attributions, method=method, settings=settings, **none)
