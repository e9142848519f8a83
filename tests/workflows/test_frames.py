"""A base in every frame: a new layer begins with what it has stored, and with its images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import skillkit
from skillkit.envs import Task, domain, task
from skillkit.envs.symmetry import Symmetry, images
from skillkit.errors import IncompatibleSkills, InvalidValue
from skillkit.exporters.minari import write
from skillkit.importers.minari import read
from skillkit.policies import SymmetricPolicy, build_policy
from skillkit.replay import ReplayBuffer
from skillkit.skill import Skill, load
from skillkit.workflows.base import base_of
from skillkit.workflows.common import controller
from skillkit.workflows.frames import lived_in_every_frame
from skillkit.workflows.reuse import Experience, experience
from tests.point_skills import FLOW, STEPS

point: Any = domain("point")
TURN = Symmetry(
    {"x": "-y", "y": "x", "x_velocity": "-y_velocity", "y_velocity": "x_velocity"},
    {"force_x": "-force_y", "force_y": "force_x"},
)
MIRROR = Symmetry({"y": "-y", "y_velocity": "-y_velocity"}, {"force_y": "-force_y"})


class Table(type(point)):  # type: ignore[misc]
    """The plane of the point, in which no direction is preferred."""

    symmetries = (TURN, MIRROR)


table = Table()
ROAM = replace(task("point_roam"), name="wander", on=table, symmetric=True)
THERE = table.arrival(x=1.2, y=0.9)  # the images of a way there lead elsewhere
NEAR = Task("near", table, "", (100 * THERE, table.effort()), 50, ends=THERE.function)
GROUP = images(table.spec, table.symmetries)


@pytest.fixture(scope="module")
def base() -> Skill:
    """A skill in every frame, to read."""
    return skillkit.train(ROAM, settings=FLOW)


@pytest.fixture(scope="module")
def found(base: Skill) -> Experience:
    return lived(base)


def lived(base: Skill, wanted: Task = NEAR, seed: int = 0) -> Experience:
    return experience(base, base_of(base, wanted, 1), wanted, seed)


def image(x: Tensor, g: int, of: str) -> Tensor:
    index, sign = getattr(GROUP, of)[g], getattr(GROUP, f"{of}_sign")[g]
    return x[..., torch.as_tensor(index)] * torch.as_tensor(sign)


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def stack(base: Skill, seed: int = 0, **settings: Any) -> Skill:
    changed = {key.replace("__", "."): value for key, value in settings.items()}
    changed = {
        "train.evaluate_every": 400,
        "train.steps": 80,
        "train.warmup": 80,
        "reuse.updates": 20,
        **changed,
    }
    return skillkit.stack(base, NEAR, reuse_replay=True, settings=FLOW | changed, seed=seed)


def test_each_frame_acts_as_the_stored_transitions_did(base: Skill, found: Experience) -> None:
    """In frame g the world is g^-1 of what was seen, and the latent does g^-1 of what was done."""
    policy, stored = base.policy, base.replay.episodes()
    assert isinstance(policy, SymmetricPolicy)
    batch, count = found.batch, len(stored["actions"])
    assert len(found.episode) == 8 * count and found.left_out == 0
    frames = policy.frame(batch.action[:, :2])
    assert torch.equal(frames, torch.arange(8).repeat_interleave(count))
    with torch.no_grad():
        done = base_of(base, NEAR).layers[-1].act(batch.obs, batch.action)
        eps = policy.inside.inverse(batch.obs[:count], stored["actions"], stored["pre_tanh"])
    chunks = stored["observations"].split((stored["lengths"] + 1).tolist())
    before = torch.cat([episode[:-1] for episode in chunks])
    for g in range(8):
        here = slice(g * count, (g + 1) * count)
        assert torch.equal(image(batch.obs[here], g, "observation"), before)
        same(image(done[here], g, "action"), stored["actions"])
        same(batch.action[here, 2:], eps)
    assert eps.std() > 0.5


def test_an_image_leads_where_its_latent_leads(base: Skill, found: Experience) -> None:
    """By the domain's own step: neither is it another transition, nor has it another's reward."""
    batch = found.batch
    act = controller(NEAR, base.policy)
    obs, next_obs = batch.obs.numpy(), batch.next_obs.numpy()
    native = NEAR.spec.native(act.unit(obs, batch.action.numpy()))
    np.testing.assert_allclose(table.step(obs.astype(float), native, ()), next_obs, atol=1e-5)
    np.testing.assert_allclose(batch.reward, NEAR.reward(obs, native, next_obs), atol=1e-4)
    over = NEAR.terminated(obs, native, next_obs)
    np.testing.assert_allclose(batch.discount, base.gamma * ~over)
    met = over.reshape(8, -1).sum(1)
    assert met.sum() > 0 and len(set(met.tolist())) > 1  # the task prefers a direction


def test_a_compass_is_as_likely_as_the_prior_has_it(found: Experience) -> None:
    """All frames together are N(0, I), and no transition has the compass of the one beside it."""
    compass = found.batch.action[:, :2]
    assert compass.mean(0).abs().max() < 4 / len(compass) ** 0.5
    same_as_prior = torch.cov(compass.T) - torch.eye(2)
    assert same_as_prior.abs().max() < 6 / len(compass) ** 0.5
    assert len(compass[:STEPS].unique(dim=0)) > 0.9 * STEPS


def test_the_seed_says_which_compasses(base: Skill, found: Experience) -> None:
    again, other = lived(base), lived(base, seed=1)
    assert torch.equal(again.batch.action, found.batch.action)
    assert not torch.equal(other.batch.action[:, :2], found.batch.action[:, :2])
    same(other.batch.action[:, 2:], found.batch.action[:, 2:])


def test_nothing_crosses_an_episode(found: Experience) -> None:
    """A row of an episode begins where the one before it ended, and that did not end the task."""
    follows = found.episode[1:] == found.episode[:-1]
    assert torch.equal(found.batch.obs[1:][follows], found.batch.next_obs[:-1][follows])
    assert (found.batch.discount[:-1][follows] > 0).all()
    assert (~follows).sum() >= 8 * (STEPS // 50) - 1
    assert len(found.episode.unique()) == (~follows).sum() + 1


def test_in_a_scene_there_are_no_images(base: Skill) -> None:
    """Walls need not be where their images are."""
    wanted = replace(NEAR, scene="small_cross_maze.xml")
    base.manifest.task["scene"] = wanted.scene
    try:
        found = lived(base, wanted)
    finally:
        base.manifest.task["scene"] = None
    assert len(found.episode) == STEPS and found.left_out == 0
    assert (base.policy.frame(found.batch.action[:, :2]) == 0).all()  # type: ignore[operator]
    order = base.replay.relabel(base.spec, NEAR.reward, NEAR.terminated).all()
    assert torch.equal(found.batch.obs, order.obs)


def test_a_frame_that_no_compass_says_has_no_images(base: Skill) -> None:
    """The way that was learned lies in a mirror: each two frames have one direction."""
    policy = base.policy
    assert isinstance(policy, SymmetricPolicy)
    east = torch.tensor([1.0, 0, 0, 0])
    ways = [image(east, g, "observation")[:2].tolist() for g in range(8)]
    known = {tuple(way): g for g, way in reversed(list(enumerate(ways)))}
    flat = SymmetricPolicy(policy.inside, policy.frames, ways)
    replay, compass = lived_in_every_frame(base.replay, flat, NEAR, torch.Generator())
    assert len(replay) == len(compass) == 4 * STEPS
    assert sorted(flat.frame(compass).unique().tolist()) == sorted(known.values())


def test_a_single_transition_comes_in_every_frame(base: Skill) -> None:
    stored = base.replay.episodes()
    one = {key: stored[key][: 2 if key == "observations" else 1] for key in stored}
    one["lengths"] = torch.tensor([1])
    replay = ReplayBuffer.from_episodes(one, base.gamma)
    policy: Any = base.policy
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        lived, compass = lived_in_every_frame(replay, policy, NEAR, generator)
        assert len(lived) == 8 and policy.frame(compass).tolist() == list(range(8))


@pytest.mark.slow
def test_by_stacking(base: Skill, registry_folder: Path, tmp_path: Path) -> None:
    """The layer begins with all of it, says so, and its own replay is experience of a third one."""
    skill = stack(base, seed=1).save(registry=registry_folder)
    assert skill.metrics["reused_transitions"] == 8 * STEPS
    assert "reused transitions: 6400" in skill.card
    again = load(skill.name, registry_folder)
    assert again.replay.action_dim == 4 and len(again.replay) == 8 * STEPS + 80
    begun = lived(base, seed=1).batch.action[:, 0]
    assert torch.isin(begun, again.replay.all().action[:, 0]).all()
    write(again, tmp_path / "dataset")
    assert torch.equal(read(tmp_path / "dataset", again).rows, again.replay.rows)
    third = lived(again)
    assert third.left_out == 0 and len(third.episode) == len(again.replay)


def broken(base: Skill, **changes: Any) -> Skill:
    described = {"kind": "symmetric", "config": {**base.policy.config, **changes}}
    policy = build_policy(described, lambda config: None)
    return Skill(base.manifest, policy=policy, q=base.q, replay=base.replay)


def swapped(base: Skill) -> list[Any]:
    """The same frames in another order than the domain has them."""
    return [table[::-1] for table in base.policy.config["frames"]]


def test_refusals(base: Skill) -> None:
    with pytest.raises(InvalidValue, match="no latent that is held for 3; set stack.hold=1"):
        stack(base, stack__hold=3)
    with pytest.raises(InvalidValue, match="gives 6,400 transitions, and train.replay_capacity=8"):
        stack(base, train__replay_capacity=800)
    with pytest.raises(IncompatibleSkills, match="its scene is the open, and the task's is small"):
        lived(base, replace(NEAR, scene="small_cross_maze.xml"))
    behind = [[0.0, 0.0], *[[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]] * 2][:8]
    for changed in (broken(base, frames=swapped(base)), broken(base, directions=behind)):
        with pytest.raises(IncompatibleSkills, match="not those of the domain point any more; tra"):
            lived(changed)


def test_the_shipped_ant_acted_in_the_first_frame() -> None:
    """By what it has stored: in another frame its latents would be unlikely ones."""
    ant = load("locomotion")
    policy, batch = ant.policy, ant.replay.all()
    assert isinstance(policy, SymmetricPolicy)
    ways = torch.tensor(policy.directions)
    newest = ant.replay.episode == ant.replay.episode.max()
    sizes = []
    with torch.no_grad():
        for way in ways:
            latent = policy.inverse_at(way.expand(len(batch.obs), 2), batch.obs, batch.action)
            sizes.append(latent[newest, 2:].square().mean().item())
    assert sizes[0] < min(sizes[1:]) / 3


def test_the_shipped_ant_begins_with_eight_times_what_it_has_stored() -> None:
    wanted, ant = task("ant_goal"), load("locomotion")
    found = lived(ant, wanted)
    assert len(found.episode) == 8 * len(ant.replay) and found.left_out == 0
    met = (found.batch.reward > 0).view(8, -1).sum(1)
    assert met[0] > 0 and met[1:].sum() > 0
