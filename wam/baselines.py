"""The pixel-domain methods that the paper compares with, each an explanation in the :class:`wam.Pixel` frame."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from operator import attrgetter

import torch
from torch import Tensor, nn

from wam.attribution import integrated_gradients, saliency, smoothgrad
from wam.checks import finite
from wam.explanation import Explanation
from wam.frames import Pixel
from wam.gradients import Target, checked
from wam.layers import Layer, find
from wam.scoring import frozen, predict, scores, select

SAMPLES = 50
"""How many noisy copies the paper's SmoothGrad on pixels takes (twice those of WAM-SG)."""

_LAYERS: Mapping[tuple[str, str], Callable[[nn.Module], nn.Module]] = {
    ("timm", "ConvNeXt"): attrgetter("stages"),
    ("timm", "EfficientNet"): attrgetter("bn2"),
    ("timm", "VisionTransformer"): lambda network: network.blocks[-1].norm1,  # behind it patches have no gradient
    **{("torchvision", name): attrgetter("features") for name in ("ConvNeXt", "EfficientNet", "MobileNetV2")},
    **dict.fromkeys([(of, "ResNet") for of in ("timm", "torchvision")], attrgetter("layer4")),
    ("torchvision", "VideoResNet"): attrgetter("layer4"),
    **{("wam", name): attrgetter("features") for name in ("KumarCNN", "YAMNet")},
    ("wam", "VoxelCNN"): lambda network: network.features[5],  # before the last pooling
}


def guided_backpropagation(
    model: nn.Module, x: Tensor, target: Target = None, *, max_batch: int | None = None
) -> Explanation:
    r"""The gradient, with what is negative set to zero at every ReLU on its way back (Captum's implementation).

    At a ReLU :math:`b = \max(a, 0)` the gradient :math:`\bar a = 1[a > 0] \, \bar b` becomes
    :math:`\bar a = 1[a > 0] \max(\bar b, 0)`; at a ReLU6 the same with :math:`1[0 < a < 6]`.

    Parameters
    ----------
    model
        A network whose ReLUs are modules. The calculation runs on a copy of it.
    x, target, max_batch
        As for :func:`wam.saliency`.

    Raises
    ------
    TypeError, ValueError
        If ``model`` is not a :class:`torch.nn.Module`, or has no ReLU: for other activations (GELU, SiLU) guided
        backpropagation is not defined, and Captum would return the plain gradient.

    Notes
    -----
    Captum would pass a ReLU6 by in silence; in the copy every ReLU6 (and every ``Hardtanh`` from 0) is written with a
    ReLU. A ``torch.nn.functional.relu`` cannot be found, and its gradient stays as it is.

    Examples
    --------
    >>> import torch, wam.baselines
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU6(), nn.Flatten(), nn.Linear(56, 3))
    >>> wam.baselines.guided_backpropagation(net, torch.randn(2, 1, 16)).method
    'guided backpropagation'

    References
    ----------
    Springenberg et al., Striving for simplicity: the all convolutional net, 2015. Paper, table 1 of the submission.
    """
    from captum.attr import GuidedBackprop

    x, target, max_batch = _checked(model, x, target, max_batch)
    with torch.inference_mode(False), warnings.catch_warnings(), frozen(guided := _with_plain_relus(model)):
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU activations")
        score, target = predict(guided, x, target, max_batch)
        captum = GuidedBackprop(guided)
        pairs = zip(x.split(max_batch), target.split(max_batch))
        found = [captum.attribute(part.clone().requires_grad_(), target=classes).detach() for part, classes in pairs]
    g = finite(torch.cat(found), "the guided gradient")
    return _explained(g, x, target, score, "guided backpropagation", {})


