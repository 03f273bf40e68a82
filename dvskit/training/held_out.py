"""What a model is judged by: the recordings that it was not trained on, as far as is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from dvskit.datasets import Sample, Split, class_names, split_samples
from dvskit.errors import ConfigError, FormatError, did_you_mean
from dvskit.training.models import Model
from dvskit.training.split_file import Part, Used, fingerprint

Chosen = Literal["held-out", "all", "train", "validation", "test"]


class Judged(NamedTuple):
    """What a model is judged by.

    samples   those of the part that was asked for
    seen      how many of them it was trained on or chosen by
    left_out  how many others were there
    note      one line on what is known; "" where there is nothing to say
    """

    samples: list[Sample]
    seen: int
    left_out: int
    note: str


def check_chosen(chosen: str) -> None:
    """Raise ConfigError for what is no part that can be asked for."""
    if chosen not in get_args(Chosen):
        raise ConfigError(f"no part {chosen!r}; {did_you_mean(chosen, get_args(Chosen))}")


def choose_samples(
    model: Model, samples: Sequence[Sample], chosen: str, what: str = "recordings"
) -> Judged:
    """Return the samples that a model is to be judged by.

    chosen  "held-out": those that it was neither trained on nor chosen by; "all"; or a part of its
            run, "train", "validation" or "test"
    what    what lines for people call the samples

    Parts are those that the model's split.csv records, whatever the recordings are called now.
    Models without one tell the shares of their split: it is made again where the samples have the
    same classes and give as many for the test as the model was tested on.

    Raises ConfigError for another name and for a part of which nothing is there, FormatError if
    nothing was held out.
    """
    check_chosen(chosen)
    parts, guessed = _parts_of(model, samples)
    known: dict[Part, int] = {part: parts.count(part) for part in get_args(Part)}
    wanted = {"held-out": ("test", None), "all": (*get_args(Part), None)}.get(chosen, (chosen,))
    judged = [sample for sample, part in zip(samples, parts, strict=True) if part in wanted]
    if samples and not judged:
        if chosen == "held-out":
            raise FormatError(
                f"{model.name} was trained on or chosen by all {len(samples):,} {what}; give "
                "others, or judge these too: split='all' (--split all)"
            )
        raise ConfigError(
            f"none of the {len(samples):,} {what} is known to be of the {chosen} part of "
            f"{model.name}; take split='all' (--split all)"
        )
    seen = sum(count for part, count in known.items() if part != "test" and part in wanted)
    part = {"all": "all", "held-out": f"the other {len(judged):,}"}.get(
        chosen, f"the {len(judged):,} of the {chosen} part"
    )
    note = ""
    if any(known.values()):
        note = f"{_seen(known, f'{len(samples):,} {what}', guessed)}; judged: {part}"
    elif _learned(model) and not model.used:
        note = unrecorded(model, what)
    return Judged(judged, seen, len(samples) - len(judged), note)


def _seen(known: Mapping[Part, int], total: str, guessed: bool) -> str:
    trained, by = known["train"], known["validation"]
    how = " (by the seed and the shares of its split; no list was kept)" if guessed else ""
    return f"{trained + by:,} of {total} were trained on ({trained:,}) or chosen by ({by:,}){how}"


def unrecorded(model: Model, what: str) -> str:
    """Return a line on a model that does not say what it learned from."""
    return (
        f"{model.name} does not record which {what} it was trained on: if these are among them, "
        "this is no test"
    )


def _learned(model: Model) -> bool:
    """Return whether a model learned from recordings."""
    if "recordings_samples" in model.about.get("scores", {}):
        return True
    return bool(_data_of(model)) and not isinstance(model.about["data"], Mapping)


def _parts_of(model: Model, samples: Sequence[Sample]) -> tuple[list[Part | None], bool]:
    """Return the part of each sample, None where it is in none, and whether that is a guess."""
    if model.used:
        return _recorded(model.used, samples), False
    again = _split_again(model, samples)
    if again is None:
        return [None] * len(samples), False
    part_of = {
        sample: part for part, each in zip(get_args(Part), again, strict=True) for sample in each
    }
    return [part_of[sample] for sample in samples], True


def _recorded(used: Iterable[Used], samples: Sequence[Sample]) -> list[Part | None]:
    of_file: dict[str, list[Used]] = {}
    for row in used:
        of_file.setdefault(row.fingerprint, []).append(row)
    prints: dict[Path, str] = {}
    found: list[Part | None] = []
    for sample in samples:
        if sample.path is None:  # is drawn: split.csv lists files
            found.append(None)
            continue
        if sample.file not in prints:
            prints[sample.file] = fingerprint(sample.file)
        rows = of_file.get(prints[sample.file], [])
        same = [row for row in rows if row.span == sample.span]
        shared = same or [row for row in rows if _overlap(row.span, sample.span)]
        # What shares time with several parts counts as that which was learned from first.
        parts = {row.part for row in shared}
        found.append(next((part for part in get_args(Part) if part in parts), None))
    return found


def _overlap(first: tuple[int, int] | None, second: tuple[int, int] | None) -> bool:
    return first is None or second is None or (first[0] < second[1] and second[0] < first[1])


def _split_again(model: Model, samples: Sequence[Sample]) -> Split | None:
    """Return the split by a model's own shares; None unless it is as large as it was."""
    data, tested = _data_of(model), model.about.get("scores", {})
    key = f"{data.get('name') or 'recordings'}_samples"
    if not {"seed", "validation", "test"} <= set(data) or key not in tested:
        return None
    if class_names(samples) != tuple(sorted(model.classes)):
        return None
    again = split_samples(samples, **{key: data[key] for key in ("validation", "test", "seed")})
    return again if len(again.test) == tested[key] else None


def _data_of(model: Model) -> Mapping[str, Any]:
    """Return what a model says of its recordings; earlier ones have one table of all their data."""
    data = model.about.get("data", {})
    if isinstance(data, Mapping):
        return data
    of_files = [entry for entry in data if entry.get("kind") == "recordings"]
    return {**of_files[0], "seed": model.about.get("seed")} if len(of_files) == 1 else {}
