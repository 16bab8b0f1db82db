"""Node rules: weights, order of accuracy, and where the adaptive nodes go."""

import pytest
import torch

from wam import quadrature

FIXED = [rule for rule in quadrature.RULES if rule != "adaptive"]


@pytest.mark.parametrize("rule", FIXED)
@pytest.mark.parametrize("steps", [2, 5, 32])
def test_weights_sum_to_one_and_nodes_are_ordered_on_the_path(rule, steps):
    alpha, weight = quadrature.fixed(rule, steps)
    assert alpha.shape == weight.shape == (steps,) and alpha.dtype == torch.float64
    torch.testing.assert_close(weight.sum(), torch.ones((), dtype=torch.float64))
    assert (weight > 0).all() and (alpha.diff() > 0).all() and alpha[0] >= 0 and alpha[-1] <= 1


def test_known_rules():
    alpha, weight = quadrature.fixed("trapezoid", 3)
    assert alpha.tolist() == [0, 0.5, 1] and weight.tolist() == [0.25, 0.5, 0.25]
    for degree in range(10):
        alpha, weight = quadrature.fixed("gauss-legendre", 5)
        assert abs((weight * alpha**degree).sum() - 1 / (degree + 1)) < 1e-14
    assert abs((weight * alpha**10).sum() - 1 / 11) > 1e-8


@pytest.mark.parametrize("rule", ["quadratic", "trapezoid"])
def test_errors_fall_with_the_square_of_the_steps(rule):
    def error(steps):
        alpha, weight = quadrature.fixed(rule, steps)
        return abs((weight * torch.exp(alpha)).sum().item() - (torch.e - 1))

    assert error(64) < 0.27 * error(32) < 1e-3


def test_geometric_nodes_are_equal_steps_in_decibels():
    alpha, weight = quadrature.fixed("geometric", 16)
    decibels = 20 * alpha.log10()
    torch.testing.assert_close(decibels, torch.arange(-77.5, 0, 5, dtype=torch.float64))
    torch.testing.assert_close(weight.cumsum(0), 10 ** ((torch.arange(-75, 5, 5, dtype=torch.float64)) / 20))

    def error(rule):  # of a score that grows with the logarithm of the level
        alpha, weight = quadrature.fixed(rule, 16)
        slope = 1000 / (1 + 1000 * alpha)
        return abs((weight * slope).sum().item() - torch.tensor(1001.0).log().item())

    assert error("geometric") < 0.3 * error("quadratic")


def test_adaptive_nodes_follow_the_change_of_each_sample():
    path = quadrature.sweep()
    assert len(path) == quadrature.SWEEP and path[0] == 0 and path[-1] == 1
    late, flat = (path > 0.5).double() * 7, torch.zeros_like(path)
    alpha, weight = quadrature.adaptive(torch.stack([late, -late, flat], dim=1), 16)
    assert alpha.shape == weight.shape == (16, 3) and (weight > 0).all() and (alpha.diff(dim=0) > 0).all()
    torch.testing.assert_close(weight.sum(0), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(alpha[:, 0], alpha[:, 1])
    step = (path > 0.5).nonzero()[0, 0]
    inside = ((alpha > path[step - 1]) & (alpha < path[step])).sum(0)
    assert inside[0] >= 8 > 3 >= inside[2]
    torch.testing.assert_close(alpha[:, 2], quadrature.fixed("quadratic", 16).alpha, rtol=0, atol=0.002)


def test_adaptive_nodes_share_the_steps_as_stated():
    """All change in the first of eight intervals: it gets 1/2 * 1/8 + 1/2 of the steps, the others 1/16 each."""
    path = quadrature.sweep()
    scores = torch.stack([(path > 0).double(), (path > 0).double() + 3 * (path == 1)], dim=1)
    alpha, _ = quadrature.adaptive(scores, 160)
    counts = torch.histc(alpha[:, 0].sqrt(), 8, 0, 1)
    assert counts.tolist() == [90] + [10] * 7
    # changes of 1 and 3: the second half of the density goes by the square roots, 1 : sqrt(3)
    counts = torch.histc(alpha[:, 1].sqrt(), 8, 0, 1)
    assert abs(counts[0] - 10 - 80 / (1 + 3**0.5)) <= 1 and abs(counts[-1] - 10 - 80 / (1 + 3**-0.5)) <= 1


def test_adaptive_nodes_do_not_see_the_last_digits():
    scores = torch.linspace(0, 3, quadrature.SWEEP, dtype=torch.float64)[:, None].exp()
    first, again = quadrature.adaptive(scores, 9), quadrature.adaptive(scores + 1e-6 * torch.randn_like(scores), 9)
    assert torch.equal(first.alpha, again.alpha) and torch.equal(first.weight, again.weight)


@pytest.mark.parametrize(
    ("rule", "steps", "message"),
    [
        ("simpson", 4, "choose one of"),
        ("trapezoidal", 4, "did you mean 'trapezoid'"),
        ("quadratic", 0, "at least 1, got 0"),
        ("quadratic", 2.0, "got 2.0"),
    ],
)
def test_bad_rules(rule, steps, message):
    with pytest.raises(ValueError, match=message):
        quadrature.fixed(rule, steps)
