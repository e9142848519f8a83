"""train: from a task to a skill that is reproducible, evaluated, drawn, and not yet saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from skillkit.envs import Task, Term, make, task
from skillkit.envs.gym import GymVectorEnv
from skillkit.errors import InvalidValue, NonFinite, SkillkitError, UnknownName
from skillkit.names import check_name
from skillkit.skill import Skill, arrays, load
from skillkit.workflows.checkpoints import Checkpoints
from skillkit.workflows.common import check_finite
from skillkit.workflows.naming import check_names, run_name
from skillkit.workflows.recipes import configure
from skillkit.workflows.run import Run
from skillkit.workflows.train import train, train_together
from tests.point_skills import SHORT, of

pytestmark = pytest.mark.usefixtures("no_pictures")
SETTINGS = {**SHORT, "sac.hidden": (16, 16), "sac.batch_size": 32}


def quick(expression: Task | str = "point_x", seed: int = 0, **changes: Any) -> Skill:
    """A training of a quarter of a second; a setting that is None is the recipe's own."""
    settings = of(changes.get("algorithm", "sac"), SETTINGS) | changes.pop("settings", {})
    given = {key: value for key, value in settings.items() if value is not None}
    return train(expression, settings=given, seed=seed, **changes)


@pytest.fixture(scope="module")
def skill() -> Skill:
    return quick()


def tensors(skill: Skill) -> dict[str, np.ndarray[Any, Any]]:
    replay = {key: value.numpy() for key, value in skill.replay.episodes().items()}
    return {**arrays(skill.policy), **{f"q.{k}": v for k, v in arrays(skill.q).items()}, **replay}


def same(a: Skill, b: Skill) -> bool:
    return all(np.array_equal(v, tensors(b)[k]) for k, v in tensors(a).items())


# --------------------------------------------------------------------------- what comes out of it


def test_the_skill_says_what_it_is_and_is_not_saved(skill: Skill, registry_folder: Path) -> None:
    found = skill.manifest
    assert (skill.name, skill.task, found.kind, found.algorithm) == (
        "point_x", "point_x", "trained", "sac",
    )  # fmt: skip
    assert found.task["source_hash"] == task("point_x").source_hash
    assert (skill.alpha, skill.gamma) == (pytest.approx(0.1), 0.99)
    assert found.config["train"]["steps"] == 1_600
    assert found.config["sac"]["hidden"] == [16, 16]
    assert found.metrics["steps"] == 1_600
    assert found.metrics["evaluation"]["episodes"] == 4
    assert found.parents == [] and skill.entry is None
    assert not list(registry_folder.iterdir())


def test_it_updates_as_often_as_its_recipe_says(skill: Skill) -> None:
    found = quick(settings={"train.update_every": None, "train.steps": 800}).manifest
    assert found.config["train"]["update_every"] == 4
    assert found.timing["updates"] == (800 - 400) / 4 + 2  # the step that ends warm-up
    assert skill.manifest.timing["updates"] == (1_600 - 400 + 8) // 12


def test_the_curve_has_a_row_per_evaluation(skill: Skill) -> None:
    assert [row["step"] for row in skill.curve] == [800, 1_600]
    assert {"return", "final_distance", "entropy", "alpha", "q"} <= skill.curve[-1].keys()


def test_card_and_figure_travel_with_it(skill: Skill) -> None:
    assert skill.card.startswith("# point_x\n") and "skillkit train point_x --seed 0" in skill.card
    assert skill.figure.startswith(b"\x89PNG")


def test_the_replay_is_capped_by_whole_episodes() -> None:
    found = quick(settings={"train.replay_stored": 320})
    assert found.manifest.replay["transitions"] == len(found.replay) <= 320
    assert found.manifest.replay["episodes"] == len(found.replay.episodes()["lengths"]) >= 6


def test_progress_is_reported() -> None:
    events: list[Mapping[str, Any]] = []
    quick(on_event=events.append)
    progress = [event for event in events if event["kind"] == "progress"]
    assert [(event["step"], event["steps"]) for event in progress] == [(1_000, 1_600)]
    assert {"return", "entropy", "alpha"} <= progress[0].keys()
    assert [event["step"] for event in events if event["kind"] == "evaluation"] == [800, 1_600]


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("point_x", "point_x"),
        ("point_x+point_y", "point_x+point_y.direct"),
        ("0.7*point_x+0.3*point_y", "0.7point_x+0.3point_y.direct"),
        ("gym:Pendulum-v1", "Pendulum-v1"),
    ],
)
def test_default_names(expression: str, name: str) -> None:
    assert check_names([task(expression)]) == [name]


