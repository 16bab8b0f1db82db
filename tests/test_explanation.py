"""Explanations: heatmaps, shares and sums per scale, reconstructions, and files."""

import copy
import json
import pickle
import struct
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import wam
from wam import baselines, controls, released
from wam.explanation import in_frame

SHAPES = {1: (2, 50), 2: (2, 21, 24), 3: (1, 11, 12, 10)}


def explanation(recorder, ndim=2, frame=None, dtype=torch.float64):
    x = torch.randn(3, *SHAPES[ndim], dtype=dtype)
    frame = frame or wam.Wavelet("db2", 1, ndim)
    return x, wam.integrated_gradients(recorder(*SHAPES[ndim], dtype=dtype), x, frame=frame, steps=4)


@pytest.mark.parametrize("ndim", SHAPES)
def test_where_and_what_add_up(ndim, recorder):
    for frame in (None, wam.Pixel(), wam.Fourier(2, ndim)):
        x, e = explanation(recorder, ndim, frame)
        heat, scales = e.heatmap(), e.scale_heatmaps()
        total = e.attributions.abs().pack()[0].sum((1, 2))
        assert heat.shape == (3, *SHAPES[ndim][1:]) and scales.shape == (3, len(e.scales), *SHAPES[ndim][1:])
        torch.testing.assert_close(heat.flatten(1).sum(1), total)
        torch.testing.assert_close(scales.sum(1), heat)
        torch.testing.assert_close(scales.flatten(2).sum(2) / total[:, None], e.scale_profile())
        torch.testing.assert_close(e.scale_profile().sum(1), torch.ones(3, dtype=torch.float64))
        torch.testing.assert_close(e.scale_scores().sum(1), e.attributions.pack()[0].sum((1, 2)))
        if isinstance(frame, wam.Pixel):
            torch.testing.assert_close(heat, e.attributions.bands[0, "pixel"].abs().sum(1))


def test_the_heatmap_is_where_the_model_looks():
    """A model of one patch is explained within the reach of the filters around that patch."""
    weight = torch.zeros(2, 1, 64, 64)
    weight[0, :, 20:28, 40:44] = 1
    model = lambda x: (x[:, None] * weight).flatten(2).sum(2)  # noqa: E731
    e = wam.integrated_gradients(model, torch.rand(1, 1, 64, 64), 0, frame=wam.Wavelet("db2", 2, 2))
    heat = e.heatmap()[0]
    assert heat[12:36, 32:52].sum() > 0.9 * heat.sum()
    assert heat[:, :24].sum() == 0


def test_an_explanation_of_nothing_has_no_shares():
    e = wam.saliency(lambda x: 0 * x.flatten(1), torch.ones(1, 1, 8), 0, frame=wam.Wavelet("haar", 1, 1))
    assert e.scale_profile().isnan().all() and e.heatmap().sum() == 0


def test_one_channel_of_attributions_keeps_a_place_in_all_channels(recorder):
    x, e = explanation(recorder)
    one = replace(e, attributions=e.attributions.map(lambda band: band.abs().sum(1, keepdim=True)))
    importance, (z, spec) = one.attributions.pack()[0], e.coefficients.pack()
    count = round(0.2 * importance.shape[2])
    threshold = importance.sort(2, descending=True).values[..., count - 1 : count]
    expected = e.frame.synthesis(wam.Coefficients.unpack(z * (importance >= threshold), spec))
    torch.testing.assert_close(one.reconstruct(0.2), expected)


def test_reconstructions_keep_the_most_important_coefficients(recorder):
    x, e = explanation(recorder)
    torch.testing.assert_close(e.reconstruct(1.0), x)
    assert e.reconstruct(0.0).abs().max() == 0
    z, importance = e.coefficients.pack()[0], e.attributions.abs().pack()[0].flatten(1)
    count = round(0.2 * importance.shape[1])
    threshold = importance.sort(1, descending=True).values[:, count - 1]
    kept = z * (importance >= threshold[:, None]).view_as(z)
    spec = e.coefficients.pack()[1]
    torch.testing.assert_close(e.reconstruct(0.2), e.frame.synthesis(wam.Coefficients.unpack(kept, spec)))
    for fraction in (-0.1, 1.01, float("nan"), "half"):
        with pytest.raises(ValueError, match="fraction must be a number from 0 to 1, got"):
            e.reconstruct(fraction)


