// What is sent for every kind of body; the SDK with the adapter; nothing is done twice, everything is counted.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createRequire } from "node:module";
import { join } from "node:path";
import { describe, test } from "node:test";

import { client, envelope, json, KEY, load, message, token, wire } from "./parts.mjs";

const BASE = "http://gw.example:8787/team-a";
const SECRET = `cvg_sign_${"Ab0".repeat(12)}`;
const ASK = { model: "claude-opus-5-5", max_tokens: 16, messages: [{ role: "user", content: "hi" }] };
const SSE = load("statistics.json").streams[0].sse.replaceAll('"plain"', '"claude-opus-5-5"');
const modules = createRequire(process.env.CLAVIGER_TEST_NODE_MODULES
  ? join(process.env.CLAVIGER_TEST_NODE_MODULES, "index.js") : import.meta.url);
const Anthropic = modules("@anthropic-ai/sdk").default;

const signer = (profile = "v1") => new client.Signer({ key: client.hmacKey(SECRET), profile });
const made = (gateway, more = {}) => client.clavigerFetch({ baseURL: BASE, key: KEY, fetch: gateway.fetch, ...more });
const sdk = (gateway, more = {}, options = {}) => {
  const fetch = made(gateway, { signer: signer("v2"), ...more });
  return { fetch, client: new Anthropic({ baseURL: BASE, apiKey: client.PLACEHOLDER_KEY, fetch, ...options }) };
};
const stream = (...parts) => new ReadableStream({ start(c) { for (const part of parts) c.enqueue(new TextEncoder().encode(part)); c.close(); } });

function assertSigned({ headers, body }) {
  const mac = createHmac("sha256", SECRET).update(body);
  mac.update(`|${headers.get("x-request-timestamp")}|${headers.get("x-request-nonce")}`);
  assert.equal(headers.get("x-request-signature"), `sha256=${mac.digest("hex")}`);
}

describe("what is sent", () => {
  test("the SDK's credential is replaced", async () => {
    const gateway = wire(() => json(200, {}));
    await made(gateway)(`${BASE}/v1/models`, { headers: { Authorization: "Bearer sdk", "X-Api-Key": "sdk" } });
    assert.equal(gateway.seen[0].headers.get("x-api-key"), KEY);
    assert.equal(gateway.seen[0].headers.has("authorization"), false);
  });

  for (const url of ["http://other.example/v1/models", "https://gw.example:8787/v1/models", "http://gw.example/v1/models"]) {
    test(`${url} gets nothing`, async () => {
      const gateway = wire(() => json(200, {}));
      await assert.rejects(made(gateway)(url), client.WrongOrigin);
      assert.equal(gateway.seen.length, 0);
    });
  }

  const form = new FormData();
  form.append("purpose", "x");
  form.append("file", new Blob([new Uint8Array(200_000).fill(7)]), "a.bin");
  const bodies = {
    text: JSON.stringify({ text: "密钥" }), "no body": undefined, "empty text": "", bytes: new Uint8Array([0, 1, 255]),
    buffer: new Uint8Array([9, 8]).buffer, blob: new Blob(["abc"]), form, parameters: new URLSearchParams({ a: "b c" }),
    stream: stream("one ", "two"),
  };
  for (const [name, body] of Object.entries(bodies)) {
    test(`${name} is signed as it is sent`, async () => {
      const gateway = wire(() => json(200, {}));
      await made(gateway, { signer: signer() })(`${BASE}/v1/x?beta=true`, { method: "POST", body, duplex: "half" });
      assertSigned(gateway.seen[0]);
      if (name === "form") assert.match(gateway.seen[0].headers.get("content-type"), /^multipart\/form-data; boundary=/);
      if (name === "stream") assert.equal(new TextDecoder().decode(gateway.seen[0].body), "one two");
    });
  }

  test("a Request is taken as well", async () => {
    const gateway = wire(() => json(200, {}));
    await made(gateway, { signer: signer() })(new Request(`${BASE}/v1/x`, { method: "POST", body: "abc" }));
    assertSigned(gateway.seen[0]);
    assert.equal(gateway.seen[0].body.length, 3);
  });

  for (const body of [stream("x".repeat(600), "x".repeat(600)), new Blob(["x".repeat(1200)])]) {
    test(`${body.constructor.name} beyond the bound is refused with the reason before anything is sent`, async () => {
      const gateway = wire(() => json(200, {}));
      const call = made(gateway, { signer: signer(), maxBodyBytes: 1000 })(`${BASE}/v1/files`, { method: "POST", body, duplex: "half" });
      await assert.rejects(call, (error) => error instanceof client.NotSignable && /1000 bytes/.test(error.message));
      assert.equal(gateway.seen.length, 0);
    });
  }

  test("a stream that is not signed passes through and is not repeated", async () => {
    const gateway = wire((r) => (r.path.endsWith("/v1/auth/token") ? token(1) : json(401, envelope("token_expired"))));
    const answer = await made(gateway, { auth: "token" })(`${BASE}/v1/files`, { method: "POST", body: stream("once"), duplex: "half" });
    assert.equal(answer.status, 401);
    assert.deepEqual(gateway.seen.map((r) => r.path), ["/team-a/v1/auth/token", "/team-a/v1/files"]);
  });

  test("no redirect is followed", async () => {
    const gateway = { fetch: async (_, init) => { gateway.init = init; return new Response(null, { status: 307 }); } };
    assert.equal((await made(gateway)(`${BASE}/v1/models`)).status, 307);
    assert.equal(gateway.init.redirect, "manual");
  });
});

