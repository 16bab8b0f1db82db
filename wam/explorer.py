"""A live explorer of explanations, for Colab and Jupyter: choose, and see."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import lru_cache, partial
from html import escape
from typing import Any

from IPython.display import HTML, display

from wam import attribution, plots
from wam.book import framed, img
from wam.frames import Wavelet


def explore(
    model: Any,
    images: Sequence[Any],
    wavelets: Sequence[str] = ("db4", "haar", "sym8", "bior4.4"),
    evaluations: int = 16,
):
    """A live explorer of explanations: model, image, wavelet, levels, method, and the share of coefficients kept.

    Every change explains anew, with a progress bar; what was explained before comes from a cache, and errors are shown
    as text. While the static pages are built (``WAM_LEDGER`` is set) a note is shown in its place.

    Parameters
    ----------
    model
        An image classifier of :mod:`wam.models`, or several.
    images
        Images of :mod:`wam.data`.
    wavelets
        The wavelets to choose from.
    evaluations
        Gradient evaluations of SmoothGrad and of integrated gradients.

    Returns
    -------
    ipywidgets.VBox or None
        The widget, which shows itself as the last value of a cell; its controls, by setting, are ``controls``.
    """
    if os.environ.get("WAM_LEDGER"):
        text = (
            "A live explorer appears here in Colab and Jupyter: choose the image, wavelet, levels and method yourself."
        )
        return display(HTML(f"<p><em>{text}</em></p>"))
    import ipywidgets as w

    models = {m.name: m for m in (model if isinstance(model, Sequence) else [model])}
    methods = {
        "integrated gradients": partial(attribution.integrated_gradients, steps=evaluations),
        "SmoothGrad": partial(attribution.smoothgrad, samples=evaluations),
        "saliency": attribution.saliency,
    }
    slide = {"continuous_update": False}
    controls = {
        "model": w.Dropdown(options=list(models)),
        "image": w.Dropdown(options=[(f"{i + 1}: {image.name}", i) for i, image in enumerate(images)]),
        "wavelet": w.Dropdown(options=list(wavelets)),
        "levels": w.IntSlider(value=3, min=1, max=7, **slide),
        "method": w.Dropdown(options=list(methods)),
        "share kept": w.FloatSlider(value=0.1, min=0.01, max=1, step=0.01, readout_format=".0%", **slide),
    }
    bar, status, picture = w.IntProgress(max=evaluations + 2), w.HTML(), w.HTML()

    @lru_cache(maxsize=32)
    def explained(model: str, image: int, wavelet: str, levels: int, method: str):
        def count(module, inputs):
            bar.value = min(bar.value + len(inputs[0]), bar.max)

        network = models[model]
        x = network.prepare([images[image]])
        hook = network.register_forward_pre_hook(count)
        try:
            e = methods[method](network, x, frame=Wavelet(wavelet, levels=levels, ndim=2))
        finally:
            hook.remove()
        return e, network.display(x), network.categories

    def explain(change=None) -> None:
        began, bar.value, status.value = time.perf_counter(), 0, "explaining"
        *settings, share = (control.value for control in controls.values())
        try:
            e, rgb, categories = explained(*settings)
            picture.value = framed(img(*plots.explanation(e, rgb, fraction=share, categories=categories)), None)
            status.value = f"{time.perf_counter() - began:.1f} s"
        except Exception as error:  # in a callback a traceback would be lost: say what went wrong
            picture.value, status.value = "", f'<span role="alert">{escape(f"{type(error).__name__}: {error}")}</span>'
        bar.value = bar.max

    for name, control in controls.items():
        control.description = name
        control.observe(explain, names="value")
    explain()
    layout = w.Layout(flex_flow="row wrap")
    widget = w.VBox([w.Box(list(controls.values()), layout=layout), w.HBox([bar, status]), picture])
    widget.controls, widget.status, widget.picture, widget.bar = controls, status, picture, bar
    return widget
