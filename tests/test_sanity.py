"""Randomised networks: every weight is new, everything else is as it was, and stages come in the order they run."""

import copy

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn.functional import linear
from torch.nn.utils.parametrizations import weight_norm

import wam
from wam import sanity, stages
from wam.sanity import cascade, randomize


class Net(nn.Module):
    """Batch normalisation, a shared module, parameters that no module resets, and one of another dtype."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 4)
        self.token = nn.Parameter(5 + 0.1 * torch.randn(1, 2000))
        self.scale = nn.Parameter(torch.full((6,), 1e-3))
        self.temperature = nn.Parameter(torch.tensor(3.0))
        self.wide = nn.Linear(7, 7).double()
        self.shared = self.head
        self.register_buffer("table", torch.arange(4.0), persistent=False)
        self.eval()
        self.norm.train()
        self.conv.bias.requires_grad_(False)
        with torch.no_grad():
            for parameter in self.norm.parameters():
                parameter.uniform_(2, 3)
        self.norm(torch.randn(5, 6, 3, 3) + 4)

    def forward(self, x):
        return self.shared(self.norm(self.conv(x)).mean((2, 3))) * self.temperature


def test_everything_is_drawn_anew_and_nothing_else_changes():
    net = Net()
    before = copy.deepcopy(net.state_dict())
    state = torch.get_rng_state()
    fresh, same, other = (randomize(net, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    for name, value in fresh.named_parameters():
        old = net.get_parameter(name)
        assert value is not old and value.dtype == old.dtype and value.requires_grad == old.requires_grad, name
        assert torch.equal(value, same.get_parameter(name))
        if name not in ("scale", "temperature", "norm.weight", "norm.bias"):
            assert (value != old).all() and (value != other.get_parameter(name)).all(), name
    assert [m.training for m in fresh.modules()] == [m.training for m in net.modules()] and type(fresh) is Net
    assert fresh.shared is fresh.head
    norm = fresh.norm
    assert (norm.weight == 1).all() and (norm.bias == 0).all() and norm.num_batches_tracked == 0
    assert (norm.running_mean == 0).all() and (norm.running_var == 1).all() and (net.norm.running_mean != 0).all()
    assert torch.equal(fresh.table, net.table) and fresh.temperature == 3 and torch.equal(fresh.scale, net.scale)
    assert abs(fresh.token.mean() - 5) < 0.01 and abs(fresh.token.std() - 0.1) < 0.01
    bound = 18**-0.5  # of nn.Conv2d: uniform within 1 / sqrt(fan in)
    assert bound * 0.9 < fresh.conv.weight.abs().max() <= bound


def test_a_module_is_reset_by_its_own_method():
    class Constant(nn.Linear):
        def reset_parameters(self):
            self.weight.data.fill_(7)  # no counter sees a change of .data
            self.bias.data.fill_(-1)

    fresh = randomize(nn.Sequential(Constant(3, 2).double()))
    assert (fresh[0].weight == 7).all() and (fresh[0].bias == -1).all()


@pytest.mark.parametrize("name", ["mobilenet_v2", "deit_tiny"])
def test_real_networks_forget_everything(name):
    model = wam.models.load(name, pretrained=name == "mobilenet_v2").eval()
    before = copy.deepcopy(model.state_dict())
    fresh, other = randomize(model), randomize(model, 1)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    norms = (nn.BatchNorm2d, nn.LayerNorm)
    drawn = 0
    for path, module in fresh.named_modules():
        for key, value in module.named_parameters(recurse=False):
            old, third = (getattr(m.get_submodule(path), key) for m in (model, other))
            if isinstance(module, norms):
                assert (value == (key == "weight")).all()
            else:
                assert (value != old).float().mean() > 0.999 and (value != third).float().mean() > 0.999, (path, key)
                drawn += 1
        if isinstance(module, nn.BatchNorm2d):
            assert (module.running_var == 1).all() and (module.running_mean == 0).all()
    assert drawn == {"mobilenet_v2": 54, "deit_tiny": 102}[name]
    assert torch.equal(fresh.mean, model.mean) and torch.equal(fresh.black, model.black)
    assert fresh.categories == model.categories and not fresh.training


def test_explanations_of_a_randomised_network_exist_and_are_others():
    """The gradient of a deep network is small without training; float32 still holds it."""
    model = wam.models.load("mobilenet_v2")
    x = model.prepare(wam.data.images(2))
    learned = wam.saliency(model, x, frame=wam.Pixel())
    gradients = []
    for seed in (0, 1):
        g = wam.saliency(randomize(model, seed), x, learned.target, frame=wam.Pixel()).attributions.pack()[0]
        assert g.isfinite().all() and (g != 0).float().mean() > 0.999 and g.abs().mean() > 1e-15
        gradients.append(g.flatten())
    gradients.append(learned.attributions.pack()[0].flatten())
    cosines = torch.corrcoef(torch.stack(gradients)) - torch.eye(3)
    assert cosines.abs().max() < 0.1


def test_layers_scaled_by_a_bare_parameter_keep_their_scale():
    net = timm.models.ConvNeXt(depths=(1, 1, 1, 1), dims=(8, 8, 8, 8), num_classes=4, ls_init_value=0.3)
    gamma = randomize(net).stages[0].blocks[0].gamma
    assert torch.equal(gamma, torch.full((8,), 0.3))


def test_in_inference_mode_the_copy_can_still_be_differentiated():
    with torch.inference_mode():
        fresh = randomize(Net())
    assert not fresh.conv.weight.is_inference()
    assert wam.saliency(fresh, torch.randn(1, 2, 8, 8), frame=wam.Pixel()).attributions.pack()[0].any()


def test_what_is_not_a_network_is_refused():
    with pytest.raises(TypeError, match="only a torch.nn.Module has parameters, got function"):
        randomize(lambda x: x)
    with pytest.raises(ValueError, match="seed must be an integer of at least 0, got -1"):
        randomize(nn.Linear(2, 2), -1)


# in which order


class Backwards(nn.Module):
    """Registers its layers in the reverse of the order in which they run, and one that never runs."""

    def __init__(self):
        super().__init__()
        self.unused, self.head = nn.Linear(2, 2), nn.Linear(3, 4)
        self.norm, self.second, self.first = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3), nn.Conv2d(2, 3, 3)

    def forward(self, x):
        return self.head(self.norm(self.second(self.first(x).tanh())).tanh().mean((2, 3)))


class Scaled(nn.Module):
    """A module with a parameter of its own around another one."""

    def __init__(self, inner):
        super().__init__()
        self.gain, self.inner = nn.Parameter(torch.tensor([0.9, 0.4])), inner

    def forward(self, x):
        return self.inner(x * self.gain.mean())


class Alternating(nn.Module):
    """Two lists whose members run in turns; the parameters of the module itself run after its first layers."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(nn.Sequential(nn.BatchNorm2d(4), nn.PReLU()) for _ in range(4))
        self.convs = nn.ModuleList(nn.Conv2d(2 if i == 0 else 4, 4, 1) for i in range(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms):
            x = norm(conv(x))
        return self.head(x.mean((2, 3)))


class PreNorm(nn.Module):
    """A block with parameters of its own, whose first layer is a normalisation."""

    def __init__(self):
        super().__init__()
        self.gamma, self.norm, self.mix = nn.Parameter(torch.rand(4)), nn.LayerNorm(4), nn.Linear(4, 4)

    def forward(self, x):
        return x + self.gamma * self.mix(self.norm(x)).tanh()


class Functional(nn.Module):
    """Computes with the weights of its layers without calling them, as attention does."""

    def __init__(self):
        super().__init__()
        self.unused, self.out, self.query = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        assert self.unused.weight.shape == (4, 4) and self.unused.bias.dtype == x.dtype  # looked at, not used
        return linear(input=linear(x, self.query.weight.T, self.query.bias).tanh(), weight=self.out.weight)


class Resident(nn.Module):
    """Calls layers of a part before the part itself."""

    def __init__(self):
        super().__init__()
        self.part, self.head = Scaled(nn.Linear(4, 4)), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.part.inner(x).tanh()) + self.part(x)[:, :3]


