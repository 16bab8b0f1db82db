"""Pixel methods against Captum, torchcam and formulas written out with automatic differentiation."""

import math

import captum.attr
import pytest
import timm
import torch
import torchcam.methods
import torchvision
from torch import nn
from torch.nn import functional as F

import wam
from wam import baselines

TARGET = [2, 0, 1]
CAMS = (baselines.gradcam, baselines.gradcam_plus_plus)
CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def values(e):
    return e.attributions.bands[0, "pixel"]


def inputs(*shape, batch=3):
    return torch.randn(batch, *shape, dtype=torch.float64)


def split(ndim=2, act=nn.ReLU):
    """A network in two halves, so that a test can differentiate with respect to what lies between them."""
    conv = CONV[ndim]
    features = nn.Sequential(conv(2, 6, 3), act(), conv(6, 5, 3, stride=2), act())
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[ndim - 1](2)
    head = nn.Sequential(conv(5, 7, 1), nn.Tanh(), pool, nn.Flatten(), nn.Linear(7 * 2**ndim, 4))
    return nn.Sequential(features, head).double()


def between(net, x, target):
    """Activations between the halves of :func:`split`, and the gradients of the scores there."""
    a = net[0](x).detach().requires_grad_(True)
    score = net[1](a)[range(len(x)), target]
    return a.detach(), torch.autograd.grad(score.sum(), a)[0]


def upsampled(maps, x):
    return F.interpolate(maps[:, None], x.shape[2:], mode=LINEAR[x.ndim - 2], align_corners=False)


# --- one signature ------------------------------------------------------------------------------------------------


def test_the_methods_are_the_rows_of_the_paper_and_share_a_signature():
    assert list(baselines.METHODS) == [
        "Saliency", "Integrated Gradients", "GradCAM", "GradCAM++", "SmoothGrad", "Guided Backpropagation",
    ]  # fmt: skip
    block = timm.models.resnet.BasicBlock
    net = timm.models.ResNet(block, (1, 1, 1, 1), num_classes=4, stem_width=8, channels=(8, 8, 8, 8))
    net, x = net.double().eval(), inputs(3, 32, 32)
    for name, method in baselines.METHODS.items():
        e, again, other = (method(net, x, TARGET, max_batch=2, seed=seed) for seed in (0, 0, 1))
        assert e.frame == wam.Pixel() and torch.equal(e.coefficients.bands[0, "pixel"], x)
        assert values(e).shape == ((3, 1, 32, 32) if "CAM" in name else x.shape)
        assert e.target.tolist() == TARGET and not values(e).requires_grad
        torch.testing.assert_close(e.score, net(x)[range(3), TARGET].detach())
        torch.testing.assert_close(method(net, x).target, net(x).argmax(1))
        torch.testing.assert_close(values(again), values(e))
        assert torch.equal(values(other), values(e)) == (name != "SmoothGrad")
        for alone in (
            method(net, x[1:2], [TARGET[1]]),
            method(net, x, TARGET)[1],
            method(net, x, TARGET, max_batch=1)[1],
        ):
            torch.testing.assert_close(values(alone), values(e[1]), rtol=1e-9, atol=1e-15)


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
def test_gradient_methods_agree_with_captum(recorder):
    model, x, target = recorder(2, 9, 8), inputs(2, 9, 8), torch.tensor(TARGET)
    reference = captum.attr.Saliency(model)
    theirs = reference.attribute(x, target=target, abs=False)
    torch.testing.assert_close(values(baselines.METHODS["Saliency"](model, x, TARGET)), theirs, rtol=0, atol=1e-12)

    theirs = captum.attr.IntegratedGradients(model).attribute(x, target=target, n_steps=300, method="gausslegendre")
    mine = values(baselines.METHODS["Integrated Gradients"](model, x, TARGET))
    assert (mine - theirs).norm() < 2e-3 * theirs.norm()
    same = wam.integrated_gradients(model, x, TARGET, frame=wam.Pixel(), steps=300, nodes="gauss-legendre")
    assert (values(same) - theirs).norm() < 1e-6 * theirs.norm()  # Captum rounds its weights to float32

    model.seen.clear()
    mine = baselines.METHODS["SmoothGrad"](model, x, TARGET)
    noisy = torch.stack(model.seen[3:]).unflatten(0, (50, 3))  # the first three predict
    model.seen.clear()
    theirs = sum(reference.attribute(copies, target=target, abs=False) for copies in noisy) / 50
    torch.testing.assert_close(values(mine), theirs, rtol=0, atol=1e-12)
    assert mine.settings["samples"] == 50


