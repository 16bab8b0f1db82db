"""Classifiers of small pictures to be explained: a LeNet pair for MNIST, and a family of ResNets for CIFAR-10.

Within each, the architecture is one and the training differs: as usual, or against an adversary.
:func:`wam.models.load` gives them with their weights; the family is trained by :mod:`wam.recipes`.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock
from torchvision.transforms import Normalize

from wam.assets import files
from wam.catalogue import CATALOGUE
from wam.classifier import WEIGHTS, Classifier, read
from wam.pictures import CIFAR10_CATEGORIES, Pictures

__all__ = ["CIFAR10_FAMILY", "LENET5", "LeNet5", "PictureClassifier", "cifar10_resnet", "lenet5", "small_resnet"]

LENET5 = ("lenet5", "lenet5_adv")
"""The pair for MNIST: trained as usual, and against PGD with a radius of 0.3."""

CIFAR10_FAMILY = ("cifar10_erm", "cifar10_adv", "cifar10_adv_fast", "cifar10_adv_free")
"""The family for CIFAR-10: empirical risk minimisation, PGD (Madry), Fast (Wong), Free (Shafahi)."""


class PictureClassifier(Classifier):
    """A classifier of pictures ``(batch, channels, height, width)``; see :class:`wam.classifier.Classifier`.

    Examples
    --------
    >>> import wam.data, wam.models
    >>> model = wam.models.load("lenet5")
    >>> digits = wam.data.mnist("test", 4)
    >>> model(model.prepare(digits)).argmax(1).tolist(), digits.labels.tolist()
    ([7, 2, 1, 0], [7, 2, 1, 0])
    """

    EXAMPLES, ndim = Pictures, 2

    def display(self, x: Tensor) -> np.ndarray:
        """Images ``(batch, height, width, channels)`` in [0, 1], float32, of a batch of pictures."""
        return x.detach().clamp(0, 1).permute(0, 2, 3, 1).float().cpu().numpy()


class LeNet5(nn.Module):
    """The network of AdverTorch's MNIST examples, ``(batch, 1, 28, 28)`` to ``(batch, 10)``.

    Two convolutions of 3 x 3 with 32 and 64 channels, each with ReLU and max-pooling by 2, then 3136 to 200 to 10.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.relu1, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.pool1, self.pool2 = nn.MaxPool2d(2), nn.MaxPool2d(2)
        self.linear1, self.linear2 = nn.Linear(7 * 7 * 64, 200), nn.Linear(200, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(batch, 10)`` of pictures ``(batch, 1, 28, 28)``."""
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        return self.linear2(self.relu3(self.linear1(x.flatten(1))))


def small_resnet(widths: tuple[int, ...] = (16, 32, 64, 128), classes: int = 10) -> nn.Sequential:
    """A residual network for 32 x 32 pixels: a convolution, torchvision's basic blocks of stride 2, a linear layer.

    With the default widths it has 304,154 parameters. CIFAR-10's mean and standard deviation are inside.

    Examples
    --------
    >>> import torch
    >>> from wam.picture_models import small_resnet
    >>> small_resnet()(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])

    References
    ----------
    He et al., Deep residual learning for image recognition, 2016.
    """

    def block(width: int, channels: int) -> BasicBlock:
        shortcut = nn.Sequential(nn.Conv2d(width, channels, 1, 2, bias=False), nn.BatchNorm2d(channels))
        return BasicBlock(width, channels, 2, shortcut)

    stem = nn.Conv2d(3, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
    layers = {"normalise": Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)), "stem": nn.Sequential(*stem)}
    layers |= {f"block{i}": block(*pair) for i, pair in enumerate(zip(widths, widths[1:]), start=1)}
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "linear": nn.Linear(widths[-1], classes)}
    return nn.Sequential(OrderedDict(layers))


def lenet5(name: str = "lenet5", pretrained: bool = True) -> PictureClassifier:
    """:class:`LeNet5` with the weights of AdverTorch: ``"lenet5"`` as usual, ``"lenet5_adv"`` against PGD.

    Raises
    ------
    wam.assets.AssetError
        The weights could not be downloaded at first use.
    """
    network, card, asset = LeNet5(), {}, CATALOGUE["lenet5"]
    if pretrained:
        usual, adversarial = files(asset)
        file = adversarial if name == "lenet5_adv" else usual
        network.load_state_dict(torch.load(file, weights_only=True, map_location="cpu"))
        training = "PGD, radius 0.3" if name == "lenet5_adv" else "as usual"
        card = {"name": name, "data": "MNIST, train", "training": training, "source": asset.source}
    return PictureClassifier(name, network, map(str, range(10)), card=card)


def cifar10_resnet(name: str = "cifar10_erm", pretrained: bool = True) -> PictureClassifier:
    """:func:`small_resnet` with the weights of one of :data:`CIFAR10_FAMILY`, trained by :func:`wam.recipes.cifar10`.

    Raises
    ------
    FileNotFoundError
        The weights of this one do not come with the package (the message says how to train it).
    """
    network, card = small_resnet(), {}
    if pretrained:
        if not (file := WEIGHTS / f"{name}.safetensors").is_file():
            raise FileNotFoundError(
                f"the weights of {name} do not come with the package: python -m wam.recipes cifar10 OUT --training "
                f"{name.removeprefix('cifar10_')} trains them; put OUT/{name}.safetensors into {WEIGHTS}"
            )
        state, card = read(file)
        network.load_state_dict(state)
    return PictureClassifier(name, network.to(memory_format=torch.channels_last), CIFAR10_CATEGORIES, 3, card)
