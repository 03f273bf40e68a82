"""`dvskit plot`: figures of event files, models and training runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dvskit.cli import _console
from dvskit.cli._binding import CommandGroup
from dvskit.cli._judging import (
    DataArgument,
    JudgedInputs,
    PartName,
    SplitOption,
    open_folder,
)
from dvskit.cli._options import (
    REQUIRED,
    Force,
    ModelArgument,
    ModelOption,
    Reading,
    Span,
    as_usage,
    model_names,
    option,
    output,
)
from dvskit.cli._shown import ShownFile, ShownRecording, finish, opened
from dvskit.cli._writer import Kind, OutputWriter, PlotLook
from dvskit.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from dvskit.evaluation import Observed
    from dvskit.render.plots import Style


@dataclass(frozen=True, slots=True)
class _Plot:
    """A plot and how it looks.

    out    The picture: .png, .svg or .pdf.
    """

    out: Path = output(default=REQUIRED)
    look: PlotLook = field(default_factory=PlotLook)
    force: Force = False

    def begin(self) -> tuple[OutputWriter, Style]:
        """Return the writer and the style. Raises ConfigError."""
        return OutputWriter(self.out, "plots", Kind.PICTURE, force=self.force), self.look.style()


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
    def command(
        file: ShownFile,
        span: Span = Span(),
        reading: Reading = Reading(),
        how: _Plot = _Plot(),
    ) -> None:
        writer, style = how.begin()
        from dvskit.render import plots

        draw = getattr(plots, "pixel_map" if name == "map" else name)
        with opened(file, reading, span, writer) as shown:
            writer.picture(draw(shown, style=style))
        finish(writer, [shown])

    command.__doc__ = _WHAT[name]
    return command


def confusion(
    model: ModelArgument,
    data: DataArgument,
    split: SplitOption = PartName.held_out,
    inputs: JudgedInputs = JudgedInputs(),
    how: _Plot = _Plot(),
) -> None:
    """The confusion matrix of a model, on samples that it was not trained on."""
    writer, style = how.begin()
    writer.check()
    from dvskit.render import plots

    result = open_folder(model, data, split, inputs).judge()
    writer.picture(plots.confusion(result.confusion, result.classes, style=style))


def curves(log: Path, how: _Plot = _Plot()) -> None:
    """Loss and accuracy over the epochs of a training run.

    log  A training run's folder, or its log.csv.
    """
    writer, style = how.begin()
    writer.check()
    from dvskit.render import plots

    writer.picture(plots.curves(log, style=style))


def raster(
    file: ShownFile,
    model: str | None = option(shown="the recording's events", autocompletion=model_names),
    layer: str | None = None,
    span: Span = Span(),
    reading: Reading = Reading(),
    how: _Plot = _Plot(),
) -> None:
    """Each event of a recording, with a row for each pixel; with --model the spikes of a layer.

    model  Show the spikes of this model while it sees the recording: a model folder, or a shipped
           model's name.
    layer  A layer of the model; by default its last spiking one.
    """
    writer, style = how.begin()
    if model is None and layer is not None:
        raise ConfigError(f"--layer {layer} is a layer of a model; name the model with --model")
    from dvskit.render import plots

    with opened(file, reading, span, writer) as shown:
        if model is None:
            from dvskit.render._thinning import thin
            from dvskit.render.plots.over_time import draw_thinned

            thinned = thin(shown, plots.RASTER_EVENTS)
            writer.picture(draw_thinned(thinned, style))
            if thinned.notice:
                _console.note(f"{writer.path}: {thinned.notice}")
        else:
            seen = _observe(shown, model, layer)
            writer.picture(plots.raster(seen.spikes, step_us=seen.bin_us, style=style))
    finish(writer, [shown])


def membrane(
    file: ShownFile,
    model: ModelOption,
    layer: str | None = None,
    neuron: int | None = None,
    how: _Plot = _Plot(),
) -> None:
    """A neuron's potential and spikes, below the events that reach it.

    layer   A layer of the model; by default its last spiking one.
    neuron  The neuron's number in the layer; by default one with many spikes.
    """
    writer, style = how.begin()
    from dvskit.render import plots

    with opened(file, Reading(), Span(), writer) as shown:
        seen = _observe(shown, model, layer)
        number = seen.liveliest() if neuron is None else neuron
        with as_usage("--neuron"):
            inputs = seen.causes(number)
        figure = plots.membrane(
            seen.layer, seen.current[:, None], neuron=number, inputs=inputs,
            steps=plots.Steps(seen.start_us, seen.bin_us), style=style,
        )  # fmt: skip
        writer.picture(figure)
    finish(writer, [shown])


def _observe(shown: ShownRecording, model: str, layer: str | None) -> Observed:
    from dvskit.evaluation import observe
    from dvskit.models import load_model

    return observe(load_model(model), shown.load(), layer)


def weights(model: ModelArgument, layer: str | None = None, how: _Plot = _Plot()) -> None:
    """The weights of a layer of a model.

    layer  A layer with weights; by default the first.
    """
    writer, style = how.begin()
    writer.check()
    from dvskit.evaluation import weighted_layers
    from dvskit.models import load_model
    from dvskit.render import plots

    layers = weighted_layers(load_model(model))
    name = next(iter(layers), "") if layer is None else layer
    if name not in layers:
        raise ConfigError(f"no layer {name!r} with weights; {did_you_mean(name, layers)}")
    writer.picture(plots.weights(layers[name].weight, style=style))


plot = CommandGroup(
    "Plot an event file, a model or a training run: PNG, SVG or PDF.",
    {name: _command(name) for name in _WHAT}
    | {each.__name__: each for each in (raster, membrane, weights, confusion, curves)},
)
