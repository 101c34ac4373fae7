"""A cluster in which pullpass runs as it is installed, and an evil few minutes that move every panel.

Two webhooks, two controllers, moto as AWS, a real API server; Pods are asked for all the time, and things go wrong at
known times. It draws nothing and asks Prometheus nothing.
"""

import base64
import json
import random
import subprocess
import threading
import time
import urllib.request

from harness import installed
from harness.failure import BenchError
from harness.plane import MERGE, Plane
from harness.prepare import ROOT
from harness.servers import Server, free_port

OWN = installed.OWN
POLICY = """
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: company}
spec:
  rules:
    - {name: hub, match: {images: [docker.io]}, inject: {imagePullSecrets: [dockerhub]}}
    - {name: ecr, match: {ecr: {}}, inject: {imagePullSecrets: [ecr]}}
    - {name: quay, match: {images: [quay.io]}, inject: {imagePullSecrets: [quay]}}
    - {name: internal, match: {images: [registry.internal.example]}, inject: {imagePullSecrets: [internal]}}
    - {name: build, match: {images: [ghcr.io/acme/build]}, inject: {serviceAccountName: builder}}
    - {name: closed, match: {images: [registry.example.com]}, inject: {serviceAccountName: nobody, onMissingServiceAccount: Deny}}
  credentials:
    - {name: dockerhub, from: {secretRef: {name: dockerhub-source}}}
    - {name: ecr, from: {ecr: {accountIds: ["123456789012"], regions: [eu-west-1]}}}
    - {name: quay, from: {secretRef: {name: quay-source}}}
    - {name: internal, holdPods: true, holdTimeout: 30s, from: {secretRef: {name: internal-source}}}
"""
IMAGES = ["nginx", "redis:7", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop:1", "quay.io/acme/api:2",
          "ghcr.io/acme/build:1", "ghcr.io/acme/web:1", "registry.k8s.io/pause:3.9", "registry.example.com/closed:1"]
NAMESPACES = [f"team-{n:02}" for n in range(24)]
APPLY = "application/apply-patch+yaml"


