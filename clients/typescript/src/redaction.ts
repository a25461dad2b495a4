/** Keeps secrets out of logs: what our, the provider's and other tokens look like, in plain and in encoded forms. */
import { base64, hex, utf8 } from "./encoding.js";

export const MASK = "[redacted]";
const MIN_KNOWN = 6;

const NAMES =
  "authorization|proxy-authorization|x-api-key|api-key|x-vault-token|x-request-signature|signature|dpop|cookie|set-cookie";
const FIELDS =
  "access_token|refresh_token|client_secret|signing_secret|api_key|wrapping_token|password|id_token|subject_token|assertion";

const PATTERNS = [
  // Ours, of any brand: keys and side tokens.
  /[a-z]{3}(?:_|%5[Ff])[a-z]{4}(?:_|%5[Ff])[0-9A-Za-z]{43}(?![0-9A-Za-z])/g,
  /cvg(?:_|%5[Ff])[a-z]{3,6}(?:_|%5[Ff])[0-9A-Za-z]{16,}/g,
  /sk(?:-|%2[Dd])ant(?:-|%2[Dd])(?:[0-9A-Za-z_-]|%2[Dd]|%5[Ff]){16,}/g,
  // JWTs. Only where a run begins, else long runs take quadratic time.
  /(?<![0-9A-Za-z_-])eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*/g,
];
// What may hide one in another alphabet, and what it looks like there: its ends are not known.
const HEX = /[0-9a-fA-F]{64,}/g;
const BASE64 = /[0-9A-Za-z+/_-]{32,}={0,2}/g;
const ESCAPED = /[0-9A-Za-z%._~-]{40,}/g;
const DECODED = /[a-z]{3}_[a-z]{4}_[0-9A-Za-z]{43}|sk-ant-[a-z0-9]+-[0-9A-Za-z_-]{16}|eyJ[0-9A-Za-z_-]{6,}(\.?)/g;
const HEADER = new RegExp(
  `(?<![A-Za-z0-9_-])(${NAMES})((?:\\\\?['"])?\\s*[:=,]\\s*(?:b?\\\\?['"])?)((?:bearer|basic|dpop|digest)\\s+)?([^\\s'"\\\\,;&)\\]}]+)`,
  "gi",
);
const FIELD = new RegExp(`(?<![A-Za-z0-9_-])(${FIELDS})(\\\\?['"]?\\s*[:=]\\s*\\\\?['"]?)([^\\s'"\\\\,;&)\\]}]+)`, "gi");

/** Takes secrets out of text. Knows forms, and values that it was told, whatever they look like. */
export class Redactor {
  readonly #known: RegExp | undefined;

  constructor(known: Iterable<string> = []) {
    const forms = new Set([...known].filter((secret) => secret.length >= MIN_KNOWN).flatMap(formsOf));
    const ordered = [...forms].sort((a, b) => b.length - a.length);
    this.#known = ordered.length === 0 ? undefined : new RegExp(ordered.map(escaped).join("|"), "g");
  }