def test_a_sum_is_trained_like_a_task() -> None:
    found = quick("0.7*point_x+0.3*point_y")
    assert (found.task, found.name) == ("0.7*point_x+0.3*point_y", "0.7point_x+0.3point_y.direct")
    episodes = found.replay.all()
    native = found.spec.native(episodes.action.numpy())
    parts = [
        task(name).reward(episodes.obs.numpy(), native, episodes.next_obs.numpy())
        for name in ("point_x", "point_y")
    ]
    np.testing.assert_allclose(
        episodes.reward.numpy(), 0.7 * parts[0] + 0.3 * parts[1], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("expression", ["gym:Pendulum-v1", "gym:HalfCheetah-v5"])
def test_any_gymnasium_id_can_be_trained(expression: str, registry_folder: Path) -> None:
    sizes = {"train.steps": 300, "train.warmup": 100, "train.update_every": 8, "sac.batch_size": 16}
    saved = quick(expression, settings=sizes | {"train.final_episodes": 2}).save()
    assert saved.reference == f"{expression.removeprefix('gym:')}@1"
    act = saved.controller()
    assert act(np.zeros(saved.spec.observation_dim)).shape == (saved.spec.action_dim,)


def test_a_task_value_will_do() -> None:
    faint = replace(task("point_x"), name="faint", terms=(0.1 * task("point_x").terms[0],))
    assert quick(faint).manifest.task["expression"] == "faint"


def test_a_deterministic_policy_without_temperature() -> None:
    recipe = {"sac.policy": "deterministic", "sac.alpha": 0.0, "explore.added_std": 0.2}
    found = quick(settings=recipe)
    assert found.alpha == 0.0 and found.policy.noise_dim == 0
    assert np.isfinite(found.save().controller()(np.zeros(4))).all()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "distance"), [("point_x", 0.1), ("point_y", 0.1)])
def test_the_recipe_learns_its_task(name: str, distance: float) -> None:
    assert train(name).metrics["evaluation"]["final_distance"]["mean"] < distance


# ---------------------------------------------------------------------------------- one seed


def test_the_seed_decides_everything(skill: Skill) -> None:
    torch.manual_seed(123)  # nothing may depend on the streams that everyone shares
    np.random.seed(123)  # noqa: NPY002
    again, other = quick(), quick(seed=1)
    assert same(skill, again) and not same(skill, other)
    assert again.metrics == skill.metrics and again.curve == skill.curve
    assert other.metrics["evaluation"] != skill.metrics["evaluation"]


def test_nothing_shared_is_left_changed() -> None:
    state, before = torch.random.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(2)
    within = []
    quick(on_event=lambda event: within.append(torch.get_num_threads()))
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert set(within) == {1} and after == 2
    assert torch.equal(state, torch.random.get_rng_state())


def test_neither_checkpoints_nor_events_change_what_is_learned(
    skill: Skill, tmp_path: Path
) -> None:
    checkpoints = Checkpoints(tmp_path / "run", period=0.0)
    assert same(skill, quick(checkpoint=checkpoints, on_event=lambda event: None))
    assert checkpoints.latest is not None


# ---------------------------------------------------------------------------------- soft Q-learning

SQL = {"sql.particles": 8, "sql.value_samples": 8, "sql.batch_size": 16}


def test_soft_q_learning_makes_a_skill_like_any_other() -> None:
    """On the recipe for soft actor-critic; the card says how to make it again."""
    few = SQL | {"train.update_every": None, "train.steps": 800}
    found = quick(algorithm="sql", settings=few).save()
    assert found.manifest.algorithm == "sql" and found.manifest.policy["kind"] == "implicit"
    assert "skillkit train point_x --algorithm sql --seed 0" in found.card
    config = found.manifest.config
    assert config["sql"]["hidden"] == [16, 16] and config["train"]["update_every"] == 4
    assert {"q", "alpha", "critic_loss", "stein"} <= found.curve[-1].keys()
    assert "entropy" not in found.curve[-1]
    for deterministic in (True, False):
        act = found.controller(deterministic=deterministic)
        assert np.isfinite(act(np.zeros(4))).all()
    assert same(found, quick(algorithm="sql", settings=few))


