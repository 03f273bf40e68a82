"""`dvskit train FOLDER`: what is chosen and why, in how much time, and what it leaves."""

from __future__ import annotations

import itertools
import json
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

import dvskit
from dvskit import evaluation, training
from dvskit.datasets import Emulation, open_samples, opening, splits
from dvskit.errors import ConfigError, DvskitError, FittedWarning, ModelError, OutputError
from dvskit.evaluation.judging import open_for
from dvskit.events import Events
from dvskit.formats import save_events
from dvskit.networks import Layered
from dvskit.training import Callbacks, Config, DataConfig, Progress, train_folder
from dvskit.training.choose_config import ChosenConfig, choose
from dvskit.training.feed import mirrored
from dvskit.training.folder_notes import FolderNote, RunNotes, TooLittleTimeError
from dvskit.training.inspect_folder import inspect_samples
from dvskit.training.model_tables import emulation_from, emulation_values
from dvskit.training.models import (
    load_start,
    parameters_of_last,
    with_classes,
)
from dvskit.training.repeated import FixedLayers, layers_before_dense
from dvskit.training.running import TrainingRun
from dvskit.training.sets import load_sets
from dvskit.training.toml_config import write_config
from tests.bars import blown_up, moving_bar, write_bars
from tests.sample_files import folder, video
from tests.test_depth import SWING, write_npz

QUICK = {"loop.steps": "1"}  # ten steps in all


pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def chosen_for(root: Path, **keys: object) -> ChosenConfig:
    entry = DataConfig(path=str(root), name="samples")
    return choose(inspect_samples(open_samples(root), root), replace(Config(data=(entry,)), **keys))  # type: ignore[arg-type]


def clips(root: Path, people: int = 2, trials: int = 2) -> Path:
    names = [
        f"{label}/p{person + 1}_t{trial}.mp4"
        for label in ("bow", "wave")
        for person in range(people)
        for trial in range(trials)
    ]
    return folder(root, *names)


def depth_clips(root: Path) -> Path:
    names = itertools.product(("bow", "wave"), ("p1", "p2"), ("t0", "t1"))
    for k, (label, person, trial) in enumerate(names):
        path = root / label / f"{person}_{trial}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_npz(path, replace(SWING, depth_m=SWING.depth_m + 0.01 * k))
    return root


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("left_wave", "right_wave"), ("right_wave", "left_wave")),
        (("clockwise", "counter-clockwise"), ("counter-clockwise", "clockwise")),
        (("arm anticlockwise", "arm clockwise"), ("arm clockwise", "arm anticlockwise")),
        (("clap", "right_hand_wave", "0"), (None, None, None)),
    ],
)
def test_a_mirror_of_a_mirror_is_the_class_itself(names, expected):
    found = tuple(mirrored(name, names) for name in names)
    assert found == expected
    assert all(mirrored(other, names) == name for name, other in zip(names, found, strict=True)
               if other is not None)  # fmt: skip


def test_two_people_are_all_trained_on_and_each_is_left_out_once(tmp_path):
    chosen = chosen_for(clips(tmp_path / "set"))
    (entry,) = chosen.config.data
    assert (entry.kind, entry.by, entry.validation, entry.whole) == ("videos", "group", 0.0, True)
    (one,) = training.sets.load_sets(chosen.config)
    assert [len(part) for part in one.parts] == [8, 0, 0]
    assert chosen.left_out == 2
    (split,) = (str(each) for each in chosen.choices if each.what == "split")
    assert "each left out in turn, 8/0/0 for training, validation and test" in split
    assert "people it never saw" in split


