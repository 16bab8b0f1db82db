"""Files of one's own: what is read of them, and what is said of those that cannot be read."""

import io
import os
import resource
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from wam import inputs
from wam.clips import Clip

RNG = np.random.default_rng(0)
PICTURE = Image.fromarray(RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8))
CUBE = RNG.random((6, 5, 4))


def message(error, path):
    """The text of an error: one line that names the file."""
    text = str(error.value)
    assert "\n" not in text and str(path) in text
    return text


@pytest.fixture
def saved(tmp_path):
    """Save a picture, a sound or an array under a name."""

    def save(name, what, **options):
        path = tmp_path / name
        if isinstance(what, bytes):
            path.write_bytes(what)
        elif isinstance(what, Image.Image):
            what.save(path, **options)
        elif path.suffix == ".npz":
            np.savez(path, **what)
        elif path.suffix == ".npy":
            np.save(path, what)
        else:
            soundfile.write(path, what, **options)
        return path

    return save


# photographs


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tiff", "a.bmp", "without_a_suffix"])
def test_a_photograph_is_read_as_it_is(saved, name):
    kind = {"format": "png"} if "." not in name else {"lossless": True} if name == "a.webp" else {}
    image = inputs.read(saved(name, PICTURE, **kind))
    assert image.mode == "RGB" and np.array_equal(np.asarray(image), np.asarray(PICTURE))


def test_it_is_turned_as_its_exif_data_say(saved):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn clockwise
    image = inputs.read(saved("a.png", PICTURE, exif=exif))
    assert np.array_equal(np.asarray(image), np.rot90(np.asarray(PICTURE), -1))


def test_what_is_transparent_is_white(saved):
    image = PICTURE.convert("RGBA")
    alpha = np.zeros((30, 40), np.uint8)
    alpha[:, 20:] = 255
    image.putalpha(Image.fromarray(alpha))
    seen = np.asarray(inputs.read(saved("a.png", image)))
    assert (seen[:, :20] == 255).all() and np.array_equal(seen[:, 20:], np.asarray(PICTURE)[:, 20:])
    palette = Image.fromarray(np.tile(np.array([0, 1], np.uint8), (4, 2)), "P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    seen = np.asarray(inputs.read(saved("b.png", palette, transparency=0)))
    assert (seen[:, ::2] == 255).all() and (seen[:, 1::2] == (0, 0, 255)).all()


def test_sixteen_bits_become_eight_and_floats_are_from_0_to_1(saved):
    deep = (np.asarray(PICTURE)[..., 0].astype(np.uint16) << 8) + 128  # 257 per step of 8 bits
    seen = np.asarray(inputs.read(saved("a.png", Image.fromarray(deep))))
    assert np.abs(seen[..., 0].astype(int) - np.asarray(PICTURE)[..., 0]).max() <= 1
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    seen = np.asarray(inputs.read(saved("a.tiff", Image.fromarray(values))))
    assert np.array_equal(seen[..., 1], (255 * values).round())
    with pytest.raises(ValueError) as error:
        inputs.read(path := saved("b.tiff", Image.fromarray(values - 0.5)))
    assert "from -0.5 to 0.5, not 0 to 1" in message(error, path)


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "webp", "tiff"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_photograph_that_is_cut_off(saved, kind, share):
    file = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(file, kind)
    path = saved(f"a.{kind}", file.getvalue()[: int(share * file.tell())])
    with pytest.raises(ValueError) as error:
        inputs.read(path)
    assert "damaged" in message(error, path)


def test_a_photograph_that_is_too_large_is_refused_before_it_is_decoded(saved):
    header = io.BytesIO()
    Image.new("1", (8, 8)).save(header, "png")
    for width, height in ((15000, 10001), (200_000, 200_000)):  # the second is a bomb, for Pillow too
        content = bytearray(header.getvalue())
        content[16:24] = width.to_bytes(4) + height.to_bytes(4)
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4)
        path = saved("a.png", bytes(content))
        with pytest.raises(ValueError) as error:
            inputs.read(path)
        assert "too large" in message(error, path) and "150 million" in str(error.value)


