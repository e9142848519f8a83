"""Flows: laws of an invertible map, for every size and reach, in double precision."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from skillkit.errors import InvalidValue
from skillkit.flows import Coupling, Flow, FlowConfig
from tests.toys import stirred

FLOWS: dict[str, tuple[int, dict[str, Any]]] = {
    "default": (8, {}),
    "one entry": (1, {}),
    "one entry, three couplings": (1, {"couplings": 3}),
    "two entries": (2, {"conditioner": (16,), "embedding": 3}),
    "an odd number of entries": (3, {"couplings": 3}),
    "narrow": (2, {"scale_bound": 5.0}),
    "stiff": (4, {"scale_bound": 0.1, "couplings": 4}),
    "six couplings": (5, {"couplings": 6, "conditioner": (8,)}),
    "linear conditioners": (4, {"conditioner": (), "embedding": 1}),
    "deep conditioners": (2, {"conditioner": (8, 8, 8)}),
}
every_flow = pytest.mark.parametrize("name", FLOWS)


def made(name: str, rows: int = 6) -> tuple[Flow, Tensor, Tensor]:
    """A flow as it begins, latents and contexts."""
    dim, options = FLOWS[name]
    config = FlowConfig(**options)
    return Flow(dim, config), torch.randn(rows, dim), torch.randn(rows, config.embedding)


@every_flow
def test_it_begins_as_the_identity(name: str, float64: None) -> None:
    flow, h, context = made(name)
    for u, log_det in (flow(h, context), flow.inverse(h, context)):
        assert torch.equal(u, h) and torch.equal(log_det, torch.zeros(6))


@every_flow
def test_the_inverse_of_the_forward_map(name: str, float64: None) -> None:
    flow, h, context = made(name)
    stirred(flow)
    u, log_det = flow(h, context)
    assert (u - h).abs().max() > 0.01
    again, same = flow.inverse(u, context)
    torch.testing.assert_close(again, h)
    torch.testing.assert_close(same, log_det)
    torch.testing.assert_close(flow(flow.inverse(h, context)[0], context)[0], h)


@every_flow
def test_log_det_is_that_of_the_jacobian(name: str, float64: None) -> None:
    flow, h, context = made(name)
    stirred(flow)
    _, log_det = flow(h, context)
    assert log_det.abs().min() > 1e-4
    for row, c, found in zip(h, context, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda x, c=c: flow(x, c)[0], row)
        torch.testing.assert_close(found, torch.linalg.slogdet(jacobian).logabsdet)


@every_flow
@pytest.mark.parametrize("start", [True, False])
def test_a_gradient_reaches_every_parameter(name: str, start: bool, float64: None) -> None:
    """From u and from log|det|; at the start those that decide whether it stays the identity."""
    flow, h, context = made(name, rows=64)
    last = [p for step in couplings(flow) for p in step.transform_net.layers[-1].parameters()]
    parameters = last if start else list(stirred(flow).parameters())
    u, log_det = flow(h, context)
    for output in (u.square(), log_det):
        gradients = torch.autograd.grad(output.sum(), parameters, retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in gradients)


@every_flow
def test_leading_dimensions(name: str, float64: None) -> None:
    """One row, rows in any shape, or latents beside one context: the same map."""
    flow, h, context = made(name)
    stirred(flow)
    for way in (flow.forward, flow.inverse):
        flat, log_det = way(h, context)
        for parts, shape in (((h[2], context[2]), ()), ((h[:0], context[:0]), (0,))):
            assert [part.shape[: len(shape)] for part in way(*parts)] == [shape] * 2
        torch.testing.assert_close(way(h[2], context[2])[0], flat[2])
        folded = way(h.unflatten(0, (2, 3)), context.unflatten(0, (2, 3)))
        torch.testing.assert_close(folded[0], flat.unflatten(0, (2, 3)))
        torch.testing.assert_close(folded[1], log_det.unflatten(0, (2, 3)))
        beside = way(h, context[2])
        torch.testing.assert_close(beside[0][2], flat[2])
        torch.testing.assert_close(beside[1], way(h, context[2].expand(6, -1))[1])


# The couplings by hand


def couplings(flow: Flow) -> list[Any]:
    return list(flow.couplings)


def constant(flow: Flow, *outputs: list[float]) -> Flow:
    """Every coupling with shifts and unbounded log-scales of its own, whatever it reads."""
    for coupling, values in zip(couplings(flow), outputs, strict=True):
        last = coupling.transform_net.layers[-1]
        torch.nn.init.zeros_(last.weight)
        last.bias.data.copy_(torch.tensor(values))
    return flow


def test_halves_move_in_turn(float64: None) -> None:
    """Of three entries the last two first: x -> x e^l + t, l = 2 tanh(p/2)."""
    flow = constant(Flow(3, FlowConfig()), [0.5, -1.0, 1.0, 0.0], [3.0, -1.0])
    u, log_det = flow(torch.tensor([[1.0, 2.0, 3.0]]), torch.zeros(1, 64))
    scale = math.exp(0.92423431)  # ORACLES 9: p = 1
    assert u[0].tolist() == pytest.approx([1 / scale + 3, 2 * scale + 0.5, 3 - 1], abs=1e-7)
    assert log_det.item() == pytest.approx(0.92423431 - 0.92423431, abs=1e-8)


def test_the_log_scale_is_bounded_and_symmetric(float64: None) -> None:
    """ORACLES 9: slope 1 at p = 0, |.| < 2; nflows' own lies in (.001, 1.001)."""
    coupling = Coupling([False, True], FlowConfig())
    p = torch.tensor([-1e3, -1.0, 0.0, 1.0, 1e3], requires_grad=True)
    scale, shift = coupling._scale_and_shift(torch.stack([torch.arange(5.0), p], -1))
    assert shift[:, 0].tolist() == [0, 1, 2, 3, 4]
    expected = [-2.0, -0.92423431, 0.0, 0.92423431, 2.0]
    assert scale.log()[:, 0].tolist() == pytest.approx(expected, abs=6e-9)
    (slope,) = torch.autograd.grad(scale[2, 0], p)
    assert slope[2].item() == pytest.approx(1.0)


