"""Labelled examples: of one size, in memory, a dataset of pairs for training and batches for the rest; and in files."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self, overload

import numpy as np
from torch import Tensor, uint8
from torch import int64 as integer
from torch.utils.data import Dataset

from wam.checks import positive


@dataclass(frozen=True, eq=False)
class Examples(Dataset):
    """Labelled examples, ``uint8`` until asked for: :class:`wam.volumes.Volumes`, :class:`wam.pictures.Pictures`.

    ``examples[i]`` is the pair ``(example, label)``, a ``float32`` tensor ``(channels, *spatial)`` with values from 0
    to 1 and an integer; ``examples[:8]``, ``examples[[3, 5]]`` and ``examples[examples.labels == 7]`` are examples
    again.

    Parameters
    ----------
    values
        ``(n, channels, *spatial)``, ``uint8``.
    full
        The value of ``values`` that is 1 in a batch.
    labels
        Index of each example's class, ``(n,)``, ``int64``.
    categories
        The class names, by index.
    source
        Where the examples come from, in words.

    Raises
    ------
    ValueError
        If the shapes or the dtype are others, or there is not one known label per example.
    """

    AXES: ClassVar[tuple[str, ...]] = ()
    NOUN: ClassVar[str] = "examples"

    values: Tensor
    full: int
    labels: Tensor
    categories: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        if self.values.ndim != 2 + len(self.AXES) or self.values.dtype != uint8:
            axes = ", ".join(("n", "channels", *self.AXES))
            found = f"{self.values.dtype} of shape {tuple(self.values.shape)}"
            raise ValueError(f"{self.NOUN} are uint8 tensors ({axes}), got {found}")
        if self.labels.shape != self.values.shape[:1] or self.labels.dtype != integer:
            found = f"{self.labels.dtype} of shape {tuple(self.labels.shape)}"
            raise ValueError(f"{len(self.values)} {self.NOUN} need one label each, in int64, got {found}")
        if not 1 <= self.full <= 255 or (self.values.numel() and int(self.values.max()) > self.full):
            raise ValueError(f"full must be from 1 to 255 and not below any value, got {self.full!r}")
        if unknown := set(self.labels.tolist()) - set(range(len(self.categories))):
            known = f"from 0 to {len(self.categories) - 1}, for {self.categories}"
            raise ValueError(f"labels must be {known}; got {min(unknown)}")

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} of shape {tuple(self.values.shape[1:])}, {self.source})"

    @overload
    def __getitem__(self, index: int) -> tuple[Tensor, int]: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | np.ndarray | Tensor) -> Self: ...
    def __getitem__(self, index):
        index = index.cpu() if isinstance(index, Tensor) else index
        if isinstance(index, slice | Sequence) or np.ndim(index):
            chosen = np.array(np.arange(len(self))[list(index) if isinstance(index, Sequence) else index], ndmin=1)
            if chosen.ndim > 1:
                raise ValueError(f"{self.NOUN} are indexed along one axis, got an index of shape {chosen.shape}")
            return replace(self, values=self.values[chosen], labels=self.labels[chosen])
        i = operator.index(index)
        return self.values[i] / self.full, int(self.labels[i])

    def batch(self) -> Tensor:
        """All of them, ``(n, channels, *spatial)``, ``float32``, from 0 to 1."""
        return self.values / self.full


class Files(Sequence):
    """The ``paths`` and ``labels`` of a dataclass as a sequence, each file read when it is asked for, by ``_read``."""

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index):
        """One example, read now (an error names its file), or for a slice the same kind of sequence, nothing read."""
        if isinstance(index, slice):
            return replace(self, paths=self.paths[index], labels=self.labels[index])
        return self._read(self.paths[index], self.labels[index])


def count(n: int | None, available: int, noun: str) -> int:
    """How many of the ``available`` are meant by ``n``: all of them for None.

    Raises
    ------
    ValueError
        If ``n`` is no positive integer, or there are fewer.

    Examples
    --------
    >>> from wam.examples import count
    >>> count(None, 60, "pictures"), count(5, 60, "pictures")
    (60, 5)
    """
    if n is None:
        return available
    if positive(n, "n") > available:
        raise ValueError(f"n = {n!r} {noun} asked for: there are {available}; None is all of them")
    return n


def supplied(folder: str | os.PathLike | None, variable: str, what: str, layout: str) -> Path:
    """The folder of a data set that readers bring: the one given, or that of the environment variable.

    A ``FileNotFoundError`` says what to put there if there is none.
    """
    given = folder if folder is not None else os.environ.get(variable)
    if not given:
        raise FileNotFoundError(f"no folder of {what} is given.\n{layout}")
    root = Path(given).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder.\n{layout}")
    return root
