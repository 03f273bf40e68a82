"""`dvskit ros`: topics of a running ROS 2 system."""

from __future__ import annotations

from pathlib import Path

from dvskit.cli import _console
from dvskit.cli import _options as options
from dvskit.cli._binding import Group
from dvskit.cli._options import Reading, Span
from dvskit.cli._shown import CountedEvents
from dvskit.cli.convert import Kept, convert
from dvskit.errors import ConfigError, count_of


def _listen(
    topic: str, out: Path, span: Span = Span(), written: options.Written = options.Written()
) -> None:
    """Write the events of a topic to a file of any format, until Ctrl-C.

    The topic carries event_camera_msgs/EventPacket or dvs_msgs/EventArray. Missing messages are
    counted by their numbers, and reported. All other commands take ros://TOPIC in place of a file.

    topic  The topic, such as /event_camera/events.
    out    The event file to write, such as out.mcap or out.raw.
    """
    from dvskit.formats.ros.live import topic_of

    address = Path(f"ros:/{topic_of(topic)}")
    options.check_writable(out, written.to)
    _console.say(f"{topic}: waits for messages; Ctrl-C ends it")
    convert([str(address)], str(out), kept=Kept(span), written=written)


def _play(file: Path, topic: str, rate: float = 1.0, reading: Reading = Reading()) -> None:
    """Publish a recording on a topic as event_camera_msgs/EventPacket, in its own time.

    file   An event file or its folder.
    topic  The topic to publish on.
    rate   Speed: 2 is twice as fast as recorded.
    """
    from dvskit.formats.keeping_up import Pace
    from dvskit.formats.ros.live import play, topic_of

    if not rate > 0:
        raise ConfigError(f"--rate {rate:g} must be above 0")
    name, recording, pace = topic_of(topic), reading.open(file), Pace()
    behind_s = 0.0

    def wait(t_us: int) -> None:
        nonlocal behind_s
        behind_s = max(behind_s, pace.wait(round(t_us / rate)))

    with _console.stoppable() as stop:
        source = CountedEvents(recording, stop=stop)
        sent = play(source, name, wait)
    if recording.damage:
        _console.note(f"{file}: {recording.damage}")
    late = f", up to {behind_s:.1f} s late" if behind_s > 0.05 else ""
    _console.say(f"{name}: {count_of(sent, 'message')} published{late}")


ros = Group(
    "Listen to topics of ROS 2, or play recordings to them.", {"listen": _listen, "play": _play}
)
