"""When and where noise makes events: shot noise by pixel, polarity and light, and hot pixels."""
