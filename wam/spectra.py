r"""Scale spectra: which share of the importance lies at each scale and orientation, over a whole data set.

Of one explanation, the share of a band :math:`b` is :math:`\sum_{i \in b} |\gamma_i| / \sum_i |\gamma_i|`. Averaged
over inputs it says what a network relies on (Fig. 10 of the paper). :func:`noise_accuracy` asks by perturbation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor
from tqdm.auto import tqdm

from wam import comparison
from wam.checks import positive
from wam.coefficients import Band, Scale, scale_of
from wam.explanation import Explanation
from wam.frames import Frame
from wam.scoring import Model, as_target, frozen, scores, select


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The shares of importance of many inputs.

    Attributes
    ----------
    bands
        The keys of the bands, coarse to fine.
    shares
        ``(inputs, bands)``, ``float64`` on the CPU; rows sum to 1, or are NaN where all attributions are zero.

    Examples
    --------
    >>> import torch
    >>> from wam.spectra import Spectrum
    >>> bands = ((1, "approx"), (1, "horizontal"), (1, "vertical"), (1, "diagonal"))
    >>> s = Spectrum(bands, torch.tensor([[0.5, 0.25, 0.125, 0.125]]))
    >>> s.scales, s.by_scale().tolist(), s.coarseness().tolist()
    (('approx', 1), [[0.5, 0.5]], [1.5])
    """

    bands: tuple[Band, ...]
    shares: Tensor

    def __post_init__(self) -> None:
        if self.shares.ndim != 2 or self.shares.shape[1] != len(self.bands):
            found = tuple(self.shares.shape)
            raise ValueError(f"{len(self.bands)} bands need shares (inputs, bands), got shape {found}")
        object.__setattr__(self, "bands", tuple(self.bands))
        object.__setattr__(self, "shares", self.shares.detach().double().cpu())

    def __len__(self) -> int:
        return len(self.shares)

    def __repr__(self) -> str:
        return f"Spectrum({len(self)} inputs, scales {self.scales})"

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The labels of the scales, coarse to fine."""
        return tuple(dict.fromkeys(map(scale_of, self.bands)))

    def by_scale(self) -> Tensor:
        """Orientations together: ``(inputs, scales)``."""
        columns = [[i for i, key in enumerate(self.bands) if scale_of(key) == scale] for scale in self.scales]
        return torch.stack([self.shares[:, kept].sum(1) for kept in columns], dim=1)

    def coarseness(self) -> Tensor:
        r"""The mean level in octaves, :math:`\sum_j j\,p_j` with :math:`J + 1` for the approximation: ``(inputs,)``."""
        levels = [level + (orientation == "approx") for level, orientation in self.bands]
        return self.shares @ torch.tensor(levels, dtype=self.shares.dtype)

    def table(self, orientations: bool = False) -> pd.DataFrame:
        """Tidy: the columns ``input``, ``scale`` (text), ``orientation`` where they are kept apart, and ``value``."""
        if orientations:
            names, values = [(str(scale_of(key)), key[1]) for key in self.bands], self.shares
        else:
            names, values = [(str(scale), "all") for scale in self.scales], self.by_scale()
        rows = [(i, *name, value) for i, row in enumerate(values.tolist()) for name, value in zip(names, row)]
        return pd.DataFrame(rows, columns=["input", "scale", "orientation", "value"])

    def summary(self, orientations: bool = False, **options) -> pd.DataFrame:
        """The mean share of every scale (and orientation) with its 95 % interval (:func:`wam.comparison.summary`)."""
        return comparison.summary(self.table(orientations), ["scale", "orientation"], **options)


def measure(explanations: Iterable[Mapping[str, Explanation]]) -> dict[str, Spectrum]:
    """The spectra of any number of inputs, batch by batch: of each explanation only its shares are kept.

    The batches are explanations by name, such as from a generator that makes them.

    Raises
    ------
    ValueError
        If there is no batch, or one has other names or other bands.

    Examples
    --------
    >>> import torch, wam
    >>> from wam import spectra
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    >>> frame, data = wam.Wavelet("haar", levels=2, ndim=1), torch.randn(10, 1, 64)
    >>> found = spectra.measure({"WAM-IG": wam.integrated_gradients(net, x, frame=frame)} for x in data.split(4))
    >>> found["WAM-IG"]
    Spectrum(10 inputs, scales ('approx', 2, 1))
    """
    bands: dict[str, tuple[Band, ...]] = {}
    parts: dict[str, list[Tensor]] = {}
    for batch in explanations:
        if parts and set(batch) != set(parts):
            raise ValueError(f"a batch has the explanations {sorted(batch)}, the first one had {sorted(parts)}")
        for name, e in batch.items():
            keys = tuple(e.attributions.bands)
            if bands.setdefault(name, keys) != keys:
                raise ValueError(f"a batch of {name!r} has the bands {keys}, the first one had {bands[name]}")
            parts.setdefault(name, []).append(shares(e))
    if not parts:
        raise ValueError("there are no explanations to measure")
    return {name: Spectrum(bands[name], torch.cat(rows)) for name, rows in parts.items()}


def joined(parts: Sequence[Spectrum]) -> Spectrum:
    """The spectra of several sets of inputs as one, in their order; a ``ValueError`` for none, or for other bands.

    >>> import torch
    >>> from wam.spectra import Spectrum, joined
    >>> joined([Spectrum(((0, "pixel"),), torch.ones(n, 1)) for n in (2, 3)])
    Spectrum(5 inputs, scales (0,))
    """
    if len({part.bands for part in parts}) != 1:
        raise ValueError(f"only spectra of the same bands can be joined, got {list(parts)}")
    return Spectrum(parts[0].bands, torch.cat([part.shares for part in parts]))


def shares(e: Explanation) -> Tensor:
    """The share of every band in the importance of each input, ``(batch, bands)``, ``float64`` on the CPU."""
    sums = torch.stack([band.abs().flatten(1).double().sum(1) for band in e.attributions.bands.values()], dim=1).cpu()
    return sums / sums.sum(1, keepdim=True)


def compare(one: Spectrum, other: Spectrum) -> pd.DataFrame:
    r"""How the spectra of two networks differ on the same inputs, in the same order, scale by scale, by paired tests.

    Returns
    -------
    pandas.DataFrame
        A row per scale: the means of both, the mean paired difference ``one - other`` with its interval (``mean``,
        ``low``, ``high``, ``n``, ``dropped``), that difference in standard deviations (``effect``, Cohen's
        :math:`d_z`), and ``p`` of Wilcoxon's signed-rank test, corrected for the number of scales (Holm). A last row,
        ``"coarseness"``, is of the mean level.

    Raises
    ------
    ValueError
        If the two are not of as many inputs and the same bands.

    Examples
    --------
    >>> import torch
    >>> from wam.spectra import Spectrum, compare
    >>> bands, p = ((1, "approx"), (1, "detail")), torch.rand(50, 1)
    >>> coarse, fine = (Spectrum(bands, torch.cat([q, 1 - q], dim=1)) for q in ((p + 1) / 2, p / 2))
    >>> compare(coarse, fine)["mean"].round(6).tolist()
    [0.5, -0.5, 0.5]
    """
    if one.bands != other.bands or len(one) != len(other):
        raise ValueError(f"spectra of the same inputs and bands can be compared, not {one} and {other}")
    names = [*map(str, one.scales), "coarseness"]
    mine, theirs = (torch.cat([s.by_scale(), s.coarseness()[:, None]], dim=1).numpy() for s in (one, other))
    differences = mine - theirs
    frame = pd.DataFrame({"scale": names * len(one), "value": differences.flatten()})
    found = comparison.summary(frame, "scale")
    there = ~np.isnan(differences)
    kept = [column[rows] for column, rows in zip(differences.T, there.T)]
    for at, name, values in ((1, "one", mine), (2, "other", theirs)):  # means of the same inputs
        found.insert(at, name, [v[rows].mean() if rows.any() else np.nan for v, rows in zip(values.T, there.T)])
    found["effect"] = [d.mean() / s if len(d) > 1 and (s := d.std(ddof=1)) > 0 else np.nan for d in kept]
    p = np.array([stats.wilcoxon(d).pvalue if np.any(d) else 1.0 if len(d) else np.nan for d in kept])
    found["p"] = [*_holm(p[:-1]), p[-1]]
    return found


def band_noise(x: Tensor, frame: Frame, scale: Scale, rms: float, seed: int = 0) -> Tensor:
    r"""White noise of one scale only, :math:`S\,P_s\,W \varepsilon`, of a given size and the same for every input.

    In :class:`wam.Fourier` it is limited to the octave exactly; in a wavelet frame as far as the filters separate.

    Parameters
    ----------
    x
        The inputs that it is for, ``(batch, channels, *spatial)``.
    frame, scale
        Where the noise is, such as ``wam.Fourier(3, 2)`` and ``1``, the finest octave.
    rms, seed
        Its root mean square over all values, and the seed of the draw.

    Raises
    ------
    ValueError
        If the frame has no such scale, or ``rms`` is negative or not finite.

    Examples
    --------
    >>> import torch, wam
    >>> from wam import spectra
    >>> noise = spectra.band_noise(torch.zeros(5, 3, 32, 32), wam.Fourier(3, 2), 1, rms=0.1)
    >>> noise.shape, round(float(noise.square().mean().sqrt()), 6)
    (torch.Size([1, 3, 32, 32]), 0.1)
    """
    if not 0 <= rms < float("inf"):
        raise ValueError(f"rms must be a finite number of at least 0, got {rms!r}")
    generator = torch.Generator().manual_seed(positive(seed, "seed", least=0))
    white = torch.randn((1, *x.shape[1:]), generator=generator, dtype=torch.float64)
    noise = frame.synthesis(frame.analysis(white).level(scale))
    return (noise * (rms / noise.square().mean().sqrt())).to(x)


def noise_accuracy(
    model: Model,
    x: Tensor,
    labels: Sequence[int] | Tensor,
    frame: Frame,
    rms: Sequence[float],
    *,
    draws: int = 1,
    seed: int = 0,
    max_batch: int | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Whether the class of every input survives noise that is limited to one scale: the spectrum by perturbation.

    Values are not clipped to the range of pictures, which would spread the noise over all scales.

    Parameters
    ----------
    model, x, labels
        The network, inputs, and their classes.
    frame, rms
        Whose scales the noise is limited to, and its root mean squares (:func:`band_noise`).
    draws, seed
        Draws of the noise for each scale and size, and their seed.
    max_batch, progress
        Inputs in one pass of the network, and whether to show a bar.

    Returns
    -------
    pandas.DataFrame
        Tidy, a row for every input, scale and size: ``input``, ``scale`` (text), ``rms``, ``correct`` (the share of
        draws in which the class has the largest score), ``change`` (the mean change of the score of the class).

    Raises
    ------
    ValueError
        If there is not one class per input, or a number is out of range.

    References
    ----------
    Yin et al., A Fourier perspective on model robustness in computer vision, 2019.
    """
    batch = len(x) if max_batch is None else positive(max_batch, "max_batch")
    target = as_target(labels, len(x), x.device)
    draws, found = positive(draws, "draws"), []
    names = frame.analysis(x[:1]).scales
    todo = [(scale, size) for scale in names for size in rms]
    with torch.no_grad(), frozen(model):
        clean, _ = _scored(model, x, target, batch)
        for scale, size in tqdm(todo, disable=not progress, unit="setting"):
            right, moved = torch.zeros(2, len(x), dtype=torch.float64)
            for draw in range(draws):
                noise = band_noise(x, frame, scale, size, seed + draw)
                score, correct = _scored(model, x + noise, target, batch)
                right += correct
                moved += score - clean
            columns = {"input": range(len(x)), "scale": str(scale), "rms": float(size)}
            columns |= {"correct": right.numpy() / draws, "change": moved.numpy() / draws}
            found.append(pd.DataFrame(columns))
    return pd.concat(found, ignore_index=True)


def _scored(model: Model, x: Tensor, target: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """The score of each input's class, and whether it is the largest."""
    found = []
    for part, classes in zip(x.split(batch), target.split(batch)):
        output = scores(model, part)
        found.append((select(output, classes)[0].cpu(), (output.argmax(1) == classes).cpu()))
    score, correct = map(torch.cat, zip(*found))
    return score.double(), correct.double()


def _holm(p: np.ndarray) -> np.ndarray:
    """Holm's correction of several p-values."""
    order = p.argsort()
    return np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)[order.argsort()]
