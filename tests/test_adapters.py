"""Classifiers from elsewhere, against the libraries they come from; small models of Hugging Face, with no download."""

import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
import transformers as hub
from PIL import Image
from torch import nn
from transformers.modeling_outputs import ImageClassifierOutput

import wam
from wam import adapters, data, huggingface, image_models, models, report
from wam.clips import Clip
from wam.front_ends import FilterBank, Standardised
from wam.names import index as place
from wam.pictures import Pictures

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
CONVOLUTIONS = {"conv_dim": (8, 8), "conv_kernel": (10, 4), "conv_stride": (5, 4), "num_feat_extract_layers": 2}
WAVES = {**SMALL, **CONVOLUTIONS, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "num_labels": 3}


def vit(**labels):
    config = hub.ViTConfig(**SMALL, image_size=32, patch_size=8, **labels)
    processor = hub.ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.5, 0.4, 0.3], image_std=[0.2] * 3)
    return hub.ViTForImageClassification(config), processor


def resnet():
    config = hub.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=4)
    return hub.ResNetForImageClassification(config), hub.ConvNextImageProcessor(size={"shortest_edge": 48})


def mobilevit():
    """Its processor swaps red and blue, and subtracts no mean."""
    config = hub.MobileViTConfig(
        initializer_range=0.5,
        image_size=32,
        hidden_sizes=[8, 8, 8],
        neck_hidden_sizes=[4] * 7,
        num_attention_heads=2,
        num_labels=4,
    )
    size = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
    return hub.MobileViTForImageClassification(config), hub.MobileViTImageProcessor(**size)


def wav2vec2(normalise=True):
    model = hub.Wav2Vec2ForSequenceClassification(hub.Wav2Vec2Config(**WAVES, classifier_proj_size=8))
    return model, hub.Wav2Vec2FeatureExtractor(sampling_rate=8000, do_normalize=normalise)


def hubert():
    model = hub.HubertForSequenceClassification(hub.HubertConfig(**WAVES, classifier_proj_size=8))
    return model, hub.Wav2Vec2FeatureExtractor(do_normalize=False)


def ast(length=64):
    config = hub.ASTConfig(**SMALL, patch_size=8, frequency_stride=8, time_stride=8, max_length=length, num_mel_bins=32)
    config.id2label = {0: "rain", 1: "dog"}
    return hub.ASTForAudioClassification(config), hub.ASTFeatureExtractor(num_mel_bins=32, max_length=length)


IMAGES, SOUNDS = (
    {"vit": vit, "resnet": resnet, "mobilevit": mobilevit},
    {"wav2vec2": wav2vec2, "hubert": hubert, "ast": ast},
)


@pytest.fixture
def photographs():
    return [item.image for item in wam.data.images(2)]


@pytest.fixture
def clips():
    time = torch.arange(6000) / 8000
    return [0.3 * torch.sin(2 * torch.pi * f * time**2) + 0.01 * torch.randn(6000) + 0.05 for f in (700.0, 90.0)]


def first_gradient(model, x):
    """Explained in wavelets, the classifier gives finite attributions that are not all zero, and a class by name."""
    e = wam.saliency(model, x, frame=wam.Wavelet("haar", levels=2, ndim=model.ndim))
    assert e.heatmap().shape == (len(x), *x.shape[2:]) and bool(e.heatmap().flatten(1).sum(1).gt(0).all())
    assert all(isinstance(model.categories[c], str) for c in e.target)
    assert not model.training and len(model.categories) == model(x).shape[1]


# Hugging Face, images


@pytest.mark.parametrize("name", IMAGES)
def test_images_of_hugging_face(name, photographs):
    network, processor = IMAGES[name]()
    model = huggingface.classifier(network, processor)
    x = model.prepare(photographs)
    with torch.no_grad():
        expected = network.eval()(**processor(images=photographs, return_tensors="pt")).logits
        assert torch.equal(model(x), expected)
    assert isinstance(model, models.ImageClassifier) and model.ndim == 2 and x.shape[2:] == model.input_size
    first_gradient(model, x)
    sky = Image.new("RGB", (64, 64), (51, 102, 204))
    np.testing.assert_allclose(model.display(model.prepare(sky))[0, 16, 16], np.array([51, 102, 204]) / 255, atol=1e-5)
    torch.testing.assert_close(model.prepare(Image.new("RGB", (64, 64))), model.black.expand(1, 3, *model.input_size))


