"""The Wavelet Attribution Method: a classifier differentiated with respect to the coefficients of its input."""

from importlib import import_module

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

_ON_DEMAND = (
    "adversarial",
    "agreement",
    "assets",
    "audio",
    "baselines",
    "benchmark",
    "book",
    "catalogue",
    "charts",
    "checkpoints",
    "classifier",
    "cli",
    "clips",
    "comparison",
    "content",
    "controls",
    "cubes",
    "data",
    "examples",
    "explorer",
    "metrics",
    "minimal",
    "models",
    "pareto",
    "perturbation",
    "picture_models",
    "pictures",
    "player",
    "plots",
    "protocol",
    "quantiles",
    "randomization",
    "recipes",
    "records",
    "released",
    "sanity",
    "sound_models",
    "sounds",
    "spectra",
    "spectrograms",
    "stages",
    "tables",
    "training",
    "volume_models",
    "volumes",
    "voxels",
    "yamnet",
)


def __getattr__(name: str):
    """Import what the method itself does not need (networks, data, figures) only when it is first used."""
    if name in _ON_DEMAND:
        return import_module(f"wam.{name}")
    raise AttributeError(f"module 'wam' has no attribute {name!r}")
