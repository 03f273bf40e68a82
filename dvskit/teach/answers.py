"""Answers to camera frames as they come: a picture of the events, and the model's decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dvskit.training import Model


@dataclass(frozen=True, slots=True)
class LiveAnswer:
    """The events of a frame, and the latest decision.

    picture        the latest events, (H, W, 3) uint8 RGB
    events         the number of events since the frame before
    probabilities  of each class; {} without a model, and before the first decision
    answer         the most likely class; None for "nothing"
    nothing        why no class is named: "few events", "unsure", or "" with an answer
    latency_ms     from the call of `add` to its end
    """

    picture: NDArray[np.uint8]
    events: int
    probabilities: dict[str, float] = field(default_factory=dict)
    answer: str | None = None
    nothing: str = ""
    latency_ms: float = 0.0


class LiveAnswers:
    """Emulates frames of a camera, and classifies the events as `dvskit classify --live`.

    model  a Model, its folder, the name of a shipped one, or None for the picture alone
    size   (width, height) of the frames

    Loops are compiled and the network is warmed up here, which takes some seconds. Raises the
    errors of `load_model`.
    """

    def __init__(self, model: Model | str | PathLike[str] | None, size: tuple[int, int]) -> None:
        raise NotImplementedError

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the model; () without one."""
        raise NotImplementedError

    def add(self, t_us: int, frame: NDArray[Any]) -> LiveAnswer:
        """Take a frame (H, W) uint8 at a time in microseconds; return the answer.

        Raises VideoError for a time that does not increase, ShapeError for another shape or dtype.
        """
        raise NotImplementedError
