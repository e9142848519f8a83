"""Skills as a stranger might hand them over: one of every kind, and ways to spoil them.

A skill is here what its folder holds, path -> bytes. A change returns another one; unless it says
otherwise the checksums are made right again afterwards, for else nothing behind them was tried.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import itertools
import json
import random
import struct
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save

from skillkit.integrity import CHECKSUMS
from skillkit.policies import POLICIES, SymmetricPolicy
from skillkit.skill import Skill, load
from tests.resampled import resampled

GOLDEN = Path(__file__).parent / "golden/format_1"
NAME = "point_x"  # of all of them, where they are put
FRAMES = [[1, 2, 3, 4], [-2, 1, -4, 3]], [[1, 2], [-2, 1]]  # it, and a quarter turn
Files = dict[str, bytes]

DEEP = functools.reduce(lambda inner, _: [inner], range(200), 1)
VALUES: list[Any] = [  # anywhere in skill.json
    None, True, False, 0, 1, -1, 2, 65_535, 65_536, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63),
    2**64, 10**18, 10**30, 10**400, -0.0, 0.5, 1e-45, 5e-324, 1e308, -1e308, 1e39, float("nan"),
    float("inf"), -float("inf"), "", "0", "a" * 1_001, "a" * 100_000, "\0", "\x1b[2J", "\n", "é",
    "\ud800", "\u202e", "/etc/passwd", "../../outside", "..", "os:system", "gym:os:system",
    "gym:stranger:Env-v0", "stranger:Env", "gym:Pendulum-v1", "push_x", "1e9*push_x+push_y",
    "+".join(["push_x"] * 100), "__import__('stranger')", "${HOME}", "{0.__class__}", "%s%n",
    "[/bold]", "[red", "<script>", "`id`", "$(id)", "stacked", "resampled", "weighted_sum",
    "ensemble", "gaussian", "implicit", "real_nvp", "deterministic", "symmetric", "composed",
    "trained", [1, 2], [-2, 1, -4, 3], [[1.0, 0.0]],
    [], {}, [[]], [None], {"": None}, [0] * 1_000, [1] * 100_000, [64] * 64, [65_535, 65_535], DEEP,
    {"mean": "x", "std": []}, {"kind": "gaussian"}, {"kind": "stacked", "config": {}},
]  # fmt: skip
SIZES = [0, 1, 2, 7, 8, 100, 2**16, 2**20, 2**27, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, 2**64 - 1]
DTYPES = ["F32", "F64", "F16", "BF16", "I64", "I32", "U8", "U64", "BOOL", "C64", "F8_E4M3", "F4",
          "", "f32", None, 7, "O"]  # fmt: skip
NUMBERS = [0, 1, -1, 1e38, -1e38, 3.4e38, 1e-45, np.nan, np.inf, -np.inf, 2**31, 2**62, -(2**63)]


@functools.cache
def specimens() -> dict[str, Files]:
    """One of every kind there is."""
    golden = {name: load(name, GOLDEN) for name in (NAME, "point_x+point_y", "point_x/point_y")}
    first, composed = golden[NAME], golden["point_x+point_y"]
    found = {name: _files(skill.folder) for name, skill in golden.items()}
    torch.manual_seed(0)
    for kind in sorted(POLICIES.keys() - {"gaussian"}):
        found[kind] = _made(first, POLICIES[kind](4, 2, (8, 8)))
    inside = POLICIES["real_nvp"](4, 2, (8, 8))
    found["symmetric"] = _made(first, SymmetricPolicy(
        inside, FRAMES, [[1.0, 0.0], [0.0, -1.0]], [(0, 1, 1.0), (2, 3, 0.5)]
    ))  # fmt: skip
    for name, nested in (("resampled", False), ("resampled sums", True)):
        kinds = ["gaussian", "implicit", "real_nvp"][: len(composed.manifest.parents)]
        policy = resampled(kinds, candidates=4, hidden=(8,), nested=nested)
        found[name] = _made(composed, policy, policy.q)
    return found


def _made(skill: Skill, policy: Any, q: Any = None) -> Files:
    """The same skill with another policy."""
    q = q or skill.q
    about = dataclasses.replace(
        skill.manifest,
        policy={"kind": policy.kind, "config": policy.config},
        q={"kind": q.kind, "config": q.config},
        alpha=q.alpha,
        gamma=q.gamma,
    )
    made = Skill(about, policy=policy.eval(), q=q, replay=skill.replay, card=skill.card)
    with TemporaryDirectory() as folder:
        return _files(made.save(NAME, folder).folder)


# --------------------------------------------------------------------------------- what is changed


def flip(files: Files, rng: random.Random) -> None:
    """A few bits of a file."""
    name, data = _any(files, rng)
    for _ in range(rng.choice([1, 1, 2, 8]) if data else 0):
        data[rng.randrange(min(len(data), rng.choice([64, 2_000, 10**6])))] ^= 1 << rng.randrange(8)
    files[name] = bytes(data)


def cut(files: Files, rng: random.Random) -> None:
    """A file ends early, is empty, or goes on."""
    name, data = _any(files, rng)
    more = [bytes(rng.choice([1, 512, 10_000])), bytes(data), b"]" * 9]
    end = rng.randrange(len(data) + 1)
    files[name] = rng.choice([bytes(data[:end]), b"", bytes(data) + rng.choice(more)])


def swap(files: Files, rng: random.Random) -> None:
    """Two files change places, or one is another skill's."""
    one, other = rng.choice([*files]), rng.choice([*files])
    files[one], files[other] = files[other], files[one]
    if rng.random() < 0.7:
        files |= {one: rng.choice([*specimens().values()]).get(one, b"")}