def test_the_processors_normalisation_is_found():
    model = huggingface.classifier(*vit())
    torch.testing.assert_close(model.mean.flatten(), torch.tensor([0.5, 0.4, 0.3]), rtol=0, atol=1e-6)
    torch.testing.assert_close(model.std.flatten(), torch.tensor([0.2] * 3), rtol=0, atol=1e-6)


def test_class_names_and_numbers():
    named = huggingface.classifier(*vit(id2label={0: "cat", 1: "dog", 2: "LABEL_2"}))
    assert named.categories == ("cat", "dog", "class 2")


@pytest.mark.parametrize("make", [vit, wav2vec2])
def test_labels_exclude_each_other_unless_the_configuration_says_otherwise(make):
    network, processor = make()
    assert huggingface.classifier(network, processor).exclusive
    network.config.problem_type = "multi_label_classification"
    assert not huggingface.classifier(network, processor).exclusive
    net, size = nn.Flatten(), {"ndim": 3, "input_size": (4, 4, 4)}
    assert adapters.wrap(net, **size).exclusive and not adapters.wrap(net, **size, exclusive=False).exclusive
    assert (
        adapters.wrap(net, ndim=1, rate=8, exclusive=True).exclusive
        and not adapters.wrap(net, ndim=1, rate=8).exclusive
    )


def test_double_precision_and_the_wrappers_output():
    network, processor = vit(num_labels=3)
    model = huggingface.classifier(network.double(), processor)
    x = model.prepare(Image.new("RGB", (40, 50), "teal"))
    assert x.dtype == torch.float64 and model(x).dtype == torch.float64
    assert model.network.network is network


# Hugging Face, sounds


