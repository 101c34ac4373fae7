"""Times what stands between a Pod and the API server's answer: nothing, pullpass, the peer, a policy; in turn.

Before each measurement the others are taken away and Pods show that they are; afterwards every timed
Pod is looked at. One that came out otherwise than it should is an error, never a number.
"""

import statistics
import time

from harness import installed
from harness.failure import BenchError

WARM = 30  # Pods that are not timed, before each measurement


class Variant:
    """What is put in place, and what its Pods look like."""

    def __init__(self, name, label, objects, holds, calls=None):
        self.name, self.label, self.objects, self.holds = name, label, objects, holds
        self.rounds = []
        # Calls of the webhook so far, where it counts them.
        self._calls = calls
        self.calls_per_pod = None

    def measure(self, api, pods, namespace, count):
        """Median seconds of so many creations."""
        installed.create(api, self.objects)
        try:
            pods.until(namespace, self.holds, self.label)
            for _ in range(WARM):
                pods.create(namespace)
            before = self._calls() if self._calls else 0
            made = [pods.create(namespace) for _ in range(count)]
            if self._calls:
                self.calls_per_pod = (self._calls() - before) / count
            wrong = [pod for _, pod in made if not self.holds(pod)]
            if wrong:
                raise BenchError(
                    f"{self.label}: {len(wrong)} of {count} Pods came out wrong, one with {installed.secrets(wrong[0])}"
                )
            self.rounds.append(statistics.median(took for took, _ in made))
        finally:
            installed.remove(api, self.objects)
        pods.until(namespace, installed.is_bare, f"{self.label} taken away")


def measure(api, pods, namespace, variants, rounds, count, say):
    """Every variant once a round, in an order that turns each round."""
    for number in range(rounds):
        for variant in variants if number % 2 == 0 else reversed(variants):
            variant.measure(api, pods, namespace, count)
            time.sleep(0.1)  # what its removal set off is over
        say(
            f"round {number + 1} of {rounds}: "
            + ", ".join(f"{variant.name} {variant.rounds[-1] * 1000:.2f} ms" for variant in variants)
        )
