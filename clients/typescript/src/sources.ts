import { KeyUnavailable } from "./errors.js";
import { isKey, Secret } from "./secret.js";

/** Fetches a key (or a signing secret); rejects with KeyUnavailable. */
export interface KeySource {
  fetch(): Promise<string>;
}

/** How long a key is kept: one hour. */
export const KEY_TTL_MS = 3_600_000;

/** A key that the program has already. */
export function staticKey(key: string | Secret): KeySource {
  const kept = typeof key === "string" ? new Secret(key) : key;
  return { fetch: async () => clean(kept.reveal(), "the given key") };
}

/** A source with a memory. One fetch at a time; after the time, a failing source is an error, never the older key. */
export class CachedKey implements KeySource {
  #kept: { key: Secret; until: number } | undefined;
  #flight: Promise<string> | undefined;

  constructor(
    private readonly source: KeySource,
    private readonly ttlMs = KEY_TTL_MS,
    private readonly monotonic: () => number = () => performance.now(),
  ) {}

  /** The key, fetched if it is not known or known for too long. */
  async fetch(): Promise<string> {
    if (this.#kept && this.monotonic() < this.#kept.until) return this.#kept.key.reveal();
    this.#kept = undefined;
    this.#flight ??= this.#load().finally(() => (this.#flight = undefined));
    return this.#flight;
  }

  /** After `refused` was refused: reads the source again. Whether another key is there now. */
  async changed(refused: string): Promise<boolean> {
    if (this.#kept && this.#kept.key.reveal() !== refused) return true;
    this.#kept = undefined;
    return (await this.fetch()) !== refused;
  }

  /** The next `fetch` asks the source. */
  forget(): void {
    this.#kept = undefined;
  }

  async #load(): Promise<string> {
    const key = await this.source.fetch();
    this.#kept = { key: new Secret(key), until: this.monotonic() + this.ttlMs };
    return key;
  }
}

/** Refuses what cannot be a key. */
export function clean(text: string, whence: string): string {
  if (text === "") throw new KeyUnavailable(`${whence} is empty or not set`);
  if (!isKey(text)) throw new KeyUnavailable(`${whence} does not hold a key`);
  return text;
}
