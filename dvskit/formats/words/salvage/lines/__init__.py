"""Find where words stand, byte by byte, where bytes are missing or too many."""
