"""Attributions against closed forms, automatic differentiation, Captum, and the axioms."""

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

import wam
from probes import linear
from wam import quadrature

FRAMES = [
    wam.Wavelet("haar", 2, 2),
    wam.Wavelet("db2", 2, 2, "symmetric"),
    wam.Wavelet("bior2.2", 1, 2, "periodic"),
    wam.Fourier(2, 2),
    wam.Pixel(),
]
SHAPE = (2, 13, 16)


def inputs(batch=3, shape=SHAPE, seed=0, dtype=torch.float64):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def methods(model, x, frame, **kwargs):
    yield wam.saliency(model, x, frame=frame, **kwargs)
    yield wam.smoothgrad(model, x, frame=frame, samples=5, noise=0.3, **kwargs)
    for rule in quadrature.RULES:
        yield wam.integrated_gradients(model, x, frame=frame, steps=6, nodes=rule, **kwargs)


def flat(coefficients):
    return coefficients.pack()[0]


@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_a_linear_score_is_explained_exactly(frame):
    """The gradient is S^T w everywhere, so SG equals the saliency and IG is z S^T w for every rule."""
    x, weight = inputs(), inputs(4, seed=1)
    model = linear(weight)
    pulled = frame.pullback(weight[[0, 3, 2]])
    gradients = list(methods(model, x, frame, target=[0, 3, 2]))
    for e in gradients[:2]:
        torch.testing.assert_close(flat(e.attributions), flat(pulled), rtol=0, atol=1e-12)
        assert e.completeness_gap is None
    for e in gradients[2:]:
        torch.testing.assert_close(flat(e.attributions), flat(frame.analysis(x) * pulled), rtol=0, atol=1e-12)
        assert e.completeness_gap.max() < 1e-11
        torch.testing.assert_close(e.baseline_score, torch.zeros_like(e.score))
    torch.testing.assert_close(gradients[0].score, model(x)[range(3), [0, 3, 2]])


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_saliency_and_integrated_gradients_agree_with_captum(frame, recorder):
    model, x = recorder(*SHAPE), inputs()
    target = torch.tensor([1, 0, 3])
    z, spec = frame.analysis(x).pack()

    def through_synthesis(c):
        return model(frame.synthesis(wam.Coefficients.unpack(c, spec)))

    theirs = captum.attr.Saliency(through_synthesis).attribute(z, target=target, abs=False)
    mine = wam.saliency(model, x, target, frame=frame)
    assert (flat(mine.attributions) - theirs).abs().max() <= 1e-10

    black = inputs(seed=5)
    z0 = frame.analysis(black).pack()[0]
    reference = captum.attr.IntegratedGradients(through_synthesis)
    # Captum rounds the weights to float32: those of two nodes (1/2 each) are exact, those of nine are not.
    for baseline, start in ((None, torch.zeros_like(z)), (black, z0)):
        for steps, tolerance in ((2, 1e-10), (9, 1e-7)):
            theirs = reference.attribute(z, start, target, n_steps=steps, method="gausslegendre")
            mine = wam.integrated_gradients(
                model, x, target, frame=frame, steps=steps, nodes="gauss-legendre", baseline=baseline
            )
            assert (flat(mine.attributions) - theirs).abs().max() <= tolerance


def test_smoothgrad_is_the_mean_of_pulled_back_gradients(recorder):
    """Eq. 2 as printed: every noisy copy is differentiated through the synthesis on its own."""
    model, x, frame = recorder(*SHAPE), inputs(2), FRAMES[1]
    e = wam.smoothgrad(model, x, [2, 1], frame=frame, samples=4, noise=0.5, seed=3)
    noisy = torch.stack(model.seen[2:]).unflatten(0, (4, 2))
    total = 0
    for copies in noisy:
        z, spec = frame.analysis(copies).pack()
        z.requires_grad_(True)
        score = model(frame.synthesis(wam.Coefficients.unpack(z, spec)))
        total = total + torch.autograd.grad(score[0, 2] + score[1, 1], z)[0]
    torch.testing.assert_close(flat(e.attributions), total / 4, rtol=0, atol=1e-12)


