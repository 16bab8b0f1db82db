"""The idea as a film of five seconds, made of one explanation of one photograph, and its page of HTML.

Every probability in it is what the model answers to the very input that is shown.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from wam import plots
from wam.audio import mask  # the rule of Explanation.reconstruct, as a mask
from wam.coefficients import Coefficients
from wam.explanation import Explanation
from wam.models import ImageClassifier

FRACTION = 0.1  # of the coefficients, which make the last reconstruction
GROUND = (0.055, 0.05, 0.075)  # behind every picture, in the light and in the dark theme
STAGE = 416  # pixels of a frame
COLUMNS = 8  # frames in a row of the sheet


@dataclass(frozen=True)
class Frame:
    """One picture of the film, with the input that the model was asked about while it is shown."""

    picture: np.ndarray  # (STAGE, STAGE, 3), in [0, 1]
    seconds: float
    words: str
    x: Tensor  # (1, 3, height, width), in model space
    kept: float  # the share of the coefficients of which x is made
    lit: int  # how many scales are named, coarse to fine


def shoot(model: ImageClassifier, e: Explanation) -> list[Frame]:
    """A photograph comes apart into wavelets, what matters lights up by scale, and is put together again.

    `e` explains one photograph in a wavelet frame of two dimensions.
    """
    stage, scales = Stage(model, e), len(e.scales)
    everything, few = e.frame.synthesis(e.coefficients), 0.003
    frames = [Frame(stage.apart(0), 0.55, "Take a photograph", everything, 1, 0)]
    for t in _steps(12):
        frames.append(Frame(stage.apart(t), 0.3 if t == 1 else 0.06, "Take it apart into wavelets", everything, 1, 0))
    for step in range(1, 2 * scales + 1):
        frames.append(
            Frame(stage.lighting(step / 2), 0.1, "Light up those that matter", everything, 1, math.ceil(step / 2))
        )
    for t in _steps(6):
        words = "Keep only the strongest"
        frames.append(Frame(stage.together(1 - t, few), 0.06, words, e.reconstruct(few), few, scales))
    for share in np.geomspace(few, FRACTION, 12)[1:].tolist():
        x, last = e.reconstruct(share), share > 0.99 * FRACTION
        frames.append(Frame(stage.seen(x), 0.3 if last else 0.09, "Add more, watch the answer", x, share, scales))
    for t in _steps(4):
        seconds = 0.8 if t == 1 else 0.06
        frames.append(Frame(stage.where(t), seconds, "Where, and at what scale", x, share, scales))
    return frames


class Stage:
    """Draws the frames: bands as pictures that fly between the photograph and their places in the mosaic."""

    def __init__(self, model: ImageClassifier, e: Explanation) -> None:
        self.model, self.e = model, e
        cropped = _inner(e.coefficients)
        self.size = cropped.shape
        self.blocks = cropped.mosaic_blocks()
        self.photograph = model.display(e.frame.synthesis(e.coefficients))[0]
        self.sizes = {key: self._bright(band.abs()) for key, band in cropped.bands.items()}
        self.sizes[next(iter(self.sizes))] = self._small()
        self.parts = {key: self._part(key, e.coefficients) for key in self.blocks}

    def apart(self, t: float) -> np.ndarray:
        """From the photograph, 0, to all of its coefficients, 1: fine scales leave first."""
        last = 0.25 * (max(level for level, _ in self.blocks) - 1)
        places = {(level, name): _eased(t * (1 + last) - 0.25 * (level - 1)) for level, name in self.blocks}
        return self._compose(places, self.parts, self.sizes)

    def lighting(self, scales: float) -> np.ndarray:
        """The coefficients are dimmed, and those that matter are lit at the first `scales` scales."""
        tiles, lit = {}, self._lit(FRACTION)
        for key, tile in self.sizes.items():
            done = float(np.clip(scales - self._scale(key), 0, 1))
            tiles[key] = (1 - 0.75 * min(scales, 1)) * (1 - done) * tile + done * lit[key]
        return self._compose(dict.fromkeys(self.blocks, 1.0), tiles, tiles)

    def together(self, t: float, fraction: float) -> np.ndarray:
        """From what is lit, 1, to the reconstruction from a fraction of all, 0."""
        kept = self._kept(fraction)
        parts = {key: self._part(key, kept) for key in self.blocks}
        return self._compose(dict.fromkeys(self.blocks, _eased(t)), parts, self._lit(FRACTION if t > 0.8 else fraction))

    def seen(self, x: Tensor) -> np.ndarray:
        """An input as a picture."""
        return _resized(self.model.display(x)[0], (STAGE, STAGE))

    def where(self, t: float) -> np.ndarray:
        """From the last reconstruction, 0, to the heatmap over the photograph, 1."""
        figure = Figure(figsize=(4, 4), dpi=STAGE / 4)
        plots.overlay(whole(figure), self.photograph, self.e.heatmap()[0])
        return (1 - t) * self.seen(self.e.reconstruct(FRACTION)) + t * pixels(figure)

    def _compose(self, places, parts, tiles) -> np.ndarray:
        """The sum of the bands, each between its part of the photograph (0) and its tile in the mosaic (1).

        Parts add up to a picture and tiles do not: a band changes from one to the other when it is nearly in its place.
        """
        canvas = np.zeros((STAGE, STAGE, 3))
        for key, (rows, columns) in self.blocks.items():
            t, box = places[key], []
            for side, n in zip((rows, columns), self.size):
                low, high = t * side.start / n * STAGE, STAGE * (1 - t) + t * side.stop / n * STAGE
                box += [round(low), round(high)]
            top, bottom, left, right = box
            size = (bottom - top, right - left)
            late = _eased(4 * t - 3)
            canvas[top:bottom, left:right] += (1 - late) * _resized(parts[key], size)
            canvas[top:bottom, left:right] += late * _resized(tiles[key], size, smooth=False)
            canvas[top : top + 1, left:right] += 0.25 * late * (top > 0)
            canvas[top:bottom, left : left + 1] += 0.25 * late * (left > 0)
        return np.maximum(canvas, max(places.values()) * np.array(GROUND))

    def _part(self, key, coefficients: Coefficients) -> np.ndarray:
        """What a band adds to the photograph: in colours, signed; the approximation brings the mean colour."""
        bands = {k: band if k == key else torch.zeros_like(band) for k, band in coefficients.bands.items()}
        x = self.e.frame.synthesis(Coefficients(bands, coefficients.shape)) * self.model.std
        x = x + self.model.mean if key[1] == "approx" else x
        return x[0].permute(1, 2, 0).double().numpy()

    def _kept(self, fraction: float) -> Coefficients:
        return mask(self.e, fraction=fraction) * self.e.coefficients

    def _lit(self, fraction: float) -> dict:
        """A tile per band: how much the coefficients that are kept matter, each band on a scale of its own."""
        everything = _inner(self.e.attributions.abs()).bands
        kept = _inner(self.e.attributions.abs() * mask(self.e, fraction=fraction)).bands
        tiles = {}
        for key, band in kept.items():
            part, top = (values[0].sum(0).double().numpy() for values in (band, everything[key]))
            tiles[key] = colormaps["inferno"](np.clip(part / (np.percentile(top, 99) or 1), 0, 1) ** 0.5)[..., :3]
        return tiles

    def _bright(self, band: Tensor) -> np.ndarray:
        """The magnitudes of a band in the three colours, on a scale of its own."""
        values = band[0].permute(1, 2, 0).double().numpy()
        return 0.9 * np.clip(values / (np.percentile(values, 99.5) or 1), 0, 1) ** 0.8

    def _small(self) -> np.ndarray:
        """The approximation: the photograph, small and blurred."""
        (key, (rows, columns)), *_ = self.blocks.items()
        size = (rows.stop - rows.start, columns.stop - columns.start)
        return _resized(np.clip(self._part(key, self.e.coefficients), 0, 1), size)

    def _scale(self, key) -> int:
        return self.e.scales.index("approx" if key[1] == "approx" else key[0])


def _inner(coefficients: Coefficients) -> Coefficients:
    """Without the few coefficients that long wavelets keep beyond the border, so that the mosaic has no gaps."""
    bands = {}
    for (level, orientation), band in coefficients.bands.items():
        for axis, n in enumerate(coefficients.shape, start=2):
            kept = min(-(-n // 2**level), band.shape[axis])
            band = band.narrow(axis, (band.shape[axis] - kept) // 2, kept)
        bands[level, orientation] = band
    return Coefficients(bands, coefficients.shape)


def asked(model: torch.nn.Module, frames: Sequence[Frame], target: int) -> list[float]:
    """The probability of a class for the input of every frame."""
    with torch.no_grad():
        return [float(model(frame.x).softmax(1)[0, target]) for frame in frames]


def html(frames: Sequence[Frame], probabilities: Sequence[float], e: Explanation, name: str) -> str:
    """The film as a fragment: a still, the sheet of frames as data of its script, the words and the meters."""
    sheet = [[round(f.seconds, 3), f.words, round(p, 4), f.kept, f.lit] for f, p in zip(frames, probabilities)]
    last, shares = frames[-1], e.scale_profile()[0].tolist()
    words = list(dict.fromkeys(frame.words for frame in frames))
    alt = (
        f"A photograph, class {name}, comes apart into wavelets of {len(shares)} scales. Those that matter light up, "
        f"scale by scale. The {100 * last.kept:.0f} % that matter most are put together again, and the network answers "
        f"{name} with a probability of {100 * probabilities[-1]:.0f} %; of the whole photograph it was "
        f"{100 * probabilities[0]:.0f} %. Last, a heatmap over the photograph shows where they lie."
    )
    bars = "".join(
        f"<li><span>{_band(scale, max(s for s in e.scales if s != 'approx'))}</span>"
        f'<b style="--share:{share / max(shares):.3f}"></b><span>{100 * share:.0f} %</span></li>'
        for scale, share in zip(e.scales, shares)
    )
    return f"""\
