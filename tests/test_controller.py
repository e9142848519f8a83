"""The controller: hand numbers, one by one as in batches to the last bit, every bad input."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from skillkit.controller import Controller
from skillkit.errors import CorruptSkill, InvalidValue, NonFinite
from skillkit.manifest import Manifest, write_checksums
from skillkit.runtimes import RUNTIMES
from skillkit.types import Array, Entry, Spec

ROOT = Path(__file__).parents[1]
SPEC = Spec(
    observation=(Entry("puck_x", "m"), Entry("puck_y", "m"), Entry("speed", "m/s")),
    action=(Entry("torque_1", "N m", -3.0, 3.0), Entry("torque_2", "N m", 0.0, 4.0)),
    dt=0.05,
)
OBS = np.array([1.0, 2.0, 0.5])
CONFIG = {"observation_dim": 3, "action_dim": 2, "hidden": [2], "inputs": None}
POLICY = {"kind": "gaussian", "config": CONFIG}


def hand_tensors() -> dict[str, Array]:
    """At OBS the hidden layer is (1.5, relu(-1.5)), mu = (1, -1), and the head of sigma (0, .5)."""
    rows = {
        "net.layers.0.weight": [[1, 0, 0], [0, -1, 1]],
        "net.layers.0.bias": [0.5, 0],
        "net.layers.1.weight": [[1, 7], [-2, 7], [0, 7], [1, 7]],
        "net.layers.1.bias": [-0.5, 2, 0, -1],
    }
    return {name: np.array(row, np.float32) for name, row in rows.items()}


def hand_std(x: float) -> float:
    """-5 <= log sigma <= 2, smooth at both ends."""
    return math.exp(-5 + 3.5 * (1 + math.tanh(x)))


def network(
    kind: str, observations: int, hidden: list[int], actions: int, inputs: list[int] | None = None
) -> tuple[Spec, dict[str, Any], dict[str, Array]]:
    """A random policy: what Controller takes."""
    rng = np.random.default_rng(0)
    outputs = (2 if kind.endswith("gaussian") else 1) * actions
    noise = actions + 1 if kind == "implicit" else 0
    sizes = [noise + (observations if inputs is None else len(inputs)), *hidden, outputs]
    tensors = {}
    for i in range(len(sizes) - 1):
        weight = rng.standard_normal((sizes[i + 1], sizes[i])) / math.sqrt(sizes[i])
        tensors[f"net.layers.{i}.weight"] = weight.astype(np.float32)
        tensors[f"net.layers.{i}.bias"] = rng.standard_normal(sizes[i + 1]).astype(np.float32)
    spec = Spec(
        tuple(Entry(f"o{i}") for i in range(observations)),
        tuple(Entry(f"a{i}", "N", -1.0 - i, 0.3 + i) for i in range(actions)),
        0.01,
    )
    config = {
        "observation_dim": observations,
        "action_dim": actions,
        "hidden": hidden,
        "inputs": inputs,
    } | ({"noise_dim": noise} if noise else {})
    return spec, {"kind": kind, "config": config}, tensors


# ------------------------------------------------------------------------------------- numbers


def test_mode_by_hand() -> None:
    action = Controller(SPEC, POLICY, hand_tensors())(OBS)
    assert action == pytest.approx([3 * math.tanh(1), 2 + 2 * math.tanh(-1)], abs=1e-6)
    assert action.dtype == np.float64


def test_sample_by_hand() -> None:
    controller = Controller(SPEC, POLICY, hand_tensors(), deterministic=False)
    noise = [[1.0, -2.0]]
    expected = [math.tanh(1 + hand_std(0)), math.tanh(-1 - 2 * hand_std(0.5))]
    assert controller.unit(OBS[None], noise)[0] == pytest.approx(expected, abs=1e-6)
    native = [3 * expected[0], 2 + 2 * expected[1]]
    assert controller.batch(OBS[None], noise)[0] == pytest.approx(native, abs=1e-6)


def test_deterministic_policy_by_hand() -> None:
    tensors = hand_tensors()
    tensors["net.layers.1.weight"] = tensors["net.layers.1.weight"][:2]
    tensors["net.layers.1.bias"] = tensors["net.layers.1.bias"][:2]
    controller = Controller(SPEC, {"kind": "deterministic", "config": CONFIG}, tensors)
    assert controller.noise_dim == 0
    assert controller(OBS) == pytest.approx([3 * math.tanh(1), 2 - 2 * math.tanh(1)], abs=1e-6)


def test_implicit_policy_by_hand() -> None:
    """Noise enters beside the observation: the hidden layer is (1.5 + eps, relu(-1.5 + 2 eps))."""
    tensors = hand_tensors()
    weight, column = tensors["net.layers.0.weight"], np.array([[1], [2]], np.float32)
    tensors["net.layers.0.weight"] = np.concatenate([weight, column], axis=1)
    tensors["net.layers.1.weight"] = tensors["net.layers.1.weight"][:2]
    tensors["net.layers.1.bias"] = tensors["net.layers.1.bias"][:2]
    policy = {"kind": "implicit", "config": CONFIG | {"noise_dim": 1}}
    controller = Controller(SPEC, policy, tensors)
    assert controller.noise_dim == 1
    assert controller(OBS) == pytest.approx([3 * math.tanh(1), 2 - 2 * math.tanh(1)], abs=1e-6)
    expected = [math.tanh(2.5 + 7 * 0.5 - 0.5), math.tanh(-5 + 7 * 0.5 + 2)]
    assert controller.unit(OBS[None], [[1.0]])[0] == pytest.approx(expected, abs=1e-6)


def test_reads_only_its_inputs() -> None:
    tensors = hand_tensors()
    tensors["net.layers.0.weight"] = np.array([[0, 1], [1, -1]], np.float32)  # of speed, puck_x
    config = CONFIG | {"inputs": [2, 0]}
    controller = Controller(SPEC, {"kind": "gaussian", "config": config}, tensors)
    expected = controller(OBS)
    assert expected == pytest.approx([3 * math.tanh(1), 2 - 2 * math.tanh(1)], abs=1e-6)
    assert (controller(OBS + [0, 9, 0]) == expected).all()
    assert (controller(OBS + [0.2, 0, 0]) != expected).all()


def test_saturated_actions_stay_within_bounds() -> None:
    tensors = hand_tensors()
    tensors["net.layers.1.bias"][:2] = (1e4, -1e4)
    for bounds in (((-0.1, 0.3), (0.1, 0.7)), ((-0.7, -0.1), (-1, 1)), ((-3, 3), (-0.3, 0.1))):
        spec = Spec(SPEC.observation, tuple(Entry(f"{b}", "", *b) for b in bounds), 0.05)
        controller = Controller(spec, POLICY, tensors)
        ends = [bounds[0][1], bounds[1][0]]
        assert controller(OBS).tolist() == ends
        assert controller.batch(OBS[None]).tolist() == [ends]


SHAPES = [(3, [2], 2), (1, [1], 1), (12, [128, 128], 3), (17, [256, 256], 6), (5, [], 2)]


MADE_OF_OTHERS = {"resampled", "stacked", "symmetric"}


@pytest.mark.parametrize("kind", sorted(RUNTIMES.keys() - {"real_nvp"} - MADE_OF_OTHERS))
@pytest.mark.parametrize(("observations", "hidden", "actions"), SHAPES)
def test_one_by_one_and_in_batches_to_the_last_bit(
    kind: str, observations: int, hidden: list[int], actions: int
) -> None:
    controller = Controller(*network(kind, observations, hidden, actions))
    obs = np.random.default_rng(1).standard_normal((20, observations))
    batch = controller.batch(obs)
    assert (np.stack([controller(row) for row in obs]) == batch).all()
    assert (controller.batch(obs[5:8]) == batch[5:8]).all()
    noise = np.random.default_rng(2).standard_normal((20, controller.noise_dim))
    sampled = controller.batch(obs, noise)
    assert (controller.batch(obs[5:8], noise[5:8]) == sampled[5:8]).all()
    assert (controller.spec.native(controller.unit(obs, noise)) == sampled).all()


def test_noise_is_one_stream_of_the_seed() -> None:
    def controller(seed: int) -> Controller:
        return Controller(*network("gaussian", 3, [8], 2), deterministic=False, seed=seed)

    obs = np.random.default_rng(1).standard_normal((6, 3))
    alone, again = controller(5), controller(5)
    singles = []
    for row in obs:
        alone.reset()  # does not rewind the noise: episodes differ
        singles.append(alone(row))
    assert (np.stack(singles) == again.batch(obs)).all()
    assert (controller(6).batch(obs) != np.stack(singles)).any(axis=1).all()
    assert not np.array_equal(alone(obs[0]), singles[0])


def test_samples_have_the_declared_distribution() -> None:
    controller = Controller(SPEC, POLICY, hand_tensors(), deterministic=False)
    unit = controller.batch(np.tile(OBS, (4000, 1))) / [3, 2] - [0, 1]
    u = np.arctanh(unit)
    assert u.mean(axis=0) == pytest.approx([1, -1], abs=0.05)
    assert u.std(axis=0) == pytest.approx([hand_std(0), hand_std(0.5)], rel=0.05)


def test_results_are_not_shared_and_observations_not_touched() -> None:
    controller = Controller(SPEC, POLICY, hand_tensors())
    obs = OBS.copy()
    first = controller(obs)
    kept = first.copy()
    controller(obs + 1)
    assert (first == kept).all() and (obs == OBS).all()


@pytest.mark.parametrize(
    "same",
    [
        OBS.astype(np.float32),
        np.stack([OBS, OBS], axis=1)[:, 0],
        [1.0, 2, 0.5],
        np.array([1.0, 2, 0.5], object),
        np.float16(OBS),
        OBS.astype(">f8"),
    ],
    ids=["float32", "strided", "list", "object", "float16", "big-endian"],
)
def test_every_kind_of_real_number_is_taken(same: Any) -> None:
    controller = Controller(SPEC, POLICY, hand_tensors())
    assert (controller(same) == controller(OBS)).all()


# ----------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("obs", "error", "words"),
    [
        ([1, math.nan, 0], NonFinite, "puck_y is nan"),
        ([1, 0, -math.inf], NonFinite, "speed is -inf"),
        ([1e39, 0, 0], NonFinite, "puck_x is 1e+39"),
        ([1, "2", 0], InvalidValue, "puck_y is '2', not a real number"),
        ([1, 2, None], InvalidValue, "speed is None"),
        ([1, 2j, 0], InvalidValue, "2j, not a real number"),
        ([1, 2], InvalidValue, "(3,), puck_x to speed, not (2,)"),
        ([1, 2, 3, 4], InvalidValue, "(3,), puck_x to speed, not (4,)"),
        ([[1, 2, 3]], InvalidValue, "(3,), puck_x to speed, not (1, 3)"),
        ([1, [2, 3], 4], InvalidValue, "not one array of numbers"),
        (None, InvalidValue, "puck_x to speed, not ()"),
    ],
)
def test_bad_observation(obs: Any, error: type[Exception], words: str) -> None:
    controller = Controller(SPEC, POLICY, hand_tensors())
    with pytest.raises(error, match=re.escape(words)) as caught:
        controller(obs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [[1, math.nan, 0], [1, math.inf, 0], [1, 1e39, 0]])
def test_bad_array(values: list[float]) -> None:
    with pytest.raises(NonFinite, match="puck_y is"):
        Controller(SPEC, POLICY, hand_tensors())(np.array(values))


@pytest.mark.parametrize(
    ("obs", "noise", "error", "words"),
    [
        ([[1, 2, 3], [1, math.nan, 0]], None, NonFinite, "puck_y in row 1 is nan"),
        ([1, 2, 3], None, InvalidValue, r"\(E, 3\), puck_x to speed, not \(3,\)"),
        ([[1, 2]], None, InvalidValue, r"\(E, 3\), puck_x to speed, not \(1, 2\)"),
        ([[1, 2, "x"]], None, InvalidValue, "speed is 'x'"),
        ([[1, 2, 3]], [[0.0]], InvalidValue, r"noise has the shape \(1, 1\), not \(1, 2\)"),
    ],
)
def test_bad_batch(obs: Any, noise: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Controller(SPEC, POLICY, hand_tensors(), deterministic=False).batch(obs, noise)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_action_that_overflows_is_refused() -> None:
    tensors = hand_tensors()
    tensors["net.layers.0.weight"] *= 1e30
    tensors["net.layers.1.weight"][0] = (1e30, -1e30)
    controller = Controller(SPEC, POLICY, tensors)
    for act, obs in ((controller, [1e18, -1e18, 0]), (controller.batch, [[1e18, -1e18, 0]])):
        with pytest.raises(NonFinite, match="action is not finite"):
            act(np.array(obs))


def without(name: str) -> Callable[[dict[str, Array]], Any]:
    return lambda tensors: tensors.pop(name)


def with_(name: str, value: Callable[[Array], Array]) -> Callable[[dict[str, Array]], Any]:
    return lambda tensors: tensors.update({name: value(tensors.get(name, np.zeros(1)))})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("net.layers.1.bias"), "net.layers.1.bias is absent"),
        (with_("extra", np.float32), "extra .* describes no such tensor"),
        (with_("net.layers.0.weight", np.transpose), r"float32 \(3, 2\); skill.json describes"),
        (with_("net.layers.0.bias", np.float64), "float64"),
        (with_("net.layers.1.bias", lambda b: b * np.float32(np.nan)), "NaN or infinite weights"),
        (with_("net.layers.0.weight", lambda w: w / np.float32(0)), "NaN or infinite weights"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_tensors_that_do_not_fit(change: Callable[[dict[str, Array]], Any], words: str) -> None:
    tensors = hand_tensors()
    change(tensors)
    with pytest.raises(CorruptSkill, match=words):
        Controller(SPEC, POLICY, tensors)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (POLICY | {"kind": "oracle"}, "no policy kind is called 'oracle'.*gaussian, deterministic"),
        ({"kind": "gaussian", "config": CONFIG | {"observation_dim": 4}}, "observation_dim is 4"),
        ({"kind": "gaussian", "config": CONFIG | {"action_dim": None}}, "action_dim is None"),
        ({"kind": "gaussian", "config": CONFIG | {"hidden": 2}}, "hidden is 2, not a list"),
        ({"kind": "gaussian", "config": CONFIG | {"hidden": [2.0]}}, "hidden is"),
        ({"kind": "gaussian", "config": CONFIG | {"hidden": [3]}}, "skill.json describes float32"),
        ({"kind": "gaussian", "config": CONFIG | {"inputs": [0, 3]}}, "inputs is .* below 3"),
        ({"kind": "gaussian", "config": CONFIG | {"inputs": [0, -1]}}, "inputs is"),
        ({"kind": "gaussian", "config": CONFIG | {"inputs": [0]}}, "skill.json describes float32"),
        ({"kind": "gaussian", "config": {}}, "observation_dim is None"),
        ({"kind": "implicit", "config": CONFIG}, "noise_dim is None, not a positive integer"),
        ({"kind": "implicit", "config": CONFIG | {"noise_dim": 0}}, "noise_dim is 0"),
        ({"kind": "implicit", "config": CONFIG | {"noise_dim": "2"}}, "noise_dim is '2'"),
        (
            {"kind": "implicit", "config": CONFIG | {"noise_dim": 1 << 40}},
            "skill.json describes float32",
        ),
    ],
)
def test_policy_that_does_not_fit(policy: dict[str, Any], words: str) -> None:
    with pytest.raises(CorruptSkill, match=words):
        Controller(SPEC, policy, hand_tensors())


# ------------------------------------------------------------------------------------- on disk


def write_skill(folder: Path, **files: bytes) -> Path:
    """A skill's folder with what a controller reads; `files` replace what would be written."""
    rng = np.random.default_rng(3)
    controller = Controller(SPEC, POLICY, hand_tensors())
    obs, noise = (rng.standard_normal((16, n)).astype(np.float32) for n in (3, 2))
    answers = {"sample": controller.unit(obs, noise), "mode": controller.unit(obs, None)}
    probe = {"observation": obs, "noise": noise, "q": np.zeros(16, np.float32), **answers}
    folder.mkdir()
    Manifest(
        kind="trained",
        name="push_x",
        task={"expression": "push_x", "domain": "pusher", "scene": None, "source_hash": "0" * 64},
        spec=SPEC,
        alpha=0.2,
        gamma=0.99,
        algorithm="sac",
        config={},
        policy=POLICY,
        q={"kind": "ensemble", "config": {}},
        seed=0,
        replay={"episodes": 0, "transitions": 0},
    ).save(folder)
    save_file(hand_tensors(), folder / "policy.safetensors")
    save_file(probe, folder / "probe.safetensors")
    for name, content in files.items():
        (folder / f"{name}.safetensors").write_bytes(content)
    write_checksums(folder)
    return folder


