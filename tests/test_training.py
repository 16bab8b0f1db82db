"""Training: steps of known length, and runs broken off in every way."""

import json
import math
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset, TensorDataset

import wam
from wam import training
from wam.adversarial import Free
from wam.training import accuracy, binary_cross_entropy

N, BATCH, EPOCHS = 40, 8, 3
STEPS = N // BATCH


def network(seed=0, width=16):
    """Two classes of six numbers; with dropout and batch normalisation, which have a state beside the weights."""
    torch.manual_seed(seed)
    layers = [nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, 2)]
    return nn.Sequential(*layers)


class Points(Dataset):
    """Points on two sides of a plane; the one that is asked for at ``at`` (counted from 0) is never handed out."""

    def __init__(self, n=N, at=None, instead=None, seed=0):
        self.x = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
        self.y = (self.x[:, 0] + self.x[:, 1] > 0).long()
        self.at, self.instead, self.asked = at, instead, 0

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        if self.asked == self.at:
            self.instead()
        self.asked += 1
        return self.x[index], int(self.y[index])


def train(model, examples, folder, **settings):
    settings = {"epochs": EPOCHS, "batch": BATCH, "learning_rate": 0.02, "progress": False} | settings
    return training.train(model, examples, folder, **settings)


def interrupt():
    raise KeyboardInterrupt


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def assert_same_weights(one, other):
    one, other = one.state_dict(), other.state_dict()
    assert list(one) == list(other)
    for name in one:
        assert torch.equal(one[name], other[name]), name


def read(path):
    with safe_open(path, framework="pt") as file:
        card = {name: json.loads(value) for name, value in file.metadata().items()}
        return card, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping


def assert_same_files(one, other):
    (card, state), (other_card, other_state) = read(one), read(other)
    assert card == other_card and list(state) == list(other_state)
    assert all(torch.equal(state[name], other_state[name]) for name in state)


def without_seconds(records):
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]


@pytest.fixture
def whole(tmp_path):
    """An uninterrupted run: its network, its records, its folder."""
    model = network()
    records = train(model, Points(), tmp_path / "whole", validation=Points(seed=1))
    return model, records, tmp_path / "whole"


# --- one run ----------------------------------------------------------------------------------------------------------


def test_a_network_learns_and_the_records_say_so(tmp_path):
    model, examples, validation = network(), Points(200), Points(300, seed=1)
    assert accuracy(model, validation) < 0.7
    records = train(model, examples, tmp_path, epochs=12, validation=validation)
    assert [record["epoch"] for record in records] == list(range(1, 13))
    assert records[-1]["loss"] < 0.5 * records[0]["loss"]
    assert records[-1]["accuracy"] > 0.8 and records[-1]["validation"] > 0.9  # the first with dropout
    assert all(record["seconds"] > 0 for record in records)
    assert not model.training
    assert records[-1]["validation"] == accuracy(model, validation)  # of the last weights, none chosen


def test_one_step_is_that_of_adamw(tmp_path):
    """The first step of Adam is the learning rate times the sign of the gradient; the weight decays on its own."""
    model, examples = nn.Linear(6, 2).double(), Points()
    before = model.weight.detach().clone()
    loss = cross_entropy(model(examples.x.double()), examples.y)
    (gradient,) = torch.autograd.grad(loss, model.weight)
    records = train(model, examples, tmp_path, epochs=1, batch=N + 24, learning_rate=0.01, weight_decay=0.3)
    rate = 0.01 * (1 + math.cos(math.pi * 0.4 / 0.9)) / 2  # in the middle of all steps
    torch.testing.assert_close(
        model.weight.detach(), before * (1 - 0.3 * rate) - rate * gradient.sign(), rtol=0, atol=1e-8
    )
    assert records[0]["loss"] == pytest.approx(loss.item(), rel=1e-12) and records[0]["validation"] is None


@pytest.mark.parametrize("batch, replays", [(2, 1), (4, 2)])
def test_the_learning_rate_rises_over_a_tenth_and_falls_along_a_cosine(tmp_path, batch, replays):
    """A loss whose gradient is always 1 moves its weight by the learning rate in every step, 200 of them."""
    model, seen = nn.Linear(1, 2, bias=False).double(), []

    def watch(model, x, y):
        seen.append(model.weight[0].item())
        return torch.ones_like(x)

    examples = TensorDataset(torch.ones(100, 1), torch.zeros(100).long())
    settings = {"epochs": 4, "batch": batch, "replays": replays, "weight_decay": 0}
    train(model, examples, tmp_path, loss=lambda o, y: o[:, 0].mean(), perturb=watch, **settings)
    moved = -torch.tensor([*seen, model.weight[0].item()], dtype=torch.float64).diff() / 0.02
    t = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    expected = torch.where(t < 0.1, 10 * t, 0.5 * (1 + torch.cos(torch.pi * (t - 0.1) / 0.9)))
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-6)
    assert moved.argmax() in (19, 20) and moved[-1] < 1e-3


