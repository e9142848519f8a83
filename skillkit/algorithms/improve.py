"""From the sum of skills' Q-functions towards the optimum of the summed reward, offline.

Q_S promises what no policy keeps: each Q_i is the value of going on with skill i alone. Where the
skills disagree for long, its policy waits for what never comes. Values are linear in the reward, so
for any one policy pi

    Q^pi = sum_i w_i Q_i^pi,   Q_i^pi = r_i + gamma (1-d) E[Q_i^pi].

Every critic learns, on stored transitions relabelled for its own task, what its reward is worth
under the one policy that all share, and that policy improves on the sum, pi' = exp(Q^pi/alpha)/Z in
each state: policy iteration of the composed task, begun at pi_S and Q_S. No network is added; what
the critics lose on the way is F of THEORY 5, the price of composition, and what soft values count
for entropy.

Its targets look ahead along the stored episodes (`best_returns`), and the policy leans towards
stored actions that were worth more than its own: what it cannot try, it must believe. The values
are of the rewards alone, not soft ones (thesis ch. 4): what entropy a stored way had is not known,
and if only the policy's way pays for it, every other seems better. What Q_S promised still counts a
little: the skills have seen more than they have stored.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from skillkit.algorithms.learner import Learner, jittered, step
from skillkit.errors import InvalidValue
from skillkit.functional.losses import actor_loss, critic_loss
from skillkit.functional.returns import best_returns
from skillkit.policies import POLICIES, Policy
from skillkit.q_functions import SoftQ, WeightedSum
from skillkit.types import Batch

CHUNK = 8_192  # stored states that are valued at once
FALL = 0.7  # of the updates: over so many the rates fall
MOST = 1.0  # advantage of a stored action that counts, at most [r]


@dataclass(frozen=True)
class ImproveConfig:
    """Hyperparameters of the policy iteration."""

    updates: int = 0  # gradient steps; 0 leaves the thesis' composition as it is
    evaluations: int = 300  # of them, before the policy moves: the critics learn what it is worth
    sweep_every: int = 200  # updates between looks ahead along all that is stored
    learning_rate: float = 1e-3  # of Adam, for the critics; falls to zero over the last 70 %
    policy_rate: float = 2e-3  # and for the policy, which has little time to find a new way
    batch_size: int = 256  # stored transitions per update
    jitter: float = 0.3  # half of the policy's states are moved by so many standard deviations
    promise: float = 0.25  # share of its states, in [0, 1], in which the policy still follows Q_S
    imitation: float = 0.5  # weight of -log pi of stored actions that are worth more than its own,
    # by how much more, up to 1 r [1/nat]
    margin: float = 0.2  # which they must be worth more at least [r]
    focus: float = 0.25  # share of the transitions, in [0, 1], that are drawn from those alone
    doubt: float = 0.05  # weight of E[Q(s, pi) - Q(s, a)] in the critics' loss, averaged over those
    # of a skill: what nobody has tried is worth less than it seems (Kumar et al. 2020) [r]

    def __post_init__(self) -> None:
        counts = self.updates, self.evaluations
        amounts = self.jitter, self.imitation, self.margin, self.doubt
        shares = self.promise, self.focus
        if min(counts + amounts) < 0 or not 0 <= min(shares) <= max(shares) <= 1:
            raise InvalidValue(
                "improve.updates, evaluations, jitter, imitation, margin and doubt must not be "
                "negative, and improve.promise and improve.focus lie in [0, 1]"
            )
        rates = self.learning_rate, self.policy_rate
        if min(rates) <= 0 or min(self.batch_size, self.sweep_every) < 1:
            raise InvalidValue(
                "improve.learning_rate, policy_rate, batch_size and sweep_every must be positive"
            )


class Improve(Learner):
    """Policy iteration with a critic for each summand of the reward.

    Args:
        policy: pi_S.
        q: Q_S. Both stay as they are, and copies of them go on learning.
        seed: of the noise.

    Raises:
        InvalidValue: a policy without density has no entropy to trade.
    """

    q: WeightedSum
    config: ImproveConfig

    def __init__(self, policy: Policy, q: WeightedSum, config: ImproveConfig, seed: int) -> None:
        check_density(policy.kind)
        self.config = config
        self.generator = torch.Generator().manual_seed(seed)
        self.policy = copy.deepcopy(policy).requires_grad_()
        self.q = copy.deepcopy(q).requires_grad_()
        self.promised = copy.deepcopy(q).requires_grad_(False)
        self.weights = torch.tensor(q.weights)
        self.modules = {"policy": self.policy, "q": self.q}
        self.rates = {"policy": config.policy_rate, "q": config.learning_rate}
        self.optimizers = {
            name: torch.optim.Adam(module.parameters(), lr=self.rates[name], fused=True)
            for name, module in self.modules.items()
        }
        self.spread = torch.zeros(())  # of the stored observations

    @torch.no_grad()
    def look_ahead(self, stored: Batch, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What is known of whole episodes. Rewards (B, N), (E,) -> (B, N) [r], bool (B,)

        Returns:
            Targets of every critic, and where what was stored is worth more than the policy.
        """
        self.spread = stored.obs.std(0)
        after = torch.cat([self._values(obs) for obs in stored.next_obs.split(CHUNK)])
        targets = best_returns(stored.reward, stored.discount, after, lengths, self.weights)
        begin = lengths.cumsum(0) - lengths
        before = after.roll(1, 0)  # a state is the next one of the transition before
        before[begin] = self._values(stored.obs[begin])
        return targets, (targets - before) @ self.weights > self.config.margin

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """`batch.reward` holds the targets, a column for each part of the sum. (B, N)"""
        with torch.no_grad():
            own = self.policy.act(batch.obs, self.noise(len(batch.obs)))
        obs, action = batch.obs.repeat(2, 1), torch.cat([batch.action, own])
        losses, worth = [], []
        for part, y in zip(self.q.parts, batch.reward.unbind(-1), strict=True):
            stored, hoped = cast(SoftQ, part).all(obs, action).chunk(2, -1)
            losses += [critic_loss(stored, y), self.config.doubt * (hoped - stored).mean()]
            worth.append(hoped.detach().amin(0))
        loss_q = torch.stack(losses).sum()
        step(self.optimizers["q"], loss_q)
        metrics = {"critic_loss": loss_q.detach()}
        if self.updates >= self.config.evaluations:
            metrics |= self._improve(batch, batch.reward - torch.stack(worth, -1))
        self.updates += 1
        return metrics

    def anneal(self, done: float) -> None:
        """The learning rates stay for a while, and fall linearly to zero."""
        for name, optimizer in self.optimizers.items():
            optimizer.param_groups[0]["lr"] = self.rates[name] * min(1.0, (1 - done) / FALL)

    def _values(self, obs: Tensor) -> Tensor:
        """E[Q_i(s, a)] of the policy, from one action. (B, O) -> (B, N)"""
        return self.q.each(obs, self.policy.act(obs, self.noise(len(obs))))

    def _improve(self, batch: Batch, gain: Tensor) -> dict[str, Tensor]:
        """A step of the policy on the sum; `gain`: of the stored actions over its own. (B, N)"""
        obs = jittered(batch.obs, self.config.jitter * self.spread, self.generator)
        obs = obs[torch.randperm(len(obs), generator=self.generator)]  # the moved among the others
        action, log_prob = self.policy.act_and_log_prob(obs, self.noise(len(obs)))
        count = round(self.config.promise * len(obs))  # states that follow what was promised
        parts = (self.promised, slice(count)), (self.q, slice(count, None))
        q = torch.cat([value(obs[rows], action[rows]) for value, rows in parts])
        loss = actor_loss(log_prob, q, self.q.alpha)
        if self.config.imitation:
            better = (gain @ self.weights - self.config.margin).clamp(0.0, MOST)
            likeness = self.policy.log_prob(batch.obs, batch.action)
            loss = loss - self.config.imitation * (better * likeness).mean()
        step(self.optimizers["policy"], loss)
        return {"actor_loss": loss.detach(), "entropy": -log_prob.detach().mean()}


def check_density(policy: str) -> None:
    """Whether a kind of policy has an entropy to trade.

    Raises:
        InvalidValue: it has no density.
    """
    if not POLICIES[policy].has_density:
        raise InvalidValue(
            f"a {policy} policy has no density to improve; leave distill.policy out, or set "
            "improve.updates=0"
        )
