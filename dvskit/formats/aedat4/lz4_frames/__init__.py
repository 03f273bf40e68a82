"""LZ4 frames, decompressed without the interpreter, into memory that is there already."""
