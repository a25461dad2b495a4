/**
 * Opens what `claviger seal-key` sealed: with AWS KMS, or with the transit engine of Vault or OpenBao.
 *
 * A blob says who may open it and holds nothing secret. Where the service is, and what this program shows it, never comes from a
 * blob: whoever can change one must not learn it.
 */
import { readFile } from "node:fs/promises";

import { base64, type Bytes, hex, joined, sha256, utf8 } from "../encoding.js";
import { ConfigurationError, KeyUnavailable } from "../errors.js";
import { Secret } from "../secret.js";
import type { KeySource } from "../sources.js";

type Environment = Record<string, string | undefined>;
export type Purpose = "api_key" | "signing_secret";

const MAX_BLOB = 64 * 1024;
const TIMEOUT_MS = 10_000;
const BOUND = ["purpose", "id", "kms", "kms_key", "wrapped_key", "sealed_at"] as const;
const TAGS: Record<Purpose, string> = { api_key: "(?:live|test)", signing_secret: "sign" };
const NO_URI = "not the address of a key: awskms://[HOST]/KEY[?region=NAME] or hashivault://KEY[?mount=PATH] is";

/** A sealed key, as it stands in its file. */
export class Blob {
  private constructor(
    readonly purpose: Purpose,
    readonly id: string,
    readonly kms: string,
    /** What the service calls the key that it used. For people: openers use the key that they are told. */
    readonly kmsKey: string,
    readonly wrappedKey: string,
    readonly sealedAt: string,
    private readonly nonce: Bytes,
    private readonly ciphertext: Bytes,
  ) {}

  /** Reads one that must be for this purpose. Throws KeyUnavailable. */
  static parse(text: string, purpose: Purpose = "api_key"): Blob {
    const wrong = new KeyUnavailable("not a sealed key of version 1");
    let read: Record<string, unknown>;
    try {
      read = JSON.parse(text) as Record<string, unknown>;
    } catch {
      throw wrong;
    }
    const names = ["claviger_sealed", ...BOUND, "nonce", "ciphertext"];
    const isBlob = typeof read === "object" && read !== null && Object.keys(read).length === names.length && read["claviger_sealed"] === 1;
    if (!isBlob || !names.slice(1).every((name) => typeof read[name] === "string")) throw wrong;
    const texts = read as Record<string, string>;
    const nonce = bytesOf(texts["nonce"]);
    const ciphertext = bytesOf(texts["ciphertext"]);
    if (nonce?.length !== 12 || ciphertext === undefined) throw wrong;
    if (texts["purpose"] !== purpose) throw new KeyUnavailable("what is sealed there is not for this purpose");
    const [, id, kms, kmsKey, wrappedKey, sealedAt] = BOUND.map((name) => texts[name] ?? "") as [string, string, string, string, string, string];
    return new Blob(purpose, id, kms, kmsKey, wrappedKey, sealedAt, nonce, ciphertext);
  }

  /** What its wrapped data key is bound to, where the service takes bytes. */
  associatedData(): Bytes {
    return bound("claviger data key v1", this.purpose, this.id);
  }

  /** The sealed text. Rejects with KeyUnavailable. */
  async open(dataKey: Bytes): Promise<string> {
    const parts = [this.purpose, this.id, this.kms, this.kmsKey, this.wrappedKey, this.sealedAt];
    const additionalData = bound("claviger sealed key v1", ...parts);
    let text: string;
    try {
      const key = await crypto.subtle.importKey("raw", dataKey, "AES-GCM", false, ["decrypt"]);
      text = new TextDecoder().decode(await crypto.subtle.decrypt({ name: "AES-GCM", iv: this.nonce, additionalData }, key, this.ciphertext));
    } catch {
      throw new KeyUnavailable("the sealed key was changed after it was sealed, or its data key is another's");
    }
    const found = new RegExp(`^[a-z]{3}_${TAGS[this.purpose]}_([0-9A-Za-z]{10})[0-9A-Za-z]{33}$`).exec(text);
    if (found?.[1] !== this.id) throw new KeyUnavailable("what is sealed there is not a key of this purpose and id");
    return text;
  }
}

/** Has the key management service unwrap a blob's data key; rejects with KeyUnavailable. */
export interface BlobOpener {
  dataKey(blob: Blob): Promise<Bytes>;
}

/**
 * A sealed key in a file, opened by the service that a URI names (as `claviger seal-key --kms` was given), or by an opener.
 *
 * What is not opened is an error: a plain key in the file, an older key or another source is never used. The file needs no private
 * mode, for only the service can open it.
 */
