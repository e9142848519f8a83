"""ONNX: a policy as one graph that a controller can run, and that says itself what it is.

    action, = session.run(["action"], {"observation": obs})   # (B, O) -> (B, A), native units

The graph is written from the stored arrays, so neither PyTorch nor a tracer is needed, and it holds
nothing but what the policy computes. Every value of its metadata is JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from skillkit.errors import InvalidValue
from skillkit.extras import library
from skillkit.skill import Skill

LIBRARIES = ("onnx", "onnxruntime")
TOLERANCE = 1e-4  # of unit actions, as wherever stored outputs are compared
REFUSED = {"resampled": "judges its candidates by the critics of all its parents at each step"}


def write(skill: Skill, path: Path, sample: bool = False) -> str:
    """Write `export` into a file; returns what goes in and comes out."""
    data, words = export(skill, sample)
    path.write_bytes(data)
    return words


def export(skill: Skill, sample: bool = False) -> tuple[bytes, str]:
    """The contents of an .onnx file, and what goes in and comes out.

    All values are float32, with a row for each of any number of observations:

        observation  (B, O)          in native units, as the metadata name them
        noise        (B, noise_dim)  with `sample` only; to be drawn from N(0, I)
        memory       (B, M)          of a stack that holds latents; zeros where an episode begins
        action       (B, A)          in native units, within the bounds; NaN if an entry of the
                                     observation is not finite
        next_memory  (B, M)          the memory of the next step

    Args:
        skill: a stored one.
        sample: act by noise; otherwise by the mode of the policy.

    Raises:
        InvalidValue: it is not saved, its policy has no graph or no noise, or a library is missing.
        CorruptSkill: a file is damaged.
    """
    for name in LIBRARIES:
        library(name, "an export")
    from onnx import helper

    from skillkit.exporters.graph import policy_model

    policy = skill.manifest.policy
    if policy["kind"] in REFUSED:
        raise InvalidValue(
            f"{skill.name} cannot become one graph: a {policy['kind']} policy "
            f"{REFUSED[policy['kind']]}; compose its parents without --instant and export that"
        )
    control = skill.controller()  # checks all that is read here
    if sample and not control.noise_dim:
        raise InvalidValue(f"{skill.name} draws no noise; leave out --sample")
    tensors = load_file(skill.folder / "policy.safetensors")
    model = policy_model(skill.spec, policy, tensors, control.noise_dim if sample else 0)
    model.doc_string = f"The policy of the skill {skill.reference}."
    about = metadata(skill, sample)
    helper.set_model_props(model, {key: json.dumps(value) for key, value in about.items()})
    data = model.SerializeToString()
    error = _difference(skill, data)
    values = [
        ", ".join(f"{v.name} (B, {v.type.tensor_type.shape.dim[1].dim_value})" for v in side)
        for side in (model.graph.input, model.graph.output)
    ]
    return data, f"{' -> '.join(values)}, at most {error:.0e} of a bound from the policy"


def metadata(skill: Skill, sample: bool) -> dict[str, Any]:
    """What the file says about itself, plain data."""
    found, spec = skill.manifest, skill.spec.to_json()
    about: dict[str, Any] = {
        "skill": skill.name,
        "version": skill.as_parent["version"],
        "content_id": skill.as_parent["content_id"],
        "parents": found.parents,
        "task": skill.task,
        "domain": found.task["domain"],
        "observation": spec["observation"],
        "action": spec["action"],
        "control_period": spec["dt"],  # [s]
        "policy": found.policy["kind"],
        "deterministic": not sample,
        "rule": "noise drawn from N(0, I) at each step" if sample else "the mode, at noise 0",
        "alpha": skill.alpha,  # [r/nat]
        "gamma": skill.gamma,
        "versions": found.versions,
    }
    if holds := found.policy["config"].get("holds"):
        about["holds"] = holds
        about["memory"] = "zeros where an episode begins, then next_memory of the step before"
    return about


def _difference(skill: Skill, data: bytes) -> float:
    """Largest deviation of the graph on the stored probe, of actions that reach from -1 to 1.

    Raises:
        InvalidValue: the graph does not do what the policy does.
    """
    import onnxruntime

    probe = load_file(skill.folder / "probe.safetensors")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    sizes = {value.name: value.shape[1] for value in session.get_inputs()}
    rows = len(probe["observation"])
    given = {k: probe.get(k, np.zeros((rows, size), np.float32)) for k, size in sizes.items()}
    wanted = skill.spec.native(probe["sample" if "noise" in sizes else "mode"])
    error = float(np.abs((session.run(["action"], given)[0] - wanted) / skill.spec.half).max())
    if not error <= TOLERANCE:
        raise InvalidValue(
            f"onnxruntime {onnxruntime.__version__} gives actions that are {error:.1g} of a bound "
            f"from those of {skill.name}; export with another version of it"
        )
    return error
