"""`dvskit info`, `filters` and `cameras`: what files hold, and what is there to use."""

from __future__ import annotations

import dataclasses
import inspect
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from dvskit.cli import _console
from dvskit.cli._clips import clip_notes, find_clip
from dvskit.cli._options import Json, Reading, argument
from dvskit.errors import ConfigError, count_of
from dvskit.formats import Recording
from dvskit.formats.beside import COUNTED_BESIDE
from dvskit.formats.usb_driver import CAMERAS, list_cameras
from dvskit.registry import load_packages

if TYPE_CHECKING:
    from dvskit.filters.names import Parameter
    from dvskit.video import FrameSource


def info(file: Path, json: Json = False, reading: Reading = Reading()) -> None:
    """Show what is in an event file or a video: events or frames, times, size, damage.

    file  An event file or its folder, a video, a folder of images, - for standard input, or an
          address ({addresses}).
    """
    clip = find_clip(file, reading)
    if clip is None:
        facts = _facts_of_recording(reading.open(file))
    elif reading.size is None:
        facts = _facts_of_clip(file, clip)
    else:
        raise ConfigError(
            f"{file}: --size applies to event files, and this is a video of {clip.size}; "
            "dvskit emulate --size scales it"
        )
    if json:
        _console.print_json(facts)
        return
    size = "" if facts["bytes"] is None else f", {count_of(facts['bytes'], 'byte')}"
    _console.put(f"{facts['file']}: {facts['format']}{size}")
    _console.put(*(f"  {title:9} {text}" for title, text in _about(facts)))


def _facts_of_clip(file: Path, clip: FrameSource) -> dict[str, Any]:
    """Read a whole clip, and return the facts about it."""
    times = [t_us for t_us, _ in clip]
    duration = times[-1] - times[0] if times else 0
    return {
        "file": _console.shown(str(file)),
        "format": "folder of images" if file.is_dir() else "video",
        "bytes": _bytes_of(file),
        "width": clip.size.width,
        "height": clip.size.height,
        "frames": len(times),
        "t_first_us": times[0] if times else None,
        "t_last_us": times[-1] if times else None,
        "duration_us": duration,
        "frames_per_second": (len(times) - 1) / (duration * 1e-6) if duration else None,
        "notes": list(clip_notes(clip)),
    }


