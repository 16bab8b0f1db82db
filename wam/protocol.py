"""Protocols: the conventions by which faithfulness is measured, those of the paper's equations and of its code."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from wam.checks import choice, positive


@dataclass(frozen=True, eq=False)
class Protocol:
    r"""The conventions by which faithfulness is measured; every one of them changes the numbers.

    Attributes
    ----------
    ranking
        ``"absolute"``: the most important feature has the largest :math:`|\gamma|`; ``"signed"``: the largest
        :math:`\gamma`, so that evidence against the class comes last.
    tied
        Whether one mask serves all channels (attributions are summed over channels first), or each channel's features
        compete on their own. In a ranking, attributions of a single channel are tied in any case.
    baseline
        The state of absent features: a number or a tensor in model space; ``"mean"`` (of each channel of each sample);
        ``"blur"`` (the input after a Gaussian of 1/20 of its extent); ``"black"`` (asks the model for its ``mean`` and
        ``std``). 0 is the mean colour of a model with normalised inputs, not black.
    rescale
        Whether every masked image is stretched to its own minimum and maximum and rounded to 8 bits before it enters
        the model, as if it had been saved and loaded. Asks the model for its ``mean`` and ``std``.
    peak
        The area: the mean of the curve divided by its maximum, or else the trapezoid over the true fractions.
    cells
        Of :func:`wam.metrics.mu_fidelity`: features are the cells of a ``cells`` by ``cells`` grid over the mosaic, on
        which the map is blurred first, and the absent state is the least likely of random ones. ``None``: features
        are the coefficients themselves, as they are, and their absent state is the baseline.
    p_value
        Of :func:`wam.metrics.mu_fidelity`: the mean of the correlation and its p-value, or the correlation alone.

    Raises
    ------
    ValueError
        For an unknown ranking, or a number of cells below 1.
    """

    ranking: str = "absolute"
    tied: bool = False
    baseline: float | str | Tensor = 0.0
    rescale: bool = False
    peak: bool = False
    cells: int | None = None
    p_value: bool = False

    def __post_init__(self) -> None:
        if self.cells is not None:
            positive(self.cells, "cells")
        choice(self.ranking, ("absolute", "signed"), "ranking")


EQUATIONS = Protocol()
"""Eqs. 4 to 8 of the paper: absolute ranking, each channel on its own, baseline 0, trapezoid."""

RELEASED = Protocol(ranking="signed", tied=True, baseline="black", rescale=True, peak=True, cells=28, p_value=True)
"""The authors' released code. Give it the maps of :mod:`wam.released`, and pixel attributions as they are."""

RELEASED_SOUND = Protocol(ranking="signed", tied=True, peak=True, p_value=True)
"""The same code on sounds: ``"released"`` means this where inputs have one axis. Nothing is rescaled, and 0 is silence.

For spectrograms, which look like images, name it: ``"released-sound"``. There 0 is the logarithm of 1, a loud cell, and
that is what the code puts in. Silence would be ``baseline=model.front_end(zeros)``."""

PROTOCOLS = {"equations": EQUATIONS, "released": RELEASED, "released-sound": RELEASED_SOUND}


def conventions(protocol: str | Protocol, x: Tensor) -> Protocol:
    """The protocol of that name for inputs like ``x``, or that protocol.

    >>> import torch
    >>> from wam.protocol import conventions
    >>> conventions("released", torch.ones(1, 1, 4)).peak
    True
    """
    if isinstance(protocol, Protocol):
        return protocol
    protocol = "released-sound" if protocol == "released" and getattr(x, "ndim", 0) == 3 else protocol
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}, or give a Protocol")
    return PROTOCOLS[protocol]
