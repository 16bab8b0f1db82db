"""YAMNet, read from its TensorFlow Lite file into modules that can be differentiated.

YAMNet (Plakal and Ellis, Google) is a MobileNet for sound: 521 classes of AudioSet, 16 kHz. The file holds it with
weights in 8 bits; here they are multiplied by their scales once and the network calculates in floating point.

References
----------
YAMNet, TensorFlow model garden, ``research/audioset/yamnet``. Howard et al., MobileNets, 2017. Gemmeke et al., Audio
Set, 2017.
"""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
import tflite
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wam.audio import waveforms
from wam.precision import full_precision

__all__ = ["MINIMUM", "RATE", "Contents", "FrontEnd", "YAMNet", "read"]

RATE = 16_000
"""Samples per second that YAMNet takes."""

_FRAME, _HOP, _FFT, _MELS = 400, 160, 512, 64  # samples, samples, samples, bands
_PATCH, _PATCH_HOP = 96, 48  # frames

MINIMUM = (_PATCH - 1) * _HOP + _FRAME
"""Samples of one patch, the shortest clip: 15,600 (0.975 s)."""

# Stride and output channels of the thirteen separable convolutions.
_SEPARABLE = (
    (1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), (1, 512), (1, 512), (1, 512), (1, 512), (1, 512),
    (2, 1024), (1, 1024),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Contents:
    """What the file holds, float32.

    Parameters
    ----------
    window, mel, offset
        Window of a frame, ``(400,)``; from magnitudes to mel bands, ``(64, 257)``; what is added before the logarithm,
        ``(64,)``.
    weights
        Weight and bias of every layer in its order, in the layout of PyTorch.
    categories
        The 521 class names, in the order of the logits.
    """

    window: Tensor
    mel: Tensor
    offset: Tensor
    weights: tuple[Tensor, ...]
    categories: tuple[str, ...]


def read(path: str | os.PathLike) -> Contents:
    r"""The tables, weights and class names in a file ``yamnet.tflite`` with the class names appended as a zip archive.

    An integer :math:`q` stands for the number :math:`(q - z) s`, with a scale :math:`s` and a zero :math:`z` of its
    tensor or of its output channel. The rounding of the *activations*, to 8 bits and to a range of their own, is left
    out: it has no gradient.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, or it is not a TensorFlow Lite model, or has no class names.

    Examples
    --------
    >>> from wam import assets, catalogue, yamnet
    >>> contents = yamnet.read(assets.fetch(catalogue.CATALOGUE["yamnet"]) / "yamnet.tflite")
    >>> len(contents.weights), contents.categories[:2]
    (56, ('Speech', 'Child speech, kid speaking'))
    """
    content, fix = Path(path).read_bytes(), "wam.assets.fetch provides the right file"
    if not tflite.Model.ModelBufferHasIdentifier(content, 0):
        raise ValueError(f"{path} is not a TensorFlow Lite model; {fix}")
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise ValueError(f"{path} has no class names appended as a zip archive; {fix}")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if (names := "yamnet_label_list.txt") not in archive.namelist():
            raise ValueError(f"{path} has an archive without {names}; {fix}")
        categories = archive.read(names).decode().splitlines()

    model = tflite.Model.GetRootAsModel(content, 0)
    graph, kinds = model.Subgraphs(0), tflite.BuiltinOperator
    tables, weights = [], []
    for operator in map(graph.Operators, range(graph.OperatorsLength())):
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # old files know only the second field
        constants = [_values(model, graph, index) for index in operator.InputsAsNumpy()[1:]]
        if kind == kinds.MUL or (kind == kinds.FULLY_CONNECTED and not weights):
            tables += constants
        elif kind == kinds.CONV_2D:  # (out, height, width, in)
            weights += [constants[0].transpose(0, 3, 1, 2), constants[1]]
        elif kind == kinds.DEPTHWISE_CONV_2D:  # (1, height, width, out)
            weights += [constants[0].transpose(3, 0, 1, 2), constants[1]]
        elif kind == kinds.FULLY_CONNECTED:
            weights += constants
    window, mel, offset = (torch.tensor(table, dtype=torch.float32) for table in tables)
    layers = tuple(torch.tensor(weight, dtype=torch.float32) for weight in weights)
    return Contents(window.flatten(), mel, offset, layers, tuple(categories))


_TYPES = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.INT32: np.int32, tflite.TensorType.INT8: np.int8}


