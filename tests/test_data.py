"""The embedded photographs, and ImageNet folders in the true formats, written here with PIL and SciPy."""

import numpy as np
import pytest
from PIL import Image

import wam.data
import wam.models

# Three ImageNet classes: WordNet id, class index, and the development kit's own id.
TENCH, HOUSE_FINCH, TOILET_TISSUE = ("n01440764", 0, 449), ("n01532829", 12, 372), ("n15075141", 999, 907)
# Number of the validation image -> its class; as in the real set, no order is the order of the classes.
IMAGES = {1: TOILET_TISSUE, 2: TENCH, 3: HOUSE_FINCH, 5: TENCH, 8: TENCH, 11: TOILET_TISSUE}
LABELS = [999, 0, 12, 0, 0, 999]


def stem(number):
    return f"ILSVRC2012_val_{number:08d}"


def write_image(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if number == 3 else "RGB", (20 + number, 16)).save(path, format="JPEG")


@pytest.fixture
def by_class(tmp_path):
    for number, (wnid, *_) in IMAGES.items():
        write_image(tmp_path / "by_class" / wnid / f"{stem(number)}.JPEG", number)
    return tmp_path / "by_class"


@pytest.fixture
def flat(tmp_path):
    for number in IMAGES:
        write_image(tmp_path / "flat" / f"{stem(number)}.JPEG", number)
    return tmp_path / "flat"


def write_kaggle(folder, images=IMAGES):
    rows = [f"{stem(number)},{wnid} 1 2 3 4 {wnid} 5 6 7 8 " for number, (wnid, *_) in images.items()]
    (folder / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *reversed(rows)]) + "\n")


def write_devkit(folder):
    io = pytest.importorskip("scipy.io")
    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss")
    synsets = np.empty((3, 1), dtype=[(field, object) for field in fields])
    for row, (wnid, _, id_) in zip(synsets, (HOUSE_FINCH, TOILET_TISSUE, TENCH), strict=True):
        row[0] = (id_, wnid, "words", "gloss")
    io.savemat(folder / "meta.mat", {"synsets": synsets})
    truth = [IMAGES.get(number, TENCH)[2] for number in range(1, 12)]
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{id_}\n" for id_ in truth))


def test_the_twenty_labelled_photographs():
    images = wam.data.images()
    assert len(images) == 20
    assert [image.name for image in images] == sorted(image.name for image in images)
    for image in images:
        assert image.name.endswith(f"_{image.label}") and 0 <= image.label < 1000
        assert image.image.mode == "RGB" and image.image.size in {(512, 512), (1024, 683)}
        assert "foolbox 3.3.4" in image.source and "ImageNet terms" in image.source
    assert [image.label for image in images[:5]] == [243, 559, 438, 990, 949]
    assert [image.name for image in wam.data.images(3)] == [image.name for image in images[:3]]


def test_every_photograph_has_a_box():
    assert list(wam.data.BOXES) == [image.name for image in wam.data.images()]
    for left, top, right, bottom in wam.data.BOXES.values():
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
    whole = [name for name, box in wam.data.BOXES.items() if box == (0, 0, 1, 1)]
    assert whole == ["imagenet_01_559", "imagenet_04_949", "imagenet_12_741"]


@pytest.mark.parametrize("network", wam.models.EMBEDDED)
def test_boxes_lie_where_the_object_is(network):
    """Objects that one colour tells from the background, found in the pictures that the networks see."""
    objects = {
        "imagenet_03_990": lambda r, g, b: (g > b + 0.35) & (g > 0.5),  # green husks among dark leaves
        "imagenet_07_609": lambda r, g, b: b > r + 0.15,  # a blue car before grey rocks
        "imagenet_09_455": lambda r, g, b: r > 2 * b + 0.1,  # a red cap on a white wall
        "imagenet_11_630": lambda r, g, b: r + g + b < 1.2,  # a black shoe on white
        "imagenet_17_22": lambda r, g, b: (r + g + b < 0.25) | (r + g + b > 1.5),  # an eagle, black and white
    }
    model = wam.models.load(network, pretrained=False)
    photographs = {image.name: image for image in wam.data.images()}
    for name, is_object in objects.items():
        (picture,) = model.display(model.prepare([photographs[name]]))
        rows, columns = np.nonzero(is_object(*np.moveaxis(picture, 2, 0)))
        low, high = (np.quantile([columns, rows], q, axis=1) / 224 for q in (0.005, 0.995))
        np.testing.assert_allclose([*low, *high], wam.data.BOXES[name], rtol=0, atol=0.1, err_msg=name)


@pytest.mark.parametrize("n", [0, -1, 21])
def test_a_count_out_of_range_names_the_limit(n):
    with pytest.raises(ValueError, match="there are 20" if n > 0 else f"n must be an integer of at least 1, got {n}"):
        wam.data.images(n)


def test_a_slice_has_the_labels_of_its_files():
    every = wam.data.images()
    some = every[3:5]
    assert len(some) == 2 and some.labels == every.labels[3:5] and some.source == every.source
    assert some[1].label == every[4].label != every[1].label and some[1].name == every[4].name


