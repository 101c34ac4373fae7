"""The API server's audit log → the writes of one account, with the API server's own times.

It is read as it grows, so watching costs the API server nothing. It knows nothing of what should be written.
"""

import dataclasses
import datetime
import json
import os

WRITES = {"create", "update", "patch", "delete", "deletecollection"}
# What a controller writes though nothing is to be done: its Lease, what it tells, what it asks about itself.
UNCOUNTED = {"leases", "events", "selfsubjectaccessreviews"}


@dataclasses.dataclass(frozen=True)
class Write:
    """One write: when it came, when it was answered, by the seconds of the clock."""

    came: float
    answered: float
    resource: str
    namespace: str
    name: str
    status: int

    @property
    def counts(self):
        """Whether a controller at rest makes none of it."""
        return self.resource not in UNCOUNTED


class Audit:
    """The writes of an account from now on, oldest first."""

    def __init__(self, path, account):
        self._path = path
        self._mark = f'"username":"{account}"'.encode()
        self._rest = b""
        self._file = open(path, "rb")
        self._file.seek(0, os.SEEK_END)
        self.writes = []

    def look(self):
        """Reads what was added since; all writes until now."""
        self._read()
        if os.stat(self._path).st_ino != os.fstat(self._file.fileno()).st_ino:
            # The log was put aside for a new one; what came last is still in the old one.
            self._read()
            self._file.close()
            self._file = open(self._path, "rb")
            self._read()
        return self.writes

    def _read(self):
        lines = (self._rest + self._file.read()).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if self._mark not in line:
                continue
            event = json.loads(line)
            if event["verb"] not in WRITES or event["stage"] != "ResponseComplete":
                continue
            about = event.get("objectRef", {})
            self.writes.append(Write(
                seconds(event["requestReceivedTimestamp"]), seconds(event["stageTimestamp"]),
                about.get("resource", ""), about.get("namespace", ""), about.get("name", ""),
                event["responseStatus"]["code"],
            ))

    def close(self):
        self._file.close()


def seconds(text):
    """An API server's time as the clock's seconds."""
    return datetime.datetime.fromisoformat(text).timestamp()
