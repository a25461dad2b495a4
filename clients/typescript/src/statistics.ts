import { Prices, promptTokens, type Usage } from "./prices.js";

const KEPT_LATENCIES = 10_000;

/** One reading. Latencies are from sending to the answer's last byte, in milliseconds, over the last 10 000 calls sent. */
export interface Summary {
  requests: number;
  errors: number;
  cacheHits: number;
  cacheHitRate: number;
  retries: number;
  inputTokens: number;
  outputTokens: number;
  /** Over the calls that had usage. */
  tokensPerRequest: number;
  latencyMeanMs: number | undefined;
  latencyP50Ms: number | undefined;
  latencyP95Ms: number | undefined;
  latencyP99Ms: number | undefined;
  /** 10^-12 dollars. An estimate: what counts is the gateway's ledger. */
  estimatedCostPicoUsd: bigint;
  estimatedCostUsd: number;
  /** Calls of models that the price table does not have. */
  unpricedRequests: number;
}

export interface Sent {
  /** Undefined: no answer came. */
  status: number | undefined;
  latencyMs: number;
  model?: string | undefined;
  usage?: Usage | undefined;
}

/** What the calls of one client came to. */
export class Statistics {
  #requests = 0;
  #errors = 0;
  #hits = 0;
  #retries = 0;
  #input = 0;
  #output = 0;
  #withUsage = 0;
  #cost = 0n;
  #unpriced = 0;
  #latencies: number[] = [];
  #oldest = 0;

  constructor(private readonly prices: Prices = new Prices()) {}

  /** A call that the cache answered. */
  hit(): void {
    this.#requests += 1;
    this.#hits += 1;
  }

  /** An attempt that this adapter repeats. */
  retry(): void {
    this.#retries += 1;
  }

  /** A call that was sent. */
  sent(call: Sent): void {
    this.#requests += 1;
    if (call.status === undefined || call.status >= 400) this.#errors += 1;
    this.#keep(call.latencyMs);
    if (!call.usage) return;
    this.#withUsage += 1;
    this.#input += promptTokens(call.usage);
    this.#output += call.usage.output;
    const cost = this.prices.cost(call.model ?? "", call.usage);
    this.#cost += cost ?? 0n;
    if (cost === undefined) this.#unpriced += 1;
  }

  /** All numbers at one moment. */
  summary(): Summary {
    const ordered = [...this.#latencies].sort((a, b) => a - b);
    const mean = ordered.length === 0 ? undefined : ordered.reduce((sum, ms) => sum + ms, 0) / ordered.length;
    return {
      requests: this.#requests,
      errors: this.#errors,
      cacheHits: this.#hits,
      cacheHitRate: this.#requests === 0 ? 0 : this.#hits / this.#requests,
      retries: this.#retries,
      inputTokens: this.#input,
      outputTokens: this.#output,
      tokensPerRequest: this.#withUsage === 0 ? 0 : (this.#input + this.#output) / this.#withUsage,
      latencyMeanMs: mean,
      latencyP50Ms: percentile(ordered, 50),
      latencyP95Ms: percentile(ordered, 95),
      latencyP99Ms: percentile(ordered, 99),
      estimatedCostPicoUsd: this.#cost,
      estimatedCostUsd: Number(this.#cost) / 1e12,
      unpricedRequests: this.#unpriced,
    };
  }

  #keep(latencyMs: number): void {
    this.#latencies[this.#oldest] = latencyMs;
    this.#oldest = (this.#oldest + 1) % KEPT_LATENCIES;
  }
}

/** By nearest rank: the smallest value that at least so many percent do not exceed. */
function percentile(ordered: readonly number[], percent: number): number | undefined {
  return ordered[Math.ceil((percent * ordered.length) / 100) - 1];
}
