"""`dvskit merge`: merge event files of one sensor size into one, in order of time."""

from __future__ import annotations

from pathlib import Path

from dvskit.cli import _console
from dvskit.cli import _options as options
from dvskit.errors import ConfigError, count_of
from dvskit.formats import TriggersAlong, hand_over, is_standard, open_sink
from dvskit.formats import merge as merged


def merge(
    files: list[Path] = options.argument(default=options.REQUIRED, metavar="IN IN OUT"),
    out: Path | None = options.output("The file to write, instead of the last word."),
    reading: options.Reading = options.Reading(),
    written: options.Written = options.Written(),
) -> None:  # fmt: skip
    """Merge event files into one, in order of time; equal times keep the order of the files.

    The files share one sensor size and one clock. Triggers, IMU samples and frames are merged too,
    if the output's format has them.

    files  Two event files or more (or folders that are one recording; - is standard input), and the
           file to write, whose suffix sets the format (- is standard output, in EVT3 unless --to
           names another).
    """
    inputs, target = (files, out) if out is not None else (files[:-1], files[-1])
    if len(inputs) < 2:
        raise ConfigError(f"{inputs[0] if inputs else target}: name two files to merge, and OUT")
    if sum(map(is_standard, inputs)) > 1:
        raise ConfigError("-: standard input is one of the files; it can be named once")
    options.check_writable(target, written.to)
    recordings = [reading.open(file) for file in inputs]
    source = merged(*recordings)
    with options.waiting(
        open_sink(target, source.size, format=written.to, overwrite=written.force)
    ) as sink:
        sink.keeps = source.live
        left = hand_over(source, sink)
        along = TriggersAlong(source, sink)
        title = f"{inputs[0].name} + {len(inputs) - 1} -> {target.name}"
        with _console.progress(title, None, "events") as show:
            for block in source:
                along.hand_over()
                sink.write(block)
                show(sink.count, "")
        left += along.end()
    for recording in recordings:
        for text in recording.assumptions:
            _console.note(f"{recording.path}: {text}")
        if recording.damage:
            _console.note(f"{recording.path}: {recording.damage}")
    for text in (*left, *sink.notes):
        _console.note(f"{sink.path}: {text}")
    events, parts = count_of(sink.count, "event"), count_of(len(inputs), "file")
    _console.say(f"{sink.path}: {events} of {parts} on {sink.size}, {sink.format}")
