#!/usr/bin/env python3
"""Measures how the controller keeps credentials in a real control plane, beside a bare loop of the same applies.

etcd, kube-apiserver and kube-controller-manager run here on loopback ports, without nodes; moto stands for Amazon ECR.
Controller and loop run in turn under the controller's own account. It prints Markdown, the target beside each
number, and fails only when something does not run. Run it by `make bench-controller`.
"""

import sys

sys.dont_write_bytecode = True

import argparse
import dataclasses
import os
import pathlib
import time

from harness import command, controller_report, copies, installed
from harness.audit import Audit
from harness.copies import COPIED, FETCHED
from harness.failure import BenchError
from harness.moto import Moto
from harness.plane import MERGE, Plane
from harness.prepare import OUT, PULLPASS, ROOT, busy_cores, machine, say
from harness.servers import Server, free_port

PARTS = ["copies", "new", "rest"]
LOOP = ROOT / "target" / "release" / "examples" / "applies"
# As many as the controller's: `WRITES` in src/controller/credentials/writing.rs.
AT_ONCE = 16
ACCOUNT = "pullpass-controller"
LIFE = 12 * 3600  # seconds; of every token but the first of a round
PATIENCE = 120  # seconds
LOOK = 0.02  # seconds


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="leave the other parts out")
    parser.add_argument("--namespaces", type=int, default=200, help="namespaces with both Secrets (default: 200)")
    parser.add_argument("--rounds", type=int, default=5, help="how often all are filled and rotated (default: 5)")
    parser.add_argument("--new", type=int, default=100, help="namespaces made during rotations (default: 100)")
    parser.add_argument("--quiet", type=int, default=60, help="seconds at rest, twice (default: 60)")
    parser.add_argument(
        "--binary", type=pathlib.Path, default=PULLPASS, metavar="FILE", help="another pullpass than target/release's",
    )
    parser.add_argument("--loop", type=pathlib.Path, default=LOOP, metavar="FILE", help="another build of the bare loop")
    args = parser.parse_args()
    if min(args.namespaces, args.rounds, args.new, args.quiet) < 1:
        parser.error("every count must be at least 1")
    args.binary, args.loop = args.binary.resolve(), args.loop.resolve()
    return args


@dataclasses.dataclass(frozen=True)
class Seen:
    """Some applies, by the loop or by the controller: seconds, the processor's seconds, and how many."""

    took: float
    cpu: float
    writes: int


class Written:
    """Copies that are to be written from now on."""

    def __init__(self, audit, names, namespaces):
        self._audit, self._at = audit, len(audit.look())
        self._all = {(namespace, name) for namespace in namespaces for name in names}
        self._left = set(self._all)
        self.count, self.last = 0, 0.0

    def are_all(self):
        """Whether each was, by now."""
        writes = self._audit.look()
        for write in writes[self._at:]:
            copy = (write.namespace, write.name)
            if write.resource != "secrets" or copy not in self._all:
                continue
            if write.status not in (200, 201):
                raise BenchError(f"the API server refused `{write.name}` in {write.namespace}: status {write.status}")
            self._left.discard(copy)
            self.count, self.last = self.count + 1, max(self.last, write.answered)
        self._at = len(writes)
        return not self._left


