"""Sound: clips and files, the front end, noise and mixtures, and what an interpretation lets through."""

import math
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from torch.autograd import gradcheck
from torchaudio.functional import melscale_fbanks

import wam
import wam.sounds
from wam import controls
from wam.audio import (
    Clip,
    LogMel,
    add_noise,
    bands,
    interpretation,
    levelled,
    mask,
    octaves,
    overlap,
    passed,
    snr,
)

RATE = 16000


def tone(frequency, seconds=0.5, rate=RATE, dtype=torch.float64):
    return torch.sin(2 * math.pi * frequency * torch.arange(round(seconds * rate), dtype=dtype) / rate)


def explained(batch=2, n=200, frame=None, channels=1):
    """An explanation with distinct attributions, of a score that is not linear."""
    x = torch.randn(batch, channels, n, dtype=torch.float64)
    weight = torch.randn(channels, n, dtype=torch.float64)
    score = lambda x: (torch.tanh(x * weight).sum((1, 2)) + (x * weight).square().mean((1, 2)))[:, None]  # noqa: E731
    return x, wam.saliency(score, x, 0, frame=frame or wam.Wavelet("db4", 3, 1))


# --- clips --------------------------------------------------------------------------------------------------


def test_a_clip_is_made_of_one_or_more_channels():
    clip = Clip(np.zeros(100, np.float32), 50)
    assert clip.samples.shape == (1, 100) and clip.seconds == 2.0 and clip.channels == 1
    assert Clip(torch.zeros(2, 7, dtype=torch.float64), np.int64(7)).samples.dtype == torch.float64
    assert repr(Clip(torch.zeros(2, 8000), 16000)) == "Clip(0.500 s, 16000 Hz, 2 channels)"
    array = np.ones(4)[::-1]
    clip = Clip(array, 1)
    array[0] = 5
    assert clip.samples.eq(1).all()


@pytest.mark.parametrize(
    "samples, rate, error, said",
    [
        (np.zeros(4, np.int16), 8000, TypeError, "divide int16 by 32768"),
        (torch.zeros(4, dtype=torch.int16), 8000, TypeError, "divide int16 by 32768"),
        (torch.zeros(4, dtype=torch.float16), 8000, TypeError, "torch.float16"),
        ([0.0, 1.0], 8000, TypeError, "list"),
        (torch.tensor([0.0, math.nan, math.inf]), 8000, ValueError, "2 of 3 samples are NaN or infinite"),
        (torch.zeros(0), 8000, ValueError, r"shape \(0,\)"),
        (torch.zeros(2, 0), 8000, ValueError, r"shape \(2, 0\)"),
        (torch.zeros(1, 1, 4), 8000, ValueError, r"shape \(1, 1, 4\)"),
        (torch.zeros(4), 0, ValueError, "rate must be an integer of at least 1, got 0"),
        (torch.zeros(4), 44100.5, ValueError, "rate must be an integer"),
    ],
)
def test_what_is_not_a_clip_is_said(samples, rate, error, said):
    with pytest.raises(error, match=said):
        Clip(samples, rate)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("n", [1, 777, 8000])
@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_files_without_loss_give_back_what_was_written(tmp_path, extension, n, channels):
    clip = Clip(torch.rand(channels, n) * 2 - 1, 22050)
    again = Clip.read(clip.write(tmp_path / f"sound.{extension}"))
    assert again.rate == 22050 and again.samples.shape == (channels, n) and again.samples.dtype == torch.float32
    torch.testing.assert_close(again.samples, clip.samples, rtol=0, atol=0.5001 / 32768)
    assert torch.equal(Clip.read(again.write(tmp_path / f"again.{extension}")).samples, again.samples)


@pytest.mark.parametrize("extension", ["ogg", "mp3"])
def test_files_with_loss_give_back_about_what_was_written(tmp_path, extension):
    clip = Clip(torch.stack([tone(440), 0.5 * tone(1000)]).float() * 0.8, RATE)
    again = Clip.read(clip.write(tmp_path / f"sound.{extension}"))
    assert again.rate == RATE and again.samples.shape == clip.samples.shape
    assert all(snr(a[None, None], b[None, None]) > 15 for a, b in zip(again.samples, clip.samples))


