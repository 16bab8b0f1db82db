"""Classifiers of images, small pictures, sounds and volumes to be explained, each one with its own preprocessing.

Five are *embedded*: their weights come from the package index (:mod:`wam.assets`) and need no other download. Two
small networks of volumes come with the package, and four of small pictures (:mod:`wam.picture_models`). The four image
networks of the paper come from timm under short names, and their weights from timm's model hub; its sound network, and
one of medical volumes, have to be trained (:mod:`wam.recipes`). Robust weights of a ResNet-50 are read from a file that
their authors publish (:mod:`wam.checkpoints`). Beside these names, any name of timm is one, and ``hf:owner/name`` is an
image or audio classifier of Hugging Face (:mod:`wam.adapters`).

======================  ====================================================  =====================
name                    network                                               input
======================  ====================================================  =====================
``efficientnet_lite0``  EfficientNet-Lite0 (embedded)                         224 x 224
``mobilenet_v2``        torchvision's MobileNetV2, IMAGENET1K_V1 (embedded)   224 x 224
``resnet18``            timm ``resnet18.a1_in1k``                             224 x 224
``convnext_small``      timm ``convnext_small.fb_in22k_ft_in1k_384``          384 x 384
``efficientnet_b0``     timm ``tf_efficientnet_b0.ns_jft_in1k``               224 x 224
``deit_tiny``           timm ``deit_tiny_patch16_224.fb_in1k``                224 x 224
``resnet50``            timm ``resnet50.tv_in1k``, beside the robust ones     224 x 224
``resnet50_robust``     torchvision's ResNet-50, a published checkpoint       224 x 224
``lenet5``              LeNet-5 of AdverTorch, MNIST (embedded)               28 x 28
``lenet5_adv``          the same, trained against PGD (embedded)              28 x 28
``cifar10_erm``         a small ResNet, CIFAR-10 (shipped)                    32 x 32
``cifar10_adv``         the same, trained against PGD (shipped)               32 x 32
``cifar10_adv_fast``    the same, against one step of PGD (shipped)           32 x 32
``cifar10_adv_free``    the same, adversarial training for free (shipped)     32 x 32
``yamnet``              YAMNet, AudioSet (embedded)                           16 kHz, from 0.975 s
``kumar_esc50``         the network of Kumar et al., trained on ESC-50        44.1 kHz, from 1.475 s
``digits3d``            the paper's network of voxels, 3D digits (shipped)    from 10 x 10 x 10
``moving_digits``       the same, digit and direction of clips (shipped)      from 10 x 10 x 10
``medmnist3d``          ResNet-18 in 3D, trained on a set of MedMNIST3D       any volume
======================  ====================================================  =====================
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import MobileNet_V2_Weights, ResNet50_Weights, mobilenet_v2, resnet50

from wam import checkpoints
from wam.assets import AssetError, fetch
from wam.catalogue import CATALOGUE
from wam.picture_models import CIFAR10_FAMILY, LENET5, PictureClassifier, cifar10_resnet, lenet5
from wam.sound_models import SoundClassifier, kumar_esc50, yamnet
from wam.volume_models import VolumeClassifier, digits3d, medmnist3d, moving_digits

__all__ = ["EMBEDDED", "PAPER", "PICTURE", "SOUND", "VOLUME", "ImageClassifier", "load"]

#: Names of the image networks whose weights come from the package index.
EMBEDDED = ("efficientnet_lite0", "mobilenet_v2")

#: Names of the classifiers of small pictures: a pair for MNIST and a family for CIFAR-10, of one architecture each.
PICTURE = (*LENET5, *CIFAR10_FAMILY)

#: Names of the classifiers of sounds: the embedded one and the paper's.
SOUND = ("yamnet", "kumar_esc50")

#: Names of the classifiers of volumes: two that come with the package, and one to be trained.
VOLUME = ("digits3d", "moving_digits", "medmnist3d")

#: Short names of the paper's image networks -> timm's names. The paper says only "resnet18": ``a1_in1k`` is the
#: checkpoint that timm resolves that name to.
PAPER: Mapping[str, str] = MappingProxyType(
    {
        "resnet18": "resnet18.a1_in1k",
        "convnext_small": "convnext_small.fb_in22k_ft_in1k_384",
        "efficientnet_b0": "tf_efficientnet_b0.ns_jft_in1k",
        "deit_tiny": "deit_tiny_patch16_224.fb_in1k",
    }
)

_TIMM = {**PAPER, "resnet50": "resnet50.tv_in1k"}  # torchvision's first weights, beside which robust ones are put


class ImageClassifier(nn.Module):
    """An image classifier together with its preprocessing.

    The network sees *model space*: RGB in [0, 1], minus a mean colour, divided by a standard deviation per
    channel. Hence the value 0 is the mean colour, not black; black is :attr:`black`.

    Parameters
    ----------
    name
        Name for tables and figures.
    network
        Module from ``(batch, 3, height, width)`` to logits ``(batch, classes)``.
    transform
        The network's own preprocessing, from a PIL image in RGB to ``(3, height, width)``.
    mean, std
        Normalisation of the three channels, as ``transform`` applies it. Of one channel: the images are grey.
    input_size
        ``(height, width)`` of what ``transform`` returns.
    pretrained
        Whether the weights are trained ones.
    categories
        The class names, in the order of the logits; by default torchvision's 1000 short names of ImageNet.
    """

    ndim = 2

    def __init__(
        self,
        name: str,
        network: nn.Module,
        transform: Callable[[Image.Image], Tensor],
        mean: Sequence[float],
        std: Sequence[float],
        input_size: tuple[int, int],
        pretrained: bool = True,
        categories: Iterable[str] = MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"],
    ) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.transform = transform
        self.input_size = input_size
        self.pretrained = pretrained
        self.categories: tuple[str, ...] = tuple(categories)
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)
        self.register_buffer("_black", (0 - self.mean) / self.std, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of a batch ``(batch, 3, height, width)`` in model space."""
        return self.network(x)

    @property
    def black(self) -> Tensor:
        """Model-space value of a black pixel, ``(3, 1, 1)``: ``(0 - mean) / std``."""
        return self._black

    def prepare(self, images: Image.Image | Iterable) -> Tensor:
        """Batch ``(batch, 3, height, width)`` in model space, in the model's dtype and on its device.

        ``images`` is a PIL image, several of them, or several :class:`wam.data.LabelledImage`; sizes may
        differ. Greyscale, palette and CMYK images are converted to RGB first.

        Raises
        ------
        TypeError
            Something that is not a PIL image.
        ValueError
            No image at all, or images that the transform leaves at different sizes.

        Examples
        --------
        >>> import wam.data, wam.models
        >>> model = wam.models.load("efficientnet_lite0")
        >>> model.prepare(wam.data.images(2)).shape
        torch.Size([2, 3, 224, 224])
        """
        images = [images] if isinstance(images, Image.Image) else list(images)
        images = [getattr(image, "image", image) for image in images]
        if not images:
            raise ValueError("prepare() needs at least one image, got none")
        for image in images:
            if not isinstance(image, Image.Image):
                raise TypeError(
                    f"prepare() takes PIL images, got {type(image).__name__}: convert an array of 8-bit RGB "
                    "with PIL.Image.fromarray; a tensor in model space goes to the model as it is"
                )
        prepared = [self.transform(image.convert("RGB" if len(self.mean) == 3 else "L")) for image in images]
        if len(sizes := {tuple(x.shape) for x in prepared}) > 1:
            raise ValueError(f"{self.name} keeps the shapes of images, {sorted(sizes)}: prepare them one by one")
        return torch.stack(prepared).to(self.mean)

    def display(self, x: Tensor) -> np.ndarray:
        """RGB images ``(batch, height, width, 3)`` in [0, 1], float32, of a batch in model space.

        Undoes the normalisation of :meth:`prepare` (not its resizing and cropping) and clips what lies
        outside the range of colours.
        """
        if x.ndim != 4 or x.shape[1] != len(self.mean):
            axes = f"(batch, {len(self.mean)}, height, width)"
            raise ValueError(f"display() takes a batch {axes}, got shape {tuple(x.shape)}")
        rgb = (x.detach().to(self.mean) * self.std + self.mean).expand(-1, 3, -1, -1)
        return rgb.clamp(0, 1).permute(0, 2, 3, 1).float().cpu().numpy()

    def extra_repr(self) -> str:
        height, width = self.input_size
        return f"{self.name!r}, input_size={height}x{width}, pretrained={self.pretrained}"


