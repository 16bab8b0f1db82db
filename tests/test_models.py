"""The classifiers, with their real weights, against the libraries they come from and against plain PIL."""

import os
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision.models import MobileNet_V2_Weights
from torchvision.transforms.functional import to_tensor

import wam.data
import wam.models
from wam.models import EMBEDDED, PAPER

# What the authors of each network state: side of the input, side before the crop (None: squashed to a
# square), interpolation, mean and standard deviation.
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPROCESSING = {
    "efficientnet_lite0": (224, 256, Image.Resampling.BICUBIC, (0.5,) * 3, (0.5,) * 3),
    "mobilenet_v2": (224, 256, Image.Resampling.BILINEAR, *IMAGENET),
    "resnet18": (224, 235, Image.Resampling.BICUBIC, *IMAGENET),
    "convnext_small": (384, None, Image.Resampling.BICUBIC, *IMAGENET),
    "efficientnet_b0": (224, 256, Image.Resampling.BICUBIC, *IMAGENET),
    "deit_tiny": (224, 248, Image.Resampling.BICUBIC, *IMAGENET),
}
ALL = tuple(PREPROCESSING)


@pytest.fixture(scope="module")
def models():
    """Every network: the embedded ones with their weights, the paper's untrained."""
    return {name: wam.models.load(name, pretrained=name in EMBEDDED) for name in ALL}


@pytest.fixture(scope="module")
def photographs():
    """Both shapes of the labelled images, and photographs that are wide, square and grey."""
    return [item.image for item in (*wam.data.images()[4:6], *wam.data.photographs())]


def cropped(image, side, resized, interpolation):
    """What the network is shown, as RGB in [0, 1], ``(side, side, 3)``, by PIL and NumPy alone."""
    if resized is None:
        image = image.resize((side, side), interpolation)
    else:
        scale = resized / min(image.size)
        image = image.resize(tuple(int(length * scale) for length in image.size), interpolation)
        left, top = (round((length - side) / 2) for length in image.size)
        image = image.crop((left, top, left + side, top + side))
    return np.asarray(image, dtype=np.float32) / 255


def test_the_names_are_those_of_the_paper_and_of_the_book():
    assert set(ALL) == {*EMBEDDED, *PAPER}
    resolved = timm.models.get_pretrained_cfg("resnet18")
    assert PAPER["resnet18"] == f"{resolved.architecture}.{resolved.tag}"


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_photographs_are_recognised(models, name):
    model, images = models[name], wam.data.images()
    with torch.no_grad():
        logits = model(model.prepare(images))
    labels = torch.tensor([image.label for image in images])
    assert logits.shape == (20, 1000)
    assert (logits.argmax(1) == labels).sum() >= 17
    assert (logits.topk(5).indices == labels[:, None]).any(1).sum() >= 18
    assert model.name == name and model.pretrained


