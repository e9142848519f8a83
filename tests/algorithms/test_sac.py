"""Soft actor-critic: the whole update against its equations written out, and each option."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from skillkit.algorithms import SAC, SACConfig
from skillkit.errors import InvalidValue, SkillkitError, UnknownName
from skillkit.functional.losses import critic_loss
from tests.toys import batch, spec

SMALL: dict[str, Any] = {"hidden": (16, 8), "learning_rate": 1e-2}


def made(**options: Any) -> SAC:
    return SAC(spec(), SACConfig(**(SMALL | options)), seed=0)


# The update


def network(weights: list[Tensor], biases: list[Tensor]) -> nn.Sequential:
    """A plain network of nn.Linear and nn.ReLU. weights (O, I), biases (O,)."""
    layers: list[nn.Module] = []
    for weight, bias in zip(weights, biases, strict=True):
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight.data, layer.bias.data = weight.detach().clone(), bias.detach().clone()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def critics_of(q: Any) -> list[nn.Sequential]:
    """An ensemble as separate networks."""
    return [
        network([x.weight[i].T for x in q.net.layers], [x.bias[i, 0] for x in q.net.layers])
        for i in range(q.critics)
    ]


class Plain:
    """THEORY 3 line by line: separate critics, textbook densities, one Adam each, no tricks."""

    def __init__(self, sac: SAC) -> None:
        self.config, self.deterministic = sac.config, sac.config.policy == "deterministic"
        layers = sac.policy.net.layers
        self.policy = network([x.weight for x in layers], [x.bias for x in layers])
        self.critics, self.targets = critics_of(sac.q), critics_of(sac.q)
        self.log_alpha = torch.tensor(self.config.alpha).log().requires_grad_()
        rate = self.config.learning_rate
        parts = [self.policy.parameters(), *(c.parameters() for c in self.critics)]
        self.adams = [torch.optim.Adam(part, rate, foreach=False) for part in parts]
        self.alpha_adam = torch.optim.Adam([self.log_alpha], rate, foreach=False)
        self.updates = 0

    def act(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        out = self.policy(obs)
        if self.deterministic:
            return out.tanh(), torch.zeros(len(obs))
        mean, x = out[:, :2], out[:, 2:]
        std = torch.exp(-5 + 3.5 * (1 + x.tanh()))
        u = mean + std * noise
        in_u = torch.distributions.Normal(mean, std).log_prob(u)
        return u.tanh(), (in_u - torch.log(1 - u.tanh() ** 2)).sum(1)

    def update(self, data: Any, next_noise: Tensor, noise: Tensor) -> dict[str, Tensor]:
        alpha = self.log_alpha.detach().exp()
        with torch.no_grad():
            a, log_pi = self.act(data.next_obs, next_noise)
            pairs = torch.cat([data.next_obs, a], 1)
            smallest = torch.stack([target(pairs)[:, 0] for target in self.targets]).min(0).values
            y = data.reward + data.discount * (smallest - alpha * log_pi)
        pairs = torch.cat([data.obs, data.action], 1)
        losses = [0.5 * ((critic(pairs)[:, 0] - y) ** 2).mean() for critic in self.critics]
        values = torch.stack([critic(pairs)[:, 0] for critic in self.critics]).mean().detach()
        for adam, loss in zip(self.adams[1:], losses, strict=True):
            self.descend(adam, loss)

        a, log_pi = self.act(data.obs, noise)
        pairs = torch.cat([data.obs, a], 1)
        smallest = torch.stack([critic(pairs)[:, 0] for critic in self.critics]).min(0).values
        actor = (alpha * log_pi - smallest).mean()
        self.descend(self.adams[0], actor)

        if self.config.automatic_alpha:
            wanted = -2.0 if self.config.target_entropy is None else self.config.target_entropy
            self.descend(self.alpha_adam, -self.log_alpha * (log_pi + wanted).mean().detach())
        self.follow()
        return {
            "critic_loss": sum(losses).detach(),
            "actor_loss": actor.detach(),
            "q": values,
            "entropy": -log_pi.mean().detach(),
            "alpha": alpha,
        }

    def descend(self, adam: torch.optim.Adam, loss: Tensor) -> None:
        adam.zero_grad()
        loss.backward()
        adam.step()

    @torch.no_grad()
    def follow(self) -> None:
        self.updates += 1
        for target, critic in zip(self.targets, self.critics, strict=True):
            for old, new in zip(target.parameters(), critic.parameters(), strict=True):
                if self.config.target == "average":
                    tau = self.config.target_rate
                    old.copy_((1 - tau) * old + tau * new)
                elif self.updates % self.config.target_interval == 0:
                    old.copy_(new)


OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "one critic": {"critics": 1},
    "four critics": {"critics": 4},
    "hot": {"alpha": 2.0},
    "greedy": {"alpha": 0.0},
    "automatic": {"automatic_alpha": True, "alpha": 0.7},
    "target entropy": {"automatic_alpha": True, "target_entropy": 1.5},
    "fast target": {"target_rate": 0.3},
    "hard target": {"target": "hard", "target_interval": 3},
    "deterministic": {"policy": "deterministic", "alpha": 0.0},
    "linear": {"hidden": ()},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_update_is_its_equations(
    options: dict[str, Any], float64: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight updates: every metric and every parameter, the target's too."""
    sac = made(**options)
    plain, noises = Plain(sac), torch.randn(8, 2, 32, 2)
    for i in range(8):
        data = batch(32, seed=i)
        pending = iter(noises[i])  # first for the target, then for the actor
        monkeypatch.setattr(sac, "noise", lambda size, rows=pending: next(rows))
        if sac.policy.noise_dim == 0:
            monkeypatch.setattr(sac, "noise", lambda size: torch.zeros(size, 0))
        metrics, expected = sac.update(data), plain.update(data, *noises[i])
        assert metrics.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(metrics[name], value, rtol=1e-6, atol=1e-8, msg=name)
    policy = [p for x in sac.policy.net.layers for p in (x.weight, x.bias)]
    for ours, theirs in zip(policy, plain.policy.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    for ensemble, singles in ((sac.q, plain.critics), (sac.target, plain.targets)):
        for ours, theirs in zip(critics_of(ensemble), singles, strict=True):
            for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(sac.temperature.log_alpha, plain.log_alpha, rtol=1e-6, atol=1e-8)


def test_fresh_noise_at_every_call() -> None:
    """Standard normal, of the learner's own generator; never the same for target and actor."""
    sac = made()
    rows = [sac.noise(5_000) for _ in range(3)]
    assert rows[0].shape == (5_000, 2)
    assert torch.cat(rows).std().item() == pytest.approx(1.0, abs=0.03)
    assert (
        abs(torch.corrcoef(torch.stack([r.flatten() for r in rows])).fill_diagonal_(0)).max() < 0.06
    )


def test_the_actor_moves_no_critic() -> None:
    """The critics' gradient is that of their own loss, the target has none."""
    sac, data = made(), batch(32)
    before = copy.deepcopy(sac.q)
    twin = made()
    with torch.no_grad():
        a, log_pi = twin.act(data.next_obs, twin.noise(32))
        y = data.reward + data.discount * (twin.target(data.next_obs, a) - 0.2 * log_pi)
    own = torch.autograd.grad(
        critic_loss(before.all(data.obs, data.action), y), before.parameters()
    )
    sac.update(data)
    for parameter, gradient in zip(sac.q.parameters(), own, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    assert all(p.grad is None and not p.requires_grad for p in sac.target.parameters())
    assert sac.temperature.log_alpha.grad is None  # it is fixed


# Options


@pytest.mark.parametrize(("wanted", "rises"), [(50.0, True), (-50.0, False)])
def test_the_temperature_moves_towards_its_entropy(wanted: float, rises: bool) -> None:
    sac = made(automatic_alpha=True, target_entropy=wanted)
    alphas = [sac.update(batch(32, seed=i))["alpha"].item() for i in range(5)]
    assert sorted(alphas, reverse=not rises) == alphas and len(set(alphas)) == 5
    assert alphas[0] == pytest.approx(0.2)
    assert (sac.alpha > alphas[-1]) == rises and sac.alpha > 0


def test_the_temperature_settles_at_its_entropy() -> None:
    """Where rewards want a peaked policy and alpha began high: the entropy comes to its target."""
    sac = made(automatic_alpha=True, target_entropy=-1.0, alpha=1.0, gamma=0.5)
    for i in range(400):
        data = batch(64, seed=i)
        metrics = sac.update(data._replace(reward=-4 * data.action.square().sum(1)))
    assert metrics["entropy"].item() == pytest.approx(-1.0, abs=0.4)


@pytest.mark.parametrize(
    ("automatic", "wanted", "expected"),
    [(True, None, -2.0), (True, 0.5, 0.5), (True, 0.0, 0.0), (False, None, -2.0)],
)
def test_target_entropy(automatic: bool, wanted: float | None, expected: float) -> None:
    """Minus the number of actions unless given; zero is a wish like any other."""
    assert made(automatic_alpha=automatic, target_entropy=wanted).target_entropy == expected


@pytest.mark.parametrize("alpha", [0.0, 0.05, 3.0])
def test_a_fixed_temperature_stays(alpha: float) -> None:
    sac = made(alpha=alpha)
    for i in range(3):
        assert sac.update(batch(32, seed=i))["alpha"].item() == pytest.approx(alpha)
    assert sac.alpha == pytest.approx(alpha) and sac.q.alpha == alpha
    assert "temperature" not in sac.optimizers


@pytest.mark.parametrize(("final", "expected"), [(1.0, 1.0), (0.1, 0.775), (0.0, 0.75)])
def test_the_learning_rate_falls_linearly(final: float, expected: float) -> None:
    """A quarter of the way, to `final_rate` at the end; the temperature's too."""
    sac = made(final_rate=final, automatic_alpha=True)
    for done, share in ((0.0, 1.0), (0.25, expected), (1.0, final)):
        sac.anneal(done)
        rates = [adam.param_groups[0]["lr"] for adam in sac.optimizers.values()]
        assert rates == pytest.approx([1e-2 * share] * 3, abs=1e-12)
    before = sac.state()["policy/net.layers.0.weight"].clone()
    sac.update(batch(32))
    assert torch.equal(before, sac.policy.net.layers[0].weight) == (final == 0)


def test_sizes_and_discount() -> None:
    sac = SAC(spec(5, 3), SACConfig(hidden=(7, 6), critics=3, gamma=0.9, alpha=0.3), seed=0)
    assert (sac.q.gamma, sac.q.alpha, sac.q.critics, sac.q.hidden) == (0.9, 0.3, 3, (7, 6))
    assert (sac.policy.observation_dim, sac.policy.action_dim, sac.policy.hidden) == (5, 3, (7, 6))
    assert all(
        torch.equal(a, b) for a, b in zip(sac.q.parameters(), sac.target.parameters(), strict=True)
    )
    assert not any(a is b for a, b in zip(sac.q.parameters(), sac.target.parameters(), strict=True))


def test_critics_start_apart() -> None:
    q = made(critics=2).q.all(batch(8).obs, batch(8).action)
    assert (q[0] != q[1]).all()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"policy": "gausian"},
            UnknownName,
            "no policy is called 'gausian'; did you mean gaussian",
        ),
        ({"target": "soft"}, UnknownName, "no target is called 'soft'; choose from average, hard"),
        ({"policy": "deterministic"}, InvalidValue, "set sac.alpha=0"),
        (
            {"policy": "deterministic", "alpha": 0.0, "automatic_alpha": True},
            InvalidValue,
            "no entropy",
        ),
        ({"alpha": -0.1}, InvalidValue, "sac.alpha must be positive, got -0.1"),
        (
            {"alpha": 0.0, "automatic_alpha": True},
            InvalidValue,
            "sac.alpha must be positive, got 0",
        ),
        ({"gamma": 1.0}, InvalidValue, "sac.gamma"),
        ({"gamma": 0.0}, InvalidValue, "sac.gamma"),
        ({"learning_rate": 0.0}, InvalidValue, "sac.learning_rate"),
        ({"batch_size": 0}, InvalidValue, "sac size"),
        ({"critics": 0}, InvalidValue, "sac size"),
        ({"hidden": (64, 0)}, InvalidValue, "sac size"),
        ({"final_rate": -0.1}, InvalidValue, "sac.final_rate"),
        ({"final_rate": 1.1}, InvalidValue, "sac.final_rate"),
        ({"target_rate": 0.0}, InvalidValue, "sac.target_rate"),
        ({"target_rate": 1.5}, InvalidValue, "sac.target_rate"),
        ({"target": "hard", "target_interval": 0}, InvalidValue, "sac.target_interval"),
    ],
)
def test_bad_configs(options: dict[str, Any], error: type[SkillkitError], words: str) -> None:
    with pytest.raises(error, match=words):
        SACConfig(**options)
