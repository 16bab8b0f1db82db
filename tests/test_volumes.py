"""3D digits and moving digits against MNIST itself, and MedMNIST3D from files in the true format, written here."""

import gzip
import hashlib
import io
import pickle
import re
import sys
import zipfile

import medmnist
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency
from torch.utils.data import DataLoader

import wam.data
from wam import pictures, volumes
from wam.pictures import Arrays, mnist_digits
from wam.volumes import DIRECTIONS, MEDMNIST, Volumes, digits3d, medmnist3d, moving_digits

FIRST = [7, 2, 1, 0, 4]  # the labels of MNIST's first test digits
SHIFTS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}  # rows are counted downwards


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """MNIST is unpacked for the first of these tests only, which saves a second in each of the others."""
    unpacked = []

    class Once(Arrays):
        def load(self):
            unpacked.extend([] if unpacked else [super().load()])
            return unpacked[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "Arrays", Once)
        yield


@pytest.fixture(scope="module")
def digits():
    return digits3d("test")


@pytest.fixture(scope="module")
def clips():
    return moving_digits("test")


def cubes(n=5, full=255):
    """Volumes whose voxels are all different from those of the others."""
    voxels = torch.arange(n, dtype=torch.uint8).view(-1, 1, 1, 1, 1).expand(n, 2, 2, 3, 4).contiguous()
    return Volumes(voxels, full, torch.arange(n) % 3, ("a", "b", "c"), "cubes")


# --- volumes ----------------------------------------------------------------------------------------------------------


def test_one_volume_is_a_pair():
    x = cubes(full=4)
    for index in (3, -2, np.int64(3), torch.tensor(3), np.array(3)):
        volume, label = x[index]
        assert torch.equal(volume, torch.full((2, 2, 3, 4), 0.75)) and volume.dtype == torch.float32
        assert label == 0 and type(label) is int
    assert [label for _, label in x] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("index", "chosen"),
    [
        (slice(2), [0, 1]),
        (slice(None, None, -2), [4, 2, 0]),
        (slice(-1, None), [4]),
        ([3, 0, 3], [3, 0, 3]),
        ((1, -1), [1, 4]),
        ([], []),
        (range(1, 3), [1, 2]),
        (np.array([2, 1]), [2, 1]),
        (torch.tensor([2, 1]), [2, 1]),
        (torch.tensor([2]), [2]),
        ([torch.tensor(2), torch.tensor(0)], [2, 0]),
        ([True, False, False, True, False], [0, 3]),
        (np.array([False] * 4 + [True]), [4]),
        (torch.tensor([False, True, True, False, False]), [1, 2]),
    ],
    ids=repr,
)
def test_several_volumes_are_volumes(index, chosen):
    x = cubes()
    some = x[index]
    assert isinstance(some, Volumes) and len(some) == len(chosen)
    assert some.values[:, 0, 0, 0, 0].tolist() == chosen and some.labels.tolist() == [i % 3 for i in chosen]
    assert (some.categories, some.full, some.source) == (x.categories, x.full, x.source)
    assert some.values.shape[1:] == x.values.shape[1:]


@pytest.mark.parametrize(
    ("index", "kind", "message"),
    [
        (5, IndexError, "out of bounds"),
        (-6, IndexError, "out of bounds"),
        ([0, 5], IndexError, "index 5 is out of bounds"),
        ([True, False], IndexError, "boolean index did not match.* 5 but .* 2"),
        (torch.ones(6).bool(), IndexError, "boolean index did not match.* 5 but .* 6"),
        ([0.5], IndexError, "integer"),
        (1.0, TypeError, "integer"),
        (None, TypeError, "integer"),
        ("ab", IndexError, "integer"),
        ([[0, 1]], ValueError, r"along one axis, got an index of shape \(1, 2\)"),
    ],
    ids=repr,
)
def test_an_index_that_means_nothing(index, kind, message):
    with pytest.raises(kind, match=message):
        cubes()[index]


def test_a_batch_is_between_0_and_1():
    x = cubes(3, full=2)
    assert torch.equal(x.batch()[:, 0, 0, 0, 0], torch.tensor([0, 0.5, 1])) and x.batch().shape == (3, 2, 2, 3, 4)
    assert repr(x) == "Volumes(3 of shape (2, 2, 3, 4), cubes)"


