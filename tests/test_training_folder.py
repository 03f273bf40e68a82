"""`dvskit train FOLDER`: what is chosen and why, in how much time, and what it leaves."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from dvskit import evaluation, models, training
from dvskit.datasets import FileSamples, open_samples
from dvskit.errors import ConfigError, FormatError, OutputError
from dvskit.events import Events
from dvskit.formats import save_events
from dvskit.networks import Layered
from dvskit.training import Callbacks, Config, Progress, RecordingData, train_folder
from dvskit.training.folder_choices import ChosenConfig, choose, inspect_samples, with_steps
from dvskit.training.labels import with_classes
from dvskit.training.sets import load_feed, load_sets, mirrored
from tests.bars import blown_up, moving_bar, write_bars
from tests.laws import refused
from tests.sample_files import folder, video
from tests.test_depth import SWING, write_npz

QUICK = {"loop.steps": "1"}  # ten steps in all
WORDS = ("--set", "loop.steps=1", "--minutes", "20")


pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Clock:
    """The clock, and how far ahead of time it is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead, real = 0.0, time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: real() + self.ahead)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def chosen_for(root: Path, **keys: object) -> ChosenConfig:
    """What would be chosen; a training for each choice would take minutes."""
    entry = RecordingData(path=str(root), name="samples")
    return choose(inspect_samples(open_samples(root), root), replace(Config(data=(entry,)), **keys))  # type: ignore[arg-type]


def clips(root: Path, people: int = 2, trials: int = 2) -> Path:
    names = itertools.product(("bow", "wave"), range(1, people + 1), range(trials))
    return folder(root, *(f"{label}/p{person}_t{trial}.mp4" for label, person, trial in names))


def stop_behind(epoch: int) -> Callbacks:
    def stop(now: Progress) -> None:
        if now.epoch == epoch:
            raise KeyboardInterrupt

    return Callbacks(progress=stop)


def kinds_of_notes(output: Path) -> list[str]:
    return [each["kind"] for each in json.loads((output / "notes.json").read_text())["notes"]]


# -- what is chosen


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("left_wave", "right_wave"), ("right_wave", "left_wave")),
        (("clockwise", "counter-clockwise"), ("counter-clockwise", "clockwise")),
        (("clap", "right_hand_wave", "0"), (None, None, None)),
    ],
)
def test_a_mirror_of_a_mirror_is_the_class_itself(names, expected):
    assert tuple(mirrored(name, names) for name in names) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("people", "trials", "held", "left_out"),
    [(1, 1, 0, 0), (1, 3, 0, 3), (2, 2, 0, 2), (8, 1, 0, 5), (1, 100, 40, 0), (4, 25, 50, 0)],
)
def test_what_judges_follows_from_how_much_there_is(tmp_path, people, trials, held, left_out):
    root = tmp_path / "set"
    for label, person, trial in itertools.product("ab", range(people), range(trials)):
        (root / label).mkdir(parents=True, exist_ok=True)
        t, p = [1, 2000 + 20 * trial + person], [label == "a", True]
        events = Events(t=t, x=[3, 4], y=[5, 6], p=p, size=(16, 16))
        save_events(events, root / label / f"p{person + 1}_t{trial}.npz")
    chosen = chosen_for(root)
    assert sum(len(part) for part in chosen.parts) == 2 * people * trials
    assert (len(chosen.parts.test), chosen.parts_left_out) == (held, left_out)
    assert (chosen.config.loop.keep == "best") == (len(chosen.parts.validation) > 0)
    by_person = people > 1
    assert chosen.config.data[0].by == ("group" if by_person else "share")
    (split,) = (str(each) for each in chosen.choices if each.what == "split")
    assert "/".join(f"{len(part):,}" for part in chosen.parts) in split


