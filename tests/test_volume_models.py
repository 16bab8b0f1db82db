"""The classifiers of volumes: preparing, the paper's network of voxels, the shipped weights, the ResNet in 3D."""

import copy
import json
import math

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import wam.models
from wam import recipes
from wam.classifier import WEIGHTS, read
from wam.training import accuracy
from wam.volume_models import VolumeClassifier, VoxelCNN, resnet18_3d
from wam.volumes import DIRECTIONS, MEDMNIST, Volumes, digits3d, moving_digits

SHIPPED = ("digits3d", "moving_digits")


def volumes(n=3, channels=1, full=255):
    voxels = torch.randint(0, full + 1, (n, channels, 16, 16, 16), dtype=torch.uint8)
    return Volumes(voxels, full, torch.zeros(n, dtype=torch.int64), ("a", "b"), "noise")


# --- preparing --------------------------------------------------------------------------------------------------------


def test_prepare_gives_the_batch_in_the_dtype_of_the_model():
    some = volumes(full=4)
    for dtype in (torch.float32, torch.float64):
        model = wam.models.load("digits3d", dtype=dtype, pretrained=False)
        x = model.prepare(some)
        assert x.dtype == dtype and torch.equal(x, some.values.to(dtype) / 4)
        assert model(x).shape == (3, 10) and model(x).dtype == dtype


def test_prepare_and_a_call_say_what_is_wrong():
    model = wam.models.load("digits3d", pretrained=False)
    for wrong, kind in ((torch.zeros(1, 1, 16, 16, 16), "Tensor"), ([volumes()], "list"), (None, "NoneType")):
        with pytest.raises(TypeError, match=rf"takes wam\.volumes\.Volumes, got {kind}; a tensor \(batch, channels"):
            model.prepare(wrong)
    with pytest.raises(ValueError, match="needs volumes, at least one, got none"):
        model.prepare(volumes()[[]])
    with pytest.raises(ValueError, match=r"takes 1 channels, got Volumes\(3 of shape \(2, 16, 16, 16\), noise\)"):
        model.prepare(volumes(channels=2))
    name = r"digits3d \(untrained\) takes volumes \(batch, 1, depth, height, width\), got shape"
    with pytest.raises(ValueError, match=rf"{name} \(2, 16, 16, 16\): add the axis of the channels with x\[:, None\]"):
        model(torch.zeros(2, 16, 16, 16))
    for shape in ((2, 3, 16, 16, 16), (16, 16, 16), (1, 1, 1, 16, 16, 16)):
        with pytest.raises(ValueError, match=rf"{name} \({', '.join(map(str, shape))}\)$"):
            model(torch.zeros(shape))


# --- the network of voxels --------------------------------------------------------------------------------------------


def test_the_network_of_voxels_is_that_of_the_paper():
    network = VoxelCNN().eval()
    by_hand = (27 + 1) * 32 + (27 * 32 + 1) * 128 + (1024 + 1) * 256 + (256 + 1) * 10
    assert sum(parameter.numel() for parameter in network.parameters()) == by_hand == 376_586
    assert sum(parameter.numel() for parameter in VoxelCNN(14).parameters()) == 376_586 + 4 * 257
    dropouts = [module.p for module in network.modules() if isinstance(module, nn.Dropout)]
    assert dropouts == [0.3, 0.3]


def test_at_sixteen_voxels_the_last_pooling_changes_nothing():
    network, x = VoxelCNN().eval().double(), torch.randn(2, 1, 16, 16, 16).double()
    first, _, pool, _, second, *_ = network.features
    _, hidden, _, out = network.classifier
    y = torch.conv3d(x, first.weight, first.bias).clamp(min=0)
    y = torch.conv3d(pool(y), second.weight, second.bias).clamp(min=0)
    assert y.shape == (2, 128, 5, 5, 5)
    y = y[..., :4, :4, :4].reshape(2, 128, 2, 2, 2, 2, 2, 2).amax((3, 5, 7)).flatten(1)
    y = (y @ hidden.weight.T + hidden.bias).clamp(min=0) @ out.weight.T + out.bias
    torch.testing.assert_close(network(x), y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(10, 10, 10), (16, 17, 19), (11, 32, 10), (28, 28, 28)])
def test_the_network_of_voxels_takes_odd_and_unequal_sizes(size):
    network, x = VoxelCNN(3).eval(), torch.randn(2, 1, *size, requires_grad=True)
    logits = network(x)
    assert logits.shape == (2, 3)
    (gradient,) = torch.autograd.grad(logits.sum(), x)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0
    torch.testing.assert_close(network(x[1:]), logits[1:])


@pytest.mark.parametrize(
    "shape", [(1, 1, 9, 16, 16), (1, 1, 16, 16, 9), (1, 16, 16, 16), (1, 1, 16, 16), (1, 2, 16, 16, 16)]
)
def test_the_network_of_voxels_refuses_other_shapes(shape):
    message = rf"\(batch, 1, depth, height, width\) of 10 voxels or more .*, got shape \({', '.join(map(str, shape))}\)"
    with pytest.raises(ValueError, match=message):
        VoxelCNN()(torch.zeros(shape))


