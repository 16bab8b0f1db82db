"""What a step of the minimal images costs beside one bare forward and backward pass: ratios of wall time, in one run.

    python benchmarks/descent.py [--device cuda] [--rounds 7]

The bare loop sends as many batches of the same size through the model and back, parameters frozen, and one more forward
pass, as the descent ends with one. Rounds are interleaved in random order; the ratio is the median over rounds of two
times of one round, so that a machine that slows down cancels. As ``overhead.py``, the script restarts itself on Linux
with an allocator that keeps freed memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable

import torch
from overhead import KEEP, bare_loop, interleaved
from report import report

import wam
from wam import data, minimal, models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--alphas", type=int, default=6)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()

    calls: dict[str, Callable[[], object]] = {}
    images, alphas = data.images(args.images), torch.logspace(0, 5, args.alphas).tolist()
    target = torch.tensor([image.label for image in images], device=args.device)
    layouts = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    for layout, memory_format in layouts.items():
        model = models.load(args.model, device=args.device).requires_grad_(False).to(memory_format=memory_format)
        x = model.prepare(images)
        rows = x.repeat(args.alphas, 1, 1, 1), target.repeat(args.alphas)
        calls[f"bare passes, {layout}"] = lambda m=model, r=rows: bare_loop(m, *r, args.steps, 1)
        for name, tied in (("haar", False), ("haar", True), ("db4", False)):
            options = {"frame": wam.Wavelet(name, levels=3, ndim=2), "tied": tied, "alpha": alphas, "steps": args.steps}
            call = lambda m=model, x=x, o=options: minimal.optimise(m, x, target, **o)  # noqa: E731
            calls[f"{name}{', tied' * tied}, {layout}"] = call

    seconds = interleaved(calls, args.rounds, args.device)
    rows = []
    for name, times in seconds.items():
        bare = seconds[f"bare passes, {name.rpartition(', ')[2]}"]
        ratio = statistics.median(time / other for time, other in zip(times, bare))
        per_step = statistics.median(times) / args.steps
        rows.append({"call": name, "seconds per step": round(per_step, 4), "ratio": round(ratio, 4)})
    report("descent", rows, vars(args))


if __name__ == "__main__":
    if sys.platform == "linux" and not KEEP.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP)
    main()
