"""Keys that `claviger seal-key` seals with real services, opened by the adapters."""

import datetime
import json
import os
import pathlib
import subprocess

import anthropic
import pytest

import stores
from claviger import Blob, Claviger, KeyUnavailable, SealedKey, kms
from processes import ROOT, house, program

MODEL = "claude-opus-5-5"
ASK = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def gateway():
    with house() as (claviger, _):
        yield claviger, claviger.key("sealed", "--sign")


@pytest.fixture(scope="module")
def bao():
    with stores.bao() as store:
        yield store


@pytest.fixture(scope="module")
def aws():
    with stores.kms() as store:
        yield store


@pytest.fixture(params=["aws", "bao"])
def service(request):
    store = request.getfixturevalue(request.param)
    return store, {"aws": "awskms:///alias/claviger", "bao": "hashivault://claviger"}[request.param]


def run_seal(uri, text, environment, *more):
    """Exit code, standard output and standard error."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "VAULT_", "BAO_", "ANTHROPIC_"))}
    done = subprocess.run(
        [program("CLAVIGER_TEST_BIN", "claviger"), "seal-key", "--kms", uri, *more],
        env=clean | environment, input=text, capture_output=True, text=True, timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def seal(uri, text, environment):
    code, blob, said = run_seal(uri, text + "\n", environment)
    assert code == 0, said
    assert text not in blob + said and text[19:] not in blob
    return blob


def answered(claviger, key):
    with anthropic.Anthropic(**Claviger(claviger.url, key).sdk(), max_retries=0) as client:
        return client.messages.create(**ASK).content[0].text


def test_a_sealed_key_opens_the_gateway(gateway, service, tmp_path):
    (claviger, made), (store, uri) = gateway, service
    file = tmp_path / "key.sealed"
    file.write_text(seal(uri, made["key"], store.environment))
    assert answered(claviger, SealedKey(file, kms(uri, store.environment)))
    file.write_text(seal(uri, made["signing_secret"], store.environment))
    opened = SealedKey(file, kms(uri, store.environment), "signing_secret").fetch()
    assert opened == made["signing_secret"]
    with pytest.raises(KeyUnavailable, match="not for this purpose"):
        SealedKey(file, kms(uri, store.environment)).fetch()


def test_two_blobs_of_one_key_have_nothing_in_common(gateway, service):
    (_, made), (store, uri) = gateway, service
    first, second = (json.loads(seal(uri, made["key"], store.environment)) for _ in range(2))
    assert first["id"] == made["key"][9:19]
    assert all(first[name] != second[name] for name in ("wrapped_key", "nonce", "ciphertext"))


def test_the_service_refuses_a_blob_that_is_given_another_name(gateway, service, tmp_path):
    (_, made), (store, uri) = gateway, service
    blob = json.loads(seal(uri, made["key"], store.environment))
    file = tmp_path / "key.sealed"
    for changed in (blob | {"id": "9876543210"}, blob | {"purpose": "signing_secret"}):
        file.write_text(json.dumps(changed))
        with pytest.raises(KeyUnavailable, match="answered 4"):
            SealedKey(file, kms(uri, store.environment), changed["purpose"]).fetch()
    file.write_text(json.dumps(blob | {"sealed_at": "2026-01-01T00:00:00Z"}))
    with pytest.raises(KeyUnavailable, match="changed"):
        SealedKey(file, kms(uri, store.environment)).fetch()


def test_aws_itself_opens_what_was_sealed(gateway, aws):
    _, made = gateway
    blob = json.loads(seal("awskms:///alias/claviger", made["key"], aws.environment))
    assert blob["kms_key"] == aws.arn
    assert Blob.parse(json.dumps(blob).encode()).open(aws.unwrap(blob)) == made["key"]


def test_another_key_of_the_service_does_not_open_it(gateway, aws, tmp_path):
    _, made = gateway
    file = tmp_path / "key.sealed"
    file.write_text(seal(f"awskms:///{aws.other}", made["key"], aws.environment))
    assert SealedKey(file, kms(f"awskms:///{aws.other}", aws.environment)).fetch() == made["key"]
    with pytest.raises(KeyUnavailable, match="answered 400"):
        SealedKey(file, kms("awskms:///alias/claviger", aws.environment)).fetch()


def test_a_token_that_may_only_seal_does_not_open(gateway, bao, tmp_path):
    _, made = gateway
    sealer = bao.token('path "transit/encrypt/claviger" { capabilities = ["update"] }')
    file = tmp_path / "key.sealed"
    file.write_text(seal("hashivault://claviger", made["key"], bao.environment | {"VAULT_TOKEN": sealer}))
    with pytest.raises(KeyUnavailable, match="answered 403") as caught:
        SealedKey(file, kms("hashivault://claviger", bao.environment | {"VAULT_TOKEN": sealer})).fetch()
    assert sealer not in str(caught.value)
    assert SealedKey(file, kms("hashivault://claviger", bao.environment)).fetch() == made["key"]


def test_a_key_that_was_turned_at_the_service_still_opens_what_it_sealed(gateway, bao, tmp_path):
    _, made = gateway
    file = tmp_path / "key.sealed"
    file.write_text(seal("hashivault://claviger", made["key"], bao.environment))
    bao.ask("POST", "transit/keys/claviger/rotate")
    assert SealedKey(file, kms("hashivault://claviger", bao.environment)).fetch() == made["key"]


def test_an_opener_of_ones_own_may_use_another_library(gateway, aws, tmp_path):
    """Where credentials come in ways that only AWS's own library knows."""
    claviger, made = gateway
    file = tmp_path / "key.sealed"
    file.write_text(seal("awskms:///alias/claviger", made["key"], aws.environment))

    class Boto:
        def data_key(self, blob):
            return aws.unwrap({"id": blob.id, "purpose": blob.purpose, "wrapped_key": blob.wrapped_key})

    assert answered(claviger, SealedKey(file, Boto()))


