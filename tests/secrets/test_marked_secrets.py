"""Every operation of the gateway and of the admin API and the main commands are used, well and badly, with secrets that are
known here, at the most talkative log level: then nothing that came out may hold one of them."""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import resource
import secrets
import signal
import stat
import subprocess
import tempfile
import time
import urllib.parse

import pytest
from hunt import Hunt
from second_factor import SecondFactor
from socket_proxy import SocketProxy

from processes import ROOT, Claviger, Process, Simulator, program

DOCUMENT = json.loads((ROOT / "docs" / "openapi.json").read_text())
BODY = {"model": "claude-haiku-4-5", "max_tokens": 8, "messages": [{"role": "user", "content": "hello"}]}
FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}
# Where the first key of a new installation is put for whoever started it, and what opens the seals.
FIRST_KEY = ("first-key", "master.key")
# What no machine may do.
FOR_PEOPLE = ("operator.", "session.", "approval.", "break_glass.")
SECRET_FIELDS = ("password", "totp", "token", "secret", "break_glass", "new_password", "key")


def random_text(length: int = 43) -> str:
    return "".join(secrets.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789") for _ in range(length))


class House:
    """A simulator, a node at log level trace, and everything that it said."""

    def __init__(self, folder: pathlib.Path):
        self.hunt, self.folder, self.answers = Hunt(), folder, 0
        # What showed a secret of before, and which.
        self.leaks: dict[str, str] = {}
        mark = self.hunt.mark
        self.provider_key = mark("provider key", f"sk-ant-api03-{random_text(93)}AA")
        self.password = mark("operator's password", f"hör'se \"{random_text(16)}")
        self.mail_password = mark("mail password", f"m/+{random_text(16)}")
        proxy_password = mark("proxy password", random_text(16))
        redis_password = mark("Redis password", random_text(16))
        (folder / "mail").write_text(self.mail_password + "\n")
        settings = folder / "claviger.toml"
        settings.write_text(
            f'[upstream]\nproxy = "http://u:{proxy_password}@127.0.0.1:9"\nno_proxy = ["127.0.0.1", "localhost"]\n'
            f'[nonces]\nstore = "redis"\nredis_url = "redis://:{redis_password}@127.0.0.1:9/0"\n'
            f'[smtp]\nhost = "127.0.0.1"\nport = 9\nsecurity = "plain"\nusername = "u"\npassword_file = "{folder}/mail"\n'
            'from = "c@example.com"\nto = ["o@example.com"]\n'
        )
        self.simulator = Simulator(folder, self.provider_key)
        environment = {"HOME": str(folder / "home"), "XDG_RUNTIME_DIR": str(folder / "run"), "NO_COLOR": "1"}
        self.node = Claviger(
            folder, "--config", str(settings), "--log-level", "trace", "--log-format", "json", environment=environment
        )
        self.proxy = SocketProxy(self.node.data / "control.sock")

    # What comes out is looked through at once, for all that was secret before; what is told here is secret afterwards.

    def _seen(self, what: str, out: bytes, tells: bool):
        if found := self.hunt.find(out):
            self.leaks.setdefault(what, f"{found}: {out[:1500]!r}")
        if tells:
            self.hunt.learn(what, out)

    def run(self, *arguments: str, stdin: str = "", expect: int | None = 0, tells: bool = True, **variables: str) -> str:
        done = subprocess.run(
            [program("CLAVIGER_TEST_BIN", "claviger"), *arguments],
            env={**self.node.environment, **variables}, input=stdin.encode(), capture_output=True, timeout=60,
        )
        name = " ".join(arguments[:3])
        self._seen(f"standard error of {name}", done.stderr, False)
        self._seen(f"standard output of {name}", done.stdout, tells and done.returncode == 0)
        assert expect is None or done.returncode == expect, f"{name}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout.decode()

    def json(self, *arguments: str, **options):
        return json.loads(self.run(*arguments, "--json", **options))

    def ask(self, base: str, method: str, path: str, body: bytes | None = None, tells: bool = True, **headers: str):
        """One request; status, and the answer as it is."""
        address = urllib.parse.urlsplit(base)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            read = answer.read()
            self.answers += 1
            told = "\n".join(f"{name}: {value}" for name, value in answer.getheaders()).encode()
            shown = "/".join(part[:24] for part in path.split("?")[0].split("/"))
            self._seen(f"{method} {shown} → {answer.status}", told + b"\n\n" + read, tells and answer.status < 300)
            return answer.status, read
        finally:
            connection.close()

    def ask_loosely(self, method: str, path: str, body: bytes | None, **headers: str):
        """At the gateway, where a wrong request may end the connection."""
        with contextlib.suppress(http.client.HTTPException, ConnectionError):
            self.ask(self.node.url, method, path, body, **headers)

    def form(self, path: str, fields: dict, **headers: str):
        return self.ask(self.node.url, "POST", path, urllib.parse.urlencode(fields).encode(), **FORM, **headers)

    def admin(self, method: str, path: str, body=None, tells: bool = True, **headers: str):
        data = None if body is None else json.dumps(body).encode()
        return self.ask(self.proxy.url, method, path, data, tells, **JSON, **headers)

    def logs(self) -> bytes:
        return "".join(self.node.process.errors).encode()

    def close(self):
        self.proxy.close()
        self.node.stop()
        self.simulator.stop()


def resolved(schema: dict) -> dict:
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def example(schema: dict, hunt: Hunt, name: str = "", depth: int = 0):
    """A value of this shape, whose secrets are marked."""
    schema = resolved(schema)
    for several in ("oneOf", "anyOf", "allOf"):
        if several in schema:
            return example(schema[several][0], hunt, name, depth)
    kind = schema.get("type", "object")
    kind = kind if isinstance(kind, str) else kind[0]
    if name in SECRET_FIELDS and kind == "string":
        return hunt.given(name, random_text())
    if kind == "object":
        fields = schema.get("properties", {}) if depth < 4 else {}
        return {field: example(inner, hunt, field, depth + 1) for field, inner in fields.items()}
    if kind == "array":
        return [example(schema["items"], hunt, name, depth + 1)]
    values = {"string": "marked", "integer": 1, "number": 1, "boolean": False}
    return schema.get("example", values.get(kind))


def operations():
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def sweep(house: House, ids: dict[str, str], **headers: str):
    """Every operation of the admin API: well formed, with something in the wrong place, and cut in the middle."""
    for method, path, operation in operations():
        # The node must go on, and its session; the story does these.
        if operation["operationId"] in ("session.delete", "backup.make"):
            continue
        family = path.removeprefix("/admin/v1/").split("/")[0]
        real = path.replace("{id}", ids.get(family, "nothing_0123456789")).replace("{name}", "daily_check")
        stranger = house.hunt.given("a key in a wrong place", f"cvg_live_{random_text()}")
        schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        bodies = [None] if schema is None else [example(schema, house.hunt)]
        for body in bodies:
            # What ends things is asked for something that is not there.
            target = path.replace("{id}", "nothing_0123456789").replace("{name}", "x") if method == "DELETE" else real
            house.admin(method, target, body, **headers)
            text = json.dumps(body or {"password": house.hunt.given("a body where none is read", random_text())}).encode()
            for broken in (text[:-1], text.replace(b":", b": [", 1), b"\xff" + text):
                house.ask(house.proxy.url, method, target, broken, **JSON, **headers)
        house.ask(house.proxy.url, method, f"{real}?token={stranger}&key={stranger}", **{**headers, "x-claviger-totp": stranger})
        house.ask(house.proxy.url, method, real, authorization=f"Bearer {stranger}")
        house.ask(house.proxy.url, method, real.replace("nothing", urllib.parse.quote(stranger)), authorization=stranger)


def reads(house: House, ids: dict[str, str], **headers: str):
    """Whatever can be read is read once more, now that all secrets are known."""
    for method, path, _ in operations():
        if method == "GET":
            family = path.removeprefix("/admin/v1/").split("/")[0]
            house.admin("GET", path.replace("{id}", ids.get(family, "x")), tells=False, **headers)


def wrong_senders(house: House, key: str):
    """The gateway's routes with credentials in every place, right ones among wrong ones."""
    url, mark = house.node.url, house.hunt.mark
    stranger = mark("stranger's key", f"cvg_live_{random_text()}")
    jwt_head = base64.urlsafe_b64encode(b'{"alg":"EdDSA","typ":"at+jwt","kid":"x"}').decode().rstrip("=")
    jwt = mark("stranger's JWT", f"{jwt_head}.eyJzdWIiOiJrZXlfMDEyMzQ1Njc4OSJ9.{random_text(86)}")
    shown = [{"x_api_key": key}, {"authorization": f"Bearer {key}"}, {"x_api_key": stranger}, {"authorization": f"Bearer {jwt}"}]
    shown += [{"x_api_key": key[:-1]}, {"authorization": f"Basic {base64.b64encode(f'x:{stranger}'.encode()).decode()}"}]
    shown += [{"x_api_key": key, "authorization": f"Bearer {stranger}"}, {"authorization": f"DPoP {jwt}", "dpop": jwt}]
    shown += [{"x_api_key": key, "x_request_signature": random_text(64), "x_request_timestamp": "1", "x_request_nonce": stranger}]
    shown += [{"x_api_key": key, "signature_input": f'sig1=("@method");nonce="{stranger}"', "signature": f"sig1=:{jwt}:"}]
    good = json.dumps(BODY).encode()
    paths = [
        ("POST", "/v1/messages", good), ("POST", "/v1/messages", good[:-1]), ("POST", "/v1/messages/count_tokens", good),
        ("GET", "/v1/models", None), ("GET", "/v1/messages/batches", None), ("POST", "/v1/messages/batches", b"{}"),
        ("GET", "/v1/files", None), ("POST", "/v1/files", b"x"), ("GET", "/v1/claviger/me", None), ("GET", "/v1/nothing", None),
        ("POST", "/v1/claviger/children", b"{}"), ("POST", "/v1/claviger/unwrap", json.dumps({"token": stranger}).encode()),
        ("GET", "/v1/organizations/me", None), ("POST", "/v1/oauth/token", b"{}"), ("GET", "/readyz", None),
        ("GET", f"/v1/models?key={stranger}&x-api-key={key}", None), ("GET", f"/v1/{key}/x", None), ("PUT", f"/{jwt}", good),
        ("GET", "/.well-known/jwks.json", None), ("GET", "/.well-known/oauth-authorization-server", None),
        ("POST", "/v1/messages", json.dumps({**BODY, "stream": True}).encode()),
    ]
    for method, path, body in paths:
        for headers in shown:
            house.ask_loosely(method, path, body, **JSON, **headers)
    for path in ("/v1/auth/token", "/v1/auth/refresh", "/v1/auth/revoke", "/v1/auth/introspect"):
        for fields in ({"token": stranger}, {"refresh_token": stranger}, {"grant_type": stranger}, {"assertion": jwt, "subject_token": jwt},
                       {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": jwt, "subject_token_type": stranger}):
            for headers in shown:
                house.form(path, fields, **headers)


def tokens(house: House, key: dict):
    """A key's life as a buyer of tokens and a signer."""
    bought = json.loads(house.form("/v1/auth/token", {"scope": "messages:write"}, x_api_key=key["key"])[1])
    access, refresh = bought["access_token"], bought["refresh_token"]
    house.ask(house.node.url, "POST", "/v1/messages", json.dumps(BODY).encode(), **JSON, authorization=f"Bearer {access}")
    house.form("/v1/auth/introspect", {"token": access}, x_api_key=key["key"])
    status, answer = house.form("/v1/auth/refresh", {"refresh_token": refresh})
    assert status == 200, answer
    renewed = json.loads(answer)
    house.form("/v1/auth/introspect", {"token": renewed["refresh_token"]}, x_api_key=key["key"])
    time.sleep(0.01)
    house.form("/v1/auth/revoke", {"token": renewed["refresh_token"]}, x_api_key=key["key"])
    # A reuse: the family dies, an event and a notice tell of it.
    status, _ = house.form("/v1/auth/refresh", {"refresh_token": renewed["refresh_token"]})
    assert status in (400, 401)
    house.ask(house.node.url, "GET", "/v1/models", authorization=f"Bearer {access}")


def operators(house: House):
    """The first operator, sessions, a machine's token, the sealed code."""
    mark = house.hunt.mark
    (house.folder / "password").write_text(house.password + "\n")
    added = house.json("operator", "add", "ann", "--role", "owner", "--password-file", str(house.folder / "password"), "--break-glass")
    house.factor = factor = SecondFactor(added["totp_secret"])
    house.run("login", "--name", "ann", "--password-file", "-", "--totp", "000000", stdin="wrong " + mark("typed", random_text()), expect=None)
    proof = {"name": "ann", "password": house.password, "totp": factor.code()}
    status, answer = house.admin("POST", "/admin/v1/session", proof)
    assert status < 300, answer
    session = {"authorization": f"Bearer {json.loads(answer)['token']}"}
    for wrong in ({**proof, "totp": "000000"}, {**proof, "password": mark("wrong password", random_text())}, {"break_glass": mark("code", random_text())}):
        assert house.admin("POST", "/admin/v1/session", wrong)[0] >= 400
    wanted = {"name": "ci", "role": "admin", "verbs": ["key.create"]}
    status, answer = house.admin("POST", "/admin/v1/operator-tokens", wanted, **session, x_claviger_totp=factor.code())
    assert status < 300, answer
    machine = {"authorization": f"Bearer {json.loads(answer)['token']}"}
    # One who reads everything at the end, whatever became of the session.
    verbs = [operation["operationId"] for _, _, operation in operations() if operation.get("security") != [{}]]
    wanted = {"name": "reader", "role": "owner", "verbs": [verb for verb in verbs if not verb.startswith(FOR_PEOPLE)]}
    status, answer = house.admin("POST", "/admin/v1/operator-tokens", wanted, **session, x_claviger_totp=factor.code())
    assert status < 300, answer
    house.reader = {"authorization": f"Bearer {json.loads(answer)['token']}"}
    status, answer = house.admin("POST", "/admin/v1/keys", {"name": "by a machine", "wrapped": True}, **machine)
    assert status < 300, answer
    wrap = next(value for value in json.loads(answer).values() if isinstance(value, str) and value.startswith("cvg_wrap_"))
    key = house.run("unwrap", "-", stdin=wrap + "\n").splitlines()[0]
    bought = json.loads(house.form("/v1/auth/token", {}, x_api_key=key)[1])
    # Who may look at tokens sees this one; a machine that may not, and a stranger, see nothing.
    stranger = {"authorization": f"Bearer {mark('operator token of a stranger', f'cvg_oper_{random_text()}')}"}
    for token in (bought["access_token"], bought["refresh_token"]):
        status, answer = house.form("/v1/auth/introspect", {"token": token}, **session)
        assert status == 200 and json.loads(answer)["active"] is True, answer
        for other in (machine, stranger):
            assert house.form("/v1/auth/introspect", {"token": token}, **other)[0] == 401
    house.admin("POST", "/admin/v1/keys", {"name": "x", "rpm": "not a number"}, **machine)
    house.session = session


@pytest.fixture(scope="module")
def lived():
    """A house in which everything has happened."""
    with tempfile.TemporaryDirectory() as name:
        house = House(pathlib.Path(name))
        try:
            yield live(house)
        finally:
            house.close()


def live(house: House) -> House:
    (house.folder / "run").mkdir(mode=0o700)
    house.run("upstream", "add", "sim", "--kind", "anthropic", "--base-url", house.simulator.url)
    house.run("policy", "set", "--max-keys", "100000")
    credential = house.json("credential", "add", "--upstream", "sim", "--from-file", "-", stdin=house.provider_key + "\n")
    key = house.json("key", "create", "--name", "app", "--rpm", "0", "--sign")
    house.ids = {
        "keys": key["id"], "workspaces": key["workspace"], "owners": key["owner"],
        "upstreams": credential["upstream"], "credentials": credential["id"],
    }
    commands(house, key)
    tokens(house, key)
    wrong_senders(house, key["key"])
    sweep(house, house.ids)
    operators(house)
    reads(house, house.ids, **house.session)
    sweep(house, house.ids, **house.session)
    return house


def commands(house: House, key: dict):
    """What people type, well and badly."""
    mark, file = house.hunt.mark, house.folder / "app.key"
    file.write_text(key["key"] + "\n")
    file.chmod(0o600)
    gateway = {"CLAVIGER_BASE_URL": house.node.url}
    for arguments in (["token"], ["token", "--access"], ["whoami"], ["exec"], ["env"]):
        rest = ["--", "true"] if arguments == ["exec"] else []
        house.run(*arguments, "--key-file", str(file), *rest, expect=None, CLAVIGER_BASE_URL=gateway["CLAVIGER_BASE_URL"])
    secret = house.folder / "signing"
    secret.write_text(key["signing_secret"] + "\n")
    secret.chmod(0o600)
    house.run("sign", "--secret-file", str(secret), "--url", f"{house.node.url}/v1/messages", "--key-id", key["id"], expect=None)
    house.run("key", "signing", "rotate", key["id"], expect=None)
    wrapped = json.loads(house.run("key", "create", "--name", "wrapped", "--wrapped", "--json"))
    wrap = next(value for value in wrapped.values() if isinstance(value, str) and value.startswith("cvg_wrap_"))
    house.run("unwrap", "-", stdin=wrap + "\n")
    house.run("unwrap", "-", stdin=wrap + "\n", expect=None)
    house.run("channel", "add", "webhook", "hook", "https://127.0.0.1:9/hook", "--allow-private", "--json")
    house.run("channel", "add", "smtp", "post", "--host", "127.0.0.1", "--port", "9", "--security", "plain", "--username", "u",
              "--password-file", str(house.folder / "mail"), "--from", "c@example.com", "--to", "o@example.com")
    for name in ("hook", "post"):
        house.run("channel", "test", name, expect=None)
    house.run("key", "rotate", key["id"], "--json")
    for wrong in (
        ["key", "create", "--name", "x", "--bogus", mark("typed as an option", f"sk-ant-api03-{random_text(90)}")],
        ["key", "show", mark("typed as an id", f"cvg_live_{random_text()}")],
        ["unwrap", mark("typed as a token", f"cvg_wrap_{random_text()}")],
        ["login", "http://u:" + mark("typed in a URL", random_text(20)) + "@127.0.0.1:9", "--name", "a", "--password-file", str(house.folder / "mail")],
        ["key", "inspect", mark("typed to be inspected", f"cvg_live_{random_text()}")],
        ["credential", "add", "--upstream", "no", "--from-file", mark("typed as a file", f"sk-ant-api03-{random_text(90)}")],
    ):
        house.run(*wrong, expect=None, tells=False)
    bad = mark("a file that holds no key", random_text())
    house.run("credential", "add", "--upstream", "sim", "--from-file", "-", stdin=bad, expect=None, tells=False)
    house.run("audit", "list", "--json")
    house.run("key", "list", "--json")


def test_every_operation_was_used_and_much_was_said(lived):
    """What follows could find something."""
    assert lived.answers > 800, lived.answers
    assert len(lived.hunt.secrets) > 40
    logs = lived.logs()
    assert logs.count(b"\n") > 2 and b'"level":"WARN"' in logs and b'"channel":' in logs
    assert lived.ids["keys"].encode() in b"".join(p.read_bytes() for p in lived.node.data.rglob("*.db*")), "the store is read"


def test_no_answer_and_no_command_shows_a_secret_of_before(lived):
    assert not lived.leaks, json.dumps(lived.leaks, indent=1)


def test_a_secret_that_is_told_as_a_name_is_found(lived):
    """The control: the same look at the same places finds what was put there as something else."""
    planted = Hunt()
    name = planted.mark("planted", "planted" + random_text(20))
    assert lived.admin("POST", "/admin/v1/workspaces", {"name": name, "environment": "development"}, **lived.reader)[0] < 300
    assert planted.find(lived.admin("GET", "/admin/v1/workspaces", **lived.reader)[1])
    assert planted.find_in(lived.node.data)
    (lived.node.data / "planted").write_bytes(base64.b64encode(b"xx" + name.encode()))
    try:
        assert planted.find_in(lived.node.data)["planted"] == set(planted.secrets)
    finally:
        (lived.node.data / "planted").unlink()


def test_no_log_line_shows_a_secret(lived):
    found = {}
    for line in lived.node.process.errors:
        for name in lived.hunt.find(line.encode()):
            found.setdefault(name, line[:600])
        json.loads(line)
    assert not found, json.dumps(found, indent=1)


def test_the_data_folder_holds_sealed_forms_only(lived):
    first = [path for path in lived.node.data.rglob("*") if path.name in FIRST_KEY]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in first)
    assert not lived.hunt.find_in(lived.node.data, FIRST_KEY)


def test_exports_metrics_and_backups_show_none(lived):
    lived.leaks.clear()
    reads(lived, lived.ids, **lived.reader)
    status, metrics = lived.ask(lived.node.control, "GET", "/metrics", tells=False, **lived.reader)
    assert status == 200 and b"claviger_" in metrics
    copy = lived.folder / "backup"
    status, answer = lived.admin("POST", "/admin/v1/backup", {"to": str(copy)}, **lived.reader)
    assert status < 300, answer
    assert not lived.hunt.find_in(copy, FIRST_KEY)
    assert not lived.leaks, json.dumps(lived.leaks, indent=1)


@pytest.mark.parametrize("log_format", ["json", "human"])
def test_a_start_that_fails_does_not_tell_why_with_the_password(tmp_path, log_format):
    hunt = Hunt()
    password = hunt.mark("database password", random_text(20))
    escaped = hunt.mark("database password with escapes", f"p@/{random_text(20)}")
    quoted = urllib.parse.quote(escaped, safe="")
    for url in (f"postgres://u:{quoted}@127.0.0.1:9/d", f"postgres://127.0.0.1:9/d?user=u&password={password}&bogus=1",
                f"postgres://u:{quoted}@/:x", f"postgres://u:{password}@h:port/d", f"mysql://u:{password}@h/d"):
        done = subprocess.run(
            [program("CLAVIGER_TEST_BIN", "claviger"), "--data", str(tmp_path / "data"), "serve", "--listen", "127.0.0.1:0",
             "--control", "127.0.0.1:0", "--database", url, "--log-level", "trace", "--log-format", log_format],
            capture_output=True, timeout=60,
        )
        assert done.returncode != 0
        assert not hunt.find(done.stdout + done.stderr), done.stderr.decode()[-1500:]
    settings = tmp_path / "c.toml"
    settings.write_text(f'database = ["postgres://u:{password}@h/d"]\n')
    done = subprocess.run([program("CLAVIGER_TEST_BIN", "claviger"), "serve", "--config", str(settings)], capture_output=True, timeout=60)
    assert done.returncode != 0 and not hunt.find(done.stdout + done.stderr), done.stderr.decode()


def abort(command: list[str], folder: pathlib.Path, environment: dict) -> list[str]:
    """Ends a program as a crash would, with dumps allowed; what it left behind."""
    def allow():
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        os.chdir(folder)

    child = subprocess.Popen(command, env=environment, preexec_fn=allow, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        while not child.stdout.readline().startswith(b"ready"):
            assert child.poll() is None, "it did not start"
        limits = pathlib.Path(f"/proc/{child.pid}/limits").read_text()
        child.send_signal(signal.SIGABRT)
        status = child.wait(timeout=60)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    assert status == -signal.SIGABRT
    core = next(line.split()[4] for line in limits.splitlines() if line.startswith("Max core file size"))
    return [core, *sorted(path.name for path in folder.iterdir() if "core" in path.name)]


def test_a_crash_leaves_no_memory_behind(tmp_path):
    environment = {**os.environ, "CLAVIGER_DATA": str(tmp_path / "data")}
    empty = tmp_path / "empty"
    empty.mkdir()
    serve = [program("CLAVIGER_TEST_BIN", "claviger"), "serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
    assert abort(serve, empty, environment) == ["0"], "no dump, and none allowed"
    # The control: another program leaves one here, where dumps go to files and are allowed.
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if resource.getrlimit(resource.RLIMIT_CORE)[1] != 0 and "/" not in pattern and not pattern.startswith("|"):
        left = abort(["sh", "-c", "echo ready; sleep 60"], empty, dict(os.environ))
        assert left[0] != "0" and len(left) > 1, left
