"""Distillation: the policy of a fixed soft Q-function, where exp(Q/alpha) is a tanh-Gaussian."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from skillkit.algorithms import Distill, DistillConfig
from skillkit.algorithms.distill import LOSSES, Plateau
from skillkit.errors import InvalidValue, SkillkitError, UnknownName
from skillkit.functional.losses import squash_log_det
from skillkit.policies import DeterministicPolicy, ImplicitPolicy, Policy
from skillkit.q_functions import Ensemble, SoftQ, WeightedSum
from skillkit.types import Batch
from tests.toys import FlatQ, GaussianQ, TwoPeaks, batch, gaussian, spec

SMALL: dict[str, Any] = {"hidden": (32,), "batch_size": 64}
Parents = Sequence[tuple[Policy, SoftQ]]


def distilled(
    q: SoftQ, updates: int, actions: int = 2, parents: Parents = (), **options: Any
) -> tuple[Distill, float]:
    """The learner after all its updates, and its mean loss over the last tenth of them."""
    config = DistillConfig(updates=updates, **SMALL | options)
    learner = Distill(spec(1, actions), q, config, 0, parents=parents)
    rng, losses = torch.Generator().manual_seed(1), []  # not the seed of the learner's noise
    for update in range(updates):
        learner.anneal(update / updates)
        half = torch.rand(32, 1, generator=rng)
        obs = torch.cat([half, -half])
        nothing = torch.full((64,), torch.nan)
        data = Batch(obs, torch.full((64, actions), torch.nan), nothing, nothing, obs * torch.nan)
        losses.append(learner.update(data)["distillation_loss"].item())
    return learner, sum(losses[-updates // 10 :]) / (updates // 10)


# The closed form


@pytest.mark.parametrize("alpha", [0.1, 2.0])
def test_the_projection_of_a_gaussian_is_itself(alpha: float) -> None:
    """Mean, std and loss, whatever the states are worth, from observations alone."""
    q = GaussianQ((0.4, -0.8), (0.5, 0.2), alpha, slope=0.6, height=5.0)
    learner, loss = distilled(q, 600, learning_rate=2e-2)
    obs = torch.linspace(-1, 1, 21)[:, None]
    mean, log_std = learner.policy.moments(obs)
    torch.testing.assert_close(mean, 0.6 * obs + torch.tensor([0.4, -0.8]), rtol=0, atol=0.06)
    torch.testing.assert_close(
        log_std.exp(), torch.tensor([[0.5, 0.2]]).expand(21, 2), rtol=0.1, atol=0
    )
    # E[alpha log pi - Q] = alpha KL - V (THEORY 5), and V averages to zero over these states.
    assert loss == pytest.approx(0.0, abs=0.02 * alpha)


def test_a_sum_distils_into_the_product_of_policies() -> None:
    """exp(Q_S/alpha) = prod pi_i^{b_i}: ORACLES 7, unequal temperatures."""
    parts = [GaussianQ((-0.5,), (0.4,), 0.3), GaussianQ((0.8,), (0.3,), 0.1)]
    q = WeightedSum(parts, (0.5, 0.5), 0.2)  # b = (.75, .25)
    learner, loss = distilled(q, 400, actions=1, learning_rate=2e-2)
    mean, log_std = learner.policy.moments(torch.zeros(1, 1))
    assert mean.item() == pytest.approx(-0.01627907, abs=0.05)
    assert log_std.exp().item() == pytest.approx(math.sqrt(0.13395349), rel=0.07)
    assert loss == pytest.approx(0.2 * 1.49075728, abs=0.02)  # -V_S = G here, every V_i being 0


# Every loss reaches it

PARENTS: Parents = [(gaussian([-0.5], [0.4]), FlatQ()), (gaussian([0.8], [0.7]), FlatQ())]


def spread(learner: Distill, state: float = 0.0) -> tuple[float, float]:
    """Mean and standard deviation of u in a state, from samples: any policy has them."""
    rng = torch.Generator().manual_seed(3)
    noise = torch.randn(4_000, learner.policy.noise_dim, generator=rng)
    with torch.no_grad():
        u = learner.policy.raw(torch.full((4_000, 1), state), noise)
    return u.mean().item(), u.std().item()


LOSS_OPTIONS: dict[str, dict[str, Any]] = {
    "reverse_kl": {},
    "forward_kl": {"loss": "forward_kl", "particles": 8},
    "svgd": {"policy": "implicit", "particles": 16},
    "svgd of a gaussian": {"loss": "svgd", "particles": 16},
    "reverse_kl of a flow": {"policy": "real_nvp"},
    "forward_kl of a flow": {"policy": "real_nvp", "loss": "forward_kl", "particles": 8},
}
every_loss = pytest.mark.parametrize("loss", LOSS_OPTIONS)


def test_every_loss_is_tested() -> None:
    assert {name.split(" ")[0] for name in LOSS_OPTIONS} == LOSSES.keys()


@every_loss
def test_a_known_policy(loss: str) -> None:
    """The optimum is N(.3 + .6 s, .3^2) before the tanh."""
    q = GaussianQ((0.3,), (0.3,), alpha=0.2, slope=0.6, height=5.0)
    options = {"learning_rate": 1e-2, **LOSS_OPTIONS[loss]}
    learner, _ = distilled(q, 300, actions=1, parents=PARENTS, **options)
    for state in (-0.8, 0.0, 0.8):
        mean, std = spread(learner, state)
        assert mean == pytest.approx(0.3 + 0.6 * state, abs=0.07)
        assert std == pytest.approx(0.3, rel=0.15)


@pytest.mark.parametrize("loss", LOSSES)
def test_trust_moves_the_target_towards_the_parents(loss: str) -> None:
    """exp((Q + beta log pi_1)/(alpha + beta)) is Gaussian: precisions add as alpha to beta."""
    alpha, beta, (m, s), (m_1, s_1) = 0.2, 0.6, (0.7, 0.3), (-0.5, 0.4)
    precision = (alpha / s**2 + beta / s_1**2) / (alpha + beta)
    mean = (alpha * m / s**2 + beta * m_1 / s_1**2) / (alpha + beta) / precision
    options = {"learning_rate": 1e-2, "trust": beta, **LOSS_OPTIONS[loss]}
    q = GaussianQ((m,), (s,), alpha)
    learner, _ = distilled(q, 200, actions=1, parents=PARENTS[:1], **options)
    found = spread(learner)
    assert found[0] == pytest.approx(mean, abs=0.05)
    assert found[1] == pytest.approx(precision**-0.5, rel=0.15)


def test_trust_is_a_penalty_on_the_divergence() -> None:
    """E[alpha log pi - Q] + beta KL(pi || mix), the mixture of both parents by hand."""
    q, beta = GaussianQ((0.3,), (0.3,), 0.2), 0.6
    config = DistillConfig(trust=beta, **SMALL)
    learner, twin = (Distill(spec(1, 1), q, config, 0, parents=PARENTS) for _ in range(2))
    data = batch(64, 1, 1)
    action, log_pi = twin.policy.act_and_log_prob(data.obs, twin.noise(64))
    own = [policy.log_prob(data.obs, action).exp() for policy, _ in PARENTS]
    divergence = (log_pi - (sum(own) / 2).log()).mean()
    expected = (0.2 * log_pi - q(data.obs, action)).mean() + beta * divergence
    found = learner.update(data)["distillation_loss"]
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-4)


def test_a_divergence_within_or_around() -> None:
    """Of two peaks at +-.6 reverse KL takes one, forward KL covers both, here in one state."""
    data, moments = batch(64, 1, 1)._replace(obs=torch.zeros(64, 1)), {}
    for loss in ("reverse_kl", "forward_kl"):
        config = DistillConfig(loss=loss, learning_rate=1e-2, particles=8, **SMALL)
        learner = Distill(spec(1, 1), TwoPeaks(0.1), config, 0, parents=PARENTS)
        for update in range(300):
            learner.anneal(update / 300)
            learner.update(data)
        moments[loss] = spread(learner)
    u = torch.linspace(-4, 4, 4001)
    q = TwoPeaks(0.1)(torch.zeros(4001, 1), torch.tanh(u)[:, None])
    density = torch.softmax(q / 0.3 + squash_log_det(u[:, None]), 0)
    assert abs(moments["reverse_kl"][0]) == pytest.approx(math.atanh(0.6), abs=0.1)
    assert moments["reverse_kl"][1] < 0.3
    assert moments["forward_kl"][0] == pytest.approx(0.0, abs=0.1)
    assert moments["forward_kl"][1] == pytest.approx(float(density @ u.square()) ** 0.5, rel=0.1)


def test_an_implicit_policy_has_both_peaks() -> None:
    options = {"policy": "implicit", "learning_rate": 1e-2, "particles": 16}
    learner, _ = distilled(TwoPeaks(0.25), 300, actions=1, **options)
    noise = torch.randn(4_000, 1, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        action = learner.policy.act(torch.zeros(4_000, 1), noise)[:, 0]
    assert 0.35 < (action > 0).float().mean() < 0.65
    assert (action.abs() > 0.35).float().mean() > 0.7


def test_the_effective_sample_size_says_whether_the_proposal_meets_the_target() -> None:
    """The parents themselves: nearly all candidates count; a peak elsewhere: nearly none."""
    counts = []
    for q in (GaussianQ((-0.5,), (0.4,), 0.2), GaussianQ((2.5,), (0.02,), 0.2)):
        config = DistillConfig(loss="forward_kl", particles=8, **SMALL)
        learner = Distill(spec(1, 1), q, config, 0, parents=PARENTS[:1])
        counts.append(learner.update(batch(64, 1, 1))["effective_sample_size"].item())
    assert counts[0] > 9 and 1 <= counts[1] < 2.5  # of 16


# When to stop


# Where it begins


OBS = torch.linspace(-1, 1, 32)[:, None]


@pytest.mark.parametrize("order", [1, -1])
def test_it_begins_as_the_nearest_parent(order: int) -> None:
    """Nearest to the target, wherever it stands; and the parent itself learns nothing."""
    near, _ = PARENTS[1]
    learner = Distill(
        spec(1, 1), GaussianQ((0.7,), (0.6,), 0.2), DistillConfig(), 0, parents=PARENTS[::order]
    )
    learner.begin(OBS)
    torch.testing.assert_close(learner.policy.state_dict(), near.state_dict(), rtol=0, atol=0)
    was = near.net.layers[0].bias.clone()
    learner.update(batch(64, 1, 1))
    assert torch.equal(near.net.layers[0].bias, was)
    assert not torch.equal(learner.policy.net.layers[0].bias, was)


def test_half_of_the_states_are_moved() -> None:
    """By a third of how far the states lie apart, in each entry; one that never changes, not."""
    learner = Distill(spec(3, 1), FlatQ(), DistillConfig(jitter=0.3), 0)
    obs = torch.randn(4_000, 3) * torch.tensor([2.0, 0.1, 0.0]) + 1
    assert torch.equal(learner.between(obs), obs)  # it has seen no states yet
    learner.begin(obs)
    noise = learner.between(obs) - obs
    assert torch.equal(noise[2_000:], torch.zeros(2_000, 3))
    expected = torch.tensor([0.6, 0.03, 0.0])
    torch.testing.assert_close(noise[:2_000].std(0), expected, rtol=0.05, atol=0)
    assert not torch.equal(learner.between(obs), learner.between(obs))


def test_without_jitter_no_state_is_moved() -> None:
    learner, obs = Distill(spec(3, 1), FlatQ(), DistillConfig(jitter=0.0), 0), torch.randn(8, 3)
    learner.begin(obs)
    assert torch.equal(learner.between(obs), obs)


@pytest.mark.parametrize(
    "options", [{"warm_start": False}, {"hidden": (8,)}, {"policy": "implicit"}]
)
def test_it_begins_anew_where_it_must(options: dict[str, Any]) -> None:
    """It was told to, or no parent has its shape."""
    config = DistillConfig(**options)
    learner = Distill(spec(1, 1), GaussianQ((0.7,), (0.6,), 0.2), config, 0, parents=PARENTS)
    before = {key: value.clone() for key, value in learner.policy.state_dict().items()}
    learner.begin(OBS)
    torch.testing.assert_close(learner.policy.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "parents", "widths"),
    [
        ({}, PARENTS, ()),
        ({"hidden": (8, 8)}, PARENTS, (8, 8)),
        ({"policy": "implicit"}, PARENTS, (128, 128)),
        ({}, (), (128, 128)),
    ],
)
def test_widths(options: dict[str, Any], parents: Parents, widths: tuple[int, ...]) -> None:
    learner = Distill(spec(1, 1), FlatQ(), DistillConfig(**options), 0, parents=parents)
    assert learner.policy.hidden == widths


def test_a_plateau_by_hand() -> None:
    """10 -> 0 in all: a fall below 1 % of that, of 8 at update 400, is none."""
    plateau = Plateau(patience=400)
    losses = {0: 10.0, 200: 4.0, 400: 2.0, 600: 1.95, 800: 1.93, 1000: 0.5, 1200: 0.6, 1400: 0.45}
    assert [update for update, loss in losses.items() if plateau(update, loss)] == [800, 1400]


def test_a_plateau_does_not_depend_on_unit_or_offset() -> None:
    losses = [8.0, 3.0, 1.0, 0.99, 0.985, 0.98, 0.98]
    stops = []
    for unit, offset in ((1.0, 0.0), (100.0, -5e3), (1e-3, 7.0)):
        plateau = Plateau(2)
        stops.append([plateau(i, unit * loss + offset) for i, loss in enumerate(losses)])
    assert stops[0] == stops[1] == stops[2] == [False] * 4 + [True] * 3


def test_a_loss_that_only_rises_stops_too() -> None:
    plateau = Plateau(200)
    assert [plateau(100 * i, float(i)) for i in range(4)] == [False, False, True, True]


@every_loss
def test_the_score_has_the_same_noise_each_time(loss: str) -> None:
    q, data = GaussianQ((0.3,), (0.3,), 0.2), batch(64, 1, 1)
    options = DistillConfig(**SMALL, **LOSS_OPTIONS[loss])
    learner = Distill(spec(1, 1), q, options, 0, parents=PARENTS)
    state = learner.generator.get_state()
    before = learner.score(data.obs)
    assert learner.score(data.obs) == before
    assert torch.equal(learner.generator.get_state(), state)
    learner.anneal(1.0)  # at the rate 0
    learner.update(data)
    assert learner.score(data.obs) == before
    learner.anneal(0.0)
    for _ in range(30):
        learner.update(data)
    assert learner.score(data.obs) < before


# What it may use, and touch


def learner_of(q: SoftQ, **options: Any) -> Distill:
    return Distill(spec(), q, DistillConfig(updates=10, **SMALL | options), seed=0)


def ensembles() -> WeightedSum:
    torch.manual_seed(0)
    return WeightedSum([Ensemble(3, 2, (8,)), Ensemble(3, 2, (8,))], (0.5, 0.5), 1.0)


def test_the_q_function_is_not_touched() -> None:
    q = ensembles()
    before = {name: value.clone() for name, value in q.state_dict().items()}
    learner = learner_of(q)
    policy = [parameter.detach().clone() for parameter in learner.policy.parameters()]
    for i in range(10):
        learner.update(batch(32, seed=i))
    assert all(torch.equal(value, before[name]) for name, value in q.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in q.parameters())
    assert not any(map(torch.equal, policy, learner.policy.parameters()))


def test_only_observations_are_read() -> None:
    one, other = learner_of(ensembles()), learner_of(ensembles())
    for i in range(3):
        one.update(batch(32, seed=i))
        other.update(batch(32, seed=100 + i)._replace(obs=batch(32, seed=i).obs))
    for a, b in zip(one.policy.parameters(), other.policy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_metrics() -> None:
    """Of the policy before the step: its loss, and its entropy in [-1, 1]^A."""
    learner, twin, data = learner_of(ensembles()), learner_of(ensembles()), batch(32)
    action, log_pi = twin.policy.act_and_log_prob(data.obs, twin.noise(32))
    metrics = learner.update(data)
    expected = (1.0 * log_pi - twin.q(data.obs, action)).mean()
    torch.testing.assert_close(metrics["distillation_loss"], expected.detach())
    torch.testing.assert_close(metrics["entropy"], -log_pi.mean().detach())


# Options


def test_the_learning_rate_falls_along_half_a_cosine_to_zero() -> None:
    learner, rates, moves = learner_of(ensembles(), learning_rate=0.02), [], []
    for done in (0.0, 1 / 3, 0.5, 2 / 3, 0.99, 1.0):
        before = [parameter.detach().clone() for parameter in learner.policy.parameters()]
        learner.anneal(done)
        learner.update(batch(32))
        rates.append(learner.optimizers["policy"].param_groups[0]["lr"])
        after = learner.policy.parameters()
        moves.append(max((a - b).abs().max().item() for a, b in zip(after, before, strict=True)))
    assert rates == pytest.approx([0.02, 0.015, 0.01, 0.005, 5e-6, 0.0], rel=0.02, abs=1e-15)
    assert moves[0] > 0.01 > moves[4] > moves[5] == 0.0  # and the policy with it


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"policy": "gausian"}, UnknownName, "did you mean gaussian"),
        ({"learning_rate": 0.0}, InvalidValue, "distill.learning_rate"),
        ({"batch_size": 0}, InvalidValue, "distill size"),
        ({"updates": 0}, InvalidValue, "distill size"),
        ({"hidden": (0,)}, InvalidValue, "distill size"),
        ({"jitter": -0.1}, InvalidValue, "must not be negative"),
        ({"policy": "deterministic"}, InvalidValue, "a deterministic policy has no density"),
        ({"loss": "reverse-kl"}, UnknownName, "did you mean reverse_kl"),
        ({"policy": "implicit", "loss": "reverse_kl"}, InvalidValue, "use distill.loss=svgd"),
        ({"policy": "implicit", "loss": "forward_kl"}, InvalidValue, "use distill.loss=svgd"),
        ({"trust": -0.1}, InvalidValue, "distill.trust, patience and jitter must not"),
        ({"patience": -1}, InvalidValue, "distill.trust, patience and jitter must not"),
        ({"particles": 3}, InvalidValue, "distill.particles must be at least 4, got 3"),
    ],
)
def test_bad_configs(options: dict[str, Any], error: type[SkillkitError], words: str) -> None:
    with pytest.raises(error, match=words):
        DistillConfig(**options)


@pytest.mark.parametrize("policy", [ImplicitPolicy, DeterministicPolicy])
def test_parents_without_density_cannot_be_trusted(policy: type[Policy]) -> None:
    parents = [*PARENTS, (policy(1, 1), FlatQ())]
    for given in (parents, []):
        with pytest.raises(InvalidValue, match="leave it 0, or compose skills with gaussian"):
            Distill(spec(1, 1), FlatQ(), DistillConfig(trust=0.1), 0, parents=given)


def test_the_loss_follows_from_the_policy() -> None:
    assert DistillConfig().objective == "reverse_kl"
    assert DistillConfig(policy="implicit").objective == "svgd"
    assert DistillConfig(loss="forward_kl").objective == "forward_kl"
