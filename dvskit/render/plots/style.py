"""The common style of all plots: fonts, lines, colors; and saving them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from dvskit._checks import check_fields, check_number, checked
from dvskit._files import check_output, write_whole
from dvskit.render import colormap
from dvskit.render._numbers import check_suffix
from dvskit.render.colormap import DARK, Theme
from dvskit.render.plots.fitting import Note, all_axes, settle

STILL_SUFFIXES = (".png", ".svg", ".pdf")
PAPER_DPI = 300
FONT = "DejaVu Sans"
_SCREEN_DPI = 144
_BESIDE_PT = 8.0  # font size for which line widths are given
_MM_PER_INCH = 25.4
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Reproducible bytes: no dates, no random identifiers. The letters of SVG are outlines: as text they
# would change font and width on machines without this font.
_SAVING: dict[Any, Any] = {"svg.hashsalt": "dvskit", "svg.fonttype": "path", "pdf.fonttype": 42}
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


class Plot(Figure):
    """A figure with notebook output, without pyplot.

    The functions of this package return it. It is a matplotlib Figure, and can be changed like one.

        figure = dvskit.render.plots.rate(dvskit.open_events("events.raw"))
        figure.axes[0].set_title("A person who waves")
        dvskit.render.plots.save(figure, "titled.png", dpi=200)
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.notes: list[Note] = []
        self.named: dict[
            Axes, float
        ] = {}  # attribute of axes with names as ticks: their size in points

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.savefig(data, format="png", dpi=_SCREEN_DPI)
        return data.getvalue()


@dataclass(frozen=True, slots=True)
class Style:
    """The style of a plot.

    dark      light on dark, or dark on white
    width_mm  40..1000: 88 is a column of most journals, 180 a page; below 60, text fills the plot
    font_pt   4..48: the font size, for any width

    ON is orange and OFF blue, which differ for any color vision (Okabe and Ito).
    Raises ConfigError for values out of range.

        wide = dvskit.render.plots.Style(dark=True, width_mm=180, font_pt=10)
        figure = dvskit.render.plots.rate(dvskit.open_events("events.raw"), style=wide)
        dvskit.render.plots.save(figure, "wide.png")
    """

    dark: bool = False
    width_mm: float = checked(check_number, 40, 1000, default=88.0)
    font_pt: float = checked(check_number, 4, 48, default=8.0)

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def theme(self) -> Theme:
        """The colors."""
        return DARK if self.dark else colormap.PAPER

    @property
    def narrow(self) -> bool:
        """Whether the page is narrow, so that panels are stacked."""
        return self.width_mm < 10 * self.font_pt

    @property
    def small_pt(self) -> float:
        """The font size of notes and ticks."""
        return 0.875 * self.font_pt

    def counts_map(self) -> LinearSegmentedColormap:
        """Return the color map of positive values: its start differs from the ground."""
        return LinearSegmentedColormap.from_list("counts", self._away_from_ground())

    def shares_map(self) -> LinearSegmentedColormap:
        """Return the color map of 0..1: 0 is nearly the ground."""
        ground = "#1a1c26" if self.dark else "#f4f4f2"
        return LinearSegmentedColormap.from_list("shares", [ground, *self._away_from_ground()])

    def grays_map(self) -> LinearSegmentedColormap:
        """Return the color map of the background: grays, the first near the ground."""
        ends = ["#23262f", "#6d7280"] if self.dark else ["#ececea", "#9a9ca3"]
        return LinearSegmentedColormap.from_list("grays", ends)

    def _away_from_ground(self) -> list[str]:
        stops = list(self.theme.time_stops)
        return stops[::-1] if self.dark else stops

    def signed_map(self) -> LinearSegmentedColormap:
        """Return the color map of signed values: OFF's color, the ground, ON's color."""
        theme = self.theme
        middle = "#22252f" if self.dark else "#f7f7f5"
        return LinearSegmentedColormap.from_list("signed", [theme.off, middle, theme.on])

    @contextmanager
    def drawing(self, height: float, *, least_mm: float = 34.0) -> Iterator[Plot]:
        """Yield an empty figure, `height` times its width, at least `least_mm`; then style it."""
        with mpl.rc_context(self._settings()):
            height_mm = max(height * self.width_mm, least_mm * self._wider)
            figure = Plot(
                figsize=(self.width_mm / _MM_PER_INCH, height_mm / _MM_PER_INCH),
                layout="constrained",
                dpi=PAPER_DPI,
            )
            FigureCanvasAgg(figure)
            yield figure
            for axes in all_axes(figure):
                _widen_lines(axes, self._wider)
                # Ticks are created while drawing, after the settings were restored.
                size = figure.named.get(axes, self.small_pt)
                axes.tick_params(
                    labelsize=size, width=0.6 * self._wider, length=2.5 * self._wider,
                    pad=2.0 * self._wider, color=self.theme.line, labelcolor=self.theme.text,
                )  # fmt: skip
                axes.tick_params(
                    which="minor", width=0.4 * self._wider, length=1.5 * self._wider,
                    color=self.theme.line,
                )  # fmt: skip
            settle(figure, figure.notes, figure.named)

    @property
    def width_pt(self) -> float:
        """The width in points."""
        return self.width_mm * 72 / _MM_PER_INCH

    @property
    def _wider(self) -> float:
        """Line width relative to that for text of 8 points."""
        return self.font_pt / _BESIDE_PT

    def _settings(self) -> dict[Any, Any]:
        theme = self.theme
        return {
            "font.family": [FONT], "font.size": self.font_pt,
            "axes.labelsize": self.font_pt, "axes.labelpad": 2.5, "axes.labelcolor": theme.text,
            "axes.titlesize": self.font_pt, "axes.titlepad": 4.0, "axes.titlecolor": theme.text,
            "axes.titlelocation": "left", "axes.linewidth": 0.6, "axes.edgecolor": theme.line,
            "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False,
            "axes.facecolor": theme.ground, "figure.facecolor": theme.ground, "axes.xmargin": 0.0,
            "text.color": theme.text, "text.parse_math": False,  # names may hold dollars
            "lines.linewidth": 1.0, "patch.linewidth": 1.0,
            "legend.fontsize": self.small_pt, "legend.frameon": False,
            "legend.handlelength": 1.2, "legend.columnspacing": 1.0, "legend.borderaxespad": 0.2,
            "image.interpolation": "antialiased",  # no pixel is skipped in small pictures
        }  # fmt: skip


