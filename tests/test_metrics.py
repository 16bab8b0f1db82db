"""Curves and correlations against closed forms, brute force and SciPy; the conventions, one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from torch import nn

import wam
from probes import linear
from wam import controls, data, fidelity, metrics, models, perturbation
from wam.protocol import EQUATIONS, RELEASED, RELEASED_SOUND, Protocol, conventions

CASES = {
    "sound": (wam.Wavelet("db2", 3, 1), (1, 61)),
    "image": (wam.Wavelet("haar", 2, 2), (3, 13, 16)),
    "biorthogonal": (wam.Wavelet("bior2.2", 1, 2, "symmetric"), (2, 12, 15)),
    "volume": (wam.Wavelet("db2", 1, 3), (2, 7, 6, 8)),
    "fourier": (wam.Fourier(2, 2), (2, 9, 8)),
    "pixel": (wam.Pixel(), (3, 5, 6)),
}
every_case = pytest.mark.parametrize("frame, shape", CASES.values(), ids=CASES)


def inputs(shape, batch=3, seed=0):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def explained(frame, shape, batch=3, baseline=None):
    """A linear model, and its terms as an explanation: gamma = (z - z0) S^T w."""
    x, model = inputs(shape, batch), linear(inputs(shape, 4, seed=1))
    target = [0, 3, 2][:batch]
    return model, x, wam.integrated_gradients(model, x, target, frame=frame, steps=1, baseline=baseline)


def assert_close(a, b, atol=1e-10):
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=0, atol=atol, check_dtype=False)


# --- closed forms -----------------------------------------------------------------------------------------------------


def test_four_features_that_are_summed():
    """Ranks 4, -3, 2, 1 by magnitude; signed, the negative one comes last. All numbers by hand."""
    x = torch.tensor([[[1.0, -3.0, 4.0, 2.0]]])
    model = lambda x: x.sum(2)  # noqa: E731
    e = wam.integrated_gradients(model, x, frame=wam.Pixel(), steps=1)
    absolute = metrics.perturbation_curves(model, x, e, steps=4, output="logit")
    assert absolute.fractions.tolist() == [[0, 0.25, 0.5, 0.75, 1]]
    assert absolute.insertion.tolist() == [[0, 4, 1, 3, 4]] and absolute.deletion.tolist() == [[4, 0, 3, 1, 0]]
    assert (absolute.insertion_auc.item(), absolute.deletion_auc.item()) == (2.5, 1.5)
    assert absolute.faithfulness.item() == 1 and absolute.ties.item() == 0
    signed = metrics.perturbation_curves(model, x, e, steps=4, output="logit", protocol=Protocol(ranking="signed"))
    assert signed.insertion.tolist() == [[0, 4, 6, 7, 4]] and signed.deletion.tolist() == [[4, 0, -2, -3, 0]]
    assert signed.faithfulness.item() == (2 + 5 + 6.5 + 5.5) / 4 - (2 - 1 - 2.5 - 1.5) / 4
    two = metrics.perturbation_curves(model, x, e, steps=2, output="logit")
    assert two.insertion.tolist() == [[0, 1, 4]] and two.deletion.tolist() == [[4, 3, 0]]


@pytest.mark.parametrize("baseline", [0.0, "mean", "blur", "tensor"])
@pytest.mark.parametrize("ranking", ["absolute", "signed"])
@every_case
def test_curves_of_a_linear_model_are_sums_of_its_terms(frame, shape, ranking, baseline):
    state = inputs(shape, 1, seed=5) if baseline == "tensor" else baseline
    x = inputs(shape)
    x0 = {"mean": x.flatten(2).mean(2).view(3, -1, *[1] * (len(shape) - 1)), "tensor": state}.get(baseline, 0.0)
    if baseline == "blur":
        x0 = torch.from_numpy(np.stack([[ndimage.gaussian_filter(c, [n / 20 for n in c.shape]) for c in s] for s in x]))
    model, x, e = explained(frame, shape, baseline=torch.as_tensor(x0).expand_as(x))
    curves = metrics.perturbation_curves(
        model, x, e, steps=7, protocol=Protocol(ranking, baseline=state), output="logit"
    )
    terms = e.attributions.pack()[0].flatten(1).numpy()
    start, full = e.baseline_score[:, None].numpy(), e.score[:, None].numpy()
    order = np.argsort(-(np.abs(terms) if ranking == "absolute" else terms), axis=1, kind="stable")
    grown = np.pad(np.take_along_axis(terms, order, 1).cumsum(1), ((0, 0), (1, 0)))
    counts = np.round(np.arange(8) * terms.shape[1] / 7).astype(int)
    assert_close(curves.fractions, np.tile(counts / terms.shape[1], (3, 1)))
    assert_close(curves.insertion, start + grown[:, counts])
    assert_close(curves.deletion, full - grown[:, counts])
    assert_close(curves.insertion_auc, np.trapezoid(curves.insertion, curves.fractions, axis=1))
    assert_close(curves.faithfulness, curves.insertion_auc - curves.deletion_auc)


@pytest.mark.parametrize("tied", [False, True])
@every_case
def test_curves_against_masks_made_one_by_one(frame, shape, tied, recorder):
    """A non-linear model, the energy axis, softmax: a loop over samples and steps, bands masked by hand."""
    model, x = recorder(*shape), inputs(shape)
    e = wam.saliency(model, x, frame=frame)
    e = replace(e, attributions=e.attributions.map(torch.randn_like))  # atoms beyond the border tie at zero otherwise
    curves = metrics.perturbation_curves(model, x, e, steps=5, axis="energy", protocol=Protocol(tied=tied))
    z, spec = e.coefficients.pack()
    values = e.attributions.pack()[0].abs()
    for i in range(3):
        importance = (values[i].sum(0, keepdim=True) if tied else values[i]).flatten()
        energy = z[i].square()
        energy = (energy.sum(0) if tied else energy).flatten()[importance.argsort(descending=True)].cumsum(0)
        for k in range(6):
            taken = int((energy <= energy[-1] * (k / 5)).sum())
            threshold = importance.sort(descending=True).values[taken - 1] if taken else torch.inf
            mask = (importance >= threshold).view(-1, z.shape[2])
            kept = frame.synthesis(wam.Coefficients.unpack((z[i] * mask)[None], spec))
            for curve, seen in ((curves.insertion, kept), (curves.deletion, x[i : i + 1] - kept)):
                assert_close(curve[i, k], model(seen).softmax(1)[0, e.target[i]].detach(), atol=1e-9)
            assert_close(curves.fractions[i, k], energy[taken - 1] / energy[-1] if taken else 0.0)


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
@every_case
def test_mu_fidelity_of_the_terms_of_a_sum(frame, shape, kind):
    model, x, e = explained(frame, shape)
    options = {"protocol": Protocol("signed"), "output": "logit", "correlation": kind, "subsets": 9}
    reversed_ = replace(e, attributions=-e.attributions)
    found = metrics.mu_fidelity(model, x, [e, reversed_], **options)
    assert found.shape == (2, 3)
    assert_close(found[0], torch.ones(3), atol=1e-12)
    assert_close(found[1], -torch.ones(3), atol=1e-12)
    assert_close(metrics.mu_fidelity(model, x, e, **options), found[0], atol=0)


@pytest.mark.parametrize("tied", [False, True])
def test_mu_fidelity_against_scipy(recorder, tied):
    frame, shape = CASES["image"]
    model, x = recorder(*shape), inputs(shape)
    e = wam.saliency(model, x, frame=frame)
    z, spec = e.coefficients.pack()
    g = e.attributions.pack()[0].abs()
    g = (g.sum(1, keepdim=True) if tied else g).flatten(1)
    sets = perturbation.subsets(g.shape[1], round(0.3 * g.shape[1]), 12, (4, 0))
    assert all(len(set(u.tolist())) == round(0.3 * g.shape[1]) for u in sets)
    for kind, judge in (("spearman", stats.spearmanr), ("pearson", stats.pearsonr)):
        options = {"subsets": 12, "size": 0.3, "seed": 4, "protocol": Protocol(tied=tied), "correlation": kind}
        found = metrics.mu_fidelity(model, x, e, **options)
        for i in range(3):
            drops = []
            for u in sets:
                mask = torch.ones(g.shape[1], dtype=torch.float64)
                mask[u] = 0
                seen = frame.synthesis(wam.Coefficients.unpack((z[i] * mask.view(-1, z.shape[2]))[None], spec))
                full = model(x[i : i + 1]).softmax(1)[0, e.target[i]]
                drops.append((full - model(seen).softmax(1)[0, e.target[i]]).item())
            assert_close(found[i], judge([g[i, u].sum().item() for u in sets], drops).statistic, atol=1e-9)


def test_mu_fidelity_of_something_constant_is_undefined():
    frame, shape = CASES["image"]
    model, x, e = explained(frame, shape)
    even = replace(e, attributions=e.attributions.map(torch.ones_like))
    assert metrics.mu_fidelity(model, x, even, subsets=5).isnan().all()


def test_a_single_score_has_no_softmax():
    frame, shape = CASES["image"]
    _, x, _ = explained(frame, shape)
    one = lambda x: x.flatten(1).sum(1, keepdim=True) / 10  # noqa: E731
    e = wam.saliency(one, x, frame=frame)
    for metric in (metrics.perturbation_curves, metrics.mu_fidelity, metrics.faithfulness_on_spectra):
        for output in ("softmax", "top1"):
            with pytest.raises(ValueError, match=f"one score alone has no {output}: take output='sigmoid' or 'logit'"):
                metric(one, x, e, output=output)
        metric(one, x, e, output="sigmoid")
    curves = metrics.perturbation_curves(one, x, e, output="sigmoid")
    torch.testing.assert_close(curves.deletion[:, 0], one(x)[:, 0].sigmoid())


# --- what enters the model --------------------------------------------------------------------------------------------


@every_case
def test_chunks_and_batch_mates_change_nothing(frame, shape, recorder):
    whole = None
    for max_batch in (64, 1, 2, 3, 5):
        model, x = recorder(*shape), inputs(shape)
        e = wam.saliency(model, x, frame=frame)
        model.seen.clear()
        model.sizes.clear()
        curves = metrics.perturbation_curves(model, x, e, steps=6, max_batch=max_batch)
        mu = metrics.mu_fidelity(model, x, e, subsets=8, max_batch=max_batch)
        assert max(model.sizes) <= max_batch
        seen = sorted(tuple(inputs.flatten().tolist()) for inputs in model.seen)
        whole = whole or (seen, curves, mu)
        assert seen == whole[0]
        assert torch.equal(curves.insertion, whole[1].insertion) and torch.equal(curves.deletion, whole[1].deletion)
        assert torch.equal(mu, whole[2])
    for i in range(3):
        model = recorder(*shape)
        alone = metrics.perturbation_curves(model, x[i : i + 1], e[i], steps=6)
        assert torch.equal(alone.insertion[0], curves.insertion[i]) and torch.equal(alone.ties[0], curves.ties[i])
        assert torch.equal(metrics.mu_fidelity(model, x[i : i + 1], e[i], subsets=8)[0], mu[i])


@pytest.mark.parametrize("baseline, ends", [(0.0, 4), ("mean", 6)])
def test_no_pass_is_done_twice(baseline, ends, recorder):
    frame, shape = CASES["image"]
    model, x = recorder(*shape), inputs(shape)
    e = wam.saliency(model, x, frame=frame)
    model.seen.clear()
    metrics.perturbation_curves(model, x, e, steps=6, protocol=Protocol(baseline=baseline))
    assert len(model.seen) == 2 * 5 * 3 + ends  # f(x), and f(x0), once if it is shared
    model.seen.clear()
    metrics.mu_fidelity(model, x, [e, controls.magnitude(e), controls.random(e)], subsets=8)
    assert len(model.seen) == 8 * 3


@every_case
def test_perturbed_inputs_are_those_of_the_curves(frame, shape, recorder):
    model, x = recorder(*shape), inputs(shape)
    e = wam.saliency(model, x, frame=frame)
    for axis in ("count", "energy"):
        curves = metrics.perturbation_curves(model, x, e, steps=4, axis=axis)
        for seen, curve in zip(
            metrics.perturbed(x, e, [0, 0.25, 0.5, 0.75, 1], axis=axis), (curves.insertion, curves.deletion)
        ):
            assert seen.shape == (5, *x.shape)
            probability = model(seen.flatten(0, 1)).softmax(1).unflatten(0, (5, 3))
            assert_close(probability[:, range(3), e.target].T.detach(), curve)


def test_equal_attributions_are_ordered_by_the_seed_for_every_sample_alike(recorder):
    frame, shape = CASES["pixel"]
    model, x = recorder(*shape), inputs(shape)
    e = wam.saliency(model, x, frame=frame)
    even = replace(e, attributions=e.attributions.map(torch.ones_like))
    curves = [metrics.perturbation_curves(model, x, even, steps=4, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(curves[0].insertion, curves[1].insertion)
    assert not torch.equal(curves[0].insertion, curves[2].insertion)
    assert curves[0].ties.tolist() == [1, 1, 1]
    shown = metrics.perturbed(torch.ones_like(x), even_of(frame, model, torch.ones_like(x)), [0.3])[0][0]
    assert torch.equal(shown[0], shown[1]) and 0 < shown[0].mean() < 1
    order = shown[0].flatten().nonzero()[:, 0]
    assert not torch.equal(order, torch.arange(len(order)))  # not the first features, as a stable sort would take
    halves = e.attributions.map(lambda band: torch.cat([band[:, :1], torch.zeros_like(band[:, 1:])], 1))
    ties = metrics.perturbation_curves(model, x, replace(e, attributions=halves), steps=4).ties
    assert_close(ties, torch.full((3,), 2 / 3, dtype=torch.float64))


def even_of(frame, model, x):
    e = wam.saliency(model, x, frame=frame)
    return replace(e, attributions=e.attributions.map(torch.ones_like))


def test_one_channel_of_attributions_ranks_all_channels(recorder):
    frame, shape = CASES["image"]
    model, x = recorder(*shape), inputs(shape)
    e = wam.saliency(model, x, frame=frame)
    one = replace(e, attributions=e.attributions.map(lambda band: band.abs().sum(1, keepdim=True)))
    options = {"steps": 5, "protocol": Protocol(tied=True)}
    tied, same = (metrics.perturbation_curves(model, x, e, **options) for e in (e, one))
    assert torch.equal(tied.insertion, same.insertion) and not torch.equal(tied.insertion, tied.deletion)
    mixed = metrics.mu_fidelity(model, x, [e, one], subsets=20)
    assert mixed.shape == (2, 3) and not torch.equal(mixed[0], mixed[1])
    together = metrics.mu_fidelity(model, x, [e, one], subsets=20, protocol=Protocol(tied=True))
    assert_close(together[0], together[1])


def test_outputs(recorder):
    frame, shape = CASES["pixel"]
    model, x = recorder(*shape), inputs(shape)
    e = wam.saliency(model, x, frame=frame)
    logits = model(x)
    for output, function in {"logit": logits, "sigmoid": logits.sigmoid(), "softmax": logits.softmax(1)}.items():
        curves = metrics.perturbation_curves(model, x, e, steps=3, output=output)
        assert_close(curves.insertion[:, -1], function[range(3), e.target].detach())


def test_an_even_image_is_black_once_rescaled():
    model = Normalised(nn.Identity()).float()
    x = ((0.5 - model.mean) / model.std).expand(1, 3, 16, 16)
    e = wam.saliency(lambda x: x.mean((2, 3)), x, 0, frame=wam.Wavelet("haar", 2, 2))
    shown = metrics.perturbed(x, e, [1.0], model=model, protocol=replace(RELEASED, baseline=0.0))[0]
    assert_close(shown, (-model.mean / model.std).expand_as(shown), atol=1e-6)


def test_the_model_is_left_as_it_was():
    net = nn.Sequential(nn.Flatten(), nn.Linear(90, 3), nn.Dropout(0.5)).train()
    x = torch.randn(2, 3, 5, 6)
    e = wam.saliency(net, x, frame=wam.Pixel())
    first, second = (metrics.perturbation_curves(net, x, e, steps=3) for _ in range(2))
    assert torch.equal(first.insertion, second.insertion)  # dropout is off
    assert net.training and net[2].training and net[1].weight.requires_grad


# --- as released ------------------------------------------------------------------------------------------------------


class Normalised(nn.Module):
    """A classifier of colours from 0 to 1, behind the normalisation that its mean and std undo."""

    def __init__(self, inner, channels=3):
        super().__init__()
        self.inner = inner
        self.register_buffer("mean", torch.linspace(0.3, 0.5, channels, dtype=torch.float64).view(-1, 1, 1))
        self.register_buffer("std", torch.linspace(0.2, 0.3, channels, dtype=torch.float64).view(-1, 1, 1))

    def forward(self, x):
        return self.inner(x)


def stretched(rgb):
    """To the image's own range and 8 bits, in NumPy."""
    if rgb.max() == rgb.min():
        return np.zeros_like(rgb)
    return np.round((rgb - rgb.min()) / (rgb.max() - rgb.min()) * 255) / 255


