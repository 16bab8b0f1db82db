"""The image tables: rows against the public functions called one by one, on a small network and on a real one."""

import dataclasses
import inspect
import re
import subprocess
import sys
from concurrent.futures import BrokenExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

import wam
from wam import baselines, benchmark, cli, controls, data, metrics, models, records, released, sanity, tables

METHODS = {
    "wavelet": ["WAM-SG", "WAM-IG"],
    "pixel": ["Saliency", "Integrated Gradients", "GradCAM", "GradCAM++", "SmoothGrad", "Guided Backpropagation"],
}
CONTROLS = ["random", "magnitude", "randomized network, SG", "randomized network, IG"]
EVERY = {
    "wavelet": METHODS["wavelet"] + CONTROLS + ["WAM-SG permuted", "WAM-IG permuted", "coarse first"],
    "pixel": METHODS["pixel"] + CONTROLS + ["SmoothGrad permuted", "Integrated Gradients permuted"],
}
OPTIONS = {"equations": {}, "energy": {"axis": "energy"}, "released": {"protocol": "released"}}
COLUMNS = ["model", "input", "label", "predicted", "domain", "method", "protocol", "metric", "value", "error"]
SMALL = {"steps": 4, "subsets": 5, "samples": 3, "wavelet": "db2", "levels": 2, "max_batch": 7, "seed": 3}


class Net(nn.Sequential):
    """A small network that counts its inputs itself, those of its copies among them."""

    passed = {True: 0, False: 0}

    def forward(self, x):
        Net.passed[torch.is_grad_enabled()] += len(x)
        return super().forward(x)


@pytest.fixture
def classifier(monkeypatch):
    """A seeded classifier of 32 x 32 images, under a name that the tables find."""
    torch.manual_seed(0)
    net = Net(nn.Conv2d(3, 6, 5, 2), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 144, 5))
    mean, std = (0.41, 0.5, 0.59), (0.2, 0.3, 0.2)  # no 8-bit value becomes 0
    prepare = transforms.Compose([transforms.CenterCrop(32), transforms.ToTensor(), transforms.Normalize(mean, std)])
    found = models.ImageClassifier("small", net, prepare, mean, std, (32, 32)).eval()
    monkeypatch.setattr(models, "load", lambda name, device="cpu": found.to(device))
    tables._networks.cache_clear()
    yield found
    tables._networks.cache_clear()


