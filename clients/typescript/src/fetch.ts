/** `clavigerFetch`: a `fetch` for the official SDK that shows who calls, limits, repeats, caches and counts. */
import { bodyOf } from "./body.js";
import { ResponseCache } from "./cache.js";
import { Credential, NONCE_DEMANDED, type Outgoing, type Refusal } from "./credential.js";
import { type ProofKey } from "./dpop.js";
import { ClavigerError, ConfigurationError, WrongOrigin } from "./errors.js";
import { type Health, judge, type Me } from "./health.js";
import { type Limiter } from "./limiter.js";
import { decide, DEFAULT_RETRY, type Failed, type RetryPolicy } from "./retry.js";
import { type Signer } from "./signing.js";
import { CachedKey, type KeySource, staticKey } from "./sources.js";
import { Statistics, type Summary } from "./statistics.js";
import { tapped } from "./tap.js";
import { errorCode } from "./tokens.js";
import { sleep } from "./wait.js";

/** The `fetch` of this runtime. */
export type Fetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;

export interface ClavigerOptions {
  /** The gateway's address, with the prefix of a team if there is one. */
  baseURL: string;
  /** The key, or where it comes from. */
  key: string | KeySource;
  /** What is shown with each call: the key itself (default), or access tokens that it buys. */
  auth?: "key" | "token" | undefined;
  signer?: Signer | undefined;
  /** The public id that signatures name, if it is not that of the key. */
  keyId?: string | undefined;
  /** Scopes of the access tokens, parted by blanks. */
  scope?: string | undefined;
  /** Binds access tokens to a key that is never sent (DPoP); needs `auth: "token"`. */
  proofKey?: ProofKey | undefined;
  limiter?: Limiter | undefined;
  retry?: Partial<RetryPolicy> | undefined;
  /** Off unless given. */
  cache?: ResponseCache | undefined;
  statistics?: Statistics | undefined;
  /** Longer bodies are refused when requests are signed. Default: 512 MiB. */
  maxBodyBytes?: number | undefined;
  /** Another `fetch` underneath. */
  fetch?: Fetch | undefined;
  /** Told what the operator of this program should know. Default: `console.warn`. */
  warn?: ((text: string) => void) | undefined;
  monotonic?: (() => number) | undefined;
  random?: (() => number) | undefined;
}

/** `fetch`, and what it knows. */
export interface ClavigerFetch extends Fetch {
  (input: string | URL | Request, init?: RequestInit): Promise<Response>;
  /** Statistics of all calls. */
  summary(): Summary;
  /** Asks the gateway; never rejects for what the gateway answers. */
  health(): Promise<Health>;
  /** Drops the cached key and tokens; the next call fetches both anew. */
  forget(): void;
}

/** Official SDKs send it, and try again by themselves. */
const SDK_HEADER = "x-stainless-retry-count";

/** What the SDK wants as a key; the fetch takes it out again. */
export const PLACEHOLDER_KEY = "set-by-claviger";

/** Makes the `fetch` for `new Anthropic({ baseURL, apiKey: PLACEHOLDER_KEY, fetch })`. */
export function clavigerFetch(options: ClavigerOptions): ClavigerFetch {
  const exchange = new Exchange(options);
  const made: Fetch = async (input, init) => {
    try {
      return await exchange.fetch(input, init);
    } catch (error) {
      const sdk = new Headers(init?.headers ?? (input instanceof Request ? input.headers : {})).has(SDK_HEADER);
      if (sdk && error instanceof ClavigerError) return localAnswer(error);
      throw error;
    }
  };
  return Object.assign(made, {
    summary: () => exchange.statistics.summary(),
    health: () => exchange.health(),
    forget: () => exchange.credential.forget(),
  });
}

/** The options that the SDK takes: `new Anthropic(sdkOptions({…}))`. */
export function sdkOptions(options: ClavigerOptions): { baseURL: string; apiKey: string; fetch: ClavigerFetch } {
  return { baseURL: options.baseURL, apiKey: PLACEHOLDER_KEY, fetch: clavigerFetch(options) };
}

class Exchange {
  readonly credential: Credential;
  readonly statistics: Statistics;
  readonly #options: ClavigerOptions;
  readonly #baseURL: string;
  readonly #origin: string;
  readonly #inner: Fetch;
  readonly #retry: RetryPolicy;
  readonly #monotonic: () => number;
  readonly #random: () => number;

