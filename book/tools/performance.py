"""Fill the page on performance: the stored benchmarks, and how long the chapters took.

python book/tools/performance.py TEMPLATE RESULTS_DIR NOTEBOOKS_DIR OUT.md
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from chapters import PROFILES, duration
from ledger import cell, fill

MARK = "<!-- performance -->"
LONG = 10  # rows; a longer table is folded
BARE = "bare"  # what a row is called that does only what has to be done anyway


def page(results: Path, notebooks: Path) -> str:
    """The page in Markdown; `ValueError` if there is nothing to show."""
    found = {path: json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))}
    executed = {path: json.loads(path.read_text(encoding="utf-8")) for path in sorted(notebooks.glob("*.ipynb"))}
    if not found or not executed:
        raise ValueError(f"no benchmarks in {results}, or no executed chapters in {notebooks}")
    groups: dict[str, list[str]] = {}
    for path, result in found.items():
        script = _script(path, results.parent)
        title = script.stem.replace("_", " ").capitalize()
        groups.setdefault(script.stem, ["", f"(benchmark-{script.stem})=", f"## {title}", "", *_about(script)])
        groups[script.stem] += ["", *_result(result)]
    lines = [*_short(found), "", *_chapters(executed), *(line for group in groups.values() for line in group)]
    return "\n".join(lines) + "\n"


def _short(found: Mapping[Path, Mapping[str, Any]]) -> list[str]:
    """The ratios to bare passes, in one table, and what was not measured."""
    rows = []
    for path, result in found.items():
        ratios = [row["ratio"] for row in result["rows"] if "ratio" in row and BARE not in row.get("call", BARE)]
        if ratios:
            settings = result["settings"]
            what = f"{settings['model']}, {path.stem.partition('-')[0]}"
            what += f", {settings['side']} voxels a side" if "side" in settings else ""
            rows.append([what, settings["device"], f"{min(ratios):.2f} to {max(ratios):.2f}"])
    lines = ["Time beside the bare passes through the same network that no implementation can avoid:", ""]
    lines += _table(("network and benchmark", "device", "ratio"), rows)
    cold = [row["seconds"] for result in found.values() for row in result["rows"] if row.get("part") == "wam explain"]
    lines += [f"\nA cold [`wam explain`](#benchmark-explain) took {seconds:.1f} seconds." for seconds in cold]
    devices = {str(result["settings"].get("device", "cpu")) for result in found.values()}
    if devices == {"cpu"}:
        lines += ["", "**No GPU was measured.** On one, the network takes a smaller part of the time, and these ratios"]
        lines += ["need not hold; `--device cuda` measures them."]
    return lines


def _chapters(executed: Mapping[Path, Mapping[str, Any]]) -> list[str]:
    """The wall time of every chapter, as papermill took it when this site was built."""
    runs = {path.stem: notebook["metadata"].get("papermill", {}) for path, notebook in executed.items()}
    known = {name: run["duration"] for name, run in runs.items() if run.get("duration")}
    rows = []
    for name, run in runs.items():
        title = _heading(next(path for path in executed if path.stem == name), executed)
        time = duration(known[name]) if name in known else "–"
        profile = (run.get("parameters") or {}).get("profile", PROFILES[0])
        date = (run.get("start_time") or "–")[:10].replace("-", "\N{NON-BREAKING HYPHEN}")
        rows.append([f"[{title}](../notebooks/{name})", time, profile, date])
    total = (
        f"Together {duration(sum(known.values()))}, less where two ran side by side; building the pages comes on top."
    )
    head = ("chapter", "executed in", "profile", "date")
    return ["## This site", "", *_table(head, rows), "", total]


def _heading(path: Path, executed: Mapping[Path, Mapping[str, Any]]) -> str:
    cells = ("".join(c["source"]) for c in executed[path]["cells"] if c["cell_type"] == "markdown")
    heads = (line[2:] for text in cells for line in text.splitlines() if line.startswith("# "))
    return cell(next(heads, path.stem))


def _script(path: Path, folder: Path) -> Path:
    """The benchmark that wrote `path`: the one with the longest name that the file's name begins with."""
    scripts = [script for script in folder.glob("*.py") if f"{path.stem}-".startswith(f"{script.stem}-")]
    if not scripts:
        raise ValueError(f"no benchmark in {folder} writes {path.name}")
    return max(scripts, key=lambda script: len(script.stem))


def _about(script: Path) -> list[str]:
    """What the benchmark says of itself: its docstring without the ways to call it."""
    text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    parts = [part.replace("``", "`") for part in text.split("\n\n") if not part.startswith("    ")]
    return [*"\n\n".join(parts).splitlines(), "", f"Repeat it: `python benchmarks/{script.name}`."]


def _result(result: Mapping[str, Any]) -> list[str]:
    """A table with what it was measured on."""
    given, machine = dict(result["settings"]), dict(result["machine"])
    date = machine.pop("date", "no date")
    made = f"{', '.join(f'{k} {_value(v)}' for k, v in (given | machine).items())}; {date}"
    rows = result["rows"]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [*_table(columns, ([cell(_value(row.get(c))) for c in columns] for row in rows)), "", f"*{cell(made)}*"]
    if len(rows) > LONG:
        lines = ["<details>", f"<summary>{len(rows)} rows</summary>", "", *lines, "", "</details>"]
    return lines


def _value(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(map(_value, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = list(head)
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def main(template: str, results: str, notebooks: str, out: str) -> None:
    """Write `template` to `out`, with the measurements in the place of its mark."""
    fill(template, MARK, page(Path(results), Path(notebooks)), out)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(f"usage: python {sys.argv[0]} TEMPLATE RESULTS_DIR NOTEBOOKS_DIR OUT.md")
    try:
        main(*sys.argv[1:])
    except ValueError as error:
        sys.exit(f"error: {error}")
