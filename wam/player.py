"""Sounds in a page: labelled players that hold their sound, need no kernel and no network, and change no level."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from html import escape

import numpy as np
import soundfile
import torch
from IPython.display import HTML, display
from torch import Tensor
from torchaudio.functional import resample

from wam.audio import Clip
from wam.book import framed

LEVEL = 0.1
"""By how many decibels MP3 may change the level of a sound."""

ERROR = 15.0
"""How many decibels the error of MP3 must be below the sound."""

_FINER = {8000: 4, 11025: 4, 12000: 4, 16000: 2, 22050: 2, 24000: 2, 32000: 1, 44100: 1, 48000: 1}
"""The rates of MP3, and how many times each is taken: below 32 kHz the encoder cuts off the upper tenth of the band."""


def players(sounds: Mapping[str, Tensor], rate: int, caption: str | None = None) -> None:
    """Show a player for every sound, two in a row where the page is wide enough.

    A sound that is louder is heard louder: none is brought to another level, and the level of each, the root mean
    square relative to full scale, stands beside its label. Bring sounds that are too quiet or too loud to a common
    level with :func:`wam.audio.levelled` first, all that are to be compared in one call.

    The format is MP3 of variable rate, a quarter of the size of 16-bit samples in WAV; every browser plays it, without
    a gap at the start. A sound whose level it would change by more than :data:`LEVEL` decibels, whose error would be
    less than :data:`ERROR` decibels below it, or that it would not make smaller, is embedded as WAV, in 16 bits. (Not
    as FLAC: Chromium loses its place in the last blocks when a reader seeks there.)

    Parameters
    ----------
    sounds
        By label: ``(n,)`` or ``(channels, n)`` each, full scale 1; silence is fine.
    rate
        Samples per second.
    caption
        Shown below.

    Raises
    ------
    TypeError, ValueError
        For no sound, or one of which no :class:`wam.clips.Clip` can be made, or that has a peak above 1; the message
        names the label.

    Examples
    --------
    >>> import torch
    >>> from wam.player import players
    >>> tone = 0.5 * torch.sin(torch.arange(8000) * 0.3)
    >>> players({"tone": tone, "half of it": tone / 2}, rate=16000)
    <IPython.core.display.HTML object>
    """
    display(HTML(markup(sounds, rate, caption)))


def markup(sounds: Mapping[str, Tensor], rate: int, caption: str | None = None) -> str:
    """The HTML that :func:`players` shows.

    Raises
    ------
    TypeError, ValueError
        As :func:`players`.
    """
    if not sounds:
        raise ValueError("no sound to play: give at least one, by its label")
    items = "".join(_player(label, samples, rate) for label, samples in sounds.items())
    grid = "display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,18em),1fr));gap:.7em 1.2em"
    return framed(f'<div role="list" style="{grid}">{items}</div>', caption)


def _player(label: str, samples: Tensor, rate: int) -> str:
    try:
        clip = Clip(samples, rate)
        pcm = clip.pcm()
    except (TypeError, ValueError) as error:
        raise type(error)(f"{label}: {error}") from error
    rms = float(clip.samples.detach().double().square().mean().sqrt())
    level = f"{20 * math.log10(rms):.1f} dB RMS".replace("-", "\N{MINUS SIGN}") if rms else "silence"
    kind, data = _encoded(pcm, rate)
    return (
        f'<div role="listitem"><div style="display:flex;justify-content:space-between;align-items:baseline;gap:.6em">'
        f'<span style="font-weight:600">{escape(label)}</span>'
        f'<span style="font-size:.85em;white-space:nowrap">{level}</span></div>'
        f'<audio controls preload="metadata" aria-label="{escape(label)}, {level}" '
        'style="display:block;width:100%;height:2.6em" '
        f'src="data:audio/{kind};base64,{base64.b64encode(data).decode()}"></audio></div>'
    )


def _encoded(pcm: np.ndarray, rate: int) -> tuple[str, bytes]:
    """What the page holds of 16-bit samples ``(n, channels)``: ``"mpeg"`` and its file, else ``"wav"`` and its file."""
    wav = _file(pcm, rate, format="WAV", subtype="PCM_16")
    if rate not in _FINER or pcm.shape[1] > 2:
        return "wav", wav
    finer = _FINER[rate]
    x = resample(torch.from_numpy(pcm.T / 32768), 1, finer, lowpass_filter_width=32).T.numpy()
    kind = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE"}
    for compression in (0.2, 0.0):
        mp3 = _file(x, rate * finer, compression_level=compression, **kind)
        if len(mp3) < len(wav) and _true(x, soundfile.read(io.BytesIO(mp3), always_2d=True)[0]):
            return "mpeg", mp3
    return "wav", wav


def _true(x: np.ndarray, heard: np.ndarray) -> bool:
    """Whether what comes out is as long, as loud within :data:`LEVEL`, and its error at least :data:`ERROR` below."""
    if heard.shape != x.shape:
        return False
    power, after, error = (float(np.square(y).sum()) for y in (x, heard, heard - x))
    if power == 0 or after == 0:
        return power == after
    return error <= power / 10 ** (ERROR / 10) and abs(10 * math.log10(after / power)) <= LEVEL


def _file(samples: np.ndarray, rate: int, **kind) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **kind)
    return file.getvalue()
