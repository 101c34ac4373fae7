"""Shows pullpass in a real cluster: a Pod that waits for its pull secret, what a registry says to it, a rotation, the end.

etcd, kube-apiserver and kube-controller-manager run on loopback ports of this machine, without nodes, and a registry beside
them. Each step is told as it goes, with the commands that are run; one that does not happen in time ends all with status 1.
Uses the Python standard library only. Usage: demo_cluster.py PATH-OF-PULLPASS
"""

import sys

sys.dont_write_bytecode = True

import base64
import json
import pathlib
import secrets
import signal

from demo_stage import Failure, Plane, Registry, Stage, built, write_private

POLICY = pathlib.Path(__file__).resolve().parent / "demo-cluster-policy.yaml"
OWN = "pullpass-system"
SOURCE, COPY, GATE = "team-login", "team-creds", "pullpass.dev/pull-secret"
COLUMNS = ("custom-columns='POD:.metadata.name,PULL SECRETS:.spec.imagePullSecrets[*].name,"
           "GATES:.spec.schedulingGates[*].name'")


class Demo:
    """One run, a method an act."""

    def __init__(self, stage, parts):
        self.stage, self.run, self.title = stage, stage.run, stage.title
        self.title("A control plane without nodes and without a scheduler, and a registry that takes one login")
        plane = Plane(stage, *parts["controlplane"])
        self.registry = Registry(stage, *parts["registry"])
        self.password = secrets.token_urlsafe()
        self.registry.let_in("robot", self.password)
        plane.wait()
        self.run("kubectl version")
        print(f"The registry: https://{self.registry.host}")
        # What is seen of the cluster, and when.
        self.pods, self.secrets = plane.watch("/api/v1/pods"), plane.watch("/api/v1/secrets")

    def install(self):
        """Rights, the two servers, the configurations by which the API server asks, the policy."""
        text = POLICY.read_text()
        if "localhost:5000" not in text:
            raise Failure(f"{POLICY.name} does not name `localhost:5000`")
        (self.stage.path / "policy.yaml").write_text(text.replace("localhost:5000", self.registry.host))
        self.title("Two accounts with the rights that the policy takes")
        print(f"policy.yaml is examples/{POLICY.name} with the address of the registry.")
        self.run(f"kubectl create namespace {OWN}")
        self.run("pullpass render rbac --policy policy.yaml | kubectl apply --server-side -f -")

        self.title("The controller and the webhook start, each under its own account")
        for name in ("controller", "webhook"):
            line = f"kubectl create token pullpass-{name} --namespace {OWN}"
            token = self.run(line, shown=False).strip()
            print(f"$ {line}\n(a token of {len(token)} characters, for {name}.kubeconfig)")
            self.stage.kubeconfig(f"{name}.kubeconfig", token)
        always = ["--namespace", OWN, "--admin-listen", "127.0.0.1:0", "--log-format", "json"]
        self.controller = self.stage.start("controller", [
            "pullpass", "controller", "--kubeconfig", "controller.kubeconfig", *always,
            "--webhook-configuration", "00-pullpass", "--dns-name", "127.0.0.1",
        ])
        self.webhook = self.stage.start("webhook", [
            "pullpass", "webhook", "--kubeconfig", "webhook.kubeconfig", *always,
            "--listen", "127.0.0.1:0", "--tls-secret", "pullpass-webhook-tls", "--drain", "1s",
        ])
        address = self.stage.until("the webhook listens", lambda: self.webhook.address("admission"))

        self.title("The API server learns whom to ask; the controller makes the certificates and tells it the authority")
        self.run(f"pullpass render webhook-configuration --url https://{address} | kubectl apply --server-side -f -")
        self.run("kubectl wait --for=jsonpath='{.webhooks[*].clientConfig.caBundle}' --timeout=50s "
                 "mutatingwebhookconfiguration/00-pullpass validatingwebhookconfiguration/pullpass-policies")

        self.title("The policy goes into force")
        self.run("kubectl apply --server-side -f policy.yaml")
        for server in (self.controller, self.webhook):
            self.stage.until(f"the {server.name} is ready", lambda: server.page("/readyz"))
        # One for each sixteenth of the namespaces.
        self.stage.until("the webhook has been told which Secrets there are", lambda: (
            'pullpass_cache_objects{resource="status"} 16\n' in self.webhook.page("/metrics")))
        probe = f"kubectl run probe --image {self.image('probe')} --dry-run=server -o jsonpath='{{.spec.schedulingGates}}'"
        self.stage.until("a Pod would be held", lambda: GATE in self.run(probe, shown=False))
        print("The API server asks the webhook, and the webhook knows of each namespace whether the Secret is there.")

    def hold(self):
        """The first Pod of a namespace comes before the login that it needs; the login, once it is there, lets it go."""
        self.title("A new namespace, at once a Pod in it, and nobody has made the login yet: the Pod is held")
        self.run("kubectl create namespace shop")
        self.run(f"kubectl run web --namespace shop --image {self.image('shop/web:1')}")
        created, pod = self.pods.until("the Pod is seen", of("shop"))
        self.run("kubectl get pods --namespace shop")
        self.run(f"kubectl get pods --namespace shop -o {COLUMNS}")
        spec = pod["spec"]
        if spec.get("imagePullSecrets") != [{"name": COPY}] or spec.get("schedulingGates") != [{"name": GATE}]:
            raise Failure(f"the Pod was not created with the pull secret and the gate: {spec}")

        self.title("The login is made, in pullpass's own namespace: its copy appears beside the Pod, and the Pod is let go")
        self.make_source()
        made, _ = self.secrets.until("the source is seen", of(OWN, SOURCE))
        self.run(f"kubectl wait --for=create secret/{COPY} --namespace shop --timeout=50s")
        copied, copy = self.secrets.until("the Secret is seen", of("shop", COPY))
        released, free = self.pods.until("the Pod is let go", lambda kind, pod: of("shop")(kind, pod) and is_free(pod))
        self.run("kubectl get secrets --namespace shop")
        self.run(f"kubectl get pods --namespace shop -o {COLUMNS}")
        in_order(copy, free)
        self.held = released - created
        print(f"The Pod was held for {self.held:.2f} s. Its Secret came {ms(copied - made)} after the login, and the gate went "
              f"{ms(released - copied)} after that.\n(STATUS would go on to say SchedulingGated here: a scheduler changes that.)")

        self.title("The next namespace and its Pod come at once, in one file: its Secret is there in time")
        objects = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cart"}},
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "cart"},
             "spec": {"containers": [{"name": "web", "image": self.image("cart/web:1")}]}},
        ]
        (self.stage.path / "cart.json").write_text("\n".join(map(json.dumps, objects)))
        self.run("kubectl create -f cart.json")
        created, pod = self.pods.until("the Pod is seen", of("cart"))
        released, free = self.pods.until("the Pod is free", lambda kind, pod: of("cart")(kind, pod) and is_free(pod))
        copied, copy = self.secrets.until("the Secret is seen", of("cart", COPY))
        in_order(copy, free)
        print(f"Its Secret came {ms(created - copied)} before the Pod: nothing to wait for." if is_free(pod)
              else f"The Pod was held for {ms(released - created)}, until its Secret was there.")

    def log_in(self):
        """What the registry says to the login of the namespace's own Secret."""
        self.title("The registry is asked with the login that the Secret in that namespace holds, and without")
        login = self.login_of("shop")
        self.registry.ask("With it", 200, login)
        self.registry.ask("Without", 401)

    def rotate(self):
        """The password changes at the registry, then in the source."""
        self.title("The password is rotated: first the registry refuses what the namespace has")
        old, self.password = self.login_of("shop", shown=False), secrets.token_urlsafe()
        self.registry.let_in("robot", self.password)
        self.registry.ask("With the login of the namespace", 401, old)
        self.title("Then the source has the new one, and the copies follow")
        self.make_source()
        new = f"robot:{self.password}"
        changed, _ = self.secrets.until(
            "the source has the new login", lambda kind, secret: of(OWN, SOURCE)(kind, secret) and login(secret) == new)
        for namespace in ("shop", "cart"):
            followed, _ = self.secrets.until(
                f"the Secret in {namespace} has the new login",
                lambda kind, secret: of(namespace, COPY)(kind, secret) and login(secret) == new)
            print(f"The Secret in {namespace} followed after {ms(followed - changed)}.")
        self.registry.ask("With the login of the namespace", 200, self.login_of("shop"))
        self.registry.ask("With the old one", 401, old)

    def remove(self):
        """The policy goes, and every copy with it."""
        self.title("The policy is removed: after a few seconds, in which it could come back, its Secrets go")
        self.run(f"kubectl delete configmap registries --namespace {OWN}")
        for namespace in ("shop", "cart"):
            self.run(f"kubectl wait --for=delete secret/{COPY} --namespace {namespace} --timeout=50s")
        self.run("kubectl get secrets --namespace shop")

        self.title("The webhook and the controller are told to stop")
        for server in (self.webhook, self.controller):
            status = server.stop()
            if status:
                raise Failure(f"the {server.name} ended with status {status}")

    def make_source(self):
        """Makes or changes the Secret from which is copied, from a file: an argument would be everybody's to see."""
        auth = base64.b64encode(f"robot:{self.password}".encode()).decode()
        text = json.dumps({"auths": {self.registry.host: {"auth": auth}}})
        write_private(self.stage.path / "login.json", text)
        print(f"login.json holds robot:*** for {self.registry.host}.")
        self.run(f"kubectl create secret docker-registry {SOURCE} --namespace {OWN} --dry-run=client -o yaml "
                 "--from-file=.dockerconfigjson=login.json | kubectl apply --server-side -f -")

    def login_of(self, namespace, shown=True):
        """The login in the namespace's Secret, by kubectl; never printed."""
        line = f"kubectl get secret {COPY} --namespace {namespace} -o json"
        found = login(json.loads(self.run(line, shown=False)), self.registry.host)
        if shown:
            print(f"$ {line}\n(robot:***, of {len(found)} characters, for {self.registry.host} alone)")
        return found

    def image(self, name):
        return f"{self.registry.host}/{name}"


