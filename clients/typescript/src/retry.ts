/** Whether to try again, and after how long. Never twice what an SDK tries again by itself. */

export interface RetryPolicy {
  maxRetries: number;
  baseMs: number;
  capMs: number;
  /** The part of a wait that chance may take off. */
  jitter: number;
}

export const DEFAULT_RETRY: RetryPolicy = { maxRetries: 3, baseMs: 1000, capMs: 60_000, jitter: 0.25 };

/** An attempt that did not succeed. */
export interface Failed {
  method: string;
  /** How many attempts failed before this one. */
  attempt: number;
  /** An official SDK made the request and will try again by itself. */
  sdk: boolean;
  status?: number | undefined;
  /** `connect`: nothing was sent. `lost`: the answer was lost after sending. */
  error?: "connect" | "lost" | undefined;
  headers?: Headers | undefined;
  replayable?: boolean;
}

export interface Decision {
  /** Undefined: nobody here tries again. */
  waitMs?: number;
  /** The SDK must not, either. */
  forbid?: boolean;
}

const WITHOUT_EFFECT = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

/** `random` is in [0, 1), `now` the wall clock in milliseconds, for waits told as a date. */
export function decide(policy: RetryPolicy, failed: Failed, random: number, now: number): Decision {
  const headers = failed.headers ?? new Headers();
  const told = toldWait(headers, now);
  const tooLong = told !== undefined && told > policy.capMs;
  const worthIt = failed.status !== undefined && isWorthIt(failed.status, headers);
  if (failed.sdk) return tooLong && worthIt ? { forbid: true } : {};
  if (failed.replayable === false || failed.attempt >= policy.maxRetries || tooLong) return {};
  const lost = failed.status === undefined && (failed.error === "connect" || WITHOUT_EFFECT.has(failed.method.toUpperCase()));
  if (!worthIt && !lost) return {};
  return { waitMs: told ?? backoff(policy, failed.attempt, random) };
}

function isWorthIt(status: number, headers: Headers): boolean {
  if (status < 400) return false;
  const said = headers.get("x-should-retry");
  if (said === "true" || said === "false") return said === "true";
  return status === 408 || status === 409 || status === 429 || (status >= 500 && status !== 501);
}

function backoff(policy: RetryPolicy, attempt: number, random: number): number {
  return Math.min(policy.capMs, policy.baseMs * 2 ** Math.min(attempt, 60)) * (1 - policy.jitter * random);
}

/** Milliseconds above zero, or undefined. */
function toldWait(headers: Headers, now: number): number | undefined {
  const after = headers.get("retry-after");
  const told = number(headers.get("retry-after-ms"), 1) ?? number(after, 1000) ?? date(after, now);
  return told !== undefined && told > 0 ? told : undefined;
}

function number(text: string | null, factor: number): number | undefined {
  if (text === null || !/^\s*[+-]?(?:\d+\.?\d*(?:e[+-]?\d+)?|\.\d+|inf(?:inity)?)\s*$/i.test(text)) return undefined;
  const value = /inf/i.test(text) ? (text.includes("-") ? -Infinity : Infinity) : Number(text);
  return value * factor;
}

function date(text: string | null, now: number): number | undefined {
  const at = text === null || !/[A-Za-z]{3}/.test(text) ? NaN : Date.parse(text);
  return Number.isNaN(at) ? undefined : at - now;
}
