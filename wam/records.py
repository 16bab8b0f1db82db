"""Results that come with this package: the tables of the paper, and full runs of ours that a page is too short for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from wam import benchmark
from wam.checks import choice

RESULTS = Path(__file__).parent / "results"
"""The folder of them.

:meta hide-value:
"""


def paper(table: int | str) -> pd.DataFrame:
    """A table of the paper, or ``"poster"``, the one of its poster; with their names.

    1, 3 and 4 are of images: faithfulness (with Guided Backpropagation, which only the submission to ICLR 2025 has),
    mu-fidelity, insertion and deletion. 2 and 5 are of sounds, explained at the
    wavelet coefficients and at the mel-spectrogram: the columns are the metrics on clean clips of ESC-50 and, ``_wn``,
    on clips in white noise. The poster has insertion, deletion and faithfulness of sounds, images and volumes.

    >>> import wam.records
    >>> wam.records.paper(1).set_index("method").loc["WAM-SG", "ResNet"].item()
    0.438
    """
    if table not in (*range(1, 6), "poster"):
        raise ValueError(f"the tables of the paper are 1 to 5 and 'poster', not {table!r}")
    return pd.read_csv(RESULTS / ("paper_poster.csv" if table == "poster" else f"paper_table{table}.csv"))


def stored(name: str = "image_tables") -> tuple[pd.DataFrame, dict[str, Any]]:
    """The table of a full run that comes with this package, ``image_tables`` or ``minimal_images``, and its provenance.

    Raises
    ------
    ValueError
        If there is no such table.
    """
    known = sorted(path.stem for path in RESULTS.glob("*.parquet"))
    path = RESULTS / f"{choice(name, known, 'stored table')}.parquet"
    return benchmark.read(path), json.loads((RESULTS / f"{name}.json").read_text())
