/** What needs Node: keys from the environment, files, commands, sealed blobs and Vault; settings; client certificates; a filter for log streams. */
export { RedactingStream } from "./node/logs.js";
export { type AwsCredentials, Blob, type BlobOpener, kms, type KmsOptions, type Purpose, sealedKey } from "./node/sealed.js";
export { fromEnv, type FromEnvOptions } from "./node/settings.js";
export { commandKey, envKey, fileKey, readPrivate } from "./node/sources.js";
export { certificateFetch, type ClientCertificate } from "./node/tls.js";
export { Vault, type VaultOptions, vaultKey, wrappedKey, wrappedToken } from "./node/vault.js";
