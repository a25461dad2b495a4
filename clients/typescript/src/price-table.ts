import type { PriceTable } from "./prices.js";

/** USD per million tokens, as of 2026-11-21. What counts is the gateway's ledger. */
export const CARRIED: PriceTable = {
  "claude-fable-5-2": {"input": "8", "output": "40", "cache_write_5m": "10", "cache_write_1h": "16", "cache_read": "0.20"},
  "claude-fable-5-1": {"input": "10", "output": "50", "cache_write_5m": "12.50", "cache_write_1h": "20", "cache_read": "0.25"},
  "claude-fable-5": {"input": "10", "output": "50", "cache_write_5m": "12.50", "cache_write_1h": "20", "cache_read": "1.00"},
  "claude-opus-5-5": {"input": "4", "output": "20", "cache_write_5m": "5", "cache_write_1h": "8", "cache_read": "0.20"},
  "claude-opus-5": {"input": "5", "output": "25", "cache_write_5m": "6.25", "cache_write_1h": "10", "cache_read": "0.50"},
  "claude-opus-4-8": {"input": "5", "output": "25", "cache_write_5m": "6.25", "cache_write_1h": "10", "cache_read": "0.50"},
  "claude-opus-4-7": {"input": "5", "output": "25", "cache_write_5m": "6.25", "cache_write_1h": "10", "cache_read": "0.50"},
  "claude-opus-4-6": {"input": "5", "output": "25", "cache_write_5m": "6.25", "cache_write_1h": "10", "cache_read": "0.50"},
  "claude-opus-4-5": {"input": "5", "output": "25", "cache_write_5m": "6.25", "cache_write_1h": "10", "cache_read": "0.50"},
  "claude-sonnet-5-5": {"input": "2", "output": "10", "cache_write_5m": "2.50", "cache_write_1h": "4", "cache_read": "0.10"},
  "claude-sonnet-5": {"input": "2", "output": "10", "cache_write_5m": "2.50", "cache_write_1h": "4", "cache_read": "0.20"},
  "claude-sonnet-4-6": {"input": "3", "output": "15", "cache_write_5m": "3.75", "cache_write_1h": "6", "cache_read": "0.30"},
  "claude-sonnet-4-5": {"input": "3", "output": "15", "cache_write_5m": "3.75", "cache_write_1h": "6", "cache_read": "0.30"},
  "claude-haiku-5-5": {"input": "0.10", "output": "0.50", "cache_write_5m": "0.125", "cache_write_1h": "0.20", "cache_read": "0.01", "above": {"prompt_tokens": 100000, "input": "0.50", "output": "2.50", "cache_write_5m": "0.625", "cache_write_1h": "1.00", "cache_read": "0.05"}},
  "claude-haiku-4-5": {"input": "1", "output": "5", "cache_write_5m": "1.25", "cache_write_1h": "2", "cache_read": "0.10"},
};
