"""How long ``wam explain`` takes on a photograph of 12 megapixels, with its parts: whole processes on a CPU.

    python benchmarks/explain.py [--model efficientnet_lite0] [--rounds 5]

The photograph is an embedded one of 512 x 512 pixels, resampled to 4000 x 3000 and saved as JPEG, with less detail than
a camera would give it. Every run is a process of its own, with the settings that the command has by default; weights
and photograph are in the cache. The parts are those of its ``summary.json``; *start and end* is what the process takes
beside them.
``import torch`` is measured in turn with it, in processes of its own: the ratios are to that.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from report import report

from wam import data, models

SIZE = (4000, 3000)


def seconds(*arguments: str) -> float:
    """How long a process of this Python takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--method", default="ig")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    models.load(args.model)  # its weights are in the cache now
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        photograph, out = Path(folder, "photograph.jpg"), Path(folder, "out")
        image = data.images(1)[0].image
        image.resize(SIZE, Image.Resampling.LANCZOS).save(photograph, quality=92)
        command = ["-m", "wam", "explain", str(photograph), "--model", args.model, "--method", args.method]
        for _ in range(args.rounds):
            found.setdefault("import torch", []).append(seconds("-c", "import torch"))
            whole = seconds(*command, "--out", str(out))
            found.setdefault("wam explain", []).append(whole)
            parts = json.loads((out / "summary.json").read_text("utf-8"))["seconds"]
            for name, value in {**parts, "start and end": whole - sum(parts.values())}.items():
                found.setdefault(name, []).append(value)
        size = f"{image.width} x {image.height} resampled to {SIZE[0]} x {SIZE[1]}, {photograph.stat().st_size} bytes"
    torch = statistics.median(found["import torch"])
    rows = [
        {"part": name, "seconds": round(m := statistics.median(times), 3), "largest": round(max(times), 3),
         "ratio": round(m / torch, 3)}
        for name, times in found.items()
    ]  # fmt: skip
    report("explain", rows, vars(args) | {"photograph": size})


if __name__ == "__main__":
    main()
