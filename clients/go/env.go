package claviger

import (
	"errors"
	"os"
)

// Environment variables that [FromEnv] reads.
const (
	EnvBaseURL        = "ANTHROPIC_BASE_URL"
	EnvAPIKey         = "ANTHROPIC_API_KEY"
	EnvSigningSecret  = "CLAVIGER_SIGNING_SECRET"
	EnvSigningProfile = "CLAVIGER_SIGNING_PROFILE"
	EnvAuth           = "CLAVIGER_AUTH"
)

// ConfigFromEnv makes a configuration from ANTHROPIC_BASE_URL, ANTHROPIC_API_KEY, CLAVIGER_AUTH ("key" or "token")
// and, to sign, CLAVIGER_SIGNING_SECRET and CLAVIGER_SIGNING_PROFILE ("v1", "v2" or "rfc9421"; v2 when not set).
func ConfigFromEnv() (Config, error) {
	base := os.Getenv(EnvBaseURL)
	if base == "" {
		return Config{}, errors.New("claviger: " + EnvBaseURL + " is not set")
	}
	config := Config{BaseURL: base, Key: EnvKey(EnvAPIKey), Auth: Auth(os.Getenv(EnvAuth))}
	if os.Getenv(EnvSigningSecret) != "" {
		config.Signer = &Signer{
			Profile: Profile(os.Getenv(EnvSigningProfile)),
			Secret:  EnvKey(EnvSigningSecret),
		}
	}
	return config, config.check()
}

// FromEnv makes a transport from [ConfigFromEnv].
func FromEnv() (*Transport, error) {
	config, err := ConfigFromEnv()
	if err != nil {
		return nil, err
	}
	return New(config)
}
