// What the tests share: the built package, the vectors, and a gateway in memory.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const dist = process.env.CLAVIGER_TEST_TS_DIST ?? join(here, "../dist");
export const client = await import(pathToFileURL(join(dist, "index.js")).href);
export const node = await import(pathToFileURL(join(dist, "node.js")).href);

export const load = (name) => JSON.parse(readFileSync(join(here, "../../conformance", name), "utf8"));
export const KEY = load("tokens.json").key;

/** Fails on a field that a test does not know: none may be overlooked. */
export function known(value, ...names) {
  for (const name of Object.keys(value)) if (!names.includes(name)) throw new Error(`unknown field ${name}`);
  return value;
}

export function bodyOf(test) {
  if (test.body_utf8 !== undefined) return new TextEncoder().encode(test.body_utf8);
  if (test.body_base64 !== undefined) return new Uint8Array(Buffer.from(test.body_base64, "base64"));
  return new TextEncoder().encode(test.body_repeat.utf8.repeat(test.body_repeat.times));
}

/** A `fetch` that answers by a function; keeps what arrived, bodies read. */
export function wire(answer) {
  const seen = [];
  const fetch = async (input, init = {}) => {
    const request = new Request(input, { ...init, ...(init.body instanceof ReadableStream ? { duplex: "half" } : {}) });
    const body = new Uint8Array(await request.arrayBuffer());
    const one = { method: request.method, url: request.url, path: new URL(request.url).pathname, headers: request.headers, body };
    seen.push(one);
    return answer(one, seen.length);
  };
  return { fetch, seen };
}

export const json = (status, body, headers = {}) =>
  new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json", ...headers } });

export const envelope = (code, type = "authentication_error") => ({
  type: "error",
  error: { type, message: "no", ...(code ? { details: { error_code: code } } : {}) },
  request_id: "req_1",
});

export const message = (usage = {}, text = "hello") => ({
  id: "msg_1", type: "message", role: "assistant", model: "claude-opus-5-5", content: [{ type: "text", text }],
  stop_reason: "end_turn", stop_sequence: null, usage: { input_tokens: 10, output_tokens: 5, ...usage },
});

export const token = (number, more = {}) =>
  json(200, { access_token: `A${number}`, token_type: "Bearer", expires_in: 7200, refresh_token: `R${number}`, ...more });
