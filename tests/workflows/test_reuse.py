"""A new layer that begins with its base's replay: exactly, or not at all (THEORY 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import skillkit
from skillkit.algorithms.actor_critic import ActorCritic
from skillkit.envs import Task, Term, domain, task
from skillkit.errors import (
    IncompatibleSkills,
    InvalidValue,
    NonFinite,
    RunConflict,
    SkillkitError,
    UnknownName,
)
from skillkit.evaluation import evaluate
from skillkit.policies import StackedPolicy
from skillkit.replay import ReplayBuffer, Sampling
from skillkit.skill import Skill, arrays, load
from skillkit.types import Batch
from skillkit.workflows.base import base_of
from skillkit.workflows.common import controller
from skillkit.workflows.recipes import configure
from skillkit.workflows.reuse import Experience, ReuseConfig, begin, experience, put
from skillkit.workflows.run import Run
from skillkit.workflows.stack import StackConfig
from tests.point_skills import FLOW, STEPS
from tests.point_skills import skillkit as command
from tests.replays import reward_of, who

QUICK = {**FLOW, "reuse.updates": 20}
point: Any = domain("point")
THERE = point.arrival(x=1.2, y=1.2)
NEAR = replace(
    task("point_goal"), name="near", terms=(100 * THERE, point.effort()), ends=THERE.function
)  # the base comes to this goal, ends there, and pays for what its layers do


def stack(base: Skill, wanted: str | Task = "point_y", **options: Any) -> Skill:
    settings = {**QUICK, **options.pop("settings", {})}
    if not options.setdefault("reuse_replay", True):
        del settings["reuse.updates"]
    return skillkit.stack(base, wanted, settings=settings, **options)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """point_x, point_x/point_y on it at hold 1, both to read; and "held" at hold 3."""
    folder = tmp_path_factory.mktemp("registry")
    plain = {key: value for key, value in QUICK.items() if key != "reuse.updates"}
    skillkit.train("point_x", settings=plain | {"sac.policy": "gaussian"}).save(registry=folder)
    base = load("point_x", folder)
    stack(base).save(registry=folder)
    stack(base, reuse_replay=False, settings={"train.warmup": STEPS}).save("held", folder)
    return folder


NAMES = ["point_x", "point_x/point_y"]


@pytest.fixture(params=NAMES)
def base(request: pytest.FixtureRequest, registry: Path) -> Skill:
    return load(request.param, registry)


def lived(base: Skill, wanted: Task = NEAR) -> Experience:
    return experience(base, base_of(base, wanted, 1), wanted)


def run_of(base: Skill, size: int, **settings: Any) -> Run:
    """A run on a base, before its first step."""
    changed = {key.replace("__", "."): value for key, value in settings.items()}
    tables = {"stack": StackConfig, "reuse": ReuseConfig}
    configs = configure("sac", {**QUICK, **changed}, **tables)
    return Run([NEAR], "sac", configs, 0, "cpu", base_of(base, NEAR, 1), size)


# Exactly


def test_a_latent_gives_the_stored_action_back(base: Skill) -> None:
    found, stored = lived(base), base.replay.all()
    top = base_of(base, NEAR).layers[-1]
    with torch.no_grad():
        action = top.act(found.batch.obs, found.batch.action)
    order = base.replay.episodes()["actions"]
    torch.testing.assert_close(action, order, rtol=1e-5, atol=1e-5)
    assert found.left_out == 0 and len(found.episode) == len(stored.reward)
    assert found.batch.action.std() > 0.5  # these are latents, and not the actions again


def test_a_latent_leads_where_the_stored_action_led(base: Skill) -> None:
    """The domain's own step, under what the whole stack does at the recovered latent."""
    batch = lived(base).batch
    act = controller(NEAR, base.policy)
    native = NEAR.spec.native(act.unit(batch.obs.numpy(), batch.action.numpy()))
    after = point.step(batch.obs.double().numpy(), native, ())
    np.testing.assert_allclose(after, batch.next_obs, atol=1e-5)
    np.testing.assert_allclose(
        batch.reward, NEAR.reward(batch.obs.numpy(), native, batch.next_obs.numpy()), atol=1e-4
    )
    over = NEAR.terminated(batch.obs.numpy(), native, batch.next_obs.numpy())
    assert 0 < over.sum() < len(over)
    np.testing.assert_array_equal(batch.discount == 0, over)


