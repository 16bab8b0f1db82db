r"""Attribution in a frame with Captum's conventions, for tools and habits that call Captum.

``WaveletAttribution(model, frame)`` stands where ``IntegratedGradients(model)`` stood, and its ``attribute`` returns a
tensor of the inputs' shape. It goes into ``NoiseTunnel``, ``infidelity`` and ``sensitivity_max``, and what it returns
into ``visualize_image_attr``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor

from wam import quadrature
from wam.attribution import NOISE
from wam.checks import as_baseline, choice, finite, positive
from wam.coefficients import Coefficients
from wam.frames import Frame
from wam.gradients import noisy
from wam.methods import METHODS
from wam.scoring import frozen

__all__ = ["WaveletAttribution"]


class WaveletAttribution(GradientAttribution):
    r"""The methods of :mod:`wam.attribution` as a :class:`captum.attr.GradientAttribution`.

    A coefficient lives at no single pixel. At the input, its attribution :math:`\gamma` is laid out over the support of
    its atom (:meth:`wam.frames.Frame.spread`): that is linear and keeps the sum, so for integrated gradients the signed
    attributions of an input still sum to :math:`f_c(x) - f_c(x_0)`. The coefficients themselves are there too.

    Parameters
    ----------
    forward_func
        The model, as for any attribution of Captum: a module or a function of the inputs and of additional arguments.
        A module is put in evaluation mode for the call and restored.
    frame : wam.frames.Frame
        The frame in which to explain, as for :func:`wam.saliency`.
    method
        One of :data:`wam.methods.METHODS`. It belongs to the object, as in Captum, because tools ask the object whether
        it has a convergence delta and whether it multiplies by the inputs: integrated gradients does both.

    Raises
    ------
    TypeError, ValueError
        Something that is not a frame, or an unknown method.

    Examples
    --------
    >>> import torch, wam
    >>> from captum.attr import NoiseTunnel
    >>> from wam.captum import WaveletAttribution
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 5), torch.nn.Tanh())
    >>> x, explainer = torch.randn(2, 3, 8, 8), WaveletAttribution(net, wam.Wavelet("haar", levels=2, ndim=2))
    >>> attributions, delta = explainer.attribute(x, target=1, n_steps=64, return_convergence_delta=True)
    >>> attributions.shape, bool(delta.abs().max() < 0.01)
    (torch.Size([2, 3, 8, 8]), True)
    >>> NoiseTunnel(explainer).attribute(x, target=[1, 4], nt_samples=3, stdevs=0.1).shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(self, forward_func: Callable[..., Tensor], frame: Frame, method: str = "integrated_gradients") -> None:
        super().__init__(forward_func)
        if not isinstance(frame, Frame):
            raise TypeError(f"frame must be a frame, such as wam.Wavelet('haar', levels=3, ndim=2), got {frame!r}")
        self.frame, self.method = frame, choice(method, METHODS, "method")

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether the attributions hold the factor :math:`z - z_0`."""
        return self.method == "integrated_gradients"

    def has_convergence_delta(self) -> bool:
        """Whether the attributions are complete, so that there is a convergence delta."""
        return self.method == "integrated_gradients"

    @log_usage()
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Any = None,
        *,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        baselines: Any = None,
        n_steps: int = 32,
        nodes: str = quadrature.RULES[0],
        n_samples: int = 25,
        noise: float | None = None,
        seed: int = 0,
        abs: bool | None = None,
        domain: str = "input",
    ) -> Any:
        r"""The attributions of a batch of inputs.

        What comes behind ``target`` is named, because Captum's methods disagree about its order. One gradient is in
        memory at a time: there is no ``internal_batch_size``.

        Parameters
        ----------
        inputs
            A tensor ``(batch, channels, *spatial)``, or a tuple of them, which are explained together, each in its own
            coefficients; ``float32`` or ``float64``.
        target
            As Captum has it: an integer, or a list or tensor with one per sample; a tuple, or a list of them, for
            outputs of more axes; ``None`` where the output is one number per sample. Nothing is predicted here.
        additional_forward_args
            What the model is called with behind the inputs, one argument or a tuple.
        return_convergence_delta
            Also return, per sample, the sum of the signed attributions minus :math:`f_c(x) - f_c(x_0)`.
        baselines
            For integrated gradients: a number or a tensor (a tuple of them for several inputs); 0 by default.
        n_steps, nodes
            For integrated gradients: as ``steps`` and ``nodes`` of :func:`wam.integrated_gradients`, except
            ``"adaptive"``. Captum's own rule is called ``"gauss-legendre"`` here.
        n_samples, noise, seed
            For SmoothGrad: as ``samples``, ``noise`` and ``seed`` of :func:`wam.smoothgrad`.
        abs
            Magnitudes :math:`|\gamma|` instead of signed attributions. By default as Captum does: magnitudes of
            gradients (saliency and SmoothGrad), signs for integrated gradients. The sum over the channels of the
            magnitudes is :meth:`wam.Explanation.heatmap <wam.explanation.Explanation.heatmap>`.
        domain
            ``"input"``, or ``"coefficients"`` for the attributions as they are: a tuple of the bands ``(batch,
            channels, *band)``, coarse to fine, keyed as ``frame.analysis(x).bands`` (of several inputs, their bands one
            after the other).

        Returns
        -------
        Tensor or tuple
            At the input: a tensor of the shape of the input, or a tuple of them. With ``return_convergence_delta``
            the pair of that and of the delta ``(batch,)``.

        Raises
        ------
        AssertionError
            From Captum, for a target that does not fit the output, or none where one is needed.
        TypeError, ValueError
            An input that the frame does not take, an argument out of range, or a delta of a method that has none.
        """
        if return_convergence_delta and not self.has_convergence_delta():
            raise ValueError(f"{self.method} is not complete and has no convergence delta; integrated_gradients has")
        choice(domain, ("input", "coefficients"), "domain")
        x = tuple(tensor.detach() for tensor in (inputs if isinstance(inputs, tuple) else (inputs,)))
        for tensor in x:
            self.frame.check(tensor)
            finite(tensor, "the input")
        origin = baselines if isinstance(baselines, tuple) else (baselines,) * len(x)
        if len(origin) != len(x):
            raise ValueError(f"{len(x)} inputs need as many baselines, got {len(origin)}")
        x0 = tuple(as_baseline(0.0 if b is None else b, tensor)[0] for b, tensor in zip(origin, x))

        if self.method == "integrated_gradients":
            if nodes == "adaptive":
                raise ValueError(f"nodes='adaptive' is for wam.integrated_gradients; take {quadrature.RULES[0]!r} here")
            alpha, weights = quadrature.fixed(nodes, n_steps)
            points = [lambda k, a=a, b=b: torch.lerp(a, b, float(alpha[k])) for a, b in zip(x0, x)]
        elif self.method == "smoothgrad":
            n, seed = positive(n_samples, "n_samples"), positive(seed, "seed", least=0)
            share = [NOISE[min(tensor.ndim - 2, 3)] if noise is None else noise for tensor in x]
            points = [noisy(tensor, s, seed + i) for i, (tensor, s) in enumerate(zip(x, share))]
            weights = torch.full((n,), 1 / n, dtype=torch.float64)
        else:
            points, weights = [lambda k, tensor=tensor: tensor for tensor in x], torch.ones(1)

        mean = tuple(map(torch.zeros_like, x))
        with frozen(self.forward_func):
            for k, weight in enumerate(weights.tolist()):
                at = tuple(point(k).detach().requires_grad_() for point in points)
                gradients = self.gradient_func(self.forward_func, at, target, additional_forward_args)
                for total, g in zip(mean, gradients):
                    total.add_(g, alpha=weight)
            gammas = [self.frame.pullback(finite(g, "the gradient")) for g in mean]
            if self.multiplies_by_inputs:
                gammas = [gamma * self.frame.analysis(b - a) for gamma, a, b in zip(gammas, x0, x)]
            delta = None
            if return_convergence_delta:
                delta = self.compute_convergence_delta(_bands(gammas), x0, x, target, additional_forward_args)

        if not self.multiplies_by_inputs if abs is None else abs:
            gammas = [gamma.abs() for gamma in gammas]
        if domain == "coefficients":
            found = _bands(gammas)
        else:
            found = tuple(map(self.frame.spread, gammas))
            found = found if isinstance(inputs, tuple) else found[0]
        return (found, delta) if return_convergence_delta else found


def _bands(gammas: list[Coefficients]) -> tuple[Tensor, ...]:
    return tuple(band for gamma in gammas for band in gamma.bands.values())
