"""The ten recordings, and ESC-50 folders in the true format, written here: their sounds are synthetic."""

import csv
import os
import re

import numpy as np
import pytest
import soundfile
import torch

import wam.data
from wam import sound_models
from wam.sounds import ANIMALS, SoundExamples, SoundFiles, esc50, recordings

HEADER = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
CLASSES = {0: "dog", 10: "rain", 38: "clock_tick"}  # their targets and names in ESC-50
RATE, SAMPLES = 44100, 70000  # 1.6 s; the real clips have 5 s


def synthetic(target, seed):
    """A loud decaying tone, noise, or clicks: three classes that nobody would take for one another."""
    random, t = np.random.default_rng([target, seed]), np.arange(SAMPLES) / RATE
    if target == 0:
        x = np.sin(2 * np.pi * random.uniform(300, 500) * t) * np.exp(-3 * t)
    elif target == 10:
        x = random.normal(size=SAMPLES) * 0.2
    else:
        x = (np.arange(SAMPLES) % int(RATE * random.uniform(0.2, 0.3)) < 40).astype(float)
    return 0.5 * x / np.abs(x).max()


def write_esc50(root, takes="AB"):
    """Three classes in five folds, one or two clips of each, with the names, the table and the format of ESC-50."""
    (root / "meta").mkdir(parents=True)
    (root / "audio").mkdir()
    rows = []
    for target, category in CLASSES.items():
        for fold in range(1, 6):
            for take in takes:
                source = 100000 + 10 * target + fold
                name = f"{fold}-{source}-{take}-{target}.wav"
                soundfile.write(root / "audio" / name, synthetic(target, 2 * fold + (take == "B")), RATE, "PCM_16")
                rows.append([name, fold, target, category, target != 38, source, take])
    write_table(root, rows)
    return root


