"""The Fourier frame: the claim that any linear invertible transform will do, executed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from wam.checks import positive
from wam.coefficients import Band, Coefficients
from wam.frames import Frame
from wam.precision import full_precision


@dataclass(frozen=True)
class Fourier(Frame):
    r"""The real Fourier transform in Hartley's form, grouped into the dyadic bands of a wavelet of equal levels.

    With :math:`X` the unitary discrete Fourier transform, :math:`H x = \operatorname{Re} X - \operatorname{Im} X` is
    real, symmetric and orthogonal, so it is its own inverse and its own adjoint: :math:`W = S = S^\top = H`. The pair
    of coefficients at :math:`\pm\nu` carries the cosine and the sine of frequency :math:`\nu`. Level :math:`j` holds
    the frequencies with :math:`2^{-j-1} < \max_i |\nu_i| \le 2^{-j}` cycles per sample (the square annulus that a
    wavelet's three orientations share), ``"approx"`` what is lower. Bands are flat: ``(batch, channels, n)``.

    Parameters
    ----------
    levels
        The number of dyadic levels.
    ndim
        How many axes are transformed.

    Raises
    ------
    ValueError
        If a number is out of range, or more levels are asked for than the input has frequencies.

    Examples
    --------
    >>> import torch, wam
    >>> frame = wam.Fourier(levels=2, ndim=1)
    >>> x = torch.randn(1, 1, 15, dtype=torch.float64)
    >>> z = frame.analysis(x)
    >>> torch.allclose(frame.synthesis(z), x), torch.allclose(z.pack()[0].norm(), x.norm())
    (True, True)

    References
    ----------
    Bracewell, Discrete Hartley transform, 1983. The project page of the paper, on invertible transforms.
    """

    levels: int
    ndim: int

    def __post_init__(self) -> None:
        for field in ("levels", "ndim"):
            object.__setattr__(self, field, positive(getattr(self, field), field))

    def max_levels(self, shape: tuple[int, ...]) -> int:
        r"""How many levels have frequencies of their own: :math:`\lfloor \log_2 \max_i n_i \rfloor`."""
        return int(math.log2(max(shape)))

    def check(self, x: Tensor) -> None:
        super().check(x)
        fit = self.max_levels(x.shape[2:])
        if self.levels > fit:
            raise ValueError(f"{self.levels} levels do not fit an input of {tuple(x.shape[2:])}: at most {fit} do")

    def analysis(self, x: Tensor) -> Coefficients:
        self.check(x)
        shape = tuple(x.shape[2:])
        flat = _hartley(x).flatten(2)
        order = _annuli(shape, self.levels)
        return Coefficients({key: flat[..., index.to(x.device)] for key, index in order.items()}, shape)

    def synthesis(self, coefficients: Coefficients) -> Tensor:
        order = _annuli(coefficients.shape, self.levels)
        self._own(coefficients, {key: tuple(index.shape) for key, index in order.items()})
        flat = torch.cat([coefficients.bands[key] for key in order], dim=2)
        places = torch.cat(list(order.values())).to(flat.device)
        return _hartley(torch.empty_like(flat).index_copy(2, places, flat).unflatten(2, coefficients.shape))

    pullback = analysis

    def spread(self, magnitudes: Coefficients) -> Tensor:
        total = magnitudes.pack()[0].sum(2) / math.prod(magnitudes.shape)
        return total.reshape(*total.shape, *[1] * len(magnitudes.shape)).expand(*total.shape, *magnitudes.shape).clone()


def _hartley(x: Tensor) -> Tensor:
    with full_precision(x.device):
        spectrum = torch.fft.fftn(x, dim=tuple(range(2, x.ndim)), norm="ortho")
    return spectrum.real - spectrum.imag


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # indices are kept, and must serve calls that are differentiated
def _annuli(shape: tuple[int, ...], levels: int) -> dict[Band, Tensor]:
    axes = torch.meshgrid(*(torch.fft.fftfreq(n, dtype=torch.float64).abs() for n in shape), indexing="ij")
    level = torch.floor(-torch.log2(torch.stack(axes).amax(0))).flatten()
    keys: list[Band] = [(levels, "approx"), *((j, "annulus") for j in range(levels, 0, -1))]
    return {key: (level > levels if key[1] == "approx" else level == key[0]).nonzero()[:, 0] for key in keys}
