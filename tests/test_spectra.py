"""Spectra against sums, SciPy's tests and Fourier transforms made by hand."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import wam
from wam import spectra
from wam.spectra import Spectrum, band_noise, compare, measure, noise_accuracy, shares

NAN = float("nan")
BANDS = ((2, "approx"), (2, "horizontal"), (2, "vertical"), (2, "diagonal"))
BANDS += ((1, "horizontal"), (1, "vertical"), (1, "diagonal"))


def explanation(values, bands=BANDS, channels=2):
    """Of attributions that are constant in every band: ``values`` (batch, bands)."""
    sizes = {key: (3, 2) if key[0] == 2 else (5, 4) for key in bands}
    filled = {
        key: torch.as_tensor(column, dtype=torch.float32)[:, None, None, None].repeat(1, channels, *sizes[key])
        for key, column in zip(bands, torch.as_tensor(values).T)
    }
    z = wam.Coefficients(filled, (9, 8))
    return wam.Explanation(z, z, torch.zeros(len(z)), torch.zeros(len(z)), wam.Wavelet("haar", 2, 2), "made up")


def random_spectrum(seed, n=40, bands=BANDS):
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(n, len(bands), generator=generator, dtype=torch.float64).square()
    return Spectrum(bands, values / values.sum(1, keepdim=True))


# shares


def test_shares_are_sums_of_magnitudes():
    values = torch.tensor([[3.0, -1, 0, 2, 0, -4, 1], [-1.0, 0, 0, 0, 0, 0, 0]])
    found = shares(explanation(values))
    weights = values.abs().double() * torch.tensor([6.0] * 4 + [20.0] * 3)  # places of each band
    torch.testing.assert_close(found, weights / weights.sum(1, keepdim=True))
    assert found.dtype == torch.float64 and found[1].tolist() == [1, 0, 0, 0, 0, 0, 0]


def test_signs_within_a_band_do_not_cancel():
    z = wam.Coefficients(
        {(1, "approx"): torch.tensor([[[1.0, -1.0]]]), (1, "detail"): torch.tensor([[[2.0, 4.0]]])}, (4,)
    )
    e = replace(explanation(torch.ones(1, 7)), attributions=z)
    assert shares(e).tolist() == [[0.25, 0.75]]


def test_no_importance_has_no_spectrum_and_tiny_importance_has():
    values = torch.ones(3, 7) * torch.tensor([1.0, 0.0, 1e-38])[:, None]
    found = shares(explanation(values))
    assert found.isnan().all(1).tolist() == [False, True, False]
    torch.testing.assert_close(found[0], found[2])


def test_a_scale_is_shared_as_in_the_profile_of_an_explanation():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2 * 17 * 20, 3), nn.Tanh()).double()
    e = wam.saliency(net, torch.randn(3, 2, 17, 20).double(), frame=wam.Wavelet("db2", 2, 2))
    (spectrum,) = measure([{"saliency": e}]).values()
    assert spectrum.bands == BANDS
    torch.testing.assert_close(spectrum.by_scale(), e.scale_profile())


def test_measuring_batch_by_batch_is_measuring_all_at_once():
    values = torch.randn(10, 7)
    whole = {"a": explanation(values), "b": explanation(values * torch.arange(7))}
    drawn = []

    def batches(sizes):
        for part in torch.arange(10).split(sizes):
            drawn.append(len(part))
            yield {name: e[part.tolist()] for name, e in whole.items()}

    everything = measure([whole])
    assert list(everything) == ["a", "b"] and not torch.equal(everything["a"].shares, everything["b"].shares)
    for sizes in ([4, 3, 3], [1] * 10):
        found = measure(batches(sizes))
        for name, spectrum in found.items():
            assert torch.equal(spectrum.shares, everything[name].shares) and spectrum.bands == BANDS
    assert drawn == [4, 3, 3] + [1] * 10
    for i in range(10):
        assert torch.equal(measure([{"a": whole["a"][i]}])["a"].shares[0], everything["a"].shares[i])


def test_names_and_bands_stay_the_same():
    a, b = explanation(torch.ones(2, 7)), explanation(torch.ones(2, 1), ((0, "pixel"),))
    with pytest.raises(ValueError, match=r"a batch has the explanations \['b'\], the first one had \['a'\]"):
        measure([{"a": a}, {"b": a}])
    with pytest.raises(ValueError, match=r"a batch has the explanations \['a', 'b'\], the first one had \['a'\]"):
        measure([{"a": a}, {"a": a, "b": a}])
    with pytest.raises(ValueError, match=r"a batch of 'a' has the bands \(\(0, 'pixel'\),\), the first one had"):
        measure([{"a": a}, {"a": b}])
    assert list(measure([{"a": a, "b": b}, {"b": b, "a": a}])) == ["a", "b"]  # each has bands of its own, in any order
    for nothing in ([], [{}], iter(())):
        with pytest.raises(ValueError, match="there are no explanations to measure"):
            measure(nothing)


# a spectrum


def test_a_spectrum_has_a_share_for_every_band():
    for shape in ((3,), (3, 6), (3, 8), (7, 3, 1)):
        with pytest.raises(ValueError, match=r"7 bands need shares \(inputs, bands\), got shape"):
            Spectrum(BANDS, torch.zeros(shape))
    values = torch.rand(3, 7, requires_grad=True)
    found = Spectrum(list(BANDS), values)
    assert found.bands == BANDS and found.shares.dtype == torch.float64 and not found.shares.requires_grad
    assert len(found) == 3 and repr(found) == "Spectrum(3 inputs, scales ('approx', 2, 1))"


def test_scales_and_coarseness_by_hand():
    s = Spectrum(BANDS, torch.tensor([[0.3, 0.1, 0.05, 0.05, 0.2, 0.2, 0.1], [0, 0, 0, 0, 0, 1.0, 0]]))
    assert s.scales == ("approx", 2, 1)
    torch.testing.assert_close(s.by_scale(), torch.tensor([[0.3, 0.2, 0.5], [0, 0, 1]]).double(), rtol=0, atol=1e-7)
    # 3 octaves above the first for the approximation: 3 * 0.3 + 2 * 0.2 + 1 * 0.5
    torch.testing.assert_close(s.coarseness(), torch.tensor([1.8, 1.0]).double(), rtol=0, atol=1e-6)
    alone = Spectrum(BANDS[:1], torch.ones(2, 1))
    assert alone.coarseness().tolist() == [3, 3] and alone.by_scale().tolist() == [[1], [1]]


def test_tables_are_tidy():
    s = random_spectrum(0, 3)
    t = s.table(orientations=True)
    assert list(t.columns) == ["input", "scale", "orientation", "value"] and len(t) == 21
    for i in range(3):
        for j, (level, orientation) in enumerate(BANDS):
            scale = "approx" if orientation == "approx" else str(level)
            row = t[(t["input"] == i) & (t["scale"] == scale) & (t["orientation"] == orientation)]
            assert row["value"].tolist() == [s.shares[i, j].item()]
    t = s.table()
    assert list(t["scale"]) == ["approx", "2", "1"] * 3 and set(t["orientation"]) == {"all"}
    assert t["value"].to_numpy().reshape(3, 3) == pytest.approx(s.by_scale().numpy())
    assert list(t["input"]) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_summaries_average_over_inputs():
    s = random_spectrum(0)
    t = s.summary()
    assert list(t["scale"]) == ["approx", "2", "1"] and t["mean"].to_numpy() == pytest.approx(s.by_scale().mean(0))
    assert t["mean"].sum() == pytest.approx(1) and (t["low"] < t["mean"]).all() and (t["mean"] < t["high"]).all()
    t = s.summary(orientations=True)
    assert list(zip(t["scale"], t["orientation"])) == [
        ("approx" if key[1] == "approx" else str(key[0]), key[1]) for key in BANDS
    ]
    assert t["mean"].to_numpy() == pytest.approx(s.shares.mean(0).numpy())
    narrow = s.summary(orientations=True, confidence=0.5)
    assert (narrow["high"] - narrow["low"] < t["high"] - t["low"]).all()
    holed = Spectrum(BANDS, torch.cat([s.shares, torch.full((2, 7), NAN)]))
    assert (holed.summary()["dropped"] == 2).all() and (holed.summary()["n"] == 40).all()
    assert holed.summary()["mean"].to_numpy() == pytest.approx(s.summary()["mean"].to_numpy())


# two spectra


def holm(p):
    """Step down: the smallest is multiplied by their number, the next by one less, and none is below one before it."""
    corrected, largest = [0.0] * len(p), 0.0
    for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - step) * p[i]))
        corrected[i] = largest
    return corrected


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.1])
def test_differences_are_paired_signed_and_tested(shift):
    one, other = random_spectrum(0), random_spectrum(1)
    moved = one.shares * (1 - shift) + shift * torch.eye(7, dtype=torch.float64)[0]  # coarser
    one = Spectrum(BANDS, 0.7 * moved + 0.3 * other.shares)
    found = compare(one, other)
    assert list(found["scale"]) == ["approx", "2", "1", "coarseness"]
    a, b = (np.column_stack([s.by_scale(), s.coarseness()]) for s in (one, other))
    d = a - b
    assert found["one"].to_numpy() == pytest.approx(a.mean(0)) and found["other"].to_numpy() == pytest.approx(b.mean(0))
    assert found["mean"].to_numpy() == pytest.approx(d.mean(0))
    assert found["effect"].to_numpy() == pytest.approx(d.mean(0) / d.std(0, ddof=1))
    p = [stats.wilcoxon(a[:, i], b[:, i]).pvalue for i in range(4)]
    assert found["p"].to_numpy() == pytest.approx([*holm(p[:3]), p[3]])
    assert (found["n"] == 40).all() and (found["dropped"] == 0).all()
    half = 1.96 * d.std(0) / 40**0.5
    assert found["low"].to_numpy() == pytest.approx(d.mean(0) - half, abs=0.3 * half.max())
    assert (found["low"] < found["mean"]).all() and (found["mean"] < found["high"]).all()
    turned = compare(other, one)
    assert turned["mean"].to_numpy() == pytest.approx(-found["mean"].to_numpy())
    assert turned["effect"].to_numpy() == pytest.approx(-found["effect"].to_numpy())
    assert turned["p"].to_numpy() == pytest.approx(found["p"].to_numpy())


def test_the_correction_is_a_step_down():
    for p in ([0.01, 0.04, 0.03], [0.5, 0.001, 0.4, 0.02], [0.2], [0.03, 0.03, 0.9], [0.04, 0.03, 0.02, 0.01]):
        assert spectra._holm(np.array(p)) == pytest.approx(holm(p))
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_the_same_inputs_coarser_in_one_network():
    fine = random_spectrum(0)
    toward = torch.rand(40, 1, dtype=torch.float64) * 0.2
    coarse = Spectrum(BANDS, fine.shares * (1 - toward) + toward * torch.eye(7, dtype=torch.float64)[0])
    found = compare(coarse, fine).set_index("scale")
    assert found.loc["approx", "mean"] > 0 > found.loc["1", "mean"] and found.loc["coarseness", "mean"] > 0
    assert found.loc["approx", "effect"] > 1 and found.loc["1", "effect"] < -1 and (found["p"] < 1e-6).all()


def test_identical_spectra_do_not_differ():
    s = random_spectrum(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare(s, s)
    assert (found["p"] == 1).all() and found["effect"].isna().all()
    assert (found[["mean", "low", "high"]] == 0).all(axis=None) and (found["n"] == 40).all()


def test_inputs_without_a_spectrum_are_left_out_of_both():
    one, other = random_spectrum(0), random_spectrum(1)
    mine, theirs = one.shares.clone(), other.shares.clone()
    mine[3], theirs[5], mine[7], theirs[7] = NAN, NAN, NAN, NAN
    found = compare(Spectrum(BANDS, mine), Spectrum(BANDS, theirs))
    kept = [i for i in range(40) if i not in (3, 5, 7)]
    expected = compare(Spectrum(BANDS, one.shares[kept]), Spectrum(BANDS, other.shares[kept]))
    assert (found["n"] == 37).all() and (found["dropped"] == 3).all()
    for name in ("one", "other", "mean", "low", "high", "effect", "p"):
        assert found[name].to_numpy() == pytest.approx(expected[name].to_numpy()), name
    empty = Spectrum(BANDS, torch.full((4, 7), NAN))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare(empty, empty)
    assert found[["one", "other", "mean", "effect", "p"]].isna().all(axis=None) and (found["dropped"] == 4).all()


def test_one_input_has_a_difference_and_no_effect():
    one, other = random_spectrum(0, 1), random_spectrum(1, 1)
    found = compare(one, other)
    assert found["mean"][:3].to_numpy() == pytest.approx((one.by_scale() - other.by_scale())[0].numpy())
    assert found[["low", "high", "effect"]].isna().all(axis=None) and (found["p"] == 1).all()


def test_only_spectra_of_the_same_inputs_and_bands_are_compared():
    s = random_spectrum(0)
    for other in (random_spectrum(0, 39), random_spectrum(0, 40, BANDS[:4]), Spectrum(BANDS[::-1], s.shares)):
        with pytest.raises(ValueError, match="spectra of the same inputs and bands can be compared, not Spectrum"):
            compare(s, other)


# noise of one scale


def octave(shape, low, high):
    """Where the largest frequency of any axis is above ``low`` and at most ``high``."""
    axes = np.meshgrid(*(abs(np.fft.fftfreq(n)) for n in shape), indexing="ij")
    largest = np.max(axes, axis=0)
    return (largest > low) & (largest <= high)


@pytest.mark.parametrize("shape", [(64,), (33, 48), (16, 12, 20)], ids=str)
@pytest.mark.parametrize("scale", ["approx", 3, 2, 1])
def test_noise_is_what_the_octave_keeps_of_white_noise(shape, scale):
    x = torch.zeros(5, 2, *shape, dtype=torch.float64)
    found = band_noise(x, wam.Fourier(3, len(shape)), scale, rms=0.3, seed=7)
    assert found.shape == (1, 2, *shape) and found.dtype == x.dtype
    assert found.square().mean().sqrt().item() == pytest.approx(0.3, rel=1e-12)
    kept = octave(shape, -1, 2**-4) if scale == "approx" else octave(shape, 2.0 ** -(scale + 1), 2.0**-scale)
    axes = tuple(range(2, 2 + len(shape)))
    energy = abs(np.fft.fftn(found.numpy(), axes=axes)) ** 2
    assert energy[..., ~kept].max() < 1e-20 * energy.max() and (energy[..., kept] > 0).all() and kept.any()
    white = torch.randn((1, 2, *shape), generator=torch.Generator().manual_seed(7), dtype=torch.float64).numpy()
    expected = np.fft.ifftn(np.fft.fftn(white, axes=axes) * kept, axes=axes).real
    expected *= 0.3 / np.sqrt((expected**2).mean())
    assert found.numpy() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("scale", ["approx", 2, 1])
def test_noise_in_a_wavelet_frame_has_coefficients_of_one_scale(scale):
    frame = wam.Wavelet("haar", 2, 2)
    noise = band_noise(torch.zeros(1, 3, 16, 24, dtype=torch.float64), frame, scale, rms=2.0)
    z = frame.analysis(noise)
    rest = (z - z.level(scale)).pack()[0]
    assert rest.abs().max() < 1e-12 and noise.square().mean().sqrt().item() == pytest.approx(2, rel=1e-12)


def test_noise_repeats_and_depends_on_the_seed_alone():
    frame, x = wam.Fourier(2, 2), torch.rand(3, 1, 12, 12)
    state = torch.get_rng_state()
    one, same, other = (band_noise(x, frame, 1, 0.1, seed) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.allclose(one, other, atol=0.05) and one.dtype == torch.float32
    assert torch.equal(band_noise(x[:1] * 5, frame, 1, 0.1), one) and torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(band_noise(x.double(), frame, 1, 0.1).float(), one)
    torch.testing.assert_close(band_noise(x, frame, 1, 0.4), 4 * one)
    assert not band_noise(x, frame, 1, 0.0).any()
    assert band_noise(x.to("meta"), frame, 1, 0.1).is_meta


def test_noise_that_cannot_be():
    x, frame = torch.zeros(1, 1, 16), wam.Fourier(2, 1)
    for scale in (3, 0, "fine"):
        with pytest.raises(ValueError, match=rf"no scale {scale!r}; this container has \('approx', 2, 1\)"):
            band_noise(x, frame, scale, 0.1)
    for rms in (-0.1, NAN, float("inf")):
        with pytest.raises(ValueError, match=f"rms must be a finite number of at least 0, got {rms}"):
            band_noise(x, frame, 1, rms)
    with pytest.raises(ValueError, match="seed must be an integer"):
        band_noise(x, frame, 1, 0.1, seed=-1)


# the spectrum by perturbation

FRAME = wam.Fourier(2, 2)


class Narrow(nn.Module):
    """Two scores, linear, of which one looks at a scale alone, and the other at none."""

    def __init__(self, scale, shape=(1, 12, 12)):
        super().__init__()
        z = FRAME.analysis(torch.randn(1, *shape, dtype=torch.float64)).level(scale)
        self.weight = nn.Parameter(FRAME.synthesis(z)[0])

    def forward(self, x):
        return torch.stack([(x * self.weight).flatten(1).sum(1), torch.full((len(x),), 0.5, dtype=x.dtype)], dim=1)


@pytest.mark.parametrize("scale", ["approx", 2, 1])
def test_a_score_of_one_scale_is_moved_by_noise_of_that_scale(scale):
    model, x = Narrow(scale).requires_grad_(False), torch.randn(6, 1, 12, 12).double()
    labels = [0, 0, 0, 1, 1, 0]
    found = noise_accuracy(model, x, labels, FRAME, [0.2, 20.0], seed=3)
    assert list(found.columns) == ["input", "scale", "rms", "correct", "change"] and len(found) == 3 * 2 * 6
    assert list(dict.fromkeys(found["scale"])) == ["approx", "2", "1"] and list(found["input"]) == list(range(6)) * 6
    changed = 0
    for (name, rms), part in found.groupby(["scale", "rms"]):
        where = name if name == "approx" else int(name)
        noise = band_noise(x, FRAME, where, rms, seed=3)
        moved = float((model.weight * noise).sum())  # an inner product, with its sign
        expected = [0.0 if label else moved for label in labels]
        assert part["change"].to_numpy() == pytest.approx(expected, rel=1e-9, abs=1e-10)
        assert (abs(moved) > 1e-2) == (where == scale)
        assert abs(moved) < 1e-10 or where == scale
        right = [(model(x + noise)[i].argmax() == label).item() for i, label in enumerate(labels)]
        assert part["correct"].tolist() == right
        changed += right != [(model(x)[i].argmax() == label).item() for i, label in enumerate(labels)]
    assert changed


def test_draws_are_averaged_over_seeds():
    model, x = Narrow(1), torch.randn(5, 1, 12, 12).double()
    many = noise_accuracy(model, x, 0, FRAME, [2.0], draws=10, seed=4)
    each = [noise_accuracy(model, x, 0, FRAME, [2.0], seed=4 + i) for i in range(10)]
    for name in ("correct", "change"):
        assert many[name].to_numpy() == pytest.approx(np.mean([t[name] for t in each], axis=0), abs=1e-12)
    assert many["correct"].nunique() > 1
    still = noise_accuracy(model, x, model(x).argmax(1), FRAME, [0.0], draws=10)
    assert (still["correct"] == 1).all() and (still["change"] == 0).all()  # exactly


class Trained(nn.Module):
    """What depends on the flag ``training`` in two ways, and evaluates samples one by one."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(), nn.Flatten(), nn.Linear(300, 4))
        self.sizes = []

    def forward(self, x):
        assert not torch.is_grad_enabled()
        self.sizes.append(len(x))
        return torch.cat([self.body(sample[None]) for sample in x])