def rewrite(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    (folder / name).write_bytes(change((folder / name).read_bytes()))


def test_load_acts_like_the_policy_that_was_stored(tmp_path: Path) -> None:
    folder = write_skill(tmp_path / "v1")
    original = Controller(SPEC, POLICY, hand_tensors(), deterministic=False, seed=4)
    loaded = Controller.load(folder, deterministic=False, seed=4)
    assert loaded.spec == SPEC
    assert (loaded(OBS) == original(OBS)).all()
    assert Controller.load(str(folder))(OBS)[0] == pytest.approx(3 * math.tanh(1), abs=1e-6)


def test_loads_and_controls_where_torch_cannot_be_imported(tmp_path: Path) -> None:
    folder = write_skill(tmp_path / "v1")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from skillkit.controller import Controller\n"
        f"print(Controller.load({str(folder)!r})([1.0, 2.0, 0.5])[0])"
    )
    run = [sys.executable, "-c", code]
    result = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) == pytest.approx(3 * math.tanh(1), abs=1e-6)


def test_does_not_import_torch_where_it_is_installed(tmp_path: Path) -> None:
    code = "import sys; import skillkit.controller; print('torch' in sys.modules)"
    run = [sys.executable, "-c", code]
    result = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.strip() == "False", result.stderr


