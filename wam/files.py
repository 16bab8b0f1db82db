"""Files that are whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
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


def replace_all(folder: Path, contents: Mapping[str, Callable[[Path], Any]], stale: Iterable[str] = ()) -> list[Path]:
    """Let every function write its file, by name, and put them into ``folder`` when all of them are whole.

    Files of an earlier run, named in ``stale``, that are not written now are then removed. If one fails, or is
    interrupted, ``folder`` is as it was before; a folder that was not there is gone again.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from wam import files
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = files.replace_all(Path(folder, "out"), {"a.txt": lambda scratch: scratch.write_text("whole")})
    ...     [path.name for path in made], made[0].read_text()
    (['a.txt'], 'whole')
    """
    with writable(folder):
        scratch = folder / f".scratch-{uuid.uuid4().hex}"
        try:
            scratch.mkdir(mode=0o700)  # here, so that an interrupt while it is made leaves nothing, too
            for name, write in contents.items():
                write(scratch / name)
                with (scratch / name).open("rb") as file:
                    os.fsync(file.fileno())  # some file systems find out only now that they are full
            for name in contents:
                os.replace(scratch / name, folder / name)
            for name in set(stale) - set(contents):
                (folder / name).unlink(missing_ok=True)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return [folder / name for name in contents]


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Make a folder, with those above it, see that it can be written to, and take away what stays empty of them.

    Raises
    ------
    NotADirectoryError
        If it, or one above it, is a file.
    PermissionError
        If it may not be made or written to.
    OSError
        If it cannot be for another reason, such as a file system that is read-only or full.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except (FileExistsError, NotADirectoryError):
            raise NotADirectoryError(f"{folder} is a file, or below one: name a folder") from None
        except PermissionError:
            raise PermissionError(f"{folder} may not be written to: name another folder, or chmod u+w it") from None
        except OSError as error:
            raise OSError(f"{folder} cannot be written to: {error.strerror}; name another folder") from None
        yield
    finally:
        for path in made:
            with suppress(OSError):  # not made, or in use
                path.rmdir()
