"""What the pages are made of: figures with alternative text, sliders without a kernel, the results ledger.

Everything shown is plain HTML with its images inside and fetches nothing: it works offline, in Colab, in the light and
in the dark theme. What the chapters recorded goes to the page of the results ledger when the book is built.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import platform
import random
import re
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import HTML, Markdown, display
from matplotlib.figure import Figure
from PIL import Image

from wam import __version__, files, plots
from wam.checks import choice

VERDICTS = ("reproduced", "partly", "not reproduced", "not testable here")
"""What a row of the ledger may say about a claim of the paper."""

_UNITS = "(?:%|dB|ms|Hz|kHz|s|MB)(?!\\w)"
_NUMBER = re.compile(rf"\[[-+\d.]+, [-+\d.]+\]|\d+ (?:of|×) \d+|[-+]?\d[\d.,]*(?:e[-+]?\d+ %|e[-+]?\d+| {_UNITS})")

DPI = 160
"""Pixels per inch of the figures on a page: about twice what a page shows, so that text is crisp."""

_chapter: dict[str, Any] = {"name": None, "rows": {}}


def start(chapter: str, profile: str = "embedded", seed: int = 0) -> None:
    """Begin a chapter: seed the generators, set the style of the figures, start its clock and an empty ledger.

    Parameters
    ----------
    chapter
        Its name, such as ``"02_images"``, which its ledger file gets.
    profile
        ``"embedded"`` or ``"paper"``; part of the provenance of the results.
    seed
        Seed of :mod:`random`, NumPy and PyTorch.

    Raises
    ------
    ValueError
        If the name is not one of a file.
    """
    if not chapter or Path(chapter).name != chapter:
        raise ValueError(f"chapter must be a plain name such as '02_images', got {chapter!r}")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries that chapters call draw from the global generator
    torch.manual_seed(seed)
    plt.rcParams.update(plots.style())
    _chapter.update(name=chapter, profile=profile, seed=seed, clock=time.perf_counter(), rows={})


def figure(fig: Figure, alt: str, caption: str | None = None) -> None:
    """Show a figure with its alternative text and its caption, and close it.

    Raises
    ------
    ValueError
        If ``alt`` is empty: every figure says in words what it shows.
    """
    display(HTML(framed(img(fig, alt), caption)))


def slider(
    figures: Sequence[Figure],
    labels: Sequence[str],
    alts: Sequence[str],
    caption: str | None = None,
    label: str = "Setting",
) -> None:
    """Show a slider over figures that are drawn already: it moves without a kernel, by mouse, touch and arrow keys.

    Parameters
    ----------
    figures
        The figures, in order; they are closed. Where scripts do not run, the first one is shown.
    labels, alts
        What the slider says at every position, and the alternative text of every figure.
    label
        What the slider sets, such as ``"Level"``.

    Raises
    ------
    ValueError
        If there is no figure, or not one label and one alternative text per figure.
    """
    if not figures or not len(figures) == len(labels) == len(alts):
        counts = f"{len(figures)} figures, {len(labels)} labels, {len(alts)} alternative texts"
        raise ValueError(f"a slider needs figures, and a label and an alternative text for each; got {counts}")
    key, name, first = f"wam-{uuid.uuid4().hex[:12]}", escape(label), escape(labels[0])
    move = (
        f"const f=document.getElementById('{key}'),n=+this.value,t=JSON.parse(f.dataset.labels)[n];"
        "f.querySelectorAll('img').forEach((m,i)=>{m.style.display=i===n?'block':'none'});"
        "f.querySelector('output').textContent=t;this.setAttribute('aria-valuetext',t)"
    )
    control = (
        '<div style="display:flex;flex-wrap:wrap;align-items:center;gap:.2em 1em;margin-bottom:.4em">'
        f'<label for="{key}-range" style="flex:1 1 14em">{name}: <output for="{key}-range" aria-live="off" '
        f'style="font-weight:600">{first}</output></label>'
        f'<input id="{key}-range" type="range" min="0" max="{len(figures) - 1}" step="1" value="0" '
        f'autocomplete="off" aria-label="{name}" aria-valuetext="{first}" oninput="{escape(move)}" '
        'style="flex:2 1 14em;min-height:2em"></div>'
    )
    images = "".join(img(fig, alt, shown=i == 0) for i, (fig, alt) in enumerate(zip(figures, alts)))
    display(HTML(framed(control + images, caption, f'id="{key}" data-labels="{escape(json.dumps(list(labels)))}" ')))


def framed(content: str, caption: str | None, attributes: str = "") -> str:
    """``content`` as an HTML figure with its caption."""
    below = f'<figcaption style="margin-top:.4em">{escape(_whole(caption))}</figcaption>' if caption else ""
    return f'<figure {attributes}style="margin:1em 0;max-width:660px">{content}{below}</figure>'


def img(fig: Figure, alt: str, shown: bool = True) -> str:
    """The figure as an ``img`` on white that holds its data: WebP, without loss unless there are pictures in it."""
    if not alt.strip():
        raise ValueError("a figure needs an alternative text: say in words what it shows")
    pictures = any(ax.images for ax in fig.axes)
    png, webp = io.BytesIO(), io.BytesIO()
    fig.savefig(png, format="png", dpi=DPI, facecolor="white", pil_kwargs={"compress_level": 1})
    plt.close(fig)
    image = Image.open(png).convert("RGB")
    image.save(webp, "webp", **({"quality": 72, "method": 5} if pictures else {"lossless": True}))
    return (
        f'<img class="dark-light" alt="{escape(alt)}" width="{image.width}" height="{image.height}" '
        f'style="display:{"block" if shown else "none"};width:100%;height:auto;background:#fff;border-radius:6px" '
        f'src="data:image/webp;base64,{base64.b64encode(webp.getvalue()).decode()}">'
    )


def say(text: str) -> None:
    """Show a sentence of Markdown that holds numbers of the run."""
    display(Markdown(_whole(text)))


def span(row: Mapping[str, float], digits: int = 2, sign: str = "", scale: float = 1.0) -> str:
    """A mean with its interval, as text, from a row of :func:`wam.comparison.summary`.

    >>> from wam.book import span
    >>> span({"mean": 0.123, "low": -0.001, "high": 0.25}), span({"mean": 0.1, "low": 0, "high": 0.2}, 0, "+", 100)
    ('0.12 [0.00, 0.25]', '+10 [0, +20]')
    """
    values = (round(scale * float(row[name]), digits) + 0.0 for name in ("mean", "low", "high"))
    mean, low, high = (f"{value:{sign if value else ''}.{digits}f}" for value in values)
    return f"{mean} [{low}, {high}]"


def compare(rows: Sequence[Mapping[str, Any]], where: str | None = None) -> None:
    """Show the table "paper and here", and :func:`record` its rows.

    Parameters
    ----------
    rows
        Mappings with ``what``, ``paper``, ``here``, ``difference``, ``verdict``, and ``where`` if it is their own.
    where
        The place in the paper, such as ``"Fig. 6"``, of rows that do not name theirs.

    Raises
    ------
    ValueError
        If a row lacks a key; and as :func:`record`.
    """
    columns = ("where", "verdict", "what", "paper", "here", "difference")
    rows = [{"where": where, **row} for row in rows]
    for row in rows:
        if missing := [column for column in columns if column not in row]:
            raise ValueError(f"a row of the comparison lacks {', '.join(missing)}: {row}")
        record(row["where"], row["what"], row["paper"], row["here"], row["verdict"], row["difference"])
    display(HTML(_rows(columns, [[row[column] for column in columns] for row in rows], "table stacked")))


def table(head: Sequence[Any], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """Show a table that scrolls on its own where the page is narrow, under a ``title`` in Markdown.

    Raises
    ------
    ValueError
        If a row has not one cell per column.
    """
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"{len(row)} cells for {len(head)} columns: {row}")
    if title:
        say(title)
    display(HTML(_rows(head, rows, "table")))


def _rows(head: Sequence[Any], rows: Sequence[Sequence[Any]], kind: str) -> str:
    """A table in HTML; every cell knows the name of its column, for pages that are too narrow for columns."""
    names = [escape(_text(name)) for name in head]
    columns = "".join(f'<th scope="col">{name}</th>' if name else "<td></td>" for name in names)
    labels = [f' data-label="{name}"' if "stacked" in kind else "" for name in names]
    cells = ("".join(f"<td{label}>{_unbroken(cell)}</td>" for label, cell in zip(labels, row)) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    table = f'<table class="{kind}"><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div style="overflow-x:auto">{table}</div>'


def _whole(text: str) -> str:
    """``text`` with no line break between a number and its unit."""
    return re.sub(rf"(?<=\d) (?={_UNITS})", "\N{NO-BREAK SPACE}", text)


def _unbroken(value: Any) -> str:
    """A cell in HTML, in which no line breaks inside of an interval, or between a number and its unit."""
    whole = _NUMBER.sub(r'<span style="white-space:nowrap">\g<0></span>', escape(_text(value)))
    return re.sub(r"(?<=\w)_(?=\w)", "_<wbr>", whole)  # names of networks may break


def record(where: str, claim: str, paper: Any, here: Any, verdict: str, difference: Any = None) -> None:
    """Add a row to the results ledger, or replace the one of the same place and claim.

    When ``WAM_LEDGER`` names a folder, the rows since :func:`start` are written to ``<chapter>.json`` there, with the
    provenance of the run; the file of an earlier run is replaced as a whole.

    Parameters
    ----------
    where, claim
        The place in the paper, such as ``"Table 1"``, and what it says there.
    paper, here
        The paper's value and ours: numbers or text; ``None`` where there is none.
    verdict
        One of :data:`VERDICTS`.
    difference
        How the two differ, or what the verdict depends on: a number or text.

    Raises
    ------
    ValueError
        If the place or the claim is empty, there is no such verdict, or no chapter was started.
    """
    choice(verdict, VERDICTS, "verdict")
    if not where or not claim:
        raise ValueError(f"a row needs a place in the paper and a claim, got {where!r} and {claim!r}")
    row = {"where": where, "verdict": verdict, "claim": claim}
    row |= {"paper": _text(paper), "here": _text(here), "difference": _text(difference)}
    _chapter["rows"][where, claim] = row
    if folder := os.environ.get("WAM_LEDGER"):
        if _chapter["name"] is None:
            raise ValueError("no chapter was started: call wam.book.start(chapter=...) first")
        page = {"chapter": _chapter["name"], "provenance": _provenance(), "rows": list(_chapter["rows"].values())}
        text = json.dumps(page, indent=1, ensure_ascii=False)
        Path(folder).mkdir(parents=True, exist_ok=True)
        path = Path(folder) / f"{_chapter['name']}.json"
        files.replace(path, lambda scratch: scratch.write_text(text, encoding="utf-8"))


def _provenance() -> dict[str, Any]:
    root, commit = Path(__file__).resolve().parents[1], ""
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
        with contextlib.suppress(OSError):
            commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {
        "profile": _chapter["profile"],
        "seed": _chapter["seed"],
        "wam": commit or __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("torch", "ptwt", "timm")},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, {device}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seconds since the start of the chapter": round(time.perf_counter() - _chapter["clock"]),
    }


def _text(value: Any) -> str:
    value = value.item() if hasattr(value, "item") else value
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
