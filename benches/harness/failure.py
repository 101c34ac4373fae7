"""The one error that ends a comparison: something could not be measured.

It says what and what to do. A bound that is not met is a result, not an error.
"""


class BenchError(Exception):
    """Why there is no number."""
