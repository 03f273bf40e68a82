"""The page of `dvskit teach` in Chromium, with a clip as its camera."""

from __future__ import annotations

import av
import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from dvskit.teach import ClipFolder
from dvskit.video import VideoFrames
from tests.browser import find_chromium, start_browser
from tests.conftest import skip_or_fail
from tests.teach_clips import every_byte, fill, serving, shorten_trainings


def film(path, codec="mjpeg"):
    """Write two seconds of a square that moves left and right, which a fake camera repeats."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=30)
        kind = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.width, stream.height, stream.pix_fmt = 320, 240, kind
        for number in range(60):
            left = int(135 + 100 * np.sin(2 * np.pi * number / 30))
            frame = np.full((240, 320), 60, np.uint8)
            frame[90:150, left : left + 50] = 220
            drawn = av.VideoFrame.from_ndarray(frame, format="gray").reformat(format=kind)
            out.mux(stream.encode(drawn))
        out.mux(stream.encode(None))
    return path


def started(folder, *flags):
    found = find_chromium()
    if found is None:
        skip_or_fail("no Chromium with chromedriver on the PATH")
    camera = film(folder / "camera.mjpeg")
    return start_browser(
        *found, folder / "profile", "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
        "--autoplay-policy=no-user-gesture-required", *flags,
    )  # fmt: skip


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """A Chromium with a camera that pages may use."""
    browser = started(tmp_path_factory.mktemp("filmed"), "--use-fake-ui-for-media-stream")
    yield browser
    browser.driver.quit()


@pytest.fixture
def folder(tmp_path):
    with ClipFolder(tmp_path / "gestures") as folder:
        yield folder


@pytest.fixture
def served(folder, tmp_path):
    with serving(folder, tmp_path / "runs") as served:
        yield served


def press(browser, name):
    """Press a button by its id, or the first one of a selector, with the keyboard."""
    selector = name if name[0] in ".[" else f"#{name}"
    browser.driver.find_element(By.CSS_SELECTOR, selector).send_keys(Keys.ENTER)


def add_class(browser, name):
    press(browser, "add-class")
    browser.driver.switch_to.active_element.send_keys(name + Keys.ENTER)
    browser.wait(f"S.classes.includes('{name}')", 30)


def film_with(browser):
    press(browser, "camera")
    browser.wait("source === 'camera' && sent > 0", 60)


def record(browser, name):
    press(browser, f"[aria-label='Record a clip of {name}']")


@pytest.mark.slow(seconds=5)
def test_a_clip_is_recorded_by_keyboard_and_shown_in_each_tab_and_after_a_reload(
    filmed, served, folder
):
    filmed.open(served.url)
    add_class(filmed, "wave")
    driver, first = filmed.driver, filmed.driver.current_window_handle
    film_with(filmed)
    record(filmed, "wave")
    filmed.wait("S.clips.length === 1", 60)
    clip = folder.path / "wave" / "me_t1.mkv"
    times = [t_us for t_us, _ in VideoFrames(clip)]
    assert 1.9e6 < times[-1] < 4e6
    frame = next(iter(VideoFrames(clip)))[1]
    assert (frame.shape, int(frame.max()) > 190) == ((240, 320), True)
    assert len({frame.tobytes() for _, frame in VideoFrames(clip)}) > 5
    driver.switch_to.new_window("tab")
    filmed.open(served.url)
    filmed.wait("S.clips.length === 1 && document.querySelector('.clips img').naturalWidth", 30)
    press(filmed, ".clips .show")
    shown = "document.querySelector('.clips img')"
    filmed.wait(f"{shown}.src.includes('preview') && {shown}.complete && {shown}.naturalWidth", 30)
    press(filmed, "[aria-label='Delete me_t1 of wave']")
    filmed.wait("!$('undo').hidden && S.clips.length === 0", 30)
    driver.close()
    driver.switch_to.window(first)
    filmed.wait("S.clips.length === 0", 30)  # without a reload
    folder.undo()
    driver.refresh()
    filmed.wait("document.documentElement.dataset.ready === 'yes' && S.clips.length === 1", 30)
    filmed.wait("source === 'camera' && answered > 0", 60)
    assert filmed.complaints() == []


def drag(browser, clip, onto):
    """Drag a clip with the mouse onto a part of the page."""
    row = f"//*[@aria-label='Play {clip}']/.."
    source = browser.driver.find_element(By.XPATH, row)
    target = browser.driver.find_element(By.CSS_SELECTOR, onto)
    ActionChains(browser.driver).drag_and_drop(source, target).perform()


@pytest.mark.slow(seconds=4)
def test_a_clip_is_dragged_onto_another_class_and_back_by_undo(filmed, served, folder):
    fill(folder, "anna", "bo")
    before = every_byte(folder.path)
    files = [clip.file for clip in folder.clips()]
    filmed.open(served.url)
    filmed.wait("S.clips.length === 4")
    drag(filmed, "anna_t1 of up", "[aria-label='Class across'] h3")
    filmed.wait("S.clips.some(({file}) => file === 'across/anna_t2.mkv')", 30)
    assert "up/anna_t1.mkv" not in [each.file for each in folder.clips()]
    filmed.wait("!$('undo').hidden", 30)
    press(filmed, "undo")
    filmed.wait("S.clips.some(({file}) => file === 'up/anna_t1.mkv')", 30)
    assert [each.file for each in folder.clips()] == files
    filmed.js("tell('quiet')")
    drag(filmed, "anna_t1 of up", "[aria-label='Class up'] h3")  # its own class
    drag(filmed, "anna_t1 of up", "#camera-part h2")  # no class
    press(filmed, "[aria-label='Move bo_t1 of across']")
    keyed = Select(filmed.driver.switch_to.active_element)
    assert keyed.first_selected_option.text == "across"
    filmed.press("u", Keys.TAB, Keys.ENTER)
    filmed.wait("S.clips.some(({file}) => file === 'up/bo_t2.mkv')", 30)
    assert len({each.file for each in folder.clips()} - {*files}) == 1
    assert every_byte(folder.path) == before
    assert filmed.complaints() == []


@pytest.mark.campaign
def test_a_page_whose_server_is_lost_goes_on_with_the_next_one(filmed, folder, tmp_path):
    kept = tmp_path / "address.json"
    with serving(folder, tmp_path / "runs", kept) as first:
        filmed.open(first.url)
        add_class(filmed, "wave")
        film_with(filmed)
        record(filmed, "wave")
        filmed.wait("recording && recording.firstUs && $('recorded').value > 0.7", 60)
    filmed.wait("!$('lost').hidden && !recording", 30)
    with serving(folder, tmp_path / "runs", kept):
        filmed.wait("$('lost').hidden && S.clips.length === 1 && answered > 2", 60)


@pytest.mark.campaign
def test_a_training_survives_a_reload_and_its_model_answers_live_and_is_saved(
    filmed, served, folder, tmp_path, monkeypatch
):
    shorten_trainings(monkeypatch, 2, 3)
    fill(folder, "anna", "bo", "cy")
    filmed.open(served.url)
    filmed.wait("S.clips.length === 6", 60)
    filmed.js("act('train', {minutes: 30})")
    filmed.wait("S.training.running && !$('stop').hidden", 60)
    filmed.driver.refresh()
    filmed.wait("document.documentElement.dataset.ready === 'yes'", 60)
    filmed.wait("!S.training.running && S.training.stage === 'finished'", 250)
    for part in ("result", "warnings", "start"):
        assert filmed.js(f"return $('{part}').textContent")
    assert filmed.js("return document.querySelectorAll('#confusion td').length") == 5
    if not filmed.js("return source"):
        film_with(filmed)
    filmed.wait("document.querySelectorAll('#bars li').length === 2", 120)
    filmed.wait("$('answer').textContent !== '' && $('latency').textContent.includes('ms')", 60)
    press(filmed, "save")
    filmed.wait("!$('saved').hidden", 60)
    commands = filmed.js("return $('commands').innerText")
    assert str(tmp_path / "runs") in filmed.js("return S.training.model")
    for words in ("classify", "classify --live", "eval"):
        assert f"dvskit {words} " in commands
    assert filmed.complaints() == []


@pytest.mark.campaign
def test_without_the_camera_the_page_says_why_and_takes_videos(
    tmp_path, tmp_path_factory, served, folder
):
    browser = started(tmp_path_factory.mktemp("refused"), "--deny-permission-prompts")
    try:
        browser.open(served.url)
        add_class(browser, "wave")
        press(browser, "camera")
        browser.wait("!$('no-camera').hidden", 30)
        assert browser.js("return $('no-camera').innerText")
        fill(other := ClipFolder(tmp_path / "other"), "dot")
        file = browser.driver.find_element(By.CSS_SELECTOR, ".class input[type=file]")
        file.send_keys(str(other.path / "up" / "dot_t1.mkv"))
        other.close()
        browser.wait("S.clips.length === 1", 60)
        assert [clip.file for clip in folder.clips()] == ["wave/me_t1.mkv"]
        video = film(tmp_path / "watched.webm", "libvpx")
        browser.driver.find_element(By.ID, "play-file").send_keys(str(video))
        browser.wait("source === 'video' && $('no-camera').hidden", 60)
        browser.wait("lastUs > 2_500_000", 60)  # the video of two seconds has begun again
        assert browser.complaints() == []
    finally:
        browser.driver.quit()