# recordings


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.aiff", "no_suffix"])
def test_a_recording_is_read(saved, name):
    samples = 0.5 * np.sin(np.arange(16000) * 0.1)
    clip = inputs.read(saved(name, samples, samplerate=16000, **({} if "." in name else {"format": "WAV"})))
    assert isinstance(clip, Clip) and clip.rate == 16000 and clip.channels == 1
    assert abs(float(clip.samples.abs().max()) - 0.5) < 0.05


def test_a_recording_that_is_cut_off_or_too_long(saved, monkeypatch):
    path = saved("a.wav", RNG.normal(0, 0.1, 8000), samplerate=8000)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError) as error:
        inputs.read(path)
    assert "cut off" in message(error, path)
    monkeypatch.setattr(inputs, "SAMPLES", 12_000)
    path = saved("b.flac", RNG.normal(0, 0.1, (8000, 2)), samplerate=8000)
    monkeypatch.setattr(Clip, "read", None)  # it is not even tried
    with pytest.raises(ValueError) as error:
        inputs.read(path)
    assert "too long, 16000 samples" in message(error, path) and "the limit is 12000" in str(error.value)


# volumes


def test_a_volume_is_read(saved):
    volume = inputs.read(saved("a.npy", CUBE))
    assert volume.shape == (1, 6, 5, 4) and volume.dtype == torch.float32
    assert np.array_equal(volume[0].numpy(), CUBE.astype(np.float32))
    four = np.stack([CUBE, -CUBE])
    assert np.array_equal(inputs.read(saved("b.npz", {"x": np.asfortranarray(four)})).numpy(), four.astype(np.float32))


@pytest.mark.parametrize(
    "values, largest",
    [
        (np.full((2, 2, 2), 255, np.uint8), 1.0),
        (np.full((2, 2, 2), 51, np.uint8), 0.2),
        (np.full((2, 2, 2), 65535, np.uint16), 1.0),
        (np.ones((2, 2, 2), np.uint8), 1.0),  # a mask, not a nearly black volume
        (np.ones((2, 2, 2), bool), 1.0),
        (np.full((2, 2, 2), -1000, np.int16), -1000.0),  # Hounsfield units stay
        (np.full((2, 2, 2), 7.5, np.float16), 7.5),
        (np.full((2, 2, 2), 3.0, ">f8"), 3.0),
    ],
)
def test_types_of_values(saved, values, largest):
    assert float(inputs.read(saved("a.npy", values)).flatten()[0]) == pytest.approx(largest)


