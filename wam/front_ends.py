"""Front ends of Hugging Face's models of sounds, as modules: what their extractors compute, differentiable."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchaudio.compliance import kaldi

from wam.audio import waveforms
from wam.precision import full_precision

__all__ = ["FilterBank", "Standardised"]


class Standardised(nn.Module):
    r"""Waveforms of zero mean and unit variance, as the extractors of wav2vec 2.0 and its relatives make them.

    .. math:: \frac{x - \bar x}{\sqrt{\tfrac1n \sum_t (x_t - \bar x)^2 + 10^{-7}}}

    Parameters
    ----------
    rate, minimum
        Samples per second, and the least number of samples.
    normalise
        ``False`` leaves the samples as they are.

    Raises
    ------
    ValueError
        From a call: another shape than ``(batch, 1, n)``, or fewer samples than the minimum.

    Examples
    --------
    >>> import torch
    >>> from wam.front_ends import Standardised
    >>> Standardised(16000, 2)(torch.tensor([[[1.0, 3.0]]]))
    tensor([[[-1.,  1.]]])
    """

    def __init__(self, rate: int, minimum: int, normalise: bool = True) -> None:
        super().__init__()
        self.rate, self.minimum, self.normalise = rate, minimum, normalise

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, 1, n)`` to the same shape."""
        waveforms(x, self.minimum, self.rate, x)
        if not self.normalise:
            return x
        with full_precision(x.device):
            return (x - x.mean(2, keepdim=True)) / (x.var(2, correction=0, keepdim=True) + 1e-7).sqrt()


class FilterBank(nn.Module):
    r"""Log-mel energies as Kaldi computes them, as the extractor of the Audio Spectrogram Transformer does.

    Windows of 25 ms every 10 ms, each without its mean, with a pre-emphasis of 0.97 and a Hann window; the power in mel
    bands from 20 Hz on; the natural logarithm, of at least the machine epsilon of float32. Fewer than ``length`` frames
    are filled up with zeros, more are cut off; then :math:`(s - \mu) / (2 \sigma)`. Differentiable: the calculation is
    :func:`torchaudio.compliance.kaldi.fbank`.

    Parameters
    ----------
    rate
        Samples per second; the attribute ``minimum`` is one window.
    bands, length
        The number of mel bands, and of frames.
    mean, std
        :math:`\mu` and :math:`\sigma`; 0 and 0.5 for none.

    Raises
    ------
    TypeError, ValueError
        From a call: another dtype than the module's, another shape than ``(batch, 1, n)``, or too few samples.

    Examples
    --------
    >>> import torch
    >>> from wam.front_ends import FilterBank
    >>> FilterBank(16000, length=200)(torch.randn(2, 1, 16000)).shape
    torch.Size([2, 1, 200, 128])

    References
    ----------
    Gong et al., AST: Audio Spectrogram Transformer, 2021.
    """

    def __init__(self, rate: int, bands: int = 128, length: int = 1024, mean: float = 0.0, std: float = 0.5) -> None:
        super().__init__()
        self.rate, self.bands, self.length, self.minimum = rate, bands, length, int(rate * 0.025)
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Spectrograms ``(batch, 1, length, bands)`` of waveforms ``(batch, 1, n)``."""
        waveforms(x, self.minimum, self.rate, self.mean)
        given = {"sample_frequency": self.rate, "window_type": "hanning", "num_mel_bins": self.bands}
        with full_precision(x.device):
            energies = torch.stack([kaldi.fbank(sample, **given) for sample in x])[:, : self.length]
            energies = nn.functional.pad(energies, (0, 0, 0, self.length - energies.shape[1]))
            return ((energies - self.mean) / (2 * self.std))[:, None]
