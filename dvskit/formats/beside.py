"""Triggers, IMU samples and frames of a recording passed to a sink; notes on omissions."""

from __future__ import annotations

from collections.abc import Mapping

from dvskit.errors import count_of
from dvskit.events import Source
from dvskit.formats.file_sink import FileSink
from dvskit.formats.merging import MergedSource
from dvskit.formats.recording import Recording, RecordingPart
from dvskit.streams import Triggers

Beside = Recording | RecordingPart | MergedSource  # sources that may hold more than events

# Counted by `other_streams`, but requested from a recording in other ways.
COUNTED_BESIDE = ("IMU samples", "frames")


def left_behind(source: Source) -> list[str]:
    """Return a line for each kind of other data of a source that is filtered."""
    inner: object = source
    while not isinstance(inner, Beside):
        inner = getattr(inner, "source", None)
        if inner is None:
            return []
    counts = {
        "trigger": len(inner.triggers()),
        "IMU sample": len(inner.imu()),
        "frame": sum(1 for _ in inner.frames()),
        "label": 0 if isinstance(inner, MergedSource) else len(inner.labels()),
    }
    return [
        _left_out(count, name, "a filter hands on events alone", " of the recording")
        for name, count in counts.items()
        if count
    ]


def _left_out(count: int, name: str, why: str, of: str = "") -> str:
    are = "is" if count == 1 else "are"
    return f"{count_of(count, name)}{of} {are} left out: {why}"


def hand_over(recording: Beside, sink: FileSink) -> list[str]:
    """Pass the other data of a recording, or of a part, to a sink before the events.

    Returns a line for each kind of data that the sink cannot store. Triggers that can come along
    with the events are left to `TriggersAlong`.
    """
    left = []
    along = _come_along(recording, sink)
    triggers = Triggers.empty() if along else recording.triggers()
    if len(triggers):
        write = getattr(sink, "write_triggers", None)
        if write is None:
            left.append(_left_out(len(triggers), "trigger", f"{sink.format} has none"))
        else:
            write(triggers)
    others = {} if along else recording.other_streams()
    samples = recording.imu()
    if len(samples) and hasattr(sink, "write_imu"):
        sink.write_imu(samples)
    elif len(samples):
        left.append(_left_out(len(samples), "IMU sample", f"{sink.format} has none"))
    if hasattr(sink, "write_frames"):
        sink.write_frames(recording.frames())
    else:
        frames = sum(1 for _ in recording.frames())
        if frames:
            why = f"{sink.format} has none; convert IN FOLDER/ (video.write_images) writes them"
            left.append(_left_out(frames, "frame", why))
    parts = recording.recordings if isinstance(recording, MergedSource) else [recording]
    if any(each.intrinsics() is not None for each in parts):
        left.append(f"the camera's calibration is left out: {sink.format} has none")
    labels = sum(len(each.labels()) for each in parts)
    if labels:
        left.append(_left_out(labels, "label", "labels are in a file of their own"))
    left += _others_left(others)
    if isinstance(recording, MergedSource):
        left += [line for each in recording.sources for line in left_behind(each)
                 if each not in parts]  # fmt: skip
    return left


def _come_along(recording: Beside, sink: FileSink) -> bool:
    return recording.live or (recording.along and sink.interleaves)


def _others_left(counts: Mapping[str, int]) -> list[str]:
    return [
        f"{count:,} {name} of the input are left out"
        for name, count in counts.items()
        if count and name not in COUNTED_BESIDE
    ]


class TriggersAlong:
    """Passes the triggers that a pass meets to a sink between blocks, if `hand_over` did not.

    Call `hand_over` before each block, `end` after the last one.
    """

    def __init__(self, recording: Beside, sink: FileSink) -> None:
        self._recording, self._sink = recording, sink
        self._active = _come_along(recording, sink)
        self._left = 0

    def hand_over(self) -> None:
        """Pass on the triggers since the last call."""
        triggers = self._recording.new_triggers() if self._active else Triggers.empty()
        if not len(triggers):
            return
        write = getattr(self._sink, "write_triggers", None) if self._sink.interleaves else None
        if write is None:
            self._left += len(triggers)
        else:
            write(triggers)

    def end(self) -> list[str]:
        """Pass on the last triggers; return a line for each kind of data left out."""
        self.hand_over()
        named, late = self._sink.format, getattr(self._sink, "late_triggers", 0)
        lines = [_left_out(late, "trigger", "they came after later events")] if late else []
        if self._left:
            why = f"{named} has none"
            if hasattr(self._sink, "write_triggers"):
                why = f"{named} takes them before events; save the pipe as .raw and convert that"
            lines.append(_left_out(self._left, "trigger", why))
        if self._active and not isinstance(self._recording, MergedSource):
            lines += _others_left(self._recording.passed_streams())
        return lines
