"""Turns a policy file that is replaced under load into: how many reloads, how many failed requests.

Each reload is proven twice: `/metrics` tells a later success, and an answer
holds the new secret. How long a reload itself takes is measured elsewhere;
here it hides behind the interval at which the file is read again.
"""

import os
import time

from harness import inputs, load
from harness.failure import BenchError

RELOADS = 5
TOLD_WITHIN = 30  # seconds
SUCCESS = "pullpass_policy_last_reload_success_timestamp_seconds"
SECRETS = ("dockerhub-creds-next", "dockerhub-creds")


def measure(server, policy_file, rules, core):
    """Replaces the policy of a ready server while a light load runs."""
    review = inputs.review()
    inputs.check_pullpass_hit(server.post(review))
    # Longer than all reloads may take; it is cut short once they are done.
    wrk = load.Wrk(server.url, inputs.REVIEW, core, RELOADS * (TOLD_WITHIN + 2), 8, pause_ms=5)
    try:
        in_force_after = [
            _replace(server, policy_file, rules, review, SECRETS[n % 2]) for n in range(RELOADS)
        ]
        seen = wrk.cut_short()
    finally:
        wrk.stop()
    return {
        "reloads": RELOADS,
        "rules": rules,
        "in_force_after_seconds": in_force_after,
        "requests": seen.requests,
        "failed": seen.failed,
        "errors": seen.errors,
        "p99_us": seen.p99_us,
        "max_us": seen.max_us,
        "resident_after_kib": server.resident_kib(),
    }


def _replace(server, policy_file, rules, review, secret):
    before = _last_success(server)
    # The time of the last success may be told in whole seconds.
    time.sleep(1.1)
    fresh = policy_file.with_suffix(".next")
    fresh.write_text(inputs.policy(rules, hub_secret=secret), encoding="utf-8")
    started = time.monotonic()
    os.replace(fresh, policy_file)
    while _last_success(server) <= before:
        if time.monotonic() - started > TOLD_WITHIN:
            raise BenchError(f"`{SUCCESS}` did not move within {TOLD_WITHIN} s of a new policy")
        time.sleep(0.05)
    in_force = time.monotonic() - started
    inputs.check_pullpass_hit(server.post(review), hub_secret=secret)
    return round(in_force, 2)


def _last_success(server):
    status, text = server.admin_get("/metrics")
    for line in text.splitlines():
        if line.startswith(SUCCESS + " "):
            return float(line.split()[1])
    raise BenchError(f"`/metrics` (status {status}) has no `{SUCCESS}`")