<figure class="wam-film" data-columns="{COLUMNS}" data-side="{STAGE}" data-frames="{escape(json.dumps(sheet))}">
<p class="words" aria-hidden="true">{escape(words[-1])}</p>
<div class="stage">
<img class="dark-light" src="../_static/landing/still.webp" width="{STAGE}" height="{STAGE}" alt="{escape(alt)}">
<canvas width="{STAGE}" height="{STAGE}" data-sheet="../_static/landing/film.webp" aria-hidden="true" hidden></canvas>
</div>
<div class="read">
<p class="kicker">the network’s answer</p>
<p class="answer"><strong>{escape(name)}</strong> <output aria-live="off">{100 * probabilities[-1]:.0f} %</output></p>
<div class="meter" aria-hidden="true"><b style="--share:{probabilities[-1]:.4f}"></b></div>
<p class="made">from <span class="kept">{_share(last.kept)}</span> of the wavelets</p>
<p class="kicker">what matters, by size of detail</p>
<ul class="scales">{bars}</ul>
</div>
<button type="button" hidden>Play</button>
</figure>
"""


def _band(scale, coarsest: int) -> str:
    """A scale by the wavelengths of its octave, in pixels."""
    return f"over {2 ** (coarsest + 1)} px" if scale == "approx" else f"{2**scale}–{2 ** (scale + 1)} px"


def _share(kept: float) -> str:
    return f"{100 * kept:.{0 if kept > 0.0995 else 1}f} %"


def _steps(n: int) -> Iterator[float]:
    return (k / n for k in range(1, n + 1))


def _eased(t: float) -> float:
    t = min(max(t, 0.0), 1.0)
    return t * t * (3 - 2 * t)


def sheet(frames: Sequence[Frame]) -> Image.Image:
    """All frames in one picture, row by row."""
    picture = Image.new("RGB", (COLUMNS * STAGE, -(-len(frames) // COLUMNS) * STAGE))
    for i, frame in enumerate(frames):
        picture.paste(image(frame.picture), (i % COLUMNS * STAGE, i // COLUMNS * STAGE))
    return picture


def whole(figure: Figure) -> Axes:
    return figure.add_axes((0, 0, 1, 1))


def pixels(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=figure.get_facecolor())
    return np.asarray(Image.open(buffer).convert("RGB"), dtype=float) / 255


def image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray((np.clip(picture, 0, 1) * 255).round().astype(np.uint8))


def _resized(picture: np.ndarray, size: tuple[int, int], smooth: bool = True) -> np.ndarray:
    """A picture, signed values too, at ``(height, width)``."""
    x = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    smaller = size[0] < picture.shape[0]
    mode = {"mode": "bicubic", "antialias": True} if smooth or smaller else {"mode": "nearest-exact"}
    return torch.nn.functional.interpolate(x, size=size, **mode)[0].permute(1, 2, 0).numpy()
