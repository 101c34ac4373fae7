"""A benchmark's work → its exit status: 0 when all was measured, 1 with why when something was not.

It knows nothing of what is measured. Servers are stopped by who started them, in a `finally`.
"""

import signal
import sys

from harness.failure import BenchError


def run(name, what, measure, args):
    """Measures, and tells why something could not be measured: `what` says how much that is."""
    # A terminated run still stops its servers: `finally` needs an exception.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        measure(args)
    except BenchError as error:
        print(f"{name}: {what}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
