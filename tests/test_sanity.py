"""Randomised networks: every weight is new, everything else is as it was."""

import copy

import pytest
import timm
import torch
from torch import nn

import wam
from wam.sanity import randomize


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
    with pytest.raises(TypeError, match="only a torch.nn.Module has parameters to draw anew, got function"):
        randomize(lambda x: x)
    with pytest.raises(ValueError, match="seed must be an integer of at least 0, got -1"):
        randomize(nn.Linear(2, 2), -1)
