// Sealed keys open with the service that sealed them, or not at all.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { inspect } from "node:util";

import { client, KEY, known, load, node, wire } from "./parts.mjs";

const vectors = load("sealed.json");
const folder = mkdtempSync(join(tmpdir(), "claviger-"));
const path = join(folder, "key.sealed");
after(() => rmSync(folder, { recursive: true, force: true }));
const first = (uri) => vectors.cases.find((one) => one.uri === uri);

function service(exchanges) {
  const left = [...exchanges];
  const { fetch } = wire((request) => {
    const expected = known(left.shift(), "url", "headers", "body", "status", "answer");
    assert.equal(request.method, "POST");
    assert.equal(request.url, expected.url);
    for (const [name, value] of Object.entries(expected.headers)) assert.equal(request.headers.get(name), value);
    assert.equal(new TextDecoder().decode(request.body), expected.body);
    return new Response(expected.answer, { status: expected.status });
  });
  return { fetch, left };
}

const opener = (one, fetch) => node.kms(one.uri, { environment: one.environment, fetch, now: () => vectors.now * 1000 });

describe("vectors", () => {
  for (const one of vectors.cases) {
    test(one.name, async () => {
      known(one, "name", "uri", "environment", "purpose", "blob", "exchanges", "result");
      writeFileSync(path, one.blob);
      const { fetch, left } = service(one.exchanges);
      const opened = async () => node.sealedKey(path, opener(one, fetch), one.purpose).fetch();
      if (one.result !== "error") {
        assert.equal(await opened(), one.result);
      } else {
        await assert.rejects(opened(), (error) => {
          assert.ok(error instanceof client.ClavigerError, inspect(error));
          for (const secret of vectors.secrets) assert.ok(!inspect(error).includes(secret));
          return true;
        });
      }
      assert.equal(left.length, 0);
    });
  }
});

test("an opened key is kept for an hour and no longer", async () => {
  const one = first("awskms:///alias/claviger");
  writeFileSync(path, one.blob);
  const { fetch, left } = service([...one.exchanges, ...one.exchanges]);
  let now = 0;
  const cached = new client.CachedKey(node.sealedKey(path, opener(one, fetch)), client.KEY_TTL_MS, () => now);
  assert.deepEqual([await cached.fetch(), await cached.fetch()], [KEY, KEY]);
  assert.equal(left.length, 1);
  now = 3_600_000;
  assert.equal(await cached.fetch(), KEY);
  now = 7_200_000;
  writeFileSync(path, KEY);
  for (const _ of [1, 2]) await assert.rejects(cached.fetch(), /not a sealed key/);
});

test("files that are too long or missing, services that are away", async () => {
  const vault = { environment: { VAULT_ADDR: "http://127.0.0.1:1", VAULT_TOKEN: "t" } };
  await assert.rejects(node.sealedKey(join(folder, "none"), node.kms("hashivault://k", vault)).fetch(), /ENOENT/);
  writeFileSync(path, first("awskms:///alias/claviger").blob + " ".repeat(65536));
  await assert.rejects(node.sealedKey(path, node.kms("hashivault://k", vault)).fetch(), /too long/);
  writeFileSync(path, first("hashivault://claviger").blob);
  await assert.rejects(node.sealedKey(path, node.kms("hashivault://k", vault)).fetch(), /did not answer/);
});

test("a sealed key that is set is the key, whatever else is set", async () => {
  const environment = { ANTHROPIC_BASE_URL: "http://127.0.0.1:1", ANTHROPIC_API_KEY: KEY, CLAVIGER_SEALED_KEY_FILE: join(folder, "none") };
  assert.throws(() => node.fromEnv({ environment }), /CLAVIGER_KMS/);
  const vault = { CLAVIGER_KMS: "hashivault://k", VAULT_ADDR: "http://127.0.0.1:1", VAULT_TOKEN: "t" };
  await assert.rejects(node.fromEnv({ environment: { ...environment, ...vault } }).key.fetch(), /ENOENT/);
});
