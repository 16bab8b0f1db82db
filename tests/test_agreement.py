"""Correlations of explanations against SciPy's, over everything and scale by scale."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import wam
from wam import agreement
from wam.agreement import Key, Reference

FRAMES = {
    "db2": (wam.Wavelet("db2", 2, 2), (17, 20)),
    "haar": (wam.Wavelet("haar", 2, 1), (41,)),
    "volume": (wam.Wavelet("haar", 1, 3), (6, 4, 5)),
    "fourier": (wam.Fourier(2, 2), (9, 10)),
    "pixel": (wam.Pixel(), (7, 8)),
}
GROUPS = {  # the bands of every scale, written out
    "db2": {
        "approx": [(2, "approx")],
        2: [(2, "horizontal"), (2, "vertical"), (2, "diagonal")],
        1: [(1, "horizontal"), (1, "vertical"), (1, "diagonal")],
    },
    "haar": {"approx": [(2, "approx")], 2: [(2, "detail")], 1: [(1, "detail")]},
    "volume": {"approx": [(1, "approx")], 1: [(1, k) for k in ("aad", "ada", "add", "daa", "dad", "dda", "ddd")]},
    "fourier": {"approx": [(2, "approx")], 2: [(2, "annulus")], 1: [(1, "annulus")]},
    "pixel": {},  # a single scale is everything
}
COEFFICIENTS = {"spearman": stats.spearmanr, "pearson": stats.pearsonr}


def explanation(name="db2", seed=0, batch=3, channels=2, dtype=torch.float64):
    frame, shape = FRAMES[name]
    generator = torch.Generator().manual_seed(seed)
    z = frame.analysis(torch.randn(batch, channels, *shape, generator=generator, dtype=torch.float64)).to(dtype)
    return wam.Explanation(z, z, torch.arange(batch), torch.zeros(batch, dtype=dtype), frame, "noise")


def of(e, function):
    return replace(e, attributions=e.attributions.map(function))


def mixed(e, other, share=0.5):
    both = e.attributions.zip_map(lambda a, b: share * a + (1 - share) * b, other.attributions)
    return replace(e, attributions=both)


ROWS = st.integers(1, 3).flatmap(
    lambda rows: st.integers(1, 40).flatmap(
        lambda n: st.lists(st.lists(st.integers(-6, 6), min_size=n, max_size=n), min_size=rows, max_size=rows)
    )
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=60, deadline=None)
@given(rows=ROWS, scale=st.sampled_from([1.0, -0.1, 1e-30, 1e30]))
def test_ranks_count_what_is_smaller_and_half_of_what_is_equal(dtype, rows, scale):
    """Of integers, so that there are ties; and scaled, also by a negative number."""
    values = torch.tensor(rows, dtype=dtype) * scale
    before = values.clone()
    found = agreement.ranks(values)
    one, other = values[:, :, None], values[:, None]
    expected = (other < one).sum(2) + ((other == one).sum(2) + 1) / 2
    assert found.tolist() == expected.tolist() and found.dtype == dtype and torch.equal(values, before)


def test_ranks_of_special_rows():
    assert agreement.ranks(torch.full((2, 5), -3.0)).tolist() == [[3.0] * 5] * 2
    assert agreement.ranks(torch.tensor([[2.0], [-1.0]])).tolist() == [[1.0], [1.0]]
    assert agreement.ranks(torch.tensor([[0.0, -0.0, 1.0]])).tolist() == [[1.5, 1.5, 3.0]]
    assert agreement.ranks(torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 2.0]])).tolist() == [[3, 1, 2], [1.5, 1.5, 3]]
    turned = torch.tensor([[3.0, 0.0], [1.0, 5.0], [2.0, 5.0]]).T  # in no contiguous memory
    assert agreement.ranks(turned).tolist() == [[3, 1, 2], [1, 2.5, 2.5]]


def test_halves_of_a_long_row_are_exact():
    values = torch.arange(2**23 + 2, dtype=torch.float32)[None]
    values[0, -2] = values[0, -1]
    found = agreement.ranks(values)
    assert found[0, -3:].tolist() == [2**23, 2**23 + 1.5, 2**23 + 1.5]  # between the numbers of float32


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, data=st.data(), sizes=st.tuples(*[st.sampled_from([1.0, 1e-30, 1e-300, 1e100])] * 2))
def test_correlations_are_those_of_scipy(rows, data, sizes):
    n = len(rows[0])
    others = data.draw(st.lists(st.lists(st.integers(-6, 6), min_size=n, max_size=n), min_size=len(rows), max_size=9))
    a, b = (torch.tensor(r[: len(rows)], dtype=torch.float64) * size for r, size in zip((rows, others), sizes))
    found = {name: getattr(agreement, name)(a, b) for name in COEFFICIENTS}
    for i, (x, y) in enumerate(zip(torch.tensor(rows).double().numpy(), torch.tensor(others).double().numpy())):
        for name, function in COEFFICIENTS.items():
            if np.ptp(x) == 0 or np.ptp(y) == 0:
                assert found[name][i].isnan()
            else:
                assert found[name][i].item() == pytest.approx(function(x, y)[0], abs=1e-12)


@pytest.mark.parametrize("size", [1.0, 1e-30, 1e30])
def test_correlations_in_single_precision(size):
    a, b = torch.randn(2, 4, 300)
    b += 0.3 * a
    for name, function in COEFFICIENTS.items():
        expected = [function(x, y)[0] for x, y in zip(a.double().numpy(), b.double().numpy())]
        assert getattr(agreement, name)(a * size, b * size).tolist() == pytest.approx(expected, abs=2e-6)


def test_what_is_constant_has_no_correlation():
    rows = torch.tensor([[1.0, 2.0, 3.0], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0], [-1e-30, -1e-30, -1e-30]])
    for name in COEFFICIENTS:
        function = getattr(agreement, name)
        assert function(rows, rows.flip(1)).isnan().tolist() == [False, True, True, True]
        assert function(rows[:1].expand(4, -1), rows)[0] == pytest.approx(1)
        assert function(rows[:1].expand(4, -1), rows).isnan().tolist() == [False, True, True, True]
        assert function(rows, rows[:1].expand(4, -1)).isnan().tolist() == [False, True, True, True]


# of explanations


@pytest.mark.parametrize("name", FRAMES)
def test_every_correlation_is_that_of_the_bands_by_hand(name):
    one = explanation(name)
    other = mixed(explanation(name, 1), one, 0.6)
    found = Reference(one).agreement(other)
    parts = {"all": list(one.attributions.bands)} | GROUPS[name]
    assert list(found) == [
        Key(kind, scale, statistic)
        for scale in parts
        for kind in ("absolute", "signed")
        for statistic in ("spearman", "pearson")
    ]
    for (kind, scale, statistic), values in found.items():
        assert values.shape == (3,)
        for i in range(3):
            a, b = (np.concatenate([e.attributions.bands[k][i].flatten() for k in parts[scale]]) for e in (one, other))
            if kind == "absolute":
                a, b = abs(a), abs(b)
            expected = COEFFICIENTS[statistic](a, b)[0]
            assert values[i].item() == pytest.approx(expected, abs=1e-12), (kind, scale, statistic)
    assert len({round(values[0].item(), 6) for values in found.values()}) == len(found)  # no two are the same


def test_the_sign_is_seen_by_signed_correlations_alone():
    e = explanation()
    for (kind, _, _), values in Reference(e).agreement(of(e, torch.neg)).items():
        torch.testing.assert_close(values, torch.full_like(values, 1 if kind == "absolute" else -1))
    for values in Reference(e).agreement(e).values():
        torch.testing.assert_close(values, torch.ones_like(values))


def test_one_scale_negated_is_seen_at_that_scale():
    e = explanation()
    bands = {key: -band if key[0] == 1 else band for key, band in e.attributions.bands.items()}
    found = Reference(e).agreement(replace(e, attributions=wam.Coefficients(bands, e.attributions.shape)))
    for scale, sign in (("approx", 1), (2, 1), (1, -1)):
        assert found[Key("signed", scale, "pearson")].tolist() == pytest.approx([sign] * 3)
    assert (found[Key("signed", "all", "pearson")].abs() < 0.9).all()


def test_ranks_do_not_see_a_monotone_change_and_values_do():
    e = explanation()
    found = Reference(e).agreement(of(e, lambda band: band.pow(3)))
    for (_, _, statistic), values in found.items():
        if statistic == "spearman":
            torch.testing.assert_close(values, torch.ones_like(values))
        else:
            assert (values < 0.95).all()


def test_agreement_is_symmetric_and_leaves_both_as_they_are():
    one, other = explanation(), mixed(explanation(seed=1), explanation())
    before = [e.attributions.pack()[0].clone() for e in (one, other)]
    there, back = Reference(one).agreement(other), Reference(other).agreement(one)
    for key, values in there.items():
        torch.testing.assert_close(values, back[key])
    assert all(torch.equal(e.attributions.pack()[0], old) for e, old in zip((one, other), before))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sample_alone_is_as_in_the_batch(dtype):
    one = explanation(dtype=dtype)
    other = mixed(explanation(seed=1, dtype=dtype), one)
    found = Reference(one).agreement(other)
    for i in range(3):
        for key, values in Reference(one[i]).agreement(other[i]).items():
            assert values.dtype == dtype
            torch.testing.assert_close(values, found[key][i : i + 1])
    turned = Reference(one).agreement(other[[1, 2, 0]])  # pairs are by place
    assert not torch.allclose(turned[Key("signed", "all", "pearson")], found[Key("signed", "all", "pearson")], atol=0.1)


def test_a_constant_part_is_undefined_and_no_other():
    e = explanation()
    zeroed = {key: torch.zeros_like(band) if key[0] == 1 else band for key, band in e.attributions.bands.items()}
    found = Reference(e).agreement(replace(e, attributions=wam.Coefficients(zeroed, e.attributions.shape)))
    assert {key.scale for key, values in found.items() if values.isnan().all()} == {1}
    assert {key.scale for key, values in found.items() if values.isnan().any()} == {1}
    assert all(v.isnan().all() for v in Reference(of(e, torch.zeros_like)).agreement(e).values())


def test_tiny_attributions_correlate_as_others():
    e, other = (explanation(dtype=torch.float32, seed=seed) for seed in (0, 1))
    tiny = of(mixed(e, other), lambda band: band * 1e-30)
    expected = Reference(e).agreement(mixed(e, other))
    for key, values in Reference(e).agreement(tiny).items():
        torch.testing.assert_close(values, expected[key])


def test_only_the_same_inputs_in_the_same_frame_are_compared():
    reference = Reference(explanation())
    with pytest.raises(ValueError, match="2 explanations cannot be compared with 3: give the same inputs"):
        reference.agreement(explanation(batch=2))
    with pytest.raises(ValueError, match="coefficients of different layouts, .*: use one frame for both"):
        reference.agreement(explanation("pixel"))
    other = wam.Wavelet("db2", 1, 2)
    with pytest.raises(ValueError, match="use one frame for both"):
        reference.agreement(replace(explanation(), attributions=other.analysis(torch.randn(3, 2, 17, 20).double())))
    with pytest.raises(ValueError, match="attributions have 1 and 2 channels: give the same in both"):
        reference.agreement(explanation(channels=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ranks_on_a_device_are_those_of_the_cpu(dtype):
    values = torch.randn(4, 301, dtype=dtype)
    values[1] = values[1].round()
    values[2] = 0.5
    expected = agreement.ranks(values)
    found = agreement._ranks(values)
    assert found.dtype == expected.dtype == dtype and torch.equal(found, expected)
