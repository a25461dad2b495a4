"""Moves the gateway's wall clock: `faketime` of Debian, read anew from a file."""

import pathlib

LIBRARIES = ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib/faketime"]


class GatewayClock:
    """An offset in seconds that the gateway lives by, and whoever asks `now`. Its monotonic clock stays true."""

    def __init__(self, folder: pathlib.Path):
        self.file = folder / "faketime"
        self.offset = 0
        self.move(0)

    def move(self, secs: int):
        self.offset += secs
        # Replaced at once: half a file is no time.
        written = self.file.with_suffix(".new")
        written.write_text(f"{self.offset:+d}\n")
        written.replace(self.file)

    def environment(self) -> dict | None:
        # The gateway has threads; the other build of the library mixes up what they ask at once.
        library = next((p for p in (pathlib.Path(f) / "libfaketimeMT.so.1" for f in LIBRARIES) if p.exists()), None)
        if library is None:
            return None
        return {
            "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
        }