def lose(files: Files, rng: random.Random) -> None:
    """A file is missing, has another name, or is beside others."""
    name = rng.choice([*files])
    data = files.pop(name)
    new = ["a.pkl", "replay/00001.safetensors", "skill.py", "Skill.json", "probe.safetensors/x"]
    if rng.random() < 0.6:
        files[rng.choice([*new, *files])] = data


def rewrite(files: Files, rng: random.Random) -> None:
    """A field of skill.json is another value, is gone, is added, is repeated, has moved."""
    try:
        data = json.loads(files["skill.json"])
    except ValueError:
        return
    more = rng.choice([2, 10, 300])
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        part = rng.choice([data, {"policy": data.get("policy"), "q": data.get("q")}])
        places = list(itertools.islice(_places(part), 5_000))  # networks are few fields among many
        holder, key = rng.choice(places)
        match rng.randrange(8):
            case 0 | 1 | 2 | 3:
                holder[key] = copy.deepcopy(rng.choice(VALUES))
            case 4:
                del holder[key]
            case 5:
                there, other = rng.choice(places)
                if len(str(there[other])) < 10_000:  # a copy of copies has no end
                    holder[key] = copy.deepcopy(there[other])
            case 6 if isinstance(holder, list):
                holder *= more if len(str(holder)) < 10_000 else 1  # or it has no end
            case 6:
                holder[rng.choice(["inputs", "squash", "x", ""])] = rng.choice(VALUES)
            case 7 if isinstance(holder[key], int | float):
                holder[key] *= rng.choice([-1, 0, 2, 1.5, 1_000, 10**9])
    text = _dumped(data)
    if rng.random() < 0.05:
        text = text.replace('"kind"', '"kind": "stacked", "kind"', 1)
    files["skill.json"] = text.encode("utf-8", "surrogatepass")


