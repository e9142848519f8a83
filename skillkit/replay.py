"""Stored experience: a ring of transitions on one device, exported and imported as episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skillkit.errors import CorruptSkill, InvalidValue
from skillkit.types import Array, Batch, Spec

Relabel = Callable[[Array, Array, Array], Array]  # (obs, native action, next_obs) -> (B,)

EPISODE_KEYS = (
    "observations",  # (sum(T_e + 1), O)
    "actions",  # (sum T_e, A) unit
    "pre_tanh",  # (sum T_e, A)
    "rewards",  # (sum T_e,) [r]
    "lengths",  # (episodes,)
    "terminated",  # (episodes,)
    "truncated",  # (episodes,)
    "training_step",  # (episodes,) environment steps taken when the episode began
)
DISCOUNTS = "discounts"  # (sum T_e,), beside them where decisions are held for several steps


@dataclass(frozen=True)
class Sampling:
    """What batches are made of; the defaults are single transitions, all equally likely."""

    n_step: int = 1  # transitions in a row whose rewards are summed: from afar a rare one is seen
    rewarded_share: float = 0.0  # of each batch, from episodes that met a reward above 0, if any
    symmetric: bool = False  # each transition as one of its images; for tasks that are symmetric

    def __post_init__(self) -> None:
        if self.n_step < 1:
            raise InvalidValue(f"replay.n_step must be at least 1, got {self.n_step}")
        if not 0 <= self.rewarded_share <= 1:
            raise InvalidValue(
                f"replay.rewarded_share must lie in [0, 1], got {self.rewarded_share:g}"
            )


REFRESH = 1_000  # new rows after which it is looked up again which episodes met a reward
REWARDED = "rewarded/"  # before the task, in a checkpoint


class ReplayBuffer:
    """A ring of transitions; the oldest are overwritten once it is full.

    One table of float32 rows, so that a batch is a single gather:
    obs (O) | next_obs (O) | action (A) | pre_tanh (A) | discount (1) | rewards (N).
    Tasks that are trained together share the transitions and have a reward column each.

    Where an upper layer holds its decisions, a row is a decision: the reward is
    sum_{k<m} gamma^k r_k and the discount gamma^m (1 - terminated), over the m environment steps
    that it lasted (THEORY 7).
    """

    def __init__(
        self,
        capacity: int,
        observation_dim: int,
        action_dim: int,
        gamma: float,
        device: str | torch.device = "cpu",
        tasks: int = 1,
        held: bool = False,
    ) -> None:
        """`held`: whether a row may last several environment steps."""
        if capacity < 1:
            raise InvalidValue(f"a replay buffer needs a capacity of at least 1, got {capacity}")
        self.capacity, self.gamma = int(capacity), float(gamma)
        self.observation_dim, self.action_dim, self.tasks = observation_dim, action_dim, tasks
        self.held = held
        width = 2 * observation_dim + 2 * action_dim + 1 + tasks
        self.rows = torch.zeros(self.capacity, width, device=device)
        # Which episode a row belongs to, how that episode stood after it, and when it was made.
        self.episode = torch.zeros(self.capacity, dtype=torch.int64)
        self.ended = torch.zeros(self.capacity, 2, dtype=torch.bool)  # terminated, truncated
        self.step = torch.zeros(self.capacity, dtype=torch.int64)
        self.added = 0  # rows so far, those that were overwritten since among them
        self.stride = 1  # rows from a transition to the next one of its episode
        self._rewarded: dict[int, Tensor] = {}  # rows of episodes with a reward, by task
        self._unseen = 0  # rows since these were looked up

    def __len__(self) -> int:
        return self.size

    @property
    def size(self) -> int:
        """Rows that are stored."""
        return min(self.added, self.capacity)

    @property
    def cursor(self) -> int:
        """Where the next row goes."""
        return self.added % self.capacity

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes

    def _columns(self, rows: Tensor) -> tuple[Tensor, ...]:
        o, a = self.observation_dim, self.action_dim
        return torch.split(rows, [o, o, a, a, 1, self.tasks], dim=-1)

    def add(
        self,
        obs: Array,  # (E, O)
        action: Array,  # (E, A) unit
        pre_tanh: Array,  # (E, A)
        rewards: Array,  # (E, N), or (E,) for one task
        terminated: Array,  # (E,)
        truncated: Array,  # (E,)
        next_obs: Array,  # (E, O)
        episode: Array,  # (E,)
        step: int,
        lasted: Array | int = 1,  # (E,) environment steps
    ) -> None:
        """Append one transition of each of E episodes."""
        discount = self.gamma**lasted * (1.0 - terminated)
        r = rewards.reshape(len(obs), self.tasks)
        columns = (obs, next_obs, action, pre_tanh, discount[:, None], r)
        rows = torch.from_numpy(np.concatenate(columns, axis=1, dtype=np.float32))
        self.stride = len(obs)
        ended = torch.from_numpy(np.stack([terminated, truncated], axis=1))
        self._append(rows, torch.from_numpy(episode), ended, torch.full((len(obs),), step))

    def _append(self, rows: Tensor, episode: Tensor, ended: Tensor, step: Tensor) -> None:
        where = torch.arange(self.added, self.added + len(rows)) % self.capacity
        self.rows[where.to(self.rows.device)] = rows.to(self.rows.device)
        self.episode[where], self.ended[where], self.step[where] = episode, ended, step
        self.added += len(rows)
        self._unseen += len(rows)

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

    def rewarded(self, task: int = 0) -> Tensor:
        """Rows of the episodes that met a reward above 0, as of not long ago. (n,)"""
        if not self._rewarded or self._unseen >= REFRESH:
            self._rewarded, self._unseen = {}, 0
        if task not in self._rewarded:
            *_, rewards = self._columns(self.rows[: self.size])
            episode = self.episode[: self.size]
            met = episode[rewards[:, task].cpu() > 0].unique()
            found = torch.isin(episode, met).nonzero()[:, 0]
            self._rewarded[task] = found.to(self.rows.device)
        return self._rewarded[task]

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

    def _batch(self, rows: Tensor, task: int) -> Batch:
        obs, next_obs, action, _, discount, rewards = self._columns(rows)
        return Batch(obs, action, rewards[:, task], discount.squeeze(-1), next_obs)

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

    def state(self) -> dict[str, Tensor]:
        """All but the rows, for a checkpoint."""
        counts = {
            "added": self.added,
            "size": self.size,
            "stride": self.stride,
            "unseen": self._unseen,
        }
        found = {f"{REWARDED}{task}": where for task, where in self._rewarded.items()}
        return {key: torch.tensor(count) for key, count in counts.items()} | found

    def since(self, number: int = 0) -> dict[str, Tensor]:
        """The rows that were added after the first `number` ones and are still there."""
        first = max(number, self.added - self.size)
        where = torch.arange(first, self.added) % self.capacity
        return {
            "first": torch.tensor(first),  # how many were added before these
            "rows": self.rows[where.to(self.rows.device)],
            "episode": self.episode[where],
            "ended": self.ended[where],
            "step": self.step[where],
        }

    def load_state(
        self, state: Mapping[str, Tensor], parts: Iterable[Mapping[str, Tensor]]
    ) -> None:
        """Inverse of `state` and, of all rows in as many parts as there are, of `since`.

        Raises:
            InvalidValue: they do not fit; a ring that went around needs one of the same size.
            CorruptSkill: a part is missing.
        """
        added, size = int(state["added"]), int(state["size"])
        if size > self.capacity or (added > size and size < self.capacity):
            raise InvalidValue(
                f"a ring of {size} transitions does not fit one that holds {self.capacity}; "
                "resume with the train.replay_capacity of before"
            )
        self.added = added - size
        for part in parts:
            gone = self.added - int(part["first"])  # overwritten before the state was taken
            if gone < 0:
                break
            self._append(*(part[key][gone:] for key in ("rows", "episode", "ended", "step")))
        if self.added != added:
            raise CorruptSkill(f"rows are missing after the first {self.added}")
        self.stride, self._unseen = int(state["stride"]), int(state["unseen"])
        self._rewarded = {
            int(key.removeprefix(REWARDED)): where.to(self.rows.device, copy=True)
            for key, where in state.items()
            if key.startswith(REWARDED)
        }

    def episodes(self, limit: int | None = None, task: int = 0) -> dict[str, Tensor]:
        """Whole episodes as the tensors of `EPISODE_KEYS`, at most `limit` transitions of them,
        spread evenly over training. An episode that is cut off counts as truncated.

        Of N tasks that share the transitions each gets every Nth episode, with its own rewards:
        the union of what they get is the whole, without a transition twice.
        """
        order = self._by_episode()
        numbers, lengths = torch.unique_consecutive(self.episode[order], return_counts=True)
        starts = lengths.cumsum(0) - lengths
        dealt = torch.arange(len(lengths))[task % len(lengths) :: self.tasks]
        keep = dealt[_spread(lengths[dealt], limit)]
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

    def _by_age(self) -> Tensor:
        """Positions of the stored rows, oldest first. (size,)"""
        first = self.cursor if self.size == self.capacity else 0
        return (first + torch.arange(self.size)) % self.capacity

    def _by_episode(self) -> Tensor:
        """Positions of the stored rows, episode after episode. (size,)"""
        kept = self._by_age()
        return kept[torch.argsort(self.episode[kept], stable=True)]

    @staticmethod
    def from_episodes(
        tensors: Mapping[str, Tensor], gamma: float, device: str | torch.device = "cpu"
    ) -> ReplayBuffer:
        """Inverse of `episodes`.

        Raises:
            InvalidValue: the tensors do not belong together.
        """
        missing = [key for key in EPISODE_KEYS if key not in tensors]
        if missing:
            raise InvalidValue(f"a replay lacks {', '.join(missing)}")
        obs, action, lengths = tensors["observations"], tensors["actions"], tensors["lengths"]
        held, count = DISCOUNTS in tensors, len(action)
        _check_shapes(tensors)
        # Each length by itself, too: a sum that overflows can be anything.
        if not bool(((lengths > 0) & (lengths <= count)).all()) or int(lengths.sum()) != count:
            raise InvalidValue("a replay's episode lengths do not match its transitions")
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


def _check_shapes(tensors: Mapping[str, Tensor]) -> None:
    """As `EPISODE_KEYS` says, for as many transitions as there are actions, at least one.

    Raises:
        InvalidValue: a tensor has another shape or type.
    """
    obs, action, lengths = tensors["observations"], tensors["actions"], tensors["lengths"]
    if min(obs.ndim, action.ndim, lengths.ndim) < 1 or not (obs.numel() and action.numel()):
        raise InvalidValue("a replay has no transitions")
    (t, a), e = action.shape[:1] + action.shape[-1:], len(lengths)
    numbers: dict[str, tuple[int, ...]] = {"rewards": (t,), DISCOUNTS: (t,)}
    numbers |= {"observations": (t + e, obs.shape[-1]), "actions": (t, a), "pre_tanh": (t, a)}
    for key in sorted(tensors.keys() & {*EPISODE_KEYS, DISCOUNTS}):
        found, needed = tensors[key], numbers.get(key, (e,))
        if tuple(found.shape) != needed or found.is_floating_point() != (key in numbers):
            was = f"{found.dtype} {tuple(found.shape)}"
            raise InvalidValue(f"a replay's episode lengths do not match its {key}, {was}")


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


def _spread(lengths: Tensor, limit: int | None) -> Tensor:
    """Indices of episodes, evenly spaced, whose lengths sum to at most `limit` (at least one)."""
    count = len(lengths)
    if limit is None or int(lengths.sum()) <= limit:
        return torch.arange(count)
    wanted = max(1, int(count * limit / int(lengths.sum())))
    while True:
        keep = torch.linspace(count - 1, 0, wanted).round().long().flip(0)  # the newest always
        if wanted == 1 or int(lengths[keep].sum()) <= limit:
            return keep
        wanted -= 1
