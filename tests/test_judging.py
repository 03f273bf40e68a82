"""`eval` never shows training data as a score unsaid; `classify` looks at all of all recordings."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dvskit import evaluation, training
from dvskit.datasets import Samples, open_samples
from dvskit.errors import ConfigError, FormatError, ModelError, ShapeError
from dvskit.events import Events, EventsSource
from dvskit.formats import load_events, save_events
from dvskit.tensors import bin_events
from dvskit.training import Trained, inputs
from dvskit.training.model_tables import fingerprint
from dvskit.training.scores import headlines
from dvskit.training.toml_config import config_values, to_toml
from tests.bars import SIZE, blown_up, config_for, moving_bar, write_bars

# The fixture `trained` learned from 10 of 20 recordings of `bars`, 4 chose, 6 were for the test.


@pytest.mark.slow
def test_a_model_is_judged_by_what_it_was_not_trained_on(
    run, trained: Trained, bars: Path, tmp_path: Path
) -> None:
    code, out, err = run("eval", trained.folder, bars)
    assert code == 0
    assert out.startswith("\n".join([*headlines(trained.results["recordings"]), ""]))
    assert err == (
        "dvskit: note: 14 of 20 recordings were trained on (10) or chosen by (4); "
        "judged: the other 6\n"
    )
    code, out, err = run("eval", trained.folder, bars, "--split", "all")
    assert "of 20 (95 % interval" in out
    assert ", 14 of which it was trained on or chosen by\n" in out
    assert "14 of 20 recordings were trained on (10) or chosen by (4); judged: all" in err
    for part, count in {"train": 10, "validation": 4, "test": 6}.items():
        code, out, err = run("eval", trained.folder, bars, "--split", part, "--json")
        values = json.loads(out)
        assert (values["samples"], values["left_out"]) == (count, 20 - count)
        assert values["trained_on"] == (0 if part == "test" else count)
        assert f"judged: the {count} of the {part} part" in err
    code, out, err = run("plot", "confusion", trained.folder, bars, "-o", "c.png")
    assert (code, (tmp_path / "c.png").is_file()) == (0, True)
    assert "judged: the other 6" in err


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
    samples = open_samples(bars).rows
    learned = {row.fingerprint for row in trained.model.used if row.part == "train"}
    seen = [sample for sample in samples if fingerprint(sample.path) in learned]
    assert len(seen) == 10
    with pytest.raises(FormatError, match=r"or chosen by all 10 recordings; give .*--split all"):
        evaluation.evaluate(trained.model, seen)
    with pytest.raises(ConfigError, match="none of the 10 recordings are known to be in the test"):
        evaluation.evaluate(trained.model, seen, split="test")
    with pytest.raises(ConfigError, match="did you mean 'train'"):
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
    assert "bars does not record which recordings it was trained on: if they are among" in err
    (tmp_path / "old" / "split.csv").write_text("part,class\n")
    with pytest.raises(ModelError, match=r"split.csv: is not a list of training samples.*remove"):
        training.load_model(tmp_path / "old")


def test_files_that_are_no_recordings_are_passed_over_and_damaged_ones_are_not(
    run, trained: Trained, tmp_path: Path
) -> None:
    root = write_bars(tmp_path / "mine", 2)
    (root / "left" / "readme.txt").write_text("These are bars.\n")
    code, out, err = run("eval", trained.folder, "mine", "--split", "all")
    assert (code, "of 4 (" in out) == (0, True)
    assert "note: mine/left/readme.txt: skipped, not a recording" in err
    lines = ["t,x,y,p", *(f"{k * 100},{k},{k},1" for k in range(16)), "7,oops,3,1"]
    (root / "left" / "bad.csv").write_text("\n".join(lines) + "\n")
    code, out, err = run("eval", trained.folder, "mine", "--split", "all")
    assert (code, out) == (1, "")
    assert "bad.csv" in err.splitlines()[-1]
    code, out, err = run("eval", trained.folder, "mine", "--split", "all", "--salvage")
    assert (code, "of 5 (" in out) == (0, True)
    assert "bad.csv: 11 bytes lost in 1 place," in err


def test_eval_reads_as_from_and_size_say(run, trained: Trained, tmp_path: Path) -> None:
    for label in ("left", "right"):
        (tmp_path / "odd" / label).mkdir(parents=True)
        events = moving_bar(label == "right", seed=5)
        rows = zip(events.x, events.y, events.t, events.p, strict=True)
        text = "".join(f"{x},{y},{t},{int(p)}\n" for x, y, t, p in rows)
        (tmp_path / "odd" / label / "a.dump").write_text(text)
    assert "holds no recordings" in run("eval", trained.folder, "odd")[2]
    words = ("--from", "csv:x,y,t,p", "--size", "16x16")
    code, out, err = run("eval", trained.folder, "odd", *words)
    assert (code, "of 2 (" in out, err) == (0, True, "")
    assert run("eval", trained.folder, "odd", "--size", "16")[0] == 2
    code, out, err = run("eval", trained.folder, "odd", "--from", "csv:x,y,t,p", "--size", "32x32")
    assert "2 recordings of 32x32 fitted to 16x16 (2x2 pixels to one); 0 of 560 events" in err


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
    blocks = [whole[k : k + cut] for k in range(0, len(whole), cut)]

    class Cut(EventsSource):
        def __iter__(self):
            yield from blocks

    found = evaluation.classify_windows(trained.model, Cut(whole))
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


def test_less_than_half_a_window_at_the_end_is_counted_not_judged(
    run, trained: Trained, tmp_path: Path
) -> None:
    first, window_us = moving_bar(True, seed=1), 9_000
    start = int(first.t[0])
    for late_us, windows, unlooked in [(4_000, 1, 1), (4_600, 2, 0), (13_600, 2, 0)]:
        t = start + window_us + late_us
        end = Events(t=[t], x=[3], y=[3], p=[True], size=SIZE)
        found = evaluation.classify_windows(trained.model, Events.concatenate([first, end]))
        assert (len(found.windows), found.unlooked) == (windows, unlooked)
    t = start + window_us + 100
    end = Events(t=[t], x=[3], y=[3], p=[True], size=SIZE)
    save_events(Events.concatenate([first, end]), tmp_path / "a.npz")
    code, out, err = run("classify", "a.npz", "--model", trained.folder)
    assert (code, "mean" in out) == (0, False)
    assert err == ("dvskit: note: a.npz: not used: 1 event after the last whole window\n")
    with pytest.raises(ShapeError, match="no events to classify"):
        evaluation.classify(trained.model, Events.empty(SIZE))


def test_a_longer_recording_shows_its_windows(run, trained: Trained, tmp_path: Path) -> None:
    save_events(joined(3, 9_000), tmp_path / "long.npz")
    code, out, err = run("classify", "long.npz", "--model", trained.folder)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert ", the mean of 3 windows of 9.000 ms" in lines[0]
    assert [line.split()[:2] for line in lines[-3:]] == [
        ["0", "us"],
        ["9.000", "ms"],
        ["18.000", "ms"],
    ]
    values = json.loads(run("classify", "long.npz", "--model", trained.folder, "--json")[1])
    assert values["class"] == lines[0].split()[0]
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
    assert err.splitlines() == [
        "dvskit: note: mine/left/notes.md: skipped, not a recording",
        "dvskit: note: one.npz of 32x32 fitted to 16x16 (2x2 pixels to one); 0 of 1,120 events "
        "left out",
        "dvskit: note: 1 more recording of 32x32 fitted to 16x16 (2x2 pixels to one); 0 of 1,120 "
        "events left out",
    ]
    head, *rows = out.splitlines()
    assert head.split() == ["recording", "class", "sure", "or", "windows"]
    files = ["mine/left/0.npz", "mine/left/1.npz", "mine/right/0.npz", "mine/right/1.npz"]
    assert [row.split()[0] for row in rows] == [*files, "one.npz", "two.npz"]
    assert {len(row) for row in rows} == {len(head)}
    values = json.loads(run(*words, "--json")[1])
    assert [each["class"] for each in values] == [row.split()[1] for row in rows]
    shares = evaluation.classify(trained.model, load_events(tmp_path / files[0]))
    assert values[0]["probabilities"] == pytest.approx(shares)
    (root / "right" / "bad.npz").write_bytes(b"PK\x03\x04 no more")
    save_events(Events.empty(SIZE), root / "right" / "none.npz")
    code, out, err = run("classify", "mine", "--model", trained.folder, "--json")
    assert (code, [len(each) for each in json.loads(out)]) == (1, [6, 6, 6, 6, 2, 2])
    assert "none.npz: no events to classify" in json.loads(out)[-1]["error"]
    assert (
        err.splitlines()[-1]
        == "dvskit: error: 2 of 6 recordings could not be classified: see above"
    )
    (tmp_path / "empty").mkdir()
    code, out, err = run("classify", "empty", "--model", trained.folder)
    assert (code, out) == (1, "")
    assert err.startswith("dvskit: error: empty: holds no recordings; it must have files of")


def test_a_folder_of_other_classes_is_told_with_the_way_out(
    run, trained: Trained, bars: Path, tmp_path: Path
) -> None:
    save_events(moving_bar(True, seed=1), tmp_path / "up.npz")
    (tmp_path / "mine" / "up").mkdir(parents=True)
    shutil.copy(tmp_path / "up.npz", tmp_path / "mine" / "up")
    code, out, err = run("eval", trained.folder, "mine")
    assert (code, out) == (1, "")
    assert err.startswith(
        "dvskit: error: no class of bars: up; it knows left, right: give samples of"
    )
    code, out, err = run("eval", trained.folder, "mine/up")
    assert (code, out) == (1, "")
    assert (
        "mine/up: holds recordings, not one folder of them per class; name the folder above" in err
    )


def test_names_and_paths_do_for_models_and_recordings(trained: Trained, bars: Path) -> None:
    file = bars / "left" / "0.npz"
    shares = evaluation.classify(trained.model, load_events(file))
    assert evaluation.classify(trained.folder, file) == pytest.approx(shares)
    assert evaluation.classify(str(trained.folder), str(file)) == pytest.approx(shares)


def toml_of(bars: Path, output: Path) -> str:
    return to_toml(config_values(config_for(bars, output)))


@pytest.mark.slow
def test_a_piped_training_writes_a_line_an_epoch(run, bars: Path, tmp_path: Path) -> None:
    (tmp_path / "bars.toml").write_text(toml_of(bars, tmp_path / "out"))
    code, out, err = run("train", "bars.toml")
    assert code == 0
    lines = [line.split(",")[0] for line in err.splitlines()]
    assert lines[:2] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert [line.split(": try it")[0] for line in lines[2:]] == [str(tmp_path / "out")]
    assert out.startswith("recordings: ")
    code, _, err = run("-q", "train", "bars.toml")
    assert (code, err.count("\n")) == (0, 1)
    assert f"{tmp_path / 'out'}: was finished before (2 epochs); to train again, name" in err
    assert run("-q", "train", "bars.toml", "--set", "output=quiet")[2] == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("data.recordings.path=none",), "none: no such file; give a folder with one folder per"),
        (("data.1.kind=images", "data.1.path=none"), "none: no such file; give IDX"),
        (("data.recordings=none",), "data.recordings: is an entry [[data]]; name one of its keys"),
        (("data.recording.path=none",), "no entry [[data]] called 'recording'; did you mean"),
        (("network.classes=3",), "2 classes in the data, network.classes = 3"),
        (("output=bars.toml/run",), "bars.toml/run: cannot be made"),
    ],
)
def test_a_training_that_cannot_begin_leaves_nothing(
    run, bars: Path, tmp_path: Path, change: tuple[str, ...], said: str
) -> None:
    (tmp_path / "bars.toml").write_text(toml_of(bars, Path("out")))
    words = [word for text in change for word in ("--set", text)]
    code, out, err = run("train", "bars.toml", *words)
    assert (code, out) != (0, "")
    assert said in err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["bars.toml"]


class Counted(Samples):
    """Other samples; it knows how many were read."""

    def __init__(self, whole: Samples) -> None:
        super().__init__(whole.rows, whole.classes)
        self.whole, self.read = whole, 0

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        assert rng is None  # the sample's own draw
        self.read += 1
        return self.whole.events(number)

    def fingerprint(self, number: int) -> str:
        return self.whole.fingerprint(number)


def test_any_samples_are_judged_each_read_once_and_as_they_come(
    trained: Trained, bars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "JUDGED_AT_ONCE", 2)
    samples = Counted(open_samples(bars))
    batches = inputs.judged_batches(samples, trained.model.input, trained.model.size)
    next(batches.epoch(0))
    assert samples.read <= 2 * (batches.prefetch + 1) < len(samples)  # not all are in memory
    samples.read = 0
    result = evaluation.evaluate(trained.model, samples, split="all")
    assert samples.read == result.samples == 20
    folder = evaluation.evaluate(trained.model, bars, split="all")
    assert np.array_equal(result.confusion, folder.confusion)
    rows = evaluation.evaluate(trained.model, list(samples.rows), split="all")
    assert np.array_equal(result.confusion, rows.confusion)
    for wrong in (5, load_events(bars / "left" / "0.npz"), [bars]):
        with pytest.raises(
            ConfigError, match="neither a folder of <class>/<recording> nor Samples"
        ):
            evaluation.evaluate(trained.model, wrong)


def test_a_run_says_what_of_its_tests_was_not_looked_at(bars: Path, tmp_path: Path) -> None:
    config = config_for(bars, tmp_path / "run", epochs=1)
    short = replace(config, input=replace(config.input, bin_us=1_000))
    trained = training.train(short)
    (note,) = trained.results["recordings"].notes
    assert note.startswith(
        "6 recordings are longer than the model's window of 6 ms: only their first"
    )
