"""The configuration of a training run: frozen dataclasses, which `toml_config` reads and writes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from dvskit.errors import ConfigError, did_you_mean
from dvskit.networks import ConvLIF, Network, PointNet
from dvskit.training.data_config import DataConfig

POINTS = "point_set"
"""The representation that networks of points take, and no other does."""
LOSSES = ("mean", "each-step", "count", "first-spike")
OPTIMISERS = ("adamw", "adam")
SCHEDULES = ("cosine", "constant")
PRECISIONS = ("auto", "float32", "bfloat16")
KEPT = ("best", "last")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputConfig:
    """How events become tensors: `bins` of `bin_us` microseconds from the first event on.

    representation  its name: see `dvskit.tensors.representation_from`
    channels        2: OFF, ON; 1: both together; of encoded images 1 is the image alone
    points          of "point_set", for a network of points: how many events of the window are
                    drawn; in training others each time
    """

    bins: int = 20
    bin_us: int = 15_500
    representation: str = "counts"
    channels: int = 2
    points: int = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """How long and how hard to learn. A step takes a batch of all entries [[data]] together.

    epochs           the most; fewer with `patience`
    steps            of an epoch; 0: until each sample of the entry that takes longest came once
    optimiser        "adamw" or "adam", which differ in what they do with weight_decay
    betas            of the optimiser's two running means
    learning_rate    of the first step
    schedule         "cosine": the rate falls along a cosine to 0 over all steps; "constant"
    weight_decay     of "adamw" taken off the weights themselves, of "adam" added to the gradient
    label_smoothing  the share of each target that all classes have alike
    loss             "mean", "each-step", "count" or "first-spike": see `dvskit.training.losses`. A
                     loss is of what the network's readout answers; one that needs another readout
                     says so before anything is trained
    clip_norm        the largest norm of the gradient of all weights; longer ones are scaled down to
                     it; 0: as they are
    precision        "bfloat16" or "float32"; "auto": bfloat16 where the machine has units for it
    keep             whose weights are the model's: "best", of the epoch with the best validation
                     accuracy; "last", which needs no validation part
    patience         epochs without a better one after which the run ends; 0: never
    freeze           of a run that begins with the weights of a model (`start`): for so many steps
                     the last layer alone, which is new, learns
    chunk_steps      steps of time whose activity is kept for the backward pass: the rest is
                     computed again, chunk by chunk: less memory and more time; 0: all
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
    freeze: int = 0
    chunk_steps: int = 0

    def __post_init__(self) -> None:
        for key, value in {"epochs": self.epochs, "learning_rate": self.learning_rate}.items():
            if not value > 0:
                raise ConfigError(f"loop.{key} = {value} is not above 0")
        for key in ("steps", "weight_decay", "clip_norm", "patience", "freeze", "chunk_steps"):
            if not getattr(self, key) >= 0:
                raise ConfigError(f"loop.{key} = {getattr(self, key)} is below 0")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(
                f"loop.label_smoothing = {self.label_smoothing}; 0 <= label_smoothing < 1 is meant"
            )
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"loop.betas = {self.betas}; two numbers, 0 <= beta < 1, are meant")
        for key, choices in (
            ("optimiser", OPTIMISERS),
            ("schedule", SCHEDULES),
            ("loss", LOSSES),
            ("precision", PRECISIONS),
            ("keep", KEPT),
        ):
            value = getattr(self, key)
            if value not in choices:
                raise ConfigError(f"loop.{key}: no {value!r}; {did_you_mean(value, choices)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that a training run depends on, with the code and the processor.

    name     of the model                      seed     of all that is drawn
    output   the folder that the run writes    network  a description: see `dvskit.networks`
    input    how events become tensors         data     the sets to learn from, an entry each
    loop     how long and how hard to learn
    start    a model, its folder or the name of a shipped one, whose weights the run begins with;
             those of the last layer are new where the classes are others. "": all are new, drawn by
             the seed
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
        if self.seed < 0:
            raise ConfigError(f"seed = {self.seed} is below 0")
        if self.loop.freeze and not self.start:
            raise ConfigError("loop.freeze: no start, so that all layers are new; set it to 0")
        for key in ("bins", "bin_us", "points"):
            value = getattr(self.input, key)
            if value <= 0:
                raise ConfigError(f"input.{key} = {value} is not above 0")
        if self.input.channels not in (1, 2):
            raise ConfigError(f"input.channels = {self.input.channels}; 1 or 2 is meant")
        inputs = getattr(self.network, "inputs", 2)
        if inputs != self.input.channels:
            raise ConfigError(
                f"input.channels = {self.input.channels}, but the network takes {inputs} (that is "
                "network.inputs, of networks that have it); make them equal"
            )
        of_points = isinstance(self.network, PointNet)
        if of_points != (self.input.representation == POINTS):
            fix = (
                f"takes points; set it to {POINTS!r}"
                if of_points
                else "takes tensors of bins; name another representation, or a network of points"
            )
            raise ConfigError(
                f"input.representation = {self.input.representation!r}, but network "
                f"{self.network.name!r} {fix}"
            )
        titles = Counter(entry.title for entry in self.data)
        for title, count in titles.items():
            if count > 1:
                raise ConfigError(
                    f"{count} entries [[data]] called {title!r}; give each a name of its own"
                )
