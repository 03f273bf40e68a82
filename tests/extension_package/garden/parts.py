"""The entry point: imports the modules that register a part, one for each kind."""

from garden import filters, formats  # noqa: F401
