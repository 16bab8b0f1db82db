"""The command line: ``python -m wam.benchmark --help`` computes the paper's image tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor

from wam import benchmark, data, tables
from wam.checks import positive


def main(arguments: Sequence[str] | None = None) -> int:
    """Compute the paper's image tables (:mod:`wam.tables`), print their summary, and return the exit code.

    0: done; 1: some cases failed, and the summary says which; 2: what was asked for is impossible; 130: interrupted,
    and the same command continues.
    """
    options = vars(_parser().parse_args(arguments))
    models, images, n, out, jobs, threads = (
        options.pop(k) for k in ("models", "images", "n", "out", "jobs", "threads")
    )
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
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(tables.report(table))
    print(f"\nall values: {benchmark.location(tables.evaluate, options, out, threads=threads) / 'table.parquet'}")
    return int(len(benchmark.failed(table)) > 0)


def _parser() -> argparse.ArgumentParser:
    def at_least(least: int) -> Callable[[str], int]:
        def number(text: str) -> int:
            try:
                return positive(int(text), "it", least)
            except ValueError:
                raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, got {text!r}") from None

        return number

    parser = argparse.ArgumentParser(
        prog="python -m wam.benchmark",
        description="The paper's image tables (1, 3 and 4): insertion, deletion, faithfulness and mu-fidelity of eight "
        "methods and of controls, by three protocols, into one Parquet table. Interrupted, the same command continues.",
        epilog="Exit code: 0 done, 1 some cases failed (the summary says which; the same command tries them again), "
        "2 wrong arguments, 130 interrupted.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--models", nargs="+", default=["embedded"], help="names that wam.models.load knows, or embedded")
    add("--images", default="embedded", help="embedded, or a folder of ImageNet validation images (wam.data.imagenet)")
    add("--n", type=at_least(1), help="how many images; all of them if not given")
    add("--steps", type=at_least(1), default=32, help="steps of the insertion and deletion curves")
    add("--subsets", type=at_least(3), default=64, help="subsets of mu-fidelity")
    add("--samples", type=at_least(2), default=25, help="gradients of an explanation, smoothed or integrated")
    add("--wavelet", default="haar", help="a discrete wavelet of PyWavelets")
    add("--levels", type=at_least(1), default=3, help="levels of the wavelet transform")
    add("--jobs", type=int, default=1, help="cases at once, each in a process; -1 for every core")
    add("--threads", type=at_least(1), default=1, help="threads of each case")
    add("--device", default="cpu", help="where the networks run: cpu, cuda, ...")
    add("--max-batch", type=at_least(1), default=16, help="inputs in one pass of a network")
    add("--seed", type=at_least(0), default=0, help="of every draw, and of the choice of images")
    add("--out", required=True, metavar="FOLDER", help="where the table and what is finished of it are kept")
    return parser
