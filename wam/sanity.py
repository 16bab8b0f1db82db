"""Networks that know nothing, or less and less: copies with weights drawn anew, at once or stage by stage.

:func:`randomize` draws all weights of a network anew, :func:`cascade` those of one stage after the other. What happens
to an explanation on the way is measured by :mod:`wam.randomization`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from wam.checks import positive

ORDERS = ("top-down", "bottom-up", "independent")
"""How :func:`cascade` can go: from the output to the input, from the input to the output, or one stage at a time."""


class Stage(NamedTuple):
    """Consecutive layers of a network, which are randomized together."""

    name: str
    layers: tuple[str, ...]


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    r"""A copy of the network with every parameter initialised anew: what its explanations show was never learned.

    Every module draws its own parameters by its ``reset_parameters``, which also resets the statistics of batch
    normalisation. What no module resets (class tokens, position embeddings, some layer scales) is drawn from
    :math:`\mathcal N(\mu, \sigma^2)` with the parameter's own mean :math:`\mu` and standard deviation :math:`\sigma`,
    so that a constant parameter, such as a single number, keeps its value.

    Parameters
    ----------
    model
        The network; it is not changed, and neither is the random state of the caller.
    seed
        The same seed gives the same network on every device. Draws differ between dtypes.

    Returns
    -------
    A network of the same type, on the same devices, with the same dtypes and flags (``training``,
    ``requires_grad``).

    Raises
    ------
    TypeError
        If ``model`` is not a :class:`torch.nn.Module`.
    ValueError
        If ``seed`` is not an integer of at least 0.

    Notes
    -----
    PyTorch's resets are meant for training, which normalises over batches. In evaluation mode, with running means 0
    and variances 1, batch normalisation passes its input on and every convolution makes the signal smaller. The logits
    of a deep network are then almost its biases, the same for every input: of the randomised MobileNetV2 they differ
    by 2e-2 between classes and 1e-9 between photographs, and the gradient is 4e-12 in the mean. It is finite, nowhere
    zero, and exact to 1e-3 in ``float32``, and the order of attributions does not depend on its scale. What compares
    scores is lost in rounding: completeness, adaptive nodes, insertion and deletion *of this network*.

    Examples
    --------
    >>> import torch, wam.sanity
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    >>> one, same, other = (wam.sanity.randomize(net, seed) for seed in (0, 0, 1))
    >>> torch.equal(one[1].weight, same[1].weight), torch.equal(one[1].weight, other[1].weight)
    (True, False)

    References
    ----------
    Adebayo et al., Sanity checks for saliency maps, 2018. Paper, appendix B.3.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"only a torch.nn.Module has parameters to draw anew, got {type(model).__name__}; wrap it in one"
        )
    seed = positive(seed, "seed", least=0)
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=[]):
        copy, fresh = deepcopy(model), deepcopy(model).to("cpu", memory_format=torch.contiguous_format)
        torch.default_generator.manual_seed(seed)
        for module in fresh.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
        for old, new in zip(copy.parameters(), fresh.parameters()):
            if new.numel() and torch.equal(old.cpu(), new):
                new.normal_(new.double().mean().item(), new.double().std(correction=0).item())
            old.copy_(new)
        for old, new in zip(copy.buffers(), fresh.buffers()):
            old.copy_(new)
    return copy


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
    >>> from wam import sanity
    >>> net = torch.nn.Sequential(torch.nn.Conv1d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(12, 3))
    >>> sanity.layers(net, torch.randn(1, 1, 8))
    ['0', '3']
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"only a torch.nn.Module has layers, got {type(model).__name__}; wrap it in one")
    scripted = [
        name or "the model" for name, module in model.named_modules() if isinstance(module, torch.jit.ScriptModule)
    ]
    if scripted:
        raise TypeError(
            f"{scripted[0]} is compiled by TorchScript and cannot be reset; give the module that it was compiled from"
        )
    copy = deepcopy(model).eval()
    trace = _Trace(copy)
    with torch.no_grad(), torch.random.fork_rng(devices=[]), trace:
        copy(x[:1])
    seen = trace.seen
    if not any(_resets(copy.get_submodule(name)) for name in seen):
        raise ValueError(
            f"{type(model).__name__} has no layer to randomize: none of the modules that run has a reset_parameters"
        )
    return list(seen)


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
    >>> from wam import sanity
    >>> net = wam.models.load("resnet18", pretrained=False)
    >>> [stage.name for stage in sanity.stages(net, torch.zeros(1, 3, 64, 64), 6)]
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
        runs = np.array_split(np.arange(len(joined) - 1), count - 1) if count > 1 else []
        ends = [(int(run[0]), int(run[-1])) for run in runs]
        ends += [((ends[-1][1] + 1) if ends else 0, len(joined) - 1)]
        joined = [
            (
                joined[a][0] if a == b else f"{joined[a][0]} to {joined[b][0]}",
                sum((joined[i][1] for i in range(a, b + 1)), []),
            )
            for a, b in ends
        ]
    shared = _wrapper([name for name, _ in joined])
    return tuple(Stage(_short(name, shared), tuple(members)) for name, members in joined)


