"""Run the chapters: execute them for the site, or prepare small copies for the smoke test, and make pages of them.

The sources are the `py:percent` files in `notebooks/`. Nothing is executed in place and nothing appears
under its final name before it is complete: an interrupted run leaves only its folder under `build/run`.

    python book/tools/chapters.py execute 02_images --profile embedded
    python book/tools/chapters.py prepare
    python book/tools/chapters.py collect
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from datetime import datetime
from pathlib import Path

import jupytext
import nbformat
import papermill
import yaml

SOURCES = Path("notebooks")
BUILD = Path("build")
PROFILES = ("embedded", "paper")  # the first is what every chapter's own parameters say
COST = "<!-- cost -->"
WIDGET = "application/vnd.jupyter.widget-view+json"
SOLUTION = re.compile(r"<summary>Solution</summary>(.*?)</details>", re.DOTALL)
CODE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def source(chapter: str) -> nbformat.NotebookNode:
    """Read `notebooks/<chapter>.py` as a notebook without outputs."""
    return jupytext.read(SOURCES / f"{chapter}.py")


def parameters(notebook: nbformat.NotebookNode) -> list[str]:
    """Names assigned in the notebook's one `parameters` cell; `ValueError` if there is not exactly one."""
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"{len(cells)} cells are tagged `parameters`; a chapter has exactly one")
    # papermill exits 0 on unknown parameters, so the names are checked here, by its own parser
    return [p.name for p in papermill.translators.PythonTranslator.inspect(cells[0])]


def check_names(chapter: str, given: dict, known: list[str]) -> None:
    """Raise `ValueError` when a given parameter is not one of the chapter's."""
    for name in given:
        if name not in known:
            raise ValueError(f"{chapter} has no parameter {name!r}; it has {', '.join(known)}")


def faults(notebook: nbformat.NotebookNode) -> list[str]:
    """What must not reach a page: error outputs, and text on stderr that the page would show.

    A cell tagged `raises-exception` may hold an error, one tagged `remove-stderr` may write to stderr.
    """
    found = []
    for index, cell in enumerate(notebook.cells):
        tags = cell.metadata.get("tags", [])
        for output in cell.get("outputs", []):
            if output.output_type == "error" and "raises-exception" not in tags:
                found.append(f"cell {index}: {output.ename}: {output.evalue}")
            if output.get("name") == "stderr" and "remove-stderr" not in tags:
                found.append(f"cell {index}: stderr: {output.text.strip()[:300]}")
    return found


