"""Any module as a classifier, as the package wants it.

An adapter adds what an explanation needs besides the network: the preparation of an example, the class names, how
a prepared image is shown or at what rate a sound is heard. The logits stay those of the network, bit by bit.
Networks of timm and of Hugging Face have their own: :mod:`wam.image_models`, :mod:`wam.huggingface`.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from wam.checks import positive
from wam.image_models import ImageClassifier
from wam.sound_models import SoundClassifier
from wam.volume_models import VolumeClassifier

__all__ = ["Adapter", "wrap"]


def wrap(
    network: nn.Module,
    *,
    ndim: int,
    categories: Iterable[str] | Mapping[int, str] | int | None = None,
    prepare: Callable[[Any], Tensor] | None = None,
    argument: str | None = None,
    output: str | int | None = None,
    name: str | None = None,
    channels: int | None = None,
    input_size: Sequence[int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    rate: int | None = None,
    exclusive: bool | None = None,
) -> ImageClassifier | SoundClassifier | VolumeClassifier:
    """Any module as a classifier of sounds, images or volumes, in eval mode. The module is shared, not copied.

    Zeros of one example are run through it once, so that a wrong argument or output is found here.

    Parameters
    ----------
    network
        From ``(batch, channels, *spatial)`` to logits ``(batch, classes)``, or to an object that holds them. One of
        sounds ``(batch, n)`` becomes one of ``(batch, 1, n)`` by ``nn.Sequential(nn.Flatten(), network)``.
    ndim
        1 for sounds, 2 for images, 3 for volumes.
    categories
        The class names, in the order of the logits or by their index (``id2label``), or how many; by default as many as
        there are logits, ``"class 0"`` and so on.
    prepare
        From one example to ``(channels, *spatial)``: from a PIL image (in RGB, or grey for one channel), a
        :class:`wam.clips.Clip`, or whatever your volumes are. By default an image is resized (its shorter side), cut
        out in the middle, scaled to 0 to 1 and normalised; a clip is its samples, which must have the ``rate`` and one
        channel; a volume is a tensor or an array ``(depth, height, width)``, with channels in front where it has
        several, normalised.
    argument
        The name of the network's input, such as ``"pixel_values"``; by default its first one.
    output
        Where the logits are: a key or an attribute such as ``"logits"``, or the place in a tuple. By default what the
        network returns, or the ``logits`` of that.
    name
        For tables and figures; by default that of the class.
    channels
        3 for images (or 1: they are prepared in grey), 1 for volumes by default; sounds have one.
    input_size
        Of one example: ``(height, width)``, by default 224 x 224; ``(depth, height, width)``, 16 x 16 x 16. For sounds
        ``(n,)``, the least number of samples, by default those of one second.
    mean, std
        The normalisation of each channel: what ``prepare`` applies, and what ``display`` undoes for images; by default
        none. With a ``prepare`` of yours, say here what it does.
    rate
        Samples per second, needed for sounds.
    exclusive
        Whether one class alone is right: softmax makes the probabilities then, otherwise sigmoids do. By default it is
        so for images and volumes, and not for sounds. Explanations are of logits in any case.

    Raises
    ------
    TypeError, ValueError
        An argument is missing or does not fit, or the network does not take such inputs or give such outputs.

    Examples
    --------
    >>> import torch, wam
    >>> from PIL import Image
    >>> from wam import adapters
    >>> class Net(torch.nn.Module):
    ...     def forward(self, *, pixel_values):
    ...         return {"scores": pixel_values.mean((2, 3))}
    >>> where = {"argument": "pixel_values", "output": "scores"}
    >>> model = adapters.wrap(Net(), ndim=2, categories=["red", "green", "blue"], **where)
    >>> x = model.prepare(Image.new("RGB", (640, 480), "green"))
    >>> e = wam.saliency(model, x, frame=wam.Wavelet("haar", levels=3, ndim=2))
    >>> x.shape, model.categories[e.target[0]]
    (torch.Size([1, 3, 224, 224]), 'green')
    """
    if not isinstance(network, nn.Module):
        raise TypeError(f"wrap() takes a torch.nn.Module, got {type(network).__name__}: put a function into forward()")
    if ndim not in (1, 2, 3):
        raise ValueError(f"ndim must be 1 (sounds), 2 (images) or 3 (volumes), got {ndim!r}")
    if ndim == 1:
        rate = positive(rate, "rate (samples per second, needed for sounds)")
    channels = positive((3 if ndim == 2 else 1) if channels is None else channels, "channels")
    if channels not in (((1,), (1, 3), range(1, channels + 1))[ndim - 1]):
        raise ValueError(
            f"{('sounds have one channel', 'images have one or three channels')[ndim - 1]}, got {channels}"
        )
    size = tuple(((rate,), (224, 224), (16, 16, 16))[ndim - 1] if input_size is None else input_size)
    if len(size) != ndim:
        raise ValueError(f"input_size must have {ndim} numbers for ndim={ndim}, got {input_size!r}")
    mean = tuple(map(float, (0,) * channels if mean is None else mean))
    std = tuple(map(float, (1,) * channels if std is None else std))
    if len(mean) != channels or len(std) != channels or 0 in std:
        raise ValueError(f"mean and std need one number per channel ({channels}), no std of 0; got {mean} and {std}")

    name, like = name or type(network).__name__, next(network.parameters(), torch.empty(0))
    adapted = Adapter(network, argument, output).eval()
    zeros = torch.zeros(1, channels, *size).to(like)
    with torch.no_grad():
        try:
            found = adapted.called(zeros)
        except Exception as error:  # whatever code from elsewhere raises
            said = f"{type(error).__name__}: {error}".rstrip(": .")
            raise ValueError(
                f"{name} does not take zeros of shape {tuple(zeros.shape)} for one example; {said}. input_size= says "
                "how large its inputs are, channels= how many channels they have, argument= what they are called"
            ) from error
        logits = adapted.logits(found)
    if logits.ndim != 2 or len(logits) != 1:
        raise ValueError(f"{name} gives {tuple(logits.shape)} for one example, not logits (1, classes): see output=")
    classes = logits.shape[1]
    names = _names(classes if categories is None else categories, classes)
    if len(names) != classes:
        raise ValueError(f"{name} has {classes} logits, got {len(names)} categories")

    if ndim == 1:
        model = SoundClassifier(name, nn.Identity(), adapted, rate, size[0], names, transform=prepare)
    elif ndim == 2:
        if prepare is None:
            given = {"input_size": (channels, *size), "mean": mean, "std": std, "interpolation": "bilinear"}
            prepare = timm.data.create_transform(**given, crop_pct=1.0)
        model = ImageClassifier(name, adapted, prepare, mean, std, size, categories=names)
    else:
        model = VolumeClassifier(name, adapted, names, channels, transform=prepare or _Volume(mean, std))
    model.exclusive = model.exclusive if exclusive is None else bool(exclusive)
    return model.to(like.device, like.dtype if like.is_floating_point() else None).eval()


class Adapter(nn.Module):
    """A network called by the name of its argument, and its logits taken out of what it returns.

    Parameters
    ----------
    network
        The module.
    argument
        The name of its input; ``None`` for the first one.
    output
        A key, an attribute or a place in a tuple; ``None`` for the output itself, or its ``logits``.
    before
        What is done to the input first.

    Raises
    ------
    TypeError
        From a call: there are no logits where they should be; the message lists what there is.

    Examples
    --------
    >>> import torch
    >>> from wam.adapters import Adapter
    >>> class Net(torch.nn.Module):
    ...     def forward(self, mask=None, values=None):
    ...         return "ignored", values.sum(2)
    >>> Adapter(Net(), argument="values", output=1)(torch.ones(1, 2, 8))
    tensor([[8., 8.]])
    """

    def __init__(
        self,
        network: nn.Module,
        argument: str | None = None,
        output: str | int | None = None,
        before: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.argument, self.output, self.before = network, argument, output, before

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(batch, classes)``."""
        return self.logits(self.called(x))

    def called(self, x: Tensor) -> Any:
        """What the network returns."""
        x = x if self.before is None else self.before(x)
        return self.network(x) if self.argument is None else self.network(**{self.argument: x})

    def logits(self, found: Any) -> Tensor:
        """The logits in what the network returned."""
        if self.output is None and isinstance(found, Tensor):
            return found
        where = "logits" if self.output is None else self.output
        keyed = isinstance(found, Mapping) or isinstance(where, int)
        try:
            logits = found[where] if keyed else getattr(found, where)
        except (KeyError, IndexError, AttributeError, TypeError):
            logits = None
        if not isinstance(logits, Tensor):
            there = f"with {sorted(map(str, found))}" if isinstance(found, Mapping) else ""
            there = f"of {len(found)}" if isinstance(found, tuple | list) else there
            raise TypeError(
                f"{type(self.network).__name__} returns {type(found).__name__} {there}".rstrip()
                + f", and no tensor as {where!r}: say with output= which key, attribute or place holds the logits"
            )
        return logits


