"""`dvskit classify`: the classes of recordings and still images."""

from __future__ import annotations

import shutil
import sys
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dvskit import _interrupt
from dvskit.cli import _console
from dvskit.cli._batch import NO_OUTPUT, Crew, Prepared
from dvskit.cli._inputs import FileJob, is_stream, note_skipped
from dvskit.cli._live import name_of, one_source, open_stream, window_words
from dvskit.cli._options import (
    CameraOptions,
    Json,
    ModelOption,
    Reading,
    Spikes,
    argument,
    option,
    refuse_for_images,
)
from dvskit.cli._remote import Staging, address_of, listed
from dvskit.errors import ConfigError, FormatError, count_of, printable
from dvskit.formats.found import (
    CLIPS,
    PathKind,
    find_recordings,
    identify,
    identify_named,
    readable_suffixes,
)
from dvskit.formats.table import CLIP_SUFFIXES

if TYPE_CHECKING:
    from dvskit.evaluation import Classified, Live, LiveDecision, LiveRun
    from dvskit.evaluation.live import Arrival
    from dvskit.models import Model

_BEHIND_S = 0.05  # shorter delays are not shown
_NOT_LIVE = ("jobs", "cluster", "encoder", "seed")


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """The options of live decisions.

    live    Decide after each bin, while events arrive. A recording or a video is played in real
            time; -, an address ({addresses}) and a camera (--camera) are live.
    reject  With --live: the least confidence, 0 to 1, at which a class is named.
    """

    live: bool = False
    cameras: CameraOptions = field(default_factory=CameraOptions)
    reject: float | None = option(metavar="SHARE", min=0.0, max=1.0, shown="the model's, else 0.5")

    def check(self) -> None:
        """Raise ConfigError for options of --live without it."""
        if not self.live:
            _console.refuse(("camera", "bias", "reject"), "needs --live")

    def start(self, model: Model) -> Live:
        """Return a model on streams that names a class from --reject on."""
        from dvskit.evaluation import Live

        if self.reject is None:
            return Live(model)
        return Live(model, replace(model.reject, confidence=self.reject, how="--reject"))


def classify(
    paths: list[Path] | None = argument(metavar="FILES"),
    *,
    model: ModelOption,
    stream: LiveOptions = LiveOptions(),
    json: Json = False,
    reading: Reading = Reading(),
    spikes: Spikes = Spikes(),
    crew: Crew = Crew(),
) -> None:
    """Classify recordings, videos, depth clips and images, and show the model's confidence.

    A recording is cut into windows of the model's length; the mean over the windows decides.
    Videos and depth clips are emulated first, with the settings the model was trained with.
    Several recordings give a table, or with --json an array in place of an object; --jobs and
    --cluster share them, and do not change the output.
    An image is centered in the model's input and encoded as spikes.

    With --live the model decides after each bin, on the window that ends with it. The answer is
    "nothing" if the model is not sure or nothing moves.

    paths  Event files, videos, depth clips, folders of them, images, - for standard input, or an
           address ({addresses}). With --live: one recording or video.
    """
    files = paths or []
    stream.check()
    if stream.live:
        _console.refuse(_NOT_LIVE, "for many files or still images; leave it out with --live")
        source = one_source(files, stream.cameras)
        _classify_live(source, stream.start(_load(model)), reading, as_json=json)
        return
    if not files:
        raise ConfigError("name recordings or images to classify; or --live and a source")
    recordings = _recordings(files)
    images = sum(map(_is_image, recordings))
    if images == len(recordings):
        refuse_for_images()
    if not images:
        _console.refuse(("encoder", "seed"), "for still images only; leave it out")
    work = Prepared(partial(_load, model), partial(_judge, reading=reading, spikes=spikes))
    if recordings != files[:1]:
        _classify_all(work, recordings, crew, json)
        return
    crew.check_one("name several recordings, or a folder")
    found = work(FileJob(files[0], NO_OUTPUT, 0))
    _say_unlooked(str(files[0]), found.unlooked)
    _say_unlike(files[0], found)
    if json:
        _console.print_json(_values(files[0], found))
    else:
        _console.put(*_lines(found))


def _is_image(file: Path) -> bool:
    return identify(file) is PathKind.IMAGE and file.is_file()


def _load(model: str) -> Model:
    from dvskit.models import load_model

    return load_model(model)


def _recordings(files: list[Path]) -> list[Path]:
    """Return the recordings, clips and images in the words, folders and addresses."""
    recordings: list[Path] = []
    for file in files:
        address = address_of(file)
        if address is None:
            found, others = find_recordings(file)
        else:
            _, found, others = listed(address, {*readable_suffixes(), *CLIP_SUFFIXES})
        recordings += found
        note_skipped(others)
    return recordings