def _bytes_of(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None


def _facts_of_recording(recording: Recording) -> dict[str, Any]:
    """Read a whole recording, and return the facts about it."""
    events = on = 0
    first: int | None = None
    last: int | None = None
    for block in recording:
        first = int(block.t[0]) if first is None else first
        last = int(block.t[-1])
        events += len(block)
        on += int(np.count_nonzero(block.p))
    duration = 0 if first is None or last is None else last - first
    damage, lens = recording.damage, recording.intrinsics()
    return {
        "file": _console.shown(str(recording.path)),
        "format": recording.format,
        "bytes": _bytes_of(recording.path),
        "width": recording.size.width,
        "height": recording.size.height,
        "size_from": recording.size_origin,
        "events": events,
        "on": on,
        "off": events - on,
        "t_first_us": first,
        "t_last_us": last,
        "duration_us": duration,
        "events_per_second": round(events / (duration * 1e-6)) if duration else None,
        "triggers": len(recording.triggers()),
        "imu_samples": len(recording.imu()),
        **_frames(recording),
        "labels": len(recording.labels()),
        "intrinsics": None if lens is None else lens._asdict(),
        "other": {
            name: count
            for name, count in recording.other_streams().items()
            if name not in COUNTED_BESIDE
        },
        "header": dict(recording.header()),
        "assumptions": list(recording.assumptions),
        "damage": {
            "extent": damage.extent,
            "lost_bytes": damage.lost_bytes,
            "places": damage.count,
            "first": [loss._asdict() for loss in damage.losses[:20]],
        },
    }


def _frames(recording: Recording) -> dict[str, Any]:
    """Return the number, size and rate of a recording's frames."""
    count, size, times = 0, None, [0, 0]
    for frame in recording.frames():
        if not count:
            size, times[0] = (frame.image.shape[1], frame.image.shape[0]), frame.t_us
        times[1] = frame.t_us
        count += 1
    span = times[1] - times[0]
    return {
        "frames": count,
        "frame_width": None if size is None else size[0],
        "frame_height": None if size is None else size[1],
        "frames_per_second": (count - 1) / (span * 1e-6) if span > 0 else None,
    }


_ORIGINS = {
    "argument": "as given",
    "header": "from the header",
    "camera": "known from the camera's name",
    "format": "usual for the format",
    "frames": "of its frames",
    "data": "INFERRED from the events",
}


def _about(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the facts about a recording or a clip for people: a title, and a text."""
    is_clip, size = "events" not in facts, f"{facts['width']}x{facts['height']}"
    if is_clip:
        yield "size", size
    else:
        rate = facts["events_per_second"]
        yield "sensor", f"{size} ({_ORIGINS[facts['size_from']]})"
        counts = f"{facts['events']:,} ({facts['on']:,} ON, {facts['off']:,} OFF)"
        yield "events", counts + (f", {rate:,} a second" if rate else "")
    if facts["t_first_us"] is not None:
        lasts = _console.describe_us(facts["duration_us"])
        yield "time", f"{facts['t_first_us']} to {facts['t_last_us']} us ({lasts})"
    for title, name in (("triggers", "triggers"), ("IMU", "imu_samples"), ("labels", "labels")):
        if facts.get(name):
            yield title, f"{facts[name]:,}"
    if facts["frames"] or is_clip:
        rate, wide = facts["frames_per_second"], facts.get("frame_width")
        of = "" if wide is None else f" of {wide}x{facts['frame_height']}"
        yield "frames", f"{facts['frames']:,}{of}" + (f", {rate:.6g} a second" if rate else "")
    if facts.get("intrinsics") is not None:
        values = (f"{name} {value:g}" for name, value in facts["intrinsics"].items())
        yield "lens", ", ".join(values)
    for name, count in facts.get("other", {}).items():
        if count:
            yield "also", f"{count:,} {name}"
    for key, value in facts.get("header", {}).items():
        yield "header", f"{key}: {value}"
    yield from (("assumed", text) for text in facts.get("assumptions", ()))
    yield from (("note", text) for text in facts.get("notes", ()))
    damage = facts.get("damage", {"places": 0})
    if damage["places"]:
        yield "DAMAGE", damage["extent"]
        yield from (("", f"byte {loss['offset']}: {loss['problem']}") for loss in damage["first"])
    if is_clip:
        command = f"dvskit emulate {shlex.quote(facts['file'])} events.raw"
        yield "events", f"none; to make them: {command}"


# --- filters --------------------------------------------------------------------------------------


_UNITS = {"_us": "a time with its unit, such as 5ms", "_px": "pixels", "_hz": "events a second",
          "_deg": "degrees"}  # fmt: skip


def filters(name: str | None = argument()) -> None:
    """List the filters of `dvskit convert --filter`, with their parameters and defaults.

    name  Show this filter in detail, with its parameters.
    """
    from dvskit.filters import Fit, Mask, PolygonMask
    from dvskit.filters.names import FILTERS, described, filter_names, kind_in_file, names_a_file

    if name is None:
        kinds = filter_names()
        for each in kinds:
            print(f"{described(each, kinds[each])}\n    {_docs(kinds[each])[0]}")
        for package in load_packages():
            if package.problem:
                _console.note(package.failure)
        return
    if names_a_file(name):
        name, kind = kind_in_file(name)
    else:
        name = name.strip().lower().replace("-", "_")
        kind = FILTERS.find(name)
    print("\n".join([described(name, kind), "", *_docs(kind)]))
    rows = [] if kind in (Fit, Mask, PolygonMask) else _rows(kind)
    wide = [max((len(row[k]) for row in rows), default=0) for k in (0, 1)]
    if rows:
        print("\nParameters:")
    for row in rows:
        print(f"  {row[0]:{wide[0]}}  {row[1]:{wide[1]}}  {row[2]}")


def _rows(kind: Any) -> list[tuple[str, str, str]]:
    """Return the name of each parameter, its values, and its default."""
    from dvskit.filters.names import parameters_of

    known = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    limits = {each.name: each.metadata.get("limits", ()) for each in known}
    return [
        (
            each.short,
            _values(each) + _range(limits.get(each.name, ())),
            "required" if each.required else f"default {each.written() or 'none'}",
        )
        for each in parameters_of(kind)
    ]


def _range(limits: tuple[Any, ...]) -> str:
    """Return the range of a number, if its limits are not too large."""
    known = [each for each in limits if isinstance(each, int | float) and abs(each) <= 1000]
    return f", {known[0]} to {known[1]}" if len(known) == 2 else ""


def _docs(kind: Any) -> list[str]:
    """Return the lines of a docstring, not of an inherited one, without examples in Python."""
    paragraphs = inspect.cleandoc(kind.__doc__ or "").replace("`", "").split("\n\n")
    prose = [each for each in paragraphs if not each.startswith("    ")]
    return "\n\n".join(prose).splitlines() or ["No description."]


def _values(parameter: Parameter) -> str:
    """Return the possible values of a parameter, with their unit."""
    if parameter.choices:
        return " or ".join(map(str, parameter.choices))
    for ending, unit in _UNITS.items():
        if parameter.name.endswith(ending):
            return unit
    if isinstance(parameter.default, bool):
        return "true or false"
    kinds = {int: "a whole number", float: "a number", str: "a text", Path: "the path of a file"}
    given = set(get_args(parameter.hint)) or {parameter.hint}
    return next((text for kind, text in kinds.items() if kind in given), "a number or a text")


# --- cameras --------------------------------------------------------------------------------------


def cameras(json: Json = False) -> None:
    """List the connected USB event cameras: name, serial number, and bus with its speed.

    The first column is the value of --camera: dvskit convert --camera evk4 out.raw. Webcams are
    numbered from 0, and not listed.
    """
    found = list_cameras()
    if json:
        _console.print_json([dataclasses.asdict(each) for each in found])
        return
    if not found:
        _console.say(f"no USB event camera is connected; supported: {', '.join(CAMERAS)}")
        return
    rows = [(each.camera or "-", each.name, each.serial or "-", each.connection) for each in found]
    wide = [max(len(row[column]) for row in rows) for column in range(3)]
    for row, each in zip(rows, found, strict=True):
        start = "  ".join(f"{word:{width}}" for word, width in zip(row, wide, strict=False))
        _console.put(f"{start}  {row[3]}" + (f"  {each.problem}" if each.problem else ""))
