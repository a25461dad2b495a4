import { type Bytes, joined } from "./encoding.js";
import type { Usage } from "./prices.js";
import { readerFor } from "./usage.js";

/** What was seen of an answer once it is over. */
export interface Seen {
  model: string | undefined;
  usage: Usage | undefined;
  /** The connection broke. */
  failed: boolean;
  /** The whole answer, if it is a complete 200 within the bound. */
  whole: Bytes | undefined;
}

/** The same answer, with an eye on its bytes; `over` is called once, at its end, its cancellation or its failure. */
export function tapped(response: Response, keepBytes: number, over: (seen: Seen) => void): Response {
  const reader = readerFor(response.headers);
  let kept: Uint8Array[] | undefined = keepBytes > 0 && response.status === 200 ? [] : undefined;
  let size = 0;
  let open = true;
  const end = (how: "end" | "cancel" | "failure"): void => {
    if (!open) return;
    open = false;
    reader?.close();
    const whole = how === "end" && kept && reader?.ended ? joined(kept) : undefined;
    const usage = response.status === 200 ? reader?.usage : undefined;
    over({ model: reader?.model, usage, failed: how === "failure", whole });
  };
  if (response.body === null) {
    end("end");
    return response;
  }
  const source = response.body.getReader();
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await source.read();
          if (done) {
            end("end");
            controller.close();
            return;
          }
          reader?.feed(value);
          size += value.length;
          if (size > keepBytes) kept = undefined;
          kept?.push(value);
          controller.enqueue(value);
        } catch (error) {
          end("failure");
          controller.error(error);
        }
      },
      async cancel(reason) {
        end("cancel");
        await source.cancel(reason);
      },
    },
    { highWaterMark: 0 },
  );
  const { status, statusText, headers } = response;
  const made = new Response(body, { status, statusText, headers });
  Object.defineProperty(made, "url", { value: response.url });
  return made;
}