def _judge(model: Model, job: FileJob, *, reading: Reading, spikes: Spikes) -> Classified:
    """Judge a recording, a video or an image, also at an address.

    An image counts as one window without events.
    """
    from dvskit.evaluation import Classified, Decision, classify_image, classify_windows
    from dvskit.evaluation.decisions import emulated_clip

    with Staging() as staging:
        file = staging.inputs(job.file)
        if _is_image(file):
            shares = classify_image(model, file, encoder=spikes.encoder, seed=spikes.seed)
            given = model.input
            return Classified((Decision(0, given.bins * given.bin_us, 0, shares),), 0)
        if reading.from_ is None and identify_named(file) in CLIPS:
            events, damage = emulated_clip(model, file, strict=not reading.salvage)
            if damage:
                _console.note(f"{file}: {damage}")
            return classify_windows(model, events)
        recording = reading.open(file)
        try:
            return classify_windows(model, recording)
        finally:
            if recording.damage:
                _console.note(f"{file}: {recording.damage}")


def _classify_all(work: Prepared, recordings: list[Path], crew: Crew, json: bool) -> None:
    """Judge several recordings. Raises FormatError, after the others, if some cannot be judged."""
    streams = [file for file in recordings if is_stream(str(file))]
    if crew != Crew() and streams:  # which other processes cannot read
        raise ConfigError(f"{streams[0]}: cannot be mixed with files; give it alone")
    jobs = [FileJob(file, NO_OUTPUT, 0, number) for number, file in enumerate(recordings)]
    table = None if json else _Table(recordings, work.prepared().classes)
    judged: list[dict[str, Any]] = []
    unlooked = failed = 0
    for file, result in zip(recordings, crew.results(work, jobs), strict=True):
        for said in result.notes:
            _console.note(f"{file}: {said}" if isinstance(said, str) else said)
        if result.reason:
            failed += 1
            name = _console.shown(str(file))
            judged.append({"file": name, "error": result.reason})
            _console.note(f"{name}: {result.reason}")
            continue
        found: Classified = result.value
        unlooked += found.unlooked
        judged.append(_values(file, found))
        _say_unlike(file, found)
        if table is not None:
            table.print(file, found)
    if json:
        _console.print_json(judged)
    _say_unlooked(count_of(len(recordings), "recording"), unlooked)
    if failed:
        raise FormatError(
            f"{failed} of {count_of(len(recordings), 'recording')} could not be "
            "classified: see above"
        )


def _say_unlooked(what: str, count: int) -> None:
    if count:
        _console.note(f"{what}: not used: {count_of(count, 'event')} after the last whole window")


def _say_unlike(file: Path, found: Classified) -> None:
    if found.unlike:
        _console.note(
            f"{file}: is unlike all samples that the model learned from: {found.unlike}; its "
            "answer may be meaningless"
        )


def _values(file: Path, found: Classified) -> dict[str, Any]:
    name = _console.shown(str(file))
    if _is_image(file):
        return {"file": name, "class": found.best, "probabilities": found.probabilities}
    windows = [
        {
            "start_us": each.start_us,
            "stop_us": each.stop_us,
            "events": each.events,
            "class": each.best,
            "probabilities": each.probabilities,
        }
        for each in found.windows
    ]
    return {
        "file": name,
        "class": found.best,
        "probabilities": found.probabilities,
        "windows": windows,
        "unlike_training": found.unlike or None,
        "events_not_looked_at": found.unlooked,
    }


def _lines(found: Classified) -> Iterator[str]:
    """Yield the answer for one recording, the next classes, and the windows."""
    shares, count = found.probabilities, len(found.windows)
    first = found.windows[0]
    length = _console.describe_us(first.stop_us - first.start_us)
    mean = f", the mean of {count_of(count, 'window')} of {length}" if count > 1 else ""
    yield f"{found.best} ({100 * shares[found.best]:.1f} %){mean}"
    for name in sorted(shares, key=lambda name: -shares[name])[1:4]:
        yield f"  or {name} ({100 * shares[name]:.1f} %)"
    if count > 1:
        yield "windows from the first event on:"
    for each in found.windows if count > 1 else ():
        at = _console.describe_us(each.start_us - first.start_us)
        yield f"  {at:>12}  {each.best} ({100 * each.probabilities[each.best]:.1f} %)"


class _Table:
    """Prints a line for each recording; columns are as wide as their longest possible entry."""

    def __init__(self, recordings: list[Path], classes: Sequence[str]) -> None:
        names = [_console.shown(str(file)) for file in recordings]
        self._name = max(len("recording"), *map(len, names))
        self._class = max(len("class"), *(len(name) for name in classes))
        _console.put(self._line("recording", "class", "sure", "or", "", "windows"))

    def print(self, file: Path, found: Classified) -> None:
        """Print the line of a recording."""
        shares = found.probabilities
        best, *others = sorted(shares, key=lambda name: -shares[name])
        second = others[0] if others else ""
        sure, less = (f"{100 * shares[name]:.1f} %" if name else "" for name in (best, second))
        _console.put(
            self._line(_console.shown(str(file)), best, sure, second, less, str(len(found.windows)))
        )

    def _line(self, name: str, best: str, sure: str, second: str, less: str, count: str) -> str:
        wide = self._class
        columns = f"{name:<{self._name}}  {best:<{wide}}  {sure:>7}  {second:<{wide}}  {less:>7}"
        return f"{columns}  {count:>7}"


