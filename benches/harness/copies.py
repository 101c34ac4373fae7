"""The Secrets of the credential benchmark: what is declared, what each copy holds, and the bare loop that applies them.

The bodies are written out here a second time on purpose: the loop applies what the controller should, and what the
controller wrote is held against it.
"""

import base64
import datetime
import json
import subprocess

from harness.failure import BenchError
from harness.installed import OWN
from harness.moto import ACCOUNT, REGION
from harness.servers import cpu_seconds

COPIED, FETCHED = "quay-creds", "ecr-creds"
SOURCE = "quay-source"
LABEL = {"bench": "true"}
ECR = f"{{accountIds: ['{ACCOUNT}'], regions: [{REGION}]}}"
HERE = "namespaceSelector: {matchLabels: {bench: 'true'}}"
# Pods wait for both, so that all is written that the controller ever has to write.
POLICY = f"""\
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {{name: bench}}
spec:
  rules:
    - {{name: quay, match: {{images: [quay.io], {HERE}}}, inject: {{imagePullSecrets: [{COPIED}]}}}}
    - {{name: ecr, match: {{ecr: {ECR}, {HERE}}}, inject: {{imagePullSecrets: [{FETCHED}]}}}}
  credentials:
    - {{name: {COPIED}, holdPods: true, from: {{secretRef: {{name: {SOURCE}}}}}}}
    - {{name: {FETCHED}, holdPods: true, from: {{ecr: {ECR}}}}}
"""
# A registry of ECR has four names.
ECR_HOSTS = [f"{ACCOUNT}.{words}.{REGION}.{suffix}" for words, suffix in [
    ("dkr-ecr-fips", "on.aws"), ("dkr-ecr", "on.aws"), ("dkr.ecr-fips", "amazonaws.com"), ("dkr.ecr", "amazonaws.com")]]
REGISTRIES = {COPIED: ["quay.io"], FETCHED: ECR_HOSTS}
WORDS = {COPIED: f"secretRef {SOURCE}", FETCHED: f"ecr {REGION}"}
USERS = {COPIED: "robot", FETCHED: "AWS"}
TYPE = "kubernetes.io/dockerconfigjson"


def data(name, password):
    """What a copy holds, in base64."""
    auth = base64.b64encode(f"{USERS[name]}:{password}".encode()).decode()
    auths = {registry: {"auth": auth} for registry in REGISTRIES[name]}
    config = json.dumps({"auths": auths}, separators=(",", ":"))
    return {".dockerconfigjson": base64.b64encode(config.encode()).decode()}


def source(password):
    """The Secret that a credential is copied from."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SOURCE}, "type": TYPE,
            "data": data(COPIED, password)}


def body(name, namespace, password, uid=None):
    """What is applied: with a uid over the Secret that has it, without one only where none is."""
    notes = {"pullpass.dev/policy": "bench", "pullpass.dev/source": WORDS[name], "pullpass.dev/namespace": namespace}
    if name == FETCHED:
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=12)
        notes["pullpass.dev/expires"] = f"{end:%Y-%m-%dT%H:%M:%SZ}"
    pin = {"resourceVersion": "1"} if uid is None else {"uid": uid}
    return {
        "apiVersion": "v1", "kind": "Secret", "type": TYPE, "data": data(name, password),
        "metadata": {"name": name, "namespace": namespace, **pin, "annotations": notes,
                     "labels": {"app.kubernetes.io/managed-by": "pullpass"}},
    }


def listed(api, name):
    """The Secrets of a name by their namespaces."""
    found = api.call("GET", f"/api/v1/secrets?fieldSelector=metadata.name%3D{name}")["items"]
    return {secret["metadata"]["namespace"]: secret for secret in found}


def check(api, name, namespaces, password):
    """Raises unless each namespace has the copy that the loop would have applied."""
    found = listed(api, name)
    for namespace in namespaces:
        want, got = body(name, namespace, password), found.get(namespace, {})
        if got.get("data") != want["data"] or got.get("type") != TYPE:
            raise BenchError(f"the Secret `{name}` in {namespace} does not hold what was last given out")
        for key in ("labels", "annotations"):
            ours, theirs = want["metadata"][key], got["metadata"].get(key, {})
            same = {at: value for at, value in theirs.items() if at != "pullpass.dev/expires"}
            if ours.keys() != theirs.keys() or not same.items() <= ours.items():
                raise BenchError(f"the loop's {key} are not the controller's: {ours}, {theirs}")


def remove(plane, names, namespaces):
    """Deletes all copies."""
    def one(api, at):
        namespace, name = at
        api.call("DELETE", f"/api/v1/namespaces/{namespace}/secrets/{name}", accept=(200, 404))

    plane.each(one, [(namespace, name) for namespace in namespaces for name in names])


def no_status(api):
    """Deletes what a controller remembers."""
    api.call("DELETE", f"/api/v1/namespaces/{OWN}/configmaps?labelSelector=pullpass.dev%2Fstatus%3Dtrue")


class Loop:
    """`examples/applies.rs`, under the controller's account."""

    def __init__(self, binary, kubeconfig):
        self._process = subprocess.Popen(
            [binary, "--kubeconfig", kubeconfig], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, secrets, at_once):
        """Seconds that these applies took, and its processor's seconds."""
        before = cpu_seconds(self._process.pid)
        try:
            self._process.stdin.write(json.dumps({"atOnce": at_once, "secrets": secrets}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BenchError("the bare loop ended: its error stands above")
        return json.loads(line)["seconds"], cpu_seconds(self._process.pid) - before

    def stop(self):
        self._process.stdin.close()
        self._process.wait()
