"""The files of a report (:mod:`wam.report`), by name, each with what writes it."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
from matplotlib.figure import Figure
from PIL import Image

from wam import plots
from wam.clips import Clip

if TYPE_CHECKING:
    from wam.report import Report

NAMES = ("summary.json", "attributions.safetensors", "explanation.png", "scales.png", "spectrogram.png", "slices.png")
NAMES += ("reconstruction.png", "reconstruction.wav", "reconstruction.npy")
"""All names that files of reports have."""


def contents(report: Report, more: Mapping[str, Any]) -> dict[str, Callable[[Path], Any]]:
    """The files of :meth:`wam.report.Report.save`, for :func:`wam.files.replace_all`; figures are drawn here.

    ``more`` goes into ``summary.json``. Bytes are made before a file is opened: a full disk is then an ``OSError``,
    whichever library makes them.
    """
    began = time.perf_counter()
    figures = {f"{name}.png": made for name, made in report.figures().items()}
    made = {name: _png(figure) for name, (figure, _) in figures.items()}
    middle = time.perf_counter()
    made |= dict([_reconstruction(report)])

    def summary(scratch: Path) -> None:
        found = {**more, **report.summary()}
        parts = {"figures": middle - began, "save": time.perf_counter() - middle}
        seconds = {**more.get("seconds", {}), **report.seconds, **parts}
        found["seconds"] = {name: round(value, 3) for name, value in seconds.items()}
        found["figures"] = {file: alt for file, (_, alt) in figures.items()}
        scratch.write_text(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")

    written = {file: lambda scratch, data=data: scratch.write_bytes(data) for file, data in made.items()}
    return written | {"attributions.safetensors": report.explanation.save, "summary.json": summary}


def _reconstruction(report: Report) -> tuple[str, bytes]:
    """The name and the content of the file of the reconstruction."""
    file = io.BytesIO()
    if report.picture is not None:
        values = plots.reconstruction(report.explanation, report.picture[0], report.top)
        values = (255 * np.clip(values, 0, 1)).round().astype(np.uint8)
        Image.fromarray(values[..., 0] if values.shape[2] == 1 else values).save(file, "png")
        return "reconstruction.png", file.getvalue()
    if report.rate is None:
        np.save(file, report.reconstruction().float().cpu().numpy(), allow_pickle=False)
        return "reconstruction.npy", file.getvalue()
    _, part = report.sounds().values()
    soundfile.write(file, Clip(part, report.rate).pcm(), report.rate, format="WAV", subtype="PCM_16")
    return "reconstruction.wav", file.getvalue()


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=160, facecolor="white")
    return file.getvalue()
