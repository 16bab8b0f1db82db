"""What is explained at a layer: closed forms, automatic differentiation, Captum, fine sums; passes, chunks, errors."""

import captum.attr
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import wam
from probes import Recorder, linear
from wam import controls, layers, quadrature, released, scoring

SHAPES = {1: (2, 16), 2: (2, 6, 8), 3: (1, 4, 4, 6)}
FRAMES = {ndim: wam.Wavelet("haar", 1, ndim) for ndim in SHAPES}
FRONTS = {
    "log": lambda x: torch.log(x.square() + 0.05),
    "square": lambda x: x.square(),
    "softplus": lambda x: nn.functional.softplus(2 * x) + 1,
}
"""What a layer may do: no path is straight, and two of them are not 0 at 0."""


def inputs(batch=3, shape=SHAPES[1], seed=0, dtype=torch.float64):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


class Front(nn.Module):
    """Two features per channel, made sample by sample; remembers its inputs."""

    def __init__(self):
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, x):
        self.seen.extend(x.detach().clone())
        return torch.stack([torch.cat([FRONTS["log"](sample), sample.sin()]) for sample in x])


class Sound(nn.Module):
    """A front end and a classifier, both sample by sample."""

    def __init__(self, *shape, dtype=torch.float64):
        super().__init__()
        self.body = nn.ModuleDict({"front": Front()})
        self.head = Recorder(2 * shape[0], *shape[1:], dtype=dtype)

    def forward(self, x):
        return self.head(self.body["front"](x))


class Composed(nn.Module):
    """F(h(x)) of two functions, for whole batches."""

    def __init__(self, front, head):
        super().__init__()
        self.front, self.head = Function(front), head

    def forward(self, x):
        return self.head(self.front(x))


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def smooth(shape, classes=4, seed=1):
    """A head that is not linear, with interactions between all of its inputs."""
    a, b = inputs(2 * classes, shape, seed=seed).chunk(2)
    return lambda h: torch.tanh(linear(a)(h) / 3) + 0.1 * linear(b)(h).square()


def methods(model, x, frame, rules=quadrature.RULES, **kwargs):
    yield wam.saliency(model, x, frame=frame, **{k: v for k, v in kwargs.items() if k != "progress"})
    yield wam.smoothgrad(model, x, frame=frame, samples=5, noise=0.3, **kwargs)
    for rule in rules:
        yield wam.integrated_gradients(model, x, frame=frame, steps=6, nodes=rule, baseline=0.1, **kwargs)
    yield released.smoothgrad(model, x, frame=frame, samples=5, noise=0.3, **kwargs)
    yield released.integrated_gradients(model, x, frame=frame, steps=4, **kwargs)


def flat(explanation):
    return explanation.attributions.pack()[0]


def gamma(explanation):
    """The attributions at the layer."""
    return explanation.layer.attributions.bands[0, "pixel"]


def head_gradient(head, h, target):
    h = h.detach().clone().requires_grad_(True)
    return torch.autograd.grad(head(h)[range(len(h)), target].sum(), h)[0]


def stieltjes(front, head, x, x0, target, steps=4000):
    """The trapezoid sum of the head's gradient along the path of the front's output, on a fine grid."""
    u = torch.linspace(0, 1, steps + 1, dtype=x.dtype).view(-1, 1, 1, 1)
    h = front(torch.lerp(x0, x, u**2).flatten(0, 1))
    g = head_gradient(head, h, target * (steps + 1))
    h, g = (values.unflatten(0, (-1, len(x))) for values in (h, g))
    return ((g[1:] + g[:-1]) / 2 * h.diff(dim=0)).sum(0)


def assert_close(a, b, atol=1e-12):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


# --- the explanation of the input is untouched ------------------------------------------------------------------------


