"""End every process of a run with one line when another one is lost.

JAX's runtime notices a lost process, prints pages of C++ text and aborts. So standard error passes through a pipe,
where a thread turns that text into one line; a SIGABRT handler gives the thread time to read it.

Two simpler ways failed with JAX 0.10: the client's `missed_heartbeat_callback` aborts with std::bad_cast, since its
argument cannot become a Python object; and with `jax_enable_recoverability`, where `get_live_nodes` shows who is lost,
the loss of process 0 still aborts the others.
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

_MAX_CAUSE = 160  # characters

# Lines of the runtime's log: its last one, those about other processes, and the start of any.
_FATAL = re.compile(rb"F\d{4} .*JAX distributed service detected fatal errors(?:.*absl::Status: )?(.*)")
_COORDINATION = re.compile(rb"[EWI]\d{4} .*coordination_service")
_LOG_LINE = re.compile(rb"[EWIF]\d{4} ")
# Python exceptions of calls that waited for a lost process.
_LOST = re.compile(r"Gloo|NCCL|coordination service|heartbeat|Connection (reset|closed)|Socket closed|Barrier", re.I)

_exiting = threading.Lock()
_process, _stderr, _abort_handler = "this process", 2, None


def install() -> None:
    """End this process, from now on, when another process is lost."""
    global _stderr, _abort_handler
    _stderr = os.dup(2)
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    read_end, write_end = os.pipe()
    os.dup2(write_end, 2)
    os.close(write_end)
    threading.Thread(target=_filter_stderr, args=(read_end,), name="fsjax-stderr", daemon=True).start()
    # ctypes: Python runs a handler of its own in the main thread only, which abort() does not wait for.
    _abort_handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(_on_abort)
    ctypes.CDLL(None).signal(signal.SIGABRT, _abort_handler)


def set_process_name(name: str) -> None:
    """Set what the line calls this process."""
    global _process
    _process = name


def installed() -> bool:
    """Whether this process is one of several."""
    return _abort_handler is not None


def is_lost_process(error: BaseException) -> bool:
    """Whether an error comes from a call that waited for a lost process."""
    return installed() and bool(_LOST.search(str(error)))


def exit_process(cause: object) -> None:
    """Print one line with the runtime's `cause` and end this process; a second caller waits for that."""
    if not _exiting.acquire(blocking=False):
        threading.Event().wait()
    if interrupt.requested():
        os._exit(interrupt.EXIT_STATUS)
    reason = " ".join(str(cause).split())[:_MAX_CAUSE]
    line = (
        f"error: {_process}: another one ended or never came ({reason}); "
        "what is done is kept, and the same command goes on"
    )
    os.write(_stderr, f"{line}\n".encode())
    os._exit(EXIT_STATUS)


def _on_abort(number: int) -> None:
    time.sleep(1)  # for the thread to read the last words
    os._exit(128 + number)


def _filter_stderr(read_end: int) -> None:
    """Pass standard error on, without messages about other processes; the last of them ends this process."""
    suppressed = False
    with os.fdopen(read_end, "rb") as pipe:
        for line in pipe:
            if fatal := _FATAL.match(line):
                exit_process(fatal[1].decode(errors="replace"))
            # A message may have several lines.
            suppressed = bool(_COORDINATION.match(line)) or (suppressed and not _LOG_LINE.match(line))
            if not suppressed:
                os.write(_stderr, line)