def test_samples_of_few_people_are_varied_further_and_clips_are_emulated_whole(tmp_path):
    few, many = (chosen_for(clips(tmp_path / str(people), people)).config for people in (2, 5))
    for name in ("shift_px", "rotate_deg", "zoom", "time_scale"):
        wide, narrow = (getattr(each.data[0].augment, name) for each in (few, many))
        assert wide > narrow > 0, name
    (entry,) = few.data
    assert (entry.kind, entry.whole, entry.threshold) == ("videos", True, 0.45)
    assert (few.network.width, few.network.height) == (128, 128)


def test_depth_clips_have_a_sensor_and_no_videos_beside_them(tmp_path):
    for k, (label, person) in enumerate(itertools.product(("bow", "wave"), ("p1", "p2"))):
        (tmp_path / "set" / label).mkdir(parents=True, exist_ok=True)
        clip = replace(SWING, depth_m=SWING.depth_m + 0.01 * k)
        write_npz(tmp_path / "set" / label / f"{person}_t0.npz", clip)
    (entry,) = chosen_for(tmp_path / "set").config.data
    assert (entry.kind, entry.preset) == ("depth", "DVS128")
    video(tmp_path / "set" / "bow" / "p3_t0.mp4")
    with refused(FormatError, "p1_t0.npz", "p3_t0.mp4"):
        chosen_for(tmp_path / "set")


def test_size_window_and_balance_follow_the_recordings(tmp_path):
    root = write_bars(tmp_path / "bars", 12)
    for k in range(8):
        (root / "left" / f"{k}.npz").unlink()
    config = chosen_for(root).config
    assert (config.network.width, config.network.height, config.network.classes) == (16, 16, 2)
    assert config.input.bins * config.input.bin_us == 8_400
    assert config.data[0].balanced
    assert config.data[0].augment.flip_x == 0.5  # left becomes right
    assert config.data[0].mirrored
    training.write_config(config, tmp_path / "config.toml")
    assert training.load_config(tmp_path / "config.toml") == config
    save_events(blown_up(moving_bar(True, 1), 3), root / "right" / "large.npz")
    assert chosen_for(root).config.network.width == 128


def test_flipped_samples_have_the_label_of_the_mirrored_class(tmp_path):
    config = chosen_for(write_bars(tmp_path / "bars", 12)).config
    still = replace(config.data[0].augment, shift_px=0, rotate_deg=0, zoom=0, swap_polarity=0,
                    drop=0, later_us=0, flip_x=1.0)  # fmt: skip
    entry = replace(config.data[0], augment=still)
    counts, labels = next(load_feed(replace(config, data=(entry,))).train.epoch(0))
    on = counts[:, :, 1].sum(2)  # (T, B, W)
    places = (on * torch.arange(16.0)).sum(2) / on.sum(2).clamp(min=1e-9)  # of the bar's front
    first, last = (places[k] for k in (1, int(len(places) * 0.6)))
    assert (((last > first).long()) == labels).all()  # left, right


def test_a_network_is_given_other_classes_where_its_last_layer_stands():
    network = Layered(layers=("4C3", "lif", "20", "V2", "max"), classes=10)
    assert with_classes(network, 3).layers == ("4C3", "lif", "6", "V2", "max")
    assert with_classes(Layered(), 4).layers[-1] == "4"


