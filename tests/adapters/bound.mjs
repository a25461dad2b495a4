// What `test_bound.py` lets TypeScript do: the adapter as the environment says, under the official SDK.

import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const dist = process.env.CLAVIGER_TEST_TS_DIST;
const { sdkOptions } = await import(pathToFileURL(join(dist, "index.js")).href);
const { fromEnv } = await import(pathToFileURL(join(dist, "node.js")).href);
const { default: Anthropic } = createRequire(join(process.env.CLAVIGER_TEST_NODE_MODULES, "index.js"))("@anthropic-ai/sdk");

const ask = { model: "claude-opus-5-5", max_tokens: 256, messages: [{ role: "user", content: "Hello" }] };
const options = sdkOptions(fromEnv());
const client = new Anthropic({ ...options, maxRetries: 0 });

try {
  for (let n = 0; n < 2; n += 1) if (!(await client.messages.create(ask)).content[0].text) throw new Error("no text");
  const stream = client.messages.stream(ask);
  if ((await stream.finalMessage()).stop_reason !== "end_turn") throw new Error("the stream broke off");
  const file = new File([new Uint8Array(300_000).fill(7)], "a.bin", { type: "application/octet-stream" });
  const up = await client.beta.files.upload({ file });
  if ((await client.beta.files.retrieveMetadata(up.id)).size_bytes !== 300_000) throw new Error("the file is another");
  const health = await options.fetch.health();
  console.log(health.ok ? "passed" : health.problem);
} catch (error) {
  console.log(error.error?.error?.details?.error_code ?? `${error}: ${error.cause?.cause?.code}`);
}
