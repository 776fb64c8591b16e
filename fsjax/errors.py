"""The errors that end a run with one line and an exit status of its own."""


class InputError(ValueError):
    """A config value, file or folder that cannot be used.

    The message is one line: the thing, what was found, what is accepted. launch.py prints it and exits with
    status 2; code that calls fsjax as a library catches it as a ValueError.
    """


class CheckFailed(Exception):
    """Everything is done and written, and what was asked of the result does not hold; launch.py exits with status 1."""
