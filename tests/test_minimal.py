"""Minimal inputs against closed forms of linear models, automatic differentiation, and their own history."""

import gc
import itertools
from dataclasses import replace

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import wam
from probes import Recorder, linear
from wam import data, metrics, minimal, models, pareto, perturbation

CASES = {
    "sound": (wam.Wavelet("db4", 2, 1), (1, 61)),
    "image": (wam.Wavelet("haar", 2, 2), (3, 8, 12)),
    "biorthogonal": (wam.Wavelet("bior2.2", 1, 2, "symmetric"), (2, 11, 15)),
    "volume": (wam.Wavelet("db2", 1, 3), (2, 7, 6, 8)),
    "fourier": (wam.Fourier(2, 2), (2, 9, 8)),
    "pixel": (wam.Pixel(), (3, 5, 6)),
}
every_case = pytest.mark.parametrize("frame, shape", CASES.values(), ids=CASES)
either = pytest.mark.parametrize("tied", [False, True], ids=["each", "tied"])
FRAME, SHAPE = CASES["image"]
HISTORY = ("score", "probability", "sparsity", "kept")
ENOUGH = 40
"""Steps in which every entry of a mask that only falls has reached 0."""


def inputs(shape, batch=3, seed=0, dtype=torch.float64):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def assert_close(a, b, atol=1e-10):
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=0, atol=atol, check_dtype=False)


def assert_same(one, other):
    """Every tensor of two results, bit by bit; of the histories, the shorter one stays at its last value."""
    for name in ("mask", "sparsest", "sparsest_sparsity", "target", "predicted", "alpha"):
        assert torch.equal(getattr(one, name).nan_to_num(-1), getattr(other, name).nan_to_num(-1)), name
    for name in HISTORY:
        long, short = sorted((getattr(one, name), getattr(other, name)), key=lambda h: -h.shape[2])
        assert torch.equal(long[..., : short.shape[2]], short), name
        assert (long[..., short.shape[2] :] == short[..., -1:]).all(), name


def row_of(found, a, i):
    names = ("mask", "sparsest", "sparsest_sparsity", *HISTORY)
    rows = {name: getattr(found, name)[a, i] for name in names}
    return replace(found, **rows, target=found.target[i], predicted=found.predicted[i], alpha=found.alpha[a])


def assert_ends_at(found, model, mask, index=None):
    """The history has at ``index`` (the end) what ``mask`` leaves, evaluated afresh."""
    index = torch.full(mask.shape[:2], found.score.shape[2] - 1) if index is None else index
    logits = torch.stack([model(batch).detach() for batch in found.inputs(mask)])
    chosen = found.target.expand(mask.shape[:2])[..., None]
    score, probability = (values.gather(2, chosen)[..., 0] for values in (logits, logits.softmax(2)))
    fresh = (score, probability, (mask == 0).double().mean(2), logits.argmax(2) == found.target)
    for name, values in zip(HISTORY, fresh):
        assert_close(getattr(found, name).gather(2, index[..., None])[..., 0], values, 1e-9)


class Interrupted(Recorder):
    """Raises Ctrl-C in place of its n-th pass."""

    def __init__(self, *shape, at):
        super().__init__(*shape)
        self.at = at

    def forward(self, x):
        if len(self.sizes) == self.at - 1:
            raise KeyboardInterrupt
        return super().forward(x)