@pytest.mark.parametrize(
    "values, said",
    [
        (np.zeros((4, 4)), "its shape is (4, 4); a volume is (depth, height, width) or"),
        (np.zeros(4), "Save a picture as PNG and a sound as WAV"),
        (np.zeros((1, 1, 4, 4, 4)), "its shape is (1, 1, 4, 4, 4)"),
        (np.zeros((0, 4, 4)), "its shape is (0, 4, 4)"),
        (np.full((2, 2, 2), np.nan), "8 of its values are NaN or infinite"),
        (np.full((2, 2, 2), 1e300), "NaN or infinite"),  # in float32
        (np.zeros((2, 2, 2), complex), "of type complex128"),
        (np.full((2, 2, 2), "a"), "of type <U1"),
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_what_is_no_volume(saved, values, said, suffix):
    path = saved(f"a.{suffix}", values if suffix == "npy" else {"x": values})
    with pytest.raises(ValueError) as error:
        inputs.read(path)
    assert said in message(error, path)


class Trap:
    def __reduce__(self):
        return Path.touch, (Path("trapped"),)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_nothing_is_unpickled(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    trap, path = np.array([Trap()], dtype=object), tmp_path / f"a.{suffix}"
    np.save(path, trap, allow_pickle=True) if suffix == "npy" else np.savez(path, x=trap)
    with pytest.raises(ValueError) as error:
        inputs.read(path)
    message(error, path)
    assert not Path("trapped").exists()


def test_arrays_of_an_npz_are_named(saved):
    path = saved("a.npz", {"first": CUBE, "second": 2 * CUBE})
    assert np.array_equal(inputs.read(path, "second")[0].numpy(), (2 * CUBE).astype(np.float32))
    for name, said in ((None, "which of its arrays is meant? It holds first, second"), ("third", "no array 'third'")):
        with pytest.raises(ValueError) as error:
            inputs.read(path, name)
        assert said in message(error, path)
    with pytest.raises(ValueError) as error:
        inputs.read(path := saved("b.npz", {}))
    assert "holds no array" in message(error, path)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_volume_that_is_cut_off(saved, suffix, share):
    path = saved(f"a.{suffix}", RNG.random((9, 9, 9)) if suffix == "npy" else {"x": RNG.random((9, 9, 9))})
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError) as error:
        inputs.read(path)
    message(error, path)


def header(shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


def test_a_header_that_promises_more_than_there_is(saved):
    for shape in ((2000, 2000, 2000), (10**9, 10**9, 10**9), (4, 4, 4)):
        path = saved("a.npy", header(shape) + bytes(100))
        with pytest.raises(ValueError) as error:
            inputs.read(path)
        message(error, path)
        path = path.with_suffix(".npz")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", header(shape) + bytes(100))
        with pytest.raises(ValueError) as error:
            inputs.read(path)
        message(error, path)


def test_a_huge_volume_is_refused_before_it_is_read(tmp_path):
    """Real ones: 32 GB on a file system that stores no zeros, and a zip bomb."""
    path, bytes_before = tmp_path / "a.npy", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with path.open("wb") as file:
        file.write(head := header((2000, 2000, 2000)))
        file.truncate(len(head) + 4 * 2000**3)
    with pytest.raises(ValueError) as error:
        inputs.read(path)
    assert f"8000000000 values; the limit is {inputs.VOXELS}" in message(error, path)
    with (
        zipfile.ZipFile(bomb := tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.npy", "w", force_zip64=True) as member,
    ):
        member.write(header((640, 640, 640, 1)))
        for _ in range(1100):
            member.write(bytes(2**20))
    with pytest.raises(ValueError) as error:
        inputs.read(bomb)
    assert "the limit is" in message(error, bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - bytes_before < 200_000  # kilobytes


# files


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("a.jpg", b"", "is empty: 0 bytes"),
        ("a.wav", b"", "is empty"),
        ("a.npy", b"", "is empty"),
        ("a.jpg", b"<html>not found</html>", "no image that Pillow reads"),
        ("a.wav", b"<html>not found</html>", "not a sound, or it is cut off or damaged"),
        ("a.npy", b"<html>not found</html>", "not of NumPy's format .npy"),
        ("a.npz", b"<html>not found</html>", "not of NumPy's format .npz"),
        ("a.pdf", b"%PDF-1.4 hello", "of no kind that is read here: name a photograph (JPEG"),
        ("letter", b"Dear Sir or Madam", "of no kind that is read here"),
    ],
)
def test_other_files(saved, name, content, said):
    path = saved(name, content)
    with pytest.raises(ValueError) as error:
        inputs.read(path)
    assert said in message(error, path)


def test_missing_folder_fifo(tmp_path, saved):
    saved("photo.png", PICTURE)
    with pytest.raises(FileNotFoundError) as error:
        inputs.read(path := tmp_path / "phto.png")
    assert f"did you mean {tmp_path / 'photo.png'}?" in message(error, path)
    with pytest.raises(FileNotFoundError) as error:
        inputs.read(path := tmp_path / "no" / "where.png")
    assert "check the name" in message(error, path)
    with pytest.raises(IsADirectoryError) as error:
        inputs.read(tmp_path)
    assert "is a folder: name a file in it" in message(error, tmp_path)
    os.mkfifo(path := tmp_path / "pipe")
    with pytest.raises(ValueError) as error:
        inputs.read(path)
    assert "no regular file" in message(error, path)
    with pytest.raises(ValueError) as error:
        inputs.read(path := tmp_path / ("a" * 300))
    message(error, path)


def test_a_file_that_may_not_be_read(saved):
    path = saved("a.png", PICTURE)
    path.chmod(0)
    before = os.geteuid()
    folders = [(p, p.stat().st_mode) for p in path.parents if p != Path("/")]
    if before == 0:  # root may read everything: be somebody else for a moment
        for folder, mode in folders:
            folder.chmod(mode | 0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError) as error:
            inputs.read(path)
    finally:
        os.seteuid(before)
        if before == 0:
            for folder, mode in folders:
                folder.chmod(mode)
    assert "may not be read: change its permissions" in message(error, path)
