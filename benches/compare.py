#!/usr/bin/env python3
"""Turns pullpass, a constant-answer server and a controller-runtime peer into one table of ratios.

All servers answer the same review over TLS keep-alive, each alone on one core,
in turn over several rounds, so that a slow minute of the machine slows them all.
No server is timed before its answer was found right. Run it after
`cargo build --release`; it prints Markdown and writes target/bench/compare.json.
"""

import sys

sys.dont_write_bytecode = True

import argparse
import json
import os
import pathlib
import shutil

from harness import command, inputs, load, reload, report
from harness.failure import BenchError
from harness.prepare import OUT, PEER, PULLPASS, ROOT, build_peer, busy_cores, certificates, machine, run, say
from harness.servers import Server, free_port

CONSTANT = ROOT / "target" / "release" / "examples" / "constant"
PARTS = ["pullpass", "constant", "peer", "reload"]
FEW, MANY = 10, 10_000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each server is measured (default: 5)")
    parser.add_argument("--seconds", type=int, default=5, help="length of one measurement (default: 5)")
    parser.add_argument("--connections", type=int, default=8, help="kept-alive connections (default: 8)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="leave the other parts out")
    parser.add_argument(
        "--certs", type=pathlib.Path, metavar="DIR",
        help="take tls.crt and tls.key from DIR instead of asking `pullpass certs`",
    )
    args = parser.parse_args()
    if min(args.rounds, args.seconds, args.connections) < 1:
        parser.error("--rounds, --seconds and --connections must be at least 1")
    return args


def cores():
    """One core for the server, another for wrk."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise BenchError("two cores are needed, one for the server and one for wrk; this machine gives one")
    if not shutil.which("taskset"):
        raise BenchError("`taskset` is not installed: it is in the package util-linux")
    return usable[0], usable[1]


def build(parts):
    """Builds what the chosen parts need beside pullpass itself."""
    if "peer" in parts:
        build_peer()
    if "constant" in parts:
        say("building the constant-answer server")
        run(["cargo", "build", "--quiet", "--release", "--example", "constant"])


class Bench:
    """The servers that run, and where their files are."""

    def __init__(self, certs, server_core):
        self._tls = ["--tls-cert", certs / "tls.crt", "--tls-key", certs / "tls.key"]
        self._certs = certs
        self._core = server_core
        self.running = []

    def _start(self, name, argv, **more):
        server = Server(name, argv, self._core, OUT / f"{name}.log", **more)
        self.running.append(server)
        server.wait_ready()
        server.note_rest()
        return server

    def pullpass(self, name, policy):
        port, admin = free_port(), free_port()
        argv = [PULLPASS, "webhook", "--policy", policy, "--listen", f"127.0.0.1:{port}",
                "--admin-listen", f"127.0.0.1:{admin}", *self._tls]
        return self._start(name, argv, port=port, admin=admin)

    def constant(self):
        port = free_port()
        return self._start("constant", [CONSTANT, "--listen", f"127.0.0.1:{port}", *self._tls], port=port)

    def peer(self):
        port = free_port()
        argv = [PEER, "--port", port, "--cert-dir", self._certs]
        return self._start("peer", argv, port=port, env={"GOMAXPROCS": "1"})

    def stop(self):
        for server in self.running:
            server.stop()


class Case:
    """One row of the table: a server and the review it is driven by."""

    def __init__(self, name, label, server, review_file, check):
        self.name, self.label, self.server, self.review_file = name, label, server, review_file
        self.after_kib = None
        self.loads = []
        self._check = check
        self.check()

    def check(self):
        """Raises unless the server's answer is right."""
        try:
            self._check(self.server.post(self.review_file.read_bytes()))
        except BenchError as error:
            raise BenchError(f"{self.label}: no right answer, so no number: {error}") from None


def cases(bench, parts):
    """Starts the servers of the table and makes its rows."""
    hit, miss = inputs.REVIEW, OUT / "review-miss.json"
    miss.write_bytes(inputs.review_without_match())
    made = []
    if "pullpass" in parts:
        few = bench.pullpass("pullpass-10", policy_file("policy-10.yaml", FEW))
        many = bench.pullpass("pullpass-10000", policy_file("policy-10000.yaml", MANY))
        made += [
            Case("few", "pullpass, 10 rules", few, hit, inputs.check_pullpass_hit),
            Case("many", "pullpass, 10,000 rules", many, hit, inputs.check_pullpass_hit),
            Case("few-miss", "pullpass, 10 rules, no image matches", few, miss, inputs.check_pullpass_miss),
            Case("many-miss", "pullpass, 10,000 rules, no image matches", many, miss, inputs.check_pullpass_miss),
        ]
    if "constant" in parts:
        made.append(Case("constant", "constant answer", bench.constant(), hit, inputs.check_constant))
    if "peer" in parts:
        made.append(Case("peer", "controller-runtime, Go", bench.peer(), hit, inputs.check_peer))
    return made


def policy_file(name, rules):
    path = OUT / name
    path.write_text(inputs.policy(rules), encoding="utf-8")
    return path


def drive(made, args, client_core):
    """Measures every case once a round, alone on the core, in an order that turns each round."""
    def one(case, seconds):
        case.server.resume()
        try:
            return load.measure(case.server.url, case.review_file, client_core, seconds, args.connections)
        finally:
            case.server.pause()

    for case in made:
        case.server.pause()
    for case in made:
        one(case, 1)  # caches, allocators and the Go heap find their size
    for number in range(args.rounds):
        for case in made if number % 2 == 0 else reversed(made):
            case.loads.append(one(case, args.seconds))
        say(
            f"round {number + 1} of {args.rounds}: "
            + ", ".join(f"{case.name} {case.loads[-1].per_second:,.0f}/s" for case in made)
        )
    for case in made:
        case.after_kib = case.server.resident_kib()
    for case in made:
        case.server.resume()
        case.check()
        case.server.pause()


def compare(args):
    OUT.mkdir(parents=True, exist_ok=True)
    # A run that fails must not leave an earlier one's numbers behind.
    (OUT / "compare.json").unlink(missing_ok=True)
    server_core, client_core = cores()
    if not PULLPASS.exists() and (args.certs is None or {"pullpass", "reload"} & set(args.only)):
        raise BenchError(f"{PULLPASS.relative_to(ROOT)} is not there: run `cargo build --release` first")
    wrk = load.ensure_wrk()
    build(args.only)
    certs = certificates(args.certs)
    busy = busy_cores()
    bench = Bench(certs, server_core)
    try:
        made = cases(bench, args.only)
        if made:
            drive(made, args, client_core)
        reloaded = None
        if "reload" in args.only:
            policy = policy_file("policy-reload.yaml", MANY)
            server = bench.pullpass("pullpass-reload", policy)
            reloaded = reload.measure(server, policy, MANY, client_core)
    finally:
        bench.stop()
    about = machine("peer" in args.only, busy) | {"wrk": wrk, "review_bytes": len(inputs.review())}
    result = report.result(made, reloaded, about, args)
    (OUT / "compare.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(report.markdown(result))


if __name__ == "__main__":
    sys.exit(command.run("compare", "nothing was measured", compare, arguments()))
