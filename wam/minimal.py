r"""Minimal inputs: how few coefficients keep what a model says?

A mask :math:`m \in [0, 1]^N` over the coefficients leaves of an input :math:`x = S z` what

.. math:: x(m) = x_0 + S (m \odot (z - z_0))

shows. :func:`optimise` looks for a sparse mask that keeps the score of a class, by descent (section 4.2 of the paper,
after Fong and Vedaldi); :func:`static <wam.quantiles.static>` takes the order from an explanation and asks only how far
to go (appendix C.2). Both walk the paths of the one engine, :mod:`wam.perturbation`, so every frame and dimension is
welcome; with :class:`wam.Pixel` the same code makes the masks of pixels that the paper argues against.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from wam import perturbation
from wam.checks import as_tensor, choice, every, positive, recorded
from wam.coefficients import Coefficients
from wam.explanation import Explanation
from wam.frames import Frame
from wam.gradients import Target, checked
from wam.perturbation import OUTPUTS, Path
from wam.quantiles import static
from wam.scoring import Model, frozen, gradient, scores

__all__ = ["OBJECTIVES", "Minimal", "as_alphas", "optimise", "static"]

OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hinge": lambda score, original: -(score < original).to(score),
    "score": lambda score, original: -torch.ones_like(score),
    "printed": lambda score, original: torch.ones_like(score),
}
r"""The slope of the objective in the score :math:`f_c(x(m))`. To each, :math:`\alpha` times the mask's mean is added.

