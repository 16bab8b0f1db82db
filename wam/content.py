r"""Content: what of an image is left in part of it, such as a minimal image, and what is there that was not.

Images are batches ``rgb`` of shape ``(batch, 3, height, width)`` in display units (black 0, white 1), not clipped.
Energies are of differences from the state in which nothing is left: where that is the value 0 of the model space
(:class:`wam.image_models.ImageClassifier`), pass ``x * model.std`` and no mean. Edges are the same with the mean and
without. ``float32`` and ``float64`` are kept, on any device; what is not defined, such as a share of nothing, is NaN.

What takes an image and its part raises a ``TypeError`` or ``ValueError`` if they are no batches in ``float32`` or
``float64``, or differ in shape, dtype or device, or a frame cannot transform them; masks of places, ``where``, are
boolean, ``(batch or 1, 1, height, width)``, or an error.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from wam.checks import positive
from wam.frames import Frame, Pixel


def luma_chroma(rgb: Tensor) -> Tensor:
    r"""Luma and the two colour differences of ITU-R BT.601, ``(batch, 3, height, width)``.

    .. math:: Y = 0.299 R + 0.587 G + 0.114 B, \qquad C_B = (B - Y) / 1.772, \qquad C_R = (R - Y) / 1.402

    Linear, with no offset: of grey, both differences are exactly 0.

    Examples
    --------
    >>> import torch, wam.content
    >>> red, grey = torch.eye(3)[0], torch.ones(3) / 2
    >>> wam.content.luma_chroma(torch.stack([red, grey]).view(2, 3, 1, 1)).flatten(1)
    tensor([[ 0.2990, -0.1687,  0.5000],
            [ 0.5000,  0.0000,  0.0000]])

    References
    ----------
    ITU-R Recommendation BT.601-7, section 2.5.
    """
    Pixel().check(rgb)
    if rgb.ndim != 4 or rgb.shape[1] != 3:
        raise ValueError(f"expected colour images (batch, 3, height, width), got shape {tuple(rgb.shape)}")
    r, g, b = rgb.unbind(1)
    y = g + 0.299 * (r - g) + 0.114 * (b - g)
    return torch.stack([y, (b - y) / 1.772, (r - y) / 1.402], dim=1)


def retained(full: Tensor, part: Tensor, where: Tensor | None = None) -> Tensor:
    r"""The share of a signal ``(batch, channels, *spatial)`` that is left, ``(batch,)``: 1 is all, 0 nothing.

    .. math:: \rho = \langle x', x \rangle / \langle x, x \rangle

    is the coefficient of the regression of the part :math:`x'` on the signal :math:`x`, over all channels and the
    places ``where`` (:func:`inside` a box, or its complement). A ratio of energies would count what was never there,
    such as false colour and artefacts, as kept; here, what is orthogonal to the signal adds nothing. Of a mask on the
    coefficients of an orthonormal frame, :math:`\rho` is the mean weighted by their energy.

    Examples
    --------
    >>> import torch, wam.content
    >>> x = torch.tensor([[[3.0, 4.0]]])
    >>> wam.content.retained(x, x / 2), wam.content.retained(x, torch.tensor([[[3.0, 0.0]]]))
    (tensor([0.5000]), tensor([0.3600]))
    >>> wam.content.retained(x, x + torch.tensor([[[4.0, -3.0]]])), wam.content.retained(x, x, torch.zeros(1, 1, 2) > 0)
    (tensor([1.]), tensor([nan]))
    """
    _pair(full, part)
    seen = full if where is None else full * _places(where, full)
    return _ratio((part * seen).flatten(1).sum(1), (full * seen).flatten(1).sum(1))


def retained_by_scale(frame: Frame, full: Tensor, part: Tensor) -> Tensor:
    r""":func:`retained` for every channel and scale of ``frame``, ``(batch, channels, scales)``, coarse to fine.

    With images from :func:`luma_chroma` the channels are luma and the two colour differences.

    Examples
    --------
    >>> import torch, wam, wam.content
    >>> x, smooth = torch.tensor([[[1.0, 3.0, 2.0, 4.0]]]), torch.tensor([[[2.0, 2.0, 3.0, 3.0]]])
    >>> wam.content.retained_by_scale(wam.Wavelet("haar", levels=2, ndim=1), x, smooth).round(decimals=4)
    tensor([[[1., 1., 0.]]])
    """
    _pair(full, part)
    x, y = (frame.analysis(v.flatten(0, 1)[:, None]) for v in (full, part))  # every channel a sample of its own
    return _ratio(*((x * other).scale_sums().unflatten(0, full.shape[:2]) for other in (y, x)))


def false_colour(frame: Frame, full: Tensor, part: Tensor) -> Tensor:
    r"""The energy of colour that was not there, as a share of the energy of the image, ``(batch,)``.

    .. math:: \sum_k \min_{0 \le m \le 1} \| c'_k - m \, c_k \|^2 \; \Big/ \; \sum_k y_k^2 + \| c_k \|^2

    where :math:`y_k` and :math:`c_k = (C_B, C_R)_k` are the coefficients of luma and chroma, and :math:`c'_k` those of
    the part. A mask in [0, 1] that the three channels share leaves :math:`c'_k = m_k c_k` and hence 0 (to rounding,
    in an orthonormal frame): it takes colour away and makes none. Masks of their own for R, G and B can turn yellow
    into red, with nearly the chroma that was there, or grey into any colour. The energy of the whole image is divided
    by so that this holds for grey images too.

    Examples
    --------
    >>> import torch, wam, wam.content
    >>> grey, red = torch.ones(1, 3, 2, 2), torch.eye(3)[0].view(1, 3, 1, 1)
    >>> made = wam.content.false_colour(wam.Pixel(), grey.expand(2, -1, -1, -1), torch.cat([grey / 2, grey * red]))
    >>> made, bool(made[1].isclose(torch.tensor(0.299 / 1.772) ** 2 + 0.5**2))
    (tensor([0.0000, 0.2785]), True)
    """
    _pair(full, part)
    z, left = (frame.analysis(luma_chroma(rgb)).pack()[0] for rgb in (full, part))
    c, found = z[:, 1:], left[:, 1:]
    energy = c.square().sum(1, keepdim=True)
    m = torch.where(energy > 0, (found * c).sum(1, keepdim=True) / energy, 0).clamp(0, 1)
    return _ratio((found - m * c).square().flatten(1).sum(1), z.square().flatten(1).sum(1))


def edges(rgb: Tensor) -> Tensor:
    r"""The magnitude of the Sobel gradient of the luma, ``(batch, height, width)``; the border is replicated.

    .. math:: \sqrt{(D_u Y)^2 + (D_v Y)^2}, \qquad D_u = \tfrac14 (1, 2, 1)^\top (-1, 0, 1), \quad D_v = D_u^\top

    A straight step of height :math:`h` along an axis has the magnitude :math:`h` at the two pixels that it parts.

    Examples
    --------
    >>> import torch, wam.content
    >>> step = torch.tensor([0.0, 0.0, 0.5, 0.5]).expand(1, 3, 4, 4)
    >>> wam.content.edges(step)[0, 0]
    tensor([0.0000, 0.5000, 0.5000, 0.0000])
    """
    y = pad(luma_chroma(rgb)[:, :1], (1, 1, 1, 1), mode="replicate")[:, 0]
    du, dv = y[:, :, 2:] - y[:, :, :-2], y[:, 2:] - y[:, :-2]
    du, dv = du[:, :-2] + 2 * du[:, 1:-1] + du[:, 2:], dv[:, :, :-2] + 2 * dv[:, :, 1:-1] + dv[:, :, 2:]
    return torch.hypot(du, dv) / 4


def hallucinated(full: Tensor, part: Tensor) -> Tensor:
    r"""Edge pixels of the part that are none of the image, over the number of those of the image, ``(batch,)``.

    .. math:: | E' \setminus \bar E | \, / \, | E |, \qquad E = \{ \text{edges} > t \, (\max Y - \min Y) \}

    :math:`E` and :math:`E'` are the pixels of the image and of the part where :func:`edges` exceed one threshold, the
    share :math:`t = 0.1` of the range of the luma of the image. :math:`\bar E` is :math:`E` and the eight neighbours
    of each of its pixels, so that an edge may move by one. Can exceed 1; NaN for an image without edges.

    References
    ----------
    Kolek et al., Explaining image classifiers with multiscale directional image representation, 2023: the
    hallucination score. Their edges come from a shearlet detector; the numbers do not compare.
    """
    _pair(full, part)
    y = luma_chroma(full)[:, 0].flatten(1)
    limit = 0.1 * (y.amax(1) - y.amin(1)).view(-1, 1, 1)
    known, found = edges(full) > limit, edges(part) > limit
    near = max_pool2d(known.to(full.dtype), 3, stride=1, padding=1) > 0
    return _ratio((found & ~near).to(full.dtype).sum((1, 2)), known.to(full.dtype).sum((1, 2)))


def edge_correlation(full: Tensor, part: Tensor, where: Tensor | None = None) -> Tensor:
    """Pearson's correlation of the two maps of :func:`edges`, ``(batch,)``: how much of the shape is left.

    Over the places ``where``, such as :func:`inside` a box. Contrast does not matter: a paler copy has the
    correlation 1. NaN where either has no edges.

    Examples
    --------
    >>> import torch, wam.content
    >>> x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> wam.content.edge_correlation(x, x / 2 + 1), wam.content.edge_correlation(x, torch.ones_like(x))
    (tensor([1.]), tensor([nan]))
    """
    _pair(full, part)
    weight = torch.ones_like(full[:1, :1]) if where is None else _places(where, full)
    a, b = (edges(rgb)[:, None] for rgb in (full, part))
    a, b = (weight * (v - _ratio((weight * v).sum((2, 3), True), weight.sum((2, 3), True))) for v in (a, b))
    spread = a.square().sum((1, 2, 3)).sqrt() * b.square().sum((1, 2, 3)).sqrt()
    return _ratio((a * b).sum((1, 2, 3)), spread)


def shuffled(x: Tensor, grid: int, seed: int = 0) -> Tensor:
    """The images ``(batch, channels, height, width)``, cut into ``grid`` by ``grid`` patches that change places.

    No patch stays: they move along one random cycle, which is the same for every sample and depends on ``grid`` and
    ``seed`` alone. What a model still sees in the result is local, texture; what it no longer sees was in the
    arrangement, shape. Every channel count and space of values will do.

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not a batch of images in ``float32`` or ``float64``, ``grid`` is below 2 or does not divide the
        height and the width, or ``seed`` is not an integer of at least 0.

    Examples
    --------
    >>> import torch, wam.content
    >>> wam.content.shuffled(torch.arange(4.0).view(1, 1, 2, 2), grid=2)[0, 0]
    tensor([[2., 0.],
            [3., 1.]])

    References
    ----------
    Geirhos et al., ImageNet-trained CNNs are biased towards texture, 2019, on the question that this control asks.
    """
    Pixel().check(x)
    grid, seed = positive(grid, "grid", least=2), positive(seed, "seed", least=0)
    if x.ndim != 4 or x.shape[2] % grid or x.shape[3] % grid:
        raise ValueError(f"a grid of {grid} must divide height and width of the images, got shape {tuple(x.shape)}")
    order = torch.randperm(grid**2, generator=torch.Generator().manual_seed(seed))
    source = torch.empty_like(order)
    source[order] = order.roll(1)
    cells = x.unflatten(3, (grid, -1)).unflatten(2, (grid, -1)).transpose(3, 4)  # (..., row, column, *patch)
    moved = cells.flatten(2, 3)[:, :, source.to(x.device)].unflatten(2, (grid, grid))
    return moved.transpose(3, 4).flatten(4, 5).flatten(2, 3)


def inside(box: Sequence[float] | Sequence[Sequence[float]] | Tensor, shape: tuple[int, int]) -> Tensor:
    """Which pixels of a picture of ``shape`` (height, width) have their centres in a box, boolean.

    A box is ``(left, top, right, bottom)`` in shares of the width and the height, 0 to 1. The mask is
    ``(1, 1, height, width)``, or ``(n, 1, height, width)`` for a sequence of ``n`` boxes, such as those of
    :data:`wam.data.BOXES`.

    Raises
    ------
    ValueError
        If a box is not four shares with left < right and top < bottom.

    Examples
    --------
    >>> import wam.content
    >>> wam.content.inside((0.5, 0, 1, 0.5), (2, 4)).int()[0, 0].tolist()
    [[0, 0, 1, 1], [0, 0, 0, 0]]
    """
    corners = torch.as_tensor(box).double()
    if corners.shape[-1:] != (4,) or not bool(
        ((corners >= 0) & (corners <= 1)).all() & (corners[..., :2] < corners[..., 2:]).all()
    ):
        raise ValueError(f"a box is (left, top, right, bottom) in shares of the picture, 0 to 1, got {box!r}")
    left, top, right, bottom = corners.view(-1, 4, 1).unbind(1)
    v, u = ((torch.arange(n).to(corners) + 0.5) / n for n in shape)
    rows, columns = (top <= v) & (v < bottom), (left <= u) & (u < right)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole, torch.nan)


def _pair(full: Tensor, part: Tensor) -> None:
    for signal in (full, part):
        Pixel().check(signal)
    mine, other = (f"{tuple(v.shape)} {v.dtype} {v.device}" for v in (full, part))
    if mine != other:
        raise ValueError(f"the image and its part must agree in shape, dtype and device, got {mine} and {other}")


def _places(where: Tensor, x: Tensor) -> Tensor:
    """The mask as numbers like ``x``."""
    if (kind := getattr(where, "dtype", type(where))) != torch.bool:
        raise TypeError(f"where must be a boolean tensor, got {kind}; compare it, as in where > 0")
    if where.shape not in {(n, 1, *x.shape[2:]) for n in (1, len(x))}:
        raise ValueError(f"where must be {(len(x), 1, *x.shape[2:])}, or 1 for the batch, got {tuple(where.shape)}")
    return where.to(x)
