"""Stacks without PyTorch: the torch policy's actions, each layer in its own rhythm (THEORY 7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from skillkit.controller import Controller
from skillkit.envs import make, task
from skillkit.envs.latent import LatentAction
from skillkit.errors import CorruptSkill, NonFinite
from skillkit.policies import POLICIES, Policy, StackedPolicy
from skillkit.runtimes import RUNTIMES
from skillkit.skill import arrays
from skillkit.types import Array
from tests.toys import spec, stirred

SPEC = spec(4, 2, -1.0, 3.0)
STACKS = [
    (("gaussian", "gaussian"), (3,)),
    (("real_nvp", "gaussian", "real_nvp"), (3, 2)),
    (("gaussian", "real_nvp", "implicit"), (2, 3)),
    (("real_nvp", "deterministic"), (1,)),
]
every_stack = pytest.mark.parametrize(("kinds", "holds"), STACKS)


def stack(kinds: tuple[str, ...], holds: tuple[int, ...]) -> StackedPolicy:
    torch.manual_seed(0)
    layers: list[Policy] = [
        stirred(POLICIES[kind](4, 2, (8,), squash=not index, **kept(kind, index)))
        for index, kind in enumerate(kinds)
    ]
    return StackedPolicy(layers, holds)


def kept(kind: str, index: int) -> dict[str, Any]:
    return {"inputs": (3, 1)} if index == 0 else {}


def described(policy: Policy) -> dict[str, Any]:
    return {"kind": policy.kind, "config": policy.config}


def control(policy: Policy, **options: Any) -> Controller:
    return Controller(SPEC, described(policy), arrays(policy), **options)


def observations(steps: int, rows: int = 1) -> Array:
    return np.random.default_rng(1).standard_normal((steps, rows, 4)).astype(np.float32)


class ByHand:
    """One episode of a stack as the text says it: a count of decisions for each layer."""

    def __init__(self, policy: StackedPolicy) -> None:
        self.layers, self.holds = policy.each, policy.holds
        self.left = [0] * len(self.holds)  # decisions of the layer below that a latent still has
        self.latents: list[Any] = [None] * len(self.holds)

    def __call__(self, obs: Array, noise: Array | None) -> Array:
        state = torch.from_numpy(obs)[None]
        latent = self._latent(0, state, noise)
        with torch.no_grad():
            return self.layers[0].act(state, latent).numpy()[0]

    def _latent(self, below: int, state: Any, noise: Array | None) -> Any:
        """What layer `below` gets for this decision of its own."""
        if below == len(self.holds):
            return None if noise is None else torch.from_numpy(noise)[None]
        if self.left[below] == 0:
            above = self._latent(below + 1, state, noise)
            layer = self.layers[below + 1]
            with torch.no_grad():
                self.latents[below] = (
                    layer.mode(state) if above is None else layer.act(state, above)
                )
            self.left[below] = self.holds[below]
        self.left[below] -= 1
        return self.latents[below]


@every_stack
def test_the_moment_at_which_every_layer_decides(
    kinds: tuple[str, ...], holds: tuple[int, ...]
) -> None:
    policy = stack(kinds, holds)
    obs, noise = torch.randn(50, 4), torch.randn(50, policy.noise_dim)
    found = control(policy)
    with torch.no_grad():
        np.testing.assert_allclose(found.unit(obs.numpy(), None), policy.mode(obs), atol=1e-5)
        sampled = found.unit(obs.numpy(), noise.numpy())
        np.testing.assert_allclose(sampled, policy.act(obs, noise), atol=1e-5)


@every_stack
@pytest.mark.parametrize("sample", [False, True])
def test_every_layer_decides_in_its_own_rhythm(
    kinds: tuple[str, ...], holds: tuple[int, ...], sample: bool
) -> None:
    policy = stack(kinds, holds)
    found, rng = control(policy, deterministic=not sample, seed=3), np.random.default_rng(3)
    noise_dim = policy.noise_dim if sample else 0
    for length in (14, 5, 14):  # episodes; the second one ends inside a hold
        found.reset()
        by_hand = ByHand(policy)
        for obs in observations(length)[:, 0]:
            noise = rng.standard_normal(noise_dim, np.float32) if sample else None
            expected = SPEC.native(by_hand(obs, noise))
            np.testing.assert_allclose(found(obs), expected, atol=3e-5)


@every_stack
def test_many_episodes_are_one_by_one_to_the_last_bit(
    kinds: tuple[str, ...], holds: tuple[int, ...]
) -> None:
    policy = stack(kinds, holds)
    many, ones = control(policy), [control(policy) for _ in range(3)]
    begins = {4: [True, False, False], 5: [False, True, True], 9: [True, True, True]}
    for t, obs in enumerate(observations(16, rows=3)):
        if t in begins:
            many.reset(np.array(begins[t]))
            for one, begin in zip(ones, begins[t], strict=True):
                if begin:
                    one.reset()
        expected = np.stack([one(row) for one, row in zip(ones, obs, strict=True)])
        np.testing.assert_array_equal(many.batch(obs), expected)


def test_single_steps_and_batches_are_different_episodes() -> None:
    policy = stack(*STACKS[0])
    obs = observations(6)
    alone, mixed = control(policy), control(policy)
    for one in obs[:, 0]:
        expected = alone(one)
        mixed.batch(np.concatenate([obs[0], obs[1]]))
        np.testing.assert_array_equal(mixed(one), expected)


def test_reset_makes_it_forget() -> None:
    """Between decisions the top layer does not look, and after a reset it does."""
    policy = stack(("gaussian", "gaussian"), (3,))
    found, (first, other) = control(policy), observations(2)[:, 0]
    fresh = found(other)
    found.reset()
    found(first)
    held = found(other)
    found.reset()
    assert not np.allclose(held, fresh, atol=1e-3)
    np.testing.assert_array_equal(found(other), fresh)
    # another number of rows: other episodes
    found.batch(np.stack([first, first]))
    np.testing.assert_array_equal(found.batch(np.stack([other] * 3))[0], fresh)


@pytest.mark.parametrize("hold", [1, 3])
def test_acting_is_what_the_layer_was_trained_in(hold: int) -> None:
    """The stack in the task, and its top layer in the environment of latents: the same episodes."""
    played = task("point_x")
    policy = stack(("gaussian", "gaussian", "real_nvp"), (hold, 2))
    whole = Controller(played.spec, described(policy), arrays(policy))
    bottom, middle, top = (RUNTIMES[p.kind](p.config, arrays(p)) for p in policy.each)
    env: Any = make(played, 2, seed=7)
    env = LatentAction(env, lambda o, h: played.spec.native(bottom(o, h)), played.spec, hold, 0.9)
    env = LatentAction(env, middle, env.interface, 2, 0.9)
    obs, _ = env.reset()
    plain = make(played, 2, seed=7)
    seen, _ = plain.reset()
    done = np.zeros(2, bool)
    for _ in range(8):
        obs, _, _, _, info = env.step(top(obs, None))
        for _ in range(info["lasted"][0]):
            seen, _, _, done, _ = plain.step(whole.batch(seen))
        np.testing.assert_array_equal(seen, obs)
    assert not done.any()


def test_a_flow_that_has_learned_nothing_leaves_its_base_as_it_is() -> None:
    """An identity layer at hold 1: bit for bit the base's own samples (THEORY 7)."""
    base = stirred(POLICIES["gaussian"](4, 2, (8,)))
    new = POLICIES["real_nvp"](4, 2, (8,), squash=False)
    obs, noise = observations(5, rows=6), np.random.default_rng(0)
    found, alone = control(StackedPolicy([base, new], [1])), control(base)
    for rows in obs:
        eps = noise.standard_normal((6, 2), np.float32)
        np.testing.assert_array_equal(found.batch(rows, eps), alone.batch(rows, eps))


