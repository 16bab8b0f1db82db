r"""The perturbation engine: sets of features taken from an input, or put into its baseline, and shown to the model.

Features are packed coefficients (:meth:`Coefficients.pack <wam.coefficients.Coefficients.pack>`) of any frame, one
dimension or three. A set :math:`u` of them, as a mask :math:`m`, makes two inputs out of one synthesis:

.. math:: x_{[x_{-u} = x_0]} = x_0 + S (m \odot (z - z_0)), \qquad x_{[x_u = x_0]} = x - S (m \odot (z - z_0)).

A ranking becomes masks on the device: a feature is in :math:`u_k` if its rank is below the size of :math:`u_k`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import one_hot, pad
from tqdm.auto import tqdm

from wam.checks import as_baseline, choice, every, finite, positive
from wam.coefficients import Coefficients, Spec
from wam.explanation import Explanation
from wam.frames import Frame
from wam.gradients import generator
from wam.protocol import Protocol
from wam.scoring import Model, scores, select

Mask = Callable[[Tensor, Tensor], Tensor]
"""From the draws and the samples of some jobs, ``(jobs,)`` each, to booleans ``(jobs, features)``."""

OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda logits: logits.softmax(1),
    "sigmoid": torch.sigmoid,
    "logit": lambda logits: logits,
    "top1": lambda logits: one_hot(logits.argmax(1), logits.shape[1]).to(logits),
}
"""What of the model is watched: probabilities of exclusive classes, of independent ones, the score itself, or, as 1 or
0, whether the class is the predicted one."""


@dataclass(frozen=True, eq=False)
class Path:
    """The way from the baseline to the input, feature by feature.

    Attributes
    ----------
    x, x0
        The inputs, and their baseline: a batch of as many, or of one that all samples share.
    change
        :math:`z - z_0`, packed, ``(batch, channels, n)``; ``spec`` and ``frame`` turn it into inputs again.
    finish
        The last step before the model.
    """

    x: Tensor
    x0: Tensor
    change: Tensor
    spec: Spec
    frame: Frame
    finish: Callable[[Tensor], Tensor]

    def part(self, mask: Tensor, sample: Tensor) -> Tensor:
        r""":math:`S (m \odot (z - z_0))` for masks ``(jobs, features)``, one set of features or one per channel."""
        taken = _of(self.change, sample) * mask.unflatten(1, (-1, self.change.shape[2]))
        return self.frame.synthesis(Coefficients.unpack(taken, self.spec))

    def pullback(self, gradient: Tensor, sample: Tensor, tied: bool) -> Tensor:
        r"""The adjoint of :meth:`part`: the gradient of inputs becomes that of masks, ``(jobs, features)``.

        .. math:: \partial / \partial m = (z - z_0) \odot S^\top g

        summed over the channels if they are ``tied``, with one mask for all.
        """
        pulled = self.frame.pullback(gradient).pack()[0] * _of(self.change, sample)
        return pulled.sum(1) if tied else pulled.flatten(1)

    def inserted(self, part: Tensor, sample: Tensor) -> Tensor:
        """The baseline with that part, as the model gets it."""
        return self.finish(_of(self.x0, sample) + part)

    def deleted(self, part: Tensor, sample: Tensor) -> Tensor:
        """The input without that part, as the model gets it."""
        return self.finish(_of(self.x, sample) - part)


@dataclass(frozen=True, eq=False)
class Watch:
    """The output of the model for the target of an explanation, at most ``max_batch`` inputs at once, or all."""

    model: Model
    output: str
    explanation: Explanation
    max_batch: int | None

    def __post_init__(self) -> None:
        choice(self.output, OUTPUTS, "output")
        most = len(self.explanation) if self.max_batch is None else positive(self.max_batch, "max_batch")
        object.__setattr__(self, "max_batch", most)

    def __call__(self, inputs: Tensor, sample: Tensor | None = None) -> Tensor:
        """At every input, for the class of its sample; a single input is watched for the classes of all."""
        target = self.explanation.target if sample is None else self.explanation.target[sample]
        found = torch.cat([scores(self.model, part) for part in inputs.split(self.max_batch)])
        if found.shape[1] == 1 and self.output in ("softmax", "top1"):
            raise ValueError(f"one score alone has no {self.output}: take output='sigmoid' or 'logit'")
        return select(OUTPUTS[self.output](found), target)[0]

    def sweep(self, path: Path, mask: Mask, draws: int, kinds: Sequence[str], progress: bool = False) -> list[Tensor]:
        """The output at ``draws`` masks of every sample, ``(batch, draws)``, for each of ``kinds`` (path's methods)."""
        batch, device = len(path.x), path.x.device
        found, size = path.x.new_empty(len(kinds), draws * batch), max(1, self.max_batch // len(kinds))
        with tqdm(total=found.numel(), disable=not progress, unit="input", leave=False) as bar:
            for start in range(0, draws * batch, size):
                job = torch.arange(start, min(start + size, draws * batch), device=device)
                sample = job % batch
                part = path.part(mask(job // batch, sample), sample)
                inputs = torch.cat([getattr(path, kind)(part, sample) for kind in kinds])
                found[:, start : start + size] = self(inputs, sample.repeat(len(kinds))).view(len(kinds), -1)
                bar.update(len(inputs))
        return list(found.view(len(kinds), draws, batch).mT)


def path(model: Model | None, x: Tensor, explanations: Sequence[Explanation], protocol: Protocol) -> Path:
    """The path of ``x`` in the frame of its explanations.

    Raises
    ------
    TypeError
        If one is not an explanation.
    ValueError
        If there is none, one is of another input, device, frame or target, or the model lacks what the protocol asks
        it for.
    """
    if not explanations:
        raise ValueError("give at least one explanation")
    for e in explanations:
        if not isinstance(e, Explanation):
            raise TypeError(f"expected an explanation, such as wam.smoothgrad returns, got {type(e).__name__}")
        if e.frame != explanations[0].frame or e.target.tolist() != explanations[0].target.tolist():
            raise ValueError(f"only explanations of one frame and one target share a path: {explanations[0]}, {e}")
    frame = explanations[0].frame
    frame.check(x)
    x = finite(x.detach(), "the input")
    z, spec = frame.analysis(x).pack()
    for e in explanations:
        _same_input(e, z, spec)
    finish = _rescaler(model, x) if protocol.rescale else lambda inputs: inputs
    return _from(_state(model, x, protocol.baseline), x, z, spec, frame, finish)


def between(x: Tensor, baseline: float | Tensor, frame: Frame) -> Path:
    """The path from a baseline, a number or a tensor in model space, to ``x`` in a frame.

    Raises
    ------
    TypeError, ValueError
        If ``x`` does not fit the frame, or the baseline does not fit ``x``.
    """
    return _from(baseline, x, *frame.analysis(x).pack(), frame, lambda inputs: inputs)


def importance(e: Explanation, channels: int, protocol: Protocol) -> Tensor:
    """What ranks the features, ``(batch, channels, n)``, or ``(batch, 1, n)`` where channels are tied.

    Raises
    ------
    ValueError
        If the attributions are not finite (the message names the method and the samples) or have other channels.
    """
    values = finite(e.attributions.pack()[0], f"the attribution by {e.method}")
    if values.shape[1] not in (1, channels):
        raise ValueError(f"the attributions by {e.method} have {values.shape[1]} channels, the input has {channels}")
    values = values.abs() if protocol.ranking == "absolute" else values
    return values.sum(1, keepdim=True) if protocol.tied else values


def ranked(
    model: Model | None, x: Tensor, e: Explanation, protocol: Protocol, seed: int
) -> tuple[Path, Tensor, Tensor]:
    """The path of ``x``, the rank of every feature on it, and the share of features in ties.

    Attributions of one channel tie the channels.
    """
    way = path(model, x, [e], protocol)
    return way, *ranks(importance(e, way.change.shape[1], protocol).flatten(1), seed)


def ranks(values: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The rank of every feature, 0 for the largest of ``values`` ``(batch, features)``, and the share that is in ties.

    Equal values are ordered by one permutation, drawn from the seed, for all samples.
    """
    features, seed = values.shape[1], positive(seed, "seed", least=0)
    shuffle = torch.randperm(features, generator=torch.Generator().manual_seed(seed)).to(values.device)
    ordered, order = values[:, shuffle].sort(dim=1, descending=True, stable=True)
    place = torch.arange(features, dtype=torch.int32, device=values.device).expand(order.shape)
    rank = torch.empty_like(order, dtype=torch.int32).scatter_(1, shuffle[order], place)
    same = pad(ordered[:, 1:] == ordered[:, :-1], (1, 1))
    return rank, (same[:, 1:] | same[:, :-1]).double().mean(1)


def counts(wanted: Tensor, rank: Tensor, change: Tensor, axis: str) -> tuple[Tensor, Tensor]:
    """How many features are in the sets of the ``wanted`` shares, ``(batch, sets)``, and their true shares."""
    batch, features = rank.shape
    wanted = wanted.to(rank.device)
    if choice(axis, ("count", "energy"), "axis") == "count":
        count = (wanted * features).round().expand(batch, -1)
        return count.int(), count / features
    energy = change.double().square()
    energy = (energy.sum(1, keepdim=True) if features == change.shape[2] else energy).flatten(1)
    grown = pad(torch.zeros_like(energy).scatter_(1, rank.long(), energy).cumsum(1), (1, 0))
    total = grown[:, -1:]
    what = "equal the baseline and have no energy to order by: use axis='count'"
    every(total[:, 0] > 0, lambda samples: f"samples {samples} {what}")
    count = torch.searchsorted(grown, wanted * total, right=True) - 1
    return count.int(), grown.gather(1, count) / total


def subsets(features: int, count: int, draws: int, seed: Sequence[int]) -> Tensor:
    """Random sets of ``count`` features, ``(draws, count)``; set i depends on ``(*seed, i)`` and the numbers alone."""
    drawn = [torch.randperm(features, generator=generator(*seed, i))[:count] for i in range(draws)]
    return torch.stack(drawn)


def _from(baseline, x: Tensor, z: Tensor, spec: Spec, frame: Frame, finish: Callable[[Tensor], Tensor]) -> Path:
    x0, shared = as_baseline(baseline, x)
    x0 = x0[:1] if shared else x0
    change = z - frame.analysis(x0).pack()[0] if bool(x0.any()) else z
    return Path(x, x0, change, spec, frame, finish)


def _of(values: Tensor, sample: Tensor) -> Tensor:
    """The values of these samples; of a single one they broadcast."""
    return values if len(values) == 1 else values[sample]


def _same_input(e: Explanation, z: Tensor, spec: Spec) -> None:
    own, layout = e.coefficients.pack()
    if own.device != z.device:
        raise ValueError(f"the explanation is on {own.device}, the input on {z.device}: use explanation.to(x.device)")
    attributions, other = e.attributions.pack()
    if not layout == other == spec or own.shape != z.shape or len(attributions) != len(z):
        raise ValueError(f"{e} is not of this input of shape {(len(z), z.shape[1], *spec.shape)}")
    apart, size = (values.abs().flatten(1).amax(1) for values in (own - z, z))
    every(apart <= 1e-3 * size, lambda samples: f"{e} is of another input: samples {samples} have other coefficients")


def _state(model: Model | None, x: Tensor, baseline: float | str | Tensor) -> float | Tensor:
    """The baseline that a word means."""
    if not isinstance(baseline, str):
        return baseline
    if baseline == "mean":
        return x.mean(tuple(range(2, x.ndim)), keepdim=True)
    if baseline == "blur":
        sigma = [0, 0, *(n / 20 for n in x.shape[2:])]
        return torch.from_numpy(ndimage.gaussian_filter(x.cpu().numpy(), sigma))
    if baseline == "black":
        mean, std = _normalisation(model, x)
        return -mean / std
    raise ValueError(f"unknown baseline {baseline!r}; give a number, a tensor, 'mean', 'blur' or 'black'")


def _normalisation(model: Model | None, x: Tensor) -> tuple[Tensor, Tensor]:
    found = getattr(model, "mean", None), getattr(model, "std", None)
    shape = (x.shape[1], *[1] * (x.ndim - 2))
    if not all(isinstance(value, Tensor) and value.shape == shape for value in found):
        raise ValueError(
            f"black and rescaling need the mean and std of the model's normalisation, tensors of shape {shape}, as in "
            "wam.models.ImageClassifier; for spectrograms use protocol='released-sound', for volumes 'equations'"
        )
    return found


def _rescaler(model: Model | None, x: Tensor) -> Callable[[Tensor], Tensor]:
    """Stretch every image to its own range, round to 8 bits, normalise again; an even image becomes black."""
    mean, std = _normalisation(model, x)

    def finish(inputs: Tensor) -> Tensor:
        colours = inputs * std + mean
        low, high = colours.flatten(1).aminmax(dim=1)
        low, high = (v.view(-1, *[1] * (inputs.ndim - 1)) for v in (low, high))
        eight_bit = ((colours - low) / (high - low).clamp_min(1e-4) * 255).round() / 255
        return (eight_bit - mean) / std

    return finish
