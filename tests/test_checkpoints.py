"""Published checkpoints: files in their true formats, what pickles try, and the networks that come out."""

import contextlib
import functools
import os
import pickle
import re
import struct
import subprocess
import sys
import tarfile
import types
import warnings
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision.models import resnet50

import wam.models
from wam import checkpoints
from wam.checkpoints import Normalisation, fit, read

pytestmark = pytest.mark.filterwarnings("error")

FORMATS = {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}}
every_format = pytest.mark.parametrize("options", FORMATS.values(), ids=FORMATS)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 4, 3), bn1=nn.BatchNorm2d(4), fc=nn.Linear(4, 5)))


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


def madry(state, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)):
    """The state dict of the parallel AttackerModel of ``robustness``: normaliser, network, and both in the attacker."""
    mean, std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
    whole = OrderedDict({"module.normalizer.new_mean": mean, "module.normalizer.new_std": std})
    whole |= prefixed(state, "module.model.")
    whole |= {"module.attacker.normalize.new_mean": mean, "module.attacker.normalize.new_std": std}
    return whole | prefixed(state, "module.attacker.model.")


def equal(one, two):
    return set(one) == set(two) and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture
def foreign():
    """Objects of classes that are there when they are pickled, and are not when they are loaded."""
    module = types.ModuleType("a_laboratory.tools")
    code = """
class Parameters:  # a plain object, with its state in __dict__
    def __init__(self, **items): self.__dict__.update(items)
class Slots:  # with its state in slots
    __slots__ = ("eps",)
class Meter(dict): pass
class Log(list): pass
class Bag(set): pass
class New:
    def __new__(cls, x, *, y): return object.__new__(cls)
    def __getnewargs_ex__(self): return (1,), {"y": 2}
class Class(type): pass
class Made(metaclass=Class):  # a class that another one is made from, as dill stores those of scripts
    def __reduce__(self): return make, (Class, "Made"), {"eps": 4}
def make(kind, name): return kind
def step(x): return x
class Nested(dict):  # items whose values are foreign too
    def __reduce__(self): return Nested, (), {"a": 1}, iter([step]), iter([("k", Slots())])
    def append(self, item): pass
"""
    exec(code, module.__dict__)
    for value in vars(module).values():
        if isinstance(value, type) or callable(value):
            value.__module__ = module.__name__
    sys.modules |= {"a_laboratory": types.ModuleType("a_laboratory"), module.__name__: module}
    slots = module.Slots()
    slots.eps = 4 / 255
    yield {
        "args": module.Parameters(constraint="inf", eps=4 / 255, inner=module.Parameters(sizes=[1, 2])),
        "slots": slots,
        "meter": module.Meter(prec1=torch.tensor(60.0)),
        "log": module.Log([1, module.Log([2])]),
        "bag": module.Bag({1, 2}),
        "new": module.New(1, y=2),
        "made": module.Made(),
        "step": module.step,
        "network": network(),
        "nested": module.Nested(),
        module.Parameters(): "as a key",
        "in a set": {module.step, 3},
        "defaults": defaultdict(list, a=[1]),
        "numpy": (np.float64(3.5), np.arange(3), np.dtype("int8")),
        "types": (torch.float16, torch.device("cpu"), torch.Size([1]), bytes(3), complex(1, 2), slice(3)),
    }
    for name in ("a_laboratory", module.__name__):
        sys.modules.pop(name, None)


def forget():
    for name in ("a_laboratory", "a_laboratory.tools"):
        del sys.modules[name]


# --- reading ----------------------------------------------------------------------------------------------------------


@every_format
def test_foreign_objects_do_not_keep_the_tensors_from_being_read(tmp_path, options, foreign):
    state = network().state_dict()
    optimizer = torch.optim.SGD(network().parameters(), 0.1, momentum=0.9).state_dict()
    contents = {**foreign, "model": madry(state), "optimizer": optimizer, "schedule": {"lr_lambdas": [foreign["made"]]}}
    torch.save(contents, path := tmp_path / "a.pt", **options)
    forget()
    with pytest.raises(ModuleNotFoundError, match="a_laboratory"):
        torch.load(path, weights_only=False)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    found = read(path)
    assert list(found) == list(madry(state)) and equal(found, madry(state))
    assert type(found) is dict and {type(value) for value in found.values()} == {torch.Tensor}
    assert not [name for name in sys.modules if name.startswith("a_laboratory")]


