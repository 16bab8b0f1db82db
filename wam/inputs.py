"""A file of yours as something to be explained: a photograph, a recording or a volume, told apart by what is in it."""

from __future__ import annotations

import difflib
import os
import stat
import warnings
import zipfile
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image, ImageOps
from torch import Tensor

from wam.clips import Clip

__all__ = ["PIXELS", "SAMPLES", "VOXELS", "read"]

PIXELS = 150_000_000
"""The largest photograph that is read, in pixels: below where Pillow suspects an attack."""

SAMPLES = 100_000_000
"""The longest recording that is read, in samples of all channels: 38 minutes at 44.1 kHz, 400 MB in memory."""

VOXELS = 2**27
"""The largest volume that is read, in values: 512 along each of three axes, 512 MB in memory."""

_KINDS = "a photograph (JPEG, PNG, WebP, TIFF, ...), a recording (WAV, FLAC, Ogg, MP3, ...) or a volume (.npy, .npz)"
_SOUNDS = frozenset(f".{name.lower()}" for name in soundfile.available_formats()) | {".aif", ".opus", ".oga"}


def read(path: str | os.PathLike, array: str | None = None) -> Image.Image | Clip | Tensor:
    """What is in a file: a photograph, a recording or a volume.

    - A photograph, of any format that Pillow opens: an image in RGB, turned as its EXIF data say, transparent parts on
      white, 16 bits reduced to 8; of a moving picture the first frame.
    - A recording, of any format that libsndfile reads: a :class:`wam.clips.Clip` as it is, ``float32``.
    - A volume, of NumPy's formats ``.npy`` and ``.npz``: a ``float32`` tensor ``(channels, depth, height, width)``;
      three axes get one channel. Truth values become 0 and 1. Unsigned integers with values above 1 are divided by the
      largest of their type (255, 65535, ...). All other values stay what they are. Nothing is ever unpickled.

    Parameters
    ----------
    path
        The file. Its name matters only where its content does not tell what it is.
    array
        Which array of an ``.npz`` file; not needed where there is only one.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        There is no such file, it is a folder, or it may not be read.
    ValueError
        The file is empty, cut off, damaged, of another kind, or larger than :data:`PIXELS`, :data:`SAMPLES` or
        :data:`VOXELS`, which is found out before it is decoded; or it holds NaN, infinite values or an array of other
        axes or types. The message is one line that names the file and what to do.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from wam import inputs
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/cube.npy", np.full((16, 16, 16), 255, np.uint8))
    ...     inputs.read(f"{folder}/cube.npy").shape
    torch.Size([1, 16, 16, 16])
    """
    path = Path(path)
    head = _head(path)
    try:
        if head.startswith(b"\x93NUMPY"):
            return _volume(path, _npy(path))
        if head.startswith(b"PK") and (path.suffix.lower() == ".npz" or zipfile.is_zipfile(path)):
            return _volume(path, _npz(path, array))
        if path.suffix.lower() in (".npy", ".npz"):
            raise ValueError(f"it is not of NumPy's format {path.suffix}, or it is damaged; write it with numpy.save")
        if (image := _opened(path)) is not None:
            return _picture(image)
        if Image.registered_extensions().get(path.suffix.lower()) in Image.OPEN and path.suffix.lower() not in _SOUNDS:
            raise ValueError("it is no image that Pillow reads, or its first bytes are damaged; export it as JPEG")
        return _sound(path)
    except MemoryError:
        raise ValueError(f"{path} does not fit into memory: make it smaller") from None
    except ValueError as error:
        said = " ".join(str(error).split())
        raise ValueError(said if said.startswith(str(path)) else f"{path}: {said}") from error


def _head(path: Path) -> bytes:
    """The first bytes of a file that is there, is a file, may be read and is not empty."""
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(f"{path} is a folder: name a file in it, {_KINDS}")
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path} is no regular file: save what it gives to one, and name that")
        with path.open("rb") as file:
            head = file.read(16)
    except FileNotFoundError:
        near = []
        if path.parent.is_dir() and os.access(path.parent, os.R_OK):
            near = difflib.get_close_matches(path.name, os.listdir(path.parent), n=1)
        hint = f"; did you mean {path.parent / near[0]}?" if near else ": check the name and the folder"
        raise FileNotFoundError(f"there is no file {path}{hint}") from None
    except PermissionError:
        raise PermissionError(f"{path} may not be read: change its permissions (chmod u+r) or its owner") from None
    except OSError as error:
        if error.errno is None:
            raise
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if not head:
        raise ValueError(f"{path} is empty: 0 bytes; get the file again")
    return head


# --- photographs ----------------------------------------------------------------------------------------------------


