"""The one error a user can cause."""


class InputError(ValueError):
    """A config value, file or folder that cannot be used.

    The message is one line: the thing, what was found, what is accepted. launch.py prints it and exits with
    status 2; code that calls fsjax as a library catches it as a ValueError.
    """
