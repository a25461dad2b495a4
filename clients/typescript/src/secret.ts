/** A value that is shown only where it is asked for: printing, JSON and templates give its kind. */
export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** The text itself. */
  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return "Secret([redacted])";
  }

  toJSON(): string {
    return "[redacted]";
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }
}

/** The public part of one of our keys, by which signatures name it; undefined for text of another form. */
export function publicId(key: string): string | undefined {
  return /^[a-z]{3}_(?:live|test)_([0-9A-Za-z]{10})[0-9A-Za-z]{33}$/.exec(key)?.[1];
}

/** Refuses what cannot be a key: nothing, blanks, line ends, control characters. Returns the key. */
export function isKey(text: string): boolean {
  return text.length <= 4096 && /^[\x21-\x7e]+$/.test(text);
}
