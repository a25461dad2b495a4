// Tokens, proofs and signatures between Claviger and npm's `jose` and `http-message-signatures`, which share no code with
// it: each verifies what the other made.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createHash, createHmac, generateKeyPairSync, randomUUID, sign as signWith, timingSafeEqual, verify as verifyWith } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

const modules = createRequire(join(process.env.CLAVIGER_TEST_NODE_MODULES, "index.js"));
const jose = await import(modules.resolve("jose"));
const { httpbis } = modules("http-message-signatures");
const PROVIDER_KEY = `sk-ant-api03-${"p".repeat(93)}AA`;
const BODY = JSON.stringify({ model: "claude-haiku-4-5", max_tokens: 8, messages: [{ role: "user", content: "hi" }] });
const FORM = { "content-type": "application/x-www-form-urlencoded" };
const CALL = { "content-type": "application/json", "anthropic-version": "2023-06-01" };
const COVERED = ["@method", "@authority", "@path", "@query", "content-digest"];

const folder = mkdtempSync(join(tmpdir(), "claviger-"));
const environment = { ...process.env, CLAVIGER_DATA: join(folder, "data") };
for (const name of Object.keys(environment)) if (name.startsWith("ANTHROPIC_")) delete environment[name];
const children = [];

function start(program, args, beginning) {
  const child = spawn(program, args, { env: environment, stdio: ["ignore", "pipe", "pipe"] });
  children.push(child);
  return new Promise((resolve, reject) => {
    let text = "";
    let errors = "";
    child.stderr.on("data", (part) => (errors += part));
    child.on("exit", (code) => reject(new Error(`${program} ended with ${code}: ${errors}`)));
    child.stdout.on("data", (part) => {
      text += part;
      const line = text.split("\n").slice(0, -1).find((l) => l.startsWith(beginning));
      if (line) resolve(line);
    });
  });
}

function command(...args) {
  const done = spawnSync(process.env.CLAVIGER_TEST_BIN, [...args, "--json"], { env: environment, input: `${PROVIDER_KEY}\n`, encoding: "utf8" });
  assert.equal(done.status, 0, done.stderr);
  return JSON.parse(done.stdout);
}

let gateway;
let server;

before(async () => {
  const listening = await start(process.env.CLAVIGER_TEST_SIM, ["--listen", "127.0.0.1:0", "--require-key", PROVIDER_KEY], "listening ");
  const ready = await start(process.env.CLAVIGER_TEST_BIN, ["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"], "ready ");
  gateway = ready.match(/gateway=(\S+)/)[1];
  command("upstream", "add", "sim", "--kind", "anthropic", "--base-url", listening.split(" ")[1]);
  command("credential", "add", "--upstream", "sim", "--from-file", "-");
  command("policy", "set", "--max-keys", "100");
});

after(async () => {
  server?.close();
  for (const child of children.reverse()) {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.removeAllListeners("exit");
    child.once("exit", () => {});
    child.kill("SIGTERM");
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 1000))]);
  }
  rmSync(folder, { recursive: true, force: true });
});

async function post(path, body, headers) {
  const answer = await fetch(gateway + path, { method: "POST", body, headers });
  const read = await answer.json();
  return { status: answer.status, read, code: read.error?.details?.error_code ?? null, headers: answer.headers };
}

const newKey = (...more) => command("key", "create", "--name", "peer", "--test", "--rpm", "0", ...more);