def test_the_extremes_of_16_bits(tmp_path):
    clip = Clip(torch.tensor([1.0, -1.0, 0.0, 32767 / 32768]), 8000)
    assert clip.pcm()[:, 0].tolist() == [32767, -32768, 0, 32767]
    with pytest.raises(ValueError, match="the peak 1.25 is above 1 and would clip.*levelled"):
        Clip(torch.tensor([0.5, -1.25]), 8000).write(tmp_path / "loud.wav")
    assert not (tmp_path / "loud.wav").exists()


@pytest.mark.parametrize("extension", ["wav", "aiff", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("kept", [0.98, 0.5, 0.2])
def test_a_file_that_is_cut_off_is_an_error_that_names_it(tmp_path, extension, kept):
    path = Clip(0.3 * torch.randn(2, 40000).clamp(-3, 3), 44100).write(tmp_path / f"sound.{extension}")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match=f"{path}.*cut off"):
        Clip.read(path)


@pytest.mark.parametrize("rate, length", [(8000, 288), (22050, 261), (44100, 522)])  # MPEG 2.5, 2 and 1
def test_an_mp3_that_does_not_count_its_frames(tmp_path, rate, length):
    path, noise = tmp_path / "sound.mp3", 0.1 * np.random.default_rng(0).standard_normal(rate)
    soundfile.write(path, noise, rate, compression_level=0.5, bitrate_mode="CONSTANT")
    mp3 = path.read_bytes()[length:]  # without its first frame, which holds the count
    assert mp3[:2] == path.read_bytes()[:2] and b"Xing" not in mp3 and b"Info" not in mp3
    tags = b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128), b"TAG" + bytes(125)
    for before, after in ((b"", b""), tags, (bytes(500), b"")):
        path.write_bytes(before + mp3 + after)
        assert Clip.read(path).seconds == pytest.approx(1, abs=0.2)
        path.write_bytes(before + mp3[:-100])
        with pytest.raises(ValueError, match="cut off"):
            Clip.read(path)


def test_an_mp3_whose_length_is_guessed_too_short_is_never_read_in_part(tmp_path):
    path = tmp_path / "sound.mp3"
    noise = np.random.default_rng(0).standard_normal(44100) * np.repeat((0.1, 0), 22050)
    soundfile.write(path, noise, 44100, bitrate_mode="VARIABLE")
    mp3 = path.read_bytes()
    path.write_bytes(mp3[mp3.index(mp3[:2], 40) :])
    try:
        assert Clip.read(path).seconds > 0.9
    except ValueError as error:
        assert "cut off or unreadable" in str(error)


@pytest.mark.parametrize("name", wam.sounds.ANIMALS)
def test_a_recording_that_is_cut_off_is_an_error(tmp_path, name):
    (path,) = (path for path in wam.sounds.recordings().paths if path.stem == name)
    whole, cut = path.read_bytes(), tmp_path / "cut.mp3"
    for kept in (len(whole) - 5000, len(whole) // 2):
        cut.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match="cut off"):
            Clip.read(cut)


def test_errors_of_reading_and_writing_name_the_file(tmp_path):
    empty, broken = tmp_path / "empty.wav", tmp_path / "nan.wav"
    soundfile.write(empty, np.zeros(0), 8000)
    soundfile.write(broken, np.array([0.0, np.nan]), 8000, subtype="FLOAT")
    (tmp_path / "x.raw").write_bytes(bytes(100))
    for path in (empty, broken, tmp_path / "x.raw"):
        with pytest.raises(ValueError, match=str(path)):
            Clip.read(path)
    clip = Clip(torch.zeros(3, 100), 96000)
    for path in (tmp_path / "a.xyz", tmp_path / "none" / "a.wav", tmp_path / "a.mp3"):
        with pytest.raises(ValueError, match=f"cannot write Clip.* to {path}"):
            clip.write(path)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 0, -1, "5", 1e-9])
def test_a_length_that_is_none(seconds):
    with pytest.raises(ValueError, match="seconds must be a number above 0"):
        Clip(torch.ones(100), 8000).fit(seconds)


def test_a_streamed_wav_of_unknown_length_is_whole(tmp_path):
    path = Clip(torch.rand(1000), 8000).write(tmp_path / "sound.wav")
    wav = bytearray(path.read_bytes())
    at = wav.index(b"data") + 4
    wav[at : at + 4] = wav[4:8] = b"\xff" * 4
    path.write_bytes(wav)
    assert Clip.read(path).samples.shape == (1, 1000)


