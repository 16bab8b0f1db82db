"""Reports: the numbers of the method itself, in figures and files that are whole or not there."""

import contextlib
import json
import os
import re
import resource
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch import nn

import wam
from wam import adapters, book, data, methods, models, player, plots, preparation, report
from wam.clips import Clip

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def photograph():
    model, (image,) = models.load("mobilenet_v2"), data.images(1)
    return model, image, report.explain(model, image, steps=4)


@pytest.fixture(scope="module")
def recording():
    model, sound = models.load("yamnet"), data.recordings()[2]
    return model, sound, report.explain(model, sound, steps=4, seconds=1)


@pytest.fixture(scope="module")
def volume():
    model, digits = models.load("digits3d"), data.digits3d("test", 1)
    return model, digits, report.explain(model, digits, steps=4)


@pytest.fixture(params=["photograph", "recording", "volume"])
def each(request):
    return request.getfixturevalue(request.param)


def equal(one, other):
    return torch.equal(one.attributions.pack()[0], other.attributions.pack()[0])


# what is explained


def test_defaults_are_those_of_the_chapters():
    for ndim, chapter in {1: "04_audio", 2: "02_images", 3: "05_voxels"}.items():
        source = (ROOT / "notebooks" / f"{chapter}.py").read_text()
        said = dict(re.findall(r'^(\w+): \w+ = "?([\w.]+)"?  #', source, re.MULTILINE))
        wavelet, levels = methods.FRAMES[ndim]
        assert wavelet == said.get("wavelet", "haar") and levels == int(said["levels"])
        assert methods.STEPS[ndim] >= int(said["steps"])
        assert methods.SAMPLES[ndim] == int(said["samples" if ndim > 1 else "steps"])
    assert float(re.search(r"^seconds: float = (\S+)", (ROOT / "notebooks/04_audio.py").read_text(), re.M)[1]) == 5
    assert preparation.SECONDS == 5


def test_the_explanation_is_that_of_the_method(photograph, recording, volume):
    model, image, found = photograph
    x = model.prepare([image])
    direct = wam.integrated_gradients(model, x, frame=wam.Wavelet("haar", 3, 2), steps=4, max_batch=4)
    assert equal(found.explanation, direct) and found.target == int(direct.target) == image.label
    assert torch.allclose(found.probabilities, model(x).softmax(1)[0], atol=1e-6)

    model, sound, found = recording
    x = model.prepare(sound.clip.mono().resample(16000).fit(1).normalised())
    frame = wam.Wavelet("sym8", 5, 1)
    direct = wam.integrated_gradients(model, x, frame=frame, steps=4, nodes="geometric", max_batch=4)
    assert equal(found.explanation, direct) and torch.equal(found.x, x)
    assert torch.allclose(found.probabilities, model(x).sigmoid()[0], atol=1e-6)

    model, digits, found = volume
    frame = wam.Wavelet("haar", 3, 3)
    direct = wam.integrated_gradients(model, model.prepare(digits), frame=frame, steps=4, max_batch=4)
    assert equal(found.explanation, direct) and torch.equal(found.x, model.prepare(digits))


@pytest.mark.parametrize("short, long", [("ig", "integrated_gradients"), ("sg", "smoothgrad"), ("grad", "saliency")])
def test_methods_have_two_names(volume, short, long):
    model, digits, _ = volume
    options = {"wavelet": "db2", "levels": 1, "target": 3, "seed": 5, "steps": 3, "samples": 3}
    one, other = (report.explain(model, digits, name, **options) for name in (short, long))
    x, frame = model.prepare(digits), wam.Wavelet("db2", 1, 3)
    more = {"ig": {"steps": 3}, "sg": {"samples": 3, "seed": 5}, "grad": {}}[short]
    direct = getattr(wam, long)(model, x, 3, frame=frame, max_batch=4, **more)
    assert equal(one.explanation, direct) and equal(other.explanation, direct) and one.target == 3


def test_a_read_volume_and_a_batch_of_one(volume):
    model, digits, found = volume
    for example in (digits[0][0], model.prepare(digits)):
        assert equal(report.explain(model, example, steps=4).explanation, found.explanation)
    for scale, said in ((3, "values from 0 to 1, got 0 to 3"), (-1, "got -1 to -0")):
        with pytest.raises(ValueError, match=said):
            report.explain(model, scale * digits[0][0])
    small = report.explain(model, digits[0][0][:, :10, :10, :10], "grad", wavelet="db2")
    assert small.explanation.frame.levels == 1  # three do not fit
    with pytest.raises(ValueError, match="3 levels of db2 do not fit"):
        report.explain(model, digits[0][0], wavelet="db2", levels=3)