@pytest.mark.parametrize("max_batch", [None, 2])
@pytest.mark.parametrize("ndim", SHAPES)
def test_a_layer_changes_neither_the_explanation_of_the_input_nor_the_passes(ndim, max_batch):
    x, frame = inputs(shape=SHAPES[ndim]), FRAMES[ndim]
    plain, with_layer = Sound(*SHAPES[ndim]), Sound(*SHAPES[ndim])
    before = list(methods(plain, x, frame, max_batch=max_batch))
    after = list(methods(with_layer, x, frame, max_batch=max_batch, layer="body.front"))
    assert plain.head.sizes == with_layer.head.sizes
    assert all(torch.equal(a, b) for a, b in zip(plain.body["front"].seen, with_layer.body["front"].seen))
    for e, there in zip(before, after):
        assert e.layer is None and torch.equal(flat(e), flat(there)), e.method
        assert torch.equal(e.coefficients.pack()[0], there.coefficients.pack()[0])
        assert torch.equal(e.score, there.score) and torch.equal(e.target, there.target)
        assert e.settings == there.settings and e.method == there.method
        assert (e.completeness_gap is None) == (there.completeness_gap is None)
        if e.completeness_gap is not None:
            assert torch.equal(e.completeness_gap, there.completeness_gap)


def test_the_layer_is_described():
    model, x = Sound(*SHAPES[1]), inputs()
    h = model.body["front"](x)
    for e in methods(model, x, FRAMES[1], layer="body.front"):
        there = e.layer
        assert there.frame == wam.Pixel() and torch.equal(there.coefficients.bands[0, "pixel"], h)
        assert gamma(e).shape == h.shape == (3, 4, 16) and there.heatmap().shape == (3, 16)
        assert torch.equal(there.score, e.score) and torch.equal(there.target, e.target)
        assert there.method == e.method and there.settings == {**e.settings, "layer": "body.front"}
        if e.completeness_gap is not None:
            assert torch.equal(there.baseline_score, e.baseline_score)
            assert_close(there.completeness_gap, (gamma(e).sum((1, 2)) - (e.score - e.baseline_score)).abs())
        assert not gamma(e).requires_grad and not there.coefficients.pack()[0].requires_grad


def test_the_gradient_of_one_chunk_is_the_same_with_a_tap():
    model, x, target = Sound(*SHAPES[1]), inputs(), torch.tensor([2, 0, 1])
    plain = scoring.gradient(model, x, target)
    with layers.Tap(model, "body.front") as tap:
        g, output, chosen = scoring.gradient(model, x, target, tap)
    assert torch.equal(g, plain[0]) and torch.equal(output, plain[1]) and torch.equal(chosen, target)
    assert torch.equal(tap.live, model.body["front"](x))
    assert_close(tap.gradient, head_gradient(model.head, model.body["front"](x), target))


# --- saliency and SmoothGrad ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ndim", SHAPES)
def test_saliency_is_the_gradient_of_the_head(ndim):
    model, x = Sound(*SHAPES[ndim]), inputs(shape=SHAPES[ndim])
    expected = head_gradient(model.head, model.body["front"](x), [1, 0, 3])
    for given_layer in ("body.front", model.body["front"]):
        for called in (model, model.forward):
            e = wam.saliency(called, x, [1, 0, 3], frame=FRAMES[ndim], layer=given_layer)
            assert_close(gamma(e), expected)
            assert e.layer.settings == {"layer": "body.front"}
    predicted = wam.saliency(model, x, frame=FRAMES[ndim], layer="body.front")
    assert_close(gamma(predicted), head_gradient(model.head, model.body["front"](x), model(x).argmax(1)))


def test_smoothgrad_is_the_mean_gradient_of_the_head_at_the_same_draws():
    model, x = Sound(*SHAPES[1]), inputs()
    e = wam.smoothgrad(model, x, [1, 0, 3], frame=FRAMES[1], samples=4, noise=0.5, seed=3, layer="body.front")
    points = torch.stack(model.body["front"].seen[3:]).unflatten(0, (4, 3))
    assert len({tuple(point.flatten().tolist()) for point in points}) == 4
    total = sum(head_gradient(model.head, Front()(noisy), [1, 0, 3]) for noisy in points)
    assert_close(gamma(e), total / 4)


