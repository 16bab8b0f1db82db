"""Means of gradients: the inputs they are taken at, and their weighted sum over draws, whatever the method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from numbers import Real

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from wam.checks import finite, positive
from wam.frames import Frame
from wam.layers import Conductance, MeanGradient, Tap
from wam.scoring import Model, as_target, chunks, gradient

Target = int | Sequence[int] | Tensor | None
"""A class, one class per sample, or ``None`` for the predicted class."""


def noisy(x: Tensor, noise: float, seed: int) -> Callable[..., Tensor]:
    """The noisy copies of SmoothGrad, as a function of the draw and, to have only these, of some samples.

    Raises
    ------
    ValueError
        If ``noise`` is negative or not finite.
    """
    if not isinstance(noise, Real) or not 0 <= noise < float("inf"):
        raise ValueError(f"noise must be a share of the range, at least 0, got {noise!r}")
    flat = x.flatten(1)
    sigma = noise * (flat.amax(1) - flat.amin(1)).view(-1, *[1] * (x.ndim - 1))

    @lru_cache(maxsize=2)
    def draw(i: int) -> Tensor:
        drawn = torch.randn(x.shape[1:], generator=generator(seed, i))
        return drawn.to(x.device, x.dtype, non_blocking=True)

    return lambda i, part=slice(None): x[part] + sigma[part] * draw(i)


def generator(*seeds: int) -> torch.Generator:
    """A generator on the CPU for some integers of at least 0, such as a seed and the number of a draw."""
    state = np.random.SeedSequence(seeds).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def checked(
    model: Model, x: Tensor, target: Target, frame: Frame, max_batch: int | None
) -> tuple[Tensor, Tensor | None, int]:
    """The inputs as a plain tensor of our own, one target per sample, and the size of a chunk; or an error."""
    if not callable(model):
        raise TypeError(f"model must be a module or a function, got {model!r}")
    if not isinstance(frame, Frame):
        raise TypeError(f"frame must be a frame, such as wam.Wavelet('haar', levels=3, ndim=2), got {frame!r}")
    frame.check(x)
    finite(x, "the input")
    max_batch = len(x) if max_batch is None else positive(max_batch, "max_batch")
    return x.detach().clone().as_subclass(Tensor), as_target(target, len(x), x.device), max_batch


def mean_gradient(
    model: Model,
    point: Callable[[int, slice], Tensor],
    weights: Tensor,
    x: Tensor,
    target: Tensor,
    max_batch: int,
    progress: bool,
    tap: Tap | None = None,
    there: MeanGradient | Conductance | None = None,
) -> Tensor:
    """The weighted sum over draws of the gradients at ``point(draw, samples)``; ``weights`` is (draws, batch).

    The gradients at a tapped layer are added up ``there``, by the same passes.
    """
    here, draws = MeanGradient(x, weights), len(weights)
    with tqdm(total=draws * len(x), disable=not progress, unit="gradient", leave=False) as bar:
        for pieces in chunks(draws, len(x), max_batch):
            inputs = [point(draw, part) for draw, part in pieces]
            inputs = torch.cat(inputs) if len(inputs) > 1 else inputs[0]
            # the spent graph lives until the next pass: see gradient()
            g, spent, _ = gradient(model, inputs, torch.cat([target[part] for _, part in pieces]), tap)
            rows = [part.stop - part.start for _, part in pieces]
            found = [(here, inputs, g)] if tap is None else [(here, inputs, g), (there, tap.take(inputs), tap.gradient)]
            for total, values, gradients in found:
                for (draw, part), value, slope in zip(pieces, values.split(rows), gradients.split(rows)):
                    total.add(draw, part, value, slope)
            bar.update(len(inputs))
    return finite(here.finish(), "the gradient")
