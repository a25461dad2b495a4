/**
 * Proofs of possession (RFC 9449): with each request the caller signs what it asks for, by a key that it never shows.
 *
 * An access token that is bought with a proof is bound to the proof's key: whoever reads the token along the way cannot use
 * it. This is between callers and Claviger's gateway; Claude's own API knows nothing of it.
 */
import { base64, hex, sha256, utf8 } from "./encoding.js";
import { ConfigurationError } from "./errors.js";
import { targetOf } from "./signing.js";

export const DPOP_HEADER = "dpop";
const NONCE_HEADER = "dpop-nonce";

export type ProofAlgorithm = "ES256" | "EdDSA";
export const PROOF_ALGORITHMS: readonly ProofAlgorithm[] = ["ES256", "EdDSA"];

export interface ProofKeyOptions {
  /** For a key that is made here. Default: `ES256`, which every runtime has. */
  algorithm?: ProofAlgorithm | undefined;
  /** Seconds since 1970. */
  clock?: (() => number) | undefined;
  /** Never the same twice; 16 to 128 characters. */
  jti?: (() => string) | undefined;
}

interface Pair {
  algorithm: ProofAlgorithm;
  key: CryptoKey;
  jwk: Record<string, string>;
}

const KINDS = {
  ES256: { make: { name: "ECDSA", namedCurve: "P-256" }, sign: { name: "ECDSA", hash: "SHA-256" }, members: ["crv", "kty", "x", "y"] },
  EdDSA: { make: { name: "Ed25519" }, sign: { name: "Ed25519" }, members: ["crv", "kty", "x"] },
} as const;

/**
 * A key pair for proofs: the one of a PEM file (PKCS #8, P-256 or Ed25519), or one that is made here, whose private part nothing
 * can read. It lives as long as this object, and so do the tokens that are bound to it.
 */
export class ProofKey {
  readonly #options: ProofKeyOptions;
  readonly #pem: string | (() => Promise<string>) | undefined;
  #pair: Promise<Pair> | undefined;

  /** `privatePem`: the text, or what fetches it. Left out: a key is made. */
  constructor(privatePem?: string | (() => Promise<string>), options: ProofKeyOptions = {}) {
    this.#pem = privatePem;
    this.#options = options;
    const { algorithm } = options;
    if (algorithm !== undefined && !PROOF_ALGORITHMS.includes(algorithm)) {
      throw new ConfigurationError("the algorithm of proofs is ES256 or EdDSA");
    }
  }

  /** RFC 7638: what the tokens say that they are bound to (`cnf.jkt`). */
  async thumbprint(): Promise<string> {
    const { jwk } = await this.#ready();
    return base64url(await sha256(utf8(JSON.stringify(jwk))));
  }

  /** The value of the DPoP header for one request; never the same twice. */
  async proof(method: string, url: string, accessToken?: string, nonce?: string): Promise<string> {
    const { algorithm, key, jwk } = await this.#ready();
    const { clock = () => Date.now() / 1000, jti = () => hex(crypto.getRandomValues(new Uint8Array(16))) } = this.#options;
    const claims = {
      jti: jti(),
      htm: method,
      htu: htuOf(url),
      iat: Math.floor(clock()),
      ...(accessToken === undefined ? {} : { ath: base64url(await sha256(utf8(accessToken))) }),
      ...(nonce === undefined ? {} : { nonce }),
    };
    const parts = [{ typ: "dpop+jwt", alg: algorithm, jwk }, claims].map((part) => base64url(utf8(JSON.stringify(part))));
    const text = parts.join(".");
    const signature = await crypto.subtle.sign(KINDS[algorithm].sign, key, utf8(text));
    return `${text}.${base64url(new Uint8Array(signature))}`;
  }

  #ready(): Promise<Pair> {
    const pem = this.#pem;
    if (pem === undefined) this.#pair ??= made(this.#options.algorithm ?? "ES256");
    else this.#pair ??= Promise.resolve(typeof pem === "string" ? pem : pem()).then(loaded);
    return this.#pair;
  }
}

/** The same, as a function. */
export function proofKey(privatePem?: string | (() => Promise<string>), options: ProofKeyOptions = {}): ProofKey {
  return new ProofKey(privatePem, options);
}

/** A proof key, and the gateway's nonce that its proofs hold. */
export class Prover {
  #nonce: string | undefined;

  constructor(private readonly key: ProofKey) {}

  /** Puts a proof into a request, in place of one that is there. */
  async prove(method: string, url: string, headers: Headers, accessToken: string | undefined): Promise<void> {
    headers.set(DPOP_HEADER, await this.key.proof(method, url, accessToken, this.#nonce));
  }

  /** Keeps the nonce of an answer (RFC 9449, 8.2). Whether there is one. */
  notice(headers: Headers): boolean {
    const given = headers.get(NONCE_HEADER);
    if (given !== null) this.#nonce = given;
    return given !== null;
  }
}

/** Without query and fragment, in the form that the gateway sees. */
function htuOf(url: string): string {
  const { authority, path } = targetOf("", url);
  return `${new URL(url).protocol}//${authority}${path}`;
}

async function made(algorithm: ProofAlgorithm): Promise<Pair> {
  try {
    const pair = (await crypto.subtle.generateKey(KINDS[algorithm].make, false, ["sign", "verify"])) as CryptoKeyPair;
    return { algorithm, key: pair.privateKey, jwk: publicOf(algorithm, await crypto.subtle.exportKey("jwk", pair.publicKey)) };
  } catch {
    throw new ConfigurationError(`this runtime has no keys for ${algorithm}`);
  }
}

async function loaded(privatePem: string): Promise<Pair> {
  const text = /-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END PRIVATE KEY-----/.exec(privatePem)?.[1];
  if (text === undefined) throw new ConfigurationError("not an unencrypted private key in PEM form");
  for (const algorithm of PROOF_ALGORITHMS) {
    try {
      const der = Uint8Array.from(atob(text.replace(/\s/g, "")), (c) => c.charCodeAt(0));
      const { make } = KINDS[algorithm];
      const whole = await crypto.subtle.exportKey("jwk", await crypto.subtle.importKey("pkcs8", der, make, true, ["sign"]));
      return { algorithm, key: await crypto.subtle.importKey("pkcs8", der, make, false, ["sign"]), jwk: publicOf(algorithm, whole) };
    } catch {
      continue;
    }
  }
  throw new ConfigurationError("the proof key is neither a P-256 nor an Ed25519 key, or this runtime does not have it");
}

/** The members that make the key, in the order of their names, and no other. */
function publicOf(algorithm: ProofAlgorithm, jwk: JsonWebKey): Record<string, string> {
  return Object.fromEntries(KINDS[algorithm].members.map((name) => [name, String(jwk[name])]));
}

function base64url(bytes: Uint8Array): string {
  return base64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