@pytest.mark.parametrize(("dim", "times"), [(1, 2), (2, 1), (5, 1)])
def test_the_default_has_a_floor(dim: int, times: int, float64: None) -> None:
    """Two couplings at bound 2 leave a standard deviation of e^-2 = .135 (one entry: e^-4)."""
    flow = Flow(dim, FlowConfig())
    ends = [2 * [-1e4] * len(step.transform_features) for step in couplings(flow)]
    constant(flow, *ends)
    context = torch.zeros(1, 64)
    spread = flow(torch.ones(1, dim), context)[0] - flow(torch.zeros(1, dim), context)[0]
    assert spread[0].tolist() == pytest.approx([0.13533528**times] * dim, abs=6e-9)


def test_only_parameters_are_stored() -> None:
    """By names of ours: whoever reads a stored skill knows nothing of nflows' buffers."""
    names = {
        f"couplings.{k}.transform_net.layers.{i}.{part}"
        for k in range(2)
        for i in range(2)
        for part in ("weight", "bias")
    }
    assert Flow(4, FlowConfig()).state_dict().keys() == names


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"couplings": 1}, "flow.couplings must be at least 2, got 1"),
        ({"embedding": 0}, "each at least 1"),
        ({"conditioner": (64, 0)}, "each at least 1"),
        ({"scale_bound": 0.0}, r"flow.scale_bound must lie in \(0, 10\], got 0.0"),
        ({"scale_bound": 11.0}, "got 11.0"),
        ({"scale_bound": math.nan}, "got nan"),
    ],
)
def test_bad_configs(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        FlowConfig(**options)
