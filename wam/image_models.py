"""Classifiers of images to be explained: two embedded ones, any of timm's, and a ResNet-50 of published weights.

:func:`wam.models.load` gives them with their weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.models import MobileNet_V2_Weights, ResNet50_Weights, resnet50
from torchvision.transforms.functional import to_pil_image

from wam import checkpoints
from wam.assets import AssetError, files
from wam.catalogue import CATALOGUE
from wam.classifier import several, supplied
from wam.names import near
from wam.pictures import Pictures

__all__ = ["ImageClassifier", "efficientnet_lite0", "from_timm", "mobilenet_v2", "resnet50_robust", "timm_model"]

OFFLINE = (
    "They are needed once: connect to the internet and call again, or load the model on a connected machine, copy its "
    "Hugging Face cache here and set HF_HOME to the copy. Without a download there are efficientnet_lite0 and "
    "mobilenet_v2, whose weights come from the package index, and pretrained=False."
)


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

    exclusive = True
    """Whether one class alone is right, so that probabilities are a softmax, otherwise sigmoids. Can be set."""

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

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of a batch ``(batch, 3, height, width)`` in model space."""
        return self.network(x)

    @property
    def black(self) -> Tensor:
        """Model-space value of a black pixel, ``(3, 1, 1)``: ``(0 - mean) / std``."""
        return (0 - self.mean) / self.std

    def prepare(self, images: Image.Image | Iterable) -> Tensor:
        """Batch ``(batch, 3, height, width)`` in model space, in the model's dtype and on its device.

        ``images`` is a PIL image or a :class:`wam.data.LabelledImage`, or several of them; sizes may
        differ. So are :class:`wam.pictures.Pictures`. Greyscale, palette and CMYK images are converted to RGB first.

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
        fix = (
            "convert an array of 8-bit RGB with PIL.Image.fromarray; a tensor in model space goes to the model as it is"
        )
        if isinstance(images, Pictures):
            images = [to_pil_image((255 * values).round().byte()) for values in images.batch()]
        mode = "RGB" if len(self.mean) == 3 else "L"
        prepared = [self.transform(image.convert(mode)) for image in several(images, Image.Image, "image", fix)]
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


def timm_model(name: str, pretrained: bool = True) -> ImageClassifier:
    """Any image classifier of timm by its name, with or without a tag, in eval mode.

    Resizing, cropping and normalisation are those that timm's configuration states for evaluation. The classes have
    names where timm's label sets have them (ImageNet-1k, 12k, 21k, 22k, chosen by their number, as timm does),
    otherwise ``"class 17"``. The weights are downloaded at first use, by timm.

    Raises
    ------
    ValueError
        timm has no such model or tag (near names are suggested), publishes no weights for it, or it is an encoder
        without classes.
    wam.assets.AssetError
        The weights could not be downloaded.

    Examples
    --------
    >>> from wam import image_models
    >>> model = image_models.timm_model("mobilenetv3_small_050.lamb_in1k", pretrained=False)
    >>> model.input_size, model.categories[243]
    ((224, 224), 'bull mastiff')
    """
    known = timm.list_models() + timm.list_pretrained()
    if name not in known:
        hint = near(name, known, 0.6, 4) or "see timm.list_models('*part of a name*')"
        raise ValueError(f"timm {timm.__version__} has no model {name!r}; {hint}")
    if pretrained and not timm.models.is_model_pretrained(name):
        raise ValueError(f"timm publishes no weights for {name!r}: take pretrained=False, or one of list_pretrained()")
    try:
        network = timm.create_model(name, pretrained=pretrained)
    except OSError as error:
        raise AssetError(f"could not download the weights of {name} from timm's hub: {error} {OFFLINE}") from error
    return from_timm(name, network, pretrained)


def from_timm(name: str, network: nn.Module, pretrained: bool = True) -> ImageClassifier:
    """A network that timm made, in eval mode, with the preprocessing that its configuration states for evaluation.

    Its classes are called as the configuration says, as ImageNet's where their number is that of one, or ``"class 0"``.
    Of ``in_chans`` other than 3 the configuration knows nothing: :func:`wam.adapters.wrap` takes one channel.

    Raises
    ------
    ValueError
        It has no classes, or does not take images of three channels.

    Examples
    --------
    >>> import timm
    >>> from wam import image_models
    >>> image_models.from_timm("mine", timm.create_model("test_vit", num_classes=3), pretrained=False).categories
    ('class 0', 'class 1', 'class 2')
    """
    classes = network.num_classes
    if not classes:
        raise ValueError(f"{name} is an encoder without classes: there is no class score to explain; take a classifier")
    config = timm.data.resolve_model_data_config(network.eval())
    transform = timm.data.create_transform(**config, is_training=False)
    _, height, width = config["input_size"]
    _check_channels(name, network, height, width)
    given = {"mean": config["mean"], "std": config["std"], "input_size": (height, width), "pretrained": pretrained}
    names = getattr(network, "pretrained_cfg", {}).get("label_names") or ()
    if len(names) == classes:
        given["categories"] = names
    elif subset := timm.data.infer_imagenet_subset(network):
        if classes != 1000:  # for which there are shorter ones
            info = timm.data.ImageNetInfo(subset)
            given["categories"] = [info.index_to_description(i).partition(",")[0] for i in range(classes)]
    else:
        given["categories"] = [f"class {i}" for i in range(classes)]
    return ImageClassifier(name, network, transform, **given).eval()


def _check_channels(name: str, network: nn.Module, height: int, width: int) -> None:
    """A ``ValueError`` if a network does not take three channels: its first convolution tells, otherwise a run."""
    if next((part.in_channels for part in network.modules() if isinstance(part, nn.Conv2d)), None) == 3:
        return
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, height, width).to(next(network.parameters())))
    except RuntimeError as error:
        raise ValueError(
            f"{name} does not take images of three channels, for which its configuration is made: {error}. For one "
            f"channel call adapters.wrap(network, ndim=2, channels=1, input_size=({height}, {width}), mean=[...], "
            "std=[...]) with the normalisation of its training"
        ) from error


def efficientnet_lite0(name: str = "efficientnet_lite0", pretrained: bool = True) -> ImageClassifier:
    """EfficientNet-Lite0, of timm, with the carried weights: the same tensors in the same order, other names."""
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
    return from_timm(name, network, pretrained)


def mobilenet_v2(name: str = "mobilenet_v2", pretrained: bool = True) -> ImageClassifier:
    """MobileNetV2, of torchvision, with the carried weights."""
    network = torchvision.models.mobilenet_v2(weights=None)
    if pretrained:
        network.load_state_dict(_carried_state(name))
    transform = MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
    (side,) = transform.crop_size
    return ImageClassifier(name, network, transform, transform.mean, transform.std, (side, side), pretrained)


def resnet50_robust(weights: str | os.PathLike | None, pretrained: bool = True) -> ImageClassifier:
    """ResNet-50, of torchvision, with the weights of a checkpoint, and with the normalisation where that holds one.

    Raises
    ------
    FileNotFoundError, ValueError
        No file is named, there is none, or its tensors are not those of the network (:mod:`wam.checkpoints`).
    """
    name, network, normalisation = "resnet50_robust", resnet50(weights=None), None
    if pretrained:
        how = (
            "their authors publish them, on GitHub MadryLab/robustness (imagenet_linf_4.pt) and "
            "locuslab/fast_adversarial (imagenet_model_weights_4px.pth.tar); the code of "
            "mahyarnajibi/FreeAdversarialTraining trains others"
        )
        state = checkpoints.read(supplied(weights, name, how))
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
    (file,) = files(CATALOGUE[name])
    return torch.load(file, weights_only=True)