describe("jose", () => {
  test("verifies our tokens by the published keys", async () => {
    const { read: bought } = await post("/v1/auth/token", "", { ...FORM, "x-api-key": newKey().key });
    const published = jose.createRemoteJWKSet(new URL(`${gateway}/.well-known/jwks.json`));
    const rules = { issuer: gateway, audience: gateway, typ: "at+jwt", algorithms: ["EdDSA"], requiredClaims: ["sub", "jti", "iat", "nbf", "exp"] };
    const { payload, protectedHeader } = await jose.jwtVerify(bought.access_token, published, rules);
    assert.equal(payload.exp - payload.iat, bought.expires_in);
    const { keys } = await (await fetch(`${gateway}/.well-known/jwks.json`)).json();
    const ours = keys.find((key) => key.kid === protectedHeader.kid);
    assert.equal(await jose.calculateJwkThumbprint(ours), ours.kid);
    const [head, claims, signature] = bought.access_token.split(".");
    const forged = `${head}.${claims}.${signature.slice(4)}${signature.slice(0, 4)}`;
    await assert.rejects(jose.jwtVerify(forged, published, rules), { code: "ERR_JWS_SIGNATURE_VERIFICATION_FAILED" });
  });

  for (const algorithm of ["EdDSA", "ES256"]) {
    test(`makes DPoP proofs that are accepted, ${algorithm}`, async () => {
      const [own, other] = [await jose.generateKeyPair(algorithm), await jose.generateKeyPair(algorithm)];
      const jwk = await jose.exportJWK(own.publicKey);
      const proof = (path, token, nonce, key) =>
        new jose.SignJWT({
          jti: randomUUID(), htm: "POST", htu: gateway + path, ...(nonce && { nonce }),
          ...(token && { ath: createHash("sha256").update(token).digest("base64url") }),
        }).setProtectedHeader({ typ: "dpop+jwt", alg: algorithm, jwk }).setIssuedAt().sign(key);
      const send = async (path, body, headers, token, key = own.privateKey) => {
        const first = await post(path, body, { ...headers, dpop: await proof(path, token, null, key) });
        if (first.code !== "use_dpop_nonce") return first;
        return post(path, body, { ...headers, dpop: await proof(path, token, first.headers.get("dpop-nonce"), key) });
      };
      const { read: bought } = await send("/v1/auth/token", "", { ...FORM, "x-api-key": newKey().key });
      assert.equal(bought.token_type, "DPoP");
      assert.deepEqual(jose.decodeJwt(bought.access_token).cnf, { jkt: await jose.calculateJwkThumbprint(jwk) });
      const headers = { ...CALL, authorization: `DPoP ${bought.access_token}` };
      assert.equal((await send("/v1/messages", BODY, headers, bought.access_token)).status, 200);
      const stolen = await send("/v1/messages", BODY, headers, bought.access_token, other.privateKey);
      assert.deepEqual([stolen.status, stolen.code], [401, "dpop_invalid"]);
    });
  }

  test("makes assertions that buy keys", async () => {
    const pairs = {};
    const keys = [];
    for (const algorithm of ["RS256", "ES256", "EdDSA"]) {
      pairs[algorithm] = await jose.generateKeyPair(algorithm);
      keys.push({ ...(await jose.exportJWK(pairs[algorithm].publicKey)), kid: algorithm, alg: algorithm, use: "sig" });
    }
    server = createServer((_, answer) => answer.end(JSON.stringify({ keys })));
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const issuer = `http://127.0.0.1:${server.address().port}`;
    command("issuer", "add", "platform", "--platform", "github", "--issuer", issuer, "--jwks-url", `${issuer}/keys`, "--private-network", "--algorithms", "RS256,ES256,EdDSA");
    command("trust", "add", "app", "--issuer", "platform", "--audience", "https://gw.example", "--test", "--claim", "repository=acme/app");
    const buy = async (algorithm, key, audience = "https://gw.example") => {
      const assertion = await new jose.SignJWT({
        repository: "acme/app", repository_id: "11", repository_owner: "acme", repository_owner_id: "7", ref: "refs/heads/main", event_name: "push",
      }).setProtectedHeader({ alg: algorithm, kid: algorithm, typ: "JWT" }).setIssuer(issuer).setAudience(audience).setJti(randomUUID())
        .setSubject("repo:acme/app:ref:refs/heads/main").setIssuedAt().setNotBefore("0s").setExpirationTime("5m").sign(key);
      const form = new URLSearchParams({ grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion });
      return (await post("/v1/auth/token", form.toString(), FORM)).status;
    };
    for (const [algorithm, pair] of Object.entries(pairs)) {
      assert.equal(await buy(algorithm, pair.privateKey), 200, algorithm);
      assert.equal(await buy(algorithm, (await jose.generateKeyPair(algorithm)).privateKey), 401, algorithm);
      assert.equal(await buy(algorithm, pair.privateKey, "https://other.example"), 401, algorithm);
    }
  });
});

