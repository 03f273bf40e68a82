"""Progress of a run: a bar, and points for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dvskit._progress import Bar, Display
from dvskit.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run.

    `epoch` of `epochs` is running, or complete at its end; `step` of `steps` counts over the whole
    run. `loss` is that of the last batch. At the end of an epoch it is the epoch's mean, and
    `scores` holds the validation scores.
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
    """Yield a `progress` callback for `train` that shows a bar, in a notebook or a terminal.

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


FOLDER = "tensorboard"
"""The folder of these points in a run's output."""
_OF_EPOCHS = ("epoch", "seconds", "rate", "loss")  # columns of the log that are no scores


class Board:
    """Writes a run's points; their x value is the number of completed steps.

    done  completed steps in the run's checkpoint; later points of an interrupted run are removed
          and written again

    `loss/step` and `rate` are of each step; of each epoch `loss/epoch`, and each score as
    `validation/<score>`.
    """

    def __init__(self, output: Path, done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(output / FOLDER), purge_step=done + 1)

    def step(self, done: int, loss: float, rate: float) -> None:
        """Write the loss and the rate of a step."""
        self.writer.add_scalar("loss/step", loss, done)
        self.writer.add_scalar("rate", rate, done)

    def epoch(self, done: int, row: Mapping[str, float]) -> None:
        """Write the row of an epoch in the log."""
        self.writer.add_scalar("loss/epoch", row["loss"], done)
        for name, value in row.items():
            if name not in _OF_EPOCHS:
                self.writer.add_scalar(f"validation/{name}", value, done)


def check_tensorboard() -> None:
    """Raise ConfigError unless the package tensorboard can be imported."""
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise ConfigError(
            "TensorBoard's points need the package tensorboard, which is not installed; "
            'pip install "dvskit[tensorboard]", or train without it: log.csv has the scores too'
        ) from None
