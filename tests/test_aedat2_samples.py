"""What a DAVIS sends beside events, read from AEDAT 2: external events, motion, frames."""

from __future__ import annotations

import numpy as np
import pytest

import dvskit
from tests.arriving import small
from tests.test_aedat2 import DAVIS, DVS128, davis, dvs128, write

WIDTH, HEIGHT = 240, 180


def imu(values: list[int], t: int) -> list[tuple[int, int]]:
    return [
        (1 << 31 | code << 28 | (value & 0xFFFF) << 12 | 0xC00, t)
        for code, value in enumerate(values)
    ]


def aps(x: int, y: int, cycle: int, sample: int) -> int:
    return 1 << 31 | (HEIGHT - 1 - y) << 22 | x << 12 | cycle << 10 | sample


def readout(values, t, *, x=0, y=0, exposure=5000, tick=0) -> list[tuple[int, int]]:
    """Return the words of a global shutter frame: all pixels reset, and then all read."""
    rows = []
    for cycle, levels in ((0, np.full(values.shape, 900)), (1, 900 - values)):
        for column in range(values.shape[1]):
            for row in range(values.shape[0]):
                word = aps(x + column, y + row, cycle, int(levels[row, column]))
                rows.append((word, t + cycle * exposure))
                t += tick
    return rows


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 800, (height, width)).astype(np.uint16)


def test_external_events_are_triggers_in_order(tmp_path):
    words_ = [(davis(1, 2, 1), 5), (1 << 10, 7), (davis(1, 2, 1), 9), (1 << 10 | 1 << 11, 9)]
    triggers = dvskit.open_events(write(tmp_path / "a.aedat", DAVIS, words_)).triggers()
    assert triggers.t.tolist() == [7, 9]
    assert triggers.id.tolist() == [0, 0]
    assert triggers.p.tolist() == [True, True]
    sync = [(dvs128(1, 2, 1), (1 << 31) - 2), (0x8000, (1 << 31) - 1), (0x8000, 1 << 31)]
    recording = dvskit.open_events(write(tmp_path / "b.aedat", DVS128, sync))
    assert recording.triggers().t.tolist() == [(1 << 31) - 1, 1 << 31]


def test_samples_of_motion_come_in_the_scales_of_the_header(tmp_path):
    entries = (
        b'"DAVIS346.IMU.AccelScale" value="ImuAccelScaleG16"',
        b'"DAVIS240C.IMU.AccelScale" value="ImuAccelScaleG2"',
        b'"ImuGyroScale" value="GyroFullScaleDegPerSec500"',
    )
    preferences = b"".join(b"#   <entry key=%s/>\r\n" % entry for entry in entries)
    rows = imu([16384, -8192, 4096, 340, 655, -131, 65], 7)
    path = write(tmp_path / "a.aedat", DAVIS + preferences, [(davis(1, 2, 1), 5), *rows])
    recording = dvskit.open_events(path)
    sample = recording.imu()
    assert sample.t.tolist() == [7]
    assert sample.accelerometer.tolist() == [[-1.0, -0.5, 0.25]]
    assert sample.gyroscope[0].tolist() == pytest.approx([-10, -2, -65 / 65.5])
    assert sample.temperature.tolist() == [36.0]
    assert np.isnan(sample.magnetometer).all()
    assert any("+-2 g and +-500 deg/s" in s for s in recording.assumptions)
    plain = dvskit.open_events(write(tmp_path / "b.aedat", DAVIS, rows))
    assert plain.imu().accelerometer.tolist() == [[-4.0, -2.0, 1.0]]


@pytest.mark.slow
@pytest.mark.parametrize("block", [1, 3, 1000])
def test_samples_are_put_together_across_blocks_and_broken_ones_left(tmp_path, block):
    rows = imu([1] * 7, 1)[3:]
    for k in range(20):
        sample = imu([k] * 7, 10 + k)
        rows += [*sample[:4], (davis(k, 2, 1), 10 + k), *sample[4:]]
        rows += sample[:3] if k % 3 == 0 else []
    path = write(tmp_path / "a.aedat", DAVIS, rows)
    with small("aedat2", BLOCK_WORDS=block):
        recording = dvskit.open_events(path)
        samples, others = recording.imu(), recording.other_streams()
        assert samples.t.tolist() == list(range(10, 30))
        assert (samples.accelerometer[:, 1] * 4096).tolist() == list(range(20))
        assert others == {"IMU samples": 20, "IMU words of no whole sample": 4 + 7 * 3}
        assert recording.load().x.tolist() == list(range(20))


