"""Turns a command line into a server, pinned to one core if asked: started, ready, paused, stopped.

It knows nothing of what a right answer is. Every server it starts it can stop,
and a server that ends by itself is an error with the last lines of its log.
"""

import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request

from harness.failure import BenchError

READY_WITHIN = 30  # seconds


def free_port():
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_seconds(pid):
    """What a process has used of the processors, in its own code and in the kernel's."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Server:
    """One server under test, with its log in `log`."""

    def __init__(self, name, argv, core, log, port, admin=None, env=None):
        self.name = name
        self.port = port
        self.admin = admin
        self.rest_kib = None
        self._log = log
        # taskset replaces itself with the server, so this process id is the server's.
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        with open(log, "wb") as sink:
            self._started = time.monotonic()
            self._process = subprocess.Popen(
                [*pinned, *map(str, argv)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}/mutate"

    def wait_ready(self):
        """Seconds from its start until the server says that it is ready, or accepts connections."""
        deadline = self._started + READY_WITHIN
        while time.monotonic() < deadline:
            self.check_alive()
            if self._is_ready():
                return time.monotonic() - self._started
            time.sleep(0.005)
        raise BenchError(f"{self.name} was not ready within {READY_WITHIN} s{self._log_tail()}")

    def _is_ready(self):
        if self.admin is not None:
            try:
                return self.admin_get("/readyz")[0] == 200
            except OSError:
                return False
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def admin_get(self, path):
        """Status and text of a page on the admin port."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, ""

    def post(self, body):
        """Status and body of one answer to a review."""
        # The certificate is made for this run; that it is checked is tested elsewhere.
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)
        try:
            connection.request("POST", "/mutate", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise BenchError(f"{self.name} gave no answer: {error}{self._log_tail()}") from None
        finally:
            connection.close()

    def resident_kib(self, field="VmRSS"):
        """Its resident memory now, in KiB; `VmHWM` is the most there ever was."""
        self.check_alive()
        with open(f"/proc/{self._process.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith(f"{field}:"):
                    return int(line.split()[1])
        raise BenchError(f"the kernel does not tell the resident memory of {self.name}")

    def note_rest(self):
        """Remembers the memory of a ready server that has answered nothing yet."""
        time.sleep(0.5)
        self.rest_kib = self.resident_kib()

    def check_alive(self):
        """Raises if the server has ended by itself."""
        code = self._process.poll()
        if code is not None:
            raise BenchError(f"{self.name} ended with status {code}{self._log_tail()}")

    def pause(self):
        """Takes the server off the core, timers and file polling included."""
        self.check_alive()
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        """Puts it back, and gives it a moment to see the connections that were closed meanwhile."""
        self.check_alive()
        self._process.send_signal(signal.SIGCONT)
        time.sleep(0.1)

    def cpu_seconds(self):
        """What it has used of the processors until now, in steps of a kernel's tick."""
        self.check_alive()
        return cpu_seconds(self._process.pid)

    def metric(self, name):
        """A metric's values, by their labels as written."""
        status, text = self.admin_get("/metrics")
        if status != 200:
            raise BenchError(f"{self.name} tells no metrics: status {status}")
        rows = re.findall(rf"^{name}(\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        return {labels: float(value) for labels, value in rows}

    def end(self):
        """Ends the server as a kubelet does, and waits until it has given back what it holds."""
        self.check_alive()
        self._process.terminate()
        try:
            code = self._process.wait(READY_WITHIN)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self.name} did not stop within {READY_WITHIN} s{self._log_tail()}") from None
        if code:
            raise BenchError(f"{self.name} stopped with status {code}{self._log_tail()}")

    def stop(self):
        """Ends the server at once: nothing is in flight any more, and a drain would only cost time."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _log_tail(self):
        with open(self._log, encoding="utf-8", errors="replace") as log:
            lines = log.read().splitlines()[-10:]
        return "".join(f"\n    {line}" for line in lines) or " (it logged nothing)"
