r"""Layers: what passes through a named layer of a model, and the share of the score that passes through each unit.

A model of sounds turns a waveform into a spectrogram first. The gradient with respect to that spectrogram is a
by-product of the gradient with respect to the waveform: one backward pass gives both. With :math:`h(x)` the output of
the layer and :math:`f_c(x) = F(h(x))`, the methods of :mod:`wam.attribution` are explained at the layer by

.. math::

   \gamma_{Sa} &= \nabla F(h(x)), \\
   \gamma_{Sg} &= \frac1n \sum_i \nabla F(h(x + \delta_i)), \\
   \gamma_{Ig} &= \int_0^1 \nabla F(h(x_\alpha)) \odot \frac{d h(x_\alpha)}{d\alpha} d\alpha.

The path :math:`h(x_\alpha)` is not straight, so the last is not the mean gradient times the difference. It is the
*layer conductance* of Dhamdhere et al.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from wam.names import near

Model = Callable[[Tensor], Tensor]
"""Anything that maps a batch ``(batch, channels, *spatial)`` to scores ``(batch, classes)``."""

Layer = nn.Module | str
"""A module of the model, or its dotted name."""


def find(model: Model, layer: Layer) -> tuple[str, nn.Module]:
    """The name of a layer and the layer.

    Raises
    ------
    TypeError
        If the model is not a module.
    ValueError
        If it has no such layer; near names are suggested.

    Examples
    --------
    >>> from torch import nn
    >>> from wam import layers
    >>> layers.find(nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU()), "1")
    ('1', ReLU())
    """
    owner = getattr(model, "__self__", model)  # the module of a bound method
    if not isinstance(owner, nn.Module):
        raise TypeError(f"layers are those of a torch.nn.Module, got {type(owner).__name__}")
    named = dict(owner.named_modules(remove_duplicate=False))
    if isinstance(layer, nn.Module):
        name = next((name for name, module in named.items() if module is layer), None)
        if name is None:
            raise ValueError(f"the layer {type(layer).__name__} is not a module of the model {type(owner).__name__}")
        return name, layer
    if layer not in named:
        hint = near(layer, named, cutoff=0.3) or "see model.named_modules()"
        raise ValueError(f"the model {type(owner).__name__} has no layer {layer!r}; {hint}")
    return layer, named[layer]


class Tap:
    """Keeps what a layer gives in each pass of the model, and the gradient there; a context manager.

    Parameters
    ----------
    model, layer
        The layer must run once per pass, and give a tensor ``(batch, channels, *spatial)`` of the batch of the model.

    Attributes
    ----------
    name
        The name of the layer.
    live
        The output of the last pass, on the graph if there is one.
    gradient
        The gradient there, which :func:`wam.scoring.gradient` sets.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from wam.layers import Tap
    >>> net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(12, 3))
    >>> with Tap(net, "0") as tap:
    ...     scores = net(torch.randn(4, 1, 8))
    >>> tap.take(torch.zeros(4)).shape
    torch.Size([4, 2, 6])
    """

    def __init__(self, model: Callable[[Tensor], Tensor], layer: nn.Module | str) -> None:  # spelled out for Sphinx
        self.name, self._layer = find(model, layer)
        self.live: Tensor | None = None
        self.gradient: Tensor | None = None
        self._kept: list[Tensor] = []

    def __enter__(self) -> Tap:
        self._hook = self._layer.register_forward_hook(self._keep)
        return self

    def __exit__(self, *_) -> None:
        self._hook.remove()

    def _keep(self, module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim < 3 or not output.is_floating_point():
            given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            what = f"layer {self.name!r} gives {given}, not (batch, channels, *spatial)"
            raise ValueError(f"{what}; choose another layer")
        self.live = output.view_as(output)  # of its own: a layer that passes its input on gives the input itself
        self._kept.append(output.detach())
        return self.live.clone()  # what follows may work in place

    def take(self, inputs: Tensor) -> Tensor:
        """What the layer gave for these inputs since the last call, in their dtype, without the graph.

        Raises
        ------
        ValueError
            If it did not run once per pass, or not on their batch.
        """
        self.check(len(inputs))
        taken = torch.cat(self._kept).to(inputs.dtype)
        self.clear()
        return taken

    def clear(self) -> None:
        """Forget what the layer gave."""
        self._kept = []

    def check(self, batch: int) -> Tensor:
        """The output of the last pass, on the graph; or an error if the layer did not run once, on this batch."""
        rows = [len(values) for values in self._kept]
        if sum(rows) != batch:
            what = f"layer {self.name!r} must run once per pass, on the batch of {batch}"
            raise ValueError(f"{what}; it gave batches of {rows}")
        return self.live


def tapped(model: Model, layer: Layer | None) -> AbstractContextManager[Tap | None]:
    """A :class:`Tap` at the layer, or nothing where there is no layer."""
    return nullcontext() if layer is None else Tap(model, layer)


class MeanGradient:
    r"""The weighted sum of gradients, draw by draw: of the input, and for saliency and SmoothGrad at a layer."""

    def __init__(self, h: Tensor, weights: Tensor) -> None:
        self.total = torch.zeros_like(h)
        self.weights = weights.to(h).view(*weights.shape, *[1] * (h.ndim - 1))

    def add(self, draw: int, part: slice, h: Tensor, gradient: Tensor) -> None:
        """Add a draw of some samples."""
        self.total[part].addcmul_(self.weights[draw, part], gradient)

    def finish(self) -> Tensor:
        """The sum."""
        return self.total


class Conductance:
    r"""The integral of the gradient along the path that a layer takes, :math:`\int \nabla F(h) \odot dh`.

    With :math:`g_k, h_k` at the nodes of the straight path of the input, in order,

    .. math:: \gamma = \sum_{k=1}^K g_k \odot (e_k - e_{k-1}), \qquad e_k = \tfrac12 (h_k + h_{k+1}), \quad
              e_0 = h(x_0), \quad e_K = h(x).

    The pieces add up to :math:`h(x) - h(x_0)` whatever the nodes are, so for an :math:`F` that is linear the sum of
    :math:`\gamma` is exact. No derivative of :math:`h` is needed, and no pass beyond those of the input's explanation.

    References
    ----------
    Dhamdhere, Sundararajan, Yan: How important is a neuron?, 2019.
    """

    def __init__(self, start: Tensor, end: Tensor) -> None:
        self.end, self.edge = end, start.expand_as(end).clone()
        self.total, self.h, self.g = torch.zeros_like(end), torch.empty_like(end), torch.zeros_like(end)

    def add(self, draw: int, part: slice, h: Tensor, gradient: Tensor) -> None:
        """Add the next node of some samples."""
        if draw:
            middle = (self.h[part] + h) / 2
            self.total[part] += self.g[part] * (middle - self.edge[part])
            self.edge[part] = middle
        self.h[part], self.g[part] = h, gradient

    def finish(self) -> Tensor:
        """The integral, with the last piece up to the input."""
        return self.total + self.g * (self.end - self.edge)
