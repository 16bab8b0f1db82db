"""Volumes through the engine that sounds and images go through: at real sizes, in bounded memory, with ties."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import wam
from probes import linear
from wam import baselines, controls, metrics
from wam.frames import MODES
from wam.volume_models import VolumeClassifier, VoxelCNN, resnet18_3d
from wam.volumes import digits3d

SIZES = [(64, 64, 64), (37, 50, 41), (16, 16, 9)]
DTYPES = {"float32": (torch.float32, 1e-4), "float64": (torch.float64, 1e-10)}


def volumes(*shape, batch=1, seed=0, dtype=torch.float64):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def flat(coefficients):
    return coefficients.pack()[0]


def classifier(channels=3, classes=4, dtype=torch.float64):
    """A network of volumes of any size."""
    body = [nn.Conv3d(channels, 4, 3, stride=2), nn.Softplus(), nn.Conv3d(4, 6, 3, stride=2), nn.Tanh()]
    head = [nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Linear(48, classes)]
    return nn.Sequential(*body, *head).to(dtype)


# --- frames -----------------------------------------------------------------------------------------------------------

FRAMES = [wam.Wavelet(*case, 3) for case in (("haar", 3), ("db2", 1), ("sym4", 1), ("db6", 2))]
REAL = [(frame, size) for frame in FRAMES for size in SIZES if frame.levels <= frame.max_levels(size)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("frame, size", REAL, ids=str)
def test_transforms_of_real_sizes(frame, size, dtype):
    """Those of sym4 in float64, and of db6 in any, run one axis after the other.

    They agree with PyWavelets, S W = 1, and <S c, g> = <c, S^T g> for coefficients c that no input has.
    """
    dtype, tolerance = DTYPES[dtype]
    x, g = volumes(2, *size, batch=2, dtype=dtype)[:, None]
    z, levels = frame.analysis(x), frame.levels
    approx, *details = pywt.wavedecn(x[0].double().numpy(), frame.name, "reflect", levels, axes=(1, 2, 3))
    expected = {(levels, "approx"): approx}
    for level, detail in zip(range(levels, 0, -1), details):
        expected |= {(level, orientation): band for orientation, band in detail.items()}
    assert z.bands.keys() == expected.keys() and z.dtype == dtype
    for key, band in expected.items():
        np.testing.assert_allclose(z.bands[key][0].double(), band, rtol=0, atol=tolerance)
    assert (frame.synthesis(z) - x).abs().max() < tolerance
    c, p = z.map(torch.randn_like), frame.pullback(g)
    left, right = (frame.synthesis(c).double() * g).sum(), (flat(c).double() * flat(p)).sum()
    assert abs(left - right) < tolerance * c.size**0.5
    assert flat(p).shape == flat(z).shape and p.dtype == dtype


cases = st.tuples(st.sampled_from(["haar", "db2", "bior2.2", "rbio1.3", "db5"]), st.sampled_from(MODES))
sizes = st.tuples(*[st.integers(18, 21)] * 3)


@settings(max_examples=40, deadline=None)
@given(case=cases, size=sizes, channels=st.integers(1, 3), seed=st.integers(0, 9))
def test_single_precision_and_double_agree_whatever_kernels_they_take(case, size, channels, seed):
    """Also the magnitudes spread over supports; a sample alone is the sample in a batch, to the last bit."""
    frame, x = wam.Wavelet(case[0], 1, 3, case[1]), volumes(channels, *size, batch=3, seed=seed)
    z, p = frame.analysis(x), frame.pullback(x)
    for of in (frame.analysis, frame.pullback):
        assert (flat(of(x.float())) - flat(of(x))).abs().max() < 1e-4
    assert (frame.synthesis(z) - x).abs().max() < 1e-12
    assert (frame.synthesis(p.to(torch.float32)) - frame.synthesis(p)).abs().max() < 1e-4
    heat = frame.spread(p.abs())
    torch.testing.assert_close(heat.flatten(1).sum(1), flat(p).abs().sum((1, 2)))
    assert (frame.spread(p.abs().to(torch.float32)) - heat).abs().max() < 1e-4
    for dtype in (torch.float32, torch.float64):
        x, c = x.to(dtype), p.to(dtype)
        for of in (frame.analysis, frame.pullback):
            assert torch.equal(flat(of(x[1:2])), flat(of(x))[1:2])
        assert torch.equal(frame.synthesis(c[2]), frame.synthesis(c)[2:])


def test_the_synthesis_one_axis_after_the_other_is_differentiable():
    frame, x = wam.Wavelet("db3", 1, 3), volumes(1, 10, 11, 12)
    packed, spec = frame.analysis(x).pack()
    assert torch.autograd.gradcheck(
        lambda v: frame.synthesis(wam.Coefficients.unpack(v, spec)), packed.requires_grad_(), fast_mode=True
    )


# --- explanations -----------------------------------------------------------------------------------------------------


def test_smoothgrad_at_a_real_size_is_the_mean_of_gradients_through_the_synthesis():
    """Eq. 2 as printed: every noisy copy is differentiated through the synthesis on its own."""
    seen, net, x, frame = [], classifier(), volumes(3, 64, 64, 64), wam.Wavelet("haar", 3, 3)
    watched = net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    e = wam.smoothgrad(net, x, [1], frame=frame, samples=3)
    watched.remove()
    total = 0
    for copy in seen[1:]:
        z, spec = frame.analysis(copy).pack()
        score = net(frame.synthesis(wam.Coefficients.unpack(z.requires_grad_(), spec)))[0, 1]
        total = total + torch.autograd.grad(score, z)[0]
    assert len(seen) == 4
    torch.testing.assert_close(flat(e.attributions), total / 3, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_integrated_gradients_at_a_real_size_are_complete_in_chunks_alone_and_from_a_file(dtype, tmp_path):
    dtype, tolerance = DTYPES[dtype]
    net, x, frame = classifier(dtype=dtype), volumes(3, 64, 64, 64, batch=2, dtype=dtype), wam.Wavelet("sym4", 2, 3)
    e = wam.integrated_gradients(net, x, [1, 3], frame=frame, steps=12, baseline=0.5)
    drop = (net(x) - net(torch.full_like(x, 0.5)))[range(2), [1, 3]].detach()
    torch.testing.assert_close(e.scale_scores().sum(1), drop, rtol=0, atol=1e-2 * drop.abs().max().item())
    parts = wam.integrated_gradients(net, x, [1, 3], frame=frame, steps=12, baseline=0.5, max_batch=1)
    alone = wam.integrated_gradients(net, x[1:], 3, frame=frame, steps=12, baseline=0.5)
    for other, mine in ((parts, e), (alone, e[1])):
        a, b = flat(other.attributions), flat(mine.attributions)
        assert (a - b).norm() < tolerance * b.norm() and a.dtype == dtype
    again = wam.load(e.save(tmp_path / "e.safetensors"))
    assert torch.equal(flat(again.attributions), flat(e.attributions)) and torch.equal(again.gradient, e.gradient)
    heat, scales = again.heatmap(), again.scale_heatmaps()
    assert heat.shape == (2, 64, 64, 64) and scales.shape == (2, 3, 64, 64, 64)
    torch.testing.assert_close(scales.sum(1), heat, rtol=1e-4, atol=1e-5 * heat.max().item())
    torch.testing.assert_close(heat.flatten(1).sum(1), flat(e.attributions).abs().sum((1, 2)), rtol=1e-4, atol=0)


def test_the_network_of_voxels_at_a_real_size():
    net, x, frame = VoxelCNN().eval(), torch.rand(1, 1, 64, 50, 37), wam.Wavelet("db2", 2, 3)
    e = wam.integrated_gradients(net, x, frame=frame, steps=16)
    assert e.completeness_gap < 0.05 * (e.score - e.baseline_score).abs()
    seen = wam.explanation.in_frame(wam.integrated_gradients(net, x, frame=wam.Pixel(), steps=16), frame)
    assert (flat(seen.attributions) - flat(e.attributions)).norm() < 1e-4 * flat(e.attributions).norm()


def test_chunks_of_curves_of_a_real_size():
    net, x, frame = classifier(2), volumes(2, 40, 33, 36, batch=2), wam.Wavelet("haar", 3, 3)
    e = wam.smoothgrad(net, x, frame=frame, samples=2)
    whole, parts = (metrics.perturbation_curves(net, x, e, steps=3, max_batch=size) for size in (None, 1))
    torch.testing.assert_close(whole.insertion, parts.insertion)
    torch.testing.assert_close(whole.deletion, parts.deletion)
    kept = e.frame.synthesis(e.coefficients)
    torch.testing.assert_close(metrics.perturbed(x, e, [1.0])[0][0], kept)


def test_a_volume_of_nothing_has_an_explanation():
    """Integrated gradients are zero, the profile is undefined, every feature is in a tie, and there is no energy."""
    net, x, frame = VoxelCNN().eval(), torch.zeros(2, 1, 16, 16, 16), wam.Wavelet("haar", 3, 3)
    e = wam.integrated_gradients(net, x, frame=frame, steps=2)
    assert flat(e.attributions).eq(0).all() and e.heatmap().eq(0).all() and e.scale_heatmaps().eq(0).all()
    assert e.completeness_gap.max() < 1e-6 and e.scale_profile().isnan().all()
    same = wam.smoothgrad(net, x, frame=frame, samples=2)  # no range, no noise
    torch.testing.assert_close(same.gradient, wam.saliency(net, x, frame=frame).gradient)
    curves = metrics.perturbation_curves(net, x, e, steps=3)
    assert curves.ties.tolist() == [1, 1] and curves.faithfulness.abs().max() < 1e-6
    with pytest.raises(ValueError, match=r"samples \[0, 1\] equal the baseline and have no energy"):
        metrics.perturbation_curves(net, x, e, steps=3, axis="energy")


BAD = {
    "no volume": ((0, 1, 16, 16, 16), r"the batch is empty: shape \(0, 1, 16, 16, 16\)"),
    "no slice": ((2, 1, 0, 16, 16), r"the batch is empty: shape \(2, 1, 0, 16, 16\)"),
    "no channel": ((2, 0, 16, 16, 16), r"the batch is empty: shape \(2, 0, 16, 16, 16\)"),
    "too deep": ((1, 1, 37, 50, 11), r"4 levels of haar do not fit .*\(37, 50, 11\): at most 3 do; .* shortest has 11"),
    "flat": ((1, 1, 16, 16, 1), r"\(16, 16, 1\): at most 0 do; 4 need 16 along every axis, and the shortest has 1"),
    "no axis of channels": (
        (2, 16, 16, 16),
        r"3 spatial axes\), got .*add the missing axis, x\[:, None\] for channels",
    ),
    "a volume alone": ((1, 16, 16, 16), r"x\[None\] for the batch, or take a smaller ndim"),
    "too many axes": ((1, 1, 1, 16, 16, 16), r"3 spatial axes\), got shape \(1, 1, 1, 16, 16, 16\), which has 4"),
}


@pytest.mark.parametrize("shape, message", BAD.values(), ids=BAD)
def test_what_is_not_a_batch_of_volumes_is_named(shape, message):
    for method in (wam.saliency, wam.smoothgrad, wam.integrated_gradients):
        with pytest.raises(ValueError, match=message):
            method(classifier(1), torch.ones(shape), frame=wam.Wavelet("haar", 4, 3))


def test_volumes_and_frames_of_images_do_not_go_together():
    x, image = torch.ones(2, 1, 16, 16, 16), wam.Wavelet("haar", 2, 2)
    with pytest.raises(ValueError, match=r"2 spatial axes\), got shape \(2, 1, 16, 16, 16\), which has 3"):
        wam.saliency(classifier(1), x, frame=image)
    with pytest.raises(ValueError, match="3 spatial axes.*take a smaller ndim"):
        wam.saliency(classifier(1), x[:, :, 0], frame=wam.Wavelet("haar", 2, 3))
    x[1, 0, 3, 4, 5] = torch.nan
    with pytest.raises(ValueError, match=r"the input of samples \[1\] holds NaN"):
        wam.saliency(classifier(1), x, frame=wam.Wavelet("haar", 2, 3))


def test_the_released_protocol_of_images_names_that_for_volumes():
    net, x = VoxelCNN().eval(), torch.rand(1, 1, 16, 16, 16)
    e = wam.saliency(net, x, frame=wam.Wavelet("haar", 2, 3))
    with pytest.raises(ValueError, match="for volumes 'equations'"):
        metrics.perturbation_curves(net, x, e, protocol="released")


# --- memory -----------------------------------------------------------------------------------------------------------

STATUS = Path("/proc/self/status")
PEAK = """
import sys, torch, wam
from wam import metrics
from torch import nn

