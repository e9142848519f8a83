"""A policy in every frame: the same deed, turned, wherever robot, world and compass are turned."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skillkit.controller import Controller
from skillkit.envs import Task, task
from skillkit.envs.symmetry import images
from skillkit.errors import CorruptSkill, InvalidValue
from skillkit.evaluation import evaluate
from skillkit.policies import POLICIES, Policy, StackedPolicy, SymmetricPolicy, build_policy
from skillkit.runtimes import RUNTIMES
from skillkit.skill import arrays
from skillkit.workflows.frames import in_every_frame
from tests.exporters.test_onnx import assert_same
from tests.toys import stirred

WALK = task("locomotion")
GROUP = images(WALK.spec, WALK.on.symmetries)  # quarter turns and mirrors
every_kind = pytest.mark.parametrize("kind", ["real_nvp", "gaussian", "implicit"])


def walker(kind: str = "real_nvp", scene: str | None = None) -> SymmetricPolicy:
    torch.manual_seed(0)
    spec = WALK.spec
    inside = stirred(POLICIES[kind](spec.observation_dim, spec.action_dim, (32,), WALK.reads))
    short = Task("w", WALK.on, "", WALK.terms, 20, inputs=WALK.inputs, symmetric=True)
    played = evaluate(lambda obs: np.full((len(obs), 8), 20.0), short, 4, 7, paths=True)
    return in_every_frame(inside, replace(played, task=replace(short, scene=scene)))


def image(x: Tensor, g: int, of: str) -> Tensor:
    index, sign = getattr(GROUP, of)[g], getattr(GROUP, f"{of}_sign")[g]
    return x[..., torch.as_tensor(index)] * torch.as_tensor(sign)


def turned(compass: Tensor, g: int) -> Tensor:
    """As the plane is, in which x and y come first among the entries."""
    plane = torch.cat([compass, compass.new_zeros(len(compass), 27)], 1)
    return image(plane, g, "observation")[:, :2]


@every_kind
@pytest.mark.parametrize("g", range(8))
def test_turn_everything_and_the_action_turns(kind: str, g: int) -> None:
    policy = walker(kind)
    obs, noise = torch.randn(200, 29), torch.randn(200, policy.noise_dim)
    other = torch.cat([turned(noise[:, :2], g), noise[:, 2:]], 1)
    torch.testing.assert_close(
        policy.act(image(obs, g, "observation"), other), image(policy.act(obs, noise), g, "action")
    )


def test_all_frames_are_equally_likely_and_the_first_is_as_learned() -> None:
    policy = walker()
    frames = policy.frame(torch.randn(8000, 2))
    assert sorted(set(frames.tolist())) == list(range(8))
    assert (torch.bincount(frames) / 1000 - 1).abs().max() < 0.15
    assert np.allclose(np.linalg.norm(policy.directions, axis=1), 1, atol=1e-6)
    obs, eps = torch.randn(6, 29), torch.randn(6, 8)
    first = torch.tensor(policy.directions[0]).expand(6, 2)
    noise = torch.cat([first, eps], 1)
    torch.testing.assert_close(policy.act(obs, noise), policy.inside.act(obs, eps))
    torch.testing.assert_close(policy.mode(obs), policy.inside.mode(obs))


def test_the_compass_says_where_it_goes() -> None:
    """A robot that is dragged along turns its way with the frame."""
    policy = walker()
    spec, act = WALK.spec, policy.directions
    matrices = [turned(torch.eye(2), g).T.numpy() for g in range(8)]
    for matrix, way in zip(matrices, act, strict=True):
        np.testing.assert_allclose(matrix @ way, act[0], atol=1e-6)
    assert spec.observation[0].name == "x" and policy.noise_dim == 10 and policy.onto


@every_kind
def test_the_controller_does_the_same(kind: str) -> None:
    policy = walker(kind)
    described = json.loads(json.dumps({"kind": policy.kind, "config": policy.config}))
    control = Controller(WALK.spec, described, arrays(policy))
    obs, noise = torch.randn(50, 29), torch.randn(50, policy.noise_dim)
    for eps, wanted in ((noise, policy.act(obs, noise)), (None, policy.mode(obs))):
        given = None if eps is None else eps.numpy()
        found = control.unit(obs.numpy(), given)
        np.testing.assert_allclose(found, wanted.detach().numpy(), atol=1e-5)
        one = RUNTIMES["symmetric"](described["config"], arrays(policy))
        found = one(obs[3].numpy(), None if given is None else given[3])
        np.testing.assert_allclose(found, wanted[3].detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["real_nvp", "gaussian"])
def test_each_frame_has_its_own_latent_for_an_action(kind: str) -> None:
    policy = walker(kind)
    compass, obs, u = torch.randn(800, 2), torch.randn(800, 29), torch.randn(800, 8)
    for pre_tanh in (None, u):
        noise = policy.inverse_at(compass, obs, torch.tanh(u), pre_tanh)
        assert torch.equal(noise[:, :2], compass)
        torch.testing.assert_close(policy.act(obs, noise), torch.tanh(u), atol=1e-5, rtol=1e-5)
    beyond = policy.inverse_at(compass, obs, torch.tanh(30 + u), 30 + u)  # where tanh is 1
    torch.testing.assert_close(policy.raw(obs, beyond), 30 + u, atol=1e-3, rtol=1e-4)
    elsewhere = policy.inverse_at(compass.flip(0), obs, torch.tanh(u), u)
    assert (elsewhere[:, 2:] != noise[:, 2:]).any(-1).all()
    farther = policy.inverse_at(2 * compass, obs, torch.tanh(u), u)  # says the same
    torch.testing.assert_close(farther[:, 2:], noise[:, 2:], atol=1e-3, rtol=1e-3)


def turned_world(x: Tensor, angle: Tensor) -> Tensor:
    """By hand: positions and velocities by the angle, and the attitude q -> (0, 0, sin, cos) q."""
    y, (cos, sin) = x.clone(), (angle.cos(), angle.sin())
    for i, j in ((0, 1), (15, 16)):
        y[:, i], y[:, j] = cos * x[:, i] - sin * x[:, j], sin * x[:, i] + cos * x[:, j]
    c, s, (w, i, j, k) = (angle / 2).cos(), (angle / 2).sin(), x[:, 3:7].T
    y[:, 3], y[:, 4], y[:, 5], y[:, 6] = c * w - s * k, c * i - s * j, c * j + s * i, c * k + s * w
    return y


@every_kind
def test_it_leads_in_every_direction(kind: str) -> None:
    """Where the world and the compass are turned, by less than to the next frame, it does alike."""
    policy = walker(kind)
    frame, obs, eps = torch.arange(400) % 8, torch.randn(400, 29), torch.randn(400, 8)
    angle = (torch.rand(400) - 0.5) * torch.pi / 4
    way = torch.tensor(policy.directions)[frame]
    there = torch.stack([way[:, 0] * angle.cos() - way[:, 1] * angle.sin(),
                         way[:, 0] * angle.sin() + way[:, 1] * angle.cos()], 1)  # fmt: skip
    near = policy.frame(there) == frame
    assert near.float().mean() > 0.4
    here = policy.act(obs, torch.cat([way, eps], 1))
    world = turned_world(obs, angle)
    torch.testing.assert_close(
        policy.act(world, torch.cat([3 * there, eps], 1))[near], here[near], atol=1e-4, rtol=1e-4
    )
    assert not torch.allclose(policy.act(world, torch.cat([way, eps], 1)), here, atol=1e-2)


def test_what_stands_in_a_scene_does_not_turn() -> None:
    policy, (obs, eps) = walker(scene="cross_maze.xml"), (torch.randn(9, 29), torch.randn(9, 8))
    way = torch.tensor(policy.directions[1]).expand(9, 2)
    beside = way + 0.1 * way.flip(1)
    assert not policy.pairs and torch.equal(policy.frame(way), policy.frame(beside))
    assert not any(name.startswith("rotation") for name, _ in policy.named_buffers())
    a, b = (policy.act(obs, torch.cat([c, eps], 1)) for c in (way, beside))
    assert torch.equal(a, b)


def test_no_compass_at_all_is_the_first_frame() -> None:
    policy, obs = walker(), torch.randn(5, 29)
    first = torch.tensor(policy.directions[0]).expand(5, 2)
    nothing = torch.zeros(5, policy.noise_dim)
    wanted = policy.act(obs, torch.cat([first, nothing[:, 2:]], 1))
    torch.testing.assert_close(policy.act(obs, nothing), wanted)
    torch.testing.assert_close(policy.mode(obs), wanted)


def test_it_is_built_again_from_plain_data() -> None:
    policy = walker()
    stored = json.loads(json.dumps({"kind": policy.kind, "config": policy.config}))
    again = build_policy(stored, build_q=lambda config: None)
    again.load_state_dict(policy.state_dict())
    obs, noise = torch.randn(4, 29), torch.randn(4, 10)
    assert again.config == policy.config and torch.equal(
        again.act(obs, noise), policy.act(obs, noise)
    )
    folded = policy.act(obs[:, None], noise[:, None].expand(4, 3, 10))
    torch.testing.assert_close(folded[:, 1], policy.act(obs, noise))


BROKEN: list[tuple[str, Any, str]] = [
    ("inside", None, "has one inside"),
    ("inside", {"kind": "stacked", "config": {}}, "has one inside"),
    ("inside", {"kind": "gaussian", "config": {}}, "the policy inside has observation_dim None"),
    ("directions", [], "1 to 1024 directions"),
    ("directions", [[1, "x"]] * 8, "pairs of numbers"),
    ("rotation", "yaw", "pairs of 29 entries"),
    ("rotation", [[0, 1, 1.0]] * 2, "pairs of 29 entries"),
    ("rotation", [[0, 1.0, 1.0]], "pairs of 29 entries"),
    ("rotation", [[0, 29, 1.0]], "pairs of 29 entries"),
    ("rotation", [[0, 1, float("nan")]], "pairs of 29 entries"),
    ("rotation", [[0, 1, [1]]], "pairs of 29 entries"),
    ("frames", [[[1]]], "two tables"),
    ("frames", [[[1] * 29] * 8, [[1] * 8] * 8], "no signed permutation of 1 to 29"),
    ("frames", [[[*range(1, 30), "x"]] * 8, [[1] * 8] * 8], "no signed permutation of 1 to 29"),
]


def test_a_world_turns_to_somewhere() -> None:
    policy = walker()
    nowhere = policy.config | {"directions": [[0.0, 0.0]] * 8}
    with pytest.raises(CorruptSkill, match="needs directions to turn to"):
        Controller(WALK.spec, {"kind": "symmetric", "config": nowhere}, arrays(policy))
    with pytest.raises(InvalidValue, match="needs directions to turn to"):
        build_policy({"kind": "symmetric", "config": nowhere}, build_q=lambda config: None)


@pytest.mark.parametrize(("field", "value", "words"), BROKEN)
def test_a_strangers_config_is_refused(field: str, value: Any, words: str) -> None:
    policy = walker()
    config = policy.config | {field: value}
    with pytest.raises(CorruptSkill, match=words):
        Controller(WALK.spec, {"kind": "symmetric", "config": config}, arrays(policy))


def test_what_has_no_frames_says_so() -> None:
    policy = walker()
    run = evaluate(lambda obs: np.zeros((len(obs), 8)), task("ant_run"), 2, 7, paths=True)
    with pytest.raises(InvalidValue, match="ant_run has no frames: it prefers a direction"):
        in_every_frame(policy.inside, run)
    with pytest.raises(InvalidValue, match="1 frames do not go with 8 directions"):
        SymmetricPolicy(policy.inside, ([[*range(1, 30)]], [[*range(1, 9)]]), policy.directions)


def stack() -> StackedPolicy:
    """A layer that steers the compass."""
    torch.manual_seed(1)
    top = stirred(POLICIES["real_nvp"](29, 10, (16,), squash=False))
    return StackedPolicy([walker(), top], [3])


def test_a_layer_on_top_steers_it() -> None:
    policy = stack()
    assert policy.noise_dim == 10 and policy.onto and not policy.has_density
    described = {"kind": policy.kind, "config": policy.config}
    control = Controller(WALK.spec, json.loads(json.dumps(described)), arrays(policy))
    obs, noise = torch.randn(9, 29), torch.randn(9, 10)
    found = control.unit(obs.numpy(), noise.numpy())
    np.testing.assert_allclose(found, policy.act(obs, noise).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("make", [walker, stack])
@pytest.mark.parametrize("sample", [False, True])
def test_it_can_be_exported(make: Callable[[], Policy], sample: bool) -> None:
    assert_same(make(), WALK.spec, torch.randn(20, 29), sample)
