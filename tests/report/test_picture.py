"""The picture beside a card: Q and samples of the skill itself, in the task's states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from skillkit.envs import Landscape, combine, task
from skillkit.evaluation import evaluate
from skillkit.fan import fan
from skillkit.policies import DeterministicPolicy, GaussianPolicy
from skillkit.q_functions import Ensemble
from skillkit.report import above, landscape, plots
from skillkit.report.picture import GRID, SAMPLES, choices, draw
from skillkit.workflows.common import controller

MULTIGOAL = task("multigoal")


class Bowl(Ensemble):
    """Q(s, a) = s_x + 2 a_x + 3 a_y."""

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        return obs[:, 0] + 2 * action[:, 0] + 3 * action[:, 1]


def small() -> GaussianPolicy:
    torch.manual_seed(0)
    return GaussianPolicy(2, 2, (8,))


def test_q_is_on_the_grid_and_samples_are_the_policy_s() -> None:
    policy = small()
    found = choices(MULTIGOAL, controller(MULTIGOAL, policy), Bowl(2, 2, (8,)))
    assert [tuple(choice.state) for choice in found] == [(-2.5, 0), (0, 0), (2.5, 2.5)]
    grid = np.linspace(-1, 1, GRID)
    for choice in found:
        expected = choice.state[0] + 2 * grid[None, :] + 3 * grid[:, None]  # [i, j] at (j, i)
        np.testing.assert_allclose(choice.q, expected, atol=1e-5)
        assert choice.samples.shape == (SAMPLES, 2) and np.abs(choice.samples).max() <= 1
        state = torch.from_numpy(choice.state)
        mean, log_std = (moment.detach().numpy() for moment in policy.moments(state))
        u = np.arctanh(choice.samples)
        np.testing.assert_allclose(u.mean(axis=0), mean, atol=0.4 * np.exp(log_std).max())
        np.testing.assert_allclose(u.std(axis=0), np.exp(log_std), rtol=0.3)


def test_no_choices_without_two_actions_or_a_landscape() -> None:
    q = Bowl(2, 2, (8,))
    act = controller(MULTIGOAL, small())
    assert choices(replace(MULTIGOAL, landscape=None), act, q) == []
    wide = replace(task("push_x"), landscape=Landscape("distance", "", 1.0, states=((0.0,) * 12,)))
    assert choices(wide, act, q) == []


def test_paths_where_there_is_a_place_to_come_to() -> None:
    torch.manual_seed(0)
    policy, q, maze = GaussianPolicy(4, 2, (8,)), Bowl(4, 2, (8,)), task("point_maze")
    act = controller(maze, policy)
    final = evaluate(act.batch, maze, 4, paths=True)
    assert draw("walk", maze, act, lambda: q, 4, 7, played=final) == (
        above.paths("walk", final),
        "",
    )
    drawn, words = draw("walk", maze, act, lambda: q, 4, final.seed)  # plays them itself
    assert drawn == above.paths("walk", final) and words == ""


def test_a_fan_where_there_is_none_and_latents_steer() -> None:
    torch.manual_seed(0)
    policy, q, roam = GaussianPolicy(4, 2, (8,)), Bowl(4, 2, (8,)), task("point_roam")
    act = controller(roam, policy)
    found = fan(act.batch, roam, 2, 5, seed=3)
    drawn, words = draw("roam", roam, act, lambda: q, 5, 3)
    assert drawn == above.fan("roam", found) and words == str(found)
    still = DeterministicPolicy(4, 2, (8,))  # no latents
    final = evaluate(controller(roam, still).batch, roam, 5, paths=True)
    drawn, _ = draw("roam", roam, controller(roam, still), lambda: q, 5, 3, played=final)
    assert drawn == plots.outcome({"roam": final})


def test_the_picture_suits_the_task() -> None:
    policy, q = small(), Bowl(2, 2, (8,))
    act = controller(MULTIGOAL, policy)
    plain = replace(MULTIGOAL, landscape=None)
    final = evaluate(act.batch, plain, 4)
    drawn, _ = draw("walk", plain, act, lambda: q, 4, final.seed, played=final)
    assert drawn == plots.outcome({"walk": final})
    sampled = evaluate(act.batch, MULTIGOAL, 4, noise_dim=2, paths=True)
    expected = landscape.picture("walk", sampled, choices(MULTIGOAL, act, q))
    assert draw("walk", MULTIGOAL, act, lambda: q, 4, final.seed, played=final) == (expected, "")


def test_goals_that_exclude_each_other_are_goals() -> None:
    """No latent is worth a fan where there is somewhere to be."""
    torch.manual_seed(0)
    wanted = combine([task("push_x"), task("push_x_right")])
    assert not wanted.goals
    policy = GaussianPolicy(12, 3, (8,))
    act = controller(wanted, policy)
    final = evaluate(act.batch, wanted, 2, paths=True)
    drawn, words = draw("torn", wanted, act, lambda: Bowl(12, 3, (8,)), 2, 7, played=final)
    assert drawn == plots.outcome({"torn": final}) and words == ""
