"""Figures of sounds: tones and clicks are where they are, on scales that can be compared."""

import math

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import wam
from wam import spectrograms
from wam.audio import interpretation, octaves
from wam.spectrograms import FLOOR, comparison, importance, power, scalogram, share, spectrogram

RATE, N = 16000, 16000


def tone(frequency, n=N):
    return torch.sin(2 * math.pi * frequency * torch.arange(n, dtype=torch.float64) / RATE)


def click(seconds, n=N):
    x = torch.zeros(n, dtype=torch.float64)
    x[round(seconds * RATE)] = 1
    return x


def axis():
    return Figure().add_subplot()


def shown(ax):
    return np.asarray(ax.images[0].get_array())


def place(ax, khz):
    """The row of a picture for a height on its axis."""
    picture, (_, _, low, high) = shown(ax), ax.images[0].get_extent()
    return int((khz - low) / (high - low) * len(picture))


def test_power_is_that_of_the_spectrum():
    x = torch.randn(2, 3000, dtype=torch.float64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    padded = np.pad(x.numpy(), ((0, 0), (256, 256)))
    frames = np.stack([padded[:, 128 * t : 128 * t + 512] * window for t in range(3000 // 128 + 1)], axis=1)
    expected = (np.abs(np.fft.rfft(frames)) ** 2).sum(0).T
    np.testing.assert_allclose(power(x, RATE).numpy(), expected, atol=1e-9)
    assert power(x[:, :5], 44100).shape == (513, 1)
    with pytest.raises(ValueError, match=r"\(2, 1, 5\)"):
        power(torch.zeros(2, 1, 5), RATE)


def test_a_tone_and_a_click_are_where_they_are():
    ax = axis()
    spectrogram(ax, tone(3000), RATE, title="tone")
    picture = shown(ax)
    assert ax.get_title(loc="left") == "tone" and ax.get_xlim() == (0, 1) and ax.get_ylim() == (0, 8)
    assert picture[:, 20:-20].argmax(0).tolist() == [place(ax, 3.0)] * (picture.shape[1] - 40)
    ax = axis()
    spectrogram(ax, click(0.4), RATE)
    left, right, _, _ = ax.images[0].get_extent()
    column = int((0.4 - left) / (right - left) * shown(ax).shape[1])
    assert shown(ax)[:, column].min() > -6 and shown(ax)[:, column + 4].max() <= FLOOR


def test_the_reference_is_the_zero_of_the_scale():
    ax, bx, cx = axis(), axis(), axis()
    spectrogram(ax, tone(1000), RATE)
    spectrogram(bx, tone(1000) / 10, RATE)
    spectrogram(cx, tone(1000) / 10, RATE, reference=tone(1000))
    assert shown(ax).max() == shown(bx).max() == 0
    assert shown(cx).max() == pytest.approx(-20)
    assert {panel.images[0].get_clim() for panel in (ax, bx, cx)} == {(FLOOR, 0)}


def test_silence_and_stereo_and_a_single_sample_are_drawn():
    for samples in (torch.zeros(N), torch.stack([tone(500), tone(900)]), torch.ones(1), torch.zeros(1, 3)):
        ax = axis()
        spectrogram(ax, samples, RATE, reference=samples)
        assert np.isfinite(shown(ax)).all()
    stereo = torch.stack([tone(500), 0 * tone(500)])
    torch.testing.assert_close(power(stereo, RATE), power(tone(500), RATE))


def test_lines_surround_what_is_marked():
    ax, frequency, frames = axis(), 257, 126
    marked = torch.zeros(frequency, frames, dtype=torch.bool)
    marked[64:97, 50:76] = True  # 2 to 3 kHz, 0.4 to 0.6 s
    spectrogram(ax, tone(2500), RATE, marked=marked)
    (path,) = ax.collections[0].get_paths()
    low, high = path.vertices.min(0), path.vertices.max(0)
    np.testing.assert_allclose(low, [0.4, 2.0], atol=0.04)
    np.testing.assert_allclose(high, [0.6, 3.0], atol=0.04)
    with pytest.raises(ValueError, match=r"grid \(126, 257\), the spectrogram on \(257, 126\)"):
        spectrogram(axis(), tone(2500), RATE, marked=marked.T)


def test_share_finds_the_part_of_a_mixture():
    low, high = tone(1000), 0.1 * tone(5000)
    found = share(low, low + high, RATE)
    row = lambda frequency: round(frequency / 8000 * 256)  # noqa: E731
    assert found[row(1000), 10:-10].min() > 0.99 and found[row(5000), 10:-10].max() < 0.01
    assert (found >= 0).all() and (found <= 1).all()
    assert found[row(3000), 60] == 0  # nothing is heard there
    torch.testing.assert_close(share(0.5 * low, low, RATE)[row(1000), 60].item(), 0.75)
    assert share(-low, low, RATE).max() == 0 and share(0 * low, low, RATE).max() == 0
    assert share(low, 0 * low, RATE).max() == 0


def explained(x, weight, frame=None):
    frame = frame or wam.Wavelet("sym8", 5, 1)
    return wam.integrated_gradients(lambda x: (x * weight).sum((1, 2))[:, None], x, 0, frame=frame, steps=1)


def test_importance_lies_on_what_the_score_hears():
    """A score that listens to one tone of two, in half of the time."""
    heard = tone(3000) * (torch.arange(N) < N // 2)
    x = torch.stack([tone(3000) + tone(700), tone(700)])[:, None]
    e = explained(x, heard)
    found = importance(e, RATE, 0, fraction=0.06)
    assert found.shape == power(x[0], RATE).shape
    inside = found[round(3000 / 8000 * 256)]
    assert inside[10:50].min() > 0.5 and inside[76:-10].max() < 0.1
    assert found[round(700 / 8000 * 256)].max() < 0.5
    torch.testing.assert_close(found, share(interpretation(e, fraction=0.06)[0], x[0], RATE))
    assert torch.equal(importance(e, RATE), importance(e, RATE, fraction=0.1))
    assert not torch.equal(importance(e, RATE), importance(e, RATE, threshold=0.9))


@pytest.mark.parametrize("name", ["haar", "db4", "sym8"])
def test_the_scalogram_puts_a_click_at_its_time_and_a_tone_in_its_octave(name):
    frame = wam.Wavelet(name, 5, 1)
    for seconds in (0.25, 0.7):
        ax = axis()
        scalogram(ax, frame.analysis(click(seconds)[None, None]), RATE)
        left, right, bottom, top = ax.images[0].get_extent()
        assert (left, right, bottom, top) == (0, 1, 0, 6)
        finest = shown(ax)[-1]  # the origin is below: the last row is on top
        assert finest.argmax() / len(finest) == pytest.approx(seconds, abs=0.003)
    for frequency in (700, 1400, 2800, 5600):
        ax = axis()
        scalogram(ax, frame.analysis(tone(frequency)[None, None]), RATE)
        row = shown(ax)[:, 100:-100].mean(1).argmax()
        low, high = list(octaves(frame, RATE).values())[row]
        assert low < frequency < high
        assert [float(t.get_text().replace("k", "e3")) for t in ax.get_yticklabels()][row] == low


def test_the_ticks_of_a_scalogram_are_the_edges_of_the_octaves():
    frame, ax = wam.Wavelet("haar", 4, 1), axis()
    scalogram(ax, frame.analysis(torch.randn(1, 1, 4000)), 44100, title="z")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0", "1.4k", "2.8k", "5.5k", "11k", "22k"]
    assert ax.get_yticks().tolist() == [0, 1, 2, 3, 4, 5] and ax.get_title(loc="left") == "z"


def test_octaves_are_on_one_scale():
    frame = wam.Wavelet("sym8", 5, 1)
    z = frame.analysis((tone(3000) + 0.1 * tone(700))[None, None])
    scalogram(together := axis(), z, RATE)
    tops = z.scalogram()[0, 0].abs().amax(1)
    db = 20 * (tops / tops.max()).log10()
    assert FLOOR < db.min() < -10
    np.testing.assert_allclose(shown(together).max(1), 1 - db.numpy() / FLOOR, atol=1e-9)


def test_a_scalogram_of_nothing_and_of_what_has_no_octaves():
    ax = axis()
    scalogram(ax, wam.Wavelet("haar", 2, 1).analysis(torch.zeros(1, 1, 64)), RATE)
    assert shown(ax).max() == 0
    with pytest.raises(ValueError, match="octaves of a wavelet"):
        scalogram(axis(), wam.Pixel().analysis(torch.ones(1, 1, 64)), RATE)
    with pytest.raises(ValueError, match="one dimension"):
        scalogram(axis(), wam.Wavelet("haar", 1, 2).analysis(torch.ones(1, 1, 8, 8)), RATE)


def test_a_comparison_has_one_scale_and_says_what_it_shows():
    sounds = {"target": tone(1000), "mixture": tone(1000) + 0.1 * tone(3000), "nothing": torch.zeros(1, N)}
    mark = share(sounds["target"], sounds["mixture"], RATE)
    before = dict(matplotlib.rcParams)
    figure, alt = comparison(sounds, RATE, {"mixture": mark})
    assert dict(matplotlib.rcParams) == before
    panels = figure.axes[:3]
    assert [ax.get_title(loc="left") for ax in panels] == list(sounds)
    assert {ax.images[0].get_clim() for ax in panels} == {(FLOOR, 0)}
    assert [bool(ax.collections) for ax in panels] == [False, True, False]
    assert max(shown(ax).max() for ax in panels) == 0 and shown(panels[2]).max() < FLOOR
    assert "target: -3.0 dB RMS, strongest at 1.0 kHz." in alt and "nothing: silence." in alt
    assert "mixture: -3.0 dB RMS, strongest at 1.0 kHz; lines around parts with 99 % of its energy." in alt
    figure.draw_without_rendering()
    sizes = [t.get_fontsize() for ax in figure.axes for t in ax.get_yticklabels()]
    assert figure.get_size_inches()[0] == wam.plots.WIDTH and min(sizes) >= 10


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match="give sounds"):
        comparison({}, RATE)
    with pytest.raises(ValueError, match=r"\['a'\] and marks of \['b'\]"):
        comparison({"a": tone(100)}, RATE, {"b": power(tone(100), RATE)})


def test_the_grid_follows_the_rate():
    assert [spectrograms._window(rate) for rate in (8000, 16000, 22050, 44100, 48000)] == [256, 512, 512, 1024, 2048]
