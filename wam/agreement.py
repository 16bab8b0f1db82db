r"""How alike two explanations of the same input are: correlations of values and of ranks, over all and at every scale.

With the attributions of one input as vectors :math:`a` and :math:`b`, Pearson's coefficient is the cosine of
:math:`a - \bar a` and :math:`b - \bar b`, and Spearman's is Pearson's of their ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

import wam
from wam.coefficients import Scale, scale_of
from wam.explanation import Explanation

KINDS = ("absolute", "signed")
"""What is compared: :math:`|\\gamma|`, as most figures show it, or :math:`\\gamma`."""

_EXACT = 2**23  # up to here float32 holds every half


class Key(NamedTuple):
    """Which of the correlations: of what, where (``"all"`` or a scale), and which coefficient."""

    kind: str
    scale: Scale
    statistic: str


def ranks(values: Tensor) -> Tensor:
    """The rank of each value within its row, from 1; equal values share their mean rank.

    >>> import torch
    >>> from wam import agreement
    >>> agreement.ranks(torch.tensor([[0.3, -1.0, 0.3, 0.0]])).tolist()
    [[3.5, 1.0, 3.5, 2.0]]
    """
    if values.device.type != "cpu":
        return _ranks(values)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # row by row is three times faster on a CPU
        rows = np.stack(list(pool.map(rankdata, values.detach().numpy())))
    return torch.from_numpy(rows).to(values.dtype if values.shape[1] < _EXACT else torch.float64)


def _ranks(values: Tensor) -> Tensor:
    """The same for all rows at once, on the device."""
    dtype = values.dtype if values.shape[1] < _EXACT else torch.float64
    ordered, order = values.sort(dim=1)
    group = nn.functional.pad(ordered[:, 1:] != ordered[:, :-1], (1, 0)).cumsum(1)
    size = torch.zeros_like(ordered, dtype=dtype).scatter_add_(1, group, torch.ones_like(ordered, dtype=dtype))
    mean = (size.cumsum(1) - (size - 1) / 2).gather(1, group)
    return torch.empty_like(mean).scatter_(1, order, mean)


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of each row of ``a`` with that of ``b``, ``(rows,)``; NaN where a row is constant.

    >>> import torch
    >>> from wam import agreement
    >>> a = torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]])
    >>> agreement.pearson(a, 2 - a)
    tensor([-1.0000,     nan])
    """
    return (_standard(a) * _standard(b)).sum(1)


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation of each row of ``a`` with that of ``b``, ``(rows,)``; NaN where a row is constant."""
    return pearson(ranks(a), ranks(b))


class Reference:
    """The explanation of a batch to which others are compared, with what can be computed of it once.

    Examples
    --------
    >>> import torch, wam
    >>> from wam import agreement
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    >>> e = wam.saliency(net, torch.randn(2, 1, 64), frame=wam.Wavelet("haar", levels=2, ndim=1))
    >>> found = agreement.Reference(e).agreement(e)
    >>> found[agreement.Key("absolute", "all", "spearman")].round(decimals=4), len(found)
    (tensor([1., 1.]), 16)
    """

    def __init__(self, explanation: wam.Explanation) -> None:
        self._explanation = explanation
        self._standard = _standards(explanation)

    def agreement(self, other: Explanation) -> Mapping[Key, Tensor]:
        """Every correlation with another explanation of the same inputs, ``(batch,)`` each; NaN where one is constant.

        A ``ValueError`` if the two do not have as many inputs and the same bands.
        """
        mine = self._explanation
        if len(other) != len(mine):
            raise ValueError(f"{len(other)} explanations cannot be compared with {len(mine)}: give the same inputs")
        mine.attributions.zip_map(torch.sub, other.attributions)  # of one layout, or an error that names the difference
        channels = [next(iter(e.attributions.bands.values())).shape[1] for e in (other, mine)]
        if channels[0] != channels[1]:
            raise ValueError(f"attributions have {channels[0]} and {channels[1]} channels: give the same in both")
        theirs = _standards(other)
        return {key: (values * theirs[key]).sum(1) for key, values in self._standard.items()}


def _standards(e: Explanation) -> dict[Key, Tensor]:
    """For each key the values, centred and of length 1."""
    found = {}
    bands = e.attributions.bands
    parts = {"all": list(bands.values())}
    if len(e.scales) > 1:
        parts |= {scale: [band for key, band in bands.items() if scale_of(key) == scale] for scale in e.scales}
    for (scale, kept), kind in product(parts.items(), KINDS):
        flat = torch.cat([band.flatten(1) for band in kept], dim=1)
        flat = flat.abs() if kind == "absolute" else flat
        found[Key(kind, scale, "spearman")] = _standard(ranks(flat))
        found[Key(kind, scale, "pearson")] = _standard(flat)
    return found


def _standard(values: Tensor) -> Tensor:
    """Each row centred and scaled to length 1; NaN where it is constant."""
    low, high = values.aminmax(dim=1, keepdim=True)
    values = values / torch.maximum(high.abs(), low.abs())  # the squares of 1e-30 are zero
    centred = values - values.mean(1, keepdim=True)
    return (centred / centred.norm(dim=1, keepdim=True)).masked_fill_(low == high, float("nan"))
