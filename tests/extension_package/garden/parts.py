"""The entry point: imports the modules that register a part, one for each kind."""

from garden import encoders, filters, formats, representations  # noqa: F401
