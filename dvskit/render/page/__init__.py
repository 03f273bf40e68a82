"""Events in space and time as one HTML page that needs nothing but a browser."""

from __future__ import annotations

from dvskit.render.page.document import (
    Held,
    PageReport,
    Shown,
    check_page_suffix,
    hold,
    page,
    page_html,
)

__all__ = [
    "Held",
    "PageReport",
    "Shown",
    "check_page_suffix",
    "hold",
    "page",
    "page_html",
]