def gradcam(
    model: nn.Module, x: Tensor, target: Target = None, *, layer: Layer | None = None, max_batch: int | None = None
) -> Explanation:
    r"""The activations of a late layer, weighted by their mean gradients (torchcam's implementation).

    .. math:: L = \max\Big(0, \sum_k w_k A_k\Big), \qquad
              w_k = \frac{1}{n} \sum_i \frac{\partial f_c}{\partial A_{k,i}}

    over the channels :math:`k` and the :math:`n` places :math:`i` of the layer, interpolated linearly to the size of
    the input and not rescaled. The attributions have one channel, ``(batch, 1, *spatial)``.

    Parameters
    ----------
    model
        A network, or a module that contains one.
    x, target, max_batch
        As for :func:`wam.saliency`.
    layer
        A module of the model, or its dotted name, whose output is ``(batch, channels, *spatial)`` in as many
        dimensions as ``x``, or the tokens ``(batch, tokens, channels)`` of a timm transformer, whose class and other
        prefix tokens are then left out. Maps of the patches of :class:`wam.yamnet.YAMNet` are laid out along time first
        (:meth:`wam.yamnet.YAMNet.lay_out`). ``None`` is the last such layer before pooling of a ConvNeXt, EfficientNet
        or ResNet (timm and torchvision), MobileNetV2 or the networks of this package, and the first normalisation in
        the last block of timm's vision transformers (DeiT, ViT).

    Raises
    ------
    TypeError, ValueError
        If ``model`` is not a :class:`torch.nn.Module`, no default layer is known, ``layer`` is not in the model, or its
        output is not a map.

    Examples
    --------
    >>> import torch, wam.baselines
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(108, 2))
    >>> e = wam.baselines.gradcam(net, torch.randn(2, 1, 8, 8, 8), layer="1")
    >>> e.attributions.bands[0, "pixel"].shape, e.heatmap().shape
    (torch.Size([2, 1, 8, 8, 8]), torch.Size([2, 8, 8, 8]))

    References
    ----------
    Selvaraju et al., Grad-CAM, 2017. Paper, table 1.
    """
    return _class_activation(model, x, target, layer, max_batch, "gradcam")


def gradcam_plus_plus(
    model: nn.Module, x: Tensor, target: Target = None, *, layer: Layer | None = None, max_batch: int | None = None
) -> Explanation:
    r"""GradCAM with the positive gradients of every channel weighted by place.

    .. math:: w_k = \sum_i \alpha_{k,i} \max(0, g_{k,i}), \qquad
              \alpha_{k,i} = \frac{g_{k,i}^2}{2 g_{k,i}^2 + g_{k,i}^3 \sum_j A_{k,j}}
              = \frac{1}{2 + g_{k,i} \sum_j A_{k,j}}, \qquad g = \frac{\partial f_c}{\partial A}

    Parameters, results and errors are those of :func:`gradcam`.

    Notes
    -----
    These are the published weights (the publication differentiates :math:`\exp f_c`, which multiplies the map of a
    sample by that number). Those of torchcam 0.5 come out as :math:`\sum_i \max(0, g_{k,i})^3`, because a division in
    place acts on a copy.

    The publication thinks of activations that are never negative. Where :math:`\sum_j A_{k,j} < 0` (layers that do not
    end in a ReLU, such as those of transformers) the denominator can come close to zero or be negative.

    References
    ----------
    Chattopadhay et al., Grad-CAM++, 2018, eq. 19. Paper, table 1.
    """

    def published(activation: Tensor, g: Tensor) -> Tensor:
        places = tuple(range(2, g.ndim))
        alpha = 1 / (2 + g * activation.sum(places, keepdim=True))
        weight = (alpha * g.relu()).sum(places, keepdim=True)
        return (weight * activation).sum(1).relu()

    return _class_activation(model, x, target, layer, max_batch, "gradcam++", published)


def _class_activation(
    model: nn.Module,
    x: Tensor,
    target: Target,
    layer: Layer | None,
    max_batch: int | None,
    method: str,
    combine: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Explanation:
    """torchcam's GradCAM, or what ``combine`` makes of the layer's activations and gradients."""
    from torchcam.methods import GradCAM

    x, target, max_batch = _checked(model, x, target, max_batch)
    if x.ndim > 5:
        raise ValueError(f"{method} is for inputs of 1, 2 or 3 spatial axes, got shape {tuple(x.shape)}")
    name, layer = find(model, _default_layer(model) if layer is None else layer)
    mode = ("linear", "bilinear", "trilinear")[x.ndim - 3]

    found = []
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        frozen(model),
        GradCAM(model, layer, reshape_transform=lambda output: _as_map(output, model, name, x)) as cam,
        # what follows may work in place; torchcam holds the layer's own output
        layer.register_forward_hook(lambda module, inputs, output: output.clone()),
    ):
        for start in range(0, len(x), max_batch):
            part = slice(start, start + max_batch)
            cam.reset_hooks()
            output = scores(model, x[part].clone().requires_grad_(True))
            score, chosen = select(output, None if target is None else target[part].clone())
            if cam.hook_a[0] is None or not score.requires_grad:
                raise ValueError(f"the scores do not depend on layer {name!r}; choose one that the model runs through")
            maps = cam(chosen.tolist(), output, normalized=False)[0]
            g = finite(cam.hook_g[0], "the gradient")
            maps = maps if combine is None else combine(cam.hook_a[0], g)
            maps = nn.functional.interpolate(maps[:, None], x.shape[2:], mode=mode, align_corners=False)
            found.append((maps, score.detach(), chosen))
    maps, score, target = map(torch.cat, zip(*found))
    return _explained(finite(maps, "the map"), x, target, score, method, {"layer": name})