# --- closed forms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("baseline, dtype", [(0.0, torch.float32), (0.7, torch.float64), ("tensor", torch.float64)])
@either
@every_case
def test_of_a_linear_score_exactly_the_terms_above_alpha_over_n_are_kept(frame, shape, tied, baseline, dtype):
    x, weight = inputs(shape, 2, dtype=dtype), inputs(shape, 4, seed=1, dtype=dtype)
    start = inputs(shape, 1, seed=2, dtype=dtype) if baseline == "tensor" else baseline
    model, alphas = linear(weight), [0.0, 0.3, 3.0, 30.0]
    found = minimal.optimise(
        model, x, [3, 0], frame, alphas, ENOUGH, objective="score", tied=tied, baseline=start, output="logit"
    )
    x0 = torch.zeros_like(x) + start
    terms = frame.analysis(x - x0).pack()[0] * frame.pullback(weight[[3, 0]]).pack()[0]
    terms = terms.sum(1) if tied else terms.flatten(1)
    apart = terms[None] - torch.tensor(alphas, dtype=dtype).view(-1, 1, 1) / terms.shape[1]
    clear = apart.abs() > 1e-6  # atoms beyond the border have no term, which is not above 0 either
    assert clear.double().mean() > 0.8 and (apart[clear] > 0).any() and (apart[clear] < 0).any()
    assert torch.equal(found.mask[clear], (apart > 0)[clear].to(dtype))
    assert found.mask.dtype == found.score.dtype == dtype and found.alpha.tolist() == pytest.approx(alphas)
    kept = model(x0)[[0, 1], [3, 0]] + (found.mask * terms).sum(2)
    assert_close(found.score[..., -1], kept, 1e-3 if dtype == torch.float32 else 1e-10)
    assert_close(found.alpha_sum, torch.tensor(alphas) / terms.shape[1], 1e-6)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), channels=st.integers(1, 2), n=st.integers(2, 9), tied=st.booleans())
def test_any_linear_score(data, channels, n, tied):
    tenths = st.lists(st.integers(-30, 30), min_size=channels * n, max_size=channels * n)
    x, weight = (torch.tensor(data.draw(tenths)).double().view(1, channels, n) / 10 for _ in "xw")
    alpha = data.draw(st.integers(0, 400)) / 10 + 0.005  # in hundredths, between the multiples of 1 / N of terms
    if not x.any():
        x[..., 0] = 1
    terms = (x * weight).sum(1) if tied else (x * weight).flatten(1)
    found = minimal.optimise(linear(weight), x, 0, wam.Pixel(), alpha, ENOUGH, objective="score", tied=tied)
    assert torch.equal(found.mask[0], (terms * terms.shape[1] > alpha).double())


@pytest.mark.parametrize("objective", minimal.OBJECTIVES)
@either
def test_the_descent_is_that_of_autograd_through_the_synthesis(objective, tied, recorder):
    """NAdam of torch on the objective as written, times N; rows are independent, so their sum is descended."""
    frame, shape = CASES["biorthogonal"]
    model, x, alphas, x0 = recorder(*shape), inputs(shape), [0.5, 20.0], inputs(shape, seed=4)
    found = minimal.optimise(model, x, 1, frame, alphas, 30, objective=objective, tied=tied, baseline=x0)
    change, spec = frame.analysis(x - x0).pack()
    mask = torch.ones_like(found.mask).requires_grad_(True)
    optimiser, original = torch.optim.NAdam([mask], lr=0.05), None
    for step in range(30):
        parts = (wam.Coefficients.unpack(m.unflatten(1, (-1, change.shape[2])) * change, spec) for m in mask)
        score = torch.stack([model(x0 + frame.synthesis(part))[:, 1] for part in parts])
        original = score.detach() if original is None else original
        wanted = {"hinge": torch.relu(original - score), "score": -score, "printed": score}[objective]
        optimiser.zero_grad()
        (mask.shape[2] * (wanted + torch.tensor(alphas)[:, None] * mask.mean(2))).sum().backward()
        optimiser.step()
        with torch.no_grad():
            mask.clamp_(0, 1)
        assert_close(found.score[..., step], score.detach())
    assert_close(found.mask, mask.detach())
    assert objective == "printed" or 0 < found.sparsity[1, 0, -1] < 1


@either
@every_case
def test_pullback_is_the_adjoint_of_part_and_agrees_with_autograd(frame, shape, tied, recorder):
    model, x, sample = recorder(*shape), inputs(shape), torch.tensor([0, 2, 2, 1])
    path = perturbation.between(x, inputs(shape, 1, seed=3), frame)
    features = path.change[0, 0].numel() * (1 if tied else shape[0])
    mask, g = torch.rand(4, features, dtype=torch.float64), inputs(shape, 4, seed=6)
    inner = (path.part(mask, sample) * g).flatten(1).sum(1)
    assert_close((mask * path.pullback(g, sample, tied)).sum(1), inner)
    mask.requires_grad_(True)
    seen = path.inserted(path.part(mask, sample), sample)
    (through,) = torch.autograd.grad(model(seen)[:, 2].sum(), mask)
    ahead = seen.detach().requires_grad_(True)
    (plain,) = torch.autograd.grad(model(ahead)[:, 2].sum(), ahead)
    assert_close(path.pullback(plain, sample, tied), through)
    whole = path.part(torch.ones(3, features, dtype=torch.float64), torch.arange(3))
    assert_close(path.inserted(whole, torch.arange(3)), x)
    assert_close(path.deleted(whole, torch.arange(3)), path.x0.expand_as(x))