for (const kind of ["hmac-sha256", "ed25519"]) {
  describe(`http-message-signatures, ${kind}`, () => {
    let own;
    const digest = (body) => `sha-256=:${createHash("sha256").update(body).digest("base64")}:`;
    const url = () => `${gateway}/v1/messages?beta=true`;

    before(() => {
      const made = newKey("--require", "signature", "--sign");
      const id = made.key.split("_")[2].slice(0, 10);
      const [file, flag] = kind === "ed25519" ? [join(folder, "pair.pem"), "--private-key-file"] : [join(folder, "secret"), "--secret-file"];
      if (kind === "ed25519") {
        const pair = generateKeyPairSync("ed25519");
        writeFileSync(file, pair.privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
        writeFileSync(join(folder, "public.pem"), pair.publicKey.export({ type: "spki", format: "pem" }));
        command("key", "update", made.id, "--signing-public-key", join(folder, "public.pem"));
        const verify = async (data, signature) => verifyWith(null, data, pair.publicKey, signature);
        own = { key: made.key, id, file, flag, sign: async (data) => signWith(null, data, pair.privateKey), verify };
      } else {
        writeFileSync(file, made.signing_secret, { mode: 0o600 });
        const mac = (data) => createHmac("sha256", made.signing_secret).update(data).digest();
        const verify = async (data, signature) => signature.length === 32 && timingSafeEqual(mac(data), signature);
        own = { key: made.key, id, file, flag, sign: async (data) => mac(data), verify };
      }
    });

    const send = async (headers, body = BODY) => {
      const { status, code } = await post("/v1/messages?beta=true", body, { ...CALL, "x-api-key": own.key, ...headers });
      return [status, code];
    };

    test("verifies what claviger signs", async () => {
      writeFileSync(join(folder, "body"), BODY);
      const headers = command("sign", "--profile", "rfc9421", "--method", "POST", "--url", url(), "--key-id", own.id, own.flag, own.file, "--body", join(folder, "body"));
      const verify = (to, more = {}) => httpbis.verifyMessage({
        keyLookup: async ({ keyid }) => (keyid === own.id ? { id: keyid, algs: [kind], verify: own.verify } : null),
        requiredFields: COVERED, requiredParams: ["created", "nonce", "keyid"], tolerance: 5,
      }, { method: "POST", url: to, headers: { ...headers, ...more } });
      assert.equal(await verify(url()), true);
      assert.notEqual(await verify(`${gateway}/v1/files`).catch(() => false), true);
      assert.notEqual(await verify(url(), { "Content-Digest": digest("other"), "content-digest": digest("other") }).catch(() => false), true);
      assert.deepEqual(await send(headers), [200, null]);
    });

    test("signs what the gateway accepts", async () => {
      const signed = async (changes = {}) => {
        const request = { method: "POST", url: url(), headers: { "content-digest": digest(BODY) } };
        const values = { nonce: randomUUID(), created: new Date(), ...changes.values };
        const message = await httpbis.signMessage({
          key: { id: own.id, alg: kind, sign: own.sign }, name: "theirs", fields: changes.fields ?? COVERED,
          params: changes.params ?? ["created", "nonce", "keyid", "alg"], paramValues: values,
        }, request);
        return message.headers;
      };
      const once = await signed();
      assert.deepEqual(await send(once), [200, null]);
      assert.deepEqual(await send(once), [401, "nonce_replayed"]);
      const soon = new Date(Date.now() + 60_000);
      assert.deepEqual(await send(await signed({ params: ["keyid", "expires", "created", "nonce"], values: { expires: soon } })), [200, null]);
      assert.deepEqual(await send(await signed({ fields: [...COVERED].reverse() })), [200, null]);
      assert.deepEqual(await send(await signed(), `${BODY} `), [401, "signature_invalid"]);
      assert.deepEqual(await send(await signed({ fields: COVERED.slice(1) })), [401, "signature_invalid"]);
      assert.deepEqual(await send(await signed({ values: { created: new Date(Date.now() - 400_000) } })), [401, "timestamp_skew"]);
    });
  });
}
