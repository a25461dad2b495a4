/** Keeps secrets out of logs: what our, the provider's and other tokens look like, in plain and in encoded forms. */
import { base64, hex, joined, utf8 } from "./encoding.js";

export const MASK = "[redacted]";
const MIN_KNOWN = 8;

/** A prefix in base64 at each of the three positions, without the characters that hold bits of what stands around. */
function inBase64(prefix: string): string[] {
  return [0, 1, 2].map((lead) => {
    const whole = base64(joined([new Uint8Array(lead), utf8(prefix)]));
    return whole.slice(Math.floor((lead * 8 + 5) / 6), Math.floor(((lead + prefix.length) * 8) / 6));
  });
}

const PREFIXES = ["cvg_live_", "cvg_test_", "sk-ant-"];
const HEX = PREFIXES.flatMap((prefix) => [hex(utf8(prefix)), hex(utf8(prefix)).toUpperCase()]).join("|");
const BASE64 = PREFIXES.flatMap(inBase64).map(escaped).join("|");
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
const RUNS: [RegExp, RegExp][] = [
  [new RegExp(`(?:${HEX})[0-9a-fA-F]{16,}`, "g"), /[0-9a-fA-F]/],
  [new RegExp(`(?:${BASE64})[0-9A-Za-z+/_-]{16,}={0,2}`, "g"), /[0-9A-Za-z+/_-]/],
];
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
    for (const [finder, alphabet] of RUNS) masked = maskRuns(masked, finder, alphabet);
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

/** Masks each find with what stands before it in the same run. A pattern that begins so would take quadratic time. */
function maskRuns(text: string, finder: RegExp, alphabet: RegExp): string {
  const parts: string[] = [];
  let done = 0;
  for (const match of text.matchAll(finder)) {
    let start = match.index;
    while (start > done && alphabet.test(text[start - 1] ?? "")) start -= 1;
    parts.push(text.slice(done, start), MASK);
    done = match.index + match[0].length;
  }
  return [...parts, text.slice(done)].join("");
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