@pytest.fixture
def photograph(tmp_path, classifier):
    """The path of an image, and the class that the classifier gives it."""
    noise = np.random.default_rng(0).integers(0, 256, (36, 40, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((48, 40), Image.Resampling.BICUBIC)
    image.save(tmp_path / "photograph.png")
    with torch.no_grad():
        return str(tmp_path / "photograph.png"), int(classifier(classifier.prepare(image)).argmax())


def values(rows):
    return {(r["domain"], r["method"], r["protocol"], r["metric"]): r["value"] for r in rows if r["error"] is None}


def test_every_method_control_protocol_and_metric(classifier, photograph):
    rows = tables.evaluate(("small", *photograph), **SMALL)
    assert all(list(row) == COLUMNS for row in rows)
    found = values(rows)
    assert len(found) + 4 == len(rows)  # two methods fail in each family of protocols: see the next test
    expected = {(None, None, None, "forward inputs"), (None, None, None, "gradient inputs")}
    for domain, names in EVERY.items():
        for protocol in OPTIONS:
            several = ["insertion", "deletion", "faithfulness"] + ["mu-fidelity"] * (protocol != "energy")
            expected |= {(domain, m, protocol, k) for m in names for k in several if "GradCAM" not in m}
    assert set(found) == expected
    assert all(isinstance(value, float) and np.isfinite(value) for value in found.values())
    assert {(r["model"], r["input"], r["label"], r["predicted"]) for r in rows} == {
        ("small", "photograph", photograph[1], photograph[1])
    }
    assert rows == tables.evaluate(("small", *photograph), **SMALL)


def test_a_failing_method_is_named_and_the_others_go_on(classifier, photograph, monkeypatch):
    def broken(model, x, target=None, **options):
        e = wam.saliency(model, x, target, frame=wam.Pixel())
        return wam.Explanation(e.attributions * float("nan"), e.coefficients, e.target, e.score, e.frame, "broken")

    monkeypatch.setattr(baselines, "METHODS", {**baselines.METHODS, "Saliency": broken})
    rows = tables.evaluate(("small", *photograph), **SMALL)
    errors = {(r["method"], r["protocol"]): r["error"] for r in rows if r["error"] is not None}
    families = ("equations", "released")
    assert set(errors) == {(m, p) for m in ("Saliency", "GradCAM", "GradCAM++") for p in families}
    assert re.match(r"GradCAM\+\+: ValueError: no default layer is known for", errors["GradCAM++", "equations"])
    assert re.match(r"Saliency: ValueError: .*NaN", errors["Saliency", "released"])
    assert all(r["value"] is None and r["metric"] is None for r in rows if r["error"] is not None)
    mine = {method for _, method, protocol, metric in values(rows) if metric == "mu-fidelity"}
    assert mine == {*EVERY["wavelet"], *EVERY["pixel"]} - {"Saliency", "GradCAM", "GradCAM++"}


@pytest.mark.parametrize("message", ["DefaultCPUAllocator: can't allocate memory: 9 bytes", "CUDA error: unspecified"])
def test_want_of_memory_is_no_result(classifier, photograph, monkeypatch, message):
    def exhausted(model, x, target=None, **options):
        raise RuntimeError(message)

    monkeypatch.setattr(baselines, "METHODS", {**baselines.METHODS, "Saliency": exhausted})
    with pytest.raises(RuntimeError, match=message.partition(":")[0]):
        tables.evaluate(("small", *photograph), **SMALL)


@pytest.mark.parametrize("name", ["perturbation_curves", "mu_fidelity"])
def test_a_failing_metric_is_an_error_of_its_methods(classifier, photograph, monkeypatch, name):
    whole, true = values(tables.evaluate(("small", *photograph), **SMALL)), getattr(metrics, name)

    def broken(model, x, explanation, **options):
        e = explanation if name == "perturbation_curves" else explanation[0]
        if e.frame == wam.Pixel() and (name == "mu_fidelity" or e.method == "smoothgrad"):
            raise ValueError("does not work")
        return true(model, x, explanation, **options)

    monkeypatch.setattr(metrics, name, broken)
    rows = tables.evaluate(("small", *photograph), **SMALL)
    failed = {(r["method"], r["metric"]) for r in rows if r["error"] and "does not work" in r["error"]}
    lost = {key for key in whole if key not in values(rows)}
    if name == "mu_fidelity":
        assert failed == {(m, "mu-fidelity") for m in EVERY["pixel"] if "GradCAM" not in m}
        assert {(domain, metric) for domain, _, _, metric in lost} == {("pixel", "mu-fidelity")}
    else:
        assert failed == {("SmoothGrad", None), ("randomized network, SG", None)}
        assert {metric for *_, metric in lost} == {"insertion", "deletion", "faithfulness"}


def test_want_of_memory_fails_the_case(classifier, photograph, monkeypatch):
    def hungry(*arguments, **options):
        raise torch.OutOfMemoryError("too much")

    monkeypatch.setattr(metrics, "perturbation_curves", hungry)
    with pytest.raises(torch.OutOfMemoryError):
        tables.evaluate(("small", *photograph), **SMALL)


def test_shared_gradients_give_what_the_public_functions_give(classifier, photograph):
    path, label = photograph
    scrambled = sanity.randomize(classifier, 3)
    found = values(tables.evaluate(("small", *photograph), **SMALL))
    x, frame = classifier.prepare(Image.open(path)), wam.Wavelet("db2", 2, 2)
    drawn, common = {"samples": 3, "seed": 3}, {"seed": 3, "max_batch": 7}
    sg = wam.smoothgrad(classifier, x, label, frame=frame, **drawn)
    ig = wam.integrated_gradients(classifier, x, label, frame=frame, steps=3)
    map_sg = released.smoothgrad(classifier, x, label, frame=frame, **drawn)
    map_ig = released.integrated_gradients(classifier, x, label, frame=frame, steps=3)
    pixels = wam.smoothgrad(classifier, x, label, frame=wam.Pixel(), **drawn)
    summed = pixels.attributions.map(lambda band: band.sum(1, keepdim=True))
    one_channel = dataclasses.replace(pixels, attributions=summed)
    direct = {
        ("wavelet", "WAM-SG", "equations"): sg,
        ("wavelet", "WAM-IG", "energy"): ig,
        ("wavelet", "WAM-SG", "released"): map_sg,
        ("wavelet", "WAM-IG", "released"): map_ig,
        ("wavelet", "randomized network, SG", "equations"): wam.smoothgrad(scrambled, x, label, frame=frame, **drawn),
        ("wavelet", "randomized network, IG", "released"): released.integrated_gradients(
            scrambled, x, label, frame=frame, steps=3
        ),
        ("wavelet", "random", "equations"): controls.random(sg, 3),
        ("wavelet", "random", "released"): controls.random(map_sg, 3),
        ("wavelet", "magnitude", "energy"): controls.magnitude(sg),
        ("wavelet", "coarse first", "equations"): controls.coarse_first(sg),
        ("wavelet", "magnitude", "released"): released.magnitude(sg),
        ("wavelet", "WAM-IG permuted", "equations"): controls.permuted(ig, seed=3),
        ("wavelet", "WAM-SG permuted", "released"): controls.permuted(map_sg, seed=3),
        ("pixel", "SmoothGrad", "equations"): pixels,
        ("pixel", "SmoothGrad", "released"): pixels,
        ("pixel", "Integrated Gradients", "released"): wam.integrated_gradients(
            classifier, x, label, frame=wam.Pixel(), steps=3
        ),
        ("pixel", "Saliency", "released"): wam.saliency(classifier, x, label, frame=wam.Pixel()),
        ("pixel", "Guided Backpropagation", "energy"): baselines.guided_backpropagation(classifier, x, label),
        ("pixel", "magnitude", "equations"): controls.magnitude(pixels),
        ("pixel", "SmoothGrad permuted", "energy"): controls.permuted(pixels, seed=3),
        ("pixel", "SmoothGrad permuted", "released"): controls.permuted(one_channel, seed=3),
        ("pixel", "random", "released"): controls.random(one_channel, 3),
        ("pixel", "magnitude", "released"): controls.magnitude(one_channel, classifier.black),
    }
    for (domain, method, protocol), e in direct.items():
        options = {**OPTIONS[protocol], **common}
        curves = metrics.perturbation_curves(classifier, x, e, steps=4, **options)
        for metric, value in (("insertion", curves.insertion_auc), ("deletion", curves.deletion_auc)):
            assert found[domain, method, protocol, metric] == pytest.approx(value.item(), abs=1e-4), (method, protocol)
        difference = found[domain, method, protocol, "insertion"] - found[domain, method, protocol, "deletion"]
        assert found[domain, method, protocol, "faithfulness"] == pytest.approx(difference, abs=1e-6)
        if protocol != "energy":
            fidelity = metrics.mu_fidelity(classifier, x, e, subsets=5, **options).item()
            assert found[domain, method, protocol, "mu-fidelity"] == pytest.approx(fidelity, abs=1e-4)


def test_inputs_of_the_networks_are_counted(classifier, photograph):
    Net.passed = {True: 0, False: 0}
    found = values(tables.evaluate(("small", *photograph), **SMALL))
    counted = [found[None, None, None, f"{kind} inputs"] for kind in ("gradient", "forward")]
    assert counted == [Net.passed[True], Net.passed[False]]
    assert counted[0] == 8 * 3 + 2  # SG and IG, two networks, two families; Saliency and Guided Backpropagation
    assert not classifier._forward_pre_hooks


def test_a_wrongly_classified_image_is_one_row(classifier, photograph):
    path, label = photograph
    (row,) = tables.evaluate(("small", path, (label + 1) % 5), **SMALL)
    assert (row["predicted"], row["label"]) == (label, (label + 1) % 5) and list(row) == COLUMNS
    assert all(row[name] is None for name in COLUMNS[4:])


def test_values_that_are_the_baseline_keep_their_gradient(classifier, photograph):
    path, label = photograph
    classifier.mean.zero_()
    classifier.transform = transforms.Compose([transforms.CenterCrop(32), transforms.ToTensor()])
    image = Image.open(path).convert("RGB").point(lambda v: v if v > 90 else 0)
    image.save(path)
    x = classifier.prepare(image)
    assert bool((x == 0).any())
    with torch.no_grad():
        label = int(classifier(x).argmax())
    found = values(tables.evaluate(("small", path, label), **SMALL))
    e = wam.integrated_gradients(classifier, x, label, frame=wam.Wavelet("db2", 2, 2), steps=3)
    curves = metrics.perturbation_curves(classifier, x, e, steps=4, seed=3)
    assert found["wavelet", "WAM-IG", "equations", "insertion"] == pytest.approx(curves.insertion_auc.item(), abs=1e-4)


# cases


def test_another_image_under_the_same_name_is_another_case(tmp_path, photograph):
    path = tmp_path / "photograph.png"
    files = data.ImageFiles((path,), (3,), "test")
    (before,) = tables.cases(["small"], files)
    assert before.startswith("small/photograph/")
    assert list(tables.cases(["a", "b"], files).values()) == [("a", str(path), 3), ("b", str(path), 3)]
    Image.new("RGB", (8, 8)).save(path)
    (after,) = tables.cases(["small"], files)
    assert before != after
    with pytest.raises(ValueError, match="photograph.png has no label"):
        tables.cases(["small"], data.ImageFiles((path,), (None,), "test"))


def test_an_unreadable_image_is_recorded_skipped_and_reported(tmp_path, classifier, photograph):
    path, label = photograph
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"<html>")
    files = data.ImageFiles((tmp_path / "photograph.png", bad), (label, 0), "test")
    table = benchmark.run(tables.evaluate, tables.cases(["small"], files), SMALL, tmp_path / "out")
    (failed,) = benchmark.failed(table).itertuples()
    assert re.match(r"ValueError: cannot read the image .*bad\.png", failed.error)
    assert list(table.columns) == ["case", *COLUMNS]
    assert (table["label"].dropna() == label).all() and str(table["label"].dtype) == "Int64"
    text = tables.report(table)
    assert "small: 1 of 1 images classified correctly" in text and failed.error in text
    assert "GradCAM: ValueError: no default layer" in text and "failures: 3" in text
    value = table[(table["method"] == "WAM-IG") & (table["protocol"] == "energy") & (table["metric"] == "deletion")]
    assert f"{value['value'].item():.3f}" in text and "nan" not in text
    assert "failures: 2" in tables.report(
        benchmark.run(tables.evaluate, {"a": ("small", "no", 1), "b": ()}, {}, tmp_path)
    )


# the paper's tables, and ours


def test_the_tables_of_the_paper_have_our_names():
    for number in (1, 3, 4):
        table = records.paper(number)
        missing = set(METHODS["wavelet"] + METHODS["pixel"]) - set(table["method"])
        assert missing == (set() if number == 1 else {"Guided Backpropagation"})
    one, four = records.paper(1).set_index("method"), records.paper(4).pivot(index="method", columns="metric")
    difference = (four["Mean", "insertion"] - four["Mean", "deletion"]).round(3)
    assert (difference - one["Mean"]).abs().dropna().max() < 0.002  # eq. 4
    for number in (2, 5):
        table = records.paper(number)
        assert {"WAM-SG", "WAM-IG", "Integrated Gradients", "GradCAM", "Saliency", "SmoothGrad"} == set(table["method"])
        for condition in ("esc50", "wn"):
            difference = table[f"insertion_{condition}"] - table[f"deletion_{condition}"]
            slips = (difference - table[f"faithfulness_{condition}"]).abs() > 0.0025
            assert table["method"][slips].tolist() == ["Integrated Gradients"]  # as the paper map says
    with pytest.raises(ValueError, match="1 to 5 and 'poster', not 6"):
        records.paper(6)


def test_the_stored_run_is_one_of_this_code():
    """All embedded images, methods and protocols by the defaults of `evaluate`: else, compute it anew."""
    table, provenance = records.stored()
    options = inspect.signature(tables.evaluate).parameters.values()
    assert provenance["settings"] == {o.name: o.default for o in options if o.kind is o.KEYWORD_ONLY}
    assert list(table["case"].unique()) == list(tables.cases(models.EMBEDDED, data.images()))
    assert table["error"].isna().all()
    right = table[table["predicted"] == table["label"]]
    assert right.groupby("model")["case"].nunique().to_dict() == dict.fromkeys(models.EMBEDDED, 18)
    values = right.dropna(subset="method").pivot(
        index=["case", "domain", "protocol", "method"], columns="metric", values="value"
    )
    assert set(values.index.unique("method")) >= set(METHODS["wavelet"] + METHODS["pixel"])
    assert (values["faithfulness"] - (values["insertion"] - values["deletion"])).abs().max() < 1e-12
    assert len(values) == 36 * 63  # 9 rankings of coefficients and 12 of pixels, by three protocols


# from a shell

TINY = ["--models", "mobilenet_v2", "--n", "1", "--steps", "2", "--subsets", "3", "--samples", "2"]


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """A photograph on a real network, in another process."""
    out = tmp_path_factory.mktemp("shell")
    command = [sys.executable, "-W", "error::RuntimeWarning", "-m", "wam", "tables", *TINY, "--jobs", "2"]
    return out, subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)


