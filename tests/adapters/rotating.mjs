// A holder in TypeScript for `test_rotating.py`: the official SDK over the adapter, four calls at once.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const { CLAVIGER_TEST_TS_DIST: dist, CLAVIGER_TEST_NODE_MODULES: modules, ...told } = process.env;
const { hmacKey, sdkOptions, Signer } = await import(pathToFileURL(join(dist, "index.js")).href);
const { fromEnv } = await import(pathToFileURL(join(dist, "node.js")).href);
const { default: Anthropic } = createRequire(join(modules, "index.js"))("@anthropic-ai/sdk");

const ask = { model: "claude-opus-5-5", max_tokens: 64, messages: [{ role: "user", content: "Hello" }] };
const clock = () => Date.now() / 1000 + Number(readFileSync(told.CLOCK, "utf8"));
const onSuccessor = (text) => writeFileSync(told.STORE, text, { mode: 0o600 });
const key = hmacKey(told.CLAVIGER_SIGNING_SECRET, { onSuccessor, clock: () => clock() * 1000 });
const signer = new Signer({ key, profile: told.CLAVIGER_SIGNING_PROFILE, clock });
const client = new Anthropic(sdkOptions(fromEnv({ signer })));

for await (const line of createInterface({ input: process.stdin })) {
  const [unit, number] = line.split(" ");
  const end = performance.now() + Number(number) * 1000;
  const work = async () => {
    let count = 0;
    while (unit === "secs" ? performance.now() < end : count < Number(number) / 4) {
      if (!(await client.messages.create(ask)).content) throw new Error("no content");
      count += 1;
    }
    return count;
  };
  try {
    const counts = await Promise.all([1, 2, 3, 4].map(work));
    console.log(`${counts.reduce((sum, count) => sum + count, 0)} calls`);
  } catch (error) {
    console.log(`failed: ${error} ${error.cause} ${error.cause?.cause?.code}`);
  }
}
