"""A model's name and a recording's path do where a model and events are meant."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import dvskit
from dvskit import Events, evaluation, training
from dvskit.datasets import Emulation, FileSamples, Sample
from dvskit.datasets.kinds import SampleReading
from dvskit.errors import EventsError, FormatError, ModelError
from dvskit.training.model_tables import emulation_values
from dvskit.video import write_video
from tests.sample_files import video

NAME = "nmnist-signed-lif"
RANDOM = np.random.default_rng(2)
EVENTS = Events(
    t=np.sort(RANDOM.integers(0, 300_000, 3000)),
    x=RANDOM.integers(0, 34, 3000),
    y=RANDOM.integers(0, 34, 3000),
    p=RANDOM.integers(0, 2, 3000).astype(bool),
    size=(34, 34),
)


def test_a_name_a_path_and_any_source_classify_as_the_model_and_the_events(tmp_path):
    path = tmp_path / "a.npz"
    dvskit.save_events(EVENTS, path)
    recording = dvskit.open_events(path)
    model = training.load_model(NAME)
    expected = evaluation.classify(model, EVENTS)
    assert expected == evaluation.classify(NAME, EVENTS)
    assert expected == evaluation.classify(training.find_model(NAME), recording)
    assert expected == evaluation.classify(NAME, path) == evaluation.classify(NAME, str(path))
    assert expected == evaluation.classify(model, recording.between(None, None))
    assert expected == evaluation.classify(model, dvskit.filters.Crop(0, 0, 34, 34)(recording))


def test_a_video_is_classified_by_its_events_of_the_model_s_emulation_as_by_the_command(
    tmp_path, run
):
    params = dvskit.EmulatorParams(threshold_on=0.7, threshold_off=0.7)
    clip, own = video(tmp_path / "a.mp4"), Emulation(size=(34, 34), params=params)
    model = replace(training.load_model(NAME), about={"emulation": emulation_values(own)})
    training.save_model(tmp_path / "mine", model)
    samples = FileSamples([Sample("a.mp4", "", path=clip)], SampleReading(own))
    expected = evaluation.classify(model, samples.events(0))
    assert evaluation.classify(model, clip) == evaluation.classify(model, str(clip)) == expected
    assert evaluation.classify(NAME, clip) != expected
    assert list(evaluation.decide(model, clip)) == list(evaluation.decide(model, samples.events(0)))
    code, out, err = run("classify", clip, "--model", tmp_path / "mine", "--json")
    assert (code, json.loads(out)["probabilities"]) == (0, expected), err
    still = tmp_path / "still.mp4"
    write_video(((40_000 * k, np.full((34, 34), 90, np.uint8)) for k in range(3)), still, fps=25)
    with pytest.raises(FormatError, match=r"still\.mp4: there are no events to classify"):
        evaluation.classify(model, still)


def test_a_second_classify_in_a_process_uses_the_model_that_is_there_now(tmp_path, run):
    dvskit.save_events(EVENTS, tmp_path / "a.npz")
    model, names = training.load_model(NAME), []
    for classes in (model.classes, tuple(f"new {name}" for name in model.classes)):
        training.save_model(tmp_path / "mine", replace(model, classes=classes), overwrite=True)
        code, out, err = run("classify", "a.npz", "--model", "mine", "--json")
        assert code == 0, err
        names.append(tuple(json.loads(out)["probabilities"]))
    assert names == [model.classes, tuple(f"new {name}" for name in model.classes)]


def test_what_is_no_model_and_what_holds_no_events_are_refused_with_the_fix():
    with pytest.raises(ModelError, match="Events is no model; pass load_model"):
        evaluation.classify(EVENTS, NAME)
    with pytest.raises(ModelError, match="did you mean"):
        evaluation.classify("nmnist-signed-li", EVENTS)
    with pytest.raises(FormatError, match="no such file"):
        evaluation.classify(NAME, "nothing.raw")
    for wrong in (None, np.zeros((3, 4)), 5):
        with pytest.raises(EventsError, match="neither Events nor a source"):
            evaluation.classify(NAME, wrong)
    with pytest.raises(ModelError, match="int is no model"):
        evaluation.evaluate(5, [])