def _values(model: tflite.Model, graph: tflite.SubGraph, index: int) -> np.ndarray | None:
    """A constant tensor in float64, integers with a scale multiplied by it; None for one that is calculated."""
    tensor = graph.Tensors(int(index))
    content = model.Buffers(tensor.Buffer())
    if not content.DataLength():
        return None
    values = content.DataAsNumpy().view(_TYPES[tensor.Type()]).reshape(tensor.ShapeAsNumpy()).astype(np.float64)
    quantization = tensor.Quantization()
    if quantization is None or not quantization.ScaleLength():
        return values
    shape = np.ones(values.ndim, int)
    shape[quantization.QuantizedDimension()] = quantization.ScaleLength()
    scale, zero = quantization.ScaleAsNumpy().reshape(shape), quantization.ZeroPointAsNumpy().reshape(shape)
    return (values - zero) * scale


class FrontEnd(nn.Module):
    r"""From waveforms ``(batch, 1, n)`` at 16 kHz to the logarithmic mel spectrogram ``(batch, 1, frames, 64)``.

    .. math:: h = \log(M \, |\mathcal F(w \odot x_t)| + c)

    in frames of 25 ms every 10 ms, with the Fourier transform in 512 points, the window :math:`w`, the mel bands
    :math:`M` (125 to 7500 Hz) and the offset :math:`c = 0.001` of the file. As YAMNet publishes it, the end of the
    waveform is filled with zeros so that every sample lies in a patch: ``frames`` is 96 + 48 k. The gradient of a
    magnitude at zero is taken as zero, so that it is finite for silence.

    Raises
    ------
    TypeError, ValueError
        From the call: inputs of another dtype than the module, another shape, or fewer than 15,600 samples.

    Examples
    --------
    >>> import wam.models
    >>> model = wam.models.load("yamnet")
    >>> model.front_end(torch.zeros(2, 1, 16000)).shape
    torch.Size([2, 1, 144, 64])
    """

    def __init__(self, window: Tensor, mel: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.minimum, self.hop = MINIMUM, _HOP
        for name, table in (("window", window), ("mel", mel), ("offset", offset)):
            self.register_buffer(name, table.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Spectrograms ``(batch, 1, frames, 64)`` of waveforms ``(batch, 1, n)``."""
        with full_precision(x.device):
            magnitude = torch.fft.rfft(self._frames(x), _FFT).abs()
            return F.linear(magnitude, self.mel, self.offset).log()[:, None]

    def _frames(self, x: Tensor) -> Tensor:
        """The windowed frames, ``(batch, frames, 400)``."""
        x = waveforms(x, MINIMUM, RATE, self.mel)
        missing = (MINIMUM - x.shape[2]) % (_PATCH_HOP * _HOP)
        return F.pad(x[:, 0], (0, missing)).unfold(1, _FRAME, _HOP) * self.window

    def filter(self, x: Tensor, mask: Tensor) -> Tensor:
        r"""What a mask of the spectrogram lets through of waveforms, ``(batch, 1, n)``, to be heard.

        The spectrum of every frame is multiplied by the weights of its bands,

        .. math:: \hat x_t \odot \frac{M^\top m_t}{M^\top 1},

        windowed again, and the frames are added up and divided by the sum of the squared windows. Frequencies that no
        band covers follow the nearest that one does, so a mask of ones gives the waveform, but for its first and last
        milliseconds, which no second frame covers. Linear in ``x``; the mask is ``(batch, 1, frames, 64)`` as the
        spectrogram is, or a ``ValueError``.
        """
        frames = self._frames(x)
        if mask.shape != (shape := (len(x), 1, frames.shape[1], _MELS)):
            raise ValueError(f"the mask has the shape {tuple(mask.shape)}, the spectrogram {tuple(shape)}")
        cover = self.mel.sum(0)
        heard = cover.nonzero()[:, 0]
        bins = torch.arange(len(cover), device=x.device).clamp(int(heard[0]), int(heard[-1]))
        with full_precision(x.device):
            gain = mask[:, 0].to(x) @ (self.mel / cover.clamp_min(1e-12))[:, bins]
            parts = torch.fft.irfft(torch.fft.rfft(frames, _FFT) * gain, _FFT)[..., :_FRAME] * self.window
            length = (frames.shape[1] - 1) * _HOP + _FRAME
            squares = self.window.square().expand(1, frames.shape[1], _FRAME)
            folded = (F.fold(part.mT, (1, length), (1, _FRAME), stride=(1, _HOP)) for part in (parts, squares))
            total, weight = (part[:, :, 0] for part in folded)
        return (total / weight.clamp_min(1e-3))[:, :, : x.shape[2]]


class YAMNet(nn.Module):
    r"""From mel spectrograms ``(batch, 1, frames, 64)`` to one logit per clip and class, ``(batch, classes)``.

    The spectrogram is cut into patches of 96 frames every 48. A MobileNet gives each patch :math:`p` a logit
    :math:`\ell_p`, and YAMNet's published score of a clip is the mean of :math:`\sigma(\ell_p)`. The output is the
    logit of this score,

    .. math:: f = \log \sum_p \sigma(\ell_p) - \log \sum_p \sigma(-\ell_p),
              \qquad \sigma(f) = \frac{1}{P} \sum_{p=1}^{P} \sigma(\ell_p)

    calculated from :math:`\log \sigma` without over- or underflow. Every patch counts alike, and a patch that is
    certain of its class saturates.

    Raises
    ------
    ValueError
        The spectrogram does not have 64 bands and 96 + 48 k frames, which :class:`FrontEnd` gives.

    Examples
    --------
    >>> import wam.models
    >>> network = wam.models.load("yamnet").network
    >>> mel = torch.randn(2, 1, 144, 64)
    >>> network(mel).shape, network.patch_logits(mel).shape
    (torch.Size([2, 521]), torch.Size([2, 2, 521]))
    """

    def __init__(self, classes: int = 521) -> None:
        super().__init__()
        layers, width = [*_convolution(1, 32, 2)], 32
        for stride, channels in _SEPARABLE:
            layers += _convolution(width, width, stride, groups=width)
            layers += [nn.Conv2d(width, channels, 1), nn.ReLU6(inplace=True)]
            width = channels
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, classes)
        self.to(memory_format=torch.channels_last)  # faster on a CPU

    def forward(self, mel: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of spectrograms ``(batch, 1, frames, 64)``."""
        logits = self.patch_logits(mel)
        return F.logsigmoid(logits).logsumexp(1) - F.logsigmoid(-logits).logsumexp(1)

    def patch_logits(self, mel: Tensor) -> Tensor:
        """The logits of every patch on its own, ``(batch, patches, classes)``."""
        frames = mel.shape[2] if mel.ndim == 4 and mel.shape[1] == 1 and mel.shape[3] == _MELS else 0
        if frames < _PATCH or (frames - _PATCH) % _PATCH_HOP:
            wanted = f"(batch, 1, {_PATCH} + {_PATCH_HOP} k, {_MELS})"
            raise ValueError(f"YAMNet's network takes mel spectrograms {wanted}, got shape {tuple(mel.shape)}")
        patches = mel.unfold(2, _PATCH, _PATCH_HOP).permute(0, 2, 1, 4, 3).flatten(0, 1)
        return self.classifier(self.features(patches).mean((2, 3))).unflatten(0, (len(mel), -1))

    def lay_out(self, maps: Tensor, frames: int) -> Tensor:
        """The maps of patches along the time of their clips; where two patches overlap, their mean.

        From ``(batch * patches, channels, cells, bands)``, as the convolutions in ``features`` give them for
        spectrograms of so many ``frames``, to ``(batch, channels, bins, bands)``. A bin divides a cell and half a
        patch: the last layers have 3 cells of 32 frames, and bins of 16; the others have bins of one cell. A
        ``ValueError`` if the cells do not divide a patch: the maps are those of a padding.
        """
        patches, cells = (frames - _PATCH) // _PATCH_HOP + 1, maps.shape[2]
        if _PATCH % cells:
            raise ValueError(f"maps of {cells} cells do not divide patches of {_PATCH} frames; choose another layer")
        cell = _PATCH // cells
        maps = maps.repeat_interleave(cell // gcd(cell, _PATCH_HOP), 2).unflatten(0, (-1, patches)).movedim(1, 2)
        first, second = maps.chunk(2, 3)  # halves of the patches, (batch, channels, patches, bins, bands) each
        total = F.pad(first, (0, 0, 0, 0, 0, 1)) + F.pad(second, (0, 0, 0, 0, 1, 0))
        total[:, :, 1:-1] /= 2
        return total.flatten(2, 3)


def _convolution(width: int, channels: int, stride: int, groups: int = 1) -> list[nn.Module]:
    """3 x 3 with TensorFlow's padding SAME: an even size and stride 2 has it all at the end."""
    padding = [nn.ZeroPad2d((0, 1, 0, 1))] if stride == 2 else []
    convolution = nn.Conv2d(width, channels, 3, stride, 0 if padding else 1, groups=groups)
    return [*padding, convolution, nn.ReLU6(inplace=True)]
