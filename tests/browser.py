"""A headless Chromium, and what tests ask it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from selenium import webdriver

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --use-angle=swiftshader "
    "--enable-unsafe-swiftshader --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1440,900"
)


class Browser:
    """A headless Chromium and what the tests ask it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def js(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str, seconds: float = 15) -> None:
        end = time.monotonic() + seconds
        while not self.js(f"return !!({condition})"):
            assert time.monotonic() < end, f"never came true: {condition}"
            time.sleep(0.02)

    def resize(self, width: int, height: int) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def open(self, page: Path | str, size: tuple[int, int] = (1440, 900), state: str = "") -> None:
        """Open a page, a file or an address, and wait until it is ready."""
        self.resize(*size)
        self.driver.get("about:blank")  # else an address that differs behind # alone is not loaded
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        address = page if isinstance(page, str) else page.as_uri()
        self.driver.get(address + (f"#{state}" if state else ""))
        self.wait("document.documentElement.dataset.ready === 'yes'")

    def complaints(self) -> list[str]:
        # "rendering" is the driver's word on the speed of screenshots, not the page's.
        logged = self.driver.get_log("browser")
        return [entry["message"] for entry in logged if entry.get("source") != "rendering"]

    def requests(self) -> list[str]:
        messages = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        return [
            m["params"]["request"]["url"]
            for m in messages
            if m["method"] == "Network.requestWillBeSent"
        ]

    def frame(self) -> None:
        """Wait until what was asked for is on the screen, in full."""
        self.wait("!pending && !S.moving")

    def screen(self) -> np.ndarray:
        self.frame()
        data = np.frombuffer(self.driver.get_screenshot_as_png(), np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1].astype(int)

    def slide(self, name: str, value: float) -> None:
        """Set a slider as a hand would."""
        self.js(
            "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
            "e.dispatchEvent(new Event('input', {bubbles: true}))", name, value,
        )  # fmt: skip
        self.frame()

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()


def find_chromium() -> tuple[str, str] | None:
    """Return the paths of Chromium and of its driver, or None without them."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    chromium = next((found for name in names if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    return None if chromium is None or driver is None else (chromium, driver)


def start_browser(chromium: str, driver_path: str, folder: Path, *flags: str) -> Browser:
    """Start a Chromium that keeps what it must in a folder; `flags` come after FLAGS."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS.split(), *flags):
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={folder}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return Browser(webdriver.Chrome(options=options, service=Service(driver_path)))
