"""Minari: a skill's replay as a dataset that offline learners read, bit for bit.

    DIR/data/metadata.json      spaces, counts, and whose replay it is
    DIR/data/main_data.hdf5     episode_0/: observations (T + 1, O), actions (T, A), rewards,
                                terminations, truncations (T,), infos/pre_tanh (T, A)

Actions are in [-1, 1], as they are stored and as the action space says; those of a stack are
latents and have no bounds. Only h5py is needed: neither Minari nor what it would bring along.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from skillkit.errors import InvalidValue, RegistryUnavailable
from skillkit.extras import library
from skillkit.skill import Skill
from skillkit.types import Array

MINARI = "0.5.4"  # whose format this is; its later versions read it


def write(skill: Skill, path: Path, sample: bool = False) -> str:
    """Write the dataset into a new folder, whole or not at all; returns what is in it.

    Raises:
        InvalidValue: there is something already, h5py is missing, or `sample` was asked for.
        RegistryUnavailable: the folder cannot be written.
    """
    if sample:
        raise InvalidValue("--sample is for policies, and a replay is data; leave it out")
    if os.path.lexists(path):
        raise InvalidValue(f"{path} exists already; remove it, or name another folder with -o")
    library("h5py", "Minari's format")
    episodes = {key: value.numpy() for key, value in skill.replay.episodes().items()}
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".minari-") as aside:
            data = Path(aside, "dataset", "data")
            data.mkdir(parents=True)
            _write_episodes(episodes, data / "main_data.hdf5")
            megabytes = (data / "main_data.hdf5").stat().st_size / 1e6
            about = metadata(skill, episodes) | {"dataset_size": round(megabytes, 1)}
            (data / "metadata.json").write_text(json.dumps(about, indent=1))
            os.rename(data.parent, path)
    except OSError as error:
        reason = error.strerror or error
        raise RegistryUnavailable(f"{path} cannot be written: {reason}; name another") from error
    counts = f"{about['total_episodes']} episodes, {about['total_steps']} transitions"
    return f"the Minari dataset {about['dataset_id']}: {counts}"


def metadata(skill: Skill, episodes: dict[str, Array]) -> dict[str, Any]:
    """What metadata.json says, plain data."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", skill.name)  # all that Minari allows
    bound = None if skill.manifest.layers else 1.0
    return {
        "total_episodes": len(episodes["lengths"]),
        "total_steps": len(episodes["actions"]),
        "data_format": "hdf5",
        "observation_space": _box(skill.spec.observation_dim, None),
        "action_space": _box(episodes["actions"].shape[1], bound),
        "dataset_id": f"skillkit/{name}-v{skill.as_parent['version'] or 0}",
        "minari_version": MINARI,
        "algorithm_name": skill.manifest.algorithm,
        "description": f"The stored replay of the skill {skill.reference}, of {skill.task}.",
        "skill": skill.reference,
        "content_id": skill.as_parent["content_id"],
        "task": skill.task,
        "gamma": skill.gamma,
    }


def _box(size: int, bound: float | None) -> str:
    """A space as Minari serialises it: JSON in a text, with infinities as Python writes them."""
    end = float("inf") if bound is None else bound
    sides = {"low": [-end] * size, "high": [end] * size}
    return json.dumps({"type": "Box", "dtype": "float32", "shape": [size], **sides})


def _write_episodes(episodes: dict[str, Array], path: Path) -> None:
    import h5py

    lengths = episodes["lengths"]
    with h5py.File(path, "w", track_order=True) as file:
        begin = 0
        for index, length in enumerate(lengths.tolist()):
            steps = slice(begin, begin + length)
            group = file.create_group(f"episode_{index}")
            group.attrs["id"], group.attrs["total_steps"] = index, length
            group.attrs["training_step"] = int(episodes["training_step"][index])
            group["observations"] = episodes["observations"][begin + index :][: length + 1]
            for key in ("actions", "rewards"):
                group[key] = episodes[key][steps]
            for key, how in (("terminations", "terminated"), ("truncations", "truncated")):
                ends = np.zeros(length, bool)
                ends[-1] = episodes[how][index]
                group[key] = ends
            infos = group.create_group("infos")
            for key in {"pre_tanh", "discounts"} & episodes.keys():
                infos[key] = episodes[key][steps]
            begin += length
