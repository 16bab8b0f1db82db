"""Checks of arguments that several modules share."""

from __future__ import annotations

import operator

import torch
from torch import Tensor


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
    if number is None or isinstance(value, bool) or number < least:
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
    if not bool(good.all()):
        raise ValueError(f"{what} of samples {(~good).nonzero()[:, 0].tolist()} holds NaN or infinite values")
    return values


def as_baseline(baseline: float | Tensor, x: Tensor) -> tuple[Tensor, bool]:
    """The baseline as a batch like ``x``, and whether all samples share it.

    Raises
    ------
    TypeError
        If it is neither a number nor a tensor.
    ValueError
        If it does not broadcast to ``x``, or is not finite.
    """
    try:
        x0 = torch.as_tensor(baseline, dtype=x.dtype, device=x.device).detach()
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"the baseline must be a number or a tensor, got {baseline!r}") from None
    shared = x0.ndim < x.ndim or x0.shape[0] == 1
    try:
        batch = x0.expand_as(x)
    except RuntimeError:
        shapes = f"{tuple(x0.shape)}, which does not broadcast to the input's {tuple(x.shape)}"
        raise ValueError(f"the baseline has shape {shapes}") from None
    if not bool(x0.isfinite().all()):
        raise ValueError("the baseline holds NaN or infinite values")
    return batch, shared