def test_a_cooling_run_goes_on_where_it_was(tmp_path: Path) -> None:
    cooling = LONGER | SQL | {"sql.alpha_start": 2.0, "train.update_every": 8}  # each step once
    options = {"algorithm": "sql", "settings": cooling}
    checkpoints = interrupted(tmp_path / "run", 2_000, **options)
    resumed = quick(resume=checkpoints.latest, **options)
    assert resumed.metrics["steps"] == 3_200 and resumed.alpha == pytest.approx(0.1)
    alphas = [row["alpha"] for row in resumed.curve]  # every quarter; log-linear to the half
    assert alphas == pytest.approx([0.447, 0.1, 0.1, 0.1], abs=1e-3)


# --------------------------------------------------------------------------- stop and go on


class Interrupt(Exception):
    pass


def interrupted(folder: Path, at: int, **changes: Any) -> Checkpoints:
    """The checkpoint of a training that was stopped at a step."""
    checkpoints = Checkpoints(folder, period=0.0)

    def save(write: Callable[[Path], None]) -> None:
        checkpoints(write)
        if (steps := count[0]) >= at:
            raise Interrupt(steps)

    count = [0]

    def watch(event: Mapping[str, Any]) -> None:
        count[0] = event["step"]

    with pytest.raises(Interrupt):
        quick(checkpoint=save, on_event=watch, **changes)
    return checkpoints


LONGER = {"train.steps": 3_200}


@pytest.mark.slow
def test_a_stopped_training_goes_on_where_it_was(tmp_path: Path) -> None:
    checkpoints = interrupted(tmp_path / "run", 2_000, settings=LONGER)
    events: list[Mapping[str, Any]] = []
    resumed = quick(resume=checkpoints.latest, settings=LONGER, on_event=events.append)
    assert [e["step"] for e in events if e["kind"] == "progress"] == [3_000]
    assert resumed.metrics["steps"] == 3_200
    whole = quick(settings=LONGER)
    assert resumed.manifest.timing["updates"] == whole.manifest.timing["updates"]
    assert len(resumed.replay) == len(whole.replay) == 3_200
    assert [row["step"] for row in resumed.curve][-1] == 3_200
    again = quick(resume=checkpoints.latest, settings=LONGER)
    assert same(resumed, again)


# ------------------------------------------------------------------------------------- NaN


def poisoned(after: int) -> Task:
    """point_x whose reward becomes NaN after that many steps of the vector environment."""
    calls = [0]

    def reward(now: Any, action: Any, then: Any) -> Any:
        calls[0] += 1
        return now["x"] if calls[0] <= after else now["x"] * np.nan

    return replace(task("point_x"), terms=(Term("reward", reward),))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_named(value: float) -> None:
    fine = {"actor_loss": torch.tensor(1.0)}
    check_finite(fine, 7)
    with pytest.raises(NonFinite, match=f"critic_loss became {value} before step 7; resume from"):
        check_finite({**fine, "critic_loss": torch.tensor(value)}, 7)


def test_a_nan_reward_stops_the_training_and_the_last_checkpoint_stays(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "run", period=0.0)
    with pytest.raises(NonFinite, match="task point_x: the reward of sub-environment 0"):
        quick(poisoned(300), checkpoint=checkpoints, settings=LONGER)
    resumed = quick(resume=checkpoints.latest, settings=LONGER)
    assert resumed.metrics["steps"] == 3_200


def test_a_loss_that_diverges_stops_the_training_and_the_last_checkpoint_stays(
    tmp_path: Path,
) -> None:
    checkpoints = Checkpoints(tmp_path / "run", period=0.0)
    wild = LONGER | {"train.warmup": 1_200}
    with pytest.raises(NonFinite) as caught:
        quick(checkpoint=checkpoints, settings=wild | {"sac.learning_rate": 1e6})
    assert "\n" not in str(caught.value)
    resumed = quick(resume=checkpoints.latest, settings=wild)  # at a rate that makes sense
    assert resumed.metrics["steps"] == 3_200


