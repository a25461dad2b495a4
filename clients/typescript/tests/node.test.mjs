// Keys come from where they were said to come from, or not at all; batches; logs.

import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { inspect } from "node:util";

import { client, json, KEY, node } from "./parts.mjs";

const folder = mkdtempSync(join(tmpdir(), "claviger-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const unavailable = (text) => (error) => error instanceof client.KeyUnavailable && text.test(error.message) && !error.message.includes(KEY);

describe("sources", () => {
  test("environment", async () => {
    assert.equal(await node.envKey("K", { K: KEY }).fetch(), KEY);
    for (const K of [undefined, "", ` ${KEY}`, `${KEY}\n`, "schlüssel", "a\0b", "x".repeat(5000)]) {
      await assert.rejects(node.envKey("K", { K }).fetch(), unavailable(/the variable K/));
    }
  });

  test("a file is read only when nobody else can read it", async () => {
    const path = join(folder, "key");
    writeFileSync(path, `${KEY}\n`, { mode: 0o600 });
    assert.equal(await node.fileKey(path).fetch(), KEY);
    for (const mode of [0o640, 0o604, 0o620]) {
      chmodSync(path, mode);
      await assert.rejects(node.fileKey(path).fetch(), unavailable(/chmod 600/));
    }
    await assert.rejects(node.fileKey(join(folder, "none")).fetch(), unavailable(/ENOENT/));
    await assert.rejects(node.fileKey(folder).fetch(), unavailable(/not a file/));
  });

  test("a command is run without a shell", async () => {
    const run = (script) => node.commandKey([process.execPath, "-e", script], 5000).fetch();
    assert.equal(await run(`console.log("${KEY}")`), KEY);
    await assert.rejects(run("process.exit(3)"), unavailable(/failed with 3/));
    await assert.rejects(run(""), unavailable(/empty/));
    await assert.rejects(node.commandKey([process.execPath, "-e", "setTimeout(() => {}, 9000)"], 200).fetch(), unavailable(/within/));
    await assert.rejects(node.commandKey(["/nonexistent/claviger"]).fetch(), unavailable(/ENOENT/));
  });

  test("a cached key lives for its time and no older key is used afterwards", async () => {
    let now = 0;
    let calls = 0;
    let fail = false;
    const source = { fetch: async () => { calls += 1; if (fail) throw new client.KeyUnavailable("away"); return `${KEY}${calls}`; } };
    const cached = new client.CachedKey(source, 1000, () => now);
    assert.deepEqual(new Set(await Promise.all(Array.from({ length: 9 }, () => cached.fetch()))), new Set([`${KEY}1`]));
    now = 1000;
    fail = true;
    await assert.rejects(cached.fetch(), unavailable(/away/));
    fail = false;
    assert.equal(await cached.fetch(), `${KEY}3`);
  });

  test("Vault with an own, a wrapped and a stolen token", async () => {
    const wrapped = { wt: ["auth/approle/login", { auth: { client_token: "vt" } }], wk: ["secret/data/app", { data: { data: { key: KEY } } }] };
    const fetch = async (url, init) => {
      const { pathname } = new URL(url);
      const token = init.headers["x-vault-token"];
      if (pathname === "/v1/secret/data/team%20a/app") return token === "vt" ? json(200, { data: { data: { key: KEY } } }) : json(403, {});
      const found = wrapped[token];
      if (!found) return json(400, {});
      if (pathname.endsWith("/lookup")) return json(200, { data: { creation_path: found[0] } });
      delete wrapped[token];
      return json(200, found[1]);
    };
    const vault = new node.Vault({ address: "http://vault.example:8200/", fetch });
    const read = node.vaultKey(vault, "team a/app", node.wrappedToken(vault, "wt", "auth/approle/login"));
    assert.deepEqual([await read.fetch(), await read.fetch()], [KEY, KEY]);
    await assert.rejects(node.wrappedToken(vault, "wt").fetch(), unavailable(/400/));
    await assert.rejects(node.wrappedKey(vault, "wk", { creationPath: "secret/data/x" }).fetch(), unavailable(/opened on the way/));
    assert.equal(await node.wrappedKey(vault, "wk").fetch(), KEY);
  });

  test("settings from the environment", () => {
    const base = { ANTHROPIC_BASE_URL: "http://127.0.0.1:8787" };
    const refuse = (environment, text) => assert.throws(() => node.fromEnv({ environment }), (e) => text.test(e.message));
    refuse({}, /ANTHROPIC_BASE_URL/);
    refuse(base, /no key/);
    refuse({ ...base, ANTHROPIC_API_KEY: KEY, CLAVIGER_AUTH: "no" }, /auth is/);
    refuse({ ...base, ANTHROPIC_API_KEY: KEY, CLAVIGER_SIGNING_SECRET: "s".repeat(9), CLAVIGER_SIGNING_PROFILE: "v3" }, /v1, v2, rfc9421/);
    const path = join(folder, ".env");
    writeFileSync(path, `ANTHROPIC_API_KEY=${KEY}\nANTHROPIC_BASE_URL=http://other\nCLAVIGER_SIGNING_SECRET=${"s".repeat(20)}\n`);
    refuse({ ...base, ANTHROPIC_API_KEY: KEY, CLAVIGER_DPOP: "HS256" }, /ES256 or EdDSA/);
    refuse({ ...base, ANTHROPIC_API_KEY: KEY, CLAVIGER_CLIENT_CERT: join(folder, "none.pem") }, /client certificate cannot be used/);
    const made = node.fromEnv({ environment: base, dotenv: path });
    assert.equal(made.baseURL, "http://127.0.0.1:8787");
    assert.ok(made.signer instanceof client.Signer && made.auth === "key");
  });
});

test("a secret is in no text", () => {
  const secret = new client.Secret(KEY);
  assert.ok(![String(secret), JSON.stringify({ secret }), inspect({ secret }), `${secret}`].join().includes(KEY));
  assert.equal(client.publicId(KEY), "0123456789");
});

describe("batches", () => {
  test("results have the items' order, and the bound holds in every round", async () => {
    const most = {};
    const running = {};
    const tried = new Map();
    const outcomes = await client.runBatch(Array.from({ length: 40 }, (_, n) => n), async (n) => {
      const round = (tried.get(n) ?? 0) + 1;
      tried.set(n, round);
      running[round] = (running[round] ?? 0) + 1;
      most[round] = Math.max(most[round] ?? 0, running[round]);
      await new Promise((resolve) => setTimeout(resolve, n % 3));
      running[round] -= 1;
      if (n % 10 === 7 && round < 3) throw new Error(String(n));
      if (n === 8) throw new Error("always");
      return n * 2;
    }, { concurrency: 4, rounds: 4 });
    assert.deepEqual(outcomes.map((o) => o.index), Array.from({ length: 40 }, (_, n) => n));
    assert.deepEqual(outcomes.filter((o) => !o.ok).map((o) => [o.index, o.attempts]), [[8, 4]]);
    assert.equal(outcomes[7].value, 14);
    assert.deepEqual(most, { 1: 4, 2: 2, 3: 1, 4: 1 });
  });

  test("items are taken as there is room", async () => {
    let taken = 0;
    function* items() { for (; taken < 100; taken += 1) yield taken; }
    const outcomes = await client.runBatch(items(), async (n) => assert.ok(taken <= n + 4), { concurrency: 3 });
    assert.ok(outcomes.length === 100 && outcomes.every((o) => o.ok));
  });

  test("nothing runs with no room", async () => {
    await assert.rejects(client.runBatch([1], async () => 1, { concurrency: 0 }), client.ConfigurationError);
  });
});

describe("logs", () => {
  test("the SDK's logger sees no secret", () => {
    const seen = [];
    const push = (...all) => seen.push(all);
    const logger = client.redactingLogger({ error: push, warn: push, info: push, debug: push }, ["a value nobody knows"]);
    const error = new Error(`bad ${KEY}`, { cause: { headers: { authorization: "Bearer zzz" } } });
    logger.debug(`sent ${KEY}`, { headers: { "x-api-key": "abc", list: [KEY] }, error, n: 1 }, new Headers({ "x-api-key": "abc" }), "a value nobody knows");
    const text = inspect(seen, { depth: 20 });
    assert.ok(![KEY, "abc", "zzz", "nobody"].some((secret) => text.includes(secret)), text);
    assert.match(text, /n: 1/);
  });

  test("a stream of lines is masked, wherever the pieces part", async () => {
    const passed = new node.RedactingStream();
    let out = "";
    passed.on("data", (chunk) => (out += chunk));
    const text = `one ${KEY} two 密\nthree ${KEY}`;
    for (const byte of Buffer.from(text)) passed.write(Buffer.from([byte]));
    await new Promise((resolve) => passed.end(resolve));
    assert.equal(out, "one [redacted] two 密\nthree [redacted]");
  });

  test("long texts take no quadratic time", () => {
    for (const text of ["A".repeat(2e6), "eyJ".repeat(5e5), "authorization".repeat(1e5), "0a".repeat(1e6), "sk-ant-".repeat(2e5)]) {
      const begun = performance.now();
      client.redact(text);
      assert.ok(performance.now() - begun < 5000, text.slice(0, 10));
    }
  });
});
