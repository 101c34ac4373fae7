#!/usr/bin/env python3
"""Measures pullpass in a real control plane: edits, a big cluster, and what it adds to a Pod's creation.

etcd, kube-apiserver and kube-controller-manager run here on loopback ports, without nodes; pullpass runs
as its own account with the rights that `pullpass render rbac` gives it. It prints Markdown, the target beside
each number, and fails only when something does not run. Run it by `make bench-cluster`.
"""

import sys

sys.dont_write_bytecode = True

import argparse
import json
import pathlib
import time

from harness import added, changes, cluster_report, command, inputs, installed
from harness.failure import BenchError
from harness.plane import Plane
from harness.prepare import OUT, PEER, PULLPASS, ROOT, build_peer, busy_cores, certificates, machine, run, say
from harness.servers import Server, free_port

PARTS = ["edits", "added", "size", "fold"]
NAMESPACE = "shop"
RULES = 1_000
# Memory is at rest when the allocator has given back what starting took.
REST = 12  # seconds
# Where criterion leaves what it saw of benches/fold.rs.
FOLD = ROOT / "target" / "criterion" / "one namespace of 5,000" / "new" / "estimates.json"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="leave the other parts out")
    parser.add_argument("--edits", type=int, default=50, help="edits of the policy (default: 50)")
    parser.add_argument("--rounds", type=int, default=9, help="how often each variant is measured (default: 9)")
    parser.add_argument("--pods", type=int, default=300, help="Pods of one measurement (default: 300)")
    parser.add_argument("--namespaces", type=int, default=5_000, help="of the big cluster (default: 5000)")
    parser.add_argument("--accounts", type=int, default=10_000, help="of the big cluster (default: 10000)")
    parser.add_argument("--starts", type=int, default=5, help="starts in the big cluster (default: 5)")
    parser.add_argument("--relabels", type=int, default=100, help="namespaces changed in it (default: 100)")
    parser.add_argument(
        "--binary", type=pathlib.Path, default=PULLPASS, metavar="FILE", help="another pullpass than target/release's",
    )
    args = parser.parse_args()
    if min(args.edits, args.rounds, args.pods, args.namespaces, args.accounts, args.starts, args.relabels) < 1:
        parser.error("every count must be at least 1")
    args.binary = args.binary.resolve()
    return args


class Bench:
    """The control plane with pullpass's account and policy in it, and the servers that run."""

    def __init__(self, args):
        self._binary = args.binary
        self._certs = certificates(pullpass=args.binary)
        self.running = []
        self.plane = Plane()
        try:
            self._prepare()
        except BaseException:
            self.stop()
            raise

    def _prepare(self):
        self.api = self.plane.api()
        self.pods = installed.Pods(self.plane.api())
        for name in (installed.OWN, NAMESPACE):
            installed.namespace(self.api, name)
        policy = OUT / "policy-cluster.yaml"
        policy.write_text(inputs.policy(RULES), encoding="utf-8")
        config_maps = f"/api/v1/namespaces/{installed.OWN}/configmaps"
        self.api.call("POST", config_maps, installed.policy_config_map(inputs.policy(RULES)))
        token = installed.token(self.api, self._binary, policy, "pullpass-webhook")
        self._kubeconfig = self.plane.kubeconfig(OUT / "pullpass.kubeconfig", token)
        # One port for all its starts, so that one configuration calls them all.
        self._port = free_port()
        self.configurations = installed.configurations(self._binary, f"https://127.0.0.1:{self._port}", self._certs)

    def start_pullpass(self):
        """Starts it: the server, and seconds until it was ready."""
        admin = free_port()
        argv = [
            self._binary, "webhook", "--kubeconfig", self._kubeconfig, "--namespace", installed.OWN,
            "--listen", f"127.0.0.1:{self._port}", "--admin-listen", f"127.0.0.1:{admin}",
            "--tls-cert", self._certs / "tls.crt", "--tls-key", self._certs / "tls.key",
        ]
        server = Server("pullpass", argv, None, OUT / "pullpass-cluster.log", port=self._port, admin=admin)
        self.running.append(server)
        return server, server.wait_ready()

    def start_peer(self):
        """Starts the controller-runtime peer; the URL that its configuration calls."""
        port = free_port()
        argv = [PEER, "--port", port, "--cert-dir", self._certs]
        server = Server("peer", argv, None, OUT / "peer.log", port=port)
        self.running.append(server)
        server.wait_ready()
        return f"https://127.0.0.1:{port}"

    def stop(self):
        for server in self.running:
            server.stop()
        self.plane.stop()


def measure_edits(bench, args):
    say(f"{args.edits} edits of a policy of {RULES:,} rules")
    server, _ = bench.start_pullpass()
    installed.create(bench.api, bench.configurations)
    bench.pods.until(NAMESPACE, installed.is_by_pullpass, "injection")
    seen = changes.edits(bench.api, bench.pods, NAMESPACE, args.edits, RULES)
    installed.remove(bench.api, bench.configurations)
    bench.pods.until(NAMESPACE, installed.is_bare, "pullpass taken away")
    server.stop()
    return seen