def test_volumes_are_a_dataset_of_torch():
    x = cubes(7)
    batches = list(DataLoader(x, batch_size=3))
    assert torch.equal(torch.cat([volume for volume, _ in batches]), x.batch())
    assert torch.equal(torch.cat([label for _, label in batches]), x.labels)
    again = pickle.loads(pickle.dumps(x))  # as for workers
    assert torch.equal(again.values, x.values) and repr(again) == repr(x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"voxels": torch.zeros(5, 2, 2, 2, dtype=torch.uint8)}, r"got torch.uint8 of shape \(5, 2, 2, 2\)"),
        ({"voxels": torch.zeros(5, 1, 2, 2, 2)}, r"uint8 tensors .*, got torch.float32 of shape \(5, 1, 2, 2, 2\)"),
        ({"labels": torch.zeros(4, dtype=torch.int64)}, r"5 volumes need one label each.*shape \(4,\)"),
        ({"labels": torch.zeros(5, 1, dtype=torch.int64)}, r"one label each.*shape \(5, 1\)"),
        ({"labels": torch.zeros(5)}, "one label each, in int64, got torch.float32"),
        ({"labels": torch.tensor([0, 1, 2, 3, 0])}, r"labels must be from 0 to 2, for \('a', 'b', 'c'\); got 3"),
        ({"labels": torch.tensor([0, 1, 2, -1, 0])}, "labels must be from 0 to 2"),
        ({"full": 0}, "full must be from 1 to 255 and not below any value, got 0"),
        (
            {"full": 1, "voxels": torch.full((5, 1, 2, 2, 2), 2, dtype=torch.uint8)},
            "full must be from 1 to 255.* got 1",
        ),
    ],
)
def test_what_are_no_volumes(change, message):
    x = cubes()
    parts = {"voxels": x.values, "full": x.full, "labels": x.labels} | change
    with pytest.raises(ValueError, match=message):
        Volumes(parts["voxels"], parts["full"], parts["labels"], x.categories, "cubes")


# --- 3D digits and moving digits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [digits3d, moving_digits])
def test_the_first_ones_do_not_depend_on_how_many_there_are(make):
    fifty = make("test", 50)
    torch.manual_seed(1)
    five = make("test", 5)
    assert torch.equal(five.values, fifty[:5].values) and torch.equal(five.labels, fifty[:5].labels)
    assert not torch.equal(five.values, make("train", 5).values)


def test_all_of_them_begin_with_the_first_ones(digits, clips):
    for all_of_them, make in ((digits, digits3d), (clips, moving_digits)):
        some = make("test", 2100)  # more than one part of the computation
        assert torch.equal(all_of_them[:2100].values, some.values) and torch.equal(
            all_of_them.labels[:2100], some.labels
        )


# The volumes themselves: another hash means other data, for which the weights that come with the package were not
# trained and in which no result of the book holds.
@pytest.mark.parametrize(
    ("make", "split", "sha256"),
    [
        (digits3d, "test", "072660709edb6e2e32055493c2b7baec748327465068c3e1855c4ce616126800"),
        (digits3d, "train", "6c9dafed281af9c060900c13e3248e7a431a6f599175eedba4d7d2f344878a7b"),
        (moving_digits, "test", "1a7f01b71ca73a0366a7824bf48c7e3f3d2a27f20e076ff9b21d8b61b76afc14"),
        (moving_digits, "train", "6086955404fd5ead6eb3ffda61c9880df0c6c068e9adf8e7a3db6657193eca52"),
    ],
)
def test_the_volumes_are_the_ones_that_the_networks_know(make, split, sha256):
    assert hashlib.sha256(make(split, 5).values.numpy().tobytes()).hexdigest() == sha256