@every_format
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_pickles_is_read(tmp_path, options, protocol, foreign):
    contents = {**foreign, "state_dict": network().state_dict()}
    torch.save(contents, path := tmp_path / "a.pt", pickle_protocol=protocol, **options)
    forget()
    assert equal(read(path), network().state_dict())


@every_format
def test_what_kinds_of_tensors_there_are(tmp_path, options):
    half = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)
    marked = nn.Parameter(torch.ones(2))
    marked.layout_hint = "b"  # stored by another function than a parameter without attributes
    state = {
        "parameter": nn.Parameter(torch.randn(2, 3)),
        "marked": marked,
        "with gradient": torch.ones(2, requires_grad=True),
        "transposed": half.T,
        "view": half[1, 1:],
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "mask": torch.tensor([True, False]),
        "float16": torch.randn(3).half(),
        "float64": torch.randn(3).double(),
        "complex": torch.randn(3, dtype=torch.complex64).conj(),
    }
    torch.save(state, path := tmp_path / "a.pt", **options)
    found = read(path)
    assert equal(found, state) and not any(value.requires_grad for value in found.values())
    assert [value.dtype for value in found.values()] == [value.dtype for value in state.values()]


@every_format
def test_tensors_as_the_first_versions_of_torch_stored_them(tmp_path, options):
    numbers = torch.arange(6.0)
    old = Call(torch._utils._rebuild_tensor, numbers._typed_storage(), 1, (2, 2), (2, 1))
    torch.save({"old": old}, path := tmp_path / "a.pt", **options)
    assert equal(read(path), {"old": torch.tensor([[1.0, 2.0], [3.0, 4.0]])})


@every_format
@pytest.mark.parametrize("container", ["state_dict", "model", "net", "state_dict_ema"])
def test_the_largest_mapping_is_found_wherever_it_is(tmp_path, options, container):
    state = network().state_dict()
    adam = torch.optim.Adam((other := network(2)).parameters())
    other.fc(torch.ones(4)).sum().backward()
    adam.step()
    inner = {container: state, "best_prec1": torch.tensor(60.0), "arch": "resnet50", "epoch": 90}
    others = {"optimizer": adam.state_dict(), "one": {"a": torch.zeros(1)}}
    for outer in (inner, [others, inner], (None, inner, others), {3: inner, **others}, {"a": {"b": ({}, [inner])}}):
        torch.save(outer, path := tmp_path / "a.pt", **options)
        assert equal(read(path), state)
    (endless := [inner]).append(endless)
    torch.save(endless, path, **options)
    assert equal(read(path), state)
    torch.save(state, path, **options)
    assert equal(read(path), state)


def test_the_first_of_equally_large_mappings_counts(tmp_path):
    first, second = network(1).state_dict(), network(2).state_dict()
    torch.save({"state_dict": first, "state_dict_ema": second}, path := tmp_path / "a.pt")
    assert equal(read(path), first) and not equal(first, second)


def test_safetensors_are_read_under_any_name(tmp_path):
    state = network().state_dict()
    save_file(state, path := tmp_path / "weights.pt", {"of": "a test"})
    assert equal(read(str(path)), state)


# --- what a pickle may try --------------------------------------------------------------------------------------------


