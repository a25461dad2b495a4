"""Sealed keys open with the service that sealed them, or not at all."""

import json

import httpx2
import pytest

from claviger import CachedKey, ClavigerError, ConfigurationError, KeyUnavailable, SealedKey, kms
from vectors import known, load, named

VECTORS = load("sealed.json")
KEY = "cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb"


class Service:
    """Answers what a case says, and checks what it is asked."""

    def __init__(self, exchanges):
        self.left = list(exchanges)

    def __call__(self, request):
        assert self.left, "one more request than expected"
        expected = known(self.left.pop(0), "url", "headers", "body", "status", "answer")
        assert (request.method, str(request.url)) == ("POST", expected["url"])
        assert {name: request.headers.get(name) for name in expected["headers"]} == expected["headers"]
        assert request.content.decode() == expected["body"]
        return httpx2.Response(expected["status"], text=expected["answer"])


@pytest.mark.parametrize("case", **named(VECTORS["cases"]))
def test_vectors(case, tmp_path):
    known(case, "name", "uri", "environment", "purpose", "blob", "exchanges", "result")
    file = tmp_path / "key.sealed"
    file.write_text(case["blob"])
    service = Service(case["exchanges"])

    def opened():
        opener = kms(case["uri"], case["environment"], transport=httpx2.MockTransport(service), clock=lambda: VECTORS["now"])
        return SealedKey(file, opener, case["purpose"]).fetch()

    if case["result"] != "error":
        assert opened() == case["result"]
    else:
        with pytest.raises(ClavigerError) as caught:
            opened()
        shown = f"{caught.value}{caught.value!r}{caught.value.__cause__!r}"
        assert not any(secret in shown for secret in VECTORS["secrets"])
    assert not service.left


def first(uri):
    return next(case for case in VECTORS["cases"] if case["uri"] == uri)


def test_an_opened_key_is_kept_for_an_hour_and_no_longer(tmp_path):
    case = first("awskms:///alias/claviger")
    file, time = tmp_path / "key.sealed", [0.0]
    file.write_text(case["blob"])
    service = Service(case["exchanges"] * 2)
    opener = kms(case["uri"], case["environment"], transport=httpx2.MockTransport(service), clock=lambda: VECTORS["now"])
    cached = CachedKey(SealedKey(file, opener), monotonic=lambda: time[0])
    assert [cached.get(), cached.get()] == [KEY, KEY] and len(service.left) == 1
    time[0] = 3600
    assert cached.get() == KEY and not service.left
    time[0] = 7200
    file.write_text(KEY)
    for _ in range(2):
        with pytest.raises(KeyUnavailable, match="not a sealed key"):
            cached.get()


def test_nothing_secret_prints(tmp_path):
    for case in (first("awskms:///alias/claviger"), first("hashivault://claviger")):
        opener = kms(case["uri"], case["environment"])
        shown = repr(opener) + repr(SealedKey(tmp_path / "x", opener)) + str(opener)
        assert not any(secret in shown for secret in VECTORS["secrets"])


def test_files_that_are_too_long_or_missing(tmp_path):
    opener = kms("hashivault://claviger", {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": "t"})
    with pytest.raises(KeyUnavailable, match="No such file"):
        SealedKey(tmp_path / "none", opener).fetch()
    long = tmp_path / "long"
    long.write_text(json.dumps({}) + " " * 65536)
    with pytest.raises(KeyUnavailable, match="not a sealed key"):
        SealedKey(long, opener).fetch()
    with pytest.raises(KeyUnavailable, match="did not answer: ConnectError"):
        case = first("hashivault://claviger")
        long.write_text(case["blob"])
        SealedKey(long, opener).fetch()


def test_the_service_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("VAULT_ADDR", raising=False)
    monkeypatch.delenv("BAO_ADDR", raising=False)
    with pytest.raises(ConfigurationError, match="VAULT_ADDR"):
        SealedKey(tmp_path / "x", "hashivault://claviger").fetch()
