"""Reading what a stranger may have written: bounded, strict, and one sentence if it is wrong."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from skillkit.errors import CorruptSkill
from skillkit.manifest import Manifest
from skillkit.reading import depth, read_bytes, read_json, read_tensors, read_text, reason
from tests.small_skills import manifest


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda p: os.symlink("/dev/zero", p)])
def test_reading_never_blocks(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "skill.json")
    with pytest.raises(CorruptSkill, match="symbolic link|not a regular file"):
        read_json(tmp_path / "skill.json")


# --------------------------------------------------------------------------------------- JSON

TEXT = json.dumps(manifest().to_json())
HOSTILE = {
    "empty": b"",
    "cut short": TEXT.encode()[:100],
    "a list": b"[]",
    "null": b"null",
    "a number": b"1",
    "NaN": TEXT.replace('"alpha": 0.2', '"alpha": NaN').encode(),
    "infinity": TEXT.replace('"alpha": 0.2', '"alpha": -Infinity').encode(),
    "overflow": TEXT.replace('"alpha": 0.2', '"alpha": 1e999').encode(),
    "thousands of digits": TEXT.replace('"seed": 0', f'"seed": {"9" * 5000}').encode(),
    "a field twice": TEXT.replace('"seed": 0', '"seed": 0, "seed": 1').encode(),
    "not UTF-8": TEXT.encode().replace(b"push_x", b"push_\xff"),
    "UTF-16": TEXT.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "a lone surrogate": TEXT.replace('"sac"', '"\\ud800"').encode(),
    "an escape sequence": TEXT.replace('"sac"', '"\\u001b[2J"').encode(),
    "too deep": b"[" * 100_000,
    "deep in a field": TEXT.replace(
        '"metrics": {', '"metrics": {"a":' + "[" * 99_000 + "]" * 99_000 + ","
    ).encode(),
    "huge": TEXT.replace('"metrics": {', '"metrics": {"a": "' + "a" * (5 << 20) + '",').encode(),
}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not strict JSON"),
        ("NaN", "NaN is not a finite number"),
        ("[-Infinity]", "-Infinity is not a finite number"),
        ("1e400", "1e400 is not a finite number"),
        ("9" * 31, "99999999999999999999... has too many digits"),
        ("[" * 65 + "]" * 65, "nested too deeply"),
        ('{"a": {"b": 1, "b": 1}}', "a name appears twice"),
        ("[" * 100_000, "nested too deeply"),
        (" " * (4 << 20) + "1", "larger than"),
    ],
)
def test_json_is_strict(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(CorruptSkill, match=complaint):
        read_json(tmp_path / "file")


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_json_is_one_sentence(tmp_path: Path, case: str) -> None:
    (tmp_path / "skill.json").write_bytes(HOSTILE[case])
    with pytest.raises(CorruptSkill, match=r"skill\.json") as caught:
        Manifest.load(tmp_path)
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("value", "levels"),
    [(1, 0), ("[[", 0), ([], 1), ([1, [2, {"a": [3]}], {}], 4), ({"a": 1, "b": {"c": []}}, 3)],
)
def test_depth_counts_what_is_in_each_other(value: Any, levels: int) -> None:
    assert depth(value) == levels


# ------------------------------------------------------------------------------ text and tensors


def test_a_limit_is_exact(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abcd")
    assert read_bytes(tmp_path / "file", 4) == b"abcd" and read_text(tmp_path / "file", 4) == "abcd"
    for read in (read_bytes, read_text):
        with pytest.raises(CorruptSkill, match="file is larger than 3 bytes"):
            read(tmp_path / "file", 3)


def test_tensors_are_read(tmp_path: Path) -> None:
    stored = {"a": np.arange(3, dtype=np.float32), "b": np.array([True])}
    (tmp_path / "file").write_bytes(save(stored))
    found = read_tensors(tmp_path / "file")
    assert all(np.array_equal(found[key], stored[key]) for key in stored) and len(found) == 2


HEADER = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
NO_TENSORS = {
    "nothing": (b"", "cannot be read as safetensors"),
    "three bytes": (b"abc", "cannot be read as safetensors"),
    "a header of another length": (struct.pack("<Q", 9) + HEADER + bytes(4), "cannot be read"),
    "a header past the end": (struct.pack("<Q", 200_000) + HEADER, "cannot be read"),
    "a giant header": (struct.pack("<Q", 2**63) + HEADER, "its header is larger than 262144 bytes"),
    "a large header": (struct.pack("<Q", 262_145) + b" " * 262_145, "is larger than 262144 bytes"),
    "too few bytes": (struct.pack("<Q", len(HEADER)) + HEADER + bytes(3), "cannot be read"),
    "too many": (struct.pack("<Q", len(HEADER)) + HEADER + bytes(5), "cannot be read"),
    "a type that NumPy has not": (
        struct.pack("<Q", len(HEADER) + 1) + HEADER.replace(b"F32", b"BF16") + bytes(4),
        "cannot be read",
    ),
}


@pytest.mark.parametrize("case", NO_TENSORS)
def test_what_holds_no_tensors_is_one_sentence(tmp_path: Path, case: str) -> None:
    data, complaint = NO_TENSORS[case]
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(CorruptSkill, match=f"file .*{complaint}") as caught:
        read_tensors(tmp_path / "file")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600


def test_a_reason_can_be_printed() -> None:
    text = reason(ValueError("one\n two\x1b[2J\u202e" + "x" * 1_000))
    assert text.startswith("one two?[2J?x") and text.isprintable() and len(text) == 300
    assert reason(ValueError()) == "ValueError"
