"""The classifiers of sounds: preparing clips, choosing categories, the network of Kumar et al., files of weights."""

import json
import re

import pytest
import torch
from safetensors.torch import save_file

import wam.models
import wam.sounds
from wam import sound_models
from wam.audio import Clip
from wam.sound_models import KumarCNN, SoundClassifier


@pytest.fixture(scope="module")
def yamnet():
    return wam.models.load("yamnet")


@pytest.fixture(scope="module")
def kumar():
    return wam.models.load("kumar_esc50", pretrained=False)


def clip(samples=16_000, rate=16_000, channels=1, dtype=torch.float32):
    return Clip(torch.randn(channels, samples, dtype=dtype) * 0.1, rate)


# --- preparing ----------------------------------------------------------------------------------------------------


def test_prepare_stacks_the_samples_as_they_are(yamnet):
    clips = [clip(dtype=torch.float64), clip()]
    x = yamnet.prepare(clips)
    assert x.shape == (2, 1, 16_000) and x.dtype == torch.float32
    assert torch.equal(x, torch.stack([c.samples.float() for c in clips]))
    assert torch.equal(yamnet.prepare(clips[1]), x[1:])
    assert wam.models.load("yamnet", dtype=torch.float64).prepare(clips).dtype == torch.float64
    sheep = wam.sounds.recordings()[9]
    sound = wam.sounds.LabelledSound(sheep.clip.mono().resample(16_000).fit(1), 9, "sheep", "")
    assert torch.equal(yamnet.prepare([sound]), sound.clip.samples[None])


@pytest.mark.parametrize(
    ("clips", "kind", "message"),
    [
        ([], ValueError, "at least one clip, got none"),
        ([torch.zeros(16_000)], TypeError, r"takes clips, got Tensor.*wam\.audio\.Clip\(samples, rate\)"),
        ([clip(), clip(rate=44_100)], ValueError, r"clip 1 has 44100 .* yamnet takes 16000.*clip\.resample\(16000\)"),
        ([clip(channels=2)], ValueError, r"clip 0 has 2 channels, yamnet takes one: use clip\.mono\(\)"),
        (
            [clip(), clip(15_599)],
            ValueError,
            r"clip 1 has 15599 samples, .* at least 15600 samples \(0\.975 s at 16000 Hz\): use clip\.fit",
        ),
        ([clip(), clip(17_000)], ValueError, r"equally long, got 16000 to 17000 samples.*clip\.fit\(seconds\)"),
    ],
)
def test_prepare_says_what_is_wrong_and_what_to_do(yamnet, clips, kind, message):
    with pytest.raises(kind, match=message):
        yamnet.prepare(clips)


@pytest.mark.parametrize("name", ["yamnet", "kumar_esc50"])
def test_the_minimum_is_what_the_model_needs(name):
    model = wam.models.load(name, pretrained=name == "yamnet")
    with torch.no_grad():
        assert model(model.prepare(clip(model.minimum, model.rate))).shape == (1, len(model.categories))
        with pytest.raises(ValueError, match="Clip.fit.* repeats a short"):
            model(torch.zeros(1, 1, model.minimum - 1))
    with pytest.raises(ValueError, match=f"at least {model.minimum} ") as error:
        model.prepare(clip(model.minimum - 1, model.rate))
    seconds = float(re.search(r"\(([\d.]+) s at", str(error.value))[1])
    model.prepare(clip(model.minimum - 1, model.rate).fit(seconds))  # the fix that the message names


def test_prepare_takes_one_labelled_sound(yamnet):
    sound = wam.sounds.LabelledSound(clip(), 0, "one", "test")
    torch.testing.assert_close(yamnet.prepare(sound), yamnet.prepare([sound.clip]))


# --- categories ---------------------------------------------------------------------------------------------------


def test_only_shares_the_modules_and_picks_the_logits(yamnet):
    names = wam.sounds.recordings().categories
    animals, x = yamnet.only(names), yamnet.prepare(clip())
    with torch.no_grad():
        torch.testing.assert_close(animals(x), yamnet(x)[:, [yamnet.categories.index(name) for name in names]])
        again = animals.only(["Dog", "Cat"])
        torch.testing.assert_close(again(x), yamnet(x)[:, [yamnet.index("Dog"), yamnet.index("Cat")]])
    assert animals.categories == names and again.categories == ("Dog", "Cat")
    assert animals.name == "yamnet" and animals.rate == 16_000 and not animals.training
    shared = {id(parameter) for parameter in yamnet.parameters()}
    assert {id(parameter) for parameter in animals.parameters()} == shared
    for names in ([], ["Dog", "Dog"], "Dog"):
        with pytest.raises(ValueError, match="several names of categories, .* each one once: got"):
            yamnet.only(names)


def test_an_unknown_category_suggests_near_ones(yamnet):
    assert yamnet.categories[yamnet.index("Owl")] == "Owl"
    for name, meant in (("Catt", "'Cat'"), ("rooster", "'Chicken, rooster'")):
        with pytest.raises(ValueError, match=f"there is no class '{name}'; did you mean .*{meant}"):
            yamnet.only(["Dog", name])


# --- the network of Kumar et al. ----------------------------------------------------------------------------------


