/** Access tokens: what is held, how long it is fresh, and what an answer means for it. */
import { TokenError } from "./errors.js";
import { Secret } from "./secret.js";

const MAX_MARGIN_MS = 60_000;
const RETRY_REFRESH_MS = 10_000;
/** The gateway repeats an answer that was lost for ten seconds; a later repetition it takes for theft. */
export const REPEATED_MS = 8_000;

/** What one answer of the token endpoint gave. Times are on the monotonic clock. */
export interface Grant {
  access: Secret;
  refresh: Secret | undefined;
  staleAt: number;
  endsAt: number;
}

/** Reads a 200 answer (RFC 6749, section 5.1) with a token of this type; throws TokenError. */
export function readGrant(text: string, now: number, wanted: "bearer" | "dpop" = "bearer"): Grant {
  let answer: Record<string, unknown>;
  try {
    answer = JSON.parse(text) as Record<string, unknown>;
  } catch {
    throw new TokenError("the token endpoint answered 200 with something that is no token");
  }
  const { access_token: access, refresh_token: refresh, token_type: kind } = answer ?? {};
  const lifetimeMs = Number(answer?.["expires_in"]) * 1000;
  if (typeof access !== "string" || typeof kind !== "string" || Number.isNaN(lifetimeMs)) {
    throw new TokenError("the token endpoint answered 200 with something that is no token");
  }
  if (kind.toLowerCase() !== wanted) {
    const asked = wanted === "dpop" ? "bound to our proof key" : "used as a bearer token";
    throw new TokenError(`the token endpoint gave a token that is not ${asked}`);
  }
  // RFC 6750, section 2.1.
  if (!/^[A-Za-z0-9\-._~+/]+=*$/.test(access) || !(lifetimeMs > 0)) {
    throw new TokenError("the token endpoint gave a token that cannot be sent");
  }
  const margin = Math.min(MAX_MARGIN_MS, lifetimeMs / 10);
  const kept = typeof refresh === "string" && refresh !== "" ? new Secret(refresh) : undefined;
  return { access: new Secret(access), refresh: kept, staleAt: now + lifetimeMs - margin, endsAt: now + lifetimeMs };
}

/** The grant that all calls share. */
export class TokenBox {
  #grant: Grant | undefined;
  #noRefreshBefore = -Infinity;
  /** When a refresh was sent whose answer is still to come, or was lost. */
  #unansweredSince: number | undefined;

  /** A grant that may be used now. */
  usable(now: number): Grant | undefined {
    const grant = this.#grant;
    return grant && now < grant.endsAt && (now < grant.staleAt || now < this.#noRefreshBefore) ? grant : undefined;
  }

  /** What a purchase may use instead of the key: it is sent now. One whose answer was lost is not sent again later. */
  refreshToken(now: number): Secret | undefined {
    if (!this.#grant?.refresh) return undefined;
    if (this.#unansweredSince !== undefined && now - this.#unansweredSince > REPEATED_MS) {
      this.#grant = { ...this.#grant, refresh: undefined };
      this.#unansweredSince = undefined;
      return undefined;
    }
    this.#unansweredSince ??= now;
    return this.#grant.refresh;
  }

  put(grant: Grant): void {
    this.#grant = grant;
    this.#noRefreshBefore = -Infinity;
    this.#unansweredSince = undefined;
  }

  /**
   * After no grant was had (`status` undefined: no answer): the one that still holds, if it does, and whether the key may buy. A
   * refused refresh token is dropped.
   */
  refreshFailed(status: number | undefined, now: number): { held: Grant | undefined; mayBuy: boolean } {
    if (status !== undefined) this.#unansweredSince = undefined;
    if (!this.#grant) return { held: undefined, mayBuy: true };
    if (status !== undefined && status < 500 && status !== 408 && status !== 429) {
      this.#grant = { ...this.#grant, refresh: undefined };
      return { held: undefined, mayBuy: true };
    }
    this.#noRefreshBefore = now + RETRY_REFRESH_MS;
    return { held: this.usable(now), mayBuy: false };
  }

  /** After a 401 to a call made with `access`. True: get another token and repeat the call once. */
  refused(access: Secret, code: string | undefined): boolean {
    const current = this.#grant?.access.reveal() === access.reveal();
    if (code === "token_expired") {
      if (current && this.#grant) this.#grant = { ...this.#grant, staleAt: -Infinity, endsAt: -Infinity };
      return true;
    }
    if (code !== "token_revoked" && code !== "token_invalid") return false;
    if (current) this.#grant = undefined;
    return code === "token_revoked";
  }

  clear(): void {
    this.#grant = this.#unansweredSince = undefined;
  }
}

/** `error.details.error_code` of an envelope. */
export function errorCode(text: string): string | undefined {
  try {
    const found: unknown = (JSON.parse(text) as { error: { details: { error_code: unknown } } }).error.details.error_code;
    return typeof found === "string" ? found : undefined;
  } catch {
    return undefined;
  }
}
