"""Turns what was measured into the result: medians, ratios, bounds, a Markdown table.

Ratios are taken round by round and their median is told: the two sides of each
ran within the same minute. A bound that a part left out cannot be judged on is
told as such, never as met.
"""

import statistics

RESIDENT_BOUND_KIB = 16 * 1024


def result(cases, reloaded, machine, args):
    """Everything that was seen, as JSON types; `markdown` shows it."""
    rates = {case.name: [load.per_second for load in case.loads] for case in cases}
    rows = [
        {
            "name": case.name,
            "label": case.label,
            "per_second": statistics.median(rates[case.name]),
            "of_constant": ratio(rates, case.name, "constant"),
            "of_peer": ratio(rates, case.name, "peer"),
            "p50_us": statistics.median(load.p50_us for load in case.loads),
            "p99_us": statistics.median(load.p99_us for load in case.loads),
            "rest_kib": case.server.rest_kib,
            "after_kib": case.after_kib,
            "rounds": [vars(load) for load in case.loads],
        }
        for case in cases
    ]
    return {
        "machine": machine,
        "rounds": args.rounds,
        "seconds": args.seconds,
        "connections": args.connections,
        "rows": rows,
        "reload": reloaded,
        "bounds": bounds(rates, rows, reloaded),
    }


def ratio(rates, name, other):
    """The median over the rounds of one rate to another, or None."""
    if not rates.get(name) or not rates.get(other):
        return None
    return statistics.median(mine / theirs for mine, theirs in zip(rates[name], rates[other]))


def bounds(rates, rows, reloaded):
    """Each bound with its number; `met` is None where nothing was measured."""
    def least(words, bound, seen):
        met = None if seen is None else seen >= bound
        return {"bound": words, "seen": None if seen is None else round(seen, 3), "met": met}

    def slower(other):
        seen = [ratio(rates, name, other) for name in ("few", "many")]
        return None if None in seen else min(seen)

    resident = {row["name"]: row["rest_kib"] for row in rows}.get("many")
    return [
        least("at least 0.5 of the constant answer, with 10 rules and with 10,000", 0.5, slower("constant")),
        least("at least 25 times controller-runtime, with 10 rules and with 10,000", 25, slower("peer")),
        least("10,000 rules at least 0.95 of 10, images that match", 0.95, ratio(rates, "many", "few")),
        least("10,000 rules at least 0.95 of 10, no image matches", 0.95, ratio(rates, "many-miss", "few-miss")),
        {
            "bound": "at most 16 MiB resident at rest with 10,000 rules",
            "seen": None if resident is None else f"{resident / 1024:.1f} MiB",
            "met": None if resident is None else resident <= RESIDENT_BOUND_KIB,
        },
        {
            "bound": "no request fails while 10,000 rules are loaded again",
            "seen": None if reloaded is None else
            f"{reloaded['failed']} of {reloaded['requests']:,} in {reloaded['reloads']} reloads",
            "met": None if reloaded is None else reloaded["failed"] == 0,
        },
    ]


def markdown(result):
    """The table and the bounds, ready for the README."""
    about = result["machine"]
    peer = f"; {about['go']}, controller-runtime {about['controller_runtime']}" if "go" in about else ""
    lines = [
        "",
        f"{about['date']}, {about['cpu']}, {about['cores']} cores, Linux {about['kernel']}; {about['wrk']}{peer}.",
        f"Median of {result['rounds']} rounds of {result['seconds']} s, {result['connections']} kept-alive TLS "
        f"connections, a review of {about['review_bytes']:,} bytes; each server alone on one core, wrk on another.",
    ]
    if about["busy"] > 0.2:
        lines.append(f"Rough numbers: other work kept {about['busy']} cores busy when the run began.")
    lines.append("")
    if result["rows"]:
        lines += [
            "| server | requests/s | of constant | of peer | p50 | p99 | resident at rest | after load |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
    for row in result["rows"]:
        lines.append(
            "| " + " | ".join([
                row["label"],
                f"{row['per_second']:,.0f}",
                times(row["of_constant"], 2),
                times(row["of_peer"], 1),
                milliseconds(row["p50_us"]),
                milliseconds(row["p99_us"]),
                f"{row['rest_kib'] / 1024:.1f} MiB",
                f"{row['after_kib'] / 1024:.1f} MiB",
            ]) + " |"
        )
    lines += ["", "| bound | seen | |", "| --- | ---: | --- |"]
    words = {True: "met", False: "**not met**", None: "not measured"}
    for bound in result["bounds"]:
        seen = "" if bound["seen"] is None else bound["seen"]
        lines.append(f"| {bound['bound']} | {seen} | {words[bound['met']]} |")
    if result["reload"]:
        waits = result["reload"]["in_force_after_seconds"]
        lines += ["", f"A new policy file was in force {min(waits)} s to {max(waits)} s after it was put in place, "
                  "most of it the wait for the next look at the file."]
    broken = [bound["bound"] for bound in result["bounds"] if bound["met"] is False]
    if broken:
        lines += ["", "NOT MET: " + "; ".join(broken)]
    return "\n".join(lines)


def times(value, digits):
    return "" if value is None else f"{value:.{digits}f}×"


def milliseconds(microseconds):
    return f"{microseconds / 1000:.2f} ms"
