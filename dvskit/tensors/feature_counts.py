"""Events -> counts of their features."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.errors import ShapeError
from dvskit.events import Events, Source, as_size, as_source
from dvskit.tensors.bins import Outside, TimeParts, check_bins, check_whole, time_bins
from dvskit.tensors.feature_files import load_features
from dvskit.tensors.features import Features
from dvskit.tensors.representation import planes_for


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureCounts:
    """Count events per time bin, feature and cell: (bins, features, H / cell_px, W / cell_px).

    float32; sides are rounded up. An event counts for the feature that `Features.transform` finds;
    surfaces start empty at the first event, and go on from bin to bin. Events without a feature,
    near the border, do not count. With one bin and a cell as large as the sensor the counts are a
    histogram of features.

    fitted   the features of `fit_features`, or a file of `save_features`
    bins     the number of bins, 1 by default; without `bin_us` they divide the time between the
             first event and the last
    bin_us   the length of a bin in microseconds
    cell_px  the side of a cell: 1, a pixel
    outside  "error" or "ignore", for events outside a window given by bins and bin_us

    Raises MissingFileError and FormatError for the file.

        digits = [dvskit.load_events(f"digits/{name}/00001.bin") for name in "012"]
        layer = dvskit.tensors.FeatureLayer(n_features=8, patch=5)
        features = dvskit.tensors.fit_features(digits, layer)
        counts = dvskit.tensors.FeatureCounts(fitted=features, cell_px=34)
        histogram = counts(digits[0])    # (1, 16, 1, 1) float32: 8 features each of OFF and ON
    """

    fitted: Features | str | PathLike[str]
    bins: int | None = None
    bin_us: int | None = None
    cell_px: int = 1
    outside: Outside = "error"
    dtype: ClassVar[torch.dtype] = torch.float32

    def __post_init__(self) -> None:
        if self.bins is None and self.bin_us is None:
            object.__setattr__(self, "bins", 1)
        check_bins(self.bins, self.bin_us, self.outside)
        check_whole("cell_px", self.cell_px)
        if not isinstance(self.fitted, Features):
            object.__setattr__(self, "fitted", load_features(self.fitted))

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return (bins, features, H / cell_px, W / cell_px). Raises ShapeError without `bins`."""
        if self.bins is None:
            raise ShapeError(
                f"the number of bins of {self.bin_us} us depends on the events; pass bins too"
            )
        return self._shape(int(self.bins), size)

    def _shape(self, bins: int, size: tuple[int, int]) -> tuple[int, ...]:
        assert isinstance(self.fitted, Features)
        width, height = as_size(size)
        cell = int(self.cell_px)
        return bins, self.fitted.count, -(-height // cell), -(-width // cell)

    def __call__(
        self, events: Events | Source, *, start_us: int | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return the counts; see `Representation`."""
        assert isinstance(self.fitted, Features)
        source = as_source(events)
        parts = TimeParts(source, time_bins(source, self.bins, self.bin_us, start_us))
        _, _, lines, columns = shape = self._shape(parts.bins.count, source.size)
        planes = planes_for(shape, self.dtype, out)
        planes.clear_rest()  # no plane holds events yet
        step = self.fitted.start(as_size(source.size))
        for part in parts:
            found = step(part.events)
            at = np.arange(part.first, part.first + len(part.borders) - 1) * planes.step
            at = np.repeat(at, np.diff(part.borders))
            row, column = (each // int(self.cell_px) for each in (part.events.y, part.events.x))
            at += (found * np.int64(lines) + row) * columns + column
            np.add.at(planes.flat, at[found >= 0], np.float32(1))
        parts.refuse_missed(self.outside)
        return planes.finish()
