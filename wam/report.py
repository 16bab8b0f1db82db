"""One input, one model, one explanation: what it says, in figures, in numbers and in files."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from wam import __version__, charts, plots, spectrograms, voxels, words
from wam.audio import levelled
from wam.checks import choice, finite
from wam.explanation import Explanation
from wam.files import replace_all
from wam.methods import METHODS, SHORT, explained, fitting
from wam.names import index
from wam.preparation import checked, prepared
from wam.report_files import NAMES, contents
from wam.scoring import frozen, scores

__all__ = ["Report", "explain"]

CAPTIONS = {
    "explanation": "What was explained, and what matters of it: together, and scale by scale.",
    "spectrogram": "The sound, with lines around what is kept, and what is kept.",
    "slices": "Slices through the place that matters most.",
    "scales": "What matters, by scale; with signs, for the class or against it, where they sum to the score's change.",
}
"""What is said below each of the figures of a report."""


@dataclass(frozen=True, eq=False)
class Report:
    """What :func:`explain` returns.

    Attributes
    ----------
    model
        The name of the model.
    categories
        Its class names, in the order of the logits.
    x
        What is explained, as the model takes it: ``(1, channels, *spatial)``.
    explanation
        The explanation of ``x``.
    logits, probabilities
        What the model says, ``(classes,)`` each: softmax; or sigmoids, of one logit or if not ``model.exclusive``.
    top
        The share of the coefficients in the reconstruction.
    picture
        Of images ``(1, height, width, channels)`` in [0, 1]: ``x`` as it is shown; otherwise ``None``.
    rate
        Of sounds: samples per second; otherwise ``None``.
    settings
        How the input was prepared and explained.
    seconds
        How long the prediction and the explanation took.
    """

    model: str
    categories: tuple[str, ...]
    x: Tensor
    explanation: Explanation
    logits: Tensor
    probabilities: Tensor
    top: float
    picture: np.ndarray | None
    rate: int | None
    settings: Mapping[str, Any]
    seconds: Mapping[str, float]

    @property
    def target(self) -> int:
        """The explained class."""
        return int(self.explanation.target)

    @property
    def classes(self) -> list[dict[str, Any]]:
        """The five most probable classes, and the explained one if it is not among them, with their probabilities."""
        first = self.logits.topk(min(5, len(self.logits))).indices.tolist()
        return [
            {"index": i, "name": self.categories[i], "probability": float(self.probabilities[i])}
            for i in dict.fromkeys([*first, self.target])
        ]

    @property
    def scales(self) -> list[dict[str, Any]]:
        """Per scale, coarse to fine: the share of all attribution (``None`` if that is zero) and the signed sum."""
        e = self.explanation
        return [
            {"scale": words.scale(scale), "share": None if math.isnan(share) else share, "signed_sum": signed}
            for scale, share, signed in zip(e.scales, e.scale_profile()[0].tolist(), e.scale_scores()[0].tolist())
        ]

    def reconstruction(self) -> Tensor:
        """The input from the :attr:`top` of its coefficients by attribution, ``(channels, *spatial)``."""
        return self.explanation.reconstruct(self.top)[0]

    def sounds(self) -> dict[str, Tensor]:
        """What was heard, and the reconstruction, brought to a common level by one factor; empty if it is no sound."""
        if self.rate is None:
            return {}
        heard = levelled([self.x[0], self.reconstruction()])
        return dict(zip(("the sound", f"{words.top(self.top)} of its coefficients"), heard))

    def figures(self) -> dict[str, tuple[Figure, str]]:
        """The figures by name, each with its alternative text.

        ``explanation``: input, heatmap, reconstruction and the scales one by one. ``scales``: the share of every scale
        and, by integrated gradients, its contribution to the score. Of sounds also ``spectrogram``: the sound and its
        reconstruction. Of volumes also ``slices``, through the largest attribution.
        """
        e, names = self.explanation, self.categories
        if self.picture is not None:
            found = {"explanation": plots.explanation(e, self.picture, fraction=self.top, categories=names)}
        elif self.rate is None:
            found = {"explanation": voxels.explanation(e, self.x, categories=names)}
            found["slices"] = voxels.slices(e, self.x, categories=names)
        else:
            found = {"explanation": spectrograms.explanation(e, self.rate, categories=names)}
            whole, part = self.sounds().items()
            marked = {whole[0]: spectrograms.share(part[1], whole[1], self.rate)}
            found["spectrogram"] = spectrograms.comparison(dict((whole, part)), self.rate, marked)
        return found | {"scales": charts.scales(e)}

    def show(self) -> None:
        """Show the figures with their alternative texts in a notebook, and players for a sound."""
        from wam import book, player

        for name, (figure, alt) in self.figures().items():
            book.figure(figure, alt, CAPTIONS[name])
        if sounds := self.sounds():
            player.players(sounds, self.rate, "To listen to: what was explained, and what matters of it.")

    def summary(self) -> dict[str, Any]:
        """All numbers, of JSON's types: what ``summary.json`` holds."""
        e = self.explanation
        gap = None if e.completeness_gap is None else float(e.completeness_gap)
        base = None if e.baseline_score is None else float(e.baseline_score)
        return {
            "model": self.model,
            "target": {"index": self.target, "name": self.categories[self.target]},
            "score": float(e.score),
            "baseline_score": base,
            "completeness_gap": gap,
            "classes": self.classes,
            "scales": self.scales,
            "method": e.method,
            "settings": {**self.settings, **e.settings, "top": self.top},
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "versions": {"wam": __version__, "python": platform.python_version()}
            | {package: version(package) for package in ("torch", "ptwt", "timm")},
        }

    def save(self, folder: str | os.PathLike, **more: Any) -> list[Path]:
        """Write everything to a folder, which is made if it is missing, and return the files.

        ``explanation.png`` and the other :meth:`figures`; ``reconstruction.png`` (at the input size of the model),
        ``.wav`` or ``.npy``; ``attributions.safetensors``, which :func:`wam.load` reads; ``summary.json``. They are put
        in place when all of them are whole: a full disk or an interruption leaves the folder as it was. What an earlier
        report left there under such a name is removed; other files stay.

        Parameters
        ----------
        more
            Goes into ``summary.json`` too; ``seconds=`` is added to the times.

        Raises
        ------
        OSError
            The folder cannot be made or written to, or the disk is full; the message says what to do.

        Examples
        --------
        >>> import tempfile, wam.data, wam.models, wam.report
        >>> digits = wam.data.digits3d("test", 1)
        >>> report = wam.report.explain(wam.models.load("digits3d"), digits, steps=4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(file.name for file in report.save(folder))[:3]
        ['attributions.safetensors', 'explanation.png', 'reconstruction.npy']
        """
        return replace_all(Path(folder), contents(self, more), stale=NAMES)

    def __str__(self) -> str:
        e, digits = self.explanation, max(len(str(scale["scale"])) for scale in self.scales)
        said = ", ".join(f"{c['name']} {c['probability']:.2f}" for c in self.classes[:5])
        lines = [
            f"{self.model} says: {said}",
            f"explained: {self.categories[self.target]} (class {self.target}), score {float(e.score):.2f}, "
            f"by {words.method(e.method)}, {e.frame.name}, {words.levels(e.frame.levels)}",
            f"{'scale':{digits}}   share  signed sum",
        ]
        for scale in self.scales:
            share = "–" if scale["share"] is None else f"{100 * scale['share']:.1f} %"
            lines.append(f"{scale['scale']:{digits}} {share:>7} {scale['signed_sum']:+11.3f}")
        if e.completeness_gap is not None:
            rise, gap = float(e.score - e.baseline_score), float(e.completeness_gap)
            total = sum(scale["signed_sum"] for scale in self.scales)
            hint = "; more steps make it smaller" if gap > 0.1 * abs(rise) else ""
            if gap > 0.9 * abs(rise):
                hint = "; the score hardly changes on the path, as where a model normalises its input: take SmoothGrad"
            lines.append(f"sum {total:+.3f}, rise of the score from the baseline {rise:+.3f}: a gap of {gap:.3f}{hint}")
        return "\n".join(lines)


