"""Every number of ORACLES 1 and 4c, through the library's functions."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from skillkit.composition import bounds, rules
from skillkit.functional.disagreement import sampled_disagreement
from skillkit.functional.soft_value import boltzmann_log_weights
from tests import oracles
from tests.composition.tabular import (
    ENDING,
    THESIS,
    THIRDS,
    TOO_WARM,
    UNEQUAL,
    WARM,
    Composition,
    close,
    corrections,
    corrupted,
)
from tests.oracles import R1, R2, table, three

# ORACLES 1a, 1c, 1d, 1e, 1g
NUMBERS = [
    (
        "1a",
        UNEQUAL,
        {
            "b": [0.78947368, 0.21052632],
            "v": [[15.74046318, 16.49206388, 18.16057312], [7.62551553, 7.16354710, 7.65897264]],
            "q": [
                [
                    [15.51951488, 15.22571092],
                    [14.94025696, 16.46910123],
                    [13.50463717, 18.16052794],
                ],
                [[6.78282080, 7.62253445], [7.16110046, 6.28160463], [7.65507818, 6.86927565]],
            ],
            "qs": [
                [12.02483725, 12.18444033],
                [11.82859436, 12.39410259],
                [11.16481358, 13.64402703],
            ],
            "vs": [12.37635317, 12.47146302, 13.64458424],
            "g": [0.11813095, 0.28919415, 0.31534868],
            "qstar": [
                [9.51334729, 9.52830744],
                [9.22178888, 9.69994882],
                [8.61067480, 10.95636135],
            ],
            "c": [[2.51148995, 2.65613289], [2.60680548, 2.69415377], [2.55413878, 2.68766568]],
            "c_up": [[2.60197682, 2.71189099], [2.67465311, 2.73770782], [2.63561576, 2.73154742]],
            "c_lo": [[1.76153957, 1.90121177], [1.85520088, 1.91765916], [1.81082950, 1.90328728]],
            "f": [[2.52342179, 2.66340759], [2.61569358, 2.69988960], [2.56482331, 2.69348453]],
            "d": [
                [24.48622978, 24.53142561],
                [24.51614163, 24.54169198],
                [24.50020156, 24.53901915],
            ],
            "qpi": [[9.50141545, 9.52103274], [9.21290079, 9.69421299], [8.59999027, 10.95054249]],
        },
    ),
    (
        "1c",
        THESIS,
        {
            "v": [[15.74046318, 16.49206388, 18.16057312], [8.44468633, 7.97763157, 8.48584351]],
            "qs": [
                [11.51968343, 11.79241574],
                [11.41885416, 11.74600635],
                [10.94734011, 12.88653275],
            ],
            "g": [0.07158191, 0.27955084, 0.42643898],
            "qstar": [[8.51276089, 8.55379366], [8.26455559, 8.38013838], [7.89863611, 9.50452136]],
            "c": [[3.00692255, 3.23862208], [3.15429856, 3.36586797], [3.04870401, 3.38201139]],
            "c_up": [[3.28026924, 3.46855725], [3.40116408, 3.55781982], [3.31987942, 3.56528164]],
            "c_lo": [[1.61545760, 1.80970169], [1.74275348, 1.86957797], [1.66920472, 1.86439187]],
            "f": [[3.05957170, 3.28535150], [3.20333780, 3.40740354], [3.10106280, 3.42235739]],
            "d": [
                [31.70679306, 31.81069842],
                [31.77343220, 31.86090473],
                [31.72827268, 31.86540145],
            ],
            "qpi": [[8.46011173, 8.50706425], [8.21551636, 8.33860281], [7.84627731, 9.46417536]],
        },
    ),
    (
        "1d",
        WARM,
        {"c_up": [[1.91324223, 2.02215576], [1.97846223, 2.13267075], [1.91260165, 2.16053971]]},
    ),
    (
        "1e",
        ENDING,
        {
            "v": [[5.76996641, 4.43368109, 3.61194805], [7.61849441, 7.15675700, 7.64886313]],
            "qs": [[6.16543622, 5.37942897], [5.38365064, 4.87068708], [5.21453008, 1.20000000]],
            "g": [0.29871705, 0.05166005, 0.01217420],
            "qstar": [[4.67618978, 4.08154267], [4.02310074, 3.59065523], [3.79468591, 1.20000000]],
            "c": [[1.48924644, 1.29788630], [1.36054990, 1.28003186], [1.41984416, 0.00000000]],
            "c_up": [[1.67803178, 1.47594744], [1.54256222, 1.45160006], [1.60693699, 0.00000000]],
            "f": [[1.51877969, 1.32415263], [1.38789681, 1.30585864], [1.44824647, 0.00000000]],
            "d": [
                [14.42563390, 14.34699876],
                [14.37029379, 14.37035149],
                [14.38483875, 0.00000000],
            ],
            "qpi": [[4.64665653, 4.05527634], [3.99575383, 3.56482844], [3.76628361, 1.20000000]],
        },
    ),
    (
        "1g",
        THIRDS,
        {
            "b": [0.49019608, 0.11764706, 0.39215686],
            "g": [0.09160236, 0.38777292, 0.37870895],
            "c": [[2.92167333, 3.13781901], [3.06485469, 3.18529027], [2.98914310, 3.17185692]],
            "c_up": [[3.12726706, 3.29175605], [3.23773008, 3.30912468], [3.18611520, 3.29139878]],
            "f": [[2.94972879, 3.15859394], [3.08822455, 3.20275068], [3.01561216, 3.18908361]],
        },
    ),
    ("1a, too warm", TOO_WARM, {"g": [-0.92880969, -0.68863319, -0.14004072]}),
]


@pytest.mark.parametrize(
    ("case", "name", "truth"),
    [(case, name, t) for _, case, truths in NUMBERS for name, t in truths.items()],
    ids=[f"{section} {name}" for section, _, truths in NUMBERS for name in truths],
)
def test_oracle_numbers(case, name, truth):
    found = getattr(case, name)
    close(torch.as_tensor(found, dtype=torch.float64), table(truth), atol=6e-9)


def test_composed_policy_of_1a():
    truth = [[0.39651481, 0.60348519], [0.18419513, 0.81580487], [0.00146528, 0.99853472]]
    close(UNEQUAL.log_pi.exp(), table(truth), atol=6e-9)


def test_sizes_of_the_regret_and_its_bounds_in_1a():
    regret = UNEQUAL.f - UNEQUAL.c
    sizes = [regret.max(), (UNEQUAL.f - UNEQUAL.c_lo).max(), UNEQUAL.d.max()]
    assert [s.item() for s in sizes] == pytest.approx([0.01193184, 0.79019726, 24.54169198])


def test_a_distilled_policy_by_numbers():
    pi = UNEQUAL.log_pi.exp() / 2 + 0.25
    kl = bounds.expectation(pi.log() - UNEQUAL.log_pi, pi.log())
    close(kl, table([0.00552253, 0.07026568, 1.07416914]), atol=6e-9)
    alpha_kl = UNEQUAL.alpha * kl
    f_pi = UNEQUAL.solve(lambda x: bounds.policy_gap(x, UNEQUAL.g, pi.log(), alpha_kl))
    truth = [[4.19036909, 4.50226977], [4.38548311, 4.71450035], [4.23023713, 4.75260747]]
    close(f_pi, table(truth), atol=6e-9)
    q_pi = [[7.83446816, 7.68217056], [7.44311126, 7.67960224], [6.93457645, 8.89141955]]
    close(UNEQUAL.qs - f_pi, table(q_pi), atol=6e-9)


# Any f, however wrong (ORACLES 1b)


def test_corrupted_critics_by_numbers():
    noise = table([[0.3, -0.2], [0.1, 0], [-0.4, 0.25]])
    f, kappa, log_pi = corrupted(UNEQUAL, noise)
    truth = [[-0.37919907, 0.03358260], [-0.24343108, -0.10487305], [0.26129586, -0.31717255]]
    close(kappa, table(truth), atol=6e-9)
    k, k_pi = corrections(UNEQUAL, kappa, log_pi)
    truth = [[-2.81148995, -2.45613289], [-2.70680548, -2.69415377], [-2.15413878, -2.93766568]]
    close(k, table(truth), atol=6e-9)
    truth = [[-2.88432186, -2.49380089], [-2.75621886, -2.72566017], [-2.21536976, -2.97198204]]
    close(k_pi, table(truth), atol=6e-9)
    interval = bounds.correction_interval(kappa, oracles.GAMMA)
    assert interval.lo.item() == pytest.approx(-3.79199065, abs=6e-9)
    assert interval.hi.item() == pytest.approx(2.61295859, abs=6e-9)


# What goes wrong


def test_too_high_a_temperature_is_not_covered_and_can_be_repaired():
    assert sum(TOO_WARM.b) == pytest.approx(0.2) and not rules.covered(TOO_WARM.b)
    gap = TOO_WARM.qs - TOO_WARM.qstar
    assert gap.min().item() == pytest.approx(-4.50350183, abs=6e-9)  # Q_S below the optimum
    slack = rules.coverage_slack(TOO_WARM.b, 1.9, oracles.GAMMA, log_volume=math.log(2))
    assert slack == pytest.approx(9.48225343, abs=6e-9)
    assert (gap + slack).min() >= 0


def test_exponents_w_instead_of_b_break_the_identity():
    """Temperatures treated as equal: the product of the pi_i to the power w_i."""
    log_pi_i = (UNEQUAL.q / table(UNEQUAL.temperatures)[:, None, None]).log_softmax(-1)
    product = torch.einsum("n,nsa->sa", table(UNEQUAL.weights), log_pi_i)
    g, log_pi = -UNEQUAL.alpha * product.logsumexp(-1), product.log_softmax(-1)
    c = UNEQUAL.solve(lambda x: bounds.optimal_gap(x, g, log_pi, UNEQUAL.alpha))
    error = (UNEQUAL.qs - c - UNEQUAL.qstar).abs().max()
    assert error.item() == pytest.approx(2.07811502, abs=6e-9)


def test_leaving_out_the_half_doubles_c_up():
    """Eq. 6.4 as printed, times alpha: D_half where D_half / 2 is meant."""
    doubled = THESIS.solve(lambda x: bounds.optimal_gap_upper(x, 2 * THESIS.g))
    truth = [[6.56053848, 6.93711449], [6.80232816, 7.11563963], [6.63975883, 7.13056329]]
    close(doubled, table(truth), atol=6e-9)


def test_leaving_out_alpha_violates_the_bound():
    """Eq. 6.4 as printed, in nats: it claims more than is true at alpha = 2."""
    in_nats = WARM.solve(lambda x: bounds.optimal_gap_upper(x, WARM.g / WARM.alpha))
    violation = (WARM.qstar - (WARM.qs - in_nats)).min()
    assert violation.item() == pytest.approx(-0.40187466, abs=6e-9)


def test_the_sum_at_its_default_temperature_is_the_mean():
    """ORACLES 1f: weights (1, 1)."""
    total = Composition(three(), (R1, R2), (0.5, 0.5), (1.0, 1.0))
    assert total.alpha == pytest.approx(1.0) and rules.covered(total.b)
    truth = table([0.36691729, 0.34202021, 0.02026503])
    close(total.log_pi.exp()[:, 0], truth, atol=6e-9)
    close(total.log_pi, THESIS.log_pi)


def test_the_published_sum_at_the_training_temperature_is_not_covered():
    total = Composition(three(), (R1, R2), (0.5, 0.5), (1.0, 1.0), temperature=0.5)
    assert sum(total.b) == pytest.approx(2.0) and not rules.covered(total.b)
    truth = table([0.25144334, 0.21271974, 0.00042765])
    close(total.log_pi.exp()[:, 0], truth, atol=6e-9)


# Linear-Gaussian: a known gap and no regret (ORACLES 4c)

LQR = [
    ((0.3, 0.3), (0.5, 0.5), (-0.8, 0.8), 2.48988192, 22.40893725, -0.64688906, -3.13677098),
    ((0.5, 0.1), (0.5, 0.5), (-0.8, 0.8), 2.81737298, 25.35635681, -0.31939800, -3.13677098),
    (
        (0.5, 0.2, 0.1),
        (0.2, 0.3, 0.5),
        (-1.0, 0.0, 1.0),
        2.58343471,
        23.25091240,
        -0.75097826,
        -3.33441297,
    ),
]


@pytest.mark.parametrize(("temperatures", "weights", "goals", "c", "d", "qs", "qstar"), LQR)
def test_linear_gaussian_gaps(temperatures, weights, goals, c, d, qs, qstar):
    """G is the same in every state, so one state and quadrature points as actions suffice."""
    alpha = rules.default_temperature(weights, temperatures)
    skills = [oracles.shifted_lqr(alpha_i) for alpha_i in temperatures]
    x, width = table([[0.3]]), 12.0
    u = torch.linspace(-width, width, 8001, dtype=torch.float64)[:-1, None]
    q = torch.stack([s.q(x[:, None] - g, u) for s, g in zip(skills, goals, strict=True)])
    g = sampled_disagreement(q, weights, temperatures, alpha, -math.log(2 * width))
    log_pi = boltzmann_log_weights(torch.einsum("n,nsa->sa", table(weights), q), alpha, 0.0)
    log_pi = log_pi.log_softmax(-1)

    solve = partial(
        bounds.fixed_point,
        backup=lambda v: v[:, None].expand_as(log_pi),
        discount=0.9,
        offset=torch.zeros_like(log_pi),
    )
    c_up = solve(lambda y: bounds.optimal_gap_upper(y, g))
    for gap in (
        solve(lambda y: bounds.optimal_gap(y, g, log_pi, alpha)),
        c_up,
        solve(lambda y: bounds.optimal_gap_lower(y, g)),
        solve(lambda y: bounds.policy_gap(y, g, log_pi)),
        bounds.estimated_gap(g, 0.9).largest,
    ):
        close(gap, torch.full_like(gap, c), atol=6e-9)
    found = solve(lambda y: bounds.thesis_regret(y, c_up, log_pi))
    close(found, torch.full_like(found, d), atol=2e-8)

    point = table([-0.2])
    q_s = sum(
        w * s.q(x[0] - goal, point) for s, w, goal in zip(skills, weights, goals, strict=True)
    )
    assert q_s.item() == pytest.approx(qs, abs=6e-9)
    assert q_s.item() - c_up[0, 0].item() == pytest.approx(qstar, abs=1.2e-8)
    mean = sum(w * goal for w, goal in zip(weights, goals, strict=True))
    spread = sum(w * (goal - mean) ** 2 for w, goal in zip(weights, goals, strict=True))
    optimum = oracles.shifted_lqr(alpha).q(x[0] - mean, point) - 0.5 * spread / (1 - 0.9)
    assert optimum.item() == pytest.approx(qstar, abs=6e-9)
