"""Published checkpoints of networks: read without running anything that is in them, and fitted to a network.

A checkpoint of PyTorch is a pickle, and a pickle is a program. Many that robust networks are published in also name
classes that are not installed here, without which they do not load. :func:`read` builds tensors and plain containers
from the file; whatever else the file names becomes an object that does nothing. :func:`fit` finds the network among the
tensors:

- ``robustness`` (Madry's lab) writes ``{"model": {"module.model.conv1.weight": ...}}``, the network once more under
  ``module.attacker.model.``, the normalisation ``module.normalizer.new_mean`` and ``new_std``, and other objects;
- Wong et al. (Fast), Shafahi et al. (Free), and many, ``{"state_dict": {"module.conv1.weight": ...}}`` and the state
  of the optimiser;
- anybody, a state dict, bare or in other containers, its names behind any prefix; the same as safetensors.
"""

from __future__ import annotations

import os
import pickle
import re
import tarfile
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

__all__ = ["Normalisation", "fit", "read"]

_NORMALISER = re.compile(r"((?:.*\.)?)(?:new_|_)?(mean|std)")


class Normalisation(NamedTuple):
    """What a network does first, channel by channel, to colours from 0 to 1: ``(x - mean) / std``."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def read(path: str | os.PathLike) -> dict[str, Tensor]:
    """The largest mapping of names to tensors in a checkpoint, on the CPU; the first one of several equally large.

    Nothing in the file is run. The file is one of ``torch.save``, in its format of today or in that of before
    PyTorch 1.6, or of safetensors; which one is told from its first bytes.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, or it is not a checkpoint, is cut off, or holds no mapping of names to tensors.

    Examples
    --------
    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from wam import checkpoints
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"epoch": 90, "state_dict": {"module.bias": torch.ones(2)}}, path := Path(folder) / "a.pt")
    ...     checkpoints.read(path)
    {'module.bias': tensor([1., 1.])}
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: give the path of a checkpoint that was downloaded")
    with path.open("rb") as file:
        start = file.read(9)
    if start.startswith(b"PK\x03\x04"):
        contents = _unzipped
    elif start[8:] == b"{":
        contents = load_file
    elif start.startswith(b"\x80") and not tarfile.is_tarfile(path):  # torch.load would unpack an archive
        contents = _unpickled
    else:
        web = start.lstrip().startswith(b"<")
        what = "is empty" if not start else "is a web page" if web else f"is no checkpoint: it begins with {start!r}"
        raise ValueError(f"{path} {what}. Download it again; a checkpoint is a file of torch.save or of safetensors")
    try:
        state = _largest(contents(path))
    except Exception as error:  # a damaged pickle can fail in any way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        what = f"{path} cannot be read as a checkpoint, it may be cut off: {reason}"
        raise ValueError(f"{what}. Download it again, and compare its size with that of the published file") from error
    if not state:
        fix = "Where it holds a whole network, load it where its classes are installed, and save its state_dict()"
        raise ValueError(f"{path} holds no mapping of names to tensors. {fix}")
    return state


def fit(state: Mapping[str, Tensor], network: nn.Module) -> Normalisation | None:
    """Load a state dict into a network, and tell the normalisation that comes with it.

    The names of the network are looked for behind a prefix; of those behind which all are found, the shortest counts.
    What else there may be: further copies of the same tensors, a mean and a standard deviation of three channels.
    ``num_batches_tracked`` may be missing. On an error the network is left as it was.

    Returns
    -------
    Normalisation or None
        What has to be done to colours from 0 to 1 before they go into the network, where ``state`` says it.

    Raises
    ------
    ValueError
        Tensors are missing, have another shape or do not belong to the network, or the normalisation is not one of
        colours from 0 to 1.

    Examples
    --------
    >>> import torch
    >>> from wam import checkpoints
    >>> network = torch.nn.Conv2d(3, 8, 1)
    >>> state = {f"module.1.{name}": torch.ones_like(value) for name, value in network.state_dict().items()}
    >>> state |= {"module.0.mean": torch.full((3, 1, 1), 0.5), "module.0.std": torch.full((3, 1, 1), 0.25)}
    >>> checkpoints.fit(state, network)
    Normalisation(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    >>> network.bias.sum().item()
    8.0
    """
    own = network.state_dict()
    needed = {name: value for name, value in own.items() if not name.endswith("num_batches_tracked")}
    found = Counter(prefix for name in state for prefix, rest in _splits(name) if rest in needed)
    prefix = max(found, key=lambda prefix: (found[prefix], -len(prefix)), default="")
    theirs = {name: state[prefix + name] for name in own if prefix + name in state}
    used = {prefix + name for name in theirs}
    others = {name: value for name, value in state.items() if name not in used}
    copies = {other + name: value for other in found if found[other] == len(needed) for name, value in theirs.items()}
    scales, normalisers = _normalisations(others)
    problems = {
        "missing": [name for name in needed if name not in theirs],
        "of another shape": [
            f"{name} {tuple(value.shape)} instead of {tuple(own[name].shape)}"
            for name, value in theirs.items()
            if value.shape != own[name].shape
        ],
        "unexpected": [n for n in others if n not in normalisers and not _same(others[n], copies.get(n))],
        "different normalisations": scales if len(scales) > 1 else [],
        "not for colours from 0 to 1": [
            scale for scale in scales if not all(0 <= m <= 1 and 0 < s <= 1 for m, s in zip(*scale))
        ],
    }
    if any(problems.values()):
        told = "; ".join(f"{len(items)} {what} ({_some(items)})" for what, items in problems.items() if items)
        ours = f"{len(own)} of {type(network).__name__} behind the prefix {prefix!r}"
        what = f"the {len(state)} tensors do not fit the {ours}: {told}"
        raise ValueError(f"{what}. Give a checkpoint of this architecture, or take out what is not of the network")
    network.load_state_dict(own | theirs)
    return scales[0] if scales else None


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """A name cut in two before its first part and behind each dot."""
    for end in (0, *(dot.end() for dot in re.finditer(r"\.", name))):
        yield name[:end], name[end:]