def pooled(*modules, width=4):
    return nn.Sequential(nn.Conv2d(2, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), *modules)


def vit():
    """One patch more than a class token: a layer whose head starts at zero is drawn, so that gradients are not zero."""
    net = torchvision.models.VisionTransformer(8, 4, 2, 2, 8, 16, num_classes=5)
    nn.init.normal_(net.heads.head.weight)
    return nn.Sequential(nn.Conv2d(2, 3, 1), net)


def swin():
    net = torchvision.models.SwinTransformer([2, 2], 8, [1, 1], [2, 2], [2, 2], num_classes=5, stochastic_depth_prob=0)
    return nn.Sequential(nn.Conv2d(2, 3, 1), net)


NETWORKS = {
    "backwards": Backwards,
    "own parameters": lambda: Scaled(Scaled(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(108, 4)))),
    "alternating": Alternating,
    "pre-norm": lambda: pooled(PreNorm(), PreNorm(), nn.Linear(4, 3)),
    "functional": lambda: pooled(Functional(), nn.Linear(4, 3)),
    "resident": lambda: pooled(Resident()),
    "weight norm": lambda: nn.Sequential(weight_norm(nn.Conv2d(2, 3, 3)), nn.Flatten(), weight_norm(nn.Linear(108, 2))),
    "vit": vit,
    "swin": swin,
    "net": Net,
}
X = torch.linspace(-1, 1, 128).view(1, 2, 8, 8)


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def network(request):
    """Trained, so to say: no parameter, and no statistic, is what a reset would make of it."""
    net = request.param()
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.1 * torch.randn_like(value) + 0.01)
    net.train()(torch.randn(3, *X.shape[1:]))
    return net.eval()


