"""The result of a training, its notes and its commands in plain words, for all who use the page."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from dvskit.errors import (
    ConfigError,
    FormatError,
    MissingFileError,
    ModelError,
    OutputError,
    count_of,
)

SLOW_FPS = 12  # a hand moves by its width between two pictures
UNKNOWN_ERROR = "It broke off. Press “Continue” to go on, or train again."
OTHER_CLIPS = "The clips have changed since this training began: train again."
_CLIP = ("clip", "clips")
_Words = Callable[[Mapping[str, Any]], str]


def result_words(result: Mapping[str, Any]) -> str:
    """Return the result of a training."""
    right = sum(row[k] for k, row in enumerate(result["confusion"]))
    were = "was" if right == 1 else "were"
    what = count_of(result["samples"], *_CLIP)
    if result["accuracy"] is None:
        return (
            f"{right:,} of {what} {were} recognized, but it learned from these: record more of "
            "each class, or another person, to test it on clips it has not seen"
        )
    people = [f"{name} {of[0]} of {of[1]}" for name, of in (result["people"] or {}).items()]
    by = f". Each person, without learning from that person: {', '.join(people)}"
    return f"{right:,} of {what} it had not seen {were} recognized{by if len(people) > 1 else ''}"


def doubt_words(result: Mapping[str, Any]) -> list[str]:
    """Return a warning if guessing may be as good as the model."""
    if not result or result["accuracy"] is None:
        return []
    low, chance = result["interval_95"][0], 1 / len(result["classes"])
    if low > chance:
        return []
    return [
        "Guessing may be as good: there are too few clips to know, or the classes look alike. "
        "Record more of each."
    ]


def clip_words(about: Mapping[str, int]) -> list[str]:
    """Return warnings about clips by the counts "slow" and "cut" of the folder."""
    found = []
    if slow := about.get("slow", 0):
        have = "has" if slow == 1 else "have"
        found.append(
            f"{count_of(slow, *_CLIP)} {have} fewer than {SLOW_FPS} pictures a second, too few for "
            "fast movements: use more light, or close other programs."
        )
    if cut := about.get("cut", 0):
        lack, rest = ("lacks its", "its") if cut == 1 else ("lack their", "their")
        found.append(
            f"{count_of(cut, *_CLIP)} {lack} last picture: nothing needs to be done, as {rest} "
            "other pictures are used."
        )
    return found


def warning_words(notes: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return warnings, one for each note of a kind that has words: see `RunNotes`."""
    found = (_WARNINGS[note["kind"]](note) for note in notes if note["kind"] in _WARNINGS)
    return list(dict.fromkeys(found))


def start_words(notes: Iterable[Mapping[str, Any]]) -> str:
    """Return what a training began with; "" before it is known."""
    return next((_START[note["why"]] for note in notes if note["kind"] == "start"), "")


