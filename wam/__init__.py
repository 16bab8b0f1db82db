"""The Wavelet Attribution Method: a classifier differentiated with respect to the coefficients of its input."""

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wam.attribution import integrated_gradients, saliency, smoothgrad
    from wam.coefficients import Coefficients
    from wam.explanation import Explanation, load
    from wam.fourier import Fourier
    from wam.frames import Frame, Pixel, Wavelet

__version__ = "0.1.0"

__all__ = [
    "Coefficients",
    "Explanation",
    "Fourier",
    "Frame",
    "Pixel",
    "Wavelet",
    "integrated_gradients",
    "load",
    "saliency",
    "smoothgrad",
]

_HOME = {
    "Coefficients": "coefficients",
    "Explanation": "explanation",
    "Fourier": "fourier",
    "Frame": "frames",
    "Pixel": "frames",
    "Wavelet": "frames",
    "integrated_gradients": "attribution",
    "load": "explanation",
    "saliency": "attribution",
    "smoothgrad": "attribution",
}

_ON_DEMAND = tuple(sorted(module.name for module in iter_modules(__path__) if module.name != "__main__"))


def __getattr__(name: str):
    """Import everything when it is first used: torch too, so that the command line answers at once."""
    if name in _HOME:
        globals()[name] = value = getattr(import_module(f"wam.{_HOME[name]}"), name)
        return value
    if name in _ON_DEMAND:
        return import_module(f"wam.{name}")
    raise AttributeError(f"module 'wam' has no attribute {name!r}")
