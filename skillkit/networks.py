"""Multilayer perceptrons: one, or N side by side in one matrix product."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class MLP(nn.Module):
    """Linear layers with ReLU between them; linear output. (..., sizes[0]) -> (..., sizes[-1])"""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in itertools.pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            x = torch.relu(_product(layer, x, inner=layer is not self.layers[0]))
        return _product(last, x)


class StackedLinear(nn.Module):
    """N independent linear maps in one batched product. (N, B, I) -> (N, B, O)

    A single output is a sum over products: matrices of one column are slow to multiply.
    """

    def __init__(self, copies: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)  # nn.Linear's own initialisation
        self.weight = nn.Parameter(torch.empty(copies, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(copies, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.shape[-1] == 1:
            return (x * self.weight.mT).sum(-1, keepdim=True) + self.bias
        return torch.baddbmm(self.bias, x, self.weight)


class StackedMLP(nn.Module):
    """N MLPs of one shape on the same input. (B, I) -> (N, B, O)

    With `normalised`, every hidden layer is normalised over its units before the ReLU (layer
    normalisation without parameters): what the network says off the data stays bounded.
    """

    def __init__(self, copies: int, sizes: Sequence[int], normalised: bool = False) -> None:
        super().__init__()
        self.copies, self.normalised = copies, normalised
        pairs = itertools.pairwise(sizes)
        self.layers = nn.ModuleList(StackedLinear(copies, i, o) for i, o in pairs)

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.layers
        h = x.expand(self.copies, *x.shape)
        for layer in hidden:
            h = _product(layer, h, inner=layer is not self.layers[0])
            if self.normalised:
                h = functional.layer_norm(h, h.shape[-1:])
            h = torch.relu(h)
        return _product(last, h)  # (N, B, O)


@contextmanager
def precision(name: str, device: str) -> Iterator[None]:
    """The arithmetic of a block's products between hidden layers, which are nearly all there is.

    bfloat16 has 8 bits: enough for a feature, too few for an observation's entry or a value.
    """
    # Kept casts of parameters would outlive an update within the block.
    enabled = name == "bfloat16"
    with torch.autocast(device, torch.bfloat16, enabled=enabled, cache_enabled=False):
        yield


PRECISIONS = ("float32", "bfloat16")
ONEDNN: Any = torch.backends.mkldnn  # its older name


@contextmanager
def quick_products() -> Iterator[None]:
    """A block's float32 products by oneDNN, on the CPU, where they stay float32.

    MKL, which PyTorch takes by itself, leaves half of a wide AMD processor unused. PyTorch's switch
    to oneDNN also permits rounding to bfloat16, which it does where the processor has units for
    it; so the switch is set only where a product has been seen to keep the error of float32.
    """
    before = ONEDNN.matmul.fp32_precision
    ONEDNN.matmul.fp32_precision = "bf16" if _onednn_keeps_float32() else before
    try:
        yield
    finally:
        ONEDNN.matmul.fp32_precision = before


@cache
def _onednn_keeps_float32() -> bool:
    """Whether a product of a learner's size has the error of float32: 1e-6, and bfloat16's 1e-3."""
    before, generator = ONEDNN.matmul.fp32_precision, torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 256, 256, generator=generator)
    ONEDNN.matmul.fp32_precision = "bf16"
    try:
        found = x @ y
    finally:
        ONEDNN.matmul.fp32_precision = before
    exact = x.double() @ y.double()
    return bool((found - exact).abs().max() < 1e-5 * exact.abs().max())


def _product(layer: nn.Module, x: Tensor, inner: bool = False) -> Tensor:
    """The layer's output; unless it is an `inner` one in the precision of its parameters."""
    y: Tensor
    if inner or not torch.is_autocast_enabled(x.device.type):
        y = layer(x)
    else:
        with torch.autocast(x.device.type, enabled=False):
            y = layer(x.to(next(layer.parameters()).dtype))
    return y