@pytest.mark.parametrize("name", ["skill.json", "policy.safetensors", "probe.safetensors"])
@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b + b"\0"],
    ids=["truncated", "flipped", "longer"],
)
def test_altered_files_are_refused(
    tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    folder = write_skill(tmp_path / "v1")
    rewrite(folder, name, damage)
    with pytest.raises(CorruptSkill, match=name):
        Controller.load(folder)


@pytest.mark.parametrize("name", ["skill.json", "policy.safetensors", "probe.safetensors"])
def test_missing_files_are_refused(tmp_path: Path, name: str) -> None:
    folder = write_skill(tmp_path / "v1")
    (folder / name).unlink()
    with pytest.raises(CorruptSkill, match=name):
        Controller.load(folder)


def test_a_folder_that_is_no_skill_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptSkill):
        Controller.load(tmp_path)


BFLOAT = b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'


@pytest.mark.parametrize(
    "content",
    [b"", b"not safetensors", b"\xff" * 64, len(BFLOAT).to_bytes(8, "little") + BFLOAT + b"\0\0"],
    ids=["empty", "text", "absurd header", "bfloat16"],
)
@pytest.mark.parametrize("name", ["policy", "probe"])
def test_foreign_tensors_with_right_checksums_are_refused(
    tmp_path: Path, name: str, content: bytes
) -> None:
    folder = write_skill(tmp_path / "v1", **{name: content})
    with pytest.raises(CorruptSkill, match=f"{name}.safetensors"):
        Controller.load(folder)


