"""YAMNet's file, front end and network, against direct calculations and on the real recordings."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import wam.models
import wam.sounds
from wam import assets, catalogue, yamnet

STRIDES = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)  # of the 3 x 3 convolutions
WIDTHS = (32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)
HEARD = ("cow", "dog", "duck", "frog", "horse", "owl", "rooster", "sheep")  # cat and pig are called Dog


@pytest.fixture(scope="module")
def path():
    return assets.fetch(catalogue.CATALOGUE["yamnet"]) / "yamnet.tflite"


@pytest.fixture(scope="module")
def contents(path):
    return yamnet.read(path)


@pytest.fixture(scope="module")
def model():
    return wam.models.load("yamnet")


@pytest.fixture(scope="module")
def double():
    return wam.models.load("yamnet", dtype=torch.float64)


@pytest.fixture(scope="module")
def clips():
    """Two seconds of every recording at 16 kHz, ``(10, 1, 32000)``."""
    sounds = wam.sounds.recordings()
    return torch.stack([sound.clip.mono().resample(16000).fit(2).samples for sound in sounds])


# --- the file -----------------------------------------------------------------------------------------------------


def test_the_layers_are_those_of_the_published_network(contents):
    shapes, width = [(32, 1, 3, 3), (32,)], 32
    for channels in WIDTHS[1:]:
        shapes += [(width, 1, 3, 3), (width,), (channels, width, 1, 1), (channels,)]
        width = channels
    assert [tuple(weight.shape) for weight in contents.weights] == [*shapes, (521, 1024), (521,)]
    assert len(set(contents.categories)) == 521
    assert contents.categories[0] == "Speech" and contents.categories[-1] == "Field recording"
    assert set(wam.sounds.ANIMALS.values()) <= set(contents.categories)


def test_weights_are_integers_times_the_scale_of_their_channel(contents):
    """8 bits: the largest of a channel is 127 steps. Biases: steps of the weights times those of a ReLU6's output."""
    scales = []
    for weight in contents.weights[:-2:2]:
        scales.append(weight.double().flatten(1).abs().amax(1) / 127)
        steps = weight.double().flatten(1) / scales[-1][:, None]
        torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
        assert len(steps.round().unique()) > 100
    for i, (scale, bias) in enumerate(zip(scales, contents.weights[1:-2:2])):
        if i in (0, 23):  # what comes in is the spectrogram, or has a range of its own
            continue
        steps = bias.double() / (scale * 6 / 255)
        torch.testing.assert_close(steps, steps.round(), rtol=1e-6, atol=1e-2)


