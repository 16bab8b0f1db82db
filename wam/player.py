"""Sounds in a page: labelled players that hold their sound, need no kernel and no network, and change no level."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from html import escape

import soundfile
from IPython.display import HTML, display
from torch import Tensor

from wam.audio import Clip
from wam.book import framed


def players(sounds: Mapping[str, Tensor], rate: int, caption: str | None = None) -> None:
    """Show a player for every sound, two in a row where the page is wide enough.

    The samples are embedded as they are, in 16 bits: a sound that is louder is heard louder, and its level, the root
    mean square relative to full scale, stands beside its label. Bring sounds that are too quiet or too loud to a common
    level with :func:`wam.audio.levelled` first, all that are to be compared in one call. The format is WAV: Chromium
    loses its place in the last blocks of a FLAC file when a reader seeks there.

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
    >>> players({"tone": tone, "half of it": tone / 2}, rate=16000)  # doctest: +SKIP
    """
    if not sounds:
        raise ValueError("no sound to play: give at least one, by its label")
    items = "".join(_player(label, samples, rate) for label, samples in sounds.items())
    grid = "display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,18em),1fr));gap:.7em 1.2em"
    display(HTML(framed(f'<div role="list" style="{grid}">{items}</div>', caption)))


def _player(label: str, samples: Tensor, rate: int) -> str:
    try:
        clip = Clip(samples, rate)
        pcm = clip.pcm()
    except (TypeError, ValueError) as error:
        raise type(error)(f"{label}: {error}") from error
    rms = float(clip.samples.detach().double().square().mean().sqrt())
    level = f"{20 * math.log10(rms):.1f} dB RMS".replace("-", "\N{MINUS SIGN}") if rms else "silence"
    file = io.BytesIO()
    soundfile.write(file, pcm, rate, format="WAV", subtype="PCM_16")
    return (
        f'<div role="listitem"><div style="display:flex;justify-content:space-between;align-items:baseline;gap:.6em">'
        f'<span style="font-weight:600">{escape(label)}</span>'
        f'<span style="font-size:.85em;white-space:nowrap">{level}</span></div>'
        f'<audio controls preload="metadata" aria-label="{escape(label)}, {level}" '
        'style="display:block;width:100%;height:2.6em" '
        f'src="data:audio/wav;base64,{base64.b64encode(file.getvalue()).decode()}"></audio></div>'
    )