def test_another_skills_weights_with_right_checksums_are_refused(tmp_path: Path) -> None:
    foreign = hand_tensors()
    foreign["net.layers.1.bias"][0] += 0.01
    folder = write_skill(tmp_path / "v1", policy=save(foreign))
    with pytest.raises(CorruptSkill, match=r"v1: the policy no longer gives the sample"):
        Controller.load(folder)


@pytest.mark.parametrize("key", ["sample", "mode"])
@pytest.mark.parametrize(("size", "passes"), [(5e-5, True), (1e-3, False), (np.nan, False)])
def test_the_probe_decides(tmp_path: Path, key: str, size: float, passes: bool) -> None:
    obs, noise = np.zeros((16, 3), np.float32), np.ones((16, 2), np.float32)
    controller = Controller(SPEC, POLICY, hand_tensors())
    probe = {"observation": obs, "noise": noise}
    probe |= {"sample": controller.unit(obs, noise), "mode": controller.unit(obs, None)}
    probe[key][3, 1] += size
    if passes:
        controller.check(probe)
    else:
        with pytest.raises(CorruptSkill, match=f"no longer gives the {key}"):
            controller.check(probe)


@pytest.mark.parametrize(
    ("key", "value"),
    [("observation", np.zeros((16, 4))), ("noise", np.zeros((16, 1))), ("mode", np.zeros((3, 2)))],
)
def test_a_probe_of_the_wrong_shape_is_refused(key: str, value: Array) -> None:
    obs, noise = np.zeros((16, 3), np.float32), np.ones((16, 2), np.float32)
    controller = Controller(SPEC, POLICY, hand_tensors())
    probe = {"observation": obs, "noise": noise}
    probe |= {"sample": controller.unit(obs, noise), "mode": controller.unit(obs, None)}
    with pytest.raises(CorruptSkill, match=r"probe.safetensors does not fit"):
        controller.check(probe | {key: value})
    del probe[key]
    with pytest.raises(CorruptSkill, match=rf"probe.safetensors does not fit.*{key}"):
        controller.check(probe)


@pytest.mark.parametrize("seed", [-1, 1.5, "many"])
def test_a_wrong_seed_is_not_the_skills_fault(seed: Any) -> None:
    with pytest.raises(InvalidValue, match=f"a seed is a whole number from 0 on, not {seed!r}"):
        Controller(SPEC, POLICY, hand_tensors(), deterministic=False, seed=seed)
    with pytest.raises(InvalidValue, match="a seed is a whole number"):
        Controller.load(Path("nowhere"), deterministic=False, seed=seed)
