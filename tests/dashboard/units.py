"""A number and one of Grafana's units as Grafana writes them, for the units that the dashboard uses.

An unknown unit is an error: a panel must not look well here and odd in Grafana.
"""

import math

SECONDS = [(1e-6, 1e-9, "ns"), (1e-3, 1e-6, "µs"), (1, 1e-3, "ms"), (60, 1, "s"), (3600, 60, "mins"),
           (86400, 3600, "hours"), (604800, 86400, "days"), (31536000, 604800, "weeks"), (math.inf, 31536000, "years")]
PER_SECOND = {"reqps": "req/s", "cps": "c/s"}


def number(value, digits=2):
    """At most so many decimals, and none that say nothing."""
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def digits(step):
    """How many decimals a multiple of a step has."""
    return next((n for n in range(5) if math.isclose(step * 10**n, round(step * 10**n), rel_tol=1e-6)), 4)


def words(value, unit, step=None):
    """Value and unit; on an axis with the distance of its ticks."""
    if value is None or not math.isfinite(value):
        return "–"
    if unit == "s":
        if value == 0:
            return "0 s"
        _, size, name = next(row for row in SECONDS if abs(value) < row[0])
        return f"{number(value / size, digits(step / size) if step else 2)} {name}"
    scale = next(((s, p) for s, p in [(1e9, " Bil"), (1e6, " Mil"), (1e3, " K")] if abs(value) >= s), (1, ""))
    text = number(value / scale[0], digits(step / scale[0]) if step else 2) + scale[1]
    if unit == "short":
        return text
    return f"{text} {PER_SECOND[unit]}"
