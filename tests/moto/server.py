"""moto as the AWS of tests: ECR, STS and IAM on one port of the loopback interface, and what a test may change there.

It checks signatures and IAM policies, as AWS does. What moto has not, or not as AWS answers it, is here: a token of its own
for each call, with an expiry in the future; errors in the form of ECR's protocol; a Pod Identity agent and an instance's
metadata; faults. It says where it listens in one line of JSON, and ends with its standard input.

    GET  /pullpass/calls   what was called, oldest first
    POST /pullpass/set     {"lifetimes": {REGION: SECONDS}, "faults": [FAULT…], "allow": {"user": [ACTION…], "role": [ACTION…]}}

What is not in an order stays as it is. A token lives for twelve hours where no lifetime is set.

A fault is {"service": "ecr" | "sts" | "metadata", "kind": KIND} and optionally "region" and "times". ECR's answer may be
"expired", "undated", "empty", "tokenless", "malformed", "passwordless" or "garbage"; any service may be in "throttle" or
"error", or in "silence": it answers when the fault is gone.
"""

import base64
import datetime
import json
import os
import re
import secrets
import sys
import threading
import time

from moto import settings
from moto.core.exceptions import JsonRESTError, _RESTError as RESTError
from moto.core.responses import ActionResult
from moto.ecr.responses import ECRResponse
from moto.iam.access_control import IAMRequest
from moto.iam.models import iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sts.models import sts_backends
from moto.sts.responses import TokenResponse
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

HOME, OTHER = "123456789012", "210987654321"
ROLE = "puller"
POD_TOKEN = "the-token-of-a-service-account"
NOW = lambda: datetime.datetime.now(datetime.timezone.utc)  # noqa: E731


class State:
    """What the tests changed and what was called."""

    def __init__(self):
        self.lock = threading.Condition()
        self.calls = []
        self.faults = []
        self.lifetimes = {}

    def called(self, **call):
        with self.lock:
            self.calls.append({**call, "at": time.time()})
            return len(self.calls)

    def fault(self, service, region=None):
        """The fault that strikes this call, if one does."""
        with self.lock:
            for fault in self.faults:
                if fault["service"] == service and fault.get("region", region) == region and fault.get("times") != 0:
                    if "times" in fault:
                        fault["times"] -= 1
                    return fault["kind"]
        return None

    def silence(self, service):
        """Waits until this service is told to speak again; nobody waits for longer than a test."""
        with self.lock:
            silent = lambda: any(f["service"] == service and f["kind"] == "silence" for f in self.faults)  # noqa: E731
            self.lock.wait_for(lambda: not silent(), timeout=120)

    def set(self, wanted):
        with self.lock:
            self.lifetimes = wanted.get("lifetimes", self.lifetimes)
            self.faults = wanted.get("faults", self.faults)
            for who, actions in wanted.get("allow", {}).items():
                allow(who, actions)
            self.lock.notify_all()


state = State()


def document(actions):
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement] if actions else []})


def allow(who, actions):
    """The IAM policy of the user, or that of the role in both accounts."""
    if who == "user":
        iam_backends[HOME]["aws"].users["tester"].policies["rights"] = document(actions)
    else:
        for account in (HOME, OTHER):
            iam_backends[account]["aws"].get_role(ROLE).policies["rights"] = document(actions)


def set_up():
    """A user with a key and a role in each account. From here on every signature and policy counts."""
    home = iam_backends[HOME]["aws"]
    home.create_user("us-east-1", "tester")
    key = home.create_access_key("tester")
    for account in (HOME, OTHER):
        trust = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:*", "Principal": {"AWS": "*"}}]})
        iam_backends[account]["aws"].create_role(ROLE, trust, "/", None, "", [], None)
    allow("user", ["ecr:GetAuthorizationToken", "sts:AssumeRole"])
    allow("role", ["ecr:GetAuthorizationToken"])
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    return key


def get_authorization_token(self):
    """As moto's, but as ECR documents it: one token for the caller's principal, in the future, never twice the same."""
    fault = state.fault("ecr-answer", self.region)
    account, region = self.current_account, self.region
    # Real ones are longer; bcrypt, and so the registry of the tests, takes 72 bytes.
    password = f"{secrets.token_hex(16)}.{region}"
    authorization = self.headers["Authorization"]
    state.called(
        service="ecr",
        action="GetAuthorizationToken",
        region=region,
        account=account,
        key=re.search("Credential=([^/]+)", authorization)[1],
        agent=self.headers.get("X-Amz-User-Agent") or self.headers.get("User-Agent"),
        registries=self._get_param("registryIds"),
        password=password,
    )
    text = {"passwordless": "AWS", "malformed": None}.get(fault, f"AWS:{password}")
    # ECR answers with milliseconds; a moment ago is in the past for any clock of the same machine.
    lifetime = -1 if fault == "expired" else state.lifetimes.get(region, 12 * 3600)
    data = {
        "authorizationToken": base64.b64encode(text.encode()).decode() if text else "%%%",
        "expiresAt": NOW() + datetime.timedelta(seconds=lifetime),
        "proxyEndpoint": f"https://{account}.dkr.ecr.{region}.amazonaws.com",
    }
    if fault in ("undated", "tokenless"):
        del data["expiresAt" if fault == "undated" else "authorizationToken"]
    return ActionResult({"authorizationData": [] if fault == "empty" else [data]})


def assuming(name, plain):
    """AssumeRole and its likes: moto's, and noted."""

    def answer(self):
        role, session = self._get_param("RoleArn"), self._get_param("RoleSessionName")
        token = self._get_param("WebIdentityToken")
        state.called(service="sts", action=name, region=self.region, role=role, session=session, token=token)
        return plain(self)

    return answer


