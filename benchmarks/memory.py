"""Peak memory of SmoothGrad, integrated gradients and minimal images against the number of evaluations.

It should not grow. Then that of a sound of 60 seconds through YAMNet, beside what one gradient of it needs without us:
it grows with ``max_batch`` and with nothing else. At last that of a volume of 128 voxels along every axis with three
channels, and of the transforms of such a volume and its heatmap, in numbers of volumes.

    python benchmarks/memory.py [--device cuda]

Every row is a process of its own: its peak resident memory on a CPU, the peak of the allocator on a GPU.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys

import torch
from report import report

import wam
from wam import data, metrics, minimal, models
from wam.volume_models import VoxelCNN

SECONDS = 60
SIDE = 128


def sound(max_batch: int, evaluations: int, device: str) -> None:
    """Integrated gradients of one long recording; for ``max_batch`` 0, one bare gradient."""
    model = models.load("yamnet", device=device).requires_grad_(False)
    x = model.prepare(data.recordings()[1].clip.mono().resample(model.rate).fit(SECONDS)).to(device)
    if max_batch:
        frame = wam.Wavelet("sym8", levels=5, ndim=1)
        wam.integrated_gradients(model, x, frame=frame, steps=evaluations, layer="front_end", max_batch=max_batch)
    else:
        x.requires_grad_(True)
        torch.autograd.grad(model(x).amax(1).sum(), x)


def images(method: str, evaluations: int, device: str) -> None:
    """One explanation of four images."""
    model = models.load("efficientnet_lite0", device=device)
    x = model.prepare(data.images(4)).to(device)
    frame = wam.Wavelet("db4", levels=3, ndim=2)
    if method == "SG":
        wam.smoothgrad(model, x, frame=frame, samples=evaluations)
    elif method == "IG":
        wam.integrated_gradients(model, x, frame=frame, steps=evaluations)
    else:
        minimal.optimise(model, x, None, frame, 100, steps=evaluations)


def volume(method: str, evaluations: int, device: str) -> None:
    """One explanation of a volume of three channels, which a first layer mixes; or one bare gradient."""
    model = torch.nn.Sequential(torch.nn.Conv3d(3, 1, 1), VoxelCNN()).to(device).requires_grad_(False)
    x, frame = torch.rand(1, 3, *[SIDE] * 3, device=device), wam.Wavelet("db4", levels=3, ndim=3)
    if method == "volume SG":
        wam.smoothgrad(model, x, frame=frame, samples=evaluations)
    elif method == "volume IG":
        wam.integrated_gradients(model, x, frame=frame, steps=evaluations)
    else:
        x.requires_grad_(True)
        torch.autograd.grad(model(x).amax(1).sum(), x)


def transforms(name: str, dtype: torch.dtype, side: int, device: str) -> None:
    """What surrounds the gradients: the transforms, a heatmap, and two masked volumes of a metric."""
    x, frame = torch.rand(1, 3, *[side] * 3, device=device, dtype=dtype), wam.Wavelet(name, levels=2, ndim=3)
    z, one = frame.analysis(x), torch.zeros(1, device=device)
    e = wam.explanation.Explanation(frame.pullback(x), z, one.long(), one, frame, "saliency")
    frame.synthesis(z), e.heatmap(), metrics.perturbed(x, e, [0.5])


def measure(method: str, evaluations: int, device: str) -> float:
    """Peak memory of one explanation, in MiB; of transforms, what they add."""
    before = 0.0
    if method.isdigit():
        sound(int(method), evaluations, device)
    elif method.startswith("volume"):
        volume(method, evaluations, device)
    elif method.startswith("transforms"):
        _, name, dtype = method.split()
        transforms(name, getattr(torch, dtype), 48, device)  # loads what has to be loaded
        before = used(device)
        transforms(name, getattr(torch, dtype), SIDE, device)
    else:
        images(method, evaluations, device)
    return used(device) - before


def used(device: str) -> float:
    """The peak so far, in MiB."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return torch.cuda.max_memory_allocated(device) / 2**20


def peak(method: str, evaluations: int, device: str) -> float:
    """That of a process of its own."""
    command = [sys.executable, __file__, "--device", device, "--one", method, str(evaluations)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--evaluations", type=int, nargs="+", default=[20, 200])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one[0], int(args.one[1]), args.device)))
        return

    rows = []
    for method in ("SG", "IG", "minimal"):
        peaks = []
        for count in args.evaluations:
            peaks.append(peak(method, count, args.device))
            ratio = round(peaks[-1] / peaks[0], 4)
            rows.append({"method": method, "evaluations": count, "peak MiB": round(peaks[-1], 1), "ratio": ratio})
    bare = peak("0", 1, args.device)
    long = f"sound of {SECONDS} s"
    rows.append({"method": f"{long}, one bare gradient", "evaluations": 1, "peak MiB": round(bare, 1), "ratio": 1.0})
    for count, max_batch in ((4, 1), (32, 1), (32, 4)):
        found = peak(str(max_batch), count, args.device)
        row = {"method": f"{long}, IG, max_batch={max_batch}", "evaluations": count}
        rows.append(row | {"peak MiB": round(found, 1), "ratio": round(found / bare, 4)})
    what = f"volume of {SIDE}^3, 3 channels"
    bare = peak("volume bare", 1, args.device)
    rows.append({"method": f"{what}, one bare gradient", "evaluations": 1, "peak MiB": round(bare, 1), "ratio": 1.0})
    for method in ("SG", "IG"):
        for count in (4, 32):
            found = peak(f"volume {method}", count, args.device)
            row = {"method": f"{what}, {method}", "evaluations": count, "peak MiB": round(found, 1)}
            rows.append(row | {"ratio": round(found / bare, 4)})
    for name in ("haar", "db4"):
        for dtype in ("float32", "float64"):
            found = peak(f"transforms {name} {dtype}", 1, args.device)
            own = 3 * SIDE**3 * getattr(torch, dtype).itemsize / 2**20
            row = {"method": f"{what}, transforms {name} {dtype} (ratio: volumes)", "evaluations": 0}
            rows.append(row | {"peak MiB": round(found, 1), "ratio": round(found / own, 1)})
    settings = {"device": args.device, "evaluations": args.evaluations}
    report("memory", rows, settings)


if __name__ == "__main__":
    main()
