"""Several processes of one run: when one of them is lost, each of the others says so in one line and ends.

JAX's runtime notices a process that is lost and then aborts, with pages of C++ text; of its ways to tell Python first
none works. So what the runtime writes to standard error passes through here, and its last words become one line.
"""

import ctypes
import os
import re
import signal
import sys
import threading
import time

from fsjax.runtime import interrupt

EXIT_STATUS = 1

_LONGEST = 160  # characters of what the runtime says

# The runtime's last words, and what it says of the others before.
_FATAL = re.compile(rb"F\d{4} .*JAX distributed service detected fatal errors(?:.*absl::Status: )?(.*)")
_TALK = re.compile(rb"[EWI]\d{4} .*coordination_service")
_NEW = re.compile(rb"[EWIF]\d{4} ")
# Exceptions that Python sees where a process is lost while others wait for it.
_LOST = re.compile(r"Gloo|NCCL|coordination service|heartbeat|Connection (reset|closed)|Socket closed|Barrier", re.I)

_ending = threading.Lock()
_who, _stderr, _handler = "this process", 2, None


def guard() -> None:
    """From now on the loss of another process ends this one, whatever it is doing."""
    global _stderr, _handler
    _stderr = os.dup(2)
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    threading.Thread(target=_forward, args=(reading,), name="fsjax-stderr", daemon=True).start()
    # abort() calls this; by then the thread may not have seen the last words yet.
    _handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(_on_abort)
    ctypes.CDLL(None).signal(signal.SIGABRT, _handler)


def introduce(who: str) -> None:
    """What the line calls this process."""
    global _who
    _who = who


def guarded() -> bool:
    """Whether this process is one of several."""
    return _handler is not None


def means_lost(error: BaseException) -> bool:
    """Whether an error is what is left of a call that waited for a lost process."""
    return guarded() and bool(_LOST.search(str(error)))


def end(cause: object) -> None:
    """One line, and no other, and the end of this process; `cause` is what the runtime said of it."""
    if not _ending.acquire(blocking=False):
        threading.Event().wait()
    if interrupt.requested():
        os._exit(interrupt.EXIT_STATUS)
    said = " ".join(str(cause).split())[:_LONGEST]
    line = (
        f"error: {_who}: another one ended or never came ({said}); what is done is kept, and the same command goes on"
    )
    os.write(_stderr, f"{line}\n".encode())
    os._exit(EXIT_STATUS)


def _on_abort(number: int) -> None:
    time.sleep(1)
    os._exit(128 + number)


def _forward(reading: int) -> None:
    silent = False
    with os.fdopen(reading, "rb") as pipe:
        for line in pipe:
            if fatal := _FATAL.match(line):
                end(fatal[1].decode(errors="replace"))
            # Its messages have several lines.
            silent = bool(_TALK.match(line)) or (silent and not _NEW.match(line))
            if not silent:
                os.write(_stderr, line)