@pytest.mark.parametrize("name", SOUNDS)
def test_sounds_of_hugging_face(name, clips):
    network, extractor = SOUNDS[name]()
    model = huggingface.classifier(network, extractor)
    x = model.prepare([Clip(clip, model.rate) for clip in clips])
    assert model.ndim == 1 and model.rate == extractor.sampling_rate and x.shape == (2, 1, 6000)
    arrays = [clip.numpy() for clip in clips]
    given = extractor(arrays, sampling_rate=model.rate, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(model(x), network.eval()(**given).logits, rtol=1e-5, atol=1e-6)
        heard = model.front_end(x)
    torch.testing.assert_close(heard[:, 0], given["input_values"], rtol=1e-5, atol=1e-5)
    if not getattr(extractor, "do_normalize", True):
        with torch.no_grad():
            assert torch.equal(model(x), network(**given).logits)  # nothing is calculated twice: bit by bit
    first_gradient(model, x)


@pytest.mark.parametrize("length", [20, 200])
def test_the_spectrogram_is_the_extractors_whether_it_is_filled_up_or_cut_off(clips, length):
    extractor = hub.ASTFeatureExtractor(max_length=length)
    bank = FilterBank(16000, length=length, mean=extractor.mean, std=extractor.std)
    for clip in (*clips, torch.zeros(6000)):
        expected = extractor(clip.numpy(), sampling_rate=16000, return_tensors="pt")["input_values"]
        torch.testing.assert_close(bank(clip[None, None])[:, 0], expected, rtol=0, atol=1e-5)
    silence = torch.zeros(1, 1, 6000, requires_grad=True)
    bank(silence).sum().backward()
    assert torch.equal(silence.grad, torch.zeros_like(silence))
    with pytest.raises(ValueError, match="399 samples is too short: at least 400"):
        bank(torch.zeros(1, 1, 399))


def test_the_gradient_of_the_front_ends_is_right():
    for module, n in ((FilterBank(1000, bands=4, length=5), 60), (Standardised(1000, 2), 12)):
        x = torch.randn(2, 1, n, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(module.double(), x)


def test_an_explanation_at_the_spectrogram_inside(clips):
    model = huggingface.classifier(*ast())
    e = wam.saliency(model, clips[0][None, None], frame=wam.Wavelet("haar", levels=2, ndim=1), layer="front_end")
    assert e.layer.heatmap().shape == (1, 64, 32)


def test_a_baseline_of_noise_is_complete_where_silence_is_not(clips):
    """As the documentation says: loudness is not heard, so nothing happens on the path from silence."""
    network, extractor = wav2vec2()
    for parameter in network.classifier.parameters():
        parameter.data.mul_(20)  # of a size that a score can be seen to change
    model, frame = huggingface.classifier(network, extractor), wam.Wavelet("sym8", levels=4, ndim=1)
    x = clips[0][None, None]
    with torch.no_grad():
        torch.testing.assert_close(model(x), model(x / 10), rtol=0, atol=1e-3)
    shares = []
    for baseline in (0.0, 0.01 * torch.randn(1, 1, 6000)):
        e = wam.integrated_gradients(model, x, 0, frame=frame, steps=32, baseline=baseline)
        shares.append(float(e.completeness_gap / (e.score - e.baseline_score).abs()))
    assert shares[0] > 0.9 and shares[1] < 0.05


@pytest.mark.parametrize("kernels", [((10, 4), (5, 4)), ((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))])
def test_the_least_number_of_samples_is_what_the_convolutions_need(kernels):
    kernel, stride = kernels
    config = {**WAVES, "conv_kernel": kernel, "conv_stride": stride, "conv_dim": (8,) * len(kernel)}
    config |= {"num_feat_extract_layers": len(kernel), "classifier_proj_size": 8}
    network = hub.Wav2Vec2ForSequenceClassification(hub.Wav2Vec2Config(**config))
    model = huggingface.classifier(network, hub.Wav2Vec2FeatureExtractor())
    assert model(torch.randn(1, 1, model.minimum)).shape == (1, 3)
    assert network.wav2vec2._get_feat_extract_output_lengths(model.minimum) == 1
    assert network.wav2vec2._get_feat_extract_output_lengths(model.minimum - 1) == 0
    with pytest.raises(ValueError, match="too short"):
        model(torch.randn(1, 1, model.minimum - 1))


# Hugging Face, by name


@pytest.mark.parametrize("make", [vit, wav2vec2], ids=["image", "sound"])
def test_a_folder_or_a_repository_by_name(make, tmp_path, photographs, clips):
    network, processor = make()
    network.save_pretrained(tmp_path), processor.save_pretrained(tmp_path)
    model = models.load(f"hf:{tmp_path}")
    direct = huggingface.classifier(network, processor)
    examples = photographs if model.ndim == 2 else [Clip(clip, model.rate) for clip in clips]
    with torch.no_grad():
        assert torch.equal(model(model.prepare(examples)), direct(direct.prepare(examples)))
    assert model.name == str(tmp_path) and model.pretrained
    random = models.load(f"hf:{tmp_path}", pretrained=False, dtype=torch.float64)
    assert random.name.endswith("(untrained)") and not random.pretrained
    assert random.prepare(examples).dtype == torch.float64


def test_a_model_without_a_trained_head_is_refused(tmp_path):
    network, processor = vit()
    network.vit.save_pretrained(tmp_path), processor.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no trained classifier: classifier.bias, classifier.weight would be random"):
        huggingface.classifier(str(tmp_path))
    hub.BertConfig(**SMALL).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'bert' model, .* neither an image nor an audio classifier"):
        huggingface.classifier(str(tmp_path))


def test_what_cannot_be_adapted_says_what_to_do():
    with pytest.raises(ValueError, match=r"give the processor of ViTForImageClassification too"):
        huggingface.classifier(vit()[0])
    grey = hub.ConvNextForImageClassification(hub.ConvNextConfig(num_channels=1, hidden_sizes=[8] * 4, depths=[1] * 4))
    with pytest.raises(ValueError, match=r"takes images of 1 channel, not of three.*adapters.wrap\(.*channels=1"):
        huggingface.classifier(grey, hub.ConvNextImageProcessor(size={"shortest_edge": 48}))
    wrapped = adapters.wrap(grey, ndim=2, channels=1, input_size=(48, 48), argument="pixel_values")
    assert wrapped.categories == ("class 0", "class 1")
    small = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
    whisper = hub.WhisperForAudioClassification(hub.WhisperConfig(**small, encoder_ffn_dim=16, num_mel_bins=8))
    with pytest.raises(ValueError, match=r"'input_features' made by WhisperFeatureExtractor, .*adapters.wrap\("):
        huggingface.classifier(whisper, hub.WhisperFeatureExtractor(feature_size=8))


def test_no_connection_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    code = "import wam.models; wam.models.load('hf:nobody/nothing')"
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "", "HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    error = run.stderr.strip().splitlines()[-1]
    assert run.returncode == 1 and "AssetError: could not get nobody/nothing from Hugging Face" in error
    assert "HF_HOME" in error


def test_transformers_is_imported_only_when_it_is_used():
    code = (
        "import sys, wam.adapters, wam.models; wam.models.load('test_vit', pretrained=False); "
        "assert 'transformers' not in sys.modules; sys.modules['transformers'] = None\n"
        "try: wam.models.load('hf:a/b')\n"
        "except ImportError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'wam[huggingface]'" in run.stdout, run.stderr


# timm


def test_any_timm_model(photographs):
    model = models.load("test_vit.r160_in1k", pretrained=False, dtype=torch.float64)
    network = model.network
    config = timm.data.resolve_model_data_config(network)
    transform = timm.data.create_transform(**config)
    x = model.prepare(photographs)
    assert torch.equal(x, torch.stack([transform(image) for image in photographs]).double())
    assert torch.equal(model(x), network(x)) and model.name == "test_vit.r160_in1k (untrained)"
    assert model.input_size == (160, 160) and model.categories[243] == "bull mastiff"
    first_gradient(model, x)


def test_class_names_of_timms_other_label_sets():
    for classes, index, name in ((11821, 5, "food"), (21841, 5, "food"), (21843, 5, "food"), (7, 5, "class 5")):
        model = image_models.from_timm("x", timm.create_model("test_vit", num_classes=classes), pretrained=False)
        assert len(model.categories) == classes
        if classes != 7:
            info = timm.data.ImageNetInfo(timm.data.infer_imagenet_subset(model.network))
            name = info.index_to_description(index).split(",")[0]
        assert model.categories[index] == name
    with pytest.raises(ValueError, match="encoder without classes"):
        image_models.from_timm("x", timm.create_model("test_vit", num_classes=0))


def test_class_names_of_a_configuration_of_timm():
    names = {"pretrained_cfg_overlay": {"label_names": ["cat", "dog"]}}
    for classes, categories in ((2, ("cat", "dog")), (3, ("class 0", "class 1", "class 2"))):
        model = image_models.from_timm("x", timm.create_model("test_vit", num_classes=classes, **names))
        assert model.categories == categories and not model.training


@pytest.mark.parametrize("name", ["test_resnet", "naflexvit_base_patch16_gap"])
def test_networks_of_timm_with_other_channels_are_refused(name):
    small = {} if name == "test_resnet" else {"embed_dim": 64, "depth": 1, "num_heads": 2}
    assert image_models.from_timm("x", timm.create_model(name, num_classes=2, **small)).categories[1] == "class 1"
    for channels in (1, 4):
        network = timm.create_model(name, num_classes=2, in_chans=channels, **small)
        with pytest.raises(ValueError, match=r"not take images of three channels.*adapters.wrap\(.*channels=1"):
            image_models.from_timm("x", network)
    grey = timm.create_model("test_resnet", num_classes=2, in_chans=1)
    assert adapters.wrap(grey, ndim=2, channels=1, input_size=(160, 160), mean=[0.5], std=[0.2]).categories


def test_timm_names_that_are_wrong():
    with pytest.raises(ValueError, match=r"no model 'resnet18.a1_in1'; did you mean .*resnet18.a1_in1k"):
        image_models.timm_model("resnet18.a1_in1")
    with pytest.raises(ValueError, match="timm publishes no weights for 'botnet50ts_256'"):
        models.load("botnet50ts_256")


# any module


class Dictionary(nn.Module):
    """Logits of named inputs, in what is asked for."""

    def __init__(self, kind, channels=3):
        super().__init__()
        self.kind, self.layer = kind, nn.Linear(channels, 4)

    def forward(self, mask=None, pixel_values=None):
        logits = self.layer(pixel_values.flatten(2).mean(2))
        returned = {"tuple": (0, logits), "dict": {"scores": logits}, "object": ImageClassifierOutput(logits=logits)}
        return returned.get(self.kind, logits)


@pytest.mark.parametrize(("kind", "output"), [("tuple", 1), ("dict", "scores"), ("object", None), ("tensor", None)])
def test_named_inputs_and_every_kind_of_output(kind, output, photographs):
    network = Dictionary(kind).train()
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    given = {"mean": mean, "std": std, "input_size": (32, 48), "argument": "pixel_values", "output": output}
    model = adapters.wrap(network, ndim=2, **given)
    x = model.prepare(photographs)
    expected = network.layer(x.flatten(2).mean(2))
    assert torch.equal(model(x), expected) and model.name == "Dictionary"
    assert x.shape == (2, 3, 32, 48) and model.categories == ("class 0", "class 1", "class 2", "class 3")
    for photograph, shown in zip(photographs, model.display(x)):
        scale = max(32 / photograph.height, 48 / photograph.width)
        small = np.asarray(photograph.resize((round(photograph.width * scale), round(photograph.height * scale)))) / 255
        top, left = (round((side - cut) / 2) for side, cut in zip(small.shape, (32, 48)))
        assert abs(small[top : top + 32, left : left + 48] - shown).mean() < 0.02
    first_gradient(model, x)


def test_sounds_and_volumes_and_grey_images():
    sound = nn.Sequential(
        nn.Flatten(), nn.Unflatten(1, (1, -1)), nn.AdaptiveAvgPool1d(8), nn.Flatten(), nn.Linear(8, 2)
    )
    model = adapters.wrap(sound, ndim=1, rate=1000, categories=["low", "high"], input_size=[64], name="pitch")
    x = model.prepare(Clip(torch.randn(256), 1000))
    assert model.ndim == 1 and model.rate == 1000 and model.minimum == 64 and x.shape == (1, 1, 256)
    first_gradient(model, x)
    loud = adapters.wrap(sound, ndim=1, rate=1000, prepare=lambda clip: clip.mono().resample(1000).normalised().samples)
    x = loud.prepare([Clip(torch.randn(2, 4000), 4000), Clip(torch.randn(1000), 1000)])
    assert x.shape == (2, 1, 1000) and x.abs().amax(2).tolist() == [[1], [1]]

    volume = nn.Sequential(nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Linear(8, 2)).double()
    model = adapters.wrap(volume, ndim=3, mean=[1.0], std=[2.0])
    voxels = np.random.default_rng(0).random((8, 12, 10), dtype=np.float32)
    x = model.prepare(voxels)
    assert x.shape == (1, 1, 8, 12, 10) and x.dtype == torch.float64 and model.ndim == 3
    np.testing.assert_allclose(x[0, 0].numpy(), (voxels - 1) / 2, rtol=1e-6)
    assert model.prepare([torch.zeros(8, 8, 8), torch.zeros(1, 8, 8, 8)]).shape == (2, 1, 8, 8, 8)
    first_gradient(model, x)
    with pytest.raises(ValueError, match=r"of 1 channel, got shape \(2, 8, 8, 8\)"):
        model.prepare(torch.zeros(2, 8, 8, 8))

    grey = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    model = adapters.wrap(grey, ndim=2, channels=1, input_size=(28, 28), mean=[0.13], std=[0.31])
    x = model.prepare(Image.new("RGB", (56, 56), "white"))
    torch.testing.assert_close(x, torch.full((1, 1, 28, 28), (1 - 0.13) / 0.31))
    np.testing.assert_allclose(model.display(x), np.ones((1, 28, 28, 3)), atol=1e-6)
    first_gradient(model, x)


def test_a_normalisation_may_be_an_array_or_a_tensor():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    model = adapters.wrap(flat, ndim=2, input_size=(8, 8), mean=np.full(3, 0.5), std=torch.full((3,), 0.25))
    torch.testing.assert_close(model.prepare(Image.new("RGB", (8, 8), "white")), torch.full((1, 3, 8, 8), 2.0))


class Strange(nn.Module):
    """Raises what it is told to, unless an image has 32 pixels along its sides."""

    def __init__(self, error=AssertionError):
        super().__init__()
        self.error = error

    def forward(self, x):
        if x.shape[-1] != 32:
            raise self.error
        return x.mean((2, 3))


@pytest.mark.parametrize("error", [AssertionError, KeyError("size"), AttributeError("old"), TypeError("x"), OSError(5)])
def test_whatever_a_network_raises_says_what_to_do(error):
    with pytest.raises(ValueError, match=r"Strange does not take zeros .*224\) for one example; \w+.*input_size="):
        adapters.wrap(Strange(error), ndim=2)
    assert adapters.wrap(Strange(error), ndim=2, input_size=(32, 32)).input_size == (32, 32)


def test_class_names_as_they_are_given():
    def names(given):
        return adapters.wrap(Strange(), ndim=2, input_size=(32, 32), categories=given).categories

    assert names({2: "fox", 0: "cat", 1: "dog"}) == ("cat", "dog", "fox")
    assert names([7, np.str_("b"), 2.5]) == ("7", "b", "2.5")
    with pytest.raises(ValueError, match=r"keys 0 to 2, one for each logit; got \[0, 1\]"):
        names({0: "cat", 1: "dog"})
    with pytest.raises(ValueError, match=r"keys 0 to 2, .*got \['cat', 'dog', 'fox'\]"):
        names({"cat": 0, "dog": 1, "fox": 2})
    with pytest.raises(TypeError, match=r"categories is a list of names, got 'abc'"):
        names("abc")


def test_a_class_is_one_name_or_one_index():
    names = ["Dog", "Duck", 7]
    for one in (1, "duck", "1", np.int64(1), np.array([1]), torch.tensor(1), torch.tensor([[1]]), np.array("duck")):
        assert place(one, names) == 1
    assert place("7", names) == 2
    with pytest.raises(ValueError, match="there is no class 'cat'"):
        place("cat", names)
    for several in ([1], (0, 1), torch.tensor([0, 1]), np.arange(2), True, np.True_, torch.tensor(True), 1.0, None):
        with pytest.raises(ValueError, match="one class is meant: give its name or index, got "):
            place(several, names)


@pytest.mark.parametrize("own", [False, True])
def test_examples_of_the_package_are_prepared(own):
    digits, cubes = data.mnist("test", 3), data.digits3d("test", 2)
    pair = torch.arange(2 * 3 * 32 * 32).view(2, 3, 32, 32).remainder(256).byte()
    pictures = Pictures(pair, 255, torch.tensor([0, 0]), ("a",), "made here")
    prepare = {"prepare": lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255} if own else {}
    model = adapters.wrap(Strange(), ndim=2, input_size=(32, 32), **prepare)
    torch.testing.assert_close(model.prepare(pictures), pictures.batch())
    assert report.explain(model, pictures[:1], "grad", levels=1).x.shape == (1, 3, 32, 32)
    grey = adapters.wrap(nn.Flatten(), ndim=2, channels=1, input_size=(28, 28))
    torch.testing.assert_close(grey.prepare(digits), digits.batch())

    network = nn.Sequential(nn.AdaptiveAvgPool3d(2), nn.Flatten())
    prepare = {"prepare": lambda values: 2 * values} if own else {"std": [0.5]}
    model = adapters.wrap(network, ndim=3, **prepare)
    torch.testing.assert_close(model.prepare(cubes), 2 * cubes.batch())
    assert report.explain(model, cubes[:1], "grad", levels=1).x.shape[:2] == (1, 1)


def test_what_does_not_fit_is_named():
    plain = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    wrong = {
        "takes a torch.nn.Module, got function": (TypeError, lambda: adapters.wrap(lambda x: x, ndim=2)),
        r"ndim must be 1 \(sounds\), 2 \(images\) or 3": (ValueError, lambda: adapters.wrap(plain, ndim=4)),
        r"rate \(samples per second": (ValueError, lambda: adapters.wrap(plain, ndim=1)),
        r"one or three channels, got 2": (ValueError, lambda: adapters.wrap(plain, ndim=2, channels=2)),
        r"input_size must have 2 numbers": (ValueError, lambda: adapters.wrap(plain, ndim=2, input_size=[8])),
        r"one number per channel \(3\)": (ValueError, lambda: adapters.wrap(plain, ndim=2, mean=[0.5])),
        r"does not take zeros of shape \(1, 3, 224, 224\).*input_size=": (
            ValueError,
            lambda: adapters.wrap(plain, ndim=2),
        ),
        "2 logits, got 3 categories": (
            ValueError,
            lambda: adapters.wrap(plain, ndim=2, input_size=(8, 8), categories=list("abc")),
        ),
        r"gives \(1, 3, 8, 8\) for one example": (
            ValueError,
            lambda: adapters.wrap(nn.Identity(), ndim=2, input_size=(8, 8)),
        ),
        r"Dictionary returns dict with \['scores'\], and no tensor as 'logits': say with output=": (
            TypeError,
            lambda: adapters.wrap(Dictionary("dict"), ndim=2, argument="pixel_values"),
        ),
        r"Dictionary returns tuple of 2, and no tensor as 0": (
            TypeError,
            lambda: adapters.wrap(Dictionary("tuple"), ndim=2, argument="pixel_values", output=0),
        ),
    }
    for message, (kind, call) in wrong.items():
        with pytest.raises(kind, match=message):
            call()
