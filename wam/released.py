r"""The attribution maps of the authors' released code, rebuilt from a description of what it does.

They differ from eqs. 1 to 3. With :math:`\langle \cdot \rangle` the mean over the colour channels and :math:`M_b` the
maximum of a band over **all samples of the batch**, a gradient :math:`g` becomes the non-negative map

.. math:: N(g)_b = |\langle S^\top g \rangle_b| / M_b,

so that every band peaks at 1 and an explanation depends on the images beside it. SmoothGrad averages these maps over
the noisy copies; integrated gradients integrates them (25 points, both ends, unit spacing) and multiplies by
:math:`N(z)`. Completeness cannot hold. Attributions have one channel, as masks of the released metrics do: rank them
with ``protocol="released"`` (:mod:`wam.metrics`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from tqdm.auto import tqdm

from wam.attribution import NOISE, _at_layer
from wam.checks import finite, positive
from wam.coefficients import Coefficients
from wam.explanation import Explanation
from wam.frames import Frame
from wam.gradients import Target, checked, noisy
from wam.layers import Layer, MeanGradient, tapped
from wam.scoring import Model, frozen, gradient, predict


def saliency(
    model: Model, x: Tensor, target: Target = None, *, frame: Frame, max_batch: int | None = None
) -> Explanation:
    """The map :math:`N(\\nabla f_c(x))` of one gradient; parameters as for :func:`wam.saliency`.

    Examples
    --------
    Each band peaks at 1, and the one channel stands for all:

    >>> import torch, wam, wam.released
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 5))
    >>> e = wam.released.saliency(net, torch.randn(2, 3, 8, 8), frame=wam.Wavelet("haar", levels=1, ndim=2))
    >>> [(tuple(band.shape), band.max().item()) for band in e.attributions.bands.values()][0]
    ((2, 1, 4, 4), 1.0)
    """
    return _explain("released saliency", model, x, target, frame, max_batch, lambda x: lambda i: x, torch.ones(1))


def smoothgrad(
    model: Model,
    x: Tensor,
    target: Target = None,
    *,
    frame: Frame,
    samples: int = 25,
    noise: float | None = None,
    seed: int = 0,
    layer: Layer | None = None,
    max_batch: int | None = None,
    progress: bool = False,
) -> Explanation:
    """The mean of :math:`N(\\nabla f_c(x + \\delta_i))` over noisy copies; parameters as for :func:`wam.smoothgrad`.

    The map of every copy is normalised before the mean, so each copy costs a pullback of its own. At a ``layer``
    (Table 5 of the paper: the spectrogram) the gradients are averaged as they are, signed.
    """
    weights = torch.full((positive(samples, "samples"),), 1 / samples, dtype=torch.float64)
    settings = {"samples": samples, "noise": noise, "seed": positive(seed, "seed", least=0)}

    def copies(x: Tensor) -> Callable[[int], Tensor]:
        settings["noise"] = NOISE[min(x.ndim - 2, 3)] if noise is None else float(noise)
        return noisy(x, settings["noise"], seed)

    name = "released smoothgrad"
    return _explain(name, model, x, target, frame, max_batch, copies, weights, settings, layer, progress)


def integrated_gradients(
    model: Model,
    x: Tensor,
    target: Target = None,
    *,
    frame: Frame,
    steps: int = 25,
    layer: Layer | None = None,
    max_batch: int | None = None,
    progress: bool = False,
) -> Explanation:
    """:math:`N(z)` times the sum of :math:`N(\\nabla f_c(\\alpha_k x))` over points from 0 to 1, both ends halved.

    Parameters as for :func:`wam.integrated_gradients`; the baseline is 0. The result is not complete. At a ``layer``
    the sum of the gradients, signed, times the layer's output :math:`h(x)`, as if its path were straight and from 0.
    """
    if positive(steps, "steps") < 2:
        raise ValueError("steps must be at least 2: both ends of the path are among them")
    alpha, weights = torch.linspace(0, 1, steps, dtype=torch.float64), torch.ones(steps, dtype=torch.float64)
    weights[[0, -1]] = 0.5

    def path(x: Tensor) -> Callable[[int], Tensor]:
        return lambda i: alpha[i].to(x) * x

    name, settings = "released integrated gradients", {"steps": steps}
    e = _explain(name, model, x, target, frame, max_batch, path, weights, settings, layer, progress)
    at = e.layer
    there = None if at is None else replace(at, attributions=at.attributions * at.coefficients)
    return replace(e, attributions=e.attributions * magnitude(e).attributions, layer=there)


def magnitude(explanation: Explanation) -> Explanation:
    """The control that knows no model: :math:`N(z)`."""
    name, none = "released magnitude", dict.fromkeys(("baseline_score", "completeness_gap", "layer", "gradient"))
    return replace(explanation, attributions=_normalised(explanation.coefficients), method=name, **none)


def _normalised(c: Coefficients, draws: int = 1) -> Coefficients:
    """:math:`N`, of a batch for each of ``draws``."""

    def one(band: Tensor) -> Tensor:
        level = band.mean(1, keepdim=True).abs().unflatten(0, (draws, -1))
        peak = level.flatten(1).amax(1).view(-1, *[1] * (level.ndim - 1))
        return (level / torch.where(peak > 0, peak, 1)).flatten(0, 1)

    return c.map(one)


def _explain(
    name: str,
    model: Model,
    x: Tensor,
    target: Target,
    frame: Frame,
    max_batch: int | None,
    points: Callable[[Tensor], Callable[[int], Tensor]],
    weights: Tensor,
    settings: dict | None = None,
    layer: Layer | None = None,
    progress: bool = False,
) -> Explanation:
    """The weighted sum of the normalised maps of the gradients at ``points(x)(i)``, and of the gradients at a layer."""
    x, target, max_batch = checked(model, x, target, frame, max_batch)
    point, group, total = points(x), max(1, max_batch // len(x)), 0.0
    with (
        frozen(model),
        tapped(model, layer) as tap,
        tqdm(total=len(weights), disable=not progress, unit="map", leave=False) as bar,
    ):
        score, target = predict(model, x, target, max_batch)
        there = None if tap is None else MeanGradient(h := tap.take(x), weights[:, None].expand(-1, len(x)))
        for draws in torch.arange(len(weights)).split(group):
            inputs = torch.cat([point(i) for i in draws.tolist()])
            found, classes = [], target.repeat(len(draws)).split(max_batch)
            for part in zip(inputs.split(max_batch), classes):
                g = gradient(model, *part, tap)[0]
                found.append((g,) if tap is None else (g, tap.take(g), tap.gradient))
            g, *below = map(torch.cat, zip(*found))
            maps, w = _normalised(frame.pullback(finite(g, "the gradient")), len(draws)), weights[draws].to(x)
            total = maps.map(lambda b, w=w: (w.view(-1, *[1] * b.ndim) * b.unflatten(0, (len(w), -1))).sum(0)) + total
            if below:
                for i, h_i, g_i in zip(draws.tolist(), *(values.split(len(x)) for values in below)):
                    there.add(i, slice(None), h_i, g_i)
            bar.update(len(draws))
    made = {"target": target, "score": score, "method": name, "settings": settings or {}}
    at_layer = None if tap is None else _at_layer(tap, there.finish(), h, **made)
    return Explanation(total, frame.analysis(x), frame=frame, layer=at_layer, **made)