def measure_added(bench, args):
    say(f"creations of a Pod, {args.rounds} rounds of {args.pods} each")
    server, _ = bench.start_pullpass()
    peer = bench.start_peer()

    def calls():
        return sum(server.metric("pullpass_admission_requests_total").values())

    variants = [
        added.Variant("none", "nothing", [], installed.is_bare),
        added.Variant("policy", "MutatingAdmissionPolicy, a fixed list",
                      installed.policy(bench.configurations, installed.STATIC, careful=False), installed.is_by_another),
        added.Variant("careful", "MutatingAdmissionPolicy, joined to the Pod's own",
                      installed.policy(bench.configurations, installed.JOINED, careful=True), installed.is_by_another),
        added.Variant("pullpass", "pullpass", bench.configurations, installed.is_by_pullpass, calls),
        added.Variant("peer", "controller-runtime, Go", installed.peer_configuration(bench.configurations, peer),
                      installed.is_by_another),
    ]
    added.measure(bench.api, bench.pods, NAMESPACE, variants, args.rounds, args.pods, say)
    server.stop()
    return variants


def measure_size(bench, args):
    say(f"a cluster of {args.namespaces:,} namespaces and {args.accounts:,} service accounts (a minute or two)")
    names = changes.grow(bench.plane, bench.api, args.namespaces, args.accounts, say)
    if len(names) < args.relabels:
        raise BenchError(f"{args.relabels} namespaces are to be changed, and {len(names)} were made: take more")
    configurations = installed.without_opt_out_selector(bench.configurations)
    installed.create(bench.api, configurations)
    ready, started_kib = [], []
    for _ in range(args.starts):
        server, took = bench.start_pullpass()
        ready.append(took)
        started_kib.append(server.resident_kib())
        held = server.metric("pullpass_cache_objects")
        least = {"namespaces": args.namespaces, "serviceaccounts": args.accounts}
        if any(held.get(f'{{resource="{resource}"}}', 0) < count for resource, count in least.items()):
            raise BenchError(f"pullpass was ready before it had all: it holds {held}")
        bench.pods.until(names[0], installed.is_by_pullpass, "injection")
        if len(ready) < args.starts:
            server.stop()
    say(f"ready after {', '.join(f'{took:.2f}' for took in ready)} s; {REST} s of rest")
    time.sleep(REST)
    rest = server.resident_kib()
    # Spread over all of them, as a cluster's changes are.
    changed = names[:: max(len(names) // args.relabels, 1)][: args.relabels]
    relabelled = changes.relabels(bench.api, bench.pods, changed)
    after = server.resident_kib()
    time.sleep(REST)
    result = {
        "ready": ready, "relabelled": relabelled,
        "kib": {"started": max(started_kib), "rest": rest, "after": after, "later": server.resident_kib(),
                "peak": server.resident_kib("VmHWM")},
    }
    say(f"{args.edits} edits of the policy in it")
    result["edits"] = changes.edits(bench.api, bench.pods, NAMESPACE, args.edits, RULES)
    installed.remove(bench.api, configurations)
    server.stop()
    return result


def measure_fold():
    """Median seconds of one namespace's change inside the webhook: benches/fold.rs."""
    say("one change inside the webhook (minutes to build the first time)")
    run(["cargo", "bench", "--locked", "--bench", "fold"])
    if not FOLD.exists():
        raise BenchError(f"criterion left no `{FOLD.relative_to(ROOT)}`")
    seen = json.loads(FOLD.read_text(encoding="utf-8"))["median"]
    return {"median": seen["point_estimate"] / 1e9, "upper": seen["confidence_interval"]["upper_bound"] / 1e9}


def measure(args):
    OUT.mkdir(parents=True, exist_ok=True)
    if not args.binary.exists():
        raise BenchError(f"{args.binary} is not there: run `cargo build --release` first")
    if "added" in args.only:
        build_peer()
    seen = {"fold": measure_fold()} if "fold" in args.only else {}
    about = machine("added" in args.only, busy_cores())
    # A small cluster first: what is added to a Pod's creation is not to be lost in a big one's noise.
    measured = {"edits": measure_edits, "added": measure_added, "size": measure_size}
    wanted = {part: work for part, work in measured.items() if part in args.only}
    if wanted:
        bench = Bench(args)
        try:
            about["kubernetes"] = bench.api.call("GET", "/version")["gitVersion"]
            seen |= {part: work(bench, args) for part, work in wanted.items()}
        finally:
            bench.stop()
    print(cluster_report.markdown(seen, about, args, RULES))


if __name__ == "__main__":
    sys.exit(command.run("cluster", "not everything was measured", measure, arguments()))
