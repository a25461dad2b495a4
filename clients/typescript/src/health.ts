const SKEW_SECS = 300;

/** One look at the gateway. */
export interface Health {
  ok: boolean;
  /** `/readyz` answered 200. */
  ready: boolean;
  /** `/v1/claviger/me` answered 200: key or token and signature are in order. */
  accepted: boolean;
  status: number | undefined;
  latencyMs: number | undefined;
  /** This machine's clock less the gateway's, if something on the way sets a Date header (whole seconds). */
  clockOffsetSecs: number | undefined;
  /** One sentence about the first thing that is wrong. */
  problem: string | undefined;
}

/** `/v1/claviger/me`, read. */
export interface Me {
  answer: Response;
  text: string;
}

/** From the two answers, whichever came. `now` in milliseconds. */
export function judge(
  ready: Response | undefined, asked: Me | undefined, error: unknown, latencyMs: number | undefined, now: number,
): Health {
  const me = asked?.answer;
  const isReady = ready?.status === 200;
  const clockOffsetSecs = offset(me ?? ready, now);
  const problem = problemOf(isReady, asked, error, clockOffsetSecs);
  const accepted = me?.status === 200;
  return { ok: isReady && accepted, ready: isReady, accepted, status: me?.status, latencyMs, clockOffsetSecs, problem };
}

function offset(answer: Response | undefined, now: number): number | undefined {
  const date = Date.parse(answer?.headers.get("date") ?? "");
  return Number.isNaN(date) ? undefined : Math.round((now - date) / 1000);
}

function problemOf(ready: boolean, asked: Me | undefined, error: unknown, offsetSecs: number | undefined): string | undefined {
  if (error !== undefined) return `the gateway does not answer: ${error instanceof Error ? error.name : "error"}`;
  if (offsetSecs !== undefined && Math.abs(offsetSecs) > SKEW_SECS) {
    const side = offsetSecs > 0 ? "ahead of" : "behind";
    return `this machine's clock is ${Math.abs(offsetSecs)} s ${side} the gateway's: signed requests are refused beyond ${SKEW_SECS} s`;
  }
  if (!ready) return "the gateway is not ready";
  return asked?.answer.status === 200 ? undefined : `the gateway does not take this client's credential: ${said(asked)}`;
}

/** The gateway's own words, which name what is wrong: a clock, a missing signature, a key that is over. */
function said(asked: Me | undefined): string {
  const status = asked?.answer.status ?? "no answer";
  try {
    const { error } = JSON.parse(asked?.text ?? "") as { error: { message: string } };
    return `${status}, ${error.message}`;
  } catch {
    return String(status);
  }
}
