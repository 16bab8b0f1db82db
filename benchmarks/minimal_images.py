"""The full run of the minimal images that chapter 03 reads: 500 steps on every photograph that a network knows.

    python benchmarks/minimal_images.py [--jobs 2] [--folder build/minimal_images]

Interrupted, the same command continues. Writes ``wam/results/minimal_images.parquet`` and, with what it was computed
on, ``minimal_images.json``; the seconds there are those of the last call.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch
from image_tables import ROOT, store
from torch import Tensor

import wam
from wam import benchmark, content, controls, data, minimal, models
from wam.minimal import Minimal
from wam.models import ImageClassifier
from wam.protocol import Protocol

HAAR = wam.Wavelet("haar", levels=3, ndim=2)
FRAMES = {"haar": HAAR, "pixel": wam.Pixel()}
GRIDS = (2, 4, 7)
SETTINGS = {"steps": 500, "sweep": 64, "integration": 32, "max_batch": 18}

BASE = {"frame": "haar", "objective": "hinge", "tied": False, "alpha": 1e3, "goal": "own"}
BOTH = [{}, {"objective": "score"}, {"tied": True}, {"frame": "pixel"}, {"goal": "wrong", "objective": "score"}]
FRONT = [{"objective": "score", "alpha": alpha} for alpha in (1.0, 1e2, 1e4, 1e5)]
MASKS = {"efficientnet_lite0": [*BOTH, *FRONT, {"alpha": 1e2}, {"alpha": 1e4}], "mobilenet_v2": BOTH}
RANKINGS = [{"frame": "haar", "ranking": r, "tied": t} for r in ("WAM-IG", "|z|") for t in (False, True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "minimal_images")
    args = parser.parse_args()

    cases = {}
    for name in models.EMBEDDED:
        masks = [BASE | change for change in MASKS[name]]
        for kind, variants in (("photograph", [{}]), ("mask", masks), ("ranking", RANKINGS)):
            cases |= {"/".join([name, kind, *map(str, v.values())]): [name, kind, v] for v in variants}
    start = time.perf_counter()
    table = benchmark.run(evaluate, cases, SETTINGS, args.folder, jobs=args.jobs, progress=True)
    if len(failures := benchmark.failed(table)):
        sys.exit(f"{len(failures)} cases failed, nothing is stored:\n{failures.to_string()}")
    place = benchmark.location(evaluate, SETTINGS, args.folder)
    store("minimal_images", place, round(time.perf_counter() - start), args.jobs, {"settings": SETTINGS})


@cache
def known(name: str) -> tuple[ImageClassifier, Tensor, Tensor, tuple[str, ...]]:
    """A network, the photographs that it classifies correctly, their classes and names."""
    model = models.load(name).to(memory_format=torch.channels_last)
    photographs = list(data.images())
    x, labels = model.prepare(photographs), torch.tensor([photograph.label for photograph in photographs])
    with torch.no_grad():
        right = model(x).argmax(1) == labels
    names = tuple(photograph.name for photograph, is_right in zip(photographs, right) if is_right)
    return model, x[right], labels[right], names


def evaluate(case: list, *, steps: int, sweep: int, integration: int, max_batch: int) -> list[dict[str, Any]]:
    """The rows of one setting: a minimal image of every photograph that the network classifies correctly."""
    name, kind, variant = case
    model, x, labels, names = known(name)
    columns = {"label": labels, "target": labels}
    if kind == "photograph":
        columns |= seen(name, "end", x, labels) | deprived(name, x, labels)
    elif kind == "mask":
        frame = FRAMES[variant["frame"]]
        target = labels.roll(1) if variant["goal"] == "wrong" else labels
        found = minimal.optimise(
            model, x, target, frame, variant["alpha"], steps, objective=variant["objective"], tied=variant["tied"],
            keeps="class" if variant["goal"] == "wrong" else "score", max_batch=max_batch,
        )  # fmt: skip
        columns |= descended(found) | {"target": target}
        (end,), (sparsest,) = found.inputs(), found.inputs(found.sparsest)
        control = largest(frame, x, 1 - columns["sparsity"], variant["tied"])
        for what, inputs in (("end", end), ("sparsest", sparsest), ("control", control)):
            columns |= seen(name, what, inputs, target)
        columns |= deprived(name, end, target) | left(model, x, end, names)
    else:
        columns |= ranked(model, x, labels, variant, sweep, integration, max_batch)
        columns |= seen(name, "end", columns.pop("sufficient"), labels)
    lists = {key: value.tolist() for key, value in columns.items()}
    fixed = {"network": name, "kind": kind} | variant
    return [fixed | {"image": image} | {k: v[i] for k, v in lists.items()} for i, image in enumerate(names)]


def descended(found: Minimal) -> dict[str, Tensor]:
    """Where the descent ended, and the largest share of zeros on the way that kept the score, or the class."""
    columns = {key: getattr(found, key)[0, :, -1] for key in ("sparsity", "score", "probability", "kept")}
    score, sparsity = found.score[0], found.sparsity[0]
    for name, enough in (("score", score >= score[:, :1]), ("class", found.kept[0])):
        best = torch.where(enough, sparsity, -1).amax(1)
        columns[f"sparsity_at_{name}"] = torch.where(best < 0, torch.nan, best)
    return columns | {"original": score[:, 0], "highest": score.amax(1)}


def seen(name: str, what: str, inputs: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Whether the network and the other one see the class in some inputs, and in them as an 8-bit file."""
    model, other = known(name)[0], known(next(n for n in models.EMBEDDED if n != name))[0]
    colours = inputs * model.std + model.mean
    saved = (colours.clamp(0, 1) * 255).round() / 255
    found = {}
    with torch.no_grad():
        for whose, net in (("own", model), ("other", other)):
            for how, rgb in (("", colours), ("_saved", saved)):
                logits = net((rgb - net.mean) / net.std)
                found[f"{what}_{whose}{how}"] = logits.argmax(1) == target
                found[f"{what}_{whose}{how}_probability"] = logits.softmax(1).gather(1, target[:, None])[:, 0]
    return found


