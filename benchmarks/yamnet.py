"""The YAMNet of `wam` against the 8-bit interpreter on the ten recordings, and what it hears in them.

    pip install --no-deps --target FOLDER ai-edge-litert
    PYTHONPATH=FOLDER python benchmarks/yamnet.py

Both get every window of 0.975 s, in steps of 0.48 s, of the whole recordings at 16 kHz, the last one filled with zeros;
they read the same file. The mean correlation of the scores must reach 0.99. The interpreter is no dependency of
ours: pip puts it into a folder of its own.
"""

from __future__ import annotations

import sys
from importlib.metadata import version

import numpy as np
import torch
from report import report
from torch import Tensor

from wam import assets, data, models, yamnet
from wam.audio import Clip
from wam.sound_models import SoundClassifier

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    sys.exit(
        "this benchmark needs the interpreter: pip install --no-deps --target FOLDER ai-edge-litert, PYTHONPATH=FOLDER"
    )

HOP = 7680  # samples from window to window


def windows(clip: Clip) -> Tensor:
    """Every window of a clip, ``(windows, 15600)``."""
    x = clip.samples[0]
    missing = max(yamnet.MINIMUM - len(x), 0) or (yamnet.MINIMUM - len(x)) % HOP
    return torch.nn.functional.pad(x, (0, missing)).unfold(0, yamnet.MINIMUM, HOP)


def interpreted(interpreter: Interpreter, x: Tensor) -> np.ndarray:
    """The interpreter's scores of every window, ``(windows, 521)``."""
    (given,), (found,) = interpreter.get_input_details(), interpreter.get_output_details()
    scores = []
    for window in x.numpy():
        interpreter.set_tensor(given["index"], window)
        interpreter.invoke()
        scores.append(interpreter.get_tensor(found["index"])[0].copy())
    return np.stack(scores)


def compared(name: str, ours: np.ndarray, theirs: np.ndarray) -> dict[str, object]:
    """One row: scores of windows, ``(windows, 521)`` each; those of the clip are their means."""
    clip = ours.mean(0), theirs.mean(0)
    each = [np.corrcoef(a, b)[0, 1] for a, b in zip(ours, theirs)]
    return {
        "recording": name,
        "windows": len(ours),
        "correlation": round(float(np.corrcoef(*clip)[0, 1]), 4),
        "of windows, mean": round(float(np.mean(each)), 4),
        "of windows, least": round(float(np.min(each)), 4),
        "largest difference": round(float(np.abs(clip[0] - clip[1]).max()), 3),
        "top-1 of clip": bool(clip[0].argmax() == clip[1].argmax()),
        "top-1 of windows": int((ours.argmax(1) == theirs.argmax(1)).sum()),
    }


def heard(model: SoundClassifier, animals: SoundClassifier, name: str, category: str, clip: Clip) -> dict[str, object]:
    """One row: what the network says to a clip, among all categories and among the ten of the recordings."""
    with torch.no_grad():
        (scores,), (ten,) = (network(network.prepare(clip)).sigmoid() for network in (model, animals))
    own = scores[model.index(category)]
    return {
        "recording": name,
        "seconds": round(clip.seconds, 2),
        "best of 521": model.categories[scores.argmax()],
        "score": round(float(scores.max()), 3),
        "label": category,
        "score of label": round(float(own), 3),
        "rank of label": int((scores > own).sum()) + 1,
        "best of ten": animals.categories[ten.argmax()],
    }


def main() -> None:
    model, recordings = models.load("yamnet"), data.recordings()
    animals = model.only(recordings.categories)
    interpreter = Interpreter(str(assets.fetch(assets.CATALOGUE["yamnet"]) / "yamnet.tflite"), num_threads=1)
    interpreter.allocate_tensors()

    agreement, hearing = [], []
    for sound in recordings:
        clip = sound.clip.mono().resample(model.rate)
        x = windows(clip)
        with torch.no_grad():
            ours = model.network.patch_logits(model.front_end(x[:, None]))[:, 0].sigmoid().numpy()
        agreement.append(compared(sound.name, ours, interpreted(interpreter, x)))
        whole = clip if clip.samples.shape[1] >= model.minimum else clip.fit(model.minimum / model.rate)
        for part in (whole, clip.fit(5)):
            hearing.append(heard(model, animals, sound.name, recordings.categories[sound.label], part))

    total = sum(row["windows"] for row in agreement)
    correlation = float(np.mean([row["correlation"] for row in agreement]))
    weighted = sum(row["windows"] * row["of windows, mean"] for row in agreement) / total
    right = [row["label"] == row["best of ten"] for row in hearing]
    summary = {
        "mean correlation of clips": round(correlation, 4),
        "mean correlation of windows": round(weighted, 4),
        "top-1 of clips": f"{sum(row['top-1 of clip'] for row in agreement)} of {len(agreement)}",
        "top-1 of windows": f"{sum(row['top-1 of windows'] for row in agreement)} of {total}",
        "label is best of ten, whole": f"{sum(right[::2])} of {len(right[::2])}",
        "label is best of ten, 5 s": f"{sum(right[1::2])} of {len(right[1::2])}",
    }
    versions = {name: version(name) for name in ("ai-edge-litert", "tflite", "torchaudio", "soundfile")}
    report("yamnet", agreement, {"device": "cpu", **summary, **versions})
    report("yamnet-recordings", hearing, {"device": "cpu", **summary, **versions})
    print("\n".join(f"{key}: {value}" for key, value in summary.items()))
    if correlation < 0.99:
        sys.exit(f"the mean correlation {correlation:.4f} is below 0.99")


if __name__ == "__main__":
    main()