def _names(given: Any, classes: int) -> list[str]:
    """The class names as a list, from whatever they were given as."""
    if isinstance(given, str):
        raise TypeError(f"categories is a list of names, got {given!r}: [{given!r}] is a list of one")
    if isinstance(given, int):
        return [f"class {i}" for i in range(positive(given, "categories"))]
    if isinstance(given, Mapping):
        if set(given) != set(range(classes)):
            keys = f"0 to {classes - 1}, one for each logit"
            raise ValueError(f"categories as a mapping has the keys {keys}; got {reprlib.repr(list(given))}")
        given = [given[i] for i in range(classes)]
    return list(map(str, given))


class _Volume:
    """From a tensor or an array ``([channels,] depth, height, width)`` to a normalised tensor with channels."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1, 1) for values in (mean, std))

    def __call__(self, volume: Tensor | np.ndarray) -> Tensor:
        volume = torch.as_tensor(volume)
        volume = volume[None] if volume.ndim == 3 else volume
        if volume.ndim != 4 or len(volume) != len(self.mean):
            channels = f"{len(self.mean)} channel{'s' * (len(self.mean) > 1)}"
            raise ValueError(
                f"a volume is (depth, height, width) or (channels, depth, height, width) of {channels}, got shape "
                f"{tuple(volume.shape)}; several go into a list"
            )
        return (volume - self.mean.to(volume.device)) / self.std.to(volume.device)
