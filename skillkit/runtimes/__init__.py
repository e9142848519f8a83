"""The policy kinds without PyTorch: a few NumPy lines each, the same for one observation and many.

A policy is a map from noise to action (THEORY 2): runtime(obs, noise) -> unit action. Its
constructor checks a stored config and stored tensors, which may be a stranger's. A new kind is a
class here and a line in the table.
"""

from skillkit.runtimes.network import ClippedGaussian, Deterministic, Gaussian, Implicit
from skillkit.runtimes.real_nvp import RealNVP
from skillkit.runtimes.resampled import Resampled
from skillkit.runtimes.stacked import Stacked
from skillkit.runtimes.symmetric import Symmetric

# Policies without PyTorch: (..., O), (..., noise_dim) or None for the mode -> unit action (..., A)
Runtime = Gaussian | Deterministic | Implicit | RealNVP | Resampled | Stacked | Symmetric
RUNTIMES: dict[str, type[Runtime]] = {
    "gaussian": Gaussian,
    "clipped_gaussian": ClippedGaussian,
    "deterministic": Deterministic,
    "implicit": Implicit,
    "real_nvp": RealNVP,
    "resampled": Resampled,
    "stacked": Stacked,
    "symmetric": Symmetric,
}