@pytest.mark.parametrize("frame", [wam.Wavelet("haar", 2, 2), wam.Pixel()], ids=str)
def test_released_curves_against_the_description(frame, recorder):
    """Colours from 0 to 1, one mask for all, signed ranking, black where nothing is, stretched to 8 bits, peak at 1."""
    model = Normalised(recorder(3, 16, 16))
    rgb = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x = (rgb - model.mean) / model.std
    e = wam.saliency(model, x, frame=frame)
    curves = metrics.perturbation_curves(model, x, e, steps=8, protocol="released")
    z, spec = frame.analysis(rgb).pack()
    for i in range(2):
        order = e.attributions.pack()[0][i].mean(0).argsort(descending=True)
        points = {"insertion": [], "deletion": []}
        for k in range(9):
            mask = torch.zeros(256, dtype=torch.float64)
            mask[order[: 32 * k]] = 1
            for kind, m in (("insertion", mask), ("deletion", 1 - mask)):
                shown = frame.synthesis(wam.Coefficients.unpack((z[i] * m)[None], spec))[0].numpy()
                shown = np.where(abs(shown) < 1e-12, 0, shown)
                seen = (torch.from_numpy(stretched(shown)) - model.mean) / model.std
                points[kind].append(model(seen[None]).softmax(1)[0, e.target[i]].item())
        for kind, auc in (("insertion", curves.insertion_auc), ("deletion", curves.deletion_auc)):
            assert_close(getattr(curves, kind)[i], points[kind], atol=1e-6)
            assert_close(auc[i], np.mean(points[kind]) / np.max(points[kind]), atol=1e-6)