# ------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: train("point_z"), UnknownName, "no task is called 'point_z'; did you mean"),
        (lambda: quick(algorithm="sca"), UnknownName, "no algorithm is called 'sca'; .* sac"),
        (
            lambda: quick(settings={"sac.alpa": 1}),
            UnknownName,
            "'sac.alpa'; did you mean sac.alpha",
        ),
        (lambda: quick(settings={"train.steps": 0}), InvalidValue, "must be at least 1"),
        (lambda: quick(settings={"train.warmup": -1}), InvalidValue, "must not be negative"),
        (lambda: quick(settings={"train.final_episodes": 1}), InvalidValue, "at least 2 episodes"),
        (lambda: quick(settings={"sac.gamma": 1}), InvalidValue, "sac.gamma must lie strictly"),
        (lambda: quick(settings={"sac.alpha": -1}), InvalidValue, "sac.alpha must be positive"),
        (lambda: quick(settings={"sac.policy": "flow"}), UnknownName, "no policy is called 'flow'"),
        (
            lambda: quick(settings={"sac.flow.couplings": 1}),
            InvalidValue,
            "flow.couplings must be at least 2, got 1",
        ),
        (lambda: quick(settings={"sac.policy": "deterministic"}), InvalidValue, "set sac.alpha=0"),
        (lambda: quick(settings={"explore.share": 1}), InvalidValue, r"explore.share in \[0, 1\)"),
        (lambda: quick(seed=-1), InvalidValue, "a seed is a whole number from 0"),
        (lambda: quick(device="gpu"), InvalidValue, "takes auto, cpu or cuda, not 'gpu'"),
    ],
)
def test_what_cannot_be_trained(
    call: Callable[[], object], error: type[SkillkitError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_flow_policy_and_its_options(registry_folder: Path) -> None:
    """Stored with the skill, which saves, loads and acts the same without PyTorch."""
    found = quick(settings={"sac.policy": "real_nvp", "sac.flow.couplings": "3"})
    policy, config = found.manifest.policy, found.manifest.config["sac"]
    assert (policy["kind"], policy["config"]["couplings"]) == ("real_nvp", 3)
    assert (config["policy"], config["flow.couplings"], config["flow.scale_bound"]) == (
        "real_nvp", 3, 2.0,
    )  # fmt: skip
    found.save()
    again = load("point_x")
    obs = np.random.default_rng(0).standard_normal((5, again.spec.observation_dim))
    expected = again.policy.mode(torch.tensor(obs, dtype=torch.float32)).detach()
    np.testing.assert_allclose(again.controller().unit(obs, None), expected, atol=1e-6)
    assert expected.abs().max() > 0.01  # it has left its start


def test_the_options_of_a_flow_mean_nothing_to_a_gaussian(skill: Skill) -> None:
    assert same(skill, quick(settings={"sac.flow.couplings": 4}))


def test_a_recipe_for_one_algorithm_serves_another() -> None:
    """What both have carries over, unless it is given; the rest and the kind of policy does not."""
    recipe = {
        "sac.alpha": 0.3,
        "sac.hidden": (9,),
        "sac.policy": "gaussian",
        "sac.flow.couplings": 5,
        "sac.automatic_alpha": True,
        "train.steps": 123,
        "explore.correlation": 0.7,
    }
    recipe |= {"sql.particles": 20, "sql.hidden": (7,)}
    found = configure("sql", {}, recipe, "sac")
    assert (found["sql"].alpha, found["sql"].hidden, found["sql"].particles) == (0.3, (7,), 20)
    assert (found["sql"].policy, found["train"].steps) == ("implicit", 123)
    assert found["sql"].flow.couplings == 5
    assert found["explore"].correlation == 0.7 and "sac" not in found
    lent = {"sql.gamma": 0.9, "sql.particles": 20, "sac.alpha": 0.3}
    again = configure("sac", {}, lent, "sql")
    assert (again["sac"].gamma, again["sac"].alpha) == (0.9, 0.3)
    assert configure("sac", {"sac.gamma": 0.8}, lent, "sql")["sac"].gamma == 0.8
    own = configure("sac", {}, {"sql.gamma": 0.9, "sac.alpha": 0.3}, "sac")
    assert own["sac"].gamma == 0.99  # a recipe's words about others are not its own


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (
            "sql.alpha",
            "sql.alpha is for the algorithm sql, and this training is by sac; set one of",
        ),
        ("sql.alhpa", "sql.alhpa is for the algorithm sql"),
        ("sac.alhpa", "no setting is called 'sac.alhpa'; did you mean sac.alpha"),
        ("distill.updates", "no setting is called 'distill.updates'"),
        ("stack.hold", "no setting is called 'stack.hold'"),
    ],
)
def test_what_is_given_is_for_what_is_run(key: str, sentence: str) -> None:
    """A recipe knows several algorithms; what a person sets and nothing reads is a mistake."""
    with pytest.raises(SkillkitError, match=sentence):
        configure("sac", {key: 3}, {"sql.alpha": 0.1}, "sac")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(InvalidValue, match="no CUDA device was found; use --device cpu"):
        quick(device="cuda")


