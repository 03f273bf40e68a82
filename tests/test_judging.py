"""`eval` never shows training data as a score unsaid; `classify` looks at all of all recordings."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dvskit import evaluation, filters, models, open_events, training
from dvskit.datasets import Emulation, open_samples
from dvskit.errors import ConfigError, EventsError, FormatError, ModelError, ShapeError
from dvskit.events import Events
from dvskit.formats import load_events, save_events
from dvskit.models.model import emulation_values
from dvskit.tensors import bin_events
from dvskit.training import Trained
from tests.bars import SIZE, blown_up, config_for, moving_bar, write_bars
from tests.laws import InBlocks, refused, refused_command
from tests.sample_files import video

# The fixture `trained` learned from 10 of 20 recordings of `bars`, 4 chose, 6 were for the test.


@pytest.mark.slow
def test_a_model_is_judged_by_what_it_was_not_trained_on(
    run, trained: Trained, bars: Path, tmp_path: Path
) -> None:
    code, out, err = run("eval", trained.folder, bars)
    assert code == 0
    assert f"accuracy {trained.results['recordings']}" in out
    assert err.count("\n") == 1
    for count in ("14 of 20", "(10)", "(4)", "other 6"):
        assert count in err
    code, out, err = run("eval", trained.folder, bars, "--split", "all")
    assert "of 20 (95 % interval" in out
    assert "14 of which it was trained on or chosen by" in out
    assert "14 of 20" in err
    for part, count in {"train": 10, "validation": 4, "test": 6}.items():
        code, out, err = run("eval", trained.folder, bars, "--split", part, "--json")
        values = json.loads(out)
        assert (values["samples"], values["left_out"]) == (count, 20 - count)
        assert values["trained_on"] == (0 if part == "test" else count)
        assert f"the {count} of the {part} part" in err


@pytest.mark.slow
def test_recordings_are_known_again_under_any_name_and_new_ones_are_judged(
    trained: Trained, bars: Path, tmp_path: Path
) -> None:
    for label in ("left", "right"):
        (tmp_path / label).mkdir()
        for k, file in enumerate(sorted((bars / label).iterdir())):
            shutil.copy(file, tmp_path / label / f"take {k + 100}.npz")
        save_events(moving_bar(label == "right", seed=77), tmp_path / label / "0.npz")
    result = evaluation.evaluate(trained.model, tmp_path)
    assert (result.samples, result.seen, result.left_out) == (8, 0, 14)
    fresh = [sample for sample in open_samples(tmp_path).rows if sample.path.name == "0.npz"]
    result = evaluation.evaluate(trained.model, fresh)
    assert (result.samples, result.left_out, result.notes) == (2, 0, ())


def test_where_nothing_was_held_out_there_is_no_score(trained: Trained, bars: Path) -> None:
    learned = {(row.label, row.name) for row in trained.model.used if row.part == "train"}
    seen = [row for row in open_samples(bars).rows if (row.label, row.path.name) in learned]
    assert len(seen) == 10
    with refused(FormatError, "all 10", "split='all'"):
        evaluation.evaluate(trained.model, seen)
    with refused(ConfigError, "none of the 10", "test"):
        evaluation.evaluate(trained.model, seen, split="test")
    with refused(ConfigError, "'train'"):
        evaluation.evaluate(trained.model, seen, split="trian")


def test_a_span_counts_as_trained_on_if_it_shares_time_with_what_was(
    trained: Trained, bars: Path
) -> None:
    sample = open_samples(bars).rows[0]
    row = next(row for row in trained.model.used if row.name == "0.npz" and row.label == "left")
    model = replace(trained.model, used=(row._replace(part="train", span=(1000, 2000)),))
    for span, known in [((1000, 2000), 1), ((1999, 3000), 1), ((2000, 3000), 0), (None, 1)]:
        part = sample._replace(span=span)
        assert evaluation.evaluate(model, [part], split="all").seen == known, span


def test_a_model_without_a_list_of_its_samples_says_so(
    run, trained: Trained, bars: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained.folder, tmp_path / "old")
    (tmp_path / "old" / "split.csv").unlink()
    other = write_bars(tmp_path / "other", 3)
    code, out, err = run("eval", "old", other)
    assert (code, "of 6 (" in out) == (0, True)
    assert "bars does not record" in err
    (tmp_path / "old" / "split.csv").write_text("part,class\n")
    with refused(ModelError, "split.csv"):
        models.load_model(tmp_path / "old")


def test_files_that_are_no_recordings_are_passed_over_and_damaged_ones_are_not(
    run, trained: Trained, tmp_path: Path
) -> None:
    root = write_bars(tmp_path / "mine", 2)
    (root / "left" / "readme.txt").write_text("These are bars.\n")
    words = ("eval", trained.folder, "mine", "--split", "all")
    code, out, err = run(*words)
    assert (code, "of 4 (" in out) == (0, True)
    assert "mine/left/readme.txt" in err
    lines = ["t,x,y,p", *(f"{k * 100},{k},{k},1" for k in range(16)), "7,oops,3,1"]
    (root / "left" / "bad.csv").write_text("\n".join(lines) + "\n")
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert "bad.csv" in err.splitlines()[-1]
    code, out, err = run(*words, "--salvage")
    assert (code, "of 5 (" in out) == (0, True)
    assert "bad.csv: 11 bytes lost in 1 place" in err


def test_eval_reads_as_from_and_size_say(run, trained: Trained, tmp_path: Path) -> None:
    for label in ("left", "right"):
        (tmp_path / "odd" / label).mkdir(parents=True)
        events = moving_bar(label == "right", seed=5)
        rows = zip(events.x, events.y, events.t, events.p, strict=True)
        text = "".join(f"{x},{y},{t},{int(p)}\n" for x, y, t, p in rows)
        (tmp_path / "odd" / label / "a.dump").write_text(text)
    refused_command(run("eval", trained.folder, "odd"), "odd")
    words = ("eval", trained.folder, "odd", "--from", "csv:x,y,t,p", "--size")
    code, out, err = run(*words, "32x32")
    assert (code, "of 2 (" in out) == (0, True)
    assert "2 recordings of 32x32 fitted to 16x16 (2x2 pixels to one); 0 of 560 events" in err


def test_what_is_no_recording_of_its_classes_is_refused(
    run, trained: Trained, tmp_path: Path
) -> None:
    (tmp_path / "mine" / "up").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    save_events(moving_bar(True, seed=1), tmp_path / "mine" / "up" / "up.npz")
    refused_command(run("eval", trained.folder, "mine"), "up", "left, right")
    refused_command(run("eval", trained.folder, "mine/up"), "mine/up")
    refused_command(run("classify", "empty", "--model", trained.folder), "empty")


# -- windows


def joined(count: int, gap_us: int) -> Events:
    parts = [moving_bar(k % 2 == 0, seed=60 + k) for k in range(count)]
    return Events.concatenate(
        Events(t=each.t + k * gap_us, x=each.x, y=each.y, p=each.p, size=SIZE)
        for k, each in enumerate(parts)
    )


@pytest.mark.parametrize("cut", [1, 100, 5000])
def test_each_window_is_decided_from_rest_and_their_mean_is_the_answer(
    trained: Trained, cut: int
) -> None:
    window_us = trained.model.input.bins * trained.model.input.bin_us
    whole = joined(4, window_us)
    found = evaluation.classify_windows(trained.model, InBlocks(whole, cut))
    start = int(whole.t[0])
    assert [each.start_us - start for each in found.windows] == [k * window_us for k in range(4)]
    for each in found.windows:
        seen = whole.between(each.start_us, each.stop_us)
        assert each.events == len(seen)
        counts = bin_events(seen, bins=6, bin_us=1_500, start_us=each.start_us)
        shares = trained.model.module(counts[:, None].float()).softmax(1)[0].tolist()
        assert list(each.probabilities.values()) == pytest.approx(shares, abs=1e-6)
    assert sum(each.events for each in found.windows) + found.unlooked == len(whole)
    mean = np.mean([each.probabilities["left"] for each in found.windows])
    assert evaluation.classify(trained.model, whole)["left"] == pytest.approx(mean)


@pytest.mark.parametrize(
    ("windows", "whole"),
    [(["", "a", "b"], "a"), (["", "a"], "a"), (["", "", "a"], ""), (["", ""], "")],
)
def test_a_recording_is_unlike_the_training_if_half_of_its_windows_are(windows, whole) -> None:
    found = [evaluation.Decision(0, 1, 1, {"left": 1.0}, unlike) for unlike in windows]
    assert evaluation.Classified(tuple(found), 0).unlike == whole


def test_less_than_half_a_window_at_the_end_is_counted_not_judged(
    run, trained: Trained, tmp_path: Path
) -> None:
    first, window_us = moving_bar(True, seed=1), 9_000

    def with_end(late_us: int) -> Events:
        t = int(first.t[0]) + window_us + late_us
        return Events.concatenate([first, Events(t=[t], x=[3], y=[3], p=[True], size=SIZE)])

    for late_us, windows, unlooked in [(4_000, 1, 1), (4_600, 2, 0), (13_600, 2, 0)]:
        found = evaluation.classify_windows(trained.model, with_end(late_us))
        assert (len(found.windows), found.unlooked) == (windows, unlooked)
    save_events(with_end(100), tmp_path / "a.npz")
    code, out, err = run("classify", "a.npz", "--model", trained.folder)
    assert (code, "mean" in out) == (0, False)
    assert err.startswith("dvskit: note: a.npz: ")
    assert "1 event " in err


def test_spans_are_named_one_by_one_and_empty_ones_are_not(trained: Trained) -> None:
    window_us = trained.model.input.bins * trained.model.input.bin_us
    first, second = moving_bar(True, seed=50), moving_bar(False, seed=51)
    assert first.duration_us < window_us
    later = Events(t=second.t + 3 * window_us, x=second.x, y=second.y, p=second.p, size=SIZE)
    whole = Events.concatenate([first, later])
    labels = evaluation.classify_spans(trained.model, whole)
    start, end = int(whole.t[0]), int(whole.t[-1])
    shares = [
        evaluation.classify(trained.model, each)
        for each in (first, whole.between(start + 3 * window_us, None))
    ]
    names = [name.partition(" (")[0] for name in labels.name]
    assert names == [max(each, key=each.get) for each in shares]
    assert labels.start_us.tolist() == [start, start + 3 * window_us]
    assert labels.stop_us.tolist() == [start + window_us, end + 1]
    assert len(evaluation.classify_spans(trained.model, whole, every_us=window_us // 2)) >= 3
    assert len(evaluation.classify_spans(trained.model, Events.empty(SIZE))) == 0
    with refused(ConfigError, "every_us"):
        evaluation.classify_spans(trained.model, whole, every_us=0)


def test_a_longer_recording_shows_its_windows(run, trained: Trained, tmp_path: Path) -> None:
    save_events(joined(3, 9_000), tmp_path / "long.npz")
    code, out, err = run("classify", "long.npz", "--model", trained.folder)
    assert (code, err) == (0, "")
    values = json.loads(run("classify", "long.npz", "--model", trained.folder, "--json")[1])
    assert values["class"] == out.split()[0]
    assert len(values["windows"]) == 3
    assert values["windows"][1]["start_us"] - values["windows"][0]["start_us"] == 9_000


def test_several_recordings_and_folders_make_a_table(
    run, trained: Trained, bars: Path, tmp_path: Path
) -> None:
    root = write_bars(tmp_path / "mine", 2)
    (root / "left" / "notes.md").write_text("words")
    save_events(blown_up(moving_bar(True, 9), 2), tmp_path / "one.npz")
    save_events(blown_up(moving_bar(True, 8), 2), tmp_path / "two.npz")
    words = ("classify", "mine", "one.npz", "two.npz", "--model", trained.folder)
    code, out, err = run(*words)
    assert code == 0
    skipped, fitted, more = err.splitlines()
    assert "mine/left/notes.md" in skipped
    assert "one.npz of 32x32 fitted to 16x16 (2x2 pixels to one); 0 of 1,120" in fitted
    assert "1 more recording" in more
    _, *rows = out.splitlines()
    files = ["mine/left/0.npz", "mine/left/1.npz", "mine/right/0.npz", "mine/right/1.npz"]
    assert [row.split()[0] for row in rows] == [*files, "one.npz", "two.npz"]
    values = json.loads(run(*words, "--json")[1])
    assert [each["class"] for each in values] == [row.split()[1] for row in rows]
    (root / "right" / "bad.npz").write_bytes(b"PK\x03\x04 no more")
    save_events(Events.empty(SIZE), root / "right" / "none.npz")
    code, out, err = run("classify", "mine", "--model", trained.folder, "--json")
    assert (code, ["error" in each for each in json.loads(out)]) == (1, [False] * 4 + [True] * 2)
    assert "none.npz" in json.loads(out)[-1]["error"]
    assert "2 of 6" in err.splitlines()[-1]


# -- models and recordings by their names


def test_a_name_a_path_and_any_source_classify_as_the_model_and_the_events(
    trained: Trained, bars: Path
) -> None:
    path = bars / "left" / "0.npz"
    recording, model = open_events(path), trained.model
    expected = evaluation.classify(model, load_events(path))
    for source in (path, str(path), recording, recording.between(None, None)):
        assert evaluation.classify(model, source) == pytest.approx(expected)
    cropped = filters.Crop(0, 0, 16, 16)(recording)
    for known in (trained.folder, str(trained.folder)):
        assert evaluation.classify(known, cropped) == pytest.approx(expected)
    shipped = evaluation.classify(models.load_model("nmnist-signed-lif"), EVENTS_34)
    assert evaluation.classify("nmnist-signed-lif", EVENTS_34) == shipped
    assert evaluation.classify(models.find_model("nmnist-signed-lif"), EVENTS_34) == shipped


EVENTS_34 = Events(t=[0, 9, 70_000], x=[3, 20, 33], y=[4, 12, 33], p=[1, 0, 1], size=(34, 34))


@pytest.mark.slow
def test_a_video_is_classified_by_its_events_of_the_models_emulation(
    trained: Trained, tmp_path: Path, run
) -> None:
    own = Emulation(size=SIZE, params="noisy")
    model = replace(trained.model, about={"emulation": emulation_values(own)})
    models.save_model(tmp_path / "mine", model)
    clip = video(tmp_path / "set" / "left" / "a.mp4")
    events = open_samples(tmp_path / "set", size=SIZE, params="noisy").events(0)
    expected = evaluation.classify(model, events)
    assert evaluation.classify(model, clip) == evaluation.classify(model, str(clip)) == expected
    plain = replace(model, about={"emulation": emulation_values(Emulation(size=SIZE))})
    assert evaluation.classify(plain, clip) != expected
    code, out, err = run("classify", clip, "--model", tmp_path / "mine", "--json")
    assert (code, json.loads(out)["probabilities"]) == (0, expected), err
    # Another model of the same name, in the same process:
    others = replace(model, classes=("up", "down"))
    models.save_model(tmp_path / "mine", others, overwrite=True)
    code, out, err = run("classify", clip, "--model", tmp_path / "mine", "--json")
    assert list(json.loads(out)["probabilities"]) == ["up", "down"], err


def test_what_is_no_model_and_what_holds_no_events_are_refused(trained: Trained) -> None:
    model = trained.model
    for call, kind, named in [
        (lambda: evaluation.classify(EVENTS_34, model), ModelError, "Events"),
        (lambda: evaluation.classify("nmnist-signed-li", EVENTS_34), ModelError, "-lif"),
        (lambda: evaluation.classify(model, "nothing.raw"), FormatError, "nothing.raw"),
        (lambda: evaluation.classify(model, np.zeros((3, 4))), EventsError, "source"),
        (lambda: evaluation.classify(model, Events.empty(SIZE)), ShapeError, "events"),
        (lambda: evaluation.evaluate(5, []), ModelError, "int"),
        (lambda: evaluation.evaluate(model, 5), ConfigError, "Samples"),
        (lambda: evaluation.evaluate(model, ["a"]), ConfigError, "Samples"),
    ]:
        with refused(kind, named):
            call()


# -- samples


def test_any_samples_are_judged(trained: Trained, bars: Path) -> None:
    model, samples = trained.model, open_samples(bars)
    result = evaluation.evaluate(model, samples, split="all")
    assert result.confusion.sum(1).tolist() == [10, 10]
    for same in (bars, list(samples.rows)):
        again = evaluation.evaluate(model, same, split="all")
        assert np.array_equal(result.confusion, again.confusion)
    shares = [evaluation.classify(model, events) for events, _ in samples]
    right = [max(s, key=s.get) == row.label for s, row in zip(shares, samples.rows, strict=True)]
    assert result.accuracy == sum(right) / 20


def test_a_run_says_what_of_its_tests_was_not_looked_at(bars: Path, tmp_path: Path) -> None:
    config = config_for(bars, tmp_path / "run", epochs=1)
    trained = training.train(replace(config, input=replace(config.input, bin_us=1_000)))
    (note,) = trained.results["recordings"].notes
    assert "6 recordings" in note
    assert "6 ms" in note


# -- the command that trains by a configuration


@pytest.mark.slow
def test_a_piped_training_writes_a_line_an_epoch(run, bars: Path, tmp_path: Path) -> None:
    training.write_config(config_for(bars, tmp_path / "out"), tmp_path / "bars.toml")
    code, _, err = run("train", "bars.toml")
    assert code == 0
    first, second, _ = err.splitlines()
    assert (first.split(",")[0], second.split(",")[0]) == ("epoch 1 of 2", "epoch 2 of 2")
    code, _, err = run("-q", "train", "bars.toml")
    assert (code, err.count("\n")) == (0, 1)
    assert f"{tmp_path / 'out'}: was finished before (2 epochs)" in err


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("data.recordings.path=none", "none"),
        ("network.classes=3", "network.classes = 3"),
        ("output=bars.toml/run", "bars.toml/run"),
    ],
)
def test_a_training_that_cannot_begin_leaves_nothing(
    run, bars: Path, tmp_path: Path, change: str, named: str
) -> None:
    training.write_config(config_for(bars, Path("out")), tmp_path / "bars.toml")
    code, out, err = run("train", "bars.toml", "--set", change)
    assert (code, out) != (0, "")
    assert named in err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["bars.toml"]