def test_missing_and_unreadable_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no sound at .*nothing.wav"):
        Clip.read(tmp_path / "nothing.wav")
    for content in (b"", b"no sound at all" * 99):
        (tmp_path / "text.wav").write_bytes(content)
        with pytest.raises(ValueError, match="text.wav is not a sound"):
            Clip.read(tmp_path / "text.wav")


@pytest.mark.parametrize("old, new", [(44100, 16000), (48000, 16000), (16000, 44100)])
def test_resampling_keeps_a_tone(old, new):
    clip = Clip(0.5 * tone(1000, rate=old), old).resample(new)
    assert clip.rate == new and clip.samples.shape[1] == new // 2 and clip.samples.dtype == torch.float64
    inner = slice(new // 20, -new // 20)
    torch.testing.assert_close(clip.samples[0, inner], 0.5 * tone(1000, rate=new)[inner], rtol=0, atol=2e-3)


def test_resampling_removes_what_does_not_fit():
    assert Clip(tone(12000, rate=44100), 44100).resample(16000).samples[0, 200:-200].abs().max() < 0.01
    with pytest.raises(ValueError, match="rate must be an integer"):
        Clip(torch.ones(4), 8000).resample(0)


def test_fit_takes_the_stretch_with_most_energy_or_repeats():
    samples = 0.01 * torch.ones(2, 100)
    samples[1, 60:70] = 1
    clip = Clip(samples, 10)
    fitted = clip.fit(1.0)
    assert torch.equal(fitted.samples, samples[:, 60:70]) and fitted.rate == 10
    short = Clip(torch.arange(1.0, 4.0), 10)
    assert short.fit(0.7).samples.tolist() == [[1, 2, 3, 1, 2, 3, 1]]
    assert torch.equal(clip.fit(10.0).samples, samples)
    assert torch.equal(Clip(torch.zeros(9), 3).fit(1).samples, torch.zeros(1, 3))
    for seconds in (0, -1.0):
        with pytest.raises(ValueError, match="seconds must be a number above 0"):
            clip.fit(seconds)


def test_mono_and_normalised():
    clip = Clip(torch.tensor([[0.5, -0.25], [0.0, -0.25]]), 8000)
    assert clip.mono().samples.tolist() == [[0.25, -0.25]]
    assert clip.normalised().samples.tolist() == [[1.0, -0.5], [0.0, -0.5]]
    with pytest.raises(ValueError, match="silence cannot be normalised"):
        Clip(torch.zeros(4), 8000).normalised()


# --- the front end ------------------------------------------------------------------------------------------


def test_log_mel_is_its_definition():
    x, mel = torch.randn(2, 1, 3000, dtype=torch.float64), LogMel(RATE, n_fft=256, hop=100, mels=20).double()
    padded = np.pad(x[:, 0].numpy(), ((0, 0), (128, 128)), mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)
    frames = np.stack([padded[:, 100 * t : 100 * t + 256] * window for t in range(31)], axis=1)
    power = np.abs(np.fft.rfft(frames)) ** 2
    filters = melscale_fbanks(129, 0.0, RATE / 2, 20, RATE).double().numpy()
    expected = 10 * np.log10(np.maximum(power @ filters, 1e-10))
    assert mel(x).shape == (2, 1, 31, 20)
    np.testing.assert_allclose(mel(x)[:, 0].numpy(), expected, atol=1e-5)  # the window of torchaudio is in float32
    torch.testing.assert_close(LogMel(RATE, 256, 100, 20)(x.float()).double(), mel(x), rtol=0, atol=1e-2)


def test_the_gradient_of_log_mel_is_that_of_finite_differences():
    mel = LogMel(8000, n_fft=32, hop=20, mels=5).double()
    assert gradcheck(mel, torch.randn(2, 1, 70, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_silence_and_dc_have_finite_gradients(level):
    x = torch.full((1, 1, 4096), level, requires_grad=True)
    mel = LogMel(44100)(x)
    mel.sum().backward()
    assert mel.isfinite().all() and x.grad.isfinite().all()
    if not level:
        assert mel.eq(-100).all() and x.grad.eq(0).all()


def test_a_batch_is_as_its_samples_alone():
    x, mel = torch.randn(3, 1, 5000), LogMel(44100)
    torch.testing.assert_close(mel(x), torch.cat([mel(one[None]) for one in x]))


def test_full_precision_under_autocast():
    x, mel = torch.randn(1, 1, 4096), LogMel(44100)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, lost = mel(x), mel.decibels(mel.power(x)).transpose(2, 3)
    assert not torch.equal(lost, inside)
    assert inside.dtype == torch.float32 and torch.equal(inside, mel(x))


def test_what_log_mel_cannot_take():
    mel = LogMel(RATE, n_fft=400)
    assert mel.minimum == 400 and mel(torch.randn(1, 1, 400)).isfinite().all()
    with pytest.raises(
        ValueError, match=r"399 samples is too short: at least 400 samples \(0.025 s at 16000 Hz\) are needed; Clip.fit"
    ):
        mel(torch.randn(1, 1, 399))
    for shape in ((1, 2, 4096), (1, 4096), (4096,)):
        with pytest.raises(ValueError, match="one channel"):
            mel(torch.randn(shape))
    with pytest.raises(TypeError, match="float32, the sound in torch.float64"):
        mel(torch.randn(1, 1, 4096, dtype=torch.float64))


# --- noise and mixtures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("db", [0.0, 10.0, -5.0])
@pytest.mark.parametrize("channels", [1, 2])
def test_noise_has_the_ratio_asked_for(db, channels):
    clip = Clip(torch.rand(channels, 4000, dtype=torch.float64) * 0.3, RATE)
    noisy = add_noise(clip, db, seed=3)
    assert snr(noisy.samples[None], clip.samples[None]).item() == pytest.approx(db, abs=1e-9)
    noise = noisy.samples - clip.samples
    if db == 0:
        assert noise.square().mean().item() == pytest.approx(clip.samples.square().mean().item(), rel=1e-12)
    flat = noise / noise.std()
    assert abs(flat.mean()) < 0.05 and flat.pow(4).mean().item() == pytest.approx(3, abs=0.3)
    assert torch.equal(noisy.samples, add_noise(clip, db, seed=3).samples)
    assert not torch.equal(noisy.samples, add_noise(clip, db, seed=4).samples)


def test_noise_in_16_bits_is_clipped_to_their_steps():
    clip = Clip(0.9 * tone(300).float(), RATE)
    noisy, free = add_noise(clip, int16=True).samples, add_noise(clip).samples
    steps = noisy * 32768
    assert torch.equal(steps, steps.round()) and steps.max() == 32767 and steps.min() == -32768
    inside = free.abs() < 0.999
    assert free.abs().max() > 1
    torch.testing.assert_close(noisy[inside], free[inside], rtol=0, atol=0.51 / 32768)


def test_noise_needs_a_sound_and_a_ratio():
    with pytest.raises(ValueError, match="silence"):
        add_noise(Clip(torch.zeros(9), RATE))
    for snr_db in (math.nan, -1000, "0"):
        with pytest.raises(ValueError, match="snr_db must be a number of decibels from -300 to 300, got"):
            add_noise(Clip(torch.ones(9), RATE), snr_db)
    clip = Clip(torch.ones(9), RATE)
    assert torch.equal(add_noise(clip, seed=np.int64(3)).samples, add_noise(clip, seed=3).samples)
    with pytest.raises(ValueError, match="seed must be an integer of at least 0, got -1"):
        add_noise(clip, seed=-1)


def test_overlap_is_the_sum_of_the_normalised_clips():
    target, corrupting = Clip(torch.tensor([0.5, -0.25]), RATE), Clip(torch.tensor([0.1, 0.2]), RATE)
    torch.testing.assert_close(overlap(target, corrupting).samples, torch.tensor([[1.1, -0.3]]))
    torch.testing.assert_close(overlap(target, corrupting, 0.5).samples, torch.tensor([[1.25, 0.0]]))


@pytest.mark.parametrize(
    "other, said",
    [
        (Clip(torch.ones(8), 44100), r"16000 Hz and 44100 Hz: use corrupting.resample\(16000\)"),
        (Clip(torch.ones(2, 8), RATE), r"1 and 2: use .mono\(\)"),
        (Clip(torch.ones(9), RATE), r"8 and 9 samples: use .fit\(0.0005\)"),
        (Clip(torch.zeros(8), RATE), "silence cannot be normalised"),
    ],
)
def test_clips_that_do_not_fit_are_not_mixed(other, said):
    with pytest.raises(ValueError, match=said):
        overlap(Clip(torch.ones(8), RATE), other)


# --- ratios -------------------------------------------------------------------------------------------------


def test_the_ratio_of_known_mixtures():
    s, n = tone(500)[None, None], 0.1 * tone(1500)[None, None]
    assert snr(s + n, s).item() == pytest.approx(20, abs=1e-9)
    assert snr(torch.zeros_like(s), s).item() == 0
    assert snr(2 * s, s).item() == pytest.approx(0)
    assert snr(s, s).item() == math.inf
    assert snr(-s, s).item() == pytest.approx(-10 * math.log10(4))
    both = torch.cat([s + n, torch.zeros_like(s)])
    torch.testing.assert_close(snr(both, s.expand(2, -1, -1)), torch.tensor([20.0, 0.0], dtype=torch.float64))


def test_si_sdr_does_not_know_the_level():
    s, n = tone(500)[None, None], 0.1 * tone(1500)[None, None]  # orthogonal
    for scale in (1, 0.01, -7):
        assert snr(scale * (s + n), s, scale_invariant=True).item() == pytest.approx(20, abs=1e-6)
    e = torch.randn_like(s)
    a = (e * s).sum() / s.square().sum()
    expected = 10 * torch.log10((a * s).square().sum() / (a * s - e).square().sum())
    torch.testing.assert_close(snr(e, s, scale_invariant=True)[0], expected)
    assert snr(torch.zeros_like(s), s, scale_invariant=True).isnan().all()


def test_ratios_of_what_cannot_be_compared():
    x = torch.ones(2, 1, 5)
    with pytest.raises(ValueError, match=r"\(2, 1, 5\) and \(1, 1, 5\)"):
        snr(x, x[:1])
    with pytest.raises(ValueError, match=r"\(1, 5\) and \(1, 5\)"):
        snr(x[0], x[0])
    with pytest.raises(ValueError, match=r"samples \[1\] are silent"):
        snr(x, torch.stack([x[0], 0 * x[0]]))


# --- interpretations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame", [wam.Wavelet("haar", 3, 1), wam.Wavelet("sym8", 3, 1), wam.Fourier(2, 1), wam.Pixel()]
)
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.37, 1.0])
def test_the_top_share_is_what_reconstruct_keeps(frame, fraction):
    x, e = explained(frame=frame, channels=2)
    torch.testing.assert_close(interpretation(e, fraction=fraction), e.reconstruct(fraction))
    kept = mask(e, fraction=fraction).pack()[0]
    assert kept.flatten(1).sum(1).tolist() == [round(fraction * kept[0].numel())] * 2
    if fraction == 1:
        torch.testing.assert_close(interpretation(e, fraction=1.0), x)


