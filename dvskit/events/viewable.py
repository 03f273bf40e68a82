"""Methods that show events, for `Events` and all sources."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dvskit.render import notebook
    from dvskit.render.plots.intervals import flicker, intervals
    from dvskit.render.plots.noise import noise
    from dvskit.render.plots.pixel_map import pixel_map
    from dvskit.render.plots.rate import balance, rate
    from dvskit.render.plots.spectrum import spectrum


class _LazyMethod:
    """A function as a method, imported on first access: `e.plot_rate()` is `rate(e)`."""

    def __init__(self, module: str, function: str) -> None:
        self._module, self._function = module, function

    def __get__(self, shown: Any, owner: type[Any]) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(import_module(self._module), self._function)
        return function if shown is None else MethodType(function, shown)


class Viewable:
    """Mixin with notebook output, the page and plots; their packages import this one.

    `Events`, recordings and all other sources have these methods. `page()` returns an interactive
    page for a notebook, `plot_rate()` and its relatives a `dvskit.render.plots.Plot`.

        recording = dvskit.open_events("events.raw")
        figure = recording.plot_rate()    # a figure of Matplotlib
        figure.savefig("rate.png")
    """

    __slots__ = ()
    if TYPE_CHECKING:
        _repr_html_ = notebook.html
        page = notebook.page
        plot_balance = balance
        plot_flicker = flicker
        plot_intervals = intervals
        plot_map = pixel_map
        plot_noise = noise
        plot_rate = rate
        plot_spectrum = spectrum
    else:
        _repr_html_ = _LazyMethod("dvskit.render.notebook", "html")
        page = _LazyMethod("dvskit.render.notebook", "page")
        plot_balance = _LazyMethod("dvskit.render.plots", "balance")
        plot_flicker = _LazyMethod("dvskit.render.plots", "flicker")
        plot_intervals = _LazyMethod("dvskit.render.plots", "intervals")
        plot_map = _LazyMethod("dvskit.render.plots", "pixel_map")
        plot_noise = _LazyMethod("dvskit.render.plots", "noise")
        plot_rate = _LazyMethod("dvskit.render.plots", "rate")
        plot_spectrum = _LazyMethod("dvskit.render.plots", "spectrum")

    def about(self) -> list[tuple[str, str]]:
        """Return names and values for display that need no reading of events."""
        return []
