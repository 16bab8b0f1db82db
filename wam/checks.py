"""Checks of arguments that several modules share."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from wam.names import near


def positive(value: int, name: str, least: int = 1) -> int:
    """``value`` as an integer of at least ``least``; NumPy's and torch's integers are welcome, truth values are not.

    Raises
    ------
    ValueError
        If it is not; the message names the argument, the limit and the value.

    Examples
    --------
    >>> from wam import checks
    >>> checks.positive(3, "levels")
    3
    >>> checks.positive(0, "levels")
    Traceback (most recent call last):
    ...
    ValueError: levels must be an integer of at least 1, got 0
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    truth = isinstance(value, bool) or getattr(value, "dtype", None) == torch.bool
    if number is None or truth or number < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    return number


def finite(values: Tensor, what: str) -> Tensor:
    """``values`` of shape ``(batch, ...)``, if all of them are finite.

    Raises
    ------
    ValueError
        If they are not; the message names the samples and ``what`` of theirs.
    """
    good = values.flatten(1).isfinite().all(1)
    every(good, lambda samples: f"{what} of samples {samples} holds NaN or infinite values")
    return values


def every(good: Tensor, message: Callable[[list[int]], str]) -> None:
    """A ``ValueError`` unless every sample is ``good``, ``(batch,)``; the message is told which ones are not.

    >>> import torch
    >>> from wam import checks
    >>> checks.every(torch.tensor([True, False]), lambda samples: f"samples {samples} are silent")
    Traceback (most recent call last):
    ...
    ValueError: samples [1] are silent
    """
    if not bool(good.all()):
        raise ValueError(message((~good).nonzero()[:, 0].tolist()))


def choice(value: str, known: Collection[str], what: str) -> str:
    """``value``, if it is one of the ``known`` names; or a ``ValueError`` that suggests one, or lists them.

    >>> from wam import checks
    >>> checks.choice("counts", ("count", "energy"), "axis")
    Traceback (most recent call last):
    ...
    ValueError: unknown axis 'counts'; did you mean 'count'?
    """
    if value not in tuple(known):
        hint = near(value, known, cutoff=0.6, n=1) or f"choose one of {', '.join(known)}"
        raise ValueError(f"unknown {what} {value!r}; {hint}")
    return value


def share(value: float, name: str) -> float:
    """``value``, if it is a number from 0 to 1; or a ``ValueError``."""
    if not isinstance(value, Real) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1, got {value!r}")
    return value


def as_tensor(value: Any, what: str, **kind: Any) -> Tensor:
    """``value`` as a tensor of that dtype and device, without a graph; or a ``TypeError`` that says ``what`` it is."""
    try:
        return torch.as_tensor(value, **kind).detach()
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{what}, got {value!r}") from None


def as_baseline(baseline: float | Tensor, x: Tensor) -> tuple[Tensor, bool]:
    """The baseline as a batch like ``x``, and whether all samples share it.

    Raises
    ------
    TypeError
        If it is neither a number nor a tensor.
    ValueError
        If it does not broadcast to ``x``, or is not finite.
    """
    x0 = as_tensor(baseline, "the baseline must be a number or a tensor", dtype=x.dtype, device=x.device)
    shared = x0.ndim < x.ndim or x0.shape[0] == 1
    try:
        batch = x0.expand_as(x)
    except RuntimeError:
        shapes = f"{tuple(x0.shape)}, which does not broadcast to the input's {tuple(x.shape)}"
        raise ValueError(f"the baseline has shape {shapes}") from None
    if not bool(x0.isfinite().all()):
        raise ValueError("the baseline holds NaN or infinite values")
    return batch, shared


def recorded(baseline: float | Tensor) -> float | str:
    """A baseline as settings record it: a number, or the word ``"tensor"``."""
    values = torch.as_tensor(baseline, dtype=torch.float64)
    return values.item() if values.numel() == 1 else "tensor"
