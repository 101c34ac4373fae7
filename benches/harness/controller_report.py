"""Turns what controller.py saw into Markdown: one table a subject, the target beside each number.

A target that is missed is told as such; it never ends a run.
"""

import statistics

from harness.markdown import machine, milliseconds, percentile, table, verdict

OF_LOOP, NEW = 2.0, 1.0
WORK = {
    "fill": "first fill, both credentials",
    "copied": "rotation of the one copied from a Secret",
    "fetched": "rotation of the one fetched from ECR",
}


def markdown(seen, about, args):
    """All tables of what was measured."""
    lines = machine(about, "moto, the controller and what measures")
    lines.append(f"Load average {about['load'][0]:.1f} when the run began, {about['load'][1]:.1f} when it ended.")
    if "copies" in seen:
        lines += copies(seen["copies"], args) + single(seen["copies"]) + fetches(seen["copies"])
    if "new" in seen:
        lines += new(seen["new"], args)
    if "rest" in seen:
        lines += rest(seen["rest"], args)
    return "\n".join(lines)


def copies(rounds, args):
    """The controller's work beside the loop's of the same round."""
    rows = []
    for part, label in WORK.items():
        loop, ours = [loop[part] for loop, _ in rounds], [ours[part] for _, ours in rounds]
        ratios = [mine.took / bare.took for mine, bare in zip(ours, loop)]
        rows.append([
            label, f"{loop[0].writes:,}", middle(bare.took for bare in loop), middle(mine.took for mine in ours),
            f"{statistics.median(ratios):.2f}×", f"{min(ratios):.2f} to {max(ratios):.2f}",
            f"{statistics.median(mine.writes for mine in ours) / loop[0].writes:.2f}",
            processor(loop), processor(ours), verdict(statistics.median(ratios), OF_LOOP, "≤ 2×"),
        ])
    title = (f"{args.namespaces:,} namespaces, from the change to the last Secret, beside a loop of the same applies, as "
             f"many at once: median of {len(rounds)} rounds")
    head = ["", "Secrets", "loop", "controller", "ratio", "round by round", "writes a Secret", "loop's CPU",
            "controller's CPU", "target"]
    return table(title, head, rows)


def single(rounds):
    """What the loop takes when it waits for each answer."""
    took = [loop["single"].took / loop["single"].writes for loop, _ in rounds]
    return ["", f"The loop one by one: {milliseconds(statistics.median(took))} a Secret."]


def fetches(rounds):
    """How often ECR was asked, of all rounds."""
    def row(label, at):
        counts = [ours["fetches"][at] for _, ours in rounds]
        return [label, str(len(counts)), str(sum(counts)), verdict(max(counts), 1, "1 each")]

    return table("Calls for a token, one region", ["", "times", "calls", "target"],
                 [row("first fill", 0), row("rotation at half its life", 1)])


def new(seen, args):
    took = seen["took"]
    p99 = percentile(took, 0.99)
    row = [f"{args.namespaces:,} namespaces", str(len(took)), str(seen["rotations"]), milliseconds(percentile(took, 0.5)),
           milliseconds(p99), milliseconds(max(took)), verdict(p99, NEW, "p99 ≤ 1 s")]
    return table("A new namespace, from its creation to the later of its two Secrets, while all others are rotated",
                 ["", "new", "rotations meanwhile", "p50", "p99", "max", "target"], [row])


def rest(seen, args):
    rows = [
        [label, f"{args.quiet} s", str(these["writes"]), str(these["leases"]), str(these["fetches"]),
         verdict(these["writes"] + these["fetches"], 0, "no write, no call")]
        for label, these in seen.items()
    ]
    return table("Writes of the controller when nothing is to be done, by the API server's audit log",
                 ["", "for", "writes", "its Lease renewed", "calls for a token", "target"], rows)


def middle(seconds):
    return f"{statistics.median(seconds):.2f} s"


def processor(these):
    return middle(one.cpu for one in these)
