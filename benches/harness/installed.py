"""What stands in the cluster while Pods are created: pullpass as it is installed, the peer, a policy, or nothing.

Each is put in place and taken away whole, and is in place only once a Pod shows it: API servers take
configurations up in their own time. The Pods are dry runs; nothing is left of them.
"""

import base64
import copy
import json
import time

from harness import inputs
from harness.failure import BenchError
from harness.plane import MERGE
from harness.prepare import run

REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
OWN = "pullpass-system"
RULES_ANNOTATION = "pullpass.dev/rules"
INJECT_LABEL = "pullpass.dev/inject"
PATIENCE = 30  # seconds

# Where objects of the kinds that `pullpass render` writes are created.
PLACES = {
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "MutatingWebhookConfiguration": f"{REGISTRATION}/mutatingwebhookconfigurations",
    "ValidatingWebhookConfiguration": f"{REGISTRATION}/validatingwebhookconfigurations",
    "MutatingAdmissionPolicy": f"{REGISTRATION}/mutatingadmissionpolicies",
    "MutatingAdmissionPolicyBinding": f"{REGISTRATION}/mutatingadmissionpolicybindings",
    "ValidatingAdmissionPolicy": f"{REGISTRATION}/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": f"{REGISTRATION}/validatingadmissionpolicybindings",
}


def pod():
    """The Pod of review.json as its client sent it: without what API servers add."""
    made = json.loads(inputs.review())["request"]["object"]
    made.pop("status", None)
    made["metadata"].pop("managedFields")
    made["metadata"].pop("namespace")
    spec = made["spec"]
    for added in ("serviceAccountName", "serviceAccount", "priority", "preemptionPolicy"):
        spec.pop(added, None)
    spec["volumes"] = [volume for volume in spec["volumes"] if "projected" not in volume]
    names = {volume["name"] for volume in spec["volumes"]}
    for container in spec["containers"] + spec["initContainers"]:
        container["volumeMounts"] = [mount for mount in container.get("volumeMounts", []) if mount["name"] in names]
    return made


class Pods:
    """Creates one Pod again and again as a dry run, on one kept-alive connection."""

    def __init__(self, api):
        self._api = api
        self._body = json.dumps(pod()).encode()

    def create(self, namespace):
        """Seconds that it took, and the Pod as it came out."""
        path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
        start = time.perf_counter()
        status, answer = self._api.send("POST", path, self._body)
        took = time.perf_counter() - start
        if status != 201:
            raise BenchError(f"a Pod was refused: status {status}: {answer[:400].decode(errors='replace')}")
        return took, json.loads(answer)

    def until(self, namespace, holds, what):
        """Creates Pods until one is as wanted: the clock's time when the answer that shows it was there."""
        deadline = time.perf_counter() + PATIENCE
        while time.perf_counter() < deadline:
            _, made = self.create(namespace)
            now = time.perf_counter()
            if holds(made):
                return now
        raise BenchError(f"{what}: not seen within {PATIENCE} s; the last Pod had {secrets(made)}")


def secrets(made):
    """The names in its `imagePullSecrets`."""
    return [entry.get("name") for entry in made["spec"].get("imagePullSecrets", [])]


def is_bare(made):
    """Whether nobody has changed it."""
    return not secrets(made) and RULES_ANNOTATION not in made["metadata"].get("annotations", {})


def is_by_pullpass(made):
    """Whether it has its secrets, and the annotation that pullpass alone writes."""
    return secrets(made) == inputs.wanted() and RULES_ANNOTATION in made["metadata"].get("annotations", {})


def is_by_another(made):
    """Whether it has the same secrets from somebody else."""
    return secrets(made) == inputs.wanted() and RULES_ANNOTATION not in made["metadata"].get("annotations", {})


def create(api, objects):
    """Creates objects where their kinds belong."""
    for made in objects:
        place = PLACES.get(made["kind"])
        if place is None:
            raise BenchError(f"a `{made['kind']}` is rendered, and this benchmark does not know where it is created")
        api.call("POST", place.format(namespace=made["metadata"].get("namespace", OWN)), made, accept=(201, 409))


def remove(api, objects):
    """Deletes them; what is not there is no matter."""
    for made in objects:
        place = PLACES[made["kind"]].format(namespace=made["metadata"].get("namespace", OWN))
        api.call("DELETE", f"{place}/{made['metadata']['name']}", accept=(200, 404))


def rendered(pullpass, *arguments):
    """What a `pullpass render` command writes."""
    return json.loads(run([pullpass, "render", *arguments, "-o", "json"]))["items"]