# --- objectives -------------------------------------------------------------------------------------------------------


def test_a_hinge_without_alpha_asks_for_nothing(recorder):
    model, x = recorder(*SHAPE), inputs(SHAPE)
    found = minimal.optimise(model, x, None, FRAME, 0, ENOUGH)
    assert (found.mask == 1).all() and found.score.shape == (1, 3, 1) and model.sizes == [3]
    assert (minimal.optimise(model, x, None, FRAME, 0, 3, objective="score").mask < 1).any()


def test_the_sign_as_printed_destroys_the_score(recorder):
    model, x = recorder(*SHAPE), inputs(SHAPE)
    found = minimal.optimise(model, x, None, FRAME, 0.1, ENOUGH, objective="printed")
    assert (found.score[..., -1] < found.score[..., 0] - 0.5).all() and found.kept[..., 0].all()
    assert not found.kept[..., -1].any()


def test_the_hinge_keeps_the_score_that_the_papers_objective_amplifies():
    model = models.load("mobilenet_v2")
    x = model.prepare(data.images(2))
    options = {"frame": wam.Wavelet("haar", 3, 2), "alpha": 10, "steps": 12}
    hinge, score = (minimal.optimise(model, x, None, objective=name, **options) for name in ("hinge", "score"))
    assert_close(hinge.score[..., 0], score.score[..., 0], 1e-4)
    assert (score.score[..., -1] > 1.5 * score.score[..., 0]).all()
    assert (hinge.score[..., -1] < 1.5 * hinge.score[..., 0]).all()
    assert hinge.kept.all() and (hinge.mask.mean(2) < 0.7).all()


# --- rows -------------------------------------------------------------------------------------------------------------

SOUND, VOLUME = CASES["sound"], (wam.Wavelet("haar", 1, 3), (2, 5, 6, 4))
STRONG = [0.0, 1.0, 1e6]
"""The first rests at once (hinge), the last when nothing is left, the second goes on."""
ROWS = {
    "sound": (*SOUND, False, torch.float32),
    "image": (FRAME, SHAPE, False, torch.float64),
    "image, tied": (FRAME, SHAPE, True, torch.float32),
    "volume": (*VOLUME, True, torch.float64),
}


@pytest.mark.parametrize("frame, shape, tied, dtype", ROWS.values(), ids=ROWS)
def test_alone_in_a_batch_and_in_chunks_is_bit_equal(frame, shape, tied, dtype, recorder):
    model, x = recorder(*shape, dtype=dtype), inputs(shape, dtype=dtype)

    def run(rows=slice(None), alphas=STRONG, **options):
        return minimal.optimise(model, x[rows], None, frame, alphas, 28, tied=tied, **options)

    whole = run()
    assert_same(whole, run())
    for max_batch in (1, 2, 4):
        assert_same(whole, run(max_batch=max_batch))
    for i in range(3):
        assert_same(run(slice(i, i + 1)), row_of(whole, slice(None), slice(i, i + 1)))
    for a, alpha in enumerate(STRONG):
        assert_same(run(alphas=alpha), row_of(whole, slice(a, a + 1), slice(None)))


def test_rows_at_rest_leave_the_batch_and_keep_their_last_value(recorder):
    model, x = recorder(*SHAPE), inputs(SHAPE)
    found = minimal.optimise(model, x, None, FRAME, STRONG, 30, max_batch=6)
    assert model.sizes[:4] == [6, 3, 6, 6]  # the three of alpha 0 leave after one step; the rest are one chunk
    assert model.sizes[-1] == 3 and set(model.sizes[2:]) == {6, 3}
    steps = model.sizes.index(3, 2)
    assert found.score.shape == (3, 3, 31) and len(model.sizes) == 32
    assert (found.score[0] == found.score[0, :, :1]).all() and (found.mask[0] == 1).all()
    assert (found.sparsity[2, :, -1] == 1).all() and (found.mask[2] == 0).all()
    for name in HISTORY:
        values = getattr(found, name)[2, :, steps - 2 :]
        assert (values == values[:, :1]).all()
    assert (found.score[1].diff(dim=1) != 0).all()


