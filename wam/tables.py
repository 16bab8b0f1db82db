"""The paper's image tables (1, 3 and 4): eight methods and their controls, by three protocols, on real classifiers.

:func:`evaluate` gives all rows of one network and one image; :mod:`wam.benchmark` runs it over many, also from a shell:
``wam tables --help``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from wam import attribution, baselines, comparison, controls, data, metrics, models, released, sanity
from wam.checks import finite
from wam.explanation import Explanation, in_frame
from wam.frames import Frame, Pixel, Wavelet

Case = tuple[str, str, int]
"""The name of a model, the path of an image and its class."""

Recipes = dict[str, Callable[[], Explanation]]
"""The name of a method -> what makes its explanation."""

PROTOCOLS: Mapping[str, Mapping[str, str]] = {
    "equations": {}, "energy": {"axis": "energy"}, "released": {"protocol": "released"},
}  # fmt: skip
"""The protocols of the tables, as options of :func:`wam.metrics.perturbation_curves`."""


def evaluate(
    case: Case,
    *,
    steps: int = 32,
    subsets: int = 64,
    samples: int = 25,
    wavelet: str = "haar",
    levels: int = 3,
    device: str = "cpu",
    max_batch: int = 16,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """All rows of one network and one image: every method and control, by every protocol and metric.

    The class of the image is explained and watched. Methods are the paper's: six on pixels, and WAM-SG and WAM-IG in
    the wavelet frame. Controls, in both domains: ``random`` and ``magnitude`` rankings, explanations of the network
    with all weights drawn anew (``randomized network``), and explanations ``permuted`` among coefficients of equal
    magnitude; among wavelets also ``coarse first``. Protocols are :data:`PROTOCOLS`; as released, wavelet maps are
    those of :mod:`wam.released`, and pixel attributions, summed over channels, are ranked with their sign. Mu-fidelity
    has no axis, hence no ``"energy"``.

    Parameters
    ----------
    case
        As :func:`cases` gives it.
    steps, subsets
        Of the curves and of mu-fidelity, by all protocols.
    samples
        Gradients of one explanation, at least 2: draws of SmoothGrad or nodes of integrated gradients, in both domains
        alike (the authors' code takes 50 on pixels and 25 on wavelets).
    wavelet, levels, device, max_batch, seed
        The frame; where the network runs, with how many inputs at once; of all draws.

    Returns
    -------
    list of dict
        Rows with ``model``, ``input``, ``label``, ``predicted``, ``domain``, ``method``, ``protocol``, ``metric``,
        ``value``, ``error``. A method that fails has a row with its ``error`` and no ``value``; the others go on. Two
        rows without a method count the inputs of the networks: ``"gradient inputs"`` to be differentiated, ``"forward
        inputs"`` not. An image that the network classifies wrongly is one row without a metric, whose ``predicted`` is
        not its ``label``.

    Raises
    ------
    ValueError
        If the image cannot be read, the model is unknown, or the wavelet does not fit its input.

    Notes
    -----
    WAM-SG and SmoothGrad are two views of one mean gradient (:func:`wam.explanation.in_frame`), and so are WAM-IG and
    Integrated Gradients: their passes are shared. The released maps are not linear in the gradient and need passes of
    their own.

    References
    ----------
    Paper, section 4.1, tables 1, 3 and 4.
    """
    name, path, label = case
    (image,) = data.ImageFiles((Path(path),), (label,), "")
    model, scrambled = _networks(name, device, seed)
    x, frame = model.prepare([image]), Wavelet(wavelet, levels, ndim=2)
    frame.check(x)
    known = {"model": name, "input": image.name, "label": label}
    with _counted(model, scrambled) as counts:
        with torch.no_grad():
            known["predicted"] = int(model(x).argmax())
        known |= dict.fromkeys(("domain", "method", "protocol", "metric", "value", "error"))
        if known["predicted"] != label:
            return [known]
        rows = []
        for (family, domain), recipes in _recipes(model, scrambled, x, label, frame, samples, seed, max_batch).items():
            made, failures = _made(recipes)
            rows += [known | {"domain": domain, "protocol": family} | row for row in failures]
            for protocol in ("equations", "energy") if family == "equations" else ("released",):
                options = {"seed": seed, "max_batch": max_batch, **PROTOCOLS[protocol]}
                found = _measured(model, x, made, steps, subsets, options)
                rows += [known | {"domain": domain, "protocol": protocol} | row for row in found]
    return rows + [known | {"metric": name, "value": float(count)} for name, count in counts.items()]


def _recipes(
    model: models.ImageClassifier,
    scrambled: nn.Module,
    x: Tensor,
    target: int,
    frame: Frame,
    samples: int,
    seed: int,
    max_batch: int,
) -> dict[tuple[str, str], Recipes]:
    """How every explanation is made, by family of protocols and domain; no pass of a network is done twice."""
    drawn = {"samples": samples, "seed": seed, "max_batch": max_batch}
    nodes = {"steps": samples, "max_batch": max_batch}
    sg = cache(lambda network: attribution.smoothgrad(network, x, target, frame=Pixel(), **drawn))
    ig = cache(lambda network: attribution.integrated_gradients(network, x, target, frame=Pixel(), **nodes))
    map_sg = cache(lambda network: released.smoothgrad(network, x, target, frame=frame, **drawn))
    map_ig = cache(lambda network: released.integrated_gradients(network, x, target, frame=frame, **nodes))
    each = {"max_batch": max_batch, "seed": seed}
    others = {name: cache(partial(method, model, x, target, **each)) for name, method in baselines.METHODS.items()}

    def family(names, sg, ig, magnitude=controls.magnitude, view=lambda e: e) -> Recipes:
        made = {}
        for network, pair in ((model, names), (scrambled, ("randomized network, SG", "randomized network, IG"))):
            for name, make in zip(pair, (sg, ig)):
                made[name] = lambda make=make, network=network: view(make(network))
        first = made[names[0]]  # of which the next two take the coefficients
        made |= {"random": lambda: controls.random(first(), seed), "magnitude": lambda: magnitude(first())}
        return made | {f"{n} permuted": lambda n=n: controls.permuted(made[n](), seed=seed) for n in names}

    wavelets, pixels = ("WAM-SG", "WAM-IG"), ("SmoothGrad", "Integrated Gradients")
    brightness = partial(controls.magnitude, baseline=model.black)  # what is absent is black, as released
    return {
        ("equations", "wavelet"): family(wavelets, sg, ig, view=partial(in_frame, frame=frame))
        | {"coarse first": lambda: controls.coarse_first(in_frame(sg(model), frame))},
        ("equations", "pixel"): others | family(pixels, sg, ig),
        ("released", "wavelet"): family(wavelets, map_sg, map_ig, released.magnitude)
        | {"coarse first": lambda: controls.coarse_first(map_sg(model))},
        ("released", "pixel"): others | family(pixels, sg, ig, brightness, view=_over_channels),
    }


def _over_channels(e: Explanation) -> Explanation:
    """One signed attribution per place, which is what the released metrics rank."""
    return replace(e, attributions=e.attributions.map(lambda band: band.sum(1, keepdim=True)), gradient=None)


def _made(recipes: Recipes) -> tuple[dict[str, Explanation], list[dict[str, str]]]:
    """The explanations that could be made, and a row for each of the others."""
    made, failures = {}, []
    for method, make in recipes.items():
        try:
            e = make()
            finite(e.attributions.pack()[0], "the attribution")
            made[method] = e
        except Exception as error:
            failures.append(_failure(error, method))
    return made, failures


def _measured(
    model: nn.Module, x: Tensor, made: dict[str, Explanation], steps: int, subsets: int, options: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for method, e in made.items():
        try:
            curves = metrics.perturbation_curves(model, x, e, steps=steps, **options)
        except Exception as error:
            yield _failure(error, method)
            continue
        areas = {
            "insertion": curves.insertion_auc,
            "deletion": curves.deletion_auc,
            "faithfulness": curves.faithfulness,
        }
        yield from ({"method": method, "metric": metric, "value": area.item()} for metric, area in areas.items())
    if "axis" in options or not made:
        return
    try:
        values = metrics.mu_fidelity(model, x, list(made.values()), subsets=subsets, **options)[:, 0].tolist()
    except Exception as error:
        yield from ({"metric": "mu-fidelity"} | _failure(error, method) for method in made)
    else:
        yield from ({"method": m, "metric": "mu-fidelity", "value": value} for m, value in zip(made, values))


def _failure(error: Exception, method: str) -> dict[str, str]:
    """The row of a method that failed, which the others survive; want of memory fails the case, to be tried again."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or re.search("allocate memory|CUDA|cuDNN", str(error)):
        raise error
    return {"method": method, "error": f"{method}: {type(error).__name__}: {error}"}


@lru_cache(maxsize=1)  # cases come model by model
def _networks(name: str, device: str, seed: int) -> tuple[models.ImageClassifier, nn.Module]:
    model = models.load(name, device).to(memory_format=torch.channels_last)  # a third faster on a CPU
    return model, sanity.randomize(model, seed)


@contextmanager
def _counted(*networks: nn.Module) -> Iterator[dict[str, int]]:
    """How many inputs go through the networks, and through copies of them, while the block runs."""
    counts = {"forward inputs": 0, "gradient inputs": 0}

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        counts["gradient inputs" if torch.is_grad_enabled() else "forward inputs"] += len(inputs[0])

    hooks = [network.register_forward_pre_hook(count) for network in networks]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


def cases(names: Sequence[str], images: data.ImageFiles) -> dict[str, Case]:
    """What :func:`wam.benchmark.run` maps :func:`evaluate` over: every model with every image, which needs a label.

    The key holds a digest of the file: another image under the same name is another case.

    Examples
    --------
    >>> import wam.data, wam.tables
    >>> [key.rpartition("/")[0] for key in wam.tables.cases(["mobilenet_v2"], wam.data.images(2))]
    ['mobilenet_v2/imagenet_00_243', 'mobilenet_v2/imagenet_01_559']
    """
    if None in images.labels:
        raise ValueError(f"{images.paths[images.labels.index(None)]} has no label, which would be explained")
    digests = [hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in images.paths]
    files = list(zip(digests, images.paths, images.labels))
    return {f"{name}/{path.stem}/{d}": (name, str(path), label) for name in names for d, path, label in files}


def check(names: Sequence[str], *, wavelet: str, levels: int, device: str, **others: Any) -> list[str]:
    """The names of the models, ``"embedded"`` spelled out, once it is known that they can be evaluated.

    Weights are downloaded here, once, and not by every process.

    Raises
    ------
    ValueError
        If the wavelet, a model or the device is unknown, or the wavelet does not fit the input of a model.
    """
    names = [each for name in names for each in (models.EMBEDDED if name == "embedded" else [name])]
    frame = Wavelet(wavelet, levels, ndim=2)
    models.usable(device)
    for name in names:
        frame.check(torch.empty(1, 3, *models.load(name).input_size))
    return list(dict.fromkeys(names))


def report(table: pd.DataFrame) -> str:
    """The summary of a table of :func:`evaluate` as plain text: means with 95 % intervals, and what failed."""
    parts = []
    if "model" in table:  # else every case failed
        images = table.dropna(subset="model").drop_duplicates("case")
        right = (images["predicted"] == images["label"]).groupby(images["model"], sort=False).agg(["sum", "count"])
        parts += [f"{m}: {row['sum']} of {row['count']} images classified correctly" for m, row in right.iterrows()]
        rows = table.dropna(subset=["method", "metric"])
        means = comparison.summary(rows, ["protocol", "metric", "domain", "method", "model"])
        intervals = [f" [{r.low:.3f}, {r.high:.3f}]" if r.n > 1 else "" for r in means.itertuples()]
        means["mean"] = [f"{mean:.3f}{interval}" for mean, interval in zip(means["mean"], intervals)]
        for (protocol, metric), part in means.groupby(["protocol", "metric"], sort=False):
            wide = part.set_index(["domain", "method", "model"])["mean"].unstack("model", sort=False)
            parts.append(f"\n{metric}, {protocol}, mean [95 % interval]\n{wide.rename_axis(columns=None).to_string()}")
    errors = table.dropna(subset="error").groupby("error", sort=False)["case"].unique()
    parts.append(f"\nfailures: {sum(map(len, errors))}")
    parts += [f"  {message} ({len(where)} cases, first {where[0]})" for message, where in errors.items()]
    return "\n".join(parts)
