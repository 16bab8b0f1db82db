"""A piece of sound: samples and their rate, read from files and written to them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
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
        ``(channels, n)``, or ``(n,)`` for one channel; ``float32`` or ``float64``, a tensor or an array (copied); full
        scale is 1.
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
            raise TypeError(
                f"samples must be float32 or float64 of full scale 1, got {kind}; divide int16 by 32768: x / 32768.0"
            )
        if x.ndim not in (1, 2) or x.numel() == 0:
            raise ValueError(f"samples must be (channels, n) or (n,), and some; got shape {tuple(x.shape)}")
        if not bool(x.isfinite().all()):
            raise ValueError(
                f"{int((~x.isfinite()).sum())} of {x.numel()} samples are NaN or infinite; repair the sound"
            )
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
            If it is not a sound, or is cut off. An MP3 is known to be cut off by more than a frame (26 ms) if it begins
            with a count of its frames, as most encoders write it; without one it looks whole.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no sound at {path}")
        try:
            with soundfile.SoundFile(path) as file:
                samples, frames, rate = file.read(dtype="float32", always_2d=True), file.frames, file.samplerate
                log, mp3 = file.extra_info, file.format == "MP3" or file.subtype.startswith("MPEG")
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{path} is not a sound, or it is cut off or damaged: {error}") from error
        counted = mp3 and any(mark in path.read_bytes()[:4096] for mark in (b"Xing", b"Info", b"VBRI"))
        if (counted and len(samples) < frames - 1152) or _CUT.search(log):
            raise ValueError(f"{path} is cut off or unreadable after {len(samples) / rate:.3f} s; get a whole file")
        return cls(torch.from_numpy(samples.T.copy()), rate)

    def write(self, path: str | os.PathLike) -> Path:
        """Write :meth:`pcm` to a file in the format that its name says, without loss in ``.wav`` and ``.flac``."""
        path, pcm = Path(path), self.pcm()  # libsndfile 1.2.2 spoils two channels of integers in an MP3
        soundfile.write(path, pcm / 32768 if path.suffix.lower() == ".mp3" else pcm, self.rate)
        return path

    def pcm(self) -> np.ndarray:
        """The samples in 16 bits, ``(n, channels)``, steps of 1/32768: what was read from 16 bits comes out unchanged.

        Raises
        ------
        ValueError
            If the peak is above 1 and would be clipped.
        """
        peak = float(self.samples.abs().max())
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
        length = positive(round(seconds * self.rate), "the number of samples")
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


_CUT = re.compile(r"^ ?(?:data|SSND) : (?!4294967295).*should be|Ogg: .*(?:lacks|Junk)", re.MULTILINE)
"""What libsndfile notes about a WAV, AIFF or Ogg file that ends early; 2**32 - 1 stands for a length not known."""
