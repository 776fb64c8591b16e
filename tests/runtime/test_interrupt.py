"""The first SIGTERM or SIGINT asks for a stop, which a safe point grants; the second ends the process at once."""

import signal

import pytest

from tests.helpers.processes import ROOT, python

PROGRAM = """
import os, signal, sys
from fsjax.runtime import interrupt
number = int(sys.argv[1])
interrupt.install()
interrupt.check()
os.kill(os.getpid(), number)
print(interrupt.requested(), interrupt.exit_status(), interrupt.exit_status(otherwise=1))
try:
    interrupt.check()
except interrupt.Terminated:
    print("stops here", flush=True)
os.kill(os.getpid(), number)
print("goes on")
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_first_signal_stops_at_a_safe_point_and_the_second_at_once(number, status):
    done = python(PROGRAM, int(number), PYTHONPATH=str(ROOT))
    assert (done.stdout, done.stderr) == (f"True {status} {status}\nstops here\n", "")
    assert done.returncode == -number, "as by default, which a shell shows as 128 + the signal"


def test_a_process_without_a_signal_stops_as_the_others_do_or_says_that_it_lost_them():
    program = "from fsjax.runtime import interrupt; print(interrupt.exit_status(), interrupt.exit_status(otherwise=1))"
    assert python(program, PYTHONPATH=str(ROOT)).stdout == "143 1\n"