@pytest.mark.parametrize(
    ("people", "trials", "many", "held", "left_out"),
    [
        (1, 1, 200, 0, 0), (1, 3, 200, 0, 3), (3, 2, 200, 0, 3), (8, 2, 200, 0, 5),
        (1, 12, 24, 5, 0), (3, 2, 12, 4, 0),
    ],
)  # fmt: skip
def test_what_judges_follows_from_how_much_there_is(
    tmp_path, monkeypatch, people, trials, many, held, left_out
):
    monkeypatch.setattr(training.choose_config, "_MANY", many)
    chosen = chosen_for(clips(tmp_path / "set", people, trials))
    assert sum(len(part) for part in chosen.parts) == 2 * people * trials
    assert (len(chosen.parts.test), chosen.left_out) == (held, left_out)
    assert (chosen.config.loop.keep == "best") == (len(chosen.parts.validation) > 0)


def test_samples_of_few_people_are_varied_further(tmp_path):
    few, many = (chosen_for(clips(tmp_path / str(people), people, 2)).config for people in (2, 5))
    for name in ("shift_px", "rotate_deg", "zoom", "time_scale"):
        wide, narrow = (getattr(each.data[0].augment, name) for each in (few, many))
        assert wide > narrow > 0, name


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
    save_events(blown_up(moving_bar(True, 1), 3), root / "right" / "large.npz")
    assert chosen_for(root).config.network.width == 128


def test_flipped_samples_have_the_label_of_the_mirrored_class(tmp_path):
    config = chosen_for(write_bars(tmp_path / "bars", 12)).config
    still = replace(config.data[0].augment, shift_px=0, rotate_deg=0, zoom=0, swap_polarity=0,
                    drop=0, later_us=0, flip_x=1.0)  # fmt: skip
    entry = replace(config.data[0], augment=still)
    feed = training.feed.load_feed(replace(config, data=(entry,)))
    counts, labels = next(feed.train.epoch(0))
    at = torch.arange(16.0)
    on = counts[:, :, 1].sum(2)  # (T, B, W)
    places = (on * at).sum(2) / on.sum(2).clamp(min=1e-9)  # where the front of the bar is
    first, last = (places[k] for k in (1, int(len(places) * 0.6)))
    assert (((last > first).long()) == labels).all()  # left, right


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["recordings", "videos", "mixed"])
def test_a_folder_becomes_a_model_with_all_beside_it(tmp_path, run, kind):
    root = write_bars(tmp_path / "set", 5) if kind != "videos" else tmp_path / "set"
    for k in range(5 * (kind != "recordings")):
        for label in ("left", "right"):
            video(root / label / f"clip{k}.mp4", seed=k + 20 * (label == "left"))
    words = ["--set", "loop.steps=1", "--seed", "2"]
    code, out, err = run("train", root, "-o", "mine", "--minutes", "20", *words)
    assert code == 0, err
    count = 20 if kind == "mixed" else 10
    assert out.startswith("judged by 3 trainings that left samples out; the model learned from all")
    assert f" % of {count} (95 % interval " in out
    assert "true \\ answer" in out
    assert "window" in err
    for name in ("model.toml", "weights.safetensors", "README.md", "confusion.png", "curves.png",
                 "log.csv", "config.toml", "split.csv", "judged.csv"):  # fmt: skip
        assert (tmp_path / "mine" / name).stat().st_size > 0
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "--seed 2 --from scratch" in card
    assert "steps taken: 10," in card
    assert "Judged by 3 trainings that left samples out; the model learned from all." in card
    assert str(tmp_path) not in card
    config = training.load_config(tmp_path / "mine" / "config.toml")
    assert config.data[0].kind == kind
    model = training.load_model(tmp_path / "mine")
    assert ("emulation" in model.about) == (kind != "recordings")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FittedWarning)
        again = training.train(replace(config, output=str(tmp_path / "again")))
    weights = model.module.state_dict()
    assert all(torch.equal(value, weights[key].cpu())
               for key, value in again.model.module.state_dict().items())  # fmt: skip
    file = root / "left" / ("0.npz" if kind == "recordings" else "clip0.mp4")
    code, out, err = run("classify", file, root / "right", "--model", "mine")
    assert code == 0, err
    assert len(out.splitlines()) == 2 + len(list((root / "right").iterdir()))
    code, out, _ = run("eval", "mine", root, "--split", "all")
    assert (code, out.startswith("nothing was held out: ")) == (0, True)


