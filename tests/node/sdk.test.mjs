// The official TypeScript SDKs, the newest and one that still sends `x-api-key`, work by base URL and key alone.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

const modules = createRequire(join(process.env.CLAVIGER_TEST_NODE_MODULES, "index.js"));
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
let key;

before(async () => {
  const listening = await start(process.env.CLAVIGER_TEST_SIM, ["--listen", "127.0.0.1:0", "--require-key", PROVIDER_KEY], "listening ");
  const ready = await start(process.env.CLAVIGER_TEST_BIN, ["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"], "ready ");
  gateway = ready.match(/gateway=(\S+)/)[1];
  command(["upstream", "add", "sim", "--kind", "anthropic", "--base-url", listening.split(" ")[1]]);
  command(["credential", "add", "--upstream", "sim", "--from-file", "-"], `${PROVIDER_KEY}\n`);
  key = command(["key", "create", "--name", "node", "--rpm", "0"]).key;
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

for (const name of ["@anthropic-ai/sdk", "anthropic-sdk-x-api-key"]) {
  describe(name, () => {
    const sdk = modules(name);
    const Anthropic = sdk.default ?? sdk.Anthropic;
    const client = (more = {}) => new Anthropic({ baseURL: gateway, apiKey: key, maxRetries: 0, ...more });

    test("a message is answered", async () => {
      const message = await client().messages.create(say("Hello"));
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
      for await (const model of client().models.list()) ids.push(model.id);
      assert.ok(ids.includes(MODEL));
    });

    test("batch results come from the gateway", async () => {
      const requests = [{ custom_id: "one", params: say("Hello") }];
      let batch = await client().messages.batches.create({ requests });
      for (let i = 0; i < 100 && batch.processing_status !== "ended"; i++) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        batch = await client().messages.batches.retrieve(batch.id);
      }
      assert.ok(batch.results_url.startsWith(gateway));
      const results = [];
      for await (const line of await client().messages.batches.results(batch.id)) results.push(line);
      assert.deepEqual(results.map((r) => [r.custom_id, r.result.type]), [["one", "succeeded"]]);
    });

    test("a wrong key is refused at once", async () => {
      const begun = Date.now();
      const wrong = client({ apiKey: "cvg_live_wrong", maxRetries: 2 });
      await assert.rejects(wrong.messages.create(say("Hello")), (error) => error.status === 401);
      assert.ok(Date.now() - begun < 2000);
    });

    test("an error in the middle of a stream is an error", async () => {
      const stream = client().messages.stream(say("[[sim: error=4; deltas=20]]"));
      await assert.rejects(stream.finalMessage());
    });
  });
}
