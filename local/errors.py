"""The one error of this package that is meant for a person."""


class LocalError(Exception):
    """Something a person can act on; the text is a full sentence and holds no secret."""
