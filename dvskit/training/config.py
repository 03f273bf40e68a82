"""The configuration of a training run: frozen dataclasses that `toml_config` reads and writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from dvskit._arguments import check_arguments
from dvskit.datasets import PUBLIC_SETS, ImageChanges
from dvskit.encoders.names import ENCODERS
from dvskit.errors import ConfigError, did_you_mean
from dvskit.filters import Vary
from dvskit.networks import ConvLIF, Network
from dvskit.registry import Registry
from dvskit.training.input_config import InputConfig, check_input

_EACH = frozenset(
    ("kind", "name", "count", "validation", "test", "by", "skip", "limit", "balanced", "classes")
)
_EVENTS = _EACH | {"augment", "mirrored"}
_CLIPS = _EVENTS | {"path", "group", "preset", "size", "redraw"}
_VIDEOS = _CLIPS | {"without", "salvage", "whole", "upsample", "fps", "light", "threshold"}
TAKEN: Mapping[str, frozenset[str]] = {
    "recordings": _EVENTS | {"path", "group", "size", "set", "download", "salvage", "without"},
    "videos": _VIDEOS,
    "mixed": _VIDEOS,
    "depth": _CLIPS | {"without", "salvage"},
    "drawn": _EVENTS | {"each", "gestures", "size", "fps", "duration_us", "close", "seed"},
    "skeletons": _EVENTS | {"path", "each", "gestures", "size", "fps", "duration_us", "seed"},
    "images": _EVENTS | {"path", "encoder"},
    "saccades": _EVENTS | {"path", "size", "redraw"},
}
"""The keys that an entry of each kind takes."""
SPLITS = ("auto", "listed", "group", "share")


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """A set to learn from: an entry [[data]] of a configuration.

    kind        "recordings"; "videos", emulated, with folders of images; "mixed", a folder of both;
                "depth", depth clips, shaded and emulated; "drawn", people that dvskit draws;
                "skeletons", drawn people moved by recorded skeletons; "images", encoded as spikes;
                "saccades", images moved before an emulated sensor
    name        the name of its scores; default: the kind, for images the encoder
    path        a folder or a list of samples: see `dvskit.datasets.open_samples`; for images, a
                folder for `open_images`; none for "drawn"
    set         the public set of recordings in `path`, such as "dvs128-gesture": see
                `dvskit.datasets.open_public`. It sets classes, people, sizes and the test part
    download    whether `set` is downloaded if `path` does not hold it; not by torchrun's processes
    count       samples in each batch
    validation  the share held out to choose the best epoch; 0: none
    test        the share held out for the test at the end; a test part of the set itself replaces
                it
    by          the way to split: "listed", the parts of the set itself; "group", people whole;
                "share", of each class; "auto", the first of these that is possible
    group       the people: "auto", "none", or a pattern searched in names: see `open_samples`
    without     names of samples that are never used
    skip        number of samples that are never used, the first outside the set's test part
    limit       the most samples to train on, drawn by the seed; 0: all
    balanced    draw equally often from all classes
    classes     new names of classes, [data.classes]: wave = "right_hand_wave"; "*" = "other"
                names all others
    encoder     for images, such as "poisson", "latency" or "direct": see `dvskit.datasets.Encode`
    preset      for clips, the preset of the sensor; "": ideal
    threshold   for videos, of the sensor, ON and OFF; 0: the preset's
    salvage     whether damaged files are salvaged and files that cannot be opened are skipped, with
                a note for both; otherwise they are errors
    size        of the sensor, (width, height), for clips and for recordings that do not store
                theirs; (): the network's
    whole, upsample, fps, light   for videos: see `dvskit.datasets.Emulation`; fps 0: unchanged
    redraw      whether clips and moved images get new noise and new movements in each epoch;
                otherwise they are emulated once and kept on disk (`dvskit.datasets.Cache`)
    each        for "drawn": samples of each gesture; for "skeletons": people for each skeleton
    gestures    for "drawn": of `dvskit.scenes.PERSON_GESTURES`; for "skeletons": of its classes;
                (): all
    seed        for "drawn" and "skeletons": the seed of the people; 0: the run's
    duration_us, close, fps       for "drawn": see `dvskit.datasets.DrawnSamples`; for
                "skeletons": `SkeletonSamples`
    mirrored    whether a sample that `augment` flips left to right gets the class with the
                mirrored name: right_wave for left_wave, counter_clockwise for clockwise
    augment     random changes, [data.augment]: of events `dvskit.filters.Vary`, of images
                `dvskit.datasets.ImageChanges`

    The split depends only on the names of the samples, the shares and the run's seed. Raises
    ConfigError for values out of range and for keys that the kind does not take.

        digits = dvskit.training.DataConfig(path="digits", count=8, validation=0.1, test=0.2)
        videos = dvskit.training.DataConfig(
            kind="videos", path="gestures", by="group", augment=dvskit.filters.Vary(shift_px=4)
        )
    """

    kind: str = "recordings"
    name: str = ""
    path: str = ""
    set: str = ""
    download: bool = False
    count: int = 16
    validation: float = 0.1
    test: float = 0.2
    by: str = "auto"
    group: str = "auto"
    without: tuple[str, ...] = ()
    skip: int = 0
    limit: int = 0
    balanced: bool = False
    encoder: str = "poisson"
    preset: str = ""
    size: tuple[int, ...] = ()
    threshold: float = 0.0
    salvage: bool = False
    whole: bool = False
    upsample: bool = False
    fps: float = 0.0
    light: str = ""
    redraw: bool = False
    each: int = 100
    gestures: tuple[str, ...] = ()
    seed: int = 0
    duration_us: int = 1_450_000
    close: float = 0.0
    classes: Mapping[str, str] = field(default_factory=dict)
    mirrored: bool = False
    augment: Vary | ImageChanges = field(default_factory=Vary)

    def __post_init__(self) -> None:
        check_choice("data.kind", self.kind, TAKEN)
        changes = changes_of(self.kind)
        if self.augment == Vary():  # no change, for any kind
            object.__setattr__(self, "augment", changes())
        if not isinstance(self.augment, changes):
            raise ConfigError(
                f"data.{self.title}.augment = {self.augment}: kind {self.kind!r} takes a "
                f"{changes.__name__}"
            )
        for item in fields(self):
            if item.name not in TAKEN[self.kind] and getattr(self, item.name) != _default(item):
                raise ConfigError(
                    f"data.{self.title}.{item.name}: kind {self.kind!r} has no such key; "
                    f"it has {', '.join(sorted(TAKEN[self.kind]))}"
                )
        if self.download and not self.set:
            raise ConfigError(f"data.{self.title}.download needs set, the name of a public set")
        if self.set and (self.group != "auto" or self.size):
            raise ConfigError(
                f"data.{self.title}: the set {self.set!r} has its own groups and size; "
                "leave out group and size"
            )
        check_choice(f"data.{self.title}.by", self.by, SPLITS)
        self._check_numbers()

    def check_names(self) -> None:
        """Raise ConfigError for an unknown encoder or public set.

        A model is loaded without this check: what it learned from is not needed to use it.
        """
        check_choice(f"data.{self.title}.encoder", self.encoder, ENCODERS)
        if self.set:
            try:
                PUBLIC_SETS.find(self.set)
            except ConfigError as error:
                raise ConfigError(f"data.{self.title}.set: {error}") from None

    def _check_numbers(self) -> None:
        least_of = {"count": 1, "skip": 0, "limit": 0, "each": 1, "fps": 0, "threshold": 0}
        for name, least in least_of.items():
            value = getattr(self, name)
            if value < least:
                raise ConfigError(
                    f"data.{self.title}.{name} = {value} is below {least}; leave out the entry "
                    "if its set is not to be used"
                )
        if not (self.validation >= 0 and self.test >= 0 and self.validation + self.test < 1):
            raise ConfigError(
                f"data.{self.title}: validation = {self.validation} and test = {self.test}; give "
                "shares of at least 0 with a sum below 1"
            )
        if len(self.size) not in (0, 2):
            raise ConfigError(f"data.{self.title}.size = {self.size}; give (width, height)")

    @property
    def title(self) -> str:
        """The name of its scores."""
        return self.name or (self.encoder if self.kind == "images" else self.kind)

    def vary(self, *, always: bool = False) -> Vary | None:
        """Return the random changes of events, None if there are none and not `always`."""
        if isinstance(self.augment, ImageChanges) or (self.augment == Vary() and not always):
            return None
        return self.augment


def check_choice(key: str, value: str, choices: Collection[str]) -> None:
    """Raise ConfigError for a value that is not among the choices of a key."""
    if isinstance(choices, Registry):
        try:
            choices.find(value)
        except ConfigError as error:
            raise ConfigError(f"{key}: {error}") from None
    elif value not in choices:
        raise ConfigError(f"{key}: no {value!r}; {did_you_mean(value, choices)}")


def changes_of(kind: str) -> type[Vary] | type[ImageChanges]:
    """Return the class of random changes for a kind of entries."""
    return ImageChanges if kind == "images" else Vary


def _default(item: Any) -> Any:
    return item.default if item.default is not MISSING else item.default_factory()


LOSSES = ("mean", "each-step", "count", "first-spike")
OPTIMISERS = ("adamw", "adam")
SCHEDULES = ("cosine", "constant")
PRECISIONS = ("auto", "float32", "bfloat16")
KEPT = ("best", "last")
TRAINED = ("all", "dense")


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """Length and settings of training. A step takes one batch of all entries [[data]] together.

    epochs           the most; fewer with `patience`
    steps            of an epoch; 0: until each sample of the entry with the most steps came once
    optimiser        "adamw" or "adam"; they differ in weight_decay
    betas            of the optimiser's two running means
    learning_rate    of the first step
    schedule         "cosine": the rate falls along a cosine to 0 over all steps; "constant"
    weight_decay     "adamw" subtracts it from the weights, "adam" adds it to the gradient
    label_smoothing  the share of each target that is spread evenly over all classes
    loss             "mean", "each-step", "count" or "first-spike": see `dvskit.training.losses`
    clip_norm        the largest norm of the gradient of all weights; 0: no limit
    precision        "bfloat16" or "float32"; "auto": bfloat16 if it is faster on this machine
    keep             the weights of the model: "best", of the epoch with the best validation
                     accuracy; "last", which needs no validation part
    patience         epochs without improvement until the run ends; 0: no limit
    stop             epochs until the run ends, with the schedule of all epochs; 0: run all.
                     `dvskit train FOLDER` sets it when time runs out
    trained_layers   "all"; or "dense", for a run with a `start`: the weights and the means of the
                     layers before the first dense one stay those of the start
    drawn_epochs     epochs with random changes of their own, which later epochs repeat in turn; 0:
                     all. With trained_layers = "dense" the outputs of the other layers are kept
    chunk_steps      time steps whose activity is kept for the backward pass; the rest is computed
                     again: less memory, more time; 0: all

        loop = dvskit.training.LoopConfig(epochs=10, learning_rate=1e-3, loss="count", patience=3)
    """

    epochs: int = 20
    steps: int = 0
    optimiser: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    learning_rate: float = 4e-3
    schedule: str = "cosine"
    weight_decay: float = 1e-2
    label_smoothing: float = 0.05
    loss: str = "mean"
    clip_norm: float = 0.0
    precision: str = "auto"
    keep: str = "best"
    patience: int = 0
    stop: int = 0
    trained_layers: str = "all"
    drawn_epochs: int = 0
    chunk_steps: int = 0

    def __post_init__(self) -> None:
        for key in ("epochs", "learning_rate"):
            if not getattr(self, key) > 0:
                raise ConfigError(f"loop.{key} = {getattr(self, key)} is not above 0")
        for key in (
            "steps",
            "drawn_epochs",
            "weight_decay",
            "clip_norm",
            "patience",
            "stop",
            "chunk_steps",
        ):
            if not getattr(self, key) >= 0:
                raise ConfigError(f"loop.{key} = {getattr(self, key)} is below 0")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(
                f"loop.label_smoothing = {self.label_smoothing}; give 0 <= label_smoothing < 1"
            )
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"loop.betas = {self.betas}; give two numbers, 0 <= beta < 1")
        check_choice("loop.optimiser", self.optimiser, OPTIMISERS)
        check_choice("loop.schedule", self.schedule, SCHEDULES)
        check_choice("loop.loss", self.loss, LOSSES)
        check_choice("loop.precision", self.precision, PRECISIONS)
        check_choice("loop.keep", self.keep, KEPT)
        check_choice("loop.trained_layers", self.trained_layers, TRAINED)


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of a training run. With code and processor they determine its result.

    name     of the model                      seed     of all random draws
    output   the folder that the run writes    network  a description: see `dvskit.networks`
    input    how events become tensors         data     the sets to learn from, one entry each
    loop     length and settings of training
    start    the folder of a model, or a shipped model's name; the run begins with its weights. The
             last layer is new if the classes differ. "": all weights are drawn by the seed

        config = dvskit.training.Config(
            name="digits",
            output="runs/digits",
            network=dvskit.networks.ConvLIF(classes=3),
            data=(dvskit.training.DataConfig(path="digits"),),
            loop=dvskit.training.LoopConfig(epochs=3),
        )
        dvskit.training.write_config(config, "digits.toml")  # dvskit.training.train("digits.toml")
    """

    name: str = "model"
    seed: int = 0
    output: str = "runs/model"
    start: str = ""
    network: Network = field(default_factory=ConvLIF)
    input: InputConfig = field(default_factory=InputConfig)
    data: tuple[DataConfig, ...] = ()
    loop: LoopConfig = field(default_factory=LoopConfig)

    def __post_init__(self) -> None:
        for key in ("name", "width", "height", "classes", "build"):
            if not hasattr(self.network, key):
                raise ConfigError(
                    f"network = {type(self.network).__name__} has no {key}; describe a module with "
                    "dvskit.networks.ModuleNetwork, or pass it to train(module, samples)"
                )
        if self.seed < 0:
            raise ConfigError(f"seed = {self.seed} is below 0")
        if self.loop.trained_layers == "dense" and not self.start:
            raise ConfigError(
                'loop.trained_layers = "dense": all layers are new without a start; set it to "all"'
            )
        check_input(self.input, self.network)
        for entry in self.data:
            entry.check_names()
        self._check_titles()

    def _check_titles(self) -> None:
        titles = Counter(entry.title for entry in self.data)
        for title, count in titles.items():
            if count > 1:
                raise ConfigError(
                    f"{count} entries [[data]] called {title!r}; give each its own name"
                )
