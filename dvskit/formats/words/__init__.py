"""Recordings in words of one size: EVT 2.0, EVT 2.1, EVT 4.0 and DAT, a module each."""
