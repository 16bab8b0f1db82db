"""Fill the page of the results ledger: what the paper says (`book/claims.yml`), and what the chapters measured.

    python book/tools/ledger.py TEMPLATE LEDGER_DIR OUT.md

Every row that a chapter recorded must belong to an entry, and every entry must have its rows or a reason why it has
none; otherwise the build stops and says which.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from html import escape
from pathlib import Path
from typing import Any

import yaml

from wam import files
from wam.book import VERDICTS

CLAIMS = Path(__file__).resolve().parents[1] / "claims.yml"
MARK = "<!-- ledger -->"
KINDS = ("claim", "figure", "table", "equation", "setting")
EVIDENCE = ("rows", "from", "definition", "untested")
LAST = {"Fig.": 25, "Table": 5, "eq.": 10}
PLACES = {"abstract", "1", "2", "3", "3.1", "3.2", "3.3", "4.1", "4.2", "5", "project page", "poster"}
PLACES |= {"A.1", "A.2", "B.1", "B.2", "B.3", "C.1", "C.2", "C.3", "C.4"}
DEFINITION = "definition"  # of an entry that says what is meant: there is nothing to judge


def load(path: Path = CLAIMS) -> list[dict[str, Any]]:
    """The sections of the paper with their entries; `ValueError` names everything that is wrong with them."""
    sections = yaml.safe_load(path.read_text(encoding="utf-8"))
    entries = [entry for section in sections for entry in section["entries"]]
    faults, seen, rows = [], set(), {entry["id"] for entry in entries if "rows" in entry}
    for entry in entries:
        name = entry["id"]
        entry["where"] = [str(place) for place in entry["where"]]
        faults += [f"{name}: no place {place!r} in the paper" for place in entry["where"] if not _exists(place)]
        faults += [f"{name}: no entry {other!r} with rows" for other in entry.get("from", ()) if other not in rows]
        if name in seen:
            faults.append(f"{name}: twice")
        if not entry["where"] or not entry.get("says") or entry.get("kind") not in KINDS:
            faults.append(f"{name}: needs where, says, and a kind of {', '.join(KINDS)}")
        if sum(bool(entry.get(key)) for key in EVIDENCE) != 1:
            faults.append(f"{name}: needs exactly one of {', '.join(EVIDENCE)}")
        seen.add(name)
    places = {re.sub(r"[AB]$", "", place) for entry in entries for place in entry["where"]}
    missing = [f"{label} {n}" for label, last in LAST.items() for n in range(1, last + 1)]
    faults += [f"no entry for {place}" for place in missing if place not in places]
    return _sound(sections, faults)


def matched(sections: list[dict[str, Any]], pages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The sections with what was recorded: `found`, rows with their chapter, and `verdict` of every entry.

    `ValueError` names the rows that belong to no entry and the entries whose rows were not recorded.
    """
    recorded = [{"chapter": page["chapter"], **row} for page in pages for row in page["rows"]]
    used, faults, by_id = set(), [], {}
    for entry in (entry for section in sections for entry in section["entries"]):
        entry["found"] = []
        for chapter, names in entry.get("rows", {}).items():
            for name in names:
                fits = [i for i, row in enumerate(recorded) if _fits(row, chapter, name)]
                if not fits:
                    faults.append(f"{chapter} recorded nothing named {name!r}, which {entry['id']!r} waits for")
                entry["found"] += [recorded[i] for i in fits]
                used.update(fits)
        entry["verdict"] = judged(row["verdict"] for row in entry["found"])
        entry["verdict"] = DEFINITION if "definition" in entry else entry["verdict"]
        by_id[entry["id"]] = entry
    for entry in by_id.values():
        entry["parts"] = [by_id[other] for other in entry.get("from", ())]
        if entry["parts"]:
            entry["verdict"] = judged(part["verdict"] for part in entry["parts"])
    lost = [row for i, row in enumerate(recorded) if i not in used]
    faults += [f"no entry of claims.yml has the row {row['claim']!r} of {row['chapter']}" for row in lost]
    return _sound(sections, faults)


def judged(verdicts: Iterable[str]) -> str:
    """One verdict for several rows: what all of them say that can be tested, and otherwise *partly*.

    >>> judged(["reproduced", "not testable here"]), judged(["reproduced", "not reproduced"]), judged([])
    ('reproduced', 'partly', 'not testable here')
    """
    tested = {verdict for verdict in verdicts if verdict != VERDICTS[3]}
    return VERDICTS[3] if not tested else tested.pop() if len(tested) == 1 else VERDICTS[1]


def page(sections: list[dict[str, Any]], pages: list[dict[str, Any]]) -> str:
    """The ledger in Markdown: counts, a filter, the entries by section of the paper, and the provenance."""
    sections = matched(sections, pages)
    columns = (*VERDICTS, DEFINITION)
    total = [sum(count) for count in zip(*(_counts(section, columns) for section in sections))]
    claims = sum(total[:-1])
    lines = [f"The paper makes **{claims} claims** that we list: "]
    lines[0] += ", ".join(f"**{n}** {verdict}" for n, verdict in zip(total, VERDICTS))
    lines[0] += f". {total[-1]} more entries define something, which leaves nothing to judge."
    counts = _table(("section", *columns), (_count_row(section, columns) for section in sections))
    lines += ["", "<details>", "<summary>By section of the paper</summary>", "", *counts, "", "</details>"]
    lines += ["", _filter(columns, total)]
    for section in sections:
        lines += ["", f"({_anchor(section)})=", f"## {_title(section)}"]
        for entry in section["entries"]:
            lines += ["", *_entry(entry)]
    return "\n".join([*lines, "", *_provenance(pages)]) + "\n"


