"""The pages that are generated: the ledger from what chapters record, performance from the benchmarks."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import ledger
import performance
from wam.book import VERDICTS

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = ledger.load()
ENTRIES = [entry for section in SECTIONS for entry in section["entries"]]
FROM = {"id": "sum", "where": ["abstract"], "kind": "claim", "says": "everything", "from": ["one"]}


def pages(**changes):
    """What the chapters would have recorded: every row that an entry waits for, `partly`, but for `changes`."""
    rows = {}
    for entry in ENTRIES:
        for chapter, names in entry.get("rows", {}).items():
            for name in (name.replace("*", "net") for name in names):
                row = {"where": "Fig. 1", "verdict": "partly", "claim": name, "paper": "p", "here": "h <|$x_1$>"}
                rows.setdefault(chapter, {})[name] = row | {"difference": "–"}
    run = {"profile": "embedded", "seed": 0, "torch": "2.0"}
    made = [{"chapter": c, "provenance": dict(run), "rows": list(rows[c].values())} for c in sorted(rows)]
    for page in made:
        for row in page["rows"]:
            row["verdict"] = changes.get(row["claim"].replace(" ", "_"), row["verdict"])
    return made


def test_every_figure_table_and_equation_has_an_entry():
    places = " ".join(place for entry in ENTRIES for place in entry["where"])
    for label, last in (("Fig.", 25), ("Table", 5), ("eq.", 10)):
        assert {int(n) for n in re.findall(rf"{re.escape(label)} (\d+)", places)} == set(range(1, last + 1))
    for section in ("abstract", "3.1", "4.1", "4.2", "A.1", "B.3", "C.2", "project page", "poster"):
        assert any(section in entry["where"] for entry in ENTRIES), section
    assert len(ENTRIES) > 80 and {entry["kind"] for entry in ENTRIES} == set(ledger.KINDS)


def test_chapters_record_what_the_entries_wait_for():
    for entry in ENTRIES:
        for chapter, names in entry.get("rows", {}).items():
            source = (ROOT / "notebooks" / f"{chapter}.py").read_text(encoding="utf-8")
            for name in (name for name in names if "*" not in name):
                assert f'"{name}"' in source, (entry["id"], chapter, name)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"where": ["Fig. 26"]}, "no place 'Fig. 26'"),
        ({"where": []}, "needs where"),
        ({"kind": "rumour"}, "a kind of claim, figure"),
        ({"says": ""}, "needs where, says"),
        ({"untested": "no data"}, "exactly one of rows, from, definition, untested"),
        ({"from": ["two"]}, "no entry 'two' with rows"),
    ],
)
def test_faulty_entries_are_named(tmp_path, change, message):
    one = {"id": "one", "where": ["Fig. 1"], "kind": "figure", "says": "it is so", "rows": {"01_theory": ["so"]}}
    entries = [one, FROM | change]
    (tmp_path / "claims.yml").write_text(yaml.safe_dump([{"section": "1", "title": "t", "entries": entries}]))
    with pytest.raises(ValueError, match=f"sum: .*{message}"):
        ledger.load(tmp_path / "claims.yml")
    (tmp_path / "claims.yml").write_text(yaml.safe_dump([{"section": "1", "title": "t", "entries": [one, one]}]))
    with pytest.raises(ValueError, match="one: twice\n(.*\n)*  no entry for Fig. 2"):
        ledger.load(tmp_path / "claims.yml")


def test_rows_without_an_entry_and_entries_without_rows_stop_the_build():
    recorded = pages()
    recorded[0]["rows"].append(recorded[0]["rows"][0] | {"claim": "brand new"})
    with pytest.raises(ValueError, match="no entry of claims.yml has the row 'brand new' of 01_theory"):
        ledger.page(copy.deepcopy(SECTIONS), recorded)
    recorded = pages()
    gone = recorded[3]["rows"].pop()["claim"]
    with pytest.raises(ValueError, match=f"04_audio recorded nothing named '{re.escape(gone)}'"):
        ledger.page(copy.deepcopy(SECTIONS), recorded)


@pytest.mark.parametrize(
    "verdicts, expected",
    [
        ((), "not testable here"),
        (("not testable here", "not testable here"), "not testable here"),
        (("reproduced", "reproduced", "not testable here"), "reproduced"),
        (("reproduced", "not reproduced"), "partly"),
        (("not reproduced", "not reproduced"), "not reproduced"),
        (("partly", "reproduced"), "partly"),
    ],
)
def test_verdict_of_several_rows(verdicts, expected):
    assert ledger.judged(verdicts) == expected


def test_the_page_counts_what_was_recorded():
    changes = {"completeness": "reproduced", "level_j_spans": "not reproduced"}
    text = ledger.page(copy.deepcopy(SECTIONS), pages(**changes))
    verdicts = re.findall(r'<details class="claim" id="claim-[\w-]+" data-verdict="([\w-]+)">', text)
    assert len(verdicts) == len(ENTRIES) == text.count("</details>") - 1
    head = re.search(r"\*\*(\d+) claims\*\* that we list: (.*)\. (\d+) more", text)
    counts = {verdict: int(n) for n, verdict in re.findall(r"\*\*(\d+)\*\* ([\w ]+)", head[2])}
    assert counts == {verdict: verdicts.count(verdict.replace(" ", "-")) for verdict in VERDICTS}
    assert sum(counts.values()) == int(head[1]) and counts["reproduced"] == 1 and counts["not reproduced"] == 1
    assert int(head[3]) == verdicts.count("definition") and int(head[1]) + int(head[3]) == len(ENTRIES)
    assert "- here: h &lt;\\|\\$x\\_1\\$&gt;" in text
    assert "All chapters: profile embedded, seed 0, torch 2.0." in text
    for verdict in (*VERDICTS, "definition"):
        assert f'value="{verdict.replace(" ", "-")}"' in text


def test_the_tool_writes_a_page_or_says_why_not(tmp_path):
    for page in pages():
        (tmp_path / "rows").mkdir(exist_ok=True)
        (tmp_path / "rows" / f"{page['chapter']}.json").write_text(json.dumps(page), encoding="utf-8")
    command = [sys.executable, "book/tools/ledger.py", "book/ledger.md"]
    done = subprocess.run([*command, tmp_path / "rows", tmp_path / "out.md"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr
    text = (tmp_path / "out.md").read_text(encoding="utf-8")
    assert text.startswith("# Results ledger") and ledger.MARK not in text and "claim-fig-1" in text
    done = subprocess.run([*command, tmp_path, tmp_path / "no.md"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: no results in ")
    assert not (tmp_path / "no.md").exists()


@pytest.fixture
def executed(tmp_path):
    """One executed chapter of 80 seconds."""
    run = {"duration": 80.4, "parameters": {"profile": "paper"}, "start_time": "2026-02-03T04:05:06.7"}
    cells = [{"cell_type": "markdown", "source": ["# 01 A chapter\n", "text"]}]
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "01_one.ipynb").write_text(json.dumps({"cells": cells, "metadata": {"papermill": run}}))
    return folder


def test_performance_shows_every_number_of_the_results(executed):
    text = performance.page(ROOT / "benchmarks" / "results", executed)
    assert "| [01 A chapter](../notebooks/01_one) | 1 min 20 s | paper | 2026‑02‑03 |" in text
    assert "Together 1 min 20 s" in text and "No GPU was measured" in text
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        result = json.loads(path.read_text())
        for row in result["rows"]:
            cells = " | ".join(ledger.cell(performance._value(value)) for value in row.values())
            assert f"| {cells} |" in text, (path.name, row)
        assert result["machine"]["date"] in text and f"cores {result['machine']['cores']}" in text
    overhead = json.loads((ROOT / "benchmarks" / "results" / "overhead-cpu.json").read_text())["rows"]
    ratios = [row["ratio"] for row in overhead if "bare" not in row["call"]]
    assert f"| efficientnet_lite0, overhead | cpu | {min(ratios):.2f} to {max(ratios):.2f} |" in text


def test_performance_says_gpu_only_when_there_was_one(executed, tmp_path):
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    (results.parent / "overhead.py").write_text('"""What it costs.\n\n    python it\n\nAnd how."""')
    row = {"call": "IG", "seconds": 1.5, "ratio": 1.25}
    result = {"settings": {"device": "cuda", "model": "net"}, "machine": {"hardware": "a GPU"}, "rows": [row]}
    (results / "overhead-cuda.json").write_text(json.dumps(result))
    text = performance.page(results, executed)
    assert "No GPU" not in text and "| net, overhead | cuda | 1.25 to 1.25 |" in text
    assert "What it costs.\n\nAnd how." in text and "a GPU; no date" in text
    (results.parent / "explain.py").write_text('"""Cold starts."""')
    result["rows"] = [{"part": "wam explain", "seconds": 7.25, "ratio": 3.0}]
    (results / "explain-cpu.json").write_text(json.dumps(result))
    assert "A cold [`wam explain`](#benchmark-explain) took 7.2 seconds." in performance.page(results, executed)
    (results / "strange-cpu.json").write_text(json.dumps(result))
    with pytest.raises(ValueError, match="writes strange-cpu.json"):
        performance.page(results, executed)
    with pytest.raises(ValueError, match="no benchmarks in"):
        performance.page(tmp_path, executed)
