"""Payloads and traps of every kind we know, by hand: what a stranger would try first.

Those on files change path -> bytes and are sealed with right checksums afterwards; those on folders
come last, to a version on disk, and most of them checksums cannot cover.
"""

from __future__ import annotations

import functools
import json
import os
import pickle  # noqa: TID251
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save

from skillkit.policies import POLICIES, StackedPolicy
from skillkit.skill import arrays
from tests.strange import Files

CANARY = "canary"  # a file of this name is written by whatever is executed


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {CANARY}",)


PICKLES = [pickle.dumps(Payload(), protocol) for protocol in range(6)]
CODE = f"import pathlib; pathlib.Path({CANARY!r}).touch()\n".encode()
TENSORS = ("policy.safetensors", "q.safetensors", "probe.safetensors", "replay/00000.safetensors")


def everywhere(data: bytes) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        files |= dict.fromkeys(files, data)

    return change


def only(name: str, data: bytes) -> Callable[[Files], None]:
    return lambda files: files.update({name: data})


def beside(name: str, data: bytes = CODE) -> Callable[[Files], None]:
    return lambda files: files.update({name: data})


def told(*path: str | int, value: Any) -> Callable[[Files], None]:
    """A field of skill.json has this value."""

    def change(files: Files) -> None:
        data = holder = json.loads(files["skill.json"])
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = value
        files["skill.json"] = json.dumps(data).encode()

    return change


def tensors(name: str, **changes: Any) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        found = dict(load_tensors(files[name]))
        found |= {k: v(found[k]) if callable(v) else v for k, v in changes.items()}
        files[name] = save({key: np.ascontiguousarray(value) for key, value in found.items()})

    return change


def header(name: str, text: bytes, length: int | None = None) -> Callable[[Files], None]:
    """A safetensors file of this header, and of the length that it claims."""
    size = len(text) if length is None else length
    return only(name, struct.pack("<Q", size) + text)


def many_empty(count: int) -> bytes:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return json.dumps({f"t{i}": entry for i in range(count)}).encode()


def emptiness(shape: list[int]) -> Callable[[Files], None]:
    """A replay of no bytes, as many transitions as one likes."""

    def change(files: Files) -> None:
        name, end = TENSORS[3], [0, 0]
        entries = {key: {"dtype": "F32", "shape": shape, "data_offsets": end}
                   for key in ("observations", "actions", "pre_tanh")}  # fmt: skip
        entries["rewards"] = {"dtype": "F32", "shape": shape[:1], "data_offsets": end}
        for key in ("lengths", "terminated", "truncated", "training_step"):
            entries[key] = {"dtype": "I64", "shape": [0], "data_offsets": end}
        header(name, json.dumps(entries).encode())(files)

    return change


def tower(files: Files) -> None:
    """Eight layers that hold each other's latents for longer than there is time."""
    layers = [POLICIES["gaussian"](4, 2, (2,), squash=layer == 0) for layer in range(8)]
    stack = StackedPolicy(layers, [1] * 7).eval()
    data = json.loads(files["skill.json"])
    config = stack.config | {"holds": [65_535] * 7}
    data |= {"policy": {"kind": "stacked", "config": config}}
    found = arrays(stack)
    from skillkit.integrity import fingerprint

    data["layers"] = [
        {
            "name": "x", "version": None, "content_id": None, "task": "x", "algorithm": "sac",
            "seed": 0, "steps": 1, "fingerprint": fingerprint(
                {k.removeprefix(f"layers.{i}."): v for k, v in found.items()
                 if k.startswith(f"layers.{i}.")}),
        }
        for i in range(8)
    ]  # fmt: skip
    import torch

    obs, noise = torch.zeros(16, 4), torch.zeros(16, 2)
    with torch.no_grad():
        answer = {"sample": stack.act(obs, noise), "mode": stack.mode(obs)}
    probe = load_tensors(files["probe.safetensors"])
    told_now = {"observation": obs, "noise": noise, **answer, "latent": noise}
    files["probe.safetensors"] = save(probe | {k: v.numpy() for k, v in told_now.items()})
    files["policy.safetensors"] = save(found)
    files["skill.json"] = json.dumps(data).encode()


