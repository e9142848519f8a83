"""What the workflows know of an algorithm: a policy, a soft Q-function and an update."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from skillkit.errors import InvalidValue
from skillkit.policies import Policy
from skillkit.q_functions import SoftQ
from skillkit.types import Batch

COMPILERS = ("g++", "clang++", "c++")


class Learner(ABC):
    """Owns parameters and optimisers; knows no environment, no logger, no file.

    `modules` and `optimizers` are everything that changes with an update, by name, and
    `generator` is the only source of randomness: together they are the learner's state.
    """

    config: Any  # its frozen dataclass of hyperparameters
    policy: Policy
    q: SoftQ
    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Adam]
    generator: torch.Generator
    updates: int = 0
    compilable: Sequence[str] = ()  # methods that map tensors to tensors, by name

    @property
    def alpha(self) -> float:
        """The temperature now [r/nat]."""
        return self.q.alpha

    @abstractmethod
    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One gradient step on everything; metrics as 0-d tensors, not yet synchronised."""

    @abstractmethod
    def anneal(self, done: float) -> None:
        """Adapt what depends on the share of the training that is done, in [0, 1]."""

    def compile(self) -> None:
        """Turn the arithmetic of the updates into native code when the first one runs.

        Raises:
            InvalidValue: this algorithm has none that could be, or there is no compiler.
        """
        if not self.compilable:
            raise InvalidValue(
                f"train.compile=true is for sac; {type(self).__name__.lower()} draws its particles "
                "between the products, leave it out"
            )
        if self.generator.device.type == "cpu" and not any(map(shutil.which, COMPILERS)):
            raise InvalidValue(
                f"train.compile=true needs a C++ compiler, and none of {', '.join(COMPILERS)} is "
                "installed; install one, or leave it out"
            )
        for name in self.compilable:
            setattr(self, name, torch.compile(getattr(self, name)))

    def noise(self, batch_size: int) -> Tensor:
        """eps ~ N(0, I). (B, noise_dim)"""
        shape = (batch_size, self.policy.noise_dim)
        return torch.randn(shape, generator=self.generator, device=self.generator.device)

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the learner under a flat name, for a checkpoint."""
        flat: dict[str, Tensor] = {
            "generator": self.generator.get_state(),
            "updates": torch.tensor(self.updates),
        }
        for name, module in self.modules.items():
            flat |= {f"{name}/{key}": value for key, value in module.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            for index, slots in optimizer.state_dict()["state"].items():
                flat |= {f"{name}.adam/{index}/{key}": value for key, value in slots.items()}
        return flat

    def load_state(self, flat: Mapping[str, Tensor]) -> None:
        """Inverse of `state`.

        Raises:
            InvalidValue: the tensors are of another learner.
        """
        try:
            self.generator.set_state(flat["generator"].cpu())
            self.updates = int(flat["updates"])
            for name, module in self.modules.items():
                prefix = f"{name}/"
                part = {k[len(prefix) :]: v for k, v in flat.items() if k.startswith(prefix)}
                module.load_state_dict(part)
            for name, optimizer in self.optimizers.items():
                slots: dict[int, dict[str, Tensor]] = {}
                for key, value in flat.items():
                    if key.startswith(f"{name}.adam/"):
                        _, index, slot = key.rsplit("/", 2)
                        slots.setdefault(int(index), {})[slot] = value.clone()  # not the file's
                groups = optimizer.state_dict()["param_groups"]
                optimizer.load_state_dict({"state": slots, "param_groups": groups})
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise InvalidValue(
                f"this checkpoint is of another learner ({reason}); resume with the settings it "
                "was made with"
            ) from error


@contextmanager
def initialisation(seed: int) -> Iterator[None]:
    """Parameters made within the block depend on the seed alone; torch's own stream goes on."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def jittered(obs: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
    """The states, half of them moved: Q_S is smooth, stored starts are few. (B, O) -> (B, O)

    Without, about one start in a hundred, far from all that were stored, is lost.

    Args:
        scale: of the noise, in each entry of the observation; zero leaves them where they are.
    """
    moved = obs[: len(obs) // 2]
    noise = torch.randn(moved.shape, generator=generator, device=obs.device)
    return torch.cat([moved + scale * noise, obs[len(moved) :]])


def step(optimizer: torch.optim.Adam, loss: Tensor) -> None:
    """One step on the optimiser's own parameters; nothing else receives a gradient."""
    parameters = optimizer.param_groups[0]["params"]
    gradients = torch.autograd.grad(loss, parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
