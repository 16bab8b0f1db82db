"""What the commands of :mod:`wam.cli` do, each with its exit code; heavy modules are imported when one runs."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def explain(
    *, own: bool, file: str, model: str | None, weights: str | None, device: str, array: str | None,
    out: str | None, quiet: bool, top: float, **settings: Any,
) -> int:  # fmt: skip
    """``wam explain``: read, explain, save, and say what was found."""
    began, seconds = time.perf_counter(), {}

    def part(name: str) -> None:
        nonlocal began
        seconds[name] = time.perf_counter() - began
        began = time.perf_counter()

    if own and quiet:
        os.environ["TQDM_DISABLE"] = "1"
    from wam import files, inputs, models, report  # noqa: F401 - models takes its time, too
    from wam.assets import AssetError

    part("imports")
    if own:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = Path(out or f"{Path(file).stem}_wam")
    saving = False
    try:
        example = inputs.read(file, array)
        _fitting(example, file, array, settings["seconds"])
        part("reading")
        with files.writable(folder):
            network, assumed = _model(model, weights, device, example)
            part("model")
            settings["progress"] = sys.stderr.isatty() and not quiet
            made = report.explain(network, example, top=top, **settings)
            saving = True
            written = made.save(folder, file=str(file), device=device, seconds=seconds)
    except (AssetError, MemoryError) as error:
        return failed(error, 1)
    except OSError as error:
        if saving:
            return failed(OSError(f"{folder}: {error.strerror or error}; nothing of this run is left there"), 1)
        return failed(error, 2)
    except (Exception, SystemExit) as error:
        theirs, known = _own_file(model), isinstance(error, ValueError | TypeError | ImportError | RuntimeError)
        if not theirs and not known:
            raise
        if theirs and (_line(theirs, error) or not known):
            error = _placed(theirs, error)
        return failed(error, 1 if "memory" in str(error) else 2)
    if not quiet:
        print(f"{file}\n{made}\n{assumed}\n{folder}{os.sep}: {', '.join(path.name for path in written)}")
        print(_timing(written[-1]))
    return 0


def _timing(summary: Path) -> str:
    import json

    parts = json.loads(summary.read_text("utf-8"))["seconds"]
    return f"{sum(parts.values()):.1f} s: " + ", ".join(f"{name} {value:.1f}" for name, value in parts.items())


def _fitting(example: Any, file: str, array: str | None, seconds: float | None) -> None:
    """A ``ValueError`` if an argument is for files of another kind."""
    import zipfile

    from wam.preparation import NOUNS, dimensions

    if seconds is not None and dimensions(example) != 1:
        raise ValueError(f"--seconds is for recordings, not for {NOUNS[dimensions(example)]}s as {file}: leave it out")
    if array is not None and not zipfile.is_zipfile(file):
        raise ValueError(f"--array is for .npz files, which {file} is not: leave it out")


def _model(name: str | None, weights: str | None, device: str, example: Any) -> tuple[Any, str]:
    """The classifier of a name, for what was read, and what was assumed about it, as a line or nothing."""
    from wam import models
    from wam.preparation import EMBEDDED, check, dimensions

    models.usable(device)
    ndim = dimensions(example)
    name = name or EMBEDDED[ndim]
    if name.endswith(".py"):
        raise ValueError(f"which function of it? --model {name}:FUNCTION names one that returns a torch.nn.Module")
    if file := _own_file(name):
        if weights is not None:
            raise ValueError("--weights is for models that have a name here: a function of yours loads its own")
        factory = name.rpartition(":")[2]
        model, assumed = _classifier(_own(file, factory), factory, file, ndim, example)
        model = model.to(device)
    else:
        model, assumed = models.load(name, device, weights=weights), ""
    check(model, example)  # a volume of four axes could be a batch of images
    return model, assumed


def _own_file(name: str | None) -> str | None:
    """The file of ``FILE.py:FUNCTION``."""
    file = (name or "").rpartition(":")[0]
    return file if file.endswith(".py") else None


def _line(file: str, error: BaseException) -> int | None:
    """The line of a file where an error came from, if it came from there."""
    import traceback

    real = os.path.realpath
    inside = [frame for frame in traceback.extract_tb(error.__traceback__) if real(frame.filename) == real(file)]
    return inside[-1].lineno if inside else None


def _placed(file: str, error: BaseException) -> ValueError:
    """Whatever the reader's own code raises, with its place and its kind."""
    line = f", line {found}" if (found := _line(file, error)) else ""
    hint = "; what runs as a program goes below if __name__ == '__main__':" if isinstance(error, SystemExit) else ""
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    return ValueError(f"{file}{line}: {said}{hint}")


