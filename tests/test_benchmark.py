"""Tables: the same bytes whatever happened on the way."""

import json
import multiprocessing
import os
import random
import re
import signal
import struct
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import wam
from wam import benchmark, metrics

CASES = {f"case {i}": i for i in range(6)}


# what is run: importable, so that other processes find it


def faithful(case, steps, nap=0.0):
    """The real thing, small: a seeded network, its explanation and its curves."""
    time.sleep(nap)
    generator = torch.Generator().manual_seed(case)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 3))
    x = torch.randn(1, 1, 16, 16, generator=generator)
    e = wam.smoothgrad(net, x, frame=wam.Wavelet("haar", 2, 2), samples=2)
    curves = metrics.perturbation_curves(net, x, e, steps=steps)
    values = {"insertion": curves.insertion_auc.item(), "deletion": curves.deletion_auc.item()}
    return [{"input": case, "metric": name, "value": value} for name, value in values.items()]


def logged(case, log, broken=(), partly=()):
    """One row per case, and a line in a file for every call; ``broken`` and ``partly`` list files that must exist."""
    with open(log, "a") as file:
        file.write(f"{case}\n")
    for number, path in broken:
        if number == case and not os.path.exists(path):
            raise RuntimeError(f"no {path}")
    missing = [path for number, path in partly if number == case and not os.path.exists(path)]
    return [
        {
            "input": case,
            "kind": "even" if case % 2 == 0 else None,
            "value": case / 2,
            "error": "later" if missing else None,
        }
    ]


def calls(log):
    return sorted(map(int, Path(log).read_text().split()))


def threads_and_order(case, flag=None):
    """With a flag, the first case ends after the last."""
    while flag and case == 0 and not os.path.exists(flag):
        time.sleep(0.001)
    if flag and case == 5:
        Path(flag).touch()
    return [{"input": case, "threads": torch.get_num_threads()}]


def interrupted(case, flag):
    if case == 3 and not os.path.exists(flag):
        Path(flag).touch()
        raise KeyboardInterrupt
    return [{"input": case}]


def odd(case):
    return case


def table_bytes(folder):
    (file,) = Path(folder).glob("*/table.parquet")
    return file.read_bytes()


# the same table, whatever happens


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    benchmark.run(faithful, CASES, {"steps": 4, "nap": 0.02}, folder)
    return table_bytes(folder)


