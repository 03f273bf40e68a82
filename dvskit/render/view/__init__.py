"""Recordings in a browser on this machine, at an adaptive level of detail."""

from __future__ import annotations

from dvskit.render.view.server import ViewServer
from dvskit.render.view.viewed import Decided, Decisions, Viewed, ViewedLive

__all__ = ["Decided", "Decisions", "ViewServer", "Viewed", "ViewedLive"]
