"""The build's own guards: what they let through and what they stop."""

from pathlib import Path

import nbformat
import pytest
import yaml

import chapters
import check_site

CHAPTER = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One
#
# <!-- cost -->

# %% tags=["parameters"]
profile: str = "embedded"  # size
n: int = 3  # how many

# %%
import json, os, pathlib, sys

pathlib.Path(os.environ["WAM_LEDGER"], "one.json").write_text(json.dumps([profile, n]))
print(profile, n)
"""


def notebook(*outputs, tags=()):
    cell = nbformat.v4.new_code_cell("run()", outputs=list(outputs), metadata={"tags": list(tags)})
    return nbformat.v4.new_notebook(cells=[cell])


ERROR = nbformat.v4.new_output("error", ename="ValueError", evalue="bad", traceback=[])
STDERR = nbformat.v4.new_output("stream", name="stderr", text="UserWarning: careful\n")
STDOUT = nbformat.v4.new_output("stream", name="stdout", text="fine\n")
WIDGET = nbformat.v4.new_output("display_data", data={chapters.WIDGET: {}, "text/plain": "interactive(...)"})


def test_errors_and_warnings_are_faults():
    assert chapters.faults(notebook(STDOUT)) == []
    assert "ValueError: bad" in chapters.faults(notebook(ERROR))[0]
    assert "careful" in chapters.faults(notebook(STDERR))[0]
    assert chapters.faults(notebook(ERROR, tags=["raises-exception"])) == []
    assert chapters.faults(notebook(STDERR, tags=["remove-stderr"])) == []
    assert len(chapters.faults(notebook(ERROR, STDERR, tags=["remove-stderr"]))) == 1


def test_widgets_are_dropped_and_the_rest_stays():
    live = notebook(STDOUT, WIDGET)
    live.metadata["widgets"] = {"state": {}}
    still = chapters.without_widgets(live)
    assert still.cells[0].outputs == [STDOUT] and "widgets" not in still.metadata


def test_parameters_need_exactly_one_cell():
    tagged = [nbformat.v4.new_code_cell("n: int = 8  # images", metadata={"tags": ["parameters"]}) for _ in range(2)]
    assert chapters.parameters(nbformat.v4.new_notebook(cells=tagged[:1])) == ["n"]
    for cells in ([], tagged):
        with pytest.raises(ValueError, match="exactly one"):
            chapters.parameters(nbformat.v4.new_notebook(cells=cells))


def test_unknown_parameter_is_named():
    with pytest.raises(ValueError, match=r"no parameter 'm'; it has n, profile"):
        chapters.check_names("one", {"m": 1}, ["n", "profile"])


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s")])
def test_duration(seconds, words):
    assert chapters.duration(seconds) == words


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAM_LEDGER", "")  # restored afterwards
    monkeypatch.setenv("TQDM_DISABLE", "")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "one.py").write_text(CHAPTER)
    return tmp_path


def test_chapter_is_published_whole_or_not_at_all(book):
    chapters.execute("one", "paper")
    page, rows = book / "build/site/notebooks/one.ipynb", book / "build/site/ledger/one.json"
    text = page.read_text()
    assert "profile `paper`" in text and "paper 3" in text and chapters.COST not in text
    assert str(book) not in text
    assert rows.read_text() == '["paper", 3]'
    for bad in ("1 / 0", 'print("look", file=sys.stderr)'):
        (book / "notebooks" / "one.py").write_text(CHAPTER.replace("print(profile, n)", bad))
        with pytest.raises((ValueError, chapters.papermill.exceptions.PapermillExecutionError)):
            chapters.execute("one", "embedded")
        assert page.read_text() == text and rows.read_text() == '["paper", 3]'


def test_smoke_copies_carry_the_small_parameters(book):
    settings = book / "smoke.yaml"
    settings.write_text("one: {n: 1}\n")
    chapters.prepare(settings, book / "copies")
    copy = nbformat.read(book / "copies" / "one.ipynb", as_version=4)
    (injected,) = (c for c in copy.cells if "injected-parameters" in c.metadata.get("tags", []))
    assert "n = 1" in injected.source and all(not c.get("outputs") for c in copy.cells)
    settings.write_text("one: {m: 1}\n")
    with pytest.raises(ValueError, match="no parameter 'm'"):
        chapters.prepare(settings, book / "copies")


def test_solutions_of_exercises_run_in_smoke_copies(book):
    text = "**1.** ```python\nask()\n```\n<details>\n<summary>Solution</summary>\n\n```python\nfirst()\n```\n\nso\n\n"
    text += "```python\nsecond(\n)\n```\n\n```\nprinted\n```\n</details>\n\n```python\nno_solution()\n```\n"
    one = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("last()")])
    cells = chapters.with_solutions(one).cells
    assert [cell.source.strip() for cell in cells[1:]] == ["first()", "second(\n)", "last()"]
    assert [cell.metadata.get("tags") for cell in cells] == [None, ["remove-cell"], ["remove-cell"], None]


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<img src="a.png" alt="A cat and its heatmap">', None),
        ('<img src="a.png">', "without a text alternative"),
        ('<img src="a.png" alt=" ">', "without a text alternative"),
        ('<img src="a.png" alt="../_images/a.png">', "without a text alternative"),
        ('<script src="a.js"></script>', None),
        ('<script src="a.js"></script><script src="a.js"></script>', "loaded twice: a.js"),
        ('<script src="https://cdn.example/a.js"></script>', "needs a network"),
        ('<link rel="stylesheet" href="//cdn.example/a.css">', "needs a network"),
        ('<link rel="canonical" href="https://a.example/">', None),
        ("<script>const a = 1; const b = 2</script>", None),
        ("<script>const a = 1; const b = 2</script><script>const b = 2</script>", "declared twice"),
        (f"<code>PosixPath('{Path.cwd()}/wam')</code>", f"a folder of the machine that built it: {Path.cwd()}"),
        (f"<code>https://a.example{Path.cwd()}/wam</code>", None),
    ],
)
def test_page_guard(html, fault):
    found = check_site.faults(check_site.BeautifulSoup(html, "html.parser"))
    assert (fault is None and found == []) or fault in found[0]


def test_page_guard_needs_pages(tmp_path):
    assert check_site.main(tmp_path) == 1
    (tmp_path / "index.html").write_text('<img alt="A plot">')
    assert check_site.main(tmp_path) == 0
    (tmp_path / "index.html").write_text("<img>")
    assert check_site.main(tmp_path) == 1


def test_page_guard_needs_a_way_to_colab(tmp_path, capsys):
    config = yaml.safe_load(Path("_config.yml").read_text())
    page = tmp_path / "notebooks" / "01_theory.html"
    page.parent.mkdir()
    page.write_text(f'<a href="{config["repository"]["url"]}">repository</a>')
    assert check_site.main(tmp_path) == 1 and "no button" in capsys.readouterr().out
    address = config["repository"]["url"].replace("github.com", "colab.research.google.com/github")
    page.write_text(f'<a href="{address}/blob/main/notebooks/01_theory.ipynb">Colab</a>')
    assert check_site.main(tmp_path) == 0


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<a href="other.html#there">x</a><a href="#here" id="here">x</a><a href="https://a.example/b">x</a>', None),
        ('<a href="%6Fther.html?q=1">x</a><a href="mailto:a@b.example">x</a>', None),
        ('<a href="none.html">x</a>', "broken link: none.html"),
        ('<a href="other.html#nowhere">x</a>', "link to a missing anchor: other.html#nowhere"),
        ('<a href="#nowhere">x</a>', "link to a missing anchor: #nowhere"),
        ('<img alt="A plot" src="none.webp">', "broken link: none.webp"),
        ('<p id="a"></p><p id="a"></p>', "id given twice: a"),
        ('<img alt="Noise" src="heavy.webp"><img alt="Noise" src="heavy.webp">', None),
        ('<img alt="Noise" src="heavy.webp"><audio src="heavy.wav"></audio>', "weighs 4.00 MB"),
    ],
)
def test_site_guard(tmp_path, capsys, html, fault):
    (tmp_path / "other.html").write_text('<p id="there">')
    (tmp_path / "page.html").write_text(html)
    for name in ("heavy.webp", "heavy.wav"):
        (tmp_path / name).write_bytes(bytes(2_000_000))
    assert check_site.main(tmp_path) == (fault is not None)
    said = capsys.readouterr().out
    assert (fault or "2 pages checked, 0 faults") in said