def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
"""

TRANSFORMS = """
def run(side):
    x, frame = torch.randn(1, 2, *[side] * 3, dtype=torch.float64), wam.Wavelet("db4", 2, 3)
    z = frame.analysis(x)
    e = wam.explanation.Explanation(frame.pullback(x), z, torch.zeros(1).long(), torch.zeros(1), frame, "saliency")
    frame.synthesis(z), e.heatmap(), metrics.perturbed(x, e, [0.5])
    return x.nbytes

run(32)
before = peak()
volume = run(64)
print((peak() - before) / volume)
"""

GRADIENTS = """
net = nn.Sequential(nn.Conv3d(3, 4, 3), nn.Softplus(), nn.Conv3d(4, 2, 4, stride=4), nn.Flatten(), nn.Linear(6750, 3))
x, frame, kind, count = torch.randn(1, 3, 64, 64, 64), wam.Wavelet("haar", 3, 3), sys.argv[1], int(sys.argv[2])
if kind == "SG":
    wam.smoothgrad(net, x, 0, frame=frame, samples=count)
else:
    wam.integrated_gradients(net, x, 0, frame=frame, steps=count)
print(peak() / x.nbytes)
"""


def needed(script, *arguments):
    """The peak memory of a process of its own, in volumes."""
    if not STATUS.exists():
        pytest.skip("reads the peak from /proc")
    command = [sys.executable, "-c", PEAK + script, *arguments]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}  # make keeps memory
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=plain).stdout)


def test_transforms_need_a_few_volumes_more():
    """Torch's own three-dimensional kernels for float64 would need 130 with these filters."""
    assert 3 < needed(TRANSFORMS) < 40


