"""What stands beside events on its way from a recording to a sink, and what is left out."""

from __future__ import annotations

from dvskit.errors import count_of
from dvskit.events import Source
from dvskit.formats.merging import MergedSource
from dvskit.formats.recording import FileSink, Recording, RecordingPart

Beside = Recording | RecordingPart | MergedSource  # what holds more than events

# What `other_streams` counts although a recording is asked for it otherwise.
COUNTED_BESIDE = ("IMU samples", "frames")


def left_behind(source: Source) -> list[str]:
    """Return a line for each thing that stands beside the events which a source only filters."""
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


def _left_out(count: int, name: str, why: str, whose: str = "") -> str:
    are = "is" if count == 1 else "are"
    return f"{count_of(count, name)}{whose} {are} left out: {why}"


def hand_over(recording: Beside, sink: FileSink) -> list[str]:
    """Hand a sink what stands beside the events of a recording, or of a part, ahead of them.

    Returns a line for each thing that the recording holds beside events and the sink cannot.
    """
    left = []
    triggers = recording.triggers()
    if len(triggers):
        write = getattr(sink, "write_triggers", None)
        if write is None:
            left.append(_left_out(len(triggers), "trigger", f"{sink.format} has none"))
        else:
            write(triggers)
    others = dict(recording.other_streams())
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
        left.append(_left_out(labels, "label", "labels stand beside the file"))
    for name, count in others.items():
        if count and name not in COUNTED_BESIDE:
            left.append(f"{count:,} {name} of the input are left out")
    if isinstance(recording, MergedSource):
        left += [line for each in recording.sources for line in left_behind(each)
                 if each not in parts]  # fmt: skip
    return left


class TriggersAlong:
    """The triggers of live events, handed to a sink as they come; of others there are none here.

    `hand_over` is called ahead of each block, `end` behind the last one.
    """

    def __init__(self, recording: Beside, sink: FileSink) -> None:
        self._recording, self._sink = recording, sink
        self._left = 0

    def hand_over(self) -> None:
        """Hand over the triggers that have come since."""
        triggers = self._recording.new_triggers()
        if not len(triggers):
            return
        write = getattr(self._sink, "write_triggers", None) if self._sink.interleaves else None
        if write is None:
            self._left += len(triggers)
        else:
            write(triggers)

    def end(self) -> list[str]:
        """Hand over the last triggers; return a line where some are left out."""
        self.hand_over()
        named, late = self._sink.format, getattr(self._sink, "late_triggers", 0)
        lines = [_left_out(late, "trigger", "they came behind later events")] if late else []
        if self._left:
            why = f"{named} has none"
            if hasattr(self._sink, "write_triggers"):
                why = f"{named} takes them ahead of events; save the pipe as .raw and convert that"
            lines.append(_left_out(self._left, "trigger", why))
        return lines