def _opened(path: Path) -> Image.Image | None:
    """The image in a file before its pixels are decoded; ``None`` where Pillow knows no such format."""
    large = f"the limit is {PIXELS / 1e6:.0f} million: save it smaller, networks see some 224 x 224 of it anyway"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the limit here is below the one that Pillow warns of
            image = Image.open(path)
    except Image.UnidentifiedImageError:
        return None
    except Image.DecompressionBombError as error:
        raise ValueError(f"it is too large, {str(error).partition(',')[0]}; {large}") from None
    except Exception as error:  # Pillow's readers raise anything on a damaged header
        raise ValueError(f"it is a damaged image, {_said(error)}; get the file again") from None
    if image.width * image.height > PIXELS:
        image.close()
        raise ValueError(f"it is too large, {image.width} x {image.height} pixels; {large}")
    return image


def _picture(image: Image.Image) -> Image.Image:
    with image:
        try:
            image.load()  # as a whole: JPEG's draft mode saves 0.1 s of 12 megapixels, and changes what models see
            image = ImageOps.exif_transpose(image)
        except MemoryError:
            raise
        except Exception as error:  # and so do its decoders
            raise ValueError(f"it is cut off or damaged, {_said(error)}; get the file again") from None
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        values = np.asarray(image, np.float32)
        top = 65535 if image.mode != "F" else 1
        if not (values.min() >= 0 and values.max() <= top):  # NaN too
            raise ValueError(f"its values are from {values.min():g} to {values.max():g}, not 0 to {top}; save 8 bits")
        image = Image.fromarray((values * (255 / top)).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


# --- recordings -----------------------------------------------------------------------------------------------------


def _sound(path: Path) -> Clip:
    try:
        found = soundfile.info(path)
    except (soundfile.LibsndfileError, TypeError):
        if path.suffix.lower() not in _SOUNDS:
            raise ValueError(f"it is of no kind that is read here: name {_KINDS}") from None
    else:
        if found.frames * found.channels > SAMPLES:
            raise ValueError(
                f"it is too long, {found.frames * found.channels} samples by its header; the limit is {SAMPLES} "
                f"({SAMPLES // (60 * found.channels * found.samplerate)} minutes of it): cut out the part that matters"
            )
    return Clip.read(path)


# --- volumes --------------------------------------------------------------------------------------------------------


def _npy(path: Path) -> np.ndarray:
    """The array of a file, not read yet."""
    try:
        with np.errstate(over="ignore"):  # of sizes that no file has
            return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OverflowError, EOFError, OSError) as error:
        raise ValueError(f"it is cut off, damaged or no array of numbers: {_said(error)}") from None


def _npz(path: Path, name: str | None) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {
                m.filename.removesuffix(".npy"): m.file_size for m in archive.infolist() if m.filename[-4:] == ".npy"
            }
        if not sizes:
            raise ValueError("it holds no array: write it with numpy.savez")
        if (name is None and len(sizes) > 1) or (name is not None and name not in sizes):
            asked = "which of its arrays is meant" if name is None else f"it has no array {name!r}"
            raise ValueError(f"{asked}? It holds {', '.join(sizes)}: name one (in Python array=, in a shell --array)")
        name = next(iter(sizes)) if name is None else name
        if sizes[name] > 8 * VOXELS + 10_000:  # of the widest numbers, with their header
            raise ValueError(f"array {name!r} has {sizes[name]} bytes; {_TOO_LARGE}")
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[name]
    except (MemoryError, ValueError):
        raise
    except Exception as error:  # zlib's, zipfile's, struct's and NumPy's own
        raise ValueError(f"it is cut off or damaged: {_said(error)}") from None


def _volume(path: Path, values: np.ndarray) -> Tensor:
    kind = values.dtype.kind
    if kind not in "biuf":
        raise ValueError(f"its values are of type {values.dtype}; a volume is of real numbers or truth values")
    if values.ndim not in (3, 4) or not values.size:
        raise ValueError(
            f"its shape is {values.shape}; a volume is (depth, height, width) or (channels, depth, height, width). "
            "Save a picture as PNG and a sound as WAV"
        )
    if values.size > VOXELS:
        raise ValueError(f"its shape is {values.shape}, {values.size} values; {_TOO_LARGE}")
    full = np.iinfo(values.dtype).max if kind == "u" and values.max() > 1 else 1
    with np.errstate(over="ignore"):
        volume = torch.from_numpy(np.array(values, np.float32, order="C")) / full
    if not bool(volume.isfinite().all()):
        raise ValueError(f"{int((~volume.isfinite()).sum())} of its values are NaN or infinite: numpy.nan_to_num mends")
    return volume if volume.ndim == 4 else volume[None]


_TOO_LARGE = (
    f"the limit is {VOXELS} values (512 along each of three axes): crop it, or take every second v[::2, ::2, ::2]"
)


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
