// One signing secret after another: the shared vectors, and what the holder's own code may do wrong.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { describe, test } from "node:test";

import { client, json, known, load, wire } from "./parts.mjs";

const { cases, secrets, start, key: KEY } = load("succession.json");
const BASE = "https://gw.example";
const nameOf = (text) => Object.keys(secrets).find((name) => secrets[name] === text);

/** The name of the secret that signed, by v1. */
function signedBy({ headers, body }) {
  return Object.keys(secrets).find((name) => {
    const mac = createHmac("sha256", secrets[name]).update(body);
    mac.update(`|${headers.get("x-request-timestamp")}|${headers.get("x-request-nonce")}`);
    return headers.get("x-request-signature") === `sha256=${mac.digest("hex")}`;
  });
}

const heldAs = (held) => held && { signing_secret: secrets[held.secret], valid_from: held.valid_from };

function answerTo(request, step, now) {
  known(step, "path", "by", "status", "announces", "answer", "text", "lost", "ahead");
  assert.deepEqual([request.path, signedBy(request)], [step.path, step.by]);
  if (step.lost) throw new TypeError("fetch failed", { cause: Object.assign(new Error("reset"), { code: "ECONNRESET" }) });
  const headers = {};
  if (step.announces !== undefined) headers["x-claviger-signing-secret"] = step.announces;
  if (step.ahead !== undefined) headers.date = new Date((now + step.ahead) * 1000).toUTCString();
  if (step.text !== undefined) return new Response(step.text, { status: step.status, headers });
  const { current = null, next = null } = step.answer ?? {};
  return json(step.status, { current: heldAs(current), next: heldAs(next) }, headers);
}

describe("succession", () => {
  for (const one of cases) {
    test(one.name, async () => {
      known(one, "name", "secret", "calls");
      let now = start;
      let exchanges = [];
      let stored = [];
      const gateway = wire((request) => {
        assert.ok(exchanges.length > 0, `nothing was to be sent: ${request.url}`);
        return answerTo(request, exchanges.shift(), now);
      });
      const key = client.hmacKey(secrets[one.secret], { onSuccessor: (text, at) => stored.push([nameOf(text), at]), clock: () => now * 1000 });
      const signer = new client.Signer({ key, profile: "v1", clock: () => now });
      const made = client.clavigerFetch({ baseURL: BASE, key: KEY, signer, fetch: gateway.fetch });
      for (const call of one.calls) {
        known(call, "at", "exchanges", "stored");
        now = start + call.at;
        exchanges = [...call.exchanges];
        stored = [];
        const answer = await made(`${BASE}/v1/models`, { headers: { "x-stainless-retry-count": "0" } });
        assert.equal(answer.status, 200, `at ${call.at}`);
        assert.deepEqual(exchanges, [], `at ${call.at}`);
        assert.deepEqual(stored, (call.stored ?? []).map(([name, at]) => [name, Date.parse(at)]), `at ${call.at}`);
      }
    });
  }

  const broken = (text) => {
    throw new RangeError(`no room for ${text}`);
  };
  for (const [onSuccessor, said] of [
    [undefined, /only this process knows/],
    [broken, /threw RangeError/],
    [async (text) => broken(text), /threw RangeError/],
  ]) {
    test(`what is not stored is told and costs no call: ${said}`, async () => {
      const told = [];
      const gateway = wire((request) => {
        const held = { signing_secret: secrets.second, valid_from: "2027-01-15T07:00:00Z" };
        if (request.path.endsWith("/signing-secret")) return json(200, { current: held, next: null });
        return json(200, {}, signedBy(request) === "first" ? { "x-claviger-signing-secret": "rotates-at=2027-01-15T07:00:00Z" } : {});
      });
      const signer = new client.Signer({ key: client.hmacKey(secrets.first, { onSuccessor }), profile: "v1" });
      const made = client.clavigerFetch({ baseURL: BASE, key: KEY, signer, fetch: gateway.fetch, warn: (text) => told.push(text) });
      for (let n = 0; n < 3; n += 1) assert.deepEqual(await (await made(`${BASE}/v1/models`)).json(), {});
      assert.deepEqual(gateway.seen.map(signedBy), ["first", "first", "second", "second"]);
      assert.equal(told.length, 1);
      assert.match(told[0], said);
      assert.ok(!told[0].includes(secrets.second));
      assert.equal(made.summary().requests, 3);
    });
  }
});
