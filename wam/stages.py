"""The layers of any network in the order in which they run, and grouped into stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from itertools import groupby, takewhile
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from wam.checks import positive


class Stage(NamedTuple):
    """Consecutive layers of a network, which are randomized together."""

    name: str
    layers: tuple[str, ...]


def layers(model: nn.Module, x: Tensor) -> list[str]:
    """The layers of a network in the order in which they first run, traced on one input and not as registered.

    A layer is a module that has parameters of its own or a ``reset_parameters``. It runs when it is called, or when
    another module computes with its parameters (as attention does with those of its projections). What does not run is
    left out, since no explanation depends on it.

    Parameters
    ----------
    model
        The network; a copy of it runs, in evaluation mode.
    x
        Inputs ``(batch, channels, *spatial)``, of which the first is used.

    Raises
    ------
    TypeError
        If the model is not a :class:`torch.nn.Module`, or parts of it are compiled by TorchScript and cannot be reset.
    ValueError
        If no layer that runs has a ``reset_parameters``.

    Examples
    --------
    >>> import torch
    >>> from wam import stages
    >>> net = torch.nn.Sequential(torch.nn.Conv1d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(12, 3))
    >>> stages.layers(net, torch.randn(1, 1, 8))
    ['0', '3']
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"only a torch.nn.Module has layers, got {type(model).__name__}; wrap it in one")
    script = torch.jit.ScriptModule
    if scripted := [name or "the model" for name, module in model.named_modules() if isinstance(module, script)]:
        what = f"{scripted[0]} is compiled by TorchScript and cannot be reset"
        raise TypeError(f"{what}; give the module that it was compiled from")
    copy = deepcopy(model).eval()
    trace = _Trace(copy)
    with torch.no_grad(), torch.random.fork_rng(devices=[]), trace:
        copy(x[:1])
    if not any(_resets(copy.get_submodule(name)) for name in trace.seen):
        what = f"{type(model).__name__} has no layer to randomize"
        raise ValueError(f"{what}: none of the modules that run has a reset_parameters")
    return list(trace.seen)


def stages(model: nn.Module, x: Tensor, count: int | None = 10) -> tuple[Stage, ...]:
    """The layers of a network in about ``count`` stages, in the order in which they run.

    The module with the most layers is opened, again and again, until there are ``count`` blocks. A block of
    normalisations belongs to the one before it. Where there are more blocks than ``count``, the last one, the
    classifier, stays alone, and the others are joined to runs of about equal length.

    Parameters
    ----------
    model, x
        As for :func:`layers`.
    count
        How many stages; there are fewer if there are not as many layers. ``None`` makes each layer a stage.

    Raises
    ------
    TypeError, ValueError
        As :func:`layers`, and if ``count`` is not a positive integer.

    Examples
    --------
    >>> import torch, wam.models
    >>> from wam import stages
    >>> net = wam.models.load("resnet18", pretrained=False)
    >>> [stage.name for stage in stages.stages(net, torch.zeros(1, 3, 64, 64), 6)]
    ['conv1', 'layer1', 'layer2', 'layer3', 'layer4', 'fc']
    """
    names = layers(model, x)
    if count is None:
        return tuple(Stage(name or type(model).__name__, (name,)) for name in names)
    count, blocks = positive(count, "count"), [("", names)]
    modules = dict(model.named_modules())
    while len(joined := _joined(blocks, modules)) < count:
        largest = max(blocks, key=lambda block: len(block[1]))
        if len(largest[1]) == 1:
            break
        at = blocks.index(largest)
        blocks[at : at + 1] = _opened(*largest)
    if len(joined) > count:
        runs = np.array_split(np.arange(len(joined) - 1), count - 1)
        parts = [[joined[i] for i in run] for run in (*runs, [len(joined) - 1])]
        names = [part[0][0] if len(part) == 1 else f"{part[0][0]} to {part[-1][0]}" for part in parts]
        joined = [(name, sum((members for _, members in part), [])) for name, part in zip(names, parts)]
    shared = _wrapper([name for name, _ in joined])
    return tuple(Stage(_short(name, shared), tuple(members)) for name, members in joined)


class _Trace(TorchFunctionMode):
    """The names of the layers of a network, which is ours alone, in the order in which they are called or used."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.seen: dict[str, None] = {}
        self._owners: dict[int, list[str]] = {}
        for name, module in network.named_modules():
            own = list(module.parameters(recurse=False))
            if own or _resets(module):
                module.register_forward_pre_hook(lambda module, inputs, name=name: self.seen.setdefault(name))
            for parameter in own:
                self._owners.setdefault(id(parameter), []).append(name)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if next(_tensors(result), None) is not None:  # a shape or a dtype is not a use
            for owners in (self._owners.get(id(tensor), ()) for tensor in _tensors((args, kwargs))):
                if not any(name in self.seen for name in owners):
                    self.seen |= dict.fromkeys(owners)
        return result


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _resets(module: nn.Module) -> bool:
    return callable(getattr(module, "reset_parameters", None))


def _opened(prefix: str, members: list[str]) -> list[tuple[str, list[str]]]:
    """A block by the children of its module; layers of the module itself stay under its name.

    Modules whose layers run in turns (convolutions in one list, normalisations in another) are opened further.
    """
    blocks = _children(prefix, members)
    while len(blocks) == 1:
        blocks = _children(*blocks[0])
    while repeated := [name for name, times in Counter(name for name, _ in blocks).items() if times > 1]:
        blocks = [part for block in blocks for part in (_children(*block) if block[0] in repeated else [block])]
    return blocks


def _children(prefix: str, members: list[str]) -> list[tuple[str, list[str]]]:
    """Runs of layers that belong to the same child, in order; a child may have several runs."""
    start = f"{prefix}." if prefix else ""

    def child(name: str) -> str:
        return name if name == prefix else start + name.removeprefix(start).partition(".")[0]

    return [(name, list(run)) for name, run in groupby(members, child)]


def _joined(blocks: list[tuple[str, list[str]]], modules: dict[str, nn.Module]) -> list[tuple[str, list[str]]]:
    """Blocks of normalisations with the one before them, and parameters of a whole module with the one after."""
    joined: list[tuple[str, list[str]]] = []
    waiting: list[str] = []
    for name, members in blocks:
        waiting = waiting + members
        if any(other.startswith(f"{name}." if name else "") for other, _ in blocks if other != name):
            continue
        minor = all(p.ndim < 2 for member in members for p in modules[member].parameters(recurse=False))
        if minor and joined:
            joined[-1] = (joined[-1][0], joined[-1][1] + waiting)
        else:
            joined.append((name, waiting))
        waiting = []
    return [*joined[:-1], (joined[-1][0], joined[-1][1] + waiting)]


def _wrapper(names: list[str]) -> str:
    """The modules that all names begin with, such as the one that holds a network and its preprocessing."""
    owners = zip(*(name.split(".")[:-1] for name in names))
    return "".join(f"{owner[0]}." for owner in takewhile(lambda owner: len(set(owner)) == 1, owners))


def _short(name: str, shared: str) -> str:
    """A stage in few words: ``features.3 to 4`` for two neighbours in a list of blocks."""
    first, *last = (part.removeprefix(shared) for part in name.split(" to "))
    last = [part.removeprefix(first.rpartition(".")[0] + ".") for part in last]
    return " to ".join([first, *last]) or "model"