def write_table(root, rows, header=HEADER):
    with (root / "meta" / "esc50.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def read_table(root):
    with (root / "meta" / "esc50.csv").open(newline="") as file:
        return list(csv.reader(file))[1:]


@pytest.fixture
def folder(tmp_path):
    return write_esc50(tmp_path / "ESC-50-master")


def test_the_ten_recordings():
    sounds = recordings()
    assert [sound.name for sound in sounds] == list(ANIMALS)
    assert [sound.label for sound in sounds] == list(range(10)) == list(sounds.labels)
    assert sounds.categories == tuple(ANIMALS.values())
    assert {sound.clip.rate for sound in sounds} == {44100, 48000}
    assert {sound.name for sound in sounds if sound.clip.channels == 2} == {"duck", "rooster"}
    seconds = {sound.name: sound.clip.seconds for sound in sounds}
    assert min(seconds, key=seconds.get) == "sheep" and max(seconds, key=seconds.get) == "owl"
    assert seconds["sheep"] == pytest.approx(0.9, abs=0.05) and seconds["owl"] == pytest.approx(8.5, abs=0.05)
    for sound in sounds:
        assert 0.5 < sound.clip.samples.abs().max() < 1.01 and "CC0" in sound.source and "Sardin" in sound.source


def test_every_recording_has_a_category_of_yamnet():
    categories = wam.models.load("yamnet").categories
    assert set(ANIMALS.values()) <= set(categories) and len(set(ANIMALS.values())) == 10
    model = wam.models.load("yamnet").only(recordings().categories)
    assert model.categories == tuple(ANIMALS.values())


def test_a_fold_of_esc50(folder):
    sounds = esc50(folder, folds=(2,))
    assert isinstance(sounds, SoundFiles) and len(sounds) == 6
    assert [path.name for path in sounds.paths] == sorted(path.name for path in sounds.paths)
    assert [int(path.stem.split("-")[-1]) for path in sounds.paths] == list(sounds.labels) == [0, 0, 10, 10, 38, 38]
    assert len(sounds.categories) == 50
    assert {label: sounds.categories[label] for label in CLASSES} == CLASSES
    assert sounds.categories[17] == "class 17"
    sound = sounds[3]
    assert (sound.name, sound.label, sound.clip.rate, sound.clip.channels) == ("2-100102-B-10", 10, 44100, 1)
    assert "ESC-50" in sound.source and "fold 2" in sound.source
    np.testing.assert_allclose(sound.clip.samples[0], synthetic(10, 5), rtol=0, atol=1 / 32768)


def test_folds_are_disjoint_and_categories_do_not_depend_on_them(folder):
    one, rest = esc50(folder), esc50(folder, range(2, 6))
    assert {path.name[0] for path in one.paths} == {"1"} and {path.name[0] for path in rest.paths} == set("2345")
    assert not set(one.paths) & set(rest.paths) and len(one) + len(rest) == 30
    assert one.categories == rest.categories
    assert "folds 2, 3, 4, 5" in rest.source
    write_table(
        folder, [row for row in read_table(folder) if row[1] != "2" or row[2] != "38"]
    )  # a class, not in fold 2
    assert esc50(folder, (2,)).categories == one.categories


def test_the_order_of_the_table_and_further_columns_do_not_matter(folder):
    files = esc50(folder)
    rows = read_table(folder)
    write_table(
        folder, [[row[2], row[0], row[3], row[1]] for row in rows[::-1]], ["target", "filename", "category", "fold"]
    )
    assert esc50(folder) == files


def test_the_folder_comes_from_the_environment_too(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("WAM_ESC50", str(folder))
    assert wam.data.esc50() == esc50(folder)
    with pytest.raises(FileNotFoundError, match="nowhere"):  # the parameter goes first
        esc50(tmp_path / "nowhere")


def test_slices_read_nothing_and_indices_wrap(folder):
    sounds = esc50(folder)
    for path in sounds.paths[:5]:
        path.unlink()
    last = sounds[-2:]
    assert isinstance(last, SoundFiles) and len(last) == 2 and last.categories == sounds.categories
    assert last[-1].label == sounds[-1].label == 38
    with pytest.raises(IndexError):
        sounds[6]


@pytest.mark.parametrize("content", ["cut off", "no sound", "empty", "gone"])
def test_an_unreadable_sound_is_named_when_it_is_read(folder, content):
    sounds = esc50(folder)
    path = sounds.paths[1]
    good = path.read_bytes()
    path.write_bytes({"cut off": good[:-2000], "no sound": b"<html>"}.get(content, b""))
    if content == "gone":
        path.unlink()
    assert sounds[0].label == 0
    with pytest.raises((ValueError, FileNotFoundError), match=path.name):
        sounds[1]


LAYOUT = r"[\s\S]*meta/esc50\.csv[\s\S]*audio/1-100032-A-0\.wav[\s\S]*WAM_ESC50"


def test_errors_say_what_to_put_where(folder, tmp_path, monkeypatch):
    monkeypatch.delenv("WAM_ESC50", raising=False)
    with pytest.raises(FileNotFoundError, match="no folder" + LAYOUT):
        esc50()
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder" + LAYOUT):
        esc50(tmp_path / "nowhere")
    (folder / "meta" / "esc50.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"no table .*esc50\.csv" + LAYOUT):
        esc50(folder)


def test_missing_sounds_are_named_and_counted(folder):
    (folder / "audio" / "1-100101-A-10.wav").unlink()
    (folder / "audio" / "1-100381-B-38.wav").unlink()
    (folder / "audio" / "2-100002-A-0.wav").unlink()
    assert len(esc50(folder, (3, 4, 5))) == 18
    with pytest.raises(FileNotFoundError, match=r"1-100101-A-10\.wav is missing \(2 of the 6 " + LAYOUT):
        esc50(folder)


@pytest.mark.parametrize("folds", [(), (0,), (1, 6), 1, ("1",), None])
def test_folds_that_do_not_exist(folder, folds):
    with pytest.raises(ValueError, match="folds must be some of 1 to 5.*" + re.escape(repr(folds))):
        esc50(folder, folds)


def test_a_fold_without_clips_is_named(folder):
    write_table(folder, [row for row in read_table(folder) if row[1] != "4"])
    assert len(esc50(folder, (3, 5))) == 12
    with pytest.raises(ValueError, match=r"esc50\.csv has no clips of fold 4"):
        esc50(folder, (3, 4))


@pytest.mark.parametrize("column", HEADER[:4])
def test_a_missing_column_is_named(folder, column):
    i = HEADER.index(column)
    rows = [row[:i] + row[i + 1 :] for row in read_table(folder)]
    write_table(folder, rows, HEADER[:i] + HEADER[i + 1 :])
    with pytest.raises(ValueError, match=rf"esc50\.csv, line 1: there is no column {column}; .*filename, fold"):
        esc50(folder)


def test_an_empty_table(folder):
    (folder / "meta" / "esc50.csv").write_text("")
    with pytest.raises(ValueError, match=r"esc50\.csv, line \d: there is no column filename"):
        esc50(folder)
    write_table(folder, [])
    with pytest.raises(ValueError, match="no clips of fold 1"):
        esc50(folder)


@pytest.mark.parametrize(
    "column, value, message",
    [
        ("target", "50", "target must be a whole number from 0 to 49, got '50'"),
        ("target", "-1", "target must be a whole number from 0 to 49, got '-1'"),
        ("target", "dog", "target must be .* got 'dog'"),
        ("target", "1.0", r"target must be .* got '1\.0'"),
        ("target", "", "target must be .* got ''"),
        ("fold", "6", "fold must be a whole number from 1 to 5, got '6'"),
        ("fold", "0", "fold must be .* got '0'"),
        ("fold", "²", "fold must be .* got '²'"),
        ("category", "", "category is empty"),
        ("category", "cat", "target 0 is called 'cat' here and 'dog' before"),
        ("filename", "", "filename must be the name of a file, got ''"),
        ("filename", "../1-100001-A-0.wav", "filename must be the name of a file, got '../.*'"),
        ("filename", "1-100001-A-0.wav", "1-100001-A-0.wav is listed twice"),
    ],
)
def test_a_broken_line_is_named(folder, column, value, message):
    rows = read_table(folder)
    rows[3][HEADER.index(column)] = value  # a dog of fold 2: no matter that another fold is asked for
    write_table(folder, rows)
    with pytest.raises(ValueError, match=rf"esc50\.csv, line 5: {message}; restore"):
        esc50(folder, (1,))


def test_a_line_that_ends_early_and_bytes_that_are_no_text(folder):
    table = folder / "meta" / "esc50.csv"
    lines = table.read_bytes().splitlines(keepends=True)
    table.write_bytes(b"".join([*lines[:7], b"1-100001-C-0.wav,1\n", *lines[7:]]))
    with pytest.raises(ValueError, match=r"esc50\.csv, line 8: target must be .* got ''"):
        esc50(folder)
    table.write_bytes(b"".join([*lines[:7], b"\xff\xfe\n"]))
    with pytest.raises(ValueError, match=r"esc50\.csv, line \d+: .*(codec|decode)"):
        esc50(folder)
    table.write_bytes(b"\xef\xbb\xbf" + b"".join(lines))  # as a spreadsheet saves it
    assert len(esc50(folder)) == 6


@pytest.fixture(scope="module")
def model():
    return sound_models.kumar(classes=50)


def test_examples_are_what_the_model_prepares(folder, model):
    sounds = esc50(folder, (1, 3))
    examples = SoundExamples(model, sounds)
    assert len(examples) == 12
    for sound, (x, label) in zip(sounds, examples):
        assert x.shape == (1, SAMPLES) and label == sound.label
        assert x.abs().max() == 1  # the clips have a peak of 0.5
        torch.testing.assert_close(x, 2 * sound.clip.samples, rtol=1e-3, atol=0)


@pytest.mark.parametrize("fault", ["rate", "stereo", "silence", "length"])
def test_an_example_that_does_not_fit_is_named(folder, model, fault):
    path, x = folder / "audio" / "1-100101-A-10.wav", synthetic(10, 2)
    x = {"stereo": np.stack([x, x], axis=1), "silence": 0 * x, "length": x[:-1]}.get(fault, x)
    soundfile.write(path, x, 22050 if fault == "rate" else RATE)
    examples = SoundExamples(model, esc50(folder))
    message = {"rate": "22050.*44100|44100.*22050", "stereo": "mono", "silence": "silence", "length": "69999.*70000"}
    examples[0]
    with pytest.raises(ValueError, match=f"1-100101-A-10.*({message[fault]})"):
        examples[2]


@pytest.mark.skipif("WAM_ESC50" not in os.environ, reason="needs ESC-50")
def test_the_real_esc50():
    for fold in range(1, 6):
        sounds = esc50(folds=(fold,))
        assert len(sounds) == 400 and np.bincount(sounds.labels).tolist() == [8] * 50
        assert len(set(sounds.categories)) == 50 and sounds.categories[:2] == ("dog", "rooster")
        assert (sounds[0].clip.rate, sounds[0].clip.channels, sounds[0].clip.seconds) == (44100, 1, 5)