  /** The text without secrets. */
  redact(text: string): string {
    let masked = this.#known ? text.replace(this.#known, MASK) : text;
    for (const pattern of PATTERNS) masked = masked.replace(pattern, MASK);
    masked = this.#decoded(masked, 0);
    masked = masked.replace(HEADER, (whole, name: string, between: string, scheme: string | undefined) =>
      // `'x-api-key', 'abc'`: a comma parts name and value only between quotes.
      between.includes(",") && !/['"]\s*,/.test(between) ? whole : `${name}${between}${scheme ?? ""}${MASK}`,
    );
    return masked.replace(FIELD, (_, name: string, between: string) => `${name}${between}${MASK}`);
  }

  /** Any value of a log call: text masked, errors and objects copied with their texts masked. */
  value(value: unknown, depth = 0): unknown {
    if (typeof value === "string") return this.redact(value);
    if (typeof value !== "object" || value === null) return value;
    if (depth > 8) return "[deep]";
    if (value instanceof Error) return this.#error(value, depth);
    if (value instanceof Headers) return this.value(Object.fromEntries(value), depth);
    if (value instanceof URL) return this.redact(value.href);
    if (Array.isArray(value)) return value.map((item) => this.value(item, depth + 1));
    if (value instanceof Map || value instanceof Set) return this.value([...value], depth);
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, this.#field(name, item, depth)]));
  }

  /** Without what hides a secret in another alphabet, or in one that was put into another. */
  #decoded(text: string, depth: number): string {
    return text
      .replace(HEX, (run) => (hexReadings(run).some((raw) => this.#isSecret(raw, depth)) ? MASK : run))
      .replace(BASE64, (run) => (base64Readings(run).some((raw) => this.#isSecret(raw, depth)) ? MASK : run))
      .replace(ESCAPED, (run) => (run.includes("%") && this.#isSecret(unescaped(run), depth) ? MASK : run));
  }

  #isSecret(raw: string, depth: number): boolean {
    if (this.#known !== undefined && raw.search(this.#known) >= 0) return true;
    if ([...raw.matchAll(DECODED)].some((match) => match[1] !== "")) return true;
    // What is no text was read from a wrong place, or holds nothing that can be read.
    return depth === 0 && /^[\x00-\x7f]*$/.test(raw) && this.#decoded(raw, 1) !== raw;
  }

  #field(name: string, item: unknown, depth: number): unknown {
    const secret = new RegExp(`^(?:${NAMES}|${FIELDS})$`, "i").test(name);
    return secret && typeof item === "string" ? MASK : this.value(item, depth + 1);
  }

  #error(error: Error, depth: number): Record<string, unknown> {
    const { name, message, stack, cause } = error;
    const made: Record<string, unknown> = { name, message: this.redact(message), stack: this.redact(stack ?? "") };
    return cause === undefined ? made : { ...made, cause: this.value(cause, depth + 1) };
  }
}

const plain = new Redactor();

/** Takes out what looks like a secret. */
export function redact(text: string): string {
  return plain.redact(text);
}

export interface Logger {
  error: (message: string, ...rest: unknown[]) => void;
  warn: (message: string, ...rest: unknown[]) => void;
  info: (message: string, ...rest: unknown[]) => void;
  debug: (message: string, ...rest: unknown[]) => void;
}

/** A logger for the SDK's option `logger` that masks what it is told before the one underneath sees it. */
export function redactingLogger(underneath: Logger = console, known: Iterable<string> = []): Logger {
  const redactor = new Redactor(known);
  const masking =
    (level: keyof Logger) =>
    (message: string, ...rest: unknown[]): void =>
      underneath[level](redactor.redact(String(message)), ...rest.map((value) => redactor.value(value)));
  return { error: masking("error"), warn: masking("warn"), info: masking("info"), debug: masking("debug") };
}

/** Bytes, one a character, as UTF-8. */
function read(bytes: string): string {
  return new TextDecoder().decode(Uint8Array.from(bytes, (char) => char.charCodeAt(0)));
}

/** Pairs of digits, from either of the two places where one may begin. */
function hexReadings(run: string): string[] {
  return [run, run.slice(1)].map((part) =>
    read((part.match(/../g) ?? []).map((pair) => String.fromCharCode(Number.parseInt(pair, 16))).join("")),
  );
}

/** Either alphabet, from each of the four places where a group of four may begin. */
function base64Readings(run: string): string[] {
  const standard = run.replace(/=+$/, "").replaceAll("-", "+").replaceAll("_", "/");
  return [0, 1, 2, 3].map((lead) => {
    const part = standard.slice(lead);
    return read(atob(part.length % 4 === 1 ? part.slice(0, -1) : part));
  });
}

function unescaped(run: string): string {
  return read(run.replace(/%([0-9A-Fa-f]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16))));
}

function formsOf(secret: string): string[] {
  const bytes = utf8(secret);
  const percent = encodeURIComponent(secret);
  const every = Array.from(bytes, (b) => {
    const c = String.fromCharCode(b);
    return /[0-9A-Za-z]/.test(c) ? c : `%${b.toString(16).padStart(2, "0").toUpperCase()}`;
  }).join("");
  const standard = base64(bytes);
  const urlsafe = standard.replaceAll("+", "-").replaceAll("/", "_");
  const json = JSON.stringify(secret).slice(1, -1);
  const ascii = json.replace(/[^\x00-\x7f]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const forms = [secret, percent, percent.toLowerCase(), every, hex(bytes), hex(bytes).toUpperCase(), json, ascii];
  return [...forms, standard, standard.replace(/=+$/, ""), urlsafe, urlsafe.replace(/=+$/, "")];
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&");
}
