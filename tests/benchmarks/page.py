"""The event cloud page in a headless Chromium that draws in software: the worst case.

    python -m tests.benchmarks.page [--million 1,5] [--rounds 3]

Printed are seconds to write the page, its size, seconds from opening it to the first full picture
(median and worst of the rounds), and milliseconds a frame while a hand turns it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

if __name__ == "__main__":  # run as a script: the package beside it is the one that is meant
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from dvskit import Events, render
from tests.browser import Browser, find_chromium, start_browser

SIZE = (1280, 720)
TURNING = """
const done = arguments[0], times = [];
let last = performance.now(), left = 40;
function step(now) {
  times.push(now - last); last = now;
  if (!left--) { done(times.slice(5).sort((a, b) => a - b)[17]); return; }
  turn(1, 0); requestAnimationFrame(step);
}
requestAnimationFrame(step);
"""


def swarm(count: int) -> Events:
    """A cloud that crosses the sensor once a second and sways, for ten seconds."""
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 10_000_000, count))
    x = (t / 1e6 * SIZE[0]) % SIZE[0] + rng.normal(0, 40, count)
    y = 360 + 200 * np.sin(t / 1e6) + rng.normal(0, 100, count)
    return Events(
        t=t,
        x=np.clip(x, 0, SIZE[0] - 1).astype(np.int16),
        y=np.clip(y, 0, SIZE[1] - 1).astype(np.int16),
        p=rng.random(count) < 0.5,
        size=SIZE,
    )


def opened(browser: Browser, page: Path) -> float:
    """Open a page; return the seconds until all of it is drawn."""
    begin = time.perf_counter()
    browser.open(page)
    browser.frame()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--million", default="1,5", help="events, in millions")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    found = find_chromium()
    if found is None:
        raise SystemExit("no Chromium with chromedriver on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        browser = start_browser(*found, Path(folder) / "chromium")
        try:
            print("Chromium", browser.driver.capabilities["browserVersion"])
            for million in asked.million.split(","):
                page = Path(folder) / f"{million}.html"
                events = swarm(round(float(million) * 1e6))
                begin = time.perf_counter()
                report = render.page(events, page)
                written = time.perf_counter() - begin
                seconds = [opened(browser, page) for _ in range(asked.rounds)]
                turning = browser.driver.execute_async_script(TURNING)
                print(
                    f"{million} M events: written in {written:.2f} s, "
                    f"{report.size_bytes / 1e6:.1f} MB; shown in {median(seconds):.2f} s "
                    f"(worst {max(seconds):.2f}); {turning:.0f} ms a frame while turning"
                )
        finally:
            browser.driver.quit()


if __name__ == "__main__":
    main()
