"""A ring of transitions on one device: the table, what belongs to its rows, and its checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from skillkit.errors import CorruptSkill, InvalidValue
from skillkit.types import Array, Batch

REFRESH = 1_000  # new rows after which it is looked up again which episodes met a reward
REWARDED = "rewarded/"  # before the task, in a checkpoint


class Ring:
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

    def _batch(self, rows: Tensor, task: int) -> Batch:
        obs, next_obs, action, _, discount, rewards = self._columns(rows)
        return Batch(obs, action, rewards[:, task], discount.squeeze(-1), next_obs)

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

    def _by_age(self) -> Tensor:
        """Positions of the stored rows, oldest first. (size,)"""
        first = self.cursor if self.size == self.capacity else 0
        return (first + torch.arange(self.size)) % self.capacity

    def _by_episode(self) -> Tensor:
        """Positions of the stored rows, episode after episode. (size,)"""
        kept = self._by_age()
        return kept[torch.argsort(self.episode[kept], stable=True)]