# --- the weights that come with the package ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_files_are_small_and_say_what_they_are(name):
    path = WEIGHTS / f"{name}.safetensors"
    assert path.stat().st_size < 1e6
    state, card = read(path)
    assert {value.dtype for value in state.values()} == {torch.float16}
    assert all(value.isfinite().all() for value in state.values())
    assert set(card) == {"name", "data", "categories", "channels", "recipe", "settings", "result", "versions", "stored"}
    assert (
        "MNIST, train" in card["data"]
        and card["recipe"] == f"python -m wam.recipes {name} OUT"
        and card["channels"] == 1
    )
    epochs = {"digits3d": 15, "moving_digits": 8}[name]
    usual = recipes._USUAL | {"epochs": epochs, "seed": 0}
    assert usual.items() <= card["settings"].items()  # what the recipe gives that is asked for nothing else
    assert card["settings"]["examples"] == 60_000
    assert card["settings"]["parameters"] == sum(value.numel() for value in state.values())
    assert card["result"]["epoch"] == epochs and card["result"]["accuracy"] > 0.9
    assert set(card["versions"]) == {"wam", "torch"}
    assert card["stored"]["dtype"] == "float16" and "MNIST, test" in card["stored"]["on"]
    assert (
        card["stored"]["of"] == 10_000 and card["stored"]["accuracy"] > {"digits3d": 0.94, "moving_digits": 0.92}[name]
    )
    model = wam.models.load(name)
    assert model.pretrained and model.card == card and list(model.categories) == card["categories"]
    assert model.name == name and not model.training


@pytest.fixture(scope="module")
def digits():
    return digits3d("test")


def test_the_digits_are_recognised(digits):
    model = wam.models.load("digits3d")
    assert model.categories == digits.categories
    right, stated = logits(model, digits).argmax(1) == digits.labels, model.card["stored"]["accuracy"]
    some = right[:1000].double().mean().item()
    assert some >= 0.94 and abs(some - stated) < 4 * math.sqrt(stated * (1 - stated) / 1000)
    # All 10,000: no digit is so undecided that another order of summation would turn it.
    assert right.sum() == round(10_000 * stated)


def logits(model, some):
    with torch.no_grad():
        return torch.cat([model(some[i : i + 250].batch()) for i in range(0, len(some), 250)])


