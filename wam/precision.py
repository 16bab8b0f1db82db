"""The precision of the transforms and front ends, whatever the network around them runs in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """No autocast, and no TensorFloat-32, which would leave a float32 transform ten bits of mantissa on a GPU."""
    allowed = _tf32() if device.type == "cuda" else []
    try:
        for switch, name, _, off in allowed:
            setattr(switch, name, off)
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for switch, name, on, _ in allowed:
            setattr(switch, name, on)


def _tf32() -> list[tuple[Any, str, Any, Any]]:
    """The switches by which TensorFloat-32 is allowed now: object, attribute, what it is, and what turns it off."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    try:
        return [(switch, "allow_tf32", True, False) for switch in (cudnn, matmul) if switch.allow_tf32]
    except RuntimeError:  # set by the interface that came with torch 2.9: the older one then refuses to tell
        switches = [switch for switch in (cudnn.conv, matmul) if switch.fp32_precision == "tf32"]
        return [(switch, "fp32_precision", "tf32", "ieee") for switch in switches]