def test_every_epoch_sees_every_example_once_in_an_order_of_its_own(tmp_path):
    def orders(folder, seed):
        seen = []

        def watch(model, x, y):
            seen.extend(x[:, 0].tolist())
            return x

        train(network(), Points(), tmp_path / folder, perturb=watch, seed=seed, batch=7)
        return [tuple(seen[start : start + N]) for start in range(0, EPOCHS * N, N)]

    first, again, other = orders("a", 0), orders("b", 0), orders("c", 1)
    assert first == again
    assert len({*first, *other}) == 2 * EPOCHS
    assert {tuple(sorted(order)) for order in first + other} == {tuple(sorted(Points().x[:, 0].tolist()))}


def test_what_perturb_returns_is_what_the_step_sees(tmp_path):
    """Of inputs turned round a network learns the opposite; what an attack differentiates does not reach the step."""
    model, attacked = network().eval(), []

    def attack(model, x, y):
        x = x.clone().requires_grad_()
        cross_entropy(model(-x), y).backward()  # leaves gradients in the parameters, too
        attacked.append((x.grad is not None, model.training, sorted(set(y.tolist()))))
        return -x

    train(model, Points(200), tmp_path / "minus", epochs=12, perturb=attack)
    assert accuracy(model, Points(300, seed=1)) < 0.1
    assert attacked[0] == (True, True, [0, 1])

    def litter(model, x, y):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        return x * (model[0].weight.sum() / model[0].weight.sum().detach())  # times 1, with a gradient

    one, other = network(), network()
    train(one, Points(), tmp_path / "litter", perturb=litter)
    train(other, Points(), tmp_path / "clean")
    assert_same_weights(one, other)


def test_a_batch_is_replayed_before_the_next_one(tmp_path):
    def batches(folder, replays):
        seen = []

        def watch(model, x, y):
            seen.append(x)
            return x

        train(network(), Points(), tmp_path / folder, epochs=2, batch=7, replays=replays, perturb=watch)
        return seen

    once, thrice = batches("once", 1), batches("thrice", 3)
    assert len(once) == 2 * 6 and len(thrice) == 3 * len(once)
    for i, x in enumerate(once):
        assert thrice[3 * i] is thrice[3 * i + 1] is thrice[3 * i + 2]  # one tensor, by which a perturbation knows it
        assert torch.equal(thrice[3 * i], x)


def test_the_records_of_replays_are_means_over_all_steps(tmp_path):
    losses, right = [], []

    def loss(logits, y):
        mean = cross_entropy(logits, y)
        losses.append(len(y) * mean.item())
        right.append((logits.argmax(1) == y).sum().item())
        return mean

    (record,) = train(network(), Points(), tmp_path, epochs=1, batch=7, replays=3, loss=loss)
    assert len(losses) == 18 and record["loss"] == pytest.approx(sum(losses) / (3 * N), rel=1e-6)
    assert record["accuracy"] == sum(right) / (3 * N)


def test_a_leaf_that_needs_a_gradient_gets_that_of_the_step(tmp_path):
    leaves, gradients = [], []

    def perturb(model, x, y):
        leaf = (x + 1).requires_grad_()
        gradients.extend(torch.autograd.grad(cross_entropy(model(leaf), y), leaf))
        leaves.append(leaf)
        return leaf

    train(nn.Linear(6, 2).double(), Points(), tmp_path, perturb=perturb)
    assert len(leaves) == EPOCHS * STEPS
    for leaf, gradient in zip(leaves, gradients, strict=True):
        torch.testing.assert_close(leaf.grad, gradient, rtol=0, atol=1e-15)
        assert gradient.abs().max() > 0


def test_the_generator_of_the_caller_is_left_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    model = network()
    torch.manual_seed(5)
    train(model, Points(), tmp_path / "one")
    assert torch.equal(torch.rand(3), expected)
    other = network()
    torch.manual_seed(6)  # nor does the run depend on it
    train(other, Points(), tmp_path / "other")
    assert_same_weights(model, other)


