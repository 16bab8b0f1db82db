"""One immutable container for the coefficients of any frame, in one, two or three dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

Band = tuple[int, str]
"""The key of a band, its level (1 is the finest) and its orientation."""

Scale = int | str
"""The label of a scale, a level or ``"approx"`` for what is coarser than every level."""

_FILTERS = {"horizontal": "da", "vertical": "ad", "diagonal": "dd", "detail": "d"}


class Spec(NamedTuple):
    """What :meth:`Coefficients.unpack` needs to undo :meth:`Coefficients.pack`."""

    bands: tuple[tuple[Band, tuple[int, ...]], ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Coefficients:
    r"""The coefficients :math:`z` of a batch of inputs: bands keyed by level and orientation, coarse to fine.

    Parameters
    ----------
    bands
        ``{(level, orientation): tensor of shape (batch, channels, *band)}``, ordered from coarse to fine.
        A wavelet has ``(J, "approx")`` first, then the details of levels ``J`` to ``1``: ``"detail"`` in one
        dimension; ``"horizontal"``, ``"vertical"``, ``"diagonal"`` in two (a vertical edge is in
        ``"vertical"``); in three, a letter per axis, ``"aad"`` to ``"ddd"`` (``d`` where the high-pass filter ran).
    shape
        The spatial shape of the inputs, to which a synthesis is cropped.

    Raises
    ------
    ValueError
        If there is no band, or the bands differ in batch or channels.

    Notes
    -----
    Nothing is written in place: every operation returns a new container. Devices and dtypes are those of the
    bands. ``c[i]`` is sample ``i`` as a batch of one, ``c[1:]`` a batch without the first; a list of indices and a
    mask of booleans choose samples too.

    Examples
    --------
    >>> import torch, wam
    >>> z = wam.Wavelet("haar", levels=2, ndim=2).analysis(torch.ones(1, 3, 8, 8))
    >>> list(z.bands)[:2], z.scales
    ([(2, 'approx'), (2, 'horizontal')], ('approx', 2, 1))
    >>> z.bands[2, "approx"].shape
    torch.Size([1, 3, 2, 2])
    """

    bands: Mapping[Band, Tensor]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.bands:
            raise ValueError("coefficients need at least one band")
        kinds = {(*band.shape[:2], band.dtype) for band in self.bands.values()}
        if len(kinds) > 1 or any(band.ndim < 3 for band in self.bands.values()):
            raise ValueError(f"bands must be (batch, channels, *band) of one dtype; they differ or are short: {kinds}")
        object.__setattr__(self, "bands", MappingProxyType(dict(self.bands)))
        object.__setattr__(self, "shape", tuple(self.shape))

    # --- what it is -------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._first)

    def __repr__(self) -> str:
        counts = f"batch {len(self)}, {self._first.shape[1]} channels, {self.size} coefficients each"
        return f"Coefficients({counts}, scales {self.scales}, input {self.shape}, {self.dtype}, {self.device})"

    @property
    def _first(self) -> Tensor:
        return next(iter(self.bands.values()))

    @property
    def device(self) -> torch.device:
        """The device of the bands."""
        return self._first.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the bands."""
        return self._first.dtype

    @property
    def size(self) -> int:
        """The number of coefficients of one channel of one sample."""
        return sum(math.prod(band.shape[2:]) for band in self.bands.values())

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The labels of the scales, coarse to fine; ``("approx", J, ..., 1)`` for a wavelet, ``(0,)`` for pixels."""
        return tuple(dict.fromkeys(map(scale_of, self.bands)))

    # --- maps and arithmetic ----------------------------------------------------------------------------------

    def map(self, function: Callable[[Tensor], Tensor]) -> Coefficients:
        """Apply ``function`` to every band."""
        return Coefficients({key: function(band) for key, band in self.bands.items()}, self.shape)

    def zip_map(self, function: Callable[[Tensor, Tensor], Tensor], other: Coefficients) -> Coefficients:
        """Apply ``function(band, other_band)`` to every pair of bands; a ``ValueError`` if layouts differ."""
        mine, theirs = self.layout(), other.layout()
        if mine != theirs:
            pairs = zip((*mine.bands, mine.shape), (*theirs.bands, theirs.shape))
            one, two = next((a, b) for a, b in pairs if a != b)
            raise ValueError(f"coefficients of different layouts, {one} and {two}: use one frame for both")
        pairs = {key: function(band, other.bands[key]) for key, band in self.bands.items()}
        return Coefficients(pairs, self.shape)

    def layout(self) -> Spec:
        """The bands and their shapes: what :meth:`unpack` needs, and what two containers of one frame share."""
        return Spec(tuple((key, tuple(band.shape[2:])) for key, band in self.bands.items()), self.shape)

    def _combine(self, function: Callable[[Any, Any], Tensor], other: Any) -> Coefficients:
        if isinstance(other, Coefficients):
            return self.zip_map(function, other)
        return self.map(lambda band: function(band, other))

    def __add__(self, other: Coefficients | float) -> Coefficients:
        return self._combine(torch.add, other)

    def __sub__(self, other: Coefficients | float) -> Coefficients:
        return self._combine(torch.sub, other)

    def __mul__(self, other: Coefficients | float) -> Coefficients:
        return self._combine(torch.mul, other)

    def __truediv__(self, other: Coefficients | float) -> Coefficients:
        return self._combine(torch.div, other)

    def __rsub__(self, other: float) -> Coefficients:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__
    __array_ufunc__ = None  # a NumPy number on the left leaves the operation to this class

    def __neg__(self) -> Coefficients:
        return self.map(torch.neg)

    def abs(self) -> Coefficients:
        """The absolute value of every coefficient (eq. 1 of the paper is the absolute value of a gradient)."""
        return self.map(torch.abs)

    __abs__ = abs

    def to(self, *args: Any, **kwargs: Any) -> Coefficients:
        """Move or cast every band, as :meth:`torch.Tensor.to` does."""
        return self.map(lambda band: band.to(*args, **kwargs))

    def __getitem__(self, sample: int | slice | Sequence[int] | Tensor) -> Coefficients:
        chosen = positions(sample, len(self))
        return self.map(lambda band: band[chosen])

    def __reduce__(self):
        return Coefficients, (dict(self.bands), self.shape)

    def level(self, scale: Scale) -> Coefficients:
        r"""Keep one scale and set every other band to zero.

        The parts add up, :math:`z = \sum_s z_s`, and so do their syntheses: ``frame.synthesis(z.level(s))`` is
        what scale ``s`` contributes to the input.

        A ``ValueError`` if ``scale`` is not one of :attr:`scales`.
        """
        if scale not in self.scales:
            raise ValueError(f"no scale {scale!r}; this container has {self.scales}")
        kept = {k: b if scale_of(k) == scale else torch.zeros_like(b) for k, b in self.bands.items()}
        return Coefficients(kept, self.shape)

    def scale_sums(self) -> Tensor:
        r"""The sum over every scale, channels and orientations together: ``(batch, scales)``, coarse to fine."""
        sums = dict.fromkeys(self.scales, 0.0)
        for key, band in self.bands.items():
            sums[scale_of(key)] = sums[scale_of(key)] + band.flatten(1).sum(1)
        return torch.stack(list(sums.values()), dim=1)

    # --- flat and pictured ------------------------------------------------------------------------------------

    def pack(self) -> tuple[Tensor, Spec]:
        """One flat vector of coefficients per channel, coarse to fine: ``(batch, channels, n)`` and how to undo it.

        What ranks, masks or counts coefficients works on this vector, whatever the dimension or the wavelet.

        >>> import torch, wam
        >>> z = wam.Wavelet("db2", levels=2, ndim=1).analysis(torch.randn(2, 1, 32))
        >>> flat, spec = z.pack()
        >>> flat.shape == (2, 1, z.size)
        True
        >>> bool((wam.Coefficients.unpack(flat, spec) - z).pack()[0].eq(0).all())
        True
        """
        return torch.cat([band.flatten(2) for band in self.bands.values()], dim=2), self.layout()

    @staticmethod
    def unpack(flat: Tensor, spec: Spec) -> Coefficients:
        """Undo :meth:`pack`; ``flat`` may have another batch size or other channels, but not another ``n``."""
        sizes = [math.prod(shape) for _, shape in spec.bands]
        if flat.ndim != 3 or flat.shape[2] != sum(sizes):
            raise ValueError(f"expected (batch, channels, {sum(sizes)}), got {tuple(flat.shape)}")
        parts = flat.split(sizes, dim=2)
        bands = {key: part.unflatten(2, shape) for (key, shape), part in zip(spec.bands, parts)}
        return Coefficients(bands, spec.shape)

    def mosaic_blocks(self) -> dict[Band, tuple[slice, ...]]:
        """Where :meth:`mosaic` puts every band: slices, one per axis; an error in one dimension or for Fourier."""
        (first, band), *details = self.bands.items()
        if band.ndim < 4 or any(b.ndim != band.ndim for b in self.bands.values()):
            raise ValueError("a mosaic needs bands in two or three dimensions; in one, use scalogram()")
        tile = tuple(band.shape[2:])
        blocks = {first: tuple(slice(0, n) for n in tile)}
        for level in dict.fromkeys(key[0] for key, _ in details):
            group = {key: tuple(b.shape[2:]) for key, b in details if key[0] == level}
            tile = tuple(max(sizes) for sizes in zip(tile, *group.values()))
            for key, sizes in group.items():
                filters = _FILTERS.get(key[1], key[1])
                corner = [t if f == "d" else 0 for f, t in zip(filters, tile)]
                blocks[key] = tuple(slice(c, c + n) for c, n in zip(corner, sizes))
            tile = tuple(2 * n for n in tile)
        return blocks

    def mosaic(self, fill: float = 0.0) -> Tensor:
        """The dyadic layout: the approximation in the corner, finer bands around it, ``(batch, channels, *mosaic)``.

        With Haar on sizes divisible by :math:`2^J` the mosaic is as large as the input. Longer wavelets keep some
        coefficients beyond the border, so their mosaic is larger, and what no band covers is ``fill``.

        >>> import torch, wam
        >>> wam.Wavelet("haar", levels=3, ndim=2).analysis(torch.ones(1, 3, 32, 32)).mosaic().shape
        torch.Size([1, 3, 32, 32])
        """
        blocks = self.mosaic_blocks()
        extent = [max(block[axis].stop for block in blocks.values()) for axis in range(len(self.shape))]
        canvas = self._first.new_full((*self._first.shape[:2], *extent), fill)
        for key, block in blocks.items():
            canvas[(..., *block)] = self.bands[key]
        return canvas

    def scalogram(self) -> Tensor:
        """In one dimension, every band stretched to the length of the input: ``(batch, channels, scales, length)``.

        Coefficient :math:`k` of level :math:`j` fills the :math:`2^j` samples around its place on the grid; the few
        that long wavelets keep beyond either end are left out. The energy of long asymmetric filters (``db10`` and
        longer) lies beside that place; symlets keep it there. A ``ValueError`` in other dimensions.
        """
        if len(self.shape) != 1 or len(self.scales) != len(self.bands):
            raise ValueError(f"a scalogram is for inputs of one dimension, not {len(self.shape)}; use mosaic()")
        time = torch.arange(self.shape[0], device=self.device)
        rows = []
        for (level, _), band in self.bands.items():
            beyond = band.shape[2] * 2**level - self.shape[0]
            rows.append(band[:, :, (time + beyond // 2).div(2**level, rounding_mode="floor")])
        return torch.stack(rows, dim=2)


def positions(sample: int | slice | Sequence[int] | Tensor, length: int) -> list[int]:
    """The samples that an index, a slice, several indices or a mask of booleans mean, as a list.

    >>> from wam.coefficients import positions
    >>> positions(-1, 4), positions(slice(None, None, -2), 4), positions([0, 2], 4), positions([True, False], 2)
    ([3], [3, 1], [0, 2], [0])
    """
    if isinstance(sample, slice):
        return list(range(length)[sample])
    index = torch.as_tensor(sample, device="cpu").reshape(-1)
    if len(index) and index.is_floating_point():
        raise TypeError(f"samples are integers, a slice or a mask, not {sample!r}")
    return torch.arange(length)[index if index.dtype == torch.bool else index.long()].tolist()


def scale_of(key: Band) -> Scale:
    """The scale that a band belongs to."""
    level, orientation = key
    return "approx" if orientation == "approx" else level