def test_the_run_ends_when_all_rows_rest(recorder):
    model, x = recorder(*SHAPE), inputs(SHAPE)
    found = minimal.optimise(model, x, None, FRAME, [1e6, 1e7], 500, objective="score")
    assert (found.mask == 0).all() and found.score.shape[2] == len(model.sizes) < ENOUGH
    assert_ends_at(found, model, found.mask)


@pytest.mark.parametrize("keeps", ["class", "score"])
@either
def test_the_history_is_that_of_the_masks(keeps, tied, recorder):
    model, x = recorder(*SHAPE), inputs(SHAPE, 4)
    target = [*model(x[:3]).argmax(1).tolist(), model(x)[3].argmin().item()]
    found = minimal.optimise(model, x, target, FRAME, [0.5, 5.0, 50.0], 25, tied=tied, keeps=keeps)
    assert found.score.shape == found.kept.shape == (3, 4, 26) and found.target.tolist() == target
    assert torch.equal(found.predicted, model(x).argmax(1)) and found.predicted[3] != target[3]
    assert_ends_at(found, model, torch.ones_like(found.mask), torch.zeros(3, 4, dtype=torch.long))
    assert_ends_at(found, model, found.mask)
    assert_close(found.score[..., 0], model(x)[range(4), target].expand(3, -1).detach())
    assert (found.sparsity[..., 0] == 0).all() and found.mask.min() == 0 and found.mask.max() == 1
    enough = found.kept if keeps == "class" else found.score >= found.score[..., :1]
    best = torch.where(enough, found.sparsity, -1).max(2)
    none = ~enough.any(2)
    assert torch.equal(found.sparsest_sparsity.isnan(), none) and (found.sparsest[none] == 1).all()
    assert torch.equal(found.sparsest_sparsity[~none], best.values[~none]) and (best.values[~none] > 0).any()
    assert_ends_at(found, model, found.sparsest, torch.where(none, 0, best.indices))


def test_a_class_that_is_never_predicted_leaves_no_sparsest_mask(recorder):
    model, x = recorder(*SHAPE), inputs(SHAPE)
    barred = lambda x: model(x) - 100 * torch.eye(4)[1]  # noqa: E731
    found = minimal.optimise(barred, x, 1, FRAME, 1.0, 5)
    assert found.sparsest_sparsity.isnan().all() and (found.sparsest == 1).all() and not found.kept.any()
    assert minimal.optimise(barred, x, 1, FRAME, 1.0, 5, keeps="score").sparsest_sparsity.isfinite().all()


def test_the_model_and_the_inputs_are_left_as_they_were():
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(288, 4), nn.BatchNorm1d(4)).double()
    net[2].bias.requires_grad_(False)
    x = inputs(SHAPE).requires_grad_(True)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    alpha = torch.tensor([1.0, 2.0], requires_grad=True)
    one, other = (minimal.optimise(net, x, 0, FRAME, alpha, 4) for _ in range(2))
    assert_same(one, other)  # dropout is off
    assert net.training and net[1].training and net[2].weight.requires_grad and not net[2].bias.requires_grad
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters()) and x.grad is None and len(one.table()) == 6
    tensors = [v for v in (*vars(one).values(), *vars(one.path).values()) if isinstance(v, torch.Tensor)]
    assert tensors and not any(v.requires_grad for v in tensors)


