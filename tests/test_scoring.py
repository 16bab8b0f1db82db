"""Chunks cover every evaluation once and in order; flags survive nested use; models may work in place."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import wam
from wam import metrics, protocol, scoring


@given(draws=st.integers(1, 7), batch=st.integers(1, 7), max_batch=st.integers(1, 20))
def test_chunks_cover_every_evaluation_once_and_in_order(draws, batch, max_batch):
    pieces = list(scoring.chunks(draws, batch, max_batch))
    covered = [(d, i) for chunk in pieces for d, part in chunk for i in range(part.start, part.stop)]
    assert covered == [(d, i) for d in range(draws) for i in range(batch)]
    assert all(sum(p.stop - p.start for _, p in chunk) <= max_batch for chunk in pieces)
    assert len(pieces) == -(-draws * batch // max_batch)


def test_frozen_restores_flags_when_nested_and_when_it_fails():
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train()
    net[0].bias.requires_grad_(False)
    with pytest.raises(RuntimeError), scoring.frozen(net):
        assert not net.training and not net[1].training and not net[0].weight.requires_grad
        with scoring.frozen(net):
            pass
        assert not net[1].training
        raise RuntimeError
    assert net.training and net[1].training and net[0].weight.requires_grad and not net[0].bias.requires_grad


def test_gradient_agrees_with_finite_differences(recorder):
    model, x = recorder(1, 6), torch.randn(2, 1, 6, dtype=torch.float64)
    g, output, target = scoring.gradient(model, x, torch.tensor([3, 1]))
    for i in range(6):
        step = torch.zeros_like(x)
        step[..., i] = 1e-6
        ahead, behind = (scoring.predict(model, x + s, target, 2)[0] for s in (step, -step))
        torch.testing.assert_close(g[:, 0, i], (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-8)
    assert torch.equal(scoring.select(output, target)[0], scoring.predict(model, x, target, 1)[0])


def test_a_model_may_work_in_place():
    """Its input, and what shares the memory of it, stays as it was; layers of many networks are like that."""
    net, x = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(64, 4)), torch.randn(2, 1, 64)
    changes, given = nn.Sequential(nn.ReLU(inplace=True), *net[1:]), x.clone()
    for baseline in (0.0, torch.randn(1, 64)):
        results = []
        for model, inputs in ((net, x), (changes, given)):
            e = wam.integrated_gradients(model, inputs, frame=wam.Pixel(), baseline=baseline, steps=3)
            rules = protocol.Protocol(baseline=baseline)
            curves = metrics.perturbation_curves(model, inputs, e, steps=4, protocol=rules)
            results.append((e.attributions.pack()[0], e.score, curves.insertion, curves.deletion))
        assert all(torch.equal(one, other) for one, other in zip(*results)) and torch.equal(x, given)


def test_a_model_may_give_all_scores_in_the_same_memory():
    x, memory = torch.randn(3, 1, 4), torch.zeros(1, 4)
    e = wam.saliency(lambda x: x.flatten(1), x, frame=wam.Pixel())
    curves = [
        metrics.perturbation_curves(model, x, e, steps=4, output="logit", max_batch=1)
        for model in (lambda x: x.flatten(1), lambda x: memory.copy_(x.flatten(1)))
    ]
    assert torch.equal(curves[0].insertion, curves[1].insertion)
    score, target = scoring.predict(lambda x: memory.copy_(x.flatten(1)), x, None, 1)
    assert torch.equal(score, x.flatten(1).amax(1)) and torch.equal(target, e.target)


def test_recurrent_layers_are_evaluated_without_cudnn():
    """Which has no gradients for them in evaluation mode; on a CPU only the switch can be seen."""

    class Net(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer, self.seen = layer, []

        def forward(self, x):
            self.seen.append(torch.backends.cudnn.enabled)
            return x.flatten(1)

    assert torch.backends.cudnn.enabled
    for layer, enabled in ((torch.nn.GRU(4, 4), False), (torch.nn.Linear(4, 4), True)):
        net = Net(layer)
        wam.saliency(net, torch.ones(1, 1, 4), 0, frame=wam.Pixel())
        assert net.seen and set(net.seen) == {enabled} and torch.backends.cudnn.enabled
