"""Frames against PyWavelets, automatic differentiation, and the definitions of an adjoint and of an inverse."""

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import wam
from wam.frames import MODES, _phases
from wam.precision import full_precision

EXACT = [name for name in pywt.wavelist(kind="discrete") if name != "dmey"]
FEW = ["haar", "db2", "db4", "sym5", "coif1", "bior2.2", "rbio3.1", "bior4.4"]


def dmey(**kwargs):
    with pytest.warns(UserWarning, match="1e-2"):
        return wam.Wavelet("dmey", **kwargs)


def autodiff(frame, x, g):
    """The gradient of <S z, g> with respect to z, by differentiating through the synthesis."""
    flat, spec = frame.analysis(x).pack()
    flat.requires_grad_(True)
    (frame.synthesis(wam.Coefficients.unpack(flat, spec)) * g).sum().backward()
    return flat.grad


def fitting(name, shape, mode="reflect", levels=2):
    fit = wam.Wavelet(name, 1, len(shape)).max_levels(shape)
    return wam.Wavelet(name, min(levels, fit), len(shape), mode) if fit else None


@pytest.mark.parametrize("odd", [0, 1])
def test_pullback_is_the_gradient_for_every_wavelet_in_1d(odd):
    for name in EXACT + ["dmey"]:
        n = 4 * pywt.Wavelet(name).dec_len + 8 + odd
        frame = dmey(levels=2, ndim=1) if name == "dmey" else wam.Wavelet(name, levels=2, ndim=1)
        x, g = torch.randn(2, 2, 1, n, dtype=torch.float64)
        assert (frame.pullback(g).pack()[0] - autodiff(frame, x, g)).abs().max() <= 1e-12, name


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(33,), (32, 37), (16, 13, 17)])
def test_pullback_and_round_trip_in_every_mode(shape, mode):
    for name in FEW:
        if (frame := fitting(name, shape, mode)) is None:
            continue
        x, g = torch.randn(2, 2, 3, *shape, dtype=torch.float64)
        assert (frame.pullback(g).pack()[0] - autodiff(frame, x, g)).abs().max() <= 1e-12, (name, mode)
        assert (frame.synthesis(frame.analysis(x)) - x).abs().max() <= 1e-11, (name, mode)


def test_every_wavelet_reconstructs_but_dmey():
    for name in EXACT:
        x = torch.randn(1, 1, 4 * pywt.Wavelet(name).dec_len + 9, dtype=torch.float64)
        frame = wam.Wavelet(name, levels=2, ndim=1)
        assert (frame.synthesis(frame.analysis(x)) - x).abs().max() < 1e-10, name
    x = torch.randn(1, 1, 300, dtype=torch.float64)
    frame = dmey(levels=2, ndim=1)
    assert 1e-4 < (frame.synthesis(frame.analysis(x)) - x).abs().max() < 0.1


@pytest.mark.parametrize("name", ["haar", "db4", "bior2.2"])
@pytest.mark.parametrize("mode", ["zero", "reflect", "symmetric", "periodic"])
def test_analysis_is_that_of_pywavelets(name, mode):
    x = torch.randn(1, 1, 45, 38, dtype=torch.float64)
    mine = wam.Wavelet(name, levels=2, ndim=2, mode=mode).analysis(x).bands
    approx, *details = pywt.wavedec2(x[0, 0].numpy(), name, mode=mode, level=2)
    np.testing.assert_allclose(mine[2, "approx"][0, 0], approx, atol=1e-12)
    for level, detail in zip((2, 1), details):
        for orientation, band in zip(("horizontal", "vertical", "diagonal"), detail):
            np.testing.assert_allclose(mine[level, orientation][0, 0], band, atol=1e-12)


def test_analysis_of_sounds_and_volumes_is_that_of_pywavelets():
    sound = torch.randn(1, 1, 77, dtype=torch.float64)
    mine = wam.Wavelet("db3", levels=3, ndim=1).analysis(sound).bands
    for band, expected in zip(mine.values(), pywt.wavedec(sound[0, 0].numpy(), "db3", mode="reflect", level=3)):
        np.testing.assert_allclose(band[0, 0], expected, atol=1e-12)
    volume = torch.randn(1, 1, 9, 12, 11, dtype=torch.float64)
    mine = wam.Wavelet("haar", levels=1, ndim=3, mode="zero").analysis(volume).bands
    for key, expected in pywt.dwtn(volume[0, 0].numpy(), "haar", mode="zero").items():
        np.testing.assert_allclose(mine[1, "approx" if key == "aaa" else key][0, 0], expected, atol=1e-12)


def test_a_vertical_edge_is_in_the_vertical_band():
    x = torch.zeros(1, 1, 16, 16)
    x[..., 7:] = 1
    bands = wam.Wavelet("haar", levels=1, ndim=2).analysis(x).bands
    assert bands[1, "vertical"].abs().sum() > 1
    assert bands[1, "horizontal"].abs().max() == bands[1, "diagonal"].abs().max() == 0


