#!/usr/bin/env python3
"""Draws the dashboard with the data of a real Prometheus, for whoever changes it: `make picture`.

Real processes run in the tests' control plane, an evil five minutes happen to them, a real Prometheus scrapes them and answers
each panel's queries; what it answered is drawn as Grafana would draw it, roughly, and photographed by chromium. Look at it:
an empty panel, a unit that is wrong or a legend that says nothing is a mistake of deploy/grafana/pullpass.json.
"""

import sys

sys.dont_write_bytecode = True

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "benches"))

import drawing
from harness.failure import BenchError
from harness.prepare import OUT as BENCH, PULLPASS, ROOT, run, say
from harness.servers import free_port
from scene import NAMESPACES, POLICY, Scene

OUT = ROOT / "target" / "dashboard"
DASHBOARD = ROOT / "deploy" / "grafana" / "pullpass.json"
STEP = 2  # seconds between two scrapes
LENGTH = 300  # seconds that are shown
INTERNAL = "registry.internal.example/app:1"
# As Grafana makes it: four scrapes.
RATE = f"{4 * STEP}s"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=OUT / "dashboard.png", metavar="FILE", help="the picture")
    parser.add_argument(
        "--binary", type=pathlib.Path, default=PULLPASS, metavar="FILE", help="another pullpass than target/release's",
    )
    parser.add_argument("--again", action="store_true", help="draw the answers of the last run once more")
    return parser.parse_args()