def test_noise_has_the_stated_scale_and_is_shared_by_samples(recorder):
    model, x = recorder(1, 64, 64), inputs(2, (1, 64, 64)) * torch.tensor([1.0, 7.0]).view(2, 1, 1, 1)
    wam.smoothgrad(model, x, 0, frame=wam.Pixel(), samples=40, noise=0.25, seed=7)
    noise = torch.stack(model.seen[2:]).unflatten(0, (40, 2)) - x
    spread = x.flatten(1).amax(1) - x.flatten(1).amin(1)
    torch.testing.assert_close(noise.std((0, 2, 3, 4)), 0.25 * spread, rtol=0.01, atol=0)
    assert noise.mean((0, 2, 3, 4)).abs().max() < 0.01 * spread.max()
    torch.testing.assert_close(noise[:, 0] / spread[0], noise[:, 1] / spread[1])
    assert not torch.equal(noise[0], noise[1])


def test_default_noise_depends_on_the_dimension():
    for ndim, share in ((1, 0.001), (2, 0.25), (3, 0.25)):
        e = wam.smoothgrad(linear(torch.ones(2, 1, *[4] * ndim)), torch.randn(1, 1, *[4] * ndim), frame=wam.Pixel())
        assert e.settings["noise"] == share and e.settings["samples"] == 25


def test_longer_runs_begin_with_the_draws_of_shorter_ones(recorder):
    model, x = recorder(*SHAPE), inputs(1)
    for samples in (2, 5):
        wam.smoothgrad(model, x, 0, frame=wam.Pixel(), samples=samples)
    assert all(torch.equal(a, b) for a, b in zip(model.seen[:3], model.seen[3:6]))
    wam.smoothgrad(model, x, 0, frame=wam.Pixel(), samples=2, seed=1)
    assert not torch.equal(model.seen[1], model.seen[-1])


@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_points_of_integrated_gradients_lie_on_the_path(frame, recorder):
    model, x, x0 = recorder(*SHAPE), inputs(1), inputs(1, seed=2)
    for rule in quadrature.RULES:
        model.seen.clear()
        wam.integrated_gradients(model, x, 0, frame=frame, steps=5, nodes=rule, baseline=x0)
        assert torch.equal(model.seen[0], x[0]) and torch.equal(model.seen[1], x0[0])
        points = torch.stack(model.seen[-5:])
        alpha = ((points - x0) * (x - x0)).flatten(1).sum(1) / (x - x0).square().sum()
        torch.testing.assert_close(points, torch.lerp(x0, x, alpha.view(-1, 1, 1, 1)))
        assert (alpha.diff() > 0).all()
        if rule != "adaptive":
            torch.testing.assert_close(alpha, quadrature.fixed(rule, 5).alpha)


def test_the_gap_is_what_it_says_and_vanishes_with_more_steps(recorder):
    model, x, frame = recorder(*SHAPE), inputs(), FRAMES[1]
    black = torch.tensor([-1.0, 0.5]).view(2, 1, 1)
    for rule in quadrature.RULES:
        for baseline in (None, black, -0.3, inputs(seed=9)):
            few, many = (
                wam.integrated_gradients(model, x, 1, frame=frame, steps=n, nodes=rule, baseline=baseline)
                for n in (3, 300)
            )
            start = torch.zeros_like(x) if baseline is None else torch.zeros_like(x) + baseline
            drop = model(x)[:, 1] - model(start)[:, 1]
            torch.testing.assert_close(few.score - few.baseline_score, drop)
            torch.testing.assert_close(few.completeness_gap, (flat(few.attributions).sum((1, 2)) - drop).abs())
            least = 1e-3 if rule == "geometric" else 1e-4  # its cells are wide where this model changes
            assert (many.completeness_gap < least * drop.abs().clamp_min(1)).all(), rule
            torch.testing.assert_close(many.scale_scores().sum(1), drop, rtol=1e-3, atol=1e-3)