def _own(file: str, factory: str) -> Any:
    """A module of a Python file, or the one that a function of it returns."""
    import importlib.util

    from torch import nn

    if not Path(file).is_file():
        raise ValueError(f"there is no file {file}: --model FILE.py:FUNCTION names a function without arguments in it")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(spec.name, module)
    try:
        sys.path.insert(0, str(Path(file).resolve().parent))
        spec.loader.exec_module(module)
        found = made = getattr(module, factory, None)
        if callable(found) and not isinstance(found, nn.Module):
            made = found()
    except Exception as error:  # whatever their code raises is theirs: say where
        raise _placed(file, error) from error
    finally:
        sys.path.pop(0)
    if not callable(found):
        names = [
            name
            for name, value in vars(module).items()
            if isinstance(value, nn.Module) or (callable(value) and getattr(value, "__module__", "") == module.__name__)
        ]
        raise ValueError(f"{file} has no function {factory!r}; it has {', '.join(names) or 'none'}")
    if not isinstance(made, nn.Module):
        raise ValueError(f"{factory} of {file} returns {type(made).__name__}, not a classifier or a torch.nn.Module")
    return made


def _classifier(made: Any, name: str, file: str, ndim: int, example: Any) -> tuple[Any, str]:
    """A module of a reader's own as a classifier, if it is none yet, and what was assumed about it."""
    from wam import adapters, image_models
    from wam.models import ImageClassifier, PictureClassifier, SoundClassifier, VolumeClassifier

    if isinstance(made, ImageClassifier | PictureClassifier | SoundClassifier | VolumeClassifier):
        return made.eval(), ""
    given, how = {}, "prepared as 224 x 224, values 0 to 1, no normalisation"
    if ndim == 1:
        given, how = {"rate": example.rate}, f"heard at {example.rate} Hz, the rate of the file"
    elif ndim == 3:
        given, how = {"channels": len(example), "input_size": example.shape[1:]}, "given the values of the file"
    try:
        if getattr(made, "pretrained_cfg", None):
            made, how = image_models.from_timm(name, made), "prepared as its configuration of timm says"
        else:
            made = adapters.wrap(made, ndim=ndim, name=name, **given)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{error} (use wam.adapters.wrap(...) in {file} to say so)") from error
    return made, f"{name}: {how}; use wam.adapters.wrap(...) in {file} to change it\n"


def fetch(*, own: bool, names: list[str]) -> int:
    """``wam fetch``: what is embedded, ahead of time."""
    from wam.assets import AssetError, cache_folder, fetch
    from wam.catalogue import CATALOGUE
    from wam.names import near

    if own:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in names:
        if name not in CATALOGUE:
            known = f"there are {', '.join(CATALOGUE)}"
            return failed(ValueError(f"there is nothing called {name!r}; {near(name, CATALOGUE)} {known}"), 2)
    code = 0
    for name in names or CATALOGUE:
        asset = CATALOGUE[name]
        try:
            fetch(asset)
        except (AssetError, OSError) as error:
            code = failed(error, 1)
        else:
            print(f"{name}: {asset.contents} ({asset.size / 1e6:.1f} MB), {asset.licence}", flush=True)
    print(f"in {cache_folder()}")
    return code


def models(*, own: bool, text: str | None) -> int:
    """``wam models``: those that have a name here, or those of timm with a text in theirs."""
    from wam import models

    if text is None:
        print(models.__doc__)
        return 0
    import timm

    found = [name for name in timm.list_pretrained() if text.lower() in name.lower()]
    if not found:
        return failed(ValueError(f"timm has no pretrained model with {text!r} in its name"), 2)
    print("\n".join(found))
    return 0


def tables(*, own: bool, models: list[str], images: str, n: int | None, out: str, **options: Any) -> int:
    """``wam tables``: the paper's image tables, resumable."""
    from concurrent.futures import BrokenExecutor

    from wam import benchmark, data, tables

    if own:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    jobs, threads = options.pop("jobs"), options.pop("threads")
    try:
        models = tables.check(models, **options)
        files = data.images(n) if images == "embedded" else data.imagenet(images, n, options["seed"])
        cases = tables.cases(models, files)
        table = benchmark.run(tables.evaluate, cases, options, out, jobs=jobs, threads=threads, progress=True)
    except KeyboardInterrupt:
        print("\ninterrupted: finished cases are kept, and the same command continues", file=sys.stderr)
        return 130
    except BrokenExecutor as error:
        print(f"error: a process was killed, perhaps for want of memory: {error}", file=sys.stderr)
        print("the same command continues; give it fewer --jobs or a smaller --max-batch", file=sys.stderr)
        return 1
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        return failed(error, 2)
    print(tables.report(table))
    print(f"\nall values: {benchmark.location(tables.evaluate, options, out, threads=threads) / 'table.parquet'}")
    return int(len(benchmark.failed(table)) > 0)


def failed(error: BaseException, code: int) -> int:
    """Say what went wrong, in one line, and give the exit code back."""
    print(f"error: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
    return code


def interrupted() -> int:
    """Say so, and give the exit code 130."""
    print("\ninterrupted", file=sys.stderr, flush=True)
    return 130