frames = st.one_of(
    st.builds(lambda n, j, m: wam.Wavelet(n, j, 2, m), st.sampled_from(FEW), st.integers(1, 2), st.sampled_from(MODES)),
    st.builds(lambda j: wam.Fourier(j, 2), st.integers(1, 3)),
    st.just(wam.Pixel()),
)


@settings(max_examples=60, deadline=None)
@given(frame=frames, height=st.integers(36, 47), width=st.integers(36, 47), seed=st.integers(0, 9))
def test_adjoint_linear_and_inverse(frame, height, width, seed):
    """<S c, g> = <c, S^T g> for coefficients c that no input has; W is linear; S W = 1; spreading keeps the mass."""
    generator = torch.Generator().manual_seed(seed)
    x, g = torch.randn(2, 1, 2, height, width, dtype=torch.float64, generator=generator)
    z, p = frame.analysis(x), frame.pullback(g)
    c = z.map(lambda band: torch.randn(band.shape, dtype=band.dtype, generator=generator))
    left, right = (frame.synthesis(c) * g).sum(), (c * p).scale_sums().sum()
    assert torch.isclose(left, right, rtol=1e-10, atol=1e-10)
    mixed = frame.analysis(2 * x - 3 * g) - (z * 2 - frame.analysis(g) * 3)
    assert mixed.pack()[0].abs().max() < 1e-10
    assert torch.allclose(frame.synthesis(z), x, atol=1e-10)
    heat = frame.spread(p.abs())
    assert heat.shape == x.shape and heat.min() >= 0
    assert torch.allclose(heat.sum(), p.abs().scale_sums().sum())


def test_haar_spread_is_constant_on_dyadic_cells():
    frame = wam.Wavelet("haar", levels=2, ndim=2)
    ones = frame.analysis(torch.zeros(1, 1, 8, 8))
    spike = ones.bands[2, "diagonal"].clone()
    spike[0, 0, 1, 0] = 16.0
    heat = frame.spread(wam.Coefficients({**ones.bands, (2, "diagonal"): spike}, ones.shape))
    expected = torch.zeros(1, 1, 8, 8)
    expected[..., 4:8, 0:4] = 1.0
    torch.testing.assert_close(heat, expected)


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("scale", ["approx", 2, 1])
def test_an_even_band_spreads_evenly(name, scale):
    """No grid that the network did not put there: equal coefficients give an equal map, away from the border."""
    frame = wam.Wavelet(name, levels=2, ndim=2)
    ones = frame.analysis(torch.zeros(1, 1, 128, 128, dtype=torch.float64)).map(torch.ones_like)
    inner = frame.spread(ones.level(scale))[..., 48:80, 48:80]
    assert inner.max() - inner.min() < 1e-9 * inner.max()


def test_fourier_is_orthogonal_and_puts_a_cosine_in_its_octave():
    frame = wam.Fourier(levels=3, ndim=1)
    t = torch.arange(64, dtype=torch.float64)
    for cycles, scale in ((2, "approx"), (6, 3), (12, 2), (25, 1)):
        x = torch.cos(2 * torch.pi * cycles * t / 64)[None, None]
        z = frame.analysis(x)
        assert torch.allclose(z.pack()[0].square().sum(), x.square().sum())
        assert torch.allclose(z.level(scale).pack()[0].square().sum(), x.square().sum())


