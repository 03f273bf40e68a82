"""Whether a video file ends ahead of its end: what its own header, or its last bytes, tell."""

from __future__ import annotations

from pathlib import Path

_HEAD = 4096  # bytes within which headers say how long the file is
_TRANSPORT_PACKET, _SYNC = 188, 0x47  # bytes, and the first of each (ISO/IEC 13818-1)
_SEGMENT = bytes.fromhex("18538067")  # holds all of a Matroska file (RFC 9559)
_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # of ASF, section 3.2
_LAST_CHUNK = b"\0\0\0\0IEND"  # of PNG
_LAST_BLOCK = 0x3B  # of GIF
_UNKNOWN = 0xFFFFFFFF  # of lengths in RIFF


def cut_short(path: Path, container: str) -> str | None:
    """Return what a file lacks at its end; None where nothing tells that it lacks anything.

    container  FFmpeg's name of it
    """
    there = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(max(0, there - _HEAD))
        tail = file.read()
    stated = _STATED[container](head) if container in _STATED else None
    if stated is not None and there < stated:
        return f"has {there:,} bytes, and its header says {stated:,}"
    if container == "mpegts" and there % _TRANSPORT_PACKET and _is_transport_stream(head):
        return f"ends within a transport packet (byte {there})"
    if container in ("apng", "png_pipe") and _LAST_CHUNK not in tail:
        return f"ends ahead of its last chunk (byte {there})"
    if container == "gif" and tail.rstrip(b"\0")[-1:] != bytes([_LAST_BLOCK]):
        return f"ends ahead of its last block (byte {there})"
    return None


def _riff_length(head: bytes) -> int | None:
    """Return the length of a RIFF file (AVI, WebP); of its first part where it has several."""
    length = int.from_bytes(head[4:8], "little")
    # What is written to a pipe, or was never finished, has the largest number there, or none.
    known = head[:4] == b"RIFF" and 0 < length < _UNKNOWN
    return length + 8 if known else None


def _segment_length(head: bytes) -> int | None:
    """Return where the segment of a Matroska file ends, where that is known ahead."""
    at = head.find(_SEGMENT)
    if at < 0 or at + 12 > len(head) or not head[at + 4]:
        return None
    width = 9 - head[at + 4].bit_length()  # bytes of the number, by its leading zeros
    most = (1 << 7 * width) - 1
    number = int.from_bytes(head[at + 4 : at + 4 + width], "big") & most
    return None if number == most else at + 4 + width + number


def _asf_length(head: bytes) -> int | None:
    at = head.find(_FILE_PROPERTIES)
    return None if at < 0 else int.from_bytes(head[at + 40 : at + 48], "little")


_STATED = {
    "avi": _riff_length,
    "webp": _riff_length,
    "matroska": _segment_length,
    "asf": _asf_length,
}


def _is_transport_stream(head: bytes) -> bool:
    """Return whether bytes are transport packets of 188 bytes, without anything between them."""
    places = range(0, min(len(head), 8 * _TRANSPORT_PACKET), _TRANSPORT_PACKET)
    return len(places) > 1 and all(head[place] == _SYNC for place in places)


def lacks_its_index(path: Path) -> bool:
    """Return whether a file begins as an MP4 or MOV does and holds no moov box at its top."""
    there, place = path.stat().st_size, 0
    with path.open("rb") as file:
        if file.read(8)[4:] not in (b"ftyp", b"wide", b"mdat", b"free"):
            return False
        while place + 8 <= there:
            file.seek(place)
            size, kind = int.from_bytes(file.read(4), "big"), file.read(4)
            if kind == b"moov":
                return False
            if size == 1:
                size = int.from_bytes(file.read(8), "big")
            if size < 8:
                break
            place += size
    return True