def test_every_convention_can_be_changed_alone(recorder):
    model = Normalised(recorder(3, 16, 16))
    x = inputs((3, 16, 16))
    e = wam.saliency(model, x, frame=wam.Wavelet("haar", 2, 2))
    black = (-model.mean / model.std).expand(3, 3, 16, 16)

    def curves(**options):
        return metrics.perturbation_curves(model, x, e, steps=6, **options)

    plain = {"protocol": Protocol("signed", tied=True, baseline=black)}
    same = curves(protocol=replace(RELEASED, rescale=False, peak=False))
    assert_close(same.insertion, curves(**plain).insertion)
    assert_close(same.insertion_auc, curves(**plain).insertion_auc)
    for change in ({"ranking": "absolute"}, {"tied": False}, {"baseline": 0.0}):
        changed = curves(protocol=replace(RELEASED, **change))
        assert not torch.equal(changed.insertion, curves(protocol="released").insertion)
    peaked = curves(protocol=replace(EQUATIONS, peak=True))
    assert torch.equal(peaked.insertion, curves().insertion)
    assert_close(peaked.insertion_auc, (curves().insertion.mean(1) / curves().insertion.amax(1)))


def test_released_mu_fidelity_against_the_description(recorder):
    """784 cells of the mosaic, 157 at a time, a blurred map, and the mean of Spearman's correlation and its p-value."""
    frame, side = wam.Wavelet("haar", 3, 2), 56
    model = Normalised(recorder(3, side, side))
    rgb = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x = (rgb - model.mean) / model.std
    e = wam.released.saliency(model, x, frame=frame)
    found = metrics.mu_fidelity(model, x, e, subsets=16, protocol="released", max_batch=64)
    alone = metrics.mu_fidelity(model, x, e, subsets=16, protocol=replace(RELEASED, p_value=False), max_batch=64)
    z = frame.analysis(rgb)
    picture = e.attributions.mosaic()[:, 0].numpy()
    for i in range(2):
        blurred = ndimage.gaussian_filter(picture[i], 2).reshape(28, 2, 28, 2).sum((1, 3)).flatten()

        def probability(cells, target=e.target[i], z=z[i]):
            """Of the image with these cells of its coefficients only."""
            mask = torch.from_numpy(np.kron(cells.reshape(28, 28), np.ones((2, 2))))
            blocks = z.mosaic_blocks()
            kept = wam.Coefficients({key: band * mask[blocks[key]] for key, band in z.bands.items()}, z.shape)
            seen = (torch.from_numpy(stretched(frame.synthesis(kept)[0].numpy())) - model.mean) / model.std
            return model(seen[None]).softmax(1)[0, target].item()

        halves = np.zeros((fidelity.STATES, 784))
        np.put_along_axis(halves, perturbation.subsets(784, 392, fidelity.STATES, (0, 1)).numpy(), 1, axis=1)
        state = min(halves, key=probability)
        sums, drops = [], []
        for u in perturbation.subsets(784, 157, 16, (0, 0)).numpy():
            present = np.ones(784)
            present[u] = state[u]
            sums.append(blurred[u].sum())
            drops.append(probability(np.ones(784)) - probability(present))
        judged = stats.spearmanr(sums, drops)
        assert_close(found[i], (judged.statistic + judged.pvalue) / 2, atol=1e-6)
        assert_close(alone[i], judged.statistic, atol=1e-6)