  constructor(options: ClavigerOptions) {
    this.#options = options;
    this.#baseURL = options.baseURL.replace(/\/+$/, "");
    this.#origin = originOf(options.baseURL);
    this.#inner = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
    this.#retry = { ...DEFAULT_RETRY, ...options.retry };
    this.#monotonic = options.monotonic ?? (() => performance.now());
    this.#random = options.random ?? Math.random;
    this.statistics = options.statistics ?? new Statistics();
    const auth = options.auth ?? "key";
    if (auth !== "key" && auth !== "token") throw new ConfigurationError("auth is `key` or `token`");
    if (options.proofKey && auth !== "token") {
      throw new ConfigurationError("a proof key binds access tokens: it needs auth = token");
    }
    const source = typeof options.key === "string" ? staticKey(options.key) : options.key;
    this.credential = new Credential({
      baseURL: this.#baseURL,
      key: source instanceof CachedKey ? source : new CachedKey(source),
      auth,
      signer: options.signer,
      keyId: options.keyId,
      scope: options.scope,
      proofKey: options.proofKey,
      monotonic: this.#monotonic,
      warn: options.warn ?? ((text) => console.warn(text)),
      send: (url, prepare, sdk) => this.#attempts(url, prepare, { sdk, replayable: true }),
    });
  }

  async fetch(input: string | URL | Request, init: RequestInit = {}): Promise<Response> {
    const request = new Request(input, { ...init, ...(isStream(init.body) ? { duplex: "half" } : {}) } as RequestInit);
    if (new URL(request.url).origin !== this.#origin) {
      throw new WrongOrigin(`no credential is sent to ${new URL(request.url).host}: the gateway is ${this.#origin}`);
    }
    const signal = init.signal ?? (input instanceof Request ? input.signal : undefined);
    const max = this.#options.maxBodyBytes ?? 512 * 1024 * 1024;
    const body = await bodyOf(request, init.body, this.credential.keepsBodies, max);
    const outgoing: Outgoing = { method: request.method, url: request.url, headers: new Headers(request.headers), body: body.bytes };
    const key = await this.#cacheKey(outgoing);
    const kept = key === undefined ? undefined : this.#options.cache?.get(key);
    if (kept) {
      this.statistics.hit();
      return new Response(kept.body, { headers: [...kept.headers, ["x-claviger-cache", "hit"]] });
    }
    const sent = body.stream ? { body: body.stream, duplex: "half" } : { body: body.bytes?.length ? body.bytes : null };
    return this.#limited(outgoing, { ...init, ...sent } as RequestInit, key, signal);
  }

