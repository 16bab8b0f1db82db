r"""What pictures go through before a step of training: shifts and flips, and the attacks of adversarial training.

Each is the ``perturb`` of :func:`wam.training.train`. With pictures :math:`x` from 0 to 1, classes :math:`y` and the
loss :math:`\ell`, adversarial training looks for

.. math:: \min_\theta \; \mathbb E \max_{\|\delta\|_\infty \le \epsilon} \ell(f_\theta(x + \delta), y)

and the three variants differ in how they come by :math:`\delta`. Signed gradient steps are those of Captum's ``PGD``.
How well that works is measured by another library, Foolbox (:func:`robust_accuracy`).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from types import ModuleType

import torch
from captum.robust import PGD
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from wam.checks import positive
from wam.scoring import frozen

PICTURE = (0.0, 1.0)
"""The range of the values of a picture."""


@dataclass(frozen=True)
class Augment:
    """Every picture shifted by up to ``shift`` pixels along each axis (black comes in), and half of them mirrored."""

    shift: int = 4

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        padded = nn.functional.pad(x, [self.shift] * 4)
        top, left = torch.randint(0, 2 * self.shift + 1, (2, batch, 1), device=x.device)
        rows = top + torch.arange(height, device=x.device)
        columns = left + torch.arange(width, device=x.device)
        columns = torch.where(torch.rand(batch, 1, device=x.device) < 0.5, columns, columns.flip(1))
        each = torch.arange(batch, device=x.device)[:, None, None]
        return padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def pgd(model: nn.Module, x: Tensor, y: Tensor, radius: float, step: float, steps: int) -> Tensor:
    r"""Projected gradient ascent on the cross entropy from a random start, in the maximum norm (Captum's ``PGD``).

    :math:`x_{k+1} = \Pi\big(x_k + s \operatorname{sign} \nabla \ell(f(x_k), y)\big)`, where :math:`\Pi` clips to within
    ``radius`` of the picture and to values from 0 to 1.

    Examples
    --------
    >>> import torch
    >>> from wam.adversarial import pgd
    >>> model = lambda x: torch.stack([x.sum(1), -x.sum(1)], dim=1)
    >>> pgd(model, torch.tensor([[0.5, 0.05]]), torch.tensor([0]), radius=0.1, step=0.1, steps=5)
    tensor([[0.4000, 0.0000]])
    """
    attack = PGD(model, nn.CrossEntropyLoss(reduction="none"), *PICTURE)
    with warnings.catch_warnings():  # Captum says in every step that it sets what the gradient needs
        warnings.filterwarnings("ignore", "Input Tensor 0 did not already require gradients")
        return attack.perturb(x, radius, step, steps, y, random_start=True)


@dataclass(frozen=True)
class Attack:
    r"""Projected gradient ascent from a random start, after :class:`Augment`.

    Many small steps are the attack of Madry et al. (``ADV``), one step of :math:`1.25\,\epsilon` is that of Wong et al.
    (``ADV-Fast``). The network stays in training mode, so its batch normalisation sees the steps, too.

    Parameters
    ----------
    radius, step, steps
        :math:`\epsilon`, for pictures from 0 to 1; of a gradient step; their number.

    References
    ----------
    Madry et al., Towards deep learning models resistant to adversarial attacks, 2018; Wong et al., Fast is better than
    free: revisiting adversarial training, 2020.
    """

    radius: float
    step: float
    steps: int = 1
    augment: Augment = Augment()

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return pgd(model, self.augment(model, x, y), y, self.radius, self.step, self.steps)


@dataclass(eq=False)
class Free:
    r"""Adversarial training for free: a minibatch is used ``replays`` times, and each step moves the perturbation, too.

    The gradient of the picture is a by-product of the backward pass that gives the gradient of the weights; before the
    next replay of the same pictures the perturbation makes a step of :math:`\epsilon` along its sign. The same number
    goes to :func:`wam.training.train` as ``replays``. Another tensor ``x`` than the last one is a new minibatch, also
    where the last one was not used up: that run was interrupted.

    Parameters
    ----------
    radius, replays
        :math:`\epsilon`, for pictures from 0 to 1; how often a minibatch is used.

    Notes
    -----
    Shafahi et al. carry the perturbation over to the next minibatch. Here each one begins with uniform noise, so that
    an epoch depends on nothing before it but the weights and a run can be continued.

    References
    ----------
    Shafahi et al., Adversarial training for free!, 2019.
    """

    radius: float
    replays: int
    augment: Augment = Augment()

    def __post_init__(self) -> None:
        self._given, self._uses = None, 0

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if x is not self._given or self._uses == self.replays:
            self._given, self._uses = x, 0
            self._x = self.augment(model, x, y)
            self._delta = torch.empty_like(self._x).uniform_(-self.radius, self.radius)
        else:
            self._delta = (self._delta + self.radius * self._seen.grad.sign()).clamp(-self.radius, self.radius)
        self._uses += 1
        self._seen = (self._x + self._delta).clamp(*PICTURE).requires_grad_()
        return self._seen


def robust_accuracy(
    model: nn.Module,
    examples: Dataset,
    radius: float,
    *,
    steps: int = 20,
    batch: int = 250,
    seed: int = 0,
    progress: bool = False,
) -> float:
    r"""The share of ``examples`` that are classified right, and still so under projected gradient descent by Foolbox.

    :math:`\frac 1n \#\{i : c(x_i) = y_i \text{ and } c(x_i + \delta_i) = y_i\}` with the predicted class :math:`c` and
    the :math:`\delta_i` of Madry's attack, :math:`\|\delta_i\|_\infty \le \epsilon`: ``steps`` steps of
    :math:`2.5\,\epsilon` divided by their number, from a random start. An attack that fails proves nothing, so this is
    an upper bound.

    Parameters
    ----------
    model
        From pictures from 0 to 1 to logits ``(batch, classes)``; in evaluation mode, and without gradients of its
        parameters, while this runs. It stays on its device and in its dtype.
    examples
        Pairs of a picture and its class index, such as :class:`wam.pictures.Pictures`.
    radius
        :math:`\epsilon`, for pictures from 0 to 1.
    steps, batch
        Steps of the attack, and pictures at once.
    seed
        Of the random starts, which depend on ``batch``, too. The caller's generator is left alone.

    Raises
    ------
    ValueError
        If the radius is not above 0 and at most 1, another number is out of range, there are no examples, or a value of
        theirs is not from 0 to 1.
    ImportError
        If Foolbox cannot be imported (the message says how to install it).

    Examples
    --------
    >>> import torch
    >>> from wam.adversarial import robust_accuracy
    >>> model = torch.nn.Linear(2, 2)
    >>> _ = model.load_state_dict({"weight": torch.tensor([[1.0, 1.0], [0.0, 0.0]]), "bias": torch.tensor([-1.0, 0.0])})
    >>> examples = torch.utils.data.TensorDataset(torch.tensor([[0.6, 0.6], [0.8, 0.8]]), torch.tensor([0, 0]))
    >>> [robust_accuracy(model, examples, radius) for radius in (0.05, 0.2, 0.4)]  # the margins are 0.2 and 0.6
    [1.0, 0.5, 0.0]

    References
    ----------
    Madry et al., Towards deep learning models resistant to adversarial attacks, 2018; Rauber et al., Foolbox Native,
    2020.
    """
    steps, batch, seed = positive(steps, "steps"), positive(batch, "batch"), positive(seed, "seed", least=0)
    check_radius(radius)
    if not len(examples):
        raise ValueError("there are no examples to attack")
    foolbox, like, right = attack_library(), next(model.parameters()), 0
    attack = foolbox.attacks.LinfPGD(steps=steps, abs_stepsize=2.5 * radius / steps, random_start=True)
    loader = DataLoader(examples, batch, generator=torch.Generator())  # or it draws from that of the starts
    bar = tqdm(total=len(examples), disable=not progress, unit="picture")
    with bar, frozen(model), torch.random.fork_rng(devices=[like.device] if like.is_cuda else []):
        torch.manual_seed(seed)
        attacked = foolbox.PyTorchModel(model.eval(), bounds=PICTURE, device=like.device)
        for x, y in loader:
            x, y = x.to(like), y.to(like.device)
            if not (x.min() >= PICTURE[0] and x.max() <= PICTURE[1]):
                found = f"from {float(x.min()):g} to {float(x.max()):g}"
                raise ValueError(f"pictures must have values from 0 to 1, got values {found}; normalise in the model")
            with torch.no_grad():
                clean = model(x).argmax(1) == y
            *_, fooled = attack(attacked, x, y, epsilons=radius)
            right += int((clean & ~fooled).sum())
            bar.update(len(x))
    return right / len(examples)


def check_radius(radius: float) -> float:
    """``radius`` if it is above 0 and at most 1, or a ``ValueError``."""
    if isinstance(radius, bool) or not 0 < radius <= 1:
        what = f"radius must be above 0 and at most 1, for pictures from 0 to 1, got {radius!r}"
        raise ValueError(f"{what} (write 8 of 255 as 8/255)")
    return radius


def attack_library() -> ModuleType:
    """Foolbox, which is imported when it is needed; an ``ImportError`` that says how to install it."""
    try:
        import foolbox
    except ImportError as error:
        what = f"robust accuracy is measured by Foolbox, which cannot be imported: {error}"
        raise ImportError(f"{what}; pip install 'wam[attacks]'") from error
    return foolbox
