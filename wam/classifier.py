"""A classifier of examples in memory together with its class names and the card of its weights; files of weights."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from wam.examples import Examples

WEIGHTS = Path(__file__).parent / "weights"
"""The folder of the weights that come with the package: safetensors in ``float16``, each with its card."""


class Classifier(nn.Module):
    """A classifier of volumes or of small pictures, with its class names and the card of its weights.

    Parameters
    ----------
    name
        Name for tables and figures.
    network
        Module from batches ``(batch, channels, *spatial)`` with values from 0 to 1 to logits ``(batch, classes)``.
    categories
        The class names, in the order of the logits.
    channels
        Of its inputs.
    card
        What the weights are: data, training, results; empty where they are random.
    transform
        A preparation of its own, from one example, whatever that is, to ``(channels, *spatial)``; then :meth:`prepare`
        takes such examples, one or a list, in place of those of the package.
    """

    EXAMPLES: ClassVar[type[Examples]] = Examples

    exclusive = True
    """Whether one class alone is right, so that probabilities are a softmax, otherwise sigmoids. Can be set."""

    def __init__(
        self,
        name: str,
        network: nn.Module,
        categories: Iterable[str],
        channels: int = 1,
        card: Mapping[str, Any] | None = None,
        transform: Callable[[Any], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.categories: tuple[str, ...] = tuple(categories)
        self.channels = channels
        self.card: dict[str, Any] = dict(card or {})
        self.transform = transform

    @property
    def pretrained(self) -> bool:
        """Whether the weights are trained ones."""
        return bool(self.card)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of a batch ``(batch, channels, *spatial)``, values from 0 to 1."""
        axes = self.EXAMPLES.AXES
        if x.ndim != 2 + len(axes) or x.shape[1] != self.channels:
            raise ValueError(
                f"{self.name} takes {self.EXAMPLES.NOUN} (batch, {self.channels}, {', '.join(axes)}), "
                f"got shape {tuple(x.shape)}"
                + (": add the axis of the channels with x[:, None]" if x.ndim == 1 + len(axes) else "")
            )
        return self.network(x)

    def prepare(self, examples: Examples) -> Tensor:
        """Batch ``(batch, channels, *spatial)`` of examples, in the model's dtype and on its device.

        Raises
        ------
        TypeError
            Something else than the examples that this classifier takes.
        ValueError
            No example at all, or another number of channels than the model's.
        """
        kind, like = self.EXAMPLES, next(self.parameters(), torch.empty(0))
        if self.transform is not None:
            given = list(examples.batch()) if isinstance(examples, Examples) else examples
            several = given if isinstance(given, list | tuple) else [given]
            if not several:
                raise ValueError(f"prepare() needs {kind.NOUN}, at least one, got none")
            return torch.stack([self.transform(example) for example in several]).to(like)
        if not isinstance(examples, kind):
            raise TypeError(
                f"prepare() takes {kind.__module__}.{kind.__name__}, got {type(examples).__name__}; "
                f"a tensor (batch, channels, {', '.join(kind.AXES)}) goes to the model as it is"
            )
        if not len(examples):
            raise ValueError(f"prepare() needs {kind.NOUN}, at least one, got none")
        if examples.values.shape[1] != self.channels:
            raise ValueError(f"{self.name} takes {self.channels} channels, got {examples}")
        return examples.batch().to(like)

    def extra_repr(self) -> str:
        return f"{self.name!r}, channels={self.channels}, classes={len(self.categories)}, pretrained={self.pretrained}"


def several(given: Any, kind: type, name: str, fix: str) -> list[Any]:
    """Images or clips to be prepared, at least one, given as one or several, as they are or labelled.

    >>> from wam.classifier import several
    >>> several("a", str, "letter", ""), several(["a", "b"], str, "letter", "")
    (['a'], ['a', 'b'])
    """

    def bare(one: Any) -> Any:
        inner = getattr(one, name, None)
        return inner if isinstance(inner, kind) else one

    given = bare(given)
    found = [given] if isinstance(given, kind) else [bare(one) for one in given]
    if not found:
        raise ValueError(f"prepare() needs at least one {name}, got none")
    for one in found:
        if not isinstance(one, kind):
            raise TypeError(f"prepare() takes {name}s, got {type(one).__name__}: {fix}")
    return found


def read(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file of weights, and its card."""
    with safe_open(path, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        return state, {name: json.loads(value) for name, value in (file.metadata() or {}).items()}


def supplied(weights: str | os.PathLike | None, name: str, how: str) -> Path:
    """The file of the weights of a network that come with no package; a ``FileNotFoundError`` that says how to get it.

    >>> from wam.classifier import supplied
    >>> supplied(None, "mine", "train it")
    Traceback (most recent call last):
    FileNotFoundError: the weights of mine come with no package: train it; give a file as weights=, or take \
pretrained=False
    """
    if weights is None or not Path(weights).is_file():
        named = f"there is no file {weights}" if weights else f"the weights of {name} come with no package"
        raise FileNotFoundError(f"{named}: {how}; give a file as weights=, or take pretrained=False")
    return Path(weights)


@contextmanager
def reading(
    weights: str | os.PathLike | None, name: str, how: str
) -> Iterator[tuple[dict[str, Tensor], dict[str, Any]]]:
    """:func:`read` a file that was :func:`supplied`; what goes wrong within is a ``ValueError`` that names it."""
    path = supplied(weights, name, how)
    try:
        yield read(path)
    except (SafetensorError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{weights} does not hold {name} and its categories: {reason} ({how})") from error
