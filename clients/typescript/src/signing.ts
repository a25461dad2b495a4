/**
 * Signed requests, in the three profiles that Claviger's gateway verifies.
 *
 * `v1` signs the body, time and nonce. `v2` binds method, authority, path, query and key as well. `rfc9421` is RFC 9421 (HTTP
 * Message Signatures) with the digest of RFC 9530, by HMAC-SHA256 or Ed25519. These are Claviger's protocols towards its
 * callers; Claude's own API knows nothing of them.
 */
import { base64, type Bytes, hex, joined, sha256, utf8 } from "./encoding.js";
import { ConfigurationError } from "./errors.js";
import { Secret } from "./secret.js";
import { Succession } from "./succession.js";

export type Profile = "v1" | "v2" | "rfc9421";
export const PROFILES: readonly Profile[] = ["v1", "v2", "rfc9421"];

/** Where a request goes, as the wire shows it. */
export interface Target {
  method: string;
  /** Host in lower case, with the port unless it is the scheme's own. */
  authority: string;
  path: string;
  /** Without the question mark. */
  query: string;
}

/** What makes the signature: the algorithm's name in RFC 9421 and the operation. */
export interface SigningKey {
  readonly alg: "hmac-sha256" | "ed25519";
  sign(message: Bytes): Promise<Bytes>;
}

/** Reads an absolute URL; escapes stay as they are. */
export function targetOf(method: string, url: string): Target {
  const parsed = new URL(url);
  // `search` is empty both without a query and with an empty one.
  return { method, authority: parsed.host, path: parsed.pathname, query: parsed.search.slice(1) };
}

export interface HmacKeyOptions {
  /**
   * Told once, with the successor and the time (milliseconds since 1970) from when it counts: store it for the next start.
   * What it throws, or rejects with, is told to `warn`, and costs no call.
   */
  onSuccessor?: ((secret: string, validFromMs: number) => void | Promise<void>) | undefined;
  /** Milliseconds since 1970. */
  clock?: (() => number) | undefined;
}

/**
 * The printed signing secret, as it is: its UTF-8 bytes are the key.
 *
 * Secrets are replaced every month. The gateway announces it a week before; the adapter then fetches the successor with a
 * signed request, and signs with it from its time on.
 */
export class HmacKey implements SigningKey {
  readonly alg = "hmac-sha256";
  readonly #succession: Succession;
  #imported: { secret: Secret; key: Promise<CryptoKey> } | undefined;

  constructor(
    secret: string | Secret,
    private readonly options: HmacKeyOptions = {},
  ) {
    const kept = typeof secret === "string" ? new Secret(secret) : secret;
    this.#succession = new Succession(kept, options.clock ?? Date.now);
  }