def state(model):
    """Everything that may not change: tensors, flags, hooks, and the random state of the caller."""
    tensors = {name: value.clone() for name, value in [*model.named_parameters(), *model.named_buffers()]}
    flags = [m.training for m in model.modules()] + [p.requires_grad for p in model.parameters()]
    hooks = [list(m._forward_pre_hooks) + list(m._forward_hooks) for m in model.modules()]
    return tensors, flags, hooks, torch.get_rng_state()


def assert_same_state(before, after):
    assert before[1:3] == after[1:3] and torch.equal(before[3], after[3]) and list(before[0]) == list(after[0])
    assert all(torch.equal(value, after[0][name]) for name, value in before[0].items())


def own(model, layer):
    module = model.get_submodule(layer)
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def same(one, other, layer):
    return all(torch.equal(a, b) for a, b in zip(own(one, layer), own(other, layer), strict=True))


def owners(model):
    return [name for name, m in model.named_modules() if next(m.parameters(recurse=False), None) is not None]


def used(model, x):
    """The modules of whose parameters the scores are a function, as automatic differentiation sees it."""
    model = copy.deepcopy(model).requires_grad_(True)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    gradients = torch.autograd.grad(model(x).square().sum(), list(parameters.values()), allow_unused=True)
    found = {name.rpartition(".")[0] for name, g in zip(parameters, gradients) if g is not None}
    return found & {name for name, _ in model.named_modules()}  # a shared module has one name


def test_layers_are_in_the_order_in_which_they_run():
    assert stages.layers(Backwards(), X) == ["first", "second", "norm", "head"]
    alternating = [name for i in range(4) for name in (f"convs.{i}", f"norms.{i}.0", f"norms.{i}.1")]
    assert stages.layers(Alternating(), X) == [*alternating, "head"]
    assert stages.layers(NETWORKS["own parameters"](), X) == ["", "inner", "inner.inner.0", "inner.inner.2"]
    assert stages.layers(NETWORKS["functional"](), X) == ["0", "3.query", "3.out", "4"]
    assert stages.layers(NETWORKS["resident"](), X) == ["0", "3.part.inner", "3.head", "3.part"]


def test_a_shared_module_is_one_layer_where_it_first_runs():
    shared = nn.Linear(4, 4)
    assert stages.layers(pooled(shared, nn.Tanh(), nn.Linear(4, 4), shared), X) == ["0", "3", "5"]
    assert stages.layers(Net(), X) == ["", "conv", "norm", "head"]  # run as ``shared``; ``wide`` never runs


def test_a_layer_that_never_runs_is_none_although_it_shares_a_parameter():
    net = Backwards()
    net.unused.weight = net.head.weight
    assert stages.layers(net, X) == ["first", "second", "norm", "head"]


def test_layers_are_what_the_scores_depend_on(network):
    found = stages.layers(network, X)
    assert len(found) == len(set(found)) and set(found) == used(network, X)