def test_what_cannot_be_sealed_is_refused_without_being_repeated(gateway, bao):
    _, made = gateway
    uri, key = "hashivault://claviger", made["key"]
    for text, environment, more, code in (
        ("sk-ant-api03-" + "x" * 93 + "AA", bao.environment, (), 4),
        (key[:-1], bao.environment, (), 4),
        ("", bao.environment, (), 4),
        (key, {"VAULT_ADDR": bao.url}, (), 2),
        (key, bao.environment | {"VAULT_ADDR": "http://vault.example:8200"}, (), 2),
        (key, bao.environment | {"VAULT_ADDR": "http://127.0.0.1:1"}, (), 3),
        (key, bao.environment | {"VAULT_TOKEN": "wrong-token"}, (), 4),
        (key, bao.environment, ("--key-file", "/nonexistent"), 2),
    ):
        ended, printed, said = run_seal(uri, text, environment, *more)
        assert (ended, printed) == (code, ""), said
        assert said.startswith("error: ") and "wrong-token" not in said and not (text and text in said)
    assert run_seal("gcpkms://x", key, bao.environment)[0] == 2


def test_the_vectors_are_signed_as_aws_own_library_signs():
    from unittest import mock

    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials

    vectors = json.loads((pathlib.Path(ROOT) / "clients" / "conformance" / "sealed.json").read_text(encoding="utf-8"))
    at = datetime.datetime.fromtimestamp(vectors["now"], datetime.timezone.utc)
    checked = 0
    for case in vectors["cases"]:
        for exchange in (e for e in case["exchanges"] if "authorization" in e["headers"]):
            given, headers = case["environment"], dict(exchange["headers"])
            signed = headers.pop("authorization")
            headers.pop("x-amz-security-token", None)
            names = [given[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
            credentials = botocore.credentials.Credentials(*names, given.get("AWS_SESSION_TOKEN"))
            region = signed.split("/")[2]
            request = botocore.awsrequest.AWSRequest("POST", exchange["url"], headers, exchange["body"].encode())
            with mock.patch.object(botocore.auth, "get_current_datetime", lambda *_, **__: at.replace(tzinfo=None)):
                botocore.auth.SigV4Auth(credentials, "kms", region).add_auth(request)
            assert request.headers["Authorization"] == signed, case["name"]
            checked += 1
    assert checked > 20