def token(api, pullpass, policy, account):
    """A token of one of pullpass's own accounts with its rendered rights, so that it may no more than in use."""
    create(api, rendered(pullpass, "rbac", "--policy", policy, "--namespace", OWN))
    path = f"/api/v1/namespaces/{OWN}/serviceaccounts/{account}/token"
    wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
    return api.call("POST", path, wanted)["status"]["token"]


def configurations(pullpass, url, certs):
    """The three configurations of an installation."""
    return rendered(pullpass, "webhook-configuration", "--url", url, "--ca-file", certs / "ca.crt", "--namespace", OWN)


def without_opt_out_selector(configurations):
    """The same, but labels of namespaces are judged by the webhook alone: its own time shows, not the API server's."""
    changed = copy.deepcopy(configurations)
    for entry in (entry for made in changed for entry in made["webhooks"]):
        selector = entry.get("namespaceSelector", {})
        selector["matchExpressions"] = [
            term for term in selector.get("matchExpressions", []) if term["key"] != INJECT_LABEL
        ]
    return changed


def peer_configuration(configurations, url):
    """The one about Pods, calling the peer: the same selectors, conditions and policies."""
    made = next(copy.deepcopy(made) for made in configurations if made["kind"] == "MutatingWebhookConfiguration")
    made["metadata"] = {"name": "peer"}
    made["webhooks"][0]["name"] = "pods.peer.example.com"
    made["webhooks"][0]["clientConfig"]["url"] = f"{url}/mutate"
    return [made]


# A list written at once; plain maps, because a list of typed objects makes the API server panic (1.36.3).
STATIC = f"""has(object.spec.imagePullSecrets) ? [] : [JSONPatch{{
    op: "add", path: "/spec/imagePullSecrets", value: {json.dumps([{"name": name} for name in inputs.WANTED])}}}]"""
# A Pod with secrets of its own gets them, too, and none twice.
JOINED = f"""
    (has(object.spec.imagePullSecrets) ? [] : [JSONPatch{{op: "add", path: "/spec/imagePullSecrets", value: []}}])
    + {json.dumps(inputs.WANTED)}
      .filter(name, !has(object.spec.imagePullSecrets)
        || !object.spec.imagePullSecrets.exists(its, its.?name.orValue("") == name))
      .map(name, JSONPatch{{
        op: "add", path: "/spec/imagePullSecrets/-", value: Object.spec.imagePullSecrets{{name: name}}}})"""


def policy(configurations, expression, careful):
    """A MutatingAdmissionPolicy that adds the same secrets to every Pod, whatever its images.

    At its cheapest, or careful: with the webhook's conditions, and asked again as it is. By a JSONPatch: an
    ApplyConfiguration may not touch `imagePullSecrets`, which it takes for an atomic list.
    """
    hook = next(made for made in configurations if made["kind"] == "MutatingWebhookConfiguration")["webhooks"][0]
    rule = hook["rules"][0]
    version = "admissionregistration.k8s.io/v1"
    name = {"name": "static-secrets"}
    spec = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {
            "namespaceSelector": hook["namespaceSelector"],
            "objectSelector": hook["objectSelector"],
            "resourceRules": [{key: rule[key] for key in ("apiGroups", "apiVersions", "operations", "resources")}],
        },
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
    }
    if careful:
        spec |= {"reinvocationPolicy": hook["reinvocationPolicy"], "matchConditions": hook["matchConditions"]}
    return [
        {"apiVersion": version, "kind": "MutatingAdmissionPolicy", "metadata": name, "spec": spec},
        {"apiVersion": version, "kind": "MutatingAdmissionPolicyBinding", "metadata": name,
         "spec": {"policyName": name["name"]}},
    ]


def namespace(api, name):
    """A namespace that is there and has its account."""
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}}, accept=(201, 409))
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if api.send("GET", f"/api/v1/namespaces/{name}/serviceaccounts/default")[0] == 200:
            return
        time.sleep(0.02)
    raise BenchError(f"namespace {name} has no account after {PATIENCE} s")


def policy_config_map(text):
    """A ConfigMap with a policy in it."""
    return {
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "bench", "labels": {"pullpass.dev/policy": "true"}},
        "data": {"policy.yaml": text},
    }


def edit(api, text):
    """Replaces the policy's text."""
    path = f"/api/v1/namespaces/{OWN}/configmaps/bench"
    api.call("PATCH", path, {"data": {"policy.yaml": text}}, MERGE)


def relabel(api, name, value):
    """Sets or, with None, removes a namespace's word on injection."""
    api.call("PATCH", f"/api/v1/namespaces/{name}", {"metadata": {"labels": {INJECT_LABEL: value}}}, MERGE)
