"""The classifiers of small pictures: preparing, the two architectures, the pair for MNIST, the family for CIFAR-10."""

import inspect
import math

import pytest
import torch
from torch import nn

import wam.models
from wam import picture_models, recipes
from wam.adversarial import robust_accuracy
from wam.assets import AssetError
from wam.classifier import WEIGHTS, read
from wam.picture_models import CIFAR10_FAMILY, LENET5, LeNet5, PictureClassifier, small_resnet
from wam.pictures import CIFAR10_CATEGORIES, Pictures, cifar10, mnist
from wam.training import accuracy
from wam.volumes import Volumes

SHIPPED = sorted(WEIGHTS.glob("cifar10_*.safetensors"))


def noise(n=3, channels=3, side=32, full=255):
    values = torch.randint(0, full + 1, (n, channels, side, side), dtype=torch.uint8)
    return Pictures(values, full, torch.zeros(n, dtype=torch.int64), ("a", "b"), "noise")


# --- preparing --------------------------------------------------------------------------------------------------------


def test_prepare_gives_the_batch_in_the_dtype_of_the_model():
    for name, some in (("cifar10_erm", noise(full=4)), ("lenet5_adv", noise(channels=1, side=28, full=4))):
        for dtype in (torch.float32, torch.float64):
            model = wam.models.load(name, dtype=dtype, pretrained=False)
            x = model.prepare(some)
            assert x.dtype == dtype and torch.equal(x, some.values.to(dtype) / 4)
            assert model(x).shape == (3, 10) and model(x).dtype == dtype


def test_prepare_and_a_call_say_what_is_wrong():
    model = wam.models.load("cifar10_erm", pretrained=False)
    cube = Volumes(torch.zeros(1, 3, 8, 8, 8, dtype=torch.uint8), 1, torch.zeros(1).long(), ("a",), "")
    for wrong, kind in ((torch.zeros(1, 3, 32, 32), "Tensor"), ([noise()], "list"), (cube, "Volumes")):
        message = rf"takes wam\.pictures\.Pictures, got {kind}; a tensor \(batch, channels, height, width\) goes"
        with pytest.raises(TypeError, match=message):
            model.prepare(wrong)
    with pytest.raises(ValueError, match="needs pictures, at least one, got none"):
        model.prepare(noise()[[]])
    with pytest.raises(ValueError, match=r"takes 3 channels, got Pictures\(3 of shape \(1, 32, 32\), noise\)"):
        model.prepare(noise(channels=1))
    name = r"cifar10_erm \(untrained\) takes pictures \(batch, 3, height, width\), got shape"
    with pytest.raises(ValueError, match=rf"{name} \(3, 32, 32\): add the axis of the channels with x\[:, None\]"):
        model(torch.zeros(3, 32, 32))
    for shape in ((2, 1, 32, 32), (32, 32), (1, 3, 1, 32, 32)):
        with pytest.raises(ValueError, match=rf"{name} \({', '.join(map(str, shape))}\)$"):
            model(torch.zeros(shape))


def test_a_classifier_of_ones_own():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4, 2))
    model = PictureClassifier("mine", network, ["a", "b"], 3, {"data": "mine"})
    assert repr(model).startswith("PictureClassifier(\n  'mine', channels=3, classes=2, pretrained=True")
    assert model(torch.zeros(5, 3, 2, 2)).shape == (5, 2) and model.categories == ("a", "b")


# --- the architectures ------------------------------------------------------------------------------------------------


def test_lenet_by_hand():
    network, x = LeNet5().double(), torch.rand(2, 1, 28, 28).double()
    by_hand = (9 + 1) * 32 + (9 * 32 + 1) * 64 + (3136 + 1) * 200 + (200 + 1) * 10
    assert sum(parameter.numel() for parameter in network.parameters()) == by_hand
    y = x
    for layer in (network.conv1, network.conv2):
        y = torch.conv2d(y, layer.weight, layer.bias, padding=1).clamp(min=0)
        y = y.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).amax((3, 5))
    assert y.shape == (2, 64, 7, 7)
    y = (y.flatten(1) @ network.linear1.weight.T + network.linear1.bias).clamp(min=0)
    y = y @ network.linear2.weight.T + network.linear2.bias
    torch.testing.assert_close(network(x), y, rtol=0, atol=1e-12)


def test_the_small_resnet():
    network = small_resnet().eval()
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    stem = 27 * 16 + 2 * 16
    blocks = [9 * i * o + 9 * o * o + i * o + 3 * 2 * o for i, o in ((16, 32), (32, 64), (64, 128))]
    assert sum(parameter.numel() for parameter in network.parameters()) == stem + sum(blocks) + 128 * 10 + 10 == 304_154
    sizes = {}
    for name in ("stem", "block1", "block2", "block3"):
        module = network.get_submodule(name)
        module.register_forward_hook(lambda *_, name=name: sizes.update({name: tuple(_[2].shape[1:])}))
    network(torch.rand(1, 3, 32, 32))
    assert sizes == {"stem": (16, 32, 32), "block1": (32, 16, 16), "block2": (64, 8, 8), "block3": (128, 4, 4)}
    assert small_resnet((8, 8), classes=3)(torch.rand(2, 3, 32, 32)).shape == (2, 3)


def test_the_normalisation_is_inside_the_network_and_not_in_its_file():
    network = small_resnet()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)))
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(network.normalise(x), (x - mean) / std)
    assert not any(name.startswith("normalise") for name in network.state_dict())


