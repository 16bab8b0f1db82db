"""Sound classifiers to be explained: a front end from waveforms to spectrograms, and a network of spectrograms.

:func:`wam.models.load` gives them with their weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from wam.assets import files
from wam.audio import LogMel
from wam.catalogue import CATALOGUE
from wam.checks import positive
from wam.classifier import reading, several
from wam.clips import Clip, lasting
from wam.names import index
from wam.yamnet import MINIMUM, RATE, FrontEnd, YAMNet, read

__all__ = ["KumarCNN", "SoundClassifier", "kumar", "kumar_esc50", "yamnet"]


class SoundClassifier(nn.Module):
    """A classifier of waveforms: the class scores as a differentiable function of the samples.

    Where its classes are not exclusive, as those of YAMNet and of :class:`KumarCNN`, the logits are those of sigmoids.

    Parameters
    ----------
    name
        Name for tables and figures.
    front_end
        Module from waveforms ``(batch, 1, n)`` to what the network takes: spectrograms ``(batch, 1, frames, bands)``,
        or waveforms.
    network
        Module from that to logits ``(batch, classes)``.
    rate
        Samples per second of its waveforms.
    minimum
        The least number of samples.
    categories
        The class names, in the order of the logits.
    pretrained
        Whether the weights are trained ones.
    transform
        A preparation of its own, from a clip to ``(1, n)``, in place of the checks of :meth:`prepare`.
    """

    ndim = 1

    exclusive = False
    """Whether one class alone is right, so that probabilities are a softmax, otherwise sigmoids. Can be set."""

    def __init__(
        self,
        name: str,
        front_end: nn.Module,
        network: nn.Module,
        rate: int,
        minimum: int,
        categories: Iterable[str],
        pretrained: bool = True,
        transform: Callable[[Clip], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.front_end = front_end
        self.network = network
        self.rate = rate
        self.minimum = minimum
        self.categories: tuple[str, ...] = tuple(categories)
        self.pretrained = pretrained
        self.transform = transform

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of waveforms ``(batch, 1, n)`` at its ``rate``; ``n`` is at least the minimum."""
        return self.network(self.front_end(x))

    def prepare(self, clips: Clip | Iterable) -> Tensor:
        """Batch ``(batch, 1, n)`` in the model's dtype and on its device; the samples themselves are not changed.

        ``clips`` is a :class:`wam.clips.Clip` or a :class:`wam.sounds.LabelledSound`, or several of them.

        Raises
        ------
        TypeError
            Something that is not a clip.
        ValueError
            No clip at all, another rate than the model's, more than one channel, too few samples or different
            lengths; the message names the method of ``Clip`` that mends it.

        Examples
        --------
        >>> import wam.data, wam.models
        >>> model = wam.models.load("yamnet")
        >>> clips = [sound.clip.mono().resample(model.rate).fit(5) for sound in wam.data.recordings()[:2]]
        >>> model.prepare(clips).shape
        torch.Size([2, 1, 80000])
        """
        fix = "wrap samples in wam.audio.Clip(samples, rate); a batch (batch, 1, n) goes to the model as it is"
        clips = several(clips, Clip, "clip", fix)
        for i, clip in enumerate(clips if self.transform is None else ()):
            if clip.rate != self.rate:
                raise ValueError(
                    f"clip {i} has {clip.rate} samples per second, {self.name} takes {self.rate}: "
                    f"use clip.resample({self.rate})"
                )
            if clip.channels != 1:
                raise ValueError(f"clip {i} has {clip.channels} channels, {self.name} takes one: use clip.mono()")
        samples = [clip.samples if self.transform is None else self.transform(clip) for clip in clips]
        lengths = [x.shape[-1] for x in samples]
        if min(lengths) < self.minimum:
            raise ValueError(
                f"clip {lengths.index(min(lengths))} has {min(lengths)} samples, {self.name} needs at least "
                f"{lasting(self.minimum, self.rate)}: use clip.fit(seconds), which repeats the clip"
            )
        if len(set(lengths)) > 1:
            raise ValueError(
                f"the clips of a batch must be equally long, got {min(lengths)} to {max(lengths)} samples: "
                "use clip.fit(seconds) on each, or prepare them one by one"
            )
        return torch.stack(samples).to(next(self.parameters(), torch.empty(0)))

    def index(self, name: str) -> int:
        """Position of a category in the logits, as :func:`wam.names.index`."""
        return index(name, self.categories)

    def only(self, names: Iterable[str]) -> SoundClassifier:
        """The same classifier with the logits of these categories alone, in this order; it shares all weights.

        Raises
        ------
        ValueError
            There is no such category, none at all is asked for, or one twice.

        Examples
        --------
        >>> import wam.data, wam.models
        >>> animals = wam.models.load("yamnet").only(wam.data.recordings().categories)
        >>> animals(torch.zeros(1, 1, 16000)).shape
        torch.Size([1, 10])
        """
        indices = [self.index(name) for name in _names(names)]
        names, network = _names(self.categories[i] for i in indices), _Selected(self.network, indices)
        parts = self.name, self.front_end, network, self.rate, self.minimum, names, self.pretrained
        return SoundClassifier(*parts, self.transform).train(self.training)

    def extra_repr(self) -> str:
        return f"{self.name!r}, rate={self.rate}, classes={len(self.categories)}, pretrained={self.pretrained}"


