"""Files that are whole or not there."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any


def replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill another file in the same folder, and put it in the place of ``path`` in one step.

    An interruption leaves what was there before.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from wam import files
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files.replace(path := Path(folder) / "a.txt", lambda scratch: scratch.write_text("whole"))
    ...     path.read_text()
    'whole'
    """
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write(scratch)
        os.replace(scratch, path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
