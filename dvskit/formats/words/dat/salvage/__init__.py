"""Read DAT events among which some are damaged."""