def test_the_progress_bar_counts_steps(tmp_path, capfd):
    train(network(), Points(), tmp_path, progress=True)
    error = capfd.readouterr().err
    assert f"{EPOCHS * STEPS}/{EPOCHS * STEPS}" in error and "loss=" in error
    train(network(), Points(), tmp_path / "silent")
    assert capfd.readouterr() == ("", "")


def test_accuracy_is_counted_in_evaluation_mode():
    model, examples = network().train(), Points(50)
    before, generator = model[1].running_mean.clone(), torch.get_rng_state()
    found = accuracy(model, examples, batch=7)
    assert torch.equal(torch.get_rng_state(), generator)
    assert model.training and torch.equal(model[1].running_mean, before)
    model.eval()
    assert found == (model(examples.x).argmax(1) == examples.y).double().mean().item()


def test_binary_cross_entropy_by_hand():
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 2, 1, 1, 0])
    chance, on = logits.sigmoid(), torch.eye(3, dtype=torch.float64)[labels]
    by_hand = -(on * chance.log() + (1 - on) * (1 - chance).log()).mean()
    loss = binary_cross_entropy(logits, labels)
    torch.testing.assert_close(loss, by_hand)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, (chance - on).detach() / 15)


# --- runs that are broken off -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 3 * BATCH + 1, N + 2 * BATCH, EPOCHS * N - 1])
def test_an_interrupted_run_continues_to_the_same_weights(whole, tmp_path, at):
    expected, records, folder = whole
    interrupted, validation = network(), Points(seed=1)
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, Points(at=at, instead=interrupt), tmp_path / "cut", validation=validation)
    assert not (tmp_path / "cut" / "weights.safetensors").exists()
    for model in (interrupted, network(seed=1)):  # the same object, and a new one whose own weights do not count
        copy = tmp_path / f"copy of {id(model)}"
        copy.mkdir()
        (copy / "checkpoint.pt").write_bytes((tmp_path / "cut" / "checkpoint.pt").read_bytes())
        examples = Points()
        continued = train(model, examples, copy, validation=validation)
        assert examples.asked == (EPOCHS - at // N) * N  # finished epochs are not computed again
        assert without_seconds(continued) == without_seconds(records)
        assert_same_weights(model, expected)
        assert_same_files(copy / "weights.safetensors", folder / "weights.safetensors")


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_killed_run_continues_to_the_same_weights(whole, tmp_path):
    expected, records, _ = whole
    code = (
        "from test_training import *; torch.set_num_threads({}); "
        "train(network(), Points(at=N + 3 * BATCH, instead=kill), {!r}, validation=Points(seed=1))"
    ).format(torch.get_num_threads(), str(tmp_path / "cut"))
    process = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    examples, model = Points(), network(seed=1)
    continued = train(model, examples, tmp_path / "cut", validation=Points(seed=1))
    assert examples.asked == 2 * N
    assert without_seconds(continued) == without_seconds(records)
    assert_same_weights(model, expected)


def test_an_interrupted_write_leaves_the_checkpoint_before(whole, tmp_path, monkeypatch):
    writes, write = [], os.replace

    def replace(*paths):
        writes.append(paths)
        if len(writes) == 3:  # of the second epoch; the first is that of the initial state
            raise KeyboardInterrupt
        write(*paths)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        train(network(), Points(), tmp_path / "cut")
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["checkpoint.pt"]
    monkeypatch.undo()
    examples, model = Points(), network(seed=1)
    train(model, examples, tmp_path / "cut")
    assert examples.asked == 2 * N
    assert_same_weights(model, whole[0])
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["checkpoint.pt", "weights.safetensors"]


def test_a_finished_run_is_not_computed_again(whole):
    expected, records, folder = whole
    (folder / "weights.safetensors").unlink()
    model = network(seed=1)
    assert train(model, Points(at=0, instead=interrupt), folder, validation=Points(seed=1)) == records
    assert_same_weights(model, expected)
    assert not model.training and (folder / "weights.safetensors").is_file()


def test_the_checkpoint_holds_tensors_and_plain_values_only(whole):
    _, records, folder = whole
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert state["records"] == records and state["settings"]["epochs"] == EPOCHS
    assert set(state) == {"model", "optimizer", "settings", "records"}


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, value, here",
    [
        ("epochs", 4, "epochs is 3 there and 4 here"),
        ("batch", 9, "batch is 8 there and 9 here"),
        ("learning_rate", 0.5, "learning_rate is 0.02 there and 0.5 here"),
        ("weight_decay", 0.0, "weight_decay is 0.01 there and 0.0 here"),
        ("seed", 1, "seed is 0 there and 1 here"),
        ("replays", 2, "replays is 1 there and 2 here"),
        ("loss", binary_cross_entropy, "loss is .*cross_entropy.* there and .*binary_cross_entropy.* here"),
        ("perturb", partial(torch.add, alpha=2), "perturb is 'None' there and .*partial.*alpha=2.* here"),
        ("card", {"data": "others"}, "card is {} there and {'data': 'others'} here"),
    ],
)
def test_another_setting_is_named(whole, name, value, here):
    before = (whole[2] / "checkpoint.pt").read_bytes()
    with pytest.raises(ValueError, match=rf"checkpoint\.pt is of a run with other settings: {here}\. .*another folder"):
        train(network(), Points(), whole[2], **{name: value})
    assert (whole[2] / "checkpoint.pt").read_bytes() == before


