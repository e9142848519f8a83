"""Turning: the world seen from one of a symmetric robot's frames, and now and then from another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from skillkit.envs import Domain
from skillkit.envs.symmetry import images, rotation_of
from skillkit.rotation import rotated
from skillkit.types import Array


class Turning:
    """E environments, each seen from a frame of its own, which is drawn anew every so many steps.

    Who acts in frame g sees g R s and does g^-1 a. R turns the world, where it has no preferred
    direction, by up to half of what lies between two frames. After a change the robot sees itself
    moving in another direction than it wants to, so it learns to change direction.

    Args:
        domain: whose symmetries and rotation there are.
        every: steps between changes, on average.
        generator: of the frames.
    """

    def __init__(
        self, domain: Domain, every: float, environments: int, generator: torch.Generator
    ) -> None:
        self.images, self.rotation = images(domain.spec, domain.symmetries), rotation_of(domain)
        self.every, self.generator = every, generator
        self.frame = np.zeros(environments, np.int64)  # g (E,)
        self.angle = np.zeros(environments, np.float32)  # of R (E,) [rad]

    def seen(self, obs: Array) -> Array:
        """g R s. (E, O) -> (E, O)"""
        if self.rotation is not None:
            obs = rotated(obs, np.cos(self.angle), np.sin(self.angle), self.rotation)
        index, sign = self.images.observation[self.frame], self.images.observation_sign[self.frame]
        return np.take_along_axis(obs, index, -1) * sign

    def acted(self, action: Array) -> Array:
        """g^-1 a. (E, A) -> (E, A)"""
        index, sign = self.images.action[self.frame], self.images.action_sign[self.frame]
        found = np.empty_like(action)
        np.put_along_axis(found, index, action * sign, -1)
        return found

    def turn(self) -> Array:
        """Draw the frames anew of those whose time has come. -> which these are, bool (E,)"""
        count, envs = len(self.images.action), len(self.frame)
        due, share = torch.rand(2, envs, generator=self.generator).numpy()
        frame = torch.randint(count, (envs,), generator=self.generator).numpy()
        now = due < 1 / self.every
        self.frame = np.where(now, frame, self.frame)
        if self.rotation is not None:
            self.angle = np.where(now, np.pi * (2 * share - 1) / count, self.angle)
            self.angle = self.angle.astype(np.float32)
        return np.asarray(now)

    def state(self) -> dict[str, Any]:
        """Plain data, for a checkpoint; the generator is its owner's."""
        return {"frame": self.frame.tolist(), "angle": self.angle.tolist()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`."""
        self.frame, self.angle = np.array(state["frame"]), np.array(state["angle"], np.float32)