# A stranger's files


def config(change: Callable[[dict[str, Any]], Any]) -> tuple[dict[str, Any], dict[str, Array]]:
    policy = stack(("gaussian", "gaussian"), (3,))
    found = policy.config
    change(found)
    return found, arrays(policy)


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        (lambda c: c.pop("layers"), "at least two layers"),
        (lambda c: c["layers"].pop(), "at least two layers"),
        (lambda c: c.update(holds=[0]), "a hold for each"),
        (lambda c: c.update(holds=[3, 1]), "a hold for each"),
        (lambda c: c.update(holds=[2.5]), "holds is"),
        (lambda c: c.update(holds=None), "holds is"),
        (lambda c: c["layers"].append(c["layers"][1]), "a hold for each"),
        (lambda c: c["layers"].__setitem__(1, 7), "layer 1 of the stack is not described"),
        (lambda c: c["layers"][0].pop("config"), "layer 0 of the stack is not described"),
        (lambda c: c["layers"][1].update(kind="stacked"), "layer 1 is of the kind 'stacked'"),
        (lambda c: c["layers"][1].update(kind=["x"]), r"layer 1 is of the kind \['x'\]"),
        (lambda c: c["layers"][1]["config"].update(squash=True), "layer 1 does not fit"),
        (lambda c: c["layers"][0]["config"].update(squash=False), "layer 0 does not fit"),
        (lambda c: c["layers"][1]["config"].update(squash="no"), "layer 1 does not fit"),
        (lambda c: c["layers"][1]["config"].update(action_dim=3), "layer 1 does not fit"),
        (lambda c: c["layers"][0].update(kind="deterministic"), "is float32"),
        (lambda c: c["layers"][0]["config"].update(hidden=[9]), "is float32"),
        (lambda c: c.update(observation_dim=5), "observation_dim is 5"),
    ],
)
def test_a_config_that_is_wrong(change: Callable[[dict[str, Any]], Any], culprit: str) -> None:
    found, tensors = config(change)
    with pytest.raises(CorruptSkill, match=culprit):
        Controller(SPEC, {"kind": "stacked", "config": found}, tensors)


@pytest.mark.parametrize("name", ["layers.2.net.layers.0.bias", "noise", "layers.0.extra"])
def test_a_tensor_too_many(name: str) -> None:
    found, tensors = config(lambda c: None)
    with pytest.raises(CorruptSkill, match=name.removeprefix("layers.0.")):
        Controller(
            SPEC, {"kind": "stacked", "config": found}, {**tensors, name: np.ones(2, np.float32)}
        )


def test_a_tensor_too_few() -> None:
    found, tensors = config(lambda c: None)
    del tensors["layers.1.net.layers.0.bias"]
    with pytest.raises(CorruptSkill, match="absent"):
        Controller(SPEC, {"kind": "stacked", "config": found}, tensors)


def test_a_robot_s_policy_has_a_tanh() -> None:
    policy = POLICIES["gaussian"](4, 2, (8,), squash=False)
    with pytest.raises(CorruptSkill, match="no tanh"):
        control(policy)
    with pytest.raises(CorruptSkill, match="squash is 1"):
        RUNTIMES["gaussian"](policy.config | {"squash": 1}, arrays(policy))


def test_an_action_that_is_none_is_an_error() -> None:
    policy = stack(("gaussian", "gaussian"), (3,))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1e25)
    found = control(policy)
    with np.errstate(all="ignore"), pytest.raises(NonFinite, match="far too large"):
        found(np.ones(4))
    with np.errstate(all="ignore"), pytest.raises(NonFinite, match="far too large"):
        found.batch(np.ones((2, 4)))
