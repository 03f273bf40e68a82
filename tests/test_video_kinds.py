"""Each kind of video is read as it was written, or refused with a reason: a table of them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import av
import cv2
import numpy as np
import pytest

from dvskit.errors import VideoError
from dvskit.video import open_frames
from dvskit.video.light import gray_frame, luminance
from tests.laws import refused
from tests.video_kinds import (
    B_FRAMES,
    FRAMES,
    QUICK,
    UNEVEN_MS,
    Kind,
    cut_to,
    frame_of,
    mirrored,
    rotated,
    sample_aspect,
    scene,
    silence,
    stamped_as_decoded,
    turned,
    video_stream,
    without_the_first_group,
    write,
)

MS = Fraction(1, 1000)
X265 = {
    "preset": "ultrafast",
    "crf": "8",
    "x265-params": "log-level=none:pools=none:frame-threads=1",
}
X265_B = X265 | {"preset": "fast", "x265-params": X265["x265-params"] + ":bframes=3:keyint=12"}
OPEN_GOP = X265["x265-params"] + ":bframes=3:keyint=8:min-keyint=8:open-gop=1:scenecut=0"
LOSSLESS = {"preset": "ultrafast", "crf": "0"}
VP = {"deadline": "realtime", "cpu-used": "8", "crf": "4", "b": "4000000"}

WHOLE = [
    # containers and codecs
    Kind("mp4 h264", ".mp4", "libx264", options=QUICK),
    Kind("mp4 fragmented", ".mp4", "libx264", options=B_FRAMES,
         muxing={"movflags": "frag_keyframe+empty_moov"}),
    Kind("avi mpeg4 B-frames", ".avi", "mpeg4", options={"bf": "2"}),
    Kind("avi h264 B-frames", ".avi", "libx264", options=B_FRAMES),
    Kind("avi mjpeg", ".avi", "mjpeg", "yuvj420p", options={"qmin": "1", "qmax": "1"}, full=True),
    Kind("avi with frames dropped", ".avi", "mpeg4", times_ms=(0, 40, 160, 200, 480, 520)),
    Kind("3gp h263", ".3gp", "h263", size=(176, 144), notes="12:11"),
    Kind("ts h264 B-frames", ".ts", "libx264", options=B_FRAMES, container_start_ms=80),
    Kind("m2ts hevc", ".m2ts", "libx265", options=X265_B),
    Kind("mpg mpeg2 B-frames", ".mpg", "mpeg2video", options={"bf": "2"}, container_start_ms=540),
    Kind("flv h264 B-frames", ".flv", "libx264", options=B_FRAMES),
    Kind("wmv", ".wmv", "wmv2"),
    Kind("mkv with sound", ".mkv", "libx264", options=B_FRAMES, sound=True),
    # times
    Kind("mp4 of uneven rate, B-frames", ".mp4", "libx264", options=B_FRAMES, times_ms=UNEVEN_MS,
         clock=MS),
    Kind("mp4 with stamps of decoding", ".mp4", "libx264", options=B_FRAMES, clock=MS,
         times_ms=UNEVEN_MS, packets=stamped_as_decoded),
    Kind("mp4 that begins late", ".mp4", "libx264", options=B_FRAMES,
         times_ms=[480 + 40 * k for k in range(FRAMES)], container_start_ms=480),
    Kind("mp4 whose edit list leaves out the start", ".mp4", "libx264", options=QUICK | {"g": "4"},
         times_ms=[40 * k - 200 for k in range(FRAMES)], shown=range(5, FRAMES)),
    Kind("mp4 with negative offsets", ".mp4", "libx264", options=B_FRAMES,
         muxing={"movflags": "negative_cts_offsets", "use_editlist": "0"}),
    Kind("raw h264 with a rate", ".h264", "libx264", options=B_FRAMES, fps=50),
    Kind("mkv at 5,000 frames a second with a rate", ".mkv", "libx264", options=QUICK,
         times_ms=[k // 5 for k in range(FRAMES)], clock=Fraction(1, 5000), fps=5000),
    # how a picture is to be shown
    Kind("turned by 90 degrees", ".mp4", "libx264", options=QUICK, prepare=rotated(90),
         turn=turned(1), notes="counter-clockwise"),
    Kind("turned by -90 degrees", ".mov", "libx264", options=QUICK, prepare=rotated(-90),
         turn=turned(-1), notes="turned clockwise"),
    Kind("turned by 180 degrees", ".mp4", "libx264", options=B_FRAMES, prepare=rotated(180),
         turn=turned(2), notes="180 degrees"),
    Kind("mirrored left to right", ".mp4", "libx264", options=QUICK,
         prepare=rotated(0, hflip=True), turn=mirrored(1), notes="left to right"),
    Kind("mirrored top to bottom", ".mkv", "libx264", options=QUICK,
         prepare=rotated(0, vflip=True), turn=mirrored(0), notes="top to bottom"),
    Kind("at an odd angle", ".mp4", "libx264", options=QUICK, prepare=rotated(30),
         notes="not a quarter turn"),
    Kind("pixels that are not square", ".mp4", "libx264", options=QUICK,
         prepare=sample_aspect(Fraction(16, 11)), notes="16:11"),
    Kind("interlaced", ".mp4", "libx264", notes="interlaced", tolerance=0.02,
         options=QUICK | {"flags": "+ildct", "x264-params": "tff=1"}),
    Kind("odd size", ".webm", "libvpx-vp9", options=VP, size=(65, 49), tolerance=0.02),
    Kind("open groups of pictures", ".mkv", "libx265",
         options=X265 | {"preset": "fast", "x265-params": OPEN_GOP}),
    Kind("begun within an open group", ".ts", "libx265",
         options=X265 | {"preset": "fast", "x265-params": OPEN_GOP},
         packets=without_the_first_group, shown=range(8, FRAMES), notes="not shown: "),
    Kind("one frame", ".mp4", "libx264", options=QUICK, times_ms=[0]),
    # numbers
    Kind("4:2:2, luma and chroma side by side", ".mov", "rawvideo", "uyvy422", tolerance=0.003),
    Kind("gray h264", ".mp4", "libx264", "gray", options=LOSSLESS, tolerance=0.003,
         full=False),
    Kind("gray of 16 bits", ".mkv", "ffv1", "gray16le", tolerance=2e-5, bits=16),
    Kind("hevc of 12 bits", ".mp4", "libx265", "yuv420p12le", bits=16, tolerance=2e-4,
         options={"preset": "ultrafast",
                  "x265-params": X265["x265-params"] + ":lossless=1"}),
    Kind("red, green, blue", ".avi", "huffyuv", "rgb24", tolerance=0.003),
    Kind("planes of green, blue, red", ".avi", "ffvhuff", "gbrp10le", tolerance=4e-4, bits=16),
    Kind("png in mov of 16 bits", ".mov", "png", "rgb48be", tolerance=2e-5, bits=16),
    Kind("transparent png in mov", ".mov", "png", "rgba", alpha=0.6, tolerance=0.006,
         notes="transparent"),
    Kind("transparent prores", ".mov", "prores_ks", "yuva444p10le", alpha=0.5, bits=16,
         notes="transparent"),
    Kind("palette", ".mov", "png", "pal8", tolerance=0.003),
    Kind("apng", ".png", "apng", "rgba", container="apng", tolerance=0.003),
    Kind("gif", ".gif", "gif", "gray", tolerance=0.003),
    Kind("webp", ".webp", "libwebp_anim", "bgra", options={"lossless": "1"}, tolerance=0.003),
]  # fmt: skip


DAMAGED = [
    Kind("mkv cut", ".mkv", "libx264", options=B_FRAMES, spoil=cut_to(0.6),
         refused="its header states", kept=8),
    Kind("mp4 cut, index ahead", ".mp4", "libx264", options=B_FRAMES,
         muxing={"movflags": "faststart"}, spoil=cut_to(0.7), refused="frame|header", kept=6),
    Kind("mp4 cut, index behind", ".mp4", "libx264", options=B_FRAMES, spoil=cut_to(0.7),
         refused="opened"),
    Kind("avi cut", ".avi", "mpeg4", options={"bf": "2"}, spoil=cut_to(0.85),
         refused="at 0.680000 s", kept=8),
    Kind("flv cut", ".flv", "libx264", options=B_FRAMES, spoil=cut_to(0.6),
         refused="the frame at 0", kept=8),
    Kind("wmv cut", ".wmv", "wmv2", spoil=cut_to(0.4), refused="frame|header states", kept=5),
    Kind("ts cut", ".ts", "libx264", options=B_FRAMES, spoil=cut_to(0.6),
         refused="within a transport packet", kept=8),
    Kind("gif cut", ".gif", "gif", "gray", spoil=cut_to(0.6), refused="frame", kept=10),
    Kind("webp cut", ".webp", "libwebp_anim", "bgra", options={"lossless": "1"}, spoil=cut_to(0.6),
         refused="frame|opened"),
    Kind("apng cut", ".png", "apng", "rgba", container="apng", spoil=cut_to(0.6),
         refused="the frame at 0", kept=10),
    Kind("mkv at 5,000 frames a second", ".mkv", "libx264", options=QUICK,
         times_ms=[k // 5 for k in range(FRAMES)], clock=Fraction(1, 5000),
         refused="not after the previous one.*fps=", kept=4),
    Kind("raw h264", ".h264", "libx264", options=B_FRAMES, refused="holds no times.*fps="),
]  # fmt: skip


def compare(kind, frames):
    """Compare what was read with what was put in: number, times, sizes, order, brightness."""
    pictures, times = kind.pictures(), kind.times_us()
    assert len(frames) == len(pictures)
    assert [t for t, _ in frames] == pytest.approx(times, abs=1)
    top = 255 if kind.bits == 8 else 65535
    for number, (_, frame) in enumerate(frames):
        assert frame.dtype == (np.uint8 if kind.bits == 8 else np.uint16)
        assert frame.shape == pictures[number].shape
        far = [float(np.abs(frame / top - picture).mean()) for picture in pictures]
        assert int(np.argmin(far)) == number
        assert far[number] <= kind.tolerance


def compare_pictures(clip, frames):
    """Compare pictures in color with the gray frames: times, sizes and brightness."""
    for (t_us, frame), (shown_us, picture) in zip(frames, clip.pictures(), strict=True):
        assert shown_us == t_us
        assert picture.dtype == np.uint8
        assert picture.shape[:2] == frame.shape
        gray = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        shown = frame if frame.dtype == np.uint8 else frame >> 8
        # Beyond what rounding does: luma of BT.709 is not that of BT.601.
        assert np.median(np.abs(gray.astype(int) - shown)) <= 8


@pytest.mark.parametrize("kind", WHOLE, ids=lambda kind: kind.name)
def test_a_whole_video_is_read_as_it_was_put_in(tmp_path, kind):
    clip = open_frames(write(kind, tmp_path), fps=kind.fps)
    frames = list(clip)
    compare(kind, frames)
    assert not clip.damage
    assert kind.notes in "; ".join(clip.notes)
    assert bool(kind.notes) == bool(clip.notes)
    if kind.container_start_ms is not None:
        assert clip.container_start_us == kind.container_start_ms * 1000
    again = [(t, frame.tobytes()) for t, frame in clip]
    assert again == [(t, frame.tobytes()) for t, frame in frames]
    compare_pictures(clip, frames)


@pytest.mark.parametrize("kind", DAMAGED, ids=lambda kind: kind.name)
def test_a_damaged_video_is_refused_and_salvaged_with_a_report(tmp_path, kind):
    path = write(kind, tmp_path)
    with pytest.raises(VideoError, match=kind.refused) as caught:
        list(open_frames(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    if kind.kept is None:
        with pytest.raises(VideoError, match=kind.refused):
            list(open_frames(path, strict=False))
        return
    clip = open_frames(path, strict=False)
    frames = list(clip)
    assert clip.damage
    assert len(frames) >= kind.kept
    times = kind.times_us()
    assert all(t in times for t, _ in frames) or kind.clock != Fraction(1, 25)
    assert all(first < second for (first, _), (second, _) in pairwise(frames))
    if kind.spoil is not None:
        assert len(frames) < len(list(open_frames(write(replace(kind, spoil=None), tmp_path))))


def test_a_file_without_moving_pictures_is_refused(tmp_path):
    for name, named in (("sound.m4a", "no video stream"), ("cover.m4a", "cover image")):
        with av.open(str(tmp_path / name), "w", format="mp4") as container:
            sound, pictures = container.add_stream("aac", rate=16000), []
            if name == "cover.m4a":
                cover = container.add_stream("png", rate=1)
                cover.width, cover.height, cover.pix_fmt = 64, 48, "rgb24"
                cover.disposition = av.stream.Disposition.attached_pic
                pictures = cover.encode(frame_of(scene(0), "rgb24"))
            for packet in [*silence(sound, 500), *pictures]:
                container.mux(packet)
        with refused(VideoError, name, named):
            open_frames(tmp_path / name)


def test_a_codec_that_ffmpeg_does_not_know_is_named_so(tmp_path):
    path = write(Kind("", ".avi", "mpeg4"), tmp_path)
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"ZZZZ"))
    with refused(VideoError, path, "decode"):
        open_frames(path)


def test_of_several_video_streams_one_is_read_and_named(tmp_path):
    kind = Kind("", ".mkv", "libx264", options=QUICK)
    with av.open(str(tmp_path / "two.mkv"), "w") as container:
        streams = [video_stream(container, kind), video_stream(container, kind)]
        for number in range(6):
            for stream, shift in zip(streams, (0, 10), strict=True):
                frame = frame_of(scene(number + shift), "yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                for packet in stream.encode(frame):
                    container.mux(packet)
        for stream in streams:
            for packet in stream.encode(None):
                container.mux(packet)
    clip = open_frames(tmp_path / "two.mkv")
    assert "has 2 video streams; stream 0 is read" in clip.notes
    compare(replace(kind, times_ms=[40 * k for k in range(6)]), list(clip))


def test_a_change_of_size_within_a_video_is_refused_or_left_out(tmp_path):
    parts = [
        write(Kind("", ".ts", "mpeg2video", size=size, times_ms=times), folder).read_bytes()
        for size, times, folder in (
            ((64, 48), [40 * k for k in range(8)], tmp_path),
            ((96, 80), [320 + 40 * k for k in range(8)], tmp_path),
        )
    ]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(parts))
    with refused(VideoError, path, "96x80", "64x48"):
        list(open_frames(path))
    clip = open_frames(path, strict=False)
    assert len(list(clip)) in (7, 8)
    assert clip.damage


@pytest.mark.parametrize(
    ("bits", "matrix", "full"), [(8, 1, False), (8, 5, True), (10, 9, False), (10, 1, True)]
)
def test_linear_light_of_colors_follows_their_matrix_and_range(bits, matrix, full):
    """Coded by the definition (ITU-R BT.601, 709, 2020), decoded by the reader, in linear light."""
    red, blue = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
    rgb = np.array([0.8, 0.35, 0.15])
    y = red * rgb[0] + (1 - red - blue) * rgb[1] + blue * rgb[2]
    chroma = ((rgb[2] - y) / (2 - 2 * blue), (rgb[0] - y) / (2 - 2 * red))
    scale = (1 << bits) - 1 if full else 219 << (bits - 8)
    span = (1 << bits) - 1 if full else 224 << (bits - 8)
    codes = [y * scale + (0 if full else 16 << (bits - 8))]
    codes += [part * span + (1 << (bits - 1)) for part in chroma]
    frame = av.VideoFrame(32, 16, "yuv444p" if bits == 8 else "yuv444p10le")
    for plane, code in zip(frame.planes, codes, strict=True):
        samples = np.full(plane.buffer_size // (1 if bits == 8 else 2), round(code))
        plane.update(samples.astype(np.uint8 if bits == 8 else np.uint16).tobytes())
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    light = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    expected = float(light @ [0.2126, 0.7152, 0.0722])
    got = gray_frame(frame, "linear")
    assert got.dtype == np.float32
    assert got.mean() == pytest.approx(expected, rel=0.03 if bits == 8 else 0.012)
    assert np.ptp(got) < 0.01


@pytest.mark.parametrize(
    ("transfer", "code", "light"),
    [
        ("pq", 0.50808, 100 / 203),  # ITU-R BT.2100: 100 cd/m2 at 51 %
        ("pq", 1.0, 10_000 / 203),
        ("pq", 0.58069, 1.0),  # ITU-R BT.2408: diffuse white at 58 %
        ("hlg", 0.5, (0.25 / 3) / 0.26496),
        ("hlg", 0.75, 1.0),
        ("hlg", 1.0, 1 / 0.26496),
        ("linear", 0.25, 0.25),
    ],
)
def test_linear_light_of_high_dynamic_range_is_1_at_diffuse_white(transfer, code, light):
    gray = np.full((4, 6), round(code * 65535), np.uint16)
    assert luminance(gray, transfer=transfer)[0, 0] == pytest.approx(light, rel=0.02)


def test_a_pq_video_is_known_as_one_and_linear_light_goes_above_white(tmp_path):
    def hdr(stream):
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = 9, 9, 16

    kind = Kind("", ".mp4", "libx265", "yuv420p10le", options=X265, prepare=hdr, bits=16)
    path = write(kind, tmp_path)
    assert open_frames(path).transfer == "pq"
    assert open_frames(path, light="linear").notes == ()
    for number, (_, frame) in enumerate(open_frames(path, light="linear")):
        expected = luminance(np.rint(scene(number) * 65535).astype(np.uint16), transfer="pq")
        assert np.abs(np.log(frame + 0.01) - np.log(expected + 0.01)).mean() < 0.06
    assert frame.max() > 2


@pytest.mark.slow
def test_real_clips_with_packed_b_frames_are_read_as_players_show_them(data):
    """MPEG-4 in AVI: what OpenCV shows, frame by frame, at the rate of the file."""
    clips = sorted((data / "gestures" / "videos").glob("*/*.avi"))
    assert len(clips) == 18
    for path in clips[::9]:
        frames = list(open_frames(path))
        assert [t for t, _ in frames] == [round(k * 1e8 / 2997) for k in range(len(frames))]
        player = cv2.VideoCapture(str(path))
        for _, frame in frames:
            good, shown = player.read()
            assert good
            assert np.abs(cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY).astype(int) - frame).mean() < 2
        assert not player.read()[0]
        player.release()


def test_frames_that_build_on_a_lost_key_frame_are_left_out_and_on_another_are_told(tmp_path):
    """By what is decoded: with the key frame of the first group gone, and with another."""
    options = QUICK | {"g": "8", "x264-params": "scenecut=0"}
    kind = Kind("", ".mkv", "libx264", options=options, size=(160, 120))
    path = write(kind, tmp_path)
    whole = path.read_bytes()
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for lost, gone, doubtful in ((8, range(8, 16), 0), (11, [11], 4)):
        damaged = bytearray(whole)
        start = places[lost][0] + 40
        damaged[start : start + 60] = bytes(60)
        path.write_bytes(bytes(damaged))
        clip = open_frames(path, strict=False)
        assert [t // 40_000 for t, _ in clip] == [k for k in range(FRAMES) if k not in gone]
        assert (clip.damage.frames, clip.damage.doubtful) == (len(gone), doubtful)
        assert ("may show it" in str(clip.damage)) == bool(doubtful)


DAMAGED_ANYWHERE = [
    Kind("mkv", ".mkv", "libx264", options=B_FRAMES),
    Kind("mp4", ".mp4", "libx264", options=B_FRAMES),
    Kind("avi", ".avi", "mpeg4", options={"bf": "2"}),
    Kind("ts", ".ts", "libx265", options=X265_B),
    Kind("mpg", ".mpg", "mpeg2video", options={"bf": "2"}),
    Kind("webm", ".webm", "libvpx-vp9", options=VP),
    Kind("mov", ".mov", "mjpeg", "yuvj420p", full=True),
]


def damaged_at_random(whole, rng, *, head):
    """Return bytes with a part overwritten; or cut, with a few bytes of the head replaced."""
    damaged = bytearray(whole)
    at, length = int(rng.integers(600, len(whole) - 300)), int(rng.integers(1, 300))
    if head:
        for place in rng.integers(0, 1500, 4):
            damaged[place] = rng.integers(256)
        return bytes(damaged[:at])
    damaged[at : at + length] = rng.integers(0, 256, length).astype(np.uint8).tobytes()
    return bytes(damaged)


def check_damage_anywhere(kind, folder, count):
    path = write(replace(kind, size=(160, 120)), folder)
    whole, bodies, heads = path.read_bytes(), np.random.default_rng(0), np.random.default_rng(1)
    for number in range(count):
        head = number % 3 == 2
        path.write_bytes(damaged_at_random(whole, heads if head else bodies, head=head))
        raised = salvaged = ""
        try:
            list(open_frames(path))
        except VideoError as error:
            raised = str(error)
            assert raised.startswith(f"{path}: ")
            assert "\n" not in raised
        try:
            clip = open_frames(path, strict=False)
            times = [t for t, _ in clip]
            salvaged = str(clip.damage)
            assert bool(clip.damage) == bool(raised)
            assert times == sorted(set(times))
        except VideoError:
            assert raised
        if raised and salvaged:
            first = raised.removeprefix(f"{path}: ").split("; pass strict")[0]
            assert first in salvaged


@pytest.mark.parametrize("kind", DAMAGED_ANYWHERE, ids=lambda kind: kind.name)
def test_wherever_damage_lies_strict_refuses_what_salvage_reports(tmp_path, kind):
    check_damage_anywhere(kind, tmp_path, 6)


@pytest.mark.parametrize("seed", [67, 81, 131, 169, 224])
def test_damage_that_several_threads_do_not_mark_is_refused(tmp_path, seed):
    kind = next(kind for kind in DAMAGED_ANYWHERE if kind.name == "mpg")
    path = write(replace(kind, size=(160, 120)), tmp_path)
    path.write_bytes(damaged_at_random(path.read_bytes(), np.random.default_rng(seed), head=False))
    with pytest.raises(VideoError, match=r"cannot be decoded|is damaged"):
        list(open_frames(path))


@pytest.mark.campaign
@pytest.mark.parametrize("kind", DAMAGED_ANYWHERE, ids=lambda kind: kind.name)
def test_strict_refuses_what_salvage_reports_at_many_places(tmp_path, kind):
    check_damage_anywhere(kind, tmp_path, 90)
