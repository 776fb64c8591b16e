"""Peak memory of this process, on Linux."""

import pathlib
import threading


def status(field: str) -> int:
    """Return a field of /proc/self/status, in bytes: RssAnon now, or VmHWM at most."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


class Peak:
    """Peak anonymous memory, without the pages of mapped files, sampled by a thread until `stop` returns it: bytes."""

    def __init__(self, seconds: float = 0.1):
        self._seconds, self._most, self._done = seconds, status("RssAnon"), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(self._seconds):
            self._most = max(self._most, status("RssAnon"))

    def stop(self) -> int:
        self._done.set()
        self._thread.join()
        return self._most