def test_the_threshold_is_relative_to_the_largest_of_a_band_and_a_sample():
    _, e = explained(channels=2)
    found = mask(e, threshold=0.3)
    for key, band in e.attributions.bands.items():
        for magnitudes, kept in zip(band.abs(), found.bands[key]):
            assert torch.equal(kept.bool(), magnitudes >= 0.3 * magnitudes.max())
    assert all(band.sum().item() >= 2 for band in mask(e, threshold=1.0).bands.values())  # the largest of each sample
    torch.testing.assert_close(interpretation(e, threshold=0.3), e.frame.synthesis(found * e.coefficients))
    alone = mask(e[1], threshold=0.3)
    assert all(torch.equal(alone.bands[key], found.bands[key][1:]) for key in found.bands)


@pytest.mark.parametrize("rule", [{"fraction": 0.2}, {"threshold": 0.4}])
def test_a_soft_mask_is_one_half_at_the_cut(rule):
    _, e = explained()
    hard, soft = mask(e, **rule), mask(e, **rule, soft=True)
    kept, gain = hard.pack()[0].bool(), soft.pack()[0]
    assert (gain >= 0).all() and (gain <= 1).all()
    tolerance = 1e-12
    assert (gain[kept] >= 0.5 - tolerance).all() and (gain[~kept] < 0.5).all()
    tau = (e.attributions.abs().pack()[0][0] * hard.pack()[0][0]).flatten()
    tau = tau[tau > 0].min() if "fraction" in rule else None
    for key, band in e.attributions.bands.items():
        cut = tau if tau is not None else 0.4 * band[0].abs().max()
        torch.testing.assert_close(soft.bands[key][0], band[0] ** 2 / (band[0] ** 2 + cut**2))
    if "fraction" in rule:
        assert gain[0].sub(0.5).abs().min() < tolerance