def test_sensitivity_linearity_and_implementation_invariance(recorder):
    frame, x = FRAMES[1], inputs()
    f, g = recorder(*SHAPE), recorder(*SHAPE)
    g.weight.data.mul_(0.5)
    explain = [
        lambda m: wam.saliency(m, x, 0, frame=frame),
        lambda m: wam.smoothgrad(m, x, 0, frame=frame, samples=3),
        lambda m: wam.integrated_gradients(m, x, 0, frame=frame, steps=4),
    ]
    for method in explain:
        both = flat(method(lambda v: 2 * f(v) - 3 * g(v)).attributions)
        apart = 2 * flat(method(f).attributions) - 3 * flat(method(g).attributions)
        torch.testing.assert_close(both, apart)
        same = flat(method(lambda v: f(v.flip(3).flip(3)) + 0).attributions)
        torch.testing.assert_close(same, flat(method(f).attributions))


@pytest.mark.parametrize("frame", [wam.Wavelet("haar", 2, 2), wam.Fourier(2, 2)], ids=str)
def test_a_single_coefficient_gets_all_of_the_attribution(frame, recorder):
    unit, spec = frame.analysis(torch.zeros(1, 2, 12, 16, dtype=torch.float64)).pack()
    unit[0, 1, 7] = 3.0
    x = frame.synthesis(wam.Coefficients.unpack(unit, spec))
    e = wam.integrated_gradients(recorder(2, 12, 16), x, 0, frame=frame, steps=200)
    attributed = flat(e.attributions)
    assert attributed[unit == 0].abs().max() < 1e-12 and abs(e.score - e.baseline_score) > 1e-3
    torch.testing.assert_close(attributed[0, 1, 7], (e.score - e.baseline_score)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_alone_in_a_batch_and_in_chunks_is_bit_equal(ndim, channels, dtype, recorder):
    shape = (channels, *{1: (48,), 2: (12, 16), 3: (8, 8, 12)}[ndim])
    model, x, frame = recorder(*shape, dtype=dtype), inputs(5, shape, dtype=dtype), wam.Wavelet("haar", 2, ndim)
    alone = [list(methods(model, x[i : i + 1], frame)) for i in range(5)]
    for max_batch in (1, 2, 7, None):
        for together, singles in zip(methods(model, x, frame, max_batch=max_batch), zip(*alone)):
            for i, single in enumerate(singles):
                assert torch.equal(flat(together[i].attributions), flat(single.attributions)), together.method
                assert torch.equal(together.target[i], single.target[0])
                assert torch.equal(together.score[i], single.score[0])


@pytest.mark.parametrize("max_batch", [1, 2, 5])
def test_what_enters_the_model_does_not_depend_on_the_batch(max_batch, recorder):
    x = inputs(5)
    for explain in (
        lambda m, v: wam.smoothgrad(m, v, 0, frame=wam.Pixel(), samples=3, max_batch=max_batch),
        lambda m, v: wam.integrated_gradients(m, v, 0, frame=wam.Pixel(), steps=3, max_batch=max_batch),
    ):
        model, single = recorder(*SHAPE), recorder(*SHAPE)
        explain(model, x)
        explain(single, x[3:4])
        seen = torch.stack(model.seen)
        assert max(model.sizes) <= max_batch
        for point in single.seen:
            assert (seen == point).flatten(1).all(1).any()


def test_real_layers_agree_across_batches():
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        net = nn.Sequential(nn.Conv2d(2, 8, 3), nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4))
        net, x = net.to(dtype), inputs(5, dtype=dtype)
        whole = list(methods(net, x, FRAMES[1], target=1))
        for i in range(5):
            for e, alone in zip(whole, methods(net, x[i : i + 1], FRAMES[1], target=1, max_batch=2)):
                a, b = flat(e[i].attributions), flat(alone.attributions)
                assert (a - b).abs().max() <= tolerance * b.abs().max(), (e.method, dtype)
                assert e.attributions.dtype == dtype


