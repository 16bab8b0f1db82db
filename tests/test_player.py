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
    assert kind == "data:audio/wav"
    return soundfile.read(io.BytesIO(base64.b64decode(data)), always_2d=True)


@pytest.mark.parametrize("channels, n, rate", [(1, 1, 8000), (1, 777, RATE), (2, 4000, 44100)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_player_holds_its_sound_unchanged(page, channels, n, rate, dtype):
    sounds = {
        "loud": torch.rand(channels, n, dtype=dtype) * 2 - 1,
        "quiet": 0.01 * torch.rand(channels, n, dtype=dtype),
    }
    assert player.players(sounds, rate) is None
    (html,) = page
    for attributes, samples in zip(audio(html), sounds.values(), strict=True):
        again, seen = decoded(attributes)
        assert seen == rate and again.shape == (n, channels)
        np.testing.assert_allclose(again, samples.T.numpy(), rtol=0, atol=0.501 / 32768)


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