class Prometheus:
    """One that scrapes these targets and the API server."""

    def __init__(self, scene):
        build = ROOT / "tests" / "prometheus" / "build.sh"
        run([build])
        directory = pathlib.Path(run([build, "--where"]).strip())
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [at], "labels": {"namespace": "pullpass-system", "pod": pod}}]}
            for job, pod, at in scene.targets()
        ]
        merged = {}
        for job in jobs:
            merged.setdefault(job["job_name"], {**job, "static_configs": []})["static_configs"] += job["static_configs"]
        where = urllib.parse.urlsplit(scene.plane.url)
        apiserver = {
            "job_name": "apiserver", "scheme": "https", "authorization": {"credentials": scene.plane.token},
            "tls_config": {"ca_file": scene.plane.ca_file}, "static_configs": [{"targets": [where.netloc]}],
            "metric_relabel_configs": [{"source_labels": ["__name__"], "regex": "apiserver_admission_.*", "action": "keep"}],
        }
        config = {"global": {"scrape_interval": f"{STEP}s", "scrape_timeout": f"{STEP}s"},
                  "scrape_configs": [*merged.values(), apiserver]}
        path = OUT / "prometheus.yml"
        path.write_text(json.dumps(config), encoding="utf-8")
        path.chmod(0o600)
        shutil.rmtree(OUT / "data", ignore_errors=True)
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        with open(OUT / "prometheus.log", "wb") as log:
            self._process = subprocess.Popen(
                [directory / "prometheus", "--config.file", path, "--storage.tsdb.path", OUT / "data",
                 f"--web.listen-address=127.0.0.1:{port}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )

    def ask(self, path, **query):
        """What it answers; its own words when it refuses."""
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as page:
                return json.load(page)["data"]["result"]
        except urllib.error.HTTPError as refused:
            raise BenchError(f"Prometheus refuses {query}: {refused.read().decode()}") from None

    def until_scraped(self, count):
        """Waits until so many targets answer."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if len(self.ask("query", query="up == 1")) == count:
                    return
            except OSError:
                pass
            time.sleep(0.2)
        raise BenchError(f"Prometheus does not scrape {count} targets: see {OUT / 'prometheus.log'}")

    def stop(self):
        self._process.kill()
        self._process.wait()


def happenings(scene):
    """When what goes wrong, in seconds from the start."""
    webhook = scene.servers["webhook-a"]
    return [
        (20, "Docker Hub's login changes", lambda: scene.source("dockerhub", "dockerhub:two")),
        (35, "quay's source goes", lambda: scene.no_source("quay")),
        (45, "Pods need a registry whose Secret nobody has given", lambda: scene.pods("late", INTERNAL, 3)),
        (60, "more of them", lambda: scene.pods("later", INTERNAL, 2)),
        (80, "somebody gives both", lambda: (scene.source("quay", "quay:two"), scene.source("internal", "me:one"))),
        (95, "the webhook that is called hangs", webhook.pause),
        (97, "so that a policy with an error goes in unchecked", lambda: scene.policy(POLICY + "    - {name: broken}\n")),
        (101, "it goes on", webhook.resume),
        (135, "somebody puts his own Secret in place of a copy", lambda: [
            scene.foreign("dockerhub", name) for name in NAMESPACES[:3]]),
        (150, "the policy is mended", lambda: scene.policy(POLICY)),
        (160, "AWS fails", lambda: scene.moto({"faults": [{"service": "ecr", "kind": "error"}]})),
        (175, "a namespace has no room", lambda: scene.quota("full", 1)),
        (195, "another three opt out", lambda: [scene.relabel(name, "disabled") for name in NAMESPACES[-3:]]),
        (235, "AWS answers again", lambda: scene.moto({"faults": []})),
        (255, "the controller that leads is killed", lambda: scene.servers[scene.lead()].stop()),
    ]


def live(scene):
    """Five minutes."""
    began = time.monotonic()
    for second, what, happen in happenings(scene):
        time.sleep(max(0, began + second - time.monotonic()))
        say(f"  {second:3} s: {what}")
        happen()
    time.sleep(max(0, began + LENGTH - time.monotonic()))


def answers(prometheus, dashboard, start, end):
    """For each panel its series: legend, labels, points."""
    found = {}
    for panel in dashboard["panels"]:
        series = []
        for target in panel.get("targets", []):
            query = target["expr"].replace("$namespace", "pullpass-system").replace("$__rate_interval", RATE)
            if target.get("instant"):
                got = [{**one, "values": [one["value"]]} for one in prometheus.ask("query", query=query, time=end)]
            else:
                got = prometheus.ask("query_range", query=query, start=start, end=end, step=STEP)
            for one in sorted(got, key=lambda one: sorted(one["metric"].items())):
                labels = {key: value for key, value in one["metric"].items() if key != "__name__"}
                legend = re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), target["legendFormat"])
                series.append((legend, labels, gapped(one["values"])))
        found[panel["id"]] = series
    return found


def gapped(values):
    """Points, with a hole where there was no sample, and none for what is no number."""
    points = []
    for at, text in values:
        if points and at - points[-1][0] > 1.5 * STEP:
            points.append((at - STEP, None))
        value = float(text)
        points.append((at, value if abs(value) < float("inf") else None))
    return points


def photograph(html, height, picture):
    """The page as a PNG of few colours."""
    missing = [name for name in ("chromium", "pngquant") if shutil.which(name) is None]
    if missing:
        say(f"installing {' and '.join(missing)}, packages of Debian")
        sudo = [] if os.geteuid() == 0 else ["sudo"]
        run([*sudo, "apt-get", "update", "-qq"])
        run([*sudo, "apt-get", "install", "-y", "-qq", *missing])
    # A container's root has no user namespaces for its sandbox, and the page is our own.
    run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={OUT / 'chromium'}",
         f"--window-size={drawing.WIDTH},{height}", f"--screenshot={picture}", html.as_uri()], timeout=120)
    run(["pngquant", "--force", "--strip", "--output", picture, "64", picture])


def main():
    args = arguments()
    for directory in (OUT, BENCH):
        directory.mkdir(parents=True, exist_ok=True)
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    kept = OUT / "answers.json"
    if not args.again:
        scene = Scene(args.binary.resolve(), OUT)
        prometheus = None
        try:
            prometheus = Prometheus(scene)
            prometheus.until_scraped(len(scene.servers) + 1)
            scene.load()
            say("five minutes")
            live(scene)
            end = time.time()
            found = answers(prometheus, dashboard, end - LENGTH, end)
            kept.write_text(json.dumps([end, found]), encoding="utf-8")
        finally:
            if prometheus is not None:
                prometheus.stop()
            scene.stop()
    end, found = json.loads(kept.read_text(encoding="utf-8"))
    found = {int(panel): series for panel, series in found.items()}
    for panel in dashboard["panels"]:
        if panel["type"] != "row" and not found.get(panel["id"]):
            say(f"no data: {panel['title']}")
    page, height = drawing.page(dashboard, found, end - LENGTH, end)
    html = OUT / "dashboard.html"
    html.write_text(page, encoding="utf-8")
    photograph(html, height, args.out.resolve())
    print(args.out)


if __name__ == "__main__":
    try:
        main()
    except (BenchError, drawing.Unknown) as error:
        sys.exit(f"error: {error}")
