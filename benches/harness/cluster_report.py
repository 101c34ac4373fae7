"""Turns what cluster.py saw into Markdown: one table a number, the target beside it.

A target that is missed is told as such; it never ends a run.
"""

import statistics

from harness.markdown import machine, milliseconds, percentile, table, verdict

EDIT, READY, MEMORY_KIB, FOLD, OF_PEER = 1.0, 3.0, 64 * 1024, 0.005, 0.75


def markdown(seen, about, args, rules):
    """All tables of what was measured."""
    lines = machine(about, "the webhooks and what measures")
    size = f"{args.namespaces:,} namespaces, {args.accounts:,} accounts"
    edited = [("a small cluster", seen["edits"])] if "edits" in seen else []
    edited += [(size, seen["size"]["edits"])] if "size" in seen else []
    if edited:
        title = f"An edit of a policy of {rules:,} rules, from the PATCH to the first Pod that shows it"
        lines += changes(title, edited, EDIT)
    if "size" in seen:
        lines += ready(seen["size"]["ready"], size) + memory(seen["size"]["kib"], size, args)
    if "fold" in seen:
        lines += fold(seen["fold"])
    if "size" in seen:
        title = "A namespace opts out, from the PATCH to the first Pod left alone"
        lines += changes(title, [(size, seen["size"]["relabelled"])], None)
    if "added" in seen:
        lines += added(seen["added"], args)
    return "\n".join(lines)


def changes(title, rows, target):
    """Percentiles of changes."""
    shown = []
    for label, these in rows:
        effective = [change.effective for change in these]
        p99 = percentile(effective, 0.99)
        shown.append([
            label, str(len(these)), milliseconds(statistics.median(change.answered for change in these)),
            milliseconds(percentile(effective, 0.5)), milliseconds(p99), milliseconds(max(effective)),
            "" if target is None else verdict(p99, target, f"p99 ≤ {target:.0f} s"),
        ])
    return table(title, ["", "changes", "its PATCH, p50", "p50", "p99", "max", "target"], shown)


def ready(seconds, size):
    row = [size, str(len(seconds)), f"{statistics.median(seconds):.2f} s", f"{max(seconds):.2f} s",
           verdict(max(seconds), READY, "≤ 3 s")]
    return table("From the start of the process to ready", ["", "starts", "p50", "max", "target"], [row])


def memory(kib, size, args):
    def row(label, key, bound=True):
        return [label, f"{kib[key] / 1024:.1f} MiB", verdict(kib[key], MEMORY_KIB, "≤ 64 MiB") if bound else ""]

    return table(f"Resident memory, {size}", ["", "seen", "target"], [
        row("at rest", "rest"),
        row(f"after {args.relabels} changes of namespaces", "after"),
        row("at rest again", "later"),
        row("just ready", "started", False),
        row("the most there ever was", "peak", False),
    ])


def fold(seen):
    row = ["5,000 namespaces, 10,000 accounts", f"{seen['median'] * 1e6:,.0f} µs", verdict(seen["median"], FOLD, "≤ 5 ms")]
    return table("One change of a namespace inside the webhook, from the event's bytes to the snapshot in force",
                 ["", "median", "target"], [row])


def added(variants, args):
    """What each adds to a creation, round by round beside nothing and beside the peer."""
    rounds = {variant.name: variant.rounds for variant in variants}
    more = {name: [mine - none for mine, none in zip(these, rounds["none"])] for name, these in rounds.items()}

    def of_peer(name):
        return statistics.median(more[name]) / statistics.median(more["peer"])

    rows = []
    for variant in variants:
        name, extra = variant.name, more[variant.name]
        rows.append([
            variant.label, milliseconds(statistics.median(variant.rounds)),
            "" if name == "none" else milliseconds(statistics.median(extra)),
            "" if name == "none" else f"{milliseconds(min(extra))} to {milliseconds(max(extra))}",
            "" if name == "none" else f"{of_peer(name):.2f}",
            "" if variant.calls_per_pod is None else f"{variant.calls_per_pod:.2f}",
            verdict(of_peer(name), OF_PEER, "≤ 0.75 of the peer") if name == "pullpass" else "",
        ])
    title = (f"A Pod's creation, dry run, one kept-alive connection: p50 of {args.pods}, median of {args.rounds} "
             "rounds in turn")
    head = ["in place", "p50", "added", "added, round by round", "of what the peer adds", "calls a Pod", "target"]
    return table(title, head, rows)