def load(
    name: str,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    pretrained: bool = True,
    *,
    weights: str | os.PathLike | None = None,
) -> ImageClassifier | PictureClassifier | SoundClassifier | VolumeClassifier:
    """A classifier by name (see :mod:`wam.models`), in eval mode: ours, any of timm's, or ``hf:owner/name``.

    Weights are downloaded at first use and cached: the embedded ones by :func:`wam.assets.fetch`, others by timm or
    transformers. ``pretrained=False`` gives the architecture and the preprocessing with random weights (always the same
    ones), marked as untrained in its name; nothing is downloaded then but the file of YAMNet, which holds its
    preprocessing too, and the configuration of a Hugging Face model. Only ``kumar_esc50``, ``medmnist3d`` and
    ``resnet50_robust`` take, and need, the name of a file as ``weights``: :func:`wam.recipes.esc50` and
    :func:`wam.recipes.medmnist3d` write it, and for the last it is a published checkpoint (:mod:`wam.checkpoints`).

    Raises
    ------
    ValueError
        Unknown name (near names are suggested), or a file of weights that does not fit; and as
        :func:`wam.adapters.timm_model` and :func:`wam.huggingface.classifier`.
    ImportError
        ``hf:owner/name`` without ``transformers``.
    FileNotFoundError
        The weights of ``kumar_esc50``, ``medmnist3d`` or ``resnet50_robust`` are not there (the message says how to
        train them, or who publishes them).
    wam.assets.AssetError
        The weights could not be downloaded, or are not the pinned ones.

    Examples
    --------
    >>> import wam.data, wam.models
    >>> model, (image,) = wam.models.load("mobilenet_v2"), wam.data.images(1)
    >>> model.categories[model(model.prepare([image])).argmax()], model.categories[image.label]
    ('bull mastiff', 'bull mastiff')
    """
    builders = {"efficientnet_lite0": _efficientnet_lite0, "mobilenet_v2": _mobilenet_v2}
    builders |= dict.fromkeys(_TIMM, _timm)
    builders |= {"resnet50_robust": lambda name, trained: _resnet50_robust(name, weights, trained)}
    builders |= dict.fromkeys(LENET5, lenet5) | dict.fromkeys(CIFAR10_FAMILY, cifar10_resnet)
    builders |= {"yamnet": lambda _, trained: yamnet(trained)}
    builders |= {"kumar_esc50": lambda _, trained: kumar_esc50(weights, trained)}
    builders |= {"digits3d": lambda _, trained: digits3d(trained)}
    builders |= {"moving_digits": lambda _, trained: moving_digits(trained)}
    builders |= {"medmnist3d": lambda _, trained: medmnist3d(weights, trained)}
    build = builders.get(name) or _elsewhere(name, builders)
    if weights is not None and (name not in ("resnet50_robust", "kumar_esc50", "medmnist3d") or not pretrained):
        raise ValueError(
            "weights= is for the published resnet50_robust and for the pretrained kumar_esc50 and medmnist3d, "
            f"not for {name!r} with {pretrained=}; leave it out"
        )
    with torch.random.fork_rng(devices=[]):  # building draws weights: leave the caller's generator alone
        torch.default_generator.manual_seed(0)
        model = build(name, pretrained)
    if not pretrained:
        model.name = f"{name} (untrained)"
    return model.to(device, dtype).eval()


