"""The one exception for anything a user can cure: a bad path, file, field or value."""


class InputError(ValueError):
    """Something given to the program is wrong; the message names the file, the field and the cure.

    The command prints the message alone, without a traceback, and exits with status 2.
    """
