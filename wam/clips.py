"""A piece of sound: samples and their rate, read from files and written to them."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor
from torchaudio.functional import resample

from wam.checks import positive


@dataclass(frozen=True, eq=False)
class Clip:
    """A piece of sound; nothing about it changes unless it is asked for.

    Parameters
    ----------
    samples
        ``(channels, n)``, or ``(n,)`` for one channel; ``float32`` or ``float64``, a tensor, or an array, which is
        copied; full scale is 1.
    rate
        Samples per second.

    Raises
    ------
    TypeError
        For samples that are not floating point; integers have to be divided by their full scale.
    ValueError
        For no samples, NaN or infinite ones, other axes, or a rate that is not a positive integer.

    Examples
    --------
    >>> import torch
    >>> from wam.audio import Clip
    >>> clip = Clip(torch.sin(torch.arange(16000) * 0.2), rate=16000)
    >>> clip.channels, clip.seconds, clip.resample(8000).samples.shape
    (1, 1.0, torch.Size([1, 8000]))
    """

    samples: Tensor
    rate: int

    def __post_init__(self) -> None:
        given = self.samples
        x = torch.from_numpy(np.array(given, order="C")) if isinstance(given, np.ndarray) else given
        if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64):
            kind = x.dtype if isinstance(x, Tensor) else type(given).__name__
            fix = "; divide int16 by 32768: x / 32768.0" if isinstance(x, Tensor) else ", no tensor and no array"
            raise TypeError(f"samples must be float32 or float64 of full scale 1, got {kind}{fix}")
        if x.ndim not in (1, 2) or x.numel() == 0:
            raise ValueError(f"samples must be (channels, n) or (n,), and some; got shape {tuple(x.shape)}")
        if not bool(x.isfinite().all()):
            bad = int((~x.isfinite()).sum())
            raise ValueError(f"{bad} of {x.numel()} samples are NaN or infinite; repair the sound")
        object.__setattr__(self, "samples", x if x.ndim == 2 else x[None])
        object.__setattr__(self, "rate", positive(self.rate, "rate"))

    def __repr__(self) -> str:
        return f"Clip({self.seconds:.3f} s, {self.rate} Hz, {self.channels} channel{'s' * (self.channels > 1)})"

    @property
    def seconds(self) -> float:
        """The length."""
        return self.samples.shape[1] / self.rate

    @property
    def channels(self) -> int:
        """The number of channels."""
        return self.samples.shape[0]

    @classmethod
    def read(cls, path: str | os.PathLike) -> Clip:
        """Read a file that libsndfile reads (WAV, FLAC, Ogg, MP3, ...) as ``float32``, at its own rate.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not a sound, or is cut off (WAV, AIFF, FLAC, Ogg and MP3 are checked; an MP3 that has no count of
            its frames and ends between two of them looks whole); and as for :class:`Clip`. The message names the file.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no sound at {path}")
        try:
            with soundfile.SoundFile(path) as file:
                samples, frames, rate = file.read(dtype="float32", always_2d=True), file.frames, file.samplerate
                log, mp3 = file.extra_info, file.format == "MP3" or file.subtype.startswith("MPEG")
        except (soundfile.LibsndfileError, TypeError) as error:
            raise ValueError(f"{path} is not a sound, or it is cut off or damaged: {error}") from error
        if _ends_early(path.read_bytes(), len(samples), frames) if mp3 else _CUT.search(log):
            raise ValueError(f"{path} is cut off or unreadable after {len(samples) / rate:.3f} s; get a whole file")
        try:
            return cls(torch.from_numpy(samples.T.copy()), rate)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def write(self, path: str | os.PathLike) -> Path:
        """Write :meth:`pcm`, 16 bits, to a file in the format that its name says.

        Raises
        ------
        ValueError
            If the peak is above 1, or the file cannot be written so: there is no such folder, or its format is unknown
            or takes no such rate or channels.
        """
        path, pcm = Path(path), self.pcm()
        try:  # libsndfile 1.2.2 spoils two channels of integers in an MP3
            soundfile.write(path, pcm / 32768 if path.suffix.lower() == ".mp3" else pcm, self.rate)
        except (soundfile.LibsndfileError, TypeError, ValueError) as error:
            raise ValueError(f"cannot write {self} to {path}: {error}; .wav takes every rate and channel") from error
        return path

    def pcm(self) -> np.ndarray:
        """The samples in 16 bits, ``(n, channels)``, steps of 1/32768: what was read from 16 bits comes out unchanged.

        Raises
        ------
        ValueError
            If the peak is above 1 and would be clipped.
        """
        peak = float(self.samples.detach().abs().max())
        if peak > 1:
            raise ValueError(f"the peak {peak:.4g} is above 1 and would clip; bring it down with wam.audio.levelled")
        return (self.samples.detach().T * 32768).round().clamp(-32768, 32767).to(torch.int16).cpu().numpy()

    def resample(self, rate: int) -> Clip:
        """At another rate, by windowed sinc interpolation (torchaudio); frequencies above half the rate are lost."""
        return Clip(resample(self.samples, self.rate, positive(rate, "rate")), rate)

    def mono(self) -> Clip:
        """One channel, the mean of all."""
        return Clip(self.samples.mean(0, keepdim=True), self.rate)

    def fit(self, seconds: float) -> Clip:
        """Exactly so long: the stretch with the most energy, or if the clip is shorter, repeated from its start."""
        if not isinstance(seconds, Real) or not 0 < seconds < float("inf") or round(seconds * self.rate) < 1:
            raise ValueError(f"seconds must be a number above 0, at least one sample at {self.rate} Hz: {seconds!r}")
        length = round(seconds * self.rate)
        if length >= self.samples.shape[1]:
            return Clip(self.samples.repeat(1, -(-length // self.samples.shape[1]))[:, :length], self.rate)
        energy = torch.nn.functional.pad(self.samples.double().square().sum(0).cumsum(0), (1, 0))
        start = int((energy[length:] - energy[:-length]).argmax())
        return Clip(self.samples[:, start : start + length], self.rate)

    def normalised(self) -> Clip:
        """Divided by the largest magnitude, as the authors' code does; a ValueError for silence."""
        peak = self.samples.abs().max()
        if peak == 0:
            raise ValueError("silence cannot be normalised: every sample is 0")
        return Clip(self.samples / peak, self.rate)


def lasting(samples: int, rate: int) -> str:
    """So many samples and, rounded up, how long they are, for messages.

    >>> from wam.clips import lasting
    >>> lasting(65024, 44100)
    '65024 samples (1.475 s at 44100 Hz)'
    """
    return f"{samples} samples ({math.ceil(1000 * samples / rate) / 1000:g} s at {rate} Hz)"


_CUT = re.compile(r"^ ?(?:data|SSND) : (?!(?:4294967295|21474\d{5})\b).*should be|Ogg: .*(?:lacks|Junk)", re.MULTILINE)
"""What libsndfile notes about a WAV, AIFF or Ogg file that ends early; near 2**31 and 2**32: a length not known."""


def _ends_early(mp3: bytes, samples: int, expected: int) -> bool:
    """Whether an MP3 stops within a frame, or fewer samples were decoded than its header or its frames hold."""
    first, count = 0, 0
    while mp3[first : first + 3] == b"ID3":
        first += 10 + sum((byte & 127) << shift for byte, shift in zip(mp3[first + 6 : first + 10], (21, 14, 7, 0)))
    while first < len(mp3) and not ((length := _frame(mp3, first)) and _frame(mp3, first + length)):
        first = mp3.find(b"\xff", first + 1) % (len(mp3) + 1)  # -1, none, becomes the end
    counted, end = any(mark in mp3[first : first + 50] for mark in (b"Xing", b"Info", b"VBRI")), first
    while length := _frame(mp3, end):
        end, count = end + length, count + 1
    held = count * (1152 if mp3[first + 1 : first + 2] >= b"\xf8" else 576)  # MPEG 1, or 2 and 2.5
    return end > len(mp3) or (counted and samples < expected - 1152) or samples < held - 6 * 1152  # less the padding


def _frame(mp3: bytes, at: int) -> int:
    """The length in bytes of the layer III frame whose header is there, 0 for none."""
    head = int.from_bytes(mp3[at : at + 4])
    version, bits, speed = head >> 19 & 3, head >> 12 & 15, head >> 10 & 3  # version 3 is MPEG 1, 2 is MPEG 2, 0 is 2.5
    if head >> 21 != 0x7FF or version == 1 or head >> 17 & 3 != 1 or not 0 < bits < 15 or speed == 3:
        return 0
    rate = (44100, 48000, 32000)[speed] >> (2, 0, 1, 0)[version]
    return (144000 if version == 3 else 72000) * _KILOBITS[version == 3][bits] // rate + (head >> 9 & 1)


_KILOBITS = (
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)  # of MPEG 2 and of MPEG 1, layer III