def test_other_examples_and_another_network_are_named_together(whole):
    with pytest.raises(ValueError, match="examples is 40 there and 41 here; parameters is 178 there and 200 here"):
        train(network(width=18), Points(41), whole[2])


def test_functions_are_known_without_their_addresses(tmp_path):
    train(network(), Points(), tmp_path, perturb=partial(_shift, by=1))
    assert "0x" not in json.dumps(torch.load(tmp_path / "checkpoint.pt", weights_only=True)["settings"])
    train(network(), Points(), tmp_path, perturb=partial(_shift, by=1))
    with pytest.raises(ValueError, match="perturb is .*by=1.* there and .*by=2.* here"):
        train(network(), Points(), tmp_path, perturb=partial(_shift, by=2))


def _shift(model, x, y, by):
    return x + by


@pytest.mark.parametrize("content", ["cut off", "no checkpoint", "empty", "of something else"])
def test_a_damaged_checkpoint_is_named(whole, content):
    path = whole[2] / "checkpoint.pt"
    if content == "of something else":
        torch.save({"weights": torch.ones(3)}, path)
    else:
        path.write_bytes({"cut off": path.read_bytes()[:-500], "no checkpoint": b"<html>", "empty": b""}[content])
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged.*delete it to begin anew"):
        train(network(), Points(), whole[2])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"epochs": 0}, "epochs must be an integer of at least 1, got 0"),
        ({"batch": 1.5}, "batch must be an integer of at least 1, got 1.5"),
        ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
        ({"replays": 0}, "replays must be an integer of at least 1, got 0"),
        ({"perturb": Free(0.1, 4)}, r"Free\(.*\) is for replays = 4, got replays = 1; give both the same number"),
        ({"perturb": Free(0.1, 4), "replays": 3}, "is for replays = 4, got replays = 3"),
        ({"learning_rate": 0}, "learning_rate > 0 .*got 0 and"),
        ({"learning_rate": math.nan}, "learning_rate > 0 .*got nan and"),
        ({"weight_decay": -1}, "weight_decay >= 0, got 0.02 and -1"),
        ({"examples": Points(0)}, "no examples"),
        ({"validation": Points(0)}, "no examples.*validation"),
    ],
)
def test_settings_out_of_range(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        train(network(), settings.pop("examples", Points()), tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    def spoil(model, x, y):
        seen.append(len(x))
        return x * math.nan if len(seen) > STEPS else x

    seen = []
    with pytest.raises(FloatingPointError, match="the loss is nan in epoch 2: learning_rate=0.02 is too large"):
        train(network(), Points(), tmp_path, perturb=spoil)
    (record,) = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["records"]
    assert record["epoch"] == 1 and math.isfinite(record["loss"])


# --- the weights and their card ---------------------------------------------------------------------------------------


def test_the_weights_come_with_their_card(tmp_path):
    model, card = network(), {"data": "points", "categories": ["below", "above"]}
    records = train(model, Points(), tmp_path, validation=Points(seed=1), card=card)
    about, state = read(tmp_path / "weights.safetensors")
    other = network(seed=1)
    other.load_state_dict(state)
    assert_same_weights(model, other)
    assert {name: about[name] for name in card} == card
    assert about["settings"]["seed"] == 0 and about["settings"]["examples"] == N and "card" not in about["settings"]
    assert about["result"] == without_seconds(records)[-1]
    assert about["versions"] == {"wam": wam.__version__, "torch": torch.__version__}
