"""A training on a folder is judged by trainings that leave out each person, or a third, in turn."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dvskit.datasets import SplitSamples, open_samples
from dvskit.errors import ConfigError, OutputError
from dvskit.formats import save_events
from dvskit.training import Callbacks, Progress, train_folder
from dvskit.training.inputs import judged_batches
from dvskit.training.left_out import (
    JudgedSample,
    by_person,
    left_out,
    not_judged,
    parts_to_leave_out,
    result_of_left_out,
)
from dvskit.training.loop import train_sets
from dvskit.training.scores import answers_of
from dvskit.training.sets import load_sets
from dvskit.training.toml_config import load_config
from tests.bars import moving_bar

QUICK = {"loop.steps": "1"}  # ten steps in all


pytestmark = pytest.mark.usefixtures("one_torch_thread")


def bars(root: Path, people: int, each: int = 2) -> Path:
    """Recordings root/left and root/right of bars, by several people; 0: of nobody."""
    for label in ("left", "right"):
        (root / label).mkdir(parents=True)
        for k in range(each * max(people, 1)):
            name = f"p{k % people + 1}_t{k}" if people else str(k)
            seed = k + 100 * (label == "left")
            save_events(moving_bar(label == "right", seed), root / label / f"{name}.npz")
    return root


@pytest.mark.parametrize(("people", "parts"), [(0, 3), (2, 2), (4, 4), (7, 5)])
def test_each_sample_is_left_out_once_and_people_stay_whole(tmp_path, people, parts):
    samples = open_samples(bars(tmp_path / "set", people, 3))
    splits = parts_to_leave_out(samples, 0)
    assert len(splits) == parts
    tested = [row.name for split in splits for row in split.test.rows]
    assert sorted(tested) == sorted(row.name for row in samples.rows)
    for split in splits:
        assert len(split.train) + len(split.test) == len(samples)
        assert not len(split.validation)
        if people:
            groups = [{row.group for row in part.rows} for part in (split.train, split.test)]
            assert groups[0].isdisjoint(groups[1])
    again = parts_to_leave_out(samples, 0)
    assert [each.test.rows for each in again] == [each.test.rows for each in splits]


def test_a_class_of_one_person_alone_cannot_be_left_out(tmp_path):
    root = bars(tmp_path / "set", 2)
    for file in (root / "left").glob("p2*"):
        file.unlink()
    with pytest.raises(ConfigError, match="class left would not be in training"):
        parts_to_leave_out(open_samples(root), 0)
    done = train_folder(root, output=tmp_path / "mine", changes=QUICK)
    (split,) = (each for each in done.choices if each.what == "split")
    assert split.value.startswith("all, a third left out in turn, 6/0/0 for training")
    assert "class left would not be in training" in split.why
    assert done.people == {}


@pytest.mark.slow(seconds=12)
def test_the_answers_are_those_of_trainings_without_each_person(tmp_path):
    root = bars(tmp_path / "set", 3)
    done = train_folder(root, output=tmp_path / "mine", changes=QUICK)
    config = load_config(tmp_path / "mine" / "config.toml")
    (one,) = load_sets(config)
    assert len(one.parts.train) == 12  # the model learned from all
    for person in ("p1", "p2", "p3"):
        samples = one.parts.train
        mine = np.array([row.group == person for row in samples.rows])
        nothing = samples.choose([])
        alone = replace(one, parts=SplitSamples(samples.choose(~mine), nothing, nothing))
        trained = train_sets(replace(config, output=str(tmp_path / person)), [alone])
        held = samples.choose(mine)
        logits, _ = answers_of(trained.model.module,
                               judged_batches(held, config.input, (16, 16)))  # fmt: skip
        shares = torch.softmax(logits, 1)
        answers = {each.name: each for each in done.left_out if each.group == person}
        assert answers.keys() == {row.name for row in held.rows}
        for row, share in zip(held.rows, shares, strict=True):
            found = answers[row.name]
            assert found.answer == trained.model.classes[int(share.argmax())]
            assert found.probability == pytest.approx(float(share.max()), abs=1e-5)
            own = float(share[trained.model.classes.index(row.label)])
            assert found.own == pytest.approx(own, abs=1e-5)
    assert sum(of for _, of in done.people.values()) == done.result.samples == 12
    assert not list((tmp_path / "mine").glob("without-*"))


@pytest.mark.slow(seconds=12)
def test_an_interrupted_judging_goes_on_with_the_next_part_to_the_same_answers(tmp_path):
    root = bars(tmp_path / "set", 3)
    whole = train_folder(root, output=tmp_path / "whole", changes=QUICK)
    seen: list[Progress] = []

    def stop(now: Progress) -> None:
        seen.append(now)
        if now.step == 25:  # of ten for each of four trainings: in the second part
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_folder(root, output=tmp_path / "mine", changes=QUICK,
                     callbacks=Callbacks(progress=stop))  # fmt: skip
    assert {now.steps for now in seen} == {40}
    answered = [each.part for each in left_out(tmp_path / "mine") if each.answer]
    assert set(answered) == {0}
    done = train_folder(root, output=tmp_path / "mine", changes=QUICK)
    assert done.left_out == whole.left_out
    assert np.array_equal(done.result.confusion, whole.result.confusion)
    idle = Callbacks(progress=lambda now: pytest.fail("trains"))
    again = train_folder(root, output=tmp_path / "mine", changes=QUICK, callbacks=idle)
    assert again.left_out == done.left_out


def test_parts_without_time_are_not_judged_and_damaged_answers_are_an_error(tmp_path, monkeypatch):
    root = bars(tmp_path / "set", 0, 4)
    late = SimpleNamespace(monotonic=lambda: 1e18)
    monkeypatch.setattr("dvskit.training.left_out.time", late)
    notes: list[str] = []
    done = train_folder(
        root, output=tmp_path / "mine", changes=QUICK, callbacks=Callbacks(note=notes.append)
    )
    said = (
        "8 samples were not judged: no time was left; give more --minutes, and another output (-o)"
    )
    assert notes.count(said) == 1
    assert done.missing == said
    assert f"\n{said}.\n" in (tmp_path / "mine" / "README.md").read_text()
    assert '"kind": "not judged"' in (tmp_path / "mine" / "notes.json").read_text()
    assert done.left_out == ()
    assert not done.held_out
    assert left_out(tmp_path / "mine") == ()
    (tmp_path / "mine" / "judged.csv").write_text("part,label\nx,y\n")
    with pytest.raises(OutputError, match=r"judged\.csv: is no list of judged samples; remove it"):
        train_folder(root, output=tmp_path / "mine", changes=QUICK)


def test_people_without_an_answer_are_named(tmp_path):
    samples = open_samples(bars(tmp_path / "set", 3))
    rows = [
        JudgedSample(0, row.label, row.name, row.group or "", row.label) for row in samples.rows
    ]
    assert not_judged(rows, samples) is None
    said = not_judged([each for each in rows if each.group != "p2"], samples)
    assert said == (
        "p2 was not judged: no time was left; give more --minutes, and another output (-o)"
    )
    assert said.values == {"people": ["p2"], "samples": 4}
    unanswered = [replace(each, answer="") if each.group != "p2" else each for each in rows]
    assert str(not_judged(unanswered, samples)).startswith("p1, p3 were not judged: ")


def test_the_result_counts_each_answer_and_its_surprise():
    rows = [
        JudgedSample(0, "a", "1", "bo", "a", 0.75, 0.75),
        JudgedSample(0, "a", "2", "bo", "b", 0.5, 0.5),
        JudgedSample(1, "b", "3", "cy", "b", 1.0, 1.0),
    ]
    result = result_of_left_out(rows, ("a", "b"))
    assert result.confusion.tolist() == [[1, 1], [0, 1]]
    assert result.loss == pytest.approx(-np.log([0.75, 0.5, 1.0]).mean())
    assert by_person(rows) == {"bo": (1, 2), "cy": (1, 1)}
    assert by_person([replace(each, group="") for each in rows]) == {}


def test_the_table_names_each_sample_and_its_answer(tmp_path, run):
    root = bars(tmp_path / "set", 2)
    code, out, err = run("train", root, "-o", "mine", "--set", "loop.steps=1", "--minutes", "20")
    assert code == 0, err
    first = out.splitlines()[0]
    assert first.startswith(
        "judged by 2 trainings that left people out; the model learned from all"
    )
    with (tmp_path / "mine" / "judged.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert [row["group"] for row in rows] == ["p1"] * 4 + ["p2"] * 4
    right = sum(row["label"] == row["answer"] for row in rows if row["group"] == "p1")
    assert f"p1 {right} of 4" in first