def test_memory_does_not_grow_with_the_number_of_gradients():
    for method in ("SG", "IG"):
        assert needed(GRADIENTS, method, "60") < needed(GRADIENTS, method, "10") + 20  # kept, they would be 50 more


# --- ties -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digit():
    """A digit, and an explanation that ranks its Haar coefficients by their magnitude."""
    x, net = digits3d("test", 2).batch(), VoxelCNN().eval()
    return net, x, controls.magnitude(wam.saliency(net, x, frame=wam.Wavelet("haar", 3, 3)))


def test_most_coefficients_of_a_digit_are_zero_and_the_rest_has_few_magnitudes(digit):
    net, x, e = digit
    curves = metrics.perturbation_curves(net, x, e, steps=4)
    for i, values in enumerate(flat(e.attributions).flatten(1).abs().numpy()):
        _, counts = np.unique(values, return_counts=True)
        assert (values == 0).mean() > 0.7 and len(counts) < 100
        assert curves.ties[i].item() == counts[counts > 1].sum() / values.size > 0.98


def test_the_seed_of_the_ties_decides_between_equal_features_alone(digit):
    net, x, e = digit
    untied = replace(e, attributions=e.attributions.map(torch.randn_like))
    tied, free = (
        torch.stack([metrics.perturbation_curves(net, x, of, steps=8, seed=seed).insertion for seed in range(3)])
        for of in (e, untied)
    )
    assert torch.equal(free, free[:1].expand_as(free))
    assert torch.equal(tied[:, :, [0, -1]], tied[:1, :, [0, -1]].expand(3, -1, -1))
    assert (tied[0] != tied[1]).any(1).all() and (tied[1] != tied[2]).any(1).all()


