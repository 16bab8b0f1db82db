"""Quantiles of a ranking against a loop over every number of features, for models whose answers come and go."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import wam
from wam import controls, metrics
from wam.minimal import static
from wam.protocol import Protocol

CASES = {
    "sound": (wam.Wavelet("db2", 2, 1), (1, 33)),
    "image": (wam.Wavelet("haar", 1, 2), (2, 6, 7)),
    "biorthogonal": (wam.Wavelet("bior2.2", 1, 1, "symmetric"), (2, 13)),
    "volume": (wam.Wavelet("haar", 1, 3), (1, 3, 4, 5)),
    "fourier": (wam.Fourier(1, 2), (2, 5, 6)),
    "pixel": (wam.Pixel(), (3, 4, 5)),
}
every_case = pytest.mark.parametrize("frame, shape", CASES.values(), ids=CASES)
either = pytest.mark.parametrize("tied", [False, True], ids=["each", "tied"])


def inputs(shape, batch=4, seed=0):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ranked(model, x, frame, target=None, seed=1):
    """An explanation whose attributions are random, so that nothing is monotone along its ranking."""
    e = wam.saliency(model, x, target, frame=frame)
    generator = torch.Generator().manual_seed(seed)
    return replace(e, attributions=e.attributions.map(lambda b: torch.randn(b.shape, generator=generator).to(b)))


def swept(model, x, e, tied, x0=0.0):
    """For every number of top features: is the class predicted, of them alone and without them? Masks band by band."""
    z, spec = e.frame.analysis(x - x0).pack()
    values = e.attributions.pack()[0].abs()
    values = (values.sum(1, keepdim=True) if tied else values).flatten(1)
    rank = values.argsort(dim=1, descending=True).argsort(dim=1)
    inserted, deleted = [], []
    for k in range(values.shape[1] + 1):
        part = e.frame.synthesis(wam.Coefficients.unpack(z * (rank < k).view(len(x), -1, z.shape[2]), spec))
        for answers, seen in ((inserted, x0 + part), (deleted, x - part)):
            answers.append(model(seen).argmax(1) == e.target)
    return torch.stack(inserted, 1), torch.stack(deleted, 1)


def stays(changed):
    """From which place on a row of truth values is true to its end; NaN for never."""
    return torch.tensor([next((k for k in range(len(row)) if all(row[k:])), np.nan) for row in changed.tolist()])


def assert_quantile(quantile, changed, steps):
    """What a loop says: exactly with a step for every feature, or else a true crossing in the bracket of the sweep."""
    n = changed.shape[1] - 1
    grid = np.round(np.arange(steps + 1) * n / steps).astype(int)
    coarse = changed[:, grid]
    for row, seen, share, first, once in zip(changed, coarse, *quantile):
        places = seen.nonzero()[:, 0]
        assert first.isnan() if not len(places) else first.item() == grid[places[0]] / n
        assert once.item() == (int(seen.long().diff().abs().sum()) <= 1)
        begin = stays(seen[None]).item()
        if np.isnan(begin):
            assert share.isnan()
        else:
            count = round(share.item() * n)
            assert share.item() == count / n and (steps < n or count == begin)
            assert row[count] and (count == 0 or not row[count - 1])
            assert count == 0 or grid[begin - 1] < count <= grid[begin]


# --- a number for every count -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 3, 7, None])
@either
@every_case
def test_against_every_number_of_features(frame, shape, tied, steps, recorder):
    model, x, x0 = recorder(*shape), inputs(shape), inputs(shape, 1, seed=7)
    e = ranked(model, x, frame, [*model(x[:3]).argmax(1).tolist(), 1])
    inserted, deleted = swept(model, x, e, tied, x0)
    n = inserted.shape[1] - 1
    steps = steps or n
    model.sizes.clear()
    found = static(model, x, e, steps, protocol=Protocol(tied=tied, baseline=x0), max_batch=3)
    assert max(model.sizes) <= 3
    assert sum(model.sizes) <= 4 * (2 * steps + 2 * np.ceil(np.log2(np.ceil(n / steps))))
    assert_quantile(found.insertion, inserted, steps)
    assert_quantile(found.deletion, ~deleted, steps)
    assert found.insertion.share.dtype == found.insertion.first.dtype == torch.float64
    curves = metrics.perturbation_curves(
        model, x, e, steps=steps, protocol=Protocol(tied=tied, baseline=x0), output="top1"
    )
    assert torch.equal(found.curves.insertion, curves.insertion)
    grid = torch.from_numpy(np.round(np.arange(steps + 1) * n / steps).astype(int))
    assert torch.equal(curves.insertion, inserted[:, grid].double())  # top1: 1 where the class is the predicted one
    assert torch.equal(curves.deletion, deleted[:, grid].double())


@either
@every_case
def test_the_sufficient_input_is_predicted_and_a_feature_less_is_not(frame, shape, tied, recorder):
    model, x = recorder(*shape), inputs(shape)
    e = ranked(model, x, frame)
    found = static(model, x, e, 8, protocol=Protocol(tied=tied))
    assert found.insertion.share.isfinite().all() and (found.insertion.share > 0).any()
    assert torch.equal(model(found.sufficient).argmax(1), e.target)
    features = e.attributions.pack()[0][0].numel() // (shape[0] if tied else 1)
    for i, share in enumerate(found.insertion.share.tolist()):
        shares = [share, max(share - 1 / features, 0)]
        enough, less = (p[i] for p in metrics.perturbed(x, e, shares, protocol=Protocol(tied=tied))[0])
        torch.testing.assert_close(found.sufficient[i], enough, rtol=0, atol=1e-12)
        assert share == 0 or model(less[None]).argmax() != e.target[i]


def counting(table, n):
    """Class 0 of an input of ones and zeros is predicted or not by how many ones there are."""
    table = torch.tensor(table).double()

    def model(x):
        count = x.flatten(1).sum(1)
        return torch.stack([table[count.round().long()] + 0 * count, torch.full_like(count, 0.5)], dim=1)

    x = torch.ones(1, 1, n, dtype=torch.float64)
    e = wam.saliency(lambda x: x.sum(2), x, 0, frame=wam.Pixel())
    return model, x, replace(e, attributions=e.attributions.map(lambda b: torch.randn_like(b)))


@settings(max_examples=150, deadline=None)
@given(table=st.lists(st.booleans(), min_size=3, max_size=24), data=st.data())
def test_any_answers_of_any_model(table, data):
    n = len(table) - 1
    model, x, e = counting(table, n)
    answers = torch.tensor(table)[None]
    exact = static(model, x, e, n)
    for quantile, changed in ((exact.insertion, answers), (exact.deletion, ~answers.flip(1))):
        assert_quantile(quantile, changed, n)
        torch.testing.assert_close(quantile.share * n, stays(changed).double(), equal_nan=True)
        assert quantile.monotone.item() == (sum(a != b for a, b in zip(changed[0], changed[0, 1:])) <= 1)
        if quantile.monotone and quantile.share.isfinite():
            assert quantile.first == quantile.share
    kept = n if exact.insertion.share.isnan() else round(exact.insertion.share.item() * n)
    assert exact.sufficient.sum() == kept
    steps = data.draw(st.integers(1, n))
    coarse = static(model, x, e, steps)
    assert_quantile(coarse.insertion, answers, steps)
    assert_quantile(coarse.deletion, ~answers.flip(1), steps)


@pytest.mark.parametrize("steps", [1, 2, 5, 32])
@pytest.mark.parametrize("least", range(0, 33, 4))
def test_one_threshold_is_found_by_every_sweep(least, steps):
    """The class needs ``least`` of 32: it is there from that many on, and is lost with one more than the others."""
    model, x, e = counting([k >= least for k in range(33)], 32)
    found = static(model, x, e, steps)
    assert found.insertion.share.item() == least / 32 and found.insertion.monotone and found.deletion.monotone
    lost = found.deletion.share.item()
    assert np.isnan(lost) if least == 0 else lost == (33 - least) / 32
    assert found.sufficient.sum() == least


def test_a_class_that_is_never_or_always_predicted():
    for always in (False, True):
        model, x, e = counting([always] * 9, 8)
        found = static(model, x, e, 4)
        never, at_once = (found.deletion, found.insertion) if always else (found.insertion, found.deletion)
        assert never.share.isnan() and never.first.isnan() and at_once.share == at_once.first == 0
        assert never.monotone and at_once.monotone
        assert found.sufficient.sum() == (0 if always else 8)  # with all, where none suffice


def test_a_class_that_comes_and_goes_along_the_ranking():
    model, x, e = counting([0, 0, 1, 1, 0, 0, 0, 0, 0], 8)
    found = static(model, x, e, 4)
    assert found.insertion.share.isnan() and found.insertion.first == 0.25 and not found.insertion.monotone
    assert found.deletion.share == 7 / 8 and found.deletion.first == 0 and not found.deletion.monotone


# --- rankings and conventions -----------------------------------------------------------------------------------------


def thresholded(weight, least):
    weight = torch.tensor(weight)
    return lambda x: torch.cat([(x * weight).sum(2), torch.full((len(x), 1), least)], dim=1)


@pytest.mark.parametrize(
    "weight, least, control, ranking, insertion, deletion",
    [
        ([1.0, 0.0, 8.0, 0.5], 10.0, False, "absolute", [0, 0, 1, 1, 1], [1, 0, 0, 0, 0]),  # terms 8, 3, 2.5, 0
        ([1.0, 0.0, 8.0, 0.5], 10.0, True, "absolute", [0, 0, 0, 0, 1], [1, 1, 1, 0, 0]),  # terms 2.5, 0, 3, 8
        ([1.0, 1.0, 1.0, 1.0], 4.5, False, "absolute", [0, 1, 0, 0, 1], [1, 0, 0, 0, 0]),  # terms 5, -4, 3, 1
        ([1.0, 1.0, 1.0, 1.0], 4.5, False, "signed", [0, 1, 1, 1, 1], [1, 0, 0, 0, 0]),  # terms 5, 3, 1, -4
    ],
)
def test_rankings_by_hand(weight, least, control, ranking, insertion, deletion):
    model, x = thresholded(weight, least), torch.tensor([[[3.0, -4.0, 1.0, 5.0]]])
    e = wam.integrated_gradients(model, x, 0, frame=wam.Pixel(), steps=1)
    e = controls.magnitude(e) if control else e
    for steps in (1, 2, 4):
        found = static(model, x, e, steps, protocol=Protocol(ranking))
        if steps == 4:
            assert (found.curves.insertion.tolist(), found.curves.deletion.tolist()) == ([insertion], [deletion])
        assert_quantile(found.insertion, torch.tensor([insertion]) > 0, steps)
        assert_quantile(found.deletion, torch.tensor([deletion]) < 1, steps)


def test_tied_and_one_channel_attributions_agree(recorder):
    frame, shape = CASES["image"]
    model, x = recorder(*shape), inputs(shape)
    e = ranked(model, x, frame)
    one = replace(e, attributions=e.attributions.map(lambda b: b.abs().sum(1, keepdim=True)))
    tied, same, each = (
        static(model, x, a, 9, protocol=Protocol(tied=t)) for a, t in ((e, True), (one, False), (e, False))
    )
    assert torch.equal(tied.insertion.share, same.insertion.share) and torch.equal(tied.sufficient, same.sufficient)
    assert not torch.equal(tied.insertion.share, each.insertion.share)
    dark = static(model, x, e, 9, protocol=Protocol(baseline="mean"))
    assert not torch.equal(dark.sufficient, each.sufficient)


def test_integers_of_numpy_are_welcome(recorder):
    model, x = recorder(1, 6, 7), inputs((1, 6, 7), 2)
    e = ranked(model, x, wam.Pixel())
    one, same = (static(model, x, e, 6, max_batch=size) for size in (2, np.int64(2)))
    assert torch.equal(one.sufficient, same.sufficient)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"steps": 0}, "steps must be an integer of at least 1"),
        ({"steps": 43}, "43 steps for 42 features"),
        ({"x": inputs((1, 6, 7), 2, seed=5)}, "of another input: samples"),
        ({"protocol": "mine"}, "unknown protocol 'mine'"),
        ({"max_batch": 0}, "max_batch must be an integer of at least 1"),
    ],
)
def test_bad_input_is_named(change, message, recorder):
    model, x = recorder(1, 6, 7), inputs((1, 6, 7), 2)
    e = wam.saliency(model, x, frame=wam.Pixel())
    with pytest.raises(ValueError, match=message):
        static(**{"model": model, "x": x, "explanation": e} | change)


def test_the_model_is_frozen_and_left_as_it_was(recorder):
    model, x = recorder(1, 6, 7).train(), inputs((1, 6, 7)).requires_grad_(True)
    e = ranked(model, x, wam.Pixel())
    states = []
    model.register_forward_hook(lambda *_: states.append(model.training or torch.is_grad_enabled()))
    one, other = (static(model, x, e, 6) for _ in range(2))
    assert states and not any(states) and model.training
    for a, b in zip((*one.insertion, *one.deletion), (*other.insertion, *other.deletion)):
        assert torch.equal(a.nan_to_num(-1), b.nan_to_num(-1))
    assert torch.equal(one.sufficient, other.sufficient) and not one.sufficient.requires_grad
    assert model.weight.requires_grad and model.weight.grad is None and x.grad is None