def test_memory_does_not_grow_with_the_steps():
    sizes, weight, x = [], torch.randn(*SHAPE), inputs(SHAPE, dtype=torch.float32)

    def model(x):
        watched = gc.get_objects() if len(sizes) in (4, 24) else []
        sizes.append(sum(o.numel() for o in watched if type(o) is torch.Tensor))
        return (x * weight).tanh().sum((2, 3))

    minimal.optimise(model, x, 0, FRAME, [0.01, 0.1], 30, objective="score")
    assert sizes[4] > 6 * 6 * weight.numel()  # six masks for each of six rows
    assert sizes[24] - sizes[4] <= 20 * 4 * 6  # lines of the history


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [2, 3, 9, 11])
def test_an_interrupted_run_returns_what_there_is(at, recorder):
    """In the last case, by the forward pass that would have said where the descent ended."""
    model, x = Interrupted(*SHAPE, at=at), inputs(SHAPE)
    whole = minimal.optimise(recorder(*SHAPE), x, None, FRAME, [1.0, 10.0], 10, objective="score")
    with pytest.warns(UserWarning, match=f"after {at - 2} of 10 steps"):
        found = minimal.optimise(model, x, None, FRAME, [1.0, 10.0], 10, objective="score")
    assert found.interrupted and not whole.interrupted and found.score.shape == (2, 3, at - 1)
    for name in HISTORY:
        assert torch.equal(getattr(found, name), getattr(whole, name)[..., : at - 1])
    assert_ends_at(found, recorder(*SHAPE), found.mask)


def test_an_interrupted_update_leaves_no_half_made_mask(recorder, monkeypatch):
    model, x, step = recorder(*SHAPE), inputs(SHAPE), torch.optim.NAdam.step

    def interrupted(self):
        step(self)
        if len(model.sizes) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.NAdam, "step", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        found = minimal.optimise(model, x, None, FRAME, 5.0, 10)
    assert found.mask.max() <= 1 and found.score.shape[2] == 5
    assert_ends_at(found, recorder(*SHAPE), found.mask)


def test_an_interrupt_before_anything_is_known_is_passed_on():
    with pytest.raises(KeyboardInterrupt):
        minimal.optimise(Interrupted(*SHAPE, at=1), inputs(SHAPE), None, FRAME, 1.0, 3)


# --- what can be done with the result ---------------------------------------------------------------------------------


@either
def test_the_mask_as_an_explanation(tied, tmp_path, recorder):
    model, x = recorder(*SHAPE), inputs(SHAPE)
    found = minimal.optimise(model, x, None, FRAME, [1.0, 10.0], 25, objective="score", tied=tied)
    e = found.explanation(0)
    assert e.method == "minimal" and e.settings["alpha"] == 1.0 and e.settings["tied"] is tied
    assert torch.equal(e.attributions.pack()[0].flatten(1), found.mask[0])
    assert torch.equal(e.coefficients.pack()[0], FRAME.analysis(x).pack()[0])
    assert torch.equal(e.score, found.score[0, :, 0]) and torch.equal(e.target, found.target)
    loaded = wam.load(e.save(tmp_path / "mask.safetensors"))
    assert torch.equal(loaded.attributions.pack()[0], e.attributions.pack()[0]) and loaded.frame == FRAME
    assert_close(e.heatmap().sum((1, 2)), found.mask[0].sum(1))
    assert torch.equal(found.explanation().attributions.pack()[0].flatten(1), found.mask[1])
    curves = metrics.perturbation_curves(model, x, e, steps=4, output="top1")
    whole = model(x).argmax(1) == found.target
    assert torch.equal(curves.insertion[:, -1], whole.double()) and curves.ties.max() > 0


def test_inputs_take_another_mask_and_refuse_another_size(recorder):
    found = minimal.optimise(recorder(*SHAPE), inputs(SHAPE), 0, FRAME, [1.0, 2.0], 2, baseline=0.5)
    assert found.inputs().shape == (2, 3, *SHAPE)
    assert_close(found.inputs(torch.zeros_like(found.mask)), torch.full((2, 3, *SHAPE), 0.5))
    assert torch.equal(found.inputs(found.mask[:1]), found.inputs()[:1])
    for mask in (found.mask[0], found.mask[:, :1], found.mask[..., :3]):
        with pytest.raises(ValueError, match=r"masks must be \(masks, 3, 288\), got"):
            found.inputs(mask)


FOUR = torch.tensor([[[4.0, 1.0, 3.0, 2.0]], [[1.0, 1.0, 1.0, 5.0]]])
OPTIONS = {"target": 0, "frame": wam.Pixel(), "objective": "score", "output": "logit"}


