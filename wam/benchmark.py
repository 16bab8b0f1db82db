"""Tables over many inputs: computed in parallel, continued after any interruption.

:func:`run` maps a function over named cases and ends with one tidy table, which :mod:`wam.comparison` reads.
``wam tables --help`` computes the paper's image tables (:mod:`wam.tables`) from a shell.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm.auto import tqdm

import wam
from wam.checks import positive
from wam.files import replace

Function = Callable[..., Sequence[Mapping[str, Any]]]
"""What :func:`run` maps: ``function(case, **settings)`` returns the rows of one case."""

_VERSIONS = {"wam": wam.__version__} | {
    package: version(package)
    for package in ("captum", "numpy", "ptwt", "scipy", "timm", "torch", "torchcam", "torchvision")
}
_CODE = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()

_ALONE = threading.Lock()
"""One case at a time in a process: threads would share its networks, their hooks and the number of torch's threads."""

_PANDAS = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}  # whole numbers stay whole beside missing ones


def run(
    function: Function,
    cases: Mapping[str, Any],
    settings: Mapping[str, Any],
    folder: str | os.PathLike,
    *,
    jobs: int | None = None,
    threads: int = 1,
    progress: bool = False,
) -> pd.DataFrame:
    """One tidy table of what ``function`` returns for every case; interrupted at any moment, the same call continues.

    Everything of a run lies in ``folder/<fingerprint>/`` (:func:`location`): ``settings.json``, one file for every
    finished case, and, when all are finished, ``table.parquet``. The fingerprint is a digest of the
    function, the settings, ``threads``, the code of this package and of the module of the function, and the versions
    of the libraries that compute: another setting is another folder, so old and new rows never mix. The bytes of
    ``table.parquet`` depend on the rows alone, not on interruptions or ``jobs``.

    The map goes through joblib without naming a backend. Processes of this machine are ``jobs=4``; a Dask cluster,
    which must see the same files, takes one line around the call: ``joblib.parallel_config(backend="dask")``.

    Parameters
    ----------
    function
        Importable (defined at the top level of a module): ``function(case, **settings)`` returns a list of rows, each
        a dictionary of numbers, text and ``None``. It is looked up by name where it runs.
    cases
        ``{key: case}``: a unique text and what ``function`` gets, small and picklable (a path, not an image). A case is
        recognised by its key: if what it stands for changes, let the key change (with a digest of the file, say).
    settings
        Keyword arguments of ``function``, of JSON's types.
    folder
        Where runs are kept; made if it is missing.
    jobs
        How many cases at once; ``None`` means what the joblib configuration says, else 1.
    threads
        How many threads torch may use within a case. It is set wherever the case runs and restored, so that
        results do not depend on ``jobs``.
    progress
        Show a bar with the time left.

    Returns
    -------
    pandas.DataFrame
        What ``table.parquet`` holds: the column ``case``, those of the rows, and ``error``; rows in the order of
        ``cases``. Whole numbers are ``Int64``.

    Raises
    ------
    ValueError
        If there are no cases, or the settings are not of JSON's types.
    RuntimeError
        If the code or a library is another one where a case runs, or has changed since the run began.
    TypeError
        If ``function`` is not importable, a key is not text, or a column holds text in one case, numbers in another.

    Warns
    -----
    UserWarning
        If the file of a finished case is damaged; the case is computed again.

    Notes
    -----
    A case whose function raises is one row with nothing but its ``error``, ``"TypeName: message"``; the others go on,
    and the next call tries it again. A row in which the function itself writes an ``error`` beside other columns is a
    result like any other. Two runs at the same time in the same folder do some work twice and no harm: files are
    written aside and moved into place, and ``table.parquet`` is of the cases of the last one that finished.

    Examples
    --------
    >>> import math, tempfile
    >>> from wam import benchmark
    >>> def square(case, power):
    ...     return [{"input": case, "value": math.pow(case, power)}]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = benchmark.run(square, {"two": 2, "three": 3}, {"power": 2}, folder)
    >>> table.drop(columns="error")
        case  input  value
    0    two      2    4.0
    1  three      3    9.0
    """
    if not isinstance(cases, Mapping) or not cases:
        raise ValueError("there are no cases: give at least one, as {key: case}")
    if not all(isinstance(key, str) for key in cases):
        raise TypeError(f"keys of cases must be text, got {next(k for k in cases if not isinstance(k, str))!r}")
    threads, identity = positive(threads, "threads"), _identity(function, settings, threads)
    place = location(function, settings, folder, threads=threads)
    (place / "cases").mkdir(parents=True, exist_ok=True)
    replace(place / "settings.json", lambda path: path.write_text(json.dumps(identity, indent=2) + "\n"))
    files = {key: place / "cases" / f"{_digest(key)[:24]}.parquet" for key in cases}
    finished = {key: rows for key, file in files.items() if (rows := _finished(file, key)) is not None}

    missing = [key for key in cases if key not in finished]
    todo = (joblib.delayed(_attempt)(function, key, cases[key], identity) for key in missing)
    bar = tqdm(total=len(cases), initial=len(finished), disable=not progress, unit="case")
    pool = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    with warnings.catch_warnings(), bar, closing(pool(todo)) as results:
        warnings.filterwarnings("ignore", "A worker stopped while some jobs")  # it was large, and another takes over
        for key, rows in results:
            replace(files[key], lambda path, rows=rows: _write(rows, path))
            finished[key] = rows
            bar.update()
    table = _joined([finished[key] for key in cases])
    replace(place / "table.parquet", lambda path: _write(table, path))
    return table.to_pandas(types_mapper=_PANDAS.get)