def test_a_soft_mask_of_tiny_attributions_is_that_of_large_ones():
    _, e = explained()
    tiny = replace(e, attributions=e.attributions.to(torch.float32) * 1e-30)
    expected = mask(e, fraction=0.2, soft=True).to(torch.float32).pack()[0]
    torch.testing.assert_close(mask(tiny, fraction=0.2, soft=True).pack()[0], expected)


@pytest.mark.parametrize("rule", [{"fraction": 0.5}, {"fraction": 1.0}, {"threshold": 0.0}, {"threshold": 0.5}])
@pytest.mark.parametrize("soft", [False, True])
def test_nothing_is_kept_of_what_has_no_attribution(rule, soft):
    _, e = explained()
    first = e.attributions.map(lambda band: torch.cat([0 * band[:1], band[1:]]))
    half = interpretation(replace(e, attributions=first), **rule, soft=soft)
    assert half[0].eq(0).all() and half.isfinite().all()
    torch.testing.assert_close(half[1], interpretation(e, **rule, soft=soft)[1])
    if "threshold" in rule:  # a band alone
        bare = replace(e, attributions=e.attributions - e.attributions.level(2))
        assert mask(bare, **rule, soft=soft).level(2).pack()[0].eq(0).all()


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("soft", [False, True])
def test_a_mask_of_attributions_that_are_mostly_zero(fraction, soft):
    _, e = explained()
    few = replace(e, attributions=e.attributions.level(1))
    gain = mask(few, fraction=fraction, soft=soft).pack()[0]
    assert gain.isfinite().all() and (gain >= 0).all() and (gain <= 1).all()


