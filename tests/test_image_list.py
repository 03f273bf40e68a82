"""Lists of images: times exact to the digit, found where data sets keep them, and damaged ones."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dvskit.errors import VideoError
from dvskit.formats.order_kernels import longest_in_order
from dvskit.formats.side_text import scaled
from dvskit.video import ImageFolder
from tests.laws import refused

GOOD = ["0.001 images/a.png", "0.002 images/b.png", "0.003 images/the c.png"]


def draw(folder: Path, *names: str, size: tuple[int, int] = (6, 5)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full(size[::-1], 10 * (number + 1), np.uint8))


def seen(folder: Path, **options) -> list[tuple[int, int]]:
    return [(t, int(frame[0, 0])) for t, frame in ImageFolder(folder, **options)]


@pytest.fixture
def layout(tmp_path):
    """A folder of images.txt and images/; its lines can be written."""
    draw(tmp_path / "set" / "images", "a.png", "b.png", "the c.png")

    def written(lines: list[str], end: str = "\n") -> Path:
        (tmp_path / "set" / "images.txt").write_bytes(
            "".join(x + end for x in lines).encode(errors="surrogateescape")
        )
        return tmp_path / "set"

    return written


@pytest.mark.parametrize("power", [6, 0, -3])
def test_decimals_are_read_digit_by_digit_as_python_s_decimal_reads_them(power):
    draws = np.random.default_rng(5)
    texts = ["1468939993.067416019", "0.0000005", "0.5", ".5", "7.", "+3e-3", "1.5E3", "-0.0000015"]
    for _ in range(300):
        whole = str(draws.integers(0, 10 ** int(draws.integers(1, 12))))
        part = "".join(str(digit) for digit in draws.integers(0, 10, draws.integers(0, 19)))
        texts.append(("-" if draws.random() < 0.3 else "") + whole + "." + part)
    for text in texts:
        exact = Decimal(text).scaleb(power).quantize(Decimal(1), ROUND_HALF_UP)
        assert scaled(text, power) == int(exact), text


@pytest.mark.parametrize(
    "text", ["", ".", "-", "x", "1_0", "nan", "inf", "1e", "1e999", "1/3", "١", "9" * 20, "1" * 200]
)
def test_what_is_no_decimal_number_is_none(text):
    assert scaled(text, 6) is None


def test_the_most_times_that_do_not_run_back_are_kept():
    draws = np.random.default_rng(8)
    for _ in range(200):
        times = draws.integers(0, 8, draws.integers(0, 9)).tolist()
        kept = np.flatnonzero(longest_in_order(np.array(times, np.int64), -1)).tolist()
        assert kept == sorted(set(kept))
        assert [times[place] for place in kept] == sorted(times[place] for place in kept)
        subsets = (
            [time for bit, time in enumerate(times) if mask >> bit & 1]
            for mask in range(1 << len(times))
        )
        assert len(kept) == max(len(part) for part in subsets if part == sorted(part))


@pytest.mark.parametrize(
    ("lines", "end"),
    [
        (["# t name", *GOOD], "\n"),
        (GOOD, "\r\n"),
        ([line.replace("/", "\\") for line in GOOD], "\r\n"),
        (["\ufeff" + GOOD[0], "", "  # a comment", *GOOD[1:], ""], "\n"),
        ([line.replace(" ", "\t", 1) + "  " for line in GOOD], "\n"),
        ([line.replace("images/", "./x/../images/") for line in GOOD], "\n"),
        (["# id timestamp image_name", *(f"{n} {line}" for n, line in enumerate(GOOD))], "\n"),
    ],
)
def test_lists_are_read_however_their_lines_are_written(layout, lines, end):
    folder = layout(lines, end)
    assert seen(folder) == [(1000, 10), (2000, 20), (3000, 30)]
    assert list(ImageFolder(folder).notes) == []


def test_only_images_that_a_list_names_are_counted(layout):
    folder = layout(GOOD[:2])
    assert seen(folder, fps=10) == [(0, 10), (100_000, 20)]
    (note,) = ImageFolder(folder).notes
    assert "1 image that images.txt" in note


@pytest.mark.parametrize("way", ["absolute", "relative", "there"])
def test_a_folder_of_images_takes_the_list_above_that_names_them(layout, monkeypatch, way):
    folder = layout([*GOOD, "0.004 elsewhere/d.png"])
    images = folder / "images"
    if way != "absolute":
        monkeypatch.chdir(folder if way == "relative" else images)
        images = Path("images" if way == "relative" else ".")
    assert seen(images) == [(1000, 10), (2000, 20), (3000, 30)]
    (note,) = ImageFolder(images).notes
    assert "images.txt" in note
    (images / "timestamps_us.txt").write_text("7\n8\n9\n")  # a list of its own goes ahead
    assert seen(images) == [(7, 10), (8, 20), (9, 30)]


def test_a_list_above_that_names_other_images_is_not_taken(layout):
    folder = layout(["0.1 images/a.png"])
    draw(folder / "others", "a.png")
    (folder / "others" / "when.txt").touch()
    with refused(VideoError, folder / "images.txt", "when.txt", "fps="):
        ImageFolder(folder / "others")


LINES = {  # what data sets and simulators write: the folder, the list, its lines for three images
    "vid2e": ("imgs", "timestamps.txt", ["0.001", "0.002", "0.003"]),
    "DSEC": (
        "images/left/rectified", "images/timestamps.txt",
        ["49599300523", "49599350524", "49599400525"],
    ),
    "DSEC, as downloaded": (
        "images/left/rectified", "images/zurich_00_a_image_timestamps.txt", ["10", "20", "30"]
    ),
    "TUM-VIE": (
        "left_images", "left_images/image_timestamps_left.txt", ["# us", "15.4", "30", "45"]
    ),
    "E2VID, numbered": ("frames", "frames/timestamps.txt", ["0 0.001", "1 0.002", "2 0.003"]),
    "numbered from 1": ("frames", "frames/timestamps.txt", ["1 0.001", "2 0.002", "3 0.003"]),
    "ESIM": (
        "frames", "images.csv",
        ["# ns, name", "1000000,frames/1.png", "2000000,frames/2.png", "3000000,frames/10.png"],
    ),
    "TUM RGB-D": (
        "rgb", "rgb.txt", ["# t filename", "0.001 rgb/1.png", "0.002 rgb/2.png", "0.003 rgb/10.png"]
    ),
    "nanoseconds": (
        "x", "x/timestamps.txt",
        ["1403636579763555584", "1403636579813555456", "1403636579863555584"],
    ),
}  # fmt: skip
TIMES = {
    "DSEC": [49599300523, 49599350524, 49599400525],
    "DSEC, as downloaded": [10, 20, 30],
    "TUM-VIE": [15, 30, 45],
    "nanoseconds": [1403636579763556, 1403636579813555, 1403636579863556],
}


@pytest.mark.parametrize("name", LINES)
def test_layouts_of_data_sets_are_known(tmp_path, name):
    folder, times, lines = LINES[name]
    draw(tmp_path / folder, "1.png", "2.png", "10.png")
    (tmp_path / times).write_text("\n".join(lines) + "\n")
    expected = list(zip(TIMES.get(name, [1000, 2000, 3000]), (10, 20, 30), strict=True))
    assert seen(tmp_path / folder) == expected


def test_a_folder_of_times_and_one_folder_of_images_is_one(tmp_path):
    draw(tmp_path / "imgs", "1.png", "2.png")
    (tmp_path / "timestamps.txt").write_text("0.1\n0.2\n")
    assert seen(tmp_path) == [(100_000, 10), (200_000, 20)]
    (tmp_path / "timestamps.txt").write_text("0.1\n0.2\n0.3\n")
    with refused(VideoError, "3 times", "2 images", "fps="):
        ImageFolder(tmp_path / "imgs")
    draw(tmp_path / "more", "1.png")
    with refused(VideoError, "imgs, more"):
        ImageFolder(tmp_path)


def test_whole_numbers_that_cannot_be_seconds_are_noted_or_refused(tmp_path):
    draw(tmp_path, "1.png", "2.png")
    times = tmp_path / "timestamps.txt"
    times.write_text("0\n33333\n")
    assert [t for t, _ in ImageFolder(tmp_path)] == [0, 33333]
    (note,) = ImageFolder(tmp_path).notes
    assert "33,333" in note
    times.write_text("0\n5000\n")  # 5 ms, or 5 s of milliseconds
    with refused(VideoError, "5,000", "timestamps_us"):
        ImageFolder(tmp_path)
    times.write_text("0\n10\n")
    assert [t for t, _ in ImageFolder(tmp_path)] == [0, 10_000_000]
    times.write_text("0\n10\n20\n")  # a time too many
    with refused(VideoError, "line 3", "2 images"):
        ImageFolder(tmp_path)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("0.002 images/missing.png", "images/missing.png"),
        ("0.002", "'0.002'"),
        ("later images/b.png", "'later images/b.png'"),
        ("0.0001 images/b.png", "from 1000 to 100 us"),
        ("0.002 ../outside.png", "'../outside.png'"),
        ("0.002 images/../../outside.png", "outside.png"),
        ("0.002 images\\..\\..\\outside.png", "outside.png"),
        ("0.002 {folder}/images/b.png", "{folder}"),
        ("0.002 C:\\images\\b.png", "C:"),
        ("0.002 images/b\0.png", ""),
        ("0.002 images", "images"),
        ("1e99 images/b.png", "1e99"),
        ("0.2 \udcff\udcfe", ""),
    ],
)
def test_a_damaged_list_is_refused_in_one_line_that_says_where(layout, tmp_path, line, named):
    draw(tmp_path, "outside.png")
    place = str(tmp_path / "set")
    folder = layout([GOOD[0], line.replace("{folder}", place), GOOD[2]])
    with refused(VideoError, f"{folder / 'images.txt'}: line 2 ", named.replace("{folder}", place)):
        ImageFolder(folder)


def test_lists_of_nothing_and_images_of_another_size_are_refused(layout):
    for lines in ([], ["# nothing"]):
        with refused(VideoError, "set: "):
            ImageFolder(layout(lines))
    folder = layout(GOOD)
    draw(folder / "images", "the c.png", size=(7, 5))
    with refused(VideoError, "the c.png", "7x5", "6x5"):
        list(ImageFolder(folder))


def test_a_photograph_is_turned_as_its_exif_says(tmp_path):
    upright = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: to be turned clockwise
    Image.fromarray(np.rot90(upright)).save(tmp_path / "a.jpg", quality=100, exif=exif)
    source = ImageFolder(tmp_path, fps=10)
    assert tuple(source.size) == (8, 6)
    assert np.abs(next(iter(source))[1].astype(int) - upright).mean() < 3


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535)])
def test_transparent_pixels_of_images_are_seen_on_black(tmp_path, dtype, white):
    image = np.full((5, 6, 4), white, dtype)
    image[:, 3:, 3] = white // 4
    cv2.imwrite(str(tmp_path / "a.png"), image)
    for light, quarter in (("luma", white // 4), ("linear", 0.25)):
        frame = next(iter(ImageFolder(tmp_path, fps=10, light=light)))[1]
        assert frame[0, 5] == pytest.approx(quarter, rel=0.02)
        assert frame[0, 0] == pytest.approx(white if light == "luma" else 1)


def test_images_that_cannot_be_read_are_refused_or_left_out_and_counted(tmp_path):
    draw(tmp_path, *(f"{number}.png" for number in range(6)))
    (tmp_path / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (tmp_path / "3.png").write_bytes(b"")
    draw(tmp_path, "4.png", size=(6, 7))
    with refused(VideoError, "0.png"):
        ImageFolder(tmp_path, fps=10)
    assert seen(tmp_path, fps=10, strict=False) == [(100_000, 20), (200_000, 30), (500_000, 60)]
    source = ImageFolder(tmp_path, fps=10, strict=False)
    assert len(list(source)) == 3
    for named in ("3 frames", "0.png", "4.png", "6x7", "6x5"):
        assert named in str(source.damage)
    assert next(iter(source))[0] == 100_000
