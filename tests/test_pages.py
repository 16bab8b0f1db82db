"""The book's own pages agree with the package: credits, API, paper map, and the example on the first page."""

import importlib
import re
from pathlib import Path

import pytest

import wam
from wam import assets

BOOK = Path(__file__).resolve().parents[1] / "book"
MODULES = sorted(path.stem for path in Path(wam.__file__).parent.glob("[!_]*.py"))


def page(name: str) -> str:
    return (BOOK / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("row", assets.credits(), ids=lambda row: row["contents"])
def test_credits_name_every_asset(row):
    lines = [line for line in page("credits").splitlines() if f"{row['package']} {row['version']}" in line]
    of_package = [other for other in assets.credits() if other["package"] == row["package"]]
    assert len(lines) == len(of_package)  # Foolbox carries two
    assert sum(f"| {row['licence']} |" in line for line in lines) == 1


def test_credits_name_the_pinned_versions():
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (BOOK.parent / "constraints.txt").read_text(), re.M))
    pins = {name.lower(): version for name, version in pins.items()}
    aliases = {"pytorch": "torch", "jupyter book": "jupyter-book"}
    libraries = page("credits").partition("## Libraries")[2]
    rows = re.findall(r"^\| ([\w -]+?)(?: \{cite:p\}`\w+`)? \| (\d[\d.\w]+) \|", libraries, re.M)
    assert len(rows) > 15
    for name, version in rows:
        assert pins[aliases.get(name.lower(), name.lower())] == version, name


def test_api_documents_every_module_and_public_name():
    text = page("api")
    assert sorted(re.findall(r"automodule:: wam\.(\w+)", text)) == MODULES
    assert sorted(re.findall(r"^\.\. py:(?:function|class):: (\w+)$", text, re.M)) == sorted(wam.__all__)


def test_paper_map_covers_every_figure_table_and_equation():
    rows = [line.split("|")[1] for line in page("paper_map").splitlines() if line.startswith("|")]
    for label, last in (("Fig", 25), ("Table", 5), ("eq", 10)):
        named = {int(n) for row in rows if row.strip().startswith(label) for n in re.findall(r"\d+", row)}
        assert named == set(range(1, last + 1)), label


def test_paper_map_plans_only_chapters_that_do_not_exist():
    chapters = {path.stem[:2] for path in (BOOK.parent / "notebooks").glob("*.py")}
    text = page("paper_map")
    rows = [line.partition("planned: ")[2] for line in text.splitlines()]
    planned = {number for row in rows for number in re.findall(r"\b\d\d\b", row)}
    linked = set(re.findall(r"\.\./notebooks/(\d\d)_", text))
    assert linked and linked <= chapters and not planned & chapters


def test_paper_map_names_functions_that_exist():
    targets = re.findall(r"\{py:(?:func|class|meth|data)\}`(?:[^`<]*<)?(wam\.[\w.]+)>?`", page("paper_map"))
    assert targets
    for target in targets:
        _, module, *names = target.split(".")
        found = importlib.import_module(f"wam.{module}")
        for name in names:
            found = getattr(found, name)


def test_example_of_the_first_page_runs():
    (code,) = re.findall(r"```python\n(.*?)```", page("intro"), re.S)
    namespace = {}
    exec(code, namespace)
    assert namespace["model"].categories[namespace["e"].target[0]] == "bull mastiff"