export function sealedKey(path: string, opener: string | BlobOpener, purpose: Purpose = "api_key"): KeySource {
  return {
    async fetch() {
      const service = typeof opener === "string" ? kms(opener) : opener;
      const text = await readFile(path).catch((error: { code?: unknown }) => {
        throw new KeyUnavailable(`${path}: ${String(error.code)}`);
      });
      if (text.length > MAX_BLOB) throw new KeyUnavailable(`${path} is too long for a sealed key`);
      const blob = Blob.parse(text.toString("utf8"), purpose);
      return blob.open(await service.dataKey(blob));
    },
  };
}

/** What signs a request to AWS. */
export interface AwsCredentials {
  accessKeyId: string;
  secretAccessKey: Secret;
  sessionToken?: Secret | undefined;
}

export interface KmsOptions {
  environment?: Environment;
  fetch?: typeof globalThis.fetch;
  /** Milliseconds since the epoch. */
  now?: () => number;
}

/**
 * The service that `claviger seal-key --kms URI` names. Throws ConfigurationError.
 *
 * `awskms://[HOST]/KEY[?region=NAME]` takes AWS_REGION, AWS_ENDPOINT_URL_KMS, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
 * AWS_SESSION_TOKEN; `hashivault://KEY[?mount=PATH]` takes VAULT_ADDR, VAULT_TOKEN and VAULT_NAMESPACE (or BAO_…).
 */
export function kms(uri: string, options: KmsOptions = {}): BlobOpener {
  const { environment = process.env } = options;
  const [, scheme, place = "", query = ""] = /^([a-z]+):\/\/([^?]*)\??(.*)$/.exec(uri) ?? [];
  if (scheme === "awskms") return aws(place, query, environment, options);
  if (scheme === "hashivault" || scheme === "openbao") return transit(place, query, environment, options);
  throw new ConfigurationError(NO_URI);
}

// === AWS KMS ===