@given(seed=st.integers(0, 99), ndim=st.sampled_from(list(SHAPES)), samples=st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_a_linear_head_has_its_weight_as_gradient(seed, ndim, samples):
    shape = SHAPES[ndim]
    weight = inputs(4, shape, seed=seed)
    model, x = Composed(FRONTS["log"], linear(weight)), inputs(shape=shape, seed=seed + 1)
    target = [seed % 4, 0, 3]
    assert_close(gamma(wam.saliency(model, x, target, frame=FRAMES[ndim], layer="front")), weight[target])
    smoothed = wam.smoothgrad(model, x, target, frame=FRAMES[ndim], samples=samples, noise=0.5, layer="front")
    assert_close(gamma(smoothed), weight[target])


def test_a_layer_that_gives_its_input_is_explained_as_the_input():
    model, x = Composed(lambda x: x, smooth(SHAPES[1])), inputs()
    x0 = inputs(seed=7)
    for layer in (model.front, nn.Identity()):  # the input itself, or another name for it
        model.front = layer
        for method, options in (
            (wam.saliency, {}),
            (wam.smoothgrad, {"samples": 3}),
            (wam.integrated_gradients, {"steps": 5, "nodes": "trapezoid", "baseline": x0}),
        ):
            e = method(model, x, frame=wam.Pixel(), layer="front", **options)
            assert_close(gamma(e), e.attributions.bands[0, "pixel"])


# --- integrated gradients ---------------------------------------------------------------------------------------------


@given(
    front=st.sampled_from(list(FRONTS)),
    nodes=st.sampled_from(quadrature.RULES),
    steps=st.integers(2, 9),
    ndim=st.sampled_from(list(SHAPES)),
    baseline=st.sampled_from([None, -0.3, "shared", "own"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_a_linear_head_is_explained_exactly_whatever_the_path(front, nodes, steps, ndim, baseline, seed):
    """With F(h) = w h the attributions are w (h - h0): not w h, nor w (h0 - h), for any rule and number of steps."""
    shape = SHAPES[ndim]
    weight, x = inputs(4, shape, seed=seed), inputs(shape=shape, seed=seed + 1)
    x0 = {"shared": inputs(1, shape, seed=seed + 2)[0], "own": inputs(3, shape, seed=seed + 3)}.get(baseline, baseline)
    target = [seed % 4, 0, 3]
    model = Composed(FRONTS[front], linear(weight))
    options = {"steps": steps, "nodes": nodes, "baseline": x0}
    e = wam.integrated_gradients(model, x, target, frame=FRAMES[ndim], layer="front", **options)
    start = torch.zeros_like(x) + (0 if x0 is None else x0)
    change = FRONTS[front](x) - FRONTS[front](start)
    assert_close(gamma(e), weight[target] * change, atol=1e-10)
    assert e.layer.completeness_gap.max() < 1e-10


@pytest.mark.parametrize("steps", [2, 3, 8])
def test_the_head_of_products_has_a_closed_form(steps):
    """h = x^2, F = sum h_i h_(i+1): along h = a^2 x^2 the integral is h_i (h_(i-1) + h_(i+1)) / 2.

    The gradient is linear in h, so the trapezoid is exact. The mean gradient times h would be 1/3 instead of 1/2.
    """
    x = inputs(shape=(1, 16))
    model = Composed(FRONTS["square"], lambda h: (h * h.roll(1, 2)).sum(2))
    h = x.square()
    expected = h * (h.roll(1, 2) + h.roll(-1, 2)) / 2
    options = {"frame": FRAMES[1], "layer": "front"}
    exact = wam.integrated_gradients(model, x, nodes="trapezoid", steps=steps, **options)
    assert_close(gamma(exact), expected)
    assert exact.layer.completeness_gap.max() < 1e-12
    for rule in quadrature.RULES:
        many = wam.integrated_gradients(model, x, nodes=rule, steps=64 * steps, **options)
        assert (gamma(many) - expected).abs().max() < 0.02 / steps * expected.abs().max()


def test_sums_of_squares_from_a_baseline():
    """h = x^2, F = sum h^2: the gradient is 2 h, and the integral h^2 - h0^2."""
    x, x0 = inputs(), inputs(seed=4)
    model = Composed(FRONTS["square"], lambda h: h.square().sum(2))
    for steps in (2, 5):
        e = wam.integrated_gradients(
            model, x, 1, frame=FRAMES[1], nodes="trapezoid", steps=steps, baseline=x0, layer="front"
        )
        expected = x**4 - x0**4
        expected[:, 0] = 0  # class 1 is the sum over channel 1
        assert_close(gamma(e), expected)


@pytest.mark.parametrize("front", FRONTS)
def test_the_gap_is_what_it_says_and_falls_with_the_steps(front):
    x, x0, target = inputs(), inputs(seed=4), [2, 0, 1]
    head = smooth(SHAPES[1])
    model = Composed(FRONTS[front], head)
    fine = stieltjes(FRONTS[front], head, x, x0, target)
    drop = (model(x) - model(x0))[range(3), target]
    assert_close(fine.sum((1, 2)), drop, atol=1e-4)
    for rule in quadrature.RULES:
        gaps, errors = [], []
        for steps in (8, 32, 128):
            e = wam.integrated_gradients(
                model, x, target, frame=FRAMES[1], nodes=rule, steps=steps, baseline=x0, layer="front"
            )
            assert_close(e.layer.completeness_gap, (gamma(e).sum((1, 2)) - drop).abs())
            gaps.append(e.layer.completeness_gap.max().item())
            errors.append(((gamma(e) - fine).norm() / fine.norm()).item())
        assert gaps[1] < gaps[0] / 3 and gaps[2] < gaps[1] / 3, (rule, gaps)
        assert errors[1] < errors[0] / 3 and errors[2] < errors[1] / 3 and errors[2] < 5e-3, (rule, errors)


@pytest.mark.filterwarnings("ignore:Setting (forward|backward).*hooks:UserWarning")
@pytest.mark.parametrize("steps", [2, 5])  # Captum rounds its points to float32: quarters are exact
def test_captum_from_both_ends_is_the_trapezoid(steps):
    """Captum's sum takes the gradient at the start of every piece. The way back takes it at the end, negative."""
    x, x0, target = inputs(), inputs(seed=4), torch.tensor([2, 0, 1])
    model = Composed(FRONTS["log"], smooth(SHAPES[1]))
    theirs = captum.attr.LayerConductance(model, model.front)
    options = {"target": target, "n_steps": steps - 1, "method": "riemann_trapezoid"}  # of one point more
    there, back = theirs.attribute(x, x0, **options), theirs.attribute(x0, x, **options)
    options = {"steps": steps, "nodes": "trapezoid", "baseline": x0, "layer": "front"}
    mine = wam.integrated_gradients(model, x, target, frame=FRAMES[1], **options)
    assert_close(gamma(mine), (there - back) / 2)
    assert (there - gamma(mine)).abs().max() > 0.01  # one end alone is another number


def test_captum_and_ours_meet_in_the_fine_sum():
    x, x0, target = inputs(), inputs(seed=4), [2, 0, 1]
    front, head = FRONTS["log"], smooth(SHAPES[1])
    model = Composed(front, head)
    fine = stieltjes(front, head, x, x0, target)
    size = fine.abs().max().item()
    conductance = captum.attr.LayerConductance(model, model.front)
    theirs = conductance.attribute(x, x0, target=torch.tensor(target), n_steps=1000)
    assert_close(theirs, fine, atol=1e-2 * size)
    for rule in quadrature.RULES:
        options = {"steps": 300, "nodes": rule, "baseline": x0, "layer": "front", "max_batch": 300}
        mine = wam.integrated_gradients(model, x, target, frame=FRAMES[1], **options)
        assert_close(gamma(mine), fine, atol=2e-3 * size)
    straight = wam.integrated_gradients(head, front(x), target, frame=wam.Pixel(), baseline=front(x0), steps=300)
    assert (straight.attributions.bands[0, "pixel"] - fine).abs().max() > 0.05 * size  # another path, another number


def test_what_the_head_does_not_see_gets_nothing():
    weight = inputs(4, SHAPES[1])
    weight[:, 1, 3:] = 0
    model = Composed(FRONTS["log"], lambda h: torch.tanh(linear(weight)(h)))
    for e in methods(model, inputs(seed=3), FRAMES[1], layer="front"):
        assert not gamma(e)[:, 1, 3:].any() and gamma(e)[:, 0].any()


# --- chunks, batches, precision ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ndim", SHAPES)
def test_alone_in_a_batch_and_in_chunks_is_bit_equal(ndim, dtype):
    shape, frame = SHAPES[ndim], FRAMES[ndim]
    model, x = Sound(*shape, dtype=dtype), inputs(shape=shape, dtype=dtype)
    alone = [list(methods(model, x[i : i + 1], frame, layer="body.front")) for i in range(3)]
    for max_batch in (1, 2, 7, None):  # 2 and 7 cut draws of 3 apart
        for e, singles in zip(methods(model, x, frame, max_batch=max_batch, layer="body.front"), zip(*alone)):
            assert gamma(e).dtype == e.layer.score.dtype == dtype
            for i, single in enumerate(singles):
                assert torch.equal(gamma(e)[i], gamma(single)[0]), (e.method, max_batch)
                assert torch.equal(e[i].layer.score, single.layer.score)


def test_adaptive_nodes_differ_between_samples_and_are_kept_apart():
    """One sample saturates early on its path, the other late; together as alone, and as the sum at their nodes."""
    x = torch.cat([8 * inputs(1), 0.5 * inputs(1, seed=2)])
    model = Composed(FRONTS["softplus"], smooth(SHAPES[1]))
    options = {"frame": FRAMES[1], "steps": 7, "nodes": "adaptive", "layer": "front", "baseline": -0.5}
    e = wam.integrated_gradients(model, x, [0, 1], max_batch=3, **options)
    for i in range(2):
        single = wam.integrated_gradients(model, x[i : i + 1], i, **options)
        assert_close(gamma(e)[i], gamma(single)[0])
    sweep = torch.stack([model(torch.lerp(0 * x - 0.5, x, a))[range(2), [0, 1]] for a in quadrature.sweep()])
    alpha = quadrature.adaptive(sweep, 7).alpha
    assert not torch.allclose(alpha[:, 0], alpha[:, 1])


@pytest.mark.parametrize("samples", [16, 1024])
def test_autocast_rounds_the_layer_and_not_the_sum(samples):
    """The output of the layer is bfloat16; a thousand of them are not added up in bfloat16."""
    net = nn.Sequential(nn.Conv1d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(42, 4))
    x = inputs(2, dtype=torch.float32)

    def explained():
        options = {"frame": FRAMES[1], "layer": "0", "max_batch": 512}
        yield wam.saliency(net, x, 1, **options)
        yield wam.smoothgrad(net, x, 1, samples=samples, noise=0.3, **options)
        yield wam.integrated_gradients(net, x, 1, steps=samples, baseline=0.1, **options)
        yield released.smoothgrad(net, x, 1, samples=samples, noise=0.3, **options)
        yield released.integrated_gradients(net, x, 1, steps=samples, **options)

    plain = list(explained())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = list(explained())
    for e, rough in zip(plain, mixed):
        assert gamma(rough).dtype == rough.layer.coefficients.dtype == torch.float32
        error = (gamma(rough) - gamma(e)).norm() / gamma(e).norm()
        assert 0 < error < 0.02, (e.method, error)


def test_under_no_grad_and_inference_mode():
    net = nn.Sequential(nn.Conv1d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(42, 4)).double()
    plain = list(methods(net, inputs(), FRAMES[1], layer="0"))
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            same = list(methods(net, inputs(), FRAMES[1], layer="0"))
        assert all(torch.equal(gamma(a), gamma(b)) for a, b in zip(plain, same))


def test_real_layers_that_work_in_place():
    """An in-place ReLU, or an in-place sum, after the layer spoils neither its output nor its gradient."""

    class Residual(nn.Module):
        def __init__(self, inplace):
            super().__init__()
            self.first, self.act = nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(inplace=inplace)
            self.last, self.inplace = nn.Linear(4 * 48, 3), inplace

        def forward(self, x):
            h = self.first(x)
            h = self.act(h.mul_(2) if self.inplace else h * 2)
            return torch.tanh(self.last(h.flatten(1)))

    torch.manual_seed(3)
    clean = Residual(False)
    dirty = Residual(True)
    dirty.load_state_dict(clean.state_dict())
    x = inputs(shape=SHAPES[2], dtype=torch.float32)
    for layer in ("first", "act"):
        for a, b in zip(
            methods(clean, x, FRAMES[2], layer=layer, target=1), methods(dirty, x, FRAMES[2], layer=layer, target=1)
        ):
            assert torch.equal(gamma(a), gamma(b)) and torch.equal(flat(a), flat(b)), (a.method, layer)
            h = b.layer.coefficients.bands[0, "pixel"]
            assert torch.equal(h, a.layer.coefficients.bands[0, "pixel"]) and ((h < 0).any() == (layer == "first"))
        plain = list(methods(dirty, x, FRAMES[2], target=1))
        assert all(
            torch.equal(flat(a), flat(b)) for a, b in zip(plain, methods(dirty, x, FRAMES[2], layer=layer, target=1))
        )


# --- as released ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_batch", [None, 1, 2, 7])
def test_released_takes_the_mean_gradient_and_the_unit_spaced_sum(max_batch):
    model, x, target = Sound(*SHAPES[1]), inputs(), [2, 0, 1]
    front = Front()
    options = {"frame": FRAMES[1], "layer": "body.front", "max_batch": max_batch}
    e = released.smoothgrad(model, x, target, samples=4, noise=0.5, seed=3, **options)
    same = wam.smoothgrad(model, x, target, samples=4, noise=0.5, seed=3, **options)
    assert_close(gamma(e), gamma(same))
    assert (gamma(e) < 0).any()  # signed

    e = released.integrated_gradients(model, x, target, steps=5, **options)
    g = torch.stack([head_gradient(model.head, front(a * x), target) for a in torch.linspace(0, 1, 5).double()])
    expected = torch.trapezoid(g, dx=1, dim=0) * front(x)
    assert_close(gamma(e), expected, atol=1e-10)
    assert e.layer.completeness_gap is None and e.layer.baseline_score is None


def test_the_maps_of_controls_have_no_layer():
    """A control knows nothing of the layer; it must not hand on the explanation that it stands against."""
    e = wam.integrated_gradients(Sound(*SHAPES[1]), inputs(), frame=FRAMES[1], steps=2, layer="body.front")
    for control in (controls.magnitude(e), controls.random(e), controls.permuted(e, bins=4), released.magnitude(e)):
        assert control.layer is None, control.method


# --- what is refused --------------------------------------------------------------------------------------------------


class Odd(nn.Module):
    """A model whose layer ``front`` is used in the way that ``habit`` says."""

    def __init__(self, habit):
        super().__init__()
        self.front, self.head, self.habit = nn.Conv1d(2, 3, 3), nn.Linear(42, 4), habit
        self.pool, self.lstm = nn.AdaptiveAvgPool1d(1), nn.LSTM(16, 5)

    def forward(self, x):
        if self.habit == "twice":
            h = self.front(x) + self.front(2 * x)
        elif self.habit == "folds":
            h = self.front(torch.cat([x, 2 * x]))[: len(x)]
        elif self.habit == "merges":
            h = self.front(x.mean(0, keepdim=True)).expand(len(x), -1, -1) + x[:, :1, :14]
        elif self.habit == "unused":
            h = torch.conv1d(x, self.front.weight)
        elif self.habit == "beside":
            self.front(x)
            h = torch.conv1d(x, self.front.weight)
        elif self.habit == "without a graph":
            with torch.no_grad():
                self.front(x)
            h = torch.conv1d(x, self.front.weight)
        elif self.habit == "raises":
            self.front(x)
            raise RuntimeError("out of order")
        else:
            h = self.front(x) + self.lstm(x)[0].mean()
        return self.head(torch.tanh(h).flatten(1))


ODD = {
    "twice": ("front", "'front' must run once per pass, on the batch of 3; it gave batches of"),
    "folds": ("front", "'front' must run once per pass, on the batch of 3; it gave batches of"),
    "merges": ("front", "'front' must run once per pass, on the batch of 3; it gave batches of"),
    "unused": ("front", r"'front' must run once per pass, on the batch of 3; it gave batches of \[\]"),
    "beside": ("front", "do not depend on the output of layer 'front'; choose another layer"),
    "without a graph": ("front", "do not depend on the output of layer 'front'; choose another layer"),
    "two axes": ("head", r"'head' gives \(3, 4\), not \(batch, channels, \*spatial\); choose another layer"),
    "tuple": ("lstm", "'lstm' gives tuple, not"),
    "near name": ("frontt", "the model Odd has no layer 'frontt'; did you mean 'front'"),
    "far name": ("?", r"the model Odd has no layer '\?'; see model.named_modules"),
    "foreign module": (nn.Conv1d(1, 1, 1), "the layer Conv1d is not a module of the model Odd"),
    "number": (0, "the model Odd has no layer 0"),
}
EXPLAIN = {
    "saliency": wam.saliency,
    "smoothgrad": lambda *a, **k: wam.smoothgrad(*a, samples=2, **k),
    **{
        f"ig-{rule}": lambda *a, rule=rule, **k: wam.integrated_gradients(*a, steps=2, nodes=rule, **k)
        for rule in quadrature.RULES
    },
    "released-sg": lambda *a, **k: released.smoothgrad(*a, samples=2, **k),
    "released-ig": lambda *a, **k: released.integrated_gradients(*a, steps=2, **k),
}


def hooks(model):
    return [len(module._forward_hooks) for module in model.modules()]


@pytest.mark.parametrize("method", EXPLAIN.values(), ids=EXPLAIN)
@pytest.mark.parametrize("habit", ODD)
def test_a_layer_that_cannot_be_explained_is_named_and_the_model_left_as_found(habit, method):
    layer, message = ODD[habit]
    model = Odd(habit).double().train()
    model.head.bias.requires_grad_(False)
    with pytest.raises(ValueError, match=message):
        method(model, inputs(), 1, frame=FRAMES[1], layer=layer)
    assert not any(hooks(model)) and all(module.training for module in model.modules())
    assert [p.requires_grad for p in (model.front.weight, model.head.bias)] == [True, False]
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("method", EXPLAIN.values(), ids=EXPLAIN)
def test_the_hook_goes_also_when_the_model_fails(method):
    model = Odd("raises").double()
    kept = model.front.register_forward_hook(lambda *_: None)
    with pytest.raises(RuntimeError, match="out of order"):
        method(model, inputs(), 1, frame=FRAMES[1], layer="front")
    assert sum(hooks(model)) == 1  # the one that was there
    kept.remove()
    model.habit = "plain"
    with pytest.raises(ValueError, match="out of range"):
        method(model, inputs(), 9, frame=FRAMES[1], layer="front")
    assert gamma(method(model, inputs(), 1, frame=FRAMES[1], layer="front")).shape == (3, 3, 14)
    assert not any(hooks(model))


def test_only_modules_have_layers():
    net = nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(42, 4)).double()
    for method in EXPLAIN.values():
        with pytest.raises(TypeError, match="layers are those of a torch.nn.Module, got function"):
            method(lambda x: net(x), inputs(), 1, frame=FRAMES[1], layer="0")
    assert layers.find(net.forward, "0") == ("0", net[0]) and not any(hooks(net))


def test_every_name_of_a_shared_layer_is_known():
    net = nn.ModuleDict({"a": nn.Conv1d(1, 1, 1)})
    net["b"] = net["a"]
    assert layers.find(net, "a")[1] is layers.find(net, "b")[1] is net["a"]


def test_a_layer_that_is_not_finite_at_the_baseline_is_named():
    """log(0): the explanation of the input exists, that of the layer does not."""
    model = Composed(lambda x: x.abs().log(), lambda h: torch.tanh(h).sum(2))
    assert wam.integrated_gradients(model, inputs(), 0, frame=FRAMES[1]).completeness_gap.isfinite().all()
    with pytest.raises(ValueError, match=r"layer 'front' of samples \[0, 1, 2\] holds NaN or infinite"):
        wam.integrated_gradients(model, inputs(), 0, frame=FRAMES[1], layer="front")


class Shortcut(nn.Module):
    """A block whose layer passes its input on, beside another way from that input."""

    def __init__(self, skip):
        super().__init__()
        self.front, self.skip, self.way = nn.Conv1d(2, 3, 5), skip, nn.Conv1d(3, 3, 1)
        self.head = nn.Linear(3 * (SHAPES[1][1] - 4), 4)

    def forward(self, x):
        h = self.front(x)
        return self.head((self.skip(h) + self.way(h)).flatten(1))


@pytest.mark.parametrize("skip", [nn.Identity(), nn.Dropout(), nn.Flatten(2)], ids=str)
def test_only_what_passes_through_a_layer_is_explained_there(skip):
    """The output of such a layer may be the very tensor of its input, from which other ways lead on."""
    model = Shortcut(skip).double()
    e = wam.saliency(model, inputs(), 2, frame=FRAMES[1], layer="skip")
    torch.testing.assert_close(gamma(e)[1].flatten(), model.head.weight[2].detach())
