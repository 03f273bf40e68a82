"""`dvskit demo` and `sample`: the whole path on a clip that dvskit draws, and files to try."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dvskit.cli import _console
from dvskit.cli._options import Force, argument, output
from dvskit.errors import ConfigError, ModelError, OutputError, count_of

if TYPE_CHECKING:
    from dvskit.events import Events
    from dvskit.models import Model
    from dvskit.scenes import PersonScene
    from dvskit.streams import Labels


_MODEL = "dvs128-gestures"
_SEED = 2026  # not the seed of any training clip of the shipped network
_BINS = 29  # as many as the network has: 50 ms each


def demo(
    out: Path | None = output("The folder to make.", shown="dvskit-demo, dvskit-demo-2, ..."),
    gesture: str = "right_hand_wave",
) -> None:
    """Show the whole path: draw a clip, emulate, write, bin, classify and draw its events.

    gesture  The gesture of the drawn person.
    """
    if str(out) == "-":
        raise ConfigError("-: a demo is a folder of files, not standard output; name a folder")
    _console.check_torch()
    begun = time.perf_counter()
    from dvskit import emulate, load_events, save_events
    from dvskit.scenes import PersonScene
    from dvskit.streams import Labels
    from dvskit.video import write_video

    scene = PersonScene.random(gesture, _SEED)
    folder = _new_folder(out)
    frames = list(scene)
    shown = ((t_us, (frame >> 8).astype("uint8")) for t_us, frame in frames)  # of 16 bits
    write_video(shown, folder / "person.mp4", fps=scene.fps)
    count = count_of(len(frames), "frame")
    print(f"1. Drew {count} of a person ({gesture}): {folder / 'person.mp4'}")
    save_events(emulate(frames), folder / "person.raw")
    events = load_events(folder / "person.raw")
    print(
        f"2. Emulated an event camera: {count_of(len(events), 'event')} on {events.sensor_size} in "
        f"{events.duration_us / 1e6:.2f} s, {events.p.mean():.0%} ON: {folder / 'person.raw'}"
    )
    _bin(events)
    model = _model()
    decisions = Labels.empty() if model is None else _classify(model, events, scene)
    _draw(events, folder, scene, decisions)
    if model is not None:
        _decide_live(model, events)
    seconds = time.perf_counter() - begun
    print(f"Done in {seconds:.1f} s. Open {folder / 'person.html'} in a browser.")
    print("Next, with your own files:")
    print(f"  dvskit info {shlex.quote(str(folder / 'person.raw'))}")
    print("  dvskit emulate VIDEO.mp4 events.raw")
    print("  dvskit cloud events.raw -o events.html")
    print("  dvskit convert events.raw events.aedat4")
    print(f"  dvskit classify --live VIDEO.mp4 --model {_MODEL}")


def _new_folder(out: Path | None) -> Path:
    folder = Path("dvskit-demo") if out is None else out
    number = 1
    while folder.exists():
        if out is not None:
            raise OutputError(f"{out}: exists already; name a folder that does not")
        number += 1
        folder = Path(f"dvskit-demo-{number}")
    try:
        folder.mkdir(parents=out is not None)
    except OSError as error:
        raise OutputError(
            f"{folder}: {error.strerror}; go to a folder you can write to, or name one with -o"
        ) from error
    return folder


def _bin(events: Events) -> None:
    from dvskit.tensors import bin_events

    tensor = bin_events(events, bins=_BINS)
    shape = " x ".join(str(n) for n in tensor.shape)
    print(
        f"3. Binned them to a tensor of {shape} (time, polarity, height, width): "
        f"{count_of(int(tensor.sum()), 'event')} in it, none lost"
    )


def _model() -> Model | None:
    from dvskit.models import load_model

    try:
        return load_model(_MODEL)
    except ModelError as error:
        print(f"4. No network ran: {error}")
        return None


def _classify(model: Model, events: Events, scene: PersonScene) -> Labels:
    from dvskit.evaluation import classify, classify_spans

    shares = classify(model, events)
    best = max(shares, key=lambda name: shares[name])
    print(
        f"4. Classified it with the network {_MODEL}: {best} ({shares[best]:.0%}); "
        f"drawn was {scene.gesture}"
    )
    return classify_spans(model, events)


def _decide_live(model: Model, events: Events) -> None:
    """Decide on the clip bin by bin, as if it came from a camera, but without waiting."""
    from statistics import median

    from dvskit.evaluation import Live
    from dvskit.evaluation.live import follow, played
    from dvskit.formats.keeping_up import Pace

    run, bin_us = Live(model).start(events.sensor_size), model.input.bin_us
    first_us = int(events.t[0])
    bins = played([events], bin_us, Pace(sleep=lambda seconds: None))
    decisions = [decision for _, found in follow(run, bins) for decision in found]
    last = decisions[-1]
    changed = [each.stop_us for each in decisions if each.answer != last.answer]
    since = (max(changed, default=first_us) + bin_us - first_us) / 1e6
    delay_ms = 1000 * median(each.delay_s for each in decisions)
    print(
        f"6. Decided live, after each {bin_us / 1000:g} ms: {last.answer or 'nothing'} "
        f"({last.confidence:.0%}) from {since:.2f} s on, {delay_ms:.1f} ms after the last event"
    )


def _draw(events: Events, folder: Path, scene: PersonScene, decisions: Labels) -> None:
    import numpy as np

    from dvskit import render
    from dvskit.streams import Labels

    ends = np.array([events.t[0], events.t[-1] + 1], np.int64)
    shown = render.ShownEvents(
        events, "person", Labels(ends[:1], ends[1:], (scene.gesture,)), decisions
    )
    title = (
        f"A person drawn by dvskit ({scene.gesture.replace('_', ' ')}), as an event camera sees it"
    )
    render.page(shown, folder / "person.html", title=title)
    render.cloud(events, folder / "person.png")
    print(
        f"5. Drew the event cloud: {folder / 'person.html'} (turn it, play it), "
        f"{folder / 'person.png'}"
    )


# --- sample ---------------------------------------------------------------------------------------


def sample(folder: Path = argument(default=Path("dvskit-sample")), force: Force = False) -> None:
    """Write a folder of drawn videos, recordings and pictures to try the other commands on.

    folder  The folder to make.
    """
    if str(folder) == "-":
        raise ConfigError("-: the sample is a folder of files; name a folder")
    begun = time.perf_counter()
    _console.announce_compiling()
    from dvskit.emulator.sample_folder import write_sample_folder

    parts = write_sample_folder(folder, overwrite=force)
    wide = max(len(part.name) for part in parts)
    for part in parts:
        print(f"{part.name:{wide}}  {part.bytes / 1e6:5.2f} MB  {part.content}")
    total, seconds = sum(part.bytes for part in parts) / 1e6, time.perf_counter() - begun
    print(f"{folder}: {total:.1f} MB in {seconds:.1f} s. Next:")
    print(f"  cd {shlex.quote(str(folder))}")
    print("  dvskit info events.raw")
    print("  dvskit cloud events.raw -o events.html")
    print("  dvskit train gestures -o runs/mine --minutes 2")
