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
        part("reading")
        with files.writable(folder):
            network = _model(model, weights, device, example)
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
    except (ValueError, TypeError, ImportError, RuntimeError) as error:
        return failed(error, 1 if "memory" in str(error) else 2)
    if not quiet:
        print(f"{file}\n{made}\n\n{folder}{os.sep}: {', '.join(path.name for path in written)}")
        print(_timing(written[-1]))
    return 0


def _timing(summary: Path) -> str:
    import json

    parts = json.loads(summary.read_text("utf-8"))["seconds"]
    return f"{sum(parts.values()):.1f} s: " + ", ".join(f"{name} {value:.1f}" for name, value in parts.items())


def _model(name: str | None, weights: str | None, device: str, example: Any) -> Any:
    """The classifier of a name, for what was read."""
    from wam import models
    from wam.preparation import EMBEDDED, check, dimensions

    models.usable(device)
    ndim = dimensions(example)
    name = name or EMBEDDED[ndim]
    file, _, factory = name.rpartition(":")
    own = file.endswith(".py")
    model = _own(file, factory, ndim, example).to(device) if own else models.load(name, device, weights=weights)
    check(model, example)  # a volume of four axes could be a batch of images
    return model


def _own(file: str, factory: str, ndim: int, example: Any) -> Any:
    """What a function of a Python file returns, as a classifier."""
    import importlib.util
    import traceback

    from torch import nn

    if not Path(file).is_file():
        raise ValueError(f"there is no file {file}: --model FILE.py:FUNCTION names a function without arguments in it")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(spec.name, module)
    try:
        sys.path.insert(0, str(Path(file).resolve().parent))
        spec.loader.exec_module(module)
        made = getattr(module, factory)() if callable(getattr(module, factory, None)) else None
    except Exception as error:  # whatever their code raises is theirs: say where
        inside = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == Path(file).absolute()]
        line = f", line {inside[-1].lineno}" if inside else ""
        raise ValueError(f"{file}{line}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    if not callable(getattr(module, factory, None)):
        names = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
        raise ValueError(f"{file} has no function {factory!r}; it has {', '.join(names) or 'none'}")
    if not isinstance(made, nn.Module):
        raise ValueError(f"{factory} of {file} returns {type(made).__name__}, not a classifier or a torch.nn.Module")
    if not hasattr(made, "ndim"):
        from wam import adapters

        size = {"rate": example.rate} if ndim == 1 else {}
        size |= {"channels": example.shape[0], "input_size": tuple(example.shape[1:])} if ndim == 3 else {}
        made = adapters.wrap(made, ndim=ndim, name=factory, **size)
    return made.eval()


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
