"""Formats bytes and durations for people, to two or three figures."""

from typing import Final

_SIZES: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_SPANS: Final = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))


def size(count: float) -> str:
    """Return bytes like "512 B", "1.3 GiB", "24 MiB"."""
    power = 0
    while count >= 1_023.5 and power < len(_SIZES) - 1:
        count /= 1_024
        power += 1
    return f"{count:.1f} {_SIZES[power]}" if power and count < 9.95 else f"{count:.0f} {_SIZES[power]}"


def duration(seconds: float | None) -> str:
    """Return seconds like "0.4 s", "12 s", "3 min 5 s", "2 h 10 min", "4 d 3 h"; "–" if unknown."""
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for large, name, small, part in _SPANS:
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large} {name}" + (f" {rest} {part}" if rest else "")
    return f"{whole} s"
