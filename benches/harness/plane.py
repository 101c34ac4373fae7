"""A real control plane for one run, and a client of its API server that keeps its connection.

The plane is the tests' own: built once by tests/controlplane/build.sh, kept outside the tree, and gone
when this process is. Nothing here knows what is measured.
"""

import concurrent.futures
import http.client
import json
import ssl
import subprocess
import sys
import threading
import urllib.parse

from harness.failure import BenchError
from harness.prepare import OUT, ROOT, say

BUILD = ROOT / "tests" / "controlplane" / "build.sh"
JSON, MERGE = "application/json", "application/merge-patch+json"


class Api:
    """One kept-alive connection to the API server, as the administrator."""

    def __init__(self, url, ca_file, token):
        self._where = urllib.parse.urlsplit(url)
        self._context = ssl.create_default_context(cafile=ca_file)
        self._headers = {"Authorization": f"Bearer {token}", "Accept": JSON}
        self._connection = None

    def send(self, method, path, body=None, kind=JSON):
        """Status and bytes of one answer; `body` is bytes."""
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(
                self._where.hostname, self._where.port, timeout=60, context=self._context
            )
        try:
            self._connection.request(method, path, body, {**self._headers, "Content-Type": kind})
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise BenchError(f"the API server gave no answer to {method} {path}: {error}") from None

    def call(self, method, path, body=None, kind=JSON, accept=(200, 201)):
        """The object that came back; anything but an accepted status is an error."""
        status, answer = self.send(method, path, None if body is None else json.dumps(body).encode(), kind)
        if status not in accept:
            raise BenchError(f"{method} {path}: status {status}: {answer[:400].decode(errors='replace')}")
        return json.loads(answer)

    def count(self, path):
        """How many objects a list has."""
        listed = self.call("GET", f"{path}?limit=1")
        return len(listed["items"]) + listed["metadata"].get("remainingItemCount", 0)

    def close(self):
        """Ends the connection; the next call makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Plane:
    """etcd, kube-apiserver and kube-controller-manager on loopback ports, from here to `stop`."""

    def __init__(self):
        say("the control plane (minutes the first time)")
        binaries, launcher = _binaries()
        self._log = OUT / "plane.log"
        with open(self._log, "wb") as log:
            # The launcher ends with its standard input, so it cannot outlive this process.
            self._process = subprocess.Popen(
                [launcher, "--binaries", binaries],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            raise BenchError(f"the control plane did not start:\n{self._log.read_text(errors='replace').strip()}")
        said = json.loads(line)
        self.url, self.ca_file, self.process_ids = said["url"], said["caFile"], said["processIds"]
        self.audit_log, self.token = said["auditLog"], said["token"]

    def api(self):
        """A new connection."""
        return Api(self.url, self.ca_file, self.token)

    def each(self, work, items, connections=8):
        """Calls `work(api, item)` for all items over a few connections at once."""
        own = threading.local()

        def one(item):
            if not hasattr(own, "api"):
                own.api = self.api()
            work(own.api, item)

        with concurrent.futures.ThreadPoolExecutor(connections) as pool:
            for _ in pool.map(one, items):
                pass

    def kubeconfig(self, path, token):
        """Writes a kubeconfig for another account, as JSON, which is YAML too."""
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "plane",
            "clusters": [{"name": "plane", "cluster": {"server": self.url, "certificate-authority": self.ca_file}}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "plane", "context": {"cluster": "plane", "user": "user"}}],
        }
        path.write_text(json.dumps(config), encoding="utf-8")
        path.chmod(0o600)
        return path

    def stop(self):
        """Ends all of it, and waits until it has cleaned up."""
        self._process.stdin.close()
        self._process.wait()


def _binaries():
    """The directory of the binaries, and the launcher."""
    try:
        # What it tells of a build that takes minutes goes to the terminal, not to the result.
        built = subprocess.run([BUILD], stdout=sys.stderr)
        where = subprocess.run([BUILD, "--where"], stdout=subprocess.PIPE, text=True)
    except OSError as error:
        raise BenchError(f"cannot run `{BUILD.relative_to(ROOT)}`: {error}") from None
    places = where.stdout.split("\n")
    if built.returncode or where.returncode or len(places) < 2:
        raise BenchError(f"the control plane could not be built: `{BUILD.relative_to(ROOT)}` says why")
    return places[0], places[1]
