"""What the pages are made of: figures with alternative text, sliders without a kernel, and the results ledger.

Everything that is shown is plain HTML with its images inside: no script or style is fetched from anywhere, so the
pages work offline, in Colab, in the light and in the dark theme.

    python -m wam.book LEDGER_DIR OUT.md

renders the ledger that the chapters wrote as a Markdown page.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython import get_ipython
from IPython.display import HTML, display
from matplotlib.figure import Figure
from PIL import Image

from wam import attribution, plots
from wam.frames import Wavelet

__all__ = ["VERDICTS", "Explorer", "compare", "explorer", "figure", "ledger", "record", "slider", "start"]

VERDICTS = ("reproduced", "partly", "not reproduced", "not testable here")
"""What a row of the ledger may say about a claim of the paper."""

DPI = 170
"""Pixels per inch of the embedded images: about twice what a page shows, so that text stays crisp."""

_CARD = "background:#fff;border-radius:6px;display:block;width:100%;height:auto"
_chapter: dict[str, Any] = {"rows": {}}


# --- a chapter ------------------------------------------------------------------------------------------------


def start(chapter: str, profile: str = "embedded", seed: int = 0) -> None:
    """Begin a chapter: seed the generators, set the style of the figures, start the clock and an empty ledger.

    Parameters
    ----------
    chapter
        Its name, such as ``"02_images"``: the ledger's file is named after it.
    profile
        ``"embedded"`` or ``"paper"``, for the provenance of the results.
    seed
        Seed of :mod:`random`, NumPy and PyTorch.
    """
    if not chapter or Path(chapter).name != chapter:
        raise ValueError(f"chapter must be a plain name such as '02_images', got {chapter!r}")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - chapters may call libraries that draw from the global generator
    torch.manual_seed(seed)
    plt.rcParams.update(plots.style())
    _chapter.update(name=chapter, profile=profile, seed=seed, clock=time.perf_counter(), rows={})


def figure(fig: Figure, alt: str, caption: str | None = None) -> None:
    """Show a figure with its alternative text and caption, and close it.

    Raises
    ------
    ValueError
        If ``alt`` is empty: every figure says in words what it shows.
    """
    display(HTML(_figure(_image(fig, alt), caption)))


def slider(
    figures: Sequence[Figure],
    labels: Sequence[str],
    alts: Sequence[str],
    caption: str | None = None,
    label: str = "Setting",
) -> None:
    """Show a slider over figures that are drawn already: it moves without a kernel and without a network.

    The arrow keys and touch move it. Without JavaScript the first figure is shown.

    Parameters
    ----------
    figures
        The figures, in order; they are closed.
    labels, alts
        What the slider says at each position, and the alternative text of each figure.
    label
        What the slider sets, such as ``"Level"``.

    Raises
    ------
    ValueError
        If there is no figure, or not one label and one alternative text per figure.
    """
    if not figures or not len(figures) == len(labels) == len(alts):
        counts = f"{len(figures)} figures, {len(labels)} labels, {len(alts)} alternative texts"
        raise ValueError(f"a slider needs as many labels and alternative texts as figures, at least one: {counts}")
    key = f"wam-{uuid.uuid4().hex[:12]}"
    images = [_image(fig, alt, hidden=i > 0) for i, (fig, alt) in enumerate(zip(figures, alts, strict=True))]
    names = escape(json.dumps(list(labels)))
    move = (
        f"var n=+this.value,f=document.getElementById('{key}'),t=JSON.parse(f.dataset.labels)[n];"
        "f.querySelectorAll('img').forEach(function(m,i){m.style.display=i===n?'block':'none'});"
        "f.querySelector('output').textContent=t;this.setAttribute('aria-valuetext',t)"
    )
    control = (
        f'<label for="{key}-range" style="display:flex;flex-wrap:wrap;gap:.3em .8em;align-items:center;margin:.5em 0">'
        f'<span>{escape(label)}: <output for="{key}-range" aria-live="off" style="display:inline;font-weight:600">'
        f"{escape(labels[0])}</output></span>"
        f'<input id="{key}-range" type="range" min="0" max="{len(figures) - 1}" step="1" value="0" autocomplete="off" '
        f'aria-label="{escape(label)}" aria-valuetext="{escape(labels[0])}" oninput="{escape(move)}" '
        'style="flex:1 1 12em;min-height:2em"></label>'
    )
    display(HTML(_figure(control + "".join(images), caption, f'id="{key}" data-labels="{names}"')))


def _figure(content: str, caption: str | None, attributes: str = "") -> str:
    below = f'<figcaption style="margin-top:.4em;font-size:.9em">{escape(caption)}</figcaption>' if caption else ""
    return f'<figure {attributes} style="margin:1em 0;max-width:{plots.WIDTH * 110:.0f}px">{content}{below}</figure>'


def _image(fig: Figure, alt: str, hidden: bool = False) -> str:
    """The figure as an ``img`` that holds its data: WebP, without loss unless it holds pictures."""
    if not alt.strip():
        raise ValueError("a figure needs an alternative text: say in words what it shows")
    photographs = any(ax.images for ax in fig.axes)
    raw, buffer = io.BytesIO(), io.BytesIO()
    fig.savefig(raw, format="png", dpi=DPI, facecolor="white", pil_kwargs={"compress_level": 1})
    plt.close(fig)
    picture = Image.open(raw).convert("RGB")
    picture.save(buffer, "webp", **({"quality": 88} if photographs else {"lossless": True}))
    data = base64.b64encode(buffer.getvalue()).decode()
    style = f"{_CARD};display:none" if hidden else _CARD
    return (
        f'<img class="dark-light" alt="{escape(alt)}" width="{picture.width}" height="{picture.height}" style="{style}" '
        f'src="data:image/webp;base64,{data}">'
    )


# --- the results ledger ---------------------------------------------------------------------------------------


def compare(rows: Sequence[Mapping[str, Any]], where: str | None = None) -> None:
    """Show the table "paper and here", and record its rows in the ledger.

    Parameters
    ----------
    rows
        Mappings with ``what``, ``paper``, ``here``, ``difference`` and ``verdict`` (one of :data:`VERDICTS`), and
        where it differs from row to row ``where``.
    where
        The place in the paper, such as ``"Fig. 6"``, of the rows that do not name their own.

    Raises
    ------
    ValueError
        If a row lacks a key, names no place, or has another verdict.
    """
    rows = [{"where": where, **row} for row in rows]
    for row in rows:
        if missing := [key for key in ("what", "paper", "here", "difference", "verdict") if key not in row]:
            raise ValueError(f"a row of the comparison lacks {', '.join(missing)}: {row}")
        record(row["where"], row["what"], row["paper"], row["here"], row["verdict"])
    columns = {"where": "paper's", "what": "what", "paper": "paper", "here": "here", "difference": "difference"}
    head = "".join(f'<th scope="col">{name}</th>' for name in (*columns.values(), "verdict"))
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_text(row[key]))}</td>" for key in (*columns, "verdict")) + "</tr>"
        for row in rows
    )
    table = f'<table class="table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    display(HTML(f'<div style="overflow-x:auto">{table}</div>'))


def record(where: str, claim: str, paper: Any, here: Any, verdict: str) -> None:
    """Add a row to the results ledger; a row of the same place and claim is replaced.

    Rows go to ``$WAM_LEDGER/<chapter>.json`` when that variable is set, written as a whole and atomically, with
    the provenance of the run. The first row after :func:`start` replaces the file of an earlier run.

    Parameters
    ----------
    where, claim
        The place in the paper, such as ``"Table 1"``, and what it says there.
    paper, here
        The paper's number and ours; ``None`` where there is none.
    verdict
        One of :data:`VERDICTS`.

    Raises
    ------
    ValueError
        If the place or the claim is empty, the verdict is another, or no chapter was started.
    """
    if verdict not in VERDICTS:
        raise ValueError(f"unknown verdict {verdict!r}; choose one of {', '.join(map(repr, VERDICTS))}")
    if not where or not claim:
        raise ValueError(f"a row needs a place in the paper and a claim, got where={where!r}, claim={claim!r}")
    row = {"where": where, "claim": claim, "paper": _text(paper), "here": _text(here), "verdict": verdict}
    _chapter["rows"][where, claim] = row
    if folder := os.environ.get("WAM_LEDGER"):
        if "name" not in _chapter:
            raise ValueError("no chapter was started: call wam.book.start(chapter=...) first")
        page = {"chapter": _chapter["name"], "provenance": _provenance(), "rows": list(_chapter["rows"].values())}
        _write(Path(folder) / f"{_chapter['name']}.json", json.dumps(page, indent=1, ensure_ascii=False))


def ledger(folder: str | os.PathLike) -> str:
    """The ledger page, in Markdown: one table per chapter, with the provenance of its numbers below it.

    Raises
    ------
    FileNotFoundError
        If no chapter has written rows into ``folder``.
    """
    pages = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(folder).glob("*.json"))]
    if not any(page["rows"] for page in pages):
        raise FileNotFoundError(f"no results in {folder}: run the chapters first (make execute)")
    verdicts = [row["verdict"] for page in pages for row in page["rows"]]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in VERDICTS if v in verdicts)
    lines = [
        "# Results ledger",
        "",
        "Every claim of the paper that a chapter checks, with the paper's number and the one measured when these "
        "pages were built. Each row is written by the chapter while it runs; nothing is typed by hand. "
        "*Reproduced* means that the claim held here, *partly* that it held with a reservation that the chapter "
        "names, *not reproduced* that it did not hold, and *not testable here* that it needs models or data that "
        "this profile does not have. Models and data of the embedded profile stand in for the paper's: compare "
        "the direction and the order, not the digits.",
        "",
        f"In all {len(verdicts)} claims: {counts}.",
    ]
    for page in pages:
        lines += ["", f"## {page['chapter']}", "", "| paper's | claim | paper | here | verdict |", "| --- " * 5 + "|"]
        for row in page["rows"]:
            cells = (row[key] for key in ("where", "claim", "paper", "here", "verdict"))
            lines.append("| " + " | ".join(map(_cell, cells)) + " |")
        provenance = "; ".join(f"{key} {value}" for key, value in page["provenance"].items())
        lines += ["", f"Run: {_cell(provenance)}."]
    return "\n".join(lines) + "\n"


def _provenance() -> dict[str, Any]:
    root = Path(__file__).resolve().parents[1]
    commit = ""
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
        with contextlib.suppress(OSError):
            commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {
        "profile": _chapter["profile"],
        "seed": _chapter["seed"],
        **({"commit": commit} if commit else {"wam": _version("wam")}),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "ptwt", "timm")},
        "on": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, {device}",
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seconds": round(time.perf_counter() - _chapter["clock"], 1),
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _text(value: Any) -> str:
    if value is None:
        return "–"
    value = value.item() if hasattr(value, "item") else value
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return escape(text, quote=False).replace("|", "\\|").replace("\n", " ")


def _write(path: Path, text: str) -> None:
    """Write a file as a whole: an interrupted write leaves what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(scratch, path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


# --- live -----------------------------------------------------------------------------------------------------


class Explorer:
    """The live explorer of :func:`explorer`; ``widget`` is built when it is first asked for.

    Attributes
    ----------
    controls
        The widgets by setting: ``model``, ``image``, ``wavelet``, ``levels``, ``method``, ``share``. Setting the
        ``value`` of one explains anew.
    picture, status, bar
        The explanation as HTML, what is going on (or the error, as text), and the progress.
    """

    METHODS = ("integrated gradients", "SmoothGrad", "saliency")

    def __init__(self, models: Mapping[str, Any], images: Sequence[Any], wavelets: Sequence[str], evaluations: int):
        self.models, self.images, self.wavelets, self.evaluations = models, images, wavelets, evaluations
        self.explain_once = lru_cache(maxsize=32)(self._explanation)

    def _ipython_display_(self) -> None:
        if not _live():
            text = "In Colab or Jupyter a live explorer appears here: choose image, wavelet, levels, method and share."
            display(HTML(f"<p><em>{text}</em></p>"))
        else:
            display(self.widget)
            self.explain()

    @cached_property
    def widget(self):
        """The controls above the figure: an ``ipywidgets.VBox``."""
        import ipywidgets

        long = {"description_width": "5em"}
        names = [(f"{i + 1}: {image.name}", i) for i, image in enumerate(self.images)]
        slide = {"continuous_update": False, "style": long}
        self.controls = {
            "model": ipywidgets.Dropdown(options=list(self.models), description="model", style=long),
            "image": ipywidgets.Dropdown(options=names, description="image", style=long),
            "wavelet": ipywidgets.Dropdown(options=list(self.wavelets), description="wavelet", style=long),
            "levels": ipywidgets.IntSlider(value=3, min=1, max=7, description="levels", **slide),
            "method": ipywidgets.Dropdown(options=self.METHODS, description="method", style=long),
            "share": ipywidgets.FloatSlider(
                value=0.1, min=0.01, max=1, step=0.01, readout_format=".0%", description="share kept", **slide
            ),
        }
        self.status, self.picture = ipywidgets.HTML(), ipywidgets.HTML()
        self.bar = ipywidgets.IntProgress(max=self.evaluations + 2)
        for control in self.controls.values():
            control.observe(lambda change: self.explain(), names="value")
        choices = ipywidgets.Box(list(self.controls.values()), layout={"flex_flow": "row wrap"})
        return ipywidgets.VBox([choices, ipywidgets.HBox([self.bar, self.status]), self.picture])

    def explain(self) -> None:
        """Explain with the present settings: show the figure, or what went wrong as text."""
        *settings, share = (control.value for control in self.controls.values())
        began, self.bar.value = time.perf_counter(), 0
        self.status.value = "explaining ..."
        try:
            e, rgb, categories = self.explain_once(*settings)
            fig, alt = plots.explanation(e, rgb, fraction=share, categories=categories)
            self.picture.value = _figure(_image(fig, alt), None)
            self.status.value = f"done in {time.perf_counter() - began:.1f} s"
        except Exception as error:  # whatever went wrong, a traceback in a callback would be lost
            self.picture.value = ""
            self.status.value = f'<span role="alert">{escape(f"{type(error).__name__}: {error}")}</span>'
        self.bar.value = self.bar.max

    def _explanation(self, model: str, image: int, wavelet: str, levels: int, method: str):
        network = self.models[model]
        x = network.prepare([self.images[image]])
        options: dict[str, Any] = {"frame": Wavelet(wavelet, levels=levels, ndim=2)}
        if method == "integrated gradients":
            run, options["steps"] = attribution.integrated_gradients, self.evaluations
        elif method == "SmoothGrad":
            run, options["samples"] = attribution.smoothgrad, self.evaluations
        else:
            run = attribution.saliency
        hook = network.register_forward_pre_hook(self._count)
        try:
            return run(network, x, **options), network.display(x), network.categories
        finally:
            hook.remove()

    def _count(self, module: Any, inputs: tuple) -> None:
        self.bar.value = min(self.bar.value + len(inputs[0]), self.bar.max)


def explorer(
    model: Any,
    images: Sequence[Any],
    *,
    wavelets: Sequence[str] = ("db4", "haar", "sym8", "bior4.4"),
    evaluations: int = 16,
) -> Explorer:
    """A live explorer of explanations, with ipywidgets: last in a cell it shows itself.

    Where a kernel runs (Colab, Jupyter) it shows controls and a figure; in a static page (``WAM_LEDGER`` is set, or
    there is no kernel) a note in their place. Settings that were explained before are taken from a cache.

    Parameters
    ----------
    model
        An image classifier of :mod:`wam.models`, or several.
    images
        Images of :mod:`wam.data`.
    wavelets
        The wavelets to choose from.
    evaluations
        Gradient evaluations of SmoothGrad and integrated gradients.
    """
    models = list(model) if isinstance(model, Sequence) else [model]
    if not models or not images:
        raise ValueError(f"an explorer needs a model and images, got {len(models)} and {len(images)}")
    return Explorer({m.name: m for m in models}, images, wavelets, evaluations)


def _live() -> bool:
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel") and not os.environ.get("WAM_LEDGER")


def main(arguments: Sequence[str]) -> None:
    """``python -m wam.book LEDGER_DIR OUT.md``: render the ledger."""
    if len(arguments) != 2:
        sys.exit("usage: python -m wam.book LEDGER_DIR OUT.md")
    try:
        _write(Path(arguments[1]), ledger(arguments[0]))
    except FileNotFoundError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