def test_the_splits_are_those_of_mnist(digits, clips):
    assert digits.labels[:5].tolist() == FIRST and len(digits) == len(clips) == 10_000
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert digits.labels.bincount().tolist() == counts
    assert torch.equal(clips.labels // 4, digits.labels)
    images, labels = mnist_digits("train", None)
    assert images.shape == (60_000, 28, 28) and labels[:5].tolist() == [5, 0, 4, 1, 9] and labels[-1] == 8
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(labels).tolist() == counts
    assert digits3d("train", 5).labels.tolist() == [5, 0, 4, 1, 9] == (moving_digits("train", 5).labels // 4).tolist()


def test_what_the_sets_say_of_themselves(digits, clips):
    assert digits.values.shape == clips.values.shape == (10_000, 1, 16, 16, 16)
    assert digits.categories == tuple("0123456789")
    assert clips.categories == tuple(f"{digit} {direction}" for digit in "0123456789" for direction in DIRECTIONS)
    assert "MNIST, test" in digits.source and "MNIST, train" in moving_digits("train", 1).source
    assert digits[:500].batch().unique().tolist() == [0, 1] and digits.values.max() == 1
    assert 0.9 < clips[:100].batch().max() <= 1 and clips[:100].batch().min() == 0
    assert wam.data.digits3d is digits3d and wam.data.moving_digits is moving_digits


@pytest.mark.parametrize("make", [digits3d, moving_digits])
def test_splits_and_numbers_out_of_range(make):
    with pytest.raises(ValueError, match="unknown split 'val'; choose one of train, test"):
        make("val")
    for n in (0, -1, 1.5, 2.0, True, "3"):
        with pytest.raises(ValueError, match=f"n must be an integer of at least 1, got {n!r}"):
            make("test", n)
    for split, n in (("test", 10_001), ("train", 60_001)):
        noun = "digits" if make is digits3d else "volumes"
        with pytest.raises(ValueError, match=f"n = {n} {noun} asked for: there are {n - 1}; None is all of them"):
            make(split, n)


def test_solids_touch_the_cube_and_fill_a_tenth_of_it(digits):
    filled = digits.values[:, 0] > 0
    assert 0.09 < filled.double().mean() < 0.095
    inside = filled[:, 1:-1, 1:-1, 1:-1]
    assert (filled.sum((1, 2, 3)) > inside.sum((1, 2, 3))).all()
    assert (filled.sum((1, 2, 3)) > 60).all()


def test_an_untilted_letter_is_where_it_should_be():
    """An L along the margins of the image: two straight walls of the cube, as deep as 0.24 / (27 / 28) of it."""
    letter = np.zeros((2, 28, 28))
    letter[0, :, 0] = letter[0, 27, :] = 1
    letter[1] = 0.3  # not above the threshold: only the pixel in the corner is
    letter[1, 0, 27] = 1
    solid, corner = volumes._solids(letter, np.zeros((2, 3))).astype(bool)
    expected = np.zeros((16, 16), bool)
    expected[:, 0] = expected[15, :] = True
    assert solid.any((1, 2)).nonzero()[0].tolist() == [6, 7, 8, 9]
    for layer in solid[6:10]:
        assert np.array_equal(layer, expected)
    assert set(zip(*corner.nonzero())) == {(depth, 0, 15) for depth in (6, 7, 8, 9)}


def test_an_untilted_digit_seen_along_the_depth_is_the_digit():
    """Of its eight reflections and quarter turns, the image that agrees best is the digit itself."""
    images, labels = mnist_digits("test", 300)
    seen = volumes._solids(images, np.zeros((300, 3))).any(1)
    agrees = np.zeros((300, 8))
    for i, image in enumerate(images > 0.3):
        reach = np.abs(np.argwhere(image) - 13.5).max()
        pixels = (13.5 + reach * np.linspace(-1, 1, 16)).round().astype(int)  # the one at the centre of each voxel
        image = image[np.ix_(pixels, pixels)]
        views = [np.rot90(view, k) for view in (image, image.T) for k in range(4)]
        agrees[i] = [(view & seen[i]).sum() / (view | seen[i]).sum() for view in views]
    assert np.median(agrees[:, 0]) > 0.8 and (agrees[:, 0] > 0.4).all()
    chiral = np.isin(labels, [2, 3, 4, 5, 6, 7, 9])  # 0, 1 and 8 look alike upside down, or mirrored
    assert (agrees[chiral].argmax(1) == 0).all()


@pytest.mark.parametrize("angle", [0.5, -0.5])
def test_a_turned_bar_leans_as_its_angle_says(angle):
    """About the depth, the height turns towards the width; about the width, the depth turns towards the height."""
    bar = np.zeros((3, 28, 28))
    bar[:, :, 13:15] = 1
    leans = []
    for solid in volumes._solids(bar, angle * np.eye(3)):
        points = np.argwhere(solid) - 7.5
        leans.append(np.sign(angle) * points.T @ points / len(points))
    about_depth, about_height, about_width = leans
    assert about_depth[1, 2] > 5 and abs(about_depth[0, 1]) < 1  # its lower end goes to the right
    assert abs(about_height[0, 1]) < 1 and abs(about_height[1, 2]) < 1
    assert about_width[0, 1] < -5 and abs(about_width[1, 2]) < 1  # its lower end comes to the front


def test_angles_reach_as_far_as_stated_and_no_further(monkeypatch):
    asked = []
    solids = volumes._solids
    monkeypatch.setattr(volumes, "_solids", lambda images, angles: asked.append(angles) or solids(images, angles))
    digits3d("test", 2000)
    angles = np.concatenate(asked)
    assert angles.shape == (2000, 3) and np.abs(angles).max() <= 0.6
    assert (np.abs(angles).max(0) > 0.59).all() and (np.abs(angles.mean(0)) < 0.03).all()
    assert np.abs(np.corrcoef(angles.T) - np.eye(3)).max() < 0.1


def moved(clip, direction):
    """Whether each frame is the one before (0), or that rolled by one pixel in the direction (1), or neither (-1)."""
    before, after = clip[:, :-1], clip[:, 1:]
    rolled = torch.stack([before[i].roll(SHIFTS[DIRECTIONS[d]], (1, 2)) for i, d in enumerate(direction)])
    stays, rolls = ((after == x).all(-1).all(-1) for x in (before, rolled))
    return torch.where(rolls, 1, torch.where(stays, 0, -1))


def test_digits_move_by_a_pixel_in_every_second_frame(clips):
    clips = clips[:3000]
    steps = moved(clips.values[:, 0], clips.labels % 4)
    assert (steps >= 0).all()
    assert (steps[:, 1:] + steps[:, :-1] == 1).all()  # they alternate
    assert 0.45 < steps[:, 0].double().mean() < 0.55  # and begin either way
    backwards = moved(clips.values[:, 0], clips.labels % 4 ^ 1)
    assert (backwards == 1).sum() == 0


def test_the_digit_is_the_image_at_half_its_size(clips):
    """Rolled back to its corner, the first frame is the mean over 2 x 2 pixels of the central 20 x 20."""
    images, _ = mnist_digits("test", 30)
    for image, (clip, _) in zip(images, clips[:30]):
        expected = torch.zeros(16, 16)
        for row in range(10):
            for column in range(10):
                expected[row, column] = float(image[4 + 2 * row : 6 + 2 * row, 4 + 2 * column : 6 + 2 * column].mean())
        rolled = [clip[0, 0].roll((i, j), (0, 1)) for i in range(16) for j in range(16)]
        assert min((frame - expected).abs().max() for frame in rolled) < 0.51 / 255


@given(
    start=st.tuples(*[st.integers(0, 15)] * 3),
    direction=st.sampled_from(range(4)),
    other=st.sampled_from(range(4)),
    t=st.integers(0, 15),
)
def test_every_frame_is_one_of_every_direction(start, direction, other, t):
    """Whatever a clip shows at whatever time, a clip of each other direction shows it at that time, too."""
    image = np.random.default_rng(0).uniform(size=(1, 28, 28))
    (row, column, phase), steps = start, (t + start[2]) // 2
    (down, right), (other_down, other_right) = SHIFTS[DIRECTIONS[direction]], SHIFTS[DIRECTIONS[other]]
    elsewhere = (row + steps * (down - other_down)) % 16, (column + steps * (right - other_right)) % 16, phase
    one = volumes._moving(image, np.array([start]), np.array([direction]))
    two = volumes._moving(image, np.array([elsewhere]), np.array([other]))
    assert np.array_equal(one[0, t], two[0, t])
    assert np.array_equal(one, two) == (direction == other)


def test_where_digits_start_says_nothing_of_their_direction(clips):
    """Positions in the first frame, measured by correlation, and the directions: two independent variables."""
    images, _ = mnist_digits("test", None)
    corner = volumes._moving(images, np.zeros((10_000, 3), int), np.zeros(10_000, int))[:, 0]
    corner, frames = torch.from_numpy(corner), clips.values[:, 0, 0]
    correlation = torch.fft.ifft2(torch.fft.fft2(frames.double()) * torch.fft.fft2(corner.double()).conj()).real
    row, column = np.unravel_index(correlation.flatten(1).argmax(1).numpy(), (16, 16))
    i = torch.arange(16)
    rolled = corner[
        torch.arange(10_000)[:, None, None],
        (i[:, None] - torch.from_numpy(row)[:, None, None]) % 16,
        (i - torch.from_numpy(column)[:, None, None]) % 16,
    ]
    assert torch.equal(rolled, frames)
    direction, parity = clips.labels.numpy() % 4, moved(clips.values[:, 0, :2], clips.labels % 4)[:, 0].numpy()
    digit = clips.labels.numpy() // 4
    for one, other in ((row, direction), (column, direction), (parity, direction), (digit, direction), (row, column)):
        table = np.zeros((one.max() + 1, other.max() + 1))
        np.add.at(table, (one, other), 1)
        assert chi2_contingency(table).pvalue > 1e-3
        assert table.sum(1).min() > 0.8 * table.sum(1).mean()  # and all of them about equally often


# --- MedMNIST3D -------------------------------------------------------------------------------------------------------

SIZES = {"train": 4, "val": 2, "test": 3}


def arrays(size=28, classes=2, seed=0):
    """The six arrays of a file of MedMNIST3D."""
    random = np.random.default_rng(seed)
    found = {}
    for split, n in SIZES.items():
        found[f"{split}_images"] = random.integers(0, 256, (n, size, size, size), dtype=np.uint8)
        found[f"{split}_labels"] = (np.arange(n, dtype=np.uint8) % classes)[:, None]
    return found


def write(path, content):
    np.savez_compressed(path, **content)
    return path


def test_a_file_of_medmnist(tmp_path):
    content = arrays()
    file = write(tmp_path / "adrenalmnist3d.npz", content)
    for split, n in SIZES.items():
        x = medmnist3d("adrenalmnist3d", split, file=file)
        assert len(x) == n and x.values.shape == (n, 1, 28, 28, 28) and x.labels.tolist() == [0, 1, 0, 1][:n]
        np.testing.assert_array_equal(x.values[:, 0], content[f"{split}_images"])
        np.testing.assert_allclose(x.batch()[:, 0], content[f"{split}_images"] / 255, rtol=1e-6)
        assert x.categories == ("normal", "hyperplasia") and f"adrenalmnist3d, {split}" in x.source
    assert len(medmnist3d(file=str(file))) == SIZES["test"]  # the defaults
    some = medmnist3d(file=file, split="train", n=2)
    np.testing.assert_array_equal(some.values[:, 0], content["train_images"][:2])
    assert wam.data.medmnist3d is medmnist3d


def test_other_sizes_unequal_ones_and_labels_of_other_integers(tmp_path):
    content = arrays(6) | {"test_images": np.ones((3, 5, 6, 7), np.uint8), "test_labels": np.array([[10], [0], [3]])}
    x = medmnist3d("organmnist3d", file=write(tmp_path / "any.npz", content))
    assert x.values.shape == (3, 1, 5, 6, 7) and [x.categories[i] for i in x.labels] == [
        "pancreas",
        "liver",
        "femur-right",
    ]


def without(*names):
    return {name: array for name, array in arrays(4).items() if name not in names}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (without("test_images"), "it has no array test_images, but train_images, train_labels, val_images"),
        (without("test_labels"), "it has no array test_labels, but train_images"),
        ({}, "it has no array test_images, but none"),
        (arrays(4) | {"test_images": np.zeros((3, 4, 4), np.uint8)}, r"images must be uint8 .* got uint8 \(3, 4, 4\)"),
        (arrays(4) | {"test_images": np.zeros((3, 4, 4, 4, 1), np.uint8)}, r"images must be .* \(3, 4, 4, 4, 1\)"),
        (arrays(4) | {"test_images": np.zeros((3, 4, 4, 4))}, r"images must be uint8 .* got float64 \(3, 4, 4, 4\)"),
        (
            arrays(4) | {"test_images": np.zeros((2, 4, 4, 4), np.uint8)},
            r"labels must be integers \(2, 1\), got .* \(3, 1\)",
        ),
        (arrays(4) | {"test_labels": np.zeros(3, np.uint8)}, r"labels must be integers \(3, 1\), got uint8 \(3,\)"),
        (
            arrays(4) | {"test_labels": np.zeros((3, 2), np.uint8)},
            r"labels must be integers \(3, 1\), got uint8 \(3, 2\)",
        ),
        (arrays(4) | {"test_labels": np.zeros((3, 1))}, r"labels must be integers \(3, 1\), got float64"),
        (
            arrays(4) | {"test_labels": np.full((3, 1), 2, np.uint8)},
            "labels .* 0 to 1, for .*normal.*; got 2; name the set",
        ),
        (arrays(4) | {"test_labels": np.full((3, 1), -1)}, "labels must be from 0 to 1"),
        (arrays(4) | {"test_images": np.array([{}, {}, {}])}, "Object arrays cannot be loaded"),
    ],
)
def test_a_file_with_other_contents_is_named(tmp_path, content, message):
    file = write(tmp_path / "some.npz", content)
    with pytest.raises(ValueError, match=rf"some\.npz is not adrenalmnist3d\.npz of MedMNIST3D: {message}.*zenodo"):
        medmnist3d(file=file)


