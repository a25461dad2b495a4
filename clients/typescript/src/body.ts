import { type Bytes, joined } from "./encoding.js";
import { NotSignable } from "./errors.js";

/** A request's body: bytes that can be signed and sent again, or a stream that cannot. */
export interface Body {
  bytes: Bytes | undefined;
  stream: ReadableStream<Uint8Array> | undefined;
}

/**
 * Reads the body when it has to be known before it is sent. Only a stream that is not signed stays one.
 *
 * `given` is what the caller passed; `request` has turned forms and the like into bytes.
 */
export async function bodyOf(request: Request, given: unknown, signs: boolean, maxBytes: number): Promise<Body> {
  if (request.body === null) return { bytes: new Uint8Array(), stream: undefined };
  const streamed = given === undefined || given === null || given instanceof ReadableStream;
  // Blobs and forms may be long; without a signature they need not be in memory.
  const long = given instanceof Blob || given instanceof FormData;
  if (!signs && (streamed || long)) return { bytes: undefined, stream: request.body };
  if (given instanceof Blob && given.size > maxBytes) throw tooLong(maxBytes);
  return { bytes: await read(request.body, maxBytes), stream: undefined };
}

async function read(stream: ReadableStream<Uint8Array>, maxBytes: number): Promise<Bytes> {
  const parts: Uint8Array[] = [];
  let size = 0;
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return joined(parts);
    size += value.length;
    if (size > maxBytes) {
      await reader.cancel();
      throw tooLong(maxBytes);
    }
    parts.push(value);
  }
}

function tooLong(maxBytes: number): NotSignable {
  return new NotSignable(
    `the body is longer than the ${maxBytes} bytes that are kept for signing (maxBodyBytes): a signature stands before the body,` +
      " so the body must be known before it is sent",
  );
}
