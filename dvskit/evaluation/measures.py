"""Accuracy after the first steps of each sample, and with increasing corruption.

All measures of a judging can be taken together; parts of its samples can be measured apart and
added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dvskit import _files, filters
from dvskit._checks import check_number, check_seed, checked, checked_dataclass
from dvskit.datasets import Cache, DrawnSamples, FileSamples, LazySample, Sample, Samples
from dvskit.emulator import EmulatorParams
from dvskit.emulator.params import as_params
from dvskit.encoders.names import Encoder
from dvskit.errors import ConfigError, did_you_mean
from dvskit.evaluation.judging import Data, Judging, open_judging
from dvskit.evaluation.operations import Operations, operations_of
from dvskit.events import Events, Filter, Size
from dvskit.filters.base import CallableFilter, Step
from dvskit.formats.content import own_seed
from dvskit.layers import Stateful
from dvskit.models.inputs import AnyBatches, representation_of
from dvskit.models.model import Model
from dvskit.models.scores import Result, confusion_of, device_of, joined, judge


@dataclass(frozen=True, slots=True)
class OverTime:
    """Accuracy of a model against the time it has seen.

    results  of each step: `results[k]` is that of the answers after the first k + 1 steps
    bin_us   the length of a step; None for encoded images, whose steps have no duration

        samples = dvskit.datasets.open_samples("digits")[::20]
        found = dvskit.evaluation.evaluate_over_time("nmnist-signed-lif", samples, split="all")
        found.accuracy.shape, found.bin_us  # (steps,), microseconds
        found.settled_us  # the time after which the accuracy has settled
    """

    results: tuple[Result, ...]
    bin_us: int | None

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """The share of right answers after each step, (steps,)."""
        return np.array([result.accuracy for result in self.results])

    @property
    def interval_95(self) -> NDArray[np.float64]:
        """The 95 % interval of each accuracy, (steps, 2): its low and its high end."""
        return np.array([result.interval_95 for result in self.results])

    @property
    def settled(self) -> int:
        """The number of steps after which the accuracy has settled.

        The least k such that after k and all further steps the accuracy is not below the 95 %
        interval of the last accuracy.
        """
        below = self.accuracy < self.results[-1].interval_95[0]
        return 1 + int(np.flatnonzero(below).max(initial=-1)) + 1

    @property
    def settled_us(self) -> int | None:
        """The time of these steps in microseconds; None for encoded images."""
        return None if self.bin_us is None else self.settled * self.bin_us


def evaluate_over_time(
    model: Model | str | PathLike[str],
    data: Data,
    *,
    split: str = "held-out",
    encoder: str | Encoder | None = None,
    seed: int | None = None,
) -> OverTime:
    """Return the accuracy of a model after each step of time, from one pass over the data.

    The network runs step by step and keeps its state. After each step its readout answers for the
    steps so far. The answers equal those on the first steps alone, if the input of a step depends
    on no later event: the bins of a voxel grid see half a bin ahead. A network of points runs again
    for each step, on the events so far.

    Arguments and errors are those of `evaluate`; also raises ConfigError for a network that cannot
    run step by step.

        samples = dvskit.datasets.open_samples("digits")[::20]
        found = dvskit.evaluation.evaluate_over_time("nmnist-signed-lif", samples, split="all")
        found.accuracy[-1]  # after the whole window
    """
    judging = open_judging(model, data, split=split, encoder=encoder, seed=seed)
    return judge_over_time(judging)


def judge_over_time(judging: Judging) -> OverTime:
    """Return the accuracy after each step, of an opened judging."""
    model = judging.model
    if isinstance(judging.samples, Samples) and not _is_binned(model):
        each = [
            judge(
                model.module,
                judging.by(_begun(judging.samples, steps * model.input.bin_us)).batches(),
            )
            for steps in range(1, model.input.bins + 1)
        ]
        return OverTime(tuple(each), model.input.bin_us)
    if not isinstance(model.module, Stateful):
        raise ConfigError(
            f"{model.name}: its network, {type(model.module).__name__}, cannot run step by step, "
            "so its accuracy over time is not defined; evaluate it as a whole, or give it "
            "run(x, state), as dvskit.layers.Stateful"
        )
    results = _judge_step_by_step(model.module, judging.batches())
    return OverTime(results, None if judging.encode is not None else model.input.bin_us)


def _is_binned(model: Model) -> bool:
    return len(representation_of(model.input).shape(model.size)) == 4


def _begun(samples: Samples, us: int) -> Samples:
    """Return the samples without random changes, with only the events of their first `us`."""

    def begun(sample: LazySample) -> Events:
        events = sample.events()
        return events.between(None, int(events.t[0]) + us) if len(events) else events

    return samples.without_draws().adapted(begun, mark=f" {us}")


def _judge_step_by_step(module: Any, batches: AnyBatches) -> tuple[Result, ...]:
    was_training = module.training
    module.eval()
    confusions: list[NDArray[np.int64]] = []
    losses: list[float] = []
    for counts, labels in batches.epoch(0):
        for step, logits in enumerate(answers_over_time(module, counts)):
            if step == len(losses):
                confusions.append(np.zeros((len(batches.classes),) * 2, np.int64))
                losses.append(0.0)
            confusions[step] += confusion_of(logits, labels)
            losses[step] += float(functional.cross_entropy(logits, labels, reduction="sum"))
    module.train(was_training)
    return tuple(
        Result(batches.classes, confusion, loss / int(confusion.sum()))
        for confusion, loss in zip(confusions, losses, strict=True)
    )


def answers_over_time(module: Any, counts: Tensor) -> Iterator[Tensor]:
    """Yield the logits (B, classes) for the first 1, 2, ... T steps of counts (T, B, C, H, W).

    Answers at each step are averaged over the steps so far. In inference mode, on the CPU.
    """
    device = device_of(module)
    states, total = None, None
    for step in range(len(counts)):
        with torch.inference_mode():
            given = counts[step : step + 1].to(device).float()
            answer, states = module.run(given, states)
            if answer.ndim == 3:
                total = answer[0] if total is None else total + answer[0]
                answer = total / (step + 1)
            found: Tensor = answer.cpu()
        yield found


_STREAM = 2  # of the random words that choose pixels; dead pixels use stream 1


@checked_dataclass(frozen=True, slots=True)
class AddHotPixels(CallableFilter):
    """Add ON events at `hz` per second to random pixels, each chosen with chance `share`.

    Each fires as a Poisson process from the first event to the last. The step counts added events.
    """

    share: float = checked(check_number, 0, 1)
    hz: float = checked(check_number, 0, 1e6)
    seed: int = checked(check_seed, default=0)

    def start(self, size: Size) -> Callable[[Events], Events]:
        """Return the step of one pass."""
        return _HotPixelsStep(self, size)


class _HotPixelsStep(Step):
    def __init__(self, chosen: AddHotPixels, size: Size) -> None:
        from dvskit.filters.chance_kernels import kept_by_chance

        super().__init__(size)
        cold = np.empty(size.width * size.height, np.bool_)
        kept_by_chance(chosen.seed, _STREAM, 0, chosen.share, cold)
        self._hot = np.flatnonzero(~cold)
        # Noise of a sensor with that many pixels: nearly square, because x and y are int16.
        side = max(1, math.isqrt(len(self._hot)))
        self._sensor = Size(side, max(1, -(-len(self._hot) // side)))
        self._noise = filters.Noise(chosen.hz, on_share=1.0, seed=chosen.seed).start(self._sensor)

    def __call__(self, events: Events) -> Events:
        """Return the events and those of the hot pixels, up to the last event."""
        if not len(self._hot) or not len(events):
            return events
        nowhere = np.zeros(len(events), np.int16)
        clock = Events(
            t=events.t, x=nowhere, y=nowhere, p=np.zeros(len(events), np.bool_), size=self._sensor
        )
        found = self._noise(clock)
        number = found.y.astype(np.int64) * self._sensor.width + found.x
        added = found.p & (number < len(self._hot))
        y, x = np.divmod(self._hot[number[added]], self.size.width)
        self.added += len(x)
        t = np.concatenate([found.t[added], events.t])
        order = np.argsort(t, kind="stable")
        return Events(
            t=t[order],
            x=np.concatenate([x, events.x])[order],
            y=np.concatenate([y, events.y])[order],
            p=np.concatenate([np.ones(len(x), np.bool_), events.p])[order],
            size=self.size,
        )


def with_thresholds(samples: Samples, chosen: Sequence[Sample], factor: float) -> Samples:
    """Return samples emulated with the thresholds of their sensors multiplied by a factor.

    Noise and all other draws stay the same. Raises ConfigError if `chosen` has recordings or other
    samples without their light, and for thresholds out of range.
    """
    if isinstance(samples, FileSamples):
        wanted = set(chosen)
        for row, kind in zip(samples.rows, samples.kinds, strict=True):
            if kind == "recording" and row in wanted:
                raise _unknown_light(f"{row.where} is a recording, without its light")
        emulation = samples.reading.emulation
        params = scaled_thresholds(as_params(emulation.params), factor)
        reading = replace(samples.reading, emulation=replace(emulation, params=params))
        return samples.read_by(reading)
    if isinstance(samples, DrawnSamples):
        own = samples.sensor

        def sensor(rng: np.random.Generator) -> EmulatorParams:
            return scaled_thresholds(own(rng), factor)

        sensor.__qualname__ = f"{own.__qualname__} {factor}"  # part of the cache's keys
        return samples.before(sensor)
    raise _unknown_light(f"{type(samples).__name__} cannot be emulated again")


def scaled_thresholds(params: EmulatorParams, factor: float) -> EmulatorParams:
    """Return a sensor with both thresholds multiplied by a factor. Raises ConfigError."""
    return replace(
        params,
        threshold_on=params.threshold_on * factor,
        threshold_off=params.threshold_off * factor,
    )


def _unknown_light(why: str) -> ConfigError:
    return ConfigError(
        f"threshold: {why}; the events of another threshold cannot be derived from recorded "
        "events; give videos or depth clips, or corrupt by 'drop'"
    )


_HOT_HZ = 100.0


@dataclass(frozen=True, slots=True)
class CorruptionKind:
    """A way to corrupt recordings.

    label    the meaning of a level, with its unit
    levels   the default levels
    filter   from a level and a seed; None if clips are emulated again
    factors  whether levels are factors, shown on a logarithmic axis; nothing changes at 1, else 0

        kind = dvskit.evaluation.CORRUPTIONS["drop"]
        kind.label, kind.levels[0]  # the meaning of a level, and the first
        events = dvskit.load_events("digits/0/00001.bin")
        fewer = kind.filter(0.5, 1)(events)  # about half of the events, by seed 1
    """

    label: str
    levels: tuple[float, ...]
    filter: Callable[[float, int], Filter] | None
    factors: bool = False


def _jitter(level_ms: float, seed: int) -> Filter:
    # A shift by a second, over five deviations, keeps all times above 0, so no event is dropped.
    return filters.Chain(
        filters.StartAt(1_000_000), filters.TemporalJitter(1000.0 * level_ms, seed)
    )


CORRUPTIONS: Mapping[str, CorruptionKind] = {
    "noise": CorruptionKind(
        "noise (events/s/pixel)",
        (0, 0.5, 1, 2, 5, 10),
        lambda hz, seed: filters.Noise(hz, 0.5, seed),
    ),
    "drop": CorruptionKind(
        "share of events left out", (0, 0.1, 0.25, 0.5, 0.75, 0.9), filters.DropEvents
    ),
    "dead-pixels": CorruptionKind(
        "share of pixels that are dead", (0, 0.05, 0.1, 0.2, 0.4, 0.6), filters.DropPixels
    ),
    "hot-pixels": CorruptionKind(
        f"share of pixels that fire at {_HOT_HZ:g} events/s",
        (0, 0.002, 0.005, 0.01, 0.02, 0.05),
        lambda share, seed: AddHotPixels(share, _HOT_HZ, seed),
    ),
    "time-scale": CorruptionKind(
        "factor of all times",
        (0.5, 0.7, 0.85, 1, 1.2, 1.4, 2),
        lambda factor, seed: filters.TimeScale(factor),
        factors=True,
    ),
    "time-jitter": CorruptionKind("jitter of times (ms)", (0, 1, 3, 10, 30, 90), _jitter),
    "place-jitter": CorruptionKind(
        "jitter of places (pixels)", (0, 0.5, 1, 1.5, 2, 3), filters.SpatialJitter
    ),
    "threshold": CorruptionKind(
        "factor of the contrast thresholds", (0.5, 0.7, 0.85, 1, 1.2, 1.4, 2), None, factors=True
    ),
}
"""The ways to corrupt recordings, by name; jitters are standard deviations of a normal law."""


@dataclass(frozen=True, slots=True)
class Corrupted:
    """Accuracy of a model on corrupted recordings.

    kind     of CORRUPTIONS         levels   in ascending order
    results  one per level          seed     of the draws

        model = dvskit.models.load_model("nmnist-signed-lif")
        samples = dvskit.datasets.open_samples("digits")[::20]
        evaluate = dvskit.evaluation.evaluate_corrupted
        found = evaluate(model, samples, "drop", (0.0, 0.5), split="all")
        [result.accuracy for result in found.results]  # with all events, and with half of them
    """

    kind: str
    levels: tuple[float, ...]
    results: tuple[Result, ...]
    seed: int


def evaluate_corrupted(
    model: Model | str | PathLike[str],
    data: Data,
    kind: str,
    levels: Sequence[float] | None = None,
    *,
    split: str = "held-out",
    seed: int = 0,
) -> Corrupted:
    """Return the accuracy of a model on recordings at increasing levels of corruption.

    kind    of CORRUPTIONS: "noise", "drop", "dead-pixels", "hot-pixels", "time-scale",
            "time-jitter", "place-jitter", "threshold"
    levels  see CORRUPTIONS for the default
    seed    of the draws. Each recording has its own draws, from the seed, the kind and its name

    Events are changed at the recording's size, before they are fitted to the network. The window
    still begins at the first event that is left, and noise begins with the recording, so the start
    of a recording is easier to find than with a camera that is noisy all the time.

    "threshold" emulates videos, depth clips and drawn people again, with the thresholds of their
    sensor multiplied. It raises ConfigError for recordings; "drop" is the nearest alternative.

    Other arguments and errors are those of `evaluate`. Also raises ConfigError for an unknown
    kind, for levels out of range and for still images.

        model = dvskit.models.load_model("nmnist-signed-lif")
        samples = dvskit.datasets.open_samples("digits")[::20]
        found = dvskit.evaluation.evaluate_corrupted(
            model, samples, "noise", (0.0, 5.0), split="all"
        )
        [result.accuracy for result in found.results]  # one for each level, in Hz per pixel
    """
    judging = open_judging(model, data, split=split)
    chosen = check_levels(kind, levels)
    results = tuple(judge_corrupted(judging, kind, chosen, seed))
    return Corrupted(kind, chosen, results, seed)


def check_levels(kind: str, levels: Sequence[float] | None) -> tuple[float, ...]:
    """Return the levels to judge, in ascending order. Raises ConfigError."""
    if kind not in CORRUPTIONS:
        raise ConfigError(f"no way to corrupt {kind!r}; {did_you_mean(kind, CORRUPTIONS)}")
    known = CORRUPTIONS[kind]
    given = tuple(sorted({float(level) for level in (known.levels if levels is None else levels)}))
    if not given:
        raise ConfigError(f"{kind}: no levels; give at least one, {known.label}")
    for level in given:
        if not np.isfinite(level) or level < 0 or (known.factors and level == 0):
            raise ConfigError(
                f"{kind}: level {level:g} is not a finite number "
                f"{'above 0' if known.factors else 'of at least 0'}; it is the {known.label}"
            )
        if known.filter is not None:
            known.filter(level, 0)  # raises for a level out of range
    return given


def judge_corrupted(
    judging: Judging, kind: str, levels: Sequence[float], seed: int
) -> Iterator[Result]:
    """Yield the result of each level.

    Clips are emulated once and their events kept in a temporary folder, unless each level
    emulates them again. Raises ConfigError.
    """
    if not isinstance(judging.samples, Samples) or judging.whole is None:
        raise ConfigError(
            f"{kind}: still images have no events to corrupt; give recordings or videos"
        )
    check_seed("seed", seed)
    if CORRUPTIONS[kind].filter is None:
        for level in levels:
            whole = with_thresholds(judging.whole, judging.chosen.samples, level)
            yield _judge(judging.by(judging.among(whole)))
        return
    with _files.temporary_folder() as folder:
        samples, whole = judging.samples.without_draws(), judging.whole
        if not isinstance(whole, FileSamples) or set(whole.kinds) != {"recording"}:
            samples = samples.cached(Cache(folder))  # recordings are read as fast
        for level in levels:
            yield _judge(judging.by(corrupted(samples, kind, level, seed)))


def corrupted(samples: Samples, kind: str, level: float, seed: int) -> Samples:
    """Return samples without random changes, each corrupted with its own draws."""
    made = CORRUPTIONS[kind].filter
    assert made is not None  # for "threshold", clips are emulated again

    def change(sample: LazySample) -> Events:
        own = own_seed(seed, f"{kind} {sample.row.name}", sample.row.span)
        return filters.Chain(made(level, own))(sample.events())

    return samples.without_draws().adapted(change, mark=f" {kind} {level} {seed}")


def _judge(judging: Judging) -> Result:
    result = judge(judging.model.module, judging.batches())
    return replace(result, seen=judging.chosen.seen, left_out=judging.chosen.left_out)


@dataclass(frozen=True, slots=True)
class Measures:
    """The measures to take besides the accuracy.

    corrupt  the levels of each kind of corruption
    seed     of the corruption
    """

    over_time: bool = False
    operations: bool = False
    corrupt: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Findings:
    """The measures of some samples; a sum is that of the samples of both, to equal counts."""

    result: Result
    over_time: OverTime | None
    operations: Operations | None
    corrupted: tuple[Corrupted, ...]

    def __add__(self, other: Findings) -> Findings:
        pairs = zip(self.corrupted, other.corrupted, strict=True)
        return Findings(
            joined((self.result, other.result)),
            self.over_time and other.over_time and replace(
                self.over_time, results=_each(self.over_time.results, other.over_time.results)
            ),
            self.operations and other.operations and self.operations + other.operations,
            tuple(replace(one, results=_each(one.results, more.results)) for one, more in pairs),
        )  # fmt: skip


def _each(some: tuple[Result, ...], others: tuple[Result, ...]) -> tuple[Result, ...]:
    return tuple(map(joined, zip(some, others, strict=True)))


def measure(
    judging: Judging, measures: Measures, show: Callable[[str], object] = lambda kind: None
) -> Findings:
    """Return the measures of an opened judging; `show` is called after each level of a corruption.

    Raises the errors of each measure.
    """
    result = judge(judging.model.module, judging.batches())
    over_time = judge_over_time(judging) if measures.over_time else None
    operations = operations_of(judging) if measures.operations else None
    corrupted = []
    for kind, levels in measures.corrupt.items():
        results = []
        for each in judge_corrupted(judging, kind, levels, measures.seed):
            results.append(each)
            show(kind)
        corrupted.append(Corrupted(kind, levels, tuple(results), measures.seed))
    return Findings(result, over_time, operations, tuple(corrupted))