def _counts(section: Mapping[str, Any], columns: Iterable[str]) -> list[int]:
    return [sum(entry["verdict"] == column for entry in section["entries"]) for column in columns]


def _count_row(section: Mapping[str, Any], columns: Iterable[str]) -> list[str]:
    return [f"[{_title(section)}](#{_anchor(section)})", *(str(n or "") for n in _counts(section, columns))]


def _entry(entry: Mapping[str, Any]) -> list[str]:
    """An entry that unfolds: its verdict, its places and what it says; below, the rows or the reason."""
    verdict = entry["verdict"]
    head = f'<span class="verdict">{verdict}</span> <span class="where">{escape(_places(entry))}</span>'
    lines = [f'<details class="claim" id="claim-{entry["id"]}" data-verdict="{_slug(verdict)}">']
    lines += [f"<summary>{head} {escape(' '.join(entry['says'].split()))}</summary>", ""]
    for row in entry["found"]:
        lines.append(f"- **{row['verdict']}**, {_chapter(row['chapter'])}: {cell(row['claim'])}")
        for name, key in (("paper", "paper"), ("here", "here"), ("remark", "difference")):
            lines += [f"  - {name}: {cell(row[key])}"] * (row[key] not in ("–", ""))
    for part in entry["parts"]:
        link = f'<a href="#claim-{part["id"]}">{escape(part["says"])}</a>'
        lines.append(f"- **{part['verdict']}**, {cell(_places(part))}: {link}")
    if "definition" in entry:
        lines.append(" ".join(entry["definition"].split()))
    if "untested" in entry:
        lines.append(f"*Why not:* {' '.join(entry['untested'].split())}.")
    return [*lines, "", "</details>"]


def _filter(columns: Iterable[str], total: Iterable[int]) -> str:
    """Radio buttons that show one verdict: style alone, so that they work without a script."""
    choices, rules = ['<label><input type="radio" name="verdict" value="all" checked> all</label>'], []
    for verdict, n in zip(columns, total):
        name = _slug(verdict)
        label = f"{verdict} ({n})"
        choices.append(f'<label><input type="radio" name="verdict" value="{name}"> {label}</label>')
        other = f'details.claim:not([data-verdict="{name}"])'
        chosen = f'body:has(.verdicts input[value="{name}"]:checked)'
        rules.append(f"{chosen} {other}, {chosen} section:has(> {other}):not(:has(> [data-verdict={name}]))")
    style = f"<style>{', '.join(rules)} {{ display: none }}</style>"
    return f'<fieldset class="verdicts"><legend>Show claims that are</legend>{" ".join(choices)}</fieldset>\n{style}'


def _provenance(pages: list[dict[str, Any]]) -> list[str]:
    """What is the same for all chapters once, the rest in a table."""
    runs = {page["chapter"]: page["provenance"] for page in pages}
    keys = list(next(iter(runs.values())))
    shared = [key for key in keys if len({str(run[key]) for run in runs.values()}) == 1]
    own = [key for key in keys if key not in shared]
    same = ", ".join(f"{key} {next(iter(runs.values()))[key]}" for key in shared)
    rows = ([_chapter(chapter), *(cell(str(run[key])) for key in own)] for chapter, run in runs.items())
    return ["(provenance)=", "## Provenance", "", f"All chapters: {cell(same)}.", "", *_table(("chapter", *own), rows)]


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = list(head)
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _title(section: Mapping[str, Any]) -> str:
    return f"{section['section']}: {section['title']}"


def _anchor(section: Mapping[str, Any]) -> str:
    return f"section-{re.sub('[^a-z0-9]+', '-', str(section['section']).lower())}"


def _chapter(name: str) -> str:
    return f"[chapter {name[:2]}](../notebooks/{name})"


def _places(entry: Mapping[str, Any]) -> str:
    return ", ".join(re.sub(r"^(?=\d|[ABC]\.)", "§ ", place) for place in entry["where"])


def _slug(verdict: str) -> str:
    return verdict.replace(" ", "-")


def _exists(place: str) -> bool:
    numbered = re.fullmatch(r"(Fig\.|Table|eq\.) (\d+)[AB]?", place)
    return 1 <= int(numbered[2]) <= LAST[numbered[1]] if numbered else place in PLACES


def _fits(row: Mapping[str, str], chapter: str, name: str) -> bool:
    return row["chapter"] == chapter and fnmatchcase(row["claim"], name)


def _sound(sections: list[dict[str, Any]], faults: list[str]) -> list[dict[str, Any]]:
    if faults:
        raise ValueError("the ledger does not add up:\n  " + "\n  ".join(faults))
    return sections


def cell(text: str) -> str:
    """Text as it is, in Markdown."""
    for character in "\\`*_|$[]~":
        text = text.replace(character, f"\\{character}")
    return " ".join(escape(text, quote=False).split())


def main(template: str, folder: str, out: str) -> None:
    """Write `template` to `out`, with the ledger of `folder` in the place of its mark."""
    pages = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(folder).glob("*.json"))]
    if not pages:
        raise ValueError(f"no results in {folder}: run the chapters first (make execute)")
    fill(template, MARK, page(load(), pages), out)


def fill(template: str, mark: str, content: str, out: str) -> None:
    """Write the page `template` to `out`, with `content` in the place of `mark`."""
    text = Path(template).read_text(encoding="utf-8")
    if mark not in text:
        raise ValueError(f"{template} has no line {mark}, in whose place the results would go")
    text = text.replace(mark, content)
    files.replace(Path(out), lambda scratch: scratch.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(f"usage: python {sys.argv[0]} TEMPLATE LEDGER_DIR OUT.md")
    try:
        main(*sys.argv[1:])
    except ValueError as error:
        sys.exit(f"error: {error}")