  async health(): Promise<Health> {
    let ready: Response | undefined;
    let me: Me | undefined;
    let begun = this.#monotonic();
    try {
      ready = await this.#inner(`${this.#baseURL}/readyz`, { signal: AbortSignal.timeout(10_000) });
      await ready.text();
      begun = this.#monotonic();
      const answer = await this.fetch(`${this.#baseURL}/v1/claviger/me`, { signal: AbortSignal.timeout(10_000) });
      me = { answer, text: await answer.text() };
      return judge(ready, me, undefined, this.#monotonic() - begun, this.#nowMs());
    } catch (error) {
      return judge(ready, me, error, undefined, this.#nowMs());
    }
  }

  /** By the clock that requests are signed with: what the gateway judges. */
  #nowMs(): number {
    const { signer } = this.#options;
    return signer ? signer.now() * 1000 : Date.now();
  }

  async #limited(
    outgoing: Outgoing, init: RequestInit, key: string | undefined, signal: AbortSignal | undefined,
  ): Promise<Response> {
    const release = (await this.#options.limiter?.acquire(signal)) ?? ((): void => undefined);
    const begun = this.#monotonic();
    try {
      const response = await this.#call(outgoing, init, signal);
      return this.#watched(response, begun, key, release);
    } catch (error) {
      release();
      this.statistics.sent({ status: undefined, latencyMs: this.#monotonic() - begun });
      throw error;
    }
  }

  /** One call: obtain a credential, send, and once more when the gateway says that the token is over. */
  async #call(outgoing: Outgoing, init: RequestInit, signal: AbortSignal | undefined): Promise<Response> {
    const sdk = outgoing.headers.has(SDK_HEADER);
    const replayable = outgoing.body !== undefined;
    await this.credential.succeed(sdk, signal);
    for (let repeated = false, renewed = false; ; ) {
      const shown = await this.credential.obtain(sdk, signal);
      if ("status" in shown) return answerOf(shown);
      const prepare = async (): Promise<RequestInit> => {
        await this.credential.show(outgoing, shown);
        return { ...init, method: outgoing.method, headers: outgoing.headers, redirect: "manual", ...(signal ? { signal } : {}) };
      };
      const response = await this.#attempts(outgoing.url, prepare, { sdk, replayable, signal });
      const hasNonce = this.credential.takesNonce(response.headers);
      if (response.status !== 401 || !replayable) return response;
      const refusal: Refusal = { status: 401, headers: response.headers, text: await response.text() };
      if (errorCode(refusal.text) === NONCE_DEMANDED) {
        if (!hasNonce || renewed) return answerOf(refusal);
        renewed = true;
      } else {
        if (repeated || !(await this.credential.mayRepeat(shown, refusal.text))) return answerOf(refusal);
        repeated = true;
      }
      this.statistics.retry();
    }
  }

  async #attempts(
    url: string,
    prepare: () => Promise<RequestInit>,
    about: { sdk: boolean; replayable: boolean; signal?: AbortSignal | undefined },
  ): Promise<Response> {
    for (let attempt = 0; ; attempt += 1) {
      const init = await prepare();
      const failed = { method: init.method ?? "GET", attempt, sdk: about.sdk, replayable: about.replayable };
      let response: Response | undefined;
      let raised: unknown;
      try {
        response = await this.#inner(url, init);
      } catch (error) {
        raised = error;
      }
      const waitMs = this.#wait(failed, response, raised, about.signal);
      if (waitMs === undefined) {
        if (!response) throw raised;
        return this.#forbidden(failed, response) ? withHeader(response, "x-should-retry", "false") : response;
      }
      await response?.body?.cancel();
      this.statistics.retry();
      await sleep(waitMs, about.signal);
    }
  }

  #wait(failed: Failed, response: Response | undefined, raised: unknown, signal: AbortSignal | undefined): number | undefined {
    if (response && response.status < 400) return undefined;
    if (!response && (signal?.aborted || !(raised instanceof TypeError))) return undefined;
    const error = response ? undefined : nothingWasSent(raised) ? ("connect" as const) : ("lost" as const);
    const whole = { ...failed, status: response?.status, error, headers: response?.headers };
    return decide(this.#retry, whole, this.#random(), Date.now()).waitMs;
  }

  #forbidden(failed: Failed, response: Response): boolean {
    const whole = { ...failed, status: response.status, headers: response.headers };
    return decide(this.#retry, whole, 0, Date.now()).forbid === true;
  }

  #watched(response: Response, begun: number, key: string | undefined, release: () => void): Response {
    this.credential.notice(response.headers);
    const cache = this.#options.cache;
    return tapped(response, key === undefined ? 0 : (cache?.maxAnswer ?? 0), (seen) => {
      release();
      const latencyMs = this.#monotonic() - begun;
      this.statistics.sent({ status: seen.failed ? undefined : response.status, latencyMs, model: seen.model, usage: seen.usage });
      if (key !== undefined && seen.whole) cache?.put(key, keptHeaders(response.headers), seen.whole);
    });
  }

  async #cacheKey(outgoing: Outgoing): Promise<string | undefined> {
    const url = new URL(outgoing.url);
    return this.#options.cache?.key(outgoing.method, url.pathname, url.search, outgoing.headers, outgoing.body);
  }
}

function originOf(baseURL: string): string {
  try {
    const url = new URL(baseURL);
    if (url.protocol === "http:" || url.protocol === "https:") return url.origin;
  } catch {
    // Said below.
  }
  throw new ConfigurationError("the base URL begins with http:// or https:// and names a host");
}

function isStream(body: unknown): boolean {
  return body instanceof ReadableStream;
}

/** Node's fetch names what happened in `cause.code`; browsers do not, and then the answer counts as lost. */
function nothingWasSent(raised: unknown): boolean {
  const code = ((raised as { cause?: { code?: unknown } }).cause ?? {}).code;
  return ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH", "UND_ERR_CONNECT_TIMEOUT"].includes(String(code));
}

/** An error of this side as an answer: an SDK shows it as it is, and does not try again. */
function localAnswer({ status, type, message }: ClavigerError): Response {
  const headers = { "content-type": "application/json", "x-should-retry": "false", "x-claviger-local": "error" };
  return new Response(JSON.stringify({ type: "error", error: { type, message } }), { status, headers });
}

function answerOf(refusal: Refusal): Response {
  const headers = new Headers(refusal.headers);
  headers.delete("content-encoding");
  headers.delete("content-length");
  return new Response(refusal.text, { status: refusal.status, headers });
}

function withHeader(response: Response, name: string, value: string): Response {
  const headers = new Headers(response.headers);
  headers.set(name, value);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}

function keptHeaders(headers: Headers): [string, string][] {
  const dropped = ["content-length", "content-encoding", "transfer-encoding", "connection", "keep-alive", "set-cookie"];
  return [...headers].filter(([name]) => !dropped.includes(name));
}