describe("the official SDK", () => {
  test("a message is answered, signed and counted", async () => {
    const gateway = wire(() => json(200, message({ cache_read_input_tokens: 1000 })));
    const { client: anthropic, fetch } = sdk(gateway);
    assert.equal((await anthropic.messages.create(ASK)).content[0].text, "hello");
    const [{ headers, url }] = gateway.seen;
    assert.equal(url, `${BASE}/v1/messages`);
    assert.equal(headers.get("x-request-signature-version"), "2");
    assert.equal([...headers].some(([, value]) => value.includes(client.PLACEHOLDER_KEY)), false);
    const summary = fetch.summary();
    assert.deepEqual([summary.requests, summary.errors, summary.inputTokens, summary.outputTokens], [1, 0, 1010, 5]);
    assert.equal(summary.estimatedCostPicoUsd, 340_000_000n);
  });

  test("the SDK retries and the adapter does not", async () => {
    const gateway = wire((_, n) => (n < 3 ? json(529, envelope(), { "retry-after-ms": "1" }) : json(200, message())));
    const { client: anthropic, fetch } = sdk(gateway);
    await anthropic.messages.create(ASK);
    assert.deepEqual(gateway.seen.map((r) => r.headers.get("x-stainless-retry-count")), ["0", "1", "2"]);
    assert.equal(new Set(gateway.seen.map((r) => r.headers.get("x-request-nonce"))).size, 3, "each attempt is signed anew");
    assert.equal(fetch.summary().retries, 0);
  });

  test("the SDK does not sleep beyond the cap", async () => {
    const gateway = wire(() => json(429, envelope(undefined, "rate_limit_error"), { "retry-after": "3600" }));
    await assert.rejects(sdk(gateway).client.messages.create(ASK), (error) => error.status === 429);
    assert.equal(gateway.seen.length, 1);
  });

  test("a refused key is an authentication error when tokens are used", async () => {
    const gateway = wire(() => json(401, envelope(), { "x-should-retry": "false" }));
    await assert.rejects(sdk(gateway, { auth: "token" }).client.messages.create(ASK), Anthropic.AuthenticationError);
    assert.equal(gateway.seen.length, 1);
  });

  test("a busy token endpoint is retried by the SDK alone", async () => {
    const busy = () => json(503, envelope(undefined, "api_error"), { "retry-after-ms": "1" });
    const gateway = wire((r, n) => (r.path.endsWith("/token") ? (n < 3 ? busy() : token(1)) : json(200, message())));
    await sdk(gateway, { auth: "token" }).client.messages.create(ASK);
    assert.equal(gateway.seen.length, 4);
  });

  test("a stream is counted when it ends and holds its slot until then", async () => {
    const gateway = wire(() => new Response(SSE, { headers: { "content-type": "text/event-stream; charset=utf-8" } }));
    const limiter = new client.Limiter({ concurrency: 1, maxWaitMs: 30 });
    const { client: anthropic, fetch } = sdk(gateway, { limiter });
    const events = await anthropic.messages.create({ ...ASK, stream: true });
    assert.equal(fetch.summary().requests, 0);
    await assert.rejects(anthropic.messages.create(ASK), (e) => e instanceof Anthropic.RateLimitError && /own limit/.test(e.message));
    const types = [];
    for await (const event of events) types.push(event.type);
    assert.equal(types.at(-1), "message_stop");
    assert.equal(fetch.summary().outputTokens, 12);
    const second = await anthropic.messages.create({ ...ASK, stream: true });
    second.controller.abort();
    await second[Symbol.asyncIterator]().return?.();
    assert.equal(gateway.seen.length, 2);
  });

  test("an SDK is told what is wrong here and does not try again", async () => {
    const gateway = wire(() => json(200, message()));
    const begun = performance.now();
    const key = { fetch: async () => { throw new client.KeyUnavailable("the variable K is empty or not set"); } };
    await assert.rejects(sdk(gateway, { key }).client.messages.create(ASK), (e) => e instanceof Anthropic.AuthenticationError && /variable K/.test(e.message));
    await assert.rejects(made(gateway, { key })(`${BASE}/v1/models`), client.KeyUnavailable);
    const { client: small } = sdk(gateway, { maxBodyBytes: 10 });
    await assert.rejects(small.messages.create(ASK), (e) => e.status === 413 && /10 bytes/.test(e.message));
    assert.ok(performance.now() - begun < 400 && gateway.seen.length === 0);
  });

  test("the cache answers equal questions only", async () => {
    const gateway = wire((_, n) => json(200, message({}, String(n))));
    const { client: anthropic, fetch } = sdk(gateway, { cache: new client.ResponseCache() });
    const ask = async (more = {}) => (await anthropic.messages.create({ ...ASK, ...more })).content[0].text;
    assert.deepEqual([await ask(), await ask(), await ask()], ["1", "1", "1"]);
    assert.deepEqual([await ask({ max_tokens: 17 }), await ask({ system: "s" })], ["2", "3"]);
    const tools = [{ name: "t", input_schema: { type: "object" } }];
    assert.deepEqual([await ask({ tools }), await ask({ tools })], ["4", "5"]);
    assert.deepEqual([fetch.summary().cacheHits, fetch.summary().requests], [2, 7]);
  });
});

