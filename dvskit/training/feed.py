"""Where the batches of a run come from: recordings, emulated recordings, encoded images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvskit._threads import run_parts
from dvskit.datasets import (
    Binned,
    Images,
    Labelled,
    Split,
    bin_labelled,
    class_names,
    find_samples,
    load_labelled,
    read_images,
    split_samples,
    stills,
    window_counts,
)
from dvskit.datasets.saccades import emulate_saccades
from dvskit.errors import ConfigError
from dvskit.events import Events, Size
from dvskit.training.config import Config
from dvskit.training.fitting import fit_labelled

_CHUNK = 1000  # images encoded at a time: 20 bins of 34x34 take 46 MB
# What a seed is for: no two draws are alike.
_SPLIT, _CHOICE, _EMULATION, _ENCODING, _HELD_EMULATION = range(5)


@dataclass(frozen=True, slots=True)
class Feed:
    """All the data of a run, in memory. Every draw follows from the seed.

    recordings, emulated  events to train on, changed anew at each draw
    images                gray images to train on, encoded anew at each draw
    validation            what the best epoch is chosen by, by name
    split                 the recordings on disk, by what they are for; None without a folder
    """

    config: Config
    classes: tuple[str, ...]
    recordings: Labelled
    emulated: Labelled
    images: Images
    validation: dict[str, Binned]
    split: Split | None

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield an epoch's batches: counts (T, B, 2, H, W), labels (B,) int64.

        Counts are uint8, or float32 where recordings were fitted to the network's sensor.

        They depend on the configuration and the epoch's number alone.
        """
        rng = np.random.default_rng((self.config.seed, _CHOICE, epoch))
        loop = self.config.loop
        recordings = _draws(len(self.recordings), loop.recordings, rng)
        emulated = _draws(len(self.emulated), loop.emulated, rng)
        images = _draws(len(self.images.labels), loop.images, rng)
        for _ in range(loop.steps):
            parts = [
                self._changed(self.recordings, next(recordings), rng),
                self._changed(self.emulated, next(emulated), rng),
                self._encoded(next(images), rng),
            ]
            counts = torch.cat([part[0] for part in parts])
            labels = torch.cat([part[1] for part in parts])
            yield counts.transpose(0, 1), labels  # (B, T, ...) -> (T, B, ...)

    def _changed(
        self, data: Labelled, chosen: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        given, size = self.config.input, _size(self.config)
        counts = torch.zeros(
            (len(chosen), given.bins, 2, size.height, size.width),
            dtype=torch.float32 if data.weights else torch.uint8,
        )
        for row, number in enumerate(chosen):
            events = self.config.augment.draw(rng).of_events(data.events[number])
            # Time 0 is where `Vary` has put the first event, give or take how much later it is.
            counts[row] = window_counts(
                events, data.weight(number), bins=given.bins, bin_us=given.bin_us, start_us=0
            )
        return counts, torch.from_numpy(data.labels[chosen])

    def _encoded(
        self, chosen: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        kinds = self.config.data.encoders
        shares = [chosen[k :: len(kinds)] for k in range(len(kinds))]
        counts = [
            encode(
                self.images.pixels[share],
                kind,
                self.config.input.bins,
                _size(self.config),
                int(rng.integers(1 << 62)),
            )
            for kind, share in zip(kinds, shares, strict=True)
        ]
        labels = self.images.labels[np.concatenate(shares)]
        return torch.cat(counts), torch.from_numpy(labels)


def _draws(total: int, count: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield `count` numbers below `total` at a time: each once before any comes again."""
    pool = np.empty(0, np.int64)
    count = min(count, total)
    while True:
        if len(pool) < count:
            pool = np.concatenate([pool, rng.permutation(total)])
        yield pool[:count]
        pool = pool[count:]


def encode(pixels: NDArray[np.uint8], kind: str, bins: int, size: Size, seed: int) -> Tensor:
    """Return images (N, h, w) as spikes (N, bins, 2, H, W) uint8, centred on a sensor of `size`.

    kind: the name of an encoder, as `dvskit.datasets.Encode` lists them. Raises GeometryError for
    images larger than the sensor.
    """
    images = stills.centred(pixels, size)
    counts = stills.encode_images(images, bins, kind, torch.Generator().manual_seed(seed))
    return counts.transpose(0, 1)  # (T, N, 2, H, W) -> (N, T, 2, H, W)


def image_parts(images: Images, config: Config, kind: str) -> Iterator[Binned]:
    """Yield all images encoded one way, in parts that fit in memory."""
    names = _digits(images)
    for start in range(0, len(images.labels), _CHUNK):
        part = slice(start, start + _CHUNK)
        seed = _number(config.seed, _ENCODING, tuple(stills.ENCODERS).index(kind), start)
        counts = encode(images.pixels[part], kind, config.input.bins, _size(config), seed)
        yield Binned(counts, torch.from_numpy(images.labels[part]), names)


def _number(*seed: int) -> int:
    return int(np.random.default_rng(seed).integers(1 << 62))


def _size(config: Config) -> Size:
    return Size(config.network.width, config.network.height)


def load_feed(config: Config) -> Feed:
    """Read, split and emulate all that the configuration names.

    Raises ConfigError where there is nothing to train on or where classes do not fit the network.
    """
    split = split_recordings(config)
    recordings, held_recordings = _load_recordings(config, split)
    images, held_images = _load_images(config)
    classes = _agree(config, recordings, images)
    validation: dict[str, Binned] = {}
    if len(held_recordings):
        given = config.input
        validation["recordings"] = bin_labelled(
            held_recordings, bins=given.bins, bin_us=given.bin_us
        )
    for kind in config.data.encoders if config.loop.images else ():
        for part in image_parts(held_images, config, kind):
            validation[kind] = part
    if config.loop.emulated and not config.data.recordings:
        held = np.arange(len(held_images.labels))
        shown = _emulate(held_images, held, config, classes, _HELD_EMULATION)
        given = config.input
        validation["emulated"] = bin_labelled(shown, bins=given.bins, bin_us=given.bin_us)
    if not validation:
        raise ConfigError("nothing to choose the best epoch by; set data.validation above 0")
    rng = np.random.default_rng((config.seed, _EMULATION))
    chosen = rng.permutation(len(images.labels))[: config.data.emulated]
    emulated = _emulate(images, chosen, config, classes, _EMULATION)
    return Feed(config, classes, recordings, emulated, images, validation, split)


def split_recordings(config: Config) -> Split | None:
    """Return the recordings that a run is made of, by part; None without a folder of them."""
    if not config.data.recordings:
        return None
    return split_samples(
        find_samples(config.data.recordings),
        validation=config.data.validation,
        test=config.data.test,
        seed=config.seed,
    )


def _load_recordings(config: Config, split: Split | None) -> tuple[Labelled, Labelled]:
    """Return the recordings to train on and those held out to choose by; none without a split.

    Those of another size than the network's are fitted to it, with a FittedWarning.
    """
    if split is None:
        none = Labelled((), np.empty(0, np.int64), ())
        return none, none
    classes = class_names([*split.train, *split.validation, *split.test])
    size = _size(config)
    data = load_labelled([*split.train, *split.validation], classes, size=size)
    data = fit_labelled(data, size)
    count = len(split.train)
    return data.part(slice(count)), data.part(slice(count, None))


def _load_images(config: Config) -> tuple[Images, Images]:
    """Return the images to train on and those held out, without the first `images_skipped`."""
    if not config.data.images:
        none = Images(np.empty((0, 1, 1), np.uint8), np.empty(0, np.int64))
        return none, none
    every = read_images(config.data.images, "train")
    left = np.arange(config.data.images_skipped, len(every.labels))
    held = config.data.validation_images
    if not 0 < held <= min(_CHUNK, len(left) - 1):
        raise ConfigError(
            f"data.validation_images = {held} of {len(left)} images; 1..{_CHUNK} are meant"
        )
    order = np.random.default_rng((config.seed, _SPLIT)).permutation(left)
    first, rest = np.sort(order[:held]), np.sort(order[held:])
    return (
        Images(every.pixels[rest], every.labels[rest]),
        Images(every.pixels[first], every.labels[first]),
    )


def _agree(config: Config, recordings: Labelled, images: Images) -> tuple[str, ...]:
    """Return the names of the classes of all data. Raises ConfigError if they differ."""
    loop = config.loop
    for name, count, there in (
        ("recordings", loop.recordings, len(recordings)),
        ("emulated", loop.emulated, len(images.labels)),
        ("images", loop.images, len(images.labels)),
    ):
        if count and not there:
            source = "recordings" if name == "recordings" else "images"
            raise ConfigError(
                f"loop.{name} = {count} but there are none; set data.{source}, or loop.{name} = 0"
            )
    names = _digits(images)
    if recordings.classes and names and recordings.classes != names:
        raise ConfigError(
            f"recordings of {', '.join(recordings.classes)}, images of {', '.join(names)}; "
            "one set of classes is meant"
        )
    classes = recordings.classes or names
    if len(classes) != config.network.classes:
        raise ConfigError(
            f"{len(classes)} classes in the data, network.classes = {config.network.classes}; "
            "make them equal"
        )
    return classes


def _digits(images: Images) -> tuple[str, ...]:
    return tuple(str(k) for k in range(int(images.labels.max(initial=-1)) + 1))


def _emulate(
    images: Images,
    chosen: NDArray[np.int64],
    config: Config,
    classes: tuple[str, ...],
    purpose: int,
) -> Labelled:
    """Emulate a recording of each chosen image, on all threads."""
    made: list[Events | None] = [None] * len(chosen)

    def work(k: int) -> None:
        seed = (config.seed, purpose, k)
        made[k] = emulate_saccades(images.pixels[chosen[k]], _size(config), seed)

    run_parts(work, len(chosen))
    return Labelled(tuple(e for e in made if e is not None), images.labels[chosen], classes)
