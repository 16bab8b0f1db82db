"""Classifiers of images, small pictures, sounds and volumes to be explained, each one with its own preprocessing.

Five are *embedded*: their weights come from the package index (:mod:`wam.assets`) and need no other download. Two
small networks of volumes come with the package, and four of small pictures (:mod:`wam.picture_models`). The four image
networks of the paper come from timm under short names, and their weights from timm's model hub; its sound network, and
one of medical volumes, have to be trained (:mod:`wam.recipes`). Robust weights of a ResNet-50 are read from a file that
their authors publish (:mod:`wam.checkpoints`). Beside these names, any name of timm is one, and ``hf:owner/name`` is an
image or audio classifier of Hugging Face (:mod:`wam.huggingface`).

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
from collections.abc import Callable, Iterable, Mapping

import timm
import torch

from wam import huggingface
from wam.image_models import ImageClassifier, efficientnet_lite0, mobilenet_v2, resnet50_robust, timm_model
from wam.picture_models import CIFAR10_FAMILY, LENET5, PictureClassifier, cifar10_resnet, lenet5
from wam.sound_models import SoundClassifier, kumar_esc50, yamnet
from wam.volume_models import VolumeClassifier, digits3d, medmnist3d, moving_digits

__all__ = ["EMBEDDED", "PAPER", "ImageClassifier", "load", "usable"]

#: Names of the image networks whose weights come from the package index.
EMBEDDED = ("efficientnet_lite0", "mobilenet_v2")

#: Short names of the paper's image networks -> timm's names. The paper says only "resnet18": ``a1_in1k`` is the
#: checkpoint that timm resolves that name to.
PAPER: Mapping[str, str] = {
    "resnet18": "resnet18.a1_in1k",
    "convnext_small": "convnext_small.fb_in22k_ft_in1k_384",
    "efficientnet_b0": "tf_efficientnet_b0.ns_jft_in1k",
    "deit_tiny": "deit_tiny_patch16_224.fb_in1k",
}

_TIMM = {**PAPER, "resnet50": "resnet50.tv_in1k"}  # torchvision's first weights, beside which robust ones are put


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
        Unknown name (near names are suggested), a device that cannot be used, or a file of weights that does not fit;
        and as :func:`wam.image_models.timm_model` and :func:`wam.huggingface.classifier`.
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
    alone = {"yamnet": yamnet, "digits3d": digits3d, "moving_digits": moving_digits}
    from_file = {"resnet50_robust": resnet50_robust, "kumar_esc50": kumar_esc50, "medmnist3d": medmnist3d}
    builders = {"efficientnet_lite0": efficientnet_lite0, "mobilenet_v2": mobilenet_v2}
    builders |= dict.fromkeys(_TIMM, lambda name, trained: timm_model(_TIMM[name], trained))
    builders |= dict.fromkeys(LENET5, lenet5) | dict.fromkeys(CIFAR10_FAMILY, cifar10_resnet)
    builders |= dict.fromkeys(alone, lambda name, trained: alone[name](trained))
    builders |= dict.fromkeys(from_file, lambda name, trained: from_file[name](weights, trained))
    build = builders.get(name) or _elsewhere(name, builders)
    usable(device)
    if weights is not None and (name not in from_file or not pretrained):
        raise ValueError(
            "weights= is for the published resnet50_robust and for the pretrained kumar_esc50 and medmnist3d, "
            f"not for {name!r} with {pretrained=}; leave it out"
        )
    with torch.random.fork_rng(devices=[]):  # building draws weights: leave the caller's generator alone
        torch.default_generator.manual_seed(0)
        model = build(name, pretrained)
    if name in _TIMM:
        model.name = name
    if not pretrained:
        model.name = f"{name} (untrained)"
    return model.to(device, dtype).eval()


def usable(device: str | torch.device) -> None:
    """A ``ValueError`` if nothing can be put on a device."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from None


def _elsewhere(name: str, ours: Iterable[str]) -> Callable:
    """The builder of a model of timm or of Hugging Face, or an error with near names of ours and of timm's."""
    if isinstance(name, str) and name.startswith("hf:"):
        return lambda name, trained: huggingface.classifier(name.removeprefix("hf:"), pretrained=trained)
    theirs = timm.list_models() + timm.list_pretrained()
    if name in theirs:
        return timm_model
    near = difflib.get_close_matches(str(name), ours, n=3, cutoff=0.4)
    near += difflib.get_close_matches(str(name), theirs, n=3, cutoff=0.7)
    hint = f" Did you mean {' or '.join(map(repr, dict.fromkeys(near)))}?" if near else ""
    raise ValueError(
        f"unknown model {name!r}.{hint} Known models: {', '.join(ours)}; any name of timm.list_models(); hf:owner/name"
    )