def cascade(
    model: nn.Module, x: Tensor, order: str = "top-down", count: int | None = 10, seed: int = 0
) -> Iterator[tuple[str, nn.Module]]:
    """The network with more and more of its stages drawn anew: pairs of a name and a network, the first one intact.

    Every layer gets the weights that :func:`randomize` gives it, at every depth and in every order, so the last network
    of both cascades is the same. A parameter that several layers share is drawn with the first stage that has it.
    Statistics of batch normalisation are reset with their layer.

    Parameters
    ----------
    model, x, count
        As for :func:`stages`. The given model is never changed.
    order
        ``"top-down"`` goes from the output to the input, as the cascading randomization of Adebayo et al. and the first
        sentence of the paper; ``"bottom-up"`` from the first layer to the last, as its second sentence (conv1 to fc)
        and, by the labels, its Fig. 8; ``"independent"`` randomizes each stage alone.
    seed
        As for :func:`randomize`.

    Raises
    ------
    TypeError, ValueError
        As :func:`stages`, and for an unknown order.

    Examples
    --------
    >>> import torch
    >>> from wam import sanity
    >>> net = torch.nn.Sequential(torch.nn.Conv1d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(12, 3))
    >>> [(name, bool(torch.equal(n[0].weight, net[0].weight))) for name, n in sanity.cascade(net, torch.randn(1, 1, 8))]
    [('intact', True), ('2', True), ('0', False)]

    References
    ----------
    Adebayo et al., Sanity checks for saliency maps, 2018. Paper, appendix B.3.
    """
    if order not in ORDERS:
        raise ValueError(f"unknown order {order!r}: {', '.join(map(repr, ORDERS))}")
    plan = stages(model, x, count)
    return _cascade(model, plan[::-1] if order == "top-down" else plan, order, positive(seed, "seed", least=0))


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


def _cascade(model: nn.Module, plan: tuple[Stage, ...], order: str, seed: int) -> Iterator[tuple[str, nn.Module]]:
    fresh, network = randomize(model, seed), _copy(model)
    yield "intact", _copy(network)
    for stage in plan:
        network = _copy(model) if order == "independent" else network
        for name in stage.layers:
            old, new = network.get_submodule(name), fresh.get_submodule(name)
            with torch.no_grad():
                for mine, drawn in zip(_own(old), _own(new)):
                    mine.copy_(drawn)
        yield stage.name, _copy(network)


def _copy(model: nn.Module) -> nn.Module:
    with torch.inference_mode(False):  # so that gradients can be taken of it
        return deepcopy(model)


def _own(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


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
    runs: list[tuple[str, list[str]]] = []
    start = f"{prefix}." if prefix else ""
    for name in members:
        child = name if name == prefix else start + name.removeprefix(start).partition(".")[0]
        if not runs or runs[-1][0] != child:
            runs.append((child, []))
        runs[-1][1].append(name)
    return runs


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
    shared = ""
    while len({name[len(shared) :].partition(".")[0] for name in names}) == 1 and all(
        "." in n[len(shared) :] for n in names
    ):
        shared += names[0][len(shared) :].partition(".")[0] + "."
    return shared


def _short(name: str, shared: str) -> str:
    """A stage in few words: ``features.3 to 4`` for two neighbours in a list of blocks."""
    first, *last = (part.removeprefix(shared) for part in name.split(" to "))
    last = [part.removeprefix(first.rpartition(".")[0] + ".") for part in last]
    return " to ".join([first, *last]) or "model"