def test_the_table_by_hand():
    """Thresholds of four terms: alpha / 4."""
    table = minimal.optimise(lambda x: x.sum(2), FOUR, alpha=[10.0, 6.0], **OPTIONS).table()
    expected = {
        "input": [0, 1, 0, 1],
        "target": [0] * 4,
        "predicted": [0] * 4,
        "alpha": [10.0, 10, 6, 6],
        "alpha_sum": [2.5, 2.5, 1.5, 1.5],
        "original": [10.0, 8, 10, 8],
        "sparsity": [0.5, 0.75, 0.25, 0.75],
        "score": [7.0, 5, 9, 5],
        "probability": [7.0, 5, 9, 5],
        "kept": [True] * 4,
        "sparsest": [0.5, 0.75, 0.25, 0.75],
    }
    pd.testing.assert_frame_equal(table, pd.DataFrame(expected), check_dtype=False)


@pytest.mark.parametrize(
    "offset, fall, alphas, last",
    [
        (0.0, 0.8, [1.0], 10),  # 9, then 6
        (0.0, 0.5, [1.0], 100),
        (0.0, 0.5, [100.0, 1.0], 100),  # in any order
        (0.0, 0.95, [10.0, 1.0], 10),
        (99.0, 0.5, [3.0], 30),  # the score cannot fall, but nothing is left
        (-100.0, 0.97, [1.0], 10),  # a negative score falls too: -91, then -94
        (0.0, 0.5, 1.0, 100),
        (0.0, 0.5, [1.0, 1.0], 100),  # a value is run once
    ],
)
def test_the_front_is_extended_until_the_score_falls_and_no_further(offset, fall, alphas, last):
    model = lambda x: x.sum(2) + offset  # noqa: E731
    found = pareto.pareto(model, FOUR, alphas=alphas, fall=fall, **OPTIONS)
    assert found.front["alpha"].max() == last and found.front["alpha"].is_monotonic_increasing
    assert len(found.runs) == 2 * len(found.front) and (found.front["n"] == 2).all()


def test_the_front_by_hand():
    found = pareto.pareto(lambda x: x.sum(2), FOUR, alphas=[10.0], fall=0.1, **OPTIONS)
    assert found.front["alpha"].tolist() == [10, 100] and found.front["alpha_sum"].tolist() == [2.5, 25]
    assert found.front["sparsity"].tolist() == [0.625, 1] and found.front["score"].tolist() == [6, 0]
    low, high = (found.front[f"score_{end}"].tolist() for end in ("low", "high"))
    assert (low, high) == ([5, 0], [7, 0]) and found.front["kept"].tolist() == [1, 1]
    shuffled = found.runs.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(pareto.front(shuffled), found.front)


def test_a_front_that_cannot_be_reached_ends():
    for alphas, steps in (([0.0], 30), ([1.0], 3)):  # ten times nothing; steps that do not suffice
        found = pareto.pareto(lambda x: x.sum(2), FOUR, alphas=alphas, steps=steps, **OPTIONS)
        assert found.front["alpha"].tolist() == ([1, 10, 100, 1000] if alphas[0] else [0])


def test_alpha_is_what_was_given():
    found = minimal.optimise(lambda x: x.sum(2), FOUR.float(), 0, wam.Pixel(), [0.1], 2, objective="score", tied=True)
    assert found.table()["alpha"].tolist() == [0.1, 0.1] and found.explanation().settings["alpha"] == 0.1
    settings = {"objective": "score", "tied": True, "lr": 0.05, "baseline": 0.0, "steps": 2}
    assert settings.items() <= found.explanation().settings.items()


@pytest.mark.parametrize("at", [2, 5])
def test_an_interrupted_front_ends_with_the_last_alpha_that_was_finished(at):
    """At alpha = 1 all rests at once, so that the second pass is the first at alpha = 10."""
    passes = itertools.count(1)

    def model(x):
        if next(passes) == at:
            raise KeyboardInterrupt
        return x.sum(2)

    with pytest.warns(UserWarning, match="interrupted"):
        found = pareto.pareto(model, FOUR, alphas=[1.0], **OPTIONS)
    assert found.runs["alpha"].tolist() == [1, 1]


# --- where it runs ----------------------------------------------------------------------------------------------------