def test_recordings_are_cut_and_repeated(recording):
    model, sound, _ = recording
    short = Clip(sound.clip.samples[:, :4410], sound.clip.rate)  # a tenth of a second
    found = report.explain(model, short, "grad")
    assert found.x.shape == (1, 1, model.minimum) and float(found.x.abs().max()) == 1
    assert found.settings["seconds explained"] == model.minimum / model.rate
    assert report.explain(model, sound, "grad").x.shape[2] == 5 * model.rate
    with pytest.raises(ValueError, match="silence"):
        report.explain(model, Clip(torch.zeros(1, 16000), 16000))


def test_small_pictures_take_a_photograph():
    image = data.images(1)[0].image
    found = report.explain(models.load("cifar10_erm"), image, "grad", levels=1)
    assert found.x.shape == (1, 3, 32, 32) and found.picture.shape == (1, 32, 32, 3)
    assert np.allclose(found.picture[0], found.x[0].permute(1, 2, 0))
    assert report.explain(models.load("lenet5"), image, "grad", levels=1).x.shape == (1, 1, 28, 28)


def test_modules_of_your_own(tmp_path, photograph):
    image = photograph[1].image
    net = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 3))
    found = report.explain(adapters.wrap(net, ndim=2), image, "grad", target="class 1")
    assert found.categories == ("class 0", "class 1", "class 2") and found.target == 1
    net = nn.Sequential(nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(4, 2))
    clip = Clip(torch.randn(1, 4000) / 5, 8000)
    found = report.explain(adapters.wrap(net, ndim=1, rate=8000), clip, "grad")
    assert found.rate == 8000 and found.save(tmp_path / "sound")
    net = nn.Sequential(nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Linear(16, 2))
    model = adapters.wrap(net, ndim=3, channels=2, mean=(1, 2), std=(2, 4))
    example = torch.arange(2 * 16**3.0).view(2, 16, 16, 16)
    found = report.explain(model, example, "grad")
    assert torch.allclose(
        found.x[0],
        (example - torch.tensor([1.0, 2])[:, None, None, None]) / torch.tensor([2.0, 4])[:, None, None, None],
    )
    assert found.save(tmp_path / "volume")


