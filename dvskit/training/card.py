"""The card of a model of one's own: README.md beside it, with its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dvskit import _files
from dvskit.render import plots
from dvskit.training.config import Config
from dvskit.training.looking import Look
from dvskit.training.model_tables import Reject

if TYPE_CHECKING:
    from dvskit.training.folder_run import FolderRun


def write_card(run: FolderRun, config: Config, look: Look) -> None:
    """Write README.md, confusion.png and curves.png to a model's folder, over earlier ones."""
    folder, result = run.trained.folder, run.result
    plots.save(
        plots.confusion(result.confusion, result.classes), folder / "confusion.png", overwrite=True
    )
    plots.save(plots.curves(folder), folder / "curves.png", overwrite=True)
    _files.write_whole(folder / "README.md", _text(run, config, look), overwrite=True)


def _text(run: FolderRun, config: Config, look: Look) -> str:
    trained, result = run.trained, run.result
    (entry,) = config.data
    data, reject = Path(entry.path).name, trained.model.reject
    asked = f" --from {config.start}" * bool(config.start) + " --salvage" * entry.salvage
    judged = (
        "of samples that it was neither trained on nor chosen by"
        if run.held_out
        else "of the samples that it was trained on, which says nothing about others: none were "
        "held out"
    )
    lines = [
        f"# {trained.model.name}",
        "",
        f"Tells {len(result.classes)} classes apart: {', '.join(result.classes)}.",
        "",
        f"    dvskit classify FILE --model {trained.folder.name}",
        "",
        "## How often it is right",
        f"{result}, {judged}.",
        "",
        "![Confusion matrix](confusion.png) ![Curves](curves.png)",
        "",
        "## Data and choices",
        f"{data}: {look.words}. `split.csv` lists what each was used for.",
        "",
        *(f"- {each.what}, {each.value}: {each.why}" for each in run.choices),
        f"- steps taken: {config.loop.epochs * config.loop.steps:,}, in {run.seconds:.0f} s, "
        "looking, reading and judging included",
        "",
        "## Train it again",
        f"    dvskit train {data} -o OUTPUT --seed {config.seed}{asked}",
        "",
        "measures its time anew; `dvskit train config.toml -o OUTPUT` takes the same steps.",
        "",
        "## Limits",
        "Whatever it is shown is called one of its classes. The first window counts, "
        f"{config.input.bins} bins of {config.input.bin_us / 1000:g} ms from the first event on. "
        f"{_reject_words(reject)}",
    ]
    return "\n".join(lines) + "\n"


def _reject_words(reject: Reject) -> str:
    how = reject.how or "the default"
    return (
        f"Live, no class is named below a confidence of {reject.confidence:g} or "
        f"{reject.events_per_second:g} events a second ({how})."
    )