class Bench:
    """The control plane with its namespaces, moto, the bare loop, and the controller that runs."""

    def __init__(self, args):
        self._binary = args.binary
        self._running = []
        self._number = 0
        self.plane = Plane()
        self.moto = self.loop = None
        try:
            self._prepare(args)
        except BaseException:
            self.stop()
            raise

    def _prepare(self, args):
        self.api = self.plane.api()
        installed.namespace(self.api, installed.OWN)
        policy = OUT / "policy-controller.yaml"
        policy.write_text(copies.POLICY, encoding="utf-8")
        token = installed.token(self.api, self._binary, policy, ACCOUNT)
        self._kubeconfig = self.plane.kubeconfig(OUT / "controller.kubeconfig", token)
        say(f"{args.namespaces:,} namespaces")
        self.namespaces = [f"team-{number:05}" for number in range(args.namespaces)]
        self.plane.each(lambda api, name: self.make_namespace(api, name), self.namespaces)
        self._settle(args.namespaces)
        path = f"/api/v1/namespaces/{installed.OWN}/secrets"
        self.api.call("POST", path, copies.source(self.password()))
        self.moto = Moto()
        self.loop = copies.Loop(args.loop, self._kubeconfig)
        self.audit = Audit(self.plane.audit_log, f"system:serviceaccount:{installed.OWN}:{ACCOUNT}")

    def make_namespace(self, api, name):
        api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": copies.LABEL}})

    def _settle(self, namespaces):
        """Waits until the controller-manager has made what each namespace gets from it."""
        deadline = time.monotonic() + PATIENCE + namespaces / 20
        for kind in ("serviceaccounts", "configmaps"):
            while self.api.count(f"/api/v1/{kind}") < namespaces:
                if time.monotonic() > deadline:
                    raise BenchError(f"the namespaces have not their {kind} yet")
                time.sleep(0.5)

    def password(self):
        """One that nobody had before, as long as those of moto."""
        self._number += 1
        return f"{self._number:042}"

    def set_source(self, password):
        """Sets the Secret that is copied; the clock when that was sent."""
        path = f"/api/v1/namespaces/{installed.OWN}/secrets/{copies.SOURCE}"
        started = time.time()
        self.api.call("PATCH", path, {"data": copies.data(COPIED, password)}, MERGE)
        return started

    def start(self):
        """Starts the controller, and waits until it is ready and leads."""
        admin = free_port()
        argv = [self._binary, "controller", "--kubeconfig", self._kubeconfig, "--namespace", installed.OWN,
                "--admin-listen", f"127.0.0.1:{admin}"]
        log = OUT / f"controller-{len(self._running)}.log"
        server = Server("pullpass", argv, None, log, port=admin, admin=admin, env=self.moto.env())
        self._running.append(server)
        server.wait_ready()
        self.until("a controller leads", self._leader)
        return server

    def _leader(self):
        path = f"/apis/coordination.k8s.io/v1/namespaces/{installed.OWN}/leases/{ACCOUNT}"
        lease = self.api.call("GET", path, accept=(200, 404))
        return lease.get("spec", {}).get("holderIdentity")

    def until(self, what, holds, patience=PATIENCE):
        """Looks until it holds; what it gave then."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            found = holds()
            if found:
                return found
            time.sleep(LOOK)
        raise BenchError(f"{what}: not seen within {patience:.0f} s; the logs are {OUT}/controller-*.log")

    def timed(self, server, names, begin):
        """From what `begin` does, or has seen begin, until the last of these copies is written."""
        written = Written(self.audit, names, self.namespaces)
        cpu = server.cpu_seconds()
        while (started := begin()) is None:
            cpu = server.cpu_seconds()
            time.sleep(LOOK)
        self.until("all copies", written.are_all, PATIENCE + len(self.namespaces) / 20)
        return Seen(written.last - started, server.cpu_seconds() - cpu, written.count)

    def rest(self):
        """Waits until the controller has written nothing for a second: what follows a fill is the status of it."""
        writes = [write for write in self.audit.look() if write.counts]
        self.until("rest", lambda: not writes or time.time() - writes[-1].answered > 1)
        if len([write for write in self.audit.look() if write.counts]) > len(writes):
            self.rest()

    def declare(self):
        """Puts the policy in force; the clock when that was sent."""
        started = time.time()
        path = f"/api/v1/namespaces/{installed.OWN}/configmaps"
        self.api.call("POST", path, installed.policy_config_map(copies.POLICY))
        return started

    def clear(self):
        """Nothing is declared, no copy is there, nothing is remembered; no controller may run."""
        self.api.call("DELETE", f"/api/v1/namespaces/{installed.OWN}/configmaps/bench", accept=(200, 404))
        copies.remove(self.plane, [COPIED, FETCHED], self.namespaces)
        copies.no_status(self.api)

    def stop(self):
        for server in self._running:
            server.stop()
        for part in (self.loop, self.moto, self.plane):
            if part is not None:
                part.stop()


def bare_loop(bench):
    """The loop's first fill and rotations, and one rotation of it one by one."""
    def bodies(names, password, uids=None):
        each = ((namespace, name) for namespace in bench.namespaces for name in names)
        return [copies.body(name, namespace, password, uids and uids[name][namespace]) for namespace, name in each]

    def seen(secrets, at_once=AT_ONCE):
        took, cpu = bench.loop.run(secrets, at_once)
        return Seen(took, cpu, len(secrets))

    made = {"fill": seen(bodies([COPIED, FETCHED], bench.password()))}
    uids = {
        name: {at: secret["metadata"]["uid"] for at, secret in copies.listed(bench.api, name).items()}
        for name in (COPIED, FETCHED)
    }
    made["copied"] = seen(bodies([COPIED], bench.password(), uids))
    made["fetched"] = seen(bodies([FETCHED], bench.password(), uids))
    made["single"] = seen(bodies([COPIED], bench.password(), uids), 1)
    return made