describe("without an SDK", () => {
  const quick = { retry: { baseMs: 1 }, signer: signer("v2") };

  test("the adapter retries and signs anew", async () => {
    const gateway = wire((_, n) => json([503, 429, 200][n - 1], message()));
    const fetch = made(gateway, quick);
    const answer = await fetch(`${BASE}/v1/messages`, { method: "POST", body: JSON.stringify(ASK) });
    await answer.text();
    assert.equal(answer.status, 200);
    assert.equal(new Set(gateway.seen.map((r) => r.headers.get("x-request-nonce"))).size, 3);
    assert.deepEqual([fetch.summary().retries, fetch.summary().requests], [2, 1]);
  });

  for (const [method, code, sent] of [["POST", "ECONNREFUSED", 4], ["POST", "UND_ERR_SOCKET", 1], ["GET", "UND_ERR_SOCKET", 4]]) {
    test(`${method} after ${code} is sent ${sent} times`, async () => {
      let count = 0;
      const fetch = made({ fetch: async () => { count += 1; throw new TypeError("fetch failed", { cause: { code } }); } }, quick);
      await assert.rejects(fetch(`${BASE}/v1/models`, { method }), TypeError);
      assert.equal(count, sent);
      assert.equal(fetch.summary().errors, 1);
    });
  }

  test("an aborted call ends at once, while it waits as well", async () => {
    const gateway = wire(() => json(503, envelope(), { "retry-after": "50" }));
    const begun = performance.now();
    await assert.rejects(made(gateway)(`${BASE}/v1/models`, { signal: AbortSignal.timeout(30) }), { name: "TimeoutError" });
    assert.ok(performance.now() - begun < 2000);
    assert.equal(gateway.seen.length, 1);
  });

  test("health judges the clock that requests are signed with", async () => {
    const gateway = wire(() => json(200, {}, { date: new Date().toUTCString() }));
    const signer = (offset) => new client.Signer({ key: client.hmacKey("cvg_sign_x"), clock: () => Date.now() / 1000 + offset });
    const late = await made(gateway, { signer: signer(-412) }).health();
    assert.match(late.problem, /^this machine's clock is 41\d s behind the gateway's/);
    assert.ok(Math.abs(late.clockOffsetSecs + 412) <= 1, String(late.clockOffsetSecs));
    assert.equal((await made(gateway, { signer: signer(0) }).health()).problem, undefined);
  });

  test("health says what is wrong", async () => {
    const date = new Date(Date.now() + 412_000).toUTCString();
    const well = wire((r) => json(200, {}, { date: new Date().toUTCString() }));
    assert.equal((await made(well).health()).ok, true);
    const skewed = wire((r) => (r.path.endsWith("/readyz") ? json(200, {}) : json(401, envelope("timestamp_skew"), { date })));
    const health = await made(skewed).health();
    assert.match(health.problem, /^this machine's clock is 41\d s behind the gateway's/);
    const told = wire((r) => (r.path.endsWith("/readyz") ? json(200, {}) : json(401, envelope("timestamp_skew"))));
    assert.equal((await made(told).health()).problem, "the gateway does not take this client's credential: 401, no");
    const away = { fetch: async () => { throw new TypeError("fetch failed"); } };
    assert.equal((await made(away, quick).health()).problem, "the gateway does not answer: TypeError");
  });
});