@pytest.mark.gpu
def test_a_gpu_learns_and_the_skill_plays_anywhere(tmp_path: Path, registry_folder: Path) -> None:
    checkpoints = interrupted(tmp_path / "run", 2_000, settings=LONGER, device="cuda")
    skill = quick(resume=checkpoints.latest, settings=LONGER, device="cuda")
    assert skill.metrics["steps"] == 3_200
    action = skill.save().controller()(np.zeros(4))
    obs = torch.zeros(1, 4)
    np.testing.assert_allclose(action, skill.policy.mode(obs)[0].detach().numpy(), atol=1e-5)


def test_runs_of_other_seeds_go_on_beside_each_other() -> None:
    names, seeds = (["push_x"], ["push_x", "push_y"]), ([0], [1], [10], [0, 1], [1, 0], [2, 3])
    labels = [run_name(several, drawn) for several in names for drawn in seeds]
    assert len({*labels}) == len(labels) and labels[:2] == ["push_x", "push_x.seed1"]


def test_a_run_of_many_skills_has_a_name_that_a_folder_can_have() -> None:
    many = [f"push_{'x' * i}/y" for i in range(1, 40)]
    labels = {run_name(many[:count]) for count in range(1, 40)}
    assert len(labels) == 39 and all(check_name(label) == label for label in labels)


def test_a_training_that_would_end_before_it_learns() -> None:
    """With what it began with, nobody has a skill; eight environments step at once."""
    for steps in (300, 392, 400):
        with pytest.raises(InvalidValue, match=f"={steps} leave no time for an update"):
            quick(settings={"train.steps": steps, "train.warmup": 400})
    assert quick(settings={"train.steps": 401}).manifest.timing["updates"] == 1


def test_its_environments_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a training that failed: a simulator may hold a window or a socket."""
    begun: list[Any] = []
    closed: list[Any] = []

    def kept(*what: Any, **more: Any) -> Any:
        begun.append(env := make(*what, **more))
        return env

    monkeypatch.setattr("skillkit.workflows.run.make", kept)
    monkeypatch.setattr(GymVectorEnv, "close_extras", lambda env, **_: closed.append(env))
    train_together(["gym:Pendulum-v1"], settings=SETTINGS, seed=[3, 4])
    with pytest.raises(RuntimeError, match="enough"):
        quick("gym:Pendulum-v1", seed=5, on_event=_enough)
    assert len(begun) == 3 and all(any(env is one for one in closed) for env in begun)

    def refuse(env: GymVectorEnv, **_: Any) -> None:
        raise OSError("nobody listens")

    monkeypatch.setattr(GymVectorEnv, "close_extras", refuse)
    with pytest.warns(UserWarning, match="gym:Pendulum-v1 did not close: nobody listens"):
        Run([task("gym:Pendulum-v1")], "sac", configure("sac", {}), 0, "cpu").close()


def _enough(event: Mapping[str, Any]) -> None:
    raise RuntimeError("enough")


def test_it_says_on_what_it_was_made(skill: Skill) -> None:
    assert skill.manifest.host["device"] == "cpu" and "--device" not in skill.card


def test_under_another_name_its_card_loads_itself(skill: Skill, registry_folder: Path) -> None:
    skill.save("mine")
    again = load("mine")
    assert again.card.startswith("# mine\n") and 'skillkit.load("mine")' in again.card
    assert "skillkit train point_x --seed 0" in again.card  # how it was made stays
    assert again.save("yours").card.count("yours") == skill.card.count("point_x") - 2
