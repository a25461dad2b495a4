import { type Bytes, hex, joined, sha256, utf8 } from "./encoding.js";

const KEYED_HEADERS = ["anthropic-version", "anthropic-beta", "accept"];
// A request with one of these may act, or be answered differently each time.
const NEVER = ["tools", "mcp_servers", "container", "stream"];

/** A whole answer. */
export interface Kept {
  headers: [string, string][];
  body: Bytes;
}

export interface CacheOptions {
  ttlMs?: number;
  maxEntries?: number;
  maxBytes?: number;
  monotonic?: () => number;
}

/**
 * Exact: only a request with the same bytes to the same path gets a kept answer. Bounded in entries, bytes and time.
 *
 * Only whole 200 answers to `POST /v1/messages` without streaming and without tools are kept. A cache belongs to one client,
 * hence to one key.
 */
export class ResponseCache {
  readonly #entries = new Map<string, Kept & { until: number }>();
  #bytes = 0;
  readonly #ttlMs: number;
  readonly #maxEntries: number;
  readonly #maxBytes: number;
  readonly #monotonic: () => number;

  constructor(options: CacheOptions = {}) {
    this.#ttlMs = options.ttlMs ?? 300_000;
    this.#maxEntries = options.maxEntries ?? 256;
    this.#maxBytes = options.maxBytes ?? 64 * 1024 * 1024;
    this.#monotonic = options.monotonic ?? (() => performance.now());
  }

  /** Longer answers are not kept. */
  get maxAnswer(): number {
    return Math.floor(this.#maxBytes / 8);
  }

  /** What the request is kept under; undefined when it is not of the kind. */
  async key(method: string, path: string, query: string, headers: Headers, body: Bytes | undefined): Promise<string | undefined> {
    if (method !== "POST" || !path.endsWith("/v1/messages") || !body || !isKeepable(body)) return undefined;
    const parts = [path, query, ...KEYED_HEADERS.map((name) => headers.get(name) ?? "")];
    return hex(await sha256(joined([...parts.map((part) => utf8(`${part.length}:${part}`)), body])));
  }

  /** A kept answer that is not too old. */
  get(key: string): Kept | undefined {
    const kept = this.#entries.get(key);
    if (!kept) return undefined;
    this.#drop(key);
    if (this.#monotonic() >= kept.until) return undefined;
    this.#add(key, kept);
    return kept;
  }

  /** Keeps an answer; what was used longest ago goes. */
  put(key: string, headers: [string, string][], body: Bytes): void {
    if (body.length > this.maxAnswer) return;
    this.#drop(key);
    this.#add(key, { headers, body, until: this.#monotonic() + this.#ttlMs });
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#maxEntries && this.#bytes <= this.#maxBytes) break;
      this.#drop(oldest);
    }
  }

  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }

  #add(key: string, kept: Kept & { until: number }): void {
    this.#entries.set(key, kept);
    this.#bytes += kept.body.length;
  }

  #drop(key: string): void {
    this.#bytes -= this.#entries.get(key)?.body.length ?? 0;
    this.#entries.delete(key);
  }
}

function isKeepable(body: Bytes): boolean {
  try {
    const asked: unknown = JSON.parse(new TextDecoder().decode(body));
    if (typeof asked !== "object" || asked === null || Array.isArray(asked)) return false;
    const fields = asked as Record<string, unknown>;
    return NEVER.every((name) => !fields[name] || (Array.isArray(fields[name]) && fields[name].length === 0));
  } catch {
    return false;
  }
}
