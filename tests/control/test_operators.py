"""Operators as they work: from another machine, over TLS, with the command line alone."""

import contextlib
import json
import os
import pathlib
import subprocess

import certificate

from processes import Claviger, program
from second_factor import SecondFactor

REFUSED, PENDING = 4, 6


class Node(Claviger):
    """A control plane behind TLS."""

    def __init__(self, folder: pathlib.Path):
        self.cert, key = certificate.make(folder)
        super().__init__(folder, "--control-tls-cert", str(self.cert), "--control-tls-key", str(key))

    def start(self):
        super().start()
        self.control = self.control.replace("127.0.0.1", "localhost")


class Person:
    """Somebody on a machine of their own: nothing of the node's is there but its certificate."""

    def __init__(self, node: Node, folder: pathlib.Path, name: str, secret: str, password: str):
        self.node, self.name, self.password = node, name, password
        self.factor = SecondFactor(secret)
        self.home = folder / name
        self.home.mkdir()
        (self.home / "password").write_text(password + "\n")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANTHROPIC_", "CLAVIGER_", "XDG_"))}
        self.environment = {**kept, "HOME": str(self.home)}

    def run(self, *arguments: str, code: str | None = None, stdin: str = "", expect: int = 0):
        totp = ["--totp", code] if code else []
        done = subprocess.run(
            [program("CLAVIGER_TEST_BIN", "claviger"), "--ca-file", str(self.node.cert), *totp, *arguments, "--json"],
            env=self.environment, input=stdin, capture_output=True, text=True, timeout=60,
        )
        assert done.returncode == expect, f"{self.name} {arguments}: {done.returncode}: {done.stdout}{done.stderr}"
        said = done.stdout if expect == 0 else done.stderr
        return json.loads(said) if said.strip() else None

    def proved(self, *arguments: str, **options):
        return self.run(*arguments, code=self.factor.code(), **options)

    def login(self, expect: int = 0, password: str | None = None):
        """`claviger login URL`, as a person at home types it."""
        file = self.home / "typed"
        file.write_text((password or self.password) + "\n")
        proof = ["--name", self.name, "--password-file", str(file)]
        return self.proved("login", self.node.control, *proof, expect=expect)


@contextlib.contextmanager
def installation(folder: pathlib.Path):
    """A node, its sealed code, and its first operator, who is logged in from elsewhere."""
    node = Node(folder)
    try:
        password = folder / "first"
        password.write_text("correct horse battery staple\n")
        first = node.json("operator", "add", "ann", "--role", "owner", "--password-file", str(password), "--break-glass")
        assert first["next"][0] == "log in: `claviger login --name ann`", first
        assert "operator add" in first["next"][1] and len(first["next"]) == 2, first
        ann = Person(node, folder, "ann", first["totp_secret"], "correct horse battery staple")
        ann.login()
        yield node, ann, first["break_glass_code"]
    finally:
        node.stop()


def enrol(by: Person, folder: pathlib.Path, name: str, role: str, *arguments: str) -> Person:
    password = folder / f"{name}.password"
    password.write_text(f"the password of {name}\n")
    made = by.proved("operator", "add", name, "--role", role, "--password-file", str(password), *arguments)
    assert "next" not in made, made
    return Person(by.node, folder, name, made["totp_secret"], f"the password of {name}")


def test_from_the_first_operator_on_everybody_proves_who_they_are(tmp_path):
    folder = tmp_path
    with installation(folder) as (node, ann, _):
        node.run("key", "list", expect=REFUSED)
        assert ann.run("session", "show")["name"] == "ann"
        vera = enrol(ann, folder, "vera", "viewer")
        vera.run("--url", node.control, "key", "list", expect=REFUSED)
        vera.login()
        assert isinstance(vera.run("key", "list"), list)
        vera.run("operator", "list", expect=REFUSED)
        vera.run("owner", "create", "mine", expect=REFUSED)
        refused = vera.proved("key", "create", "--name", "mine", expect=REFUSED)
        assert "viewer" in refused["error"], refused
        # A code of the second factor, or a step-up for exactly this request.
        said = ann.run("key", "create", "--name", "k", expect=REFUSED)
        assert "second factor" in said["error"], said
        key = ann.proved("key", "create", "--name", "k")
        assert key["key"].startswith("cvg_"), key
        vera.run("logout")
        vera.run("--url", node.control, "key", "list", expect=REFUSED)


