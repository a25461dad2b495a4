package claviger

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKeyFilesThatOthersCanReadAreRefused(t *testing.T) {
	for mode, allowed := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false, 0o620: false} {
		key, err := FileKey(write(t, testKey+"\n", mode)).Key(t.Context())
		if (err == nil) != allowed || (allowed && key.Reveal() != testKey) {
			t.Errorf("%04o: %v", mode, err)
		}
	}
	if _, err := FileKey(t.TempDir()).Key(t.Context()); err == nil {
		t.Error("a folder is a key")
	}
}

func TestTextsThatAreNoKeyAreRefusedWithoutShowingThem(t *testing.T) {
	for _, text := range []string{"", " \n", "one\ntwo-secret", strings.Repeat("x", maxSecretBytes+1)} {
		_, err := FileKey(write(t, text, 0o600)).Key(t.Context())
		if !errors.Is(err, ErrNoKey) || strings.Contains(err.Error(), "two-secret") {
			t.Errorf("got %v", err)
		}
	}
}

func TestAKeptKeyIsReadAgainAfterItsTimeOrARefusal(t *testing.T) {
	var reads atomic.Int64
	source := keep(time.Minute, func(context.Context) (Secret, error) {
		if reads.Add(1) == 3 {
			return Secret{}, ErrNoKey
		}
		return NewSecret(testKey), nil
	})
	now := time.Unix(1767225600, 0)
	source.now = func() time.Time { return now }
	ask := func() error { _, err := source.Key(t.Context()); return err }
	_, _ = ask(), ask()
	if reads.Load() != 1 {
		t.Errorf("%d reads", reads.Load())
	}
	source.Forget()
	_ = ask()
	now = now.Add(time.Minute)
	if err := ask(); !errors.Is(err, ErrNoKey) || reads.Load() != 3 {
		t.Errorf("an old key was given in place of a failure: %v, %d reads", err, reads.Load())
	}
}

func TestCommandsGiveOneLineAndNothingOfTheirOutputInErrors(t *testing.T) {
	key, err := CommandKey("printf", `%s\n`, testKey).Key(t.Context())
	if err != nil || key.Reveal() != testKey {
		t.Errorf("%v", err)
	}
	for _, script := range []string{"echo " + testKey + "; exit 3", "yes " + testKey, "true"} {
		_, err := CommandKey("sh", "-c", script).Key(t.Context())
		if err == nil || strings.Contains(err.Error(), "cvg_live_") {
			t.Errorf("%q: %v", script, err)
		}
	}
}

func TestAWrappedTokenIsOpenedOnceAndReadsTheKey(t *testing.T) {
	var unwrapped atomic.Int64
	store := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		token := request.Header.Get("X-Vault-Token")
		switch {
		case request.URL.Path == "/v1/sys/wrapping/unwrap" && token == "wrapped" && unwrapped.Add(1) == 1:
			_, _ = writer.Write([]byte(`{"auth":{"client_token":"inner"}}`))
		case request.URL.EscapedPath() == "/v1/kv/data/team%20a/ci" && token == "inner":
			_, _ = writer.Write([]byte(`{"data":{"data":{"api_key":"` + testKey + `"}}}`))
		default:
			writer.WriteHeader(http.StatusBadRequest)
		}
	}))
	defer store.Close()
	file := write(t, "wrapped\n", 0o600)
	source := func() *VaultKey {
		return &VaultKey{Address: store.URL, Mount: "kv", Path: "team a/ci", Field: "api_key", WrappedTokenFile: file}
	}
	first := source()
	for range 2 {
		if key, err := first.Key(t.Context()); err != nil || key.Reveal() != testKey {
			t.Fatalf("%v", err)
		}
		first.Forget()
	}
	if _, err := source().Key(t.Context()); !errors.Is(err, ErrWrappedTokenUsed) {
		t.Errorf("a second opening gave %v", err)
	}
	far := &VaultKey{Address: "http://vault.example", Path: "x", Token: StaticKey("t")}
	if _, err := far.Key(t.Context()); !errors.Is(err, ErrInsecure) {
		t.Errorf("got %v", err)
	}
}

func TestPublicIDIsReadFromKeysOnly(t *testing.T) {
	for text, want := range map[string]string{
		testKey: "0123456789", strings.Replace(testKey, "_live_", "_test_", 1): "0123456789",
		testSecret: "", "short": "", "": "", "eyJhbGciOi.eyJzdWIiOi.c2ln": "",
	} {
		if got := PublicID(NewSecret(text)); got != want {
			t.Errorf("%q: got %q", text, got)
		}
	}
}

func TestEnvironmentMakesAConfiguration(t *testing.T) {
	t.Setenv(EnvBaseURL, "https://gw.example")
	t.Setenv(EnvAPIKey, testKey)
	t.Setenv(EnvSigningSecret, testSecret)
	t.Setenv(EnvSigningProfile, "rfc9421")
	t.Setenv(EnvAuth, "token")
	config, err := ConfigFromEnv()
	if err != nil || config.Auth != AuthToken || config.Signer.Profile != ProfileRFC9421 {
		t.Errorf("%+v %v", config, err)
	}
	t.Setenv(EnvKeyCommand, "echo "+testKey)
	if key, err := config.Key.Key(t.Context()); err != nil || key.Reveal() != testKey {
		t.Errorf("%v", err)
	}
	t.Run("command", func(t *testing.T) {
		t.Setenv(EnvAPIKey, "")
		taken := func() string {
			source, err := keyFromEnv()
			if err != nil {
				t.Fatal(err)
			}
			key, err := source.Key(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return key.Reveal()
		}
		if taken() != testKey {
			t.Error("the command's key is not taken")
		}
		t.Setenv(EnvKeyFile, write(t, "from-file", 0o600))
		if taken() != "from-file" {
			t.Error("the file's key is not taken")
		}
	})
	for name, value := range map[string]string{EnvAuth: "both", EnvSigningProfile: "v3", EnvBaseURL: ""} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			if _, err := FromEnv(); err == nil {
				t.Errorf("%s=%q is taken", name, value)
			}
		})
	}
}
