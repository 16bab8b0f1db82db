r"""Attribution in a frame: one gradient of the input, pulled back once.

With :math:`x = S z`, the gradient of a score with respect to the coefficients is :math:`S^\top \nabla f_c(x)`. The
adjoint :math:`S^\top` is linear, so it commutes with every mean of gradients: each method below averages gradients
of the *input* and applies one pullback at the end. That is why an explanation in any frame costs what it costs on
pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wam import quadrature
from wam.checks import as_baseline, finite, positive, recorded
from wam.coefficients import Coefficients
from wam.explanation import Explanation
from wam.frames import Frame, Pixel
from wam.gradients import Target, checked, mean_gradient, noisy
from wam.layers import Conductance, Layer, MeanGradient, Tap, tapped
from wam.scoring import Model, frozen, gradient, predict, select

NOISE = {1: 0.001, 2: 0.25, 3: 0.25}
"""The standard deviation of SmoothGrad's noise, as a share of each sample's range, for 1, 2 and 3 dimensions.

Images and sounds as the authors of the paper. For volumes the paper gives none: chapter 05 measures it on 3D digits,
where faithfulness is about even from 0.1 to 0.5, and at 0.25 nearly all noisy copies keep their class.
"""


def saliency(
    model: Model,
    x: Tensor,
    target: Target = None,
    *,
    frame: Frame,
    layer: Layer | None = None,
    max_batch: int | None = None,
) -> Explanation:
    r"""The gradient of the class score with respect to the coefficients (eq. 1 of the paper).

    .. math:: \gamma_{Sa} = \frac{\partial f_c(S z)}{\partial z} = S^\top \nabla f_c(x)

    Attributions are signed; eq. 1 is their absolute value.

    Parameters
    ----------
    model
        Any callable from ``(batch, channels, *spatial)`` to scores ``(batch, classes)``; logits are recommended. A
        module, or a method of one, is put in evaluation mode for the call and restored; a plain function is called as
        it is. No parameter ever gets a gradient.
    x
        The inputs, ``float32`` or ``float64``, on the device of the model. The explanation keeps a copy.
    target
        A class, one class per sample, or ``None`` for the predicted class.
    frame
        The frame in which to explain: :class:`wam.Wavelet`, :class:`wam.Fourier`, :class:`wam.Pixel`.
    layer
        A module of the model, or its dotted name, at which the score is explained too, by the same passes
        (:mod:`wam.layers`): the result is ``explanation.layer``, in the :class:`wam.Pixel` frame of the layer's output
        ``(batch, channels, *spatial)``. With the front end of a model of sounds: at the spectrogram.
    max_batch
        The largest number of inputs in one pass of the model; by default the length of ``x``.

    Raises
    ------
    TypeError, ValueError
        If the input, the target, the layer or the output of the model is not what it should be; see
        :meth:`wam.frames.Frame.check`, :class:`wam.layers.Tap`, :func:`wam.scoring.scores` and
        :func:`wam.scoring.select`.

    Examples
    --------
    The gradient of a linear score is its weight, whatever the input:

    >>> import torch, wam
    >>> weight = torch.randn(1, 1, 32)
    >>> frame = wam.Wavelet("db2", levels=2, ndim=1)
    >>> e = wam.saliency(lambda x: (x * weight).sum((1, 2))[:, None], torch.randn(4, 1, 32), frame=frame)
    >>> torch.allclose(e.attributions[0].pack()[0], frame.pullback(weight).pack()[0])
    True

    References
    ----------
    Simonyan et al., Deep inside convolutional networks, 2014. Paper, section 3.1.
    """
    x, target, max_batch = checked(model, x, target, frame, max_batch)
    found = []
    with frozen(model), tapped(model, layer) as tap:
        for start in range(0, len(x), max_batch):
            part = slice(start, start + max_batch)
            g, output, chosen = gradient(model, x[part], None if target is None else target[part], tap)
            there = () if tap is None else (tap.gradient, tap.take(g))
            found.append((g, *select(output.detach(), chosen), *there))
    g, score, target, *there = map(torch.cat, zip(*found))
    made = {"target": target, "score": score, "method": "saliency"}
    at_layer = None if tap is None else _at_layer(tap, *there, **made)
    pulled = frame.pullback(finite(g, "the gradient"))
    return Explanation(pulled, frame.analysis(x), frame=frame, layer=at_layer, gradient=g, **made)


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
    r"""The mean gradient over noisy copies of the input, pulled back once (eq. 2 of the paper, WAM-SG).

    .. math:: \gamma_{Sg} = \frac1n \sum_{i=1}^n S^\top \nabla f_c(x + \delta_i)
              = S^\top \Big( \frac1n \sum_{i=1}^n \nabla f_c(x + \delta_i) \Big),
              \qquad \delta_i \sim \mathcal N(0, \sigma^2 I)

    Parameters
    ----------
    model, x, target, frame
        As for :func:`saliency`. With ``target=None`` the class predicted for the input without noise is explained.
    samples
        The number :math:`n` of noisy copies.
    noise
        :math:`\sigma` as a share of the range (maximum minus minimum) of each sample; ``None`` means :data:`NOISE`.
    seed
        Draw :math:`i` depends on ``(seed, i)`` and the shape of a sample alone: it is the same for every sample, for
        every ``max_batch``, on every device, and the first draws of a longer run are those of a shorter one.
    layer
        As for :func:`saliency`: the mean of the gradients there.
    max_batch
        The largest number of inputs in one pass of the model, over samples and draws together; by default the
        length of ``x``. Memory does not grow with ``samples``; gradients are added draw by draw.

    Raises
    ------
    TypeError, ValueError
        As :func:`saliency`; and if ``samples`` is not positive or ``noise`` is negative.

    Examples
    --------
    >>> import torch, wam
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3), torch.nn.Tanh())
    >>> e = wam.smoothgrad(net, torch.randn(2, 1, 64), frame=wam.Wavelet("haar", levels=3, ndim=1), samples=8)
    >>> e.attributions.scales
    ('approx', 3, 2, 1)

    References
    ----------
    Smilkov et al., SmoothGrad, 2017. Paper, section 3.1.
    """
    x, target, max_batch = checked(model, x, target, frame, max_batch)
    samples, seed = positive(samples, "samples"), positive(seed, "seed", least=0)
    noise = NOISE[min(x.ndim - 2, 3)] if noise is None else noise
    copy = noisy(x, noise, seed)
    weights = torch.full((samples, len(x)), 1 / samples, dtype=torch.float64)
    with frozen(model), tapped(model, layer) as tap:
        score, target = predict(model, x, target, max_batch)
        there = None if tap is None else MeanGradient(h := tap.take(x), weights)
        g = mean_gradient(model, copy, weights, x, target, max_batch, progress, tap, there)
    settings = {"samples": samples, "noise": float(noise), "seed": seed}
    made = {"target": target, "score": score, "method": "smoothgrad", "settings": settings}
    at_layer = None if tap is None else _at_layer(tap, there.finish(), h, **made)
    return Explanation(frame.pullback(g), frame.analysis(x), frame=frame, layer=at_layer, gradient=g, **made)


def integrated_gradients(
    model: Model,
    x: Tensor,
    target: Target = None,
    *,
    frame: Frame,
    steps: int = 32,
    nodes: str = quadrature.RULES[0],
    baseline: float | Tensor | None = None,
    layer: Layer | None = None,
    max_batch: int | None = None,
    progress: bool = False,
) -> Explanation:
    r"""The gradient integrated from a baseline to the input, times the difference (eq. 3 of the paper, WAM-IG).

    .. math:: \gamma_{Ig} = (z - z_0) \odot \int_0^1 \frac{\partial f_c(S(z_0 + \alpha (z - z_0)))}{\partial z} d\alpha
              = (z - z_0) \odot S^\top \sum_k w_k \nabla f_c(x_0 + \alpha_k (x - x_0))

    The attributions of a sample sum to :math:`f_c(x) - f_c(x_0)` (completeness), up to the error of the quadrature,
    which the explanation reports as ``completeness_gap``.

    Parameters
    ----------
    model, x, target, frame
        As for :func:`saliency`.
    steps
        The number of gradient evaluations per sample.
    nodes
        Where they are: one of :data:`wam.quadrature.RULES`. For sounds through a log-mel front end take
        ``"geometric"``, equal steps in decibels (:func:`wam.quadrature.fixed`). ``"adaptive"`` looks at the score at
        :data:`wam.quadrature.SWEEP` points first (two of them are needed anyway). It alone depends on the score, so
        its nodes may, on a real network and rarely, differ between a sample alone and the same sample in a batch.
    baseline
        :math:`x_0`, in model space: a number, or a tensor that broadcasts to ``x``. ``None`` is 0, which for an
        image model with normalised inputs is a grey (the colour that its normalisation subtracts), not black: for
        black pass ``model.black``.
    layer
        As for :func:`saliency`: the gradient there integrated along the curve that the layer's output takes
        (:class:`wam.layers.Conductance`), with a ``completeness_gap`` of its own.
    max_batch, progress
        As for :func:`smoothgrad`. Memory does not grow with ``steps``.

    Raises
    ------
    TypeError, ValueError
        As :func:`saliency`; and for an unknown rule, too few steps, or a baseline that does not fit.

    Examples
    --------
    Completeness, here of a network that is not linear:

    >>> import torch, wam
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 3), torch.nn.Softplus()).double()
    >>> x = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    >>> e = wam.integrated_gradients(net, x, frame=wam.Wavelet("bior2.2", levels=1, ndim=2))
    >>> bool((e.completeness_gap < 1e-2).all())
    True
    >>> torch.allclose(e.scale_scores().sum(1), e.score - e.baseline_score, atol=1e-2)
    True

    References
    ----------
    Sundararajan et al., Axiomatic attribution for deep networks, 2017. Paper, section 3.1.
    """
    x, target, max_batch = checked(model, x, target, frame, max_batch)
    steps = quadrature.check_rule(nodes, steps)
    x0, shared = as_baseline(0.0 if baseline is None else baseline, x)
    start = x0[:1] if shared else x0
    with frozen(model), tapped(model, layer) as tap:
        score, target = predict(model, x, target, max_batch)
        h = None if tap is None else tap.take(x)
        origin_score = predict(model, start, target, max_batch)[0]
        there = None if tap is None else Conductance(tap.take(start), h)

        if nodes == "adaptive":
            alpha = quadrature.sweep()[1:-1].to(x)
            inner = []
            for a in alpha:
                inner.append(predict(model, torch.lerp(x0, x, a), target, max_batch)[0])
                if tap is not None:
                    tap.clear()  # the sweep is not on the path's nodes
            alpha, weight = quadrature.adaptive(torch.stack([origin_score, *inner, score]), steps)
        else:
            alpha, weight = (v[:, None].expand(steps, len(x)) for v in quadrature.fixed(nodes, steps))
        alpha = alpha.to(x).view(steps, len(x), *[1] * (x.ndim - 1))

        def point(k: int, part: slice) -> Tensor:
            return torch.lerp(x0[part], x[part], alpha[k, part])

        g = mean_gradient(model, point, weight, x, target, max_batch, progress, tap, there)

    z = frame.analysis(x)
    attributions = frame.pullback(g) * (z if baseline is None else frame.analysis(x - x0))
    settings = {"steps": steps, "nodes": nodes, "baseline": None if baseline is None else recorded(baseline)}
    made = {"target": target, "score": score, "method": "integrated gradients", "settings": settings}
    made["baseline_score"] = origin_score
    at_layer = None if tap is None else _at_layer(tap, there.finish(), h, **made)
    made["completeness_gap"] = _gap(attributions, score, origin_score)
    return Explanation(attributions, z, frame=frame, layer=at_layer, gradient=g, **made)


def _gap(attributions: Coefficients, score: Tensor, origin_score: Tensor) -> Tensor:
    return (attributions.scale_sums().sum(1) - (score - origin_score)).abs()


def _at_layer(tap: Tap, gamma: Tensor, h: Tensor, **made: Any) -> Explanation:
    """The explanation of the output ``h`` of a layer, in the identity frame."""
    frame, score = Pixel(), made["score"]
    gamma = finite(gamma.to(score), f"the gradient at layer {tap.name!r}")
    made["settings"] = {**made.get("settings", {}), "layer": tap.name}
    attributions = frame.analysis(gamma)
    if "baseline_score" in made:
        made["completeness_gap"] = _gap(attributions, score, made["baseline_score"])
    return Explanation(attributions, frame.analysis(h.to(score)), frame=frame, **made)