@pytest.mark.slow
def test_videos_are_judged_as_the_models_file_says_its_clips_were_emulated(tmp_path):
    root = clips(tmp_path / "set")
    done = train_folder(root, output=tmp_path / "mine", changes=QUICK)
    model = training.load_model(tmp_path / "mine")
    how = model.emulation
    assert (how.size, how.whole, how.params.threshold_on) == ((128, 128), True, 0.3)
    assert emulation_from({"emulation": emulation_values(how)}, (1, 1), "here") == how
    (one,) = training.sets.load_sets(training.load_config(done.trained.folder / "config.toml"))
    held = one.parts.test
    opened = open_for(model, root)
    for row in held.rows:
        at = [other.name for other in opened.rows].index(row.name)
        assert opened.events(at) == held.events(held.rows.index(row))
    assert training.load_model("nmnist-signed-lif").emulation == Emulation(size=(34, 34))
    with pytest.raises(ModelError, match=r"here: \[emulation\] is wrong: .*treshold"):
        emulation_from({"emulation": {"sensor": {"treshold": 1}}}, (1, 1), "here")


@pytest.mark.slow
def test_depth_clips_are_shaded_before_a_sensor_and_judged_and_classified_as_it_saw_them(
    tmp_path, run
):
    root = depth_clips(tmp_path / "set")
    code, out, err = run("train", root, "-o", "mine", "--set", "loop.steps=1")
    assert code == 0, err
    assert "8 depth clips of 60x104, 0.3 to 0.3 s; 2 classes of 4, 2 people" in err
    assert "Samples of one person are alike" in (tmp_path / "mine" / "README.md").read_text()
    model = training.load_model(tmp_path / "mine")
    assert model.emulation.params == dvskit.EmulatorParams.preset("DVS128")
    (one,) = training.sets.load_sets(training.load_config(tmp_path / "mine" / "config.toml"))
    opened = open_for(model, root)
    for row in one.parts.test.rows:
        at = [other.name for other in opened.rows].index(row.name)
        assert opened.events(at) == one.parts.test.events(one.parts.test.rows.index(row))
    code, out, err = run("classify", root / "bow" / "p1_t1.npz", "--model", "mine")
    assert (code, err) == (0, "")
    assert out.split()[0] in model.classes
    video(root / "bow" / "p3_t0.mp4")
    code, _, err = run("train", root, "-o", "other")
    assert code == 1
    assert "p1_t0.npz: is a depth clip, next to a video, " in err


def test_as_many_steps_are_taken_as_there_is_time_for(tmp_path, monkeypatch):
    root = write_bars(tmp_path / "set", 10)
    monkeypatch.setattr(TrainingRun, "seconds_a_step", lambda self: 5.0)
    told: list[Config] = []

    def only_told(config: Config, *_: object, **__: object) -> None:
        told.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(training.folder_run, "train_sets", only_told)
    for minutes in (20.0, 300.0):  # a busy machine needs one of them
        with pytest.raises(KeyboardInterrupt):
            train_folder(root, output=tmp_path / "mine", minutes=minutes)
    some, all_ = (config.loop.epochs * config.loop.steps for config in told)
    assert 20 <= some <= 1200 / 5 / 3  # as many again, twice, without a third of the samples
    assert all_ == 300
    with pytest.raises(ConfigError, match=r"a step takes 5 s; --minutes \d+\.\d leaves time"):
        train_folder(root, output=tmp_path / "other", minutes=0.05)
    assert not (tmp_path / "other").exists()


