"""The repository holds together: notebooks and their pairs, versions, addresses, environments, workflows."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml
from jupytext.cli import jupytext
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import chapters

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
ADDRESS = CONFIG["repository"]["url"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SCRIPTS = sorted((ROOT / "notebooks").glob("*.py"))

# The first cell of every chapter. What it does is tried by `make colab`.
SETUP = r"""import sys

if "google.colab" in sys.modules:  # install what is missing; torch and numpy stay as Colab brings them
    import re
    import subprocess
    from importlib import metadata

    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "git+ADDRESS"], check=True)
    stay = {"numpy", "torch", "torchaudio", "torchvision"}
    kept = [f"{d.name}=={d.version}" for d in metadata.distributions() if d.name in stay]
    needed = [r for r in metadata.requires("wam") if "extra" not in r and re.split(r"\W", r)[0] not in stay]
    subprocess.run([*pip, "-c", "/dev/stdin", *needed], input="\n".join(kept), text=True, check=True)""".replace(
    "ADDRESS", ADDRESS
)

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def files() -> list[Path]:
    """Text files of the repository, without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [ROOT / name for name in listed.stdout.splitlines()]
    return [p for p in paths if p.is_file() and b"\0" not in p.read_bytes()]


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def requirements(*extras: str) -> list[Requirement]:
    """Direct requirements of the package with these extras."""
    lines = list(PROJECT["project"]["dependencies"])
    for extra in extras:
        lines += PROJECT["project"]["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = {}
    for line in filter(None, (line.partition("#")[0].strip() for line in lines)):
        name, version = re.fullmatch(r"([\w.-]+)==([\w.]+)", line).groups()
        found[canonicalize_name(name)] = Version(version)
    return found


# notebooks


def test_every_notebook_has_its_pair():
    assert NOTEBOOKS, "no notebooks"
    assert [p.stem for p in NOTEBOOKS] == [p.stem for p in SCRIPTS]


@every_notebook
def test_pair_is_up_to_date(path, tmp_path):
    """The `.py` is the source: generating the `.ipynb` from it again changes nothing (else: `make pairs`)."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for suffix in (".py", ".ipynb"):
        shutil.copy(path.with_suffix(suffix), tmp_path)
    jupytext(["--quiet", "--to", "ipynb", "--update", str(tmp_path / f"{path.stem}.py")])
    assert (tmp_path / path.name).read_text() == path.read_text(), "run `make pairs`"


@every_notebook
def test_notebook_is_stored_without_outputs(path):
    for cell in code_cells(path):
        assert cell.outputs == [] and cell.execution_count is None


@every_notebook
def test_code_cells_are_short(path):
    for cell in code_cells(path):
        assert len(cell.source.splitlines()) <= 15, f"method code belongs in wam:\n{cell.source}"


@every_notebook
def test_parameters_are_annotated_and_explained(path):
    notebook = nbformat.read(path, as_version=4)
    assert chapters.parameters(notebook)  # raises unless there is exactly one parameters cell
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    found = {p.name: p for p in papermill.translators.PythonTranslator.inspect(cell)}
    assert found["profile"].default.strip("\"'") == chapters.PROFILES[0]
    for name, parameter in found.items():
        assert parameter.inferred_type_name not in ("", "None"), f"annotate {name}"
        assert parameter.help, f"say after # what {name} is"


@every_notebook
def test_smoke_parameters_exist(path):
    smoke = yaml.safe_load((ROOT / "tests" / "smoke.yaml").read_text())
    assert set(smoke) == {p.stem for p in NOTEBOOKS}
    chapters.check_names(path.stem, smoke[path.stem], chapters.parameters(nbformat.read(path, as_version=4)))


@every_notebook
def test_setup_cell_installs_from_the_configured_address(path):
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.source == SETUP
    assert first.metadata.tags == ["remove-cell"]


def test_setup_cell_installs_everything_but_torch_and_numpy(monkeypatch):
    """The commands of pip that it would run: `make colab` runs them."""
    commands, kept = [], []
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    monkeypatch.setattr(
        subprocess, "run", lambda command, **options: (commands.append(command[5:]), kept.append(options.get("input")))
    )
    exec(SETUP, {})
    (*package, address), (option, file, *needed) = commands
    assert package == ["--no-deps"] and address == f"git+{ADDRESS}" and (option, file) == ("-c", "/dev/stdin")
    colabs = {"torch", "torchaudio", "torchvision", "numpy"}
    assert set(kept[1].split("\n")) == {f"{name}=={metadata.version(name)}" for name in colabs}
    assert {Requirement(r).name for r in needed} | colabs == {r.name for r in requirements()}
    assert not {Requirement(r).name for r in needed} & colabs


@every_notebook
def test_no_magic_inside_a_block(path):
    for cell in code_cells(path):
        assert not re.search(r"^\s+[%!]", cell.source, re.MULTILINE), cell.source


@every_notebook
def test_cost_is_measured(path):
    """One mark, which the build replaces by the measured wall time."""
    cells = nbformat.read(path, as_version=4).cells
    assert sum(c.source.count(chapters.COST) for c in cells if c.cell_type == "markdown") == 1


def test_every_page_is_in_the_contents():
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    chapters = [chapter for part in contents["parts"] for chapter in part["chapters"]]
    listed = [contents["root"], *(c["file"] for chapter in chapters for c in (chapter, *chapter.get("sections", ())))]
    pages = [p.relative_to(ROOT).with_suffix("").as_posix() for p in [*NOTEBOOKS, *(ROOT / "book").glob("*.md")]]
    assert sorted(listed) == sorted(pages)


# versions, environments, addresses


def test_constraints_pin_everything_that_is_required():
    """Follow the requirements of what is installed; each must be pinned, and within what asks for it."""
    pinned = pins()
    todo = [(r, "") for r in requirements("book", "test")]
    seen = set()
    while todo:
        requirement, extra = todo.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        assert name in pinned, f"{name} is not pinned in constraints.txt"
        assert requirement.specifier.contains(pinned[name], prereleases=True), f"{requirement} against {pinned[name]}"
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                todo += [(Requirement(line), extra) for line in metadata.requires(name) or []]
    assert len(seen) > 100


def test_torch_triplet_stays_where_torchaudio_works():
    """torchaudio 2.11 is the last release; it does not load beside newer torch."""
    named = {r.name: r for r in requirements()}
    for name, limit in (("torch", "2.12.0"), ("torchaudio", "2.12.0"), ("torchvision", "0.27.0")):
        assert limit not in named[name].specifier


def test_environment_installs_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    extras = ",".join(sorted(PROJECT["project"]["optional-dependencies"]))
    assert pip == {"pip": ["-c constraints.txt", f"-e .[{extras}]"]}
    (python,) = (d.partition("=")[2] for d in conda if d.startswith("python="))
    assert Version(f"{python}.0") in SpecifierSet(PROJECT["project"]["requires-python"])
    assert environment["name"] == PROJECT["project"]["name"]


def test_version_is_in_one_place():
    assert "version" in PROJECT["project"]["dynamic"] and "version" not in CITATION
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "wam.__version__"}
    declared = [p for p in (ROOT / "wam").glob("*.py") if re.search(r"^__version__\s*=", p.read_text(), re.M)]
    assert declared == [ROOT / "wam" / "__init__.py"]


def test_address_is_in_one_place():
    """In `_config.yml`; the chapters' setup cells are held to it above."""
    notebooks = {p for p in files() if p.parent == ROOT / "notebooks"}
    elsewhere = [p for p in files() if p not in notebooks and ADDRESS in p.read_text()]
    assert elsewhere == [ROOT / "_config.yml"]
    owner, name = ADDRESS.removeprefix("https://github.com/").split("/")
    assert CONFIG["html"]["baseurl"] == f"https://{owner}.github.io/{name}/"


def test_no_trace_of_a_machine():
    pattern = re.compile(r"(?<![\w.<{}*/])/(?:home|Users|root|tmp|mnt|work)/\w|[A-Z]:\\Users")
    for path in files():
        assert not (found := pattern.search(path.read_text())), f"{path.relative_to(ROOT)}: {found[0]}"


def test_citation_names_the_paper():
    paper = CITATION["preferred-citation"]
    bibliography = (ROOT / "book" / "references.bib").read_text()
    plain = re.sub(r"[{}]", "", bibliography).lower()
    assert paper["title"].lower() in plain
    for author in paper["authors"]:
        assert author["family-names"] in bibliography
    assert CITATION["license"] == PROJECT["project"]["license"] == "MIT"


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda p: p.stem)
def test_workflow_runs_what_exists(path):
    """Their form is checked by `make lint`; here that they agree with the Makefile and the package."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    jobs = yaml.safe_load(path.read_text())["jobs"]
    called = [s["run"].split()[1] for job in jobs.values() for s in job["steps"] if s.get("run", "").startswith("make")]
    assert called and set(called) <= targets
    for name in re.findall(r"'([\w./*-]+)'", " ".join(re.findall(r"hashFiles\((.*?)\)", path.read_text()))):
        assert list(ROOT.glob(name)), f"the key of a cache is made of {name}, which does not exist"
    for job in jobs.values():
        assert job["timeout-minutes"] <= 90
        for python in job.get("strategy", {}).get("matrix", {}).get("python", []):
            assert Version(python) in SpecifierSet(PROJECT["project"]["requires-python"])
