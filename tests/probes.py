"""Small differentiable models whose gradients are known, or which evaluate samples one by one."""

import torch
from torch import nn


class Recorder(nn.Module):
    """A smooth non-linear classifier that evaluates samples one by one and remembers its inputs."""

    def __init__(self, *shape: int, classes: int = 4, dtype: torch.dtype = torch.float64):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        weight = torch.randn(2, classes, *shape, generator=generator, dtype=torch.float64) / shape[-1]
        self.weight = nn.Parameter(weight.to(dtype))
        self.seen: list[torch.Tensor] = []
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(x))
        rows = []
        for sample in x:
            self.seen.append(sample.detach().clone())
            first, second = ((w * sample).flatten(1).sum(1) for w in self.weight)
            rows.append(torch.tanh(first) + second.square() + 0.1 * first * second)
        return torch.stack(rows)


def linear(weight: torch.Tensor):
    """The model whose class scores are inner products with ``weight`` (classes, channels, *spatial)."""
    return lambda x: (x[:, None] * weight).flatten(2).sum(2)