def controller(bench, server):
    """The controller's first fill and rotations. It has the policy afterwards, and runs."""
    before = len(bench.moto.tokens())
    # It is renewed a little before its half, and all else has to be measured until then.
    life = 60 + len(bench.namespaces) // 20
    bench.moto.live(life)
    bench.set_source(bench.password())
    made = {"fill": bench.timed(server, [COPIED, FETCHED], bench.declare)}
    bench.moto.live(LIFE)
    first = len(bench.moto.tokens()) - before
    bench.rest()

    password = bench.password()
    made["copied"] = bench.timed(server, [COPIED], lambda: bench.set_source(password))
    copies.check(bench.api, COPIED, bench.namespaces, password)
    if len(bench.moto.tokens()) - before != first:
        raise BenchError(f"the token was renewed before all else was measured: this machine is too slow for {life} s")

    deadline = time.monotonic() + life

    def renewed():
        if time.monotonic() > deadline:
            raise BenchError(f"a token of {life} s was not renewed in time")
        tokens = bench.moto.tokens()[before + first:]
        return tokens[0]["at"] if tokens else None

    made["fetched"] = bench.timed(server, [FETCHED], renewed)
    tokens = bench.moto.tokens()
    copies.check(bench.api, FETCHED, bench.namespaces, tokens[-1]["password"])
    made["fetches"] = [first, len(tokens) - before - first]
    return made


def measure_copies(bench, args):
    """Rounds of both in turn. The last round's controller is left running."""
    rounds = []
    for number in range(args.rounds):
        bench.clear()
        loop = bare_loop(bench)
        bench.clear()
        server = bench.start()
        rounds.append((loop, controller(bench, server)))
        loop, ours = rounds[-1]
        say(f"round {number + 1} of {args.rounds}: " + ", ".join(
            f"{part} {ours[part].took:.2f} s of {loop[part].took:.2f} s" for part in ("fill", "copied", "fetched")))
        if number + 1 < args.rounds:
            server.end()
    return rounds, server


def filled(bench):
    """A controller with all its copies, when that was not measured."""
    bench.clear()
    bench.moto.live(LIFE)
    bench.set_source(bench.password())
    server = bench.start()
    bench.timed(server, [COPIED, FETCHED], bench.declare)
    return server


def measure_new(bench, args):
    """Seconds from a namespace's creation to its second Secret, while all others are rotated again and again."""
    say(f"{args.new} new namespaces during rotations")
    took, rotations = [], 0
    rotation = name = None
    deadline = time.monotonic() + PATIENCE + args.new * 10
    while len(took) < args.new:
        if time.monotonic() > deadline:
            raise BenchError(f"only {len(took)} of {args.new} new namespaces have their Secrets")
        if rotation is None or rotation.are_all():
            rotation = Written(bench.audit, [COPIED], bench.namespaces)
            bench.set_source(bench.password())
            rotations += 1
        if name is None:
            # Not in step with the rotations.
            time.sleep(LOOK * (len(took) % 7))
            name = f"new-{len(took):05}"
            new, started = Written(bench.audit, [COPIED, FETCHED], [name]), time.time()
            bench.make_namespace(bench.api, name)
        if new.are_all():
            took.append(new.last - started)
            name = None
        time.sleep(LOOK)
    bench.until("the last rotation", rotation.are_all)
    return {"took": took, "rotations": rotations}


def quiet(bench, seconds, fetched, since):
    """What the controller's account has written after so many seconds since a write."""
    time.sleep(seconds)
    writes = bench.audit.look()[since:]
    counted = [write for write in writes if write.counts]
    for write in counted[:10]:
        say(f"written at rest: {write.resource} {write.namespace}/{write.name}, status {write.status}")
    leases = sum(write.resource == "leases" for write in writes)
    return {"writes": len(counted), "leases": leases, "fetches": len(bench.moto.tokens()) - fetched}


def measure_rest(bench, args, server):
    """Writes at rest, and of a controller that is started again where all is done."""
    say(f"{args.quiet} s of rest, and as many after a restart")
    bench.rest()
    fetched = len(bench.moto.tokens())
    seen = {"at rest": quiet(bench, args.quiet, fetched, len(bench.audit.look()))}
    server.end()
    since = len(bench.audit.look())
    bench.start()
    return seen | {"after a restart": quiet(bench, args.quiet, fetched, since)}


def measure(args):
    OUT.mkdir(parents=True, exist_ok=True)
    for path in (args.binary, args.loop):
        if not path.exists():
            raise BenchError(f"{path} is not there: `make bench-controller` builds it")
    about = machine(False, busy_cores())
    about["load"] = [os.getloadavg()[0]]
    bench = Bench(args)
    seen = {}
    try:
        about["kubernetes"] = bench.api.call("GET", "/version")["gitVersion"]
        if "copies" in args.only:
            seen["copies"], server = measure_copies(bench, args)
        else:
            server = filled(bench)
        if "new" in args.only:
            seen["new"] = measure_new(bench, args)
        if "rest" in args.only:
            seen["rest"] = measure_rest(bench, args, server)
    finally:
        bench.stop()
    about["load"].append(os.getloadavg()[0])
    print(controller_report.markdown(seen, about, args))


if __name__ == "__main__":
    sys.exit(command.run("controller", "not everything was measured", measure, arguments()))