def test_between_groups_of_ties_curves_of_a_linear_model_are_straight_on_average():
    """Attributions of four values: at the cuts between groups the order does not matter; within, its mean is a line."""
    x, weight = volumes(1, 4, 4, 4), volumes(1, 4, 4, 4, batch=2, seed=1)
    e = wam.integrated_gradients(linear(weight), x, 0, frame=wam.Wavelet("haar", 1, 3), steps=1)
    terms = flat(e.attributions).flatten()
    groups = torch.arange(64.0, dtype=torch.float64).view(1, 1, 64) // 16
    ranked = replace(e, attributions=wam.Coefficients.unpack(groups, e.attributions.pack()[1]))
    options = {"steps": 64, "output": "logit", "max_batch": 126}
    found = [metrics.perturbation_curves(linear(weight), x, ranked, seed=seed, **options) for seed in range(200)]
    curves, ties = torch.stack([c.insertion[0] for c in found]), found[0].ties
    sums = terms.view(4, 16).sum(1).flip(0)
    expected = np.interp(np.arange(65), np.arange(0, 65, 16), np.pad(sums.cumsum(0), (1, 0)))
    torch.testing.assert_close(curves[:, ::16], torch.from_numpy(expected[::16]).expand(200, -1))
    error = (curves.mean(0) - torch.from_numpy(expected)).abs()
    assert ties.item() == 1 and curves.std(0)[8] > 0.1 and (error < 5 * curves.std(0) / 200**0.5 + 1e-9).all()


