"""Training: one resumable routine for every network that is trained here; :mod:`wam.recipes` says on what."""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot
from torch.optim import AdamW, Optimizer
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

import wam
from wam.checks import positive
from wam.files import replace
from wam.scoring import frozen

Record = dict[str, float | None]
"""What is known of an epoch, by name (``epoch``, ``loss``, ``accuracy``, ``validation``, ``seconds``)."""


def train(
    model: nn.Module,
    examples: Dataset,
    folder: str | os.PathLike,
    *,
    epochs: int,
    batch: int = 32,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-2,
    seed: int = 0,
    validation: Dataset | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    perturb: Callable[[nn.Module, Tensor, Tensor], Tensor] | None = None,
    replays: int = 1,
    card: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> list[Record]:
    """Train a classifier; interrupted at any moment, the same call continues.

    AdamW (Loshchilov and Hutter, 2019), with a learning rate that rises linearly over the first tenth of the steps and
    falls to zero along half a cosine. ``folder`` gets ``checkpoint.pt``, the state before the first and after every
    epoch, and ``weights.safetensors``: the weights after the last epoch, none chosen by the validation, and the card.

    An epoch depends on the state at its start and on ``(seed, epoch)`` alone, which seed torch: so a continued run
    ends with the weights of an uninterrupted one, bit for bit on a CPU with as many threads.

    Parameters
    ----------
    model
        From ``(batch, ...)`` to logits ``(batch, classes)``, trained in place, on the device and in the dtype of its
        parameters, and left in evaluation mode. The weights that it comes with count only where a run begins.
    examples
        Pairs of a tensor and a class index, such as ``torch.utils.data.TensorDataset``.
    folder
        Where the run is kept; one folder for one run.
    epochs, batch, seed
        Passes through the examples, examples in a step, and the seed of their order and of dropout.
    learning_rate, weight_decay
        The largest learning rate of the schedule, and AdamW's decay.
    validation
        Examples on which to measure the accuracy after every epoch.
    loss
        From logits and labels ``(batch,)`` to the mean loss; :func:`binary_cross_entropy` for sigmoids.
    perturb
        ``perturb(model, x, y)`` gives the inputs that a step sees: an attack, or an augmentation drawn by torch
        (:mod:`wam.adversarial`). A leaf that needs a gradient gets it from the backward pass of the step.
    replays
        How many steps in a row see the same batch (:class:`wam.adversarial.Free`).
    card
        What the weights are, of JSON's types; kept as metadata of the file, each value as JSON, beside ``settings``,
        ``result`` (the last record) and ``versions``. It is one of the settings of a run.

    Returns
    -------
    list of dict
        A record for every epoch; ``loss`` and ``accuracy`` are means over its steps, of what they saw.

    Raises
    ------
    ValueError
        If the folder holds a run of other settings (the message names them) or a damaged checkpoint, or if a number is
        out of range, ``perturb`` is for other ``replays``, or there are no examples.
    FloatingPointError
        If the loss is not finite; the checkpoint is that of the epoch before.

    Examples
    --------
    >>> import tempfile, torch
    >>> from wam.training import train
    >>> x = torch.randn(64, 2)
    >>> examples = torch.utils.data.TensorDataset(x, (x[:, 0] > 0).long())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     records = train(torch.nn.Linear(2, 2), examples, folder, epochs=30, learning_rate=0.1, progress=False)
    >>> len(records), records[-1]["accuracy"] > 0.9
    (30, True)
    """
    epochs, batch, seed = positive(epochs, "epochs"), positive(batch, "batch"), positive(seed, "seed", least=0)
    replays = positive(replays, "replays")
    if (needed := getattr(perturb, "replays", replays)) != replays:
        raise ValueError(f"{perturb} is for replays = {needed}, got replays = {replays}; give both the same number")
    if not 0 < learning_rate < math.inf or not 0 <= weight_decay < math.inf:
        raise ValueError(f"need learning_rate > 0 and weight_decay >= 0, got {learning_rate!r} and {weight_decay!r}")
    if not len(examples) or (validation is not None and not len(validation)):
        raise ValueError("there are no examples to train on, or none for the validation")
    numbers = {"epochs": epochs, "batch": batch, "learning_rate": learning_rate, "weight_decay": weight_decay}
    size = {"examples": len(examples), "parameters": sum(p.numel() for p in model.parameters())}
    functions = {"loss": loss, "perturb": perturb}
    functions = {name: re.sub(r" at 0x\w+", "", repr(function)) for name, function in functions.items()}
    numbers |= {"seed": seed, "replays": replays}
    settings = json.loads(json.dumps(numbers | size | functions | {"card": dict(card or {})}))

    checkpoint, like = Path(folder) / "checkpoint.pt", next(model.parameters())
    optimizer = AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    records = _resumed(checkpoint, settings, model, optimizer)
    steps = replays * math.ceil(len(examples) / batch)
    bar = tqdm(total=epochs * steps, initial=len(records) * steps, disable=not progress, unit="step")
    with bar, torch.random.fork_rng(devices=[like.device] if like.is_cuda else []):
        for epoch in range(len(records), epochs):
            torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]))
            model.train()
            start, total, right = time.perf_counter(), 0.0, 0
            loader = DataLoader(examples, batch, shuffle=True)
            placed = ((x.to(like), y.to(like.device)) for x, y in loader)
            replayed = (pair for pair in placed for _ in range(replays))  # the same tensors every time
            for step, (x, y) in enumerate(replayed, start=epoch * steps):
                x = x if perturb is None else perturb(model, x, y)
                x = x if x.is_leaf else x.detach()
                optimizer.param_groups[0]["lr"] = learning_rate * _schedule((step + 0.5) / (epochs * steps))
                optimizer.zero_grad()
                logits = model(x)
                mean = loss(logits, y)
                mean.backward()
                optimizer.step()
                total += len(x) * mean.detach()
                right += (logits.argmax(1) == y).sum()
                bar.update()
            seen = replays * len(examples)
            means = {"loss": float(total) / seen, "accuracy": int(right) / seen}
            if not math.isfinite(means["loss"]):
                what = f"the loss is {means['loss']} in epoch {epoch + 1}: {learning_rate=:g} is too large, or the"
                raise FloatingPointError(f"{what} examples hold NaN; a run with other settings needs another folder")
            means["validation"] = None if validation is None else accuracy(model, validation, batch)
            bar.set_postfix(means)
            records.append({"epoch": epoch + 1} | means | {"seconds": time.perf_counter() - start})
            _save(checkpoint, settings, model, optimizer, records)

    result = {name: value for name, value in records[-1].items() if name != "seconds"}
    versions = {"wam": wam.__version__, "torch": torch.__version__}
    about = settings.pop("card") | {"settings": settings, "result": result, "versions": versions}
    store(checkpoint.with_name("weights.safetensors"), model.state_dict(), about)
    model.eval()
    return records