class Call:
    """What comes out of a pickle is the result of this call."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced

    def __call__(self):
        """Only what can be called may stand for a function."""


HARMS = {
    "a function": lambda folder: Call(os.mkdir, folder),
    "code": lambda folder: Call(exec, f"import os; os.mkdir({folder!r})"),
    "a process": lambda folder: Call(subprocess.call, ["mkdir", folder]),
    "an attribute": lambda folder: Call(Call(getattr, Call(__import__, "os"), "mkdir"), folder),
    "a partial": lambda folder: Call(Call(functools.partial, os.mkdir, folder)),
    "a method": lambda folder: Call(Path.mkdir, Path(folder)),
    "a type of tensors": lambda folder: Call(
        torch._tensor._rebuild_from_type_v2, os.mkdir, torch.Tensor, (folder,), {}
    ),
    "a name in torch": lambda folder: Call(torch.save, 1, folder),
}


@every_format
@pytest.mark.parametrize("harm", HARMS)
def test_nothing_in_a_file_is_run(tmp_path, options, harm):
    ran, state = tmp_path / "ran", network().state_dict()
    torch.save({"model": state, "harm": HARMS[harm](str(ran))}, path := tmp_path / "a.pt", **options)
    assert equal(read(path), state) and not ran.exists()
    with contextlib.suppress(AttributeError):  # what mkdir returns is no tensor
        torch.load(path, weights_only=False)
    assert ran.exists(), "the file does nothing even where it may"


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def legacy(path, *opcodes):
    """A file in the format of before 1.6 whose object is what these opcodes build."""
    parts = [torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, {}]
    before, after = b"".join(pickle.dumps(part, 2) for part in parts), pickle.dumps([], 2)
    path.write_bytes(before + b"\x80\x02" + b"".join(opcodes) + b"." + after)


def test_a_file_cannot_have_torch_write_one(tmp_path):
    path, target = tmp_path / "a.pt", tmp_path / "written"
    function = b"ctorch._utils\n_rebuild_tensor_v2\nq\x00"
    attributes = text("__name__") + text(str(target)) + text("dump_patches") + b"\x88"
    renamed = function + b"N}(" + attributes + b"u\x86b0"
    changed = b"(" + text("module") + b"h\x00" + text("a.py") + text("not its source") + b"tQ"
    legacy(path, renamed, changed)
    code = f"import torch; torch.load({str(path)!r}, weights_only=False)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    written = target.with_suffix(".patch")
    assert "not its source" in written.read_text(), "the file does nothing even where it may"
    written.unlink()
    with pytest.raises(ValueError, match="no mapping of names to tensors"):
        read(path)
    assert not written.exists() and torch._utils._rebuild_tensor_v2.__name__ == "_rebuild_tensor_v2"


@pytest.mark.parametrize("name", [b"torch._utils\n_rebuild_tensor_v2", b"collections\nOrderedDict", b"os\nsystem"])
def test_a_file_cannot_change_what_it_names(tmp_path, name):
    module, attribute = name.decode().split("\n")
    real, named = getattr(sys.modules[module], attribute), b"c" + name + b"\n"
    legacy(tmp_path / "a.pt", named, b"}(", text("mark"), text("x"), b"ub0", named, b"N}(", text("mark"), b"Nu\x86b")
    with pytest.raises(ValueError, match="no mapping of names to tensors"):
        read(tmp_path / "a.pt")
    assert not hasattr(real, "mark")
    assert not hasattr(checkpoints._INERT, "mark")
    assert not any(hasattr(allowed, "mark") for allowed in checkpoints._ALLOWED.values())


def test_attributes_of_a_state_dict_do_not_come_along(tmp_path):
    state = network().state_dict()
    state.values = "hides the method"
    torch.save(state, path := tmp_path / "a.pt")
    assert equal(read(path), network().state_dict())


def test_programs_in_torchscript_are_refused(tmp_path):
    with warnings.catch_warnings(action="ignore"):
        torch.jit.script(nn.Linear(2, 2)).save(path := tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt cannot be read as a checkpoint.*a program in TorchScript"):
        read(path)


def test_archives_are_not_unpacked(tmp_path):
    with tarfile.open(path := tmp_path / "a.pt", "w", format=tarfile.GNU_FORMAT) as archive:
        for name in ("\udc80\x02", "storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name))
    assert path.read_bytes().startswith(b"\x80\x02")  # as a pickle does
    with pytest.raises(ValueError, match=r"a\.pt is no checkpoint: it begins with b'\\x80\\x02"):
        read(path)


# --- what is no checkpoint --------------------------------------------------------------------------------------------


@every_format
def test_a_file_that_is_cut_off(tmp_path, options):
    torch.save({"model": network().state_dict()}, path := tmp_path / "a.pt", **options)
    whole = path.read_bytes()
    for length in (10, len(whole) // 3, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.pt cannot be read as a checkpoint, it may be cut off: \S.*again"):
            read(path)


def test_a_safetensors_file_that_is_cut_off(tmp_path):
    save_file(network().state_dict(), path := tmp_path / "a.safetensors")
    whole = path.read_bytes()
    for length in (9, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.safetensors cannot be read as a checkpoint, it may be cut off: \S"):
            read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.pt is empty\. Download it again"),
        (b"\n<!DOCTYPE html><html>Google Drive - Virus scan warning</html>", r"a\.pt is a web page\. Download"),
        (b"<html", r"a\.pt is a web page"),
        (b"PK", r"a\.pt is no checkpoint: it begins with b'PK'"),
        (b"version https://git-lfs", r"a\.pt is no checkpoint: it begins with b'version h'\. .*torch\.save"),
        (pickle.dumps({"a": 1}, 4), r"a\.pt cannot be read as a checkpoint.*magic number"),
        (b"\x80\x02" + bytes(100), r"a\.pt cannot be read as a checkpoint"),
        (bytes(8) + b"{}", r"a\.pt cannot be read as a checkpoint"),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path, content, message):
    (path := tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(path)


def test_an_archive_of_something_else(tmp_path):
    with zipfile.ZipFile(path := tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "not a checkpoint")
    with pytest.raises(ValueError, match=r"a\.zip cannot be read as a checkpoint"):
        read(path)


@every_format
def test_files_without_a_state_dict(tmp_path, options):
    for contents in (network(), {"epoch": 3}, [torch.zeros(3)], {1: torch.zeros(3)}, {}, 5):
        torch.save(contents, path := tmp_path / "a.pt", **options)
        with pytest.raises(ValueError, match=r"a\.pt holds no mapping of .*state_dict"):
            read(path)


def test_where_there_is_no_file(tmp_path):
    for path in (tmp_path / "a.pt", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"there is no file {path}: give the path"):
            read(path)


# --- fitting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "net.", "1.", "module.1.", "module.model.", "_orig_mod."])
def test_the_prefix_is_found(prefix):
    state, other = network(1).state_dict(), network(2)
    assert fit(prefixed(state, prefix), other) is None
    assert equal(other.state_dict(), state)


def test_a_network_in_a_network_of_the_same_names():
    inner, outer = network(1), nn.Module()
    outer.fc, outer.conv1, outer.bn1 = network(2), network(3), inner
    torch.manual_seed(0)
    whole, other = nn.ModuleDict({"conv1": outer}), nn.ModuleDict({"conv1": nn.Module()})
    other.conv1.fc, other.conv1.conv1, other.conv1.bn1 = network(4), network(5), network(6)
    assert fit(prefixed(whole.state_dict(), "module."), other) is None
    assert equal(other.state_dict(), whole.state_dict())


def test_madrys_state_dict_fits_with_its_normalisation():
    state, other = network(1).state_dict(), network(2)
    scale = fit(madry(state, (0.5, 0.25, 0.125), (1.0, 0.75, 0.5)), other)
    assert scale == Normalisation((0.5, 0.25, 0.125), (1.0, 0.75, 0.5)) == ((0.5, 0.25, 0.125), (1.0, 0.75, 0.5))
    assert equal(other.state_dict(), state)


@pytest.mark.parametrize("names", ["0.mean 0.std", "mean std", "module.normalize._mean module.normalize._std"])
@pytest.mark.parametrize("shape", [(3,), (3, 1, 1), (1, 3, 1, 1)])
def test_normalisations_are_found_under_many_names(names, shape):
    tensors = (torch.tensor([0.5, 0.25, 0.125]).view(shape), torch.tensor([1.0, 0.75, 0.5]).view(shape))
    state, other = prefixed(network(1).state_dict(), "module.1."), network(2)
    assert fit({**dict(zip(names.split(), tensors)), **state}, other) == ((0.5, 0.25, 0.125), (1.0, 0.75, 0.5))
    assert equal(other.state_dict(), network(1).state_dict())


def test_of_a_tensor_in_single_precision_the_very_numbers_come_out():
    mean, std = fit(madry(network().state_dict()), network())
    assert torch.equal(torch.tensor(mean), torch.tensor([0.485, 0.456, 0.406]))
    assert torch.equal(torch.tensor(std), torch.tensor([0.229, 0.224, 0.225]))


def test_a_network_with_a_normalisation_of_its_own_keeps_it():
    class Normalised(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.net = network()
            self.register_buffer("mean", torch.full((3,), value))
            self.register_buffer("std", torch.full((3,), value))

    other = Normalised(0.25)
    assert fit(prefixed(Normalised(0.5).state_dict(), "module."), other) is None
    assert torch.equal(other.mean, torch.full((3,), 0.5))


def test_num_batches_tracked_may_be_missing():
    old, other = network(1).state_dict(), network(2)
    del old["bn1.num_batches_tracked"]
    other.bn1.num_batches_tracked += 3
    assert fit(madry(old), other) is not None
    assert other.bn1.num_batches_tracked == 3
    assert all(torch.equal(other.state_dict()[name], value) for name, value in old.items())


def test_half_precision_is_widened():
    other, state = network(2), {name: value.half() for name, value in network(1).state_dict().items()}
    fit(state, other)
    assert {parameter.dtype for parameter in other.parameters()} == {torch.float32}
    assert torch.equal(other.fc.weight, state["fc.weight"].float())


def refusal(state):
    """What ``fit`` says of a state dict that it refuses; the network is left as it was."""
    other = network(2)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(ValueError) as error:
        fit(state, other)
    assert equal(other.state_dict(), before)
    return str(error.value)


def test_missing_tensors_are_named():
    state = madry(network().state_dict())
    for copy in ("module.model.", "module.attacker.model."):
        del state[f"{copy}fc.bias"]
    assert re.search(
        r"the 20 tensors do not fit the 9 of Sequential behind the prefix 'module\.model\.': 1 missing \(fc\.bias\)",
        refusal(state),
    )
    assert re.search(
        r"prefix '': 8 missing \(conv1\.weight, conv1\.bias, bn1\.weight, \.\.\.\); 1 unexpected \(a\.b\)",
        refusal({"a.b": torch.zeros(1)}),
    )
    assert re.search(r"the 0 tensors .* 8 missing .*Give a checkpoint of this architecture", refusal({}))


def test_unexpected_tensors_are_named():
    state = madry(network().state_dict())
    assert re.search(
        r"'module\.model\.': 1 unexpected \(module\.model\.fc2\.bias\)\.",
        refusal(state | {"module.model.fc2.bias": torch.zeros(1)}),
    )
    assert re.search(
        r": 1 unexpected \(module\.fc\.bias\)\.", refusal(state | {"module.fc.bias": state["module.model.fc.bias"]})
    )
    assert re.search(r": 1 unexpected \(module\.mean\)\.", refusal(state | {"module.mean": torch.zeros(3)}))
    assert re.search(
        r": 2 unexpected \(a\.mean, a\.std\)\.", refusal(state | {"a.mean": torch.zeros(4), "a.std": torch.ones(4)})
    )
    assert re.search(
        r": 2 unexpected \(a\.mean, b\.std\)\.", refusal(state | {"a.mean": torch.zeros(3), "b.std": torch.ones(3)})
    )


def test_two_different_networks_are_one_too_many():
    state = prefixed(network(1).state_dict(), "student.") | prefixed(network(3).state_dict(), "teacher.")
    assert re.search(
        r"prefix 'student\.': 4 unexpected \(teacher\.conv1\.weight, teacher\.conv1\.bias, teacher\.fc\.\w+, \.\.\.\)",
        refusal(state),
    )
    state = madry(network().state_dict())
    state["module.attacker.model.fc.bias"] = state["module.attacker.model.fc.bias"] + 1
    assert re.search(r"1 unexpected \(module\.attacker\.model\.fc\.bias\)", refusal(state))
    state["module.attacker.model.fc.bias"] = state["module.model.fc.bias"].double()
    assert re.search(r"1 unexpected \(module\.attacker\.model\.fc\.bias\)", refusal(state))


def test_other_shapes_are_named():
    state = prefixed(network().state_dict(), "module.")
    state["module.fc.weight"] = torch.zeros(10, 4)
    assert re.search(
        r"prefix 'module\.': 1 of another shape \(fc\.weight \(10, 4\) instead of \(5, 4\)\)\.", refusal(state)
    )


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((123.675, 116.28, 103.53), (58.4, 57.1, 57.4)),
        ((0.5,) * 3, (0.0,) * 3),
        ((1.5,) * 3, (1.0,) * 3),
        ((-1.0,) * 3, (1.0,) * 3),
        ((0.0,) * 3, (255.0,) * 3),
    ],
)
def test_normalisations_of_other_colours_are_refused(mean, std):
    assert re.search(
        r"1 not for colours from 0 to 1 \(Normalisation\(mean=\(.*, std=",
        refusal(madry(network().state_dict(), mean, std)),
    )


def test_two_different_normalisations_are_one_too_many():
    state = madry(network().state_dict()) | {"a.mean": torch.full((3,), 0.5), "a.std": torch.full((3,), 0.5)}
    assert re.search(
        r"2 different normalisations \(Normalisation\(mean=.*\), Normalisation\(mean=\(0\.5, 0\.5, 0\.5\)",
        refusal(state),
    )


# --- the network of the photographs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    """A ResNet-50 with other statistics than a new one, in eval mode."""
    torch.manual_seed(7)
    made = resnet50(weights=None)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return made.eval()


@pytest.fixture(scope="module")
def photograph():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))


@every_format
def test_a_checkpoint_of_madrys_laboratory_gives_the_very_logits(tmp_path, options, trained, photograph, foreign):
    mean, std = (0.4, 0.5, 0.6), (0.3, 0.2, 0.25)
    contents = {"model": madry(trained.state_dict(), mean, std), "optimizer": {"state": {}}, "epoch": 90, **foreign}
    torch.save(contents, path := tmp_path / "imagenet_linf_4.pt", **options)
    forget()
    model = wam.models.load("resnet50_robust", weights=path)
    assert model.name == "resnet50_robust (imagenet_linf_4)" and model.pretrained and not model.training
    assert len(model.categories) == 1000 and model.input_size == (224, 224)
    small = photograph.resize((341, 256), Image.Resampling.BILINEAR).crop((58, 16, 282, 240))
    pixels = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)[None] / 255
    channels = (torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None])
    x = model.prepare(photograph)
    assert torch.equal(x, (pixels - channels[0]) / channels[1])
    assert torch.equal(model.mean, channels[0]) and torch.equal(model.std, channels[1])
    with torch.no_grad():
        assert torch.equal(model(x), trained(x)) and model(x).std() > 0.1


def test_without_a_normalisation_it_is_that_of_imagenet(tmp_path, trained, photograph):
    contents = {
        "epoch": 15,
        "arch": "resnet50",
        "state_dict": prefixed(trained.state_dict(), "module."),
        "best_prec1": 60,
    }
    torch.save(contents, path := tmp_path / "imagenet_model_weights_4px.pth.tar", _use_new_zipfile_serialization=False)
    model = wam.models.load("resnet50_robust", weights=str(path), dtype=torch.float64)
    assert model.name == "resnet50_robust (imagenet_model_weights_4px)"
    own = wam.models.load("mobilenet_v2", pretrained=False)  # torchvision's as well, with the same preprocessing
    assert torch.equal(model.prepare(photograph), own.prepare(photograph).double())
    assert all(
        torch.equal(value.to(model.network.state_dict()[name].dtype), model.network.state_dict()[name])
        for name, value in trained.state_dict().items()
    )


def test_without_a_file_it_says_who_publishes_one(tmp_path):
    who = r"MadryLab/robustness \(imagenet_linf_4\.pt\) and locuslab/fast_adversarial .*/FreeAdversarialTraining"
    with pytest.raises(FileNotFoundError, match=rf"the weights of resnet50_robust .*{who}.*weights=.*pretrained=False"):
        wam.models.load("resnet50_robust")
    with pytest.raises(FileNotFoundError, match=rf"there is no file .*nowhere\.pt: .*{who}"):
        wam.models.load("resnet50_robust", weights=tmp_path / "nowhere.pt")
    torch.save(network().state_dict(), path := tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt: the 9 tensors do not fit the 320 of ResNet .*missing"):
        wam.models.load("resnet50_robust", weights=path)
    (tmp_path / "b.pt").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"b\.pt is a web page"):
        wam.models.load("resnet50_robust", weights=tmp_path / "b.pt")


def test_untrained_and_other_networks_take_no_file(photograph):
    model = wam.models.load("resnet50_robust", pretrained=False)
    assert model.name == "resnet50_robust (untrained)" and not model.pretrained
    own = wam.models.load("mobilenet_v2", pretrained=False)
    assert torch.equal(model.prepare(photograph), own.prepare(photograph))
    with pytest.raises(
        ValueError, match="weights= is for the published resnet50_robust .*pretrained=False; leave it out"
    ):
        wam.models.load("resnet50_robust", pretrained=False, weights="file")
    with pytest.raises(ValueError, match="resnet50_robust .*not for 'resnet18'"):
        wam.models.load("resnet18", weights="file")


def test_the_usual_network_beside_the_robust_ones_is_the_same_but_for_its_weights():
    usual, robust = (wam.models.load(name, pretrained=False) for name in ("resnet50", "resnet50_robust"))
    shapes = [[(k, v.shape) for k, v in model.network.state_dict().items()] for model in (usual, robust)]
    assert shapes[0] == shapes[1] and usual.input_size == robust.input_size == (224, 224)
    assert torch.equal(usual.mean, robust.mean) and torch.equal(usual.std, robust.std)
    photograph = wam.data.images(1)
    assert torch.allclose(usual.prepare(photograph), robust.prepare(photograph), atol=1e-5)
    robust.network.load_state_dict(usual.network.state_dict())
    x = usual.prepare(photograph)
    assert torch.allclose(usual(x), robust(x), atol=1e-4)
