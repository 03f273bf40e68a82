"""Blocks of pixels that have something to do in an interval."""
