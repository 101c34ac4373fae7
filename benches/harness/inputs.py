"""Turns review.json into what the servers get: policies, reviews, and the answer each must give.

The policies are clean for `pullpass lint`: every secret has a credential that
says where it comes from. The checks here are exact, so that no wrong answer is
ever timed; they never measure anything.
"""

import base64
import json
import pathlib

from harness.failure import BenchError

REVIEW = pathlib.Path(__file__).parent.parent / "review.json"

# The rules that hit review.json, as many literal hosts as globs: name, pattern, secret.
HITS = [
    ("docker-hub", "docker.io", "dockerhub-creds"),
    ("quay", "quay.io", "quay-creds"),
    ("ecr", "*.dkr.ecr.eu-west-1.amazonaws.com", "ecr-creds"),
    ("team-7", "team-7-*.example.com", "team-7-creds"),
]
# In order of first need: containers, then init containers.
WANTED = ["ecr-creds", "dockerhub-creds", "quay-creds", "team-7-creds"]

# Near misses: each host has the shape of one that some rule matches.
MISSES = [
    ('"image":"123456789012.dkr.ecr.eu-west-1.', '"image":"123456789012.dkr.ecr.eu-west-2.'),
    ('"image":"envoyproxy/', '"image":"mirror.gcr.io/envoyproxy/'),
    ('"image":"quay.io/', '"image":"team-none-eu.example.com/'),
    ('"image":"team-7-eu.example.com/', '"image":"cache.none.example.com/'),
]

FILLER_SECRETS = 100


def review():
    """The review as the API server sends it."""
    return REVIEW.read_bytes()


def review_without_match():
    """The same review with images that no rule matches."""
    text = review().decode()
    for image, other in MISSES:
        if text.count(image) != 1:
            raise BenchError(f"`{image}` stands {text.count(image)} times in {REVIEW}, not once")
        text = text.replace(image, other)
    return text.encode()


def policy(rules, hub_secret="dockerhub-creds"):
    """A policy with so many rules: half of them literal hosts, half globs of two shapes."""
    rows = []
    for n in range(1000, 1000 + (rules - len(HITS)) // 2):
        glob = f"*.r{n}.example.com" if n % 2 else f"team-{n}-*.example.com"
        secret = f"creds-{n % FILLER_SECRETS}"
        rows.append((f"host-{n}", f"registry-{n}.example.com", secret))
        rows.append((f"glob-{n}", glob, secret))
    # Last, so that a table that scans its rules pays for all of them.
    rows += [(name, pattern, hub_secret if name == "docker-hub" else secret) for name, pattern, secret in HITS]
    if len(rows) != rules:
        raise BenchError(f"cannot make a policy of {rules} rules: take an even number above {len(HITS)}")

    lines = ["apiVersion: pullpass.dev/v1", "kind: RegistryPolicy", "metadata: {name: bench}", "spec:", "  rules:"]
    for name, pattern, secret in rows:
        lines.append(f"    - name: {name}")
        lines.append(f'      match: {{images: ["{pattern}"]}}')
        lines.append(f"      inject: {{imagePullSecrets: [{secret}]}}")
    lines.append("  credentials:")
    for secret in dict.fromkeys(secret for _, _, secret in rows):
        lines.append(f"    - {{name: {secret}, from: {{existing: {{}}}}}}")
    return "\n".join(lines) + "\n"


def wanted(hub_secret="dockerhub-creds"):
    """The names that the Pod of review.json ends up with."""
    return [hub_secret if name == "dockerhub-creds" else name for name in WANTED]


def check_pullpass_hit(answer, hub_secret="dockerhub-creds"):
    """Two operations: the whole list of secrets, and the annotation that names the rules."""
    ops = _patch(answer)
    if len(ops) != 2:
        raise BenchError(f"2 operations expected, {len(ops)} seen: {ops}")
    _expect_secrets(ops, wanted(hub_secret))
    rules = {f"bench/{name}" for name, _, _ in HITS}
    note = _only(ops, "/metadata/annotations/pullpass.dev~1rules")
    if {rule.strip() for rule in note.split(",")} != rules:
        raise BenchError(f"the annotation names `{note}`, not {sorted(rules)}")


def check_pullpass_miss(answer):
    """Allowed, and nothing else."""
    response = _response(answer)
    if response.get("patch"):
        raise BenchError(f"no patch expected, {_patch(answer)} seen")


def check_peer(answer):
    """One operation: the list of secrets."""
    ops = _patch(answer)
    if len(ops) != 1:
        raise BenchError(f"1 operation expected, {len(ops)} seen: {ops}")
    _expect_secrets(ops, wanted())


def check_constant(answer):
    """An answer to a review, whatever it says: a constant cannot echo a uid it never read."""
    if not isinstance(_review(answer).get("response"), dict):
        raise BenchError("the answer holds no `response`")


def _review(answer):
    status, body = answer
    if status != 200:
        raise BenchError(f"status {status}: {body[:200]!r}")
    try:
        parsed = json.loads(body)
    except ValueError as error:
        raise BenchError(f"the answer is not JSON ({error}): {body[:200]!r}") from None
    if not isinstance(parsed, dict):
        raise BenchError(f"the answer is no object: {body[:200]!r}")
    kind = (parsed.get("apiVersion"), parsed.get("kind"))
    if kind != ("admission.k8s.io/v1", "AdmissionReview"):
        raise BenchError(f"the answer is {kind}, not a v1 AdmissionReview")
    return parsed


def _response(answer):
    response = _review(answer).get("response") or {}
    uid = json.loads(review())["request"]["uid"]
    if response.get("uid") != uid:
        raise BenchError(f"uid `{response.get('uid')}` came back, `{uid}` was sent")
    if response.get("allowed") is not True:
        raise BenchError(f"the Pod was not allowed: {response}")
    return response


def _patch(answer):
    response = _response(answer)
    if response.get("patchType") != "JSONPatch" or not response.get("patch"):
        raise BenchError(f"a JSONPatch was expected: {response}")
    return json.loads(base64.b64decode(response["patch"]))


def _only(ops, path):
    values = [op["value"] for op in ops if op["op"] == "add" and op["path"] == path]
    if len(values) != 1:
        raise BenchError(f"one `add` of `{path}` expected: {ops}")
    return values[0]


def _expect_secrets(ops, names):
    seen = [entry.get("name") for entry in _only(ops, "/spec/imagePullSecrets")]
    if seen != names:
        raise BenchError(f"secrets {names} expected, {seen} seen")
