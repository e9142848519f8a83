"""An update whose kernels are recorded once and then replayed: what a GPU waits for is the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor

Outputs: TypeAlias = dict[str, Tensor]
Function: TypeAlias = Callable[[], Outputs]
Record: TypeAlias = Callable[[Function], Iterator[Outputs]]

WARM_UP = 3  # calls before the recording: libraries set themselves up, and Adam makes its slots


def cuda_graph(function: Function) -> Iterator[Outputs]:
    """What each call of a function of tensors in place gives; from the fourth on it is a replay.

    The first ones are calls like any other, on the stream that is recorded later. Recording runs
    nothing. The outputs of all replays are the same tensors.
    """
    stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
    for _ in range(WARM_UP):
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            outputs = function()
        current.wait_stream(stream)
        yield outputs
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        outputs = function()
    while True:
        graph.replay()
        yield outputs


class Captured:
    """A function of tensors that changes others in place, and never asks the host.

    Inputs are copied to where the recorded kernels read, and outputs from where they write.
    """

    def __init__(self, function: Callable[..., Outputs], record: Record = cuda_graph) -> None:
        self.inputs: tuple[Tensor, ...] = ()
        self.calls = record(lambda: function(*self.inputs))

    def __call__(self, *inputs: Tensor) -> Outputs:
        if not self.inputs:
            self.inputs = tuple(torch.empty_like(x) for x in inputs)
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        return {name: value.clone() for name, value in next(self.calls).items()}
