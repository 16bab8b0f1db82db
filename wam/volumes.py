"""Volumes to be explained: 3D digits and moving digits, both derived from MNIST, and the sets of MedMNIST3D.

MNIST is fetched from the package index at first use (:mod:`wam.assets`), and the volumes are made of it, the same ones
every time. MedMNIST3D is read from its npz files, which the ``medmnist`` package downloads or you supply.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from wam.checks import choice
from wam.examples import Examples, count
from wam.pictures import mnist_digits

__all__ = ["DIRECTIONS", "MEDMNIST", "Volumes", "digits3d", "medmnist3d", "moving_digits"]

DIRECTIONS = ("left", "right", "up", "down")
"""Where the digits of :func:`moving_digits` move, by index."""

MEDMNIST: Mapping[str, tuple[str, ...]] = {
    "organmnist3d": (
        "liver", "kidney-right", "kidney-left", "femur-right", "femur-left", "bladder",
        "heart", "lung-right", "lung-left", "spleen", "pancreas",
    ),
    "nodulemnist3d": ("benign", "malignant"),
    "adrenalmnist3d": ("normal", "hyperplasia"),
    "fracturemnist3d": ("buckle rib fracture", "nondisplaced rib fracture", "displaced rib fracture"),
    "vesselmnist3d": ("vessel", "aneurysm"),
    "synapsemnist3d": ("inhibitory synapse", "excitatory synapse"),
}  # fmt: skip
"""The sets of MedMNIST3D and their class names, as the ``medmnist`` package 3.0.2 gives them."""

SPLITS = ("train", "val", "test")
_SEEDS = {"train": 0, "test": 1}
_SIDE = 16
_ZENODO = "https://doi.org/10.5281/zenodo.10519652"


class Volumes(Examples):
    """Labelled volumes of one size, in memory: :class:`wam.examples.Examples` ``(channels, depth, height, width)``.

    Examples
    --------
    >>> import torch
    >>> from wam.volumes import Volumes
    >>> white = torch.full((3, 1, 4, 4, 4), 255, dtype=torch.uint8)
    >>> cubes = Volumes(white, 255, torch.tensor([0, 1, 1]), ("a", "b"), "white cubes")
    >>> cubes[[0, 2]].batch().shape, cubes[0][0].max(), cubes[2][1]
    (torch.Size([2, 1, 4, 4, 4]), tensor(1.), 1)
    """

    AXES = ("depth", "height", "width")
    NOUN = "volumes"


def digits3d(split: str = "test", n: int | None = None) -> Volumes:
    r"""3D digits derived from MNIST: solid, turned at random, 16 voxels along every axis.

    Every pixel above 0.3 becomes a column along the depth, 0.24 times as long as the image is wide. The solid is
    turned about its three axes by angles from -0.6 to 0.6 rad, scaled until it touches the cube, and each of its points
    fills the voxel that it falls into. Voxels are 0 or 1; about 9 % are 1. Points are sparse enough to leave a pinhole
    here and there: about one digit in five encloses an empty voxel.

    Made of the digits of :func:`wam.pictures.mnist`, whose parameters and errors are the same.

    Notes
    -----
    The recipe is that of the data set "3D MNIST", which the paper uses (Fig. 20); the volumes are not those of it.
    The angles of digit :math:`i` depend on the split and :math:`i` alone.

    Examples
    --------
    >>> from wam import volumes
    >>> digits = volumes.digits3d("test", 3)
    >>> digits.values.shape, digits.labels.tolist()
    (torch.Size([3, 1, 16, 16, 16]), [7, 2, 1])
    """
    images, labels = mnist_digits(split, n)
    angles = np.random.default_rng([_SEEDS[split], 3]).uniform(-0.6, 0.6, (len(images), 3))
    voxels = np.concatenate([_solids(*part) for part in _parts(images, angles)])
    return _volumes(voxels, 1, labels, tuple("0123456789"), f"3D digits derived from MNIST, {split}")


def moving_digits(split: str = "test", n: int | None = None) -> Volumes:
    """Clips of moving digits derived from MNIST: 16 frames of 16 x 16 pixels, the axes being time, height and width.

    The central 20 x 20 pixels of a digit, which hold 97 % of its ink on average, are shrunk to half their size. They
    move by one pixel every second frame, and come back on the other side where they leave the frame. Where they start
    is random, in both directions of the frame, and so is the parity of the frames that they move in: a single frame
    shows which digit it is, and nothing of where it moves.

    The 40 classes are pairs: ``label // 4`` is the digit, ``label % 4`` its direction in :data:`DIRECTIONS`. Parameters
    and errors are those of :func:`digits3d`.

    Examples
    --------
    >>> from wam import volumes
    >>> clips = volumes.moving_digits("test", 3)
    >>> clips.values.shape, [clips.categories[label] for label in clips.labels]
    (torch.Size([3, 1, 16, 16, 16]), ['7 down', '2 down', '1 left'])
    """
    images, labels = mnist_digits(split, None)
    rng = np.random.default_rng([_SEEDS[split], 4])
    starts, directions = rng.integers(0, _SIDE, (len(images), 3)), rng.integers(0, 4, len(images))
    first = slice(count(n, len(images), "volumes"))
    images, labels, starts, directions = images[first], labels[first], starts[first], directions[first]
    voxels = np.concatenate([_moving(*part) for part in _parts(images, starts, directions)])
    categories = tuple(f"{digit} {direction}" for digit in range(10) for direction in DIRECTIONS)
    return _volumes(voxels, 255, 4 * labels + directions, categories, f"moving digits derived from MNIST, {split}")


def medmnist3d(
    name: str = "adrenalmnist3d",
    split: str = "test",
    *,
    file: str | os.PathLike | None = None,
    size: int = 28,
    n: int | None = None,
) -> Volumes:
    """One set of MedMNIST3D (Yang et al., 2023), from its npz file.

    Parameters
    ----------
    name
        One of :data:`MEDMNIST`.
    split
        ``"train"``, ``"val"`` or ``"test"``.
    file
        The npz file, as published on Zenodo (10.5281/zenodo.10519652): arrays ``train_images`` ``(n, size, size,
        size)``, ``uint8``, ``train_labels`` ``(n, 1)``, and so on for the three splits. Without it, the ``medmnist``
        package downloads it to the folder where that package keeps it.
    size
        28 or 64 voxels along every axis: which file is downloaded. A file given by hand may have any size.
    n
        The first ``n`` only; by default all.

    Raises
    ------
    ValueError
        An unknown set, split or size, or a file that is not such a file (the message names what it lacks).
    FileNotFoundError, ImportError
        The file given is not there, the download failed, or no file is given and ``medmnist`` is not installed.

    Examples
    --------
    >>> from wam import volumes
    >>> adrenals = volumes.medmnist3d("adrenalmnist3d", "test")  # doctest: +SKIP
    """
    choice(name, MEDMNIST, "set")
    choice(split, SPLITS, "split")
    path = _published(name, size) if file is None else Path(file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: take {name}.npz from {_ZENODO}, or leave file= out")
    wanted = f"{split}_images", f"{split}_labels"
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is not an npz file")
        with np.load(path, allow_pickle=False) as arrays:
            if missing := [key for key in wanted if key not in arrays]:
                raise ValueError(f"it has no array {missing[0]}, but {', '.join(arrays) or 'none'}")
            images, labels = (arrays[key] for key in wanted)
        if images.ndim != 4 or images.dtype != np.uint8:
            raise ValueError(f"images must be uint8 (n, depth, height, width), got {images.dtype} {images.shape}")
        if labels.shape != (len(images), 1) or labels.dtype.kind not in "iu":
            raise ValueError(f"labels must be integers ({len(images)}, 1), got {labels.dtype} {labels.shape}")
        labels = labels[:, 0].astype(np.int64)
        everything = _volumes(images, 255, labels, MEDMNIST[name], f"{name}, {split} (MedMNIST v2, CC BY 4.0)")
    except (OSError, ValueError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        fix = f"name the set that it is, or take it afresh from {_ZENODO}"
        raise ValueError(f"{path} is not {name}.npz of MedMNIST3D: {error}; {fix}") from error
    return everything[: count(n, len(everything), "volumes")]


def _published(name: str, size: int) -> Path:
    """The file where the ``medmnist`` package keeps it, downloaded by it if it is not there yet."""
    if size not in (28, 64):
        raise ValueError(f"MedMNIST3D is published with 28 and with 64 voxels along an axis, not with {size!r}")
    try:
        import medmnist
    except ImportError as error:
        what = f"{name} comes through the medmnist package: pip install medmnist"
        raise ImportError(f"{what}; or give its npz file as file=") from error
    try:
        found = getattr(medmnist, medmnist.INFO[name]["python_class"])(split="test", download=True, size=size)
    except (OSError, RuntimeError) as error:
        reason = error.__context__ or error  # the package raises one error for whatever went wrong
        fix = f"Take its npz file from {_ZENODO} on a connected machine and give it as file="
        raise FileNotFoundError(f"could not download {name}: {reason}. {fix}") from error
    return Path(found.root) / f"{found.flag}{found.size_flag}.npz"


def _volumes(voxels: np.ndarray, full: int, labels: np.ndarray, categories: tuple[str, ...], source: str) -> Volumes:
    return Volumes(torch.from_numpy(voxels)[:, None], full, torch.from_numpy(labels), categories, source)


def _parts(*arrays: np.ndarray):
    """2000 of each at a time, for memory."""
    return zip(*(np.split(array, range(2000, len(array), 2000)) for array in arrays))


def _solids(images: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Extrude, turn and rasterise images ``(n, 28, 28)``: ``(n, 16, 16, 16)`` with axes depth, height and width."""
    digit, row, column = np.nonzero(images > 0.3)
    turn = Rotation.from_euler("XYZ", angles).as_matrix()[digit]
    flat = np.stack([np.zeros(len(row)), (row - 13.5) / 28, (column - 13.5) / 28], axis=1)
    depth = np.linspace(-0.12, 0.12, 7)[:, None]
    points = np.einsum("pij,pj->pi", turn, flat)[:, None] + depth * turn[:, None, :, 0]  # (pixels, 7, 3)
    reach = np.zeros(len(images))
    np.maximum.at(reach, digit, np.abs(points).max((1, 2)))
    place = ((points / reach[digit, None, None] + 1) / 2 * (_SIDE - 1)).round().astype(int)
    voxels = np.zeros((len(images), *[_SIDE] * 3), np.uint8)
    voxels[digit[:, None], place[..., 0], place[..., 1], place[..., 2]] = 1
    return voxels


def _moving(images: np.ndarray, starts: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Clips ``(n, 16, 16, 16)`` of the central 20 x 20 pixels of images ``(n, 28, 28)``."""
    small = images[:, 4:24, 4:24].reshape(-1, 10, 2, 10, 2).mean((2, 4))
    frame = np.pad(small, ((0, 0), (0, 6), (0, 6)))
    travelled = (np.arange(_SIDE) + starts[:, 2:]) // 2 * np.where(directions % 2, 1, -1)[:, None]  # (n, time)
    vertical = (directions >= 2)[:, None]
    row = np.arange(_SIDE) - (starts[:, :1] + travelled * vertical)[..., None]  # (n, time, height)
    column = np.arange(_SIDE) - (starts[:, 1:2] + travelled * ~vertical)[..., None]
    digit = np.arange(len(images))[:, None, None, None]
    clip = frame[digit, row[..., :, None] % _SIDE, column[..., None, :] % _SIDE]
    return np.round(255 * clip).astype(np.uint8)