# --- live -----------------------------------------------------------------------------------------


def _classify_live(source: Path | int, live: Live, reading: Reading, *, as_json: bool) -> None:
    """Decide on a source until it ends, or until Ctrl-C, with exit code 130."""
    from dvskit.evaluation.live import follow

    _console.announce_compiling()
    stream, summary = open_stream(source, live, reading), _Summary()
    _console.say(f"{name_of(source)}: {stream.how}; {window_words(live)}; Ctrl-C ends it")
    screen, stopped = _Screen(as_json=as_json), False
    try:
        for arrival, decisions in follow(stream.run, stream.arrivals):
            summary.add(arrival, decisions)
            screen.show(stream.run, arrival, decisions)
    except KeyboardInterrupt:
        stopped = True
    finally:
        screen.close()
        stream.close()
    for text in stream.notes():
        _console.note(f"{name_of(source)}: {text}")
    _console.say(summary.words)
    if stopped:
        _interrupt.advise("run the same command again to go on")
        raise KeyboardInterrupt


class _Screen:
    """Shows decisions: in one line of a terminal, which is rewritten, else a line for each.

    A line is text, whose times count from the first decision, or a JSON object.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._json, self._rewrites = as_json, not as_json and sys.stdout.isatty()
        self._moved = time.perf_counter()  # time of the latest event
        self._first_us: int | None = None

    def show(self, run: LiveRun, arrival: Arrival | None, decisions: list[LiveDecision]) -> None:
        if arrival is not None and len(arrival.events):
            self._moved = arrival.at
        if not self._rewrites:
            for each in decisions:
                _console.put(
                    dumps(_live_values(each), ensure_ascii=False) if self._json
                    else self._words(run, arrival, each)
                )  # fmt: skip
        elif run.resting:
            silent = time.perf_counter() - self._moved
            self._rewrite(f"nothing (no events for {silent:.1f} s)")
        elif decisions:
            self._rewrite(self._words(run, arrival, decisions[-1]))

    def _rewrite(self, text: str) -> None:
        wide = shutil.get_terminal_size().columns - 1
        print(f"\r{printable(text)[:wide]}\x1b[K", end="", flush=True)

    def close(self) -> None:
        if self._rewrites:
            print(flush=True)

    def _words(self, run: LiveRun, arrival: Arrival | None, decision: LiveDecision) -> str:
        if self._first_us is None:
            self._first_us = decision.start_us
        since = (decision.stop_us - self._first_us) / 1e6
        given, wide = run.model.input, max(map(len, run.model.classes))
        best = f"{decision.best:<{wide}} ({100 * decision.confidence:3.0f} %)"
        said = (
            f"nothing: {decision.nothing:<10} {best}"
            if decision.nothing
            else f"{best:<{wide + 29}}"
        )
        text = f"{since:9.3f} s  {said}  {decision.rate:>11,.0f} events/s"
        text += (
            f"  delay {1e3 * decision.delay_s:.1f} ms after a bin of {given.bin_us / 1e3:g} ms, "
            f"window {given.window_us / 1e6:g} s"
        )
        if decision.steps < given.bins:
            text += f"  ({decision.steps} of {given.bins} bins seen)"
        if arrival is not None and arrival.behind_s > _BEHIND_S:
            text += f"  {arrival.behind_s:.1f} s behind"
        return text


def _live_values(decision: LiveDecision) -> dict[str, Any]:
    """Return a decision as plain values for JSON."""
    return {
        "start_us": decision.start_us,
        "stop_us": decision.stop_us,
        "class": decision.answer,
        "nothing": decision.nothing,
        "confidence": decision.confidence,
        "probabilities": decision.probabilities,
        "events": decision.events,
        "events_per_second": decision.rate,
        "bins": decision.steps,
        "delay_ms": round(1e3 * decision.delay_s, 3),
    }


class _Summary:
    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._delays = array("d")
        self._events = 0
        self._behind_s = 0.0

    def add(self, arrival: Arrival | None, decisions: list[LiveDecision]) -> None:
        self._delays.extend(each.delay_s for each in decisions)
        if arrival is not None:
            self._events += len(arrival.events)
            self._behind_s = max(self._behind_s, arrival.behind_s)

    @property
    def words(self) -> str:
        seconds = time.perf_counter() - self._began
        text = (
            f"{count_of(len(self._delays), 'decision')} in {seconds:.1f} s, "
            f"{count_of(self._events, 'event')}"
        )
        if self._delays:
            middle, most = 1e3 * np.quantile(np.array(self._delays), [0.5, 0.95])
            text += (
                f"; delay after each bin {middle:.1f} ms (median), {most:.1f} ms (95 %), "
                f"{1e3 * max(self._delays):.1f} ms (longest)"
            )
        if self._behind_s > _BEHIND_S:
            text += f"; up to {self._behind_s:.1f} s behind"
        return text