def test_layers_of_recurrent_attentive_and_bufferless_modules():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.norm = nn.LSTM(8, 4, num_layers=2), nn.BatchNorm1d(4, affine=False)
            self.attention = nn.MultiheadAttention(4, 2)

        def forward(self, x):
            h = self.cell(x[:, 0].transpose(0, 1))[0]
            return self.norm(self.attention(h, h, h)[0].mean(0))

    assert stages.layers(Recurrent(), X) == ["cell", "attention", "attention.out_proj", "norm"]
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)  # has a fast path that calls none of its layers
    net = nn.Sequential(nn.Flatten(1, 2), encoder, nn.Flatten(), nn.Linear(128, 2)).eval()
    assert set(stages.layers(net, X)) == used(net, X) == set(owners(net))


def test_the_given_network_is_left_alone(network):
    calls = []
    network.register_forward_pre_hook(lambda *_: calls.append(1))
    network.train()
    before = state(network)
    stages.layers(network, X)
    stages.stages(network, X, 3)
    for order in sanity.ORDERS:
        list(cascade(network, X, order))
    assert_same_state(before, state(network))


def test_the_trace_draws_nothing_from_the_generator_of_the_caller():
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(x + torch.randn_like(x))

    before = torch.get_rng_state()
    assert stages.layers(pooled(Noisy(4, 2)), X) == ["0", "3"]
    torch.set_rng_state(before)
    net = pooled(Noisy(4, 2))
    after = torch.get_rng_state()
    list(cascade(net, X))
    assert torch.equal(after, torch.get_rng_state())


def test_only_the_first_input_runs():
    class One(nn.Conv2d):
        def forward(self, x):
            assert len(x) == 1 and not self.training and not torch.is_grad_enabled()
            return super().forward(x)

    assert stages.layers(One(2, 3, 3).train(), X.expand(5, -1, -1, -1)) == [""]


def test_what_has_no_layers_is_refused(recorder):
    with pytest.raises(ValueError, match="Recorder has no layer to randomize: none of the modules that run"):
        stages.layers(recorder(2, 8, 8, dtype=torch.float32), X)
    with pytest.raises(TypeError, match="only a torch.nn.Module has layers, got function; wrap it in one"):
        stages.stages(lambda x: x, X)
    unused = nn.Sequential(nn.Flatten())
    unused.forgotten = nn.Linear(2, 2)
    unused.forward = lambda x: x.flatten(1)
    with pytest.raises(ValueError, match="Sequential has no layer"):
        list(cascade(unused, X))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("compiled", [torch.jit.script, lambda net: torch.jit.trace(net, X)], ids=["script", "trace"])
def test_torchscript_is_refused(compiled):
    net = compiled(pooled(nn.Linear(4, 3)).eval())
    for function in (stages.layers, stages.stages, cascade):
        with pytest.raises(
            TypeError, match="the model is compiled by TorchScript and cannot be reset; give the module"
        ):
            function(net, X)
        with pytest.raises(TypeError, match="0.inner is compiled by TorchScript"):
            function(nn.Sequential(Scaled(net), nn.Linear(3, 3)), X)


# stages


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ["conv1", *(f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)), "fc"]),
        ("efficientnet_lite0", ["conv_stem", *(f"blocks.{i}" for i in range(7)), "conv_head", "classifier"]),
    ],
)
def test_stages_of_real_networks(name, expected):
    net = wam.models.load(name, pretrained=False)
    found = stages.stages(net, torch.zeros(1, 3, 64, 64))
    assert [stage.name for stage in found] == expected
    assert [layer for stage in found for layer in stage.layers] == stages.layers(net, torch.zeros(1, 3, 64, 64))
    for stage in found[1:-1]:
        if stage.name != "conv_head":
            assert all(layer.startswith(f"network.{stage.name}.") for layer in stage.layers)
    norm = "network.bn1"
    assert found[0].layers == (f"network.{expected[0]}", norm) and found[-1].layers == (f"network.{expected[-1]}",)


@pytest.mark.parametrize("name", ["mobilenet_v2", "deit_tiny", "resnet18"])
def test_every_layer_of_real_networks_is_in_one_stage(name):
    net = wam.models.load(name, pretrained=False)
    x = torch.zeros(1, 3, *((224, 224) if name == "deit_tiny" else (32, 32)))
    layers = stages.layers(net, x)
    assert set(layers) == set(owners(net))
    if name == "deit_tiny":
        assert layers[:2] == ["network", "network.patch_embed.proj"]  # the class token is a parameter of the network
    for count in (1, 2, 7, 10, None):
        found = stages.stages(net, x, count)
        assert [layer for stage in found for layer in stage.layers] == layers
        assert len({stage.name for stage in found}) == len(found) == (count or len(layers))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 1000, None])