def reframe(files: Files, rng: random.Random) -> None:
    """The header of a safetensors file says something else."""
    name = rng.choice([name for name in files if name.endswith(".safetensors")])
    found = _header(files[name])
    if found is None:
        return
    header, body = found
    keys = [key for key in header if key != "__metadata__"]
    for _ in range(rng.choice([1, 1, 2])):
        entry = header.get(key := rng.choice(keys))
        if not isinstance(entry, dict):
            continue
        match rng.randrange(9):
            case 0:
                entry["shape"] = [rng.choice(SIZES) for _ in range(rng.randrange(4))]
            case 1:
                shape = entry.get("shape")
                entry["shape"] = [*(shape if isinstance(shape, list) else []), rng.choice([0, 1])]
            case 2:
                entry["data_offsets"] = [rng.choice(SIZES), rng.choice(SIZES)]
            case 3:
                entry["dtype"] = rng.choice(DTYPES)
            case 4:
                header[rng.choice(["x", "noise", "__metadata__", "a" * 10_000, *keys])] = entry
            case 5:
                header.pop(key, None)
            case 6:  # the same bytes as other numbers
                size = {"F32": 4, "I64": 8, "BOOL": 1, "F64": 8, "U8": 1, "F16": 2}
                begin, end = entry.get("data_offsets", (0, 0))
                entry["dtype"], width = rng.choice([*size.items()])
                entry["shape"] = [(end - begin) // width]
            case 7:  # nothing, of any size
                header[key] = {"dtype": "F32", "shape": [rng.choice(SIZES), 0],
                               "data_offsets": [0, 0]}  # fmt: skip
            case 8:
                entry[rng.choice([*entry, "more"])] = copy.deepcopy(rng.choice(VALUES))
    text = _dumped(header).encode("utf-8", "surrogatepass")
    length = len(text) if rng.random() < 0.9 else rng.choice(SIZES)
    files[name] = struct.pack("<Q", length) + text + body


def renumber(files: Files, rng: random.Random) -> None:
    """A stored number is another, or a whole tensor has another shape."""
    name = rng.choice([name for name in files if name.endswith(".safetensors")])
    try:
        tensors = {key: value.copy() for key, value in load_tensors(files[name]).items()}
    except Exception:
        return
    for key in rng.sample([*tensors], min(len(tensors), rng.choice([1, 1, 3]))):
        value = tensors[key]
        match rng.randrange(4):
            case 0 | 1 if value.size:
                with np.errstate(all="ignore"):
                    number = rng.choice(NUMBERS)
                    number = np.float64(number).astype(value.dtype)
                    value.reshape(-1)[rng.randrange(value.size)] = number
            case 2:
                tensors[key] = np.concatenate([value] * rng.choice([0, 2, 300]) or [value[:0]])
            case _:
                tensors[key] = value.astype(rng.choice(["f4", "f8", "i8", "u1", "?", "f2"]))
    files[name] = save(tensors)


def recount(files: Files, rng: random.Random) -> None:
    """SHA256SUMS itself, which nothing makes right again."""
    text = files[CHECKSUMS].decode("ascii", "replace")
    lines = text.splitlines(keepends=True) or [""]
    at = rng.randrange(len(lines))
    digest = "0" * 64
    match rng.randrange(6):
        case 0:
            lines[at] = f"{digest}  {rng.choice(['../../outside', '/etc/passwd', 'a', '.b', ''])}\n"
        case 1:
            lines.insert(at, lines[-1])
        case 2:
            del lines[at]
        case 3:
            lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
        case 4:
            rng.shuffle(lines)
        case 5:
            lines = [lines[at]] * rng.choice([2, 70_000])
    files[CHECKSUMS] = "".join(lines).encode("utf-8")


def note(files: Files, rng: random.Random) -> None:
    """Lines of the curve, and the card."""
    name = rng.choice(["metrics.jsonl", "README.md"])
    lines = files.get(name, b"").splitlines() or [b""]
    value = rng.choice(VALUES)
    line = _dumped(rng.choice([value, {"step": value}, {str(value)[:50]: 1}]))
    lines[rng.randrange(len(lines))] = line.encode("utf-8", "surrogatepass")
    files[name] = b"\n".join(lines * rng.choice([1, 1, 1, 50]))


CHANGES: dict[Callable[[Files, random.Random], None], int] = {  # and how often
    flip: 2, cut: 1, swap: 1, lose: 1, rewrite: 8, reframe: 5, renumber: 4, note: 1,
}  # fmt: skip


def mutant(number: int) -> tuple[str, Files]:
    """The skill that grows of this seed: what was done, and its files."""
    rng = random.Random(number)
    kind = rng.choice(sorted(specimens()))
    files, done = dict(specimens()[kind]), [kind]
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        (change,) = rng.choices([*CHANGES], [*CHANGES.values()])
        with suppress(KeyError):  # a file that is gone already
            change(files, rng)
        done.append(change.__name__)
    if rng.random() < 0.9:
        seal(files)
    if rng.random() < 0.1 and CHECKSUMS in files:
        recount(files, rng)
        done.append("recount")
    return ", ".join(done), files


def spoiled_pack(number: int) -> bytes:
    """The pack that grows of this seed: of a mutant, or itself changed, or both."""
    rng = random.Random(number)
    kind = rng.choice(sorted(specimens()))
    files = mutant(number)[1] if rng.random() < 0.5 else dict(specimens()[kind])
    recorded = files.get(CHECKSUMS, b"").decode("ascii", "replace").splitlines()
    names = [CHECKSUMS, *(line[66:] for line in recorded[:50])]
    parts = [_member(f"{NAME}/{name}", files.get(name, b"")) for name in names]
    parts.append(bytes(1024))
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        at, other = rng.randrange(len(parts)), rng.randrange(len(parts))
        match rng.randrange(9):
            case 0:
                parts[at], parts[other] = parts[other], parts[at]
            case 1:
                parts.insert(other, parts[at])
            case 2 if len(parts) > 1:
                del parts[at]
            case 3:
                path = rng.choice(["../x", "/x", "x", f"{NAME}/../x", f"{NAME}/a.pkl", *names])
                kind = rng.choice(
                    [b"0", b"\0", b"1", b"2", b"3", b"5", b"6", b"7", b"x", b"L", b"S"]
                )
                parts[other] = _member(path, b"/etc/passwd", kind, "/etc/passwd")
            case 4:  # a field of a header, its sum made right
                head = bytearray(parts[at][:512])
                field = rng.choice([0, 90, 100, 108, 116, 124, 130, 136, 156, 157, 257, 265, 345])
                value = rng.choice([b"\0", b"7" * 11, b"-1", b"\x80", b"/", b"..", b"x", b" "])
                head[field : field + len(value)] = value
                head[148:156] = b" " * 8
                head[148:156] = f"{sum(head):06o}\0 ".encode()
                parts[at] = bytes(head)[:512] + parts[at][512:]
            case _:
                data = bytearray(parts[at])
                flips = rng.choice([1, 3]) if data else 0
                for _ in range(flips):
                    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
                parts[at] = bytes(data)
    data = b"".join(parts)
    if rng.random() < 0.15:
        data = data[: rng.randrange(len(data))] + rng.choice([b"", b"\0" * 512, data[:700]])
    return data


def _member(path: str, data: bytes, kind: bytes = b"0", link: str = "") -> bytes:
    info = tarfile.TarInfo(path)
    info.size, info.type, info.linkname = len(data), kind, link
    head = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "replace")
    return head + data + bytes(-len(data) % 512)


