"""Run chapters as Colab would: in an environment that is not ours, after nothing but their own setup cell.

Each chapter gets an environment of its own with what Colab brings: torch, torchvision, torchaudio, numpy and the
machinery of notebooks, and with `--full` also those of our requirements that Colab has, in its versions. In its kernel
`google.colab` is imported, and git reads the repository's address from a copy of this working tree. The chapter, its
setup cell unchanged, runs with the parameters of `tests/smoke.yaml`: it must end without error, and no package that was
there before may have been replaced.

    python book/tools/colab.py                 # every chapter
    python book/tools/colab.py 01_theory --full
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import papermill
import yaml

import chapters

# Colab's versions: googlecolab/backend-info, pip-freeze.txt of the runtime 2026.01. torch and its companions are in
# the versions of constraints.txt, which are those of Colab's images since July 2026.
TORCH = ("torch", "torchaudio", "torchvision")
BARE = (
    "numpy==2.0.2",
    "ipykernel==6.17.1",
    "ipython==7.34.0",
    "ipywidgets==7.7.1",
    "jupyter_client==7.4.9",
    "pyzmq==26.2.1",
    "setuptools==75.2.0",
    "tornado==6.5.1",
    "traitlets==5.7.1",
)
FULL = (
    "filelock==3.20.3",
    "flatbuffers==25.12.19",
    "huggingface-hub==0.36.0",
    "joblib==1.5.3",
    "matplotlib==3.10.0",
    "packaging==25.0",
    "pandas==2.2.2",
    "pillow==11.3.0",
    "pyarrow==18.1.0",
    "PyWavelets==1.9.0",
    "requests==2.32.4",
    "safetensors==0.7.0",
    "scipy==1.16.3",
    "soundfile==0.13.1",
    "timm==1.0.24",
    "tqdm==4.67.1",
    "transformers==4.57.6",
)
KERNEL = "import google.colab; from ipykernel.kernelapp import launch_new_instance; launch_new_instance()"
VERSIONS = "import json, importlib.metadata as m; print(json.dumps({d.name: d.version for d in m.distributions()}))"


def install(python: Path, wanted: Sequence[str]) -> None:
    """Install these, if any, with pip."""
    if wanted:
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted], check=True)


def environment(folder: Path, wanted: list[str]) -> Path:
    """`folder` as a virtual environment with these packages, made anew only when they changed."""
    made = folder / "made.txt"
    if not made.exists() or made.read_text() != "\n".join(wanted):
        print(f"making {folder}: with torch that takes a few minutes and about 5 GB", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install(folder / "bin" / "python", wanted)
        made.write_text("\n".join(wanted))
    return folder


def packages(python: Path) -> Path:
    """The folder into which pip of this interpreter installs."""
    command = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())


def versions(python: Path) -> dict[str, str]:
    """What is installed for this interpreter."""
    return json.loads(subprocess.run([python, "-I", "-c", VERSIONS], capture_output=True, text=True, check=True).stdout)


def snapshot(folder: Path) -> None:
    """A repository in `folder` whose one commit is this working tree, with what is not committed yet."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in filter(None, subprocess.run(listed, capture_output=True, check=True).stdout.decode().split("\0")):
        if os.path.isfile(name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, folder / name)
    git = ["git", "-C", str(folder), "-c", "user.name=snapshot", "-c", "user.email=snapshot@localhost"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "the working tree"]):
        subprocess.run([*git, *command], check=True)


def copied(folder: Path, base: Path, wanted: tuple[str, ...], address: str, repository: Path) -> Path:
    """A copy of `base` with these packages added, and in `folder/kernels` a kernel `colab` that runs in it."""
    # files are linked, not copied: pip replaces files and never writes into them
    shutil.copytree(base, folder / "env", copy_function=os.link, symlinks=True)
    python = folder / "env" / "bin" / "python"
    own = packages(python)
    install(python, wanted)
    (own / "google" / "colab").mkdir(parents=True)
    (own / "google" / "colab" / "__init__.py").write_text('"""Stands for the package of this name on Colab."""\n')
    (folder / "kernels" / "colab").mkdir(parents=True)
    kernel = {
        "argv": [str(python), "-Xfrozen_modules=off", "-c", KERNEL, "-f", "{connection_file}"],
        "display_name": "as on Colab",
        "language": "python",
        "env": {
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            "IPYTHONDIR": str(folder / "ipython"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
            "GIT_CONFIG_VALUE_0": address,
        },
    }
    (folder / "kernels" / "colab" / "kernel.json").write_text(json.dumps(kernel))
    return python


def visit(source: Path, folder: Path, base: Path, *over_base) -> list[str]:
    """Open the chapter in an environment of its own and run it; what went wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    python = copied(folder, base, *over_base)
    before = versions(python)
    (folder / "content").mkdir()
    os.environ["JUPYTER_PATH"] = str(folder)
    try:
        executed = papermill.execute_notebook(
            source, folder / source.name, kernel_name="colab", cwd=folder / "content", progress_bar=False
        )
    except papermill.exceptions.PapermillExecutionError as error:
        return [str(error)]
    first, *_ = executed.cells
    first.metadata.tags = [*first.metadata.tags, "remove-stderr"]  # pip may warn
    after = versions(python)
    found = chapters.faults(executed)
    found += [f"{n} {v} was replaced by {after.get(n)}" for n, v in before.items() if after.get(n) != v]
    if "wam" in before or "wam" not in after:
        found.append("the setup cell did not install wam")
    took = first.metadata.papermill.duration, executed.metadata.papermill.duration
    print(f"{source.stem}: setup cell {took[0]:.0f} s, in all {took[1]:.0f} s; torch {after['torch']}, ", end="")
    print(f"numpy {after['numpy']}; {len(after) - len(before)} packages added", flush=True)
    shutil.rmtree(folder)
    return found


def main() -> int:
    """Command line; 1 if a chapter failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="names without suffix, such as 02_images; all when none is named")
    parser.add_argument("--full", action="store_true", help="with the requirements that Colab has, in its versions")
    parser.add_argument("--folder", type=Path, default=Path("build/colab"), help="where the environments are made")
    arguments = parser.parse_args()
    known = sorted(path.stem for path in chapters.SOURCES.glob("*.py"))
    if unknown := set(arguments.chapters) - set(known):
        parser.error(f"no chapter {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    folder, pins = arguments.folder.resolve(), Path("constraints.txt").read_text()
    torch = [re.search(rf"^{name}==\S+", pins, re.MULTILINE)[0] for name in TORCH]
    base = environment(folder / "base", [*torch, *BARE])
    shutil.rmtree(folder / "repository", ignore_errors=True)
    snapshot(folder / "repository")
    chapters.prepare(Path("tests/smoke.yaml"), folder / "notebooks")
    address = yaml.safe_load(Path("_config.yml").read_text())["repository"]["url"]
    for name in ("PYTHONPATH", "TQDM_DISABLE", "VIRTUAL_ENV", "WAM_LEDGER"):
        os.environ.pop(name, None)
    over_base = FULL if arguments.full else (), address, folder / "repository"
    failed = 0
    for chapter in arguments.chapters or known:
        found = visit(folder / "notebooks" / f"{chapter}.ipynb", folder / chapter, base, *over_base)
        for fault in found:
            print(f"{chapter}: {fault}", flush=True)
        failed += bool(found)
    print(f"{failed} chapters failed" if failed else "every chapter ran")
    return min(failed, 1)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {error}")
