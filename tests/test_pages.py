"""The book's own pages agree with the package: credits, API, paper map, and the example on the first page."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest

import wam
from wam.catalogue import CATALOGUE

BOOK = Path(__file__).resolve().parents[1] / "book"
MODULES = sorted(path.stem for path in Path(wam.__file__).parent.glob("[!_]*.py"))


def page(name: str) -> str:
    return (BOOK / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("asset", CATALOGUE.values(), ids=lambda asset: asset.contents)
def test_credits_name_every_asset(asset):
    lines = [line for line in page("credits").splitlines() if f"{asset.package} {asset.version}" in line]
    of_package = [other for other in CATALOGUE.values() if other.package == asset.package]
    assert len(lines) == len(of_package)  # Foolbox carries two
    assert sum(f"| {asset.licence} |" in line for line in lines) == 1


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
    text = "".join(page(path.stem) for path in sorted(BOOK.glob("api*.md")))
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
        resolve(target)


@pytest.mark.parametrize("path", sorted([BOOK.parent / "README.md", *BOOK.glob("*.md")]), ids=lambda path: path.stem)
def test_code_of_a_page_runs(path, tmp_path, monkeypatch):
    """Blocks of Python, one after another in a folder of their own; those of the shell are tried elsewhere."""
    text = path.read_text(encoding="utf-8")
    languages = set(re.findall(r"^```(\w+)$", text, re.M)) - {"python", "console", "bash", "bibtex"}
    assert not languages, f"say whether it is python, console, bash or bibtex: {languages}"
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for code in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S):
        exec(compile(code, path.name, "exec"), namespace)
    if path.stem == "intro":
        assert namespace["model"].categories[namespace["e"].target[0]] == "bull mastiff"
    if path.stem == "README":
        assert {file.name for file in tmp_path.iterdir()} >= {"heard.wav", "seven.png"}


def test_every_example_of_the_package_is_run():
    config = tomllib.loads((BOOK.parent / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert "wam" in config["testpaths"] and "--doctest-modules" in config["addopts"]
    skipped = [
        line
        for path in Path(wam.__file__).parent.glob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "doctest: +SKIP" in line
    ]
    for line in skipped:  # only what needs a data set that the reader has to bring
        assert re.search(r"imagenet|esc50|medmnist3d", line), line


def test_glossary_names_what_exists():
    text = page("glossary")
    targets = re.findall(r"\{py:\w+\}`(?:[^`<]*<)?(wam\.[\w.]+)>?`", text)
    assert len(targets) > 40
    for target in targets:
        resolve(target)
    terms = [line for line in text.splitlines() if re.match(r"^\w", line)]
    assert len(terms) == len(set(terms))


def resolve(target):
    """What `wam.module.name.member` names."""
    _, module, *names = target.split(".")
    found = importlib.import_module(f"wam.{module}")
    for name in names:
        found = getattr(found, name)
    return found
