"""The recipes: the networks of digits on a few real ones, the others on tiny sets, in the true formats; the command."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from torch.nn.functional import cross_entropy

import wam.models
from test_sounds import write_esc50
from test_volumes import arrays, write
from wam import picture_models, pictures, recipes, volume_models, volumes
from wam.adversarial import robust_accuracy
from wam.audio import Clip
from wam.pictures import CIFAR10_CATEGORIES, Pictures
from wam.recipes import RECIPES, TRAININGS, main
from wam.sounds import esc50
from wam.training import accuracy
from wam.volumes import MEDMNIST, Volumes, medmnist3d

FEW = {"train": 160, "test": 48}
DIGITS = ("digits3d", "moving_digits")


def interrupt():
    raise KeyboardInterrupt


def read(path):
    with safe_open(path, framework="pt") as file:
        card = {name: json.loads(value) for name, value in file.metadata().items()}
        return card, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping


def assert_same_files(one, other):
    (card, state), (other_card, other_state) = read(one), read(other)
    assert card == other_card and list(state) == list(other_state)
    assert all(torch.equal(state[name], other_state[name]) for name in state)


# --- the networks of digits -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sets():
    """The first digits of both kinds and splits."""
    return {(name, split): getattr(volumes, name)(split, n) for name in DIGITS for split, n in FEW.items()}


@pytest.fixture
def few(sets, monkeypatch):
    """The recipes see few digits instead of 70,000."""
    for name in DIGITS:
        monkeypatch.setattr(volumes, name, lambda split, name=name: sets[name, split])
    return sets


def run(name, out, **settings):
    return RECIPES[name](out, **{"epochs": 2, "batch": 32, "progress": False} | settings)


@pytest.mark.parametrize("name", DIGITS)
def test_a_network_of_digits_and_its_file(few, tmp_path, monkeypatch, name):
    about = run(name, tmp_path)
    card, state = read(tmp_path / f"{name}.safetensors")
    assert card == about
    assert {value.dtype for value in state.values()} == {torch.float16}
    assert card["recipe"] == f"python -m wam.recipes {name} OUT" and card["channels"] == 1
    assert "MNIST, train" in card["data"] and "MNIST, test" in card["stored"]["on"]
    assert card["stored"]["of"] == 48 and card["stored"]["dtype"] == "float16"
    settings = {"epochs": 2, "batch": 32, "learning_rate": 2e-3, "seed": 0, "examples": 160}
    assert settings.items() <= card["settings"].items()

    monkeypatch.setattr(volume_models, "WEIGHTS", tmp_path)  # it is the file that comes with the package
    model, held_out = wam.models.load(name), few[name, "test"]
    assert list(model.categories) == card["categories"] and model.card == card
    head = model if name == "digits3d" else recipes._Pairs(model.network)
    assert accuracy(head, held_out) == card["stored"]["accuracy"]
    _, single = read(tmp_path / "weights.safetensors")
    for key, value in single.items():
        assert torch.equal(value.half(), state[key.removeprefix("network.")])


def test_digits_are_learned(few, tmp_path):
    about = run("digits3d", tmp_path, epochs=12)
    assert about["stored"]["accuracy"] > 0.5  # of ten classes, by 160 examples
    assert about["result"]["loss"] < 1.2


def test_the_logit_of_a_pair_is_the_sum_of_two(few):
    network = torch.nn.Linear(5, 14)
    x, y = torch.randn(6, 5), few["moving_digits", "train"][:6].labels
    digit, direction = network(x).split([10, 4], dim=1)
    pairs = recipes._Pairs(network)(x)
    assert pairs.shape == (6, 40)
    torch.testing.assert_close(cross_entropy(pairs, y), cross_entropy(digit, y // 4) + cross_entropy(direction, y % 4))
    assert torch.equal(pairs.argmax(1), 4 * digit.argmax(1) + direction.argmax(1))


@pytest.mark.parametrize("name", DIGITS)
def test_an_interrupted_recipe_continues_to_the_same_file(few, tmp_path, monkeypatch, capfd, name):
    command = [name, str(tmp_path / "cut"), "--epochs", "2", "--batch", "32"]
    taken, take = [], Volumes.__getitem__

    def take_until_the_second_epoch(self, index):
        taken.append(index)
        return interrupt() if len(taken) == FEW["train"] + 40 else take(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(Volumes, "__getitem__", take_until_the_second_epoch)
        assert main(command) == 130
    assert "interrupted: finished epochs are kept, and the same command continues" in capfd.readouterr().err
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["checkpoint.pt"]
    torch.manual_seed(7)  # what the generator of the caller is at does not matter
    assert main(command) == 0
    run(name, tmp_path / "whole")
    for file in ("weights.safetensors", f"{name}.safetensors"):
        assert_same_files(tmp_path / "cut" / file, tmp_path / "whole" / file)
    stored = read(tmp_path / "cut" / f"{name}.safetensors")[0]["stored"]
    said = f"accuracy of the weights in {tmp_path / 'cut'} on {stored['on']}: {stored['accuracy']:.4f}"
    assert said in capfd.readouterr().out


def test_seeds_differ_and_the_generator_is_left_alone(few, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    for seed in (0, 1):
        run("digits3d", tmp_path / str(seed), epochs=1, seed=seed)
    assert torch.equal(torch.rand(3), expected)
    one, other = (read(tmp_path / str(seed) / "digits3d.safetensors")[1] for seed in (0, 1))
    assert not any(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ValueError, match="seed is 0 there and 1 here"):
        run("digits3d", tmp_path / "0", epochs=1, seed=1)
    with pytest.raises(ValueError, match="run with other settings"):  # nor do two recipes share a folder
        run("moving_digits", tmp_path / "0", epochs=1)


# --- the family of CIFAR-10 -------------------------------------------------------------------------------------------

PERTURB = {  # as the runs of the shipped weights have it: another one could not continue them
    "erm": "Augment(shift=4)",
    "adv": "Attack(radius=0.01568627450980392, step=0.00392156862745098, steps=7, augment=Augment(shift=4))",
    "adv_fast": "Attack(radius=0.01568627450980392, step=0.0196078431372549, steps=1, augment=Augment(shift=4))",
    "adv_free": "Free(radius=0.01568627450980392, replays=4, augment=Augment(shift=4))",
}


@pytest.fixture
def coloured(monkeypatch):
    """The recipe sees few pictures, in the colours of their classes, instead of 60,000."""

    def pictures_of(split, n, seed):
        random = torch.Generator().manual_seed(seed)
        colours = torch.randint(0, 256, (10, 3, 1, 1), generator=torch.Generator().manual_seed(0))
        labels = torch.randint(0, 10, (n,), generator=random)
        noise = torch.randint(-20, 21, (n, 3, 32, 32), generator=random)
        values = (colours[labels] + noise).clamp(0, 255).to(torch.uint8)
        return Pictures(values, 255, labels, CIFAR10_CATEGORIES, f"CIFAR-10, {split} (made)")

    made = {"train": pictures_of("train", 64, 1), "test": pictures_of("test", 30, 2)}
    monkeypatch.setattr(pictures, "cifar10", lambda split: made[split])
    return made


@pytest.mark.parametrize("training", TRAININGS)
def test_one_of_the_family_and_its_file(coloured, tmp_path, monkeypatch, training):
    name = f"cifar10_{training}"
    about = run("cifar10", tmp_path, training=training)
    card, state = read(tmp_path / f"{name}.safetensors")
    assert card == about and card["name"] == name
    assert {key: value.dtype for key, value in state.items()} == {
        key: torch.int64 if key.endswith("num_batches_tracked") else torch.float16 for key in state
    }
    assert card["recipe"] == f"python -m wam.recipes cifar10 --training {training} OUT" and card["channels"] == 3
    assert (card["data"], card["stored"]["on"]) == ("CIFAR-10, train (made)", "CIFAR-10, test (made)")
    settings = {"epochs": 2, "batch": 32, "learning_rate": 2e-3, "seed": 0, "examples": 64, "parameters": 304_154}
    settings |= {"perturb": PERTURB[training], "replays": 4 if training == "adv_free" else 1}
    assert settings.items() <= card["settings"].items()

    monkeypatch.setattr(picture_models, "WEIGHTS", tmp_path)  # it is the file that comes with the package
    model = wam.models.load(name)
    assert model.card == card and model.categories == CIFAR10_CATEGORIES and model.name == name
    held_out = coloured["test"]
    assert card["stored"] == {
        "dtype": "float16",
        "accuracy": accuracy(model, held_out),
        "on": held_out.source,
        "of": 30,
        "pgd20": robust_accuracy(model, held_out, 4 / 255, steps=20),
        "radius": 4 / 255,
    }


def test_the_family_begins_with_the_same_weights(coloured, tmp_path):
    def begin(out, **settings):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Pictures, "__getitem__", lambda *_: interrupt())
            run("cifar10", out, **settings)
        return torch.load(out / "checkpoint.pt", weights_only=True)["model"]

    states = [begin(tmp_path / training, training=training) for training in TRAININGS]
    for state in states[1:]:
        assert all(torch.equal(value, states[0][key]) for key, value in state.items())
    other = begin(tmp_path / "other", seed=1)
    assert not torch.equal(other["linear.weight"], states[0]["linear.weight"])


def test_colours_are_learned_and_what_was_learned_is_said(coloured, tmp_path, capfd):
    options = ["--training", "adv_fast", "--radius", "0.05", "--epochs", "12", "--batch", "16"]
    assert main(["cifar10", str(tmp_path / "run"), *options]) == 0
    said = capfd.readouterr().out
    stored = read(tmp_path / "run" / "cifar10_adv_fast.safetensors")[0]["stored"]
    assert stored["accuracy"] > 0.5 and 0 < stored["pgd20"] <= stored["accuracy"] and stored["radius"] == 0.05
    assert f"on CIFAR-10, test (made): {stored['accuracy']:.4f}" in said
    assert f"under PGD of 20 steps with a radius of 12.75/255: {stored['pgd20']:.4f}" in said


def test_without_foolbox_nothing_is_trained(coloured, tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "foolbox", None)
    for training in TRAININGS:
        with pytest.raises(ImportError, match=r"pip install 'wam\[attacks\]'"):
            run("cifar10", tmp_path / "run", training=training)
    assert main(["cifar10", str(tmp_path / "run")]) == 2 and "error: robust accuracy is" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_the_family_does_not_know(coloured, tmp_path):
    for settings, message in (
        ({"training": "trades"}, "unknown training 'trades'; choose one of erm, adv, adv_fast, adv_free"),
        ({"radius": 4}, "radius must be above 0 and at most 1, for pictures from 0 to 1, got 4"),
        ({"radius": 0, "training": "adv"}, "radius must be above 0 .* got 0"),
        ({"epochs": 0}, "epochs must be an integer of at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            run("cifar10", tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


# --- the network of medical volumes -----------------------------------------------------------------------------------


@pytest.fixture
def medical(tmp_path):
    """A small set of fractures in the true format, and a folder that is emptied: the network has 33 million weights."""
    yield write(tmp_path / "fracturemnist3d.npz", arrays(12, classes=3)), tmp_path / "run"
    shutil.rmtree(tmp_path / "run", ignore_errors=True)


def test_the_network_of_medical_volumes_from_file_to_classifier(medical, capfd):
    file, out = medical
    options = ["--name", "fracturemnist3d", "--file", str(file), "--epochs", "1", "--batch", "4"]
    assert main(["medmnist3d", str(out), *options]) == 0
    assert f"accuracy of the weights in {out} on fracturemnist3d, test" in capfd.readouterr().out
    stored = out / "fracturemnist3d.safetensors"
    model, held_out = wam.models.load("medmnist3d", weights=stored), medmnist3d("fracturemnist3d", file=file)
    assert model.categories == MEDMNIST["fracturemnist3d"] and model.channels == 1
    assert accuracy(model, held_out) == model.card["stored"]["accuracy"]
    assert model.card[
        "recipe"
    ] == "python -m wam.recipes medmnist3d --name fracturemnist3d OUT" and "fracturemnist3d, test" in str(model.card)
    assert model.card["result"]["validation"] in (0, 0.5, 1)  # of two volumes
    assert model.card["settings"]["examples"] == 4 and model.card["settings"]["batch"] == 4
    assert "fracturemnist3d, train" in model.card["data"]
    single = wam.models.load("medmnist3d", weights=out / "weights.safetensors")  # the weights before they were rounded
    x = model.prepare(held_out)
    with torch.no_grad():
        torch.testing.assert_close(single(x), model(x), rtol=0, atol=0.05)


# --- the sound network ------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path):
    """Synthetic sounds of three classes, in five folds, in the true format."""
    return write_esc50(tmp_path / "ESC-50-master", takes="A")


def test_the_sound_network_learns_a_tiny_esc50(tiny, tmp_path):
    records = recipes.esc50(tiny, tmp_path / "run", 2, epochs=15, batch=6, learning_rate=2e-3, progress=False)
    assert len(records) == 15 and records[-1]["loss"] < 0.2 * records[0]["loss"]

    model = wam.models.load("kumar_esc50", weights=tmp_path / "run" / "weights.safetensors")
    assert model.categories == esc50(tiny).categories and model.categories[38] == "clock_tick"
    assert predicted(model, tiny, (1, 3, 4, 5)) >= 8  # of 12; one answer for all would be right for 4
    assert records[-1]["validation"] == pytest.approx(predicted(model, tiny, (2,)) / 3)

    about, _ = read(tmp_path / "run" / "weights.safetensors")
    assert "folds 1, 3, 4, 5" in about["data"] and "fold 2" in about["held_out"]
    assert "binary_cross_entropy" in about["settings"]["loss"] and about["settings"]["examples"] == 12


def predicted(model, folder, folds):
    """How many sounds get their label."""
    files = esc50(folder, folds)
    guesses = model(model.prepare([sound.clip.normalised() for sound in files])).argmax(1).tolist()
    return sum(guess == label for guess, label in zip(guesses, files.labels, strict=True))


def test_the_sound_network_begins_as_its_seed_says(tiny, tmp_path, monkeypatch):
    def begin(out, seed):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(torch.nn.Module, "train", lambda *_: interrupt())
            recipes.esc50(tiny, out, epochs=1, seed=seed, progress=False)
        return torch.load(out / "checkpoint.pt", weights_only=True)["model"]["network.classifier.weight"]

    one, again, other = begin(tmp_path / "a", 0), begin(tmp_path / "b", 0), begin(tmp_path / "c", 1)
    assert torch.equal(one, again) and not torch.equal(one, other)


# --- the command line -------------------------------------------------------------------------------------------------


def test_the_command_line_trains_continues_and_says_what_is_wrong(tiny, tmp_path, monkeypatch, capfd):
    out = tmp_path / "run"
    command = ["esc50", str(tiny), str(out), "--fold", "3", "--epochs", "2", "--batch", "6"]
    reads, read_clip = [], Clip.read

    def read_until_the_second_epoch(path):
        reads.append(path)
        return interrupt() if len(reads) == 22 else read_clip(path)  # 2 to know the length, then 12 and 3 an epoch

    monkeypatch.setattr(Clip, "read", read_until_the_second_epoch)
    assert main(command) == 130
    assert "interrupted: finished epochs are kept, and the same command continues" in capfd.readouterr().err
    monkeypatch.undo()
    assert main(command) == 0
    said = capfd.readouterr()
    (first, second) = torch.load(out / "checkpoint.pt", weights_only=True)["records"]
    assert f"accuracy on the fold held out: {second['validation']:.3f}" in said.out
    assert str(out / "weights.safetensors") in said.out
    assert read(out / "weights.safetensors")[0]["result"]["epoch"] == 2 and first["epoch"] == 1

    assert main([*command, "--seed", "1"]) == 2
    assert "error: " in (error := capfd.readouterr().err) and "seed is 0 there and 1 here" in error
    (tiny / "audio" / "1-100001-A-0.wav").unlink()
    assert main(["esc50", str(tiny), str(tmp_path / "other")]) == 2
    assert "1-100001-A-0.wav is missing (1 of the " in capfd.readouterr().err


def test_mistakes_of_a_user_end_with_a_sentence(few, tmp_path, monkeypatch, capfd):
    npz, out = write(tmp_path / "set.npz", arrays(4)), str(tmp_path / "run")
    (tmp_path / "file").write_text("in the way")
    monkeypatch.delenv("WAM_ESC50", raising=False)
    monkeypatch.setitem(sys.modules, "medmnist", None)
    for arguments, message in (
        (["digits3d", out, "--epochs", "0"], "epochs must be an integer of at least 1, got 0"),
        (["digits3d", out, "--batch", "-1"], "batch must be an integer of at least 1, got -1"),
        (["digits3d", out, "--learning-rate", "nan"], "learning_rate > 0"),
        (["digits3d", out, "--seed", "-1"], "seed must be an integer of at least 0, got -1"),
        (["digits3d", out, "--device", "nonsense"], "nonsense"),
        (["digits3d", out, "--device", "xpu"], "XPU"),
        (["digits3d", out, "--learning-rate", "1e30", "--epochs", "1"], "the loss is nan in epoch 1"),
        (["moving_digits", str(tmp_path / "file")], "file"),
        (["medmnist3d", out, "--file", str(tmp_path / "nowhere.npz")], "nowhere.npz: take adrenalmnist3d.npz from"),
        (["medmnist3d", out, "--file", str(npz), "--name", "organmnist3d", "--epochs", "0"], "epochs must be"),
        (["medmnist3d", out, "--file", str(tmp_path / "file")], "file is not adrenalmnist3d.npz of MedMNIST3D"),
        (["medmnist3d", out, "--size", "30"], "with 28 and with 64 voxels"),
        (["cifar10", out, "--radius", "8"], "radius must be above 0 and at most 1, for pictures from 0 to 1, got 8"),
        (["medmnist3d", out], "pip install medmnist"),
        (["esc50", str(tmp_path / "nowhere"), out], "nowhere is not a folder"),
    ):
        assert main(arguments) == 2, arguments
        error = capfd.readouterr().err
        assert "error: " in error and message in error and "Traceback" not in error, arguments
        shutil.rmtree(out, ignore_errors=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "RECIPE"),
        (["esc51", "run"], "esc51"),
        (["digits3d"], "out"),
        (["digits3d", "run", "--epochs", "many"], "invalid int value: 'many'"),
        (["digits3d", "run", "--size", "28"], "--size"),
        (["cifar10", "run", "--training", "trades"], "invalid choice: 'trades'.*adv_free"),
        (["cifar10", "run", "--radius", "four"], "invalid float value: 'four'"),
        (["medmnist3d", "run", "--name", "pathmnist"], "invalid choice: 'pathmnist'.*adrenalmnist3d"),
        (["esc50", "folder"], "out"),
    ],
)
def test_what_the_command_does_not_know(arguments, message, capfd):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    said = capfd.readouterr().err
    assert said.startswith("usage: python -m wam.recipes") and re.search(message, said)


def test_help_lists_the_recipes_and_their_options(capfd):
    def help_of(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--help"])
        assert ended.value.code == 0
        return capfd.readouterr().out

    assert all(name in help_of() for name in RECIPES)
    common = ("out", "--epochs", "--batch", "--learning-rate", "--seed", "--device")
    own = {"medmnist3d": ("--name", "--file", "--size"), "esc50": ("folder", "--fold")}
    own["cifar10"] = ("--training", "--radius")
    for name in RECIPES:
        said = help_of(name)
        assert all(option in said for option in (*common, *own.get(name, ())))
        others = {option for options in own.values() for option in options} - set(own.get(name, ())) - {"folder", "out"}
        assert not any(f" {option} " in said for option in others)
        assert ":func:" not in said and "`" not in said


def test_the_module_is_a_command(tmp_path):
    command = [sys.executable, "-m", "wam.recipes", "esc50", str(tmp_path / "nowhere"), str(tmp_path / "out")]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 2 and "nowhere is not a folder" in process.stderr, process.stderr
    assert "Traceback" not in process.stderr
