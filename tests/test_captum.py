"""Captum's conventions, held against Captum: its own methods, and its tools that call a method."""

import captum
import captum.attr
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, NoiseTunnel, Saliency, visualization
from captum.metrics import infidelity, sensitivity_max
from torch import nn

import wam
from wam.captum import WaveletAttribution
from wam.methods import METHODS

HAAR = wam.Wavelet("haar", levels=2, ndim=2)
FRAMES = [HAAR, wam.Wavelet("db4", levels=1, ndim=2), wam.Fourier(levels=3, ndim=2), wam.Pixel()]


class Net(nn.Module):
    """Smooth, not linear, and different in training mode; a second input and additional arguments are welcome."""

    def __init__(self):
        super().__init__()
        self.conv, self.drop, self.head = nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.Linear(4, 5)
        self.double()

    def forward(self, x, other=None, scale=1.0):
        hidden = torch.tanh(self.conv(x)).mean((2, 3))
        hidden = hidden if other is None else hidden + torch.sin(other).mean((1, 2))[:, None]
        return self.head(self.drop(hidden)).square() * scale


@pytest.fixture
def net():
    return Net().eval()


@pytest.fixture
def x():
    return torch.randn(3, 3, 16, 16, dtype=torch.float64)


def test_the_module_does_not_hide_the_package():
    assert wam.captum.__name__ == "wam.captum" and captum.attr.__name__ == "captum.attr"
    assert issubclass(WaveletAttribution, captum.attr.GradientAttribution)


# on pixels it is Captum


def test_saliency_on_pixels_is_captums(net, x):
    mine, theirs = WaveletAttribution(net, wam.Pixel(), "saliency"), Saliency(net)
    for target in (2, [0, 4, 1], torch.tensor([3, 3, 0]), torch.tensor(1)):
        torch.testing.assert_close(mine.attribute(x, target), theirs.attribute(x, target))
    torch.testing.assert_close(mine.attribute(x, 2, abs=False), theirs.attribute(x, 2, abs=False))


