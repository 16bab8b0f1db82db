"""Figures of sounds: spectrograms and scalograms, with what an explanation keeps marked in them.

Single panels go on a given axis (:func:`spectrogram`, :func:`scalogram`), whole figures (:func:`explanation`,
:func:`comparison`) come with an alternative text, all in the style of :mod:`wam.plots`. Levels are in dB, powers
relative to one reference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from torch import Tensor
from torch.nn.functional import adaptive_max_pool1d, avg_pool2d

from wam import words
from wam.audio import interpretation
from wam.coefficients import Coefficients
from wam.explanation import Explanation
from wam.layout import WIDTH, style
from wam.plots import describe
from wam.words import Categories

FLOOR = -70.0
"""The level in dB below which everything is black."""

MARK = "#4DFFA6"
"""The colour of the lines around what is marked, green as the boxes of the paper."""


def power(samples: Tensor, rate: int) -> Tensor:
    """The power of a sound in time and frequency, summed over channels: ``(frequencies, frames)``, in ``float64``.

    The squared short-time Fourier transform with Hann windows of about 32 ms (a power of 2), in steps of a quarter.

    Of ``(n,)`` or ``(channels, n)``, of any length; a ``ValueError`` for other axes: give one sample of a batch.
    """
    if samples.ndim not in (1, 2) or samples.numel() == 0:
        raise ValueError(f"expected one sound, (channels, n) or (n,), got shape {tuple(samples.shape)}")
    x, length = torch.atleast_2d(samples.detach().cpu().double()), _window(rate)
    window = torch.hann_window(length, dtype=torch.float64)
    spectrum = torch.stft(x, length, length // 4, window=window, pad_mode="constant", return_complex=True)
    return spectrum.abs().square().sum(0)


def share(part: Tensor, whole: Tensor, rate: int) -> Tensor:
    r"""Where in time and frequency a part accounts for the whole: in [0, 1], on the grid of :func:`power`.

    With the short-time Fourier transforms :math:`P` and :math:`X` of part and whole,

    .. math:: 1 - |X - P|^2 / |X|^2, \qquad \text{at least } 0,

    each power averaged over 5 x 5 cells: 1 where the part is the whole, 0 where it is silent or something else. Above
    1/2 the signal-to-noise ratio of the part in that cell is above 3 dB. 0 also where the whole is more than 50 dB
    below its loudest cell.
    """
    left, all_of_it = (avg_pool2d(power(x, rate)[None], 5, 1, 2)[0] for x in (whole - part, whole))
    heard = all_of_it > 1e-5 * all_of_it.max()
    return torch.where(heard, 1 - left / all_of_it, 0.0).clamp(min=0)


def importance(e: Explanation, rate: int, sample: int = 0, **rule: Any) -> Tensor:
    """Where the important coefficients lie in time and frequency: the :func:`share` of the interpretation.

    What is marked is what is heard of the explained sound in :func:`wam.audio.interpretation`. It says where the chosen
    coefficients carry the sound, not how large the attributions are; for these, draw :func:`scalogram`.

    Parameters
    ----------
    rule
        Which coefficients are important, as for :func:`wam.audio.mask`; ``fraction=0.1`` by default.
    """
    one = e[sample]
    x = one.frame.synthesis(one.coefficients)
    return share(interpretation(one, **(rule or {"fraction": 0.1}))[0], x[0], rate)


def spectrogram(
    ax: Axes,
    samples: Tensor,
    rate: int,
    *,
    title: str | None = None,
    reference: Tensor | None = None,
    marked: Tensor | None = None,
) -> None:
    """Draw the level of a sound in time and frequency.

    Parameters
    ----------
    samples
        ``(n,)`` or ``(channels, n)``.
    reference
        The sound whose loudest cell is 0 dB, so that several panels have one scale; by default ``samples`` itself.
    marked
        What to draw a line around, on the grid of :func:`power`: true cells, or a map in [0, 1] where it is above 1/2,
        such as :func:`share` and :func:`importance` return.

    Raises
    ------
    ValueError
        If the sound has other axes, or ``marked`` is on another grid.
    """
    level, step = power(samples, rate), _window(rate) / 4 / rate
    top = float((level if reference is None else power(reference, rate)).max()) or 1.0
    khz = rate / 2000
    x, y = (level.shape[1] - 0.5) * step, khz * (1 + 0.5 / (level.shape[0] - 1))
    db = 10 * (level / top).clamp(min=1e-30).log10()
    extent = (-step / 2, x, khz - y, y)
    ax.imshow(db.numpy(), origin="lower", aspect="auto", extent=extent, vmin=FLOOR, vmax=0, interpolation="bilinear")
    if marked is not None and marked.shape != level.shape:
        raise ValueError(f"marked is on a grid {tuple(marked.shape)}, the spectrogram on {tuple(level.shape)}")
    if marked is not None and min(level.shape) > 1:  # one frame has no outline
        grid = np.arange(level.shape[1]) * step, np.linspace(0, khz, level.shape[0])
        lines = ax.contour(*grid, marked.double().cpu().numpy(), [0.5], colors=MARK, linewidths=0.9)
        lines.set_path_effects([withStroke(linewidth=2.0, foreground="black", alpha=0.6)])
    ax.set(xlim=(0, samples.shape[-1] / rate), ylim=(0, khz), xlabel="seconds", ylabel="kHz")
    _title(ax, title)


def scalogram(
    ax: Axes,
    coefficients: Coefficients,
    rate: int,
    sample: int = 0,
    *,
    title: str | None = None,
) -> None:
    """Draw coefficients or attributions of a sound, in dB down to :data:`FLOOR`: a row per octave, the highest on top.

    Parameters
    ----------
    coefficients
        What to show: absolute values summed over channels, the largest where several share a point of the picture.
    rate
        Samples per second; the ticks are the edges of the octaves, and the lowest row is the approximation.

    Raises
    ------
    ValueError
        If the coefficients are not those of a wavelet in one dimension.
    """
    shown = coefficients[sample].abs().scalogram()[0].sum(0).detach().cpu().double()
    length, scales = shown.shape[1], coefficients.scales
    if scales[0] != "approx":
        raise ValueError(f"a scalogram needs the octaves of a wavelet, not the scales {scales}")
    rows = adaptive_max_pool1d(shown, min(length, 800))
    picture = (20 * (rows / (rows.max() or 1)).clamp(min=1e-30).log10() / -FLOOR + 1).clamp(0, 1)
    extent = (0, length / rate, 0, len(scales))
    ax.imshow(picture.numpy(), origin="lower", aspect="auto", extent=extent, vmin=0, vmax=1, interpolation="nearest")
    edges = [0.0, *(rate / 2 / 2**level for level in range(len(scales) - 1, -1, -1))]
    ax.set_yticks(range(len(scales) + 1), [f"{f / 1000:.2g}k" if f >= 1000 else f"{f:.0f}" for f in edges])
    ax.set(xlabel="seconds", ylabel="Hz")
    ax.hlines(range(1, len(scales)), 0, length / rate, color="0.45", linewidth=0.5)
    _title(ax, title)


def explanation(e: Explanation, rate: int, *, categories: Categories = None) -> tuple[Figure, str]:
    """The explanation of one sound: two scalograms, of the sound and of what matters for it."""
    with rc_context(style()):
        figure = Figure(figsize=(WIDTH, 4.6))
        upper, lower = figure.subplots(2, 1, sharex=True)
        scalogram(upper, e.coefficients, rate, title="the sound: coefficients |z|")
        scalogram(lower, e.attributions, rate, title=f"what matters for it: |γ|, {e.method}")
        upper.set_xlabel("")
        figure.suptitle(words.heading(e, categories), fontweight="bold")
    text = "Two scalograms, an octave per row: the sound, and the attributions."
    return figure, f"{describe(e, 0, categories)} {text}"


def comparison(
    sounds: Mapping[str, Tensor], rate: int, marked: Mapping[str, Tensor] | None = None
) -> tuple[Figure, str]:
    """Spectrograms of several sounds, one below the other on one scale: 0 dB is the loudest cell of all.

    Parameters
    ----------
    sounds
        By label, ``(n,)`` or ``(channels, n)`` each, such as target, mixture, interpretation and removed part.
    marked
        By label, what to draw a line around; see :func:`spectrogram`.

    Raises
    ------
    ValueError
        For no sound, or a mark of none of them.

    Examples
    --------
    >>> import torch
    >>> from wam.spectrograms import comparison
    >>> tone = torch.sin(torch.arange(8000) * 0.785)
    >>> figure, alt = comparison({"tone": tone, "quieter": tone / 10}, rate=16000)
    >>> print(alt.partition(". ")[2])
    tone: -3.0 dB RMS, strongest at 2.0 kHz. quieter: -23.0 dB RMS, strongest at 2.0 kHz.
    """
    marked = marked or {}
    if not sounds or not set(marked) <= set(sounds):
        raise ValueError(f"give sounds, and marks of some of them: got {list(sounds)} and marks of {list(marked)}")
    loudest = max(sounds.values(), key=lambda samples: float(power(samples, rate).max()))
    with rc_context(style()):
        figure = Figure(figsize=(WIDTH, 0.55 + 1.45 * len(sounds)))
        axes = figure.subplots(len(sounds), 1, sharex=True, squeeze=False)[:, 0]
        for ax, (label, samples) in zip(axes, sounds.items()):
            spectrogram(ax, samples, rate, title=label, reference=loudest, marked=marked.get(label))
            ax.label_outer()
        bar = figure.colorbar(axes[0].images[0], ax=list(axes), aspect=12 * len(sounds), pad=0.02, label="dB")
        bar.outline.set_visible(False)
    text = f"Spectrograms, one below the other, up to {rate / 2000:g} kHz, on one scale of {-FLOOR:.0f} dB. "
    return figure, text + " ".join(_described(label, x, rate, marked.get(label)) for label, x in sounds.items())


def _described(label: str, samples: Tensor, rate: int, marked: Tensor | None) -> str:
    level = power(samples, rate)
    if not float(level.max()):
        return f"{label}: silence."
    rms = round(10 * math.log10(float(samples.detach().double().square().mean())), 1) + 0.0
    strongest = rate / 2000 * int(level.sum(1).argmax()) / (len(level) - 1)
    text = f"{label}: {rms:.1f} dB RMS, strongest at {strongest:.1f} kHz"
    if marked is None:
        return f"{text}."
    inside = level[marked.to(level) > 0.5].sum() / level.sum()
    return f"{text}; lines around parts with {100 * float(inside):.0f} % of its energy."


def _window(rate: int) -> int:
    return 2 ** max(round(math.log2(0.032 * rate)), 2)


def _title(ax: Axes, title: str | None) -> None:
    ax.grid(False)
    ax.set_title(title or "", loc="left", pad=4)