def patch():
    ECRResponse.get_authorization_token = get_authorization_token
    TokenResponse.assume_role = assuming("AssumeRole", TokenResponse.assume_role)
    TokenResponse.assume_role_with_web_identity = assuming(
        "AssumeRoleWithWebIdentity", TokenResponse.assume_role_with_web_identity
    )

    # Nobody signs the exchange of a web identity, and moto would look for a signature.
    authenticate = TokenResponse._authenticate_and_authorize_normal_action

    def authenticate_signed(self, resource="*"):
        if self._get_action() != "AssumeRoleWithWebIdentity":
            authenticate(self, resource)

    TokenResponse._authenticate_and_authorize_normal_action = authenticate_signed

    # moto refuses all in one XML. ECR speaks JSON 1.1, whose errors are 400 with `__type`; that of STS has no `Errors`.
    def in_json(name, code, words):
        plain = getattr(IAMRequest, name)

        def refuse(self, *args):
            if self._service == "ecr":
                raise JsonRESTError(code, words(self))
            try:
                plain(self, *args)
            except RESTError as error:
                error.description = re.sub("</?Errors>", "", error.description)
                raise

        setattr(IAMRequest, name, refuse)

    in_json(
        "_raise_access_denied",
        "AccessDeniedException",
        lambda r: f"User: {r._access_key.arn} is not authorized to perform: {r._action} on resource: * "
        f"because no identity-based policy allows the {r._action} action",
    )
    invalid = "The security token included in the request is invalid."
    in_json("_raise_invalid_access_key", "UnrecognizedClientException", lambda r: invalid)
    # AWS quotes the canonical request, with the session's token in it.
    in_json(
        "_raise_signature_does_not_match",
        "InvalidSignatureException",
        lambda r: "The request signature we calculated does not match the signature you provided. The Canonical String for this "
        f"request should have been 'POST\n/\nx-amz-security-token:{r._headers.get('X-Amz-Security-Token')}'",
    )


def metadata(request):
    """The Pod Identity agent and the instance's metadata: the role's credentials, for who asks as he should."""
    token = request.headers.get("Authorization")
    if request.path == "/pod-identity":
        state.called(service="metadata", action="pod-identity", token=token)
        if token != POD_TOKEN:
            return Response(json.dumps({"code": "AccessDeniedException"}), 401, content_type="application/json")
    elif request.path == "/latest/api/token":
        return Response("a-session", headers={"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": "21600"})
    elif request.headers.get("X-Aws-Ec2-Metadata-Token") != "a-session":
        return Response("", 401)
    elif request.path.endswith("/iam/security-credentials/"):
        return Response(ROLE)
    elif request.path.endswith(f"/iam/security-credentials/{ROLE}"):
        state.called(service="metadata", action="instance")
    else:
        return Response("", 404)
    arn = f"arn:aws:iam::{HOME}:role/{ROLE}"
    role = sts_backends[HOME]["aws"].assume_role("us-east-1", "node", arn, None, 3600, None)
    return Response(
        json.dumps({
            "Code": "Success",
            "Type": "AWS-HMAC",
            "LastUpdated": f"{NOW():%Y-%m-%dT%H:%M:%SZ}",
            "AccessKeyId": role.access_key_id,
            "SecretAccessKey": role.secret_access_key,
            "Token": role.session_token,
            "AccountId": HOME,
            "Expiration": f"{role.expiration:%Y-%m-%dT%H:%M:%SZ}",
        }),
        content_type="application/json",
    )


def struck(service, region):
    """The answer of a service that a fault keeps from answering, or None."""
    kind = state.fault(service, region)
    if kind is None:
        return None
    state.called(service=service, fault=kind, region=region)
    if kind == "silence":
        state.silence(service)
    if kind == "garbage":
        return Response("<html>a captive portal</html>", content_type="text/html")
    code, status = ("ThrottlingException", 400) if kind == "throttle" else ("ServerException", 500)
    if service == "ecr":
        body = json.dumps({"__type": code, "message": "Rate exceeded" if kind == "throttle" else "These errors are usually temporary."})
        return Response(body, status, content_type="application/x-amz-json-1.1")
    code = {"ThrottlingException": "Throttling"}.get(code, "InternalFailure")
    body = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
    return Response(body, status, content_type="text/xml")


class Front:
    """Stands in front of moto: the tests' own paths and the faults."""

    ANSWERED = ("expired", "undated", "empty", "tokenless", "malformed", "passwordless")

    def __init__(self, application):
        self.application = application

    def __call__(self, environ, start_response):
        answer = self.answer(Request(environ))
        return (answer or self.application)(environ, start_response)

    def answer(self, request):
        if request.path == "/pullpass/calls":
            with state.lock:
                return Response(json.dumps(state.calls), content_type="application/json")
        if request.path == "/pullpass/set":
            wanted = request.get_json(force=True)
            for fault in wanted.get("faults", []):
                if fault["kind"] in self.ANSWERED:
                    fault["service"] = "ecr-answer"
            state.set(wanted)
            return Response("", 204)
        if request.path.startswith(("/latest/", "/pod-identity")):
            return struck("metadata", None) or metadata(request)
        scope = re.search("Credential=[^/]+/[^/]+/([^/]+)/([^/]+)/", request.headers.get("Authorization", ""))
        region, service = scope.groups() if scope else (None, "sts")
        return struck(service, region)


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_):
        pass


def main():
    patch()
    key = set_up()
    application = Front(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    told = {"port": server.server_port, "key": key.access_key_id, "secret": key.secret_access_key, "podToken": POD_TOKEN}
    print(json.dumps(told), flush=True)
    sys.stdin.read()
    os._exit(0)


main()