def _same(value: Tensor, other: Tensor | None) -> bool:
    return other is not None and value.dtype == other.dtype and torch.equal(value, other)


def _some(items: Sequence) -> str:
    return ", ".join(map(str, items[:3])) + (", ..." if len(items) > 3 else "")


def _normalisations(state: Mapping[str, Tensor]) -> tuple[list[Normalisation], set[str]]:
    """The different pairs of mean and standard deviation, and the names of all tensors that they are in."""
    pairs = defaultdict(dict)
    for name, value in state.items():
        if value.numel() == 3 and (parts := _NORMALISER.fullmatch(name)):
            pairs[parts[1]][parts[2]] = name
    complete = [(pair["mean"], pair["std"]) for pair in pairs.values() if len(pair) == 2]
    scales = [Normalisation(*(tuple(state[name].flatten().tolist()) for name in pair)) for pair in complete]
    return list(dict.fromkeys(scales)), {name for pair in complete for name in pair}


def _largest(contents: Any) -> dict[str, Tensor]:
    """The first of the largest mappings of names to tensors in nested containers, which may contain themselves."""
    largest, seen, queue = {}, set(), deque([contents])
    while queue:
        value = queue.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            named = ((key, item) for key, item in value.items() if isinstance(key, str))
            largest = max(largest, {key: item.detach() for key, item in named if isinstance(item, Tensor)}, key=len)
            queue.extend(value.values())
        elif isinstance(value, list | tuple):
            queue.extend(value)
    return largest


# Unpickling. What a file can reach are the five functions of _ALLOWED and one object that does nothing.


def _nothing(*_, **__) -> _Inert:
    return _INERT


class _Inert(type):
    """The type of what stands for whatever else a file names: calling, restoring and filling it does nothing.

    It is a class that gives itself where it is called, since a pickle takes no other object in the place of a class.
    """

    __setstate__ = __setitem__ = append = _nothing


_INERT = _Inert("Inert", (), {"__new__": _nothing})


class _Callable:
    """A function that a file can call and cannot change: a pickle sets attributes of any other that it names."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    __setstate__ = _nothing


class _Mapping(dict):
    """In the place of an ``OrderedDict``, which would take attributes from the file."""

    __setstate__ = _nothing


_ALLOWED = {
    ("collections", "OrderedDict"): _Callable(_Mapping),
    ("torch._utils", "_rebuild_tensor"): _Callable(torch._utils._rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Callable(torch._utils._rebuild_tensor_v2),
    ("torch._utils", "_rebuild_parameter"): _Callable(lambda data, *_: data),
    ("torch._utils", "_rebuild_parameter_with_state"): _Callable(lambda data, *_: data),
}


class _Unpickler(pickle.Unpickler):
    """Leaves only storages to ``torch.load``, and their classes.

    Of modules in the format of before PyTorch 1.6 that would compare the sources, and write the difference into a file
    whose name and content the pickle can choose.
    """

    def find_class(self, module: str, name: str) -> Any:
        return _ALLOWED.get((module, name), _INERT)

    def __setattr__(self, name: str, load: Callable) -> None:  # torch.load sets persistent_load, and nothing else
        super().__setattr__(name, lambda key: load(key) if key[0] == "storage" else _INERT)


_PICKLE = SimpleNamespace(
    __name__="pickle", Unpickler=_Unpickler, load=lambda file, **options: _Unpickler(file, **options).load()
)


def _unpickled(path: Path) -> Any:
    return torch.load(path, "cpu", _PICKLE, weights_only=False)


def _unzipped(path: Path) -> Any:
    if torch._C.PyTorchFileReader(str(path)).has_record("constants.pkl"):
        raise ValueError("it is a program in TorchScript, which torch.load would start")
    return _unpickled(path)