def seal(files: Files) -> None:
    """Make the checksums right."""
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n"
             for name in sorted(files) if name != CHECKSUMS]  # fmt: skip
    files[CHECKSUMS] = "".join(lines).encode()


def put(files: Files, folder: Path) -> None:
    """Write them; a path through another file, or out of the folder, is left out."""
    for name, data in files.items():
        path = folder / name
        with suppress(OSError, ValueError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def _files(folder: Path) -> Files:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.*"))
            } | {CHECKSUMS: (folder / CHECKSUMS).read_bytes()}  # fmt: skip


def _any(files: Files, rng: random.Random) -> tuple[str, bytearray]:
    name = rng.choice([*files])
    return name, bytearray(files[name])


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every field: what holds it, and its key there."""
    for key in range(len(data)) if isinstance(data, list) else [*data]:
        yield data, key
        if isinstance(data[key], dict | list):
            yield from _places(data[key])


def _header(data: bytes) -> tuple[dict[str, Any], bytes] | None:
    """The header of a safetensors file and what follows; None if there is none any more."""
    try:
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        return (header, data[end:]) if header.keys() - {"__metadata__"} else None
    except (ValueError, AttributeError, RecursionError):
        return None


def _dumped(value: Any) -> str:
    with suppress(ValueError):
        return json.dumps(value)
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(value)
    finally:
        sys.set_int_max_str_digits(4_300)
