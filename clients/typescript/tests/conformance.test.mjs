// The shared vectors.

import assert from "node:assert/strict";
import { createHash, createPublicKey, verify } from "node:crypto";
import { describe, test } from "node:test";

import { bodyOf, client, envelope, json, KEY, known, load, token, wire } from "./parts.mjs";

const signing = load("signing.json");
const statistics = load("statistics.json");
const redaction = load("redaction.json");

describe("signing", () => {
  for (const one of signing.cases) {
    test(one.name, async () => {
      known(one, "name", "profile", "alg", "secret_utf8", "expires", "method", "url", "body_utf8", "body_base64", "body_repeat", "expect");
      const key = one.alg === "ed25519" ? await client.ed25519Key(signing.ed25519.private_pem) : client.hmacKey(one.secret_utf8);
      const signer = new client.Signer({
        key, profile: one.profile, clock: () => signing.timestamp + 0.9, nonce: () => signing.nonce,
        ...(one.expires === undefined ? {} : { lifetimeSecs: one.expires - signing.timestamp }),
      });
      const headers = await signer.headers(client.targetOf(one.method, one.url), signing.key_id, bodyOf(one));
      assert.deepEqual(headers, one.expect.headers);
    });
  }
});

describe("retry", () => {
  const { settings, cases } = load("retry.json");
  for (const one of cases) {
    test(one.name, () => {
      known(one, "name", "sdk", "method", "attempt", "max_retries", "replayable", "status", "error", "headers", "random", "now", "expect");
      const policy = {
        maxRetries: one.max_retries ?? settings.max_retries, baseMs: settings.base_ms, capMs: settings.cap_ms, jitter: settings.jitter,
      };
      const headers = one.headers && new Headers(one.headers);
      const made = client.decide(policy, { ...one, headers, replayable: one.replayable ?? true }, one.random, (one.now ?? 0) * 1000);
      const expect = known(one.expect, "retry", "wait_ms", "should_retry");
      assert.equal(made.waitMs !== undefined, expect.retry);
      if (expect.retry) assert.equal(Math.round(made.waitMs), expect.wait_ms);
      assert.equal(made.forbid === true, expect.should_retry === "false");
    });
  }
});

/** Header and claims of a proof that the key in its header signed, by Node's own means. */
async function verified(proof) {
  const parts = proof.split(".");
  assert.equal(parts.length, 3);
  const [header, claims] = parts.slice(0, 2).map((part) => JSON.parse(Buffer.from(part, "base64url").toString()));
  const key = createPublicKey({ key: header.jwk, format: "jwk" });
  const text = Buffer.from(`${parts[0]}.${parts[1]}`);
  const how = header.alg === "ES256" ? { key, dsaEncoding: "ieee-p1363" } : key;
  assert.ok(verify(header.alg === "ES256" ? "sha256" : null, text, how, Buffer.from(parts[2], "base64url")));
  return { header, claims };
}

const thumbprintOf = (jwk) => createHash("sha256").update(JSON.stringify(jwk, Object.keys(jwk).sort())).digest("base64url");