def test_one_sample_and_dtypes(recorder):
    _, e = explanation(recorder, dtype=torch.float32)
    assert len(e) == 3 and len(e[-1]) == 1 and e[1].settings == e.settings
    torch.testing.assert_close(e[1].heatmap()[0], e.heatmap()[1])
    assert e[2:].score.shape == (1,) and e.attributions.dtype == torch.float32
    assert e.to("cpu").completeness_gap.shape == (3,) and "integrated gradients of 3" in repr(e)


@pytest.mark.parametrize("frame", [wam.Wavelet("bior2.2", 1, 2, "zero"), wam.Pixel(), wam.Fourier(2, 2)], ids=str)
def test_files_keep_everything_bit_for_bit(frame, recorder, tmp_path):
    _, e = explanation(recorder, frame=frame)
    again = wam.load(e.save(tmp_path / "e.safetensors"))
    assert again.frame == frame and again.method == e.method and again.settings == e.settings
    for name in ("attributions", "coefficients"):
        assert torch.equal(getattr(again, name).pack()[0], getattr(e, name).pack()[0])
    for name in ("target", "score", "baseline_score", "completeness_gap", "gradient"):
        assert torch.equal(getattr(again, name), getattr(e, name))
    assert torch.equal(again.heatmap(), e.heatmap())
    assert [file.name for file in tmp_path.iterdir()] == ["e.safetensors"]
    saliency = wam.saliency(lambda v: v.flatten(1), torch.ones(1, 1, 24, 24), 3, frame=frame)
    assert wam.load(saliency.save(tmp_path / "s")).completeness_gap is None


