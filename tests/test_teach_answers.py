"""Live answers behind dvskit teach: those of `dvskit classify --live`, one frame at a time."""

from __future__ import annotations

import numpy as np
import pytest

from dvskit.datasets.files import Emulation, emulate_frames
from dvskit.emulator import EmulatorParams
from dvskit.errors import ModelError, ShapeError, VideoError
from dvskit.evaluation import decide
from dvskit.models import save_model
from dvskit.render.colormap import DARK, rgb
from dvskit.teach import LiveAnswers
from dvskit.video import ArrayFrames
from tests.laws import refused
from tests.teach_clips import SIZE, movement
from tests.test_live import model_of

MODEL = model_of(bin_us=30_000)


def answers_of(answers, frames):
    return [answers.add(t_us, frame) for t_us, frame in frames]


def as_clip(frames) -> ArrayFrames:
    return ArrayFrames(
        np.stack([frame for _, frame in frames]), t_us=np.array([t_us for t_us, _ in frames])
    )


def test_answers_are_the_decisions_on_the_events_of_the_frames(tmp_path):
    save_model(tmp_path / "model", MODEL)
    frames = list(movement("up", 4, count=30))
    events = emulate_frames(as_clip(frames), MODEL.emulation, 0)
    expected = list(decide(MODEL, events))
    for model in (MODEL, tmp_path / "model"):
        answers = LiveAnswers(model, SIZE)
        assert answers.classes == MODEL.classes
        found = answers_of(answers, frames)
        assert sum(each.events for each in found) == len(events)
        for answer, (t_us, _) in zip(found, frames, strict=True):
            done = [each for each in expected if each.stop_us <= t_us]
            assert answer.probabilities == (done[-1].probabilities if done else {})
            assert answer.answer == (done[-1].answer if done else None)
            assert answer.nothing == (done[-1].nothing if done else "")
            assert answer.latency_ms > 0
        assert sum(bool(each.probabilities) for each in found) > 20


def test_a_still_picture_is_answered_by_nothing_and_the_next_movement_anew():
    frames = list(movement("up", 4, count=20))
    answers = LiveAnswers(MODEL, SIZE)
    answers_of(answers, frames)
    t_us, still = frames[-1]
    rest = answers_of(answers, [(t_us + 30_000 * k, still) for k in range(1, 12)])
    assert rest[-1].answer is None
    assert rest[-1].probabilities == {}
    later = [(at_us + 2_000_000, frame) for at_us, frame in frames]
    again = answers_of(answers, later)
    assert again[-1].probabilities


def test_without_a_model_the_picture_shows_the_events_of_training_and_fades():
    frames = list(movement("across", 4, count=12))
    answers = LiveAnswers(None, SIZE)
    assert answers.classes == ()
    found = answers_of(answers, frames)
    ground = np.array(rgb(DARK.ground), np.uint8)
    assert found[0].picture.shape == (128, 128, 3)
    assert (found[0].picture == ground).all()
    assert found[0].events == 0
    params = EmulatorParams(threshold_on=0.45, threshold_off=0.45)
    how = Emulation(params=params, size=(128, 128), whole=True)
    events = emulate_frames(as_clip(frames), how, 0)
    assert sum(each.events for each in found) == len(events) > 1000
    colors = {tuple(each) for each in found[5].picture.reshape(-1, 3).tolist()}
    assert {rgb(DARK.on), rgb(DARK.off)} <= colors
    kept = found[-1].picture.copy()
    still = [(frames[-1][0] + 30_000 * k, frames[-1][1]) for k in range(1, 9)]
    later = answers_of(answers, still)
    assert (later[-1].picture == ground).all()
    assert (found[-1].picture == kept).all()  # a picture belongs to its caller
    assert all(each.probabilities == {} and each.answer is None for each in found)


@pytest.mark.parametrize("model", [None, MODEL])
def test_a_wrong_frame_is_refused_in_a_line_and_answers_go_on(model):
    frames = list(movement("across", 4, count=10))
    answers, other = LiveAnswers(model, SIZE), LiveAnswers(model, SIZE)
    for number, (t_us, frame) in enumerate(frames):
        found, expected = answers.add(t_us, frame), other.add(t_us, frame)
        assert found.events == expected.events
        assert found.probabilities == expected.probabilities
        if number % 3 == 0:
            with refused(VideoError):
                answers.add(t_us, frame)
            for wrong in (frame.T, frame.astype(float), frame[None], "frame"):
                with refused(ShapeError, "(36, 48)"):
                    answers.add(t_us + 1, wrong)


def test_a_missing_model_is_said_in_a_line(tmp_path):
    with refused(ModelError, "model.toml"):
        LiveAnswers(tmp_path, SIZE)
