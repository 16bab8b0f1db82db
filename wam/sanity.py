"""Networks that know nothing, or less and less: copies with weights drawn anew, at once or stage by stage.

:func:`randomize` draws all weights of a network anew, :func:`cascade` those of one stage after the other. What happens
to an explanation on the way is measured by :mod:`wam.randomization`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from wam.checks import choice, positive
from wam.stages import Stage, stages

ORDERS = ("top-down", "bottom-up", "independent")
"""How :func:`cascade` can go: from the output to the input, from the input to the output, or one stage at a time."""


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    r"""A copy of the network with every parameter initialised anew: what its explanations show was never learned.

    Every module draws its own parameters by its ``reset_parameters``, which also resets the statistics of batch
    normalisation. What no module resets (class tokens, position embeddings, some layer scales) is drawn from
    :math:`\mathcal N(\mu, \sigma^2)` with the parameter's own mean :math:`\mu` and standard deviation :math:`\sigma`,
    so that a constant parameter, such as a single number, keeps its value; and so do parameters of integers.

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
    TypeError, ValueError
        If ``model`` is not a :class:`torch.nn.Module`, or ``seed`` no integer of at least 0.

    Notes
    -----
    PyTorch's resets are meant for training, which normalises over batches. In evaluation mode, with running means 0
    and variances 1, batch normalisation passes its input on and every convolution makes the signal smaller. The logits
    of a deep network are then almost its biases, the same for every input: of the randomized MobileNetV2 they differ
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
        raise TypeError(f"only a torch.nn.Module has parameters, got {type(model).__name__}; wrap it in one")
    seed = positive(seed, "seed", least=0)
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=[]):
        copy, fresh = deepcopy(model), deepcopy(model).to("cpu", memory_format=torch.contiguous_format)
        torch.default_generator.manual_seed(seed)
        for module in fresh.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
        for old, new in zip(copy.parameters(), fresh.parameters()):
            values = torch.view_as_real(new) if new.is_complex() else new
            if values.is_floating_point() and new.numel() and torch.equal(old.cpu(), new):
                values.normal_(values.double().mean().item(), values.double().std(correction=0).item())
            old.copy_(new)
        for old, new in zip(copy.buffers(), fresh.buffers()):
            old.copy_(new)
    return copy


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
        As for :func:`wam.stages.stages`. The given model is never changed.
    order
        ``"top-down"`` goes from the output to the input, as the cascading randomization of Adebayo et al. and the first
        sentence of the paper; ``"bottom-up"`` from the first layer to the last, as its second sentence (conv1 to fc)
        and, by the labels, its Fig. 8; ``"independent"`` randomizes each stage alone.
    seed
        As for :func:`randomize`.

    Raises
    ------
    TypeError, ValueError
        As :func:`wam.stages.stages`, and for an unknown order.

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
    choice(order, ORDERS, "order")
    plan = stages(model, x, count)
    return _cascade(model, plan[::-1] if order == "top-down" else plan, order, positive(seed, "seed", least=0))


def _cascade(model: nn.Module, plan: Sequence[Stage], order: str, seed: int) -> Iterator[tuple[str, nn.Module]]:
    fresh, network = randomize(model, seed), _copy(model)
    yield "intact", _copy(network)
    for stage in plan:
        network = _copy(model) if order == "independent" else network
        for name in stage.layers:
            layers = (net.get_submodule(name) for net in (network, fresh))
            own = ([*layer.parameters(recurse=False), *layer.buffers(recurse=False)] for layer in layers)
            with torch.no_grad():
                for mine, drawn in zip(*own):
                    mine.copy_(drawn)
        yield stage.name, _copy(network)


def _copy(model: nn.Module) -> nn.Module:
    with torch.inference_mode(False):  # so that gradients can be taken of it
        return deepcopy(model)