def _elsewhere(name: str, ours: Iterable[str]) -> Callable:
    """The builder of a model of timm or of Hugging Face, or an error with near names of ours and of timm's."""
    from wam import adapters, huggingface

    if isinstance(name, str) and name.startswith("hf:"):
        return lambda name, trained: huggingface.classifier(name.removeprefix("hf:"), pretrained=trained)
    theirs = timm.list_models() + timm.list_pretrained()
    if name in theirs:
        return adapters.timm_model
    near = difflib.get_close_matches(str(name), ours, n=3, cutoff=0.4)
    near += difflib.get_close_matches(str(name), theirs, n=3, cutoff=0.7)
    hint = f" Did you mean {' or '.join(map(repr, dict.fromkeys(near)))}?" if near else ""
    raise ValueError(
        f"unknown model {name!r}.{hint} Known models: {', '.join(ours)}; any name of timm.list_models(); hf:owner/name"
    )


def _efficientnet_lite0(name: str, pretrained: bool) -> ImageClassifier:
    """timm's architecture with the carried weights: the same tensors in the same order, other names."""
    from wam import adapters

    network = timm.create_model("tf_efficientnet_lite0.in1k", pretrained=False)
    if pretrained:
        carried, own = _carried_state(name), network.state_dict()

        def kinds(state: Mapping[str, Tensor]) -> list[tuple[str, torch.Size]]:
            return [(key.rpartition(".")[2], value.shape) for key, value in state.items()]

        if kinds(carried) != kinds(own):
            raise AssetError(
                f"the carried weights of {name} do not fit the architecture of timm {timm.__version__}: the "
                "order or the shapes of its tensors changed. Install the timm of constraints.txt."
            )
        network.load_state_dict(dict(zip(own, carried.values(), strict=True)))
    return adapters.from_timm(name, network, pretrained)


