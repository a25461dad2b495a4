package claviger

import (
	"errors"
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
)

// ConfigFromEnv makes a configuration from ANTHROPIC_BASE_URL, the key, CLAVIGER_AUTH ("key" or "token") and, to sign,
// CLAVIGER_SIGNING_SECRET and CLAVIGER_SIGNING_PROFILE ("v1", "v2" or "rfc9421", which it is when not set). The key is
// the first that is set of CLAVIGER_SEALED_KEY_FILE (opened by the service that CLAVIGER_KMS names),
// ANTHROPIC_API_KEY, CLAVIGER_KEY_FILE and CLAVIGER_KEY_COMMAND (words parted by blanks).
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
	return config, config.check()
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
