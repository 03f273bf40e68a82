"""A model's name and a recording's path do where a model and events are meant."""

from __future__ import annotations

import numpy as np
import pytest

import dvskit
from dvskit import Events, evaluation, training
from dvskit.errors import EventsError, FormatError, ModelError

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
