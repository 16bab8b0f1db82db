"""The released maps against loops that follow their description."""

import numpy as np
import pytest
import torch

import wam
from probes import linear
from wam import metrics, released
from wam.attribution import NOISE

FRAME, SHAPE = wam.Wavelet("haar", 2, 2), (3, 8, 12)


def inputs(batch=3, shape=SHAPE, seed=0):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient(model, x, target):
    x = x.clone().requires_grad_(True)
    return torch.autograd.grad(model(x)[range(len(x)), target].mean(), x)[0]  # the mean over the batch, as released


def normalised(tensor):
    """Band by band: the mean over colours, absolute, divided by the largest of the whole batch."""
    bands = FRAME.pullback(tensor).bands
    return {key: band.mean(1, keepdim=True).abs() / band.mean(1).abs().max() for key, band in bands.items()}


def same(e, bands):
    assert list(e.attributions.bands) == list(bands)
    for key, band in bands.items():
        torch.testing.assert_close(e.attributions.bands[key], band, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("max_batch", [None, 1, 2, 7])
def test_maps_follow_their_description(recorder, max_batch):
    model, x, target = recorder(*SHAPE), inputs(), [2, 0, 1]
    options = {"frame": FRAME, "max_batch": max_batch}
    same(released.saliency(model, x, target, **options), normalised(gradient(model, x, target)))

    sigma = 0.25 * (x.flatten(1).amax(1) - x.flatten(1).amin(1)).view(-1, 1, 1, 1)
    total = 0
    for i in range(4):
        state = np.random.SeedSequence([5, i]).generate_state(1, np.uint64)
        noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(int(state[0]))).double()
        maps = normalised(gradient(model, x + sigma * noise, target))
        total = maps if not i else {key: total[key] + band for key, band in maps.items()}
    e = released.smoothgrad(model, x, target, samples=4, seed=5, **options)
    same(e, {key: band / 4 for key, band in total.items()})
    assert NOISE[2] == 0.25

    points = {}
    for alpha in np.linspace(0, 1, 5):
        for key, band in normalised(gradient(model, alpha * x, target)).items():
            points.setdefault(key, []).append(band.numpy())
    z = {key: band.mean(1, keepdim=True).abs() for key, band in FRAME.analysis(x).bands.items()}
    area = {key: torch.from_numpy(np.trapezoid(points[key], axis=0)) * z[key] / z[key].max() for key in z}
    e = released.integrated_gradients(model, x, target, steps=5, **options)
    same(e, area)
    same(released.magnitude(e), {key: z[key] / z[key].max() for key in z})
    assert e.method == "released integrated gradients" and e.settings == {"steps": 5}


def test_a_map_depends_on_its_batch_as_released(recorder):
    model, x = recorder(*SHAPE), inputs()
    whole, alone = (released.saliency(model, part, 0, frame=FRAME).attributions for part in (x, x[1:2]))
    whole = whole[1]
    assert not torch.equal(whole.pack()[0], alone.pack()[0])
    for key, band in alone.bands.items():
        assert band.max() == 1
        ratio = whole.bands[key] / band
        torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio))


def test_the_noise_of_a_sound_is_that_of_sounds(recorder):
    model, x = recorder(1, 32), inputs(2, (1, 32))
    e = released.smoothgrad(model, x, 0, frame=wam.Wavelet("haar", 2, 1), samples=2)
    assert e.settings["noise"] == NOISE[1]
    given = released.smoothgrad(model, x, 0, frame=wam.Wavelet("haar", 2, 1), samples=2, noise=NOISE[1])
    assert torch.equal(e.attributions.pack()[0], given.attributions.pack()[0])


def test_memory_is_bounded_and_autocast_leaves_the_maps_alone():
    sizes = []

    class Counting(wam.Wavelet):
        def pullback(self, gradient):
            sizes.append(len(gradient))
            return super().pullback(gradient)

    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(288, 4), torch.nn.Tanh())
    x = inputs(2).float()
    plain = released.smoothgrad(net, x, 0, frame=Counting("haar", 2, 2), samples=9, max_batch=6)
    assert max(sizes) == 6
    with torch.autocast("cpu", torch.bfloat16):
        e = released.smoothgrad(net, x, 0, frame=FRAME, samples=9, max_batch=6)
    assert e.attributions.dtype == torch.float32
    ranked = metrics.perturbation_curves(net, x, e, steps=4)
    assert ranked.ties.max() <= metrics.perturbation_curves(net, x, plain, steps=4).ties.max() + 0.05


def test_an_empty_band_stays_empty():
    weight = torch.zeros(2, *SHAPE, dtype=torch.float64)
    weight[:, :, ::2, ::2] = 1
    e = released.smoothgrad(linear(weight), inputs(), 0, frame=FRAME, samples=2)
    assert e.attributions.pack()[0].isfinite().all()
    none = released.saliency(linear(0 * weight), inputs(), 0, frame=FRAME)
    assert not none.attributions.pack()[0].any()


def test_maps_rank_by_every_protocol_and_are_saved(recorder, tmp_path):
    model, x = recorder(*SHAPE), inputs()
    e = released.integrated_gradients(model, x, frame=FRAME)
    curves = metrics.perturbation_curves(model, x, e, steps=4)
    loaded = wam.load(e.save(tmp_path / "e.safetensors"))
    assert torch.equal(metrics.perturbation_curves(model, x, loaded, steps=4).insertion, curves.insertion)
    assert e.heatmap().shape == (3, 8, 12)


def test_bad_input_is_named(recorder):
    model, x = recorder(*SHAPE), inputs()
    with pytest.raises(ValueError, match="samples must be an integer"):
        released.smoothgrad(model, x, frame=FRAME, samples=0)
    with pytest.raises(ValueError, match="noise must be a share"):
        released.smoothgrad(model, x, frame=FRAME, noise=-1)
    with pytest.raises(ValueError, match="steps must be at least 2"):
        released.integrated_gradients(model, x, frame=FRAME, steps=1)
    with pytest.raises(ValueError, match="hold"):
        released.saliency(model, x * torch.nan, frame=FRAME)
    with pytest.raises(TypeError, match="frame must be a frame"):
        released.saliency(model, x, frame="haar")


def test_a_layer_leaves_the_maps_alone_and_is_signed(recorder):
    """The layer passes its input on: there, the plain mean gradient, and the sum of 25 gradients times the input."""

    class Passing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.front, self.head = torch.nn.Identity(), recorder(*SHAPE)

        def forward(self, x):
            return self.head(self.front(x))

    model, x, target = Passing(), inputs(), [2, 0, 1]
    for method, expected in (
        (released.smoothgrad, wam.smoothgrad(model, x, target, frame=wam.Pixel()).attributions),
        (
            released.integrated_gradients,  # 24 unit steps instead of one of length 1
            wam.integrated_gradients(model, x, target, frame=wam.Pixel(), nodes="trapezoid", steps=25).attributions
            * 24,
        ),
    ):
        plain = method(model, x, target, frame=FRAME)
        e = method(model, x, target, frame=FRAME, layer="front")
        assert torch.equal(e.attributions.pack()[0], plain.attributions.pack()[0]) and plain.layer is None
        torch.testing.assert_close(e.layer.attributions.pack()[0], expected.pack()[0], rtol=0, atol=1e-10)
        assert torch.equal(e.layer.coefficients.pack()[0], x.flatten(2)) and e.layer.method == e.method
        assert (e.layer.attributions.pack()[0] < 0).any() and (e.attributions.pack()[0] >= 0).all()
