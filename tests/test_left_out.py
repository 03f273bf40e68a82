"""A training on a folder is judged by trainings that leave out each person, or a third, in turn."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dvskit import evaluation, training
from dvskit.datasets import SplitSamples, open_samples
from dvskit.errors import ConfigError
from dvskit.formats import save_events
from dvskit.training import Callbacks, Progress, train_folder
from dvskit.training.folder_choices import parts_to_leave_out
from dvskit.training.folder_time import JudgedSample, by_person, not_judged, result_of_left_out
from tests.bars import moving_bar
from tests.laws import refused

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


@pytest.mark.parametrize(("people", "parts"), [(0, 3), (2, 2), (7, 5)])
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
    with refused(ConfigError, "class left"):
        parts_to_leave_out(open_samples(root), 0)
    choices: list[str] = []

    def said(line: str) -> None:
        choices.append(line)
        if line.startswith("split"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_folder(root, output=tmp_path / "mine", callbacks=Callbacks(say=said))
    assert "6/0/0" in choices[-1]  # a third of the samples is left out instead
    assert "class left" in choices[-1]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "judged.csv").open(newline="") as text:
        return list(csv.DictReader(text))


@pytest.mark.slow(seconds=5)
def test_the_answers_are_those_of_trainings_without_each_person_also_after_an_interrupt(tmp_path):
    root, mine = bars(tmp_path / "set", 2), tmp_path / "mine"
    seen: list[Progress] = []

    def stop(now: Progress) -> None:
        seen.append(now)
        if now.step == 25:  # of ten for each of three trainings: in the second part
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_folder(root, output=mine, changes=QUICK, callbacks=Callbacks(progress=stop))
    assert {now.steps for now in seen} == {30}
    assert {row["part"] for row in table(mine) if row["answer"]} == {"0"}
    done = train_folder(root, output=mine, changes=QUICK)
    assert [row["group"] for row in table(mine)] == ["p1"] * 4 + ["p2"] * 4
    assert len(done.trained.model.used) == 8  # the model learned from all
    config = training.load_config(mine / "config.toml")
    samples = open_samples(root)
    for number, person in enumerate(("p1", "p2")):
        own = np.array([row.group == person for row in samples.rows])
        nothing, held = samples.choose([]), samples.choose(own)
        parts = SplitSamples(samples.choose(~own), nothing, nothing)
        entry = replace(config.data[0], path="")
        alone = replace(config, output=str(tmp_path / person), data=(entry,))
        trained = training.train(alone, parts)
        answers = {each.name: each for each in done.answers if each.part == number}
        assert answers.keys() == {row.name for row in held.rows}
        for k, row in enumerate(held.rows):
            shares = evaluation.classify(trained.model, held.events(k))
            found = answers[row.name]
            assert found.answer == max(shares, key=shares.get)
            assert found.probability == pytest.approx(max(shares.values()), abs=1e-5)
            assert found.own == pytest.approx(shares[row.label], abs=1e-5)
    assert done.people == by_person(done.answers)
    assert sum(of for _, of in done.people.values()) == done.result.samples == 8
    assert not list(mine.glob("without-*"))
    idle = Callbacks(progress=lambda now: pytest.fail("trains"))
    again = train_folder(root, output=mine, changes=QUICK, callbacks=idle)
    assert again.answers == done.answers
    assert np.array_equal(again.result.confusion, done.result.confusion)


def test_people_without_an_answer_are_named(tmp_path):
    samples = open_samples(bars(tmp_path / "set", 3))
    rows = [
        JudgedSample(0, row.label, row.name, row.group or "", row.label) for row in samples.rows
    ]
    assert not_judged(rows, samples) is None
    said = not_judged([each for each in rows if each.group != "p2"], samples)
    assert said.values == {"people": ["p2"], "samples": 4}
    unanswered = [replace(each, answer="") if each.group != "p2" else each for each in rows]
    assert str(not_judged(unanswered, samples)).startswith("p1, p3 ")


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
