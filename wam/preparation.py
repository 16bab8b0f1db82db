"""From an example, as it was read or as a data set has it, to the batch of one that a classifier takes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from wam.clips import Clip
from wam.examples import Examples
from wam.picture_models import LENET5, PictureClassifier
from wam.pictures import Pictures
from wam.sounds import LabelledSound

SECONDS = 5.0
"""How much of a recording is explained, as in chapter 04."""

NOUNS = {1: "sound", 2: "image", 3: "volume"}
"""What is explained, by its number of dimensions."""

EMBEDDED = {1: "yamnet", 2: "efficientnet_lite0", 3: "digits3d"}
"""A classifier for each that needs nothing else."""

_FIXES = {
    (str, os.PathLike): "wam.inputs.read(path) reads a file",
    (np.ndarray,): "PIL.Image.fromarray makes an image of bytes, torch.from_numpy a tensor",
}


def dimensions(example: Any) -> int:
    """1 for a recording, 2 for an image, 3 for a volume; of anything else 3, too, for :func:`prepared` to refuse.

    >>> import torch
    >>> from wam.clips import Clip
    >>> from wam.preparation import dimensions
    >>> dimensions(Clip(torch.zeros(8), rate=8)), dimensions(torch.zeros(1, 4, 4, 4))
    (1, 3)
    """
    return 1 if isinstance(example, Clip) else 2 if isinstance(example, Image.Image | Pictures) else 3


def check(model: Any, example: Any) -> None:
    """A ``TypeError`` if what a model explains has another number of :func:`dimensions` than this example."""
    if (kind := dimensions(example)) != model.ndim:
        what = {1: "a recording", 2: "an image"}.get(kind, "a volume" if isinstance(example, Tensor | Examples) else "")
        fix = next((fix for kinds, fix in _FIXES.items() if isinstance(example, kinds)), "")
        fix = f"choose a model of {NOUNS[kind]}s, such as {EMBEDDED[kind]}" if what else fix
        if isinstance(example, Tensor) and example.ndim == model.ndim + 1:
            what, fix = f"a tensor {tuple(example.shape)}", "as the model takes it, it has a batch axis, too: x[None]"
        what = what or type(example).__name__
        raise TypeError(f"{model.name} explains {NOUNS[model.ndim]}s, got {what}{f': {fix}' if fix else ''}")


def checked(model: Any) -> None:
    """A ``TypeError`` if a model is no classifier of :mod:`wam.models` or :mod:`wam.adapters`, or in half precision."""
    if not all(hasattr(model, name) for name in ("ndim", "categories", "prepare", "exclusive")):
        raise TypeError(f"{type(model).__name__} is no classifier yet: wam.adapters.wrap(model, ndim=2, ...) makes one")
    kinds = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    if half := kinds - {torch.float32, torch.float64}:
        raise TypeError(f"{model.name} computes in {half.pop()}, explanations in float32 or float64: model.float()")


def prepared(model: Any, example: Any, seconds: float | None = None) -> tuple[Tensor, dict[str, Any]]:
    """The batch of one that the model takes, and how it was made of the example.

    A photograph is prepared by the model; for classifiers of small pictures it is first cut out in the middle and
    shrunk. A recording is made mono, brought to the model's rate, cut to the stretch of ``seconds`` (by default
    :data:`SECONDS` at most) with the most energy, repeated where the model needs more, and divided by its peak. A
    volume without a ``transform`` of the model must have values from 0 to 1. A tensor ``(1, channels, *spatial)`` is
    taken as it is.

    Raises
    ------
    TypeError
        The example is not one for this model.
    ValueError
        Several examples, or a volume with other values.
    """
    ndim, like = model.ndim, next(model.parameters(), torch.empty(0))
    if isinstance(example, Tensor) and example.ndim == ndim + 2:
        if len(example) != 1:
            raise ValueError(f"one example is explained, got a batch of {len(example)}: take x[:1]")
        return example.to(like), {}
    if isinstance(example, Examples) and len(example) != 1:
        raise ValueError(f"one example is explained, got {len(example)}: take examples[:1]")
    example = example.clip if isinstance(example, LabelledSound) else example
    example = getattr(example, "image", example)  # of a labelled image
    check(model, example)
    if ndim == 1:
        clip = example.mono().resample(model.rate)
        length = max(min(clip.seconds, SECONDS) if seconds is None else seconds, model.minimum / model.rate)
        return model.prepare(clip.fit(length).normalised()), {"seconds explained": length, "rate": model.rate}
    if ndim == 2:
        return model.prepare(_shrunk(model, example) if isinstance(model, PictureClassifier) else example), {}
    if isinstance(example, Tensor) and example.ndim == ndim:
        raise TypeError(f"{model.name} takes volumes with their channels, got {tuple(example.shape)}: x[None] has one")
    if isinstance(example, Tensor) and getattr(model, "transform", None) is None:
        low, high = float(example.min()), float(example.max())
        if low < 0 or high > 1:
            raise ValueError(
                f"{model.name} takes volumes with values from 0 to 1, got {low:g} to {high:g}: scale them first, say "
                "(v - v.min()) / (v.max() - v.min()), or as its training data were"
            )
        return example[None].to(like), {}
    return model.prepare(example), {}


def _shrunk(model: PictureClassifier, image: Image.Image | Pictures) -> Pictures:
    """A photograph as the small picture that this classifier takes: white on black digits, or 32 x 32 pixels in RGB."""
    if isinstance(image, Pictures):
        return image
    side = 28 if model.name.partition(" ")[0] in LENET5 else 32
    small = ImageOps.fit(image.convert("RGB" if model.channels == 3 else "L"), (side, side), Image.Resampling.LANCZOS)
    values = torch.from_numpy(np.array(small)).view(1, side, side, -1).permute(0, 3, 1, 2).contiguous()
    return Pictures(values, 255, torch.zeros(1, dtype=torch.int64), ("",), "an image of yours")