def _mobilenet_v2(name: str, pretrained: bool) -> ImageClassifier:
    network = mobilenet_v2(weights=None)
    if pretrained:
        network.load_state_dict(_carried_state(name))
    transform = MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
    (side,) = transform.crop_size
    return ImageClassifier(name, network, transform, transform.mean, transform.std, (side, side), pretrained)


def _timm(name: str, pretrained: bool) -> ImageClassifier:
    from wam import adapters

    model = adapters.timm_model(_TIMM[name], pretrained)
    model.name = name
    return model


def _resnet50_robust(name: str, weights: str | os.PathLike | None, pretrained: bool) -> ImageClassifier:
    """torchvision's ResNet-50 with the weights of a checkpoint, and with the normalisation where that holds one."""
    network, normalisation = resnet50(weights=None), None
    if pretrained:
        if weights is None or not Path(weights).is_file():
            named = f"there is no file {weights}" if weights else f"the weights of {name} come with no package"
            raise FileNotFoundError(
                f"{named}: their authors publish them, on GitHub MadryLab/robustness (imagenet_linf_4.pt) and "
                "locuslab/fast_adversarial (imagenet_model_weights_4px.pth.tar); the code of "
                "mahyarnajibi/FreeAdversarialTraining trains others. Give a file as weights=, or take pretrained=False"
            )
        state = checkpoints.read(weights)
        try:
            normalisation = checkpoints.fit(state, network)
        except ValueError as error:
            raise ValueError(f"{weights}: {error}") from error
        name = f"{name} ({Path(Path(weights).name.removesuffix('.tar')).stem})"
    transform = ResNet50_Weights.IMAGENET1K_V1.transforms(**(normalisation._asdict() if normalisation else {}))
    (side,) = transform.crop_size
    return ImageClassifier(name, network, transform, transform.mean, transform.std, (side, side), pretrained)


def _carried_state(name: str) -> dict[str, Tensor]:
    """State dict of an embedded network; loading it runs no code from the file."""
    (member,) = CATALOGUE[name].members
    return torch.load(fetch(CATALOGUE[name]) / member.rpartition("/")[2], weights_only=True)
