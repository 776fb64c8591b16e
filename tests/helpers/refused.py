"""What a user is told of bad input."""

import pytest

from fsjax.runtime.errors import InputError


def refused(message, call, *arguments, **named):
    """What an InputError says, in one line, of a call that raises it; `message` is a pattern."""
    with pytest.raises(InputError, match=message) as caught:
        call(*arguments, **named)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 2000
    return str(caught.value)