def test_kumars_network_has_the_stated_layers(kumar):
    count, width = 0, 1
    for channels in (16, 16, 32, 32, 64, 64, 128, 128, 256, 256, 512):
        count, width = count + (9 * width + 1) * channels + 2 * channels, channels
    count += (4 * 512 + 1) * 1024 + 2 * 1024 + (1024 + 1) * 50
    assert sum(parameter.numel() for parameter in kumar.parameters()) == count
    mel = torch.zeros(2, 1, 431, 128)
    with torch.no_grad():
        assert kumar.network.features(mel).shape == (2, 1024, 5, 1)
        assert kumar.network(mel).shape == (2, 50)
        assert kumar.front_end(torch.zeros(1, 1, 5 * 44_100)).shape == (1, 1, 431, 128)
    assert kumar.rate == 44_100 and len(kumar.categories) == 50 and kumar.name == "kumar_esc50 (untrained)"
    for shape in ((1, 1, 127, 128), (1, 1, 128, 64), (1, 128, 128)):
        with pytest.raises(ValueError, match=r"\(batch, 1, frames, 128\) of 128 frames or more, got shape"):
            kumar.network(torch.zeros(shape))


def test_the_largest_sigmoid_is_the_sigmoid_of_the_largest_logit(kumar):
    mel = torch.randn(3, 1, 400, 128) * 20
    with torch.no_grad():
        local = kumar.network.classifier(kumar.network.features(mel))
        assert local.shape == (3, 50, 5, 1) and local.std(2).min() > 0
        torch.testing.assert_close(kumar.network(mel).sigmoid(), local.sigmoid().amax((2, 3)))


def test_kumars_network_takes_names_or_a_number():
    torch.manual_seed(3)
    assert sound_models.kumar(["dog", "rain"]).categories == ("dog", "rain")
    assert sound_models.kumar(2).categories == ("class 0", "class 1")
    for names in ([], "dog", ["a", "a"]):
        with pytest.raises(ValueError, match="several names of categories, .* each one once: got"):
            sound_models.kumar(names)


def test_kumars_clip_alone_is_as_in_a_batch(kumar):
    model, x = wam.models.load("kumar_esc50", dtype=torch.float64, pretrained=False), torch.randn(3, 1, 70_000).double()
    with torch.no_grad():
        torch.testing.assert_close(model(x[1:2]), model(x)[1:2], rtol=0, atol=1e-12)


# --- loading ------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path):
    """A classifier and the file of its weights, as the training writes it."""
    model = sound_models.kumar(["dog", "rain", "sea waves"]).eval()
    path = tmp_path / "weights.safetensors"
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, path, {"categories": json.dumps(model.categories)})
    return model, path


def test_weights_come_back_with_their_categories(trained):
    model, path = trained
    again = wam.models.load("kumar_esc50", weights=path)
    assert isinstance(again, SoundClassifier) and isinstance(again.network, KumarCNN) and not again.training
    assert again.categories == ("dog", "rain", "sea waves") and again.pretrained and again.name == "kumar_esc50"
    x = again.prepare(clip(70_000, 44_100))
    with torch.no_grad():
        torch.testing.assert_close(again(x), model(x), rtol=1e-5, atol=1e-6)


def test_weights_that_are_not_there_or_do_not_fit_are_named(trained, tmp_path):
    model, path = trained
    with pytest.raises(FileNotFoundError, match=r"python -m wam\.recipes esc50 FOLDER OUT.*weights=.*pretrained=False"):
        wam.models.load("kumar_esc50")
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere.*python -m wam\.recipes"):
        wam.models.load("kumar_esc50", weights=tmp_path / "nowhere")
    wrong = tmp_path / "wrong.safetensors"

    def refused(message):
        with pytest.raises(
            ValueError, match=rf"wrong\.safetensors does not hold kumar_esc50 and its categories: .*{message}"
        ):
            wam.models.load("kumar_esc50", weights=wrong)

    wrong.write_bytes(path.read_bytes()[:1000])
    refused("")
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, wrong)
    refused("give several names of categories")
    save_file(state, wrong, {"categories": json.dumps(["dog"])})
    refused("size mismatch")
    save_file({"features": torch.zeros(1)}, wrong, {"categories": json.dumps(["dog"])})
    refused("Missing key")


def test_weights_are_for_one_network():
    for name in ("yamnet", "resnet18"):
        with pytest.raises(ValueError, match=f"the pretrained kumar_esc50 and medmnist3d, not for '{name}'"):
            wam.models.load(name, weights="file")
    with pytest.raises(ValueError, match="pretrained=False"):
        wam.models.load("kumar_esc50", pretrained=False, weights="file")


def test_untrained_networks_are_marked_and_reproducible(yamnet):
    first, second = (wam.models.load("yamnet", pretrained=False) for _ in range(2))
    assert first.name == "yamnet (untrained)" and not first.pretrained and "pretrained=False" in repr(first)
    assert torch.equal(first.front_end.mel, yamnet.front_end.mel) and first.categories == yamnet.categories
    for (key, value), again in zip(first.network.state_dict().items(), second.network.state_dict().values()):
        assert torch.equal(value, again) and not torch.equal(value, yamnet.network.state_dict()[key])
    with pytest.raises(ValueError, match="unknown model 'yamnett'.*mean.*'yamnet'"):
        wam.models.load("yamnett")
