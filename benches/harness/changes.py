"""Times changes of a cluster from outside: from the request that makes one to the first Pod that shows it.

The Pods are created in a tight loop on a connection of their own, so what is told is at most one Pod's
creation too long. The cluster's size is made here, too.
"""

import dataclasses
import time

from harness import inputs, installed
from harness.failure import BenchError

ACCOUNTS_WITHIN = 600  # seconds; the controller-manager makes some two hundred accounts a second


@dataclasses.dataclass(frozen=True)
class Change:
    """One change: seconds until its request was answered, and until a Pod showed it."""

    answered: float
    effective: float


def _change(pods, namespace, make, holds, what):
    start = time.perf_counter()
    make()
    answered = time.perf_counter()
    return Change(answered - start, pods.until(namespace, holds, what) - start)


def edits(api, pods, namespace, count, rules):
    """Edits of the policy, each with a new name for one secret; the first text is put back at the end."""
    seen = []
    for number in range(count):
        secret = f"dockerhub-creds-{number}"
        text, wanted = inputs.policy(rules, secret), inputs.wanted(secret)
        seen.append(_change(
            pods, namespace, lambda: installed.edit(api, text),
            lambda made: installed.secrets(made) == wanted, f"edit {number + 1} of the policy",
        ))
    installed.edit(api, inputs.policy(rules))
    pods.until(namespace, installed.is_by_pullpass, "the first policy again")
    return seen


def relabels(api, pods, names):
    """Namespaces that opt out, one after the other."""
    seen = []
    for name in names:
        pods.until(name, installed.is_by_pullpass, f"injection in {name}")
        seen.append(_change(
            pods, name, lambda: installed.relabel(api, name, "disabled"), installed.is_bare, f"{name} left alone",
        ))
    return seen


def grow(plane, api, namespaces, accounts, say):
    """Makes the cluster so big, what is there included; the names of the namespaces that were made."""
    there = api.count("/api/v1/namespaces")
    others = api.count("/api/v1/serviceaccounts") - there  # accounts beside each namespace's `default`
    missing = namespaces - there
    names = [f"team-{number}" for number in range(max(missing, 0))]

    def make(own, name):
        labels = {"team": name, "pod-security.kubernetes.io/enforce": "privileged"}
        own.call("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})

    plane.each(make, names)
    # Each namespace gets its `default` from the controller-manager, one after the other.
    deadline = time.monotonic() + ACCOUNTS_WITHIN
    while api.count("/api/v1/serviceaccounts") < namespaces + others:
        if time.monotonic() > deadline:
            raise BenchError(f"{namespaces} namespaces have not their accounts after {ACCOUNTS_WITHIN} s")
        time.sleep(1)
    missing = accounts - api.count("/api/v1/serviceaccounts")
    if missing > 0 and not names:
        raise BenchError("more accounts than namespaces are needed, and no namespace was made for them")

    def add(own, number):
        path = f"/api/v1/namespaces/{names[number % len(names)]}/serviceaccounts"
        metadata = {"name": f"builder-{number // len(names)}"}
        own.call("POST", path, {"metadata": metadata, "imagePullSecrets": [{"name": "builder-creds"}]})

    plane.each(add, range(max(missing, 0)))
    say(f"there are {api.count('/api/v1/namespaces'):,} namespaces, {api.count('/api/v1/serviceaccounts'):,} accounts")
    return names
