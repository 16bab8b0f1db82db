"""What an explorer explains: models and examples, chosen by number, and a file of the reader's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from wam import inputs, words
from wam.checks import positive
from wam.data import LabelledImage
from wam.examples import Examples
from wam.explanation import Explanation, in_frame
from wam.frames import Pixel, Wavelet
from wam.methods import explained
from wam.preparation import NOUNS, dimensions, prepared

_KEPT = 32  # mean gradients in memory


class Source:
    """What is explained: models, examples, and explanations by setting, from mean gradients that are kept."""

    def __init__(self, models: Any, examples: Sequence[Any] | Mapping[str, Any], evaluations: int) -> None:
        self.models = [model.eval() for model in (models if isinstance(models, Sequence) else [models])]
        found = {model.name: model.ndim for model in self.models}
        if len(set(found.values())) != 1:
            raise ValueError(f"an explorer needs models of one dimension, at least one; got {found}")
        self.ndim, self.evaluations = self.models[0].ndim, positive(evaluations, "evaluations")
        if isinstance(examples, Mapping):
            names, self.examples = list(examples), list(examples.values())
        elif isinstance(examples, Examples):
            names = [examples.categories[label] for label in examples.labels.tolist()]
            self.examples = [examples[i : i + 1] for i in range(len(examples))]
        else:
            self.examples = list(examples)
            names = [self._named(example) for example in self.examples]
        if not self.examples:
            raise ValueError("an explorer needs examples, at least one, got none")
        self.names = [f"{name}, {i}" if names.count(name) > 1 else name for i, name in enumerate(names, start=1)]
        self._gradients: dict[tuple, Explanation] = {}
        self._prepared = lru_cache(_KEPT)(lambda model, i: prepared(self.models[model], self.examples[i])[0])

    def _named(self, example: Any) -> str:
        """What an example is called: a labelled photograph by its class, if the network has those of ImageNet."""
        classes = getattr(self.models[0], "categories", ())
        if isinstance(example, LabelledImage) and example.label is not None and len(classes) == 1000:
            return classes[example.label]
        return getattr(example, "name", NOUNS[self.ndim])

    def options(self) -> list[tuple[str, int]]:
        """The names of the examples, each with its number."""
        return [(name, i) for i, name in enumerate(self.names)]

    def label(self, setting: str, value: Any) -> str:
        """A value of a setting in words."""
        if setting in ("model", "example"):
            return self.models[value].name if setting == "model" else self.names[value]
        if setting in ("levels", "share kept"):
            return words.top(value) if setting == "share kept" else words.levels(value)
        return words.method(value) if setting == "method" else value

    def cost(self, method: str) -> int:
        """How often the model is evaluated: for the class, for gradients, and at the baseline."""
        return {"saliency": 1, "smoothgrad": self.evaluations + 1}.get(method, self.evaluations + 2)

    def explained(
        self, model: int, example: int, wavelet: str, levels: int, method: str, count: Callable = lambda n: None
    ) -> tuple[Any, Explanation, Tensor]:
        """The model, its explanation and its input, on the CPU; ``count`` is called before every evaluation."""
        network, x = self.models[model], self._prepared(model, example)
        frame = Wavelet(wavelet.strip(), levels, self.ndim)
        frame.check(x)  # before the model runs

        def counted(batch: Tensor) -> Tensor:  # a function, because the model may be in use elsewhere: no flag is set
            count(len(batch))
            return network(batch)

        key = (model, example, method)
        options = {"frame": Pixel(), "steps": self.evaluations, "samples": self.evaluations}
        e = self._gradients.pop(key, None)
        self._gradients[key] = e = explained(method, counted, x, **options).to("cpu") if e is None else e
        if len(self._gradients) > _KEPT:  # the first is the one not used for longest
            del self._gradients[next(iter(self._gradients))]
        return network, in_frame(e, frame), x.cpu()

    def add(self, name: str, content: bytes) -> None:
        """An example from a file that was uploaded."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            try:
                example = inputs.read(path)
            except ValueError as error:
                raise ValueError(str(error).replace(f"{folder}{os.sep}", "")) from None
        if (kind := dimensions(example)) != self.ndim:
            raise ValueError(f"{name} is a kind of {NOUNS[kind]}; choose one of {NOUNS[self.ndim]}")
        self.examples.append(example)
        self.names.append(name)