describe("proofs of possession", () => {
  const dpop = load("dpop.json");
  for (const one of dpop.cases) {
    test(one.name, async () => {
      known(one, "name", "alg", "method", "url", "access_token", "nonce", "expect");
      const pair = known(dpop.keys[one.alg], "private_pem", "jwk", "jkt");
      const key = client.proofKey(pair.private_pem, { clock: () => dpop.iat + 0.9, jti: () => dpop.jti });
      assert.equal(await key.thumbprint(), pair.jkt);
      assert.deepEqual(await verified(await key.proof(one.method, one.url, one.access_token, one.nonce)), one.expect);
    });
  }

  for (const algorithm of ["ES256", "EdDSA"]) {
    test(`a key that is made here, ${algorithm}`, async () => {
      const key = client.proofKey(undefined, { algorithm });
      const proofs = await Promise.all([1, 2].map(async () => verified(await key.proof("GET", "http://gw.example/v1/models"))));
      assert.equal(proofs[0].header.alg, algorithm);
      assert.notEqual(proofs[0].claims.jti, proofs[1].claims.jti);
      assert.match(proofs[0].claims.jti, /^[0-9a-f]{32}$/);
      assert.equal(await thumbprintOf(proofs[0].header.jwk), await key.thumbprint());
    });
  }

  test("keys that cannot be are refused", async () => {
    for (const pem of ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]) {
      await assert.rejects(client.proofKey(pem).thumbprint(), client.ConfigurationError);
    }
    assert.throws(() => client.proofKey(undefined, { algorithm: "HS256" }), client.ConfigurationError);
    assert.throws(() => client.clavigerFetch({ baseURL: "http://gw.example", key: KEY, proofKey: client.proofKey() }), /auth = token/);
  });

  test("a repeated attempt has a proof of its own, and a stream is sent again with the nonce", async () => {
    const ids = [];
    const { fetch, seen } = wire(async (request, count) => {
      ids.push((await verified(request.headers.get("dpop"))).claims.jti);
      if (request.path === "/v1/auth/token") return count === 1 ? json(503, {}) : token(1, { token_type: "DPoP" });
      return count === 3 ? json(401, envelope("use_dpop_nonce"), { "dpop-nonce": "N1" }) : json(count < 5 ? 529 : 200, {});
    });
    const made = client.clavigerFetch({
      baseURL: "http://gw.example", key: KEY, auth: "token", proofKey: client.proofKey(), fetch, retry: { baseMs: 1 },
    });
    const body = new Blob(["ab"]).stream();
    assert.equal((await made("http://gw.example/v1/messages/count_tokens", { method: "POST", body, duplex: "half" })).status, 200);
    assert.equal(ids.length, 5);
    assert.equal(new Set(ids).size, 5);
    assert.deepEqual(seen.slice(2).map((request) => new TextDecoder().decode(request.body)), ["ab", "ab", "ab"]);
  });
});

/** Virtual time: whoever sleeps is woken in order. */
class Time {
  now = 0;
  sleepers = [];

  sleep = (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const sleeper = { at: this.now + ms, resolve };
      this.sleepers.push(sleeper);
      signal?.addEventListener("abort", () => {
        this.sleepers = this.sleepers.filter((other) => other !== sleeper);
        reject(signal.reason);
      });
    });

  async run() {
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.sleepers.length === 0) return;
      const first = this.sleepers.reduce((a, b) => (b.at < a.at ? b : a));
      if (first.at === Infinity) return;
      this.sleepers = this.sleepers.filter((other) => other !== first);
      this.now = Math.max(this.now, first.at);
      first.resolve();
    }
  }
}

describe("limiter", () => {
  for (const one of load("limiter.json").cases) {
    test(one.name, async () => {
      known(one, "name", "per_second", "burst", "concurrency", "max_wait_ms", "arrivals", "starts_ms");
      const time = new Time();
      const limiter = new client.Limiter({
        perSecond: one.per_second, burst: one.burst, concurrency: one.concurrency, maxWaitMs: one.max_wait_ms ?? Infinity,
        monotonic: () => time.now, sleep: time.sleep,
      });
      const starts = one.arrivals.map(() => null);
      for (const [index, arrival] of one.arrivals.entries()) {
        void time.sleep(arrival.at_ms).then(async () => {
          const release = await limiter.acquire();
          starts[index] = time.now;
          await time.sleep(arrival.takes_ms);
          release();
        }).catch((error) => assert.ok(error instanceof client.LimitReached));
      }
      await time.run();
      assert.deepEqual(starts, one.starts_ms);
    });
  }
});

