"""Augmentation, attacks and free adversarial training: against closed forms of linear models; Foolbox's attack, too."""

import itertools
import sys

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset, TensorDataset

from wam.adversarial import Attack, Augment, Free, robust_accuracy
from wam.training import train

RADIUS = 0.1


def as_it_is(model, x, y):
    """Instead of an augmentation: none."""
    return x


def pictures(n, height=5, width=6, low=0.0, high=1.0, seed=0):
    return low + (high - low) * torch.rand(n, 2, height, width, generator=torch.Generator().manual_seed(seed))


def linear(height=5, width=6, seed=0):
    """Two classes; the loss of either grows along a direction that depends on the class alone."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(2 * height * width, 2))


def uphill(model, x, y):
    """The sign of the gradient of the loss of a linear model with two classes, by hand."""
    weight = model[1].weight.detach()
    return (weight[1 - y] - weight[y]).sign().view_as(x)


# --- augmentation -----------------------------------------------------------------------------------------------------


def shifted(picture, top, left, mirror):
    """A picture shifted down and to the right within black, and mirrored then, pixel by pixel."""
    channels, height, width = picture.shape
    moved = torch.zeros_like(picture)
    for row, column in itertools.product(range(height), range(width)):
        if 0 <= row - top < height and 0 <= column - left < width:
            moved[:, row, column] = picture[:, row - top, column - left]
    return torch.stack([moved[:, :, width - 1 - column] for column in range(width)], 2) if mirror else moved


def test_every_picture_is_shifted_and_half_of_them_are_mirrored():
    n, shift = 3000, 2
    (picture,) = pictures(1, low=0.1)
    x = picture.expand(n, -1, -1, -1)
    out = Augment(shift)(None, x, None)
    assert out.shape == x.shape and torch.equal(x[0], picture)
    moves = list(itertools.product(range(-shift, shift + 1), range(-shift, shift + 1), (False, True)))
    possible = torch.stack([shifted(picture, *move) for move in moves])
    which = (out[:, None] == possible).flatten(2).all(2)
    assert (which.sum(1) == 1).all()  # each is exactly one of the 50
    counts = which.sum(0).double()
    assert counts.min() > 20 and counts.max() < 110  # 60 expected of each
    mirrored = counts[1::2].sum() / n
    assert 0.45 < mirrored < 0.55


def test_pictures_are_augmented_one_by_one():
    x, shift = pictures(60, low=0.1), 1
    out = Augment(shift)(None, x, None)
    moves = list(itertools.product((-1, 0, 1), (-1, 0, 1), (False, True)))
    for picture, found in zip(x, out):
        assert sum(torch.equal(found, shifted(picture, *move)) for move in moves) == 1
    unmoved = Augment(0)(None, x, None)
    same, mirrored = ((unmoved == y).flatten(1).all(1) for y in (x, x.flip(3)))
    assert (same ^ mirrored).all() and 0 < same.sum() < 60


def test_an_augmentation_depends_on_the_seed():
    x = pictures(40)

    def augmented(seed):
        torch.manual_seed(seed)
        return Augment()(None, x, None)

    assert torch.equal(augmented(1), augmented(1)) and not torch.equal(augmented(1), augmented(2))
    assert repr(Augment()) == "Augment(shift=4)"  # it is one of the settings of a run


# --- attacks ----------------------------------------------------------------------------------------------------------


def convolutional():
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 3 * 4, 3)]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("steps, step", [(1, 1.25), (7, 0.25)])
def test_an_attack_stays_within_its_radius_and_increases_the_loss(steps, step):
    model, x, y = convolutional(), pictures(64), torch.arange(64) % 3
    given = x.clone()
    out = Attack(RADIUS, step * RADIUS, steps, augment=as_it_is)(model, x, y)
    assert torch.equal(x, given) and not out.requires_grad
    assert out.min() >= 0 and out.max() <= 1
    assert 0.99 * RADIUS < (out - x).abs().max() < RADIUS + 1e-6
    assert model.training and all(parameter.grad is None for parameter in model.parameters())
    with torch.no_grad():
        model.eval()
        before, noise, after = (
            cross_entropy(model(z), y, reduction="none")
            for z in (x, (x + RADIUS * (2 * torch.rand_like(x) - 1)).clamp(0, 1), out)
        )
    assert (after > before).double().mean() > 0.95
    assert after.mean() - before.mean() > 5 * (noise.mean() - before.mean()).abs()


def test_one_step_of_fast_by_hand():
    model, x, y = linear(), pictures(20), torch.arange(20) % 2
    step = 1.25 * RADIUS
    torch.manual_seed(3)
    out = Attack(RADIUS, step, augment=as_it_is)(model, x, y)
    torch.manual_seed(3)
    start = (x + RADIUS * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
    expected = start + step * uphill(model, x, y)
    expected = torch.minimum(torch.maximum(expected, x - RADIUS), x + RADIUS).clamp(0, 1)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)
    inside = (x > 2 * RADIUS) & (x < 1 - 2 * RADIUS)  # a quarter of the radius at least, wherever it began
    assert ((out - x) * uphill(model, x, y))[inside].min() > 0.249 * RADIUS


def test_many_steps_reach_the_corner_of_the_cube():
    model, x, y = linear(), pictures(20), torch.arange(20) % 2
    out = Attack(RADIUS, RADIUS / 4, 9, augment=as_it_is)(model, x, y)
    corner = (x + RADIUS * uphill(model, x, y)).clamp(0, 1)
    torch.testing.assert_close(out, corner, rtol=0, atol=1e-6)


def test_pictures_are_augmented_before_they_are_attacked():
    model, x, y = linear(), pictures(20), torch.arange(20) % 2
    torch.manual_seed(4)
    augmented = Augment(2)(model, x, y)
    torch.manual_seed(4)
    out = Attack(1e-3, 1e-3, 2, augment=Augment(2))(model, x, y)
    assert 0 < (out - augmented).abs().max() < 1.001e-3
    assert repr(Attack(0.5, 0.125, 7)) == "Attack(radius=0.5, step=0.125, steps=7, augment=Augment(shift=4))"


# --- for free ---------------------------------------------------------------------------------------------------------


def used(model, free, x, y):
    """One use of a minibatch, and its backward pass."""
    seen = free(model, x, y)
    cross_entropy(model(seen), y).backward()
    return seen.detach()


def test_a_perturbation_moves_by_its_radius_along_the_sign_of_the_gradient():
    model, x, y = linear(), pictures(20, low=0.3, high=0.7), torch.arange(20) % 2
    free = Free(RADIUS, 3, augment=as_it_is)
    first, second, third = (used(model, free, x, y) - x for _ in range(3))
    assert first.abs().max() <= RADIUS + 1e-6 and first.std() == pytest.approx(RADIUS / 3**0.5, rel=0.1)
    moved = (first + RADIUS * uphill(model, x, y)).clamp(-RADIUS, RADIUS)
    torch.testing.assert_close(second, moved, rtol=0, atol=1e-6)
    torch.testing.assert_close(third, RADIUS * uphill(model, x, y), rtol=0, atol=1e-6)
    fourth = used(model, free, x, y) - x  # used up: it begins again, with noise
    assert fourth.abs().max() <= RADIUS + 1e-6 and (fourth - first).abs().mean() > RADIUS / 3
    assert fourth.std() == pytest.approx(RADIUS / 3**0.5, rel=0.1)


def test_pictures_stay_in_their_range():
    model, y = linear(), torch.arange(20) % 2
    x = pictures(20).round()  # black and white
    free = Free(RADIUS, 3, augment=as_it_is)
    for _ in range(3):
        seen = used(model, free, x, y)
        assert seen.min() >= 0 and seen.max() <= 1 and (seen - x).abs().max() <= RADIUS + 1e-6
    corner = (x + RADIUS * uphill(model, x, y)).clamp(0, 1)
    torch.testing.assert_close(seen, corner, rtol=0, atol=1e-6)


def test_another_minibatch_begins_afresh_even_if_the_last_was_not_used_up():
    model, free = linear(), Free(RADIUS, 3, augment=as_it_is)
    for n in (20, 7):  # as after an interruption, or of the last batch, which is smaller
        x, y = pictures(n, low=0.3, high=0.7, seed=n), torch.arange(n) % 2
        first, second = (used(model, free, x, y) - x for _ in range(2))
        assert first.std() == pytest.approx(RADIUS / 3**0.5, rel=0.15)
        moved = (first + RADIUS * uphill(model, x, y)).clamp(-RADIUS, RADIUS)
        torch.testing.assert_close(second, moved, rtol=0, atol=1e-6)


def test_a_minibatch_is_augmented_once():
    model, x, y = linear(), pictures(20), torch.arange(20) % 2
    free = Free(1e-3, 3, augment=Augment(2))
    first, second, third, other = (used(model, free, x, y) for _ in range(4))
    assert max((first - second).abs().max(), (first - third).abs().max()) < 2.001e-3
    assert (first - other).abs().max() > 0.1
    assert repr(Free(0.5, 4)) == "Free(radius=0.5, replays=4, augment=Augment(shift=4))"


class Squares(Dataset):
    """Grey squares, lighter on the left or on the right; one of those that are asked for is never handed out."""

    def __init__(self, n=24):
        self.x = pictures(n, low=0.3, high=0.7)
        self.y = torch.arange(n) % 2
        self.x[self.y == 0, :, :, :3] += 0.1

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], int(self.y[index])


def network(seed=0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(48, 2)]
    return nn.Sequential(*layers)


def interrupted(at=None):
    """The cross entropy, but for its call number ``at``."""
    calls = itertools.count()

    def loss(logits, y):
        if next(calls) == at:
            raise KeyboardInterrupt
        return cross_entropy(logits, y)

    return loss


SETTINGS = {"epochs": 3, "batch": 8, "learning_rate": 0.01, "replays": 4, "progress": False}  # 12 steps an epoch


def test_training_for_free_uses_the_gradient_of_its_own_steps(tmp_path):
    free, seen = Free(RADIUS, 4, augment=as_it_is), []

    def watch(model, x, y):
        seen.append((x, free(model, x, y)))
        return seen[-1][1]

    train(network(), Squares(), tmp_path, perturb=watch, **SETTINGS)
    assert len(seen) == 3 * 12
    for i, ((x, before), (other, after)) in enumerate(itertools.pairwise(seen)):
        if i % 4 == 3:
            assert other is not x
        else:
            assert other is x and before.grad.abs().max() > 0
            moved = (before.detach() - x + RADIUS * before.grad.sign()).clamp(-RADIUS, RADIUS)
            torch.testing.assert_close(after.detach() - x, moved, rtol=0, atol=1e-6)


@pytest.mark.parametrize("at", [1, 13, 14, 22])  # within the first minibatch of an epoch, twice, and within others
def test_an_interrupted_run_for_free_continues_to_the_same_weights(tmp_path, at):
    expected = network()
    train(expected, Squares(), tmp_path / "whole", perturb=Free(RADIUS, 4), loss=interrupted(), **SETTINGS)
    kept = Free(RADIUS, 4)
    with pytest.raises(KeyboardInterrupt):
        train(network(), Squares(), tmp_path / "cut", perturb=kept, loss=interrupted(at), **SETTINGS)
    for name, free in (("kept", kept), ("new", Free(RADIUS, 4))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "checkpoint.pt").write_bytes((tmp_path / "cut" / "checkpoint.pt").read_bytes())
        model = network(seed=1)
        train(model, Squares(), tmp_path / name, perturb=free, loss=interrupted(), **SETTINGS)
        for key, value in expected.state_dict().items():
            assert torch.equal(model.state_dict()[key], value), (name, key)


# --- robust accuracy --------------------------------------------------------------------------------------------------


def worst(model, x, y, radius):
    """What is left of the margins of a linear model with two classes at the worst pictures in reach."""
    weight, bias = model[-1].weight.detach().double(), model[-1].bias.detach().double()
    weight, bias = weight[0] - weight[1], bias[0] - bias[1]
    side = 1 - 2 * y.double()
    direction = (side[:, None] * weight.sign()).view_as(x)
    reached = (x.double() - radius * direction).clamp(0, 1)
    return side * (reached.flatten(1) @ weight + bias)


@pytest.mark.parametrize("low, high", [(0.3, 0.7), (0.0, 1.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_robust_accuracy_of_a_linear_model_by_hand(low, high, dtype):
    x = pictures(300, low=low, high=high)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(60, 2)).train()
    model[-1].bias.data = -0.5 * model[-1].weight.data.sum(1)  # grey is undecided
    y = worst(model, x, torch.zeros(300), 0).lt(0).long()  # right at first, but for every tenth
    y[::10] = 1 - y[::10]
    examples, found = TensorDataset(x, y), []
    model = model.to(dtype)
    for radius in (1e-4, 0.005, 0.01, 0.2):
        left = worst(model, x, y, radius)
        assert left.abs().min() > 1e-6  # none that rounding could decide
        found.append(robust_accuracy(model, examples, radius, batch=128))
        assert found[-1] == (left > 0).double().mean().item()
    if low > 0:  # no pixel leaves the range: a margin survives where it is larger than the radius times the sum of |w|
        weight = (model[-1].weight[0] - model[-1].weight[1]).detach().double()
        survives = worst(model, x, y, 0) > 0.01 * weight.abs().sum()
        assert found[2] == survives.double().mean().item()
    assert 0.8 < found[0] <= 0.9 and 0.1 < found[2] < found[1] < found[0] and found[3] < 0.05


class Needle(nn.Module):
    """Class 1 in one point, class 0 in all others, and a gradient that is zero everywhere."""

    def __init__(self):
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        there = ((x - 0.5).abs() < 1e-4).flatten(1).all(1).to(x)
        return torch.stack([1 - there, there], 1) + self.zero * x.flatten(1).sum(1, keepdim=True)


def test_what_is_wrong_at_first_is_not_robust():
    """Even where the attack ends at a picture that is classified right."""
    examples = TensorDataset(torch.full((4, 1, 3, 3), 0.5), torch.tensor([0, 0, 0, 1]))
    assert robust_accuracy(Needle(), examples, RADIUS, batch=3) == 0  # the last one is right at first, and only there
    assert robust_accuracy(Needle(), examples, 1e-5) == 0.25


def test_a_measurement_leaves_no_trace(capfd):
    model, examples = convolutional().train(), TensorDataset(pictures(30), torch.arange(30) % 3)
    model[1].eval()
    model[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    found = [robust_accuracy(model, examples, 0.02, batch=7) for _ in range(2)]
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(6)
    assert found == [robust_accuracy(model, examples, 0.02, batch=7)] * 2  # nor does it depend on the generator
    assert model.training and not model[1].training and model[2].training
    assert [parameter.requires_grad for parameter in model.parameters()] == [False] + [True] * 5
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert capfd.readouterr() == ("", "")
    robust_accuracy(model, examples, 0.02, progress=True)
    assert "30/30" in capfd.readouterr().err


def test_the_seed_is_that_of_the_random_starts():
    """Where the gradient is zero an attack ends where it begins."""

    class Half(Needle):
        def forward(self, x):
            low = (x.flatten(1)[:, 0] < 0.5).to(x)
            return torch.stack([1 - low, low], 1) + self.zero * x.flatten(1).sum(1, keepdim=True)

    examples = TensorDataset(torch.full((99, 1, 1, 1), 0.5), torch.zeros(99).long())
    found = [robust_accuracy(Half(), examples, RADIUS, seed=seed) for seed in (0, 0, 1, 2)]
    assert found[0] == found[1] and len(set(found)) > 1 and all(0.25 < share < 0.75 for share in found)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"radius": 0}, "radius must be above 0 and at most 1, for pictures from 0 to 1, got 0"),
        ({"radius": -0.1}, "radius must be above 0 .*got -0.1"),
        ({"radius": 8}, "got 8 .write 8 of 255 as 8/255"),
        ({"radius": float("nan")}, "radius must be above 0 .*got nan"),
        ({"radius": True}, "radius must be above 0 .*got True"),
        ({"steps": 0}, "steps must be an integer of at least 1, got 0"),
        ({"batch": 1.5}, "batch must be an integer of at least 1, got 1.5"),
        ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
        ({"examples": TensorDataset(torch.zeros(0, 2, 5, 6), torch.zeros(0).long())}, "no examples to attack"),
        (
            {"examples": TensorDataset(pictures(3) * 2 - 1, torch.zeros(3).long())},
            "values from 0 to 1, got .*from -0.9",
        ),
        ({"examples": TensorDataset(pictures(3) * 255, torch.zeros(3).long())}, "from 0 to 1, got .* to 25"),
        ({"examples": TensorDataset(pictures(3) * torch.nan, torch.zeros(3).long())}, "from 0 to 1, got .*nan"),
    ],
)
def test_what_cannot_be_attacked(given, message):
    given = {"examples": TensorDataset(pictures(3), torch.zeros(3).long()), "radius": RADIUS} | given
    with pytest.raises(ValueError, match=message):
        robust_accuracy(linear(), **given)


def test_without_foolbox_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "foolbox", None)
    with pytest.raises(
        ImportError, match=r"measured by Foolbox, which cannot be imported: .*pip install 'wam\[attacks\]'"
    ):
        robust_accuracy(linear(), TensorDataset(pictures(3), torch.zeros(3).long()), RADIUS)
