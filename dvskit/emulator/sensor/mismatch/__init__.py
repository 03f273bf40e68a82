"""What differs from pixel to pixel, drawn once: thresholds and leaks."""