def one_place(path: Path, seed: int, shade: int) -> None:
    """A square that moves before a wall that the seed draws."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wall = np.random.default_rng(seed).integers(40, 200, (12, 16)).repeat(4, 0).repeat(4, 1)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(12):
            gray = wall.astype(np.uint8).copy()
            gray[16:32, 4 * k : 4 * k + 8] = 100 + 10 * shade
            frame = av.VideoFrame.from_ndarray(gray, format="gray").reformat(format="yuv420p")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


@pytest.mark.slow
def test_notes_warn_of_few_clips_and_of_one_background(tmp_path):
    def notes_of(root: Path) -> list[tuple[str, dict]]:
        found = inspect_samples(open_samples(root), root).warnings
        return [(each.kind, each.values) for each in found]

    few = {"classes": ["bow", "wave"], "all": True, "wanted": 5}
    assert notes_of(clips(tmp_path / "few"))[0] == ("few clips", few)
    for label, count in (("bow", 2), ("wave", 6)):
        for k in range(count):
            place = tmp_path / "more" / label / f"{k}.mp4"
            one_place(place, seed=k if label == "bow" else 0, shade=k)
    assert notes_of(tmp_path / "more") == [
        ("few clips", {"classes": ["bow"], "all": False, "wanted": 5}),
        ("one background", {"classes": ["wave"], "all": False}),
    ]
    assert notes_of(write_bars(tmp_path / "bars", 6)) == []


# -- runs


@pytest.mark.slow(seconds=8)
def test_a_folder_becomes_a_model_with_all_beside_it_and_is_not_trained_again(tmp_path, run):
    root = write_bars(tmp_path / "set", 5)
    code, out, err = run("train", root, "-o", "mine", *WORDS, "--seed", "2")
    assert code == 0, err
    assert "judged by 3 trainings" in out.splitlines()[0]
    assert " % of 10 (95 % interval " in out
    for name in ("model.toml", "weights.safetensors", "README.md", "confusion.png", "curves.png",
                 "log.csv", "config.toml", "split.csv", "judged.csv"):  # fmt: skip
        assert (tmp_path / "mine" / name).stat().st_size > 0
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "--seed 2 --start scratch" in card
    assert str(tmp_path) not in card
    log = (tmp_path / "mine" / "log.csv").read_text()
    code, again, err = run("train", root, "-o", "mine", *WORDS, "--seed", "2", "--json")
    assert (code, "was finished before (10 epochs)" in err) == (0, True)
    assert (tmp_path / "mine" / "log.csv").read_text() == log
    values = json.loads(again)
    assert values["classes"] == ["left", "right"]
    assert sum(map(sum, values["confusion"])) == values["samples"] == 10
    config = training.load_config(tmp_path / "mine" / "config.toml")
    assert (config.data[0].kind, config.loop.keep) == ("recordings", "last")
    model = models.load_model(tmp_path / "mine")
    assert model.reject == evaluation.Reject()  # nothing was held out to choose it by
    alone = training.train(replace(config, output=str(tmp_path / "again")))
    assert alone.model.about["scores"]["epoch"] == 9
    assert "accuracy" not in alone.history[0]
    weights = model.module.state_dict()
    assert all(torch.equal(value, weights[key].cpu())
               for key, value in alone.model.module.state_dict().items())  # fmt: skip


@pytest.mark.slow(seconds=6)
def test_videos_are_judged_and_shown_as_the_model_says_that_its_clips_were_emulated(tmp_path, run):
    root = damaged(tmp_path / "set")
    video(root / "bow" / "p3_t0.mp4", frames=1)
    code, _, err = run("train", root, "-o", "mine", *WORDS, "--salvage")
    assert code == 0, err
    for name in ("bow/p1_t0.mp4", "bow/p3_t0.mp4"):
        assert str(root / name) in err
    model = models.load_model(tmp_path / "mine")
    assert len(model.used) == 7
    how = model.emulation
    assert (how.size, how.whole, how.params.threshold_on) == ((128, 128), True, 0.45)
    clip = root / "wave" / "p1_t0.mp4"
    samples = open_samples(root, params=how.params, size=how.size, whole=True, strict=False)
    number = [row.name for row in samples.rows].index("wave/p1_t0.mp4")
    (one,) = load_sets(training.load_config(tmp_path / "mine" / "config.toml"))
    learned = [row.name for row in one.parts.train.rows].index("wave/p1_t0.mp4")
    assert one.parts.train.events(learned) == samples.events(number)
    expected = evaluation.classify(model, samples.events(number))
    code, out, err = run("classify", clip, root / "wave", "--model", "mine", "--json")
    assert code == 0, err
    values = json.loads(out)
    assert len(values) == 5
    assert values[0]["probabilities"] == values[1]["probabilities"] == pytest.approx(expected)


@pytest.mark.slow(seconds=4)
def test_an_interrupted_run_goes_on_with_the_steps_that_were_chosen(tmp_path, monkeypatch, clock):
    root = write_bars(tmp_path / "set", 5)
    take = torch.optim.AdamW.step

    def slow_step(*given: object) -> object:
        clock.ahead += 5.0
        return take(*given)

    monkeypatch.setattr(torch.optim.AdamW, "step", slow_step)
    with refused(ConfigError, "minutes="):
        train_folder(root, output=tmp_path / "mine", minutes=0.05)
    assert not (tmp_path / "mine").exists()
    with pytest.raises(KeyboardInterrupt):
        train_folder(root, output=tmp_path / "mine", minutes=7.5, callbacks=stop_behind(0))
    config = training.load_config(tmp_path / "mine" / "config.toml")
    assert 20 <= config.loop.epochs * config.loop.steps <= 450 / 5 / 3
    clock.ahead += 1e6
    done = train_folder(root, output=tmp_path / "mine", minutes=7.5)
    assert training.load_config(tmp_path / "mine" / "config.toml") == config
    assert len(done.trained.history) == config.loop.epochs
    assert len(done.answers) == 10
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "- start, new weights: " in card
    assert "--minutes 7.5 " in card
    with refused(OutputError, tmp_path / "mine", "loop.learning_rate = 0.003", "0.1"):
        train_folder(root, output=tmp_path / "mine", changes={"loop.learning_rate": "0.1"})
    for name in ("1.npz", "99.npz"):  # one has changed, one is new
        save_events(moving_bar(True, 99), root / "right" / name, overwrite=True)
        with refused(OutputError, f"right/{name}"):
            train_folder(root, output=tmp_path / "mine")
        save_events(moving_bar(True, 1), root / "right" / "1.npz", overwrite=True)


@pytest.mark.slow(seconds=3)
def test_a_run_that_is_slower_than_measured_ends_early_and_says_what_it_did_not_judge(
    tmp_path, clock
):
    root, mine = write_bars(tmp_path / "set", 5), tmp_path / "mine"
    notes: list[str] = []

    def late(now: Progress) -> None:
        clock.ahead += 400.0

    callbacks = Callbacks(note=notes.append, progress=late)
    done = train_folder(root, output=mine, changes=QUICK, minutes=20, callbacks=callbacks)
    epochs = len(done.trained.history)
    assert 1 <= epochs <= 3
    config = training.load_config(mine / "config.toml")
    assert (config.loop.stop, config.loop.epochs) == (epochs, 10)
    again = training.train(replace(config, output=str(tmp_path / "again")))
    for key, value in again.model.module.state_dict().items():
        assert torch.equal(value, done.trained.model.module.state_dict()[key])
    assert (done.answers, done.held_out) == ((), False)
    assert done.missing.startswith("10 samples")
    assert notes.count(done.missing) == 1
    assert done.missing in (mine / "README.md").read_text()
    assert kinds_of_notes(mine) == ["start", "slow machine", "not judged"]
    (mine / "judged.csv").write_text("part,label\nx,y\n")
    with refused(OutputError, mine / "judged.csv"):
        train_folder(root, output=mine, changes=QUICK)


@pytest.mark.slow
def test_the_layers_of_a_start_before_the_first_dense_one_stay_as_they_are(tmp_path, trained):
    root = tmp_path / "set"
    for seed, label in enumerate(["left", "right", "other"] * 5, 100):  # others than it has seen
        (root / label).mkdir(parents=True, exist_ok=True)
        save_events(moving_bar(label == "right", seed), root / label / f"{seed}.npz")
    fast = QUICK | {"loop.learning_rate": "0.1"}
    with pytest.raises(KeyboardInterrupt):  # the trainings without a third take as long again
        train_folder(root, output=tmp_path / "mine", start=str(trained.folder), changes=fast,
                     callbacks=stop_behind(10))  # fmt: skip
    model = models.load_model(tmp_path / "mine")
    config = training.load_config(tmp_path / "mine" / "config.toml")
    assert len(model.classes) == 3
    assert config.loop.trained_layers == "dense"
    before, now = trained.model.module.state_dict(), model.module.cpu().state_dict()
    same = {key for key in before if torch.equal(before[key], now[key])}
    assert same == {key for key in before if key.startswith("conv")}


@pytest.mark.slow
def test_one_sample_of_a_class_is_trained_on_and_one_without_duration_refused(tmp_path):
    root = write_bars(tmp_path / "set", 1)
    save_events(moving_bar(True, 3), root / "right" / "3.npz")
    done = train_folder(root, output=tmp_path / "mine", changes=QUICK)
    assert (done.held_out, done.result.samples) == (False, 3)
    assert set(kinds_of_notes(tmp_path / "mine")) == {"few clips", "start"}
    for path in root.rglob("*.npz"):
        save_events(Events.empty((16, 16)), path, overwrite=True)
    with refused(FormatError, root):
        train_folder(root, output=tmp_path / "other")


def test_a_run_has_the_name_of_its_folder_and_replaces_no_file_of_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = write_bars(tmp_path / "data.v1", 5)
    for name in ("README.md", "notes.json"):
        Path(name).write_text("mine")
        with refused(OutputError, name):
            train_folder(root, output=".", changes=QUICK)
        Path(name).unlink()
    for output in (None, "."):
        with pytest.raises(KeyboardInterrupt):
            train_folder(root, output=output, start="", changes=QUICK, callbacks=stop_behind(0))
    assert training.load_config("runs/data.v1/config.toml").name == "data.v1"
    assert training.load_config("config.toml").name == tmp_path.name


@pytest.mark.slow
def test_sets_without_a_test_part_are_judged_together_and_epochs_may_take_all_samples(tmp_path):
    root, more = write_bars(tmp_path / "set", 5), write_bars(tmp_path / "more", 3)
    changes = {"loop.epochs": "2", "loop.steps": "0", "data.1.path": json.dumps(str(more)),
               "data.1.validation": "0.0", "data.1.test": "0.0", "data.1.count": "2"}  # fmt: skip
    given = {"output": tmp_path / "mine", "start": "", "changes": changes}
    with pytest.raises(KeyboardInterrupt):
        train_folder(root, callbacks=stop_behind(0), **given)
    done = train_folder(root, **given)
    assert (done.held_out, done.result.samples, done.result.seen) == (False, 16, 16)
    assert training.load_config(tmp_path / "mine" / "config.toml").loop.steps == 3


def test_steps_never_take_more_than_the_time_that_they_are_given():
    for steps in (20, 27, 199):
        loop = with_steps(training.LoopConfig(), steps)
        assert steps - 10 < loop.epochs * loop.steps <= steps


@pytest.mark.slow
def test_of_several_spans_of_a_file_only_the_unreadable_one_is_left_out(tmp_path):
    root = write_bars(tmp_path / "set", 2)
    lines = ["file,label,start,stop", "left/0.npz,begin,5s,6s"]
    for file, label in itertools.product(("left/0.npz", "right/0.npz"), ("begin", "end")):
        start, stop = ("0", "4ms") if label == "begin" else ("4ms", "8ms")
        lines.append(f"{file},{label},{start},{stop}")
    (root / "list.csv").write_text("\n".join(lines))
    with pytest.raises(KeyboardInterrupt):
        train_folder(root / "list.csv", output=tmp_path / "mine", changes=QUICK, salvage=True,
                     start="", callbacks=stop_behind(0))  # fmt: skip
    split = (tmp_path / "mine" / "split.csv").read_text()
    assert split.count("0.npz") == 4


def damaged(root: Path) -> Path:
    clips(root)
    (root / "bow" / "p1_t0.mp4").write_bytes(b"not a video, but as long as one" * 20)
    return root


WRONG: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "none": (lambda root: root, [], "set"),
    "empty": (lambda root: root.mkdir(), [], "set"),
    "one class": (lambda root: folder(root, "bow/1.mp4", "bow/2.mp4"), [], "bow"),
    "damaged": (damaged, [], "p1_t0.mp4"),
    "minutes": (clips, ["--minutes", "0"], "minutes"),
    "model": (clips, ["--start", "no-such-model"], "no-such-model"),
    "sweep": (clips, ["--seeds", "2"], "--seeds"),
    "key": (clips, ["--set", "loop.epoch=3"], "loop.epoch"),
    "seed": (clips, ["--set", "seed=3"], "--seed"),
    "start": (clips, ["--set", "start=nmnist-signed-lif"], "--start"),
    "output": (clips, ["--set", "output=other"], "--output"),
    "salvage": (clips, ["--set", "data.samples.salvage=true"], "--salvage"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_refused_and_nothing_is_left(tmp_path, run, case):
    make, words, named = WRONG[case]
    (tmp_path / "file").write_text("")
    make(tmp_path / "set")
    code, _, err = run("train", tmp_path / "set", "-o", "mine", *words)
    assert code in (1, 2)
    assert named in err
    assert not (tmp_path / "mine").exists()


# -- which clips are emulated where there is no time for all

CLASSES, PEOPLE, TURNS = ("bow", "kick", "wave"), 4, 3


@pytest.mark.slow(seconds=4)
def test_clips_that_there_is_no_time_for_are_left_out_evenly(tmp_path, monkeypatch, clock):
    monkeypatch.setenv("DVSKIT_THREADS", "1")
    names = itertools.product(CLASSES, range(PEOPLE), range(TURNS))
    root = folder(tmp_path / "set", *(f"{label}/p{who}_t{turn}.mp4" for label, who, turn in names))
    read, rows, each_s = FileSamples.events, [], 1.0

    def events(samples: FileSamples, number: int, *given: object) -> object:
        clock.ahead += each_s  # no clip takes so long
        rows.append(samples.rows[number])
        return read(samples, number, *given)

    monkeypatch.setattr(FileSamples, "events", events)
    told: list[str] = []

    def stop(done: int, total: int) -> None:
        if done == total and told:
            raise KeyboardInterrupt

    began, callbacks = clock.ahead, Callbacks(note=told.append, made=stop)
    with pytest.raises(KeyboardInterrupt):
        train_folder(root, output=tmp_path / "mine", minutes=0.75, callbacks=callbacks)
    assert clock.ahead - began <= 45 / 2
    assert 18 <= len(rows) <= 22
    assert len(set(Counter(row.label for row in rows).values())) == 1
    of_people = Counter(row.group for row in rows)
    assert len(of_people) == PEOPLE
    assert max(of_people.values()) - min(of_people.values()) <= len(CLASSES)
    assert f"{len(rows)} of 36 clips" in told[-1]
    minutes = float(told[-1].split("minutes=")[1].split()[0])
    assert 72 <= 60 * minutes <= 90
    each_s = 30.0
    for path in (tmp_path / "cache").rglob("*.zst"):
        path.unlink()
    with refused(ConfigError, "36 clips", "minutes=36."):
        train_folder(root, output=tmp_path / "mine", minutes=1.0)


def test_time_that_has_passed_before_the_first_clip_is_told_by_that_clip(
    tmp_path, monkeypatch, clock
):
    monkeypatch.setenv("DVSKIT_THREADS", "1")
    root = clips(tmp_path / "set")

    def late(line: str) -> None:
        clock.ahead += 100.0 * line.startswith("steps")

    with pytest.raises(ConfigError) as error:
        train_folder(root, output=tmp_path / "mine", minutes=0.5, callbacks=Callbacks(say=late))
    assert "8 clips" in str(error.value)
    assert " 0 s each" not in str(error.value)


@pytest.mark.campaign
def test_a_minute_is_enough_to_tell_bars_apart(tmp_path):
    root = write_bars(tmp_path / "bars", 30)
    done = train_folder(root, output=tmp_path / "mine", minutes=1.0)
    assert done.held_out
    assert done.result.samples in (20, 40, 60)  # parts, as the time allows
    assert done.result.accuracy >= 0.75
    assert done.seconds < 120
