"""Minari: a dataset of episodes as the replay of a skill.

The HDF5 file is read as numbers and nothing else. Minari's own loader makes an environment where a
dataset does not state its spaces, by whatever entry point the dataset names, and so would execute
what a stranger chose; here such a dataset is refused. What would lead HDF5 to other files is, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skillkit.errors import IncompatibleSkills, InvalidValue, SkillkitError
from skillkit.extras import library
from skillkit.policies.policy import unsquash
from skillkit.reading import read_text
from skillkit.replay import DISCOUNTS, ReplayBuffer
from skillkit.skill import Skill
from skillkit.types import Array, Spec

LARGEST = 1 << 28  # numbers in all


def read(path: Path, skill: Skill) -> ReplayBuffer:
    """The episodes of a dataset as a skill would have stored them.

    Observations and rewards are taken as they are. Actions are unit actions if the dataset's action
    space reaches from -1 to 1, and native ones if it has the bounds of the skill; what they were
    before the tanh is in datasets of ours, and computed otherwise. An episode that does not say
    how it ended was cut off.

    Args:
        path: the folder of the dataset, with data/ below it, or that folder.
        skill: whose replay it will be.

    Raises:
        InvalidValue: no dataset of Minari in HDF5, a damaged one, or h5py is missing.
        IncompatibleSkills: its observations or actions are not those of the skill.
    """
    h5py = library("h5py", "Minari's format")
    folder = path / "data" if (path / "data").is_dir() else path
    try:
        about = _described(folder)
        native = _check_spaces(about, skill)
        with h5py.File(folder / "main_data.hdf5", "r") as file:
            count = int(about["total_episodes"])
            episodes = [*_episodes(file, count, skill)]
        return _replay(episodes, skill, native)
    except SkillkitError as error:
        raise type(error)(f"{path} cannot be the replay of {skill.name}: {error}") from error
    except Exception as error:  # a stranger's file can fail in any way; it is one sentence
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidValue(
            f"{path} is no Minari dataset in HDF5, or damaged ({reason}); give the folder that has "
            "data/main_data.hdf5"
        ) from error


def _described(folder: Path) -> dict[str, Any]:
    """metadata.json; the environment in it is none of our business."""
    if not (folder / "metadata.json").is_file():
        raise InvalidValue("there is no data/metadata.json; give the folder of a Minari dataset")
    about = json.loads(read_text(folder / "metadata.json"))
    if about["data_format"] != "hdf5":
        raise InvalidValue(f"its format is {about['data_format']}; only hdf5 is read")
    for space in ("observation_space", "action_space"):
        if space not in about:
            raise InvalidValue(f"it states no {space}, and its environment is not made to find out")
    return dict(about)


def _check_spaces(about: Mapping[str, Any], skill: Skill) -> Spec | None:
    """The spec by whose bounds its actions are native; None for unit actions and latents."""
    spec, layers, width = skill.spec, bool(skill.manifest.layers), skill.stored_action_dim
    for kind, size in (("observation", spec.observation_dim), ("action", width)):
        space = json.loads(about[f"{kind}_space"])
        if space["type"] != "Box" or space["shape"] != [size]:
            raise IncompatibleSkills(
                f"its {kind}_space is a {space['type']} of {space.get('shape')}, and the skill has "
                f"{size} {kind} entries"
            )
    low, high = (np.broadcast_to(space[end], width) for end in ("low", "high"))
    wanted = -np.inf if layers else -1.0
    if (low == wanted).all() and (high == -wanted).all():
        return None
    if not layers and np.allclose(low, spec.low) and np.allclose(high, spec.high):
        return spec
    raise IncompatibleSkills(
        f"its actions reach from {low.tolist()} to {high.tolist()}, and those of the skill from "
        + ("-inf to inf" if layers else f"{spec.low.tolist()} to {spec.high.tolist()}, or -1 to 1")
    )


def _episodes(file: Any, count: int, skill: Skill) -> Iterator[dict[str, Array]]:
    sizes = {"observations": skill.spec.observation_dim, "actions": skill.stored_action_dim}
    width = 2 + 3 * max(sizes.values())
    sizes |= {"rewards": 0, "terminations": 0, "truncations": 0}
    left = LARGEST
    for index in range(count):
        group = _item(file, f"episode_{index}")
        length = len(_item(group, "rewards"))
        left -= width * (length + 1)
        if left < 0:
            raise ValueError(f"more than {LARGEST} numbers")
        wanted = {key: (_item(group, key), size) for key, size in sizes.items()}
        if _has(group, "infos"):
            infos, more = _item(group, "infos"), {"pre_tanh": sizes["actions"], DISCOUNTS: 0}
            wanted |= {k: (_item(infos, k), size) for k, size in more.items() if _has(infos, k)}
        episode = {
            key: _numbers(data, (length + (key == "observations"), *[size] * (size > 0)))
            for key, (data, size) in wanted.items()
        }
        if episode["terminations"][:-1].any() or episode["truncations"][:-1].any():
            raise ValueError(f"episode {index} goes on after its end")
        yield episode | {"training_step": np.array(int(group.attrs.get("training_step", 0)))}


def _has(group: Any, name: str) -> bool:
    return bool(group.id.links.exists(name.encode()))


def _item(group: Any, name: str) -> Any:
    """What is there, if it lies there itself: a link could lead to any file of this machine."""
    import h5py

    if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise ValueError(f"{name} is a link")
    return group[name]


def _numbers(data: Any, shape: tuple[int, ...]) -> Array:
    """A dataset of this very shape, whose numbers lie in the file itself. float32"""
    if data.shape != shape or data.dtype.kind not in "fiub" or not shape[0]:
        raise ValueError(f"{data.name} is {data.dtype} {data.shape} and not numbers {shape}")
    if data.is_virtual or data.external:
        raise ValueError(f"{data.name} lies in another file")
    numbers = np.asarray(data[()], np.float32)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{data.name} holds a NaN or an infinity")
    return numbers


def _replay(episodes: list[dict[str, Array]], skill: Skill, native: Spec | None) -> ReplayBuffer:
    if not episodes:
        raise InvalidValue("it has no episodes")
    flat = {
        key: torch.from_numpy(np.concatenate([episode[key] for episode in episodes]))
        for key in ("observations", "actions", "rewards", "pre_tanh", DISCOUNTS)
        if all(key in episode for episode in episodes)
    }
    if native is not None:
        flat["actions"] = torch.from_numpy(native.unit(flat["actions"].numpy())).float()
    elif not skill.manifest.layers and bool((flat["actions"].abs() > 1).any()):
        raise InvalidValue("an action lies beyond the bounds that its action_space states")
    if "pre_tanh" not in flat or native is not None:
        latent = bool(skill.manifest.layers)
        flat["pre_tanh"] = flat["actions"] if latent else unsquash(flat["actions"])
    ended = torch.tensor([bool(episode["terminations"][-1]) for episode in episodes])
    steps = torch.tensor([int(episode["training_step"]) for episode in episodes])
    lengths = torch.tensor([len(episode["rewards"]) for episode in episodes])
    more = {"lengths": lengths, "terminated": ended, "truncated": ~ended, "training_step": steps}
    return ReplayBuffer.from_episodes(flat | more, skill.gamma)
