"""What insertion and deletion cost beside the bare forward passes they need: ratios of wall time, in one process.

    python benchmarks/curves.py [--device cuda] [--rounds 7]

The bare loop sends as many inputs through the model, in batches of the same size, and does nothing else. Rounds are
interleaved in random order; the ratio is the median over rounds of two times of one round, so that a machine that
slows down cancels; it need not be that of the seconds, which are medians of their own. As ``overhead.py``, the script
restarts itself on Linux with an allocator that keeps freed memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable

import torch
from overhead import KEEP, interleaved
from report import report

import wam
from wam import data, metrics, models


def bare_loop(model: torch.nn.Module, x: torch.Tensor, inputs: int) -> None:
    with torch.no_grad():
        for start in range(0, inputs, len(x)):
            model(x[: inputs - start])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()

    model = models.load(args.model, device=args.device).requires_grad_(False)
    images = (list(data.images()) * -(-args.batch // 20))[: args.batch]
    x = model.prepare(images)
    target = torch.tensor([image.label for image in images], device=args.device)
    inputs = 2 * (args.steps - 1) * args.batch + args.batch + 1  # and f(x), and f(x0) once

    calls: dict[str, Callable[[], object]] = {"bare passes": lambda: bare_loop(model, x, inputs)}
    for name in ("haar", "db4"):
        e = wam.saliency(model, x, target, frame=wam.Wavelet(name, levels=3, ndim=2), max_batch=4)
        calls[f"curves, {name}"] = lambda e=e: metrics.perturbation_curves(model, x, e, steps=args.steps)

    seconds = interleaved(calls, args.rounds, args.device)
    rows = []
    for name, times in seconds.items():
        ratio = statistics.median(time / bare for time, bare in zip(times, seconds["bare passes"]))
        rows.append({"call": name, "seconds": round(statistics.median(times), 4), "ratio": round(ratio, 4)})
    report("curves", rows, vars(args) | {"inputs": inputs})


if __name__ == "__main__":
    if sys.platform == "linux" and not KEEP.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP)
    main()
