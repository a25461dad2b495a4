/** The price table behind the cost estimate. What counts is the gateway's ledger. */
import { CARRIED } from "./price-table.js";

/** Tokens of one answer, by price class. */
export interface Usage {
  input: number;
  output: number;
  cacheWrite5m: number;
  cacheWrite1h: number;
  cacheRead: number;
}

/** Decimal text, in dollars per million tokens. */
export interface Rates {
  input: string;
  output: string;
  cache_write_5m: string;
  cache_write_1h: string;
  cache_read: string;
}

export type PriceTable = Record<string, Rates & { above?: Rates & { prompt_tokens: number } }>;

const CLASSES = [
  ["input", "input"],
  ["output", "output"],
  ["cacheWrite5m", "cache_write_5m"],
  ["cacheWrite1h", "cache_write_1h"],
  ["cacheRead", "cache_read"],
] as const;

/** From the `usage` object of the Messages API; null is zero; writes without their split count as 5 minutes. */
export function readUsage(usage: unknown): Usage | undefined {
  if (typeof usage !== "object" || usage === null) return undefined;
  const numbers = usage as Record<string, unknown>;
  const split = (numbers["cache_creation"] ?? undefined) as Record<string, unknown> | undefined;
  const made: Usage = {
    input: count(numbers["input_tokens"]),
    output: count(numbers["output_tokens"]),
    cacheWrite5m: count(split ? split["ephemeral_5m_input_tokens"] : numbers["cache_creation_input_tokens"]),
    cacheWrite1h: count(split?.["ephemeral_1h_input_tokens"]),
    cacheRead: count(numbers["cache_read_input_tokens"]),
  };
  return Object.values(made).every((n) => Number.isSafeInteger(n) && n >= 0) ? made : undefined;
}

/** Everything that went in. */
export function promptTokens(usage: Usage): number {
  return usage.input + usage.cacheWrite5m + usage.cacheWrite1h + usage.cacheRead;
}

/** Dollars per million tokens by model and class, exactly. */
export class Prices {
  constructor(private readonly models: PriceTable = CARRIED) {}

  /** Pico-dollars; undefined for a model that the table does not have. A date at the end of the name does not matter. */
  cost(model: string, usage: Usage): bigint | undefined {
    const row = this.#row(model) ?? this.#row(model.replace(/-\d{8}$/, ""));
    if (!row) return undefined;
    const rates = row.above && promptTokens(usage) > row.above.prompt_tokens ? row.above : row;
    return CLASSES.reduce((sum, [name, column]) => sum + picoPerToken(rates[column]) * BigInt(usage[name]), 0n);
  }

  #row(model: string): PriceTable[string] | undefined {
    return Object.hasOwn(this.models, model) ? this.models[model] : undefined;
  }
}

/** One dollar per million tokens is 10^6 pico-dollars a token. */
function picoPerToken(dollars: string): bigint {
  const [whole = "0", parts = ""] = dollars.split(".");
  return BigInt(whole) * 1_000_000n + BigInt(parts.slice(0, 6).padEnd(6, "0"));
}

function count(value: unknown): number {
  return value === null || value === undefined ? 0 : typeof value === "number" ? value : NaN;
}
