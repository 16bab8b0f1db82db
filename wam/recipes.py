"""What is trained here, on what: the networks that come with the package, and two of the paper profile.

``python -m wam.recipes --help`` lists them. Every run is seeded and resumable (:func:`wam.training.train`).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from wam import adversarial, picture_models, pictures, sound_models, sounds, volume_models, volumes
from wam.checks import choice
from wam.classifier import Classifier, read
from wam.examples import Examples
from wam.training import Record, accuracy, binary_cross_entropy, store, train

Network = TypeVar("Network", bound=nn.Module)


def digits3d(out: str | os.PathLike, *, device: str | torch.device = "cpu", **options: Any) -> dict[str, Any]:
    """Train the paper's network of voxels on all 60,000 training digits of :func:`wam.volumes.digits3d`.

    ``out/digits3d.safetensors`` is the file that comes with the package. On two cores an epoch takes half a minute.

    Parameters
    ----------
    out, options
        The folder of the run, and settings of :func:`wam.training.train` in place of 15 epochs, batches of 128 and a
        learning rate of 2e-3; the initial weights depend on the ``seed``, too.
    device
        Where to train.

    Returns
    -------
    dict
        The card of the file, with the accuracy of the stored weights on the 10,000 test digits.

    Raises
    ------
    ValueError, FloatingPointError, wam.assets.AssetError
        As :func:`wam.training.train` and :func:`wam.volumes.digits3d`.
    """
    model = _seeded(lambda: volume_models.digits3d(pretrained=False), device, options)
    training, held_out = volumes.digits3d("train"), volumes.digits3d("test")
    return _trained(model, model.network, training, held_out, "digits3d", out, {"epochs": 15} | _USUAL | options)


def moving_digits(out: str | os.PathLike, *, device: str | torch.device = "cpu", **options: Any) -> dict[str, Any]:
    r"""Train the same network to tell digit and direction of :func:`wam.volumes.moving_digits`, both at once.

    With logits :math:`a_d` of the digits and :math:`b_m` of the directions, the pair has the logit :math:`a_d + b_m`,
    so its cross entropy is the sum of the two. ``out/moving_digits.safetensors`` comes with the package.

    Parameters, result and errors are those of :func:`digits3d`, but for 8 epochs; the accuracy is that of the pair.
    """
    model = _seeded(lambda: volume_models.moving_digits(pretrained=False), device, options)
    training, held_out = volumes.moving_digits("train"), volumes.moving_digits("test")
    settings = {"epochs": 8} | _USUAL | options
    return _trained(model, _Pairs(model.network), training, held_out, "moving_digits", out, settings)


def medmnist3d(
    out: str | os.PathLike,
    name: str = "adrenalmnist3d",
    *,
    file: str | os.PathLike | None = None,
    size: int = 28,
    device: str | torch.device = "cpu",
    **options: Any,
) -> dict[str, Any]:
    """Train a ResNet-18 with 3D convolutions on a set of MedMNIST3D.

    ``out/NAME.safetensors`` is for ``wam.models.load("medmnist3d", weights=...)``. The poster of the paper explains a
    "3D Former" on AdrenalMNIST3D, of which nothing is known but this name; MedMNIST's own baseline is of this kind.
    Nobody tuned the settings.

    Parameters
    ----------
    name, file, size
        As for :func:`wam.volumes.medmnist3d`.
    out, device, options
        As for :func:`digits3d`, but for 100 epochs and the defaults of :func:`wam.training.train`. The accuracy on the
        set's ``val`` split is measured after every epoch, that of the stored weights on its ``test`` split.

    Raises
    ------
    FileNotFoundError, ImportError, ValueError, FloatingPointError
        As :func:`wam.volumes.medmnist3d` and :func:`wam.training.train`.
    """
    training, validation, held_out = (
        volumes.medmnist3d(name, split, file=file, size=size) for split in ("train", "val", "test")
    )
    categories, channels = training.categories, training.values.shape[1]
    network = _seeded(lambda: volume_models.resnet18_3d(channels, len(categories)), device, options)
    model = volume_models.VolumeClassifier(name, network, categories, channels)
    settings = {"epochs": 100, "validation": validation} | options
    return _trained(model, network, training, held_out, f"medmnist3d --name {name}", out, settings)


def esc50(
    folder: str | os.PathLike | None,
    out: str | os.PathLike,
    fold: int = 1,
    *,
    device: str | torch.device = "cpu",
    **options: Any,
) -> list[Record]:
    """Train the network of Kumar et al. on four folds of ESC-50, and measure it on the fifth after every epoch.

    ``out/weights.safetensors`` is for ``wam.models.load("kumar_esc50", weights=...)``. Nothing is pre-trained: Kumar et
    al. went from AudioSet to ESC-50, so expect less than their accuracy. Nobody tuned the settings on ESC-50.

    Parameters
    ----------
    folder, fold
        ESC-50, as for :func:`wam.sounds.esc50`, and the fold that is held out.
    out, device, options
        As for :func:`medmnist3d`.

    Raises
    ------
    FileNotFoundError, ValueError, FloatingPointError
        As :func:`wam.sounds.esc50`, :class:`wam.sounds.SoundExamples` and :func:`wam.training.train`.
    """
    held_out = sounds.esc50(folder, (fold,))
    training = sounds.esc50(folder, [other for other in range(1, 6) if other != fold])
    model = _seeded(lambda: sound_models.kumar(held_out.categories), device, options)
    examples, validation = (sounds.SoundExamples(model, files) for files in (training, held_out))
    card = {"data": training.source, "held_out": held_out.source, "categories": held_out.categories}
    settings = {"epochs": 100, "validation": validation, "loss": binary_cross_entropy, "card": card} | options
    return train(model, examples, out, **settings)


def cifar10(
    out: str | os.PathLike,
    training: str = "erm",
    *,
    radius: float = 4 / 255,
    device: str | torch.device = "cpu",
    **options: Any,
) -> dict[str, Any]:
    r"""Train a ResNet on CIFAR-10, as usual or against an adversary of radius 4/255.

    ``out/cifar10_TRAINING.safetensors`` comes with the package. The architecture, the augmentation, the optimiser, the
    seed and so the initial weights are one for all of :data:`TRAININGS`; what a step sees differs, and how many steps
    there are.

    Parameters
    ----------
    training
        ``"erm"`` (empirical risk minimisation), ``"adv"`` (PGD with 7 steps, Madry et al.), ``"adv_fast"`` (one step
        from a random start, Wong et al.), ``"adv_free"`` (4 replays, Shafahi et al.).
    radius
        Of the attacks, in the maximum norm, for pictures from 0 to 1.
    out, device, options
        As for :func:`digits3d`, but for 20 epochs, of ``"adv"`` 12 and of ``"adv_free"`` 10. With replays an epoch is
        one run through the pictures, each seen 4 times. The stored weights are measured on the 10,000 test pictures,
        clean and under PGD of 20 steps (:func:`wam.adversarial.robust_accuracy`, Foolbox).

    Raises
    ------
    ValueError, FloatingPointError, wam.assets.AssetError
        For an unknown training, a radius that is not above 0 and at most 1, and as :func:`wam.training.train` and
        :func:`wam.pictures.cifar10`.
    ImportError
        Foolbox cannot be imported; before the training, not after it.
    """
    choice(training, TRAININGS, "training")
    adversarial.check_radius(radius)
    adversarial.attack_library()
    perturb, usual = {
        "erm": (adversarial.Augment(), 20),
        "adv": (adversarial.Attack(radius, radius / 4, 7), 12),
        "adv_fast": (adversarial.Attack(radius, 1.25 * radius), 20),
        "adv_free": (adversarial.Free(radius, 4), 10),
    }[training]
    name = f"cifar10_{training}"
    model = _seeded(lambda: picture_models.cifar10_resnet(name, pretrained=False), device, options)
    settings = {"epochs": usual, "perturb": perturb, "replays": getattr(perturb, "replays", 1)} | _USUAL | options
    seen, held_out = pictures.cifar10("train"), pictures.cifar10("test")
    return _trained(model, model.network, seen, held_out, f"cifar10 --training {training}", out, settings, radius)


_USUAL = {"batch": 128, "learning_rate": 2e-3}

TRAININGS = ("erm", "adv", "adv_fast", "adv_free")
"""What :func:`cifar10` can do."""

RECIPES: Mapping[str, Callable[..., Any]] = {
    recipe.__name__: recipe for recipe in (digits3d, moving_digits, cifar10, medmnist3d, esc50)
}
"""Everything that ``python -m wam.recipes`` trains, by name."""


class _Pairs(nn.Module):
    """From logits of digits and of directions to logits of their pairs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        digit, direction = self.network(x).split([10, len(volumes.DIRECTIONS)], dim=1)
        return (digit[:, :, None] + direction[:, None]).flatten(1)