class Opens:
    """What a pickle can do: open a file for writing."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_pickles_are_refused_and_not_executed(tmp_path):
    target = tmp_path / "written"
    evil = np.array([Opens(target)] * 3, dtype=object)
    file = write(tmp_path / "evil.npz", arrays(4) | {"test_labels": evil})
    for content, why in ((file.read_bytes(), "[Oo]bject arrays"), (pickle.dumps(Opens(target)), "not an npz file")):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=rf"evil\.npz is not adrenalmnist3d.*{why}"):
            medmnist3d(file=file)
    assert not target.exists()


def test_what_is_no_archive_is_named(tmp_path):
    good = write(tmp_path / "good.npz", arrays(4)).read_bytes()
    bad, one = tmp_path / "bad.npz", io.BytesIO()
    np.save(one, np.zeros(3))
    for content in (good[:-1], good[:300], b"", b"<html>", b"PK\x03\x04", one.getvalue(), gzip.compress(good)):
        bad.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.npz is not adrenalmnist3d\.npz of MedMNIST3D: .*zenodo"):
            medmnist3d(file=bad)


def test_a_damaged_stream_and_an_encrypted_member_are_named(tmp_path):
    file = write(tmp_path / "bad.npz", arrays(4))
    with zipfile.ZipFile(file) as archive:
        start = archive.getinfo("test_images.npy").header_offset
    good = file.read_bytes()
    stream, locked = bytearray(good), bytearray(good)
    stream[start + 30 + sum(good[start + 26 : start + 30 : 2])] = 0xFF  # after its name and the rest: no kind of block
    listed = good.index(b"test_images.npy", good.index(b"PK\x01\x02")) - 46
    for flags in (start + 6, listed + 8):  # of the member, and of the archive's directory
        locked[flags] |= 1
    for content, message in ((stream, "decompressing"), (locked, "encrypted")):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=rf"bad\.npz is not adrenalmnist3d\.npz of MedMNIST3D: .*{message}"):
            medmnist3d(file=file)


@given(data=st.data(), compressed=st.booleans())
def test_a_damaged_file_is_refused_or_read_as_it_was(tmp_path_factory, data, compressed):
    """Every bit of a zip archive is covered by a checksum, or does not matter."""
    content, file = arrays(3), tmp_path_factory.getbasetemp() / "damaged.npz"
    whole = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(whole, **content)
    bits = bytearray(whole.getvalue())
    bits[data.draw(st.integers(0, len(bits) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(bits)
    try:
        x = medmnist3d(file=file)
    except ValueError as error:
        assert "damaged.npz is not adrenalmnist3d.npz" in str(error)
    else:
        np.testing.assert_array_equal(x.values[:, 0], content["test_images"])
        assert x.labels.tolist() == [0, 1, 0]


def test_what_is_not_there_and_what_is_out_of_range(tmp_path):
    for path in (tmp_path / "nowhere.npz", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no file {path}: take adrenalmnist3d.npz from .*zenodo.*file="):
            medmnist3d(file=path)
    for name, split, said in (
        ("adrenalmnist", "test", "unknown set 'adrenalmnist'; did you mean 'adrenalmnist3d'?"),
        ("adrenalmnist3d", "validation", "unknown split 'validation'; choose one of train, val, test"),
        ("digits", "test", "unknown set 'digits'; choose one of organmnist3d, nodulemnist3d"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            medmnist3d(name, split)
    for size in (32, "28", None):
        with pytest.raises(ValueError, match=f"with 28 and with 64 voxels along an axis, not with {size!r}"):
            medmnist3d(size=size)
    file = write(tmp_path / "small.npz", arrays(4))
    for n, message in ((0, "^n must be an integer"), (1.5, "^n must be an integer"), (4, "^n = 4 .* there are 3")):
        with pytest.raises(ValueError, match=message):
            medmnist3d(file=file, n=n)


# --- MedMNIST3D through its package -----------------------------------------------------------------------------------


def test_the_sets_are_those_of_the_package():
    info = {name: about for name, about in medmnist.INFO.items() if name.endswith("3d")}
    assert set(MEDMNIST) == set(info)
    for name, categories in MEDMNIST.items():
        assert {str(i): category for i, category in enumerate(categories)} == info[name]["label"]
        assert info[name]["n_channels"] == 1 and issubclass(
            getattr(medmnist, info[name]["python_class"]), medmnist.dataset.MedMNIST3D
        )


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The folder where the package keeps its files, empty, and nothing to be downloaded from anywhere."""
    init = medmnist.dataset.MedMNIST.__init__
    defaults = tuple(str(tmp_path) if value == medmnist.dataset.DEFAULT_ROOT else value for value in init.__defaults__)
    monkeypatch.setattr(init, "__defaults__", defaults)
    for about in medmnist.INFO.values():
        for key in ("url", "url_64"):
            if key in about:
                monkeypatch.setitem(about, key, "http://127.0.0.1:9/nothing")  # the port of "discard": closed
    return tmp_path