@pytest.mark.slow(seconds=4)
def test_a_folder_is_opened_and_split_once(tmp_path, monkeypatch):
    calls: Counter[str] = Counter()
    for module, name in ((opening, "_find"), (splits, "check_leaks")):
        called = getattr(module, name)

        def counted(*given: object, name: str = name, called=called, **more: object) -> object:
            calls[name] += 1
            return called(*given, **more)

        monkeypatch.setattr(module, name, counted)
    train_folder(write_bars(tmp_path / "set", 100), output=tmp_path / "mine", changes=QUICK)
    assert calls == {"_find": 1, "check_leaks": 1}


@pytest.mark.slow
def test_an_interrupted_run_goes_on_with_the_steps_that_were_chosen(tmp_path, monkeypatch):
    root = write_bars(tmp_path / "set", 10)

    def stop(now: Progress) -> None:
        if now.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_folder(root, output=tmp_path / "mine", changes=QUICK,
                     callbacks=Callbacks(progress=stop))  # fmt: skip
    monkeypatch.setattr(
        TrainingRun, "seconds_a_step", lambda self: pytest.fail("is measured again")
    )
    done = train_folder(root, output=tmp_path / "mine", changes=QUICK)
    config = training.load_config(tmp_path / "mine" / "config.toml")
    whole = training.train(replace(config, output=str(tmp_path / "whole")))
    for key, value in whole.model.module.state_dict().items():
        assert torch.equal(value, done.trained.model.module.state_dict()[key])
    with pytest.raises(OutputError, match="of another configuration: seed = 0, now 1; name"):
        train_folder(root, output=tmp_path / "mine", changes=QUICK, seed=1)
    other = QUICK | {"loop.learning_rate": "0.1"}
    with pytest.raises(OutputError, match=r"loop\.learning_rate = 0\.003, now 0\.1; name"):
        train_folder(root, output=tmp_path / "mine", changes=other)
    save_events(moving_bar(True, 99), root / "right" / "99.npz")
    with pytest.raises(OutputError, match=r"on other samples: right/99\.npz is new; name"):
        train_folder(root, output=tmp_path / "mine", changes=QUICK)
    (root / "right" / "99.npz").unlink()
    save_events(moving_bar(True, 99), root / "right" / "1.npz", overwrite=True)
    with pytest.raises(OutputError, match=r"on other samples: right/1\.npz has changed; name"):
        train_folder(root, output=tmp_path / "mine", changes=QUICK)


@pytest.mark.slow
def test_a_run_killed_ahead_of_its_first_checkpoint_keeps_its_steps(tmp_path, monkeypatch):
    root = write_bars(tmp_path / "set", 5)

    def stop(now: Progress) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainingRun, "seconds_a_step", lambda self: 2.0)
    monkeypatch.setattr(training.running, "_EVERY_SECONDS", -1.0)
    with pytest.raises(KeyboardInterrupt):
        train_folder(root, output=tmp_path / "mine", minutes=2, callbacks=Callbacks(progress=stop))
    assert not (tmp_path / "mine" / "checkpoint.safetensors").exists()
    config = training.load_config(tmp_path / "mine" / "config.toml")
    assert 20 <= config.loop.epochs * config.loop.steps < 60
    monkeypatch.setattr(
        TrainingRun, "seconds_a_step", lambda self: pytest.fail("is measured again")
    )
    done = train_folder(root, output=tmp_path / "mine", minutes=2)
    assert training.load_config(tmp_path / "mine" / "config.toml") == config
    assert len(done.trained.history) == config.loop.epochs


@pytest.mark.slow
def test_a_finished_run_is_judged_again_and_not_trained_again(tmp_path, run):
    root = write_bars(tmp_path / "set", 10)
    words = ["train", root, "-o", "mine", "--set", "loop.steps=1"]
    code, first, _ = run(*words)
    assert code == 0
    before = (tmp_path / "mine" / "log.csv").read_text()
    code, second, err = run(*words)
    assert (code, second) == (0, first)
    assert "mine: was finished before (10 epochs)" in err
    assert (tmp_path / "mine" / "log.csv").read_text() == before
    code, _, err = run("train", "mine/config.toml")
    assert code == 0
    assert "was finished before" in err