class Scene:
    """Everything that runs. `targets` says where metrics are."""

    def __init__(self, binary, out):
        self._binary, self._out = binary, out
        self._stopped = threading.Event()
        self._threads, self.servers, self._moto = [], {}, None
        self.plane = Plane()
        try:
            self.api = self.plane.api()
            self._install()
        except BaseException:
            self.stop()
            raise

    def _install(self):
        for name in (OWN, *NAMESPACES):
            installed.namespace(self.api, name)
        policy = self._out / "policy.yaml"
        policy.write_text(POLICY, encoding="utf-8")
        installed.create(self.api, installed.rendered(self._binary, "rbac", "--policy", policy, "--namespace", OWN))
        self.policy(POLICY)
        for name in ("dockerhub", "quay"):
            self.source(name, f"{name}:one")
        for name in NAMESPACES:
            account = {"metadata": {"name": "builder"}}
            self.api.call("POST", f"/api/v1/namespaces/{name}/serviceaccounts", account, accept=(201, 409))
        self._start_moto()
        port = free_port()
        url = f"https://127.0.0.1:{port}"
        configurations = installed.rendered(
            self._binary, "webhook-configuration", "--url", url, "--namespace", OWN, "--timeout-seconds", "1")
        installed.create(self.api, configurations)
        flags = ["--webhook-configuration", "00-pullpass", "--dns-name", "127.0.0.1"]
        for name in ("controller-a", "controller-b"):
            self._start("controller", name, flags, env=self._aws)
        for name in ("webhook-a", "webhook-b"):
            listen = port if name == "webhook-a" else free_port()
            flags = ["--tls-secret", "pullpass-webhook-tls", "--listen", f"127.0.0.1:{listen}"]
            self._start("webhook", name, flags, listen)
        for server in self.servers.values():
            server.wait_ready()

    def _start(self, command, name, flags, port=None, env=None):
        admin = free_port()
        path = f"/api/v1/namespaces/{OWN}/serviceaccounts/pullpass-{command}/token"
        wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
        token = self.api.call("POST", path, wanted)["status"]["token"]
        kubeconfig = self.plane.kubeconfig(self._out / f"{name}.kubeconfig", token)
        argv = [self._binary, command, "--kubeconfig", kubeconfig, "--namespace", OWN, "--admin-listen", f"127.0.0.1:{admin}"]
        server = Server(name, [*argv, *flags], None, self._out / f"{name}.log", port, admin, env)
        self.servers[name] = server

    def _start_moto(self):
        build = ROOT / "tests" / "moto" / "build.sh"
        subprocess.run([build], check=True, stdout=subprocess.DEVNULL)
        python = subprocess.run([build, "--where"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        self._moto = subprocess.Popen(
            [python, ROOT / "tests" / "moto" / "server.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )
        said = json.loads(self._moto.stdout.readline())
        self._moto_url = f"http://127.0.0.1:{said['port']}"
        self._aws = {
            "AWS_ENDPOINT_URL_ECR": self._moto_url, "AWS_ENDPOINT_URL_STS": self._moto_url,
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_ACCESS_KEY_ID": said["key"], "AWS_SECRET_ACCESS_KEY": said["secret"],
        }
        self.moto({"lifetimes": {"eu-west-1": 100}})

    def targets(self):
        """Job, Pod and address of each process, as the chart's ServiceMonitors name them."""
        return [(f"pullpass-{name.split('-')[0]}-metrics", name, f"127.0.0.1:{server.admin}")
                for name, server in self.servers.items()]

    # What can be done to it.

    def policy(self, text):
        """Sets the policy's text."""
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "company", "labels": {"pullpass.dev/policy": "true"}},
                "data": {"policy.yaml": text}}
        path = f"/api/v1/namespaces/{OWN}/configmaps/company?fieldManager=scene&force=true"
        self.api.call("PATCH", path, made, APPLY)

    def source(self, name, login):
        """Sets the Secret that a credential is copied from."""
        entry = {"auth": base64.b64encode(login.encode()).decode()}
        host = {"quay": "quay.io", "dockerhub": "docker.io"}.get(name, "registry.internal.example")
        config = json.dumps({"auths": {host: entry}}).encode()
        made = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
                "metadata": {"name": f"{name}-source"}, "data": {".dockerconfigjson": base64.b64encode(config).decode()}}
        path = f"/api/v1/namespaces/{OWN}/secrets/{name}-source?fieldManager=scene&force=true"
        self.api.call("PATCH", path, made, APPLY)

    def no_source(self, name):
        """Takes it away."""
        self.api.call("DELETE", f"/api/v1/namespaces/{OWN}/secrets/{name}-source", accept=(200, 404))

    def moto(self, wanted):
        """Changes how AWS answers."""
        urllib.request.urlopen(f"{self._moto_url}/pullpass/set", json.dumps(wanted).encode(), timeout=10).read()

    def foreign(self, name, namespace):
        """Somebody else's Secret in place of a copy: whoever is first."""
        path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
        self.api.call("DELETE", path, accept=(200, 404))
        made = {"metadata": {"name": name}, "stringData": {"mine": "own"}}
        return self.api.send("POST", f"/api/v1/namespaces/{namespace}/secrets", json.dumps(made).encode())[0]

    def quota(self, namespace, count):
        """A new namespace that has room for so many Secrets."""
        labels = {installed.INJECT_LABEL: "disabled"}
        self.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace, "labels": labels}})
        made = {"metadata": {"name": "few"}, "spec": {"hard": {"count/secrets": str(count)}}}
        path = f"/api/v1/namespaces/{namespace}/resourcequotas"
        self.api.call("POST", path, made)
        deadline = time.monotonic() + installed.PATIENCE
        while "hard" not in self.api.call("GET", f"{path}/few").get("status", {}):
            if time.monotonic() > deadline:
                raise BenchError(f"the quota of {namespace} is not in force")
            time.sleep(0.1)
        self.relabel(namespace, None)

    def pods(self, namespace, image, count):
        """Pods for real, in a namespace that may be new."""
        installed.namespace(self.api, namespace)
        for _ in range(count):
            made = {"metadata": {"generateName": "p-"}, "spec": {"containers": [{"name": "c", "image": image}]}}
            self.api.call("POST", f"/api/v1/namespaces/{namespace}/pods", made)

    def relabel(self, namespace, value):
        """A namespace opts out, or in again."""
        self.api.call("PATCH", f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": {installed.INJECT_LABEL: value}}}, MERGE)

    def lead(self):
        """The name of the controller that leads."""
        for name, server in self.servers.items():
            if "controller" in name and "pullpass_leader{} 1" in server.admin_get("/metrics")[1]:
                return name
        raise BenchError("no controller leads")

    # Load.

    def load(self):
        """Pods are asked for from now on, as dry runs, more and less in turn."""
        for n in range(4):
            thread = threading.Thread(target=self._ask, args=(n,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _ask(self, n):
        api, chance = self.plane.api(), random.Random(n)
        began = time.monotonic()
        while not self._stopped.is_set():
            count = chance.choice([1, 1, 2, 3])
            images = [chance.choice(IMAGES[:-1]) for _ in range(count)]
            if chance.random() < 0.02:
                images = [IMAGES[-1]]
            if chance.random() < 0.01:
                images.append("A b")
            containers = [{"name": f"c{i}", "image": image} for i, image in enumerate(images)]
            made = {"metadata": {"generateName": "p-"}, "spec": {"containers": containers}}
            namespace = chance.choice(NAMESPACES)
            try:
                api.send("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", json.dumps(made).encode())
            except BenchError:
                pass
            wave = 0.5 + 0.4 * ((time.monotonic() - began) % 60) / 60
            self._stopped.wait(0.12 * wave * chance.random())
        api.close()

    def stop(self):
        """Ends all of it."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        for server in self.servers.values():
            server.stop()
        if self._moto is not None:
            self._moto.stdin.close()
            self._moto.wait()
        self.plane.stop()
