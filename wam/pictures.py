"""Small pictures to be explained: MNIST and CIFAR-10, the data of the networks of chapter 06.

MNIST is fetched from the Python package index at first use, CIFAR-10 from that of JavaScript (:mod:`wam.assets`), or by
torchvision from the site of its authors.
"""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR10

from wam.assets import AssetError, cache_folder, fetch, files
from wam.catalogue import CATALOGUE
from wam.checks import choice
from wam.examples import Examples, count

__all__ = ["CIFAR10_CATEGORIES", "Pictures", "cifar10", "mnist", "mnist_digits"]

CIFAR10_CATEGORIES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""The class names of CIFAR-10, by index."""


class Pictures(Examples):
    """Labelled pictures of one size, in memory: :class:`wam.examples.Examples` of shape ``(channels, height, width)``.

    Examples
    --------
    >>> import torch
    >>> from wam.pictures import Pictures
    >>> white = torch.full((3, 1, 4, 4), 255, dtype=torch.uint8)
    >>> Pictures(white, 255, torch.tensor([0, 1, 1]), ("a", "b"), "white squares")[1:]
    Pictures(2 of shape (1, 4, 4), white squares)
    """

    AXES = ("height", "width")
    NOUN = "pictures"


def mnist(split: str = "test", n: int | None = None) -> Pictures:
    """Handwritten digits, 28 x 28 pixels of one channel.

    Parameters
    ----------
    split
        ``"train"`` (60,000 digits) or ``"test"`` (10,000), in MNIST's order.
    n
        The first ``n`` only; by default all.

    Raises
    ------
    ValueError
        Another split, or ``n`` out of range.
    wam.assets.AssetError
        MNIST could not be downloaded at first use.

    Examples
    --------
    >>> from wam import pictures
    >>> digits = pictures.mnist("test", 3)
    >>> digits.batch().shape, digits.labels.tolist()
    (torch.Size([3, 1, 28, 28]), [7, 2, 1])

    References
    ----------
    LeCun et al., Gradient-based learning applied to document recognition, 1998.
    """
    images, labels = mnist_digits(split, n)
    values = torch.from_numpy(np.rint(images * 256).astype(np.uint8))[:, None]  # the carried file divides by 256
    return Pictures(values, 255, torch.from_numpy(labels), tuple("0123456789"), f"MNIST, {split}")


def mnist_digits(split: str, n: int | None) -> tuple[np.ndarray, np.ndarray]:
    """MNIST's images ``(n, 28, 28)`` from 0 to 1 and labels; the carried file splits the training digits in two."""
    choice(split, ("train", "test"), "split")
    (path,) = files(CATALOGUE["mnist"])
    with gzip.open(path) as file:
        *training, test = Arrays(file, encoding="latin1").load()
    images, labels = map(np.concatenate, zip(*training)) if split == "train" else test
    first = slice(count(n, len(images), "digits"))
    return images[first].reshape(-1, 28, 28), labels[first].astype(np.int64)


def cifar10(split: str = "test", n: int | None = None) -> Pictures:
    """CIFAR-10: photographs of ten classes, 32 x 32 pixels in colour.

    Parameters
    ----------
    split
        ``"train"`` (50,000 pictures), ``"test"`` (10,000), or ``"few"``: the first 20 of the test pictures, which
        Foolbox carries, for machines that cannot get the others. No bird and no deer is among them.
    n
        The first ``n`` only; by default all.

    Raises
    ------
    ValueError
        Another split, or ``n`` out of range.
    wam.assets.AssetError
        Neither the package that carries the pictures nor torchvision's download could be had (the message says why of
        both). ``source`` says which copy was read.

    Examples
    --------
    >>> from wam import pictures
    >>> few = pictures.cifar10("few", 2)
    >>> few.batch().shape, [few.categories[label] for label in few.labels]
    (torch.Size([2, 3, 32, 32]), ['cat', 'ship'])

    References
    ----------
    Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """
    choice(split, ("train", "test", "few"), "split")
    values, labels, source = _few() if split == "few" else _cifar10(split)
    first = slice(count(n, len(values), "pictures"))
    return Pictures(values[first], 255, labels[first], CIFAR10_CATEGORIES, f"CIFAR-10, {split} ({source})")


def _few() -> tuple[Tensor, Tensor, str]:
    """Foolbox's 20 pictures; the name of a file ends with the class."""
    asset = CATALOGUE["cifar10_few"]
    paths = files(asset)
    values = torch.stack([_pixels(path).permute(2, 0, 1) for path in paths])
    return values, torch.tensor([int(path.stem.rpartition("_")[2]) for path in paths]), asset.package


def _cifar10(split: str) -> tuple[Tensor, Tensor, str]:
    """All pictures of a split, from the package that carries them, or from where torchvision finds them."""
    asset = CATALOGUE["cifar10"]
    try:
        folder = fetch(asset)
    except AssetError as error:
        return _downloaded(split, error)
    names = ["test_batch.png"] if split == "test" else [f"data_batch_{i}.png" for i in range(1, 6)]
    sheets = torch.cat([_pixels(folder / name) for name in names])  # a row of a sheet is a picture of 1024 pixels
    labels = json.loads((folder / f"{split}_lables.json").read_text())  # the package spells it so
    return sheets.view(-1, 32, 32, 3).permute(0, 3, 1, 2), torch.tensor(labels), asset.package


def _downloaded(split: str, reason: AssetError) -> tuple[Tensor, Tensor, str]:
    try:
        found = CIFAR10(cache_folder() / "torchvision", train=split == "train", download=True)
    except (OSError, RuntimeError) as error:
        raise AssetError(f"{reason} Nor could torchvision download CIFAR-10: {error}") from error
    return torch.from_numpy(found.data).permute(0, 3, 1, 2), torch.tensor(found.targets), "torchvision"


def _pixels(path: Path) -> Tensor:
    """An image file as ``(height, width, 3)``, ``uint8``."""
    with Image.open(path) as file:
        return torch.from_numpy(np.array(file.convert("RGB")))


class Arrays(pickle.Unpickler):
    """An unpickler that makes NumPy arrays and nothing else."""

    def find_class(self, module: str, name: str):
        if f"{module}.{name}" not in ("numpy.core.multiarray._reconstruct", "numpy.ndarray", "numpy.dtype"):
            raise pickle.UnpicklingError(f"{module}.{name} is not a part of an array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)