def test_the_network_is_restored_and_a_few_inputs_at_once_are_as_all():
    model, x, labels = Trained().double(), torch.randn(5, 1, 12, 12).double(), [3, 1, 0, 0, 2]
    model.body[0].requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs, state = x.clone(), torch.get_rng_state()
    whole = noise_accuracy(model, x, labels, FRAME, [0.5], draws=2)
    assert model.training and model.body[1].training and [p.requires_grad for p in model.parameters()][:3] == [0, 0, 1]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(x, inputs) and torch.equal(torch.get_rng_state(), state) and set(model.sizes) == {5}
    model.eval()
    model.sizes.clear()
    parts = noise_accuracy(model, x, torch.tensor(labels), FRAME, [0.5], draws=2, max_batch=2)
    assert not model.training and set(model.sizes) == {2, 1} and whole.equals(parts)
    alone = noise_accuracy(model, x[3:4], labels[3:4], FRAME, [0.5], draws=2)
    assert alone["change"].to_numpy() == pytest.approx(whole[whole["input"] == 3]["change"].to_numpy(), abs=1e-12)


def test_single_precision_and_functions_are_welcome():
    weight = torch.randn(3, 144)
    found = noise_accuracy(lambda x: x.flatten(1) @ weight.T, torch.randn(2, 1, 12, 12), [0, 2], FRAME, [0.1])
    assert len(found) == 6 and found["change"].abs().gt(0).all() and found["change"].dtype == np.float64


def test_labels_and_numbers_that_do_not_fit():
    model, x = Narrow(1), torch.randn(3, 1, 12, 12).double()
    for labels, error, match in (
        ([0, 1], ValueError, "one class or 3, one per sample"),
        ([0, 1, 2], ValueError, r"target \[2\] out of range: the model has classes 0 to 1"),
        ([0, -1, 0], ValueError, "out of range"),
        ([0.0, 1.0, 0.0], TypeError, "must be an integer class"),
    ):
        with pytest.raises(error, match=match):
            noise_accuracy(model, x, labels, FRAME, [0.1])
    for options in ({"draws": 0}, {"max_batch": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be an integer"):
            noise_accuracy(model, x, 0, FRAME, [0.1], **options)
    with pytest.raises(ValueError, match="rms must be a finite number"):
        noise_accuracy(model, x, 0, FRAME, [0.1, -1.0])