``"hinge"``: :math:`\max(0, f_c(x) - f_c(x(m)))`, which asks for the score of the input and no more. ``"score"``:
:math:`-f_c(x(m))`, what the paper's text describes; nothing limits the score, and masks that amplify it are rewarded.
``"printed"``: :math:`+f_c(x(m))`, the sign as printed in section 4.2, which destroys the score.
"""


@dataclass(frozen=True, eq=False)
class Minimal:
    r"""What :func:`optimise` found, for every alpha and every input; the first two axes are ``(alphas, batch)``.

    Attributes
    ----------
    mask
        Where the descent ended, ``(alphas, batch, features)``: packed as :meth:`Coefficients.pack
        <wam.coefficients.Coefficients.pack>` does, channel after channel, or one set for all channels if tied.
    sparsest
        The mask with most zeros seen on the way that kept the class (or the score); ones where none did.
    sparsest_sparsity
        Its share of zeros, ``(alphas, batch)``; NaN where none did.
    score, probability, sparsity, kept
        The history, ``(alphas, batch, steps taken + 1)``, from the full mask to the last: score and probability of the
        class, the share of zeros in the mask, and whether the class is the predicted one.
    target, predicted
        The class whose score is kept, and the one that the model predicts at the full mask, ``(batch,)`` each.
    alpha, path
        The weights of the mean of the mask, ``(alphas,)``, in float64 on the CPU; from the baseline to the inputs.
    settings
        How the descent was made, as numbers and text (a baseline that was a tensor is recorded as ``"tensor"``).
    interrupted
        Whether Ctrl-C ended the descent early; the history then ends there.
    """

    mask: Tensor
    sparsest: Tensor
    sparsest_sparsity: Tensor
    score: Tensor
    probability: Tensor
    sparsity: Tensor
    kept: Tensor
    target: Tensor
    predicted: Tensor
    alpha: Tensor
    path: Path
    settings: Mapping[str, Any]
    interrupted: bool = False

    @property
    def alpha_sum(self) -> Tensor:
        r"""The weights if the norm is a sum, as the paper prints :math:`\|m\|_1`: :math:`\alpha / N`, ``(alphas,)``."""
        return self.alpha / self.mask.shape[2]

    def inputs(self, mask: Tensor | None = None) -> Tensor:
        """The minimal inputs, or what other masks ``(masks, batch, features)`` leave: ``(masks, *x.shape)``."""
        mask = self.mask if mask is None else mask.to(self.mask)
        if mask.ndim != 3 or mask.shape[1:] != self.mask.shape[1:]:
            batch, features = self.mask.shape[1:]
            raise ValueError(f"masks must be (masks, {batch}, {features}), got {tuple(mask.shape)}")
        sample = torch.arange(mask.shape[1], device=mask.device)
        return torch.stack([self.path.inserted(self.path.part(m, sample), sample) for m in mask])

    def explanation(self, index: int = -1) -> Explanation:
        """The masks at one alpha as an explanation: it can be ranked, pictured and saved like any other.

        Its attributions are the mask, of one channel if tied; its coefficients, those of the inputs.
        """
        channels = self.mask.shape[2] // self.path.change.shape[2]
        attributions = Coefficients.unpack(self.mask[index].unflatten(1, (channels, -1)), self.path.spec)
        z, settings = self.path.frame.analysis(self.path.x), {"alpha": self.alpha[index].item(), **self.settings}
        return Explanation(attributions, z, self.target, self.score[index, :, 0], self.path.frame, "minimal", settings)

    def table(self) -> pd.DataFrame:
        """A row for every alpha and input: where the descent ended, beside the score of the input."""
        columns = {"input": torch.arange(len(self.target)), "target": self.target, "predicted": self.predicted}
        columns |= {"alpha": self.alpha[:, None], "alpha_sum": self.alpha_sum[:, None], "original": self.score[..., 0]}
        columns |= {name: getattr(self, name)[..., -1] for name in ("sparsity", "score", "probability", "kept")}
        columns |= {"sparsest": self.sparsest_sparsity}
        shape = self.sparsest_sparsity.shape
        return pd.DataFrame({name: values.expand(shape).flatten().cpu().numpy() for name, values in columns.items()})


def optimise(
    model: Model,
    x: Tensor,
    target: Target,
    frame: Frame,
    alpha: float | Sequence[float] | Tensor,
    steps: int = 500,
    *,
    objective: str = "hinge",
    tied: bool = False,
    baseline: float | Tensor = 0.0,
    keeps: str = "class",
    lr: float = 0.05,
    output: str = "softmax",
    max_batch: int | None = None,
    progress: bool = False,
) -> Minimal:
    r"""Look for a sparse mask that keeps the score of a class (section 4.2 of the paper).

    .. math:: m^\star = \arg\min_{m \in [0, 1]^N} \; \ell\big(f_c(x_0 + S(m \odot (z - z_0)))\big)
              + \frac{\alpha}{N} \sum_i m_i

    by NAdam from :math:`m = 1`, with a projection onto :math:`[0, 1]` after every step. The gradient is

    .. math:: (z - z_0) \odot S^\top \ell' \, \nabla f_c + \alpha / N,

    one gradient of the input and one pullback: no graph runs through the transform. All inputs and all alphas are rows
    of one batch, each descends on its own, and a row whose projected gradient is zero, a stationary point, rests and is
    not evaluated any more. Nothing is random.

    Parameters
    ----------
    model, x, target, frame
        As for :func:`wam.saliency`. A target that the model does not predict is allowed: ``predicted`` tells.
    alpha
        :math:`\alpha \ge 0`, one or several. It weighs the *mean* of the mask, so that it means the same for every
        size. The paper prints the sum: its weight is then ``alpha / N`` (:attr:`Minimal.alpha_sum`).
    steps, lr
        The most steps of the descent, one forward and one backward pass each, and the step size of NAdam, about how far
        an entry of the mask moves in one: it needs about ``1 / lr`` steps to reach 0.
    objective
        :math:`\ell`, one of :data:`OBJECTIVES`.
    tied
        One mask for all channels (:math:`N` is the size of one), or one for each.
    baseline
        :math:`x_0` in model space, what is left where the mask is 0: a number, or a tensor that broadcasts to ``x``.
        0 is the mean colour of a model with normalised inputs.
    keeps
        What the ``sparsest`` mask must keep: ``"class"``, the class is the predicted one, or ``"score"``, its score is
        not below that of the full mask. The class of a model with a single score is always the predicted one.
    output
        What is called probability, one of :data:`wam.perturbation.OUTPUTS`; the descent is on the score anyway. For
        a single score take ``"sigmoid"``: its softmax is 1.
    max_batch, progress
        The largest number of rows in one pass of the model, by default all, ``len(alpha) * len(x)`` (besides the pass,
        memory holds about ten masks per row); and whether to show a bar. After Ctrl-C the result is what there is at
        that step, with a warning.

    Raises
    ------
    TypeError, ValueError
        As :func:`wam.saliency`; for an alpha that is negative or not finite, fewer than one step, an unknown option, or
        an input that equals its baseline and so has nothing to be removed.

    Examples
    --------
    Of a linear score, :math:`\sum_i w_i z_i`, exactly the coefficients with :math:`w_i z_i > \alpha / N` are kept:

    >>> import torch, wam, wam.minimal
    >>> x = torch.tensor([[[4.0, 1.0, 3.0, 2.0]]])
    >>> found = wam.minimal.optimise(lambda x: x.sum(2), x, 0, wam.Pixel(), alpha=10, objective="score")
    >>> found.mask[0, 0], found.inputs()[0, 0]
    (tensor([1., 0., 1., 0.]), tensor([[4., 0., 3., 0.]]))

    References
    ----------
    Fong and Vedaldi, Interpretable explanations of black boxes by meaningful perturbation, 2017. Dozat, Incorporating
    Nesterov momentum into Adam, 2016. Paper, section 4.2.
    """
    x, target, _ = checked(model, x, target, frame, None)
    alpha, steps = as_alphas(alpha), positive(steps, "steps")
    choice(objective, OBJECTIVES, "objective")
    choice(output, OUTPUTS, "output")
    choice(keeps, ("class", "score"), "keeps")
    if not isinstance(lr, Real) or not 0 < lr < torch.inf:
        raise ValueError(f"lr must be a positive step size, such as 0.05, got {lr!r}")
    path = perturbation.between(x, baseline, frame)
    what = "equal the baseline everywhere: no coefficient is left to be removed"
    every(path.change.flatten(1).any(1), lambda samples: f"samples {samples} {what}")
    settings = {"objective": objective, "steps": steps, "tied": tied, "keeps": keeps, "lr": float(lr), "output": output}
    settings["baseline"] = recorded(baseline)
    rows, sample = len(alpha) * len(x), torch.arange(len(x), device=x.device).repeat(len(alpha))
    max_batch = rows if max_batch is None else positive(max_batch, "max_batch")
    target = None if target is None else target.repeat(len(alpha))
    weight, slope = alpha.to(x).repeat_interleave(len(x)), OBJECTIVES[objective]
    features = path.change.shape[2] * (1 if tied else path.change.shape[1])

    moving = torch.arange(rows, device=x.device)  # the rows that do not rest; what the others do is not read
    current = x.new_ones(rows, features)
    optimiser, current.grad = torch.optim.NAdam([current], lr=lr), torch.zeros_like(current)
    mask, sparsest, most = current.clone(), current.clone(), x.new_full((rows,), -1)
    history, predicted, interrupted = [], None, False

    def shown() -> Iterator[tuple[Tensor, Tensor]]:
        """The moving rows, chunk by chunk, and what their masks show."""
        for at in moving.split(max_batch):
            yield at, path.inserted(path.part(current[at], sample[at]), sample[at])

    def sound(values: Tensor, at: Tensor, what: str) -> None:
        """An error if not all is finite, which names the samples and not the rows."""
        if not bool((good := values.flatten(1).sum(1).isfinite()).all()):  # a tenth of the time of looking at each
            broken = sample[at[~good]].unique().tolist()
            raise ValueError(f"{what} of samples {broken} holds NaN or infinite values after {len(history)} steps")

    def note(logits: Tensor) -> None:
        """Write a line of the history and keep its masks; remember the sparsest."""
        score, probability = (v.gather(1, target[moving, None])[:, 0] for v in (logits, OUTPUTS[output](logits)))
        sound(score[:, None], moving, "the score")
        sparsity = (current == 0).sum(1)[moving].to(x) / features
        kept = logits.argmax(1) == target[moving]
        line = history[-1].clone() if history else x.new_empty(4, rows)
        line[:, moving] = torch.stack([score, probability, sparsity, kept.to(x)])
        mask[moving] = current[moving]
        history.append(line)
        enough = kept if keeps == "class" else score >= history[0][0, moving]
        better = moving[enough & (sparsity > most[moving])]
        sparsest[better], most[better] = current[better], line[2, better]

    with frozen(model), torch.no_grad(), tqdm(total=steps, disable=not progress, unit="step", leave=False) as bar:
        try:
            for _ in range(steps):
                g, seen, classes = current.grad.zero_(), [], []
                for at, inputs in shown():
                    # the spent graph lives until the next pass: see gradient()
                    pulled, spent, chosen = gradient(model, inputs, None if target is None else target[at])
                    sound(pulled, at, "the gradient")
                    g[at] = path.pullback(pulled, sample[at], tied)
                    seen.append(spent.detach())
                    classes.append(chosen)
                target = torch.cat(classes) if target is None else target
                predicted = torch.cat(seen)[: len(x)].argmax(1) if predicted is None else predicted
                note(torch.cat(seen))
                # times N, so that nothing is small beside NAdam's epsilon
                g.mul_(features * slope(history[-1][0], history[0][0])[:, None]).add_(weight[:, None])
                projected = (current - g).clamp_(0, 1).sub_(current)
                moving = moving[projected.abs_().amax(1)[moving] > 0]
                bar.update()
                if not len(moving):
                    break
                optimiser.step()
                current.clamp_(0, 1)
            else:
                note(torch.cat([scores(model, inputs) for _, inputs in shown()]))
        except KeyboardInterrupt:
            if not history:
                raise
            interrupted = True
            warnings.warn(f"interrupted: these are the masks after {len(history) - 1} of {steps} steps", stacklevel=2)
    shape, target, most = (len(alpha), len(x)), target[: len(x)], torch.where(most < 0, torch.nan, most)
    masks = (mask.view(*shape, features), sparsest.view(*shape, features), most.view(shape))
    *told, kept = torch.stack(history, dim=2).unflatten(1, shape)
    return Minimal(*masks, *told, kept.bool(), target, predicted, alpha, path, settings, interrupted)


def as_alphas(alpha: float | Sequence[float] | Tensor) -> Tensor:
    """One or several finite weights of the mask, at least 0, as a vector in ``float64``, on the CPU; or an error."""
    values = as_tensor(alpha, "alpha must be a number or several", dtype=torch.float64, device="cpu").flatten()
    if not len(values) or not bool((values.float().isfinite() & (values >= 0)).all()):
        raise ValueError(f"alpha must be finite and at least 0, one or several, got {alpha!r}")
    return values
