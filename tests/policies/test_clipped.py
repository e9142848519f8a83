"""The clipped Gaussian policy: between the ends it is plain, beyond them it stays."""

from __future__ import annotations

import pytest
import torch

from skillkit.controller import Controller
from skillkit.policies import ClippedGaussianPolicy
from skillkit.skill import arrays
from tests.toys import spec


@pytest.mark.parametrize(("given", "log_std"), [(-50, -20), (-7, -7), (0.3, 0.3), (2, 2), (9, 2)])
def test_width_is_cut_off(given: float, log_std: float) -> None:
    policy = ClippedGaussianPolicy(1, 1, hidden=())
    with torch.no_grad():
        policy.net.layers[-1].weight.zero_()
        policy.net.layers[-1].bias.copy_(torch.tensor([0.7, given]))
        mean, found = policy.moments(torch.zeros(1, 1))
    assert (mean.item(), found.item()) == pytest.approx((0.7, log_std))


def test_so_it_is_in_numpy_and_in_onnx() -> None:
    """Widths from -40 to 40, most of them beyond an end."""
    runtime = pytest.importorskip("onnxruntime")
    from skillkit.exporters.graph import policy_model

    policy = ClippedGaussianPolicy(1, 1, hidden=())
    with torch.no_grad():
        policy.net.layers[-1].weight.copy_(torch.tensor([[0.0], [1.0]]))
    obs, noise = torch.linspace(-40, 40, 161)[:, None], torch.randn(161, 1)
    described = {"kind": policy.kind, "config": policy.config}
    model = policy_model(spec(1, 1), described, arrays(policy), 1).SerializeToString()
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (onnx,) = session.run(["action"], {"observation": obs.numpy(), "noise": noise.numpy()})
    numpy = Controller(spec(1, 1), described, arrays(policy)).unit(obs.numpy(), noise.numpy())
    wanted = policy.act(obs, noise).detach().numpy()
    assert abs(onnx - wanted).max() <= 1e-5 and abs(numpy - wanted).max() <= 1e-5
