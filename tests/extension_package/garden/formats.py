"""A format that is read and written: b"SEED", width and height, then rows of t, x, y and p."""

import numpy as np

from dvskit import Events, Size, register_format
from dvskit.formats import FileSink, Format, Recording


class SeedRecording(Recording):
    format = "seed"

    def _blocks(self, damage, storage):
        t, x, y, p = np.fromfile(self.path, "<i8", offset=20).reshape(-1, 4).T
        yield Events(t=t, x=x, y=y, p=p > 0, size=self.size)


class SeedSink(FileSink):
    format = "seed"

    def _open(self, partial):
        self._file = self._create(partial)
        self._file.write(b"SEED" + np.array(self.size, "<i8").tobytes())

    def _write(self, events):
        columns = [events.t, events.x, events.y, events.p]
        self._file.write(np.stack(columns, 1).astype("<i8").tobytes())


def open_recording(path, options):
    size = Size(*np.fromfile(path, "<i8", 2, offset=4).tolist())
    return SeedRecording(path, options, options.size or size, "header")


open_sink = SeedSink

register_format(
    Format("seed", (".seed",), __name__, lambda head: head.startswith(b"SEED"), "rw", "for tests",
           inside="events.seed")
)  # fmt: skip
