/** What needs Node: keys from the environment, files, commands, sealed blobs and Vault; settings; a filter for log streams. */
export { RedactingStream } from "./node/logs.js";
export { fromEnv, type FromEnvOptions } from "./node/settings.js";
export { type BlobOpener, commandKey, envKey, fileKey, readPrivate, sealedKey } from "./node/sources.js";
export { Vault, type VaultOptions, vaultKey, wrappedKey, wrappedToken } from "./node/vault.js";