def crowd(files: Files) -> None:
    """More candidates than any memory can judge, with a wide network and honest noise."""
    data = json.loads(files["skill.json"])
    config = data["policy"]["config"]
    count = 100_000
    config["candidates"] = count
    found = load_tensors(files["policy.safetensors"])
    dims = len(found["noise"]) // 4
    noise = np.zeros(count * dims, np.float32)
    files["policy.safetensors"] = save({**found, "noise": noise})
    probe = load_tensors(files["probe.safetensors"])
    many = np.zeros((16, 1 + len(noise)), np.float32)
    files["probe.safetensors"] = save({**probe, "noise": many})
    files["skill.json"] = json.dumps(data).encode()


NESTED_SUM = functools.reduce(
    lambda q, _: {"kind": "weighted_sum", "config": {"weights": [1], "alpha": 1, "parts": [q]}},
    range(15),
    {"kind": "ensemble", "config": {}},
)
PARENT = {"name": "push_x", "version": 1, "content_id": "0" * 64}
CONFIG = ("policy", "config")
FILES: dict[str, Callable[[Files], None]] = {
    **{f"a pickle, protocol {i}": everywhere(data) for i, data in enumerate(PICKLES)},
    **{f"a pickle beside, {name}": beside(name, PICKLES[0])
       for name in ("policy.pkl", "policy.pt", "policy.pth", "data.npy", "x.joblib")},
    **{f"code beside, {name}": beside(name)
       for name in ("skill.py", "__init__.py", "conftest.py", "sitecustomize.py", "x.pth",
                    "tasks/evil.py", "replay/__init__.py", "Makefile")},
    "a shell script": everywhere(f"#!/bin/sh\ntouch {CANARY}\n".encode()),
    "YAML": only("skill.json", f"!!python/object/apply:os.system ['touch {CANARY}']".encode()),
    "a template": told("task", "expression", value="{{ ''.__class__.__mro__ }}"),
    "an import": told("task", "expression", value="__import__('stranger')"),
    "a module": told("task", "expression", value="gym:stranger:Env-v0"),
    "a domain above": told("task", "domain", value="../../../etc/passwd"),
    "a kind that is a module": told(*CONFIG[:1], "kind", value="os.system"),
    "a name above": told("name", value="../../outside"),
    "a parent above": told("parents", value=[PARENT | {"name": "../../etc"}]),
    "an alias as content id": told("parents", value=[PARENT | {"content_id": "../x"}]),
    "parents without end": told("parents", value=[PARENT] * 5_000),
    "metrics without end": told("metrics", value={f"m{i}": i for i in range(12_000)}),
    "a metric of a megabyte": told("metrics", value={"m": "x" * 1_000_000}),
    "deep metrics": told("metrics", value=json.loads("[" * 300 + "]" * 300)),
    "a number without end": only("skill.json", b'{"format": 1' + b"0" * 1_000_000 + b"}"),
    "brackets without end": only("skill.json", b"[" * 2_000_000),
    "a megabyte of brackets": only("skill.json", b"[]," * 300_000),
    "names that draw on the screen": told("spec", "observation", 0, "name", value="\x1b[2Jx"),
    "an observation without end": told(
        "spec", "observation", value=[{"name": f"o{i}", "unit": "", "low": None, "high": None,
                                       "constant": False} for i in range(3_000)]),
    "a force without end": told("spec", "action", 0, value={
        "name": "force_x", "unit": "N", "low": -1.7e308, "high": 1.7e308, "constant": False}),
    "layers without end": told(*CONFIG, "hidden", value=[1] * 100_000),
    "a layer of a terabyte": told(*CONFIG, "hidden", value=[65_535, 65_535, 65_535, 65_535]),
    "a layer of more": told(*CONFIG, "hidden", value=[10**12]),
    "critics without end": told("q", "config", "critics", value=10**12),
    "layers of critics without end": told("q", "config", "hidden", value=[1] * 100_000),
    "inputs without end": told(*CONFIG, "inputs", value=[0] * 100_000),
    "inputs of critics without end": told("q", "config", "inputs", value=[0] * 100_000),
    "couplings without end": told("policy", value={"kind": "real_nvp", "config": {
        "observation_dim": 4, "action_dim": 2, "hidden": [8], "couplings": 10**9,
        "conditioner": [64], "embedding": 64, "scale_bound": 2.0}}),
    "sums of sums": told("q", value=NESTED_SUM),
    "parts without end": told("q", value={"kind": "weighted_sum", "config": {
        "weights": [1] * 5_000, "alpha": 1,
        "parts": [{"kind": "ensemble", "config": {}}] * 5_000}}),
    "a stack of stacks": told("policy", value={"kind": "stacked", "config": {
        "layers": [{"kind": "stacked", "config": {}}] * 2, "holds": [1]}}),
    "a hold that is none": told(*CONFIG, "holds", value=True),
    "a tower of latents": tower,
    "candidates without end": crowd,
    **{f"an absurd header, {name}": header(name, b"{}", 2**63) for name in TENSORS},
    **{f"a header of spaces, {name}": header(name, b" " * (1 << 20)) for name in TENSORS},
    "a header of nothings": header("policy.safetensors", many_empty(30_000)),
    "a replay of nothings": header(TENSORS[3], many_empty(30_000)),
    "a header that is no text": header("q.safetensors", b"\xff" * 64),
    "a deep header": header("q.safetensors", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "a replay of nothing": emptiness([2**31, 0]),
    "a replay of less": emptiness([2**62, 0]),
    "a replay without entries": emptiness([0, 4]),
    "lengths that overflow": tensors(
        TENSORS[3], lengths=lambda v: np.array([2**62] * 4 + [1, 1, 1, int(v.sum()) - 3])),
    "lengths below zero": tensors(
        TENSORS[3], lengths=lambda v: np.array([-(10**9), 10**9 + int(v.sum())] + [0] * 6)),
    "one length for all": tensors(TENSORS[3], lengths=lambda v: v.sum(keepdims=True)),
    "lengths that are no integers": tensors(TENSORS[3], lengths=lambda v: v.astype(np.float32)),
    "rewards that are NaN": tensors(TENSORS[3], rewards=lambda v: v * np.nan),
    "discounts above gamma": tensors(TENSORS[3], discounts=np.full(304, 2.0, np.float32)),
    "a probe without end": tensors(
        "probe.safetensors", observation=np.zeros((500_000, 4), np.float32),
        noise=np.zeros((500_000, 2), np.float32)),
    "a probe of nothing": tensors(
        "probe.safetensors", **{key: lambda v: v[:0] for key in
                                ("observation", "noise", "sample", "mode", "q")}),
    "a probe of one answer for all": tensors("probe.safetensors", mode=lambda v: v[:1]),
    "weights at the edge": tensors(
        "policy.safetensors", **{"net.layers.0.weight": lambda v: v * 0 + np.float32(3e38)}),
    "a curve without end": only("metrics.jsonl", b'{"step": 1}\n' * 500_000),
    "a deep curve": only("metrics.jsonl", b"[" * 1_000_000),
    "a curve of absurd numbers": only("metrics.jsonl", b'{"step": 1' + b"0" * 4_000 + b"}"),
    "a card of five megabytes": only("README.md", b"#" * (5 << 20)),
    "a card that is no text": only("README.md", b"\xff\xfe" * 100),
    "a picture of eight megabytes": only("figure.png", b"\x89PNG" * (2 << 20)),
}  # fmt: skip

REFUSED = {  # by what, at the latest
    **dict.fromkeys(["YAML", "parents without end", "metrics without end", "a force without end",
                     "a number without end", "names that draw on the screen", "deep metrics",
                     "a name above", "a parent above", "a hold that is none"], "verify"),
    **dict.fromkeys(["a layer of a terabyte", "layers without end", "candidates without end",
                     "a tower of latents", "a probe without end", "a probe of nothing",
                     "a header of nothings", "inputs without end"], "control"),
    **dict.fromkeys(["a replay of nothing", "a replay of less", "lengths that overflow",
                     "lengths below zero", "lengths that are no integers", "a deep curve",
                     "critics without end", "parts without end", "discounts above gamma",
                     "a card of five megabytes", "a curve of absurd numbers"], "load"),
}  # fmt: skip


def replaced(name: str, put: Callable[[Path], Any]) -> Callable[[Path, Path], None]:
    """Something else in the place of a file."""

    def change(folder: Path, outside: Path) -> None:
        (folder / name).unlink()
        put(folder / name)

    return change


def linked(name: str) -> Callable[[Path, Path], None]:
    """The very file, but outside."""

    def change(folder: Path, outside: Path) -> None:
        os.replace(folder / name, outside / "moved")
        (folder / name).symlink_to(outside / "moved")

    return change


def hard(folder: Path, outside: Path) -> None:
    os.link(folder / "README.md", outside / "same")


def tree(path: Path) -> None:
    path.mkdir()
    for _ in range(200):
        os.chdir(path)
        path = Path("deep" * 10)
        path.mkdir()


FILES_OF_A_SKILL = ("skill.json", "SHA256SUMS", "README.md", "metrics.jsonl", *TENSORS)
FOLDERS: dict[str, Callable[[Path, Path], None]] = {
    **{f"a link for {name}": linked(name) for name in FILES_OF_A_SKILL},
    **{f"a pipe for {name}": replaced(name, os.mkfifo) for name in FILES_OF_A_SKILL},
    **{f"a device for {name}": replaced(name, lambda p: p.symlink_to("/dev/zero"))
       for name in FILES_OF_A_SKILL},
    **{f"itself for {name}": replaced(name, lambda p: p.symlink_to(p.name))
       for name in FILES_OF_A_SKILL},
    **{f"a terabyte of nothing for {name}": lambda f, o, n=name: os.truncate(f / n, 1 << 40)
       for name in FILES_OF_A_SKILL},
    "a folder for a file": replaced("skill.json", Path.mkdir),
    "a socket": replaced("README.md", lambda p: os.mknod(p, stat.S_IFSOCK)),
    "a tree without end": replaced("README.md", tree),
    "a folder of its own above": lambda f, o: (f / "up").symlink_to(".."),
    "a hard link": hard,
    "checksums of everything": lambda f, o: (f / "SHA256SUMS").write_text(
        f"{'0' * 64}  a\n" * 60_000),
    "many checksums": lambda f, o: (f / "SHA256SUMS").write_text(
        "".join(f"{'0' * 64}  {i}\n" for i in range(55_000))),
    "checksums above": lambda f, o: (f / "SHA256SUMS").write_text(f"{'0' * 64}  ../../outside/x\n"),
    "ten megabytes of checksums": lambda f, o: os.truncate(f / "SHA256SUMS", 10 << 20),
}  # fmt: skip

TASKS = [
    "os:system", "os.system", "gym:os:system", "gym:stranger:Env-v0", "gym:stranger", "gym:",
    "gym::", "gym:stranger:", "gym: stranger:Env-v0", "gym:.stranger:Env", "gym:a/stranger:E-v0",
    "gym:skillkit/Task-v0", "gym:skillkit/nothing-v0", "module:Env", "stranger:Env-v0",
    "__import__('stranger')", "eval(1)", "push_x;import stranger", "push_x+gym:stranger:Env-v0",
    "0.5*gym:stranger:Env-v0+0.5*push_x", "../stranger", "/tmp/stranger.py", "stranger.py",
    "file:///etc/passwd", "push_x\n", "push_x\0", "", "+", "*", "1e400*push_x+1*push_y",
    "nan*push_x", "push_x" * 150, "+".join(["push_x"] * 140), "*" * 1_000, "+" * 1_000,
    "1*" * 400 + "push_x", "9" * 900 + "*push_x+1*push_y", "\u202epush_x", "push_x\u0000",
]  # fmt: skip