# --- real networks, and what is refused -------------------------------------------------------------------------------


def test_a_real_network_in_chunks():
    model = models.load("mobilenet_v2")
    photographs = data.images(2)
    x = model.prepare(photographs)
    e = wam.saliency(model, x, [image.label for image in photographs], frame=wam.Wavelet("db4", 3, 2))
    whole, parts = (metrics.perturbation_curves(model, x, e, steps=4, max_batch=n) for n in (16, 3))
    assert_close(whole.insertion, parts.insertion, atol=1e-5)
    assert_close(whole.deletion, parts.deletion, atol=1e-5)
    black = metrics.perturbed(x, e, [0.0], model=model, protocol="released")[0][0]
    assert_close(black, model.black.expand_as(black), atol=1e-5)


BAD = {
    "another input": ({"x": torch.ones(3, 3, 13, 16).double()}, "another input: samples"),
    "another size": ({"x": torch.ones(3, 3, 16, 16).double()}, "is not of this input"),
    "another batch": ({"x": inputs((3, 13, 16), 2)}, "is not of this input"),
    "nan input": ({"x": inputs((3, 13, 16)).index_fill(0, torch.tensor([1]), torch.nan)}, r"input of samples \[1\]"),
    "protocol": ({"protocol": "mine"}, "unknown protocol 'mine'"),
    "output": ({"output": "score"}, "unknown output 'score'"),
    "baseline": ({"protocol": Protocol(baseline="white")}, "unknown baseline 'white'"),
    "baseline shape": ({"protocol": Protocol(baseline=torch.zeros(7))}, "does not broadcast"),
    "seed": ({"seed": -1}, "seed must be an integer of at least 0"),
    "no protocol": ({"protocol": None}, "unknown protocol None"),
    "max_batch": ({"max_batch": 0}, "max_batch must be an integer of at least 1"),
    "released function": ({"protocol": "released"}, "mean and std"),
}
BAD_CURVES = {
    "no steps": ({"steps": 0}, "steps must be an integer of at least 1"),
    "more steps than features": ({"steps": 10**6}, "1000000 steps for"),
    "axis": ({"axis": "time"}, "unknown axis 'time'"),
}
BAD_MU = {
    "two subsets": ({"subsets": 2}, "subsets must be an integer of at least 3"),
    "nothing": ({"size": 0.0}, "more than none and less than all: 0.0"),
    "everything": ({"size": 1.0}, "more than none and less than all: 1.0"),
    "size in words": ({"size": "0.2"}, "less than all: '0.2'"),
    "correlation": ({"correlation": "kendall"}, "unknown correlation 'kendall'"),
}


