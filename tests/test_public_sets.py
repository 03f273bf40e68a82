"""Public data sets: files of their exact layouts, made here, are found, named, parted and read."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

import dvskit
from dvskit.datasets import GESTURES, PUBLIC_SETS, Samples, open_public
from dvskit.datasets.public_layouts import ANIMALS
from dvskit.errors import ConfigError, DvskitError, FormatError, MissingFileError
from dvskit.events import Events
from tests.laws import refused
from tests.test_aedat31 import packet, polarity, write

DVS128 = (128, 128)


def made(count: int, seed: int, size: tuple[int, int] = DVS128, step: int = 1000) -> Events:
    rng = np.random.default_rng(seed)
    return Events(
        t=np.arange(count) * step,
        x=rng.integers(0, size[0], count),
        y=rng.integers(0, size[1], count),
        p=rng.integers(0, 2, count).astype(bool),
        size=size,
    )


def aedat31(path: Path, events: Events) -> None:
    columns = (events.t, events.x, events.y, events.p)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    write(path, packet(1, [polarity(t, x, y, int(p)) for t, x, y, p in rows]))


def atis(path: Path, events: Events) -> None:
    """Write N-MNIST's layout: x, y, and polarity and time in 24 bits, big-endian."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = (events.t, events.x, events.y, events.p)
    path.write_bytes(
        b"".join(
            struct.pack(">BBI", x, y, p << 23 | t)[:2] + struct.pack(">I", p << 23 | t)[1:]
            for t, x, y, p in zip(*(column.tolist() for column in columns), strict=True)
        )
    )


