"""Laws of the gaps and bounds, over compositions with and without termination, covered or not."""

from __future__ import annotations

import math

import pytest
import torch

from skillkit.composition import bounds, rules
from skillkit.errors import InvalidValue
from tests import oracles
from tests.composition.tabular import (
    ALL,
    COVERED,
    ENDING,
    UNEQUAL,
    close,
    corrections,
    corrupted,
)
from tests.oracles import table


@pytest.mark.parametrize("case", ALL)
def test_soft_value_iteration_is_solved(case):
    truth = [case.mdp.soft_q(r, a) for r, a in zip(case.rewards, case.temperatures, strict=True)]
    close(case.q, torch.stack(truth))
    close(case.qstar, case.mdp.soft_q(case.reward, case.alpha))


@pytest.mark.parametrize("case", ALL)
def test_the_composed_policy_is_the_product_of_the_parents(case):
    log_pi_i = (case.q / table(case.temperatures)[:, None, None]).log_softmax(-1)
    product = torch.einsum("n,nsa->sa", table(case.b), log_pi_i)
    close(case.log_pi, product.log_softmax(-1))
    close(case.g, -case.alpha * product.logsumexp(-1))  # both forms of G


@pytest.mark.parametrize("case", ALL)
def test_gaps_are_exact_covered_or_not(case):
    close(case.qs - case.c, case.mdp.soft_q(case.reward, case.alpha))
    close(case.qs - case.f, case.qpi)


@pytest.mark.parametrize("case", COVERED)
def test_bounds_hold_when_covered(case):
    assert case.g.min() >= 0
    qstar, slack = case.mdp.soft_q(case.reward, case.alpha), 1e-10
    assert (case.qs - qstar).min() >= -slack
    assert (case.c_up - case.c).min() >= -slack and (case.c - case.c_lo).min() >= -slack
    regret = qstar - case.qpi
    assert (case.f - case.c_lo - regret).min() >= -slack
    assert (case.d - regret).min() >= -slack


@pytest.mark.parametrize("case", ALL)
@pytest.mark.parametrize("mix", [0.0, 0.5])
def test_gap_of_any_policy(case, mix):
    """Q^pi = Q_S - F^pi, alpha KL by its distillation loss + V_S (THEORY 5)."""
    pi = mix * case.log_pi.exp() + (1 - mix) / case.qs.shape[-1]
    distillation_loss = (pi * (case.alpha * pi.log() - case.qs)).sum(-1)
    alpha_kl = distillation_loss + case.vs
    f_pi = case.solve(lambda x: bounds.policy_gap(x, case.g, pi.log(), alpha_kl))
    close(case.qs - f_pi, case.mdp.policy_q(case.reward, case.alpha, pi))


@pytest.mark.parametrize("case", [case for case in ALL if sum(case.b) < 1])
def test_the_repaired_bound_holds(case):
    slack = rules.coverage_slack(case.b, case.alpha, oracles.GAMMA, math.log(case.qs.shape[-1]))
    assert (case.qs + slack - case.qstar).min() >= -1e-10


@pytest.mark.parametrize("case", ALL)
@pytest.mark.parametrize("shift", [-3.0, 0.0, 3.0])
def test_corrections_are_exact_and_within_their_interval(case, shift):
    rng = torch.Generator().manual_seed(7)
    noise = shift + torch.randn(case.qs.shape, generator=rng, dtype=torch.float64)
    f, kappa, log_pi = corrupted(case, noise)
    k, k_pi = corrections(case, kappa, log_pi)
    close(f + k, case.qstar)
    close(f + k_pi, case.mdp.policy_q(case.reward, case.alpha, log_pi.exp()))
    lo, hi = bounds.correction_interval(kappa, oracles.GAMMA)
    assert lo - 1e-10 <= k_pi.min() and (k_pi <= k + 1e-10).all() and k.max() <= hi + 1e-10


@pytest.mark.parametrize(
    ("kappa", "lo", "hi"), [([1.0, 2.0], 1.0, 20.0), ([-2.0, -1.0], -20.0, -1.0)]
)
def test_interval_where_kappa_has_one_sign(kappa, lo, hi):
    """An episode that ends at once pays kappa once; one that never ends, 1/(1-gamma) times."""
    interval = bounds.correction_interval(table(kappa), 0.9)
    assert [interval.lo.item(), interval.hi.item()] == pytest.approx([lo, hi])


# Estimates and the solver


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_estimate_from_replay_states(dtype):
    g = torch.linspace(0.0, 1.0, 101, dtype=dtype)
    estimate = bounds.estimated_gap(g, gamma=0.9)
    assert estimate.largest.item() == pytest.approx(9.0)
    assert estimate.quantile95.item() == pytest.approx(0.95 * 9.0)


@pytest.mark.parametrize("case", COVERED)
def test_the_estimate_over_all_states_is_above_the_worst_gap(case):
    assert bounds.estimated_gap(case.g, oracles.GAMMA).largest >= case.c_up.max() - 1e-10


@pytest.mark.parametrize("case", [UNEQUAL, ENDING])
def test_float32_is_solved_to_its_own_precision(case):
    single, backup = case.g.float(), lambda v: case.mdp.backup(v.double()).float()
    c_up = bounds.fixed_point(
        lambda x: bounds.optimal_gap_upper(x, single),
        backup,
        case.mdp.discount.float(),
        torch.zeros(3, 2),
    )
    assert c_up.dtype == torch.float32
    torch.testing.assert_close(c_up.double(), case.c_up, rtol=1e-4, atol=1e-4)


def test_samples_take_the_place_of_actions():
    """-log K for K draws from pi_S estimates the same recursion."""
    draws = torch.multinomial(
        UNEQUAL.log_pi.exp(), 100_000, replacement=True, generator=torch.Generator().manual_seed(0)
    )
    c = UNEQUAL.c.gather(1, draws)  # (S, K)
    uniform = torch.full_like(c, -math.log(c.shape[-1]))
    for next_value in (
        lambda x, log_pi: bounds.optimal_gap(x, UNEQUAL.g, log_pi, UNEQUAL.alpha),
        lambda x, log_pi: bounds.policy_gap(x, UNEQUAL.g, log_pi),
        lambda x, log_pi: bounds.optimal_correction(x, log_pi, UNEQUAL.alpha),
    ):
        close(next_value(c, uniform), next_value(UNEQUAL.c, UNEQUAL.log_pi), atol=1e-3)


@pytest.mark.parametrize("g", [1.0, float("nan")])
def test_a_recursion_without_end_is_an_error(g):
    with pytest.raises(InvalidValue, match="did not converge"):
        bounds.fixed_point(
            lambda x: bounds.optimal_gap_upper(x, table([g])),
            lambda v: v[:, None],
            1.0,
            table([[0.0]]),
            max_iterations=100,
        )
