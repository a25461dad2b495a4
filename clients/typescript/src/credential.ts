/** Shows the gateway who calls: the key or an access token, and a signature. */
import { DPOP_HEADER, type ProofKey, Prover } from "./dpop.js";
import { type Bytes, utf8 } from "./encoding.js";
import { publicId } from "./secret.js";
import { HmacKey, type Signer, targetOf } from "./signing.js";
import { CachedKey } from "./sources.js";
import { SUCCESSOR_HEADER, SUCCESSOR_PATH } from "./succession.js";
import { errorCode, type Grant, readGrant, REPEATED_MS, TokenBox } from "./tokens.js";
import { unlessAborted } from "./wait.js";

const OWN_TIMEOUT_MS = 30_000;
/** A call waits for it, and can do without. */
const ASKING_TIMEOUT_MS = 5_000;
export const NONCE_DEMANDED = "use_dpop_nonce";
const CREDENTIALS = [
  "x-api-key", "authorization", "x-request-signature", "x-request-signature-version", "x-request-timestamp",
  "x-request-nonce", "signature", "signature-input", DPOP_HEADER,
];

/** A request of which everything is known. */
export interface Outgoing {
  method: string;
  url: string;
  headers: Headers;
  /** Undefined: a stream that is not signed and cannot be repeated. */
  body: Bytes | undefined;
}

/** An answer that was read whole, to be given to several callers. */
export interface Refusal {
  status: number;
  headers: Headers;
  text: string;
}

export interface CredentialOptions {
  baseURL: string;
  key: CachedKey;
  auth: "key" | "token";
  signer: Signer | undefined;
  keyId: string | undefined;
  scope: string | undefined;
  proofKey: ProofKey | undefined;
  warn: (text: string) => void;
  /** Sends a request of our own; what is sent is prepared for each attempt. */
  send: (url: string, prepare: () => Promise<RequestInit>, sdk: boolean) => Promise<Response>;
  monotonic: () => number;
}

/** What was shown, to judge the answer by. */
export interface Shown {
  key: string;
  grant: Grant | undefined;
}

export class Credential {
  readonly #tokens = new TokenBox();
  #flight: Promise<Grant | Refusal> | undefined;

  readonly #prover: Prover | undefined;

  constructor(private readonly options: CredentialOptions) {
    this.#prover = options.proofKey && new Prover(options.proofKey);
  }

  /** Whether a body must be known before it is sent: it is signed, or sent again with a nonce that was demanded. */
  get keepsBodies(): boolean {
    return this.options.signer !== undefined || this.#prover !== undefined;
  }

  /** What to show with the next request; a refusal of the token endpoint is the answer to the call. */
  async obtain(sdk: boolean, signal: AbortSignal | undefined): Promise<Shown | Refusal> {
    const key = await unlessAborted(this.options.key.fetch(), signal);
    if (this.options.auth === "key") return { key, grant: undefined };
    const usable = this.#tokens.usable(this.options.monotonic());
    if (usable) return { key, grant: usable };
    // One purchase for all, with a time of its own: a caller that goes away does not end it.
    this.#flight ??= this.#buy(key, sdk).finally(() => (this.#flight = undefined));
    const bought = await unlessAborted(this.#flight, signal);
    return "status" in bought ? bought : { key, grant: bought };
  }

  /** Puts the credential into the headers, in place of whatever the SDK put there. A new time and nonce each time. */
  async show(outgoing: Outgoing, shown: Shown): Promise<void> {
    const { headers, method, url } = outgoing;
    for (const name of CREDENTIALS) headers.delete(name);
    await this.#sign(method, url, headers, outgoing.body, shown.key);
    const access = shown.grant?.access.reveal();
    await this.#prover?.prove(method, url, headers, access);
    if (access === undefined) headers.set("x-api-key", shown.key);
    else headers.set("authorization", `${this.#prover ? "DPoP" : "Bearer"} ${access}`);
  }

  /** Looks at any answer: whether it gives a nonce for the next proof. */
  takesNonce(headers: Headers): boolean {
    return this.#prover?.notice(headers) ?? false;
  }

  /** Looks at any answer: is the signing secret replaced soon? */
  notice(headers: Headers): void {
    const said = headers.get(SUCCESSOR_HEADER);
    if (said !== null) this.#secret?.announce(said);
  }

  /** Before a call: fetches the successor of the signing secret, if one was announced. The call goes on without it. */
  async succeed(sdk: boolean, signal: AbortSignal | undefined): Promise<void> {
    const secret = this.#secret;
    if (!secret?.wantsSuccessor()) return;
    const shown = await this.obtain(sdk, signal);
    if ("status" in shown) return;
    const url = `${this.options.baseURL}${SUCCESSOR_PATH}`;
    const headers = new Headers({ accept: "application/json" });
    const prepare = async (): Promise<RequestInit> => {
      await this.show({ method: "GET", url, headers, body: new Uint8Array() }, shown);
      return { method: "GET", headers };
    };
    // As an SDK's: it is tried once.
    const asked = this.#own(url, prepare, true, ASKING_TIMEOUT_MS).catch(() => undefined);
    const answer = await unlessAborted(asked, signal);
    if (answer?.status === 200) await secret.succeed(answer.text, answer.headers.get("date"), this.options.warn);
  }

  get #secret(): HmacKey | undefined {
    const key = this.options.signer?.key;
    return key instanceof HmacKey ? key : undefined;
  }