@pytest.mark.parametrize("rule", [{"fraction": 0.1}, {"threshold": 0.2}, {"fraction": 0.1, "soft": True}])
def test_a_mask_is_linear_in_the_parts_of_a_mixture(rule):
    x, e = explained()
    part = torch.randn_like(x)
    one, other = (e.frame.synthesis(mask(e, **rule) * e.frame.analysis(p)) for p in (part, x - part))
    torch.testing.assert_close(one + other, interpretation(e, **rule))


def test_maps_of_one_channel_mask_all_channels():
    _, e = explained(channels=2)
    one = replace(e, attributions=e.attributions.map(lambda band: band.abs().sum(1, keepdim=True)))
    torch.testing.assert_close(interpretation(one, fraction=0.2), one.reconstruct(0.2))


@pytest.mark.parametrize(
    "rule", [{}, {"fraction": 0.1, "threshold": 0.1}, {"fraction": 1.1}, {"threshold": -0.1}, {"fraction": math.nan}]
)
def test_exactly_one_rule_between_0_and_1(rule):
    _, e = explained()
    with pytest.raises(ValueError, match="give a fraction or a threshold between 0 and 1"):
        interpretation(e, **rule)


# --- octaves and levels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["haar", "db4", "sym8", "bior4.4", "coif3"])
@pytest.mark.parametrize("n", [512, 777])
def test_bands_sum_to_the_sound(name, n):
    x, frame = torch.randn(2, 2, n, dtype=torch.float64), wam.Wavelet(name, 3, 1)
    parts = bands(frame.analysis(x), frame)
    assert parts.shape == (2, 4, 2, n)
    torch.testing.assert_close(parts.sum(1), x)
    torch.testing.assert_close(parts[:, 1], frame.synthesis(frame.analysis(x).level(3)))


def test_octaves_hold_the_tones_in_them():
    frame = wam.Wavelet("sym8", 4, 1)
    found = octaves(frame, RATE)
    assert found == {"approx": (0, 500), 4: (500, 1000), 3: (1000, 2000), 2: (2000, 4000), 1: (4000, 8000)}
    assert tuple(found) == frame.analysis(torch.randn(1, 1, RATE)).scales
    for scale, (low, high) in found.items():
        x = tone(math.sqrt(max(low, 50) * high))[None, None]
        power = bands(frame.analysis(x), frame).square().sum((0, 2, 3))
        assert power.argmax() == list(found).index(scale) and power.max() > 0.9 * power.sum()


def test_octaves_are_of_a_wavelet_in_one_dimension():
    for frame in (wam.Pixel(), wam.Wavelet("haar", 1, 2)):
        with pytest.raises(ValueError, match="ndim=1"):
            octaves(frame, RATE)