@pytest.mark.parametrize("metric", [metrics.perturbation_curves, metrics.mu_fidelity])
@pytest.mark.parametrize("change, message", BAD.values(), ids=BAD)
def test_bad_input_is_named(metric, change, message):
    model, x, e = explained(*CASES["image"])
    with pytest.raises(ValueError, match=message):
        metric(
            **{"model": model, "x": x}
            | {"explanation" if metric is metrics.perturbation_curves else "explanations": e}
            | change
        )


@pytest.mark.parametrize("change, message", BAD_CURVES.values(), ids=BAD_CURVES)
def test_bad_curves_are_named(change, message):
    model, x, e = explained(*CASES["image"])
    with pytest.raises(ValueError, match=message):
        metrics.perturbation_curves(model, x, e, **change)


@pytest.mark.parametrize("change, message", BAD_MU.values(), ids=BAD_MU)
def test_bad_mu_fidelity_is_named(change, message):
    model, x, e = explained(*CASES["image"])
    with pytest.raises(ValueError, match=message):
        metrics.mu_fidelity(model, x, e, **change)


def test_attributions_that_cannot_rank_are_named():
    model, x, e = explained(*CASES["image"])
    nan = replace(e, attributions=e.attributions.map(lambda b: b.index_fill(0, torch.tensor([2]), torch.nan)))
    two = replace(e, attributions=e.attributions.map(lambda b: b[:, :2]))
    for broken, message in ((nan, r"by integrated gradients of samples \[2\]"), (two, "have 2 channels")):
        with pytest.raises(ValueError, match=message):
            metrics.perturbation_curves(model, x, broken)
        with pytest.raises(ValueError, match=message):
            metrics.mu_fidelity(model, x, [e, broken])
    other = wam.saliency(model, x, e.target, frame=wam.Pixel())
    with pytest.raises(ValueError, match="one frame and one target"):
        metrics.mu_fidelity(model, x, [e, other])
    with pytest.raises(ValueError, match="give at least one explanation"):
        metrics.mu_fidelity(model, x, [])
    with pytest.raises(ValueError, match="unknown ranking 'best'"):
        Protocol("best")
    with pytest.raises(ValueError, match="numbers from 0 to 1"):
        metrics.perturbed(x, e, [0.5, 1.5])
    with pytest.raises(TypeError, match="fractions must be numbers from 0 to 1, got 'half'"):
        metrics.perturbed(x, e, "half")
    with pytest.raises(ValueError, match="cells need a mosaic"):
        metrics.mu_fidelity(Normalised(model), x, e, protocol="released")  # 13 by 16 is less than 28 by 28


