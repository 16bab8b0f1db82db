"""Checks of arguments that several modules share."""

from __future__ import annotations

import operator


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
