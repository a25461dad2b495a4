// The official TypeScript SDKs, unchanged but for the adapter, under a key that demands an access token and a signature.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";

const modules = createRequire(join(process.env.CLAVIGER_TEST_NODE_MODULES, "index.js"));
const { hmacKey, Limiter, runBatch, sdkOptions, Signer } = await import(
  pathToFileURL(join(process.env.CLAVIGER_TEST_TS_DIST, "index.js")).href
);
const MODEL = "claude-opus-5-5";
const messages = [{ role: "user", content: "Hello" }];
const PROVIDER_KEY = `sk-ant-api03-${"p".repeat(93)}AA`;
const say = (content, more = {}) => ({ model: MODEL, max_tokens: 256, messages: [{ role: "user", content }], ...more });

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

function command(args, input) {
  const done = spawnSync(process.env.CLAVIGER_TEST_BIN, [...args, "--json"], { env: environment, input, encoding: "utf8" });
  assert.equal(done.status, 0, done.stderr);
  return JSON.parse(done.stdout);
}

let gateway;
let made;

before(async () => {
  const listening = await start(process.env.CLAVIGER_TEST_SIM, ["--listen", "127.0.0.1:0", "--require-key", PROVIDER_KEY], "listening ");
  const ready = await start(process.env.CLAVIGER_TEST_BIN, ["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"], "ready ");
  gateway = ready.match(/gateway=(\S+)/)[1];
  command(["upstream", "add", "sim", "--kind", "anthropic", "--base-url", listening.split(" ")[1]]);
  command(["credential", "add", "--upstream", "sim", "--from-file", "-"], `${PROVIDER_KEY}\n`);
  made = command(["key", "create", "--name", "node", "--rpm", "0", "--require", "token,signature", "--sign"]);
});

after(async () => {
  for (const child of children.reverse()) {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.removeAllListeners("exit");
    child.once("exit", () => {});
    child.kill("SIGTERM");
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 1000))]);
  }
  rmSync(folder, { recursive: true, force: true });
});

const optionsOf = (profile, more = {}) => sdkOptions({
  baseURL: gateway, key: made.key, auth: "token", signer: new Signer({ key: hmacKey(made.signing_secret), profile, ...more.signing }), ...more.options,
});

for (const name of ["@anthropic-ai/sdk", "anthropic-sdk-x-api-key"]) {
  for (const profile of ["v1", "v2", "rfc9421"]) {
    describe(`${name}, ${profile}`, () => {
      const sdk = modules(name);
      const Anthropic = sdk.default ?? sdk.Anthropic;
      const client = (more) => new Anthropic({ maxRetries: 0, ...optionsOf(profile, more) });

      test("a message is answered", async () => {
        const message = await client().messages.create(say("Hello, 世界"));
        assert.ok(message.content[0].text);
        assert.match(message._request_id, /^req_/);
      });

      test("a stream arrives whole", async () => {
        const stream = client().messages.stream(say("Hello"));
        let text = "";
        stream.on("text", (part) => (text += part));
        const final = await stream.finalMessage();
        assert.equal(final.content[0].text, text);
        assert.equal(final.stop_reason, "end_turn");
      });

      test("a tool is called", async () => {
        const tools = [{ name: "weather", input_schema: { type: "object" } }];
        const message = await client().messages.create(say('[[sim: tool=weather; input={"city":"Oslo"}]]', { tools }));
        assert.deepEqual(message.content.find((b) => b.type === "tool_use").input, { city: "Oslo" });
      });

      test("tokens are counted and models listed", async () => {
        assert.ok((await client().messages.countTokens({ model: MODEL, messages })).input_tokens > 0);
        const ids = [];
        for await (const model of client().models.list({ limit: 3 })) ids.push(model.id);
        assert.ok(ids.includes(MODEL));
      });

      test("batch results come from the gateway", async () => {
        let batch = await client().messages.batches.create({ requests: [{ custom_id: "one", params: say("Hello") }] });
        for (let i = 0; i < 100 && batch.processing_status !== "ended"; i++) {
          await new Promise((resolve) => setTimeout(resolve, 100));
          batch = await client().messages.batches.retrieve(batch.id);
        }
        const results = [];
        for await (const line of await client().messages.batches.results(batch.id)) results.push(line);
        assert.deepEqual(results.map((r) => [r.custom_id, r.result.type]), [["one", "succeeded"]]);
      });

      test("a file goes up", async () => {
        const file = new File([new Uint8Array(3_000_000).fill(7)], "a.bin", { type: "application/octet-stream" });
        const up = await client().beta.files.upload({ file });
        assert.equal((await client().beta.files.retrieveMetadata(up.id)).size_bytes, 3_000_000);
        await client().beta.files.delete(up.id);
      });

      test("a clock that is wrong is said so", async () => {
        const wrong = client({ signing: { clock: () => Date.now() / 1000 + 1000 } });
        await assert.rejects(wrong.messages.create(say("Hello")), (error) => error.status === 401 && /ahead/.test(error.message));
      });
    });
  }
}

test("many calls at once buy one token, and are counted", async () => {
  const Anthropic = modules("@anthropic-ai/sdk").default;
  const options = optionsOf("v2", { options: { limiter: new Limiter({ concurrency: 8 }) } });
  const client = new Anthropic(options);
  const outcomes = await runBatch(Array(60).keys(), () => client.messages.create(say("Hello")), { concurrency: 20 });
  assert.ok(outcomes.every((outcome) => outcome.ok), String(outcomes.find((o) => !o.ok)?.error));
  const summary = options.fetch.summary();
  assert.deepEqual([summary.requests, summary.errors, summary.unpricedRequests], [60, 0, 0]);
  assert.equal(summary.outputTokens, outcomes.reduce((sum, { value }) => sum + value.usage.output_tokens, 0));
  const health = await options.fetch.health();
  assert.ok(health.ok, health.problem);
});
