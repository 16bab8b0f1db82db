"""The full run of the image tables that chapter 08 reads: every embedded model, photograph, method and protocol.

    python benchmarks/image_tables.py [--jobs 2] [--folder build/image_tables]

Interrupted, the same command continues. Writes ``wam/results/image_tables.parquet`` and, with what it was computed on,
``image_tables.json``; the seconds there are those of the last call.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wam import benchmark, data, models, records, tables

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "torchvision", "timm", "ptwt", "captum", "torchcam", "scipy", "numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "image_tables")
    args = parser.parse_args()

    options = inspect.signature(tables.evaluate).parameters.values()
    settings = {option.name: option.default for option in options if option.kind is option.KEYWORD_ONLY}
    cases = tables.cases(models.EMBEDDED, data.images())
    start = time.perf_counter()
    table = benchmark.run(tables.evaluate, cases, settings, args.folder, jobs=args.jobs, progress=True)
    seconds = round(time.perf_counter() - start)
    if failures := len(benchmark.failed(table)):
        sys.exit(f"{failures} cases failed, nothing is stored:\n{tables.report(table)}")

    passes = table[table["method"].isna()].groupby("metric")["value"].sum().astype(int).to_dict()
    place = benchmark.location(tables.evaluate, settings, args.folder)
    store("image_tables", place, seconds, args.jobs, {"passes": passes, "settings": settings})
    print(tables.report(table))


def store(name: str, place: Path, seconds: int, jobs: int, facts: dict[str, Any]) -> None:
    """Keep a finished run's table within the package, and beside it what it was computed on."""
    (records.RESULTS / f"{name}.parquet").write_bytes((place / "table.parquet").read_bytes())
    commit = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    provenance = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": subprocess.run(commit, capture_output=True, text=True, check=True).stdout.strip(),
        "seconds": seconds,
        "hardware": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {jobs} processes",
        **facts,
        "versions": {package: version(package) for package in PACKAGES},
    }
    (records.RESULTS / f"{name}.json").write_text(json.dumps(provenance, indent=1) + "\n")


if __name__ == "__main__":
    main()
