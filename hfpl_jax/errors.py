"""The one exception for anything a user can cure: a bad path, file, field or value; and
what its sentences say of a slip of the pen.
"""

import difflib
from collections.abc import Iterable

_LONGEST = 200  # characters that are compared


class InputError(ValueError):
    """Something given to the program is wrong; the message names the file, the field
    and the cure.

    The command prints the message alone, without a traceback, and exits with status 2.
    """


def did_you_mean(value: object, choices: Iterable[object]) -> str:
    """ "did you mean 'crf'?", or "" where nothing is alike, in whatever case."""
    known = {str(choice).casefold(): str(choice) for choice in choices}
    close = difflib.get_close_matches(str(value)[:_LONGEST].casefold(), known, n=1)
    return f"did you mean {known[close[0]]!r}?" if close else ""


def in_brackets(hint: str) -> str:
    """ " (hint)", or "" where there is none."""
    return f" ({hint})" if hint else ""