def test_broken_files_are_named(recorder, tmp_path):
    _, e = explanation(recorder)
    path = e.save(tmp_path / "e.safetensors")
    content = path.read_bytes()
    with pytest.raises(FileNotFoundError, match="no explanation at"):
        wam.load(tmp_path / "missing")
    for cut in (0, 5, 300, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(ValueError, match="truncated"):
            wam.load(path)
    for old, new in ((b"wam-explanation-1", b"wam-explanation-0"), (b"wam-explanation-1", b"someone-elses-xyz")):
        path.write_bytes(content.replace(old, new))
        with pytest.raises(ValueError, match="has format .*this version reads 'wam-explanation-1'"):
            wam.load(path)
    header = json.dumps({"t": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ValueError, match="has format None"):
        wam.load(path)


def test_damaged_content_is_named(recorder, tmp_path):
    _, e = explanation(recorder)
    path = e.save(tmp_path / "e.safetensors")
    with safe_open(path, framework="pt") as file:
        tensors, meta = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    head = json.loads(meta["explanation"])
    short = {"attributions/1/diagonal": tensors["attributions/1/diagonal"][..., 1:].contiguous()}
    damage = [
        ({k: v for k, v in tensors.items() if k != lost}, meta) for lost in ("target", "score", "coefficients/1/approx")
    ]
    damage += [(tensors | short, meta), (tensors, meta | {"explanation": "{"}), (tensors, {"format": meta["format"]})]
    for frame in ({"type": "Curvelet", "fields": {}}, {"type": "Wavelet", "fields": {"size": 3}}):
        damage.append((tensors, meta | {"explanation": json.dumps(head | {"frame": frame})}))
    for content, header in damage:
        save_file(content, path, metadata=header)
        with pytest.raises(ValueError, match="e.safetensors is damaged"):
            wam.load(path)


def test_files_are_shared_as_the_umask_says_and_replaced_in_one_step(recorder, tmp_path):
    _, e = explanation(recorder)
    (plain := tmp_path / "plain").touch()
    path = e.save(tmp_path / "e.safetensors")
    assert path.stat().st_mode == plain.stat().st_mode
    first = path.stat().st_ino
    assert e.save(path).stat().st_ino != first

    class Mine(wam.Pixel):
        pass

    with pytest.raises(TypeError, match="only explanations in Wavelet, Pixel, Fourier"):
        replace(e, frame=Mine()).save(path)


def test_copies_pickles_and_indices(recorder):
    _, e = explanation(recorder)
    for twin in (copy.deepcopy(e), pickle.loads(pickle.dumps(e))):
        assert torch.equal(twin.heatmap(), e.heatmap()) and twin.frame == e.frame
    for index in (np.int64(1), torch.tensor(1), -2):
        assert torch.equal(e[index].score, e.score[1:2]) and len(e[index].attributions) == 1
    assert torch.equal(e[::-1].score, e.score.flip(0)) and torch.equal(e[[2, 0]].score, e.score[[2, 0]])
    assert torch.equal(e[e.score > e.score.min()].score, e.score[e.score > e.score.min()])
    assert e.to(torch.float32).target.dtype == torch.int64 and e.to(torch.float32).score.dtype == torch.float32
    with pytest.raises(IndexError):
        e[3]


def test_a_failed_save_leaves_the_old_file_and_nothing_else(recorder, tmp_path):
    _, e = explanation(recorder)
    path = e.save(tmp_path / "e.safetensors")
    before = path.read_bytes()
    broken = wam.Explanation(**{**vars(e), "settings": {"not json": object()}})
    with pytest.raises(TypeError):
        broken.save(path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_settings_say_how_it_was_made_and_can_be_saved(recorder, tmp_path):
    model, x, frame = recorder(2, 21, 24), torch.randn(1, 2, 21, 24, dtype=torch.float64), wam.Pixel()
    black = torch.tensor([-1.0, 0.5]).view(2, 1, 1)
    for baseline, recorded in ((None, None), (-0.5, -0.5), (np.float32(0.5), 0.5), (black, "tensor")):
        e = wam.integrated_gradients(model, x, 0, frame=frame, steps=np.int64(2), baseline=baseline)
        assert e.settings == {"steps": 2, "nodes": "quadratic", "baseline": recorded}
        assert wam.load(e.save(tmp_path / "e")).settings == e.settings
    e = wam.smoothgrad(model, x, 0, frame=frame, samples=2, noise=np.float32(0.5), seed=np.int64(3))
    assert wam.load(e.save(tmp_path / "e")).settings == {"samples": 2, "noise": 0.5, "seed": 3}


def layered_net():
    return torch.nn.Sequential(torch.nn.Conv1d(2, 3, 5), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(138, 4))


def layered(dtype=torch.float64):
    x = torch.randn(3, *SHAPES[1], dtype=dtype)
    frame = wam.Wavelet("db2", 1, 1)
    return wam.integrated_gradients(layered_net().to(dtype), x, frame=frame, steps=4, layer="1")


def assert_same(a, b):
    """Bit for bit, at the layer too."""
    assert a.frame == b.frame and a.method == b.method and a.settings == b.settings
    for name in ("attributions", "coefficients"):
        assert torch.equal(getattr(a, name).pack()[0], getattr(b, name).pack()[0])
        assert list(getattr(a, name).bands) == list(getattr(b, name).bands)
    for name in ("target", "score", "baseline_score", "completeness_gap", "gradient"):
        mine, other = getattr(a, name), getattr(b, name)
        assert mine is other is None or torch.equal(mine, other), name
    assert (a.layer is None) == (b.layer is None)
    if a.layer is not None:
        assert_same(a.layer, b.layer)


def test_the_layer_is_saved_copied_and_pickled(tmp_path):
    for dtype in (torch.float32, torch.float64):
        e = layered(dtype)
        assert_same(wam.load(e.save(tmp_path / "e")), e)
        assert_same(wam.load(e[1:].save(tmp_path / "e")), e[1:])
        assert wam.load(e.layer.save(tmp_path / "layer")).layer is None
        assert_same(wam.load(tmp_path / "layer"), e.layer)
        for twin in (copy.deepcopy(e), pickle.loads(pickle.dumps(e))):
            assert_same(twin, e)
    released = wam.released.smoothgrad(lambda_net(), torch.randn(3, 2, 50), frame=wam.Pixel(), samples=2, layer="0")
    assert_same(wam.load(released.save(tmp_path / "r")), released)
    below = replace(e, layer=replace(e.layer, layer=e.layer))  # of any depth
    assert_same(wam.load(below.save(tmp_path / "deep")), below)


def lambda_net():
    return torch.nn.Sequential(torch.nn.Conv1d(2, 3, 5), torch.nn.Flatten(), torch.nn.Linear(138, 4))


def test_the_layer_goes_where_the_explanation_goes():
    e = layered()
    for index, expected in ((1, [1]), (slice(1, None), [1, 2]), ([2, 0], [2, 0]), (slice(None, None, -1), [2, 1, 0])):
        part = e[index]
        assert len(part) == len(part.layer) == len(expected)
        assert torch.equal(part.layer.attributions.pack()[0], e.layer.attributions.pack()[0][expected])
        assert torch.equal(part.layer.coefficients.pack()[0], e.layer.coefficients.pack()[0][expected])
        for name in ("target", "score", "baseline_score", "completeness_gap"):
            assert torch.equal(getattr(part.layer, name), getattr(e.layer, name)[expected])
    single = e.to(torch.float32)
    assert single.layer.attributions.dtype == single.layer.coefficients.dtype == torch.float32
    assert single.layer.score.dtype == single.layer.completeness_gap.dtype == torch.float32
    assert single.target.dtype == single.layer.target.dtype == torch.int64
    assert e.to("meta").layer.attributions.bands[0, "pixel"].is_meta and e.to("meta").layer.target.is_meta
    assert "Wavelet" in repr(e) and "Pixel" in repr(e.layer) and "of 3 inputs" in repr(e.layer)


def test_files_without_a_layer_and_damaged_layers(tmp_path):
    e = layered()
    assert wam.load(replace(e, layer=None).save(tmp_path / "plain")).layer is None
    path = e.save(tmp_path / "e.safetensors")
    with safe_open(path, framework="pt") as file:
        tensors, meta = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    lost = [name for name in tensors if name.startswith("layer/") and "baseline" not in name and "gap" not in name]
    assert len(lost) == 4
    for name in lost:
        save_file({k: v for k, v in tensors.items() if k != name}, path, metadata=meta)
        with pytest.raises(ValueError, match="e.safetensors is damaged"):
            wam.load(path)


# in another frame

METHODS = {
    "saliency": wam.saliency,
    "SmoothGrad": partial(wam.smoothgrad, samples=3, seed=2),
    "integrated gradients": partial(wam.integrated_gradients, steps=4),
    "from a number": partial(wam.integrated_gradients, steps=4, baseline=-0.7),
}


def sparse(ndim):
    """Most values are exactly 0, where a mean gradient cannot be had by a division."""
    x = torch.randn(3, *SHAPES[ndim], dtype=torch.float64)
    return x * (torch.rand_like(x) < 0.2)


@pytest.mark.parametrize("ndim", SHAPES)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_another_frame_is_as_explained_there(method, ndim, recorder):
    db2, bior = wam.Wavelet("db2", 1, ndim), wam.Wavelet("bior2.2", 1, ndim, "zero")
    ways = [(wam.Pixel(), db2), (db2, bior), (bior, wam.Fourier(2, ndim)), (wam.Fourier(2, ndim), wam.Pixel())]
    model, x = recorder(*SHAPES[ndim]), sparse(ndim)
    direct = {frame: method(model, x, [0, 3, 2], frame=frame) for way in ways for frame in way}
    passes = len(model.seen)
    for start, frame in ways:
        seen, there = in_frame(direct[start], frame), direct[frame]
        assert seen.frame == frame and seen.method == there.method and seen.settings == there.settings
        for name in ("attributions", "coefficients"):
            mine, other = getattr(seen, name), getattr(there, name)
            assert list(mine.bands) == list(other.bands) and mine.shape == other.shape
            torch.testing.assert_close(mine.pack()[0], other.pack()[0], rtol=0, atol=1e-12)
        assert torch.equal(seen.gradient, there.gradient) and torch.equal(seen.score, there.score)
    assert len(model.seen) == passes  # no network ran


def test_the_gradient_is_the_mean_gradient_of_the_input():
    """Of the sum of cubes: 3 x^2, and x^2 + x x0 + x0^2 on the mean of the path from x0 to x."""
    model, frame = lambda v: v.pow(3).flatten(1).sum(1, keepdim=True), wam.Wavelet("db2", 1, 2)
    x = sparse(2)
    for start in (frame, wam.Pixel()):
        torch.testing.assert_close(wam.saliency(model, x, 0, frame=start).gradient, 3 * x**2)
        for x0 in (0.0, 0.5):
            e = wam.integrated_gradients(model, x, 0, frame=start, steps=2, nodes="gauss-legendre", baseline=x0)
            torch.testing.assert_close(e.gradient, x**2 + x * x0 + x0**2)
            pixels = in_frame(e, wam.Pixel()).attributions.bands[0, "pixel"]
            torch.testing.assert_close(pixels, x**3 - x0**3)


def test_another_frame_keeps_completeness_and_the_layer(recorder):
    x, e = explanation(recorder, frame=wam.Pixel())
    seen = in_frame(e, wam.Wavelet("db4", 1, 2))
    assert torch.equal(seen.completeness_gap, e.completeness_gap)
    torch.testing.assert_close(seen.scale_scores().sum(1), e.scale_scores().sum(1))
    below = layered()
    assert in_frame(below, wam.Pixel()).layer is below.layer


FOREIGN = {
    "released magnitude": lambda e, net, x: released.magnitude(e),
    "magnitude": lambda e, net, x: controls.magnitude(e),
    "magnitude of a difference": lambda e, net, x: controls.magnitude(e, 0.5),
    "random": lambda e, net, x: controls.random(e),
    "coarse first": lambda e, net, x: controls.coarse_first(e),
    "permuted": lambda e, net, x: controls.permuted(e, bins=8),
    "oracle": lambda e, net, x: controls.oracle(e, x),
    "gradcam": lambda e, net, x: baselines.gradcam(net, x, layer=net[0]),
    "released saliency": lambda e, net, x: released.saliency(net, x, frame=e.frame),
    "released smoothgrad": lambda e, net, x: released.smoothgrad(net, x, frame=e.frame, samples=2),
    "released integrated gradients": lambda e, net, x: released.integrated_gradients(net, x, frame=e.frame, steps=2),
    "at a layer": lambda e, net, x: e.layer,
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_only_mean_gradients_can_be_seen_in_another_frame(make):
    net, x = layered_net(), torch.randn(3, *SHAPES[1])
    e = wam.integrated_gradients(net, x, frame=wam.Wavelet("haar", 1, 1), steps=2, layer="1")
    made = make(e, net, x)
    assert made.gradient is None
    with pytest.raises(ValueError, match="holds no mean gradient of the input"):
        in_frame(made, wam.Pixel())


def test_a_baseline_that_was_a_tensor_is_not_known(recorder):
    model, x, black = recorder(2, 21, 24), sparse(2), torch.tensor([-1.0, 0.5]).double().view(2, 1, 1)
    e = wam.integrated_gradients(model, x, frame=wam.Pixel(), steps=2, baseline=black)
    with pytest.raises(ValueError, match="baseline of this explanation was a tensor"):
        in_frame(e, wam.Wavelet("haar", 1, 2))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("frame", [wam.Pixel(), wam.Wavelet("db2", 1, 1)], ids=str)
def test_the_gradient_goes_where_the_explanation_goes(method, frame, tmp_path):
    """Also where it is the attribution itself, in pixels, and shares its memory."""
    net, x = layered_net(), torch.randn(3, *SHAPES[1])
    e = method(net, x, frame=frame)
    assert e.gradient.shape == x.shape and e.gradient.dtype == torch.float32
    for part, expected in ((e, slice(None)), (e[1], [1]), (e[[2, 0]], [2, 0]), (e[::-1], [2, 1, 0])):
        assert torch.equal(part.gradient, e.gradient[expected])
        again = wam.load(part.save(tmp_path / "e"))
        assert_same(again, part)
        there = in_frame(again, wam.Fourier(2, 1)).attributions.pack()[0]
        assert torch.equal(there, in_frame(part, wam.Fourier(2, 1)).attributions.pack()[0])
    double = e.to(torch.float64)
    assert double.gradient.dtype == torch.float64 and torch.equal(double.gradient, e.gradient.double())
    assert in_frame(double, wam.Pixel()).attributions.dtype == torch.float64
    assert e.to("meta").gradient.is_meta


def test_files_from_before_the_gradient_load(tmp_path):
    e = layered()
    path = e.save(tmp_path / "e.safetensors")
    with safe_open(path, framework="pt") as file:
        tensors, meta = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    assert torch.equal(tensors.pop("gradient"), e.gradient)
    save_file(tensors, path, metadata=meta)
    old = wam.load(path)
    assert_same(old, replace(e, gradient=None))
    with pytest.raises(ValueError, match="holds no mean gradient"):
        in_frame(old, wam.Pixel())