@pytest.mark.parametrize(("size", "flag"), [(28, ""), (64, "_64")])
def test_the_package_finds_its_file(root, monkeypatch, size, flag):
    content = arrays(8, classes=3)
    file = write(root / f"fracturemnist3d{flag}.npz", content)
    md5 = hashlib.md5(file.read_bytes()).hexdigest()
    monkeypatch.setitem(medmnist.INFO["fracturemnist3d"], f"MD5{flag}", md5)
    for split, n in SIZES.items():
        x = medmnist3d("fracturemnist3d", split, size=size)
        np.testing.assert_array_equal(x.values[:, 0], content[f"{split}_images"])
        assert len(x) == n and x.categories == MEDMNIST["fracturemnist3d"] and x.labels.tolist() == [0, 1, 2, 0][:n]


def test_a_failing_download_says_what_to_do(root):
    file = write(root / "adrenalmnist3d.npz", arrays(4))  # not the published one: to be downloaded again
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match=r"could not download adrenalmnist3d: .*refused.*zenodo.*file="):
            medmnist3d()
        file.unlink(missing_ok=True)


def test_without_the_package_the_error_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "medmnist", None)
    with pytest.raises(ImportError, match=r"adrenalmnist3d comes through .*pip install medmnist; or give .* file="):
        medmnist3d()
    assert len(medmnist3d(file=write(tmp_path / "a.npz", arrays(4)))) == 3