def values(dtype):
    width = 32 if dtype is np.float32 else 64
    numbers = st.floats(-1e6, 1e6, width=width)
    return arrays(dtype, array_shapes(min_dims=1, max_dims=2, max_side=6), elements=numbers)


SOUNDS = st.lists(values(np.float32) | values(np.float64), min_size=1, max_size=4)


@settings(deadline=None)
@given(SOUNDS, st.booleans(), st.sampled_from([0.1, 0.9, 1.0]))
def test_levelled_never_clips_and_reaches_the_peak(arrays, match, peak):
    sounds = [torch.from_numpy(array) for array in arrays]
    done = levelled(sounds, match=match, peak=peak)
    for before, after in zip(sounds, done):
        assert after.shape == before.shape and after.dtype == before.dtype and after.isfinite().all()
        assert bool(after.any()) <= bool(before.any()) and after.abs().max() <= torch.tensor(peak, dtype=after.dtype)
    if any(bool(before.any()) for before in sounds):
        assert max(after.abs().max().item() for after in done) == pytest.approx(peak, rel=1e-6)


@settings(deadline=None)
@given(st.lists(arrays(np.float64, 5, elements=st.floats(-1, 1).map(lambda v: round(v, 3))), min_size=1, max_size=4))
def test_levelled_keeps_or_matches_levels(arrays):
    sounds = [torch.from_numpy(array) for array in arrays]
    done = levelled(sounds)
    factors = [(after[before != 0] / before[before != 0]) for before, after in zip(sounds, done)]
    factor = torch.cat(factors)
    if len(factor):
        torch.testing.assert_close(factor, factor[:1].expand_as(factor))
    levels = [sound.square().mean().item() for sound in levelled(sounds, match=True) if sound.any()]
    assert levels == pytest.approx(levels[:1] * len(levels))


def test_what_cannot_be_levelled():
    for peak in (0.0, 1.1, -0.5):
        with pytest.raises(ValueError, match="peak must be"):
            levelled([torch.ones(3)], peak=peak)
    with pytest.raises(ValueError, match="NaN or infinite"):
        levelled([torch.ones(3), torch.tensor([math.nan])])
    assert levelled([]) == [] and levelled([torch.zeros(3)], match=True)[0].tolist() == [0, 0, 0]


def test_levelled_takes_sounds_alone():
    for sound in (torch.tensor([16000, -30000], dtype=torch.int16), Clip(torch.ones(9), RATE)):
        with pytest.raises(TypeError, match="tensors of floating point, such as clip.samples, got"):
            levelled([sound])
    with pytest.raises(ValueError, match="a sound has no samples"):
        levelled([torch.ones(9), torch.ones(0)])


def test_what_a_mask_lets_through_of_the_parts_of_a_mixture():
    """By hand: a mask of ones lets all through, of zeros nothing, and the oracle what is nearer to its target."""
    target, rest = torch.randn(2, 1, 64, dtype=torch.float64), torch.randn(2, 1, 64, dtype=torch.float64)
    frame = wam.Wavelet("haar", levels=3, ndim=1)
    e = wam.saliency(lambda x: x.sum(2), target + rest, frame=frame)
    gains = mask(e, fraction=0.5)
    ones = gains.map(torch.ones_like)
    torch.testing.assert_close(passed(ones, target, frame), torch.ones(2, dtype=torch.float64))
    assert not passed(0 * ones, target, frame).any()
    through = frame.synthesis(gains * frame.analysis(target)).square().sum((1, 2)) / target.square().sum((1, 2))
    torch.testing.assert_close(passed(gains, target, frame), through)
    best = controls.oracle(e, target)
    errors = []
    for fraction in torch.linspace(0, 1, 33).tolist():
        kept = interpretation(best, fraction=fraction)
        errors.append((kept - target).square().sum((1, 2)))
        other = interpretation(controls.random(e, 1), fraction=fraction)
        assert (errors[-1] <= (other - target).square().sum((1, 2)) + 1e-12).all()
    t, z = (c.pack()[0] for c in (frame.analysis(target), e.coefficients))
    ideal = (t.abs() > (z - t).abs()).sum((1, 2)) / 64
    assert (torch.stack(errors).argmin(0) / 32 - ideal).abs().max() < 1 / 31
