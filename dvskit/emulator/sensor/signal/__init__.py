"""What a pixel's amplifier gives between two frames: a curve, its turns, and where it crosses."""