def _seeded(build: Callable[[], Network], device: str | torch.device, options: Mapping[str, Any]) -> Network:
    """An untrained network whose weights depend on the seed; the caller's generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(options.get("seed", 0))
        return build().to(device)


def _trained(
    model: Classifier,
    head: nn.Module,
    training: Examples,
    held_out: Examples,
    command: str,
    out: str | os.PathLike,
    options: Mapping[str, Any],
    radius: float | None = None,
) -> dict[str, Any]:
    """Train ``model`` by what ``head`` makes of it, store it in ``float16``, and measure what was stored.

    With a radius it is measured under attack, too.
    """
    card = {"name": model.name, "recipe": f"python -m wam.recipes {command} OUT", "data": training.source}
    card |= {"categories": model.categories, "channels": model.channels}
    train(head, training, out, card=card, **options)
    _, about = read(Path(out) / "weights.safetensors")
    state = {
        name: value.half() if value.is_floating_point() else value for name, value in model.network.state_dict().items()
    }
    model.network.load_state_dict(state)
    about["stored"] = {"dtype": "float16", "accuracy": accuracy(head, held_out, 250), "on": held_out.source}
    about["stored"]["of"] = len(held_out)
    if radius is not None:
        progress = options.get("progress", True)
        robust = adversarial.robust_accuracy(head, held_out, radius, steps=20, progress=progress)
        about["stored"] |= {"pgd20": robust, "radius": radius}
    store(Path(out) / f"{model.name}.safetensors", state, about)
    return about


def main(arguments: Sequence[str] | None = None) -> int:
    """Train a network of this book. Exit codes: 0 done, 2 impossible, 130 interrupted (the same command goes on)."""
    parser = argparse.ArgumentParser(prog="python -m wam.recipes", description=main.__doc__)
    recipes = parser.add_subparsers(dest="recipe", required=True, metavar="RECIPE")
    for name, recipe in RECIPES.items():
        what = recipe.__doc__.splitlines()[0].replace(":func:", "").replace("`", "")
        add = recipes.add_parser(name, help=what, description=what, argument_default=argparse.SUPPRESS).add_argument
        if recipe is esc50:
            add("folder", help="the data: the folder of ESC-50")
            add("--fold", type=int, help="the fold that is held out (default 1)")
        add("out", help="where the run is kept")
        if recipe is medmnist3d:
            add("--name", choices=list(volumes.MEDMNIST), help="which set (default adrenalmnist3d)")
            add("--file", help="its npz file; by default the medmnist package downloads it")
            add("--size", type=int, help="voxels along an axis, 28 (default) or 64")
        if recipe is cifar10:
            add("--training", choices=TRAININGS, help="how: as usual (erm, default), or against which adversary")
            add("--radius", type=float, help="of the adversary, for pictures from 0 to 1 (default 4/255)")
        add("--epochs", type=int, help="passes through the examples")
        add("--batch", type=int, help="examples in a step")
        add("--learning-rate", type=float, help="the largest of the schedule")
        add("--seed", type=int, help="of the initial weights and the order of the examples (default 0)")
        add("--device", help="where to train: cpu (default), cuda, ...")
    options = vars(parser.parse_args(arguments))
    try:
        result = RECIPES[options.pop("recipe")](**options)
    except KeyboardInterrupt:
        print("\ninterrupted: finished epochs are kept, and the same command continues", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError, ImportError, FloatingPointError, AssertionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if isinstance(result, dict):
        stored = result["stored"]
        print(f"accuracy of the weights in {options['out']} on {stored['on']}: {stored['accuracy']:.4f}")
        if "pgd20" in stored:
            print(f"under PGD of 20 steps with a radius of {255 * stored['radius']:g}/255: {stored['pgd20']:.4f}")
    else:
        print(f"accuracy on the fold held out: {result[-1]['validation']:.3f}; {options['out']}/weights.safetensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