@pytest.fixture(scope="module")
def processes():
    """Processes that start at once, forked from a server that has imported torch and nothing else of the test."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["wam.benchmark", "wam.metrics"])
    return context


def job(folder):
    torch.set_num_threads(1)
    benchmark.run(faithful, CASES, {"steps": 4, "nap": 0.02}, folder)


def test_killed_at_any_moment_it_continues_and_ends_with_the_same_bytes(tmp_path, uninterrupted, processes):
    draw, killed = random.Random(0), 0
    for folder in (tmp_path / str(round) for round in range(10)):
        for wanted in sorted(draw.sample(range(len(CASES) - 1), 2)):  # twice, a while after this many cases
            process = processes.Process(target=job, args=(folder,))
            process.start()
            while len(list(folder.glob("*/cases/*.parquet"))) < wanted and process.is_alive():
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.03))
            process.kill()
            process.join()
            killed += process.exitcode == -signal.SIGKILL
            for file in folder.glob("*/cases/*.parquet"):
                pq.read_table(file)  # what has its final name is whole
        before = {file: file.stat().st_mtime_ns for file in folder.glob("*/cases/*.parquet")}
        process = processes.Process(target=job, args=(folder,))
        process.start()
        process.join()
        assert process.exitcode == 0
        assert table_bytes(folder) == uninterrupted
        assert all(file.stat().st_mtime_ns == then for file, then in before.items())  # nothing was done twice
    assert killed >= 10  # the others had ended before


def test_two_runs_at_once_do_no_harm(tmp_path, uninterrupted, processes):
    pair = [processes.Process(target=job, args=(tmp_path,)) for _ in range(2)]
    for process in pair:
        process.start()
    for process in pair:
        process.join()
    assert [process.exitcode for process in pair] == [0, 0]
    assert table_bytes(tmp_path) == uninterrupted


def test_processes_give_the_same_bytes(tmp_path, uninterrupted):
    benchmark.run(faithful, CASES, {"steps": 4, "nap": 0.02}, tmp_path, jobs=2)
    assert table_bytes(tmp_path) == uninterrupted


def test_one_line_moves_it_to_a_dask_cluster(tmp_path, uninterrupted):
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        with joblib.parallel_config(backend="dask"):
            benchmark.run(faithful, CASES, {"steps": 4, "nap": 0.02}, tmp_path / "table")
            settings = {"flag": str(tmp_path / "flag")}
            table = benchmark.run(threads_and_order, CASES, settings, tmp_path / "order", threads=3)
        ran = [log for logs in client.get_worker_logs().values() for log in logs]
    assert table_bytes(tmp_path / "table") == uninterrupted
    assert list(table["input"]) == list(CASES.values()) and set(table["threads"]) == {3}
    assert not [message for level, message in ran if level == "ERROR"]


@pytest.mark.parametrize("jobs", [None, 2])
def test_rows_in_the_order_of_the_cases_and_threads_as_asked(tmp_path, jobs):
    before, settings = torch.get_num_threads(), {"flag": str(tmp_path / "flag") if jobs else None}
    table = benchmark.run(threads_and_order, CASES, settings, tmp_path, jobs=jobs, threads=3)
    assert list(table["case"]) == list(CASES) and list(table["input"]) == list(CASES.values())
    assert set(table["threads"]) == {3} and torch.get_num_threads() == before
    reverse = dict(reversed(CASES.items()))
    assert list(benchmark.run(threads_and_order, reverse, settings, tmp_path, threads=3)["case"]) == list(reverse)


def test_an_interrupt_keeps_what_is_finished(tmp_path):
    settings = {"flag": str(tmp_path / "flag")}
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(interrupted, CASES, settings, tmp_path)
    assert len(list(tmp_path.glob("*/cases/*.parquet"))) == 3 and not list(tmp_path.glob("*/table.parquet"))
    assert list(benchmark.run(interrupted, CASES, settings, tmp_path)["input"]) == list(CASES.values())


def test_an_interrupt_of_processes_stops_them(tmp_path):
    settings = {"flag": str(tmp_path / "flag")}
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(interrupted, CASES, settings, tmp_path, jobs=2)
    assert list(benchmark.run(interrupted, CASES, settings, tmp_path, jobs=2)["input"]) == list(CASES.values())


# files


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file):
    content = bytearray(file.read_bytes())
    content[content.index(struct.pack("<d", 1.0))] ^= 1  # the value of case 2
    file.write_bytes(content)


DAMAGE = {
    "cut in half": cut,
    "empty": lambda file: file.write_bytes(b""),
    "garbage": lambda file: file.write_bytes(b"PAR1 what is this? PAR1"),
    "a flipped bit": flip,
    "another table": lambda file: pq.write_table(pq.read_table(file).drop_columns("case"), file),
    "another case": lambda file: file.write_bytes(max(file.parent.glob("*"), key=lambda f: f != file).read_bytes()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_noticed_and_its_case_computed_again(tmp_path, damage):
    settings = {"log": str(tmp_path / "log")}
    benchmark.run(logged, CASES, settings, tmp_path)
    good = table_bytes(tmp_path)
    (file,) = (f for f in tmp_path.glob("*/cases/*") if pq.read_table(f)["case"].to_pylist() == ["case 2"])
    DAMAGE[damage](file)
    with pytest.warns(UserWarning, match=rf"{file.name} is damaged and case 'case 2' is computed again"):
        benchmark.run(logged, CASES, settings, tmp_path)
    assert calls(tmp_path / "log") == [0, 1, 2, 2, 3, 4, 5] and table_bytes(tmp_path) == good
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        benchmark.run(logged, CASES, settings, tmp_path)
    assert len(calls(tmp_path / "log")) == 7


def test_a_failed_case_is_recorded_and_tried_again(tmp_path):
    cure = tmp_path / "cure"
    settings = {"log": str(tmp_path / "log"), "broken": [[0, str(cure)], [3, str(cure)]]}
    table = benchmark.run(logged, CASES, settings, tmp_path)
    assert benchmark.failed(table).to_numpy().tolist() == [[f"case {i}", f"RuntimeError: no {cure}"] for i in (0, 3)]
    assert len(table) == 6 and list(table["value"].dropna()) == [0.5, 1.0, 2.0, 2.5]
    (file,) = tmp_path.glob("*/table.parquet")
    before = pq.read_schema(file)

    cure.touch()
    again = benchmark.run(logged, CASES, settings, tmp_path)
    assert calls(tmp_path / "log") == [0, 0, 1, 2, 3, 3, 4, 5] and benchmark.failed(again).empty
    assert before.equals(pq.read_schema(file), check_metadata=True) and (table.dtypes == again.dtypes).all()
    benchmark.run(logged, CASES, settings, tmp_path / "at once")
    assert table_bytes(tmp_path / "at once") == file.read_bytes()


def test_an_error_that_the_function_writes_is_a_result(tmp_path):
    settings = {"log": str(tmp_path / "log"), "partly": [[0, "nowhere"]]}
    for _ in range(2):
        table = benchmark.run(logged, CASES, settings, tmp_path)
        assert table["error"].tolist()[0] == "later" and table["error"][1:].isna().all()
        assert benchmark.failed(table).empty and calls(tmp_path / "log") == list(range(6))


def test_a_changed_setting_never_mixes_with_old_rows(tmp_path):
    log = str(tmp_path / "log")
    one = benchmark.location(logged, {"log": log}, tmp_path)
    benchmark.run(logged, CASES, {"log": log}, tmp_path)
    for settings, threads in (({"log": log, "broken": []}, 1), ({"log": log}, 2)):
        benchmark.run(logged, CASES, settings, tmp_path, threads=threads)
        assert benchmark.location(logged, settings, tmp_path, threads=threads).is_dir()
    benchmark.run(threads_and_order, CASES, {}, tmp_path)
    assert len(list(tmp_path.glob("*/table.parquet"))) == 4 and len(calls(log)) == 18
    benchmark.run(logged, CASES, {"log": log}, tmp_path)
    assert len(calls(log)) == 18
    known = json.loads((one / "settings.json").read_text())
    assert known["settings"] == {"log": log} and known["function"].endswith("test_benchmark.logged")
    assert known["versions"]["wam"] == wam.__version__ and "torch" in known["versions"] and known["threads"] == 1


def test_versions_and_the_order_of_settings(tmp_path, monkeypatch):
    settings = {"log": "log", "broken": [1]}
    place = benchmark.location(logged, settings, tmp_path)
    assert benchmark.location(logged, dict(reversed(settings.items())), tmp_path) == place
    monkeypatch.setattr(benchmark, "_VERSIONS", benchmark._VERSIONS | {"wam": "99"})
    assert benchmark.location(logged, settings, tmp_path) != place


def test_cases_are_added_without_computing_the_old_ones(tmp_path):
    settings = {"log": str(tmp_path / "log")}
    benchmark.run(logged, {"case 1": 1}, settings, tmp_path)
    assert len(benchmark.run(logged, CASES, settings, tmp_path)) == 6
    assert calls(tmp_path / "log") == list(range(6))


# rows


def test_columns_have_one_type_whatever_is_missing(tmp_path):
    cases = {
        "a": [{"n": np.int32(1), "value": np.float32(0.5), "none": None}, {"n": 2, "right": True, "text": "x"}],
        "b": [{"value": 1, "late": 2**60 + 1, "text": None}],
        "c": [],
        "d": [{"value": float("nan")}],
    }
    table = benchmark.run(odd, cases, {}, tmp_path)
    assert list(table) == ["case", "n", "value", "none", "right", "text", "late", "error"]
    assert list(table["case"]) == ["a", "a", "b", "d"]
    assert table["n"].tolist()[:2] == [1, 2] and table["late"][2] == 2**60 + 1 and table["right"][1] is np.True_
    assert table["value"].tolist()[0] == 0.5 and table["value"][2] == 1.0 and table["value"].isna().sum() == 2
    (file,) = tmp_path.glob("*/table.parquet")
    types = {field.name: str(field.type) for field in pq.read_schema(file)}
    assert types == {
        "case": "string",
        "n": "int64",
        "value": "double",
        "none": "double",
        "right": "bool",
        "text": "string",
        "late": "int64",
        "error": "string",
    }
    pd.testing.assert_frame_equal(table, benchmark.read(file))


@pytest.mark.parametrize(
    "rows, message",
    [
        ([{"value": [1.0]}], "TypeError: column 'value' holds list"),
        ([{"value": torch.ones(2)}], "value"),
        ([{"value": 1.0}, {"value": "one"}], "Arrow"),
        ([{"case": "mine"}], "ValueError: a row has a column 'case'"),
        (3, "TypeError"),
    ],
)
def test_rows_that_are_none_are_the_error_of_their_case(tmp_path, rows, message):
    table = benchmark.run(odd, {"bad": rows, "good": [{"value": 1.0}]}, {}, tmp_path)
    assert message in table["error"][0] and table["value"][1] == 1.0


def test_what_cannot_be_run_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no cases"):
        benchmark.run(odd, {}, {}, tmp_path)
    with pytest.raises(TypeError, match="must be text, got 3"):
        benchmark.run(odd, {3: 3}, {}, tmp_path)
    with pytest.raises(TypeError, match="importable"):
        benchmark.run(lambda case: [], {"a": 1}, {}, tmp_path)
    for settings in ({"x": torch.ones(1)}, {"x": float("nan")}):
        with pytest.raises(ValueError, match="settings must be"):
            benchmark.run(odd, {"a": []}, settings, tmp_path)
    with pytest.raises(ValueError, match="threads must be"):
        benchmark.run(odd, {"a": []}, {}, tmp_path, threads=0)
    with pytest.raises(TypeError, match="text in one case and numbers in another"):
        benchmark.run(odd, {"a": [{"v": 1}], "b": [{"v": "one"}]}, {}, tmp_path)


def test_the_bar_starts_at_what_is_done(tmp_path, capsys):
    settings = {"log": str(tmp_path / "log")}
    benchmark.run(logged, {key: CASES[key] for key in list(CASES)[:2]}, settings, tmp_path)
    assert capsys.readouterr().err == ""
    benchmark.run(logged, CASES, settings, tmp_path, progress=True)
    shown = re.findall(r"(\d)/6", capsys.readouterr().err)
    assert shown[0] == "2" and shown[-1] == "6"


# what must not share a process, or a folder


def alone(case, nap):
    """Says how many cases are inside at once."""
    INSIDE.append(case)
    time.sleep(nap)
    value = len(INSIDE)
    INSIDE.remove(case)
    return [{"inside": value}]


INSIDE = []


def test_threads_of_one_process_take_turns(tmp_path):
    with joblib.parallel_config(backend="threading", n_jobs=3):
        table = benchmark.run(alone, CASES, {"nap": 0.02}, tmp_path)
    assert table["inside"].tolist() == [1] * len(CASES)


def test_changed_code_or_libraries_are_another_run(tmp_path, monkeypatch):
    before = benchmark.location(faithful, {"steps": 3}, tmp_path)
    identity = benchmark._identity(faithful, {"steps": 3}, 1)
    monkeypatch.setattr(benchmark, "_CODE", "edited")
    assert benchmark.location(faithful, {"steps": 3}, tmp_path) != before
    with pytest.raises(RuntimeError, match="other code or libraries"):
        benchmark._attempt(faithful, "a", 1, identity)


def test_names_that_are_not_unicode_are_cases_like_others(tmp_path):
    table = benchmark.run(complains, {"caf\udce9": "caf\udce9", "b": "b"}, {}, tmp_path)
    assert table["case"].tolist() == ["caf\\udce9", "b"]
    assert table["error"].tolist() == ["ValueError: no caf\\udce9", "ValueError: no b"]


def complains(case):
    raise ValueError(f"no {case}")


def test_methods_of_objects_are_refused(tmp_path):
    with pytest.raises(TypeError, match="must be importable by name"):
        benchmark.run({}.get, CASES, {}, tmp_path)
