"""Prophesee recordings: RAW files in EVT 2.0, 2.1, 3.0 and 4.0, and DAT files."""
