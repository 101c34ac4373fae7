"""The moto of the tests as Amazon ECR: started, told how long its tokens live, asked what it was called for.

It is installed once by tests/moto/build.sh, and ends with this process.
"""

import json
import subprocess
import sys
import urllib.request

from harness.failure import BenchError
from harness.prepare import OUT, ROOT, say

BUILD = ROOT / "tests" / "moto" / "build.sh"
SERVER = ROOT / "tests" / "moto" / "server.py"
ACCOUNT, REGION = "123456789012", "us-east-1"


class Moto:
    """A running moto."""

    def __init__(self):
        say("moto (a minute the first time)")
        built = subprocess.run([BUILD], stdout=sys.stderr)
        where = subprocess.run([BUILD, "--where"], stdout=subprocess.PIPE, text=True)
        if built.returncode or where.returncode:
            raise BenchError(f"moto could not be installed: `{BUILD.relative_to(ROOT)}` says why")
        log = OUT / "moto.log"
        with open(log, "wb") as sink:
            # It ends with its standard input, so it cannot outlive this process.
            self._process = subprocess.Popen(
                [where.stdout.strip(), "-B", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, text=True
            )
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            raise BenchError(f"moto did not start:\n{log.read_text(errors='replace').strip()}")
        said = json.loads(line)
        self._url = f"http://127.0.0.1:{said['port']}"
        self._key, self._secret = said["key"], said["secret"]

    def env(self):
        """The environment of a process that takes it for AWS."""
        return {
            "AWS_ENDPOINT_URL_ECR": self._url, "AWS_ENDPOINT_URL_STS": self._url, "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": self._key, "AWS_SECRET_ACCESS_KEY": self._secret,
        }

    def live(self, seconds):
        """From now on tokens live for so long."""
        self._send("set", json.dumps({"lifetimes": {REGION: seconds}}).encode())

    def tokens(self):
        """The calls for a token until now, oldest first: `at` and `password` of each."""
        calls = json.loads(self._send("calls"))
        return [call for call in calls if call.get("action") == "GetAuthorizationToken"]

    def _send(self, path, body=None):
        # No proxy of the environment is for this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self._url}/pullpass/{path}", body, timeout=10) as answer:
                return answer.read()
        except OSError as error:
            raise BenchError(f"moto gave no answer: {error}") from None

    def stop(self):
        self._process.stdin.close()
        self._process.wait()
