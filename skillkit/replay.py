"""Stored experience, as it is learned from: batches, other tasks' rewards, whole episodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skillkit.episodes import DISCOUNTS as DISCOUNTS
from skillkit.episodes import EPISODE_KEYS as EPISODE_KEYS
from skillkit.episodes import check, chosen
from skillkit.errors import InvalidValue
from skillkit.ring import Ring
from skillkit.types import Array, Batch, Spec

Relabel = Callable[[Array, Array, Array], Array]  # (obs, native action, next_obs) -> (B,)


@dataclass(frozen=True)
class Sampling:
    """What batches are made of; the defaults are single transitions, all equally likely."""

    n_step: int = 1  # transitions in a row whose rewards are summed: from afar a rare one is seen
    rewarded_share: float = 0.0  # of each batch, from episodes that met a reward above 0, if any
    symmetric: bool = False  # each transition as one of its images; for symmetric tasks alone

    def __post_init__(self) -> None:
        if self.n_step < 1:
            raise InvalidValue(f"replay.n_step must be at least 1, got {self.n_step}")
        if not 0 <= self.rewarded_share <= 1:
            raise InvalidValue(
                f"replay.rewarded_share must lie in [0, 1], got {self.rewarded_share:g}"
            )


class ReplayBuffer(Ring):
    """A ring of transitions, and what learners, other tasks and files make of them."""

    def sample(
        self,
        batch_size: int,
        generator: torch.Generator,
        task: int = 0,
        sampling: Sampling | None = None,
    ) -> Batch:
        """A batch drawn with replacement, with the rewards of one task."""
        device = self.rows.device
        where = torch.randint(self.size, (batch_size,), generator=generator, device=device)
        if sampling is None:
            return self._batch(self.rows[where], task)
        count = round(sampling.rewarded_share * batch_size)
        if count and len(found := self.rewarded(task)):
            chosen = torch.randint(len(found), (count,), generator=generator, device=device)
            where[:count] = found[chosen]
        return self._sum_ahead(where, task, sampling.n_step)

    def sample_each(self, count: int, batch_size: int, generator: torch.Generator) -> Batch:
        """The batches that `sample` would give each task, `count` times in a row: in one gather.

        (N, count, B, ...) each
        """
        shape, device = (self.tasks, count, batch_size), self.rows.device
        where = torch.randint(self.size, shape, generator=generator, device=device)
        obs, next_obs, action, _, discount, rewards = self._columns(self.rows[where])
        own = rewards.diagonal(dim1=0, dim2=-1).movedim(-1, 0)
        return Batch(obs, action, own, discount.squeeze(-1), next_obs)

    def _sum_ahead(self, where: Tensor, task: int, steps: int) -> Batch:
        """Transitions over up to `steps` rows of their episode each: rewards are summed under the
        discounts between them, which multiply; what the actions in between cost is left out."""
        batch, device = self._batch(self.rows[where], task), self.rows.device
        if steps == 1:
            return batch  # without a word to the host
        oldest = self.cursor if self.size == self.capacity else 0
        age = (where.cpu() - oldest) % self.capacity  # 0 is the oldest row
        episode, goes_on = self.episode[where.cpu()], torch.ones_like(age, dtype=torch.bool)
        for _ in range(steps - 1):
            age = age + self.stride
            at = (oldest + age % self.size) % self.capacity
            goes_on = goes_on & (age < self.size) & (self.episode[at] == episode)
            if not goes_on.any():
                break
            on, then = goes_on.to(device), self._batch(self.rows[at.to(device)], task)
            batch = batch._replace(
                reward=torch.where(on, batch.reward + batch.discount * then.reward, batch.reward),
                discount=torch.where(on, batch.discount * then.discount, batch.discount),
                next_obs=torch.where(on[:, None], then.next_obs, batch.next_obs),
            )
        return batch

    def all(self, task: int = 0) -> Batch:
        """Every stored transition, oldest first."""
        return self._batch(self.rows[self._by_age()], task)

    def relabel(self, spec: Spec, reward: Relabel, terminated: Relabel) -> ReplayBuffer:
        """The same transitions under another task of the domain: the last columns are recomputed.

        `spec` turns the stored unit actions into the native ones that a task reads. An episode is
        split where the other task would have ended it; what follows are transitions all the same.

        Raises:
            InvalidValue: a row is a decision held for several steps.
        """
        if self.held:
            raise InvalidValue(
                "this replay holds decisions of several steps each, with the sum of their rewards; "
                "what happened at each step, which another task would judge, is not in it"
            )
        sizes = self.observation_dim, self.action_dim
        device = self.rows.device
        other = ReplayBuffer(max(self.size, 1), *sizes, self.gamma, device)
        order = self._by_episode()
        obs, next_obs, action, pre_tanh, _, _ = self._columns(self.rows[order])
        transition = obs.cpu().numpy(), spec.native(action.cpu().numpy()), next_obs.cpu().numpy()
        over = torch.from_numpy(np.array(terminated(*transition), bool))
        discount = (self.gamma * ~over).float()
        r = torch.from_numpy(np.asarray(reward(*transition), np.float32))
        columns = torch.stack([discount, r], 1).to(device)
        ended, episode = self.ended[order], self.episode[order]
        ended[:, 0] = over
        begins = torch.ones_like(over)
        begins[1:] = (episode[1:] != episode[:-1]) | over[:-1]
        rows = torch.cat([obs, next_obs, action, pre_tanh, columns], 1)
        other._append(rows, begins.cumsum(0), ended, self.step[order])
        return other

    def episodes(
        self, limit: int | None = None, task: int = 0, latest: float = 0.0
    ) -> dict[str, Tensor]:
        """Whole episodes as the tensors of `EPISODE_KEYS`, at most `limit` transitions of them: a
        share of the latest, the others spread evenly over training. An episode that is cut off
        counts as truncated.

        Of N tasks that share the transitions each gets every Nth episode, with its own rewards:
        the union of what they get is the whole, without a transition twice.
        """
        order = self._by_episode()
        numbers, lengths = torch.unique_consecutive(self.episode[order], return_counts=True)
        starts = lengths.cumsum(0) - lengths
        dealt = torch.arange(len(lengths))[task % len(lengths) :: self.tasks]
        keep = dealt[chosen(lengths[dealt], limit, latest)]
        index = [order[s : s + n] for s, n in zip(starts[keep], lengths[keep], strict=True)]
        last = torch.stack([rows[-1] for rows in index])
        flat = torch.cat(index)
        obs, next_obs, action, pre_tanh, discount, r = self._columns(self.rows[flat].cpu())
        chunks = zip(
            obs.split(lengths[keep].tolist()), next_obs.split(lengths[keep].tolist()), strict=True
        )
        terminated = self.ended[last, 0]
        found = {
            "observations": torch.cat([torch.cat([o, n[-1:]]) for o, n in chunks]),
            "actions": action.contiguous(),
            "pre_tanh": pre_tanh.contiguous(),
            "rewards": r[:, task].contiguous(),
            "lengths": lengths[keep],
            "terminated": terminated,
            "truncated": ~terminated,
            "training_step": self.step[torch.stack([rows[0] for rows in index])],
        }
        return found | ({DISCOUNTS: discount[:, 0].contiguous()} if self.held else {})

    @staticmethod
    def from_episodes(
        tensors: Mapping[str, Tensor], gamma: float, device: str | torch.device = "cpu"
    ) -> ReplayBuffer:
        """Inverse of `episodes`.

        Raises:
            InvalidValue: the tensors do not belong together.
        """
        check(tensors)
        obs, action, lengths = tensors["observations"], tensors["actions"], tensors["lengths"]
        held, count = DISCOUNTS in tensors, len(action)
        replay = ReplayBuffer(count, obs.shape[1], action.shape[1], gamma, device, held=held)
        episode = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        before = torch.arange(count) + episode  # skips one final observation per episode
        last = lengths.cumsum(0) - 1
        ended = torch.zeros(count, 2, dtype=torch.bool)
        ended[last, 0], ended[last, 1] = tensors["terminated"].bool(), tensors["truncated"].bool()
        discount = tensors.get(DISCOUNTS, gamma * (~ended[:, 0]).float())
        if held and not bool(((discount >= 0) & (discount <= gamma)).all()):
            raise InvalidValue("a replay's discounts must lie between 0 and gamma")
        columns = [obs[before], obs[before + 1], action, tensors["pre_tanh"]]
        columns += [discount[:, None], tensors["rewards"][:, None]]
        rows = torch.cat(columns, dim=1)
        step = torch.repeat_interleave(tensors["training_step"], lengths)
        replay._append(rows.float(), episode, ended, step)
        return replay


def union(replays: Sequence[ReplayBuffer]) -> ReplayBuffer:
    """All transitions of several replays of one domain, sampled in proportion to their sizes."""
    first = replays[0]
    merged = ReplayBuffer(
        sum(len(replay) for replay in replays),
        first.observation_dim,
        first.action_dim,
        first.gamma,
        first.rows.device,
        held=any(replay.held for replay in replays),
    )
    offset = 0
    for replay in replays:
        kept = replay._by_age()
        merged._append(
            replay.rows[kept], replay.episode[kept] + offset, replay.ended[kept], replay.step[kept]
        )
        offset += int(replay.episode[kept].max()) + 1
    return merged
