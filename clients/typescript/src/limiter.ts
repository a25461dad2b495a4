import { ConfigurationError, LimitReached } from "./errors.js";
import { sleep } from "./wait.js";

export interface LimiterOptions {
  perSecond?: number | undefined;
  /** Calls at once after a pause. Default: 1. */
  burst?: number | undefined;
  concurrency?: number | undefined;
  /** Default: one minute. */
  maxWaitMs?: number | undefined;
  monotonic?: () => number;
  sleep?: (ms: number, signal?: AbortSignal) => Promise<void>;
}

interface Waiter {
  take: () => void;
}

/** Calls per second (GCRA with a burst) and calls at once, first come, first served. */
export class Limiter {
  readonly #intervalMs: number | undefined;
  readonly #burst: number;
  #free: number;
  readonly #maxWaitMs: number;
  readonly #monotonic: () => number;
  readonly #sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
  readonly #queue: Waiter[] = [];
  #nextArrival = -Infinity;

  constructor(options: LimiterOptions = {}) {
    const { perSecond, burst = 1, concurrency } = options;
    if ((perSecond !== undefined && !(perSecond > 0)) || burst < 1 || (concurrency !== undefined && concurrency < 1)) {
      throw new ConfigurationError("a limit is above zero");
    }
    this.#intervalMs = perSecond === undefined ? undefined : 1000 / perSecond;
    this.#burst = burst;
    this.#free = concurrency ?? Infinity;
    this.#maxWaitMs = options.maxWaitMs ?? 60_000;
    this.#monotonic = options.monotonic ?? (() => performance.now());
    this.#sleep = options.sleep ?? sleep;
  }

  /** Resolves when the call may start, with what gives the slot back; rejects with LimitReached. */
  async acquire(signal?: AbortSignal): Promise<() => void> {
    const deadline = this.#monotonic() + this.#maxWaitMs;
    await this.#slot(deadline, signal);
    try {
      const waitMs = this.#turn(deadline);
      if (waitMs > 0) await this.#sleep(waitMs, signal);
    } catch (error) {
      this.#release();
      throw error;
    }
    let held = true;
    return () => {
      if (held) this.#release();
      held = false;
    };
  }

  #release(): void {
    const next = this.#queue.shift();
    if (next) next.take();
    else this.#free += 1;
  }

  async #slot(deadline: number, signal?: AbortSignal): Promise<void> {
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    const stopped = new AbortController();
    const given = new Promise<boolean>((resolve) => {
      const waiter: Waiter = { take: () => resolve(true) };
      this.#queue.push(waiter);
      const leave = (): void => {
        const at = this.#queue.indexOf(waiter);
        if (at >= 0) this.#queue.splice(at, 1);
        resolve(false);
      };
      const bound = AbortSignal.any(signal ? [stopped.signal, signal] : [stopped.signal]);
      void this.#sleep(deadline - this.#monotonic(), bound).then(leave, leave);
    });
    const had = await given;
    stopped.abort();
    if (had) return;
    signal?.throwIfAborted();
    throw new LimitReached("this client's own limit would make the call wait longer than allowed");
  }

  /** Milliseconds until the rate allows this call; takes the turn. */
  #turn(deadline: number): number {
    if (this.#intervalMs === undefined) return 0;
    const now = this.#monotonic();
    const arrival = Math.max(now, this.#nextArrival);
    const start = Math.max(now, arrival - (this.#burst - 1) * this.#intervalMs);
    if (start > deadline) throw new LimitReached("this client's own limit would make the call wait longer than allowed");
    this.#nextArrival = arrival + this.#intervalMs;
    return start - now;
  }
}