def test_the_unlabelled_photographs():
    photographs = {photograph.name: photograph for photograph in wam.data.photographs()}
    sizes = {name: photograph.image.size for name, photograph in photographs.items()}
    assert sizes == {"coffee": (600, 400), "camera": (512, 512), "chelsea": (451, 300)}
    for photograph in photographs.values():
        assert photograph.label is None and photograph.image.mode == "RGB" and "CC0" in photograph.source
    camera = np.asarray(photographs["camera"].image)
    assert (camera == camera[..., :1]).all() and camera.std() > 0
    assert np.asarray(photographs["coffee"].image).std(axis=2).max() > 0


@pytest.mark.parametrize("labels", ["classes", "kaggle", "devkit"])
def test_both_layouts_of_imagenet(by_class, flat, labels):
    if labels == "kaggle":
        write_kaggle(flat)
    elif labels == "devkit":
        write_devkit(flat)
    images = wam.data.imagenet(by_class if labels == "classes" else flat)
    assert [image.name for image in images] == [stem(number) for number in IMAGES]
    assert [image.label for image in images] == LABELS == list(images.labels)
    assert [image.image.size for image in images] == [(20 + number, 16) for number in IMAGES]
    assert {image.image.mode for image in images} == {"RGB"}


def test_the_folder_comes_from_the_environment_too(by_class, flat, monkeypatch):
    monkeypatch.setenv("WAM_IMAGENET", str(by_class))
    assert len(wam.data.imagenet()) == 6
    with pytest.raises(FileNotFoundError, match="flat"):  # the parameter goes first
        wam.data.imagenet(flat)


def test_a_subset_depends_on_the_seed_and_not_on_the_layout(by_class, flat):
    write_kaggle(flat)

    def names(folder, **options):
        return [image.name for image in wam.data.imagenet(folder, **options)]

    four = names(by_class, n=4, seed=1)
    assert len(set(four)) == 4
    assert four == names(by_class, n=4, seed=1) == names(flat, n=4, seed=1)
    assert four[:2] == names(by_class, n=2, seed=1)
    assert len({tuple(names(by_class, n=6, seed=seed)) for seed in range(5)}) > 1
    truth = {stem(number): label for number, label in zip(IMAGES, LABELS, strict=True)}
    assert all(image.label == truth[image.name] for image in wam.data.imagenet(flat, n=5))
    with pytest.raises(ValueError, match="n = 7 images asked for: there are 6"):
        wam.data.imagenet(by_class, n=7)


def test_slices_read_nothing_and_indices_wrap(by_class):
    images = wam.data.imagenet(by_class)
    for path in images.paths[:5]:
        path.unlink()
    last = images[-2:]
    assert isinstance(last, wam.data.ImageFiles) and len(last) == 2
    assert last[-1].label == images[-1].label == 999
    with pytest.raises(IndexError):
        images[6]


@pytest.mark.parametrize("content", ["truncated", "no image", "empty"])
def test_an_unreadable_image_is_named_when_it_is_read(by_class, content):
    images = wam.data.imagenet(by_class)
    path = images.paths[1]
    good = path.read_bytes()
    path.write_bytes({"truncated": good[:-200], "no image": b"<html>", "empty": b""}[content])
    assert images[0].label == 999
    with pytest.raises(ValueError, match=rf"cannot read the image .*{stem(2)}\.JPEG.*[Rr]eplace"):
        images[1]


def test_errors_say_what_to_put_where(tmp_path, flat, monkeypatch):
    monkeypatch.delenv("WAM_IMAGENET", raising=False)
    layouts = r"[\s\S]*n01440764/ILSVRC2012_val[\s\S]*meta\.mat[\s\S]*WAM_IMAGENET"
    with pytest.raises(FileNotFoundError, match=r"no folder" + layouts):
        wam.data.imagenet()
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a folder" + layouts):
        wam.data.imagenet(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty holds no ImageNet" + layouts):
        wam.data.imagenet(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"flat holds images, but not .*labels" + layouts):
        wam.data.imagenet(flat)
    (flat / "ILSVRC2012_validation_ground_truth.txt").write_text("449\n" * 11)  # useless without meta.mat
    with pytest.raises(FileNotFoundError, match=r"flat holds images, but not .*labels" + layouts):
        wam.data.imagenet(flat)


def test_unknown_classes_and_missing_labels_are_named(by_class, flat):
    write_kaggle(flat, {number: image for number, image in IMAGES.items() if number not in (5, 8)})
    with pytest.raises(ValueError, match=rf"LOC_val_solution\.csv has no label for {stem(5)}\.JPEG \(2 of 6"):
        wam.data.imagenet(flat)
    write_image(by_class / "n99999999" / f"{stem(50)}.JPEG", 50)
    with pytest.raises(ValueError, match=r"n99999999 .*not one of the 1000"):
        wam.data.imagenet(by_class)
