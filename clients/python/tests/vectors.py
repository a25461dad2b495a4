"""The vectors that all four clients replay."""

import base64
import json
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parents[3] / "clients" / "conformance"


def load(name: str) -> dict:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def body_of(case: dict) -> bytes:
    found = [name for name in case if name.startswith("body_")]
    assert len(found) == 1
    value = case[found[0]]
    if found[0] == "body_utf8":
        return value.encode()
    if found[0] == "body_base64":
        return base64.b64decode(value)
    assert found[0] == "body_repeat"
    return value["utf8"].encode() * value["times"]


def known(case: dict, *names: str) -> dict:
    """The case, if it has no field beside these: none may be overlooked."""
    assert set(case) <= set(names), set(case) - set(names)
    return case


def named(cases: list[dict]) -> dict:
    """For `pytest.mark.parametrize`."""
    return {"argvalues": cases, "ids": [case["name"] for case in cases]}