def test_inference_mode_and_autocast(recorder):
    model, x = recorder(*SHAPE, dtype=torch.float32), inputs(SHAPE).float()
    call = {"model": model, "x": x, "target": None, "frame": FRAME, "alpha": [1.0, 30.0], "steps": 12}
    plain = minimal.optimise(**call)
    with torch.inference_mode():
        assert torch.equal(minimal.optimise(**call | {"x": x.clone()}).mask, plain.mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert minimal.optimise(**call).mask.dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(recorder):
    call = {"target": None, "frame": FRAME, "alpha": [1.0, 30.0], "steps": 12}
    model, x = recorder(*SHAPE), inputs(SHAPE)
    here, there = (minimal.optimise(model.to(d), x.to(d), **call) for d in ("cpu", "cuda"))
    assert there.mask.is_cuda and there.table().shape == here.table().shape
    assert_close(there.mask.cpu(), here.mask)


# --- what is refused --------------------------------------------------------------------------------------------------

BAD = {
    "alpha negative": ({"alpha": [1.0, -1.0]}, ValueError, r"alpha must be finite and at least 0.*-1.0"),
    "alpha nan": ({"alpha": float("nan")}, ValueError, "alpha must be finite and at least 0"),
    "alpha inf": ({"alpha": float("inf")}, ValueError, "alpha must be finite and at least 0"),
    "no alpha": ({"alpha": []}, ValueError, r"one or several, got \[\]"),
    "alpha text": ({"alpha": "strong"}, TypeError, "alpha must be a number or several, got 'strong'"),
    "no steps": ({"steps": 0}, ValueError, "steps must be an integer of at least 1, got 0"),
    "lr zero": ({"lr": 0}, ValueError, "lr must be a positive step size, such as 0.05, got 0"),
    "lr text": ({"lr": "fast"}, ValueError, "lr must be a positive step size.*'fast'"),
    "target": ({"target": 4}, ValueError, r"target \[4\] out of range"),
    "ndim": ({"x": inputs((3, 12))}, ValueError, "2 spatial axes"),
    "too small": ({"x": inputs((3, 2, 12))}, ValueError, "at most 1 do"),
    "nan": ({"x": inputs(SHAPE) / torch.tensor([1, 0, 1]).view(3, 1, 1, 1)}, ValueError, r"of samples \[1\] holds NaN"),
    "zero": ({"x": inputs(SHAPE) * torch.tensor([0, 1, 0]).view(3, 1, 1, 1)}, ValueError, r"samples \[0, 2\] equal"),
    "baseline": ({"baseline": inputs(SHAPE)}, ValueError, r"samples \[0, 1, 2\] equal the baseline everywhere"),
    "baseline shape": ({"baseline": torch.zeros(5)}, ValueError, "does not broadcast"),
    "objective": ({"objective": "loss"}, ValueError, "unknown objective 'loss'; choose one of hinge, score, printed"),
    "output": ({"output": "score"}, ValueError, "unknown output 'score'; choose one of softmax"),
    "keeps": ({"keeps": "shape"}, ValueError, "unknown keeps 'shape'; choose one of class, score"),
    "max_batch": ({"max_batch": 0}, ValueError, "max_batch must be an integer of at least 1, got 0"),
    "model": ({"model": lambda v: v.sum((1, 2, 3))}, ValueError, r"\(batch, classes\)"),
}


@pytest.mark.parametrize("change, error, message", BAD.values(), ids=BAD)
def test_bad_input_names_the_value_and_the_fix(change, error, message, recorder):
    call = {"model": recorder(*SHAPE), "x": inputs(SHAPE), "target": 0, "frame": FRAME, "alpha": 1.0, "steps": 2}
    with pytest.raises(error, match=message):
        minimal.optimise(**call | change)


@pytest.mark.parametrize("max_batch", [1, 4, None])
@pytest.mark.parametrize("what", ["score", "gradient"])
def test_a_model_that_fails_half_way_names_the_samples(what, max_batch):
    x = torch.tensor([[[3.0, 1.0]], [[1.0, 1.0]], [[2.0, 3.0]]])

    def model(x):
        total, low = x.sum(2), x[:, 0, 0] < 0.9
        total[low] += torch.nan if what == "score" else (x[low] - x[low]).sqrt().sum(2)
        return total

    with pytest.raises(
        ValueError, match=rf"the {what} of samples \[1\] holds NaN or infinite values after [1-9]\d* steps"
    ):
        minimal.optimise(model, x, 0, wam.Pixel(), [0.0, 50.0], 9, objective="score", max_batch=max_batch)
