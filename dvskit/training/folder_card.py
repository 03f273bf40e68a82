"""The result of a training on a folder, and its card: README.md and pictures."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from dvskit import _files
from dvskit.errors import count_of
from dvskit.models.rejection import Reject
from dvskit.models.scores import Result, headlines
from dvskit.training.choose_config import ChosenSetting
from dvskit.training.config import Config
from dvskit.training.inspect_folder import FolderContents
from dvskit.training.left_out import JudgedSample, by_person
from dvskit.training.loop import Trained

_NOT_INDEPENDENT = (
    "The interval assumes independent samples. Samples of one person are alike, so it is too "
    "narrow."
)


@dataclass(frozen=True, slots=True)
class FolderRun:
    """The result of training on a folder.

    trained   the model, its folder and the log
    result    the accuracy on samples that the judged model never saw. If there are none it is the
              accuracy on training samples, and `held_out` is False
    choices   the choices, with their reasons
    seconds   of the whole run
    left_out  the answers about samples that a training left out, if these give the result: the
              model itself learned from all samples
    missing   the people, or the number of samples, that no training left out because there was no
              time left, and the fix; "" if each was left out

        short = {"loop.epochs": "1", "loop.steps": "1"}  # without changes the run takes minutes
        run = dvskit.training.train_folder("digits", output="runs/folder", changes=short)
        run.result.accuracy, run.held_out  # of samples that the judged model never saw
        run.choices[1].what, run.choices[1].why  # a setting, and the reason for its value
    """

    trained: Trained
    result: Result
    held_out: bool
    choices: tuple[ChosenSetting, ...]
    seconds: float
    left_out: tuple[JudgedSample, ...] = ()
    missing: str = ""

    @property
    def people(self) -> dict[str, tuple[int, int]]:
        """The right answers, and all, about each person that a training left out."""
        return by_person(self.left_out)

    @property
    def judged(self) -> str:
        """How the result was measured, one line; "" for a test part or training samples."""
        if not self.left_out:
            return ""
        parts = len({each.part for each in self.left_out})
        what = "samples" if not self.people else "people"
        each = ", ".join(f"{name} {right} of {of}" for name, (right, of) in self.people.items())
        return (
            f"judged by {count_of(parts, 'training')} that left {what} out; the model learned "
            f"from all{': ' * bool(each)}{each}"
        )


def write_card(run: FolderRun, config: Config, contents: FolderContents) -> None:
    """Write README.md, confusion.png and curves.png to a model's folder, replacing earlier ones."""
    from dvskit.render import plots  # here because Matplotlib takes long to load

    folder, result = run.trained.folder, run.result
    plots.save(
        plots.confusion(result.confusion, result.classes), folder / "confusion.png", overwrite=True
    )
    plots.save(plots.curves(folder), folder / "curves.png", overwrite=True)
    _files.write_whole(folder / "README.md", _card_text(run, config, contents), overwrite=True)


def _card_text(run: FolderRun, config: Config, contents: FolderContents) -> str:
    trained, result = run.trained, run.result
    (entry,) = config.data
    data, reject = Path(entry.path).name, trained.model.reject
    folder, same = (_from_here(path) for path in (trained.folder, trained.folder / "config.toml"))
    again = [_from_here(entry.path), "-o", "OUTPUT"]
    again += ["--seed", str(config.seed), *["--salvage"] * entry.salvage]
    again += ["--start", shlex.quote(config.start or "scratch")]
    for each in run.choices:
        if each.what == "asked":
            again += ["--set", shlex.quote("=".join(each.value.split(" = ", 1)))]
    lines = [
        f"# {trained.model.name}",
        "",
        f"Recognises {len(result.classes)} classes: {', '.join(result.classes)}.",
        "",
        f"    dvskit classify FILE --model {folder}",
        "",
        "Run the commands of this page where the training was started.",
        "",
        "## Accuracy",
        "\n\n".join(f"{line[0].upper()}{line[1:]}." for line in headlines(result)),
        *(
            ["", f"{run.judged[0].upper()}{run.judged[1:]}. `judged.csv` has the answers."]
            if run.judged
            else []
        ),
        *(["", f"{run.missing[0].upper()}{run.missing[1:]}."] if run.missing else []),
        *(["", _NOT_INDEPENDENT] if contents.groups else []),
        "",
        *(
            ["These samples took no part in training or in any choice.", ""]
            if run.held_out and not run.judged
            else []
        ),
        "![Confusion matrix](confusion.png) ![Curves](curves.png)",
        "",
        "## Data and choices",
        f"{data}: {contents.words}. `split.csv` lists the part of each sample.",
        "",
        *(f"- {each.what}, {each.value}: {each.why}" for each in run.choices),
        f"- steps taken: {len(trained.history) * config.loop.steps:,}, in "
        f"{sum(row['seconds'] for row in trained.history):.0f} s",
        "",
        "## Train it again",
        f"    dvskit train {' '.join(again)}",
        "",
        f"This measures the time again. `dvskit train {same} -o OUTPUT` takes the same steps.",
        "",
        "## Limits",
        "Every input gets one of these classes. Only the first window counts, "
        f"{config.input.bins} bins of {config.input.bin_us / 1000:g} ms from the first event on. "
        f"{_reject_words(reject)}",
    ]
    return "\n".join(lines) + "\n"


def _from_here(path: str | Path) -> str:
    """Return a path as a shell takes it, relative to the working directory if it lies in it."""
    absolute, here = Path(path).absolute(), Path.cwd()
    return shlex.quote(str(absolute.relative_to(here) if here in absolute.parents else path))


def _reject_words(reject: Reject) -> str:
    how = reject.how or "the default"
    return (
        f"Live, no class is named below a confidence of {reject.confidence:g} or "
        f"{reject.events_per_second:g} events a second ({how})."
    )