describe("an answer to a refresh that is lost is no theft", () => {
  for (const [name, losses, times, expected] of [
    ["one", 1, [0, 545], ["token", "refresh", "refresh"]],
    ["two, then nothing for a while", 2, [0, 545, 560], ["token", "refresh", "refresh", "token"]],
    ["two, and calls go on", 2, [0, 545, 546, 556], ["token", "refresh", "refresh", "token"]],
  ]) {
    test(name, async () => {
      let now = 0;
      let left = losses;
      let first;
      const asked = [];
      const gateway = wire((request) => {
        if (request.path.endsWith("/v1/models")) return json(200, {});
        asked.push(request.path.split("/").at(-1));
        if (asked.at(-1) === "refresh") {
          first ??= now;
          assert.ok(now - first <= 10, "that is theft");
          left -= 1;
          if (left >= 0) throw new TypeError("fetch failed", { cause: { code: "ECONNRESET" } });
        }
        const number = asked.length;
        return json(200, { access_token: `A${number}`, token_type: "Bearer", expires_in: 600, refresh_token: `R${number}` });
      });
      const made = client.clavigerFetch({ baseURL: BASE, key: KEY, auth: "token", fetch: gateway.fetch, monotonic: () => now * 1000 });
      for (now of times) {
        assert.equal((await made(`${BASE}/v1/models`, { headers: { "x-stainless-retry-count": "0" } })).status, 200);
      }
      assert.deepEqual(asked, expected);
    });
  }
});

test("fifty calls at once buy one token, though the first of them goes away", async () => {
  const bought = [];
  const fetch = async (input, init) => {
    const request = new Request(input, init);
    if (!request.url.includes("/v1/auth/")) return json(200, {});
    bought.push(request.url);
    await new Promise((resolve) => setTimeout(resolve, 20));
    return json(200, { access_token: "A", token_type: "Bearer", expires_in: 600, refresh_token: "R" });
  };
  const made = client.clavigerFetch({ baseURL: BASE, key: KEY, auth: "token", fetch });
  const away = new AbortController();
  const calls = Array.from({ length: 50 }, (_, n) => made(`${BASE}/v1/models`, n === 0 ? { signal: away.signal } : {}));
  setTimeout(() => away.abort(), 5);
  const ended = await Promise.allSettled(calls);
  assert.equal(ended[0].status, "rejected");
  assert.ok(ended.slice(1).every((one) => one.value?.status === 200));
  assert.equal(bought.length, 1);
});

test("a request that is given whole is stopped by its own signal", async () => {
  const away = new AbortController();
  const seen = [];
  const fetch = (input, init) => new Promise((_, reject) => {
    seen.push(init.signal);
    init.signal.addEventListener("abort", () => reject(init.signal.reason), { once: true });
  });
  const made = client.clavigerFetch({ baseURL: BASE, key: KEY, fetch });
  const call = made(new Request(`${BASE}/v1/models`, { signal: away.signal }));
  setTimeout(() => away.abort(new Error("enough")), 10);
  await assert.rejects(call, /enough/);
  assert.equal(seen.length, 1);
});

test("no request with a credential follows a redirect", async () => {
  const followed = [];
  const elsewhere = "https://elsewhere.example/";
  const fetch = async (input, init) => {
    const request = new Request(input, init);
    if (request.redirect !== "manual") followed.push(request.url);
    return new Response(null, { status: 307, headers: { location: elsewhere } });
  };
  const key = client.hmacKey("s".repeat(40));
  key.announce("rotates-at=2027-01-15T09:00:00Z");
  const made = client.clavigerFetch({ baseURL: BASE, key: KEY, auth: "token", signer: new client.Signer({ key }), fetch });
  assert.equal((await made(`${BASE}/v1/models`)).status, 307);
  const plain = client.clavigerFetch({ baseURL: BASE, key: KEY, signer: new client.Signer({ key }), fetch });
  assert.equal((await plain(`${BASE}/v1/models`)).status, 307);
  assert.deepEqual(followed, []);
});

test("settings that cannot be are refused", () => {
  for (const wrong of [{ baseURL: "gw.example" }, { auth: "both" }]) {
    assert.throws(() => client.clavigerFetch({ baseURL: BASE, key: KEY, ...wrong }), client.ConfigurationError);
  }
  assert.throws(() => new client.Limiter({ concurrency: 0 }), client.ConfigurationError);
});

test("the main part has no word of Node", async () => {
  // Compiled without Node's types, and loaded here without any of its globals.
  const { readFileSync, readdirSync } = await import("node:fs");
  const folder = new URL("../src/", import.meta.url);
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".ts") && name !== "node.ts")) {
    assert.doesNotMatch(readFileSync(new URL(file, folder), "utf8"), /from "node:|\bprocess\.|\bBuffer\b/, file);
  }
});