def test_a_real_network_from_a_shell(shell):
    out, done = shell
    assert done.returncode == 0, done.stderr
    (file,) = out.glob("*/table.parquet")
    assert str(file) in done.stdout and "1/1" in done.stderr and "failures: 0" in done.stdout
    assert "mobilenet_v2: 1 of 1 images classified correctly" in done.stdout
    table = benchmark.read(file)
    assert table["case"].nunique() == 1 and not table["error"].notna().any()
    for domain, names in EVERY.items():
        assert set(table.loc[table["domain"] == domain, "method"]) == set(names)
    kinds = table.dropna(subset="method").groupby(["protocol", "metric"]).size()
    assert set(kinds) == {21} and len(kinds) == 11
    assert list(table.loc[table["metric"] == "gradient inputs", "value"]) == [8 * 2 + 4]


def test_the_same_command_continues(shell, capsys, monkeypatch):
    out, done = shell

    def never(*arguments):
        raise AssertionError("computed again")

    monkeypatch.setattr(benchmark, "_attempt", never)
    assert cli.main(["tables", *TINY, "--out", str(out)]) == 0  # --jobs does not matter
    assert capsys.readouterr().out == done.stdout


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["tables", "--help"])
    text = capsys.readouterr().out
    known = ["models", "images", "n", "steps", "subsets", "samples", "wavelet", "levels", "jobs", "threads"]
    known += ["device", "max-batch", "seed", "out"]
    assert all(f"--{option} " in text for option in known)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--models", "mobilenet"], "error: unknown model 'mobilenet'. Did you mean 'mobilenet_v2'"),
        (["--wavelet", "harr"], "error: unknown discrete wavelet 'harr'; did you mean 'haar'"),
        (["--levels", "9"], "error: 9 levels of haar do not fit"),
        (["--device", "abacus"], "error: device 'abacus' cannot be used: "),
        (["--n", "21"], "error: n = 21 images asked for: there are 20"),
        (["--images", "nowhere"], "error: nowhere is not a folder."),
        (["--images", "."], "error: . holds no ImageNet validation images."),
        (["--jobs", "0"], "n_jobs"),
    ],
)
def test_wrong_arguments_are_one_error(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["tables", *TINY[:4], *arguments, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err.splitlines()
    assert any(message in line for line in error) and not any("Traceback" in line for line in error)


@pytest.mark.parametrize("arguments", [["--steps", "0"], ["--n", "few"], ["--seed", "-1"], ["--subsets", "2"], []])
def test_wrong_numbers_and_missing_options_exit_with_2(arguments, capsys, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["tables", *arguments, *(["--out", str(tmp_path)] if arguments else [])])
    text = capsys.readouterr().err
    assert ("must be a whole number of at least" if arguments else "required: --out") in text


def test_interrupted_failed_and_killed_from_a_shell(classifier, tmp_path, capsys, monkeypatch):
    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    def killed(*arguments, **options):
        raise BrokenExecutor("a worker is gone")

    arguments = ["tables", "--models", "small", "--n", "2", "--levels", "1", "--out", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(benchmark, "run", stopped)
        assert cli.main(arguments) == 130
        assert "the same command continues" in capsys.readouterr().err
        patch.setattr(benchmark, "run", killed)
        assert cli.main(arguments) == 1
        assert "fewer --jobs or a smaller --max-batch" in capsys.readouterr().err
    monkeypatch.setattr(sanity, "randomize", lambda model, seed: 1 / 0)
    assert cli.main(arguments) == 1
    assert "ZeroDivisionError: division by zero (2 cases, first small/" in capsys.readouterr().out


def test_the_report_has_a_row_per_method_and_a_column_per_model():
    rows = [
        (f"{model}/{i}", model, i, 1, 1, domain, method, "equations", "insertion", value, None)
        for model, value in (("two", 0.75), ("one", 0.25))
        for i in range(2)
        for domain, method in (("wavelet", "z"), ("wavelet", "random"), ("pixel", "a"), ("pixel", "random"))
    ]
    rows.append(("one/9", "one", 9, 1, 2, *[None] * 6))
    text = tables.report(pd.DataFrame(rows, columns=["case", *COLUMNS]))
    assert "two: 2 of 2 images" in text and "one: 2 of 3 images" in text
    head, _, *lines = text.split("insertion, equations, mean [95 % interval]\n")[1].splitlines()[:6]
    assert head.split() == ["two", "one"]
    assert [line.split()[-7] for line in lines] == ["z", "random", "a", "random"]
    assert all(line.endswith("0.750 [0.750, 0.750]  0.250 [0.250, 0.250]") for line in lines)
