"""Live explorers of explanations for Colab and Jupyter, of images, sounds and volumes: choose, and see.

On a page without a kernel the same call shows a slider over a few settings. Either way the mean gradient of a model at
an example is computed once per method: every wavelet and level is made of it by :func:`wam.explanation.in_frame`.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

from IPython.display import display
from matplotlib.figure import Figure
from torch import Tensor

from wam import book, plots, voxels, words
from wam.audio import levelled
from wam.checks import choice, positive
from wam.cubes import aspect, solid
from wam.explanation import Explanation
from wam.methods import METHODS
from wam.player import markup
from wam.preparation import NOUNS
from wam.source import Source
from wam.spectrograms import comparison, share

WAVELETS = {1: ("sym8", "db4", "haar"), 2: ("db4", "haar", "sym8", "bior4.4"), 3: ("haar", "db2", "bior2.2")}
"""What is proposed for 1, 2 and 3 dimensions; another name can be typed."""

SHARES = (0.01, 0.1, 0.3)
"""The shares of the coefficients on a page without a kernel."""

_FILES = {1: "audio/*", 2: "image/*", 3: ".npy,.npz"}


def explore(
    models: Any,
    examples: Sequence[Any] | Mapping[str, Any],
    *,
    wavelets: Sequence[str] | None = None,
    levels: int = 3,
    evaluations: int = 16,
    vary: str = "share kept",
) -> Explorer | None:
    """A live explorer of explanations: model, example, wavelet, levels, method, and the share of coefficients kept.

    Of changes in quick succession the last one is explained; a newer one stops what is computed at the next evaluation
    of the model. Another wavelet, other levels or another share evaluate no model. The bar counts evaluations; what is
    wrong is said as text. A file of your own can be uploaded (:func:`wam.inputs.read`).

    While static pages are built (``WAM_LEDGER`` is set) a slider over a few settings is shown in its place.

    Parameters
    ----------
    models
        A classifier of :func:`wam.models.load`, or several of one dimension; they are put in evaluation mode.
    examples
        Images, sounds, or :class:`wam.examples.Examples`, prepared by :func:`wam.preparation.prepared`; tensors ``(1,
        channels, *spatial)`` go to the model as they are. A mapping names them.
    wavelets
        The wavelets that are proposed, the first one at the start; :data:`WAVELETS` by default.
    levels
        The number of levels at the start.
    evaluations
        Gradients of SmoothGrad and of integrated gradients.
    vary
        What the slider of a static page sets: ``"model"``, ``"example"``, ``"wavelet"``, ``"levels"``, ``"method"`` or
        ``"share kept"``. All else is as at the start.

    Returns
    -------
    Explorer or None
        The explorer, which shows itself as the last value of a cell; None on a static page.

    Raises
    ------
    ValueError
        For no model or example, models of different dimensions, or an unknown ``vary``; on a static page, as
        :func:`wam.integrated_gradients`.

    Examples
    --------
    >>> import wam.data, wam.models
    >>> from wam.explorer import explore
    >>> digits = wam.data.digits3d("test", 3)
    >>> explorer = explore(wam.models.load("digits3d"), digits, levels=2, evaluations=4)
    >>> explorer.controls["wavelet"].value = "db2"
    >>> explorer.status.value.partition("s, ")[2]
    'no evaluation of the model</span>'
    """
    source = Source(models, examples, evaluations)
    wavelets = tuple(wavelets or WAVELETS[source.ndim])
    options = {"model": range(len(source.models)), "example": range(len(source.names)), "wavelet": wavelets}
    options |= {"levels": range(1, positive(levels, "levels") + 1), "method": [*METHODS], "share kept": SHARES}
    choice(vary, options, "vary")
    if not os.environ.get("WAM_LEDGER"):
        return Explorer(source, wavelets, levels)
    start = {name: values[0] for name, values in options.items()} | {"levels": levels, "share kept": 0.1}
    figures, alts, labels = [], [], []
    for value in options[vary][:4]:
        *setting, kept = (start | {vary: value}).values()
        figure, alt = _draw(*source.explained(*setting), kept, small=True)
        figures.append(figure)
        alts.append(alt)
        labels.append(source.label(vary, value))
    fixed = ", ".join(source.label(name, value) for name, value in start.items() if name != vary)
    caption = f"Shown: {fixed}. In Colab and Jupyter all of it is yours to choose, and so are the examples."
    book.slider(figures, labels, alts, caption, vary.capitalize())
    return None


class Explorer:
    """The live explorer that :func:`explore` makes.

    Attributes
    ----------
    controls
        The widgets of the settings, by name, and ``"file"``: the upload.
    bar, status, picture
        The evaluations of the model so far; what is going on; the figure, and for sounds the players.
    widget
        All of it.
    """

    PAUSE = 0.3
    """Seconds without a change before an explanation begins."""

    def __init__(self, source: Source, wavelets: Sequence[str], levels: int) -> None:
        import ipywidgets as w

        self._source, self._task, self._worker = source, None, ThreadPoolExecutor(1, "explorer")
        self.controls = {
            "model": w.Dropdown(options=[(model.name, i) for i, model in enumerate(source.models)]),
            "example": w.Dropdown(options=source.options()),
            "wavelet": w.Combobox(value=wavelets[0], options=wavelets, continuous_update=False),
            "levels": w.IntSlider(value=levels, min=1, max=max(8, levels)),
            "method": w.Dropdown(options=[(words.method(name), name) for name in METHODS]),
            "share kept": w.SelectionSlider(value=0.1, options=[(f"{n} %", n / 100) for n in range(1, 101)]),
            "file": w.FileUpload(accept=_FILES[source.ndim], layout=w.Layout(width="auto")),
        }
        self.bar, self.status, self.picture = w.IntProgress(), w.HTML(), w.HTML()
        for name, control in self.controls.items():
            control.description = name if name != "file" else f"{NOUNS[source.ndim]} of your own"
            control.observe(self._uploaded if name == "file" else self._changed, names="value")
        controls = w.Box(list(self.controls.values()), layout=w.Layout(flex_flow="row wrap"))
        self.widget = w.VBox([controls, w.HBox([self.bar, self.status]), self.picture])
        self._explain()

    def _ipython_display_(self) -> None:  # what ipywidgets 7, which Colab has, and 8 both understand
        display(self.widget)

    def _changed(self, change: Any = None) -> None:
        """Explain a little later where a loop runs, which stays free meanwhile; at once otherwise."""
        if self._task is not None:
            self._task.cancel()
        try:
            self._task = asyncio.get_running_loop().create_task(self._later())
        except RuntimeError:
            self._explain()

    def _explain(self) -> None:
        with self._reporting() as (setting, count, done):
            done(self._source.explained(*setting, count))

    async def _later(self) -> None:
        await asyncio.sleep(self.PAUSE)
        loop, stop = asyncio.get_running_loop(), threading.Event()
        with self._reporting() as (setting, count, done):

            def counted(n: int) -> None:  # called by the worker
                if stop.is_set():
                    raise InterruptedError("a newer setting has been chosen")
                loop.call_soon_threadsafe(lambda: stop.is_set() or count(n))

            try:
                done(await loop.run_in_executor(self._worker, self._source.explained, *setting, counted))
            finally:
                stop.set()

    @contextmanager
    def _reporting(self):
        """The setting, and what to call with the number of evaluations and with the result; errors are shown."""
        began, (*setting, kept) = time.perf_counter(), [c.value for n, c in self.controls.items() if n != "file"]
        self.bar.max, self.bar.value = self._source.cost(setting[-1]), 0
        self.status.value = '<span role="status">explaining …</span>'

        def count(n: int) -> None:
            self.bar.value += n

        def done(found: tuple[Any, Explanation, Tensor]) -> None:
            model, e, x = found
            figure, alt = _draw(*found, kept)
            shown = book.framed(book.img(figure, alt), plots.describe(e, 0, model.categories))
            if model.ndim == 1:
                sounds = levelled([x[0], e.reconstruct(kept)[0]], match=True)
                sounds = dict(zip(("the sound", words.top(kept)), sounds))
                shown += markup(sounds, model.rate, "Both of the same RMS.")
            ran = f"{self.bar.value or 'no'} evaluation{'s' * (self.bar.value > 1)} of the model"
            self.picture.value, self.bar.value = shown, self.bar.max
            self.status.value = f'<span role="status">{time.perf_counter() - began:.1f} s, {ran}</span>'

        with self._saying():
            yield setting, count, done

    @contextmanager
    def _saying(self):
        """Say what goes wrong, because in a callback a traceback would be lost; and go on after an interrupt."""
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            text = "interrupted; change a setting to go on" if isinstance(error, KeyboardInterrupt) else text
            self.picture.value, self.bar.value = "", 0
            self.status.value = f'<span role="alert">{escape(text)}</span>'

    def _uploaded(self, change: Any) -> None:
        control = self.controls["example"]
        with self._saying():
            new = change.new  # ipywidgets 7, which Colab has: content by name
            files = [{"name": n, **f} for n, f in new.items()] if isinstance(new, dict) else new
            for file in files:
                self._source.add(Path(file["name"]).name or "file", bytes(file["content"]))
                control.unobserve(self._changed, names="value")  # new options choose the first one
                try:
                    control.options = self._source.options()
                finally:
                    control.observe(self._changed, names="value")
                control.value = len(control.options) - 1


def _draw(model: Any, e: Explanation, x: Tensor, kept: float, small: bool = False) -> tuple[Figure, str]:
    """The figure of an explanation and of the share of the coefficients that is kept, with its text."""
    named = {"categories": model.categories}
    if model.ndim == 2:
        rgb = model.display(x)
        return plots.gallery([(e, rgb, 0)], kept, **named) if small else plots.explanation(e, rgb, 0, kept, **named)
    whole, part, top = x[0], e.reconstruct(kept)[0], words.top(kept)
    if model.ndim == 1:
        lines = {"the sound, and where it is kept": share(part, whole, model.rate)}
        figure, alt = comparison(dict(zip([*lines, top], (whole, part))), model.rate, lines)
        return figure, f"{plots.describe(e, 0, **named)} {alt}"
    heats, half = e.scale_heatmaps()[0], -(-len(e.scales) // 2)
    figure, axes = plots.panels(*((1, 3) if small else (2, 2)), aspect(whole))
    shape, *scales, heat, last = axes.flat
    solid(shape, whole, title="shape")
    said = [voxels.scales(ax, whole, heats[:half].sum(0), heats[half:].sum(0)) for ax in scales]
    voxels.heatmap(heat, whole, heats.sum(0), title="heatmap")
    solid(last, part, title=top)
    alt = f"Panels: the shape{', the scales' * len(scales)}, the heatmap, and the {top} of the coefficients."
    return figure, " ".join([plots.describe(e, 0, **named), alt, *said])