describe("statistics", () => {
  const prices = new client.Prices(statistics.prices);
  for (const one of statistics.cases) {
    test(one.name, () => {
      const kept = new client.Statistics(prices);
      for (const call of known(one, "name", "calls", "expect").calls) {
        known(call, "latency_ms", "model", "status", "cache_hit", "usage");
        if (call.cache_hit) kept.hit();
        else {
          kept.sent({
            status: call.status ?? undefined, latencyMs: call.latency_ms, model: call.model, usage: call.usage && client.readUsage(call.usage),
          });
        }
      }
      const summary = kept.summary();
      const { expect } = one;
      const close = (a, b) => assert.ok(b === null ? a === undefined : Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(b)), `${a} ${b}`);
      assert.equal(String(summary.estimatedCostPicoUsd), expect.estimated_cost_pico_usd);
      const names = {
        requests: "requests", errors: "errors", cache_hits: "cacheHits", input_tokens: "inputTokens", output_tokens: "outputTokens",
        tokens_per_request: "tokensPerRequest", latency_mean_ms: "latencyMeanMs", latency_p50_ms: "latencyP50Ms",
        latency_p95_ms: "latencyP95Ms", latency_p99_ms: "latencyP99Ms", unpriced_requests: "unpricedRequests",
      };
      known(expect, "estimated_cost_pico_usd", ...Object.keys(names));
      for (const [theirs, ours] of Object.entries(names)) close(summary[ours], expect[theirs]);
    });
  }

  for (const one of statistics.streams) {
    for (const size of [1, 2, 7, 1e6]) {
      test(`stream: ${one.name}, ${size} at a time`, () => {
        const reader = new client.StreamUsage();
        const bytes = new TextEncoder().encode(known(one, "name", "sse", "ended", "usage").sse);
        for (let at = 0; at < bytes.length; at += size) reader.feed(bytes.subarray(at, at + size));
        reader.close();
        assert.equal(reader.ended, one.ended);
        if (one.usage === null) return assert.equal(reader.usage, undefined);
        const { model, ...counts } = one.usage;
        assert.equal(reader.model, model);
        assert.deepEqual(reader.usage, {
          input: counts.input_tokens, output: counts.output_tokens, cacheWrite5m: counts.cache_write_5m,
          cacheWrite1h: counts.cache_write_1h, cacheRead: counts.cache_read,
        });
      });
    }
  }

  test("the price table is the common one", () => {
    const table = new client.Prices();
    const usage = { input: 1, output: 10, cacheWrite5m: 100, cacheWrite1h: 1000, cacheRead: 10000 };
    const common = new client.Prices(load("prices.json").models);
    for (const model of Object.keys(load("prices.json").models)) {
      for (const input of [1, 200_000]) {
        assert.ok(table.cost(model, { ...usage, input }) > 0n);
        assert.equal(table.cost(model, { ...usage, input }), common.cost(model, { ...usage, input }));
      }
    }
    assert.equal(table.cost("toString", usage), undefined);
  });
});

describe("redaction", () => {
  for (const one of redaction.cases) {
    test(one.name, () => assert.equal(client.redact(known(one, "name", "text", "expect").text), one.expect));
  }
  for (const one of redaction.known.cases) {
    test(`known value: ${one.name}`, () => {
      assert.equal(new client.Redactor([redaction.known.secret]).redact(known(one, "name", "text", "expect").text), one.expect);
    });
  }
  for (const text of redaction.plain) test(`stays: ${text}`, () => assert.equal(client.redact(text), text));
});

describe(".env files", () => {
  for (const one of load("dotenv.json").cases) {
    test(one.name, () => {
      known(one, "name", "text", "values", "error_line");
      if (one.error_line === undefined) return assert.deepEqual(client.parseDotenv(one.text), one.values);
      assert.throws(() => client.parseDotenv(one.text), (error) => {
        assert.ok(error instanceof client.ConfigurationError && error.message.includes(`line ${one.error_line} `));
        return !error.message.includes("secret");
      });
    });
  }
});

