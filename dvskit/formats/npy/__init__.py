"""NumPy `.npy`: one array of events, structured or N x 4.

A structured array has fields t (or timestamp, ts), x, y and p (or on, polarity), in any order. The
columns of a plain array are told by what they hold: t,x,y,p or x,y,t,p or x,y,p,t, whichever is the
only one to fit. Times are whole microseconds, polarity is 0 or 1 or -1 or 1.
"""

from dvskit.formats.npy.reading import NpyRecording, open_recording

__all__ = ["NpyRecording", "open_recording"]
