"""The served document is valid, and what it says of every operation is so."""

import collections
import json
import os
import urllib.request

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

EXAMPLES = int(os.environ.get("CLAVIGER_TEST_EXAMPLES", "10"))
SEED = int(os.environ.get("CLAVIGER_TEST_SEED", "1"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    allow_header_conformance,
    unsupported_method,
]

# Statuses by operation.
seen = collections.defaultdict(collections.Counter)


def document(url: str) -> dict:
    with urllib.request.urlopen(f"{url}/admin/v1/openapi.json", timeout=30) as answer:
        return json.load(answer)


@pytest.fixture(scope="session")
def described(installation):
    loaded = schemathesis.openapi.from_dict(document(installation.url))
    loaded.config.update(base_url=installation.url)
    return loaded


api = schemathesis.pytest.from_fixture("described")


def aim(case, installation):
    """Half of the requests meet something that is there, and nothing is written beside the test's own folder."""
    family = case.path.removeprefix("/admin/v1/").split("/", 1)[0]
    identifier = (case.path_parameters or {}).get("id")
    if isinstance(identifier, str) and len(identifier) % 2 == 0 and family in installation.ids:
        case.path_parameters["id"] = installation.ids[family]
    if family == "backup" and isinstance(case.body, dict) and isinstance(case.body.get("to"), str):
        case.body["to"] = f"{installation.folder}/backup{case.body['to']}"


def test_the_document_is_valid(installation):
    OpenAPIV31SpecValidator(document(installation.url)).validate()


@api.parametrize()
@hypothesis.seed(SEED)
@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_every_operation_answers_as_described(case, installation):
    aim(case, installation)
    answer = case.call_and_validate(checks=CHECKS, timeout=60)
    seen[case.operation.label][answer.status_code] += 1


def test_the_examples_reached_every_operation(installation):
    """An address that is wrong, or a door that is shut, would pass all of the above."""
    operations = [
        (f"{method.upper()} {path}", operation)
        for path, methods in document(installation.url)["paths"].items()
        for method, operation in methods.items()
    ]
    unreached = [label for label, _ in operations if not seen[label]]
    assert not unreached, unreached
    readings = [label for label, operation in operations if label.startswith("GET ") and operation.get("security") != [{}]]
    unread = [label for label in readings if not seen[label][200]]
    assert not unread, {label: dict(seen[label]) for label in unread}
