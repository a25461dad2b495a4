"""Two workspaces on one provider key: neither sees, lists, reads, uses or deletes what the other made."""

import json
import urllib.error
import urllib.request
import uuid

import pytest

from processes import house

MODEL = "claude-opus-5-5"


class Tenant:
    def __init__(self, url, key):
        self.url, self.key = url, key

    def call(self, method, path, body=None, kind="application/json"):
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        headers = {"x-api-key": self.key, "anthropic-version": "2023-06-01", "anthropic-beta": "files-api-2025-04-14"}
        if data is not None:
            headers["content-type"] = kind
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read()

    def json(self, *call):
        status, body = self.call(*call)
        assert status == 200, body
        return json.loads(body)

    def batch(self):
        params = {"model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": "Hello"}]}
        return self.json("POST", "/v1/messages/batches", {"requests": [{"custom_id": "a", "params": params}]})["id"]

    def file(self):
        mark = uuid.uuid4().hex
        body = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhello\r\n--{mark}--\r\n'
        status, answer = self.call("POST", "/v1/files", body.encode(), f"multipart/form-data; boundary={mark}")
        assert status == 200, answer
        return json.loads(answer)["id"]


@pytest.fixture(scope="module")
def tenants():
    with house() as (claviger, _):
        made = []
        for name in ("red", "blue"):
            workspace = claviger.json("workspace", "create", name)["id"]
            made.append(Tenant(claviger.url, claviger.key(name, "--workspace", workspace)["key"]))
        yield made


def ids(tenant, path):
    found, query = [], "?limit=2"
    while True:
        page = tenant.json("GET", path + query)
        found += [item["id"] for item in page["data"]]
        if page.get("next_page"):
            query = f"?limit=2&page={page['next_page']}"
        elif page.get("has_more") and page.get("last_id"):
            query = f"?limit=2&after_id={page['last_id']}"
        else:
            return found


def test_batches_are_seen_by_their_workspace_only(tenants):
    red, blue = tenants
    reds, blues = [], []
    for _ in range(3):
        reds.append(red.batch())
        blues.append(blue.batch())
    assert sorted(ids(red, "/v1/messages/batches")) == sorted(reds)
    assert sorted(ids(blue, "/v1/messages/batches")) == sorted(blues)
    for method, path in [("GET", ""), ("GET", "/results"), ("POST", "/cancel"), ("DELETE", "")]:
        assert blue.call(method, f"/v1/messages/batches/{reds[0]}{path}")[0] == 404
    assert red.call("GET", f"/v1/messages/batches/{reds[0]}")[0] == 200


def test_files_are_seen_by_their_workspace_only(tenants):
    red, blue = tenants
    mine = [red.file() for _ in range(3)]
    other = blue.file()
    assert sorted(ids(red, "/v1/files")) == sorted(mine) and ids(blue, "/v1/files") == [other]
    for method, path in [("GET", ""), ("GET", "/content"), ("DELETE", "")]:
        assert blue.call(method, f"/v1/files/{mine[0]}{path}")[0] == 404
    assert red.call("DELETE", f"/v1/files/{mine[0]}")[0] == 200


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_anothers_file_cannot_be_used_in_a_message(tenants, path):
    red, blue = tenants
    theirs = red.file()
    source = {"type": "file", "file_id": theirs}
    content = [{"type": "document", "source": source}, {"type": "text", "text": "Read it"}]
    body = {"model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": content}]}
    assert blue.call("POST", path, body)[0] == 404
    assert red.call("POST", path, body)[0] == 200


def test_anothers_file_cannot_be_used_in_a_batch(tenants):
    red, blue = tenants
    content = [{"type": "document", "source": {"type": "file", "file_id": red.file()}}]
    params = {"model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": content}]}
    body = {"requests": [{"custom_id": "a", "params": params}]}
    assert blue.call("POST", "/v1/messages/batches", body)[0] == 404


def test_a_thread_that_the_provider_holds_cannot_be_continued_on_a_shared_key(tenants):
    red, _ = tenants
    body = {"model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": "Go on"}]}
    body["thread"] = {"type": "continue", "previous_message_id": "msg_of_somebody"}
    assert red.call("POST", "/v1/messages", body)[0] == 404


def test_routes_that_cannot_be_scoped_are_refused(tenants):
    red, _ = tenants
    for path in ("/v1/agents", "/v1/skills", "/v1/anything"):
        status, body = red.call("GET", path)
        assert status == 501 and json.loads(body)["error"]["type"] == "not_supported"