def explain(
    model: Any,
    example: Any,
    method: str = "integrated_gradients",
    *,
    wavelet: str | None = None,
    levels: int | None = None,
    top: float = 0.1,
    target: int | str | None = None,
    steps: int | None = None,
    samples: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    max_batch: int = 4,
    progress: bool = False,
) -> Report:
    """Explain what a classifier says of one photograph, recording or volume.

    Parameters
    ----------
    model
        A classifier of :func:`wam.models.load` or :mod:`wam.adapters`.
    example
        What :func:`wam.inputs.read` returns, an example of :mod:`wam.data`, or a tensor ``(1, channels, *spatial)`` as
        the model takes it; :func:`wam.preparation.prepared` says what is done with it.
    method
        ``"integrated_gradients"`` or ``"ig"``, ``"smoothgrad"`` or ``"sg"``, ``"saliency"`` or ``"grad"``.
    wavelet, levels
        The frame; by default :data:`wam.methods.FRAMES`, with fewer levels where the input is too small for them.
    top
        The share of the coefficients in the reconstruction.
    target
        A class by index or by name; by default the predicted one.
    steps, samples
        Gradients of integrated gradients (:data:`wam.methods.STEPS`), and of SmoothGrad (:data:`wam.methods.SAMPLES`).
    seconds
        How much of a recording is explained; by default :data:`wam.preparation.SECONDS` at most.
    seed
        Of SmoothGrad's noise.
    max_batch
        The largest number of inputs in one pass of the model.
    progress
        Show a progress bar.

    Raises
    ------
    TypeError
        The example is not one for this model, or the model is no classifier, or one in half precision.
    ValueError
        An unknown method, class or wavelet (near names are suggested), too many levels, or another number out of range.

    Examples
    --------
    >>> import wam.data, wam.models
    >>> from wam.report import explain
    >>> report = explain(wam.models.load("digits3d"), wam.data.digits3d("test", 1), "sg", samples=4)
    >>> report.categories[report.target], [scale["scale"] for scale in report.scales]
    ('7', ['approximation', 'level 3', 'level 2', 'level 1'])
    """
    choice(method, [*METHODS, *SHORT], "method")
    if not 0 < top <= 1:
        raise ValueError(f"top, the share of the coefficients kept, must be above 0 and at most 1, got {top!r}")
    checked(model)
    began, ndim, categories = time.perf_counter(), model.ndim, model.categories
    x, how = prepared(model, example, seconds)
    frame = fitting(x, wavelet, levels)
    with torch.no_grad(), frozen(model):
        logits = finite(scores(model, x), "the output of the model")[0]
    chosen = int(logits.argmax()) if target is None else index(target, categories)
    middle = time.perf_counter()
    options = {"steps": steps, "samples": samples, "seed": seed, "max_batch": max_batch, "progress": progress}
    e = explained(method, model, x, chosen, frame=frame, **options).to("cpu")
    return Report(
        model=model.name,
        categories=categories,
        x=x.cpu(),
        explanation=e,
        logits=logits.cpu(),
        probabilities=(logits.softmax(0) if len(logits) > 1 and model.exclusive else logits.sigmoid()).cpu(),
        top=top,
        picture=model.display(x) if ndim == 2 else None,
        rate=model.rate if ndim == 1 else None,
        settings={"wavelet": frame.name, "levels": frame.levels, **how},
        seconds={"prediction": middle - began, "explanation": time.perf_counter() - middle},
    )
