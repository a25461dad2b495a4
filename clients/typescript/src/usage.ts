/** Reads the usage out of an answer while it passes by: one JSON object, or an event stream. */
import { readUsage, type Usage } from "./prices.js";

const MAX_JSON = 32 * 1024 * 1024;
const MAX_EVENT = 1024 * 1024;

export interface UsageReader {
  readonly model: string | undefined;
  readonly usage: Usage | undefined;
  /** The answer came to its own end. */
  readonly ended: boolean;
  feed(chunk: Uint8Array): void;
  close(): void;
}

/** The `usage` of one message. Answers beyond 32 MiB are not read. */
export class JsonUsage implements UsageReader {
  model: string | undefined;
  usage: Usage | undefined;
  ended = false;
  #parts: string[] | undefined = [];
  #size = 0;
  readonly #decoder = new TextDecoder();

  feed(chunk: Uint8Array): void {
    this.#size += chunk.length;
    if (this.#size > MAX_JSON) this.#parts = undefined;
    this.#parts?.push(this.#decoder.decode(chunk, { stream: true }));
  }

  close(): void {
    const answer = parsed(this.#parts?.join("") ?? "");
    this.ended = answer !== undefined;
    this.usage = readUsage(answer?.["usage"]);
    if (typeof answer?.["model"] === "string") this.model = answer["model"];
  }
}

/** The usage of an event stream: `message_start`, then what each `message_delta` replaces. */
export class StreamUsage implements UsageReader {
  model: string | undefined;
  ended = false;
  #numbers: Record<string, unknown> | undefined;
  #rest = "";
  readonly #decoder = new TextDecoder();

  get usage(): Usage | undefined {
    return readUsage(this.#numbers);
  }

  feed(chunk: Uint8Array): void {
    this.#rest += this.#decoder.decode(chunk, { stream: true });
    const events = this.#rest.split(/\r\n\r\n|\n\n|\r\r/);
    this.#rest = events.pop() ?? "";
    for (const event of events) this.#take(event);
    if (this.#rest.length > MAX_EVENT) this.#rest = "";
  }

  /** An event without its empty line was not sent whole. */
  close(): void {
    this.#rest = "";
  }

  #take(event: string): void {
    const lines = event.split(/\r\n|\n|\r/).filter((line) => line.startsWith("data:"));
    const data = lines.map((line) => line.slice(5).trimStart()).join("\n");
    if (!/message_(?:start|delta|stop)/.test(data)) return;
    const read = parsed(data);
    if (read?.["type"] === "message_start") {
      const message = (read["message"] ?? {}) as Record<string, unknown>;
      if (typeof message["model"] === "string") this.model = message["model"];
      this.#numbers = { ...(message["usage"] as Record<string, unknown> | undefined) };
    } else if (read?.["type"] === "message_delta" && this.#numbers) {
      const found = Object.entries((read["usage"] ?? {}) as Record<string, unknown>);
      Object.assign(this.#numbers, Object.fromEntries(found.filter(([, n]) => n !== null)));
    } else if (read?.["type"] === "message_stop") {
      this.ended = true;
    }
  }
}

/** The reader for an answer with these headers; undefined for what has no usage. */
export function readerFor(headers: Headers): UsageReader | undefined {
  const kind = (headers.get("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase();
  if (kind === "text/event-stream") return new StreamUsage();
  return kind === "application/json" ? new JsonUsage() : undefined;
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