def _as_map(output: Tensor, model: nn.Module, name: str, x: Tensor) -> Tensor:
    """The output of a layer as ``(batch, channels, *spatial)``.

    Tokens of a transformer are laid out on their grid, and patches of a spectrogram along its time.
    """
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if isinstance(output, Tensor) and output.ndim == x.ndim:
        layer = model.get_submodule(name)
        owner = next((m for m in model.modules() if hasattr(m, "lay_out") and layer in m.modules()), None)
        return (output if owner is None else owner.lay_out(output, x.shape[2])).to(x.dtype)
    owner = next((m for m in model.modules() if hasattr(m, "patch_embed") and hasattr(m, "num_prefix_tokens")), None)
    if owner is not None and isinstance(output, Tensor) and output.ndim == 3 and x.ndim == 4:
        grid = owner.patch_embed.dynamic_feat_size(x.shape[2:])
        patches = output[:, owner.num_prefix_tokens :]
        if patches.shape[1] == math.prod(grid):
            return patches.transpose(1, 2).unflatten(2, grid).to(x.dtype)
    axes = ", ".join(["batch", "channels", *["n"] * (x.ndim - 2)])
    raise ValueError(f"layer {name!r} gives {shape}, not a map ({axes}); choose another layer of model.named_modules()")


def _default_layer(model: nn.Module) -> nn.Module:
    for module in model.modules():
        for kind in type(module).__mro__:
            find = _LAYERS.get((kind.__module__.partition(".")[0], kind.__name__))
            if find is not None:
                return find(module)
    known = ", ".join(sorted({name for _, name in _LAYERS}))
    what = f"no default layer is known for {type(model).__name__} (only for {known}); pass layer=, a module of it"
    raise ValueError(f"{what} or its dotted name: usually the last with a spatial output, before pooling")


class _Own(nn.Module):
    """Captum's hook clamps the whole gradient of a ReLU's input; this makes it an input that nothing else uses."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view_as(x)


def _with_plain_relus(model: nn.Module) -> nn.Module:
    """A copy of the model, the same function, in which every ReLU and ReLU6 is one that Captum can hook."""
    copy, found = deepcopy(model), False
    for name, module in list(copy.named_modules(remove_duplicate=False)):
        if isinstance(module, nn.ReLU):
            copy.set_submodule(name, nn.Sequential(_Own(), nn.ReLU()))
        elif isinstance(module, nn.Hardtanh) and module.min_val == 0:  # ReLU6 is one
            copy.set_submodule(name, nn.Sequential(_Own(), nn.ReLU(), nn.Hardtanh(0, module.max_val)))
        else:
            continue
        found = True
    if not found:
        raise ValueError(
            f"guided backpropagation changes the gradient at ReLUs, and {type(model).__name__} has no ReLU module: it "
            "would equal saliency. Use another method, or write ReLUs as modules, since functional.relu has no hook"
        )
    return copy


def _checked(model: nn.Module, x: Tensor, target: Target, max_batch: int | None) -> tuple[Tensor, Tensor | None, int]:
    if not isinstance(model, nn.Module):
        raise TypeError(f"this method looks inside the network: pass a torch.nn.Module, not {type(model).__name__}")
    return checked(model, x, target, Pixel(), max_batch)


def _explained(values: Tensor, x: Tensor, target: Tensor, score: Tensor, method: str, settings: dict) -> Explanation:
    frame = Pixel()
    return Explanation(frame.analysis(values), frame.analysis(x), target, score, frame, method, settings)


def _method(function: Callable[..., Explanation], **fixed) -> Callable[..., Explanation]:
    """The function with the signature that all methods share; an option that it does not have is not passed on."""
    known = inspect.signature(function).parameters

    def method(model, x, target: Target = None, *, max_batch: int | None = None, seed: int = 0, progress: bool = False):
        options = {"max_batch": max_batch, "seed": seed, "progress": progress}
        return function(model, x, target, **fixed, **{name: options[name] for name in options if name in known})

    return method


METHODS: Mapping[str, Callable[..., Explanation]] = {
    "Saliency": _method(saliency, frame=Pixel()),
    "Integrated Gradients": _method(integrated_gradients, frame=Pixel()),
    "GradCAM": _method(gradcam),
    "GradCAM++": _method(gradcam_plus_plus),
    "SmoothGrad": _method(smoothgrad, frame=Pixel(), samples=SAMPLES),
    "Guided Backpropagation": _method(guided_backpropagation),
}
"""The paper's row names -> ``f(model, x, target=None, *, max_batch=None, seed=0, progress=False)``, an explanation."""
