import { readFileSync } from "node:fs";

import { parseDotenv } from "../dotenv.js";
import { PROOF_ALGORITHMS, ProofKey } from "../dpop.js";
import { ConfigurationError } from "../errors.js";
import type { ClavigerOptions, Fetch } from "../fetch.js";
import { hmacKey, type Profile, PROFILES, Signer } from "../signing.js";
import { clean, type KeySource } from "../sources.js";
import { kms, sealedKey } from "./sealed.js";
import { commandKey, envKey, fileKey, readPrivate } from "./sources.js";
import { certificateFetch } from "./tls.js";

type Environment = Record<string, string | undefined>;

export interface FromEnvOptions extends Partial<ClavigerOptions> {
  /** Default: the environment of this process. */
  environment?: Environment;
  /** A `.env` file: sets what the environment does not. */
  dotenv?: string;
}

/**
 * Reads ANTHROPIC_BASE_URL, the key, CLAVIGER_AUTH (key, token), CLAVIGER_SIGNING_SECRET and CLAVIGER_SIGNING_PROFILE,
 * CLAVIGER_DPOP_KEY_FILE or CLAVIGER_DPOP (ES256, EdDSA: a proof key that is made here), and CLAVIGER_CLIENT_CERT,
 * CLAVIGER_CLIENT_KEY, CLAVIGER_CA_FILE for mutual TLS.
 *
 * The key is the first that is set of CLAVIGER_SEALED_KEY_FILE (opened by the service that CLAVIGER_KMS names), ANTHROPIC_API_KEY,
 * CLAVIGER_KEY_FILE, CLAVIGER_KEY_COMMAND (words parted by blanks). Options that are given win.
 */
export function fromEnv(options: FromEnvOptions = {}): ClavigerOptions {
  const { environment = process.env, dotenv, ...given } = options;
  const file = dotenv === undefined ? {} : parseDotenv(readFileSync(dotenv, "utf8"));
  const values: Environment = { ...file, ...environment };
  const baseURL = given.baseURL ?? values["ANTHROPIC_BASE_URL"];
  if (!baseURL) throw new ConfigurationError("ANTHROPIC_BASE_URL is not set: the gateway's address");
  return {
    ...given,
    baseURL,
    key: given.key ?? source(values),
    auth: given.auth ?? authOf(values),
    signer: given.signer ?? signer(values),
    proofKey: given.proofKey ?? proofKeyOf(values),
    fetch: given.fetch ?? certificateOf(values),
  };
}

function authOf(values: Environment): "key" | "token" {
  const named = values["CLAVIGER_AUTH"] || "key";
  if (named === "key" || named === "token") return named;
  throw new ConfigurationError("auth is `key` or `token`: CLAVIGER_AUTH");
}

function proofKeyOf(values: Environment): ProofKey | undefined {
  const file = values["CLAVIGER_DPOP_KEY_FILE"];
  if (file) return new ProofKey(() => readPrivate(file));
  const named = values["CLAVIGER_DPOP"];
  if (!named) return undefined;
  const algorithm = PROOF_ALGORITHMS.find((known) => known === named);
  if (!algorithm) throw new ConfigurationError("CLAVIGER_DPOP is ES256 or EdDSA");
  return new ProofKey(undefined, { algorithm });
}

function certificateOf(values: Environment): Fetch | undefined {
  const certificate = values["CLAVIGER_CLIENT_CERT"];
  if (!certificate) return undefined;
  return certificateFetch({ certificate, key: values["CLAVIGER_CLIENT_KEY"] || undefined, authority: values["CLAVIGER_CA_FILE"] || undefined });
}

function source(values: Environment): KeySource {
  // First: a plain key that is also set must not be what is used when the sealed one does not open.
  const sealed = values["CLAVIGER_SEALED_KEY_FILE"];
  if (sealed) {
    const uri = values["CLAVIGER_KMS"];
    if (!uri) throw new ConfigurationError("CLAVIGER_KMS is not set: what `claviger seal-key --kms` was given");
    return sealedKey(sealed, kms(uri, { environment: values }));
  }
  if (values["ANTHROPIC_API_KEY"]) return envKey("ANTHROPIC_API_KEY", values);
  if (values["CLAVIGER_KEY_FILE"]) return fileKey(values["CLAVIGER_KEY_FILE"]);
  if (values["CLAVIGER_KEY_COMMAND"]) return commandKey(values["CLAVIGER_KEY_COMMAND"].trim().split(/\s+/));
  throw new ConfigurationError("no key: set CLAVIGER_SEALED_KEY_FILE, ANTHROPIC_API_KEY, CLAVIGER_KEY_FILE or CLAVIGER_KEY_COMMAND");
}

function signer(values: Environment): Signer | undefined {
  const secret = values["CLAVIGER_SIGNING_SECRET"];
  if (!secret) return undefined;
  const named = values["CLAVIGER_SIGNING_PROFILE"] || "rfc9421";
  const profile: Profile | undefined = PROFILES.find((known) => known === named);
  if (!profile) throw new ConfigurationError(`CLAVIGER_SIGNING_PROFILE is one of ${PROFILES.join(", ")}`);
  return new Signer({ key: hmacKey(clean(secret, "the variable CLAVIGER_SIGNING_SECRET")), profile });
}
