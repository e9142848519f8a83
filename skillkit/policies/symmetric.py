"""A policy in every frame of a symmetric robot: a compass among its latents says in which.

Of frames there are a few, such as quarter turns. Where the world has no preferred direction at all
it may be turned as well, by the rest of the way to the compass: so it leads in every direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from skillkit.errors import InvalidValue
from skillkit.policies.policy import Policy
from skillkit.rotation import Pair, Rotation, deviation, rotated, rotation

COMPASS = 2  # latents of it, before those of the policy inside
Frames = tuple[Tensor, Tensor]  # where each entry of g x is from, and its sign: (G, N), (G, N)


class SymmetricPolicy(Policy):
    """u = g^-1 f(eps; g R s), where g is the frame whose direction is nearest to the compass c.

    R turns the world so that c comes to lie on that direction; it is the identity unless there is a
    `rotation`. The noise is (c, eps). Whoever holds c holds a frame, so that a policy that has
    learned to walk one way walks each of the ways that the symmetries of its robot turn it to, and
    as well. With h, a symmetry of robot and compass, f(h c, eps; h s) = h f(c, eps; s).

    Args:
        inside: f, as it was learned, in the first frame.
        frames: a row (O,) and a row (A,) of signed positions for each g, counted from 1: entry i of
            g s is the entry |p_i| of s with the sign of p_i.
        directions: in the plane, where f leads in each frame. (G, 2)
        rotation: which entries of s turn with the world, by the angle or by half of it; (): it has
            preferred directions.

    Raises:
        InvalidValue: frames that are no signed permutations, or not as many as directions; a
            rotation of entries that are not there, or of directions that have no length.
    """

    kind = "symmetric"
    state_index: Tensor
    state_sign: Tensor
    action_index: Tensor
    action_sign: Tensor
    compass: Tensor
    ways: Tensor

    def __init__(
        self,
        inside: Policy,
        frames: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]],
        directions: Sequence[Sequence[float]],
        rotation: Sequence[Pair] = (),
    ) -> None:
        super().__init__(inside.observation_dim, inside.action_dim, (), None, inside.squash)
        self.noise_dim, self.onto = COMPASS + inside.noise_dim, inside.onto
        self.inside = inside
        self.frames = tuple([[int(p) for p in row] for row in table] for table in frames)
        self.directions = [[float(x) for x in row] for row in directions]
        sizes = inside.observation_dim, inside.action_dim
        for table, size in zip(self.frames, sizes, strict=True):
            check_frames(table, size, len(self.directions))
        with torch.device("cpu"):  # real, even in a module that is built on the meta device
            for name, table in zip(("state", "action"), self.frames, strict=True):
                signed = torch.tensor(table)
                self.register_buffer(f"{name}_index", signed.abs() - 1, persistent=False)
                self.register_buffer(f"{name}_sign", signed.sign().float(), persistent=False)
            self.register_buffer("compass", torch.tensor(self.directions), persistent=False)
            self._turn_the_world(tuple((int(i), int(j), float(of)) for i, j, of in rotation))

    def _turn_the_world(self, pairs: Sequence[Pair]) -> None:
        self.pairs, length = pairs, self.compass.norm(dim=-1, keepdim=True)
        if pairs and not bool((length > 0).all()):
            raise InvalidValue("a world that turns needs directions to turn to")
        self.register_buffer("ways", self.compass / length, persistent=False)
        if not pairs:
            return
        for name, table in rotation(self.observation_dim, pairs)._asdict().items():
            self.register_buffer(f"rotation_{name}", torch.from_numpy(table), persistent=False)

    @property
    def config(self) -> dict[str, Any]:
        state, action = self.frames
        config = super().config | {
            "inside": {"kind": self.inside.kind, "config": self.inside.config},
            "frames": [state, action],
            "directions": self.directions,
        }
        return config | {"rotation": [[*pair] for pair in self.pairs]} if self.pairs else config

    def raw(self, obs: Tensor, noise: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(obs.shape[:-1], noise.shape[:-1])
        obs, noise = (x.expand(*shape, x.shape[-1]) for x in (obs, noise))
        g, seen = self.seen(obs, noise[..., :COMPASS])
        return turned_back(self.inside.raw(seen, noise[..., COMPASS:]), g, self.of_actions)

    def inverse_at(
        self, compass: Tensor, obs: Tensor, action: Tensor, pre_tanh: Tensor | None = None
    ) -> Tensor:
        """The noise with this compass that acts so, (c, f^-1(g a; g R s)). -> (B, noise_dim)

        In every frame each action has one, so an inverse needs to be told which.
        """
        g, seen = self.seen(obs, compass)
        if pre_tanh is not None:
            pre_tanh = turned(pre_tanh, g, self.of_actions)
        done = turned(action, g, self.of_actions)
        return torch.cat([compass, self.inside.inverse(seen, done, pre_tanh)], -1)

    def seen(self, obs: Tensor, compass: Tensor) -> tuple[Tensor, Tensor]:
        """The frame g of the compass, and g R s. (..., O), (..., 2) -> (...,), (..., O)"""
        g = self.frame(compass)
        return g, turned(self.towards(obs, compass, g, back=True), g, self.of_states)

    def towards(self, obs: Tensor, compass: Tensor, g: Tensor, back: bool = False) -> Tensor:
        """The world turned from the direction of g to the compass, or back. -> (..., O)"""
        if not self.pairs:
            return obs
        cos, sin = deviation(compass.to(obs.dtype), self.ways[g].to(obs.dtype))
        tables = (getattr(self, f"rotation_{name}").to(obs.dtype) for name in Rotation._fields)
        x: Tensor = rotated(obs, cos, -sin if back else sin, Rotation(*tables))
        return x

    @property
    def of_states(self) -> Frames:
        return self.state_index, self.state_sign

    @property
    def of_actions(self) -> Frames:
        return self.action_index, self.action_sign

    def frame(self, compass: Tensor) -> Tensor:
        """Which frame it says. (..., 2) -> (...,) int64"""
        return (compass @ self.compass.to(compass.dtype).T).argmax(-1)


def turned(x: Tensor, g: Tensor, frames: Frames) -> Tensor:
    """g x, of each row in its own frame or of all in one. (..., N), (...,) or () -> (..., N)"""
    index, sign = frames
    return x.gather(-1, index[g].expand(x.shape)) * sign[g].to(x.dtype)


def turned_back(x: Tensor, g: Tensor, frames: Frames) -> Tensor:
    """g^-1 x: the inverse of `turned`."""
    index, sign = frames
    return torch.zeros_like(x).scatter(-1, index[g].expand(x.shape), x * sign[g].to(x.dtype))


def check_frames(table: Sequence[Sequence[int]], size: int, count: int) -> None:
    """One signed permutation of so many entries for each direction.

    Raises:
        InvalidValue: it is none.
    """
    whole = list(range(1, size + 1))
    if len(table) != count or not count:
        raise InvalidValue(f"{len(table)} frames do not go with {count} directions")
    if any(sorted(map(abs, row)) != whole for row in table):
        raise InvalidValue(f"a frame is a signed permutation of the positions 1 to {size}")