PAPER = Style()


def _widen_lines(axes: Axes, factor: float) -> None:
    legend = axes.get_legend()
    handles = () if legend is None else legend.legend_handles
    drawn = (*axes.lines, *axes.patches, *axes.collections, *axes.spines.values(), *handles)
    for artist in drawn:
        if artist is not None:
            widths = factor * np.asarray(artist.get_linewidth())
            artist.set_linewidth(widths if widths.ndim else float(widths))


def grid_lines(axes: Axes, style: Style, *, axis: str = "y") -> None:
    """Draw faint lines at the major ticks, behind everything else."""
    axes.grid(True, axis=axis, color=style.theme.grid, linewidth=0.5)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def note(axes: Axes, style: Style, *parts: str) -> None:
    """Write faint text above the axes, broken between parts if too long."""
    figure = axes.get_figure()
    assert isinstance(figure, Plot)
    figure.notes.append(Note(axes, parts, style.theme.faint, style.small_pt))
    axes.set_title(", ".join(parts), color=style.theme.faint, fontsize=style.small_pt)


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Label powers of ten, 2 and 5 between few of them, and even values in a narrow range."""
    few = high < 150 * low
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=12))
    if high < 5 * low:
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], min_n_ticks=2))
    axis.set_major_formatter(plain_number)
    axis.set_minor_locator(LogLocator(subs="all", numticks=12))
    axis.set_minor_formatter(NullFormatter())


def plain_number(value: float, position: float | None = None) -> str:
    """Return a tick label: 0.5, 2,000, and powers of ten beyond."""
    power = int(np.floor(np.log10(value) + 1e-9)) if value > 0 else 0
    if -4 < power < 4:
        return f"{value:,g}"
    digit = round(value / 10.0**power)
    raised = str(power).translate(_RAISED)
    return f"10{raised}" if digit == 1 else f"{digit}·10{raised}"


def whole_ticks(axis: Axis, most: int, **options: Any) -> None:
    """Label whole numbers only, at least one and about `most`."""
    axis.set_major_locator(MaxNLocator(most, integer=True, min_n_ticks=1, **options))
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace("-", "−"))


def say_none(axes: Axes, style: Style, text: str = "no events", *, scales: str = "xy") -> None:
    """Write `text` in the middle of empty axes, and remove the ticks of `scales`."""
    for name in scales:
        axes.tick_params(axis=name, left=False, bottom=False, labelleft=False, labelbottom=False)  # type: ignore[arg-type]
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center",
        color=style.theme.faint,
    )  # fmt: skip


def save(
    figure: Figure, path: str | PathLike[str], *, dpi: int = PAPER_DPI, overwrite: bool = False
) -> Path:
    """Write a plot as .png, .svg or .pdf; return its path. The same plot gives the same bytes.

    `dpi` is that of PNG, and of bitmaps in the others. Raises ConfigError for another suffix,
    OutputError if the file exists and `overwrite` is false.

        figure = dvskit.render.plots.rate(dvskit.open_events("events.raw"))
        dvskit.render.plots.save(figure, "events_rate.svg")
        dvskit.render.plots.save(figure, "events_rate.png", dpi=300)
    """
    target = check_output(check_suffix(path, STILL_SUFFIXES, "a plot"), overwrite=overwrite)
    data = figure_bytes(figure, target.suffix.lower()[1:], dpi)
    write_whole(target, data, overwrite=overwrite)
    return target


def figure_bytes(figure: Figure, form: str, dpi: float) -> bytes:
    """Return a figure as "png", "svg" or "pdf"."""
    data = io.BytesIO()
    with mpl.rc_context(_SAVING):
        figure.savefig(data, format=form, dpi=dpi, metadata=_METADATA[form])
    return data.getvalue()
