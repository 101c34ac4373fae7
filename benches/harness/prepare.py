"""What the benchmarks need before the first number: places, the peer, certificates, the machine in words.

It starts no server. What cannot be had is a BenchError that says what to do.
"""

import datetime
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import time

from harness.failure import BenchError

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OUT = ROOT / "target" / "bench"
PULLPASS = ROOT / "target" / "release" / "pullpass"
PEER = OUT / "peer"


def run(command, where=ROOT, **more):
    """Runs a preparing command; its output is shown only if it fails."""
    try:
        done = subprocess.run(
            list(map(str, command)), cwd=where, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more
        )
    except FileNotFoundError:
        raise BenchError(f"`{command[0]}` is not there: install or build it first") from None
    if done.returncode:
        raise BenchError(f"`{' '.join(map(str, command))}` failed:\n{done.stdout.strip()}")
    return done.stdout


def say(text):
    """Tells what goes on; results alone go to standard output."""
    print(text, file=sys.stderr, flush=True)


def build_peer():
    """Builds the controller-runtime peer."""
    say("building the peer (minutes the first time)")
    run(["go", "build", "-o", PEER, "."], ROOT / "benches" / "peer")


def certificates(given=None, pullpass=PULLPASS):
    """The directory of the one pair that all servers use."""
    where = given
    if where is None:
        where = OUT / "certs"
        shutil.rmtree(where, ignore_errors=True)
        run([pullpass, "certs", "--out", where])
    missing = [name for name in ("tls.crt", "tls.key") if not (where / name).exists()]
    if missing:
        held = sorted(path.name for path in where.iterdir()) if where.is_dir() else "nothing"
        raise BenchError(f"{where} lacks {' and '.join(missing)}; it holds {held}")
    return where.resolve()


def busy_cores():
    """How many cores other work keeps busy, seen over two seconds before anything is started."""
    def ticks():
        with open("/proc/stat", encoding="ascii") as stat:
            fields = [int(word) for word in stat.readline().split()[1:9]]
        return sum(fields), fields[3] + fields[4]  # all; idle and waiting for a disk

    total, idle = ticks()
    time.sleep(2)
    total_after, idle_after = ticks()
    passed = max(total_after - total, 1)
    busy = round(os.cpu_count() * (1 - (idle_after - idle) / passed), 2)
    if busy > 0.2:
        say(f"other work keeps {busy:.1f} cores busy: the numbers will be rough")
    return busy


def machine(peer, busy):
    """What a reader needs to judge the numbers; with the peer's versions if it takes part."""
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        models = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    about = {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "busy": busy,
    }
    if peer:
        about["go"] = run(["go", "env", "GOVERSION"], ROOT / "benches" / "peer").strip()
        about["controller_runtime"] = run(
            ["go", "list", "-m", "-f", "{{.Version}}", "sigs.k8s.io/controller-runtime"], ROOT / "benches" / "peer"
        ).strip()
    return about
