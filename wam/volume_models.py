"""Classifiers of volumes to be explained: the paper's small network of voxels, and a ResNet for medical volumes.

:func:`wam.models.load` gives them with their weights. Two of them are trained by :mod:`wam.recipes` and come with the
package.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.video.resnet import BasicBlock, Conv3DSimple, VideoResNet

from wam.classifier import WEIGHTS, Classifier, read, reading
from wam.volumes import DIRECTIONS, MEDMNIST, Volumes

__all__ = ["VolumeClassifier", "VoxelCNN", "digits3d", "medmnist3d", "moving_digits", "resnet18_3d"]


class VolumeClassifier(Classifier):
    """A classifier of volumes ``(batch, channels, depth, height, width)``; see :class:`wam.classifier.Classifier`.

    Examples
    --------
    >>> import wam.data, wam.models
    >>> model = wam.models.load("digits3d")
    >>> digits = wam.data.digits3d("test", 4)
    >>> model(model.prepare(digits)).argmax(1).tolist(), digits.labels.tolist()
    ([7, 2, 1, 0], [7, 2, 1, 0])
    """

    EXAMPLES, ndim = Volumes, 3


class VoxelCNN(nn.Module):
    """The paper's small network of voxels, ``(batch, 1, *spatial)`` to ``(batch, classes)``.

    Two convolutions of 3 x 3 x 3 with 32 and 128 channels, each with ReLU, max-pooling by 2 and dropout of 0.3; then
    1024 to 256 to the classes. For 10 classes it has 376,586 parameters. The paper's volumes have 16 voxels along every
    axis, of which the convolutions leave 2 x 2 x 2. A last max-pooling brings volumes of other sizes to that, odd and
    unequal ones too; at 16 it changes nothing.

    Parameters
    ----------
    classes
        Number of classes.

    Raises
    ------
    ValueError
        From a call: the volume does not have one channel, or has an axis of fewer than 10 voxels.

    References
    ----------
    The authors' released code, as described; the paper gives no architecture.
    """

    LEAST = 10
    """The least number of voxels along an axis."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(*_block(1, 32), *_block(32, 128))
        self.pool = nn.AdaptiveMaxPool3d(2)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(1024, 256), nn.ReLU(), nn.Linear(256, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of volumes ``(batch, 1, depth, height, width)``."""
        if x.ndim != 5 or x.shape[1] != 1 or min(x.shape[2:]) < self.LEAST:
            raise ValueError(
                f"the network of voxels takes volumes (batch, 1, depth, height, width) of {self.LEAST} voxels or more "
                f"along every axis, got shape {tuple(x.shape)}"
            )
        return self.classifier(self.pool(self.features(x)))


def _block(width: int, channels: int) -> list[nn.Module]:
    return [nn.Conv3d(width, channels, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Dropout(0.3)]


def resnet18_3d(channels: int = 1, classes: int = 2) -> VideoResNet:
    """A ResNet-18 with three-dimensional convolutions (torchvision's ``VideoResNet``), for small volumes.

    torchvision's stem is made for video and shrinks height and width at once; here it is one convolution of 3 x 3 x 3
    without a stride, as in the baselines of MedMNIST. It takes volumes of any size, odd and unequal ones too.

    Examples
    --------
    >>> import torch
    >>> from wam.volume_models import resnet18_3d
    >>> resnet18_3d(classes=3)(torch.zeros(2, 1, 9, 12, 11)).shape
    torch.Size([2, 3])

    References
    ----------
    He et al., Deep residual learning for image recognition, 2016; Yang et al., MedMNIST v2, 2023.
    """
    network = VideoResNet(BasicBlock, [Conv3DSimple] * 4, [2, 2, 2, 2], nn.Identity, num_classes=classes)
    stem = nn.Conv3d(channels, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    network.stem = nn.Sequential(stem, nn.BatchNorm3d(64), nn.ReLU(inplace=True))
    return network


def digits3d(pretrained: bool = True) -> VolumeClassifier:
    """:class:`VoxelCNN` for :func:`wam.volumes.digits3d`, trained by :func:`wam.recipes.digits3d`."""
    return _shipped("digits3d", [str(digit) for digit in range(10)], pretrained)


def moving_digits(pretrained: bool = True) -> VolumeClassifier:
    """:class:`VoxelCNN` for :func:`wam.volumes.moving_digits`, trained by :func:`wam.recipes.moving_digits`.

    One network, two questions: ten logits say which digit it is, four others where it moves. So always name the class
    to be explained, ``labels // 4`` or ``10 + labels % 4``: the largest of the fourteen logits, or their softmax, mixes
    the questions.

    Examples
    --------
    >>> import wam.data, wam.models
    >>> model, clips = wam.models.load("moving_digits"), wam.data.moving_digits("test", 2)
    >>> logits = model(model.prepare(clips))
    >>> logits[:, :10].argmax(1).tolist(), (clips.labels // 4).tolist()
    ([7, 2], [7, 2])
    >>> [model.categories[10 + label % 4] for label in clips.labels], logits[:, 10:].argmax(1).tolist()
    (['down', 'down'], [3, 3])
    """
    return _shipped("moving_digits", [*map(str, range(10)), *DIRECTIONS], pretrained)


def medmnist3d(weights: str | os.PathLike | None, pretrained: bool = True) -> VolumeClassifier:
    """:func:`resnet18_3d` with weights from a file that :func:`wam.recipes.medmnist3d` wrote, named after its set.

    Without training it has the two classes of AdrenalMNIST3D.

    Raises
    ------
    FileNotFoundError
        No file is named, or there is none.
    ValueError
        The file is not such a file.
    """
    if not pretrained:
        categories = MEDMNIST["adrenalmnist3d"]
        return VolumeClassifier("medmnist3d", resnet18_3d(1, len(categories)), categories)
    how = "python -m wam.recipes medmnist3d OUT trains the network and writes OUT/adrenalmnist3d.safetensors"
    with reading(weights, "medmnist3d", how) as (state, card):
        network = resnet18_3d(card["channels"], len(card["categories"]))
        network.load_state_dict(state)
        return VolumeClassifier(str(card["name"]), network, card["categories"], card["channels"], card)


def _shipped(name: str, categories: Sequence[str], pretrained: bool) -> VolumeClassifier:
    network, card = VoxelCNN(len(categories)), {}
    if pretrained:
        state, card = read(WEIGHTS / f"{name}.safetensors")
        network.load_state_dict(state)
    network = network.to(memory_format=torch.channels_last_3d)  # faster on a CPU
    return VolumeClassifier(name, network, categories, card=card)