def store(path: Path, state: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write the weights of a network and what they are to a safetensors file, in one step."""
    tensors = {name: value.cpu().contiguous() for name, value in state.items()}
    content = save(tensors, {name: json.dumps(value) for name, value in card.items()})
    replace(path, lambda scratch: scratch.write_bytes(content))


def accuracy(model: nn.Module, examples: Dataset, batch: int = 32) -> float:
    """The share of ``examples`` whose largest score is that of their class; the model is in evaluation mode for it."""
    like, right = next(model.parameters()), 0
    with torch.no_grad(), frozen(model):
        for x, y in DataLoader(examples, batch, generator=torch.Generator()):  # or it draws from the caller's
            right += (model(x.to(like)).argmax(1) == y.to(like.device)).sum()
    return int(right) / len(examples)


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over classes and examples of the binary cross entropy of sigmoids, one class of each example being on.

    >>> import torch
    >>> from wam.training import binary_cross_entropy
    >>> binary_cross_entropy(torch.zeros(2, 3), torch.tensor([0, 2]))
    tensor(0.6931)
    """
    return binary_cross_entropy_with_logits(logits, one_hot(labels, logits.shape[1]).to(logits))


def _schedule(progress: float) -> float:
    """The learning rate as a share of the largest: a linear rise over a tenth of the steps, then half a cosine."""
    return progress / 0.1 if progress < 0.1 else (1 + math.cos(math.pi * (progress - 0.1) / 0.9)) / 2


def _resumed(path: Path, settings: dict, model: nn.Module, optimizer: Optimizer) -> list[Record]:
    """The records of a run so far, and its state put in place; the run begins if there is none."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        _save(path, settings, model, optimizer, [])
        return []
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        there = state["settings"]
        there.get, state["model"], state["optimizer"], state["records"]
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged, or no checkpoint of this version; delete it to begin anew") from error
    if differ := [name for name in settings if there.get(name) != settings[name]]:
        what = "; ".join(f"{name} is {there.get(name)!r} there and {settings[name]!r} here" for name in differ)
        raise ValueError(f"{path} is of a run with other settings: {what}. Give them, or another folder")
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return state["records"]
    except (RuntimeError, KeyError, ValueError) as error:
        what = f"{path} does not fit this model: {error}"
        raise ValueError(f"{what}. Give the model of that run, or another folder") from error


def _save(path: Path, settings: dict, model: nn.Module, optimizer: Optimizer, records: list[Record]) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "settings": settings, "records": records}
    replace(path, lambda scratch: torch.save(state, scratch))