def test_every_layer_is_in_one_stage_in_order(network, count):
    layers = stages.layers(network, X)
    found = stages.stages(network, X, count)
    assert [layer for stage in found for layer in stage.layers] == layers
    assert all(stage.layers for stage in found) and len({stage.name for stage in found}) == len(found)
    if count is None:
        assert [stage.layers for stage in found] == [(layer,) for layer in layers]
    else:
        assert 1 <= len(found) <= min(count, len(layers))


def test_how_stages_are_joined():
    net = nn.Sequential(*(nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)) for _ in range(7)))
    net = nn.Sequential(net, nn.Flatten(), nn.Linear(128, 3))
    assert [s.name for s in stages.stages(net, X, 1)] == ["model"]
    assert [s.name for s in stages.stages(net, X, 2)] == ["0", "2"]
    assert [s.name for s in stages.stages(net, X, 4)] == ["0.0 to 2", "0.3 to 4", "0.5 to 6", "2"]
    assert [s.layers for s in stages.stages(net, X, 4)][1] == ("0.3.0", "0.3.1", "0.4.0", "0.4.1")
    assert [s.name for s in stages.stages(net, X, 100)] == [*(f"0.{i}.0" for i in range(7)), "2"]
    found = [s.name for s in stages.stages(nn.Sequential(net[0], nn.Flatten()), X, 3)]
    assert found == ["0 to 2", "3 to 5", "6"]  # without what all names begin with


def test_what_runs_in_turns_is_in_turns_in_stages():
    found = stages.stages(Alternating(), X, 5)
    turns = [(f"convs.{i}", (f"convs.{i}", f"norms.{i}.0", f"norms.{i}.1")) for i in range(4)]
    assert found == tuple(stages.Stage(*turn) for turn in [*turns, ("head", ("head",))])
    names = [stage.name for stage in stages.stages(Alternating(), X, 3)]
    assert names == ["convs.0 to 1", "convs.2 to 3", "head"]


def test_a_network_that_is_one_layer():
    net = nn.Conv2d(2, 3, 3)
    assert stages.stages(net, X) == (stages.Stage("model", ("",)),)
    assert stages.stages(net, X, None) == (stages.Stage("Conv2d", ("",)),)


@pytest.mark.parametrize("count", [0, -1, 2.0, True, "all"])
def test_counts_that_are_none(count):
    with pytest.raises(ValueError, match=f"count must be an integer of at least 1, got {count!r}"):
        stages.stages(Backwards(), X, count)
    with pytest.raises(ValueError, match="count must be"):
        cascade(Backwards(), X, count=count)


# cascades


@pytest.mark.parametrize("count", [3, None])
@pytest.mark.parametrize("order", sanity.ORDERS)
def test_each_depth_has_the_stages_drawn_anew_that_it_should(network, order, count):
    before, plan = state(network), stages.stages(network, X, count)
    fresh = randomize(network, 3)
    (name, intact), *depths = cascade(network, X, order, count, seed=3)
    assert_same_state(before, state(network))
    assert name == "intact" and all(same(intact, network, layer) for layer in owners(network))
    expected = list(plan[::-1] if order == "top-down" else plan)
    assert [name for name, _ in depths] == [stage.name for stage in expected]
    for depth, (_, net) in enumerate(depths):
        anew = expected[depth : depth + 1] if order == "independent" else expected[: depth + 1]
        drawn = {layer for stage in anew for layer in stage.layers}
        for layer in owners(network):
            assert same(net, fresh if layer in drawn else network, layer), (depth, layer)
        assert any(not same(net, network, layer) for layer in expected[depth].layers)
        assert [m.training for m in net.modules()] == [m.training for m in network.modules()]
        assert not {p.data_ptr() for p in net.parameters()} & {p.data_ptr() for p in network.parameters()}


def test_both_cascades_end_at_the_randomized_network(network):
    down, up = (list(cascade(network, X, order, 4, seed=1))[-1][1] for order in ("top-down", "bottom-up"))
    fresh, running = randomize(network, 1), stages.layers(network, X)
    assert torch.equal(down(X), up(X)) and torch.equal(down(X), fresh(X)) and not torch.equal(down(X), network(X))
    for layer in owners(network):
        assert same(down, up, layer) and same(down, fresh if layer in running else network, layer)