def deprived(name: str, inputs: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Whether the network sees the class without colour, without the finest details or any, and in shuffled patches."""
    model, z = known(name)[0], HAAR.analysis(inputs)
    views = {"grey": content.luma_chroma(inputs * model.std)[:, :1] / model.std}
    views |= {"no_level_1": HAAR.synthesis(z - z.level(1)), "no_details": HAAR.synthesis(z.level("approx"))}
    views |= {f"shuffled_{grid}": content.shuffled(inputs, grid) for grid in GRIDS}
    with torch.no_grad():
        return {view: model(seen_).argmax(1) == target for view, seen_ in views.items()}


def left(model: ImageClassifier, x: Tensor, inputs: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
    """What of the photographs the minimal images still hold, and what they hold that was not there."""
    full, part = x * model.std, inputs * model.std
    boxes = content.inside([data.BOXES[name] for name in names], x.shape[2:])
    ycc = [content.luma_chroma(image) for image in (full, part)]
    by_scale = content.retained_by_scale(HAAR, *ycc)
    columns = {f"luma_{scale}": by_scale[:, 0, i] for i, scale in enumerate(("approx", 3, 2, 1))}
    return columns | {
        "luma": content.retained(*(image[:, :1] for image in ycc)),
        "chroma": content.retained(*(image[:, 1:] for image in ycc)),
        "object": content.retained(full, part, boxes),
        "background": content.retained(full, part, ~boxes),
        "shape": content.edge_correlation(full, part, boxes),
        "false_colour": content.false_colour(HAAR, full, part),
        "hallucinated": content.hallucinated(full, part),
    }


def largest(frame: wam.Pixel | wam.Wavelet, x: Tensor, share: Tensor, tied: bool) -> Tensor:
    """The control: the same share of coefficients, those with the largest magnitude, whatever the network says."""
    z, spec = frame.analysis(x).pack()
    rank = z.norm(dim=1, keepdim=True) if tied else z.abs()
    place = rank.flatten(1).argsort(dim=1, descending=True).argsort(dim=1)
    mask = place < (share[:, None] * place.shape[1]).round()
    return frame.synthesis(wam.Coefficients.unpack(z * mask.view_as(rank), spec))


def ranked(model, x: Tensor, labels: Tensor, variant: dict, sweep: int, integration: int, max_batch: int) -> dict:
    """The insertion and deletion quantiles of a ranking, and the sufficient images."""
    e = wam.integrated_gradients(
        model, x, labels, frame=FRAMES[variant["frame"]], steps=integration, max_batch=max_batch
    )
    e = controls.magnitude(e) if variant["ranking"] == "|z|" else e
    found = minimal.static(model, x, e, sweep, protocol=Protocol(tied=variant["tied"]), max_batch=max_batch)
    columns = {"sufficient": found.sufficient}
    for name, quantile in (("insertion", found.insertion), ("deletion", found.deletion)):
        columns |= {name: quantile.share, f"{name}_first": quantile.first, f"{name}_monotone": quantile.monotone}
    return columns


if __name__ == "__main__":
    import minimal_images  # under its name, by which other processes find its functions

    minimal_images.main()