@pytest.mark.parametrize("name", (*LENET5, *CIFAR10_FAMILY))
def test_an_untrained_network_is_marked_and_always_the_same(name):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two = (wam.models.load(name, pretrained=False) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert one.name == f"{name} (untrained)" and not one.pretrained and not one.card and not one.training
    for value, again in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(value, again)
    with pytest.raises(ValueError, match=f"weights= is for .*, not for '{name}'"):
        wam.models.load(name, weights="file")


# --- the pair for MNIST -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return mnist("test", 1000)


@pytest.mark.parametrize("name", LENET5)
def test_the_digits_are_recognised(digits, name):
    model = wam.models.load(name)
    assert accuracy(model, digits, 250) > 0.97
    assert model.name == name and model.pretrained and model.categories == digits.categories and not model.training
    assert model.card["data"] == "MNIST, train" and "AdverTorch" in model.card["source"]
    assert model.card["training"] == {"lenet5": "as usual", "lenet5_adv": "PGD, radius 0.3"}[name]


def test_one_of_the_pair_withstands_the_attack_that_the_other_does_not(digits):
    assert robust_accuracy(wam.models.load("lenet5"), digits[:100], 0.3) < 0.1
    assert robust_accuracy(wam.models.load("lenet5_adv"), digits[:100], 0.3) > 0.85


# --- the family for CIFAR-10 ------------------------------------------------------------------------------------------


def test_the_family_is_that_of_the_recipe():
    assert tuple(f"cifar10_{training}" for training in recipes.TRAININGS) == CIFAR10_FAMILY
    assert {path.stem for path in SHIPPED} <= set(CIFAR10_FAMILY)


@pytest.mark.parametrize("name", CIFAR10_FAMILY)
def test_weights_that_are_not_there_can_be_trained(tmp_path, monkeypatch, name):
    monkeypatch.setattr(picture_models, "WEIGHTS", tmp_path)
    training = name.removeprefix("cifar10_")
    command = rf"python -m wam\.recipes cifar10 OUT --training {training} trains them; put OUT/{name}\.safetensors into"
    with pytest.raises(FileNotFoundError, match=rf"weights of {name} do not come with the package: {command}"):
        wam.models.load(name)
    assert recipes.RECIPES["cifar10"] is recipes.cifar10 and training in recipes.TRAININGS


every_shipped = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)


@every_shipped
def test_the_shipped_files_are_small_and_say_what_they_are(path):
    assert path.stat().st_size < 1e6
    state, card = read(path)
    assert {value.dtype for key, value in state.items() if not key.endswith("num_batches_tracked")} == {torch.float16}
    assert all(value.isfinite().all() for value in state.values())
    assert set(card) == {"name", "data", "categories", "channels", "recipe", "settings", "result", "versions", "stored"}
    training = path.stem.removeprefix("cifar10_")
    assert card["name"] == path.stem and card["recipe"] == f"python -m wam.recipes cifar10 --training {training} OUT"
    assert "CIFAR-10, train" in card["data"] and card["channels"] == 3
    assert card["categories"] == list(CIFAR10_CATEGORIES)
    defaults = {key: of.default for key, of in inspect.signature(recipes.cifar10).parameters.items()}
    usual = recipes._USUAL | {"seed": 0}
    assert usual.items() <= card["settings"].items()  # what the recipe gives that is asked for nothing else
    assert card["settings"]["epochs"] == {"erm": 20, "adv": 12, "adv_fast": 20, "adv_free": 10}[training]
    assert card["settings"]["replays"] == (4 if training == "adv_free" else 1)
    assert card["settings"]["examples"] == 50_000 and card["settings"]["parameters"] == 304_154
    assert card["result"]["epoch"] == card["settings"]["epochs"] and set(card["versions"]) == {"wam", "torch"}
    stored = card["stored"]
    assert set(stored) == {"dtype", "accuracy", "on", "of", "pgd20", "radius"}
    assert stored["dtype"] == "float16" and "CIFAR-10, test" in stored["on"] and stored["of"] == 10_000
    assert stored["radius"] == defaults["radius"] == 4 / 255 and stored["pgd20"] < stored["accuracy"]


@pytest.fixture(scope="module")
def photographs():
    """500 of the test pictures, or the few of Foolbox; and how far an accuracy may be from that of all of them."""
    try:
        return cifar10("test", 500), lambda share: 0.05
    except AssetError:
        return cifar10("few"), lambda share: 4 * math.sqrt(share * (1 - share) / 20)


@every_shipped
def test_the_pictures_are_recognised_as_the_card_says(path, photographs):
    (some, margin), model = photographs, wam.models.load(path.stem)
    assert model.pretrained and model.name == path.stem and model.categories == CIFAR10_CATEGORIES
    stated = model.card["stored"]["accuracy"]
    assert stated > 0.5 and abs(accuracy(model, some, 250) - stated) < margin(stated)


@every_shipped
def test_only_those_that_were_trained_for_it_withstand_an_attack(path, photographs):
    (some, _), model = photographs, wam.models.load(path.stem)
    some = some[:100]
    stated = model.card["stored"]["pgd20"]
    robust = robust_accuracy(model, some, model.card["stored"]["radius"])
    assert (robust < 0.15) if path.stem == "cifar10_erm" else (robust > 0.25)
    assert abs(robust - stated) < 4 * math.sqrt(stated * (1 - stated) / len(some)) + 0.01