def test_the_orders_go_from_the_output_and_from_the_input():
    names = {order: [name for name, _ in cascade(Backwards(), X, order)] for order in sanity.ORDERS}
    assert names["top-down"] == ["intact", "head", "second", "first"]
    assert names["bottom-up"] == names["independent"] == ["intact", "first", "second", "head"]


def test_statistics_are_reset_with_their_layer_and_not_before():
    net = Backwards().train()
    for _ in range(3):
        net(torch.randn(4, 2, 8, 8) + 1)
    depths = dict(cascade(net, X))
    for name in ("intact", "head"):
        norm = depths[name].norm
        assert norm.num_batches_tracked == 3 and torch.equal(norm.running_mean, net.norm.running_mean)
        assert torch.equal(norm.running_var, net.norm.running_var) and (norm.running_mean != 0).all()
    for name in ("second", "first"):
        norm = depths[name].norm
        assert norm.num_batches_tracked == 0 and (norm.running_mean == 0).all() and (norm.running_var == 1).all()


def test_shared_parameters_are_drawn_with_the_first_stage_that_has_them_and_stay_shared():
    net = pooled(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    net[5].weight = net[3].weight
    fresh = randomize(net)
    assert fresh[5].weight is fresh[3].weight
    for order, expected in (("top-down", ("7", "5", "3", "0")), ("bottom-up", ("0", "3", "5", "7"))):
        _, *depths = cascade(net, X, order)
        assert tuple(name for name, _ in depths) == expected
        first = min(expected.index("5"), expected.index("3"))
        for depth, (_, part) in enumerate(depths):
            assert part[5].weight is part[3].weight
            assert torch.equal(part[3].weight, (fresh if depth >= first else net)[3].weight)
            for layer in ("3", "5"):
                bias = (fresh if depth >= expected.index(layer) else net).get_submodule(layer).bias
                assert torch.equal(part.get_submodule(layer).bias, bias)


def test_frozen_parameters_are_drawn_too_and_stay_frozen():
    net = Backwards().eval()
    net.second.requires_grad_(False)
    net.head.bias.requires_grad_(False)
    *_, (_, last) = cascade(net, X)
    assert (last.second.weight != net.second.weight).all() and (last.head.bias != net.head.bias).all()
    assert [p.requires_grad for p in last.parameters()] == [p.requires_grad for p in net.parameters()]


@pytest.mark.parametrize("order", sanity.ORDERS)
def test_depths_do_not_share_memory(order):
    net = Backwards()
    expected = {name: part.first.weight.clone() for name, part in cascade(net, X, order)}
    for name, part in cascade(net, X, order):
        assert torch.equal(part.first.weight, expected[name])
        with torch.no_grad():
            for value in part.parameters():
                value.fill_(float("nan"))


def test_seeds_of_a_cascade():
    net = Backwards()
    one, again, other = ([p.first.weight for _, p in cascade(net, X, seed=seed)] for seed in (0, 0, 1))
    assert all(map(torch.equal, one, again)) and torch.equal(one[0], other[0]) and not torch.equal(one[-1], other[-1])
    with pytest.raises(ValueError, match="seed must be an integer of at least 0, got -1"):
        cascade(net, X, seed=-1)


def test_in_inference_mode_every_depth_can_still_be_differentiated():
    net = Backwards()
    for order in sanity.ORDERS:
        with torch.inference_mode():
            for name, part in cascade(net, X, order):
                e = wam.saliency(part, X, frame=wam.Pixel())
                assert e.attributions.pack()[0].any(), (order, name)
                assert torch.is_inference_mode_enabled()


def test_unknown_orders_are_refused_at_once():
    with pytest.raises(ValueError, match="unknown order 'upwards'; choose one of top-down, bottom-up, independent"):
        cascade(Backwards(), X, "upwards")


def test_parameters_of_integers_are_kept_and_complex_ones_are_drawn():
    net = nn.Sequential(nn.Linear(2, 2))
    net.table = nn.Parameter(torch.tensor([3, 4]), requires_grad=False)
    net.spectrum = nn.Parameter(torch.complex(torch.zeros(500), torch.full((500,), 8.0)))
    fresh = randomize(net)
    assert torch.equal(fresh.table, net.table) and not torch.equal(fresh[0].weight, net[0].weight)
    values = torch.view_as_real(fresh.spectrum.detach())
    assert abs(values.mean() - 4) < 0.5 and abs(values.std(correction=0) - 4) < 0.5
