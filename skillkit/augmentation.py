"""Augmentation: batches of transitions as the symmetries of their domain have them."""

from __future__ import annotations

import torch
from torch import Tensor

from skillkit.envs.symmetry import Images
from skillkit.types import Batch


class Augmentation:
    """Each transition of a batch becomes one of its G images, all equally likely.

    The reward stays, so the task has to be symmetric, too (`Task.symmetric`). What is learned from
    is then as various in all of them: one that walks north knows what walking south is worth.
    """

    def __init__(self, images: Images, device: str = "cpu") -> None:
        self.observation, self.observation_sign, self.action, self.action_sign = (
            torch.as_tensor(part).to(device) for part in images
        )

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        count, device = len(self.action), self.action.device
        g = torch.randint(count, batch.reward.shape, generator=generator, device=device)

        def seen(x: Tensor, index: Tensor, sign: Tensor) -> Tensor:
            return x.gather(-1, index[g]) * sign[g]

        of_state = self.observation, self.observation_sign
        return batch._replace(
            obs=seen(batch.obs, *of_state),
            action=seen(batch.action, self.action, self.action_sign),
            next_obs=seen(batch.next_obs, *of_state),
        )
