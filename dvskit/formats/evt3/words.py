"""The words of EVT 3.0, 16 bits each: a type in bits 12 to 15, and what it carries below."""

# Word types.
ADDR_Y, ADDR_X, VECT_BASE_X, VECT_12, VECT_8 = 0x0, 0x2, 0x3, 0x4, 0x5
TIME_LOW, CONTINUED_4, TIME_HIGH, TRIGGER, OTHERS, CONTINUED_12 = 0x6, 0x7, 0x8, 0xA, 0xE, 0xF

MOST_BITS = 12  # events that one word may hold
WRAP = 2048  # a TIME_HIGH this much smaller than the one ahead of it has wrapped (OpenEB)
