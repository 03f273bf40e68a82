"""How far a run is, told while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from dvskit._progress import Bar, Display


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    `epoch` of `epochs` is going on or, at its end, done; `step` of `steps` counts over the whole
    run. `loss` is of the last batch, or the epoch's mean at its end, where `scores` holds the
    validation figures too.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def remark(self) -> str:
        """One line for people, such as "epoch 3 of 20, loss 0.412, validation 93.8 %"."""
        text = f"epoch {self.epoch + 1} of {self.epochs}, loss {self.loss:.3f}"
        if self.scores:
            text += f", validation {100 * self.scores['accuracy']:.1f} %"
        return text


@contextmanager
def progress_bar(
    title: str = "training", *, display: Display | None = None
) -> Iterator[Callable[[Progress], None]]:
    """Give what `train` takes as `progress` and shows a bar: in a notebook, on a terminal.

    with progress_bar() as bar:
        train(config, progress=bar)
    """
    with ExitStack() as stack:
        bars: list[Bar] = []

        def show(now: Progress) -> None:
            if not bars:
                bars.append(stack.enter_context(Bar(title, now.steps, "steps", display=display)))
            bars[0](now.step, now.remark)

        yield show