def save(path: Path, events: Events, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    dvskit.save_events(events, path, format=name)


def original_gestures(root: Path) -> Path:
    """Make three trials as DvsGesture.tar.gz unpacks to."""
    root.mkdir()
    for trial in ("user01_led", "user02_natural", "user24_led"):
        aedat31(root / f"{trial}.aedat", made(300, seed=int(trial[4:6])))
        lines = [f"{k},{25_000 * k},{25_000 * k + 20_000}" for k in range(1, 12)]
        text = "class,startTime_usec,endTime_usec\n" + "\n".join(lines) + "\n"
        (root / f"{trial}_labels.csv").write_text(text)
    (root / "trials_to_train.txt").write_text("user01_led.aedat\nuser02_natural.aedat\n")
    (root / "trials_to_test.txt").write_text("user24_led.aedat\n")
    mapping = "\n".join(f"some_name_{k},{k}" for k in range(1, 12))
    (root / "gesture_mapping.csv").write_text(f"action,label\n{mapping}\n")
    (root / "README.txt").write_text("words\n")
    return root


def summary(samples: Samples) -> list[tuple[str, str, str | None, str | None]]:
    return [(row.name, row.label, row.group, row.part) for row in samples.rows]


def test_dvs128_gesture_is_read_from_its_archive(tmp_path: Path) -> None:
    root = original_gestures(tmp_path / "DvsGesture")
    samples = open_public("dvs128-gesture", root)
    assert samples.classes == GESTURES
    assert len(samples) == 33
    assert summary(samples)[0] == ("user01_led.aedat", "hand_clap", "1", "train")
    assert summary(samples)[-1] == ("user24_led.aedat", "other", "24", "test")
    events = samples.events(1)
    assert (events.sensor_size, int(events.t[0]), int(events.t[-1])) == (DVS128, 50_000, 69_000)
    named = summary(samples)
    assert summary(open_public("dvs128-gesture", tmp_path)) == named
    (root / "gesture_mapping.csv").unlink()
    assert summary(open_public("dvs128-gesture", root)) == named
    (root / "user01_led_labels.csv").write_text("class,startTime_usec,endTime_usec\n12,1,2\n")
    with refused(DvskitError, "'12'"):
        open_public("dvs128-gesture", root)


def test_dvs128_gesture_of_tonic_is_in_milliseconds_and_becomes_microseconds(
    tmp_path: Path,
) -> None:
    for part, user in (("ibmGestureTrain", "user01_led"), ("ibmGestureTest", "user24_led")):
        folder = tmp_path / "DVSGesture" / part / user
        folder.mkdir(parents=True)
        for k in (0, 10):
            e = made(50, seed=k)
            rows = np.stack([e.x, e.y, e.p, e.t // 1000], axis=1).astype(np.float64)
            np.save(folder / f"{k}.npy", rows)
    samples = open_public("dvs128-gesture", tmp_path)
    assert summary(samples) == [
        ("ibmGestureTrain/user01_led/0.npy", "hand_clap", "1", "train"),
        ("ibmGestureTrain/user01_led/10.npy", "other", "1", "train"),
        ("ibmGestureTest/user24_led/0.npy", "hand_clap", "24", "test"),
        ("ibmGestureTest/user24_led/10.npy", "other", "24", "test"),
    ]
    assert samples.events(1) == made(50, seed=10)
    assert samples.fingerprint(0) == samples.fingerprint(2) != samples.fingerprint(1)


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([[0, 0, 0]] * 3, "x, y, p and t"),
        ([[0, 0, 0, 0], [200, 0, 1, 1]], "(200, 0)"),
        ([[0, 0, 0, 5], [0, 0, 1, 1]], "5000 to 1000"),
        ([[0, 0, 0, np.nan]], "row 0"),
        ([[0, 0, 3, 1]], "polarity"),
    ],
)
def test_odd_arrays_of_tonic_are_refused(tmp_path: Path, rows: list, named: str) -> None:
    folder = tmp_path / "ibmGestureTrain" / "user01_led"
    folder.mkdir(parents=True)
    np.save(folder / "0.npy", np.array(rows))
    with refused(FormatError, folder / "0.npy", named):
        open_public("dvs128-gesture", tmp_path).events(0)


def test_dvs128_gesture_of_spikingjelly_counts_classes_from_0(tmp_path: Path) -> None:
    for part, user in (("train", "user01_led"), ("test", "user24_led")):
        for k in (0, 9):
            folder = tmp_path / "events_np" / part / str(k)
            folder.mkdir(parents=True)
            e = made(20, seed=k)
            np.savez(folder / f"{user}_0.npz", t=e.t, x=e.x, y=e.y, p=e.p.astype(np.int64))
    samples = open_public("dvs128-gesture", tmp_path)
    assert sorted(summary(samples)) == [
        ("test/0/user24_led_0.npz", "hand_clap", "24", "test"),
        ("test/9/user24_led_0.npz", "air_guitar", "24", "test"),
        ("train/0/user01_led_0.npz", "hand_clap", "1", "train"),
        ("train/9/user01_led_0.npz", "air_guitar", "1", "train"),
    ]
    assert samples.events(0) == made(20, seed=0)


def test_n_mnist_has_the_parts_of_its_folders(tmp_path: Path) -> None:
    for part in ("Train", "Test"):
        for digit in "09":
            atis(tmp_path / part / digit / "00001.bin", made(30, int(digit), (34, 34)))
    samples = open_public("n-mnist", tmp_path)
    assert sorted(summary(samples)) == [
        ("Test/0/00001.bin", "0", None, "test"),
        ("Test/9/00001.bin", "9", None, "test"),
        ("Train/0/00001.bin", "0", None, "train"),
        ("Train/9/00001.bin", "9", None, "train"),
    ]
    assert samples.events(0) == made(30, 0, (34, 34))


def test_n_caltech101_keeps_a_tenth_of_each_class_for_the_test_always_the_same(
    tmp_path: Path,
) -> None:
    for kind in ("accordion", "yin_yang"):
        for k in range(20):
            path = tmp_path / "Caltech101" / kind / f"image_{k:04}.bin"
            atis(path, made(40, k, (233, 173)))
    samples = open_public("n-caltech101", tmp_path)
    held = [row.name for row in samples.rows if row.part == "test"]
    assert held == [
        "accordion/image_0004.bin",
        "accordion/image_0019.bin",
        "yin_yang/image_0011.bin",
        "yin_yang/image_0016.bin",
    ]
    assert samples.events(0).sensor_size == (240, 180)


def test_n_cars_is_read_with_the_size_of_its_largest(tmp_path: Path) -> None:
    kinds = [(kind, part) for kind in ("background", "cars") for part in ("test", "train")]
    for kind, part in kinds:
        path = tmp_path / f"n-cars_{part}" / kind / "obj_000001_td.dat"
        save(path, made(10, 1, (60, 50)), "dat")
    samples = open_public("n-cars", tmp_path)
    assert sorted((row.label, row.part) for row in samples.rows) == kinds
    assert len(samples.events(0)) == 10


@pytest.mark.parametrize(("suffix", "name"), [("aedat", "aedat2"), ("aedat4", "aedat4")])
def test_cifar10_dvs_is_split_by_a_seed(tmp_path: Path, suffix: str, name: str) -> None:
    for kind in ("airplane", "truck"):
        for k in range(10):
            save(tmp_path / kind / f"cifar10_{kind}_{k}.{suffix}", made(15, k), name)
    samples = open_public("cifar10-dvs", tmp_path)
    assert [row.part for row in samples.rows].count("test") == 2
    assert {row.label for row in samples.rows if row.part == "test"} == {"airplane", "truck"}
    assert samples.events(3) == made(15, 3)


def mat(path: Path, events: Events, **other: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"ts": events.t, "x": events.x, "y": 179 - events.y, "pol": events.p.astype(np.uint8)}
    savemat(path, {name: column[:, None] for name, column in (columns | other).items()})


def test_asl_dvs_counts_rows_from_the_bottom(tmp_path: Path) -> None:
    for letter in "ay":
        for k in range(10):
            mat(tmp_path / letter / f"{letter}_{k:04}.mat", made(12, k, (240, 180)))
    samples = open_public("asl-dvs", tmp_path)
    assert samples.classes == ("a", "y")
    assert samples.events(4) == made(12, 4, (240, 180))
    assert [row.part for row in samples.rows].count("test") == 2


def test_odd_matlab_files_are_refused(tmp_path: Path) -> None:
    e = made(5, 0, (240, 180))
    broken = b"MATLAB 5.0 MAT-file" + bytes(90)
    for named, spoil in {
        "ts": lambda path: savemat(path, {"x": e.x}),
        "p 3": lambda path: mat(path, e, pol=e.p[:3].astype(np.uint8)),
        "240x180": lambda path: mat(path, e, x=e.x + 500),
        "whole": lambda path: mat(path, e, ts=e.t + 0.5),
        "MATLAB": lambda path: path.write_bytes(broken),
    }.items():
        path = tmp_path / "a" / "a_0001.mat"
        mat(path, e)
        samples = open_public("asl-dvs", tmp_path)
        spoil(path)
        with refused(FormatError, path, named):
            samples.events(0)


def animals(root: Path) -> None:
    for folder in ("recordings", "tags"):
        (root / folder).mkdir(parents=True)
    for user in ("user00_indoor", "user25_imse"):
        save(root / "recordings" / f"{user}.aedat", made(190, 7), "aedat2")
        lines = [f"{k},{10 * (k - 1)},{10 * k - 2}" for k in range(1, 20)]
        text = "class,startTime_ev,endTime_ev\n" + "\n".join(lines) + "\n"
        (root / "tags" / f"{user}.csv").write_text(text)
    (root / "SL-Animals-DVS_gestures_definitions.csv").write_text("class,class Def\n1,cat\n")


def test_sl_animals_dvs_is_cut_by_the_numbers_of_its_events(tmp_path: Path) -> None:
    animals(tmp_path)
    samples = open_public("sl-animals-dvs", tmp_path)
    assert samples.classes == ANIMALS
    assert summary(samples)[1] == ("user00_indoor/dog-02", "dog", "0", None)
    assert summary(samples)[-1] == ("user25_imse/zebra-19", "zebra", "25", None)
    assert samples.events(1) == made(190, 7)[10:18]
    assert samples.fingerprint(1) == samples.fingerprint(20) != samples.fingerprint(2)


TAGS = "class,startTime_ev,endTime_ev\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a,b,c\n", TAGS.strip()),
        (f"{TAGS}1,2\n", "line 2"),
        (f"{TAGS}20,2,5\n", "line 2"),
        (f"{TAGS}1,5,5\n", "end"),
        (f"{TAGS}1,5,999\n", "190 events"),
        (None, "user00_indoor.csv"),
    ],
)
def test_odd_and_missing_tags_are_refused(tmp_path: Path, text: str | None, named: str) -> None:
    animals(tmp_path)
    tags = tmp_path / "tags" / "user00_indoor.csv"
    if text is None:
        tags.rename(tmp_path / "tags" / "user26_dc.csv")
    else:
        tags.write_text(text)
    with refused(FormatError, named):
        open_public("sl-animals-dvs", tmp_path).events(0)


@pytest.mark.parametrize("name", sorted(PUBLIC_SETS))
def test_a_missing_set_says_where_it_is_to_be_had(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    for folder, kind in (("absent", MissingFileError), ("empty", FormatError)):
        with refused(kind, tmp_path / folder, "http"):
            open_public(name, tmp_path / folder)


def test_an_unknown_set_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with refused(ConfigError, "'dvs128-gestures'", "'dvs128-gesture'"):
        open_public("dvs128-gestures", tmp_path)