@pytest.mark.slow
def test_a_run_that_is_slower_than_measured_ends_an_epoch_early(tmp_path):
    root = write_bars(tmp_path / "set", 10)
    config = chosen_for(root, output=str(tmp_path / "mine")).config
    config = replace(config, loop=replace(config.loop, steps=1))
    notes: list[str] = []
    left, done = training.folder_run._train_until(
        config, load_sets(config), 0.0, Callbacks(note=notes.append)
    )
    assert len(done.history) == 1
    assert notes == ["the machine is slower than measured: it takes 1 of 10 epochs"]
    assert left == training.load_config(tmp_path / "mine" / "config.toml")
    again = training.train(replace(left, output=str(tmp_path / "again")))
    weights = again.model.module.state_dict()
    for key, value in done.model.module.state_dict().items():
        assert torch.equal(value, weights[key])


def test_a_chosen_configuration_is_written_as_it_is_read(tmp_path):
    config = chosen_for(clips(tmp_path / "set")).config
    write_config(config, tmp_path / "config.toml")
    text = (tmp_path / "config.toml").read_text()
    write_config(training.load_config(tmp_path / "config.toml"), tmp_path / "again.toml")
    assert (tmp_path / "again.toml").read_text() == text


@pytest.mark.slow
def test_a_minute_is_enough_to_tell_bars_apart(tmp_path):
    root = write_bars(tmp_path / "bars", 30)
    done = train_folder(root, output=tmp_path / "mine", minutes=1.0)
    assert done.held_out
    assert done.result.samples in (20, 40, 60)  # parts, as the time allows
    assert done.result.accuracy >= 0.75
    assert done.seconds < 120


@pytest.mark.slow
def test_a_result_is_printed_as_json_for_programs(tmp_path, run):
    root = write_bars(tmp_path / "bars", 10)
    words = ["train", root, "-o", "mine", "--json", "--set", "loop.steps=1", "--minutes", "20"]
    code, out, err = run(*words)
    assert code == 0, err
    values = json.loads(out)
    assert values["classes"] == ["left", "right"]
    assert sum(map(sum, values["confusion"])) == values["samples"] == 20
    assert (values["people"], values["judged"].split()[:3]) == ({}, ["judged", "by", "3"])
    assert 0 <= values["accuracy"] <= 1
    assert json.loads(run(*words)[1]) == values  # judged again
    (tmp_path / "a.toml").write_text("")
    code, _, err = run("train", "a.toml", "--json")
    assert (code, "a.toml: --json is only for a folder" in err) == (2, True)


@pytest.mark.slow
def test_the_layers_of_a_start_before_the_first_dense_one_stay_as_they_are(tmp_path, trained):
    root = tmp_path / "set"
    for seed, label in enumerate(["left", "right", "other"] * 10, 100):  # others than it has seen
        (root / label).mkdir(parents=True, exist_ok=True)
        save_events(moving_bar(label == "right", seed), root / label / f"{seed}.npz")
    fast = QUICK | {"loop.learning_rate": "0.1"}
    done = train_folder(root, output=tmp_path / "mine", start=str(trained.folder), changes=fast)
    config = training.load_config(tmp_path / "mine" / "config.toml")
    assert (config.input, config.network.channels) == (trained.model.input, (4, 4))
    assert len(done.result.classes) == 3
    assert config.loop.trained_layers == "dense"
    before, now = trained.model.module.state_dict(), done.trained.model.module.state_dict()
    same = {key for key in before if torch.equal(before[key], now[key])}
    kept = [id(value) for each in layers_before_dense(trained.model.module)
            for value in each.state_dict(keep_vars=True).values()]  # fmt: skip
    whole = trained.model.module.state_dict(keep_vars=True)
    assert same == {key for key, value in whole.items() if id(value) in kept}
    assert same
    assert {key for key, _ in parameters_of_last(done.trained.model.module)}.isdisjoint(same)
    with pytest.raises(ConfigError, match="no layer with weights before a dense one"):
        FixedLayers(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)))
    with pytest.raises(ConfigError, match=r"its network is another one \(.* differs\)"):
        load_start(with_classes(Layered(), 2).build(), trained.model, ("a", "b"))


