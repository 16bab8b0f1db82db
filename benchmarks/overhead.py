"""What an explanation costs beside a bare loop of gradients: ratios of wall time, measured in one process.

    python benchmarks/overhead.py [--device cuda] [--rounds 7]
    python benchmarks/overhead.py --model yamnet       (recordings of 5 s at 16 kHz; also explained at the spectrogram)
    python benchmarks/overhead.py --model kumar_esc50  (the same at 44.1 kHz; its weights are random)
    python benchmarks/overhead.py --model digits3d --side 32 --batch 8     (3D digits, enlarged to 32 voxels a side)
    python benchmarks/overhead.py --model digits3d --side 128 --batch 1

The bare loop is the fewest lines that evaluate as many input gradients of as many inputs, parameters frozen, same
batches; for adaptive nodes it also makes the forward passes of the sweep. Rounds are interleaved in random order, so
that a slow minute of the machine meets every row alike; the ratio is that of the medians.

On Linux the script restarts itself with an allocator that keeps freed memory. By default glibc hands the buffers of
each pass back to the system, at random moments, and the page faults of fetching them again drown what is measured.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from collections.abc import Callable

import torch
from report import report
from torch import nn

import wam
from wam import data, models, quadrature

KEEP = {"MALLOC_TRIM_THRESHOLD_": "4000000000", "MALLOC_MMAP_THRESHOLD_": "4000000000"}


def bare_loop(model: torch.nn.Module, x: torch.Tensor, target: torch.Tensor, evaluations: int, forwards: int):
    total = torch.zeros_like(x)
    for _ in range(forwards):
        with torch.no_grad():
            model(x)
    for _ in range(evaluations):
        inputs = x.detach().requires_grad_(True)
        score = model(inputs).gather(1, target[:, None]).sum()
        total += torch.autograd.grad(score, inputs)[0]
    return total / evaluations


def timed(call: Callable[[], object], device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def interleaved(calls: dict[str, Callable[[], object]], rounds: int, device: str) -> dict[str, list[float]]:
    """The seconds of every call in every round, after one call that does not count; in random order."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in random.sample(sorted(calls.items()), len(calls)):
            seconds[name].append(timed(call, device))
    return seconds


def subject(name: str, batch: int, side: int, device: str) -> tuple[nn.Module, torch.Tensor, torch.Tensor, str | None]:
    """A model, a batch for it, the classes to explain, and for a model of sounds the layer of its spectrogram."""
    sound = name in ("yamnet", "kumar_esc50")
    model = models.load(name, device=device, pretrained=name != "kumar_esc50").requires_grad_(False)
    if name == "digits3d":
        digits = data.digits3d("test", batch)
        x = nn.functional.interpolate(model.prepare(digits), (side,) * 3)
        return model, x, digits.labels.to(device), None
    if not sound:
        images = data.images(batch)
        target = torch.tensor([image.label for image in images], device=device)
        return model, model.prepare(images).to(device), target, None
    clips = [sound.clip.mono().resample(model.rate).fit(5.0).normalised() for sound in data.recordings()[:batch]]
    x = model.prepare(clips).to(device)
    with torch.no_grad():
        return model, x, model(x).argmax(1), "front_end"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--side", type=int, default=32, help="voxels along every axis (digits3d)")
    parser.add_argument("--evaluations", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rules", nargs="+", choices=quadrature.RULES, default=list(quadrature.RULES))
    args = parser.parse_args()

    model, x, target, layer = subject(args.model, args.batch, args.side, args.device)
    n, ndim = args.evaluations, x.ndim - 2
    calls: dict[str, Callable[[], object]] = {
        "bare loop": lambda: bare_loop(model, x, target, n, 0),
        "bare loop + sweep": lambda: bare_loop(model, x, target, n, quadrature.SWEEP - 2),
    }
    long = "db4" if wam.Wavelet("db4", levels=3, ndim=ndim).max_levels(x.shape[2:]) >= 3 else "db2"
    for name in ("haar", long):
        frame = wam.Wavelet(name, levels=3, ndim=ndim)
        calls[f"SG {name}"] = lambda f=frame: wam.smoothgrad(model, x, target, frame=f, samples=n)
        for rule in args.rules:
            calls[f"IG {name} {rule}"] = lambda f=frame, r=rule: wam.integrated_gradients(
                model, x, target, frame=f, steps=n, nodes=r
            )
    if layer is not None:
        frame = wam.Wavelet("haar", levels=3, ndim=ndim)
        calls["SG haar, layer"] = lambda: wam.smoothgrad(model, x, target, frame=frame, samples=n, layer=layer)
        calls["IG haar geometric, layer"] = lambda: wam.integrated_gradients(
            model, x, target, frame=frame, steps=n, nodes="geometric", layer=layer
        )

    seconds = interleaved(calls, args.rounds, args.device)
    rows = []
    for name, times in seconds.items():
        bare = seconds["bare loop + sweep" if "adaptive" in name else "bare loop"]
        ratio = statistics.median(times) / statistics.median(bare)
        rows.append({"call": name, "seconds": round(statistics.median(times), 4), "ratio": round(ratio, 4)})
    suffix = "" if args.model == "efficientnet_lite0" else f"-{args.model}"
    if args.model == "digits3d":
        suffix += f"-{args.side}"
    else:
        del args.side
    report(f"overhead{suffix}", rows, vars(args))


if __name__ == "__main__":
    if sys.platform == "linux" and not KEEP.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP)
    main()
