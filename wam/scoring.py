"""The model as a function from a batch to class scores: evaluated in chunks, left exactly as it was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from wam.checks import as_tensor
from wam.layers import Model, Tap


@contextmanager
def frozen(model: Model) -> Iterator[None]:
    """Evaluation mode without parameter gradients while the block runs; every flag is restored, errors or not.

    Only a module, or a method of one, can be put in evaluation mode. A plain function that calls a module is evaluated
    as it is: call ``module.eval()`` first, or wrap the module in another one. With recurrent layers cuDNN is off
    meanwhile: in evaluation mode it has no gradients for them.

    >>> import torch, wam.scoring
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout()).train()
    >>> with wam.scoring.frozen(net):
    ...     net[1].training, net[0].weight.requires_grad
    (False, False)
    >>> net[1].training, net[0].weight.requires_grad
    (True, True)
    """
    owner = getattr(model, "__self__", model)  # the module of a bound method
    owner = owner if isinstance(owner, nn.Module) else nn.Module()
    training = [(module, module.training) for module in owner.modules() if hasattr(module, "training")]
    learning = [(parameter, parameter.requires_grad) for parameter in owner.parameters()]
    cudnn = torch.backends.cudnn.enabled  # by itself: flags() sets switches of precision, too
    try:
        for module, _ in training:
            module.training = False
        for parameter, _ in learning:
            parameter.requires_grad_(False)
        torch.backends.cudnn.enabled = cudnn and not any(isinstance(module, nn.RNNBase) for module in owner.modules())
        yield
    finally:
        for module, flag in training:
            module.training = flag
        for parameter, flag in learning:
            parameter.requires_grad_(flag)
        torch.backends.cudnn.enabled = cudnn


def scores(model: Model, inputs: Tensor) -> Tensor:
    """Evaluate ``model``, check that it returns ``(batch, classes)``, and give the scores the dtype of the inputs.

    The model gets a copy, because it may work in place, as a layer such as ``ReLU(inplace=True)`` does; and the scores
    are a copy, because it may write the next ones to the same memory, as a graph captured on a GPU does.

    Raises
    ------
    TypeError
        If the output is not a tensor (a Hugging Face model returns an object: wrap it in a module that returns its
        ``.logits``).
    ValueError
        If its shape is not ``(batch, classes)``.
    """
    output = model(inputs.clone())
    if not isinstance(output, Tensor):
        fix = "wrap it in a torch.nn.Module whose forward returns the logits"
        raise TypeError(f"the model returned {type(output).__name__}, not a tensor; {fix}")
    if output.ndim != 2 or output.shape[0] != len(inputs) or not output.shape[1]:
        raise ValueError(f"the model must return (batch, classes) = ({len(inputs)}, n), got {tuple(output.shape)}")
    return output.to(inputs.dtype, copy=True)


def as_target(target: int | Sequence[int] | Tensor | None, batch: int, device: torch.device) -> Tensor | None:
    """One class index per sample, from an int, a sequence or ``None`` (the predicted class, found later).

    Raises
    ------
    TypeError
        If a target is not an integer.
    ValueError
        If there is not one target for every sample.
    """
    if target is None:
        return None
    what = "target must be an integer class or one per sample"
    indices = as_tensor(target, what, device=device)
    if indices.numel() == 0:
        raise ValueError(f"target must be one class or {batch}, one per sample; got none")
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise TypeError(f"{what}, got {target!r}")
    if indices.ndim > 1 or (indices.ndim == 1 and len(indices) != batch):
        raise ValueError(f"target must be one class or {batch}, one per sample; got shape {tuple(indices.shape)}")
    return indices.long().expand(batch)


def select(output: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor]:
    """The score of each sample's class, and that class (the predicted one for ``None``).

    One row of scores serves all targets.

    Raises
    ------
    ValueError
        If a target is not a class of the model.
    """
    if target is None:
        target = output.argmax(1)
    elif not bool(((target >= 0) & (target < output.shape[1])).all()):
        outside = sorted({t for t in target.tolist() if not 0 <= t < output.shape[1]})
        raise ValueError(f"target {outside} out of range: the model has classes 0 to {output.shape[1] - 1}")
    return output.expand(len(target), -1).gather(1, target[:, None])[:, 0], target


def predict(model: Model, x: Tensor, target: Tensor | None, max_batch: int) -> tuple[Tensor, Tensor]:
    """Score and class of every sample, ``(batch,)`` each, without gradients, at most ``max_batch`` at once.

    A single input is scored for the classes of all targets.
    """
    with torch.no_grad():
        score, target = select(torch.cat([scores(model, part) for part in x.split(max_batch)]), target)
    return score, target.clone()  # of our own: the given one may be changed later


def gradient(
    model: Model, inputs: Tensor, target: Tensor | None, tap: Tap | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    r"""The gradient :math:`\nabla f_c` at every input of one chunk, with all scores and the class; one model pass.

    With a ``tap`` (:class:`wam.layers.Tap`) the same backward pass sets ``tap.gradient``, the gradient at its layer.

    The scores still hold the spent graph, whose buffers are free. Who keeps it until the next pass spares glibc, at its
    default settings, from handing their memory back to the system and fetching it again (4 to 24 % of the time where
    we measured it).

    Raises
    ------
    ValueError
        If the scores do not depend on the input, or on the layer, in a differentiable way.
    """
    with torch.inference_mode(False), torch.enable_grad():
        inputs = _tracked(inputs).detach().requires_grad_(True)
        target = None if target is None else _tracked(target)
        output = scores(model, inputs)
        score, target = select(output, target)
        at = [inputs] if tap is None else [inputs, tap.check(len(inputs))]
        at = [value for value in at if value.requires_grad]
        g = torch.autograd.grad(score.sum(), at, allow_unused=True) if score.requires_grad else [None] * len(at)
    if g[0] is None:
        raise ValueError("the scores do not depend on the input differentiably; is the model under no_grad?")
    if tap is not None:
        if len(g) < 2 or g[1] is None:
            raise ValueError(f"the scores do not depend on the output of layer {tap.name!r}; choose another layer")
        tap.gradient = g[1].to(inputs.dtype)
    return g[0], output, target


def _tracked(tensor: Tensor) -> Tensor:
    """The tensor, or a copy that autograd accepts if it was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor


def chunks(draws: int, batch: int, max_batch: int) -> Iterator[list[tuple[int, slice]]]:
    """Split ``draws`` evaluations of ``batch`` samples into chunks of at most ``max_batch`` inputs.

    Each chunk is a list of ``(draw, slice of samples)``. Draws come in order, so sums taken draw by draw do not
    depend on ``max_batch``.

    >>> list(chunks(2, 3, 4))
    [[(0, slice(0, 3, None)), (1, slice(0, 1, None))], [(1, slice(1, 3, None))]]
    """
    for start in range(0, draws * batch, max_batch):
        stop = min(start + max_batch, draws * batch)
        pieces = []
        while start < stop:
            draw, first = divmod(start, batch)
            last = min(batch, first + stop - start)
            pieces.append((draw, slice(first, last)))
            start += last - first
        yield pieces
