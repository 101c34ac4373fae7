"""Shows the webhook at work: starts it, posts `review.json`, prints what became of the Pod, stops it.

Uses the Python standard library only. Usage: demo.py PATH-OF-PULLPASS
"""

import base64
import copy
import difflib
import json
import pathlib
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
POLICY = HERE / "policy.yaml"
CLUSTER = HERE / "cluster.yaml"
WAIT = 30  # seconds, for the server to listen and to stop


def title(text):
    print(f"\n== {text}", flush=True)


def start(binary, certificates):
    """The running webhook and its address, which it logs when it listens."""
    server = subprocess.Popen(
        [binary, "webhook", "--policy", POLICY, "--objects", CLUSTER,
         "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
         "--tls-cert", certificates / "tls.crt", "--tls-key", certificates / "tls.key",
         "--log-format", "json"],
        stderr=subprocess.PIPE, text=True)
    lines = []
    address = []
    listening = threading.Event()

    def read():
        for line in server.stderr:
            lines.append(line)
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry.get("message") == "listening" and entry.get("port") == "admission":
                address.append(entry["address"])
                listening.set()
        listening.set()

    threading.Thread(target=read, daemon=True).start()
    listening.wait(WAIT)
    if not address:
        server.kill()
        sys.exit("error: the webhook did not start:\n" + "".join(lines))
    return server, address[0]


def post(address, review, certificates):
    """The answer to a review, over verified TLS."""
    request = urllib.request.Request(
        f"https://{address}/mutate", json.dumps(review).encode(), {"Content-Type": "application/json"})
    trusted = ssl.create_default_context(cafile=certificates / "ca.crt")
    with urllib.request.urlopen(request, context=trusted, timeout=10) as answer:
        return json.load(answer)["response"]


def apply(pod, patch):
    """The Pod with the patch applied, as an API server would (add, replace, remove)."""
    pod = copy.deepcopy(pod)
    for operation in patch:
        *parents, last = [p.replace("~1", "/").replace("~0", "~") for p in operation["path"].split("/")[1:]]
        place = pod
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place[key]
        if operation["op"] == "remove":
            del place[int(last) if isinstance(place, list) else last]
        elif isinstance(place, list):
            place.insert(len(place) if last == "-" else int(last), operation["value"])
        else:
            place[last] = operation["value"]
    return pod


def pretty(pod):
    pod = copy.deepcopy(pod)
    pod["metadata"].pop("managedFields", None)
    return json.dumps(pod, indent=2).splitlines()


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    review = json.loads((HERE / "review.json").read_text())
    pod = review["request"]["object"]
    with tempfile.TemporaryDirectory() as directory:
        certificates = pathlib.Path(directory)
        title("A CA and a serving certificate for this demonstration")
        subprocess.run([binary, "certs", "--out", certificates], check=True, stdout=subprocess.DEVNULL)
        server, address = start(binary, certificates)
        try:
            title(f"The webhook listens on https://{address}; its table is examples/policy.yaml")
            response = post(address, review, certificates)
        finally:
            server.terminate()
            stopped = server.wait(WAIT)
    patch = json.loads(base64.b64decode(response["patch"]))
    after = apply(pod, patch)

    title(f"Pod {pod['metadata']['namespace']}/{pod['metadata']['name']}: before and after")
    for line in difflib.unified_diff(pretty(pod), pretty(after), "before", "after", n=2, lineterm=""):
        print(line)
    title("The patch that the API server would apply")
    for operation in patch:
        print(json.dumps(operation))
    title("Warnings for the person who created the Pod")
    print("\n".join(response.get("warnings", ["none"])))
    title("What `pullpass match` says of its images")
    spec = pod["spec"]
    images = [c["image"] for c in spec["containers"] + spec["initContainers"]]
    subprocess.run([binary, "match", *images, "--policy", POLICY, "--objects", CLUSTER,
                    "--namespace", "ci"], check=True)

    injected = [entry["name"] for entry in after["spec"]["imagePullSecrets"]]
    title(f"Injected: {', '.join(injected)}; service account: {after['spec']['serviceAccountName']}")
    if stopped != 0:
        sys.exit(f"error: the webhook ended with status {stopped}")


main()
