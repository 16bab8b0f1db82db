"""Peak memory of SmoothGrad, integrated gradients and minimal images against the number of evaluations.

It should not grow.

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
from wam import data, minimal, models


def measure(method: str, evaluations: int, device: str) -> float:
    """Peak memory of one explanation of four images, in MiB."""
    model = models.load("efficientnet_lite0", device=device)
    x = model.prepare(data.images(4)).to(device)
    frame = wam.Wavelet("db4", levels=3, ndim=2)
    if method == "SG":
        wam.smoothgrad(model, x, frame=frame, samples=evaluations)
    elif method == "IG":
        wam.integrated_gradients(model, x, frame=frame, steps=evaluations)
    else:
        minimal.optimise(model, x, None, frame, 100, steps=evaluations)
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return torch.cuda.max_memory_allocated(device) / 2**20


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
            command = [sys.executable, __file__, "--device", args.device, "--one", method, str(count)]
            peaks.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
            ratio = round(peaks[-1] / peaks[0], 4)
            rows.append({"method": method, "evaluations": count, "peak MiB": round(peaks[-1], 1), "ratio": ratio})
    settings = {"device": args.device, "evaluations": args.evaluations}
    report("memory", rows, settings)


if __name__ == "__main__":
    main()
