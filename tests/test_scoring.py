"""Chunks cover every evaluation once and in order; flags survive nested use."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from wam import scoring


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
