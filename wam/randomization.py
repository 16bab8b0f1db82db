r"""The randomization test: what becomes of an explanation when the network forgets, stage by stage.

At every depth of :func:`wam.sanity.cascade` the same inputs are explained for the same classes, and each explanation is
compared with that of the intact network (:mod:`wam.agreement`). An explanation that stays the same does not depend on
what the network has learned.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

import wam
from wam import comparison, controls, sanity
from wam.agreement import Key, Reference
from wam.attribution import integrated_gradients, smoothgrad
from wam.checks import positive
from wam.explanation import Explanation, in_frame, load, path_gradient
from wam.files import replace as write_whole
from wam.frames import Frame, Pixel
from wam.gradients import Target
from wam.scoring import as_target, frozen, predict
from wam.stages import stages as partition

# explain(network, x, target): explanations of one batch by name, the same names for every network
Explain = Callable[[nn.Module, Tensor, Tensor], Mapping[str, Explanation]]


@dataclass(frozen=True)
class Methods:
    """SmoothGrad and integrated gradients in a frame and in pixels, and controls: seven explanations of two runs.

    ``"WAM-SG"`` and ``"WAM-IG"`` are in the frame, ``"SmoothGrad"`` and ``"integrated gradients"`` in pixels,
    ``"WAM-IG without z"`` and ``"integrated gradients without x"`` lack the factor that no network has a say in
    (:func:`wam.explanation.path_gradient`), and ``"|z|"`` is that factor alone (:func:`wam.controls.magnitude`).

    Parameters
    ----------
    frame
        Such as :class:`wam.Wavelet`.
    samples, steps
        Gradients of SmoothGrad and of integrated gradients.
    noise, seed
        Of SmoothGrad, whose draws are the same for every network.
    max_batch
        Inputs in one pass of the network; by default the length of the batch.

    Examples
    --------
    >>> import torch, wam
    >>> from wam import randomization
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    >>> methods = randomization.Methods(wam.Wavelet("haar", levels=2, ndim=1), samples=2, steps=2)
    >>> list(methods(net, torch.randn(2, 1, 64), 0))[:3]
    ['WAM-SG', 'WAM-IG', 'WAM-IG without z']
    """

    frame: Frame
    samples: int = 25
    steps: int = 25
    noise: float | None = None
    seed: int = 0
    max_batch: int | None = None

    def __call__(self, model: nn.Module, x: Tensor, target: Target) -> dict[str, Explanation]:
        options = {"frame": Pixel(), "max_batch": self.max_batch}
        sg = smoothgrad(model, x, target, samples=self.samples, noise=self.noise, seed=self.seed, **options)
        ig = integrated_gradients(model, x, target, steps=self.steps, **options)
        return {
            "WAM-SG": in_frame(sg, self.frame),
            "WAM-IG": (wam_ig := in_frame(ig, self.frame)),
            "WAM-IG without z": path_gradient(ig, self.frame),
            "|z|": controls.magnitude(wam_ig),
            "SmoothGrad": sg,
            "integrated gradients": ig,
            "integrated gradients without x": path_gradient(ig, Pixel()),
        }


@dataclass(frozen=True, eq=False)
class Randomization:
    """What a randomization test found.

    Attributes
    ----------
    stages
        The name of every depth, ``"intact"`` first.
    order
        One of :data:`wam.sanity.ORDERS`.
    table
        A tidy table with the columns ``depth``, ``stage``, ``method``, ``input``, ``kind`` (``"absolute"``,
        ``"signed"``), ``scale`` (``"all"``, or as text one of the frame), ``statistic`` and ``value``. The statistics
        ``"spearman"`` and ``"pearson"`` compare with the intact network; NaN means that an explanation is constant, so
        that no correlation is defined. ``"share"`` is the share of :math:`|\\gamma|` of a scale.
    kept
        For every depth the explanations, by method, of the inputs that were to be kept.
    """

    stages: tuple[str, ...]
    order: str
    table: pd.DataFrame
    kept: tuple[Mapping[str, Explanation], ...]

    def summary(
        self, statistic: str = "spearman", kind: str = "absolute", scale: Any = "all", **options
    ) -> pd.DataFrame:
        """The mean over inputs at every depth for every method, with its interval (:func:`wam.comparison.summary`).

        ``scale=None`` keeps all scales apart. What is undefined is not averaged but counted as ``dropped``.
        """
        t = self.table
        t = t[(t["statistic"] == statistic) & (t["kind"] == kind)]
        t = t if scale is None else t[t["scale"] == str(scale)]
        return comparison.summary(t, ["depth", "stage", "method", *(["scale"] if scale is None else [])], **options)


def run(
    model: nn.Module,
    x: Tensor,
    explain: Explain,
    *,
    target: Target = None,
    order: str = "top-down",
    stages: int | None = 10,
    seed: int = 0,
    keep: Sequence[int] = (),
    folder: str | os.PathLike | None = None,
    max_batch: int | None = None,
    progress: bool = False,
) -> Randomization:
    """Explain a batch with the network intact and with more and more of it randomized, and compare.

    Parameters
    ----------
    model
        The network; it is never changed.
    x
        The inputs ``(batch, channels, *spatial)``.
    explain
        What is tested, such as :class:`Methods`: ``explain(network, x, target)`` gives explanations of the batch by
        name, the same names for every network. Several of them can share the passes of the network.
    target
        The classes that are explained at every depth; ``None`` means those that the intact network predicts.
    order, stages, seed
        As for :func:`wam.sanity.cascade` (its ``count`` is ``stages``).
    keep
        The inputs whose explanations are kept at every depth, to be drawn; among the first ``max_batch``.
    folder
        Where finished depths are kept: interrupted, the same call continues. One folder for one run.
    max_batch, progress
        The largest number of inputs explained at once, by default all; and whether to show a bar over the depths.

    Raises
    ------
    TypeError, ValueError
        As :func:`wam.sanity.cascade`; if ``explain`` gives other methods for one network than for another; if an input
        to be kept is not among the first ``max_batch``; if the folder holds another run.

    Examples
    --------
    >>> import torch, wam
    >>> from wam import randomization
    >>> net = torch.nn.Sequential(torch.nn.Conv1d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(248, 3))
    >>> methods = randomization.Methods(wam.Wavelet("haar", levels=2, ndim=1), samples=4, steps=4)
    >>> found = randomization.run(net, torch.randn(3, 1, 64), methods)
    >>> found.stages
    ('intact', '2', '0')
    >>> found.summary().query("method == '|z|'")["mean"].round(6).tolist()  # it knows nothing of the network
    [1.0, 1.0, 1.0]

    References
    ----------
    Adebayo et al., Sanity checks for saliency maps, 2018. Paper, appendix B.3.
    """
    batch, seed = len(x) if max_batch is None else positive(max_batch, "max_batch"), positive(seed, "seed", least=0)
    sanity.cascade(model, x, order, stages, seed)  # its errors come before anything is computed or written
    plan = partition(model, x, stages)
    names = ("intact", *(stage.name for stage in (plan[::-1] if order == "top-down" else plan)))
    kept = [operator.index(i) for i in keep]
    if outside := [i for i in kept if not 0 <= i < min(batch, len(x))]:
        raise ValueError(f"inputs {outside} cannot be kept: choose among the first {min(batch, len(x))} (max_batch)")
    with frozen(model):
        target = predict(model, x, as_target(target, len(x), x.device), batch)[1]
    store = None
    if folder is not None:
        about = {"explain": re.sub(r" at 0x\w+", "", repr(explain)), "order": order, "stages": names, "seed": seed}
        about |= {"model": _digest(model.state_dict().values()), "inputs": _digest([x, target]), "batch": batch}
        about |= {"versions": {"wam": wam.__version__, "torch": torch.__version__}, "keep": kept}
        about |= {"threads": torch.get_num_threads()}
        store = _Store(Path(folder), about)
    tables: list[pd.DataFrame] = []
    explanations: list[Mapping[str, Explanation]] = []
    with tqdm(total=len(names) * len(x), disable=not progress, unit="explained") as bar:
        for first in range(0, len(x), batch):
            part = slice(first, first + batch)
            networks = sanity.cascade(model, x, order, stages, seed)
            chosen = [] if first else kept
            for rows, found in _depths(networks, len(names), explain, x[part], target[part], first, chosen, store):
                tables.append(rows)
                explanations += [] if first else [found]
                bar.update(len(x[part]))
    table = pd.concat(tables).sort_values("depth", kind="stable", ignore_index=True)
    return Randomization(names, order, table, tuple(explanations))


def _depths(
    networks: Iterator[tuple[str, nn.Module]],
    count: int,
    explain: Explain,
    x: Tensor,
    target: Tensor,
    first: int,
    kept: list[int],
    store: _Store | None,
) -> Iterator[tuple[pd.DataFrame, Mapping[str, Explanation]]]:
    """The rows and the kept explanations of every depth for some of the inputs, from the store where it has them."""
    stored = [store.read(first, depth) if store else None for depth in range(count)]
    references: dict[str, Reference] | None = None
    for depth, (name, network) in enumerate(networks):
        found = stored[depth]
        if found is None or (references is None and None in stored):  # what is missing needs the reference
            made = explain(network, x, target)
            if references is None:
                references = {method: Reference(e) for method, e in made.items()}
            if set(made) != set(references):
                raise ValueError(f"explain gave {sorted(made)} at {name!r}, and {sorted(references)} before")
            rows = [row for method, e in made.items() for row in _rows(e, references[method].agreement(e), method)]
            table = pd.DataFrame(rows).assign(depth=depth, stage=name)
            found = table.assign(input=table["input"] + first), {m: e[kept] for m, e in made.items()} if kept else {}
            if store:
                store.write(first, depth, *found)
        yield found


def _rows(e: Explanation, agreement: Mapping[Key, Tensor], method: str) -> Iterator[dict[str, Any]]:
    shares = dict(zip(e.scales, e.scale_profile().T))
    measured = [(*key, values) for key, values in agreement.items()]
    measured += [("absolute", scale, "share", values) for scale, values in shares.items()]
    for kind, scale, statistic, values in measured:
        about = {"method": method, "kind": kind, "scale": str(scale), "statistic": statistic}
        yield from ({"input": i, **about, "value": value} for i, value in enumerate(values.tolist()))


class _Store:
    """The finished depths of one run in a folder."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        file, about = folder / "run.json", json.loads(json.dumps(about))
        if file.is_file():
            there = json.loads(file.read_text())
            if differ := [name for name in about if there.get(name) != about[name]]:
                raise ValueError(f"{folder} holds a run with another {', '.join(differ)}; give another folder")
        else:
            write_whole(file, lambda path: path.write_text(json.dumps(about, indent=1)))

    def _files(self, first: int, depth: int) -> tuple[Path, Path]:
        return tuple(self.folder / f"{first:06d}-{depth:03d}.{suffix}" for suffix in ("parquet", "json"))

    def write(self, first: int, depth: int, rows: pd.DataFrame, chosen: Mapping[str, Explanation]) -> None:
        table, index = self._files(first, depth)
        write_whole(table, lambda path: rows.to_parquet(path))
        files = {method: f"{index.stem}-{i}.safetensors" for i, method in enumerate(chosen)}
        for method, e in chosen.items():
            e.save(self.folder / files[method])
        write_whole(index, lambda path: path.write_text(json.dumps(files)))  # last: the depth is finished

    def read(self, first: int, depth: int) -> tuple[pd.DataFrame, dict[str, Explanation]] | None:
        table, index = self._files(first, depth)
        if not index.is_file():
            return None
        files = json.loads(index.read_text())
        return pd.read_parquet(table), {method: load(self.folder / file) for method, file in files.items()}


def _digest(tensors: Any) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