def test_one_channel_is_enough_for_an_explanation(tmp_path):
    net, x = split(), inputs(2, 17, 16)
    e = baselines.gradcam(net, x, TARGET, layer="0")
    assert torch.equal(e.heatmap(), values(e)[:, 0]) and torch.equal(e.scale_heatmaps(), values(e))
    assert torch.equal(e[1:].heatmap(), e.heatmap()[1:]) and e[0].coefficients.bands[0, "pixel"].shape == (1, 2, 17, 16)
    assert torch.equal(e.scale_profile(), torch.ones(3, 1, dtype=torch.float64))
    again = wam.load(e.save(tmp_path / "e.safetensors"))
    assert torch.equal(values(again), values(e)) and again.settings == {"layer": "0"} and again.method == "gradcam"
    assert torch.equal(again.coefficients.bands[0, "pixel"], x)


# --- guided backpropagation ---------------------------------------------------------------------------------------


class Guided(torch.autograd.Function):
    """min(max(a, 0), top), which hands back positive gradients of unclipped inputs alone."""

    @staticmethod
    def forward(ctx, a, top):
        ctx.passed = (a > 0) & (a < top)
        return a.clamp(0, top)

    @staticmethod
    def backward(ctx, g):
        return torch.where(ctx.passed & (g > 0), g, 0), None