def test_what_destroys_waits_for_a_second_person_and_whoever_asked_gets_the_answer(tmp_path):
    folder = tmp_path
    with installation(folder) as (node, ann, _):
        bob = enrol(ann, folder, "bob", "owner")
        bob.login()
        pending = bob.proved("operator", "break-glass", "prepare", expect=PENDING)
        approval = pending["approval"]
        listed = {row["id"]: row for row in ann.run("approval", "list")}
        assert listed[approval]["requester_name"] == "bob", listed
        shown = bob.run("approval", "show", approval)
        assert (shown["state"], shown["secret_waits"]) == ("pending", False), shown
        done = ann.proved("approval", "approve", approval)
        assert (done["state"], done.get("answer")) == ("executed", None), done
        taken = bob.run("approval", "show", approval)
        assert taken["answer"]["code"].startswith("cvg_oper_"), taken
        again = bob.run("approval", "show", approval)
        assert (again["secret_waits"], again.get("answer")) == (False, None), again
        own = bob.proved("workspace", "archive", "default", expect=PENDING)["approval"]
        assert bob.run("approval", "deny", own)["state"] == "denied"
        # What was approved, though the process was killed, is done by the next one: see the tests of the API.
        node.kill()
        node.start()
        assert [row["state"] for row in node_approvals(node, ann)] == ["denied", "executed"]


def node_approvals(node, person: Person):
    """After a restart the address is another one: the login is made anew."""
    person.login()
    return person.run("approval", "list", "--all")


def test_a_guesser_is_locked_out_and_a_restart_does_not_help(tmp_path):
    folder = tmp_path
    with installation(folder) as (node, ann, _):
        vera = enrol(ann, folder, "vera", "viewer")
        for _ in range(5):
            vera.run(
                "login", node.control, "--name", "Vera", "--password-file", str(folder / "first"),
                code="000000", expect=REFUSED,
            )
        locked = vera.login(expect=REFUSED)
        assert "try again in" in locked["error"], locked
        node.kill()
        node.start()
        locked = vera.login(expect=REFUSED)
        assert "try again in" in locked["error"], locked
        # The others go on.
        assert isinstance(node_approvals(node, ann), list)


def test_the_sealed_code_opens_a_quarter_of_an_hour_once_and_loudly(tmp_path):
    folder = tmp_path
    with installation(folder) as (node, ann, code):
        home = Person(node, folder, "anybody", "A" * 32, "-")
        opened = home.run("login", node.control, "--break-glass", "-", stdin=code + "\n")
        assert (opened["kind"], opened["role"]) == ("break_glass", "owner"), opened
        # No second factor and no second person.
        home.run("workspace", "create", "old")
        assert home.run("workspace", "archive", "old")["archived_at"], "at once"
        home.run("operator", "break-glass", "prepare", expect=REFUSED)
        home.run("audit", "export", "--to", str(folder / "export"), expect=REFUSED)
        second = Person(node, folder, "somebody", "A" * 32, "-")
        second.run("login", node.control, "--break-glass", "-", stdin=code + "\n", expect=REFUSED)
        notices = ann.run("notice", "list")
        assert [n["kind"] for n in notices] == ["incident.opened"], notices
        assert any("BREAK-GLASS" in line for line in node.process.errors + node.process.before), "in the log, too"
        reviewed = ann.run("operator", "break-glass", "review", opened["id"], "--note", "a drill")
        assert reviewed["review"]["note"] == "a drill", reviewed
        home.run("key", "list", expect=REFUSED)