def test_explanations_of_something_else_are_named():
    model, x, e = explained(*CASES["image"])
    off = replace(e, coefficients=e.coefficients * 1.02)
    one = replace(e, attributions=e.attributions[:1])
    other = replace(e, attributions=wam.Wavelet("haar", 1, 2).analysis(x))
    for broken, message in (
        (off, "of another input: samples"),
        (one, "not of this input"),
        (other, "not of this input"),
    ):
        with pytest.raises(ValueError, match=message):
            metrics.perturbation_curves(model, x, broken)
    with pytest.raises(ValueError, match="the explanation is on meta, the input on cpu: use"):
        metrics.perturbation_curves(model, x, replace(e, coefficients=e.coefficients.to("meta")))
    for wrong in ("abc", {"a": e}, None):
        with pytest.raises(TypeError, match="expected an explanation"):
            metrics.perturbation_curves(model, x, wrong)
    with pytest.raises(ValueError, match="cells must be an integer"):
        replace(RELEASED, cells=-1)


def test_a_constant_image_has_curves_but_no_energy():
    model, _, _ = explained(*CASES["image"])
    x = torch.full((1, 3, 13, 16), 2.0, dtype=torch.float64)
    e = wam.saliency(model, x, 0, frame=CASES["image"][0])
    curves = metrics.perturbation_curves(model, x, e, steps=4)
    assert curves.insertion.isfinite().all()
    with pytest.raises(ValueError, match=r"samples \[0\] equal the baseline"):
        metrics.perturbation_curves(model, x, e, steps=4, axis="energy", protocol=Protocol(baseline="mean"))


# --- sounds: half of the features, once -------------------------------------------------------------------------------

HALVES = {"wavelets of a sound": (wam.Wavelet("db2", 3, 1), (2, 61)), "spectrogram": (wam.Pixel(), (1, 7, 12))}
HALVES |= {"image": CASES["image"], "volume": CASES["volume"], "fourier": CASES["fourier"]}
every_half = pytest.mark.parametrize("frame, shape", HALVES.values(), ids=HALVES)


def top(values, fraction):
    """The sum of the largest share of each row."""
    count = int(np.round(fraction * values.shape[1]))
    return values.sort(1, descending=True).values[:, :count].sum(1)


@pytest.mark.parametrize("baseline", [0.0, "tensor"])
@every_half
def test_faithfulness_on_spectra_of_a_linear_model_is_the_sum_of_what_is_removed(frame, shape, baseline):
    state = inputs(shape, 1, seed=5) if baseline == "tensor" else baseline
    model, x, e = explained(frame, shape, baseline=torch.as_tensor(state).expand(3, *shape))
    terms = e.attributions.pack()[0].flatten(1)
    for fraction in (0, 0.2, 0.5, 1):
        found = metrics.faithfulness_on_spectra(
            model, x, e, fraction=fraction, protocol=Protocol("signed", baseline=state)
        )
        assert found.shape == (3,) and found.dtype == x.dtype
        assert_close(found, top(terms, fraction))
    order = terms.abs().argsort(1, descending=True)[:, : round(terms.shape[1] / 2)]
    assert_close(
        metrics.faithfulness_on_spectra(model, x, e, protocol=Protocol(baseline=state)), terms.gather(1, order).sum(1)
    )
    worst = replace(e, attributions=-e.attributions)
    signed = Protocol("signed", baseline=state)
    assert_close(metrics.faithfulness_on_spectra(model, x, worst, protocol=signed), -top(-terms, 0.5))