  async sign(message: Bytes): Promise<Bytes> {
    const secret = this.#succession.current();
    if (this.#imported?.secret !== secret) {
      const algorithm = { name: "HMAC", hash: "SHA-256" };
      this.#imported = { secret, key: crypto.subtle.importKey("raw", utf8(secret.reveal()), algorithm, false, ["sign"]) };
    }
    return new Uint8Array(await crypto.subtle.sign("HMAC", await this.#imported.key, message));
  }

  /** The gateway said that there is a successor: the value of the header. */
  announce(said: string): void {
    this.#succession.announce(said);
  }

  /** Whether it is time to ask for it: the caller does, and gives the answer to `succeed`. */
  wantsSuccessor(): boolean {
    return this.#succession.wants();
  }

  /** Reads the answer of `GET /v1/claviger/signing-secret`, and its Date. One that says nothing changes nothing. */
  async succeed(answer: string, date: string | null, warn: (text: string) => void): Promise<void> {
    for (const { text, validFromMs } of this.#succession.succeed(answer, date)) {
      const { onSuccessor } = this.options;
      if (!onSuccessor) {
        warn("the signing secret has a successor that only this process knows: give hmacKey an onSuccessor that stores it");
        continue;
      }
      try {
        await onSuccessor(text, validFromMs);
      } catch (error) {
        // Its text may hold the secret.
        const name = error instanceof Error ? error.name : "something";
        warn(`the signing secret's successor was not stored: onSuccessor threw ${name}`);
      }
    }
  }
}

/** The same, as a function. */
export function hmacKey(secret: string | Secret, options: HmacKeyOptions = {}): HmacKey {
  return new HmacKey(secret, options);
}

/** A private Ed25519 key in PEM form (PKCS #8), for `rfc9421` only. */
export async function ed25519Key(privatePem: string): Promise<SigningKey> {
  const text = /-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END PRIVATE KEY-----/.exec(privatePem)?.[1];
  if (text === undefined) throw new ConfigurationError("not an unencrypted private key in PEM form");
  try {
    const der = Uint8Array.from(atob(text.replace(/\s/g, "")), (c) => c.charCodeAt(0));
    const key = await crypto.subtle.importKey("pkcs8", der, { name: "Ed25519" }, false, ["sign"]);
    return {
      alg: "ed25519",
      sign: async (message) => new Uint8Array(await crypto.subtle.sign({ name: "Ed25519" }, key, message)),
    };
  } catch {
    throw new ConfigurationError("the private key is not an Ed25519 key, or this runtime has no Ed25519");
  }
}

export interface SignerOptions {
  key: SigningKey;
  /** Default: `rfc9421`. */
  profile?: Profile;
  /** `rfc9421` only: adds `expires` so much after `created`. */
  lifetimeSecs?: number;
  /** Default: `cvg`. */
  label?: string;
  /** Seconds since 1970. */
  clock?: () => number;
  /** 32 hexadecimal characters. */
  nonce?: () => string;
}

/** Signs requests with one key in one profile. */
export class Signer {
  /** What it signs with. */
  readonly key: SigningKey;
  readonly #profile: Profile;
  readonly #lifetimeSecs: number | undefined;
  readonly #label: string;
  readonly #clock: () => number;
  readonly #nonce: () => string;

  constructor(options: SignerOptions) {
    this.key = options.key;
    this.#profile = options.profile ?? "rfc9421";
    this.#lifetimeSecs = options.lifetimeSecs;
    this.#label = options.label ?? "cvg";
    this.#clock = options.clock ?? (() => Date.now() / 1000);
    this.#nonce = options.nonce ?? (() => hex(crypto.getRandomValues(new Uint8Array(16))));
    if (!PROFILES.includes(this.#profile)) {
      throw new ConfigurationError(`no such signing profile; there are ${PROFILES.join(", ")}`);
    }
    if (this.#profile !== "rfc9421" && this.key.alg !== "hmac-sha256") {
      throw new ConfigurationError("v1 and v2 are HMAC only; an Ed25519 key signs in the profile rfc9421");
    }
  }

  /** Seconds since 1970, by the clock that requests are signed with. */
  now(): number {
    return this.#clock();
  }

  /** The headers for a request, with the time and a nonce of now. */
  async headers(target: Target, keyId: string, body: Bytes): Promise<Record<string, string>> {
    const created = Math.floor(this.#clock());
    return this.#profile === "rfc9421"
      ? this.#rfc9421(target, keyId, body, created)
      : this.#stamped(target, keyId, body, created);
  }

  async #stamped(target: Target, keyId: string, body: Bytes, created: number): Promise<Record<string, string>> {
    const timestamp = String(created).padStart(10, "0");
    const nonce = this.#nonce();
    const bound = this.#profile === "v2";
    const { method, authority, path, query } = target;
    const lines = bound
      ? utf8(["cvg-sig-v2", keyId, method, authority, path, query, hex(await sha256(body))].join("\n"))
      : body;
    const signature = await this.key.sign(joined([lines, utf8(`|${timestamp}|${nonce}`)]));
    return {
      "x-request-signature": `sha256=${hex(signature)}`,
      "x-request-timestamp": timestamp,
      "x-request-nonce": nonce,
      ...(bound ? { "x-request-signature-version": "2" } : {}),
    };
  }

  async #rfc9421(target: Target, keyId: string, body: Bytes, created: number): Promise<Record<string, string>> {
    const headers: Record<string, string> = {};
    const parts: [string, string][] = [
      ["@method", target.method],
      ["@authority", target.authority],
      ["@path", target.path],
      ["@query", `?${target.query}`],
    ];
    if (body.length > 0) {
      headers["content-digest"] = `sha-256=:${base64(await sha256(body))}:`;
      parts.push(["content-digest", headers["content-digest"]]);
    }
    const until = this.#lifetimeSecs === undefined ? "" : `;expires=${created + this.#lifetimeSecs}`;
    const names = parts.map(([name]) => `"${name}"`).join(" ");
    const parameters = `(${names});created=${created}${until};nonce="${this.#nonce()}";keyid="${keyId}";alg="${this.key.alg}"`;
    const base = [...parts.map(([name, value]) => `"${name}": ${value}`), `"@signature-params": ${parameters}`].join("\n");
    headers["signature-input"] = `${this.#label}=${parameters}`;
    headers["signature"] = `${this.#label}=:${base64(await this.key.sign(utf8(base)))}:`;
    return headers;
  }
}
