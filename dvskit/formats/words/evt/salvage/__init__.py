"""Read EVT words among which some are damaged."""