function aws(place: string, query: string, values: Environment, options: KmsOptions): BlobOpener {
  const [, host = "", key] = /^([^/]*)\/([0-9A-Za-z:/_-]+)$/.exec(place) ?? [];
  if (key === undefined) throw new ConfigurationError(NO_URI);
  const ofArn = key.startsWith("arn:") ? key.split(":")[3] : undefined;
  const region = parameter(query, "region") ?? ofArn ?? (values["AWS_REGION"] || values["AWS_DEFAULT_REGION"] || "");
  if (!/^[a-z0-9-]{1,32}$/.test(region)) throw new ConfigurationError("which region: name it as in `?region=eu-central-1`, or set AWS_REGION");
  const named = values["AWS_ENDPOINT_URL_KMS"] || values["AWS_ENDPOINT_URL"];
  const usual = `https://kms.${region}.amazonaws.com${region.startsWith("cn-") ? ".cn" : ""}`;
  const local = `${isThisMachine(host) ? "http" : "https"}://${host}`;
  const endpoint = addressOf(host === "" ? named || usual : local);
  if (endpoint.split("://")[1]?.includes("/")) throw new ConfigurationError("the address of AWS KMS has no path");
  const credentials: AwsCredentials = {
    accessKeyId: set(values, "AWS_ACCESS_KEY_ID"),
    secretAccessKey: new Secret(set(values, "AWS_SECRET_ACCESS_KEY")),
    sessionToken: values["AWS_SESSION_TOKEN"] ? new Secret(values["AWS_SESSION_TOKEN"]) : undefined,
  };
  return {
    async dataKey(blob) {
      of(blob, "awskms");
      const context = { "claviger:id": blob.id, "claviger:purpose": blob.purpose };
      const body = JSON.stringify({ KeyId: key, CiphertextBlob: blob.wrappedKey, EncryptionContext: context });
      const headers = await signed(endpoint.replace(/^https?:\/\//, ""), region, credentials, body, options.now?.() ?? Date.now());
      const answer = await post(`${endpoint}/`, headers, body, "AWS KMS", options.fetch);
      return keyOf(answer["Plaintext"], "AWS KMS");
    },
  };
}

/** AWS Signature Version 4. */
async function signed(host: string, region: string, credentials: AwsCredentials, body: string, now: number): Promise<Record<string, string>> {
  const stamp = new Date(now).toISOString().replace(/\.\d+Z$/, "Z").replace(/[-:]/g, "");
  const session = credentials.sessionToken;
  const headers: Record<string, string> = {
    "content-type": "application/x-amz-json-1.1",
    host,
    "x-amz-date": stamp,
    ...(session && { "x-amz-security-token": session.reveal() }),
    "x-amz-target": "TrentService.Decrypt",
  };
  const names = Object.keys(headers);
  const lines = names.map((name) => `${name}:${headers[name]}\n`).join("");
  const hash = async (text: string): Promise<string> => hex(await sha256(utf8(text)));
  const canonical = `POST\n/\n\n${lines}\n${names.join(";")}\n${await hash(body)}`;
  const scope = [stamp.slice(0, 8), region, "kms", "aws4_request"];
  const toSign = `AWS4-HMAC-SHA256\n${stamp}\n${scope.join("/")}\n${await hash(canonical)}`;
  let key = utf8(`AWS4${credentials.secretAccessKey.reveal()}`);
  for (const part of [...scope, toSign]) {
    const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
    key = new Uint8Array(await crypto.subtle.sign("HMAC", imported, utf8(part)));
  }
  const credential = `${credentials.accessKeyId}/${scope.join("/")}`;
  delete headers["host"];
  headers["authorization"] = `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${names.join(";")}, Signature=${hex(key)}`;
  return headers;
}

// === Vault and OpenBao ===

function transit(key: string, query: string, values: Environment, options: KmsOptions): BlobOpener {
  const mount = parameter(query, "mount") ?? "transit";
  const isPart = (part: string): boolean => /^[0-9A-Za-z._-]+$/.test(part) && part !== "." && part !== "..";
  if (!isPart(key) || !mount.split("/").every(isPart)) throw new ConfigurationError(NO_URI);
  const address = addressOf(set(values, "BAO_ADDR", "VAULT_ADDR"));
  const token = new Secret(set(values, "BAO_TOKEN", "VAULT_TOKEN"));
  const namespace = values["BAO_NAMESPACE"] || values["VAULT_NAMESPACE"];
  return {
    async dataKey(blob) {
      of(blob, "hashivault");
      const headers: Record<string, string> = { "content-type": "application/json", "x-vault-request": "true", "x-vault-token": token.reveal() };
      if (namespace) headers["x-vault-namespace"] = namespace;
      const body = JSON.stringify({ ciphertext: blob.wrappedKey, associated_data: base64(blob.associatedData()) });
      const { data } = await post(`${address}/v1/${mount}/decrypt/${key}`, headers, body, "Vault", options.fetch);
      return keyOf((data as Record<string, unknown> | null | undefined)?.["plaintext"], "Vault");
    },
  };
}

// === both ===

async function post(url: string, headers: Record<string, string>, body: string, name: string, fetch = globalThis.fetch): Promise<Record<string, unknown>> {
  let answer: Response;
  let text: string;
  try {
    answer = await fetch(url, { method: "POST", headers, body, redirect: "manual", signal: AbortSignal.timeout(TIMEOUT_MS) });
    text = await answer.text();
  } catch (error) {
    throw new KeyUnavailable(`${name} did not answer: ${error instanceof Error ? error.name : "error"}`);
  }
  // Nothing of the answer is repeated.
  if (answer.status !== 200) throw new KeyUnavailable(`${name} does not open the sealed key: it answered ${answer.status}`);
  try {
    const read: unknown = JSON.parse(text);
    if (typeof read === "object" && read !== null) return read as Record<string, unknown>;
  } catch {
    // As below.
  }
  throw new KeyUnavailable(`${name}'s answer is not what was expected`);
}

function keyOf(text: unknown, name: string): Bytes {
  const key = typeof text === "string" ? bytesOf(text) : undefined;
  if (key?.length !== 32) throw new KeyUnavailable(`${name}'s answer is not what was expected`);
  return key;
}

function of(blob: Blob, kind: string): void {
  if (blob.kms !== kind) throw new KeyUnavailable("another service sealed it");
}

function parameter(query: string, name: string): string | undefined {
  if (query === "") return undefined;
  if (!query.startsWith(`${name}=`)) throw new ConfigurationError(NO_URI);
  return query.slice(name.length + 1);
}

function set(values: Environment, ...names: string[]): string {
  const found = names.map((name) => values[name]).find((value) => value);
  if (!found) throw new ConfigurationError(`${names.at(-1)} is not set`);
  return found;
}

function addressOf(url: string): string {
  const bare = url.replace(/\/+$/, "");
  const [, scheme, authority = ""] = /^(https?):\/\/([0-9A-Za-z.:[\]-]+)(?:\/[0-9A-Za-z._/-]*)?$/.exec(bare) ?? [];
  if (scheme === undefined || (scheme === "http" && !isThisMachine(authority))) {
    throw new ConfigurationError("the address of the key management service must be https, or on this machine");
  }
  return bare;
}

function isThisMachine(authority: string): boolean {
  return /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?$/.test(authority);
}

/** Padded base64, and nothing else. */
function bytesOf(text: string | undefined): Bytes | undefined {
  if (text === undefined || !/^(?:[0-9A-Za-z+/]{4})*(?:[0-9A-Za-z+/]{2}==|[0-9A-Za-z+/]{3}=)?$/.test(text)) return undefined;
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** Each part after its length as eight bytes, big-endian. */
function bound(...parts: string[]): Bytes {
  return joined(
    parts.flatMap((part) => {
      const bytes = utf8(part);
      const length = new DataView(new ArrayBuffer(8));
      length.setBigUint64(0, BigInt(bytes.length));
      return [new Uint8Array(length.buffer), bytes];
    }),
  );
}
