"""The methods by name, with what is taken where nothing else is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from wam.attribution import integrated_gradients, saliency, smoothgrad
from wam.explanation import Explanation
from wam.frames import Frame, Wavelet
from wam.gradients import Target
from wam.quadrature import RULES
from wam.scoring import Model

__all__ = ["METHODS", "SHORT", "explained", "fitting"]

METHODS: dict[str, Callable[..., Explanation]] = {
    "integrated_gradients": integrated_gradients,
    "smoothgrad": smoothgrad,
    "saliency": saliency,
}
"""The methods by their names, the default first."""

SHORT = {"ig": "integrated_gradients", "sg": "smoothgrad", "grad": "saliency"}
"""Short names of them."""

FRAMES = {1: ("sym8", 5), 2: ("haar", 3), 3: ("haar", 3)}
"""Wavelet and levels for sounds, images and volumes: those of chapters 04, 02 and 05."""

STEPS = {1: 16, 2: 64, 3: 16}
"""Gradients of integrated gradients; more than chapter 02 has for one image of many. SmoothGrad: :data:`SAMPLES`."""

SAMPLES = {1: 16, 2: 16, 3: 25}
"""Noisy copies of SmoothGrad, as in those chapters."""


def fitting(x: Tensor, wavelet: str | None = None, levels: int | None = None) -> Wavelet:
    """The frame for a batch; by default :data:`FRAMES`, with fewer levels where the input is too small for them.

    A ``ValueError`` for an unknown wavelet, or levels that do not fit.
    """
    ndim = x.ndim - 2
    name, most = FRAMES[ndim]
    frame = Wavelet(wavelet or name, most if levels is None else levels, ndim)
    if levels is None:
        frame = Wavelet(frame.name, max(1, min(most, frame.max_levels(x.shape[2:]))), ndim)
    frame.check(x)
    return frame


def explained(
    method: str,
    model: Model,
    x: Tensor,
    target: Target = None,
    *,
    frame: Frame,
    steps: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    max_batch: int | None = None,
    progress: bool = False,
) -> Explanation:
    """The explanation of a batch by one of :data:`METHODS` or :data:`SHORT`, which gets the options that it has.

    ``steps`` and ``samples`` are by default those of :data:`STEPS` and :data:`SAMPLES`. The nodes of integrated
    gradients are geometric for sounds, as in chapter 04; else, and for all the rest: :mod:`wam.attribution`.

    Examples
    --------
    >>> import torch, wam
    >>> from wam.methods import explained
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    >>> e = explained("ig", net, torch.randn(1, 1, 64), frame=wam.Wavelet("haar", levels=2, ndim=1))
    >>> e.settings["steps"], e.settings["nodes"]
    (16, 'geometric')
    """
    function, ndim = METHODS[SHORT.get(method, method)], x.ndim - 2
    options: dict[str, Any] = {"frame": frame, "max_batch": max_batch}
    if function is integrated_gradients:
        nodes = "geometric" if ndim == 1 else RULES[0]
        options |= {"steps": STEPS[ndim] if steps is None else steps, "nodes": nodes, "progress": progress}
    elif function is smoothgrad:
        options |= {"samples": SAMPLES[ndim] if samples is None else samples, "seed": seed, "progress": progress}
    return function(model, x, target, **options)
