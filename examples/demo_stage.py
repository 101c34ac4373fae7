"""What demo_cluster.py plays on: commands that are printed as they are run, servers, a registry, watches of a cluster.

Whatever it starts it ends, and all that it writes is in one directory that goes with it. Every wait has a bound, and no
secret value is printed. Uses the Python standard library only.
"""

import base64
import ctypes
import http.client
import json
import os
import pathlib
import secrets
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Seconds: much longer than anything takes here, for a machine that has other work.
WITHIN = 60
PLANE_WITHIN = 120
STOP_WITHIN = 30


class Failure(Exception):
    """What did not happen."""


class Stage:
    """A directory, the processes that run in it, and the time since it was set up."""

    def __init__(self, pullpass):
        self._start = time.monotonic()
        self._directory = tempfile.TemporaryDirectory(prefix="pullpass-demo-")
        self._servers = []
        self.path = pathlib.Path(self._directory.name)
        (self.path / "bin").mkdir()
        self.tool("pullpass", pullpass)
        # Nothing of the user's own: neither a kubeconfig nor a setting of kubectl or pullpass.
        self._environment = {
            "PATH": f"{self.path / 'bin'}:{os.environ.get('PATH', os.defpath)}", "HOME": str(self.path),
            "KUBECONFIG": "admin.kubeconfig", "KUBECACHEDIR": str(self.path / "cache"),
        }

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _trace):
        # Nothing may come between: it is soon over.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if kind and issubclass(kind, Exception):
            for server in self._servers:
                print(f"\n-- the end of {server.name}'s log\n{server.tail()}", file=sys.stderr)
        for server in reversed(self._servers):
            server.stop()
        self._directory.cleanup()

    def tool(self, name, binary):
        """Has commands find a binary by a name."""
        (self.path / "bin" / name).symlink_to(binary)

    def seconds(self):
        return time.monotonic() - self._start

    def title(self, text):
        print(f"\n== {self.seconds():4.1f} s  {text}", flush=True)

    def run(self, line, shown=True):
        """Runs a line of shell, prints it and what it says; its output. Not `shown`: prints neither."""
        if shown:
            print(f"$ {line}", flush=True)
        process = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", line], cwd=self.path, env=self._environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        try:
            output, _ = process.communicate(timeout=WITHIN)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise Failure(f"`{line}`: not within {WITHIN} s") from None
            raise
        if shown:
            print(output, end="", flush=True)
        if process.returncode:
            self.check()
            raise Failure(f"`{line}` ended with status {process.returncode}" + ("" if shown else f": {output}"))
        return output

    def start(self, name, argv, shown=True, **streams):
        """Starts a server that runs until the end."""
        if shown:
            print(f"$ {' '.join(map(str, argv))} &", flush=True)
        server = Server(name, argv, self.path, self._environment, streams)
        self._servers.append(server)
        return server

    def check(self):
        """No server has ended by itself."""
        for server in self._servers:
            server.check()

    def until(self, what, holds):
        """Waits for a condition; what it is in the end."""
        deadline = time.monotonic() + WITHIN
        while time.monotonic() < deadline:
            self.check()
            held = holds()
            if held:
                return held
            time.sleep(0.01)
        raise Failure(f"{what}: not within {WITHIN} s")

    def kubeconfig(self, name, token):
        """Writes a kubeconfig for an account, like that of the administrator."""
        config = json.loads(self.run("kubectl config view --raw -o json", shown=False))
        config["users"][0]["user"] = {"token": token}
        write_private(self.path / name, json.dumps(config))


class Server:
    """A process with its log."""

    def __init__(self, name, argv, directory, environment, streams):
        self.name = name
        self._log = directory / f"{name}.log"
        with open(self._log, "wb") as log:
            binary = directory / "bin" / argv[0]
            self.process = subprocess.Popen(
                [str(binary), *map(str, argv[1:])], cwd=directory, env=environment, stderr=log, start_new_session=True,
                **{"stdin": subprocess.DEVNULL, "stdout": log, **streams},
            )

    def check(self):
        if self.process.poll() is not None:
            raise Failure(f"{self.name} ended with status {self.process.returncode}")

    def address(self, port):
        """Where it listens, when it has said so."""
        for line in self._log.read_text(errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # half a line
            if entry.get("message") == "listening" and entry.get("port") == port:
                return entry["address"]
        return None

    def page(self, path):
        """A page of its admin port, if it is there and well."""
        address = self.address("admin")
        if not address:
            return ""
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as page:
                return page.read().decode()
        except OSError:
            return ""

    def stop(self):
        """Ends it, by force if it does not end by itself; its status."""
        if self.process.stdin:
            self.process.stdin.close()
        elif self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def tail(self):
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:]) or "(empty)"


