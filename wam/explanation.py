"""What an attribution returns: signed attributions, what they explain, and how they were made."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from wam.checks import share
from wam.coefficients import Coefficients, Scale, positions
from wam.files import replace as write_whole
from wam.fourier import Fourier
from wam.frames import Frame, Pixel, Wavelet

FORMAT = "wam-explanation-1"
"""The version of the file format."""

_FRAMES = {frame.__name__: frame for frame in (Wavelet, Pixel, Fourier)}
_CONTAINERS = ("attributions", "coefficients")
_VECTORS = ("target", "score", "baseline_score", "completeness_gap", "gradient")


@dataclass(frozen=True, eq=False)
class Explanation:
    r"""A batch of explanations: the attributions :math:`\gamma` of the coefficients :math:`z` of the inputs.

    Attributes
    ----------
    attributions
        :math:`\gamma`, signed, one value per coefficient; ``attributions.abs()`` is eq. 1 of the paper.
    coefficients
        :math:`z = W x`.
    target, score
        The explained class and its score :math:`f_c(x)`, ``(batch,)`` each.
    frame
        The frame of both.
    method, settings
        How it was made: the name of the method, and its parameters, as numbers and text (a baseline that was a tensor
        is recorded as ``"tensor"``).
    baseline_score, completeness_gap
        For integrated gradients: :math:`f_c(x_0)` and
        :math:`|\sum \gamma - (f_c(x) - f_c(x_0))|`, ``(batch,)`` each; otherwise ``None``.
    layer
        The explanation at a layer of the model, made by the same passes, where one was asked for; otherwise ``None``.
    gradient
        The mean gradient of the input, ``(batch, channels, *spatial)``, of which :func:`in_frame` makes the explanation
        in any other frame; ``None`` where there is none. Who changes the attributions sets it to ``None``.

    Examples
    --------
    >>> import torch, wam
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    >>> e = wam.saliency(net, torch.randn(2, 1, 8, 8), frame=wam.Wavelet("haar", levels=2, ndim=2))
    >>> e.heatmap().shape, e.scales, e.scale_profile().sum(1).round(decimals=4)
    (torch.Size([2, 8, 8]), ('approx', 2, 1), tensor([1., 1.]))
    """

    attributions: Coefficients
    coefficients: Coefficients
    target: Tensor
    score: Tensor
    frame: Frame
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    baseline_score: Tensor | None = None
    completeness_gap: Tensor | None = None
    layer: Explanation | None = None
    gradient: Tensor | None = None

    def __len__(self) -> int:
        return len(self.target)

    def __repr__(self) -> str:
        return f"Explanation({self.method} of {len(self)} inputs, {self.frame}, target {self.target.tolist()})"

    def __getitem__(self, sample: int | slice | Sequence[int] | Tensor) -> Explanation:
        chosen = positions(sample, len(self))
        return self._each(lambda value: value[chosen])

    def _each(self, function) -> Explanation:
        values = {name: getattr(self, name) for name in _CONTAINERS + _VECTORS + ("layer",)}
        return replace(self, **{name: v if v is None else function(v) for name, v in values.items()})

    def to(self, *args: Any, **kwargs: Any) -> Explanation:
        """Move everything to a device, as :meth:`torch.Tensor.to` does; a dtype is for all but the target."""
        moved = self._each(lambda value: value.to(*args, **kwargs))
        return replace(moved, target=self.target.to(moved.score.device))

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The labels of the scales, coarse to fine."""
        return self.attributions.scales

    def heatmap(self) -> Tensor:
        r"""Where: :math:`|\gamma|` of every coefficient spread over its support, summed over channels and bands.

        ``(batch, *spatial)``, non-negative; the sum over the input is :math:`\sum |\gamma|`.
        """
        return self.frame.spread(_over_channels(self.attributions))[:, 0]

    def scale_heatmaps(self) -> Tensor:
        """Where, scale by scale: ``(batch, scales, *spatial)``, coarse to fine; their sum is :meth:`heatmap`."""
        magnitudes = _over_channels(self.attributions)
        parts = [magnitudes.level(scale).bands for scale in self.scales]
        stacked = {key: torch.cat([part[key] for part in parts], dim=1) for key in magnitudes.bands}
        return self.frame.spread(Coefficients(stacked, magnitudes.shape))

    def scale_profile(self) -> Tensor:
        r"""What: the share of :math:`|\gamma|` in every scale, ``(batch, scales)``; rows sum to 1.

        Where all attributions are zero the share is undefined: NaN.
        """
        sums = self.attributions.abs().scale_sums()
        return sums / sums.sum(1, keepdim=True)

    def scale_scores(self) -> Tensor:
        r"""The signed sums of :math:`\gamma` over every scale, ``(batch, scales)``.

        For integrated gradients they decompose the score: their sum is :math:`f_c(x) - f_c(x_0)` up to the
        completeness gap.
        """
        return self.attributions.scale_sums()

    def reconstruct(self, fraction: float) -> Tensor:
        r"""The input made from its most important coefficients only, ``(batch, channels, *spatial)``.

        Of the ``channels * n`` coefficients of a sample the ``fraction`` with the largest :math:`|\gamma|` are kept,
        the rest set to zero. Each channel's coefficients compete on their own in one ranking: no place is tied across
        channels (appendix C.2 of the paper), unless the attributions have one channel only (maps of activations).

        A ``ValueError`` if ``fraction`` is not a number from 0 to 1.
        """
        kept, _ = top(self.attributions.abs().pack()[0], share(fraction, "fraction"))
        flat, spec = self.coefficients.pack()
        return self.frame.synthesis(Coefficients.unpack(flat * kept, spec))

    def save(self, path: str | os.PathLike) -> Path:
        """Write everything to one safetensors file; an interrupted save leaves what was under ``path`` before.

        A ``TypeError`` if the frame is not one of this package, so that :func:`load` could not make it again.

        >>> import tempfile, torch, wam
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 2))
        >>> e = wam.saliency(net, torch.randn(1, 1, 8), frame=wam.Pixel())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     wam.load(e.save(f"{folder}/e.safetensors")).method
        'saliency'
        """
        path = Path(path)
        tensors, head = self._stored()
        content = save(tensors, {"format": FORMAT, "explanation": json.dumps(head)})
        write_whole(path, lambda scratch: scratch.write_bytes(content))
        return path

    def _stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors of a file, and what else is needed to make the explanation of them again."""
        if type(self.frame) not in _FRAMES.values():
            raise TypeError(f"only explanations in {', '.join(_FRAMES)} can be saved, not in {self.frame!r}")
        tensors = {name: value for name in _VECTORS if (value := getattr(self, name)) is not None}
        for name in _CONTAINERS:
            for (level, orientation), band in getattr(self, name).bands.items():
                tensors[f"{name}/{level}/{orientation}"] = band
        whole = {"memory_format": torch.contiguous_format}  # copies, because some of them may share memory
        tensors = {name: tensor.detach().cpu().clone(**whole) for name, tensor in tensors.items()}
        bands, shape = [list(key) for key in self.attributions.bands], list(self.attributions.shape)
        head = {"bands": bands, "shape": shape, "method": self.method, "settings": dict(self.settings)}
        head["frame"] = {"type": type(self.frame).__name__, "fields": asdict(self.frame)}
        if self.layer is not None:
            below, head["layer"] = self.layer._stored()
            tensors |= {f"layer/{name}": tensor for name, tensor in below.items()}
        return tensors, head


def top(values: Tensor, fraction: float) -> tuple[Tensor, Tensor]:
    """1 where the values of a sample are among its ``fraction`` of largest ones, else 0; and those, largest first.

    >>> import torch
    >>> from wam.explanation import top
    >>> top(torch.tensor([[[4.0, 1.0], [3.0, 2.0]]]), 0.5)
    (tensor([[[1., 0.],
             [1., 0.]]]), tensor([[4., 3.]]))
    """
    flat = values.flatten(1)
    largest, places = flat.topk(round(fraction * flat.shape[1]), dim=1)
    return torch.zeros_like(flat).scatter_(1, places, 1.0).view_as(values), largest


def load(path: str | os.PathLike) -> Explanation:
    """Read what :meth:`Explanation.save` wrote, on the CPU; nothing is ever unpickled.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is truncated, no explanation, or of another version of the format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no explanation at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or is not a safetensors file: {error}") from error
    if meta.get("format") != FORMAT:
        raise ValueError(f"{path} has format {meta.get('format')!r}, this version reads {FORMAT!r}; recompute it")
    try:
        return _restored(tensors, json.loads(meta["explanation"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}; compute it again") from error


def in_frame(e: Explanation, frame: Frame) -> Explanation:
    r"""An explanation as it is in another frame; no network runs.

    Saliency, SmoothGrad and integrated gradients are a mean gradient :math:`g` of the input. In any frame the first two
    are :math:`S^\top g`, the third is :math:`S^\top g \odot W (x - x_0)`.

    Raises
    ------
    ValueError
        If the explanation holds no mean gradient (controls, other methods, layers, files of an earlier version), or its
        baseline was a tensor, which it does not keep.

    Notes
    -----
    The input is put together from the coefficients, to rounding. Where exact zeros matter, or with ``dmey``, go from
    :class:`wam.Pixel <wam.frames.Pixel>`, which keeps every value.

    Examples
    --------
    >>> import torch, wam
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3), torch.nn.Tanh()).double()
    >>> x, frame = torch.randn(1, 1, 8, 8).double(), wam.Wavelet("haar", levels=2, ndim=2)
    >>> seen = wam.explanation.in_frame(wam.integrated_gradients(net, x, frame=wam.Pixel()), frame)
    >>> direct = wam.integrated_gradients(net, x, frame=frame)
    >>> torch.allclose(seen.attributions.pack()[0], direct.attributions.pack()[0])
    True
    """
    if e.gradient is None:
        what = f"{e} holds no mean gradient of the input (only saliency, smoothgrad and integrated_gradients do)"
        raise ValueError(f"{what}: explain the input by one of them again")
    x, attributions = e.frame.synthesis(e.coefficients), frame.pullback(e.gradient)
    if e.completeness_gap is not None:
        baseline = e.settings["baseline"]
        if baseline == "tensor":
            raise ValueError("the baseline of this explanation was a tensor, which it does not keep; compute it anew")
        attributions = attributions * frame.analysis(x - (baseline or 0.0))
    return replace(e, frame=frame, coefficients=frame.analysis(x), attributions=attributions)


def path_gradient(e: Explanation, frame: Frame) -> Explanation:
    r"""Integrated gradients without their factor :math:`z - z_0`: the mean gradient along the path, in a frame.

    .. math:: S^\top \sum_k w_k \nabla f_c(x_0 + \alpha_k (x - x_0))

    The factor is a property of the input that no network has a say in. Of other methods it is :func:`in_frame`, whose
    errors are the same.

    Examples
    --------
    >>> import torch, wam
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    >>> x, frame = torch.randn(1, 1, 64), wam.Wavelet("haar", levels=2, ndim=1)
    >>> e = wam.explanation.path_gradient(wam.integrated_gradients(net, x, frame=frame), frame)
    >>> torch.allclose(e.attributions.pack()[0], wam.saliency(net, x, frame=frame).attributions.pack()[0], atol=1e-6)
    True
    """
    gradient = replace(e, completeness_gap=None, baseline_score=None, method=f"path gradient of {e.method}")
    return in_frame(gradient, frame)


def _restored(tensors: Mapping[str, Tensor], head: Mapping[str, Any]) -> Explanation:
    keys, shape = [tuple(key) for key in head["bands"]], tuple(head["shape"])
    frame = _FRAMES[head["frame"]["type"]](**head["frame"]["fields"])

    def container(name: str) -> Coefficients:
        return Coefficients({key: tensors[f"{name}/{key[0]}/{key[1]}"] for key in keys}, shape)

    attributions, coefficients = map(container, _CONTAINERS)
    attributions.zip_map(torch.add, coefficients)  # of one layout
    made = {name: tensors[name] for name in _VECTORS if name in tensors} | {"frame": frame}
    made |= {name: head[name] for name in ("method", "settings")}
    if "layer" in head:
        below = {name.removeprefix("layer/"): t for name, t in tensors.items() if name.startswith("layer/")}
        made["layer"] = _restored(below, head["layer"])
    return Explanation(attributions, coefficients, **made)


def _over_channels(attributions: Coefficients) -> Coefficients:
    return attributions.map(lambda band: band.abs().sum(1, keepdim=True))
