/** How a signing secret gives way to its successor: when to ask for it, and from when to sign with it. */
import { isKey, Secret } from "./secret.js";

export const SUCCESSOR_PATH = "/v1/claviger/signing-secret";
export const SUCCESSOR_HEADER = "x-claviger-signing-secret";
const PAUSE_MS = 60_000;

/** A secret that follows, and from when it counts (milliseconds since 1970, by the gateway's clock). */
export interface Successor {
  text: string;
  validFromMs: number;
}

/**
 * One holder's secret.
 *
 * An announcement is asked about once if the answer can be read, else again after a minute, however the asking ended.
 */
export class Succession {
  #secret: Secret;
  /** What follows, and when by this machine's clock. */
  #next: { secret: Secret; atMs: number } | undefined;
  #announced = "";
  #asking = "";
  #settled = "";
  #askedAtMs = -Infinity;

  constructor(
    secret: Secret,
    private readonly clock: () => number,
  ) {
    this.#secret = secret;
  }

  /** The one to sign with now. */
  current(): Secret {
    if (this.#next && this.clock() >= this.#next.atMs) {
      this.#secret = this.#next.secret;
      this.#next = undefined;
    }
    return this.#secret;
  }

  /** The gateway said that there is a successor, in these words. */
  announce(said: string): void {
    this.#announced = said;
  }

  /** Whether it is time to ask. Whoever is told so asks. */
  wants(): boolean {
    const now = this.clock();
    const since = now - this.#askedAtMs;
    // A clock that was set back pauses nothing.
    const pauses = since >= 0 && since < PAUSE_MS;
    if (this.#announced === "" || this.#announced === this.#settled || pauses) return false;
    this.#asking = this.#announced;
    this.#askedAtMs = now;
    return true;
  }

  /** Reads the gateway's answer and its Date; what is news, in the order in which it counts. */
  succeed(answer: string, date: string | null): Successor[] {
    const read = answerIn(answer);
    if (!read) return [];
    const { current, next } = read;
    this.#settled = this.#asking;
    const mine = this.#secret.reveal();
    const news: Successor[] = [];
    if (next?.text === mine) return news;
    if (current && current.text !== mine) {
      // Somebody put it in this one's place.
      this.#secret = new Secret(current.text);
      this.#next = undefined;
      news.push(current);
    }
    if (next && this.#next?.secret.reveal() !== next.text) {
      this.#next = { secret: new Secret(next.text), atMs: next.validFromMs - aheadMs(date, this.clock()) };
      news.push(next);
    }
    return news;
  }
}

/** By how much the gateway's clock is ahead of this one, as far as it told. */
function aheadMs(date: string | null, now: number): number {
  const told = Date.parse(date ?? "");
  return Number.isNaN(told) ? 0 : told - now;
}

function answerIn(text: string): { current: Successor | undefined; next: Successor | undefined } | undefined {
  try {
    const { current, next } = JSON.parse(text) as Record<string, unknown>;
    return { current: heldIn(current), next: heldIn(next) };
  } catch {
    return undefined;
  }
}

/** Throws where it is neither a secret with its time nor null. */
function heldIn(held: unknown): Successor | undefined {
  if (held === null) return undefined;
  const { signing_secret: text, valid_from: from } = held as Record<string, unknown>;
  const validFromMs = typeof from === "string" && /^\d{4}-\d\d-\d\dT/i.test(from) ? Date.parse(from) : NaN;
  if (typeof text !== "string" || !isKey(text) || Number.isNaN(validFromMs)) throw new Error("not a secret");
  return { text, validFromMs };
}