def of(namespace, name=None):
    """Events about what is in a namespace, and has that name."""
    def holds(kind, subject):
        metadata = subject["metadata"]
        return kind != "DELETED" and metadata["namespace"] == namespace and name in (None, metadata["name"])
    return holds


def is_free(pod):
    return not pod["spec"].get("schedulingGates")


def login(secret, registry=None):
    """The one login of a pull secret, `user:password`; for that registry, if one is given."""
    auths = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))["auths"]
    if len(auths) != 1 or registry not in (None, *auths):
        raise Failure(f"a Secret holds logins for {', '.join(auths)}, not for {registry} alone")
    [entry] = auths.values()
    return base64.b64decode(entry["auth"]).decode()


def in_order(secret, pod):
    """By the API server's own count of changes, the Secret came before the Pod was free."""
    if int(secret["metadata"]["resourceVersion"]) > int(pod["metadata"]["resourceVersion"]):
        raise Failure("the Pod was free before its Secret was there")


def ms(seconds):
    return f"{max(seconds, 0) * 1000:.0f} ms"


def main():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    binary = pathlib.Path(sys.argv[1]).resolve()
    try:
        parts = {part: built(part) for part in ("controlplane", "registry")}
        with Stage(binary) as stage:
            demo = Demo(stage, parts)
            for act in (demo.install, demo.hold, demo.log_in, demo.rotate, demo.remove):
                act()
            took = stage.seconds()
    except (Failure, OSError) as failure:
        sys.exit(f"error: {failure}")
    print(f"\nShown in {took:.0f} s: a Pod held for {demo.held:.2f} s until its pull secret was there; a registry that took the "
          "login and\nnothing else; a rotation that every namespace followed; Secrets that went with the policy. All is ended "
          "and removed.")


main()