def without_widgets(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop live widgets: a page has no kernel to answer them, and their loader needs a network."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {})]
    return notebook


def duration(seconds: float) -> str:
    """Wall time for a reader: `42 s`, `3 min 20 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def machine() -> str:
    """The processor or accelerator that the chapter had at its disposal, in words."""
    import torch

    cores, threads = f"{os.cpu_count()} CPU cores", os.environ.get("OMP_NUM_THREADS", "")
    cores = f"{threads} of {cores}" if threads and threads != f"{os.cpu_count()}" else cores
    return f"one {torch.cuda.get_device_name()} and {cores}" if torch.cuda.is_available() else cores


def with_cost(notebook: nbformat.NotebookNode, profile: str, seconds: float) -> nbformat.NotebookNode:
    """Replace the chapter's cost mark by the wall time that was just measured."""
    line = f"*This page was executed in {duration(seconds)} on {machine()}, profile `{profile}`.*"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace(COST, line)
    return notebook


def finished(chapter: str, executed: nbformat.NotebookNode, profile: str, seconds: float) -> nbformat.NotebookNode:
    """The page of an executed chapter; `ValueError` if it holds what must not reach a page."""
    if found := faults(executed):
        raise ValueError(f"{chapter} is not fit for a page:\n  " + "\n  ".join(found))
    return with_cost(without_widgets(executed), profile, seconds)


def execute(chapter: str, profile: str) -> None:
    """Execute one chapter into `build/site/notebooks`, its ledger rows into `build/site/ledger`."""
    run, site = BUILD / "run" / chapter, BUILD / "site"
    shutil.rmtree(run, ignore_errors=True)
    (run / "ledger").mkdir(parents=True)
    notebook = source(chapter)
    given = {} if profile == PROFILES[0] else {"profile": profile}
    check_names(chapter, given, parameters(notebook))
    nbformat.write(notebook, run / "source.ipynb")
    os.environ["WAM_LEDGER"] = str((run / "ledger").resolve())
    os.environ["TQDM_DISABLE"] = "1"
    print(f"executing {chapter}, profile {profile}", flush=True)
    papermill.execute_notebook(
        run / "source.ipynb",
        run / "executed.ipynb",
        parameters=given,
        progress_bar=sys.stderr.isatty(),
    )
    executed = nbformat.read(run / "executed.ipynb", as_version=4)
    seconds = executed.metadata.papermill.duration
    nbformat.write(finished(chapter, executed, profile, seconds), run / "finished.ipynb")
    for folder in ("ledger", "notebooks"):
        (site / folder).mkdir(parents=True, exist_ok=True)
    (site / "ledger" / f"{chapter}.json").unlink(missing_ok=True)
    for rows in (run / "ledger").iterdir():
        if rows.name != f"{chapter}.json":
            raise ValueError(f"{chapter} wrote its ledger rows to {rows.name}; they belong in {chapter}.json")
        rows.replace(site / "ledger" / rows.name)
    (run / "finished.ipynb").replace(site / "notebooks" / f"{chapter}.ipynb")
    print(f"executed {chapter} in {duration(seconds)}", flush=True)


def with_solutions(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Put the code of the solutions to exercises into cells of its own, which run and are not shown.

    A block that needs what a reader has to make first, such as a trained network, is marked `py` instead of `python`.
    """
    cells = []
    for cell in notebook.cells:
        solutions = SOLUTION.findall(cell.source) if cell.cell_type == "markdown" else []
        code = [code for solution in solutions for code in CODE.findall(solution)]
        cells += [cell, *(nbformat.v4.new_code_cell(text, metadata={"tags": ["remove-cell"]}) for text in code)]
    notebook.cells = cells
    return notebook


def prepare(settings: Path, folder: Path) -> None:
    """Write every chapter with its solutions and the small parameters of `settings` into `folder`; execute nothing."""
    chosen = yaml.safe_load(settings.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in sorted(SOURCES.glob("*.py")):
        notebook = source(path.stem)
        given = chosen[path.stem]
        check_names(path.stem, given, parameters(notebook))
        target = folder / f"{path.stem}.ipynb"
        nbformat.write(with_solutions(notebook), target)
        papermill.execute_notebook(target, target, parameters=given, prepare_only=True, progress_bar=False)


def collect(folder: Path, site: Path) -> None:
    """Make pages of the executed copies in `folder`, as :func:`execute` does, in `site`."""
    shutil.rmtree(site / "notebooks", ignore_errors=True)
    (site / "notebooks").mkdir(parents=True)
    for path in sorted(folder.glob("*.ipynb")):
        executed = nbformat.read(path, as_version=4)
        times = [t for c in executed.cells for t in c.metadata.get("execution", {}).values()]  # ISO 8601, all in UTC
        if not times:
            raise ValueError(f"{path} is not executed: run nbmake with --overwrite (make smoke)")
        first, last = (datetime.fromisoformat(edge(times)) for edge in (min, max))
        page = finished(path.stem, executed, PROFILES[0], (last - first).total_seconds())
        nbformat.write(page, site / "notebooks" / path.name)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("execute", help="execute one chapter for the site")
    one.add_argument("chapter", help="name without suffix, such as 02_images")
    one.add_argument("--profile", choices=PROFILES, default=PROFILES[0])
    small = commands.add_parser("prepare", help="write the smoke copies of all chapters")
    small.add_argument("--settings", type=Path, default=Path("tests/smoke.yaml"))
    small.add_argument("--folder", type=Path, default=BUILD / "smoke")
    pages = commands.add_parser("collect", help="make pages of the executed smoke copies")
    pages.add_argument("--folder", type=Path, default=BUILD / "smoke")
    pages.add_argument("--site", type=Path, default=BUILD / "smoke-site")
    arguments = parser.parse_args()
    if arguments.command == "execute":
        execute(arguments.chapter, arguments.profile)
    elif arguments.command == "prepare":
        prepare(arguments.settings, arguments.folder)
    else:
        collect(arguments.folder, arguments.site)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing was published")
    except (ValueError, papermill.exceptions.PapermillExecutionError) as error:
        sys.exit(f"error: {error}")
