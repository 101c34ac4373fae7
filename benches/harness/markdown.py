"""Numbers → words and tables of Markdown, the target beside each: what the reports about a cluster share.

A target that is missed is told as such; it never ends a run.
"""

import math


def machine(about, others):
    """What the numbers were taken on; `others` share its cores with the control plane."""
    peer = f"; {about['go']}, controller-runtime {about['controller_runtime']}" if "go" in about else ""
    lines = ["", f"{about['date']}, {about['cpu']}, {about['cores']} cores, Linux {about['kernel']}{peer}."]
    if "kubernetes" in about:
        lines.append(f"Kubernetes {about['kubernetes']}: etcd, API server, controller-manager, {others} share these cores.")
    if about["busy"] > 0.2:
        lines.append(f"Rough numbers: other work kept {about['busy']} cores busy when the run began.")
    return lines


def table(title, head, rows):
    """Markdown with numbers to the right; the first column is words."""
    dashes = ["---"] + ["---:"] * (len(head) - 1)
    return ["", f"**{title}**", ""] + [f"| {' | '.join(row)} |" for row in [head, dashes, *rows]]


def percentile(values, part):
    """The smallest value that so many of all are not above."""
    return sorted(values)[max(math.ceil(part * len(values)) - 1, 0)]


def verdict(seen, bound, words):
    return f"{words}: {'met' if seen <= bound else '**not met**'}"


def milliseconds(seconds):
    return f"{seconds * 1000:.2f} ms" if abs(seconds) < 0.1 else f"{seconds * 1000:,.0f} ms"
