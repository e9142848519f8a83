"""Stein variational gradient descent: particles that flow towards exp(Q(s,.)/alpha)
(Liu and Wang 2016; thesis ch. 3; THEORY 4).

One set of particles, x, is fixed and says where the density is and where others are already; the
other, y, moves. Both sets are of one state each, and states do not mix. Directions and scores live
before the tanh, where there are no walls: the density of actions is then exp(Q/alpha) itself.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

FLOOR = 1e-3  # of the bandwidth h, squared pre-tanh units
LEGACY_FLOOR = 1e-6  # of 1 - a^2, in the published code's score


class Kernel(NamedTuple):
    """k(x_i, y_j) = exp(-|x_i - y_j|^2/h) and its gradient with respect to x_i."""

    value: Tensor  # (B, K_x, K_y)
    gradient: Tensor  # (B, K_x, K_y, A), -2 (x_i - y_j)/h k
    bandwidth: Tensor  # (B,), h


def rbf_kernel(fixed: Tensor, moving: Tensor, floor: float = FLOOR) -> Kernel:
    """h = median_ij |x_i - y_j|^2 / log K_x, at least `floor`, in each state for itself.

    With this h the kernels of the K_x particles around a y sum to about one. The median of an even
    count is the lower one; nothing here is differentiable.

    Args: x (B, K_x, A) with K_x >= 2, y (B, K_y, A).
    """
    difference = (fixed[:, :, None] - moving[:, None]).detach()  # (B, K_x, K_y, A)
    squared = difference.square().sum(-1)
    median = squared.flatten(1).median(-1).values
    h = (median / math.log(fixed.shape[1])).clamp(min=floor)
    value = torch.exp(-squared / h[:, None, None])
    gradient = (-2.0 / h[:, None, None] * value)[..., None] * difference
    return Kernel(value, gradient, h)


def stein_direction(fixed: Tensor, moving: Tensor, score: Tensor, floor: float = FLOOR) -> Tensor:
    """Delta(y_j) = mean_i [k(x_i, y_j) score(x_i) + grad_{x_i} k(x_i, y_j)]  (thesis ch. 3).

    The first term pulls towards high density, the second away from the fixed particles.

    Args: x (B, K_x, A), y (B, K_y, A), score at x (B, K_x, A). Returns (B, K_y, A), detached.

    Without a score particles only part:

    >>> x = torch.tensor([[[-1.0], [0.0], [1.0]]])
    >>> stein_direction(x, x, torch.zeros_like(x)).flatten()
    tensor([-0.2622,  0.0000,  0.2622])
    """
    kernel = rbf_kernel(fixed, moving, floor)
    pull = kernel.value[..., None] * score.detach()[:, :, None]
    return (pull + kernel.gradient).mean(1)


def squashed_score(action: Tensor, q_gradient: Tensor, alpha: Tensor | float) -> Tensor:
    """grad_u [Q(s, tanh u)/alpha + sum log(1 - tanh(u)^2)] = (1 - a^2) grad_a Q/alpha - 2 a.

    The score of exp(Q/alpha), a density of actions, seen before the tanh (THEORY 4).

    Args: a = tanh u, grad_a Q [r]; alpha [r/nat]. (..., A) -> (..., A)
    """
    return (1.0 - action.square()) * q_gradient / alpha - 2.0 * action


def latent_score(latent: Tensor, q_gradient: Tensor, alpha: Tensor | float) -> Tensor:
    """grad_h [Q(s, h)/alpha + log N(h; 0, I)]: of an upper layer, which has no tanh (THEORY 7).

    Args: h, grad_h Q [r]; alpha [r/nat]. (..., A) -> (..., A)
    """
    return q_gradient / alpha - latent


def legacy_score(action: Tensor, q_gradient: Tensor, alpha: Tensor | float) -> Tensor:
    """grad_a [Q/alpha + sum log(1 - a^2)]: the published code's score, for particles a.

    It takes the density before the tanh but differentiates after it. Its particles settle at
    exp(Q/alpha) prod(1 - a^2): at flat Q their variance is .200 instead of .333 (THEORY 4, TRAP).
    """
    return q_gradient / alpha - 2.0 * action / (1.0 - action.square()).clamp(min=LEGACY_FLOOR)