class _Selected(nn.Module):
    def __init__(self, network: nn.Module, indices: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("indices", torch.tensor(indices), persistent=False)

    def forward(self, mel: Tensor) -> Tensor:
        return self.network(mel)[:, self.indices.to(mel.device)]


class KumarCNN(nn.Module):
    r"""The network of Kumar et al., from log-mel spectrograms ``(batch, 1, frames, 128)`` to ``(batch, classes)``.

    Convolutions of 3 x 3, each with batch normalisation and ReLU, in pairs of 16, 32, 64, 128 and 256 channels and one
    of 512, max-pooling by 2 x 2 after each pair and after the last; one of 2 x 2 to 1024 channels; one of 1 x 1 to the
    classes. This gives a logit for every class and segment of 128 frames, in steps of 64; the network ends in sigmoids
    and their largest value. Since the sigmoid rises,

    .. math:: \max_t \sigma(\ell_{c,t}) = \sigma\Big(\max_t \ell_{c,t}\Big),

    and the output here is the largest logit. Where several are equally large, they share the gradient.

    Parameters
    ----------
    classes
        Number of classes.

    Raises
    ------
    ValueError
        The spectrogram does not have 128 bands, or has fewer than 128 frames.

    References
    ----------
    Kumar, Khadkevich and Fügen, Knowledge transfer from weakly labeled audio using convolutional neural network for
    sound events and scenes, 2018. Paper, section 4.1.
    """

    FRAMES = MELS = 128
    """The least number of frames, and the number of bands."""

    def __init__(self, classes: int = 50) -> None:
        super().__init__()
        layers, width = [], 1
        for channels in (16, 32, 64, 128, 256):
            layers += [*_block(width, channels), *_block(channels, channels), nn.MaxPool2d(2)]
            width = channels
        layers += [*_block(width, 512), nn.MaxPool2d(2), *_block(512, 1024, side=2)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Conv2d(1024, classes, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of spectrograms ``(batch, 1, frames, 128)``."""
        if mel.ndim != 4 or mel.shape[1] != 1 or mel.shape[2] < self.FRAMES or mel.shape[3] != self.MELS:
            raise ValueError(
                f"the network of Kumar et al. takes spectrograms (batch, 1, frames, {self.MELS}) of {self.FRAMES} "
                f"frames or more, got shape {tuple(mel.shape)}: take a longer clip (Clip.fit repeats a short one)"
            )
        return self.classifier(self.features(mel)).amax((2, 3))


def _names(names: Iterable[str]) -> tuple[str, ...]:
    several = () if isinstance(names, str) else tuple(names)
    if not several or len(set(several)) < len(several):
        raise ValueError(f"give several names of categories, such as ['Cat', 'Dog'], each one once: got {names!r}")
    return several


def _block(width: int, channels: int, side: int = 3) -> list[nn.Module]:
    convolution = nn.Conv2d(width, channels, side, padding=side // 3)
    return [convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def kumar(classes: int | Iterable[str] = 50) -> SoundClassifier:
    """The classifier of the paper's sounds, untrained: :class:`KumarCNN` behind :class:`wam.audio.LogMel`.

    44.1 kHz, at least 65,024 samples (1.475 s). The authors' code divides every clip by its largest magnitude first:
    :meth:`wam.clips.Clip.normalised`.

    Parameters
    ----------
    classes
        The class names, or how many classes without a name.

    Examples
    --------
    >>> from wam import sound_models
    >>> model = sound_models.kumar(["dog", "rain"])
    >>> model(torch.randn(3, 1, 5 * model.rate)).shape, model.minimum
    (torch.Size([3, 2]), 65024)
    """
    if isinstance(classes, int):
        classes = [f"class {i}" for i in range(positive(classes, "classes"))]
    categories, rate, hop = _names(classes), 44_100, 512
    network = KumarCNN(len(categories))
    minimum = (KumarCNN.FRAMES - 1) * hop
    front_end = LogMel(rate, n_fft=1024, hop=hop, mels=KumarCNN.MELS)
    return SoundClassifier("kumar_esc50", front_end, network, rate, minimum, categories, pretrained=False)


def kumar_esc50(weights: str | os.PathLike | None, pretrained: bool = True) -> SoundClassifier:
    """:func:`kumar` with weights from a file that :func:`wam.recipes.esc50` wrote.

    The file is a safetensors file with the state dict of the classifier and with its class names, in JSON, as the
    metadata ``categories``.

    Raises
    ------
    FileNotFoundError
        No file is named, or there is none.
    ValueError
        The file is not such a file.
    """
    if not pretrained:
        return kumar()
    how = "python -m wam.recipes esc50 FOLDER OUT trains the network and writes OUT/weights.safetensors"
    with reading(weights, "kumar_esc50", how) as (state, card):
        model = kumar(card.get("categories", []))
        model.load_state_dict(state)
    model.pretrained = True
    return model.to(memory_format=torch.channels_last)  # faster on a CPU


def yamnet(pretrained: bool = True) -> SoundClassifier:
    """YAMNet with the weights of its file (:mod:`wam.yamnet`), or with random ones.

    The front end and the class names come from the file in both cases.
    """
    contents = read(*files(CATALOGUE["yamnet"]))
    front_end = FrontEnd(contents.window, contents.mel, contents.offset)
    network = YAMNet(len(contents.categories))
    if pretrained:
        network.load_state_dict(dict(zip(network.state_dict(), contents.weights, strict=True)))
    return SoundClassifier("yamnet", front_end, network, RATE, MINIMUM, contents.categories, pretrained)