def test_the_class_to_explain(photograph):
    model, image, _ = photograph
    names = model.categories
    for target in (200, "200", names[200], names[200].upper()):
        assert report.explain(model, image, "grad", target=target).target == 200
    for target, said in (
        ("bul mastif", "did you mean 'bull mastiff'"),
        ("mastiff", "'bull mastiff' or 'Tibetan mastiff'"),
        (1000, "no class 1000: the model has classes 0 to 999"),
        ("-1", "no class -1"),
        ("", "see model.categories"),
        ("²", "there is no class '²'"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            report.explain(model, image, "grad", target=target)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    twins = adapters.wrap(net, ndim=2, categories=["crane", "7", "Crane"])
    assert report.explain(twins, image, "grad", target="7").target == 1  # a name before an index
    with pytest.raises(ValueError, match="2 classes are called 'crane': give the index, 0 or 2"):
        report.explain(twins, image, "grad", target="crane")


def test_what_cannot_be_explained(photograph, volume):
    model, image, _ = photograph
    with pytest.raises(ValueError, match="unknown method 'integrated_gradient'; did you mean 'integrated_gradients'"):
        report.explain(model, image, "integrated_gradient")
    with pytest.raises(ValueError, match="unknown discrete wavelet 'db44'; did you mean 'db4'"):
        report.explain(model, image, wavelet="db44")
    for top in (0, 1.1, -1):
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            report.explain(model, image, top=top)
    with pytest.raises(
        TypeError, match="mobilenet_v2 explains images, got a recording: choose a model of sounds, such"
    ):
        report.explain(model, Clip(torch.ones(1, 10), 10))
    with pytest.raises(TypeError, match="digits3d explains volumes, got an image"):
        report.explain(volume[0], image)
    with pytest.raises(ValueError, match="got a batch of 2"):
        report.explain(model, torch.zeros(2, 3, 224, 224))
    with pytest.raises(ValueError, match="the output of the model of samples .0. holds NaN"):
        report.explain(adapters.wrap(Undefined(), ndim=2), image)


def test_models_that_are_no_classifiers_or_half_ones(photograph):
    _, image, _ = photograph
    with pytest.raises(TypeError, match=r"Flatten is no classifier yet: wam\.adapters\.wrap\(model, ndim=2, \.\.\.\)"):
        report.explain(nn.Flatten(), image)
    half = adapters.wrap(nn.Sequential(nn.Flatten(), nn.LazyLinear(2)), ndim=2, name="net").bfloat16()
    with pytest.raises(TypeError, match=r"net computes in torch\.bfloat16, .* float32 or float64: model\.float\(\)"):
        report.explain(half, image)


def test_what_is_no_example_is_answered_by_what_makes_one(photograph, volume, tmp_path):
    model, image, _ = photograph
    for example, said in (
        (str(tmp_path / "a.jpg"), "got str: wam.inputs.read(path) reads a file"),
        (tmp_path / "a.jpg", "Path: wam.inputs.read(path) reads a file"),
        (np.asarray(image), "got ndarray: PIL.Image.fromarray makes an image"),
        (
            torch.zeros(3, 224, 224),
            "got a tensor (3, 224, 224): as the model takes it, it has a batch axis, too: x[None]",
        ),
    ):
        with pytest.raises(TypeError, match=re.escape(said)):
            report.explain(model, example)
    with pytest.raises(TypeError, match=re.escape("volumes with their channels, got (16, 16, 16): x[None] has one")):
        report.explain(volume[0], torch.rand(16, 16, 16))


def test_one_logit_and_classes_that_do_not_exclude_each_other(photograph):
    _, image, _ = photograph
    for classes, exclusive in ((1, True), (3, False), (3, True)):
        torch.manual_seed(0)
        net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, classes))
        model = adapters.wrap(net, ndim=2, input_size=(32, 32))
        model.exclusive = exclusive
        found = report.explain(model, image, "grad")
        wanted = found.logits.softmax(0) if classes > 1 and exclusive else found.logits.sigmoid()
        assert torch.equal(found.probabilities, wanted) and found.probabilities[0] < 1


def test_a_score_that_does_not_change_along_the_path(volume):
    class Normalising(nn.Module):
        def forward(self, x):
            x = x.flatten(1)
            return ((x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-9))[:, 100:103]

    found = report.explain(adapters.wrap(Normalising(), ndim=3, input_size=(16, 16, 16)), volume[1], steps=4)
    assert "the score hardly changes on the path, as where a model normalises its input: take SmoothGrad" in str(found)


class Undefined(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :3] / 0 * 0


# numbers, figures, files


def test_the_summary_adds_up(each):
    model, _, found = each
    e, said = found.explanation, found.summary()
    assert sum(scale["share"] for scale in said["scales"]) == pytest.approx(1)
    total, rise = sum(scale["signed_sum"] for scale in said["scales"]), said["score"] - said["baseline_score"]
    assert abs(total - rise) == pytest.approx(said["completeness_gap"], abs=1e-4)
    assert said["target"] == {"index": found.target, "name": model.categories[found.target]}
    assert said["classes"][0]["index"] == int(found.logits.argmax()) and len(said["classes"]) == 5
    assert said["score"] == pytest.approx(float(found.logits[found.target]), abs=1e-4)
    assert said["settings"]["steps"] == 4 and said["settings"]["wavelet"] == e.frame.name
    text = str(found)
    for scale, share, signed in zip(said["scales"], e.scale_profile()[0], e.scale_scores()[0]):
        assert re.search(rf"^{scale['scale']} +{100 * share:.1f} % +{re.escape(f'{signed:+.3f}')}$", text, re.MULTILINE)
    assert f"rise of the score from the baseline {rise:+.3f}: a gap of {said['completeness_gap']:.3f}" in text