@pytest.mark.parametrize("baseline", [None, 0.3, torch.linspace(-1, 1, 768, dtype=torch.float64).view(1, 3, 16, 16)])
def test_integrated_gradients_on_pixels_are_captums(net, x, baseline):
    given = {
        "target": [0, 4, 1],
        "n_steps": 20,
        "return_convergence_delta": True,
        "additional_forward_args": (None, 2.0),
    }
    mine = WaveletAttribution(net, wam.Pixel()).attribute(x, baselines=baseline, nodes="gauss-legendre", **given)
    theirs = IntegratedGradients(net).attribute(x, baselines=baseline, **given)
    torch.testing.assert_close(mine[0], theirs[0], rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(mine[1], theirs[1], rtol=1e-5, atol=1e-7)  # Captum's nodes are in float32


def test_several_inputs_are_explained_together_as_by_captum(net, x):
    inputs = (x, torch.randn(3, 2, 40, dtype=torch.float64))
    given = {"target": 1, "n_steps": 12, "baselines": (0.1, inputs[1] / 2), "return_convergence_delta": True}
    mine, delta = WaveletAttribution(net, wam.Pixel()).attribute(inputs, nodes="gauss-legendre", **given)
    theirs, expected = IntegratedGradients(net).attribute(inputs, **given)
    assert isinstance(mine, tuple) and [a.shape for a in mine] == [tensor.shape for tensor in inputs]
    for ours, captums in zip(mine, theirs):
        torch.testing.assert_close(ours, captums, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(delta, expected, rtol=1e-5, atol=1e-9)


def test_targets_of_outputs_without_classes_or_with_more_axes(x):
    def one(x):
        return x.square().sum((1, 2, 3))

    def several(x):
        return torch.stack([x.mean((2, 3)), x.square().mean((2, 3))], dim=1)  # (batch, 2, 3)

    for function, target in ((one, None), (several, (1, 2)), (several, [(0, 0), (1, 1), (1, 2)])):
        mine = WaveletAttribution(function, wam.Pixel(), "saliency").attribute(x, target=target)
        torch.testing.assert_close(mine, Saliency(function).attribute(x, target=target))
    with pytest.raises(AssertionError, match="Target not provided"):
        WaveletAttribution(Net(), HAAR).attribute(x)


# in a frame it is this package


@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_coefficients_are_those_of_the_package(net, x, frame):
    target = torch.tensor([2, 0, 1])
    expected = {
        "integrated_gradients": wam.integrated_gradients(net, x, target, frame=frame, steps=7, baseline=0.2),
        "smoothgrad": wam.smoothgrad(net, x, target, frame=frame, samples=3, noise=0.1, seed=5),
        "saliency": wam.saliency(net, x, target, frame=frame),
    }
    options = {"integrated_gradients": {"n_steps": 7, "baselines": 0.2}, "saliency": {}}
    options["smoothgrad"] = {"n_samples": 3, "noise": 0.1, "seed": 5}
    for method in METHODS:
        explainer, e = WaveletAttribution(net, frame, method), expected[method]
        bands = explainer.attribute(x, target, domain="coefficients", abs=False, **options[method])
        assert len(bands) == len(e.attributions.bands)
        for band, theirs in zip(bands, e.attributions.bands.values()):
            torch.testing.assert_close(band, theirs)
        magnitudes = explainer.attribute(x, target, abs=True, **options[method])
        assert magnitudes.shape == x.shape and bool((magnitudes >= 0).all())
        torch.testing.assert_close(magnitudes.sum(1), e.heatmap())


@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_signed_attributions_are_complete_at_the_input(net, x, frame):
    found, delta = WaveletAttribution(net, frame).attribute(x, target=3, n_steps=64, return_convergence_delta=True)
    with torch.no_grad():
        change = (net(x) - net(torch.zeros_like(x)))[:, 3]
    torch.testing.assert_close(found.sum((1, 2, 3)), change, rtol=0, atol=1e-3 * float(change.abs().max()))
    torch.testing.assert_close(found.sum((1, 2, 3)) - change, delta, rtol=0, atol=1e-9)
    assert bool((found < 0).any()) and bool((found > 0).any())


def test_the_model_is_evaluated_and_left_as_it_was(x):
    net = Net().train()
    explainer = WaveletAttribution(net, HAAR)
    first, second = (explainer.attribute(x, target=0) for _ in range(2))
    assert torch.equal(first, second) and net.training and not first.requires_grad
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert x.grad is None and not x.requires_grad


# Captum's tools


def test_noise_tunnel(net, x):
    tunnel = NoiseTunnel(WaveletAttribution(net, HAAR, "saliency"))
    torch.manual_seed(3)
    found = tunnel.attribute(x, target=[1, 0, 2], nt_samples=4, stdevs=0.2, abs=False)
    torch.manual_seed(3)
    noisy = torch.normal(0, torch.full((12, 3, 16, 16), 0.2)) + x.repeat_interleave(4, 0)
    target = torch.tensor([1, 0, 2]).repeat_interleave(4)
    each = wam.saliency(net, noisy, target, frame=HAAR).attributions
    torch.testing.assert_close(found, HAAR.spread(each).unflatten(0, (3, 4)).mean(1))
    bands = tunnel.attribute(x, target=0, nt_samples=2, stdevs=0.1, domain="coefficients")
    assert [b.shape for b in bands] == [b.shape for b in HAAR.analysis(x).bands.values()]
    complete = NoiseTunnel(WaveletAttribution(net, HAAR))
    _, delta = complete.attribute(x, target=0, nt_samples=2, stdevs=0.1, n_steps=64, return_convergence_delta=True)
    assert delta.shape == (6,) and float(delta.abs().max()) < 1e-2
    assert complete.multiplies_by_inputs and not tunnel.multiplies_by_inputs


def test_infidelity_and_sensitivity(net, x):
    weight = torch.randn(5, 3, 16, 16, dtype=torch.float64)

    def linear(x):
        return (x[:, None] * weight).flatten(2).sum(2)

    def perturb(inputs):
        noise = 0.1 * torch.randn_like(inputs)
        return noise, inputs - noise

    signed = WaveletAttribution(linear, wam.Pixel(), "saliency").attribute(x, target=1, abs=False)
    assert float(infidelity(linear, perturb, x, signed, target=1).max()) < 1e-20  # exact for a linear score
    explainer = WaveletAttribution(net, HAAR)
    found = explainer.attribute(x, target=1, n_steps=8)
    assert infidelity(net, perturb, x, found, target=1, n_perturb_samples=4).shape == (3,)
    steady = sensitivity_max(WaveletAttribution(linear, HAAR, "saliency").attribute, x, target=torch.tensor([0, 1, 2]))
    assert steady.shape == (3,) and float(steady.max()) < 1e-12  # the gradient of a linear score does not move
    moved = sensitivity_max(explainer.attribute, x, perturb_radius=0.1, target=1, n_steps=4)
    assert bool((moved > 0).all())


def test_visualize_image_attr(net, x):
    found = WaveletAttribution(net, HAAR).attribute(x[:1], target=1)
    image, heat = (np.transpose(t[0].numpy(), (1, 2, 0)) for t in (x.clamp(0, 1), found / found.abs().max()))
    figure, _ = visualization.visualize_image_attr(heat, image, "blended_heat_map", "all", use_pyplot=False)
    assert figure.axes
    plt.close(figure)


# errors


def test_bad_arguments_are_named(net, x):
    with pytest.raises(ValueError, match="unknown method 'lime'; choose one of integrated_gradients"):
        WaveletAttribution(net, HAAR, "lime")
    with pytest.raises(TypeError, match="frame must be a frame"):
        WaveletAttribution(net, "haar")
    explainer = WaveletAttribution(net, HAAR)
    with pytest.raises(ValueError, match="unknown domain 'wavelet'; choose one of input, coefficients"):
        explainer.attribute(x, target=0, domain="wavelet")
    with pytest.raises(ValueError, match="take 'quadratic' here"):
        explainer.attribute(x, target=0, nodes="adaptive")
    with pytest.raises(ValueError, match="saliency is not complete"):
        WaveletAttribution(net, HAAR, "saliency").attribute(x, target=0, return_convergence_delta=True)
    with pytest.raises(ValueError, match="2 spatial axes"):
        explainer.attribute(x[0], target=0)
    with pytest.raises(ValueError, match=r"the input of samples \[0\] holds NaN"):
        explainer.attribute(torch.full_like(x[:1], torch.nan), target=0)
    with pytest.raises(ValueError, match="1 inputs need as many baselines, got 2"):
        explainer.attribute(x, target=0, baselines=(0.0, 1.0))
    assert not WaveletAttribution(net, HAAR, "smoothgrad").has_convergence_delta()
    assert explainer.has_convergence_delta()


def test_what_captums_methods_order_differently_is_named():
    net, x = torch.nn.Flatten(), torch.ones(1, 1, 8)
    with pytest.raises(TypeError, match="positional"):
        WaveletAttribution(net, wam.Pixel()).attribute(x, 0, 2)
