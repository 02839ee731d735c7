"""The one error of this package that is meant for a person."""


class BenchError(Exception):
    """The measurement cannot be had, or would prove nothing; the text is a full sentence."""
