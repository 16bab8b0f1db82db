"""The randomization test against explanations and correlations made one at a time."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

import wam
from wam import controls, randomization, sanity
from wam.explanation import in_frame, path_gradient
from wam.randomization import Methods

FRAME = wam.Wavelet("haar", levels=2, ndim=2)
METHODS = Methods(FRAME, samples=3, steps=4)
IN_FRAME = ["WAM-SG", "WAM-IG", "WAM-IG without z", "|z|"]
IN_PIXELS = ["SmoothGrad", "integrated gradients", "integrated gradients without x"]


class Net(nn.Module):
    """A small network with normalisation and dropout, which evaluates samples one by one."""

    def __init__(self):
        super().__init__()
        layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 4, 3, stride=2), nn.Tanh()]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(), nn.Linear(144, 5))

    def forward(self, x):
        return torch.cat([self.body(sample[None]) for sample in x])


@pytest.fixture
def net():
    net = Net().double()
    net.train()(torch.randn(4, 1, 16, 16).double())
    with torch.no_grad():
        net.body[7].weight.mul_(5)
    return net


@pytest.fixture
def x():
    return torch.randn(4, 1, 16, 16).double()


class Counted:
    """Explains, writes down for what, and stops where it is told to."""

    def __init__(self, stop=None, methods=METHODS):
        self.methods, self.stop, self.calls = methods, stop, []

    def __call__(self, model, x, target):
        if len(self.calls) == self.stop:
            raise KeyboardInterrupt
        self.calls.append((model, x, target))
        return self.methods(model, x, target)


def values(found, **about):
    """The values of some rows, by input."""
    rows = found.table
    for name, value in about.items():
        rows = rows[rows[name] == value]
    assert list(rows["input"]) == sorted(set(rows["input"]))
    return rows["value"].to_numpy()


def flat(e, bands=None):
    return np.concatenate([e.attributions.bands[key][0].flatten() for key in bands or e.attributions.bands])


def assert_equal(one, other):
    """Bit for bit."""
    assert one.stages == other.stages and one.order == other.order
    pd.testing.assert_frame_equal(one.table, other.table, check_exact=True)
    assert len(one.kept) == len(other.kept)
    for mine, theirs in zip(one.kept, other.kept):
        assert list(mine) == list(theirs)
        for method, e in mine.items():
            assert e.method == theirs[method].method and e.frame == theirs[method].frame
            for name in ("attributions", "coefficients"):
                assert torch.equal(getattr(e, name).pack()[0], getattr(theirs[method], name).pack()[0])
            assert torch.equal(e.target, theirs[method].target) and torch.equal(e.score, theirs[method].score)


# what is explained


def test_methods_are_the_explanations_that_their_names_say(net, x):
    target = torch.tensor([0, 3, 1, 1])
    found = METHODS(net, x, target)
    assert list(found) == ["WAM-SG", "WAM-IG", "WAM-IG without z", "|z|", *IN_PIXELS]
    for names, frame in ((["WAM-SG", "WAM-IG"], FRAME), (IN_PIXELS[:2], wam.Pixel())):
        sg = wam.smoothgrad(net, x, target, frame=frame, samples=3)
        ig = wam.integrated_gradients(net, x, target, frame=frame, steps=4)
        for name, direct in zip(names, (sg, ig)):
            assert found[name].frame == frame and torch.equal(found[name].target, target)
            torch.testing.assert_close(found[name].attributions.pack()[0], direct.attributions.pack()[0])
    assert torch.equal(found["|z|"].attributions.pack()[0], FRAME.analysis(x).pack()[0].abs())
    for name, whole, z in (
        ("WAM-IG without z", "WAM-IG", FRAME.analysis(x)),
        (IN_PIXELS[2], IN_PIXELS[1], wam.Pixel().analysis(x)),
    ):
        torch.testing.assert_close((found[name].attributions * z).pack()[0], found[whole].attributions.pack()[0])


def test_options_of_the_methods_reach_them(net, x):
    net.eval()
    sizes = []
    net.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    found = Methods(FRAME, samples=2, steps=3, noise=0.5, seed=4, max_batch=3)(net, x, 0)
    assert max(sizes) == 3
    assert found["SmoothGrad"].settings == {"samples": 2, "noise": 0.5, "seed": 4}
    assert found["WAM-IG"].settings["steps"] == 3


def cubes(x):
    return x.pow(3).flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("start", [wam.Pixel(), FRAME, wam.Wavelet("db2", 1, 2)], ids=str)
@pytest.mark.parametrize("baseline", [None, 0.5])
def test_the_gradient_along_the_path_is_known_for_cubes(start, baseline, x):
    """On the mean of the path from x0 to x, 3 x^2 is x^2 + x x0 + x0^2."""
    x0 = baseline or 0.0
    e = wam.integrated_gradients(cubes, x, 0, frame=start, steps=2, nodes="gauss-legendre", baseline=baseline)
    before = e.attributions.pack()[0].clone()
    expected = x**2 + x * x0 + x0**2
    for frame in (wam.Pixel(), FRAME, wam.Fourier(2, 2)):
        found = path_gradient(e, frame)
        torch.testing.assert_close(found.attributions.pack()[0], frame.pullback(expected).pack()[0])
        torch.testing.assert_close(found.coefficients.pack()[0], frame.analysis(x).pack()[0])
        assert found.frame == frame and found.method == "path gradient of integrated gradients"
        assert found.completeness_gap is None and found.baseline_score is None
        assert torch.equal(found.score, e.score) and found.settings == e.settings
        again = in_frame(path_gradient(e, wam.Pixel()), frame)  # as it is in any frame, and still without the factor
        torch.testing.assert_close(again.attributions.pack()[0], found.attributions.pack()[0])
    assert torch.equal(e.attributions.pack()[0], before) and e.completeness_gap is not None


def test_the_path_gradient_is_integrated_gradients_without_the_coefficients(net, x):
    e = wam.integrated_gradients(net, x, frame=FRAME, steps=3)
    found, z = path_gradient(e, FRAME).attributions.pack()[0], e.coefficients.pack()[0]
    assert (z != 0).all()
    torch.testing.assert_close(found, e.attributions.pack()[0] / z, rtol=1e-6, atol=1e-9)
    x = x * (torch.rand_like(x) < 0.2)  # where z is zero it still is the gradient
    e = wam.integrated_gradients(net, x, frame=wam.Pixel(), steps=3)
    seen = path_gradient(e, wam.Pixel()).attributions.bands[0, "pixel"][..., :15, :15]  # the stride leaves the last out
    assert (seen != 0).all() and (x == 0).any()
    assert torch.equal(path_gradient(e, FRAME).attributions.pack()[0], FRAME.pullback(e.gradient).pack()[0])


def test_the_path_gradient_needs_no_baseline_but_a_gradient(net, x):
    black = torch.full((1, 1, 1), -0.5).double()
    e = wam.integrated_gradients(net, x, frame=wam.Pixel(), steps=2, baseline=black)
    assert torch.equal(path_gradient(e, FRAME).attributions.pack()[0], FRAME.pullback(e.gradient).pack()[0])
    for method in (wam.saliency, wam.smoothgrad):
        e = method(net, x, frame=wam.Pixel())
        found, there = path_gradient(e, FRAME), in_frame(e, FRAME)
        assert torch.equal(found.attributions.pack()[0], there.attributions.pack()[0])
    for control in (controls.magnitude, controls.random, controls.coarse_first):
        with pytest.raises(ValueError, match="holds no mean gradient of the input"):
            path_gradient(control(e), FRAME)


# the table


def test_rows_are_complete_and_what_knows_nothing_stays(net, x):
    found = randomization.run(net, x, METHODS)
    assert found.stages == ("intact", "7", "3", "0") and found.order == "top-down"
    t = found.table
    columns = ["method", "kind", "scale", "statistic", "value", "depth", "stage", "input"]
    assert sorted(t.columns) == sorted(columns)
    # correlations: all and three scales in the frame, all in pixels, each by kind and statistic; shares: of each scale
    assert len(t) == 4 * 4 * (4 * (4 * 4 + 3) + 3 * (4 + 1))
    assert not t.duplicated([c for c in columns if c != "value"]).any() and t["value"].notna().all()
    assert list(t["depth"]) == sorted(t["depth"]) and t["depth"].map(dict(enumerate(found.stages))).eq(t["stage"]).all()
    assert set(t["method"]) == {*IN_FRAME, *IN_PIXELS} and set(t["input"]) == {0, 1, 2, 3}
    assert set(t[t["method"] == "WAM-IG"]["scale"]) == {"all", "approx", "2", "1"}
    assert set(t[t["method"] == "SmoothGrad"]["scale"]) == {"all", "0"}
    correlations = t[t["statistic"] != "share"]
    assert correlations[correlations["depth"] == 0]["value"].to_numpy() == pytest.approx(1, abs=1e-12)
    assert correlations[correlations["method"] == "|z|"]["value"].to_numpy() == pytest.approx(1, abs=1e-12)
    others = correlations[(correlations["depth"] > 0) & (correlations["method"] == "WAM-IG without z")]
    assert others["value"].max() < 0.99 and others["value"].abs().max() <= 1 + 1e-12


def test_shares_are_those_of_the_bands_and_sum_to_one(net, x):
    found = randomization.run(net, x, METHODS)
    s = found.table[found.table["statistic"] == "share"]
    assert set(s["kind"]) == {"absolute"}
    sums = s.groupby(["depth", "method", "input"])["value"].sum()
    assert len(sums) == 4 * 7 * 4 and sums.to_numpy() == pytest.approx(1)
    ig = wam.integrated_gradients(net, x, frame=FRAME, steps=4)
    whole = ig.attributions.pack()[0].abs().sum((1, 2))
    for scale, keys in (("approx", [(2, "approx")]), ("1", [(1, o) for o in ("horizontal", "vertical", "diagonal")])):
        expected = sum(ig.attributions.bands[key].abs().sum((1, 2, 3)) for key in keys) / whole
        shares = values(found, depth=0, method="WAM-IG", statistic="share", scale=scale)
        assert shares == pytest.approx(expected.numpy())


@pytest.mark.parametrize("order", sanity.ORDERS)
def test_values_are_those_computed_one_at_a_time(order, net, x):
    """By the explanations of each network in the frame itself, and SciPy."""
    found = randomization.run(net, x, METHODS, order=order, stages=3, seed=2)
    networks = list(sanity.cascade(net, x, order, 3, seed=2))
    assert found.stages == tuple(name for name, _ in networks) and len(networks) == 4 and found.order == order
    assert found.stages[1:] == (("7", "3", "0") if order == "top-down" else ("0", "3", "7"))
    target = copy.deepcopy(net).eval()(x).argmax(1)
    ways = {
        "WAM-SG": lambda model, part, c: wam.smoothgrad(model, part, c, frame=FRAME, samples=3),
        "WAM-IG": lambda model, part, c: wam.integrated_gradients(model, part, c, frame=FRAME, steps=4),
        "SmoothGrad": lambda model, part, c: wam.smoothgrad(model, part, c, frame=wam.Pixel(), samples=3),
    }
    fine = [(1, "horizontal"), (1, "vertical"), (1, "diagonal")]
    for (method, explain), i in zip(ways.items(), (0, 2, 3)):
        made = [flat(explain(model, x[i : i + 1], target[i : i + 1])) for _, model in networks]
        for depth, values_there in enumerate(made):
            about = {"depth": depth, "method": method, "scale": "all"}
            for kind, change in (("signed", np.asarray), ("absolute", np.abs)):
                for statistic, function in (("spearman", stats.spearmanr), ("pearson", stats.pearsonr)):
                    expected = function(change(made[0]), change(values_there))[0]
                    value = values(found, kind=kind, statistic=statistic, **about)[i]
                    assert value == pytest.approx(expected, abs=1e-7), (about, kind, statistic)
    at = [flat(wam.integrated_gradients(m, x[1:2], target[1:2], frame=FRAME, steps=4), fine) for _, m in networks]
    value = values(found, depth=2, method="WAM-IG", scale="1", kind="signed", statistic="pearson")[1]
    assert value == pytest.approx(stats.pearsonr(at[0], at[2])[0], abs=1e-9)


def test_the_classes_of_the_intact_network_are_explained_at_every_depth(net, x):
    explain = Counted()
    randomization.run(net, x, explain)
    expected = copy.deepcopy(net).eval()(x).argmax(1)
    predicted = [copy.deepcopy(model).eval()(x).argmax(1) for model, _, _ in explain.calls]
    assert all(torch.equal(target, expected) and torch.equal(part, x) for _, part, target in explain.calls)
    assert torch.equal(predicted[0], expected) and not torch.equal(predicted[-1], expected)
    explain = Counted()
    randomization.run(net, x, explain, target=[4, 0, 0, 2], max_batch=3)
    assert [c.tolist() for _, _, c in explain.calls] == [[4, 0, 0]] * 4 + [[2]] * 4


def test_the_network_and_the_random_state_are_left_alone(net, x):
    net.body[0].requires_grad_(False)
    before, flags = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    learning, state, inputs = [p.requires_grad for p in net.parameters()], torch.get_rng_state(), x.clone()
    for order in sanity.ORDERS:
        randomization.run(net, x, METHODS, order=order, keep=[0])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [m.training for m in net.modules()] == flags and [p.requires_grad for p in net.parameters()] == learning
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(x, inputs)
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("max_batch", [1, 3])
def test_a_few_inputs_at_once_are_as_all(max_batch, net, x):
    whole = randomization.run(net, x, METHODS, keep=[0])
    parts = randomization.run(net, x, METHODS, max_batch=max_batch, keep=[0])
    about = ["depth", "stage", "method", "input", "kind", "scale", "statistic"]
    mine, theirs = (found.table.sort_values(about, ignore_index=True) for found in (whole, parts))
    pd.testing.assert_frame_equal(mine[about], theirs[about])
    assert theirs["value"].to_numpy() == pytest.approx(mine["value"].to_numpy(), abs=1e-12)
    assert list(parts.table["depth"]) == sorted(parts.table["depth"]) and parts.stages == whole.stages
    assert len(parts.kept) == len(whole.kept) == 4
    for one, other in zip(parts.kept, whole.kept):
        torch.testing.assert_close(one["WAM-SG"].attributions.pack()[0], other["WAM-SG"].attributions.pack()[0])


def test_kept_explanations_are_those_of_each_network(net, x):
    found = randomization.run(net, x, METHODS, keep=[2, 0], max_batch=3)
    target = copy.deepcopy(net).eval()(x).argmax(1)
    for made, (_, model) in zip(found.kept, sanity.cascade(net, x), strict=True):
        expected = METHODS(model, x[:3], target[:3])
        assert list(made) == list(expected)
        for method, e in made.items():
            assert torch.equal(e.attributions.pack()[0], expected[method].attributions.pack()[0][[2, 0]])
            assert e.target.tolist() == target[[2, 0]].tolist()
    nothing = randomization.run(net, x, METHODS)
    assert nothing.kept == ({},) * 4


def test_only_inputs_of_the_first_chunk_are_kept(net, x):
    for keep, options, most in (([3], {"max_batch": 3}, 3), ([4], {}, 4), ([-1, 0], {}, 4), ([4], {"max_batch": 9}, 4)):
        explain = Counted()
        with pytest.raises(ValueError, match=rf"inputs \[{keep[0]}\] cannot be kept: choose among the first {most}"):
            randomization.run(net, x, explain, keep=keep, **options)
        assert not explain.calls


# averages


def test_summaries_average_over_inputs(net, x):
    found = randomization.run(net, x, METHODS)
    s = found.summary()
    assert list(s.columns[:3]) == ["depth", "stage", "method"] and len(s) == 4 * 7 and (s["n"] == 4).all()
    row = s[(s["depth"] == 2) & (s["method"] == "WAM-IG")].iloc[0]
    assert row["stage"] == "3"
    own = values(found, depth=2, method="WAM-IG", scale="all", kind="absolute", statistic="spearman")
    assert row["mean"] == pytest.approx(own.mean()) and own.min() <= row["low"] < row["mean"] < row["high"] <= own.max()
    for kind, statistic, scale in (("signed", "pearson", 1), ("absolute", "share", "approx")):
        row = found.summary(statistic, kind, scale).query("depth == 1 and method == 'WAM-SG'").iloc[0]
        own = values(found, depth=1, method="WAM-SG", scale=str(scale), kind=kind, statistic=statistic)
        assert row["mean"] == pytest.approx(own.mean())
    apart = found.summary(scale=None).query("method == 'WAM-SG'")
    assert list(apart.columns[:4]) == ["depth", "stage", "method", "scale"] and len(apart) == 4 * 4
    wide, narrow = (found.summary(confidence=c).query("depth == 1") for c in (0.99, 0.5))
    assert (wide["high"] - wide["low"] >= narrow["high"] - narrow["low"]).all()


def test_a_constant_explanation_is_undefined_and_counted(net, x):
    def explain(model, x, target):
        e = wam.saliency(model, x, target, frame=FRAME)
        zero = e.attributions.map(torch.zeros_like)
        some = e.attributions.map(lambda band: band * torch.tensor([1.0, 0, 1, 1]).view(-1, 1, 1, 1))
        made = {"none": zero, "some": some}
        return {name: wam.Explanation(a, e.coefficients, target, e.score, FRAME, name) for name, a in made.items()}

    found = randomization.run(net, x, explain)
    t = found.table
    assert t[t["method"] == "none"]["value"].isna().all()
    assert (t[t["method"] == "some"]["value"].isna() == (t[t["method"] == "some"]["input"] == 1)).all()
    s = found.summary().set_index("method")
    assert (
        s.loc["none", "mean"].isna().all() and (s.loc["none", "n"] == 0).all() and (s.loc["none", "dropped"] == 4).all()
    )
    assert (
        s.loc["some", "mean"].notna().all()
        and (s.loc["some", "n"] == 3).all()
        and (s.loc["some", "dropped"] == 1).all()
    )


# interrupted


@pytest.mark.parametrize("max_batch", [None, 3])
@pytest.mark.parametrize("stop", [0, 1, 2, 3, 5])
def test_an_interrupted_run_continues(stop, max_batch, net, x, tmp_path):
    options = {"keep": [1, 0], "max_batch": max_batch}
    whole = randomization.run(net, x, explain := Counted(), **options)
    total = len(explain.calls)
    assert total == (4 if max_batch is None else 8)
    stops = stop < total
    if stops:
        with pytest.raises(KeyboardInterrupt):
            randomization.run(net, x, Counted(stop), folder=tmp_path, **options)
    found = randomization.run(net, x, explain := Counted(), folder=tmp_path, **options)
    assert_equal(found, whole)
    reference = 1 if stops and stop % 4 else 0  # of the chunk that was interrupted, once more
    assert len(explain.calls) == (total - stop + reference if stops else total)
    if reference:
        model, _, _ = explain.calls[0]
        assert torch.equal(model.body[7].weight, net.body[7].weight)  # the intact one
    again = randomization.run(net, x, explain := Counted(), folder=tmp_path, **options)
    assert_equal(again, whole)
    assert explain.calls == []


def test_a_depth_whose_files_are_not_complete_is_computed_anew(net, x, tmp_path):
    whole = randomization.run(net, x, Counted(), folder=tmp_path, keep=[0])
    files = {path.name for path in tmp_path.iterdir()}
    assert "run.json" in files and not any(name.startswith(".") for name in files)
    (tmp_path / "000000-002.json").unlink()
    (tmp_path / "000000-002.parquet").write_bytes(b"half of it")
    found = randomization.run(net, x, explain := Counted(), folder=tmp_path, keep=[0])
    assert_equal(found, whole)
    assert len(explain.calls) == 2 and {path.name for path in tmp_path.iterdir()} == files


def test_a_folder_holds_one_run(net, x, tmp_path):
    randomization.run(net, x, METHODS, folder=tmp_path, seed=np.int64(0))  # NumPy's numbers are numbers
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.body[3].bias[0] += 1e-9
    changes = {
        "model": (other, x, METHODS, {}),
        "inputs": (net, x + 1e-12, METHODS, {}),
        "explain": (net, x, Methods(FRAME, samples=3, steps=5), {}),
        "order, stages": (net, x, METHODS, {"order": "bottom-up"}),
        "stages": (net, x, METHODS, {"stages": 2}),
        "seed": (net, x, METHODS, {"seed": 1}),
        "keep": (net, x, METHODS, {"keep": [0]}),
        "batch": (net, x, METHODS, {"max_batch": 2}),
    }
    for name, (model, inputs, methods, options) in changes.items():
        with pytest.raises(ValueError, match=f"holds a run with another {name}; give another folder"):
            randomization.run(model, inputs, methods, folder=tmp_path, **options)
    target = (copy.deepcopy(net).eval()(x).argmax(1) + 1) % 5
    with pytest.raises(ValueError, match="another inputs"):
        randomization.run(net, x, METHODS, target=target, folder=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    run = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(run | {"threads": -1}))
    with pytest.raises(ValueError, match="another threads"):
        randomization.run(net, x, METHODS, folder=tmp_path)


def test_a_bad_call_leaves_no_folder(net, x, tmp_path):
    folder = tmp_path / "run"
    for options, match in (
        ({"order": "upwards"}, "unknown order 'upwards'"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"stages": 0}, "count must be an integer of at least 1"),
        ({"max_batch": 0}, "max_batch must be an integer of at least 1"),
        ({"keep": [9]}, "cannot be kept"),
        ({"target": [0, 1]}, "one per sample"),
        ({"target": 5}, "out of range"),
    ):
        explain = Counted()
        with pytest.raises(ValueError, match=match):
            randomization.run(net, x, explain, folder=folder, **options)
        assert not folder.exists() and not explain.calls
    with pytest.raises(TypeError, match="only a torch.nn.Module"):
        randomization.run(lambda x: x, x, METHODS, folder=folder)


@pytest.mark.parametrize("change", ["less", "more", "other"])
def test_every_network_is_explained_by_the_same_methods(change, net, x):
    calls = []

    def explain(model, x, target):
        e = wam.saliency(model, x, target, frame=FRAME)
        calls.append(model)
        if len(calls) < 3:
            return {"a": e, "b": e}
        return {"less": {"a": e}, "more": {"a": e, "b": e, "c": e}, "other": {"a": e, "c": e}}[change]

    with pytest.raises(ValueError, match=r"explain gave .* at '3', and \['a', 'b'\] before"):
        randomization.run(net, x, explain)
    assert len(calls) == 3


def test_a_change_of_frame_on_the_way_is_refused(net, x):
    frames = iter([FRAME, wam.Pixel()])
    with pytest.raises(ValueError, match="use one frame for both"):
        randomization.run(net, x, lambda model, x, c: {"a": wam.saliency(model, x, c, frame=next(frames))})
