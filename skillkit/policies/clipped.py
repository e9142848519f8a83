"""The tanh-Gaussian policy whose width is cut off and not bent: that of Stable-Baselines3."""

from __future__ import annotations

from torch import Tensor

from skillkit.policies.gaussian import GaussianPolicy

CLIP_LOW, CLIP_HIGH = -20.0, 2.0  # log std of u


class ClippedGaussianPolicy(GaussianPolicy):
    """u = mu(s) + sigma(s) eps, a = tanh u, with log sigma cut off at -20 and 2.

    What was learned elsewhere acts here as it did there. Beyond the ends no gradient widens or
    narrows it, so `gaussian` is the better one to begin with.
    """

    kind = "clipped_gaussian"

    def moments(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.net(self.read(obs)).chunk(2, dim=-1)
        return mean, log_std.clamp(CLIP_LOW, CLIP_HIGH)
