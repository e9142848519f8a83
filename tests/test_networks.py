"""Networks: linear maps with ReLU between them, alone and side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from skillkit import networks
from skillkit.networks import MLP, StackedMLP, precision

SIZES = [(3, 1), (2, 5, 4), (4, 7, 6, 2)]


def plain(x: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The definition. layers: (weight (O, I), bias (O,))."""
    for weight, bias in layers[:-1]:
        x = (x @ weight.T + bias).clamp(min=0.0)
    weight, bias = layers[-1]
    return x @ weight.T + bias


def test_by_hand() -> None:
    net = MLP((1, 2, 1))
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.tensor([[1.0], [-2.0]]))
        net.layers[0].bias.copy_(torch.tensor([0.5, 1.0]))
        net.layers[1].weight.copy_(torch.tensor([[3.0, -4.0]]))
        net.layers[1].bias.fill_(-1.0)
    # x = 1: relu(1.5, -1) -> 4.5 - 1; x = -1: relu(-.5, 3) -> -12 - 1, and no ReLU at the end
    torch.testing.assert_close(net(torch.tensor([[1.0], [-1.0]])), torch.tensor([[3.5], [-13.0]]))


@pytest.mark.parametrize("sizes", SIZES)
def test_mlp_is_its_definition(sizes: Sequence[int], float64: None) -> None:
    net, x = MLP(sizes), torch.randn(4, 5, sizes[0])  # any leading dimensions
    layers = [(layer.weight, layer.bias) for layer in net.layers]
    torch.testing.assert_close(net(x), plain(x, layers))
    assert [tuple(w.shape) for w, _ in layers] == [(o, i) for i, o in itertools.pairwise(sizes)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("copies", [1, 2, 5])
def test_stacked_equals_separate(sizes: Sequence[int], copies: int, float64: None) -> None:
    net, x = StackedMLP(copies, sizes), torch.randn(8, sizes[0])
    y = net(x)
    assert y.shape == (copies, 8, sizes[-1])
    for i in range(copies):
        layers = [(layer.weight[i].T, layer.bias[i, 0]) for layer in net.layers]
        torch.testing.assert_close(y[i], plain(x, layers))


def test_stacked_copies_learn_apart() -> None:
    torch.manual_seed(0)
    net = StackedMLP(3, (2, 4, 1))
    net(torch.randn(6, 2))[1].sum().backward()
    for parameter in net.parameters():
        assert parameter.grad is not None and parameter.grad[1].any()
        assert not parameter.grad[[0, 2]].any()


def test_stacked_starts_like_linear_layers() -> None:
    """U(-1/sqrt(I), 1/sqrt(I)) for weights and biases, different in every copy."""
    torch.manual_seed(0)
    for layer in StackedMLP(2, (16, 256, 64)).layers:
        for x in (layer.weight, layer.bias):
            bound = 1 / math.sqrt(layer.weight.shape[1])
            assert x.abs().max() <= bound and x.std().item() == pytest.approx(
                bound / math.sqrt(3), rel=0.1
            )
            assert not torch.isclose(x[0], x[1], atol=0.1 * bound).all()


def test_normalised_layers_are_normalised_over_their_units(float64: None) -> None:
    net = StackedMLP(2, [3, 8, 8, 1], normalised=True)
    x = torch.randn(5, 3)
    for i in range(2):
        h = x
        for layer in net.layers[:-1]:
            h = h @ layer.weight[i] + layer.bias[i]
            h = (h - h.mean(-1, keepdim=True)) / (
                h.var(-1, correction=0, keepdim=True) + 1e-5
            ).sqrt()
            h = h.relu()
        last = net.layers[-1]
        torch.testing.assert_close(net(x)[i], h @ last.weight[i] + last.bias[i])


def test_a_normalised_network_is_bounded_off_the_data(float64: None) -> None:
    net = StackedMLP(1, [3, 16, 16, 1], normalised=True)
    far = net(1e6 * torch.randn(100, 3)).abs().max()
    last = net.layers[-1]
    assert far <= last.weight.norm() * 16**0.5 + last.bias.abs().max()


# ------------------------------------------------------------------------------------- precision


@pytest.mark.parametrize("make", [MLP, lambda sizes: StackedMLP(2, sizes, normalised=True)])
def test_bfloat16_is_for_products_between_hidden_layers(make: Callable[..., MLP]) -> None:
    x = torch.randn(64, 4)
    for sizes in ((4, 2), (4, 64, 2)):  # without any
        net = make(sizes)
        exact = net(x)
        with precision("bfloat16", "cpu"):
            assert torch.equal(net(x), exact)
    net = make((4, 64, 64, 2))
    exact = net(x)
    with precision("bfloat16", "cpu"):
        rough = net(x)
    assert rough.dtype == torch.float32 and not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, atol=0.02, rtol=0)
    with precision("float32", "cpu"):
        assert torch.equal(net(x), exact)


def test_a_parameter_that_changes_within_a_block_is_rounded_anew() -> None:
    net, x = MLP([3, 8, 8, 2]), torch.randn(5, 3)
    with precision("bfloat16", "cpu"):
        before = net(x)
        with torch.no_grad():
            net.layers[1].weight.mul_(3.0)
        after = net(x)
    with precision("bfloat16", "cpu"):
        assert torch.equal(net(x), after) and not torch.equal(before, after)


def test_a_large_value_keeps_its_digits_in_bfloat16() -> None:
    """bfloat16 itself knows 1000 and 1004, and nothing between."""
    net = StackedMLP(2, (4, 64, 64, 1))
    with torch.no_grad():
        net.layers[-1].bias.fill_(1001.5)
    x = torch.randn(64, 4)
    with precision("bfloat16", "cpu"):
        rough = net(x)
    torch.testing.assert_close(rough, net(x), atol=0.02, rtol=0)


def test_gradients_in_bfloat16_are_float32_and_close() -> None:
    net, x = MLP((4, 64, 64, 2)), torch.randn(256, 4)
    exact = torch.autograd.grad(net(x).square().mean(), net.parameters())
    with precision("bfloat16", "cpu"):
        rough = torch.autograd.grad(net(x).square().mean(), net.parameters())
    for one, other in zip(rough, exact, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.03 * other.norm()


def test_quick_products_are_as_exact_as_float32_and_end_with_their_block() -> None:
    x, y = torch.randn(2, 300, 300, generator=torch.Generator().manual_seed(3))
    exact = x.double() @ y.double()
    before = networks.ONEDNN.matmul.fp32_precision
    with pytest.raises(ZeroDivisionError), networks.quick_products():
        inside = x @ y
        assert (inside - exact).abs().max() < 1e-5 * exact.abs().max()
        raise ZeroDivisionError
    assert networks.ONEDNN.matmul.fp32_precision == before


def test_where_quick_products_would_round_all_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(networks, "_onednn_keeps_float32", lambda: False)
    before = networks.ONEDNN.matmul.fp32_precision
    with networks.quick_products():
        assert networks.ONEDNN.matmul.fp32_precision == before
