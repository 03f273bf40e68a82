"""`dvskit plot`: figures of event files, models and training runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dvskit.cli import _console
from dvskit.cli import _options as options
from dvskit.cli._binding import Group
from dvskit.cli._clips import (
    CountedEvents,
    PlotPage,
    ShownFile,
    check_picture,
    note_assumptions,
    open_shown,
    save_picture,
)
from dvskit.cli._judging import (
    DataArgument,
    JudgedInputs,
    PartName,
    SplitOption,
    open_folder,
)
from dvskit.cli._options import ModelArgument, ModelOption, Reading, Span
from dvskit.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from dvskit.evaluation import Observed
    from dvskit.render.plots import Style

Out = Annotated[
    Path, typer.Option("-o", "--out", help="The picture: .png, .svg or .pdf.", show_default=False)
]


@dataclass(frozen=True, slots=True)
class _PlotLooks:
    """How a plot looks and is written: the options --dark, --width and --force."""

    page: PlotPage = field(default_factory=PlotPage)
    force: options.Force = False

    def begin(self, out: Path) -> Style:
        """Return the style; raise errors about the output before anything is read."""
        style = self.page.style()
        check_picture(out, self.force)
        return style


_WHAT = {
    "rate": "Events a second over time: ON, OFF and all.",
    "balance": "The share of ON events over time and from pixel to pixel.",
    "intervals": "The times between events of a pixel: ON-ON, OFF-OFF, mixed.",
    "map": "Events of each pixel, with hot pixels circled.",
    "spectrum": "The power spectrum of the event rate, with peaks named in Hz.",
    "flicker": "The frequency of each pixel that flickers.",
    "noise": "Isolated events, of noise and of the scene; shot and leak noise.",
}


def _command(name: str) -> Callable[..., None]:
    def plot(
        file: ShownFile,
        out: Out,
        span: Span = Span(),
        reading: Reading = Reading(),
        looks: _PlotLooks = _PlotLooks(),
    ) -> None:
        times = span.times()
        style = looks.begin(out)
        recording = open_shown(file, reading)
        part = options.part_of(recording, *times)
        from dvskit.render import plots

        draw = getattr(plots, "pixel_map" if name == "map" else name)
        save_picture(draw(CountedEvents(part, file), style=style), out, looks.force)
        note_assumptions(file, recording, part)

    plot.__doc__ = _WHAT[name]
    return plot


def confusion(
    model: ModelArgument,
    data: DataArgument,
    out: Out,
    split: SplitOption = PartName.held_out,
    inputs: JudgedInputs = JudgedInputs(),
    looks: _PlotLooks = _PlotLooks(),
) -> None:
    """The confusion matrix of a model, on samples that it was not trained on."""
    style = looks.begin(out)
    from dvskit.render import plots

    result = open_folder(model, data, split, inputs).judge()
    save_picture(plots.confusion(result.confusion, result.classes, style=style), out, looks.force)


def curves(
    log: Annotated[
        Path, typer.Argument(help="A training run's folder, or its log.csv.", show_default=False)
    ],
    out: Out,
    looks: _PlotLooks = _PlotLooks(),
) -> None:
    """Loss and accuracy over the epochs of a training run."""
    style = looks.begin(out)
    from dvskit.render import plots

    save_picture(plots.curves(log, style=style), out, looks.force)


LayerOption = Annotated[
    str | None, typer.Option(help="A layer of the model; by default its last spiking one.")
]


@dataclass(frozen=True, slots=True)
class _OfModel:
    """The model and the layer to show: the options --model and --layer."""

    model: str | None = options.option(
        "Show the spikes of this model while it sees the recording: a model folder, or a shipped "
        "model's name.",
        shown="the recording's events", autocompletion=options.model_names,
    )  # fmt: skip
    layer: LayerOption = None


def raster(
    file: ShownFile,
    out: Out,
    of: _OfModel = _OfModel(),
    span: Span = Span(),
    reading: Reading = Reading(),
    looks: _PlotLooks = _PlotLooks(),
) -> None:
    """Each event of a recording, with a row for each pixel; with --model the spikes of a layer."""
    times = span.times()
    style = looks.begin(out)
    if of.model is None and of.layer is not None:
        raise ConfigError(f"--layer {of.layer} is a layer of a model; name the model with --model")
    recording = open_shown(file, reading)
    part = options.part_of(recording, *times)
    from dvskit.render import plots

    if of.model is None:
        from dvskit.render._thin import thin
        from dvskit.render.plots.rate import draw_thinned

        thinned = thin(CountedEvents(part, file), plots.RASTER_EVENTS)
        figure = draw_thinned(thinned, style)
        if thinned.notice:
            _console.note(f"{out}: {thinned.notice}")
    else:
        seen = _observe(CountedEvents(part, file), of.model, of.layer)
        figure = plots.raster(seen.spikes, step_us=seen.bin_us, style=style)
    save_picture(figure, out, looks.force)
    note_assumptions(file, recording, part)


def membrane(
    file: ShownFile,
    out: Out,
    model: ModelOption,
    layer: LayerOption = None,
    neuron: int | None = options.option(
        "The neuron's number in the layer; by default one with many spikes."
    ),
    looks: _PlotLooks = _PlotLooks(),
) -> None:
    """A neuron's potential and spikes, below the events that reach it."""
    style = looks.begin(out)
    from dvskit.render import plots

    seen = _observe(CountedEvents(open_shown(file, Reading()), file), model, layer)
    number = seen.liveliest() if neuron is None else neuron
    with options.as_usage("--neuron"):
        inputs = seen.causes(number)
    figure = plots.membrane(
        seen.layer, seen.current[:, None], neuron=number, inputs=inputs,
        steps=plots.Steps(seen.start_us, seen.bin_us), style=style,
    )  # fmt: skip
    save_picture(figure, out, looks.force)


def _observe(source: CountedEvents, model: str, layer: str | None) -> Observed:
    from dvskit.evaluation import observe
    from dvskit.models import load_model

    network = load_model(model)
    return observe(network, source.load(), layer)


def weights(
    model: ModelArgument,
    out: Out,
    layer: str | None = options.option("A layer with weights; by default the first."),
    looks: _PlotLooks = _PlotLooks(),
) -> None:
    """The weights of a layer of a model."""
    style = looks.begin(out)
    from dvskit.evaluation import weighted_layers
    from dvskit.models import load_model
    from dvskit.render import plots

    layers = weighted_layers(load_model(model))
    name = next(iter(layers), "") if layer is None else layer
    if name not in layers:
        raise ConfigError(f"no layer {name!r} with weights; {did_you_mean(name, layers)}")
    save_picture(plots.weights(layers[name].weight, style=style), out, looks.force)


plot = Group(
    "Plot an event file, a model or a training run: PNG, SVG or PDF.",
    {name: _command(name) for name in _WHAT}
    | {each.__name__: each for each in (raster, membrane, weights, confusion, curves)},
)
