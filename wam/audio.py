r"""Sound: clips, a log-mel front end, noise and mixtures, and what an explanation sounds like.

A sound is a batch ``(batch, channels, n)`` of one spatial axis, which every frame, explanation and metric of this
package takes as it is; full scale is 1. Levels are in decibels, :math:`10 \log_{10}` of a ratio of powers.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

from wam.checks import every, positive
from wam.clips import Clip, lasting
from wam.coefficients import Coefficients, Scale
from wam.explanation import Explanation, top
from wam.frames import Frame, Wavelet
from wam.precision import full_precision


class LogMel(nn.Module):
    """The log-mel spectrogram as a differentiable module: mel bands of the power spectrum in decibels.

    ``(batch, 1, n)`` to ``(batch, 1, frames, mels)``, ``frames = n // hop + 1``. Powers below 1e-10 (-100 dB) are held
    there and have no gradient, so silence has finite values and gradients. Runs in full precision under autocast.
    Bands narrower than the grid of frequencies are empty and stay at -100 dB (one of 128 at 44.1 kHz and 1024 samples).

    Parameters
    ----------
    rate
        Samples per second.
    n_fft, hop, mels
        Length and step of the Hann windows in samples, and number of bands; as the authors' code by default. The
        attribute ``minimum`` is one window, the least number of samples.

    Raises
    ------
    TypeError, ValueError
        From the call: inputs of another dtype than the module, another shape, or shorter than ``minimum`` samples.

    Examples
    --------
    >>> import torch
    >>> from wam.audio import LogMel
    >>> LogMel(44100)(torch.randn(2, 1, 44100)).shape
    torch.Size([2, 1, 87, 128])
    """

    def __init__(self, rate: int, n_fft: int = 1024, hop: int = 512, mels: int = 128) -> None:
        super().__init__()
        self.rate = positive(rate, "rate")
        self.minimum, self.hop = positive(n_fft, "n_fft", least=2), positive(hop, "hop")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="At least one mel filterbank")
            self.power = MelSpectrogram(rate, n_fft, hop_length=self.hop, n_mels=positive(mels, "mels"))
        self.decibels = AmplitudeToDB("power", top_db=None)

    def forward(self, x: Tensor) -> Tensor:
        """Spectrograms ``(batch, 1, frames, mels)`` of waveforms ``(batch, 1, n)``."""
        waveforms(x, self.minimum, self.rate, self.power.mel_scale.fb)
        with full_precision(x.device):
            return self.decibels(self.power(x)).transpose(2, 3)


def waveforms(x: Tensor, minimum: int, rate: int, like: Tensor) -> Tensor:
    """``x``, if it is a batch ``(batch, 1, n)`` that a front end takes, long enough and in the dtype of its tables."""
    if x.ndim != 3 or x.shape[1] != 1:
        raise ValueError(f"expected one channel, (batch, 1, n), got shape {tuple(x.shape)}; see Clip.mono()")
    if x.shape[2] < minimum:
        raise ValueError(
            f"a sound of {x.shape[2]} samples is too short: at least {lasting(minimum, rate)} are needed; "
            "Clip.fit(seconds) repeats a short clip"
        )
    if x.dtype != like.dtype:
        raise TypeError(f"the front end is in {like.dtype}, the sound in {x.dtype}; convert one with .to({like.dtype})")
    return x


def add_noise(clip: Clip, snr_db: float = 0.0, *, seed: int = 0, int16: bool = False) -> Clip:
    r"""Add white Gaussian noise, at 0 dB of the same root mean square as the clip (Fig. 7 of the paper).

    The noise is scaled so that :math:`10 \log_{10} (|x|^2 / |noise|^2)` is ``snr_db`` over the whole clip, to rounding.

    Parameters
    ----------
    seed
        Of the noise, an integer of at least 0. It is drawn on the CPU: equal on every device.
    int16
        Clip the sum to the range of 16-bit samples and round it to their steps, as the figure does. Noise may exceed
        full scale otherwise.

    Raises
    ------
    ValueError
        For silence, to which no noise has a ratio, or a ratio that is not finite.
    """
    x = clip.samples
    if not isinstance(snr_db, Real) or not -300 <= snr_db <= 300:
        raise ValueError(f"snr_db must be a number of decibels from -300 to 300, got {snr_db!r}")
    if not bool(x.any()):
        raise ValueError("noise cannot be scaled to silence: every sample is 0")
    generator = torch.Generator().manual_seed(positive(seed, "seed", least=0))
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.device)
    y = x.double() + noise * (x.double().norm() / noise.norm() * 10 ** (-snr_db / 20))
    y = (y * 32768).round().clamp(-32768, 32767) / 32768 if int16 else y
    return Clip(y.to(x), clip.rate)


def overlap(target: Clip, corrupting: Clip, gain: float = 0.2) -> Clip:
    """Mix two clips, each divided by its largest magnitude: ``target + gain * corrupting``, as the authors' code does.

    The sum may exceed full scale, up to ``1 + gain``. A ``ValueError`` if they differ in rate, channels or length (the
    message says how to make them equal), or one is silent.
    """
    if target.rate != corrupting.rate:
        rates = f"{target.rate} Hz and {corrupting.rate} Hz"
        raise ValueError(f"the clips have different rates, {rates}: use corrupting.resample({target.rate})")
    if target.channels != corrupting.channels:
        both = f"{target.channels} and {corrupting.channels}"
        raise ValueError(f"the clips have different numbers of channels, {both}: use .mono() on both")
    if target.samples.shape != corrupting.samples.shape:
        both = f"{target.samples.shape[1]} and {corrupting.samples.shape[1]} samples"
        raise ValueError(f"the clips have different lengths, {both}: use .fit({target.seconds:g}) on both")
    return Clip(target.normalised().samples + gain * corrupting.normalised().samples, target.rate)


def snr(estimate: Tensor, target: Tensor, *, scale_invariant: bool = False) -> Tensor:
    r"""The signal-to-noise ratio of every sample of a batch, in dB: :math:`10 \log_{10} (|s|^2 / |e - s|^2)`.

    Over channels and time, ``(batch,)``, ``float64``; infinite where the two are equal; a silent target is an error.
    Silence as an estimate has 0 dB, and so has whatever is as far from the target: above 0 is closer than silence.

    Parameters
    ----------
    estimate, target
        :math:`e` and :math:`s`, ``(batch, channels, n)`` each.
    scale_invariant
        SI-SDR: the target is scaled to the projection of the estimate first, so that the level of the estimate does
        not matter (Le Roux et al., SDR: half-baked or well done?, 2019). NaN for a silent estimate, which has none.
    """
    if estimate.shape != target.shape or target.ndim != 3:
        shapes = f"{tuple(estimate.shape)} and {tuple(target.shape)}"
        raise ValueError(f"estimate and target must both be (batch, channels, n), got {shapes}")
    e, s = estimate.double().flatten(1), target.double().flatten(1)
    power = s.square().sum(1)
    every(power != 0, lambda silent: f"the targets of samples {silent} are silent: a ratio to silence says nothing")
    if scale_invariant:
        s = s * ((e * s).sum(1) / power)[:, None]
    return 10 * (s.square().sum(1) / (e - s).square().sum(1)).log10()


def mask(
    e: Explanation, *, fraction: float | None = None, threshold: float | None = None, soft: bool = False
) -> Coefficients:
    r"""How much of every coefficient is kept, in [0, 1], by its :math:`|\gamma|`.

    ``e.frame.synthesis(mask * e.frame.analysis(part))`` is what the mask lets through of a part of a mixture; what it
    lets through of the parts adds up to what it lets through of the mixture.

    Parameters
    ----------
    fraction
        Keep this share of all coefficients of a sample, those with the largest :math:`|\gamma|`, as
        :meth:`wam.Explanation.reconstruct <wam.explanation.Explanation.reconstruct>` does.
    threshold
        Keep coefficients with :math:`|\gamma|` of at least this share of the largest in their band, per sample (the
        rule of the authors' code): every band keeps some.
    soft
        The gain :math:`\gamma^2 / (\gamma^2 + \tau^2)` in place of 1 or 0, where :math:`\tau` is the smallest magnitude
        that the hard mask keeps (fraction) or the threshold itself: 1/2 at the cut.

    Raises
    ------
    ValueError
        Unless exactly one of ``fraction`` and ``threshold`` is given, between 0 and 1.

    Notes
    -----
    A sample, or with a threshold a band, all of whose attributions are zero keeps nothing.
    """
    given = fraction if threshold is None else threshold
    if (fraction is None) == (threshold is None) or not isinstance(given, Real) or not 0 <= given <= 1:
        raise ValueError(f"give a fraction or a threshold between 0 and 1, not {fraction=} and {threshold=}")
    magnitudes = e.attributions.abs()
    if threshold is not None:
        return magnitudes.map(lambda m: _gain(m, threshold * m.flatten(1).amax(1, keepdim=True), soft))
    flat, spec = magnitudes.pack()
    kept, largest = top(flat, fraction)
    tau = largest[:, -1:] if largest.shape[1] else largest.new_full((len(flat), 1), torch.inf)
    return Coefficients.unpack(_gain(flat, tau, soft, kept), spec)


def _gain(magnitudes: Tensor, tau: Tensor, soft: bool, kept: Tensor | None = None) -> Tensor:
    m = magnitudes.flatten(1)
    if soft:
        gain = torch.nan_to_num(1 / (1 + (tau / m).square()))  # 0/0, a zero at tau = 0, is not kept
    else:
        gain = (m >= tau).to(m) if kept is None else kept.flatten(1)
    return (gain * m.any(1, keepdim=True)).view_as(magnitudes)


def interpretation(e: Explanation, **rule: Any) -> Tensor:
    """What the explained inputs sound like with what matters only, ``(batch, channels, n)``: their masked synthesis.

    The rule is that of :func:`mask`, say ``fraction=0.1``; what is removed is the input without this.

    Examples
    --------
    >>> import torch, wam
    >>> from wam.audio import interpretation
    >>> x = torch.randn(1, 1, 256)
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 2))
    >>> e = wam.smoothgrad(net, x, frame=wam.Wavelet("sym8", levels=3, ndim=1))
    >>> torch.allclose(interpretation(e, fraction=1.0), x, atol=1e-5), interpretation(e, threshold=0.3).shape
    (True, torch.Size([1, 1, 256]))
    """
    return e.frame.synthesis(mask(e, **rule) * e.coefficients)


def passed(gains: Coefficients, part: Tensor, frame: Frame) -> Tensor:
    r"""The share of the energy of a part that a mask lets through, :math:`|S(m \odot W x)|^2 / |x|^2`, ``(batch,)``.

    A mask of a mixture (:func:`mask`) is linear, so it can be applied to what the mixture was made of: a mask that
    tells the parts apart lets more of one through than of the other.

    >>> import torch, wam
    >>> from wam.audio import passed
    >>> x, frame = torch.tensor([[[3.0, 4.0]]]), wam.Pixel()
    >>> passed(frame.analysis(torch.tensor([[[0.0, 1.0]]])), x, frame)
    tensor([0.6400])
    """
    through = frame.synthesis(gains * frame.analysis(part))
    return through.flatten(1).square().sum(1) / part.flatten(1).square().sum(1)


def bands(coefficients: Coefficients, frame: Frame) -> Tensor:
    """What every scale contributes, coarse to fine, ``(batch, scales, channels, n)``; the sum is the synthesis."""
    return torch.stack([frame.synthesis(coefficients.level(scale)) for scale in coefficients.scales], dim=1)


def octaves(frame: Wavelet, rate: float) -> dict[Scale, tuple[float, float]]:
    r"""The nominal band of every scale in Hz, coarse to fine: level :math:`j` is one octave below rate / 2**j.

    Short wavelets leak far beyond it.

    >>> import wam
    >>> from wam.audio import octaves
    >>> octaves(wam.Wavelet("sym8", levels=2, ndim=1), 16000)
    {'approx': (0.0, 2000.0), 2: (2000.0, 4000.0), 1: (4000.0, 8000.0)}
    """
    if not isinstance(frame, Wavelet) or frame.ndim != 1:
        raise ValueError(f"octaves are of a wavelet frame with ndim=1, not of {frame!r}")
    details = {j: (rate / 2 ** (j + 1), rate / 2**j) for j in range(frame.levels, 0, -1)}
    return {"approx": (0.0, rate / 2 ** (frame.levels + 1)), **details}


def levelled(sounds: Sequence[Tensor], *, match: bool = False, peak: float = 0.9) -> list[Tensor]:
    """Sounds to be heard one after the other, none clipped: the largest magnitude of all becomes ``peak``.

    One factor serves all, so that louder stays louder. With ``match`` every sound has first the same root mean square:
    compare then what they are, not how loud. Silence stays silence.

    Raises
    ------
    TypeError, ValueError
        If the peak is not above 0 and at most 1 (full scale), or a sound is not a tensor of floating point, is empty or
        holds NaN or infinite values.

    Examples
    --------
    >>> import torch
    >>> from wam.audio import levelled
    >>> [sound.tolist() for sound in levelled([torch.tensor([2.0, -4.0]), torch.tensor([1.0, 1.0])], peak=1.0)]
    [[0.5, -1.0], [0.25, 0.25]]
    """
    if not 0 < peak <= 1:
        raise ValueError(f"peak must be above 0 and at most 1, full scale; got {peak!r}")
    for sound in sounds:
        if not isinstance(sound, Tensor) or not sound.is_floating_point():
            kind = sound.dtype if isinstance(sound, Tensor) else type(sound).__name__
            raise TypeError(f"sounds must be tensors of floating point, such as clip.samples, got {kind}")
        if not sound.numel():
            raise ValueError("a sound has no samples")
    wide = [sound.detach().double() for sound in sounds]
    if not all(bool(sound.isfinite().all()) for sound in wide):
        raise ValueError("a sound holds NaN or infinite values")
    if match:
        wide = [sound / (sound.abs().max() or 1) for sound in wide]  # before squares underflow
        wide = [sound / (sound.square().mean().sqrt() or 1) for sound in wide]
    top = max((float(sound.abs().max()) for sound in wide), default=0.0) or 1.0
    return [(sound / top * peak).to(given.dtype) for sound, given in zip(wide, sounds)]
