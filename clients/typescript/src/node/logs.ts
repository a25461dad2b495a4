import { Transform, type TransformCallback } from "node:stream";

import { Redactor } from "../redaction.js";

const MAX_LINE = 1024 * 1024;

/** Masks secrets in text that passes, line by line: `pino(new RedactingStream().pipe(process.stdout))` and the like. */
export class RedactingStream extends Transform {
  readonly #redactor: Redactor;
  readonly #decoder = new TextDecoder();
  #rest = "";

  constructor(known: Iterable<string> = []) {
    super();
    this.#redactor = new Redactor(known);
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    const text = this.#rest + this.#decoder.decode(chunk, { stream: true });
    // A line that does not end is passed on at some length: memory has a bound.
    const cut = text.length > MAX_LINE ? text.length : text.lastIndexOf("\n") + 1;
    this.#rest = text.slice(cut);
    done(null, this.#redactor.redact(text.slice(0, cut)));
  }

  override _flush(done: TransformCallback): void {
    done(null, this.#redactor.redact(this.#rest + this.#decoder.decode()));
  }
}
