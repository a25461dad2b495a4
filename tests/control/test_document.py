"""The served document is valid, and what it says of every operation is so, whoever asks."""

import collections
import os

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
ROLES = os.environ.get("CLAVIGER_TEST_ROLES", "owner,viewer").split(",")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    allow_header_conformance,
    unsupported_method,
]
# Lists that are for people, which a machine's token does not open, and the report of a week that is not over.
SHUT = ("/approvals", "/operators", "/operator-tokens", "/reports/weekly")
# Statuses by role and operation.
seen = collections.defaultdict(collections.Counter)


@pytest.fixture(scope="session")
def described(installation):
    loaded = schemathesis.openapi.from_dict(installation.document)
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


def proof(case, role, installation) -> dict[str, str]:
    """Logging out ends the token, so it is done with one that opens nothing."""
    ends = case.operation.label == "DELETE /admin/v1/session"
    token = "nothing" if ends else installation.token(role)
    return {"Authorization": f"Bearer {token}"} if token else {}


def test_the_document_is_valid(installation):
    OpenAPIV31SpecValidator(installation.document).validate()


def answers_as_described(role):
    """The test of one role: what draws the requests knows no other parameters."""

    @api.parametrize()
    @hypothesis.seed(SEED)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def test(case, installation):
        aim(case, installation)
        answer = case.call_and_validate(checks=CHECKS, headers=proof(case, role, installation), timeout=60)
        seen[role, case.operation.label][answer.status_code] += 1

    return test


for each in ROLES:
    globals()[f"test_every_operation_answers_as_described_to_{each}"] = answers_as_described(each)


@pytest.mark.parametrize("role", ROLES)
def test_the_examples_reached_every_operation(role, installation):
    """An address that is wrong, or a door that is shut, would pass all of the above."""
    operations = [
        f"{method.upper()} {path}" for path, methods in installation.document["paths"].items() for method in methods
    ]
    unreached = [label for label in operations if not seen[role, label]]
    assert not unreached, unreached
    if role == "owner":
        readings = [label for label in operations if label.startswith("GET ") and "{" not in label]
        lists = [label for label in readings if not label.endswith(SHUT)]
        unread = {label: dict(seen[role, label]) for label in lists if not seen[role, label][200]}
        assert not unread, unread
