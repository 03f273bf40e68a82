"""What is known at the end of sound EVT 3.0 words, without decoding them."""
