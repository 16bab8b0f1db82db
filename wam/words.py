"""Words of figures, texts and explorers for what an explanation holds: its class, its method, its scales and shares."""

from __future__ import annotations

import math
from collections.abc import Sequence

from wam.coefficients import Scale
from wam.explanation import Explanation
from wam.frames import Wavelet

Categories = Sequence[str] | None
"""Names of the classes, by index."""


def percent(share: float) -> str:
    """A share in per cent, with a decimal below ten; a dash for NaN.

    >>> from wam import words
    >>> words.percent(0.125), words.percent(0.012), words.percent(float("nan"))
    ('12 %', '1.2 %', '–')
    """
    return "–" if math.isnan(share) else f"{100 * share:.{int(share < 0.0995)}f} %"


def top(share: float) -> str:
    """The share of a ranking that is kept: ``top 10 %``."""
    return f"top {100 * share:.3g} %"


def scale(scale: Scale, approximation: str = "approximation") -> str:
    """A scale of an explanation; that of frames without levels is the pixels.

    >>> from wam import words
    >>> words.scale("approx"), words.scale(2), words.scale(0)
    ('approximation', 'level 2', 'pixels')
    """
    return approximation if scale == "approx" else f"level {scale}" if scale else "pixels"


def levels(count: int) -> str:
    """A number of levels: ``1 level``, ``3 levels``."""
    return f"{count} level{'s' * (count > 1)}"


def method(name: str) -> str:
    """A method as sentences call it, by its name in :data:`wam.methods.METHODS` or in an explanation.

    >>> from wam import words
    >>> words.method("integrated_gradients"), words.method("smoothgrad")
    ('integrated gradients', 'SmoothGrad')
    """
    return name.replace("_", " ").replace("smoothgrad", "SmoothGrad")


def category(one: Explanation, categories: Categories) -> str:
    """The class that an explanation of one sample explains, by its name or else its index."""
    return f"class {int(one.target)}" if categories is None else categories[int(one.target)]


def heading(one: Explanation, categories: Categories) -> str:
    """The class, the method and the frame of an explanation of one sample."""
    name = one.frame.name if isinstance(one.frame, Wavelet) else type(one.frame).__name__.lower()
    count = getattr(one.frame, "levels", 0)
    return f"{category(one, categories)}: {method(one.method)}, {name}{f', {levels(count)}' if count else ''}"


def shares(one: Explanation) -> str:
    """The share of every scale in an explanation of one sample."""
    return by_scale(one, one.scale_profile()[0].tolist())


def by_scale(e: Explanation, values: Sequence[float], signed: bool = False) -> str:
    """A number for every scale, coarse to fine: shares in per cent, or with their signs."""
    if math.isnan(values[0]):
        return "none, all attributions are zero"
    numbers = (f"{value:+.2f}" if signed else percent(value) for value in values)
    return ", ".join(f"{scale(s)} {number}" for s, number in zip(e.scales, numbers))