def test_the_camera_at_rest_feels_one_g(data):
    recording = dvskit.open_events(data / "recordings" / "davis240c_aps_imu.aedat")
    samples = recording.imu()
    assert len(samples) == 7384
    force = np.linalg.norm(samples.accelerometer, axis=1)
    assert abs(float(force.mean()) - 1) < 0.03
    assert samples.accelerometer[0, 1] < -0.9  # jAER: y is up, and held upright it is -1 g
    assert 20 < float(samples.temperature.mean()) < 40


@pytest.mark.slow
@pytest.mark.parametrize("block", [1 << 18, 97])
def test_frames_are_what_light_took_off_the_reset_level(tmp_path, block):
    rows = []
    for k in range(2):
        rows += [(davis(3, k, 1), 100_000 * k), *readout(picture(k), 100_000 * k + 10, tick=0)]
    with small("aedat2", BLOCK_WORDS=block):
        recording = dvskit.open_events(write(tmp_path / "a.aedat", DAVIS, rows))
        frames = list(recording.frames())
        assert recording.other_streams() == {"frames": 2}
        assert recording.load().y.tolist() == [0, 1]
    assert len(frames) == 2
    for k, frame in enumerate(frames):
        assert (frame.t_us, frame.stop_us) == (100_000 * k + 10, 100_000 * k + 5010)
        assert (frame.x, frame.y) == (0, 0)
        assert frame.image.dtype == np.uint16
        assert np.array_equal(frame.image, picture(k))


def test_an_exposure_starts_with_the_last_reset_or_the_first_if_the_shutter_rolls(tmp_path):
    values = picture(1, 4, 5)
    still = readout(values, 1000, tick=1)
    resets, signals = still[: values.size], still[values.size :]
    global_ = dvskit.open_events(write(tmp_path / "a.aedat", DAVIS, [*still]))
    (frame,) = global_.frames()
    assert (frame.t_us, frame.stop_us) == (1000 + values.size - 1, 6000 + values.size)
    # Column by column: one is read while later ones are reset.
    rolling = []
    for column in range(values.shape[1] + 2):
        part = slice(column * 4, column * 4 + 4)
        behind = slice((column - 2) * 4, (column - 2) * 4 + 4) if column > 1 else slice(0, 0)
        rolling += [(word, 1000 + 10 * column) for word, _ in resets[part]]
        rolling += [(word, 1005 + 10 * column) for word, _ in signals[behind]]
    (frame,) = dvskit.open_events(write(tmp_path / "b.aedat", DAVIS, rolling)).frames()
    assert (frame.t_us, frame.stop_us) == (1000, 1025)
    assert np.array_equal(frame.image, values)


def test_a_part_of_the_sensor_is_a_frame_at_its_place_and_a_broken_one_is_none(tmp_path):
    part = picture(4, 6, 7)
    broken = readout(part, 100, x=10, y=20)[:-3]
    rows = [*broken, *readout(part, 200_000, x=30, y=40), *readout(part, 300_000, x=30, y=40)]
    rows.append((aps(0, 0, 2, 5), 400_000))  # a read cycle that is neither
    recording = dvskit.open_events(write(tmp_path / "a.aedat", DAVIS, rows))
    frames = list(recording.frames())
    assert len(frames) in (1, 2)
    assert all(np.array_equal(frame.image, part) for frame in frames[-1:])


def test_a_signal_above_the_reset_level_is_dark_not_bright(tmp_path):
    rows = [(aps(5, 6, 0, 500), 1), (aps(5, 6, 1, 510), 2)]
    (frame,) = dvskit.open_events(write(tmp_path / "a.aedat", DAVIS, rows)).frames()
    assert frame.image.tolist() == [[0]]