describe("tokens", () => {
  for (const one of load("tokens.json").cases) {
    test(one.name, async () => {
      known(one, "name", "scope", "dpop", "calls");
      const proofKey = one.dpop ? client.proofKey() : undefined;
      const used = new Set();
      let now = 0;
      let exchanges = [];
      const { fetch } = wire(async (request) => {
        assert.ok(exchanges.length > 0, `nothing was to be sent: ${request.url}`);
        const step = known(exchanges.shift(), "path", "proof", "form", "tokens", "status", "error_code", "json", "nonce", "dpop_nonce");
        assert.equal(request.path, step.path);
        const [kind, value] = step.proof.split(":");
        assert.equal(request.headers.get("x-api-key"), kind === "key" ? KEY : null);
        assert.equal(request.headers.get("authorization"), { bearer: `Bearer ${value}`, dpop: `DPoP ${value}` }[kind] ?? null);
        if (!one.dpop) assert.equal(request.headers.get("dpop"), null);
        else {
          const { header, claims } = await verified(request.headers.get("dpop"));
          assert.equal(await thumbprintOf(header.jwk), await proofKey.thumbprint());
          assert.ok(!used.has(claims.jti));
          used.add(claims.jti);
          const ath = kind === "dpop" ? createHash("sha256").update(value).digest("base64url") : undefined;
          assert.deepEqual([claims.htm, claims.htu, claims.nonce, claims.ath], [request.method, request.url, step.nonce, ath]);
        }
        const given = step.dpop_nonce === undefined ? {} : { "dpop-nonce": step.dpop_nonce };
        const form = Object.fromEntries(new URLSearchParams(new TextDecoder().decode(request.body)));
        if (step.path === "/v1/auth/refresh") assert.deepEqual(form, { grant_type: "refresh_token", refresh_token: value });
        if (step.path === "/v1/auth/token") assert.deepEqual(form, step.form ?? { grant_type: "client_credentials" });
        if (step.tokens) return json(200, { token_type: "Bearer", scope: "all", ...step.tokens }, given);
        if (step.json) return json(200, step.json);
        return json(step.status, step.status === 200 ? { data: [] } : envelope(step.error_code), given);
      });
      const made = client.clavigerFetch({
        baseURL: "http://gw.example:8787", key: KEY, auth: "token", scope: one.scope, proofKey, fetch, monotonic: () => now,
      });
      for (const call of one.calls) {
        now = 1_000_000 + known(call, "at", "exchanges", "result").at * 1000;
        exchanges = [...call.exchanges];
        const headers = { "x-stainless-retry-count": "0", authorization: "Bearer sdk" };
        const result = await made("http://gw.example:8787/v1/models", { headers }).then(
          (response) => (response.headers.get("x-claviger-local") === "error" ? "error" : response.status),
        );
        assert.equal(result, call.result);
        assert.equal(exchanges.length, 0);
      }
    });
  }

  test("many calls buy one token, and one that goes away does not stop the others", async () => {
    const bought = [];
    const { fetch } = wire(async (request) => {
      if (!request.path.startsWith("/v1/auth/")) return json(200, {});
      bought.push(request.path);
      await new Promise((resolve) => setTimeout(resolve, 20));
      return token(bought.length);
    });
    const made = client.clavigerFetch({ baseURL: "http://gw.example", key: KEY, auth: "token", fetch });
    const gone = new AbortController();
    const calls = Array.from({ length: 20 }, (_, n) => made("http://gw.example/v1/models", n < 2 ? { signal: gone.signal } : {}));
    setTimeout(() => gone.abort(), 5);
    const results = await Promise.allSettled(calls);
    assert.equal(results.filter((r) => r.status === "fulfilled" && r.value.status === 200).length, 18);
    assert.deepEqual(bought, ["/v1/auth/token"]);
  });

  test("a refusal reaches all who wait", async () => {
    const { fetch, seen } = wire(() => json(401, envelope(), { "x-should-retry": "false" }));
    const made = client.clavigerFetch({ baseURL: "http://gw.example", key: KEY, auth: "token", fetch });
    const answers = await Promise.all(Array.from({ length: 8 }, () => made("http://gw.example/v1/models")));
    for (const answer of answers) assert.equal((await answer.json()).error.type, "authentication_error");
    assert.equal(seen.length, 1);
  });
});
