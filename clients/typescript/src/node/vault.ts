/** Keys from Vault or OpenBao: the KV engine, version 2, with an own token or a wrapped one. */
import { KeyUnavailable } from "../errors.js";
import { Secret } from "../secret.js";
import { clean, type KeySource } from "../sources.js";

export interface VaultOptions {
  address: string;
  namespace?: string | undefined;
  fetch?: typeof globalThis.fetch | undefined;
}

type Answer = { data?: Record<string, unknown>; auth?: { client_token?: unknown } | null };

/** Where the server is and how to speak to it. */
export class Vault {
  constructor(private readonly options: VaultOptions) {}

  /** One call of the API. Rejects with KeyUnavailable, without the answer's text. */
  async ask(method: string, path: string, token: string, body?: unknown): Promise<Answer> {
    const { address, namespace, fetch = globalThis.fetch } = this.options;
    const headers: Record<string, string> = { "x-vault-token": token, "x-vault-request": "true" };
    if (namespace !== undefined) headers["x-vault-namespace"] = namespace;
    const sent = body === undefined ? {} : { body: JSON.stringify(body) };
    let answer: Response;
    let text: string;
    try {
      const init: RequestInit = { method, headers, redirect: "manual", signal: AbortSignal.timeout(10_000), ...sent };
      answer = await fetch(`${address.replace(/\/+$/, "")}/v1/${path}`, init);
      text = await answer.text();
    } catch (error) {
      throw new KeyUnavailable(`Vault did not answer ${path}: ${error instanceof Error ? error.name : "error"}`);
    }
    if (answer.status !== 200 && answer.status !== 204) throw new KeyUnavailable(`Vault answered ${path} with ${answer.status}`);
    try {
      return (text === "" ? {} : JSON.parse(text)) as Answer;
    } catch {
      throw new KeyUnavailable(`Vault answered ${path} with something that is no JSON`);
    }
  }
}

/** A field of a KV secret, read with a token from another source. */
export function vaultKey(vault: Vault, path: string, token: KeySource, options: { mount?: string; field?: string } = {}): KeySource {
  const { mount = "secret", field = "key" } = options;
  const place = [mount, "data", ...path.split("/")].map(encodeURIComponent).join("/");
  return {
    async fetch() {
      const answer = await vault.ask("GET", place, await token.fetch());
      return fieldOf(answer.data ?? {}, field, place);
    },
  };
}

/**
 * A token for Vault that was delivered wrapped: unwrapped once, at its first use, then kept.
 *
 * `creationPath` is where the wrapping must have been made; another one means that someone opened the delivery and wrapped it
 * again. Unwrapping that fails means that someone else has the token: an error, never a retry.
 */
export function wrappedToken(vault: Vault, wrapping: string | Secret, creationPath?: string): KeySource {
  return once(async () => {
    const { auth } = await unwrap(vault, wrapping, creationPath);
    return clean(typeof auth?.client_token === "string" ? auth.client_token : "", "the wrapped delivery");
  });
}

/** The key itself, delivered wrapped (a wrapped KV answer or `sys/wrapping/wrap`): unwrapped once, then kept. */
export function wrappedKey(vault: Vault, wrapping: string | Secret, options: { field?: string; creationPath?: string } = {}): KeySource {
  return once(async () => {
    const { data } = await unwrap(vault, wrapping, options.creationPath);
    return fieldOf(data ?? {}, options.field ?? "key", "the wrapped delivery");
  });
}

async function unwrap(vault: Vault, wrapping: string | Secret, creationPath: string | undefined): Promise<Answer> {
  const token = typeof wrapping === "string" ? wrapping : wrapping.reveal();
  if (creationPath !== undefined) {
    const { data } = await vault.ask("POST", "sys/wrapping/lookup", token, { token });
    if (data?.["creation_path"] !== creationPath) {
      throw new KeyUnavailable("the wrapped delivery was not made where it should have been: it may have been opened on the way");
    }
  }
  return vault.ask("POST", "sys/wrapping/unwrap", token);
}

function once(open: () => Promise<string>): KeySource {
  let kept: Promise<Secret> | undefined;
  return { fetch: async () => (await (kept ??= open().then((text) => new Secret(text)))).reveal() };
}

/** KV version 2 puts the fields one deeper than version 1. */
function fieldOf(data: Record<string, unknown>, name: string, whence: string): string {
  const inner = data["data"];
  const found = (typeof inner === "object" && inner !== null ? (inner as Record<string, unknown>) : data)[name];
  if (typeof found !== "string") throw new KeyUnavailable(`${whence} has no field \`${name}\``);
  return clean(found, `the field \`${name}\` of ${whence}`);
}
