/**
 * Claviger's adapter for the official Anthropic SDK.
 *
 * ```ts
 * import Anthropic from "@anthropic-ai/sdk";
 * import { sdkOptions } from "@claviger/client";
 *
 * const client = new Anthropic(sdkOptions({ baseURL: "https://gw.example", key }));
 * ```
 *
 * Everything here runs in browsers, too; what needs Node is in `@claviger/client/node`.
 */
export { type BatchOptions, type Outcome, runBatch } from "./batch.js";
export { type CacheOptions, ResponseCache } from "./cache.js";
export { parseDotenv } from "./dotenv.js";
export { type ProofAlgorithm, ProofKey, proofKey, type ProofKeyOptions } from "./dpop.js";
export {
  ClavigerError, ConfigurationError, KeyUnavailable, LimitReached, NotSignable, TokenError, WrongOrigin,
} from "./errors.js";
export { type ClavigerFetch, clavigerFetch, type ClavigerOptions, type Fetch, PLACEHOLDER_KEY, sdkOptions } from "./fetch.js";
export { type Health } from "./health.js";
export { Limiter, type LimiterOptions } from "./limiter.js";
export { Prices, type PriceTable, type Rates, readUsage, type Usage } from "./prices.js";
export { type Logger, MASK, redact, redactingLogger, Redactor } from "./redaction.js";
export { decide, type Decision, DEFAULT_RETRY, type Failed, type RetryPolicy } from "./retry.js";
export { publicId, Secret } from "./secret.js";
export {
  ed25519Key, HmacKey, hmacKey, type HmacKeyOptions, type Profile, PROFILES, Signer, type SignerOptions, type SigningKey, type Target, targetOf,
} from "./signing.js";
export { CachedKey, KEY_TTL_MS, type KeySource, staticKey } from "./sources.js";
export { type Sent, Statistics, type Summary } from "./statistics.js";
export { JsonUsage, StreamUsage, type UsageReader } from "./usage.js";