def error_words(notes: Iterable[Mapping[str, Any]]) -> str:
    """Return why a training failed."""
    for note in notes:
        if note["kind"] == "too little time":
            return f"The time is too short: choose {_minutes(note)} or more, and train again."
    return UNKNOWN_ERROR


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise ConfigError, without paths, for errors of the disk and of the folder."""
    try:
        yield
    except (FormatError, OutputError, OSError) as error:
        if isinstance(error, MissingFileError):
            raise ConfigError("the clip is gone; it was moved or deleted meanwhile") from error
        raise ConfigError(
            "the folder of the clips cannot be used; give it its old name and place again, and "
            "check that the disk is not full"
        ) from error


def _few_clips(note: Mapping[str, Any]) -> str:
    of = "each class" if note["all"] else _named(note["classes"])
    return (
        f"There are few clips of {of}: record at least {note['wanted']}, and let other people "
        "record some if it is to recognize them, too."
    )


def _one_background(note: Mapping[str, Any]) -> str:
    one = len(note["classes"]) == 1 and not note["all"]
    of = "each class" if note["all"] else _named(note["classes"])
    show = "show" if one or note["all"] else "each show"
    return (
        f"All clips of {of} {show} the same room. It may fail elsewhere: record some in another "
        "place."
    )


def _skipped(note: Mapping[str, Any]) -> str:
    files, are = ("1 file", "is no video") if note["count"] == 1 else (
        f"{note['count']:,} files", "are no videos"
    )  # fmt: skip
    return f"{files} in the folders of the classes {are}: nothing was learned from such files."


def _short_of_time(note: Mapping[str, Any]) -> str:
    return (
        f"There was time for {note['used']:,} of {count_of(note['total'], *_CLIP)} only: choose "
        f"{_minutes(note)} or more to use all."
    )


def _minutes(note: Mapping[str, Any]) -> str:
    return count_of(max(1, -int(-note["minutes"] // 1)), "minute")


def _named(classes: Sequence[str], one: str = "class", many: str = "classes") -> str:
    """Return “a”, “b” and “c”; at most three, with the number of the others."""
    names = [f"“{name}”" for name in classes[:3]]
    if len(classes) > 3:
        names.append(count_of(len(classes) - 3, f"other {one}", f"other {many}"))
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


_WARNINGS: Mapping[str, _Words] = {
    "few clips": _few_clips,
    "one background": _one_background,
    "skipped files": _skipped,
    "short of time": _short_of_time,
    "slow machine": lambda note: (
        "This computer was busy, so it learned for less time than planned: close other programs, "
        "or choose a longer time."
    ),
    "not judged": lambda note: (
        "There was no time to test it with "
        + (_named(note["people"], "person", "people") or count_of(note["samples"], "clip"))
        + ": choose a longer time."
    ),
    "long clips": lambda note: (
        f"Some clips are too long: only their first {note['window_s']:.2g} seconds are used, so "
        "begin the movement at once."
    ),
}
_NEW = "It learned from your clips alone, because "
_START = {
    "like": "It began with what it already knows about people’s movements, because your clips look "
    "like them.",
    "unlike": f"{_NEW}your clips do not look like the people’s movements that it knows.",
    "short": f"{_NEW}your clips are too short for what it knows about people’s movements.",
    "known": f"{_NEW}some of your clips were used to make what it knows.",
    "unread": f"{_NEW}your clips could not be compared with what it knows.",
}


class SavedCommand(NamedTuple):
    """A command, and its purpose in a few words.

    `saved_commands` returns those of a model.

        model = dvskit.models.load_model("arm-gestures")
        folder = dvskit.models.save_model("my_model", model)
        for purpose, command in dvskit.teach.saved_commands(folder):
            print(f"{purpose}:  {command}")
    """

    purpose: str
    command: str


def saved_commands(
    model_folder: str | PathLike[str], *, video: str = "VIDEO", clips: str = "CLIPS"
) -> list[SavedCommand]:
    """Return the commands that use a model: on a video, on the camera, and to score it.

    video, clips  the reader's own video, and a folder with a folder of clips for each class

    Raises ModelError if the folder holds no model.

        model = dvskit.models.load_model("arm-gestures")
        folder = dvskit.models.save_model("saved_model", model)
        commands = dvskit.teach.saved_commands(folder, video="video.mp4")
        commands[0].purpose, commands[0].command.split()[1]  # ("classify a video", "classify")
    """
    folder = Path(model_folder)
    if not (folder / "model.toml").is_file():
        raise ModelError(f"{folder}: holds no model.toml; give a folder that training wrote")
    model = shlex.quote(str(folder))
    video, clips = shlex.quote(video), shlex.quote(clips)
    return [
        SavedCommand("classify a video", f"dvskit classify {video} --model {model}"),
        SavedCommand("answer live", f"dvskit classify --live --camera 0 --model {model}"),
        SavedCommand("score it on other clips", f"dvskit eval {model} {clips}"),
    ]