def test_rewards_are_those_of_a_relabelled_replay(registry: Path) -> None:
    base = load("point_x", registry)
    relabelled = base.replay.relabel(base.spec, NEAR.reward, NEAR.terminated)
    found = lived(base)
    assert torch.equal(found.batch.reward, relabelled.all().reward)
    assert torch.equal(found.batch.discount, relabelled.all().discount)
    assert torch.equal(found.batch.obs, relabelled.all().obs)


def test_what_a_latent_does_not_give_back_is_left_out(registry: Path) -> None:
    """On the bound of the tanh the stored pre-tanh action still has its latent."""
    base = load("point_x", registry)
    sizes = base.replay.observation_dim, base.replay.action_dim
    o, a = sizes
    u = 2 * o + a
    clean = lived(base)
    base.replay.rows[7, u - a : u], base.replay.rows[7, u : u + a] = 1.0, 9.5
    base.replay.rows[20, u] += 1.0
    found = lived(base)
    assert found.left_out == 1 and found.counts["left_out_transitions"] == 1
    assert found.batch.action.isfinite().all()
    gone = (clean.batch.obs[:, None] == base.replay.all().obs[20]).all(-1).nonzero()[0, 0]
    pieces = len(found.episode.unique()) - len(clean.episode.unique())
    begins, ends = (clean.episode[gone + by] != clean.episode[gone] for by in (-1, 1))
    assert pieces == 1 - int(begins) - int(ends)


# In the replay


def numbered(lengths: list[int]) -> Experience:
    """Transitions that say who they are, as those of `tests.replays`."""
    e = np.repeat(np.arange(len(lengths)), lengths).astype(float)
    t = np.concatenate([np.arange(n) for n in lengths]).astype(float)
    obs, next_obs = (torch.from_numpy(np.stack([e, t + by], 1)).float() for by in (0, 1))
    discount = torch.ones(len(e))
    discount[np.cumsum(lengths)[::2] - 1] = 0.0  # every other one ends
    r = torch.from_numpy(reward_of(e, t)).float()
    return Experience(Batch(obs, obs[:, 1:], r, discount, next_obs), torch.from_numpy(e), 0)


@pytest.mark.parametrize("lanes", [1, 3, 8])
def test_what_was_reused_is_sampled_as_if_it_had_been_collected(lanes: int) -> None:
    """Three transitions ahead, within an episode: the ring is looked up as many rows away."""
    lengths, gamma = [9, 1, 12, 7, 2, 10], 0.9
    found = numbered(lengths)
    replay = ReplayBuffer(100, 2, 1, gamma)
    put(found, replay, lanes)
    new = np.full((lanes, 2), 99.0)
    zeros, no = np.zeros((lanes, 1)), np.zeros(lanes, bool)
    replay.add(new, zeros, zeros, np.full(lanes, 1e6), no, no, new, np.arange(lanes), 0)
    drawn = replay.sample(2_000, torch.Generator().manual_seed(0), sampling=Sampling(3))
    kept = drawn.obs[:, 0] < 99
    (e, t), (e_after, after) = drawn.obs[kept].T, drawn.next_obs[kept].T
    assert torch.equal(e, e_after)
    ahead = after - t
    left = torch.tensor(lengths)[e.long()] - t
    assert ((ahead <= 3) & (ahead >= 1)).all()
    cut = 2 * (lanes > 1) * lanes + len(found.episode) % lanes  # at the ends of lanes
    assert (ahead < left.clamp(max=3)).double().mean() < (cut + 1) / len(found.episode)
    expected = sum(
        (gamma**k * torch.from_numpy(reward_of(e.numpy(), (t + k).numpy())) * (ahead > k))
        for k in range(3)
    )
    torch.testing.assert_close(drawn.reward[kept], torch.as_tensor(expected).float())
    ends = (left == ahead) & (e.long() % 2 == 0)
    torch.testing.assert_close(drawn.discount[kept], torch.where(ends, 0.0, gamma**ahead))


@pytest.mark.parametrize("lanes", [1, 3, 8])
def test_every_transition_is_there_once(lanes: int) -> None:
    found = numbered([9, 1, 12, 7])
    replay = ReplayBuffer(29, 2, 1, 0.9)
    put(found, replay, lanes)
    assert sorted(who(replay.all().obs)) == sorted(who(found.batch.obs))
    assert (replay.episode < 0).all()
    episodes = replay.episodes()
    assert episodes["lengths"].sum() == 29 and episodes["terminated"].sum() == 2
    assert len(ReplayBuffer.from_episodes(episodes, 0.9)) == 29