class Plane:
    """The control plane of the tests, and a way to its API server as the administrator."""

    def __init__(self, stage, binaries, launcher):
        stage.tool("kubectl", pathlib.Path(binaries) / "kubectl")
        stage.tool("controlplane", launcher)
        # It ends with its standard input, and everything with it.
        self._server = stage.start(
            "controlplane", ["controlplane", "--binaries", binaries], shown=False, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._stage = stage

    def wait(self):
        """Waits until it is there."""
        pipe = self._server.process.stdout
        ready, _, _ = select.select([pipe], [], [], PLANE_WITHIN)
        line = pipe.readline() if ready else b""
        if not line:
            raise Failure("the control plane did not start")
        said = json.loads(line)
        self._where = urllib.parse.urlsplit(said["url"])
        self._tls = ssl.create_default_context(cafile=said["caFile"])
        self._token = said["token"]
        write_private(self._stage.path / "admin.kubeconfig", pathlib.Path(said["kubeconfig"]).read_text())

    def watch(self, path):
        """Every change from now on of the objects below a path."""
        connection = http.client.HTTPSConnection(self._where.hostname, self._where.port, context=self._tls)
        connection.request("GET", f"{path}?watch=true", headers={"Authorization": f"Bearer {self._token}"})
        return Watch(self._stage, connection.getresponse())


class Watch:
    """What a watch has brought, each with the time at which it came."""

    def __init__(self, stage, stream):
        self._stage = stage
        self._seen = []
        self._news = threading.Condition()
        threading.Thread(target=self._read, args=[stream], daemon=True).start()

    def _read(self, stream):
        try:
            for line in stream:
                event = json.loads(line)
                with self._news:
                    self._seen.append((time.monotonic(), event["type"], event["object"]))
                    self._news.notify_all()
        except (OSError, http.client.HTTPException, ValueError):
            pass  # the control plane is gone; whoever waits is told by its bound

    def until(self, what, holds):
        """The first event of which `holds(kind, object)` says so: when it came, and the object."""
        deadline = time.monotonic() + WITHIN
        at = 0
        while True:
            with self._news:
                if at == len(self._seen):
                    self._news.wait(0.2)
                seen, at = self._seen[at:], len(self._seen)
            for when, kind, subject in seen:
                if holds(kind, subject):
                    return when, subject
            self._stage.check()
            if time.monotonic() > deadline:
                raise Failure(f"{what}: not within {WITHIN} s")


class Registry:
    """A real registry behind TLS that takes one login. It holds no images: who may log in is what is asked."""

    def __init__(self, stage, binary):
        stage.tool("registry", binary)
        stage.run("pullpass certs --out registry", shown=False)
        self._directory = stage.path / "registry"
        self._port = free_port()
        self.host = f"localhost:{self._port}"
        self.let_in("nobody", secrets.token_urlsafe())
        configuration = {
            "version": "0.1", "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self._directory / "images")}},
            "auth": {"htpasswd": {"realm": "demo", "path": str(self._directory / "htpasswd")}},
            "http": {"addr": f"127.0.0.1:{self._port}", "tls": {
                "certificate": str(self._directory / "tls.crt"), "key": str(self._directory / "tls.key")}},
        }
        (self._directory / "config.yml").write_text(json.dumps(configuration))
        self._tls = ssl.create_default_context(cafile=self._directory / "ca.crt")
        stage.start("registry", ["registry", "serve", self._directory / "config.yml"], shown=False)
        stage.until("the registry listens", self._listens)

    def _listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def let_in(self, user, password):
        """From now on it takes this login and no other: it reads the file again when that is another."""
        beside = self._directory / "htpasswd.new"
        beside.write_text(f"{user}:{bcrypt(password)}\n")
        beside.rename(self._directory / "htpasswd")

    def ask(self, what, want, login=None):
        """Asks it with a login, `user:password`, or without one; prints both, and wants that status."""
        headers, told = {}, "(without a login)"
        if login:
            headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
            told = f"Authorization: Basic {login.partition(':')[0]}:***"
        connection = http.client.HTTPSConnection("localhost", self._port, timeout=10, context=self._tls)
        connection.request("GET", "/v2/", headers=headers)
        answer = connection.getresponse()
        connection.close()
        print(f"{what}:\n> GET https://{self.host}/v2/\n> {told}\n< {answer.status} {answer.reason}", flush=True)
        if answer.status != want:
            raise Failure(f"{what}: the registry answers {answer.status}, not {want}")


def built(part):
    """Builds a part of the tests if it is not there yet; what `--where` says of it."""
    script = ROOT / "tests" / part / "build.sh"
    if subprocess.run([script]).returncode:
        raise Failure(f"{script.relative_to(ROOT)} failed")
    return subprocess.run([script, "--where"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()


def bcrypt(password):
    """The only hash that the registry takes, by the system's own library, at its least cost: nothing here is worth guessing."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    salt = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(21)) + "u"
    made = library.crypt(password.encode(), f"$2b$04${salt}".encode())
    if not made or not made.startswith(b"$2b$"):
        raise Failure("the system's libcrypt makes no bcrypt hashes")
    return made.decode()


def free_port():
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write_private(path, text):
    """Writes a file that nobody else reads."""
    path.touch(0o600)
    path.write_text(text)
