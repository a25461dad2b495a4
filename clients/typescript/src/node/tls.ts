import { readFileSync } from "node:fs";
import { Agent, request as send } from "node:https";
import { Readable } from "node:stream";
import type { ReadableStream as NodeStream } from "node:stream/web";

import { ConfigurationError } from "../errors.js";
import type { Fetch } from "../fetch.js";

/** PEM files. */
export interface ClientCertificate {
  /** The certificate, and those between it and its authority. */
  certificate: string;
  /** Its private key. Default: it stands in the same file. */
  key?: string | undefined;
  /** Whom the gateway's own certificate must be signed by. Default: those that Node believes. */
  authority?: string | undefined;
}

const BODILESS = [204, 205, 304];

/**
 * A `fetch` that shows a client certificate (mutual TLS), for keys and tokens that are bound to it (RFC 8705): give it as
 * `fetch` to `clavigerFetch`, which then buys its tokens by it, too. It follows no redirect and asks for no compression.
 *
 * Node's own `fetch` takes certificates only by a package of its own. The files are read once, here.
 */
export function certificateFetch(files: ClientCertificate): Fetch {
  const agent = new Agent({ ...read(files), keepAlive: true, minVersion: "TLSv1.2" });
  return async (input, init = {}) => {
    const streams = init.body instanceof ReadableStream;
    const request = new Request(input, { ...init, ...(streams ? { duplex: "half" } : {}) } as RequestInit);
    const url = new URL(request.url);
    if (url.protocol !== "https:") throw new ConfigurationError("a client certificate is shown by https only");
    request.signal.throwIfAborted();
    const whole = streams ? undefined : new Uint8Array(await request.arrayBuffer());
    return new Promise<Response>((resolve, reject) => {
      const headers = Object.fromEntries(request.headers);
      const options = { method: request.method, headers, agent, signal: request.signal };
      const outgoing = send(url, options, (incoming) => resolve(answerOf(incoming, request.method)));
      outgoing.on("error", (cause) => {
        // As `fetch` has it: what happened stands in `cause`.
        reject(request.signal.aborted ? request.signal.reason : new TypeError("fetch failed", { cause }));
      });
      if (whole) {
        if (whole.length > 0) outgoing.setHeader("content-length", whole.length);
        outgoing.end(whole);
      } else {
        const source = Readable.fromWeb(request.body as NodeStream);
        source.on("error", (error) => outgoing.destroy(error));
        source.pipe(outgoing);
      }
    });
  };
}

function answerOf(incoming: import("node:http").IncomingMessage, method: string): Response {
  const status = incoming.statusCode ?? 0;
  const headers = new Headers();
  for (let at = 0; at + 1 < incoming.rawHeaders.length; at += 2) {
    headers.append(incoming.rawHeaders[at] ?? "", incoming.rawHeaders[at + 1] ?? "");
  }
  const empty = method === "HEAD" || BODILESS.includes(status);
  if (empty) incoming.resume();
  const body = empty ? null : (Readable.toWeb(incoming) as unknown as ReadableStream<Uint8Array>);
  return new Response(body, { status, statusText: incoming.statusMessage ?? "", headers });
}

function read({ certificate, key = certificate, authority }: ClientCertificate): { cert: Buffer; key: Buffer; ca?: Buffer } {
  try {
    const ca = authority === undefined ? {} : { ca: readFileSync(authority) };
    return { cert: readFileSync(certificate), key: readFileSync(key), ...ca };
  } catch (error) {
    throw new ConfigurationError(`the client certificate cannot be used: ${(error as Error).message}`);
  }
}