def test_the_discount_is_that_of_the_new_layer(registry: Path) -> None:
    base = load("point_x", registry)
    found = lived(base)
    run = run_of(base, len(found.episode), sac__gamma=0.9)
    begin(run, found, 0, lambda event: None)
    stored = run.replay.all().discount
    assert stored.unique().tolist() == [0.0, pytest.approx(0.9)]
    assert (stored == 0).sum() == (found.batch.discount == 0).sum()
    assert run.replay.capacity == len(found.episode) + STEPS + 8


# The critics


def circling(size: int) -> Experience:
    """Every state leads to itself or ends; half |h|^2 is paid, on average 1 under N(0, I)."""
    rng = torch.Generator().manual_seed(0)
    obs = torch.randn(size, 4, generator=rng)
    ends = torch.arange(size) % 2 == 1
    obs[:, 0] = torch.where(ends, 1.0, -1.0)
    latent = 1.5 * torch.randn(size, 2, generator=rng)
    reward = latent.square().sum(-1) / 2
    return Experience(
        Batch(obs, latent, reward, torch.where(ends, 0.0, 0.5), obs), torch.arange(size), 0
    )


def test_the_critics_begin_at_the_value_of_the_identity(registry: Path) -> None:
    """Q = |h|^2 / 2 + gamma / (1 - gamma) where it goes on; the policy has not moved a bit."""
    base = load("point_x", registry)
    fast = {"sac__learning_rate": 3e-3, "sac__target_rate": 0.05, "sac__hidden": (32, 32)}
    run = run_of(base, 2_048, sac__gamma=0.5, **fast)
    learner = run.trainees[0].learner
    assert isinstance(learner, ActorCritic)
    before = {key: value.copy() for key, value in arrays(learner.policy).items()}
    alpha, events = learner.alpha, list[Any]()
    begin(run, circling(2_048), 1_200, events.append)
    batch = run.replay.all()
    with torch.no_grad():
        off = learner.q(batch.obs, batch.action) - batch.reward
        raw = learner.policy.raw(batch.obs, batch.action)
    goes_on = batch.discount > 0
    assert off[goes_on].mean().item() == pytest.approx(1.0, abs=0.15)
    assert off[~goes_on].mean().item() == pytest.approx(0.0, abs=0.15)
    assert off[goes_on].std() < 0.4
    after = arrays(learner.policy)
    assert all(after[key].tobytes() == before[key].tobytes() for key in before)
    assert torch.equal(raw, batch.action) and learner.alpha == alpha
    assert not learner.optimizers["policy"].state
    losses = [event["critic_loss"] for event in events]
    assert [event["update"] for event in events] == [1_000, 1_200]
    assert losses[-1] < 0.1 * batch.reward.square().mean().item()


def test_the_stack_acts_as_its_base_before_the_first_step(registry: Path) -> None:
    base = load("point_x", registry)
    found = lived(base)
    run = run_of(base, len(found.episode))
    begin(run, found, 20, lambda event: None)
    policy = run.trainees[0].policy
    assert isinstance(policy, StackedPolicy)
    one, other = (controller(NEAR, acting) for acting in (base.policy, policy))
    played = [
        evaluate(act.batch, NEAR, 3, 0, noise_dim=2, paths=True, begin=act.reset).paths
        for act in (one, other)
    ]
    np.testing.assert_array_equal(*played)
    assert all(
        own.tobytes() == now.tobytes()
        for own, now in zip(
            arrays(base.policy).values(), arrays(policy.each[0]).values(), strict=True
        )
    )


# The command


def test_what_the_skill_says_of_it(registry: Path) -> None:
    base, found = (load(name, registry) for name in NAMES)
    config, metrics = found.manifest.config, found.metrics
    assert config["reuse"] == {"updates": 20} and config["stack"] == {"hold": 1}
    assert metrics["reused_transitions"] == len(base.replay) == STEPS
    assert metrics["left_out_transitions"] == 0
    assert metrics["steps"] == STEPS and len(found.replay) == 2 * STEPS
    assert "skillkit stack point_x@1 --task point_y --reuse-replay --seed 0" in found.card
    assert f"reused transitions: {STEPS}" in found.card
    held = load("held", registry)
    assert "reuse" not in held.manifest.config and "reused_transitions" not in held.metrics