def test_the_model_is_left_as_it_was_even_after_an_error():
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(416, 4), nn.BatchNorm1d(4)).double()
    net[1].eval()
    net[2].bias.requires_grad_(False)
    before = [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    list(methods(net, inputs(), FRAMES[0]))
    with pytest.raises(ValueError):
        wam.saliency(net, inputs(), 9, frame=FRAMES[0])
    assert ([m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]) == before
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_no_parameter_of_an_unknown_callable_gets_a_gradient(recorder):
    model, x = recorder(*SHAPE), inputs()
    with torch.no_grad():
        list(methods(lambda v: model(v), x, FRAMES[0]))
    assert model.weight.grad is None and not x.requires_grad and x.grad is None


def test_a_real_network_agrees_across_batches_and_chunks():
    """EfficientNet-Lite0 in float32; its scores differ between batches in the last digits."""
    model, frame = wam.models.load("efficientnet_lite0"), wam.Wavelet("db4", 3, 2)
    x = model.prepare(wam.data.images(3))
    alone = methods(model, x[2:], frame, target=438)
    for together, single in zip(methods(model, x, frame, target=438, max_batch=2), alone):
        a, b = flat(together.attributions[2]), flat(single.attributions)
        assert (a - b).abs().max() <= 1e-5 * b.abs().max(), together.settings


def test_draws_differ_between_seeds_and_in_number(recorder):
    """Seed 1 does not repeat the draws of seed 0 one later."""
    model, x = recorder(*SHAPE), inputs(1)
    for seed in range(3):
        wam.smoothgrad(model, x, 0, frame=wam.Pixel(), samples=4, seed=seed)
    noisy = [point for i, point in enumerate(model.seen) if i % 5]
    assert len(noisy) == 12
    assert all(not torch.equal(a, b) for i, a in enumerate(noisy) for b in noisy[:i])


def test_results_carry_no_graph_and_share_no_memory(recorder):
    model = recorder(*SHAPE)
    x = inputs().requires_grad_(True)
    for frame in FRAMES:
        for e in methods(model, x, frame):
            for tensor in (e.score, *e.attributions.bands.values(), *e.coefficients.bands.values()):
                assert not tensor.requires_grad
    e = wam.saliency(model, nn.Parameter(inputs()), frame=wam.Pixel())
    kept = inputs()
    e = wam.saliency(model, kept, frame=wam.Pixel())
    before = flat(e.coefficients).clone()
    kept.zero_()
    assert torch.equal(flat(e.coefficients), before) and type(e.coefficients.bands[0, "pixel"]) is torch.Tensor
    tracked = torch.zeros(SHAPE, dtype=torch.float64, requires_grad=True)
    assert not wam.integrated_gradients(model, x, frame=frame, baseline=tracked).completeness_gap.requires_grad


def test_under_inference_mode_and_autocast():
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(4 * 11 * 14, 4))
    x = inputs(dtype=torch.float32)
    plain = list(methods(net, x, FRAMES[1], target=1))
    with torch.inference_mode():
        frozen = list(methods(net, x.clone(), FRAMES[1], target=1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = list(methods(net, x, FRAMES[1], target=1))
    for e, same, rough in zip(plain, frozen, mixed):
        torch.testing.assert_close(flat(same.attributions), flat(e.attributions))
        assert rough.score.dtype == rough.attributions.dtype == torch.float32
        error = (flat(rough.attributions) - flat(e.attributions)).norm() / flat(e.attributions).norm()
        assert 0 < error < 0.05


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_layouts_and_integers_of_other_libraries_are_welcome():
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(4 * 11 * 14, 4)).double()
    x = inputs()
    frame = wam.Wavelet("db2", np.int64(2), np.int64(2), "symmetric")
    e = wam.smoothgrad(net, x, np.int64(1), frame=frame, samples=np.int64(3), seed=np.int64(2), max_batch=np.int64(2))
    for view in (x.to(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().transpose(2, 3)):
        other = wam.smoothgrad(net, view, torch.tensor(1), frame=FRAMES[1], samples=3, seed=2, max_batch=2)
        torch.testing.assert_close(flat(other.attributions), flat(e.attributions))
    traced = torch.jit.freeze(torch.jit.trace(net.eval(), x))
    torch.testing.assert_close(flat(wam.saliency(traced, x, 1, frame=frame).attributions),
                               flat(wam.saliency(net, x, 1, frame=frame).attributions))  # fmt: skip


def test_a_method_of_a_module_is_put_in_evaluation_mode():
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(416), nn.Dropout(0.5), nn.Linear(416, 4)).double().train()
    statistics = net[1].running_mean.clone()
    e = wam.saliency(net.forward, inputs(), 0, frame=FRAMES[0])
    torch.testing.assert_close(flat(e.attributions), flat(wam.saliency(net, inputs(), 0, frame=FRAMES[0]).attributions))
    assert torch.equal(net[1].running_mean, statistics) and net.training


def test_the_predicted_class_is_that_of_the_input_itself(recorder):
    model, x = recorder(*SHAPE), inputs()
    for e in methods(model, x, FRAMES[0]):
        assert torch.equal(e.target, model(x).argmax(1))
    one = wam.saliency(model, x, torch.tensor(2), frame=FRAMES[0])
    assert one.target.tolist() == [2, 2, 2]


BAD = {
    "nan": (
        lambda x: {"x": x.index_fill(0, torch.tensor([1]), torch.nan)},
        ValueError,
        r"input of samples \[1\] holds NaN",
    ),
    "inf": (lambda x: {"x": x / 0}, ValueError, r"input of samples \[0, 1, 2\] holds NaN or inf"),
    "not a batch": (lambda x: {"x": x[0]}, ValueError, "expected a batch"),
    "ndim": (lambda x: {"x": x[:, 0]}, ValueError, "2 spatial axes"),
    "empty": (lambda x: {"x": x[:0]}, ValueError, "the batch is empty"),
    "integers": (lambda x: {"x": x.long()}, TypeError, "convert with x.float"),
    "levels": (lambda x: {"frame": wam.Wavelet("db2", 3, 2)}, ValueError, "at most 2 do"),
    "target high": (lambda x: {"target": 4}, ValueError, r"target \[4\] out of range.*0 to 3"),
    "target low": (lambda x: {"target": [0, -1, 2]}, ValueError, r"target \[-1\] out of range"),
    "target length": (lambda x: {"target": [0, 1]}, ValueError, "one class or 3, one per sample"),
    "target type": (lambda x: {"target": 1.5}, TypeError, "must be an integer class"),
    "max_batch": (lambda x: {"max_batch": 0}, ValueError, "max_batch must be an integer of at least 1, got 0"),
    "output ndim": (lambda x: {"model": lambda v: v.sum((1, 2, 3))}, ValueError, r"\(batch, classes\) = \(3, n\)"),
    "output batch": (lambda x: {"model": lambda v: v[:1].flatten(1)}, ValueError, r"got \(1, 416\)"),
    "output type": (lambda x: {"model": lambda v: {"logits": v}}, TypeError, "returned dict.*logits"),
    "constant": (lambda x: {"model": lambda v: torch.ones(len(v), 4).double()}, ValueError, "do not depend on"),
    "target text": (lambda x: {"target": "dog"}, TypeError, "got 'dog'"),
    "target none": (lambda x: {"target": []}, ValueError, "got none"),
    "frame class": (lambda x: {"frame": wam.Pixel}, TypeError, "frame must be a frame"),
    "frame text": (lambda x: {"frame": "haar"}, TypeError, "frame must be a frame.*'haar'"),
    "model": (lambda x: {"model": None}, TypeError, "model must be a module or a function"),
    "max_batch bool": (lambda x: {"max_batch": True}, ValueError, "got True"),
    "max_batch truth": (lambda x: {"max_batch": torch.tensor(True)}, ValueError, "integer of at least 1.*True"),
    "no classes": (lambda x: {"model": lambda v: v.flatten(1)[:, :0]}, ValueError, r"got \(3, 0\)"),
    "nan gradient": (lambda x: {"model": lambda v: (v - v).sqrt().sum((2, 3))}, ValueError, "gradient of samples"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_value_and_the_fix(case, recorder):
    change, error, message = BAD[case]
    call = {"model": recorder(*SHAPE), "x": inputs(), "frame": FRAMES[0], "target": 0} | change(inputs())
    if case == "constant":
        call["target"] = None
    for method in (wam.saliency, wam.smoothgrad, wam.integrated_gradients):
        with pytest.raises(error, match=message):
            method(**call)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        (wam.smoothgrad, {"samples": 0}, "samples must be an integer of at least 1, got 0"),
        (wam.smoothgrad, {"samples": True}, "got True"),
        (wam.smoothgrad, {"seed": -1}, "seed must be an integer of at least 0, got -1"),
        (wam.smoothgrad, {"seed": 1.5}, "got 1.5"),
        (wam.smoothgrad, {"noise": -0.1}, "noise must be a share of the range"),
        (wam.smoothgrad, {"noise": float("nan")}, "noise must be a share of the range"),
        (wam.integrated_gradients, {"steps": 0}, r"steps \(quadratic nodes\) must be an integer of at least 1, got 0"),
        (
            wam.integrated_gradients,
            {"steps": 1, "nodes": "trapezoid"},
            r"\(trapezoid nodes\) must be an integer of at least 2, got 1",
        ),
        (wam.integrated_gradients, {"nodes": "gauss-legandre"}, "did you mean 'gauss-legendre'"),
        (wam.integrated_gradients, {"baseline": torch.ones(3, 5, 5)}, r"\(3, 5, 5\), which does not broadcast"),
        (wam.integrated_gradients, {"baseline": torch.ones(2, *SHAPE)}, "does not broadcast"),
        (wam.integrated_gradients, {"baseline": float("inf")}, "baseline holds NaN or infinite"),
    ],
)
def test_bad_settings_name_the_value_and_the_fix(method, arguments, message, recorder):
    with pytest.raises(ValueError, match=message):
        method(recorder(*SHAPE), inputs(), 0, frame=FRAMES[0], **arguments)
    with pytest.raises(TypeError, match="must be a number or a tensor, got 'black'"):
        wam.integrated_gradients(recorder(*SHAPE), inputs(), 0, frame=FRAMES[0], baseline="black")


@pytest.mark.parametrize("number", [0.1, [0.1], np.array([0.1]), torch.tensor([[0.1]], dtype=torch.float64)])
def test_a_baseline_of_one_number_is_recorded_as_a_number(number, recorder):
    e = wam.integrated_gradients(recorder(*SHAPE), inputs(), 0, frame=FRAMES[0], steps=2, baseline=number)
    assert e.settings["baseline"] == 0.1


@pytest.mark.parametrize("method", [wam.saliency, wam.smoothgrad, wam.integrated_gradients])
def test_an_explanation_keeps_its_target_when_the_labels_change(method, recorder):
    labels = torch.tensor([1, 0, 2])
    e = method(recorder(*SHAPE), inputs(), labels, frame=FRAMES[0])
    labels += 1
    assert e.target.tolist() == [1, 0, 2]
