"""Estimated gaps against exact ones on tabular problems (ORACLES 1).

The problems meet the functions that `compose` calls as one-hot observations and the
actions -1 and 1, which the candidates enumerate; only the solution is fitted.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from skillkit.composition import bounds
from skillkit.composition.gaps import Successors, fitted_gaps, successors, summary
from skillkit.policies import Policy
from skillkit.q_functions import SoftQ
from skillkit.types import Batch
from tests.composition.tabular import ENDING, TOO_WARM, UNEQUAL, Composition
from tests.oracles import R1, R2, three

UPDATES = 1_000
# C differs by a quarter from F here, and by 7 to 9 % from itself at half or twice the temperature
COLD = Composition(three(terminal=(2, 0)), (R1, R2), (0.1, 0.1), (0.5, 0.5))
ACTIONS = torch.tensor([[-1.0], [1.0]])


class TableQ(SoftQ):
    """Q_S of a tabular composition."""

    kind = "table"

    def __init__(self, case: Composition) -> None:
        super().__init__()
        self.table, self.alpha, self.gamma = case.qs.float(), case.alpha, 0.9

    @property
    def config(self) -> dict[str, object]:
        return {}

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        return self.table[obs.argmax(-1), (action[..., 0] > 0).long()]


class Drawn(Policy):
    """Takes action 1 with the probability of the table, through the noise."""

    kind, has_density, noise_dim = "drawn", True, 1

    def __init__(self, table: Tensor) -> None:
        super().__init__(3, 1, ())
        self.table = table.float()

    def raw(self, obs: Tensor, noise: Tensor) -> Tensor:
        raise AssertionError

    def act_and_log_prob(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        off, on = self.table[obs.argmax(-1)].unbind(-1)
        chosen = torch.special.ndtr(noise[..., 0]) < on
        action = torch.where(chosen, 1.0, -1.0)[..., None]
        return action, torch.where(chosen, on, off).log()


def seen(case: Composition) -> tuple[Batch, Tensor]:
    """Every transition of the MDP as often as is likely, and the next states."""
    counts = (400 * case.mdp.transition).round().long()  # (S, A, S)
    assert torch.allclose(counts / 400, case.mdp.transition.float())
    s, a, after = torch.repeat_interleave(
        torch.cartesian_prod(*map(torch.arange, counts.shape)), counts.flatten(), dim=0
    ).T
    one, discount = torch.eye(3), case.mdp.discount[s, a].float()
    return Batch(one[s], ACTIONS[a], torch.zeros(len(s)), discount, one[after]), after


def known(case: Composition, pi: Tensor) -> tuple[Batch, Successors]:
    batch, after = seen(case)
    candidates = ACTIONS.expand(len(after), 2, 1)
    log_weights = case.qs[after].float() / case.alpha + math.log(2)  # from log density -log 2
    rng = torch.Generator().manual_seed(0)
    return batch, successors(
        TableQ(case), Drawn(pi), batch.next_obs, candidates, log_weights, case.g[after].float(), rng
    )


@pytest.mark.parametrize(
    "case", [UNEQUAL, ENDING, COLD, TOO_WARM], ids=["1a", "1e", "cold", "1a, too warm"]
)
def test_tabular_gaps(case: Composition) -> None:
    """Every gap, in every (s, a), to 3 % of its largest value."""
    pi = case.log_pi.exp() / 2 + 0.25
    batch, next_states = known(case, pi)
    fit = fitted_gaps(batch, next_states, UPDATES, seed=0)
    found = fit(torch.eye(3)[:, None].expand(3, 2, 3), ACTIONS.expand(3, 2, 1))
    alpha_kl = case.alpha * bounds.expectation(pi.log() - case.log_pi, pi.log())
    truth = {
        "optimal_gap": case.c,
        "optimal_gap_upper": case.c_up,
        "optimal_gap_lower": case.c_lo,
        "policy_gap": case.f,
        "thesis_regret": case.d,
        "distilled_gap": case.solve(lambda x: bounds.policy_gap(x, case.g, pi.log(), alpha_kl)),
    }
    assert next_states.names == list(truth)
    for i, (name, exact) in enumerate(truth.items()):
        error = (found[..., i] - exact).abs().max() / exact.abs().max()
        assert error < 0.03, name


def test_a_policy_without_density_has_no_gap_of_its_own() -> None:
    pi = UNEQUAL.log_pi.exp()
    batch, next_states = known(UNEQUAL, pi)
    policy = Drawn(pi)
    policy.has_density = False
    next_states = successors(
        TableQ(UNEQUAL), policy, batch.next_obs, next_states.action, next_states.log_pi_s,
        next_states.g, torch.Generator(),
    )  # fmt: skip
    fit = fitted_gaps(batch, next_states, UPDATES, seed=0)
    found = summary(fit, batch.next_obs, next_states)
    assert "distilled_gap" not in found
    expected = found["policy_gap"] - found["optimal_gap_lower"]
    torch.testing.assert_close(found["regret_bound"], expected)
    here = fit(batch.obs, batch.action)[:, 3]
    s, a = batch.obs.argmax(-1), (batch.action[:, 0] > 0).long()
    torch.testing.assert_close(here, UNEQUAL.f[s, a].float(), rtol=0.02, atol=0)
