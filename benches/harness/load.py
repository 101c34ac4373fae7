"""Turns a server's port and a review into requests per second, by running wrk.

A run in which any request failed is an error here, never a number: a server
that answers quickly because it refuses would otherwise win.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess

from harness.failure import BenchError

SCRIPT = pathlib.Path(__file__).with_name("post.lua")


@dataclasses.dataclass(frozen=True)
class Load:
    """What one run of wrk saw."""

    requests: int
    microseconds: int
    p50_us: int
    p99_us: int
    max_us: int
    errors: dict

    @property
    def per_second(self):
        return self.requests * 1e6 / self.microseconds

    @property
    def failed(self):
        return sum(self.errors.values())


def ensure_wrk():
    """Returns wrk's version line, after installing it from Debian if it is absent."""
    if not shutil.which("wrk"):
        install = ["apt-get", "install", "-y", "-q", "wrk"]
        if shutil.which("apt-get"):
            sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
            print("wrk is not installed: asking apt-get for it", flush=True)
            for command in (["apt-get", "update", "-q"], install):
                try:
                    subprocess.run(
                        sudo + command,
                        stdout=subprocess.DEVNULL,
                        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                    )
                except OSError:
                    break  # no sudo: the message below says what to do
        if not shutil.which("wrk"):
            raise BenchError(
                f"wrk is not installed and could not be: run `{' '.join(install)}` as root, "
                "or put a `wrk` 4.1 or later on the PATH"
            )
    # `wrk -v` prints its version and exits with 1.
    shown = subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout
    return shown.splitlines()[0].split(" Copyright")[0] if shown else "wrk"


class Wrk:
    """One running wrk, pinned to a core of its own."""

    def __init__(self, url, review, core, seconds, connections, pause_ms=0):
        self._limit = seconds + 30
        self._process = subprocess.Popen(
            ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
             "--timeout", "10s", "--latency", "-s", str(SCRIPT), url],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "REVIEW": str(review), "PAUSE_MS": str(pause_ms)},
        )

    def finish(self):
        """Waits for the end and returns what was seen."""
        try:
            out, _ = self._process.communicate(timeout=self._limit)
        except subprocess.TimeoutExpired:
            raise BenchError(f"wrk did not end within {self._limit} s") from None
        for line in out.splitlines():
            if line.startswith("result "):
                load = Load(**json.loads(line.removeprefix("result ")))
                if load.requests == 0:
                    raise BenchError("wrk got no answer at all")
                return load
        raise BenchError(f"wrk gave no result:\n{out.strip()}")

    def cut_short(self):
        """Ends the run now; wrk still reports what it saw."""
        self._process.send_signal(signal.SIGINT)
        return self.finish()

    def stop(self):
        """Leaves nothing behind, whatever happened."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def measure(url, review, core, seconds, connections):
    """Drives `url` at full speed and returns the load, of which nothing failed."""
    wrk = Wrk(url, review, core, seconds, connections)
    try:
        load = wrk.finish()
    finally:
        wrk.stop()
    if load.failed:
        raise BenchError(f"{load.failed} of {load.requests} requests to {url} failed: {load.errors}")
    return load
