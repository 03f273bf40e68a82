"""Every real recording, opened by its path alone, holds the events that are known to be in it."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

import dvskit
from dvskit.events.sources import read_all

# In these y is told as it is stored, counted from the bottom; the events have it from the top.
FROM_BOTTOM = {
    "davis240c_aps_imu.aedat": 180,
    "dvs128_signed_time.aedat": 128,
    "dvs128_translating_bar.aedat": 128,
}
# Size of the sensor, and what it is taken from.
SIZES = {
    "aedat31_synthetic_dvs128.aedat": ((128, 128), "camera"),
    "color_320x240.es": ((320, 240), "header"),
    "davis240c_aps_imu.aedat": ((240, 180), "camera"),
    "dvs128_signed_time.aedat": ((128, 128), "camera"),
    "dvs128_translating_bar.aedat": ((128, 128), "camera"),
    "dvs_320x240.es": ((320, 240), "header"),
    "dvxplorer_320x240_lz4.aedat4": ((320, 240), "header"),
    "evt21_synthetic_1280x720.raw": ((1280, 720), "header"),
    "evt2_gen3_640x480.raw": ((640, 480), "camera"),
    "evt3_gen41_1280x720.raw": ((1280, 720), "camera"),
    "evt3_triggers_640x480.raw": ((640, 480), "header"),
    "evt4_synthetic_1280x720.raw": ((1280, 720), "header"),
    "generic.es": ((1, 1), "format"),
    "ncars_type0.dat": ((78, 42), "data"),
    "nmnist_34x34.bin": ((34, 34), "format"),
    "ros1_evt3_640x480.bag": ((640, 480), "header"),
    "ros2_evt3_640x480.db3": ((640, 480), "header"),
    "ros2_libcaer_rollover_640x480.db3": ((640, 480), "header"),
    "ros2_mono_cd.db3": ((640, 480), "header"),
}
OTHERS = {
    "color_320x240.es": {"colors": 473_225},
    "davis240c_aps_imu.aedat": {"IMU samples": 7384},
    "dvxplorer_320x240_lz4.aedat4": {"IMU samples": 475},
    "evt3_triggers_640x480.raw": {"other words": 519},
    "generic.es": {"generic events": 70},
}


def digest(column, dtype):
    return hashlib.sha256(np.asarray(column).astype(dtype).tobytes()).hexdigest()[:16]


def facts(events, height_from_bottom):
    y = events.y.astype(np.int64)
    if height_from_bottom:
        y = height_from_bottom - 1 - y
    return {
        "events": len(events),
        "on": int(np.count_nonzero(events.p)),
        "sum_t": sum(int(part.sum()) for part in np.array_split(events.t, 100)),
        "sum_x": int(events.x.sum(dtype=np.int64)),
        "sum_y": int(y.sum()),
        "t_first": int(events.t[0]),
        "t_last": int(events.t[-1]),
        "sha256_t_int64": digest(events.t, "<i8"),
        "sha256_x_uint16": digest(events.x, "<u2"),
        "sha256_y_uint16": digest(y, "<u2"),
        "sha256_p_uint8": digest(events.p, "u1"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_a_recording_holds_what_is_known_of_it(data, name):
    folder = data / "recordings"
    truth = json.loads((folder / "truth.json").read_text())[name]
    recording = dvskit.open_events(folder / name)
    events = recording.load()
    assert not recording.damage
    assert read_all(recording) == events
    salvage = dvskit.open_events(folder / name, strict=False)
    assert salvage.load() == events
    assert not salvage.damage
    assert (recording.size, recording.size_origin) == SIZES[name]
    if name in OTHERS or not name.endswith(("raw", "db3", "bag")):
        assert recording.other_streams() == OTHERS.get(name, {})
    if name == "generic.es":
        assert len(events) == 0
        return
    found = facts(events, FROM_BOTTOM.get(name))
    if name == "color_320x240.es":
        found = {"events": found["events"]}  # it has no polarity: see what is assumed
        assert any("olarity" in text for text in recording.assumptions)
    known = {key: truth[key] for key in found if key in truth}
    assert "events" in known
    assert {key: found[key] for key in known} == known


def test_all_recordings_are_looked_at(data):
    told = json.loads((data / "recordings" / "truth.json").read_text())
    assert sorted(told) == sorted(SIZES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ros1_evt3_640x480.bag", "ros2_evt3_640x480.db3"])
def test_a_bag_of_evt3_packets_holds_the_raw_file(data, name):
    bag = dvskit.open_events(data / "recordings" / name)
    raw = dvskit.open_events(data / "recordings" / "evt3_triggers_640x480.raw")
    assert bag.load() == raw.load()
    assert np.array_equal(bag.triggers().t, raw.triggers().t)
    assert len(bag.triggers()) == 4157
