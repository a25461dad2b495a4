package claviger

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Environment variables that [FromEnv] reads.
const (
	EnvBaseURL        = "ANTHROPIC_BASE_URL"
	EnvAPIKey         = "ANTHROPIC_API_KEY"
	EnvKeyFile        = "CLAVIGER_KEY_FILE"
	EnvKeyCommand     = "CLAVIGER_KEY_COMMAND"
	EnvSealedKeyFile  = "CLAVIGER_SEALED_KEY_FILE"
	EnvKMS            = "CLAVIGER_KMS"
	EnvSigningSecret  = "CLAVIGER_SIGNING_SECRET"
	EnvSigningProfile = "CLAVIGER_SIGNING_PROFILE"
	EnvAuth           = "CLAVIGER_AUTH"
	EnvDPoP           = "CLAVIGER_DPOP"
	EnvDPoPKeyFile    = "CLAVIGER_DPOP_KEY_FILE"
	EnvClientCert     = "CLAVIGER_CLIENT_CERT"
	EnvClientKey      = "CLAVIGER_CLIENT_KEY"
	EnvCAFile         = "CLAVIGER_CA_FILE"
)

// ConfigFromEnv makes a configuration from ANTHROPIC_BASE_URL, the key, CLAVIGER_AUTH ("key" or "token") and, to sign,
// CLAVIGER_SIGNING_SECRET and CLAVIGER_SIGNING_PROFILE ("v1", "v2" or "rfc9421", which it is when not set). The key is
// the first that is set of CLAVIGER_SEALED_KEY_FILE (opened by the service that CLAVIGER_KMS names),
// ANTHROPIC_API_KEY, CLAVIGER_KEY_FILE and CLAVIGER_KEY_COMMAND (words parted by blanks). CLAVIGER_DPOP_KEY_FILE is a
// proof key in PEM form, CLAVIGER_DPOP ("ES256" or "EdDSA") has one made here; CLAVIGER_CLIENT_CERT, CLAVIGER_CLIENT_KEY
// and CLAVIGER_CA_FILE are a [ClientCertificate].
func ConfigFromEnv() (Config, error) {
	base := os.Getenv(EnvBaseURL)
	if base == "" {
		return Config{}, errors.New("claviger: " + EnvBaseURL + " is not set")
	}
	key, err := keyFromEnv()
	if err != nil {
		return Config{}, err
	}
	config := Config{BaseURL: base, Key: key, Auth: Auth(os.Getenv(EnvAuth))}
	if os.Getenv(EnvSigningSecret) != "" {
		config.Signer = &Signer{
			Profile: Profile(os.Getenv(EnvSigningProfile)),
			Secret:  EnvKey(EnvSigningSecret),
		}
	}
	if config.ProofKey, err = proofKeyFromEnv(); err != nil {
		return Config{}, err
	}
	if certificate := os.Getenv(EnvClientCert); certificate != "" {
		config.Certificate = &ClientCertificate{
			Certificate: certificate, Key: os.Getenv(EnvClientKey), Authority: os.Getenv(EnvCAFile),
		}
	}
	return config, config.check()
}

func proofKeyFromEnv() (*ProofKey, error) {
	if path := os.Getenv(EnvDPoPKeyFile); path != "" {
		text, err := readPrivateFile(path, maxSecretBytes)
		if err != nil {
			return nil, err
		}
		return ParseProofKey(text)
	}
	switch os.Getenv(EnvDPoP) {
	case "":
		return nil, nil
	case "ES256":
		return NewProofKey()
	case "EdDSA":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("claviger: proof key: %w", err)
		}
		return ProofKeyOf(key)
	default:
		return nil, errors.New("claviger: " + EnvDPoP + " must be ES256 or EdDSA")
	}
}

func keyFromEnv() (KeySource, error) {
	// First: a plain key that is also set must not be what is used when the sealed one does not open.
	if path := os.Getenv(EnvSealedKeyFile); path != "" {
		uri, err := firstSet(os.Getenv, EnvKMS)
		if err != nil {
			return nil, err
		}
		opener, err := KMS(uri, nil)
		if err != nil {
			return nil, err
		}
		return SealedKey(path, opener), nil
	}
	if path := os.Getenv(EnvKeyFile); path != "" && os.Getenv(EnvAPIKey) == "" {
		return FileKey(path), nil
	}
	words := strings.Fields(os.Getenv(EnvKeyCommand))
	if len(words) > 0 && os.Getenv(EnvAPIKey) == "" {
		return CommandKey(words[0], words[1:]...), nil
	}
	return EnvKey(EnvAPIKey), nil
}

// FromEnv makes a transport from [ConfigFromEnv].
func FromEnv() (*Transport, error) {
	config, err := ConfigFromEnv()
	if err != nil {
		return nil, err
	}
	return New(config)
}