@pytest.mark.parametrize("name", ALL)
def test_prepare_does_what_the_authors_state(models, photographs, name):
    side, resized, interpolation, mean, std = PREPROCESSING[name]
    model = models[name]
    assert model.input_size == (side, side)
    expected = np.stack([cropped(image, side, resized, interpolation) for image in photographs])
    prepared = model.prepare(photographs)
    assert prepared.shape == (5, 3, side, side) and prepared.dtype == torch.float32
    normalised = ((expected - np.float32(mean)) / np.float32(std)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(prepared.numpy(), normalised, atol=2e-6)
    np.testing.assert_allclose(model.display(prepared), expected, atol=1e-6)


def test_prepare_is_bit_equal_to_the_libraries_own_transforms(models, photographs):
    transform = MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
    theirs = torch.stack([transform(image) for image in photographs])
    assert torch.equal(models["mobilenet_v2"].prepare(photographs), theirs)
    for name, full_name in {"efficientnet_lite0": "tf_efficientnet_lite0.in1k", **PAPER}.items():
        config = timm.get_pretrained_cfg(full_name).to_dict()
        transform = timm.data.create_transform(**timm.data.resolve_data_config({}, pretrained_cfg=config))
        theirs = torch.stack([transform(image) for image in photographs])
        assert torch.equal(models[name].prepare(photographs), theirs)


@pytest.mark.parametrize("name", ALL)
def test_black_is_what_a_black_image_maps_to(models, name):
    model = models[name]
    x = model.prepare(Image.new("RGB", (500, 300)))
    assert model.black.shape == (3, 1, 1)
    assert torch.equal(x, model.black.expand_as(x))
    np.testing.assert_allclose(model.display(x), 0, atol=1e-7)


def test_display_clips_and_refuses_what_is_not_a_batch(models):
    model = models["mobilenet_v2"]
    x = torch.tensor([-100.0, 0.0, 100.0]).view(1, 3, 1, 1).expand(1, 3, 4, 6).requires_grad_()
    shown = model.display(x)
    assert shown.shape == (1, 4, 6, 3) and shown.dtype == np.float32
    np.testing.assert_allclose(shown[0, 0, 0], [0, 0.456, 1], atol=1e-6)
    with pytest.raises(ValueError, match=r"batch.*\(3, 4, 6\)"):
        model.display(x[0])


def test_prepare_takes_what_users_have(models):
    model, image = models["mobilenet_v2"], wam.data.photographs()[1]
    grey = image.image.convert("L")
    single = model.prepare(image.image)
    assert single.shape == (1, 3, 224, 224)
    assert torch.equal(model.prepare([image]), single) and torch.equal(model.prepare(image), single)
    assert torch.equal(model.prepare(grey), single)
    with pytest.raises(TypeError, match=r"takes images, got ndarray.*PIL\.Image\.fromarray"):
        model.prepare([np.zeros((8, 8, 3))])
    with pytest.raises(ValueError, match="at least one image"):
        model.prepare([])


def test_dtype_mode_and_state_dict(models):
    model = wam.models.load("efficientnet_lite0", dtype=torch.float64)
    assert not model.training and not any(module.training for module in model.modules())
    assert {value.dtype for value in model.state_dict().values()} == {torch.float64, torch.int64}
    x = model.prepare(Image.new("RGB", (300, 300)))
    assert x.dtype == torch.float64 and torch.equal(x, model.black.expand_as(x))
    image = wam.data.images(1)
    with torch.no_grad():
        double, single = (
            model(model.prepare(image)),
            models["efficientnet_lite0"](model.prepare(image).float()),
        )
    torch.testing.assert_close(double.float(), single, atol=1e-4, rtol=1e-4)
    other = wam.models.load("efficientnet_lite0", dtype=torch.float64, pretrained=False)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(other(model.prepare(image)), double)


def test_untrained_models_are_marked_and_reproducible_and_leave_the_generator_alone(models):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    again = wam.models.load("resnet18", pretrained=False)
    assert torch.equal(torch.rand(3), expected)
    assert again.name == "resnet18 (untrained)" and not again.pretrained and "pretrained=False" in repr(again)
    for key, value in models["resnet18"].state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_networks_take_their_own_input(models, name):
    model = models[name]
    with torch.no_grad():
        assert model(model.prepare(wam.data.images(1))).shape == (1, 1000)


def test_categories_are_in_the_order_of_the_logits(models):
    categories, info = models["mobilenet_v2"].categories, timm.data.ImageNetInfo()
    assert len(categories) == 1000
    for index, category in enumerate(categories):
        assert category.split()[0].lower() in info.index_to_description(index, detailed=True).lower()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mobilenetv2", "mobilenet_v2"),
        ("convnext", "convnext_small"),
        ("resnet-18", "resnet18"),
        ("vit_tiny_patch16_22", "vit_tiny_patch16_224"),
    ],
)
def test_an_unknown_name_suggests_near_ones(name, meant):
    with pytest.raises(ValueError, match=f"unknown model '{name}'.*mean.*'{meant}'.*Known models: .*deit_tiny"):
        wam.models.load(name)


def test_the_papers_weights_without_a_network_give_a_clear_error(tmp_path):
    code = "import wam.models; wam.models.load('deit_tiny')"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert run.returncode == 1
    error = run.stderr.strip().splitlines()[-1]
    assert "AssetError: could not download the weights of deit_tiny_patch16_224.fb_in1k from timm's hub" in error
    assert "HF_HOME" in error and "efficientnet_lite0" in error


def test_classifiers_say_how_many_dimensions_they_explain():
    expected = {"mobilenet_v2": 2, "lenet5": 2, "cifar10_erm": 2, "kumar_esc50": 1, "digits3d": 3, "medmnist3d": 3}
    assert {name: wam.models.load(name, pretrained=False).ndim for name in expected} == expected


def test_images_that_stay_of_different_sizes_are_refused():
    plain = wam.models.ImageClassifier("plain", torch.nn.Flatten(), to_tensor, (0.0,) * 3, (1.0,) * 3, (8, 8))
    with pytest.raises(ValueError, match=r"plain keeps the shapes .*\(3, 8, 8\), \(3, 8, 9\).* one by one"):
        plain.prepare([Image.new("RGB", (8, 8)), Image.new("RGB", (9, 8))])
    with pytest.raises(ValueError, match=r"display\(\) takes a batch \(batch, 3, height, width\)"):
        plain.display(torch.zeros(1, 1, 8, 8))