def test_the_folder_holds_everything(each, tmp_path):
    model, _, found = each
    files = found.save(tmp_path / "new" / "folder", file="mine", seconds={"reading": 1.0})
    names = {file.name: file for file in files}
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == set(names)
    said = json.loads(names["summary.json"].read_text())
    assert said["file"] == "mine" and said["scales"] == found.summary()["scales"]
    assert list(said["seconds"]) == ["reading", "prediction", "explanation", "figures", "save"]
    assert set(said["figures"]) == {name for name in names if name.endswith(".png")} - {"reconstruction.png"}
    for name, alt in said["figures"].items():
        assert Image.open(names[name]).width == plots.WIDTH * 160 and len(alt) > 50
    assert equal(wam.load(names["attributions.safetensors"]), found.explanation)
    kept = found.explanation.reconstruct(0.1)[0]
    if found.rate is not None:
        samples, rate = soundfile.read(names["reconstruction.wav"], dtype="float32")
        factor = 0.9 / max(float(kept.abs().max()), 1)  # one for the sound, whose peak is 1, and its part
        assert rate == 16000 and np.abs(samples - factor * kept[0].numpy()).max() < 1e-4
    elif found.picture is None:
        assert np.array_equal(np.load(names["reconstruction.npy"]), kept.numpy())
    else:
        seen = np.asarray(Image.open(names["reconstruction.png"])) / 255
        assert seen.shape == (224, 224, 3) and np.abs(seen - model.display(kept[None])[0]).max() < 0.01


def test_a_network_that_sees_in_grey(photograph, tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, 3))
    model = adapters.wrap(net, ndim=2, channels=1, input_size=(32, 32))
    report.explain(model, photograph[1], steps=2, top=1.0).save(tmp_path)
    grey = np.asarray(Image.open(tmp_path / "reconstruction.png"), dtype=int)
    x, _ = preparation.prepared(model, photograph[1])
    assert grey.shape == (32, 32) and np.abs(grey / 255 - x[0, 0].numpy()).max() < 0.01


def test_a_folder_holds_the_files_of_one_report(each, recording, volume, tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    recording[2].save(tmp_path)
    volume[2].save(tmp_path)
    made = {path.name for path in each[2].save(tmp_path)}
    assert {path.name for path in tmp_path.iterdir()} == made | {"mine.txt"}


def test_it_is_shown_with_alternative_texts(each, monkeypatch):
    shown, found = [], each[2]
    for module in (book, player):
        monkeypatch.setattr(module, "display", lambda html: shown.append(html.data))
    found.show()
    figures = found.figures()
    assert len(shown) == len(figures) + (found.rate is not None)
    for html, (_, alt) in zip(shown, figures.values()):
        assert re.search(r'<img[^>]* alt="([^"]+)"', html)[1][:60] == alt[:60]
    if found.rate is not None:
        assert shown[-1].count("<audio controls") == 2 and "top 10 % of its coefficients" in shown[-1]


def test_no_attribution_at_all_is_not_a_number(tmp_path):
    class Constant(nn.Module):
        def forward(self, x):
            return 0 * x.mean((2, 3))

    found = report.explain(adapters.wrap(Constant(), ndim=2), Image.new("RGB", (64, 64), "red"), "grad")
    assert [scale["share"] for scale in found.scales] == [None] * 4 and "–" in str(found)
    text = found.save(tmp_path)[-1].read_text()
    assert "NaN" not in text and json.loads(text)["scales"][0]["share"] is None


# whole or not there


@contextlib.contextmanager
def largest_file(size):
    """Files larger than this cannot be written: the system refuses, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("size", [100, 10_000, 40_000])
def test_a_write_that_fails_leaves_what_was_there(volume, tmp_path, size):
    found = volume[2]
    with largest_file(size), pytest.raises(OSError):
        found.save(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()
    found.save(tmp_path)
    before = contents(tmp_path)
    other = report.explain(volume[0], volume[1], "sg", samples=2)
    with largest_file(size), pytest.raises(OSError):
        other.save(tmp_path)
    assert contents(tmp_path) == before


def test_a_full_disk(volume, tmp_path):
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=150k", "tmpfs", str(tmp_path)]).returncode:
        pytest.skip("only root may make a small disk")
    try:
        with pytest.raises(OSError, match="No space left"):
            volume[2].save(tmp_path / "out")
        assert not list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_an_interrupted_save_leaves_nothing(volume, tmp_path, monkeypatch):
    def interrupted(self, path):
        raise KeyboardInterrupt

    monkeypatch.setattr(wam.Explanation, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        volume[2].save(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_written_to(volume, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NotADirectoryError, match="is a file, or below one"):
            volume[2].save(folder)
    with pytest.raises(OSError, match="/proc/wam"):
        volume[2].save("/proc/wam")
