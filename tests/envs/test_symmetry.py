"""Symmetries: hand-made ones, and the law that the physics of every domain obeys its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import VectorEnv
from mujoco.batch import Batch

from skillkit import train
from skillkit.envs import Task, domain, make, task, task_names
from skillkit.envs.mujoco import MujocoDomain
from skillkit.envs.symmetry import Images, Symmetry, images, rotation_of
from skillkit.errors import InvalidValue, UnknownName
from skillkit.rotation import Pair, Rotation, rotated, rotation
from skillkit.types import Array, Entry, Spec
from tests import toys

TURN = Symmetry({"s0": "-s1", "s1": "s0"}, {"a0": "-a1", "a1": "a0"})
FLIP = Symmetry({"s1": "-s1"}, {"a1": "-a1"})
SYMMETRIC = sorted({task(name).domain for name in task_names() if task(name).on.symmetries})


def seen(x: Array, index: Array, sign: Array) -> Array:
    """All images of one vector. (n,) -> (G, n)"""
    return np.asarray(x[index] * sign)


def test_a_quarter_turn_by_hand() -> None:
    found = images(toys.spec(), [TURN])
    s, a = np.array([1, 2, 7]), np.array([3, 4])
    np.testing.assert_array_equal(
        seen(s, *found[:2]), [[1, 2, 7], [-2, 1, 7], [-1, -2, 7], [2, -1, 7]]
    )
    np.testing.assert_array_equal(seen(a, *found[2:]), [[3, 4], [-4, 3], [-3, -4], [4, -3]])


@pytest.mark.parametrize(
    ("symmetries", "size"), [((), 1), ((FLIP,), 2), ((TURN,), 4), ((TURN, FLIP), 8)]
)
def test_a_few_generate_a_group(symmetries: tuple[Symmetry, ...], size: int) -> None:
    """No image twice, and the images of the images are these images."""
    found = images(toys.spec(), symmetries)
    s = np.array([1.0, 2.0, 7.0])
    once = {tuple(image) for image in seen(s, *found[:2])}
    twice = {tuple(image) for of in once for image in seen(np.array(of), *found[:2])}
    assert len(once) == len(found.action) == size and once == twice
    assert tuple(s) == tuple(seen(s, *found[:2])[0])


@pytest.mark.parametrize(
    ("symmetry", "sentence"),
    [
        (Symmetry({"s0": "t"}), "no entry is called 't'"),
        (Symmetry({"t": "s0"}), "no entry is called 't'"),
        (Symmetry({"s0": "s1"}), "permutes the entries, so each stands once"),
        (Symmetry(action={"a0": "-a0"}), "leads out of the bounds"),
        (Symmetry(action={"a0": "a1", "a1": "a0"}), "leads out of the bounds"),
    ],
)
def test_what_is_no_symmetry_is_refused(symmetry: Symmetry, sentence: str) -> None:
    spec = toys.spec()
    lopsided = replace(spec, action=(Entry("a0", "", -1, 2), Entry("a1", "", -1, 1)))
    with pytest.raises((UnknownName, InvalidValue), match=sentence):
        images(lopsided, [symmetry])


def test_a_task_is_symmetric_only_where_its_domain_is() -> None:
    with pytest.raises(InvalidValue, match="domain pusher declares no symmetries"):
        replace(task("push_x"), symmetric=True)


def all_images(name: str) -> tuple[Spec, Images]:
    spec = domain(name).spec
    return spec, images(spec, domain(name).symmetries)


def begun(name: str, copies: int, image: Callable[[Array], Array]) -> VectorEnv[Any, Any, Any]:
    """Environments that stand at the images of one state; askew, but on the ground."""
    on, rng = domain(name), np.random.default_rng(0)
    assert isinstance(on, MujocoDomain)
    plain = next(task(each) for each in task_names() if task(each).domain == name)
    env = make(replace(plain, ends=None, symmetric=False, directed=None), copies, seed=0)
    env.reset()
    batch: Batch = env.simulation.batch  # type: ignore[attr-defined]
    positions = batch.qpos.shape[1]
    qpos, qvel = on.start(rng)
    qpos[3:] += rng.normal(0, 0.2, len(qpos) - 3)
    qpos[3:7] /= np.linalg.norm(qpos[3:7])
    state = np.concatenate((qpos, qvel + rng.normal(0, 1, len(qvel))))
    start = image(state)  # the ant's observation is its whole state
    batch.qpos[:], batch.qvel[:] = start[:, :positions], start[:, positions:]
    return env


@pytest.mark.parametrize("name", [name for name in SYMMETRIC if domain(name).rotation])
def test_the_physics_is_the_same_in_a_world_that_is_turned(name: str) -> None:
    """Under the same actions, by any angle of less than half a turn."""
    angles, rng = np.linspace(-3, 3, 9), np.random.default_rng(1)
    of = rotation_of(domain(name))
    assert of is not None

    def turned(x: Array) -> Array:
        return np.asarray(rotated(np.tile(x, (9, 1)), np.cos(angles), np.sin(angles), of))

    env, spec = begun(name, 9, turned), domain(name).spec
    for _ in range(10):
        obs, *_ = env.step(np.tile(rng.uniform(spec.low, spec.high), (9, 1)))
        np.testing.assert_allclose(obs, turned(obs[4]), atol=1e-4)
    assert np.abs(np.delete(obs, 4, 0) - obs[4]).max(axis=1).min() > 0.1


@pytest.mark.parametrize("angle", [0.0, 1.0, -2.0, 3.1, 3.141, -3.1415, 3.14159, np.pi])
def test_half_of_an_angle_by_hand(angle: float) -> None:
    """In float32, up to half a turn."""
    way = np.float32([np.cos(angle), np.sin(angle)])
    if angle == np.pi:
        way = np.float32([-1, 0])  # exactly
    seen = rotated(np.float32([[1, 0, 1, 0]]), *way[:, None], rotation(4, [(0, 1, 1), (2, 3, 0.5)]))
    wanted = [*way, np.cos(angle / 2), np.sin(angle / 2)]
    np.testing.assert_allclose(seen, [wanted], atol=2e-3 if abs(angle) > 3.141 else 1e-4)
    assert np.hypot(*seen[0, 2:]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        ([(0, 1, 1.0), (1, 2, 1.0)], "each of them once"),
        ([(0, 4, 1.0)], "pairs of 4 entries"),
        ([(0, -1, 1.0)], "pairs of 4 entries"),
        ([(0, 1, 0.3)], "by the angle or by half of it"),
    ],
)
def test_what_does_not_turn_is_refused(pairs: list[Pair], sentence: str) -> None:
    with pytest.raises(InvalidValue, match=sentence):
        rotation(4, pairs)


@pytest.mark.parametrize("name", SYMMETRIC)
def test_the_physics_takes_the_image_of_a_step_for_a_step(name: str) -> None:
    """From every image of a state, the image of an action leads to the image of what comes next."""
    spec, found = all_images(name)
    rng = np.random.default_rng(1)
    env = begun(name, len(found.action), lambda state: seen(state, *found[:2]))
    for _ in range(10):
        action = rng.uniform(spec.low, spec.high)
        obs, *_ = env.step(np.float32(seen(action, *found[2:])))
        np.testing.assert_allclose(obs, seen(obs[0], *found[:2]), atol=1e-4)
    assert np.abs(obs[1:] - obs[0]).max(axis=1).min() > 0.1  # images differ from what they are of


@pytest.mark.parametrize("name", [name for name in task_names() if task(name).symmetric])
def test_a_symmetric_task_judges_images_alike(name: str) -> None:
    found = task(name)
    _, group = all_images(found.domain)
    env = make(replace(found, ends=None), 1, seed=0)
    now, _ = env.reset()
    rng = np.random.default_rng(0)
    for _ in range(30):
        action = rng.uniform(found.spec.low, found.spec.high)
        then, *_ = env.step(np.float32(action)[None])
        transition = (
            seen(now[0], *group[:2]), seen(action, *group[2:]), seen(then[0], *group[:2])
        )  # fmt: skip
        rewards, ends = found.reward(*transition), found.terminated(*transition)
        np.testing.assert_allclose(rewards, rewards[0], rtol=1e-5)
        assert len(set(ends.tolist())) == 1
        if (of := rotation_of(found.on)) is not None:
            ways = np.linspace(-3, 3, 8)

            def turned(x: Array, ways: Array = ways, of: Rotation = of) -> Array:
                return np.asarray(rotated(np.tile(x, (8, 1)), np.cos(ways), np.sin(ways), of))

            transition = turned(now[0]), np.tile(action, (8, 1)), turned(then[0])
            np.testing.assert_allclose(found.reward(*transition), rewards[0], rtol=1e-5)
            assert set(found.terminated(*transition).tolist()) == set(ends.tolist())
        now = then
    reads = set(found.reads or range(found.spec.observation_dim))
    assert all({abs(i) for i in row[sorted(reads)]} == reads for row in group.observation)


def test_what_a_domain_says_wrongly_is_found_out_before_anything_is_learned() -> None:
    mirror = {"x": "-x", "x_velocity": "-x_velocity"}, {"force_x": "-force_x"}

    class Skew(type(domain("point"))):  # type: ignore[misc]
        symmetries, rotation = (Symmetry(*mirror),), (("x", "north", 1.0),)

    class Lame(type(domain("point"))):  # type: ignore[misc]
        symmetries = (Symmetry({"x": "-north"}),)

    for wrong in (Skew(), Lame()):
        with pytest.raises(UnknownName, match="'north'"):
            train(Task("t", wrong, "", task("point_roam").terms, 9, symmetric=True))


def test_a_task_with_a_direction_is_not_symmetric() -> None:
    assert task("locomotion").symmetric and not task("ant_run").symmetric
    assert not task("0.5*locomotion+0.5*ant_run").symmetric
