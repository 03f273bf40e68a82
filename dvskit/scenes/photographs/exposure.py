"""From the codes of a photograph to the brightness that a frame camera exposes it to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.float32]

_NEGATIVE, _MOST_GAIN = 0.08, 6.0


@dataclass(frozen=True, slots=True)
class PhotoExposure:
    """Brightness from the codes of pictures, in parts of white: (gain * code ** gamma) + black.

    gamma     of the codes: about 2.2 for photographs and videos
    mean      of the brightness, before black is added and white is cut
    black     brightness of black
    negative  black and white are exchanged first

        exposure = dvskit.scenes.PhotoExposure(gamma=2.2, mean=0.4, black=0.05)
        codes = np.linspace(0, 1, 5, dtype=np.float32)
        exposure.on(codes)  # float32, from 0.05 for black
    """

    gamma: float
    mean: float
    black: float
    negative: bool = False

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> PhotoExposure:
        """Return an exposure from a generator.

        Frames of event cameras are linear in light and dark: the mean of those that are drawn is
        about 0.33, and the deviation within a frame about 0.17.
        """
        mean = float(np.clip(np.exp(rng.normal(np.log(0.3), 0.3)), 0.12, 0.65))
        gamma, black = float(rng.uniform(1.4, 2.6)), float(rng.uniform(0, 0.06))
        return cls(gamma, mean, black, bool(rng.random() < _NEGATIVE))

    def on(self, codes: Codes, like: Codes | None = None) -> Codes:
        """Return the brightness of codes from 0 to 1, float32 from 0.01 to 1.

        like  the codes that have the mean; None: `codes`
        """
        light = self._light(codes)
        shown = light if like is None else self._light(like)
        gain = min(self.mean / max(float(shown.mean()), 0.02), _MOST_GAIN)
        return np.asarray(np.clip(light * gain + self.black, 0.01, 1), np.float32)

    def _light(self, codes: Codes) -> Codes:
        return np.asarray((1 - codes if self.negative else codes) ** self.gamma, np.float32)
