"""ONNX graphs, operation by operation: the policy kinds as `skillkit.runtimes` computes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise
from operator import mul
from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from skillkit.rotation import Pair, rotation
from skillkit.runtimes.network import CLIP_HIGH, CLIP_LOW, LOG_STD_HIGH, LOG_STD_LOW
from skillkit.runtimes.symmetric import COMPASS
from skillkit.types import Array, Spec

OBSERVATION, NOISE, MEMORY = "observation", "noise", "memory"  # inputs
ACTION, NEXT_MEMORY = "action", "next_memory"  # outputs
OPSET, IR = 17, 8  # of 2022, so that runtimes that robots have read them


class Graph:
    """Operations in the order in which they are added.

    A value is a name, of a float32 matrix with a row for each observation.
    """

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, operation: str, *inputs: str | Array | float, name: str = "", **how: Any) -> str:
        """The value of one operation; numbers among its inputs become constants."""
        values = [item if isinstance(item, str) else self._constant(item) for item in inputs]
        output = name or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, values, [output], **how))
        return output

    def _constant(self, value: Array | float) -> str:
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def columns(self, x: str, first: int, last: int) -> str:
        """(B, D) -> (B, last - first)"""
        return self.add("Slice", x, *(np.array([i], np.int64) for i in (first, last, 1)))

    def joined(self, *parts: str) -> str:
        """Side by side. (B, D), (B, E), … -> (B, D + E + …)"""
        return self.add("Concat", *parts, axis=1)

    def zeros(self, like: str, width: int) -> str:
        """As many rows as `like` has. (B, D) -> (B, width)"""
        rows = self.add("Shape", like, start=0, end=1)
        return self.add("ConstantOfShape", self.add("Concat", rows, np.array([width]), axis=0))


class Part(NamedTuple):
    """A policy, or a layer of one, as it is stored."""

    kind: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Array]


# Observation, and noise or None for the mode -> action.
Build = Callable[[Graph, Part, str, str | None], str]


def _mlp(graph: Graph, part: Part, name: str, x: str) -> str:
    """Linear layers with ReLU between them."""
    for i in range(sum(key.startswith(f"{name}.layers.") for key in part.tensors) // 2):
        if i:
            x = graph.add("Relu", x)
        weight, bias = (part.tensors[f"{name}.layers.{i}.{of}"] for of in ("weight", "bias"))
        x = graph.add("Gemm", x, weight, bias, transB=1)
    return x


def _read(graph: Graph, part: Part, obs: str) -> str:
    """The entries that the policy reads."""
    inputs = part.config.get("inputs")
    return obs if inputs is None else graph.add("Gather", obs, np.array(inputs, np.int64), axis=1)


def _squashed(graph: Graph, part: Part, u: str) -> str:
    return graph.add("Tanh", u) if part.config.get("squash", True) else u


def _gaussian(graph: Graph, part: Part, obs: str, eps: str | None) -> str:
    dim, half = part.config["action_dim"], (LOG_STD_HIGH - LOG_STD_LOW) / 2
    outputs = _mlp(graph, part, "net", _read(graph, part, obs))
    u = graph.columns(outputs, 0, dim)
    if eps is not None:
        log_std = graph.columns(outputs, dim, 2 * dim)
        if part.kind == "clipped_gaussian":
            log_std = graph.add("Clip", log_std, CLIP_LOW, CLIP_HIGH)
        else:
            bent = graph.add("Mul", graph.add("Tanh", log_std), half)
            log_std = graph.add("Add", bent, LOG_STD_LOW + half)
        u = graph.add("Add", u, graph.add("Mul", graph.add("Exp", log_std), eps))
    return _squashed(graph, part, u)


def _deterministic(graph: Graph, part: Part, obs: str, eps: str | None) -> str:
    return _squashed(graph, part, _mlp(graph, part, "net", _read(graph, part, obs)))


def _implicit(graph: Graph, part: Part, obs: str, eps: str | None) -> str:
    eps = eps or graph.zeros(obs, part.config["noise_dim"])
    both = graph.joined(_read(graph, part, obs), eps)
    return _squashed(graph, part, _mlp(graph, part, "net", both))


def _real_nvp(graph: Graph, part: Part, obs: str, eps: str | None) -> str:
    dim, bound = part.config["action_dim"], float(part.config["scale_bound"])
    h = eps or graph.zeros(obs, dim)
    ends = [0, dim // 2, dim] if dim > 1 else [0, 1]  # a single entry always moves
    halves = [graph.columns(h, *pair) for pair in pairwise(ends)]
    embedding = _mlp(graph, part, "net", _read(graph, part, obs))
    for k in range(part.config["couplings"]):
        moved = (k + 1) % len(halves)
        kept = halves[:moved] + halves[moved + 1 :]
        given = graph.joined(embedding, *kept)
        outputs = _mlp(graph, part, f"flow.couplings.{k}.transform_net", given)
        count = ends[moved + 1] - ends[moved]
        shift, p = graph.columns(outputs, 0, count), graph.columns(outputs, count, 2 * count)
        log_scale = graph.add("Mul", graph.add("Tanh", graph.add("Div", p, bound)), bound)
        scaled = graph.add("Mul", halves[moved], graph.add("Exp", log_scale))
        halves[moved] = graph.add("Add", scaled, shift)
    return _squashed(graph, part, graph.joined(*halves))


def _symmetric(graph: Graph, part: Part, obs: str, eps: str | None) -> str:
    """What the policy inside does in the frame of the compass, turned back."""
    described, (state, action) = part.config["inside"], part.config["frames"]
    tensors = {key.removeprefix("inside."): value for key, value in part.tensors.items()}
    inside = Part(described["kind"], described["config"], tensors)
    if eps is None:
        noise = None  # the mode is that of the first frame
        first = graph.add("Cast", graph.zeros(obs, 1), to=TensorProto.INT64)
        frame = graph.add("Reshape", first, np.array([-1], np.int64))
    else:
        compass = np.array(part.config["directions"], np.float32).T
        toward = graph.add("MatMul", graph.columns(eps, 0, len(compass)), compass)
        frame = graph.add("ArgMax", toward, axis=1, keepdims=0)
        if pairs := part.config.get("rotation"):
            obs = _rotated_back(graph, part, obs, graph.columns(eps, 0, len(compass)), frame, pairs)
        noise = graph.columns(eps, len(compass), len(compass) + _noise_dim(inside))
    seen = _turned(graph, obs, _matrices(state), frame)
    unit = BUILDS[inside.kind](graph, inside, seen, noise)
    return _turned(graph, unit, _matrices(action).transpose(0, 2, 1), frame)


def _rotated_back(
    graph: Graph, part: Part, obs: str, compass: str, frame: str, pairs: list[Pair]
) -> str:
    """The world turned from the compass to the direction of the frame; as `skillkit.rotation`."""

    def sum_(x: str) -> str:
        return graph.add("ReduceSum", x, np.array([1], np.int64), keepdims=1)

    def length_of(*parts: str) -> tuple[str, str]:
        """Of a vector, 1 where it has none; and whether it has none, as a number."""
        length = graph.add("Sqrt", sum_(graph.joined(*(graph.add("Mul", x, x) for x in parts))))
        none = graph.add("Cast", graph.add("Equal", length, 0.0), to=TensorProto.FLOAT)
        return graph.add("Add", length, none), none

    ways = np.array(part.config["directions"], np.float32)
    way = graph.add("Gather", ways / np.linalg.norm(ways, axis=1, keepdims=True), frame, axis=0)
    length, none = length_of(compass)
    across = graph.add("MatMul", compass, np.array([[0, -1], [1, 0]], np.float32))
    along = graph.add("Add", sum_(graph.add("Mul", compass, way)), none)
    cos = graph.add("Div", along, length)
    sin = graph.add("Neg", graph.add("Div", sum_(graph.add("Mul", across, way)), length))
    cos_and_1 = graph.add("Add", cos, 1.0)
    length, back = length_of(cos_and_1, sin)
    cos_half = graph.add("Div", cos_and_1, length)
    sin_half = graph.add("Div", graph.add("Add", sin, back), length)
    of = rotation(part.config["observation_dim"], [(i, j, share) for i, j, share in pairs])
    found = graph.add("Mul", obs, of.still)
    for mask, turn, c, s in (
        (of.whole, of.turned, cos, sin),
        (of.half, of.half_turned, cos_half, sin_half),
    ):
        stays = graph.add("Mul", graph.add("Mul", obs, mask), c)
        moves = graph.add("Mul", graph.add("MatMul", obs, turn), s)
        found = graph.add("Add", found, graph.add("Add", stays, moves))
    return found


def _turned(graph: Graph, x: str, matrices: Array, frame: str) -> str:
    """Each row by the matrix of its frame. (B, D), (G, D, D), (B,) -> (B, D)"""
    rows = graph.add("Unsqueeze", x, np.array([1], np.int64))
    product = graph.add("MatMul", rows, graph.add("Gather", matrices, frame, axis=0))
    return graph.add("Squeeze", product, np.array([1], np.int64))


def _matrices(table: list[list[int]]) -> Array:
    """s @ M is the image of s. (G, D) signed positions from 1 -> (G, D, D) float32"""
    signed = np.array(table)
    found: Array = np.eye(signed.shape[1], dtype=np.float32)[np.abs(signed) - 1]
    found *= np.sign(signed)[..., None]
    return found.transpose(0, 2, 1)


def _noise_dim(part: Part) -> int:
    """How many latents a policy has that is no stack."""
    if part.kind == "symmetric":
        inside = part.config["inside"]
        return COMPASS + _noise_dim(Part(inside["kind"], inside["config"], {}))
    return int(part.config.get("noise_dim", part.config["action_dim"]))


def _stacked(graph: Graph, part: Part, obs: str, eps: str | None) -> str:
    """A stack, each layer in its own rhythm; what it has to remember goes in and comes out.

    The memory of a row: steps since its episode began, modulo the top layer's period, and the
    latents that are held, from the top down. All zeros is the beginning of an episode, where every
    layer decides. There is none if every layer decides at every step.
    """
    width, periods = _latents(part.config), _periods(part.config)
    step = graph.columns(MEMORY, 0, 1) if _memory_dim(part.config) else ""
    latent, held = eps, list[str]()
    for index, period in reversed([*enumerate([1, *periods])]):
        latent = BUILDS[(layer := _layer(part, index)).kind](graph, layer, obs, latent)
        if period > 1:
            first = 1 + width * len(held)
            due = graph.add("Equal", graph.add("Mod", step, float(period), fmod=1), 0.0)
            before = graph.columns(MEMORY, first, first + width)
            latent = graph.add("Where", due, latent, before)
            held.append(latent)
    if step:
        after = graph.add("Mod", graph.add("Add", step, 1.0), float(periods[-1]), fmod=1)
        graph.add("Concat", after, *held, axis=1, name=NEXT_MEMORY)
    assert latent is not None
    return latent


def _layer(part: Part, index: int) -> Part:
    """A layer of a stack, counted from the bottom."""
    described, prefix = part.config["layers"][index], f"layers.{index}."
    own = {k.removeprefix(prefix): v for k, v in part.tensors.items() if k.startswith(prefix)}
    return Part(described["kind"], described["config"], own)


def _periods(config: Mapping[str, Any]) -> list[int]:
    """In how many steps each upper layer of a stack decides once."""
    return [*accumulate(config.get("holds", ()), mul)]


def _memory_dim(config: Mapping[str, Any]) -> int:
    """Entries of the memory of a policy; 0 for one that needs none."""
    held = sum(period > 1 for period in _periods(config))
    return 1 + held * _latents(config) if held else 0


def _latents(config: Mapping[str, Any]) -> int:
    """Of the bottom layer of a stack, and so of every one above."""
    bottom = config["layers"][0]
    return _noise_dim(Part(bottom["kind"], bottom["config"], {}))


BUILDS: dict[str, Build] = {
    "gaussian": _gaussian,
    "clipped_gaussian": _gaussian,
    "deterministic": _deterministic,
    "implicit": _implicit,
    "real_nvp": _real_nvp,
    "stacked": _stacked,
    "symmetric": _symmetric,
}


def policy_model(
    spec: Spec, policy: Mapping[str, Any], tensors: Mapping[str, Array], noise_dim: int = 0
) -> ModelProto:
    """The graph of a policy, from what is stored of it; see `onnx.export` for its values.

    Args:
        policy: {"kind", "config"}, one that a controller has accepted.
        noise_dim: of the policy, if noise is an input; 0: its mode.

    Raises:
        KeyError: a kind that has no graph.
    """
    graph, part = Graph(), Part(policy["kind"], policy["config"], tensors)
    unit = BUILDS[part.kind](graph, part, OBSERVATION, NOISE if noise_dim else None)
    _native(graph, spec, unit)
    memory = _memory_dim(part.config)
    inputs = {OBSERVATION: spec.observation_dim, NOISE: noise_dim, MEMORY: memory}
    outputs = {ACTION: spec.action_dim, NEXT_MEMORY: memory}
    ends = _values(inputs), _values(outputs)
    model = helper.make_model(
        helper.make_graph(graph.nodes, "policy", *ends, initializer=graph.constants),
        producer_name="skillkit",
        ir_version=IR,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    checker.check_model(model, full_check=True)
    return model


def _values(sizes: Mapping[str, int]) -> list[Any]:
    """Inputs or outputs that there are, with a row for each observation."""
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in sizes.items()
        if size
    ]


def _native(graph: Graph, spec: Spec, unit: str) -> None:
    """The output: actions in native units and within their bounds, to float32.

    Of an observation that is not finite the actions are NaN, as comparisons may hide what was not a
    number.
    """
    action = graph.add("Add", graph.add("Mul", unit, spec.half), spec.middle)
    low, high = _inside(spec.low, np.inf), _inside(spec.high, -np.inf)
    action = graph.add("Min", graph.add("Max", action, low), high)
    nothing = graph.add("Mul", OBSERVATION, 0.0)
    nothing = graph.add("ReduceSum", nothing, np.array([1], np.int64), keepdims=1)  # (B, 1)
    graph.add("Add", action, nothing, name=ACTION)


def _inside(bounds: Array, towards: float) -> Array:
    """Bounds as float32, none of them beyond what it was. (A,)"""
    single = bounds.astype(np.float32)
    beyond = single < bounds if towards > 0 else single > bounds
    found: Array = np.where(beyond, np.nextafter(single, np.float32(towards)), single)
    return found
