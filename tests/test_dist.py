"""What is released: the sdist and the wheel made from it, as far as that can be seen without installing them.

`make dist` builds them in isolation and uses the wheel outside of the repository.
"""

import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import colab
import wam
from test_repository import ADDRESS, CONFIG, PROJECT, ROOT

BUILD = "from setuptools import build_meta; build_meta.build_{kind}({out!r})"


def build(kind: str, source: Path, out: Path) -> Path:
    """Build in a folder that holds nothing else, with the setuptools that is here."""
    out.mkdir()
    command = [sys.executable, "-c", BUILD.format(kind=kind, out=str(out))]
    process = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    colab.snapshot(folder)
    return folder


@pytest.fixture(scope="module")
def sdist(source, tmp_path_factory):
    return build("sdist", source, tmp_path_factory.mktemp("sdist") / "out")


@pytest.fixture(scope="module")
def unpacked(sdist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    return root


@pytest.fixture(scope="module")
def wheel(unpacked, tmp_path_factory):
    with zipfile.ZipFile(build("wheel", unpacked, tmp_path_factory.mktemp("wheel") / "out")) as archive:
        yield archive


def read(wheel: zipfile.ZipFile, name: str) -> str:
    return wheel.read(f"wam-{wam.__version__}.dist-info/{name}").decode()


def package(source: Path) -> set[str]:
    """The files of the package, as the repository has them."""
    listed = subprocess.run(["git", "ls-files", "wam"], cwd=source, capture_output=True, text=True, check=True)
    return set(listed.stdout.split())


def test_wheel_holds_the_package_and_nothing_else(wheel, source):
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == package(source)
    assert {"wam/py.typed", "wam/weights/digits3d.safetensors", "wam/results/paper_table1.csv"} <= names
    for name in names:
        assert wheel.read(name) == (source / name).read_bytes()


def test_wheel_holds_the_licence(wheel):
    assert read(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text()


def test_metadata(wheel):
    metadata = Parser().parsestr(read(wheel, "METADATA"))
    assert metadata["Name"] == "wam" and metadata["Version"] == wam.__version__
    assert metadata["License-Expression"] == "MIT" and metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text().strip()
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL"))
    assert urls["Repository"] == ADDRESS and urls["Book"] == CONFIG["html"]["baseurl"]
    needed = {r.name for r in map(Requirement, metadata.get_all("Requires-Dist")) if not r.marker}
    assert needed == {Requirement(line).name for line in PROJECT["project"]["dependencies"]}


def test_command_leads_to_a_function(wheel):
    listed = [line.split(" = ") for line in read(wheel, "entry_points.txt").splitlines() if " = " in line]
    assert [name for name, _ in listed] == ["wam"]
    ((_, place),) = listed
    module, function = place.split(":")
    assert callable(getattr(getattr(wam, module.removeprefix("wam.")), function))


def test_sdist_is_what_the_wheel_needs(sdist, source):
    with tarfile.open(sdist) as archive:
        names = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
    given = {"CITATION.cff", "LICENSE", "MANIFEST.in", "README.md", "_config.yml", "constraints.txt"}
    made = {"PKG-INFO", "setup.cfg"}
    assert {name for name in names if not name.startswith("wam.egg-info/")} == (
        package(source) | given | made | {"pyproject.toml", "setup.py"}
    )


def test_package_reads_no_file_of_the_repository():
    """Only what lies in `wam/` is installed; a path that climbs out of it finds something else, or nothing."""
    climbing = re.compile(r"__file__.*(\.parents\[|\.parent\.parent|\"\.\.)")
    climb = [path.name for path in (ROOT / "wam").glob("*.py") if climbing.search(path.read_text())]
    assert climb == ["book.py"], "only the commit of the provenance may be looked up there"


WITHOUT = """
import importlib, sys
import wam
sys.modules |= dict.fromkeys(["IPython", "foolbox", "ipywidgets", "medmnist", "transformers"])
for name in wam._ON_DEMAND:
    try:
        importlib.import_module(f"wam.{name}")
    except ImportError as error:
        print(name, error.name.split(".")[0])
"""


def test_only_what_is_for_notebooks_needs_more_than_the_dependencies():
    process = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert set(process.stdout.splitlines()) == {f"{name} IPython" for name in ("book", "explorer", "player")}