def test_the_moving_digits_and_their_directions_are_recognised():
    model, clips = wam.models.load("moving_digits"), moving_digits("test")
    assert model.categories == (*map(str, range(10)), *DIRECTIONS)
    digit, direction = (part.argmax(1) for part in logits(model, clips).split([10, 4], dim=1))
    right = torch.stack([digit == clips.labels // 4, direction == clips.labels % 4])
    stated = model.card["stored"]["accuracy"]
    assert right.all(0).sum() == round(10_000 * stated)
    digits, directions = right.double().mean(1).tolist()
    assert digits > 0.92 and directions > 0.999  # ten pixels to tell a digit, sixteen frames to tell where it goes
    assert right[0, :1000].double().mean() > 0.9 and right[1, :1000].double().mean() > 0.99
    both = right[:, :1000].all(0).double().mean().item()
    assert abs(both - stated) < 4 * math.sqrt(stated * (1 - stated) / 1000)


def test_without_its_weights_a_network_knows_nothing(digits):
    for name in SHIPPED:
        one, two = (wam.models.load(name, pretrained=False) for _ in range(2))
        assert one.name == f"{name} (untrained)" and not one.pretrained and "pretrained=False" in repr(one)
        assert not one.card
        for value, again in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
            assert torch.equal(value, again)
    assert accuracy(wam.models.load("digits3d", pretrained=False), digits[:500], 250) < 0.3


def test_weights_are_for_the_network_that_nobody_publishes():
    for name in SHIPPED:
        with pytest.raises(ValueError, match=f"weights= is for .*medmnist3d, not for '{name}'"):
            wam.models.load(name, weights="file")
    with pytest.raises(ValueError, match="pretrained=False"):
        wam.models.load("medmnist3d", pretrained=False, weights="file")


# --- the ResNet in 3D -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return resnet18_3d(2, 3).eval()


@pytest.mark.parametrize("size", [(7, 7, 7), (9, 12, 11), (1, 1, 1), (3, 16, 2)])
def test_the_resnet_takes_any_size_and_its_gradients_flow(resnet, size):
    x = torch.randn(2, 2, *size, requires_grad=True)
    logits = resnet(x)
    assert logits.shape == (2, 3)
    gradients = torch.autograd.grad(logits[:, 1].sum(), [x, *resnet.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)
    reached = [gradient.abs().sum() > 0 for gradient in gradients]
    assert all(reached) or min(size) == 1  # of a single voxel most taps of a kernel see only the margin
    assert gradients[0].abs().amax((1, 2, 3, 4)).min() > 0
    torch.testing.assert_close(resnet(x[:1]), logits[:1], rtol=1e-4, atol=1e-5)


def test_the_resnet_does_not_shrink_its_input_at_once(resnet):
    """torchvision's stem for video halves height and width; here the first halving is in the second of four stages."""
    shapes = {}
    for name in ("stem", "layer1", "layer2", "layer3", "layer4"):
        module = resnet.get_submodule(name)
        module.register_forward_hook(lambda *_, name=name: shapes.update({name: tuple(_[2].shape[1:])}))
    resnet(torch.zeros(1, 2, 12, 12, 12))
    assert shapes["stem"] == shapes["layer1"] == (64, 12, 12, 12)
    assert [shapes[f"layer{i}"] for i in (2, 3, 4)] == [(128, 6, 6, 6), (256, 3, 3, 3), (512, 2, 2, 2)]
    convolutions = [module for module in resnet.modules() if isinstance(module, nn.Conv3d)]
    assert sum(module.kernel_size == (3, 3, 3) for module in convolutions) == 17  # and one linear layer: 18


def test_medical_weights_come_back_with_their_card(resnet, tmp_path):
    path = tmp_path / "weights.safetensors"
    card = {"name": "fracturemnist3d", "categories": MEDMNIST["fracturemnist3d"], "channels": 2, "data": "some"}
    save_file(resnet.state_dict(), path, {name: json.dumps(value) for name, value in card.items()})
    try:
        model = wam.models.load("medmnist3d", weights=path)
        assert wam.models.load("medmnist3d", weights=str(path)).categories == model.categories
    finally:
        path.unlink()  # 130 MB
    assert model.categories == MEDMNIST["fracturemnist3d"] and model.channels == 2 and model.pretrained
    assert model.name == "fracturemnist3d" and model.card["data"] == "some" and not model.training
    x = torch.rand(2, 2, 8, 9, 10)
    with torch.no_grad():
        assert torch.equal(model(x), resnet(x))
    with pytest.raises(ValueError, match=r"fracturemnist3d takes volumes \(batch, 2, depth, height, width\)"):
        model(torch.zeros(2, 1, 8, 8, 8))


def test_medical_weights_that_are_not_there_or_do_not_fit_are_named(tmp_path):
    how = r"python -m wam\.recipes medmnist3d OUT trains .*weights=, or take pretrained=False"
    with pytest.raises(FileNotFoundError, match=f"the weights of medmnist3d come with no package: {how}"):
        wam.models.load("medmnist3d")
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"there is no file {path}: {how}"):
            wam.models.load("medmnist3d", weights=path)
    wrong = tmp_path / "wrong.safetensors"

    def refused(message):
        message = rf"wrong\.safetensors does not hold medmnist3d and its categories: .*{message}"
        with pytest.raises(ValueError, match=message):
            wam.models.load("medmnist3d", weights=wrong)

    shipped = (WEIGHTS / "digits3d.safetensors").read_bytes()
    wrong.write_bytes(shipped)
    refused("Missing key.*python -m wam.recipes medmnist3d")
    wrong.write_bytes(shipped[:1000])
    refused("")
    wrong.write_bytes(b"")
    refused("")
    tensors = {"stem.0.weight": torch.zeros(64, 1, 3, 3, 3)}
    save_file(tensors, wrong)
    refused("channels")
    save_file(tensors, wrong, {"channels": "1"})
    refused("categories")
    for channels in ('"one"', "null", "not JSON", "-1"):
        save_file(tensors, wrong, {"channels": channels, "categories": '["a", "b"]'})
        refused("")
    save_file(tensors, wrong, {"channels": "1", "categories": "3"})
    refused("")


def test_the_untrained_network_of_medical_volumes():
    one, two = (wam.models.load("medmnist3d", pretrained=False) for _ in range(2))
    assert one.categories == MEDMNIST["adrenalmnist3d"] and one.name == "medmnist3d (untrained)" and not one.pretrained
    x = torch.rand(2, 1, 9, 8, 7)
    with torch.no_grad():
        assert torch.equal(one(x), two(x)) and one(x).shape == (2, 2)


def test_a_classifier_of_ones_own():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8, 2))
    model = VolumeClassifier("mine", network, ["a", "b"], 3)
    assert repr(model).startswith("VolumeClassifier(\n  'mine', channels=3, classes=2, pretrained=False")
    assert model(torch.zeros(2, 3, 2, 2, 2)).shape == (2, 2) and model.categories == ("a", "b")
    card = {"data": "mine"}
    again = copy.deepcopy(VolumeClassifier("mine", network, ["a", "b"], 3, card))
    card["data"] = "another's"
    assert again.card == {"data": "mine"} and again.pretrained and not model.pretrained