def test_tables_are_the_published_ones(contents):
    """A periodic Hann window, and triangles on the mel scale of HTK, 125 to 7500 Hz, over 257 frequencies."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    np.testing.assert_allclose(contents.window, hann, atol=1e-6)
    mel = lambda hertz: 1127 * np.log1p(hertz / 700)  # noqa: E731
    edges, at = np.linspace(mel(125), mel(7500), 66), mel(np.linspace(0, 8000, 257))[1:]
    rising = (at - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - at) / (edges[2:] - edges[1:-1])[:, None]
    np.testing.assert_allclose(contents.mel[:, 1:], np.minimum(rising, falling).clip(0), atol=1e-5)
    assert (contents.mel[:, 0] == 0).all()
    np.testing.assert_allclose(contents.offset, 0.001, rtol=1e-6)


def test_a_file_that_is_another_is_named(path, tmp_path):
    wrong = tmp_path / "wrong.tflite"
    for content, message in [
        (b"", "is not a TensorFlow Lite model"),
        (b"PK\3\4" + bytes(100), "is not a TensorFlow Lite model"),
        (path.read_bytes()[:1_000_000], "has no class names"),
    ]:
        wrong.write_bytes(content)
        with pytest.raises(ValueError, match=rf"wrong\.tflite {message}.*wam\.assets\.fetch"):
            yamnet.read(wrong)
    with pytest.raises(FileNotFoundError):
        yamnet.read(tmp_path / "nowhere.tflite")


# --- the front end ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [15_600, 15_601, 23_280, 30_000])
def test_the_front_end_is_its_formula(contents, double, n):
    x = np.random.default_rng(0).standard_normal((2, n)) * 0.1
    patches = 1 + int(np.ceil((n - 15_600) / 7_680))  # every sample lies in one
    padded = np.pad(x, ((0, 0), (0, 15_600 + 7_680 * (patches - 1) - n)))
    window, mel = contents.window.double().numpy(), contents.mel.double().numpy()
    expected = []
    for t in range(96 + 48 * (patches - 1)):
        spectrum = np.fft.fft(padded[:, 160 * t : 160 * t + 400] * window, 512)[:, :257]
        expected.append(np.log(np.abs(spectrum) @ mel.T + contents.offset.double().numpy()))
    found = double.front_end(torch.tensor(x)[:, None])
    np.testing.assert_allclose(found[:, 0], np.stack(expected, 1), atol=1e-12)


def test_a_mask_of_the_spectrogram_is_heard(double, clips):
    front_end, x = double.front_end, clips[:2].double()
    ones = torch.ones_like(front_end(x))
    torch.testing.assert_close(front_end.filter(x, ones)[..., 160:-160], x[..., 160:-160], atol=1e-12, rtol=0)
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(ones.shape, generator=generator, dtype=ones.dtype)
    parts = front_end.filter(x, mask) + front_end.filter(x, 1 - mask)
    torch.testing.assert_close(parts, front_end.filter(x, ones), atol=1e-12, rtol=0)
    assert not front_end.filter(x, 0 * mask).any()


def test_a_mask_of_the_spectrogram_keeps_its_place_in_time_and_frequency(double):
    time = torch.arange(32000, dtype=torch.float64) / 16000
    low, high = (torch.sin(2 * torch.pi * f * time)[None, None] for f in (300, 4000))
    mask = torch.zeros_like(double.front_end(low))
    mask[..., :32] = 1  # bands below about 2 kHz
    heard = double.front_end.filter(low + high, mask)
    assert (heard - low)[..., 800:-800].square().mean() < 1e-4 * low.square().mean()
    mask = torch.zeros_like(mask)
    mask[:, :, 100:] = 1  # from 1 s
    early, late = double.front_end.filter(low, mask).split(16000, dim=2)
    assert early[..., :-400].abs().max() < 1e-12 and late[..., 400:-160].square().mean() > 0.49


def test_a_filter_refuses_what_the_front_end_refuses(model, clips):
    mask = torch.ones_like(model.front_end(clips[:1]))
    for x in (clips[:1].expand(1, 2, -1), clips[:1, :, :100]):
        with pytest.raises(ValueError, match="one channel|too short"):
            model.front_end.filter(x, mask)
    assert model.front_end.filter(clips[:1], mask.double()).dtype == torch.float32


def test_a_mask_of_another_spectrogram_is_refused(model, clips):
    with pytest.raises(ValueError, match=r"the mask has the shape \(1, 1, 96, 64\), the spectrogram \(1, 1, 240, 64\)"):
        model.front_end.filter(clips[:1], torch.ones(1, 1, 96, 64))


def test_the_front_end_refuses_what_it_cannot_take(model):
    with pytest.raises(
        ValueError,
        match=r"15599 samples .* at least 15600 samples \(0\.975 s .*; Clip\.fit",
    ):
        model(torch.zeros(1, 1, 15_599))
    for shape in ((1, 2, 16_000), (1, 16_000), (16_000,)):
        with pytest.raises(ValueError, match=r"one channel, \(batch, 1, n\), got shape"):
            model(torch.zeros(shape))
    with pytest.raises(TypeError, match=r"float32, the sound in torch\.float64"):
        model(torch.zeros(1, 1, 16_000, dtype=torch.float64))


# --- the network --------------------------------------------------------------------------------------------------


def convolved(contents, patch):
    """The features of patches, layer by layer, with TensorFlow's rule for padding."""
    weights, strides, h = list(contents.weights[:-2]), iter(STRIDES), patch
    while weights:
        w, b, *weights = weights
        stride = next(strides) if w.shape[2] == 3 else 1
        sides = []
        for size in (h.shape[3], h.shape[2]):
            total = max((-(-size // stride) - 1) * stride + w.shape[2] - size, 0)
            sides += [total // 2, total - total // 2]
        h = F.conv2d(F.pad(h, sides), w.to(h), b.to(h), stride, groups=h.shape[1] // w.shape[1]).clamp(0, 6)
    return h


def test_the_network_is_its_layers_one_by_one(contents, double, clips):
    mel = double.front_end(clips[:3].double())
    logits = double.network.patch_logits(mel)
    assert mel.shape == (3, 1, 240, 64) and logits.shape == (3, 4, 521)
    for p in range(4):
        features = convolved(contents, mel[:, :, 48 * p : 48 * p + 96])
        assert features.shape == (3, 1024, 3, 2)
        expected = features.mean((2, 3)) @ contents.weights[-2].double().T + contents.weights[-1]
        torch.testing.assert_close(logits[:, p], expected, rtol=0, atol=1e-10)


def test_the_score_of_a_clip_is_the_mean_of_its_patches(double, clips):
    x = clips.double()
    each = double.network.patch_logits(double.front_end(x))
    torch.testing.assert_close(double(x).sigmoid(), each.sigmoid().mean(1), rtol=1e-12, atol=0)
    assert (each.std(1) > 1).any()
    one = double(x[..., :15_600])
    torch.testing.assert_close(one, double.network.patch_logits(double.front_end(x[..., :15_600]))[:, 0])


def test_the_score_of_a_clip_does_not_over_or_underflow(model):
    network = yamnet.YAMNet(3)
    mel = torch.zeros(1, 1, 144, 64)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.classifier.bias += torch.tensor([-200.0, 0.0, 200.0])
    torch.testing.assert_close(network(mel), torch.tensor([[-200.0, 0.0, 200.0]]))


@pytest.mark.parametrize(("precision", "tolerance"), [("model", 1e-5), ("double", 1e-12)])
def test_a_clip_alone_is_as_in_a_batch(request, clips, precision, tolerance):
    network = request.getfixturevalue(precision)
    x = clips.to(next(network.parameters()))
    together, gradient = scored(network, x)
    for i in range(0, 10, 3):
        alone, own = scored(network, x[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], rtol=tolerance, atol=tolerance)
        assert (own[0] - gradient[i]).norm() <= 100 * tolerance * gradient[i].norm()


def scored(network, x):
    """Logits, and the gradient of the largest."""
    x = x.clone().requires_grad_(True)
    logits = network(x)
    (gradient,) = torch.autograd.grad(logits.amax(1).sum(), x)
    return logits.detach(), gradient


def test_the_gradient_is_the_derivative(double, clips):
    x = clips[8:9, :, :20_000].double()  # the rooster
    target = double.index("Chicken, rooster")
    direction = torch.randn_like(x)
    (gradient,) = torch.autograd.grad(double(x.requires_grad_(True))[0, target], x)
    step = 1e-10  # a ReLU6 whose corner lies between the two would spoil the difference
    with torch.no_grad():
        up, down = (double(x + sign * step * direction)[0, target] for sign in (1, -1))
    slope = (gradient * direction).sum()
    assert abs(slope) > 1, slope
    torch.testing.assert_close((up - down) / (2 * step), slope, rtol=1e-5, atol=0)


def test_gradients_are_finite_for_silence_constants_and_recordings(model, clips):
    flat = torch.stack([torch.full((1, 32_000), level) for level in (0.0, 0.5, 1e-30)])
    for x in (flat, clips):
        logits, gradient = scored(model, x)
        assert logits.isfinite().all() and gradient.isfinite().all()
    assert (gradient.flatten(1).norm(dim=1) > 0).all()
    half = torch.cat([clips[8:9], torch.zeros(1, 1, 32_000)], 2)
    assert scored(model, half)[1].isfinite().all()


def test_the_network_refuses_spectrograms_that_patches_do_not_fill(model):
    for shape in ((1, 1, 95, 64), (1, 1, 100, 64), (1, 1, 96, 65), (1, 2, 96, 64), (1, 96, 64)):
        with pytest.raises(ValueError, match=r"\(batch, 1, 96 \+ 48 k, 64\), got shape"):
            model.network(torch.zeros(shape))


@pytest.mark.parametrize("cells", [3, 6, 12, 24, 48])
def test_maps_of_patches_are_laid_out_in_time(cells):
    network, patches, batch = yamnet.YAMNet(2), 4, 2
    maps, frames = torch.rand(batch * patches, 3, cells, 2, dtype=torch.float64), 96 + 48 * (patches - 1)
    total, count = torch.zeros(batch, 3, frames, 2, dtype=torch.float64), torch.zeros(frames, 1)
    for i, each in enumerate(maps):
        sample, start = i // patches, 48 * (i % patches)
        for t in range(96):
            total[sample, :, start + t] += each[:, t * cells // 96]
            count[start + t] += sample == 0
    found = network.lay_out(maps, frames)
    assert found.shape == (batch, 3, frames // min(16, 96 // cells), 2)
    stretched = found.repeat_interleave(frames // found.shape[2], 2)
    torch.testing.assert_close(stretched, total / count)


def test_maps_that_are_padded_are_refused():
    with pytest.raises(ValueError, match="97 cells do not divide patches of 96 frames"):
        yamnet.YAMNet(2).lay_out(torch.zeros(2, 1, 97, 65), 144)


# --- what it hears ------------------------------------------------------------------------------------------------


def test_eight_of_ten_recordings_are_recognised(model):
    sounds = wam.sounds.recordings()
    animals = model.only(sounds.categories)
    x = animals.prepare([sound.clip.mono().resample(16_000).fit(5) for sound in sounds])
    with torch.no_grad():
        best = animals(x).argmax(1)
    right = [sound.name for sound, found in zip(sounds, best) if found == sound.label]
    assert right == list(HEARD)
    wrong = [animals.categories[best[list(wam.sounds.ANIMALS).index(name)]] for name in ("cat", "pig")]
    assert wrong == ["Dog", "Dog"]
