"""Players: what they hold is what was given."""

import base64
import io
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
import torch

from wam import player

RATE = 16000
TONE = torch.sin(torch.arange(800) * 0.3)


@pytest.fixture
def page(monkeypatch):
    """The HTML of everything that is displayed."""
    shown = []
    monkeypatch.setattr(player, "display", lambda html: shown.append(html.data))
    return shown


class Tags(HTMLParser):
    """The attributes of every tag, and the text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def audio(html):
    return [attributes for tag, attributes in Tags(html).tags if tag == "audio"]


def decoded(attributes):
    kind, _, data = attributes["src"].partition(";base64,")
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), always_2d=True)
    return kind.removeprefix("data:audio/"), samples, rate


def decibels(ratio):
    return 10 * math.log10(ratio)


@pytest.mark.parametrize("channels, n, rate", [(1, 1, 8000), (1, 777, 10000), (2, 20000, 44100), (3, 4000, RATE)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_mp3_would_spoil_or_not_shorten_is_held_unchanged(page, channels, n, rate, dtype):
    """A sample, a rate that MP3 lacks, noise up to half the rate of 44.1 kHz, three channels."""
    sounds = {
        "loud": torch.rand(channels, n, dtype=dtype) * 2 - 1,
        "quiet": 0.01 * (torch.rand(channels, n, dtype=dtype) * 2 - 1),
    }
    assert player.players(sounds, rate) is None
    (html,) = page
    for attributes, samples in zip(audio(html), sounds.values(), strict=True):
        kind, again, seen = decoded(attributes)
        assert kind == "wav" and seen == rate and again.shape == (n, channels)
        np.testing.assert_allclose(again, samples.T.numpy(), rtol=0, atol=0.501 / 32768)


@pytest.mark.parametrize("channels, rate, held", [(1, RATE, 32000), (2, 11025, 44100), (1, 44100, 44100)])
@pytest.mark.parametrize("peak", [0.9, 0.009])
def test_mp3_is_in_place_as_loud_and_near(page, channels, rate, held, peak):
    n, finer = rate, held // rate
    t = torch.arange(n, dtype=torch.float64) / rate
    sound = torch.stack([torch.sin(2 * math.pi * (300 + 50 * c) * t) * (t > 0.5) for c in range(channels)])
    sound = peak * (sound + 0.1 * torch.randn(channels, n).double() / 4).clamp(-1, 1)
    player.players({"tone": sound}, rate)
    kind, again, seen = decoded(audio(page[0])[0])
    assert kind == "mpeg" and seen == held and again.shape == (n * finer, channels)
    again, given = again[::finer], sound.T.numpy()  # a gap at the start or another level would be an error here
    assert abs(decibels(np.square(again).mean() / np.square(given).mean())) < player.LEVEL + 0.05
    assert decibels(np.square(again - given).mean() / np.square(given).mean()) < 1 - player.ERROR
    assert len(audio(page[0])[0]["src"]) < (given.size * 2 + 44) * 4 / 3 / 2


def test_noise_in_the_top_octave_and_silence_come_through_mp3(page):
    noise = torch.randn(1, 4 * RATE)
    player.players({"noise": 0.2 * noise / noise.abs().max(), "silence": torch.zeros(RATE)}, RATE)
    (kind, again, _), (still, nothing, _) = map(decoded, audio(page[0]))
    power = np.abs(np.fft.rfft(again[:, 0])) ** 2  # of 0 to 16 kHz
    top, below = power[int(0.46 * len(power)) : int(0.49 * len(power))].mean(), power[: len(power) // 4].mean()
    assert (kind, still) == ("mpeg", "mpeg") and not nothing.any() and abs(decibels(top / below)) < 2


def test_players_have_native_controls_and_fetch_nothing(page):
    player.players({"one": TONE, "two": TONE / 2}, RATE)
    for attributes in audio(page[0]):
        assert "controls" in attributes and attributes["preload"] == "metadata" and "autoplay" not in attributes
    assert not re.search(r"https?:|<script|//", re.sub(r"base64,[^\"]*", "", page[0]))


def test_levels_and_labels_are_said(page):
    tone = torch.sin(2 * math.pi * torch.arange(1600) / 16)
    player.players({"tone": tone, "half": tone / 2, "nothing": 0 * tone}, RATE, "Three sounds <b>.")
    assert [a["aria-label"] for a in audio(page[0])] == ["tone, −3.0 dB RMS", "half, −9.0 dB RMS", "nothing, silence"]
    assert Tags(page[0]).text == [
        "tone",
        "−3.0 dB RMS",
        "half",
        "−9.0 dB RMS",
        "nothing",
        "silence",
        "Three sounds <b>.",
    ]
    assert "<figcaption" in page[0] and "<b>" not in page[0]


def test_labels_are_escaped(page):
    label = "</audio><script>alert(\"a\" + 'b')</script> & <x>"
    player.players({label: TONE}, RATE)
    assert {tag for tag, _ in Tags(page[0]).tags} == {"figure", "div", "span", "audio"}
    assert audio(page[0])[0]["aria-label"].startswith(label) and label in Tags(page[0]).text


@pytest.mark.parametrize(
    "samples, error, said",
    [
        (1.5 * TONE, ValueError, "bird: the peak 1.5 is above 1 .*wam.audio.levelled"),
        (TONE[None, None], ValueError, r"bird: samples must be .*\(1, 1, 800\)"),
        (torch.full((4,), math.nan), ValueError, "bird: 4 of 4 samples are NaN"),
        (torch.ones(4, dtype=torch.int16), TypeError, "bird: .*divide int16 by 32768"),
    ],
)
def test_what_cannot_be_played_is_named_and_nothing_is_shown(page, samples, error, said):
    with pytest.raises(error, match=said):
        player.players({"good": TONE, "bird": samples}, RATE)
    assert not page


def test_no_sound_is_an_error(page):
    with pytest.raises(ValueError, match="no sound to play"):
        player.players({}, RATE)
