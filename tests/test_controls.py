"""Controls: what they forget is forgotten, what they keep is kept."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import wam
from wam import controls

FRAMES = {
    "haar1": (wam.Wavelet("haar", 2, 1), (40,)),
    "db2": (wam.Wavelet("db2", 1, 2), (12, 11)),
    "haar3": (wam.Wavelet("haar", 1, 3), (6, 4, 5)),
    "fourier": (wam.Fourier(2, 2), (9, 10)),
    "pixel": (wam.Pixel(), (7, 8)),
}


def explanation(name="db2", batch=3, channels=2, tied=False, seed=0, sparse=0.0, levels=None, dtype=torch.float64):
    """Attributions without meaning, all different; ``sparse`` is the share of zeros, ``levels`` rounds |z|."""
    frame, shape = FRAMES[name]
    generator = torch.Generator().manual_seed(seed)
    z, spec = frame.analysis(torch.randn(batch, channels, *shape, generator=generator, dtype=dtype)).pack()
    z = z if levels is None else (z * levels).round() / levels
    z = z * (torch.rand(z.shape, generator=generator) >= sparse)
    count = (1 if tied else channels) * z.shape[2]
    values = torch.stack([torch.randperm(count, generator=generator) for _ in range(batch)]) - count / 2
    return wam.Explanation(
        wam.Coefficients.unpack(values.to(dtype).view(batch, -1, z.shape[2]), spec),
        wam.Coefficients.unpack(z, spec),
        torch.arange(batch),
        torch.rand(batch, dtype=dtype),
        frame,
        "integrated gradients",
        {"steps": 4},
        torch.zeros(batch, dtype=dtype),
        torch.ones(batch, dtype=dtype),
    )


def values(e):
    return e.attributions.pack()[0].flatten(1)


def sizes(e):
    z = e.coefficients.pack()[0]
    return (z.square().sum(1, keepdim=True).sqrt() if values(e).shape[1] == z.shape[2] else z.abs()).flatten(1)


CONTROLS = (controls.random, controls.magnitude, lambda e, **kw: controls.permuted(e, bins=8, **kw))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FRAMES)
def test_controls_are_explanations_of_the_same_thing(name, dtype, tied, tmp_path):
    e = explanation(name, tied=tied, dtype=dtype)
    z, before = e.coefficients.pack()[0].clone(), values(e).clone()
    for control in CONTROLS:
        c = control(e)
        assert c.coefficients is e.coefficients and c.frame == e.frame and c.attributions.dtype == dtype
        assert torch.equal(c.target, e.target) and torch.equal(c.score, e.score)
        assert c.completeness_gap is None and c.baseline_score is None
        assert c.attributions.pack()[1] == e.attributions.pack()[1] and values(c).shape == values(e).shape
        assert c.heatmap().shape == (3, *FRAMES[name][1])
        again = wam.load(c.save(tmp_path / "c.safetensors"))
        assert torch.equal(values(again), values(c)) and again.settings == c.settings and again.method == c.method
        for i in range(3):
            assert torch.equal(values(control(e[i])), values(c[i])), "alone as in a batch"
    assert torch.equal(e.coefficients.pack()[0], z) and torch.equal(values(e), before)
    methods = [control(e).method for control in CONTROLS]
    assert methods == ["random", "magnitude", "permuted integrated gradients"]
    assert CONTROLS[2](e).settings == {"steps": 4, "bins": 8, "permutation_seed": 0}


def test_random_attributions_are_uniform_and_never_equal():
    e = explanation("pixel", batch=4)
    noise, other = values(controls.random(e)), values(controls.random(e, seed=1))
    n = noise.shape[1]
    assert torch.equal(noise.sort().values[2], torch.arange(1, n + 1).double() / n)
    assert torch.equal(noise, noise[:1].expand(4, -1)) and not torch.equal(noise, other)
    assert torch.equal(noise[:1], values(controls.random(explanation("pixel", batch=1, seed=5))))
    large = values(controls.random(wam.saliency(lambda x: x.flatten(1), torch.rand(1, 3, 224, 224), frame=wam.Pixel())))
    assert large.dtype == torch.float32 and len(large.unique()) == 3 * 224 * 224
    ranks = torch.stack([values(controls.random(e, seed))[0] for seed in range(400)])
    assert (ranks.mean(0) - 0.5).abs().max() < 5 / (12 * 400) ** 0.5, "no place is preferred"


def test_magnitudes_are_those_of_the_coefficients():
    for name in FRAMES:
        e, tied = explanation(name), explanation(name, tied=True)
        z = e.coefficients.pack()[0]
        assert torch.equal(values(controls.magnitude(e)), z.abs().flatten(1))
        torch.testing.assert_close(values(controls.magnitude(tied)), z.square().sum(1).sqrt())
        x0 = torch.tensor([2.0, -1.0]).double().view(2, *[1] * len(FRAMES[name][1]))
        z0 = e.frame.analysis(x0.expand(3, 2, *FRAMES[name][1])).pack()[0]
        for baseline in (x0, x0.expand(3, 2, *FRAMES[name][1])):
            c = controls.magnitude(e, baseline)
            torch.testing.assert_close(values(c), (z - z0).abs().flatten(1))
            assert c.settings == {"baseline": "tensor"}
    pixels = explanation("pixel")
    assert torch.equal(values(controls.magnitude(pixels, -1)), (pixels.coefficients.pack()[0] + 1).abs().flatten(1))
    assert controls.magnitude(pixels, -1).settings == {"baseline": -1.0}


def binned(rank, zeros, size, bins):
    """The bin of a rank, from the definition: zeros on their own, the others in equal runs of two at least."""
    if rank < zeros:
        return -1
    bins = max(1, min(bins, (size - zeros) // 2))
    return next(k for k in range(bins) if (rank - zeros) < -(-(k + 1) * (size - zeros) // bins))


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(FRAMES)),
    channels=st.integers(1, 3),
    tied=st.booleans(),
    sparse=st.sampled_from([0.0, 0.5, 0.85, 1.0]),
    bins=st.integers(1, 20),
    seed=st.integers(0, 5),
)
def test_attributions_stay_among_coefficients_of_equal_magnitude(name, channels, tied, sparse, bins, seed):
    e = explanation(name, 2, channels, tied, seed, sparse)
    before, after, z = values(e), values(controls.permuted(e, bins, seed)), sizes(e)
    assert torch.equal(before.sort().values, after.sort().values)
    for i in range(2):
        rank = z[i].argsort().argsort()  # no ties but at zero, which is one bin
        zeros, size = int((z[i] == 0).sum()), len(rank)
        home = {float(v): binned(int(r), zeros, size, bins) for v, r in zip(before[i], rank)}
        assert all(home[float(v)] == binned(int(r), zeros, size, bins) for v, r in zip(after[i], rank))


@settings(max_examples=30, deadline=None)
@given(levels=st.sampled_from([0.3, 1, 3]), bins=st.integers(1, 12), seed=st.integers(0, 3))
def test_with_ties_bins_are_still_contiguous_in_magnitude(levels, bins, seed):
    e = explanation("pixel", 2, seed=seed, levels=levels)
    before, after, z = values(e), values(controls.permuted(e, bins, seed)), sizes(e)
    for i in range(2):
        ordered = z[i][z[i] > 0].sort().values
        cuts = [-(-k * len(ordered) // bins) for k in range(bins + 1)]
        spans = [(0.0, 0.0), *((ordered[a].item(), ordered[b - 1].item()) for a, b in zip(cuts, cuts[1:]) if a < b)]
        source = {float(v): m.item() for v, m in zip(before[i], z[i])}
        for value, size in zip(after[i], z[i]):
            assert any(low <= size <= high and low <= source[float(value)] <= high for low, high in spans)


def test_permutations_within_a_bin_are_uniform():
    """Three pixels in one bin: each of the six orders comes equally often. With ties the bins themselves vary."""
    x = torch.tensor([[[1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0]]])
    e = wam.saliency(lambda v: (v * torch.arange(7)).sum(2), x, frame=wam.Pixel())
    found = [values(controls.permuted(e, 1, seed))[0].tolist() for seed in range(600)]
    for part, orders in ((slice(0, 3), 6), (slice(3, 7), 24)):
        counts = Counter(tuple(f[part]) for f in found)
        expected = 600 / orders
        assert len(counts) == orders
        assert sum((n - expected) ** 2 / expected for n in counts.values()) < {6: 21, 24: 50}[orders]  # chi2, p = .001
    constant = wam.saliency(lambda v: (v * torch.arange(8)).sum(2), torch.ones(1, 1, 8), frame=wam.Pixel())
    partners = {values(controls.permuted(constant, 4, seed))[0].tolist().index(0) for seed in range(100)}
    assert partners == set(range(8))


def test_count_and_energy_stay_and_place_is_forgotten():
    """A ranking that knows places and magnitudes: of the permuted one only what magnitude tells remains."""
    x = torch.randn(2, 1, 64, 64, dtype=torch.float64)
    inside = torch.zeros(64, 64, dtype=torch.float64)
    inside[:20, :30] = 1
    e = wam.integrated_gradients(lambda v: (v * v * inside).sum((2, 3)), x, 0, frame=wam.Pixel(), steps=8)
    found = [controls.permuted(e, 64, seed) for seed in range(10)]
    for share in (0.02, 0.05, 0.1):
        count = int(share * 64 * 64)
        energy, *others = (x.flatten(1).square().gather(1, values(v).topk(count).indices).sum(1) for v in (e, *found))
        for control in others:
            torch.testing.assert_close(control, energy, rtol=0.1, atol=0)
    heat = torch.stack([c.heatmap() for c in found])
    covered = (heat * inside).sum((2, 3)).mean(0) / heat[0].sum((1, 2))
    expected = inside.mean() + (1 - inside.mean()) / 64  # one of the 64 in a bin stays where it was
    torch.testing.assert_close(covered, expected.expand(2), rtol=0.15, atol=0)


def test_other_seeds_permute_otherwise():
    e = explanation()
    one, same, other = (values(controls.permuted(e, 8, seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    state = torch.get_rng_state()
    for control in CONTROLS:
        control(e)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("control", "arguments", "error", "message"),
    [
        (controls.random, {"seed": -1}, ValueError, "seed must be an integer of at least 0, got -1"),
        (controls.permuted, {"seed": 0.5}, ValueError, "seed must be an integer"),
        (controls.permuted, {"bins": 0}, ValueError, "bins must be an integer of at least 1, got 0"),
        (controls.permuted, {"bins": 57}, ValueError, "at most 56, half of the 112 attributions of a sample, got 57"),
        (controls.magnitude, {"baseline": "black"}, TypeError, "must be a number or a tensor, got 'black'"),
        (controls.magnitude, {"baseline": torch.zeros(5)}, ValueError, r"\(5,\), which does not broadcast"),
        (controls.magnitude, {"baseline": float("nan")}, ValueError, "the baseline holds NaN"),
        (
            controls.oracle,
            {"target": torch.ones(1, 2, 7, 8)},
            ValueError,
            r"shape of the input, \(3, 2, 7, 8\), got \(1,",
        ),
        (controls.oracle, {"target": torch.ones(3, 1, 7, 8)}, ValueError, r"got \(3, 1, 7, 8\)"),
    ],
)
def test_bad_settings_name_the_value_and_the_limit(control, arguments, error, message):
    with pytest.raises(error, match=message):
        control(explanation("pixel"), **arguments)


def test_few_values_that_are_not_zero_are_permuted_too():
    """As many bins as there are for a dense input would hold one value each, and permute nothing."""
    x = torch.zeros(2, 1, 1024)
    x[0, 0, :300], x[1] = torch.rand(300) + 0.1, torch.rand(1024) + 0.1
    e = wam.saliency(lambda x: x.square().sum(2), x, 0, frame=wam.Pixel())
    e = replace(e, attributions=e.attributions.map(torch.randn_like))
    mine, other = (c.attributions.pack()[0] for c in (e, controls.permuted(e, bins=256)))
    moved = (mine != other)[x != 0].double().mean()
    assert moved > 0.4
    assert (mine != other)[0, 0, :300].double().mean() > 0.4
