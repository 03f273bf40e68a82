"""A network on a stream: the answer behind each bin, its states running on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from dvskit.events import Events
from dvskit.layers import Sequence, States
from dvskit.layers.sequence import ends_time
from dvskit.training.evaluation import logits_of
from dvskit.training.inputs import input_of, is_weighed, representation_of
from dvskit.training.models import Model

_OF_EACH_BIN_ALONE = ("counts", "binary", "signed")
"""Representations whose bins depend on their own events and on no others."""


class Stepping(Protocol):
    """What takes the events of one bin after another."""

    def step(self, events: Events, start_us: int) -> Tensor:
        """Take the events of the next bin, which begins at `start_us`; return logits (classes,)."""

    def restart(self) -> None:
        """Forget what came before."""


def stepping(model: Model, weight: float | None) -> Stepping:
    """Return what runs a model over a stream: its states running on, or else window by window.

    weight  what each event counts, where the stream was fitted to the model's sensor
    """
    runs_on = isinstance(model.module, Sequence)
    if runs_on and model.input.representation in _OF_EACH_BIN_ALONE:
        return RunningOn(model, weight)
    return WindowByWindow(model, weight)


class RunningOn:
    """Steps a Sequence: its states run on, and its readout sees the last `bins` steps.

    What stands ahead of the readout is stepped with each bin. The readout (the mean over time, the
    last step, how often or how soon neurons spike) is then applied to the latest steps, up to as
    many as the model's window has: behind the first window that is the answer that `classify` gives
    to it.
    """

    def __init__(self, model: Model, weight: float | None) -> None:
        self._one = replace(model.input, bins=1)
        self._represent = representation_of(self._one)
        self._weight = weight if is_weighed(model.input) else None
        layers = model.module.eval()
        assert isinstance(layers, Sequence)
        end = next((at for at, layer in enumerate(layers) if ends_time(layer)), len(layers))
        self._body: Sequence = layers[:end]
        self._readout: Sequence | None = layers[end:] if end < len(layers) else None
        parameter = next(layers.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        self._states: States | None = None
        self._latest: deque[Tensor] = deque(maxlen=model.input.bins)

    def step(self, events: Events, start_us: int) -> Tensor:
        """Take the events of the next bin, which begins at `start_us`; return logits (classes,)."""
        with torch.inference_mode(), one_thread():
            given = self._represent(events, start_us=start_us).to(self._device, self._dtype)
            if self._weight is not None:
                given = given * self._weight
            out, self._states = self._body.step(given, self._states)  # (B, C, H, W), B = 1
            self._latest.append(out)
            steps = torch.stack(tuple(self._latest))
            answer = steps.mean(0) if self._readout is None else self._readout(steps)
            return answer[0].float().cpu()

    def restart(self) -> None:
        """Forget what came before."""
        self._states = None
        self._latest.clear()


class WindowByWindow:
    """Judges, behind each bin, the window that ends with it, from rest, as `classify` does.

    For networks that are no Sequence, such as those of event clouds, and for representations whose
    bins depend on the events of others. Each decision costs a whole window. Where a stream is still
    shorter than the window, the rest of the window is empty.
    """

    def __init__(self, model: Model, weight: float | None) -> None:
        self._model, self._weight = model, weight
        self._latest: deque[Events] = deque(maxlen=model.input.bins)

    def step(self, events: Events, start_us: int) -> Tensor:
        """Take the events of the next bin, which begins at `start_us`; return logits (classes,)."""
        self._latest.append(events)
        given, seen = self._model.input, Events.concatenate(self._latest, events.size)
        if not len(seen):  # nothing speaks for any class
            return torch.zeros(len(self._model.classes))
        first_us = start_us - (len(self._latest) - 1) * given.bin_us
        with one_thread():
            tensor = input_of(given, seen, self._weight, first_us)
            self._model.module.eval()
            return logits_of(self._model.module, tensor[:, None])[0]

    def restart(self) -> None:
        """Forget what came before."""
        self._latest.clear()


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute with one thread: for one small step, others take longer to be woken."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