@given(seed=st.integers(0, 999), fraction=st.floats(0, 1), n=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_nothing_removed_costs_nothing_and_no_ranking_costs_more_than_that_of_the_terms(seed, fraction, n):
    x, model = inputs((1, n), seed=seed), linear(inputs((1, n), 2, seed=seed + 1))
    e = wam.integrated_gradients(model, x, 0, frame=wam.Pixel(), steps=1)
    options = {"protocol": Protocol("signed"), "fraction": fraction}
    best = metrics.faithfulness_on_spectra(model, x, e, **options)
    other = metrics.faithfulness_on_spectra(model, x, controls.random(e, seed), **options)
    assert bool((best >= other - 1e-9).all())
    assert metrics.faithfulness_on_spectra(model, x, e, fraction=0.0).tolist() == [0, 0, 0]
    assert metrics.input_fidelity(model, x, e, fraction=1.0).tolist() == [1, 1, 1]


@pytest.mark.parametrize("protocol", ["equations", "released-sound"])
@every_half
def test_halves_are_the_middle_of_the_curves(frame, shape, protocol, recorder):
    model, x = recorder(*shape), inputs(shape)
    e = wam.smoothgrad(model, x, frame=frame, samples=2)
    for output in ("logit", "sigmoid", "softmax"):
        curves = metrics.perturbation_curves(model, x, e, steps=2, protocol=protocol, output=output)
        found = metrics.faithfulness_on_spectra(model, x, e, protocol=protocol, output=output)
        assert_close(found, (curves.deletion[:, 0] - curves.deletion[:, 1]))
    same = metrics.faithfulness_on_spectra(model, x, e, protocol=protocol, output="logit")
    assert torch.equal(metrics.faithfulness_on_spectra(model, x, e, protocol=protocol), same)
    predicted = model(x).argmax(1)
    kept = metrics.perturbation_curves(
        model, x, replace(e, target=predicted), steps=2, protocol=protocol, output="top1"
    )
    assert_close(metrics.input_fidelity(model, x, e, protocol=protocol), kept.insertion[:, 1])


def test_input_fidelity_asks_for_the_predicted_class_and_not_for_the_target():
    """Classes are the features. With its largest alone the prediction stays; with the smallest it does not."""
    x = torch.tensor([[[4.0, 1.0, 3.0, 2.0]], [[1.0, 5.0, 2.0, 0.5]]])
    model = lambda x: x.flatten(1)  # noqa: E731
    e = wam.saliency(model, x, 3, frame=wam.Pixel())
    largest, smallest = (replace(e, attributions=e.coefficients * sign) for sign in (1.0, -1.0))
    for explanation, kept in ((largest, [1, 1]), (smallest, [0, 0])):
        found = metrics.input_fidelity(model, x, explanation, fraction=0.25, protocol=Protocol("signed"))
        assert found.tolist() == kept and found.dtype == x.dtype
    signs = torch.tensor([1.0, -1.0]).view(2, 1, 1)
    mixed = replace(e, attributions=e.coefficients.map(lambda band: band * signs))
    assert metrics.input_fidelity(model, x, mixed, fraction=0.25, protocol=Protocol("signed")).tolist() == [1, 0]
    assert metrics.input_fidelity(
        model, x, largest, fraction=0.25, protocol=Protocol("signed", baseline=9.0)
    ).tolist() == [0, 0]


@every_half
def test_halves_alone_in_a_batch_and_in_chunks(frame, shape, recorder):
    x = inputs(shape)
    for metric in (metrics.faithfulness_on_spectra, metrics.input_fidelity):
        for protocol in ("equations", "released-sound"):
            model = recorder(*shape)
            e = wam.saliency(model, x, frame=frame)
            whole = metric(model, x, e, protocol=protocol)
            for max_batch in (1, 2):
                model.sizes.clear()
                assert torch.equal(metric(model, x, e, protocol=protocol, max_batch=max_batch), whole)
                assert max(model.sizes) <= max_batch and sum(model.sizes) == 6  # the input, and one other
            for i in range(3):
                assert torch.equal(metric(model, x[i : i + 1], e[i], protocol=protocol)[0], whole[i])


def test_released_on_a_sound_is_signed_tied_and_not_rescaled(recorder):
    frame, shape = HALVES["wavelets of a sound"]
    model, x = recorder(*shape), inputs(shape)
    e = wam.smoothgrad(model, x, frame=frame, samples=2)
    z, spec = e.coefficients.pack()
    order = e.attributions.pack()[0].sum(1).argsort(dim=1, descending=True)
    mask = torch.zeros_like(z[:, 0]).scatter_(1, order[:, : round(z.shape[2] / 2)], 1.0)[:, None]
    kept, left = (frame.synthesis(wam.Coefficients.unpack(z * m, spec)) for m in (mask, 1 - mask))
    chosen = torch.arange(3), e.target
    drop = (model(x).sigmoid() - model(left).sigmoid())[chosen].detach()
    for protocol in ("released", "released-sound"):
        assert_close(metrics.faithfulness_on_spectra(model, x, e, output="sigmoid", protocol=protocol), drop)
        same = (model(kept).argmax(1) == model(x).argmax(1)).to(x)
        assert_close(metrics.input_fidelity(model, x, e, protocol=protocol), same)
        assert_close(metrics.perturbed(x, e, [0.5], model=model, protocol=protocol)[0][0], kept)
        curves = metrics.perturbation_curves(model, x, e, steps=2, protocol=protocol, output="sigmoid")
        assert_close(curves.insertion_auc, curves.insertion.mean(1) / curves.insertion.amax(1))
        assert_close(curves.insertion[:, 1], model(kept).sigmoid()[chosen].detach())
        mu = metrics.mu_fidelity(model, x, e, protocol=protocol, subsets=8)
        alone = metrics.mu_fidelity(model, x, e, protocol=replace(RELEASED_SOUND, p_value=False), subsets=8)
        assert not torch.equal(mu, alone) and mu.isfinite().all()
    other = {"output": "sigmoid", "protocol": replace(RELEASED_SOUND, ranking="absolute")}
    assert not torch.equal(metrics.faithfulness_on_spectra(model, x, e, **other), drop)
    assert vars(conventions("released", x)) == vars(RELEASED_SOUND)
    assert vars(conventions("released", x[..., None])) == vars(RELEASED)


def test_a_protocol_and_its_name_mean_the_same(recorder):
    frame, shape = HALVES["wavelets of a sound"]
    model, x = recorder(*shape), inputs(shape)
    e = wam.saliency(model, x, frame=frame)
    for metric, options in (
        (metrics.faithfulness_on_spectra, {"output": "sigmoid"}),
        (metrics.input_fidelity, {}),
        (metrics.perturbation_curves, {"output": "sigmoid", "steps": 4}),
    ):
        one, other = (metric(model, x, e, protocol=p, **options) for p in (RELEASED_SOUND, "released-sound"))
        values = [(v.faithfulness if metric is metrics.perturbation_curves else v) for v in (one, other)]
        assert torch.equal(*values)


def test_the_score_of_a_model_must_be_a_number(recorder):
    frame, shape = HALVES["wavelets of a sound"]
    model, x = recorder(*shape), inputs(shape)
    e = wam.saliency(model, x, frame=frame)
    with pytest.raises(ValueError, match="the score of samples .* holds NaN"):
        metrics.input_fidelity(lambda x: model(x) * torch.nan, x, e)


def test_released_on_a_spectrogram_names_the_protocol_of_sounds(recorder):
    frame, shape = HALVES["spectrogram"]
    model, x = recorder(*shape), inputs(shape)
    e = wam.saliency(model, x, frame=frame)
    for metric in (metrics.faithfulness_on_spectra, metrics.input_fidelity, metrics.perturbation_curves):
        options = {"steps": 2} if metric is metrics.perturbation_curves else {}
        with pytest.raises(ValueError, match="for spectrograms use protocol='released-sound'"):
            metric(model, x, e, protocol="released", **options)
        metric(model, x, e, protocol="released-sound", **options)


def test_the_explanation_at_a_layer_is_judged_by_the_rest_of_the_model():
    front, head = nn.Conv1d(2, 3, 5).double(), nn.Sequential(nn.Tanh(), nn.Flatten(), nn.Linear(57 * 3, 4)).double()
    model, x = nn.Sequential(front, head), inputs((2, 61))
    e = wam.integrated_gradients(model, x, [0, 3, 2], frame=wam.Wavelet("haar", 2, 1), steps=4, layer="0")
    h = front(x).detach()
    curves = metrics.perturbation_curves(head, h, e.layer, steps=2, output="logit")
    assert_close(metrics.faithfulness_on_spectra(head, h, e.layer), curves.deletion[:, 0] - curves.deletion[:, 1])
    assert_close(curves.deletion[:, 0], e.score)
    with pytest.raises(ValueError, match="is not of this input"):
        metrics.faithfulness_on_spectra(model, x, e.layer)


BAD_HALVES = {name: BAD[name] for name in BAD if name != "output"} | {
    "fraction": ({"fraction": 1.5}, "numbers? from 0 to 1, got .*1.5"),
    "negative": ({"fraction": -0.1}, "numbers? from 0 to 1, got .*-0.1"),
    "nan fraction": ({"fraction": float("nan")}, "numbers? from 0 to 1, got .*nan"),
}


@pytest.mark.parametrize("metric", [metrics.faithfulness_on_spectra, metrics.input_fidelity])
@pytest.mark.parametrize("change, message", BAD_HALVES.values(), ids=BAD_HALVES)
def test_bad_halves_are_named(metric, change, message):
    model, x, e = explained(*CASES["image"])
    with pytest.raises(ValueError, match=message):
        metric(**{"model": model, "x": x, "explanation": e} | change)


def test_halves_of_no_explanation_are_named():
    model, x, e = explained(*CASES["image"])
    nan = replace(e, attributions=e.attributions.map(lambda b: b.index_fill(0, torch.tensor([2]), torch.nan)))
    for metric in (metrics.faithfulness_on_spectra, metrics.input_fidelity):
        for wrong in ("abc", None, x):
            with pytest.raises(TypeError, match="expected an explanation"):
                metric(model, x, wrong)
        with pytest.raises(TypeError, match="expected a tensor .* got list"):
            metric(model, x.tolist(), e, protocol="released")
        with pytest.raises(ValueError, match=r"by integrated gradients of samples \[2\]"):
            metric(model, x, nan)
    with pytest.raises(ValueError, match="unknown output 'score'"):
        metrics.faithfulness_on_spectra(model, x, e, output="score")


def test_halves_leave_the_model_as_it_was():
    net = nn.Sequential(nn.Flatten(), nn.Linear(90, 3), nn.Dropout(0.5)).train()
    x = torch.randn(2, 3, 5, 6)
    e = wam.saliency(net, x, frame=wam.Pixel())
    for metric in (metrics.faithfulness_on_spectra, metrics.input_fidelity):
        first, second = metric(net, x, e), metric(net, x, e)
        assert torch.equal(first, second) and not first.requires_grad
    assert net.training and net[2].training and net[1].weight.requires_grad and net[1].weight.grad is None