def test_transforms_ignore_autocast():
    x = torch.randn(1, 1, 64)
    frame = wam.Wavelet("db4", levels=2, ndim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = frame.analysis(x)
        back = frame.synthesis(z)
    assert z.dtype == torch.float32 and torch.allclose(back, x, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wam.Wavelet("db44", 1, 2), "did you mean.*db4"),
        (lambda: wam.Wavelet("haar", 1, 2, mode="mirror"), "unknown boundary mode 'mirror'.*reflect"),
        (lambda: wam.Wavelet("haar", 0, 2), "levels must be an integer of at least 1, got 0"),
        (lambda: wam.Wavelet("haar", 1, 4), "ndim must be 1, 2 or 3, got 4"),
        (lambda: wam.Wavelet("DB4", 1, 2), "did you mean 'db4'"),
        (lambda: wam.Wavelet("morlet", 1, 2), "see pywt.wavelist"),
        (lambda: wam.Wavelet("haar", True, 2), "got True"),
        (lambda: wam.Wavelet("haar", 1, 2.0), "ndim must be an integer.*2.0"),
        (lambda: wam.Fourier(0, 1), "levels must be an integer"),
        (lambda: wam.Wavelet("db4", 6, 2).analysis(torch.ones(1, 3, 224, 224)), r"6 levels.*\(224, 224\).*at most 5"),
        (lambda: wam.Fourier(7, 2).analysis(torch.ones(1, 3, 64, 32)), "at most 6"),
        (lambda: wam.Wavelet("haar", 1, 2).analysis(torch.ones(3, 8, 8)), r"2 spatial axes.*\(3, 8, 8\)"),
        (lambda: wam.Pixel().analysis(torch.ones(3, 8)), "expected a batch"),
        (lambda: wam.Wavelet("haar", 1, 2).analysis(torch.ones(0, 3, 8, 8)), "empty"),
    ],
)
def test_bad_input_names_the_value_and_the_fix(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("other", [wam.Wavelet("haar", 3, 2), wam.Wavelet("db4", 2, 2), wam.Fourier(2, 2)], ids=str)
def test_coefficients_of_another_frame_are_refused(other):
    x = torch.randn(1, 1, 36, 40)
    for frame in (wam.Wavelet("haar", 2, 2), wam.Fourier(3, 2), wam.Pixel()):
        with pytest.raises(ValueError, match="not coefficients of"):
            frame.synthesis(other.analysis(x))


@pytest.mark.parametrize("name", ["haar", "db4", "sym8"])
def test_a_lone_row_is_transformed_as_in_a_batch(name):
    x = torch.randn(3, 1, 1000)
    frame = wam.Wavelet(name, 2, 1)
    together, alone = frame.analysis(x)[1].pack()[0], frame.analysis(x[1:2]).pack()[0]
    assert torch.equal(together, alone)
    assert torch.equal(frame.pullback(x)[1].pack()[0], frame.pullback(x[1:2]).pack()[0])


def test_transforms_keep_full_precision_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    x, frame = torch.randn(2, 3, 224, 224, device="cuda"), wam.Wavelet("db4", 3, 2)
    torch.backends.cudnn.allow_tf32 = True
    assert (frame.synthesis(frame.analysis(x)) - x).abs().max() < 1e-5 and torch.backends.cudnn.allow_tf32


@pytest.fixture
def precisions():
    """What each interface of torch says of TensorFloat-32; it is left as it was."""
    conv, matmul = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("torch has one interface")
    before = conv.fp32_precision, matmul.fp32_precision
    yield lambda: (conv.fp32_precision, matmul.fp32_precision)
    conv.fp32_precision, matmul.fp32_precision = before


@pytest.mark.parametrize("newer", [False, True])
def test_full_precision_understands_both_interfaces_of_torch(newer, precisions):
    """Once the newer one is used, torch refuses to answer the older one."""
    if newer:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
    before = precisions()
    with pytest.raises(RuntimeError, match="inside"), full_precision(torch.device("cuda")):
        assert "tf32" not in precisions()
        raise RuntimeError("inside")
    assert precisions() == before and "tf32" in before


@pytest.mark.parametrize("x", [torch.ones(1, 1, 8, 8, dtype=torch.int64), torch.ones(1, 1, 8, 8).half(), [[1.0]]])
def test_wrong_types_are_type_errors(x):
    with pytest.raises(TypeError, match="expected"):
        wam.Wavelet("haar", 1, 2).analysis(x)


def test_a_kernel_made_in_inference_mode_serves_gradients():
    frame, x = wam.Wavelet("db3", 2, 2), torch.randn(1, 1, 32, 32, dtype=torch.float64)
    _phases.cache_clear()
    with torch.inference_mode():
        frame.synthesis(frame.analysis(x))
    z = frame.analysis(x).map(lambda band: band.requires_grad_())
    frame.synthesis(z).sum().backward()
    assert all(band.grad is not None for band in z.bands.values())


def test_frequencies_found_in_inference_mode_serve_gradients():
    frame, x = wam.Fourier(2, 2), torch.randn(1, 1, 19, 23, requires_grad=True)  # of a shape that is not in the cache
    with torch.inference_mode():
        frame.synthesis(frame.analysis(x))
    frame.synthesis(frame.analysis(x)).square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach())


@pytest.mark.parametrize("frame", [wam.Fourier(2, 1), wam.Wavelet("db2", 2, 1)], ids=str)
def test_the_order_of_the_bands_does_not_matter(frame):
    z = frame.analysis(torch.randn(2, 3, 40))
    turned = wam.Coefficients(dict(reversed(z.bands.items())), z.shape)
    assert torch.equal(frame.synthesis(turned), frame.synthesis(z))


@pytest.mark.parametrize("frame, shape", [(wam.Wavelet("db4", 3, 1), (200,)), (wam.Wavelet("db2", 1, 3), (9, 8, 7))])
def test_a_lone_row_is_rounded_as_in_a_batch(frame, shape):
    z = frame.analysis(torch.randn(3, 1, *shape))
    assert torch.equal(frame.synthesis(z)[1:2], frame.synthesis(z[1]))
