"""Names: which of the known ones is meant, and which ones come near."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Sequence
from typing import Any


def near(name: object, known: Iterable[str], cutoff: float = 0.5, n: int = 3) -> str:
    """Up to ``n`` names that are spelled like one that is not known, for a message; empty if there are none.

    >>> from wam.names import near
    >>> near("Duk", ["Dog", "Duck", "Cat"])
    "did you mean 'Duck'?"
    """
    return _meant(difflib.get_close_matches(str(name), list(known), n=n, cutoff=cutoff))


def index(name: Any, names: Sequence[str]) -> int:
    """The place of a name, in whatever case it is spelled, or of an index, as a number or as text; a name comes first.

    An array or a tensor of one element is what is in it.

    Raises
    ------
    ValueError
        There is no such name or index (near names are suggested), several are called so, or it is not one class.

    Examples
    --------
    >>> from wam.names import index
    >>> index("duck", ["Dog", "Duck"]), index("1", ["Dog", "Duck"]), index(0, ["Dog", "Duck"])
    (1, 1, 0)
    """
    names, one = list(map(str, names)), _one(name)
    text = str(one)
    found = [i for i, other in enumerate(names) if other.lower() == text.lower()] if isinstance(one, str) else []
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{len(found)} classes are called {text!r}: give the index, {' or '.join(map(str, found))}")
    if text.removeprefix("-").isdecimal():
        if not 0 <= int(text) < len(names):
            raise ValueError(f"there is no class {text}: the model has classes 0 to {len(names) - 1}")
        return int(text)
    lower = {other.lower(): other for other in names}
    close = [lower[other] for other in difflib.get_close_matches(text.lower(), lower, n=3, cutoff=0.5)]
    close += [other for key, other in lower.items() if text and text.lower() in key]
    raise ValueError(f"there is no class {text!r}; {_meant(close[:4]) or 'see model.categories'}")


def _one(name: Any) -> int | str:
    """A name as it is, and an index as an integer."""
    try:
        one = name.item() if hasattr(name, "item") else name
        if not isinstance(one, bool):
            return one if isinstance(one, str) else operator.index(one)
    except (TypeError, ValueError, RuntimeError):
        pass
    raise ValueError(f"one class is meant: give its name or index, got {name!r}")


def _meant(names: Iterable[str]) -> str:
    said = " or ".join(map(repr, dict.fromkeys(names)))
    return f"did you mean {said}?" if said else ""