def location(function: Function, settings: Mapping[str, Any], folder: str | os.PathLike, *, threads: int = 1) -> Path:
    """The folder within ``folder`` that :func:`run` keeps this function with these settings in.

    >>> from wam import benchmark, checks
    >>> one, other = (benchmark.location(checks.positive, {"least": n}, "runs") for n in (1, 2))
    >>> one.parent.name, len(one.name), one == other
    ('runs', 12, False)
    """
    text = json.dumps(_identity(function, settings, threads), sort_keys=True)
    return Path(folder) / _digest(text)[:12]


def read(path: str | os.PathLike) -> pd.DataFrame:
    """A table that :func:`run` wrote; whole numbers are ``Int64``, which may be missing."""
    return pq.read_table(path).to_pandas(types_mapper=_PANDAS.get)


def failed(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of :func:`run` that stand for cases whose function raised.

    >>> import pandas as pd
    >>> from wam import benchmark
    >>> table = pd.DataFrame({"case": ["a", "b"], "value": [1.0, None], "error": [None, "OSError: gone"]})
    >>> benchmark.failed(table)
      case          error
    0    b  OSError: gone
    """
    nothing_else = table.drop(columns=["case", "error"]).isna().all(axis=1)
    return table.loc[table["error"].notna() & nothing_else, ["case", "error"]].reset_index(drop=True)


def _identity(function: Function, settings: Mapping[str, Any], threads: int) -> dict[str, Any]:
    name = f"{getattr(function, '__module__', None)}.{getattr(function, '__qualname__', '<unnamed>')}"
    if "<" in name or getattr(function, "__self__", None) is not None:
        raise TypeError(f"the function must be importable by name, got {function!r}: define it in a module")
    try:
        settings = json.loads(json.dumps(dict(settings), allow_nan=False, sort_keys=True))
    except (TypeError, ValueError) as error:
        raise ValueError(f"settings must be numbers, text, lists and dictionaries of them: {error}") from None
    file = getattr(sys.modules.get(function.__module__), "__file__", None)
    own = _digest(Path(file).read_bytes()) if file else None
    identity = {"function": name, "settings": settings, "threads": threads}
    return identity | {"versions": _VERSIONS, "code": [_CODE, own]}


def _digest(data: str | bytes) -> str:
    return hashlib.sha256(_text(data).encode() if isinstance(data, str) else data).hexdigest()


def _text(text: str) -> str:
    """Without the surrogates by which Python spells file names that are not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def _attempt(function: Function, key: str, case: Any, identity: dict[str, Any]) -> tuple[str, pa.Table]:
    """The rows of one case, or the row that says why there are none; runs where joblib puts it."""
    if (identity["versions"], identity["code"][0]) != (_VERSIONS, _CODE):
        raise RuntimeError(
            f"a process that computes cases has other code or libraries than the one that began the run: {_VERSIONS} "
            f"in place of {identity['versions']}, or an edited wam; start again, with the same ones everywhere"
        )
    with _ALONE:
        before = torch.get_num_threads()
        torch.set_num_threads(identity["threads"])
        try:
            return key, _rows(key, function(case, **identity["settings"]))
        except Exception as error:
            return key, _rows(key, [{"error": _text(f"{type(error).__name__}: {error}")}])
        finally:
            torch.set_num_threads(before)


def _rows(key: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as columns of four types (whole numbers, numbers, truth values, text), whatever their number types were."""
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name != "error"]
    if "case" in names:
        raise ValueError("a row has a column 'case', which is the name of the column of keys: rename it")
    columns = {"case": pa.array([_text(key)] * len(rows), pa.string())}
    for name in names:
        column = pa.array([row.get(name) for row in rows])
        if pa.types.is_integer(column.type):
            column = column.cast(pa.int64())
        elif pa.types.is_floating(column.type):
            column = column.cast(pa.float64())
        elif column.type not in (pa.string(), pa.bool_(), pa.null()):
            raise TypeError(f"column {name!r} holds {column.type}; rows are numbers and text")
        columns[name] = column
    return pa.table(columns | {"error": pa.array([row.get("error") for row in rows], pa.string())})


def _joined(tables: list[pa.Table]) -> pa.Table:
    names = dict.fromkeys(name for table in tables for name in table.column_names if name != "error")
    try:
        table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except pa.ArrowTypeError as error:
        raise TypeError(f"a column holds text in one case and numbers in another: {error}") from None
    table = table.select([*names, "error"])
    known = [field.with_type(pa.float64()) if field.type == pa.null() else field for field in table.schema]
    return table.cast(pa.schema(known))  # a column that is missing everywhere is one of missing numbers


def _finished(file: Path, key: str) -> pa.Table | None:
    """The rows of a finished case; ``None`` if it has to be computed."""
    try:
        rows = pq.read_table(file, page_checksum_verification=True)
        if set(rows["case"].to_pylist()) - {_text(key)}:
            raise ValueError("it holds another case")
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        warnings.warn(f"{file} is damaged and case {key!r} is computed again: {error}", stacklevel=3)
        return None
    failed = rows.column_names == ["case", "error"] and rows["error"].null_count < len(rows)
    return None if failed else rows


def _write(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, write_page_checksum=True)
