"""Networks that know nothing: copies with all their weights drawn anew, whose explanations are a control."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from wam.checks import positive


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