# --- methods on voxels ------------------------------------------------------------------------------------------------


def values(e):
    return e.attributions.bands[0, "pixel"]


def bare(net, x, target):
    x = x.detach().clone().requires_grad_(True)
    return torch.autograd.grad(net(x)[range(len(x)), target].sum(), x)[0]


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_gradient_methods_on_voxels_are_means_of_plain_gradients():
    net, x, target, seen = VoxelCNN().eval(), digits3d("test", 2).batch(), [7, 2], []
    watched = net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    found = {name: values(baselines.METHODS[name](net, x, target)) for name in ("Saliency", "SmoothGrad")}
    watched.remove()
    close(found["Saliency"], bare(net, x, target))
    copies = seen[2:]  # the first is for the saliency, the second predicts
    assert len(copies) == 50 and abs((torch.stack(copies) - x).std() - 0.25) < 0.001
    close(found["SmoothGrad"], sum(bare(net, copy, target) for copy in copies) / 50)
    u = (torch.arange(32) + 0.5) / 32
    mean = sum(2 * v / 32 * bare(net, v**2 * x, target) for v in u)
    found = values(baselines.METHODS["Integrated Gradients"](net, x, target))
    close(found, x * mean)
    assert found[x == 0].eq(0).all()


def test_guided_backpropagation_on_voxels():
    """Against hooks on the nodes of the autograd graph."""
    net, x, target = VoxelCNN().eval(), digits3d("test", 2).batch(), [7, 2]
    inputs = x.clone().requires_grad_(True)
    score = net(inputs)[range(2), target].sum()
    nodes, seen = [score.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes.extend(parent for parent, _ in node.next_functions)
            if node.name().startswith("Relu"):
                node.register_prehook(lambda g: tuple(v.clamp_min(0) for v in g))
    assert sum(node.name().startswith("Relu") for node in seen) == 3
    close(values(baselines.guided_backpropagation(net, x, target)), torch.autograd.grad(score, inputs)[0])


@pytest.mark.parametrize("network, side, cells", [(VoxelCNN, 16, 5), (VoxelCNN, 28, 11), (resnet18_3d, 16, 2)])
def test_gradcam_on_voxels_is_its_closed_form_on_very_few_cells(network, side, cells):
    """On volumes of 16 the last map before pooling has 5 x 5 x 5 cells in the one network, 2 x 2 x 2 in the other."""
    torch.manual_seed(3)
    net, x, target = network(classes=3).eval(), torch.rand(2, 1, *[side] * 3), [2, 0]
    layer = "features.5" if network is VoxelCNN else "layer4"
    kept = []
    watched = net.get_submodule(layer).register_forward_hook(lambda module, inputs, output: kept.append(output))
    score = net(x.requires_grad_(True))[range(2), target].sum()
    watched.remove()
    (a,), (g,) = kept, torch.autograd.grad(score, kept)
    assert a.shape[2:] == (cells,) * 3
    maps = torch.einsum("nkijl,nk->nijl", a, g.mean((2, 3, 4))).clamp_min(0)
    expected = F.interpolate(maps[:, None], (side,) * 3, mode="trilinear", align_corners=False).detach()
    for model in (net, VolumeClassifier("any", net, "abc")):
        e = baselines.gradcam(model, x, target)
        close(values(e), expected)
        assert e.settings == {"layer": layer if model is net else f"network.{layer}"}
    assert (expected > 0).any() and e.heatmap().shape == (2, side, side, side)