def test_there_is_no_warm_up_unless_it_is_asked_for(registry: Path) -> None:
    base = load("point_x", registry)
    recipe = replace(NEAR, recipe=("sac", {**NEAR.recipe[1], "train.warmup": 700}))
    del (plain := dict(QUICK))["train.warmup"]
    few = {**plain, "train.steps": 400, "train.evaluate_every": 400}
    found = skillkit.stack(base, recipe, reuse_replay=True, settings=few)
    assert found.manifest.config["train"]["warmup"] == 0
    updates = found.manifest.timing["updates"]
    asked = skillkit.stack(base, recipe, reuse_replay=True, settings={**few, "train.warmup": 304})
    assert asked.manifest.config["train"]["warmup"] == 304
    assert 20 < asked.manifest.timing["updates"] < updates


@pytest.mark.parametrize(
    ("name", "attempt", "error", "sentence"),
    [
        ("point_x", lambda b: stack(b, settings={"stack.hold": 3}), InvalidValue,
         "no latent that is held for 3; set stack.hold=1, or leave out --reuse-replay"),
        ("point_x", lambda b: stack(b, "point_maze"), IncompatibleSkills,
         "its scene is the open, and the task's is small_cross_maze.xml"),
        ("held", lambda b: stack(b), IncompatibleSkills,
         "what held has stored are decisions held for several steps"),
        ("point_x", lambda b: stack(b, "push_x"), IncompatibleSkills, "acts in the domain point"),
        ("point_x", lambda b: stack(b, settings={"sac.policy": "gaussian"}), InvalidValue,
         "a new layer of kind gaussian does not begin as the identity.*sac.policy=real_nvp"),
        ("point_x", lambda b: stack(b, settings={"reuse.updates": -1}), InvalidValue,
         "reuse.updates must not be negative, got -1"),
        ("point_x", lambda b: stack(b, settings={"reuse.update": 1}), UnknownName, "reuse.updates"),
        ("point_x", lambda b: skillkit.stack(b, "point_y", settings={"reuse.updates": 1}),
         UnknownName, "no setting is called 'reuse.updates'"),
        ("point_x", lambda b: stack(b, settings={"train.replay_capacity": 700}), InvalidValue,
         "the base gives 800 transitions, and train.replay_capacity=700 does not hold them"),
        ("point_x", lambda b: stack(b, replace(NEAR, terms=(Term("far", far),))), NonFinite,
         "near gives a transition of point_x a reward that is no number"),
    ],
)  # fmt: skip
def test_refusals(
    registry: Path,
    name: str,
    attempt: Callable[[Skill], Any],
    error: type[SkillkitError],
    sentence: str,
) -> None:
    with pytest.raises(error, match=sentence) as caught:
        attempt(load(name, registry))
    assert "\n" not in str(caught.value)


def far(now: Any, action: Any, then: Any) -> Any:
    return np.where(now["x"] > 0, np.nan, 0.0)


def test_a_gaussian_layer_can_begin_with_the_transitions_alone(registry: Path) -> None:
    settings = {"sac.policy": "gaussian", "reuse.updates": 0, "train.steps": 80, "train.warmup": 80}
    found = stack(load("point_x", registry), settings=settings)
    assert found.metrics["reused_transitions"] == STEPS


def test_a_run_goes_on_without_a_second_fit(registry: Path, tmp_path: Path) -> None:
    base, folder = load("point_x", registry), tmp_path / "run"
    found: Iterator[int] = iter(range(9))

    def checkpoint(save: Callable[[Path], None]) -> None:
        if next(found) == 0:
            folder.mkdir()
            save(folder)

    events: list[Any] = []
    longer = {"train.steps": 1_200}
    done = stack(base, settings=longer, checkpoint=checkpoint, on_event=events.append)
    assert [event["update"] for event in events if event["kind"] == "fit"] == [20]
    again = stack(base, settings=longer, resume=folder, on_event=(events := []).append)
    assert not [event for event in events if event["kind"] == "fit"]
    for skill in (done, again):
        assert skill.metrics["steps"] == 1_200 and skill.metrics["reused_transitions"] == STEPS
        assert len(skill.replay) == 1_200 + STEPS
    for wrong in ({"reuse_replay": False, "settings": {"stack.hold": 1, **longer}},
                  {"settings": {"reuse.updates": 21, **longer}}):  # fmt: skip
        with pytest.raises(RunConflict, match=r"the interrupted run has reuse.updates 20"):
            stack(base, resume=folder, **wrong)


def test_by_command(registry: Path) -> None:
    words = ["stack", "point_x", "--registry", registry, "--reuse-replay", "--task"]
    answer = command(*words, "point_maze")
    assert "leave out --reuse-replay" in answer.sentence
    assert "stack.hold=1" in command(*words, "point_y", "--set", "stack.hold=2").sentence
