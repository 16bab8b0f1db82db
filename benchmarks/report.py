"""Print a benchmark's rows and keep them, with what they were measured on, in ``benchmarks/results``."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def report(name: str, rows: list[dict[str, Any]], settings: dict[str, Any]) -> None:
    """Print ``rows`` as a table and write them to ``results/NAME-DEVICE.json``."""
    device = str(settings.get("device", "cpu"))
    hardware = platform.processor() or platform.machine()
    if device != "cpu":
        hardware = torch.cuda.get_device_name(device)
    columns = list(rows[0])
    widths = {c: max(len(c), *(len(str(row[c])) for row in rows)) for c in columns}
    print("  ".join(c.ljust(widths[c]) for c in columns))
    for row in rows:
        print("  ".join(str(row[c]).ljust(widths[c]) for c in columns))
    machine = {"hardware": hardware, "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    machine |= {package: version(package) for package in ("torch", "ptwt", "timm")}
    machine["date"] = datetime.now(UTC).strftime("%Y-%m-%d")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{device.split(':')[0]}.json"
    path.write_text(json.dumps({"settings": settings, "machine": machine, "rows": rows}, indent=1) + "\n")
    print(f"written to {path.relative_to(Path.cwd())}" if path.is_relative_to(Path.cwd()) else f"written to {path}")