def test_a_network_is_given_other_classes_where_its_last_layer_stands():
    network = Layered(layers=("4C3", "lif", "20", "V2", "max"), classes=10)
    assert with_classes(network, 3).layers == ("4C3", "lif", "6", "V2", "max")
    assert with_classes(Layered(), 4).layers[-1] == "4"


def one_class(root: Path) -> Path:
    return folder(root, "bow/1.mp4", "bow/2.mp4")


def damaged(root: Path) -> Path:
    clips(root)
    (root / "bow" / "p1_t0.mp4").write_bytes(b"not a video, but as long as one" * 20)
    return root


def one_frame(root: Path) -> Path:
    clips(root)
    video(root / "bow" / "p3_t0.mp4", frames=1)
    return root


WRONG: dict[str, tuple[Callable[[Path], Path], list[str], int, str]] = {
    "none": (lambda root: root, [], 1, "set: no such file"),
    "empty": (
        lambda root: root.mkdir() or root,
        [],
        1,
        "holds no folder; make one folder per class",
    ),
    "one class": (one_class, [], 2, "set: one class, bow; give a folder for each"),
    "damaged": (damaged, [], 1, "p1_t0.mp4: "),
    "one frame": (one_frame, [], 1, "p3_t0.mp4: 1 frame, but at least two are needed"),
    "minutes": (clips, ["--minutes", "0"], 2, "minutes"),
    "model": (clips, ["--from", "no-such-model"], 1, "neither a model folder nor a shipped model"),
    "sweep": (clips, ["--seeds", "2"], 2, "need a configuration; train the folder once"),
    "place": (clips, ["-o", "file/run"], 1, "cannot be made"),
    "key": (clips, ["--set", "loop.epoch=3"], 2, "unknown key loop.epoch"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_a_line_and_nothing_is_left(tmp_path, run, case):
    make, words, code, message = WRONG[case]
    (tmp_path / "file").write_text("")
    root = make(tmp_path / "set")
    ended, _, err = run("train", root, "-o", "mine", *words)
    assert ended == code
    assert message in err.splitlines()[-1].replace("│", "") or message in err
    assert not (tmp_path / "mine").exists()


@pytest.mark.slow
def test_with_salvage_what_cannot_be_read_is_left_out_and_named(tmp_path, run):
    root = damaged(tmp_path / "set")
    video(root / "bow" / "p3_t0.mp4", frames=1)
    code, _, err = run("train", root, "-o", "mine", "--salvage", "--set", "loop.steps=1")
    assert code == 0, err
    for name in ("bow/p1_t0.mp4", "bow/p3_t0.mp4"):
        assert f"{root / name}: left out: " in err
    model = training.load_model(tmp_path / "mine")
    assert len(model.used) == 7


@pytest.mark.slow
def test_one_sample_of_a_class_is_trained_on(tmp_path):
    root = folder(tmp_path / "set", "bow/1.mp4", "wave/1.mp4", "wave/2.npz")
    with pytest.warns(FittedWarning, match="12x10 fitted to 128x128"):
        done = train_folder(root, output=tmp_path / "mine", changes=QUICK)
    assert (done.held_out, done.result.samples) == (False, 3)
    kept = json.loads((tmp_path / "mine" / "notes.json").read_text())["notes"]
    kinds = {each["kind"] for each in kept}
    assert {"few clips", "start"} <= kinds


def test_recordings_without_any_event_are_said(tmp_path):
    for label in ("a", "b"):
        (tmp_path / "set" / label).mkdir(parents=True)
        save_events(Events.empty((16, 16)), tmp_path / "set" / label / "1.npz")
    with pytest.raises(DvskitError, match="that were read have no duration"):
        train_folder(tmp_path / "set", output=tmp_path / "mine")


@pytest.mark.slow
def test_a_run_without_validation_keeps_its_last_weights(tmp_path):
    config = chosen_for(write_bars(tmp_path / "bars", 12), output=str(tmp_path / "run")).config
    config = replace(config, loop=replace(config.loop, epochs=2, steps=1))
    done = training.train(config)
    assert done.model.about["scores"]["epoch"] == 1
    assert "accuracy" not in done.history[0]
    assert done.model.reject == evaluation.Reject()
    assert np.isfinite([row["loss"] for row in done.history]).all()


@pytest.mark.slow
def test_a_view_and_a_cloud_with_a_model_show_what_it_decides_on(tmp_path):
    from dvskit.cli._clips import open_shown
    from dvskit.cli._options import Reading

    root = clips(tmp_path / "set")
    train_folder(root, output=tmp_path / "mine", changes=QUICK)
    model = training.load_model(tmp_path / "mine")
    opened = open_for(model, root)
    shown = open_shown(opened.rows[0].file, Reading(), model)
    assert shown.load() == opened.events(0)
    assert any("the sensor of the model's clips" in text for text in shown.assumptions)
    assert open_shown(opened.rows[0].file, Reading()).size == (48, 32)


def test_notes_warn_of_few_clips_and_of_one_background(tmp_path):
    def warnings_of(root: Path) -> list[FolderNote]:
        return inspect_samples(open_samples(root), root).warnings

    few = clips(tmp_path / "few")
    said = warnings_of(few)
    assert said[0] == (
        "each class has fewer than 5 clips: record more, of several people, if others are to be "
        "recognised"
    )
    more = tmp_path / "more"
    for label, count in (("bow", 2), ("wave", 6)):
        for k in range(count):
            one_place(more / label / f"{k}.mp4", seed=k if label == "bow" else 0, shade=k)
    assert (said[0].kind, said[0].values) == (
        "few clips",
        {"classes": ["bow", "wave"], "all": True, "wanted": 5},
    )
    first, second = warnings_of(more)
    assert first.values == {"classes": ["bow"], "all": False, "wanted": 5}
    assert (second.kind, second.values) == ("one background", {"classes": ["wave"], "all": False})
    assert first.startswith("class bow has fewer than 5 clips: ")
    assert second == (
        "class wave has one background in all clips that were looked at: record some at another "
        "place, or the model may learn the place"
    )
    assert warnings_of(write_bars(tmp_path / "bars", 6)) == []


def test_notes_are_kept_for_other_programs_until_another_run_begins(tmp_path):
    said: list[str] = []
    run = tmp_path / "run"
    notes = RunNotes(run, said.append, again=False)
    notes("a line")
    notes(FolderNote("2 of 3 files", "skipped files", count=2))
    assert said == ["a line", "2 of 3 files"]
    assert not run.exists()  # the run may fail before it makes its folder
    notes.write()
    kept = {"kind": "skipped files", "text": "2 of 3 files", "count": 2}
    assert json.loads((run / "notes.json").read_text()) == {"notes": [kept]}
    more = RunNotes(run, said.append, again=True)
    more.keep(FolderNote("2 of 3 files", "skipped files", count=2))
    with pytest.raises(ConfigError), more.errors():
        raise TooLittleTimeError("use more", 3.5)
    last = {"kind": "too little time", "text": "use more", "minutes": 3.5}
    assert json.loads((run / "notes.json").read_text()) == {"notes": [kept, last]}
    for text in ("[]", "\0", '{"notes": 3}'):
        (run / "notes.json").write_text(text)
        RunNotes(run, said.append, again=True).write()
        assert json.loads((run / "notes.json").read_text()) == {"notes": []}
    RunNotes(run, said.append, again=False)
    assert not (run / "notes.json").exists()


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