class Rectified(nn.Module):
    """ReLUs and ReLU6s in place, one used twice, one of two names, one behind a shortcut that also uses its input."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 6, 3, padding=1)
        self.act, self.act6, self.plain = nn.ReLU(inplace=True), nn.ReLU6(inplace=True), nn.ReLU()
        self.again = self.act6
        self.head = nn.Linear(6, 4)

    def forward(self, x, relu=None, relu6=None, plain=None):
        again = relu6 or self.again
        relu, relu6, plain = relu or self.act, relu6 or self.act6, plain or self.plain
        x = relu(8 * self.first(x))
        x = relu6(3 * relu(self.second(x) - 0.2))
        x = again(x - 1) - 0.7 * self.second(x)
        return self.head((x - 2 * plain(x)).tanh().mean((2, 3)))


def guided(model, x, target):
    x = x.clone().requires_grad_(True)
    relu, relu6 = (lambda a, top=top: Guided.apply(a, top) for top in (math.inf, 6.0))
    return torch.autograd.grad(model(x, relu, relu6, relu)[range(len(x)), target].sum(), x)[0]


def test_guided_backpropagation_passes_positive_gradients_only():
    net, x = Rectified().double(), inputs(2, 10, 9)
    expected = guided(net, x, TARGET)
    plain = values(wam.saliency(net, x, TARGET, frame=wam.Pixel()))
    assert (expected - plain).norm() > 0.1 * plain.norm()
    e = baselines.guided_backpropagation(net, x, TARGET, max_batch=2)
    torch.testing.assert_close(values(e), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(e.score, net(x)[range(3), TARGET].detach())


def test_guided_backpropagation_of_a_real_network_with_relu6():
    """Against hooks on the nodes of the autograd graph, which see the functions and not the modules."""
    model = wam.models.load("mobilenet_v2")
    x = model.prepare(wam.data.images(2))
    e = baselines.guided_backpropagation(model, x, max_batch=1)
    inputs = x.clone().requires_grad_(True)
    with wam.scoring.frozen(model):
        score = model(inputs)[range(2), e.target]
    nodes, seen = [score.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes.extend(parent for parent, _ in node.next_functions)
        if node.name().startswith("Hardtanh"):
            node.register_prehook(lambda g: tuple(v.clamp_min(0) for v in g))
    assert sum(node.name().startswith("Hardtanh") for node in seen) == 35
    expected = torch.autograd.grad(score.sum(), inputs)[0]
    assert (values(e) - expected).norm() < 1e-4 * expected.norm()
    plain = values(wam.saliency(model, x, e.target, frame=wam.Pixel()))
    assert (plain - expected).norm() > 0.5 * expected.norm()


@pytest.mark.parametrize("act", [nn.GELU, nn.SiLU, nn.Hardtanh])
def test_guided_backpropagation_is_undefined_without_relu(act):
    with pytest.raises(ValueError, match="Sequential has no ReLU module.*would equal saliency"):
        baselines.guided_backpropagation(split(act=act), inputs(2, 9, 9))


# --- class activation maps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [nn.ReLU, nn.GELU, lambda: nn.ReLU(inplace=True)])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_gradcam_is_its_closed_form(ndim, act):
    net, x = split(ndim, act), inputs(2, *(17, 12, 13)[:ndim])
    a, g = between(net, x, TARGET)
    expected = torch.einsum("nk...,nk->n...", a, g.flatten(2).mean(2)).clamp_min(0)
    assert (expected == 0).any() and (expected > 0).any()
    for layer in ("0", net[0], "0.3"):
        e = baselines.gradcam(net, x, TARGET, layer=layer, max_batch=2)
        torch.testing.assert_close(values(e), upsampled(expected, x), rtol=0, atol=1e-12)
    with torchcam.methods.GradCAM(net, "0") as cam:
        theirs = cam(TARGET, net(x), normalized=False)[0]
    torch.testing.assert_close(values(e), upsampled(theirs, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("ndim", [1, 2])
def test_gradcam_plus_plus_is_the_published_formula(ndim):
    """Eq. 19 with the derivatives of exp(score) along every activation, one by one; the head is linear."""
    net, x = split(ndim), inputs(2, *(9, 8)[:ndim])
    net[1] = nn.Sequential(nn.Flatten(), nn.Linear(net[0](x)[0].numel(), 4)).double()
    a = net[0](x).detach()
    for i, target in enumerate(TARGET):
        derivatives = []
        for k in range(a[i].numel()):
            t = torch.zeros((), dtype=torch.float64, requires_grad=True)
            moved = a[i].flatten() + t * F.one_hot(torch.tensor(k), a[i].numel())
            y = net[1](moved.view_as(a[i : i + 1]))[0, target].exp()
            orders = []
            for _ in range(3):
                (y,) = torch.autograd.grad(y, t, create_graph=True)
                orders.append(y.detach())
            derivatives.append(torch.stack(orders))
        one, two, three = torch.stack(derivatives, 1).view(3, *a[i].shape).flatten(2)
        alpha = two / (2 * two + a[i].flatten(1).sum(1, keepdim=True) * three)
        weight = (alpha * one.clamp_min(0)).sum(1)
        expected = torch.einsum("k...,k->...", a[i], weight).clamp_min(0) / net(x)[i, target].exp()
        e = baselines.gradcam_plus_plus(net, x, TARGET, layer="0")
        torch.testing.assert_close(values(e)[i : i + 1], upsampled(expected[None], x).detach(), rtol=1e-9, atol=1e-14)


def test_the_layer_is_its_own_output_whatever_follows_in_place():
    net, x = split(act=lambda: nn.ReLU(inplace=True)), inputs(2, 11, 12)
    a = net[0][:3](x).detach().requires_grad_(True)
    assert (a < 0).any()
    g = torch.autograd.grad(net[1](a.relu())[range(3), TARGET].sum(), a)[0]
    expected = (g.mean((2, 3), keepdim=True) * a).sum(1).relu().detach()
    torch.testing.assert_close(values(baselines.gradcam(net, x, TARGET, layer="0.2")), upsampled(expected, x))


@pytest.mark.parametrize("prefix", [{}, {"reg_tokens": 3}, {"class_token": False, "global_pool": "avg"}])
def test_tokens_of_a_transformer_are_laid_out_on_their_grid(prefix):
    net = timm.models.VisionTransformer(
        img_size=(32, 48), patch_size=8, embed_dim=12, depth=2, num_heads=2, num_classes=4, **prefix
    )
    net, x = net.double().eval(), inputs(3, 32, 48)
    first, last = net.blocks[0], net.blocks[1]
    tokens = first(net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(x))))).detach()
    a = last.norm1(tokens).detach().requires_grad_(True)
    out = tokens + last.attn(a)
    g = torch.autograd.grad(net.forward_head(net.norm(out + last.mlp(last.norm2(out))))[range(3), TARGET].sum(), a)[0]
    patches, g = (v.detach()[:, net.num_prefix_tokens :] for v in (a, g))
    maps = (patches * g.mean(1, keepdim=True)).sum(2).relu().view(3, 4, 6)
    assert (maps > 0).any() and net.num_prefix_tokens == {0: 1, 1: 4, 2: 0}[len(prefix)]
    for model, layer in ((net, None), (nn.Sequential(net), None), (net, "blocks.1.norm1")):
        torch.testing.assert_close(values(baselines.gradcam(model, x, TARGET, layer=layer)), upsampled(maps, x))
    alpha = g.square() / (2 * g.square() + g**3 * patches.sum(1, keepdim=True))
    maps = (patches * (alpha * g.clamp_min(0)).sum(1, keepdim=True)).sum(2)
    assert (maps < 0).any() and (maps > 0).any()
    found = values(baselines.gradcam_plus_plus(net, x, TARGET))
    torch.testing.assert_close(found, upsampled(maps.clamp_min(0).view(3, 4, 6), x))


DEFAULTS = {
    "efficientnet_lite0": "bn2",
    "mobilenet_v2": "features",
    "resnet18": "layer4",
    "efficientnet_b0": "bn2",
    "deit_tiny": "blocks.11.norm1",
    "convnext_small": "stages",
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_default_layers_of_the_models_of_the_book_and_of_the_paper(name):
    model = wam.models.load(name, pretrained=False).eval()
    x = torch.randn(1, 3, *model.input_size)
    e = baselines.gradcam(model, x, 7)
    assert e.settings == {"layer": f"network.{DEFAULTS[name]}"} and values(e).shape == (1, 1, *model.input_size)
    with torchcam.methods.GradCAM(model, f"network.{DEFAULTS[name]}") as cam:
        model(x)
        shape = cam.hook_a[0].shape
    grid = (1, 197, 192) if name == "deit_tiny" else (1, shape[1], *(s // 32 for s in model.input_size))
    assert shape == grid and shape[1] >= 192
    if name != "convnext_small":
        assert values(baselines.gradcam(model.network, x, 7)).sub(values(e)).abs().max() == 0


@pytest.mark.parametrize(
    ("build", "layer"),
    [
        (lambda: torchvision.models.resnet18(num_classes=4), "layer4"),
        (lambda: torchvision.models.mobilenet_v2(num_classes=4), "features"),
        (lambda: torchvision.models.efficientnet_b0(num_classes=4), "features"),
        (lambda: torchvision.models.convnext_tiny(num_classes=4), "features"),
        (lambda: timm.create_model("mobilenetv2_100", num_classes=4), "bn2"),
        (lambda: timm.create_model("deit_tiny_distilled_patch16_224", num_classes=4, img_size=64), "blocks.11.norm1"),
    ],
)
def test_default_layers_go_by_what_the_network_is(build, layer):
    e = baselines.gradcam(nn.Sequential(build()), torch.randn(1, 3, 64, 64), 1)
    assert e.settings == {"layer": f"0.{layer}"}


def test_maps_of_a_trained_network_find_the_object():
    """A sign error would point beside it."""
    model = wam.models.load("efficientnet_lite0")
    x = model.prepare(wam.data.images(8))
    for method in CAMS:
        heat = method(model, x).heatmap()
        kept = x * (heat > heat.flatten(1).median(1).values.view(-1, 1, 1))[:, None]
        target = model.network(x).argmax(1)
        share = model.network(torch.cat([kept, x - kept])).softmax(1)[range(16), torch.cat([target, target])]
        assert share[:8].mean() > share[8:].mean() + 0.1


# --- the model is left as it was, and errors ----------------------------------------------------------------------


def hooks(model):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


@pytest.mark.parametrize("method", [*CAMS, baselines.guided_backpropagation])
def test_the_model_is_left_as_it_was_even_after_an_error(method):
    net, x = split(), inputs(2, 11, 12)
    net[1].append(nn.BatchNorm1d(4).double())
    net.train()
    net[0].eval()
    net[0][0].bias.requires_grad_(False)
    flags = lambda: ([m.training for m in net.modules()], [p.requires_grad for p in net.parameters()])  # noqa: E731
    before, state = flags(), {name: value.clone() for name, value in net.state_dict().items()}
    options = {} if method is baselines.guided_backpropagation else {"layer": "0"}
    e = method(net, x.requires_grad_(True), TARGET, **options)
    with torch.inference_mode():
        torch.testing.assert_close(values(method(net, inputs(2, 11, 12).copy_(x), TARGET, **options)), values(e))
    for target, broken in ((9, net), (0, nn.Sequential(net, nn.Unflatten(1, (2, 2))))):
        with pytest.raises(ValueError):
            method(broken, x, target, **({"layer": net[0]} if options else {}))
    with pytest.raises(ValueError):
        method(net, x, 0, **({"layer": "1.4"} if options else {}), max_batch=0)
    assert flags() == before and hooks(net) == 0 and x.grad is None
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_under_autocast_maps_keep_the_dtype_of_the_input():
    net, x = split().float(), inputs(2, 11, 12).float()
    plain = baselines.gradcam(net, x, TARGET, layer="0")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = baselines.gradcam(net, x, TARGET, layer="0")
    assert values(mixed).dtype == mixed.score.dtype == torch.float32
    assert 0 < (values(mixed) - values(plain)).norm() < 0.1 * values(plain).norm()


@pytest.fixture(scope="module")
def yamnet():
    return wam.models.load("yamnet")


@pytest.mark.parametrize("method", CAMS)
def test_maps_of_the_patches_of_a_spectrogram_are_laid_out_in_time(yamnet, method):
    """A recording in the middle of silence; in a batch, in parts and alone; the network whole and of a few classes."""
    rooster, sheep = (wam.sounds.recordings()[i].clip.mono().resample(16_000).fit(0.975) for i in (8, 9))
    x = torch.zeros(2, 1, 69_360)  # eight patches
    x[0, :, 30_720:46_320], x[1, :, 15_360:30_960] = rooster.samples, sheep.samples  # all of the fifth, of the third
    target = [yamnet.index("Chicken, rooster"), yamnet.index("Sheep")]
    with torch.no_grad():
        mel = yamnet.front_end(x)
    e = method(yamnet.network, mel, target)
    assert values(e).shape == mel.shape == (2, 1, 432, 64) and e.settings == {"layer": "features"}
    for i, start in enumerate((192, 96)):
        over_time = e.heatmap()[i].sum(1)
        assert start <= over_time.argmax() < start + 96
        assert over_time[start : start + 96].sum() / over_time.sum() > (0.9 if method is baselines.gradcam else 0.6)
    parts, alone = method(yamnet.network, mel, target, max_batch=1), method(yamnet.network, mel[1:], target[1:])
    few = method(yamnet.only(["Chicken, rooster", "Sheep"]).network, mel, [0, 1])
    for same in (values(parts), values(few)):
        torch.testing.assert_close(same, values(e), rtol=1e-4, atol=1e-4 * values(e).max())
    torch.testing.assert_close(values(alone), values(e[1:]), rtol=1e-4, atol=1e-4 * values(e[1:]).max())


def test_gradcam_of_one_patch_is_its_closed_form():
    """Three cells of 32 frames, each two bins of 16; the mean over both is that over the cells."""
    model = wam.models.load("yamnet", dtype=torch.float64)
    network, target = model.network, model.index("Sheep")
    with torch.no_grad():
        mel = model.front_end(model.prepare(wam.sounds.recordings()[9].clip.mono().resample(16_000).fit(0.975)))
        a = network.features(mel)
    a.requires_grad_(True)
    (g,) = torch.autograd.grad(network.classifier(a.mean((2, 3)))[0, target], a)
    cells = torch.einsum("nkij,nk->nij", a.detach(), g.mean((2, 3))).clamp_min(0)
    expected = upsampled(cells.repeat_interleave(2, 1), mel)
    torch.testing.assert_close(values(baselines.gradcam(network, mel, target)), expected, rtol=1e-9, atol=1e-12)


def test_the_input_of_gradcam_is_the_spectrogram(yamnet):
    with pytest.raises(
        ValueError, match=r"'network.features' gives \(2, 1024, 3, 2\), not a map \(batch, channels, n\)"
    ):
        baselines.gradcam(yamnet, torch.randn(1, 1, 20_000))
    with pytest.raises(ValueError, match="97 cells do not divide patches of 96 frames"):
        baselines.gradcam(yamnet.network, torch.randn(1, 1, 144, 64), layer="features.0")


def test_gradcam_of_kumars_network_takes_the_last_convolutions():
    model = wam.models.load("kumar_esc50", pretrained=False)
    mel = torch.randn(2, 1, 200, 128)
    e = baselines.gradcam(model.network, mel)
    assert e.settings == {"layer": "features"} and values(e).shape == (2, 1, 200, 128)


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.spare = split(), nn.Conv2d(2, 2, 3)

    def forward(self, x):
        return self.net(x)


@pytest.mark.parametrize("method", CAMS)
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (None, "no default layer is known for Unused.*pass layer="),
        ("net.0.x", "no layer 'net.0.x'; did you mean 'net.0"),
        (3, "no layer 3"),
        (nn.Conv2d(2, 2, 3), "the layer Conv2d is not a module of the model Unused"),
        ("net.1.4", r"layer 'net.1.4' gives \(3, 4\), not a map \(batch, channels, n, n\)"),
        ("spare", "do not depend on layer 'spare'"),
    ],
)
def test_a_layer_that_cannot_be_used_is_named(method, layer, message):
    net = Unused()
    with pytest.raises(ValueError, match=message):
        method(net, inputs(2, 11, 12), TARGET, layer=layer)
    assert hooks(net) == 0


@pytest.mark.parametrize("method", [*CAMS, baselines.guided_backpropagation])
def test_bad_input_names_the_value_and_the_fix(method):
    x = inputs(2, 11, 12)
    with pytest.raises(TypeError, match="pass a torch.nn.Module, not function"):
        method(lambda v: v.flatten(1), x)
    with pytest.raises(ValueError, match=r"the input of samples \[1\] holds NaN"):
        method(split(), x.index_fill(0, torch.tensor([1]), torch.nan), 0)
    with pytest.raises(TypeError, match="expected float32 or float64"):
        method(split(), x.long(), 0)
    with pytest.raises(ValueError, match="one class or 3, one per sample"):
        method(split(), x, [0, 1])