  /** After a 401: whether another credential is at hand, so that the call is worth repeating once. */
  async mayRepeat(shown: Shown, text: string): Promise<boolean> {
    const code = errorCode(text);
    if (shown.grant) return this.#tokens.refused(shown.grant.access, code);
    // A key that was replaced at its source is read again; the same key is not tried twice.
    return code === undefined && this.options.key.changed(shown.key);
  }

  forget(): void {
    this.options.key.forget();
    this.#tokens.clear();
  }

  async #sign(method: string, url: string, headers: Headers, body: Bytes | undefined, key: string): Promise<void> {
    const { signer, keyId } = this.options;
    if (!signer) return;
    const signed = await signer.headers(targetOf(method, url), keyId ?? publicId(key) ?? "", body ?? new Uint8Array());
    for (const [name, value] of Object.entries(signed)) headers.set(name, value);
  }

  async #buy(key: string, sdk: boolean): Promise<Grant | Refusal> {
    const now = this.options.monotonic();
    const refresh = this.#tokens.refreshToken(now);
    if (refresh) {
      const form = { grant_type: "refresh_token", refresh_token: refresh.reveal() };
      const ask = (): Promise<Refusal> => this.#ask("refresh", form, key, false, sdk);
      let answer: Refusal | undefined;
      let raised: unknown;
      try {
        // One whose answer was lost is repeated at once: the gateway gives the same one again, for a while.
        answer = await ask().catch((error: unknown) => {
          if (!(error instanceof TypeError) || this.options.monotonic() - now >= REPEATED_MS) throw error;
          return ask();
        });
      } catch (error) {
        raised = error;
      }
      if (answer?.status === 200) return this.#keep(answer.text);
      const { held, mayBuy } = this.#tokens.refreshFailed(answer?.status, this.options.monotonic());
      if (held) return held;
      if (!answer) throw raised;
      if (!mayBuy) return answer;
    }
    const scope = this.options.scope === undefined ? {} : { scope: this.options.scope };
    const answer = await this.#ask("token", { grant_type: "client_credentials", ...scope }, key, true, sdk);
    if (answer.status === 200) return this.#keep(answer.text);
    if (answer.status === 401) await this.options.key.changed(key);
    return answer;
  }

  async #ask(name: string, form: Record<string, string>, key: string, proves: boolean, sdk: boolean): Promise<Refusal> {
    const url = `${this.options.baseURL}/v1/auth/${name}`;
    const body = utf8(new URLSearchParams(form).toString());
    const headers = new Headers({ "content-type": "application/x-www-form-urlencoded", accept: "application/json" });
    if (proves) headers.set("x-api-key", key);
    const prepare = async (): Promise<RequestInit> => {
      await this.#sign("POST", url, headers, body, key);
      await this.#prover?.prove("POST", url, headers, undefined);
      return { method: "POST", headers, body };
    };
    return this.#own(url, prepare, sdk);
  }

  /** Sends a request of our own, once more where its proof lacked the nonce that the answer gives. */
  async #own(url: string, prepare: () => Promise<RequestInit>, sdk: boolean, limitMs = OWN_TIMEOUT_MS): Promise<Refusal> {
    for (let renewed = false; ; renewed = true) {
      const signal = AbortSignal.timeout(limitMs);
      // A redirect would carry the key elsewhere.
      const answer = await this.options.send(url, async () => ({ ...(await prepare()), signal, redirect: "manual" }), sdk);
      const { status, headers } = answer;
      const text = await answer.text();
      // RFC 9449, section 8: token endpoints answer 400, others 401.
      const demanded = this.takesNonce(headers) && (status === 400 || status === 401) && errorCode(text) === NONCE_DEMANDED;
      if (renewed || !demanded) return { status, headers, text };
    }
  }

  #keep(text: string): Grant {
    const grant = readGrant(text, this.options.monotonic(), this.#prover ? "dpop" : "bearer");
    this.#tokens.put(grant);
    return grant;
  }
}

