r"""Frames: linear, invertible changes of coordinates :math:`z = W x`, :math:`x = S z`, in which an explanation lives.

Every frame knows its analysis :math:`W`, its synthesis :math:`S`, and the adjoint :math:`S^\top` of the synthesis.
The adjoint is all that attribution needs: by the chain rule the gradient with respect to the coefficients is
:math:`\partial f(S z) / \partial z = S^\top \nabla f(x)`, whatever the frame (eq. 1 of the paper).
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import get_args

import ptwt
import pywt
import torch
from torch import Tensor
from torch.nn.functional import conv1d, conv2d, conv3d

from wam.checks import choice, positive
from wam.coefficients import Band, Coefficients
from wam.names import near
from wam.precision import full_precision

MODES = get_args(ptwt.constants.BoundaryMode)
"""The boundary modes that ptwt knows."""

_CUBE = ("aad", "ada", "add", "daa", "dad", "dda", "ddd")
_DETAILS = {1: ("detail",), 2: ("horizontal", "vertical", "diagonal"), 3: _CUBE}  # as ptwt orders them
_BINARY = _DETAILS | {2: ("vertical", "horizontal", "diagonal")}  # as binary numbers of low-pass 0 and high-pass 1
_DIRECT, _COPIED = 8, 4  # the longest filters that are fast as one 3D kernel, where a library has such kernels or not


class Frame(ABC):
    """A linear invertible transform of inputs ``(batch, channels, *spatial)``; the spatial axes are transformed.

    ``float32`` and ``float64`` are kept; any device. Under autocast the transforms still run in full precision.
    """

    ndim: int | None = None
    """How many spatial axes the inputs must have; ``None`` for any."""

    @abstractmethod
    def analysis(self, x: Tensor) -> Coefficients:
        r"""The coefficients :math:`z = W x` of ``x``, of shape ``(batch, channels, *spatial)``."""

    @abstractmethod
    def synthesis(self, coefficients: Coefficients) -> Tensor:
        r"""The input :math:`x = S z`, cropped to the size that was analysed. Differentiable."""

    @abstractmethod
    def pullback(self, gradient: Tensor) -> Coefficients:
        r"""The adjoint of the synthesis, :math:`S^\top g`: the gradient with respect to the coefficients."""

    @abstractmethod
    def spread(self, magnitudes: Coefficients) -> Tensor:
        """Lay non-negative ``magnitudes`` out over the supports of their atoms, keeping the sum of each sample."""

    def check(self, x: Tensor) -> None:
        """Raise an error that names the fix if ``x`` is not a batch that this frame can transform.

        A ``TypeError`` if it is not a tensor of ``float32`` or ``float64``, a ``ValueError`` if it is empty, has the
        wrong number of axes, or is too small for the frame.
        """
        if not isinstance(x, Tensor):
            raise TypeError(f"expected a tensor (batch, channels, *spatial), got {type(x).__name__}")
        if x.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"expected float32 or float64, got {x.dtype}; convert with x.float() (autocast is fine)")
        if x.ndim < 3 or (self.ndim is not None and x.ndim != self.ndim + 2):
            axes = "*spatial" if self.ndim is None else f"{self.ndim} spatial axes"
            missing = "; add the missing axis, x[:, None] for channels or x[None] for the batch, or take a smaller ndim"
            fix = missing if x.ndim < (self.ndim or 1) + 2 else f", which has {x.ndim - 2}"
            raise ValueError(f"expected a batch (batch, channels, {axes}), got shape {tuple(x.shape)}{fix}")
        if x.numel() == 0:
            raise ValueError(f"the batch is empty: shape {tuple(x.shape)}")

    def _own(self, coefficients: Coefficients, bands: Mapping[Band, tuple[int, ...]]) -> None:
        """An error unless these coefficients have the bands, with their shapes, that this frame makes."""
        if dict(coefficients.layout().bands) != bands:
            raise ValueError(f"these are not coefficients of {self} for an input of {coefficients.shape}")


@dataclass(frozen=True)
class Wavelet(Frame):
    r"""The discrete wavelet transform, with any discrete wavelet of PyWavelets, computed by ptwt.

    The synthesis is :math:`x = \sum_k a_k \phi_{J,k} + \sum_{j \le J} \sum_k d_{j,k} \psi_{j,k}`; its adjoint is an
    analysis with the time-reversed synthesis filters and zero padding, whatever boundary ``mode`` made the
    coefficients, because the mode changes :math:`W` and not :math:`S`.

    Parameters
    ----------
    name
        A discrete wavelet: ``"haar"``, ``"db4"``, ``"sym8"``, ``"bior4.4"``, ... (``pywt.wavelist(kind="discrete")``).
    levels
        The number :math:`J` of dyadic levels; level :math:`j` is the band of :math:`2^{-j-1}` to :math:`2^{-j}`
        cycles per sample.
    ndim
        How many axes are transformed: 1 (sounds), 2 (images), 3 (volumes).
    mode
        How a signal is continued beyond its border in the analysis: one of :data:`MODES`.

    Raises
    ------
    ValueError
        For an unknown wavelet (near names are suggested), an unknown mode, or numbers out of range; and a warning for
        ``dmey``, whose truncated filters reconstruct to 1e-2 only: explanations are then complete up to that.

    Examples
    --------
    >>> import torch, wam
    >>> frame = wam.Wavelet("db4", levels=3, ndim=2)
    >>> x = torch.randn(1, 3, 65, 64, dtype=torch.float64)
    >>> torch.allclose(frame.synthesis(frame.analysis(x)), x)
    True

    References
    ----------
    Mallat, A theory for multiresolution signal decomposition, 1989. Paper, section 3.
    """

    name: str
    levels: int
    ndim: int
    mode: str = "reflect"

    def __post_init__(self) -> None:
        known = pywt.wavelist(kind="discrete")
        if self.name not in known:
            hint = near(str(self.name).lower(), known, n=4) or 'see pywt.wavelist(kind="discrete")'
            raise ValueError(f"unknown discrete wavelet {self.name!r}; {hint}")
        choice(self.mode, MODES, "boundary mode")
        for field in ("levels", "ndim"):
            object.__setattr__(self, field, positive(getattr(self, field), field))
        if self.ndim > 3:
            raise ValueError(f"ndim must be 1, 2 or 3, got {self.ndim}")
        if self.name == "dmey":
            warnings.warn("dmey reconstructs its input to 1e-2 only; prefer e.g. sym8 or coif5", stacklevel=3)

    def max_levels(self, shape: tuple[int, ...]) -> int:
        r"""How many levels fit: :math:`\lfloor \log_2 (n / (L - 1)) \rfloor`, shortest axis n, filter length L."""
        return pywt.dwt_max_level(min(shape), pywt.Wavelet(self.name).dec_len)

    def check(self, x: Tensor) -> None:
        super().check(x)
        fit = self.max_levels(x.shape[2:])
        if self.levels > fit:
            least = 2**self.levels * (pywt.Wavelet(self.name).dec_len - 1)
            what = f"{self.levels} levels of {self.name} do not fit an input of {tuple(x.shape[2:])}: at most {fit} do"
            need = f"{self.levels} need {least} along every axis, and the shortest has {min(x.shape[2:])}"
            raise ValueError(f"{what}; {need}")

    def analysis(self, x: Tensor) -> Coefficients:
        self.check(x)
        return self._decompose(x, pywt.Wavelet(self.name), self.mode)

    def synthesis(self, coefficients: Coefficients) -> Tensor:
        return self._compose(coefficients)

    def pullback(self, gradient: Tensor) -> Coefficients:
        self.check(gradient)
        return self._decompose(gradient, _adjoint_pair(self.name, absolute=False), "zero")

    def spread(self, magnitudes: Coefficients) -> Tensor:
        # what would fall beyond the border is put back: a coefficient is divided by the share of it that stays inside
        pair = _adjoint_pair(self.name, absolute=True)
        ones = torch.ones(1, 1, *magnitudes.shape, device=magnitudes.device, dtype=magnitudes.dtype)
        inside = self._decompose(ones, pair, "zero")
        kept = magnitudes.zip_map(lambda m, share: torch.where(share > 0, m / share, 0 * m), inside)
        return self._compose(kept, absolute=True)

    def _decompose(self, x: Tensor, bank: pywt.Wavelet, mode: str) -> Coefficients:
        if self.ndim == 1 and x.shape[:2] == (1, 1):  # a lone row takes another kernel and rounds differently
            return self._decompose(x.expand(2, -1, -1), bank, mode)[:1]
        by_axes = _by_axes(x, bank.dec_len)
        decompose = ptwt.fswavedec3 if by_axes else (ptwt.wavedec, ptwt.wavedec2, ptwt.wavedec3)[self.ndim - 1]
        with full_precision(x.device):
            approximation, *details = decompose(x, bank, mode=mode, level=self.levels)
        bands: dict[Band, Tensor] = {(self.levels, "approx"): approximation}
        for level, detail in zip(range(self.levels, 0, -1), details):
            bands |= {(level, name): band for name, band in zip(_DETAILS[self.ndim], _as_tuple(detail))}
        return Coefficients(bands, tuple(x.shape[2:]))

    def _compose(self, coefficients: Coefficients, absolute: bool = False) -> Tensor:
        self._own(coefficients, self._layout(coefficients.shape))
        bands = coefficients.bands
        x = bands[self.levels, "approx"]
        by_axes = _by_axes(x, pywt.Wavelet(self.name).dec_len)
        kernel = _phases(self.name, absolute, 1 if by_axes else self.ndim).to(x)
        with full_precision(coefficients.device):
            for level in range(self.levels, 0, -1):
                details = [bands[level, orientation] for orientation in _BINARY[self.ndim]]
                x = x[(..., *(slice(0, n) for n in details[0].shape[2:]))]
                x = _upsample(torch.stack([x, *details], dim=2).flatten(0, 1), kernel).unflatten(0, x.shape[:2])
        return x[(..., *(slice(0, n) for n in coefficients.shape))]

    def _layout(self, shape: tuple[int, ...]) -> dict[Band, tuple[int, ...]]:
        length, sizes = pywt.Wavelet(self.name).dec_len, {}
        for level in range(1, self.levels + 1):
            shape = tuple((n + length - 1) // 2 for n in shape)
            sizes |= {(level, orientation): shape for orientation in _DETAILS[self.ndim]}
        return sizes | {(self.levels, "approx"): shape}


@dataclass(frozen=True)
class Pixel(Frame):
    """The identity: pixels, samples or voxels themselves, so that pixel methods are the same code."""

    def analysis(self, x: Tensor) -> Coefficients:
        self.check(x)
        return Coefficients({(0, "pixel"): x}, tuple(x.shape[2:]))

    def synthesis(self, coefficients: Coefficients) -> Tensor:
        self._own(coefficients, {(0, "pixel"): coefficients.shape})
        return coefficients.bands[0, "pixel"]

    pullback = analysis
    spread = synthesis


@cache
def _adjoint_pair(name: str, absolute: bool) -> pywt.Wavelet:
    """A bank whose analysis with zero padding is the adjoint of its synthesis.

    ``absolute``: with absolute filters, whose even and odd taps sum to 1/2 each, so that a coefficient is handed out in
    full, and a band of equal ones evenly.
    """
    low, high = (torch.tensor(taps, dtype=torch.float64).view(-1, 2) for taps in pywt.Wavelet(name).filter_bank[2:])
    if absolute:
        low, high = (taps.abs() / (2 * taps.abs().sum(0)) for taps in (low, high))
    low, high = low.flatten(), high.flatten()
    return pywt.Wavelet(name, [low.flip(0).tolist(), high.flip(0).tolist(), low.tolist(), high.tolist()])


@cache
@torch.inference_mode(False)  # the kernel is kept, and must serve calls that are differentiated
def _phases(name: str, absolute: bool, ndim: int) -> Tensor:
    """The synthesis filters as a convolution kernel ``(phases, bands, *taps)``, 2**ndim phases and bands.

    The even and odd samples of a level (per axis) are convolutions of the coefficients with the even and odd taps.
    """
    taps = torch.tensor(_adjoint_pair(name, absolute).filter_bank[2:], dtype=torch.float64)
    taps = taps.unflatten(1, (-1, 2)).permute(2, 0, 1).flip(2)  # (phase, band, tap) of one axis
    pattern = {1: "rau->rau", 2: "rau,sbv->rsabuv", 3: "rau,sbv,tcw->rstabcuvw"}[ndim]
    return torch.einsum(pattern, *[taps] * ndim).flatten(0, ndim - 1).flatten(1, ndim)


def _upsample(bands: Tensor, kernel: Tensor) -> Tensor:
    """One level of the synthesis, ``(rows, bands, *n)`` to ``(rows, *2 n - length + 2)``."""
    ndim = bands.ndim - 2
    if kernel.ndim < bands.ndim:  # volumes, one axis after the other; the kernel is that of one axis
        x = bands.unflatten(1, (2, 2, 2))
        for _ in range(3):
            pairs = x.movedim(1, 3)  # (rows, two axes done or whose bands are to come, band, n, *axes to come)
            before, after = pairs.shape[:3], pairs.shape[5:]
            rows = pairs.reshape(-1, 2, pairs.shape[4], after.numel())
            x = _convolved(rows, kernel[..., None]).movedim(1, 2).reshape(*before, -1, *after)
        return x
    phases = _convolved(bands, kernel).unflatten(1, (2,) * ndim)
    order = [axis for i in range(ndim) for axis in (1 + ndim + i, 1 + i)]
    return phases.permute(0, *order).reshape(len(bands), *(2 * n for n in phases.shape[1 + ndim :]))


def _convolved(bands: Tensor, kernel: Tensor) -> Tensor:
    """The phases ``(rows, phases, *places)`` of bands ``(rows, bands, *n)``."""
    if len(bands) == 1:  # a lone row takes another kernel and rounds differently
        return _convolved(bands.expand(2, *bands.shape[1:]), kernel)[:1]
    if kernel[0, 0].numel() == 1 and bands.device.type == "cpu":  # Haar: far faster as a product
        return (kernel.flatten(1) @ bands.flatten(2)).view(bands.shape)
    return (conv1d, conv2d, conv3d)[bands.ndim - 3](bands, kernel)


def _by_axes(x: Tensor, length: int) -> bool:
    """Whether volumes go through filters of this length one axis after the other, 3 * length taps for length**3.

    On a CPU oneDNN's kernels for ``float32`` are fast while filters are short; torch's own, for ``float64``, make
    length**3 / 8 copies of the volume.
    """
    direct = x.device.type != "cpu" or (x.dtype == torch.float32 and torch.backends.mkldnn.is_available())
    return x.ndim == 5 and length > (_DIRECT if direct else _COPIED)


def _as_tuple(detail) -> tuple[Tensor, ...]:
    detail = [detail[orientation] for orientation in _CUBE] if isinstance(detail, dict) else detail
    return (detail,) if isinstance(detail, Tensor) else tuple(detail)
