"""Pixels that may fire in an interval: their events, one by one."""
