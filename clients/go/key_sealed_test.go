package claviger

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type sealedExchange struct {
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Status  int               `json:"status"`
	Answer  string            `json:"answer"`
}

type sealedCase struct {
	Name        string            `json:"name"`
	URI         string            `json:"uri"`
	Environment map[string]string `json:"environment"`
	Purpose     string            `json:"purpose"`
	Blob        string            `json:"blob"`
	Exchanges   []sealedExchange  `json:"exchanges"`
	Result      string            `json:"result"`
}

type sealedVectors struct {
	About   string       `json:"about"`
	Now     int64        `json:"now"`
	Secrets []string     `json:"secrets"`
	Cases   []sealedCase `json:"cases"`
}

// scriptedKMS answers what a case says, and checks what it is asked.
type scriptedKMS struct {
	t    *testing.T
	left []sealedExchange
}

func (s *scriptedKMS) RoundTrip(request *http.Request) (*http.Response, error) {
	if len(s.left) == 0 {
		s.t.Errorf("one more request than expected: %s", request.URL)
		return nil, io.ErrUnexpectedEOF
	}
	expected := s.left[0]
	s.left = s.left[1:]
	body, _ := io.ReadAll(request.Body)
	if request.Method != http.MethodPost || request.URL.String() != expected.URL || string(body) != expected.Body {
		s.t.Errorf("got %s %s %s", request.Method, request.URL, body)
	}
	for name, value := range expected.Headers {
		if request.Header.Get(name) != value {
			s.t.Errorf("%s: got %q, not %q", name, request.Header.Get(name), value)
		}
	}
	answer := io.NopCloser(strings.NewReader(expected.Answer))
	return &http.Response{StatusCode: expected.Status, Header: http.Header{}, Body: answer, Request: request}, nil
}

func (c sealedCase) source(t *testing.T, path string, now int64, exchanges ...sealedExchange) (KeySource, *scriptedKMS, error) {
	t.Helper()
	if err := os.WriteFile(path, []byte(c.Blob), 0o644); err != nil {
		t.Fatal(err)
	}
	service := &scriptedKMS{t, exchanges}
	client := &http.Client{Transport: service, CheckRedirect: neverFollow}
	getenv := func(name string) string { return c.Environment[name] }
	opener, err := newKMS(c.URI, client, getenv, func() time.Time { return time.Unix(now, 0) })
	if err != nil {
		return nil, service, err
	}
	return sealed(path, opener, c.Purpose), service, nil
}

func TestSealedKeysOpenAsTheVectorsSay(t *testing.T) {
	read := vectors[sealedVectors](t, "sealed.json")
	for _, one := range read.Cases {
		t.Run(one.Name, func(t *testing.T) {
			source, service, err := one.source(t, filepath.Join(t.TempDir(), "key.sealed"), read.Now, one.Exchanges...)
			var key Secret
			if err == nil {
				key, err = source.Key(t.Context())
			}
			if len(service.left) != 0 {
				t.Errorf("%d requests were not sent", len(service.left))
			}
			if one.Result != "error" {
				if err != nil || key.Reveal() != one.Result {
					t.Errorf("%v", err)
				}
				return
			}
			if !errors.Is(err, ErrSealed) && !errors.Is(err, ErrKMS) {
				t.Fatalf("got %v", err)
			}
			for _, secret := range read.Secrets {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("shows a secret: %v", err)
				}
			}
		})
	}
}

func TestAnOpenedKeyIsKeptForAnHourAndNoLonger(t *testing.T) {
	read := vectors[sealedVectors](t, "sealed.json")
	one := read.Cases[0]
	path := filepath.Join(t.TempDir(), "key.sealed")
	synctest.Test(t, func(t *testing.T) {
		source, service, err := one.source(t, path, read.Now, append(one.Exchanges, one.Exchanges...)...)
		if err != nil {
			t.Fatal(err)
		}
		for _, left := range []int{1, 1} {
			if _, err := source.Key(t.Context()); err != nil || len(service.left) != left {
				t.Fatalf("%v, %d left", err, len(service.left))
			}
		}
		time.Sleep(time.Hour)
		if _, err := source.Key(t.Context()); err != nil || len(service.left) != 0 {
			t.Fatalf("%v", err)
		}
		time.Sleep(time.Hour)
		if err := os.WriteFile(path, []byte(testKey), 0o644); err != nil {
			t.Fatal(err)
		}
		// Neither the older key nor the plain one in the file.
		for range 2 {
			if _, err := source.Key(t.Context()); !errors.Is(err, ErrSealed) {
				t.Fatalf("got %v", err)
			}
		}
	})
}

func TestSealedFilesThatAreTooLongOrMissing(t *testing.T) {
	read := vectors[sealedVectors](t, "sealed.json")
	one := read.Cases[0]
	one.Blob += strings.Repeat(" ", maxBlobBytes)
	path := filepath.Join(t.TempDir(), "key.sealed")
	source, _, err := one.source(t, path, read.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Key(t.Context()); !errors.Is(err, ErrSealed) {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := source.Key(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestASealedKeyThatIsSetIsTheKey(t *testing.T) {
	t.Setenv(EnvBaseURL, "https://gw.example")
	t.Setenv(EnvAPIKey, testKey)
	t.Setenv(EnvSealedKeyFile, filepath.Join(t.TempDir(), "none"))
	if _, err := ConfigFromEnv(); !errors.Is(err, ErrKMS) {
		t.Errorf("got %v", err)
	}
	t.Setenv(EnvKMS, "hashivault://claviger")
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	t.Setenv("VAULT_TOKEN", "t")
	config, err := ConfigFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.Key.Key(context.Background()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestKeysOfRealStores opens what a suite has sealed or stored for it, and calls the gateway with it.
func TestKeysOfRealStores(t *testing.T) {
	gateway := os.Getenv("GATEWAY")
	if gateway == "" {
		t.Skip("GATEWAY is not set")
	}
	var source KeySource = &VaultKey{Address: os.Getenv("VAULT_ADDR"), Path: os.Getenv("STORED"), WrappedTokenFile: os.Getenv("WRAPPED_FILE")}
	if sealed := os.Getenv("SEALED"); sealed != "" {
		opener, err := KMS(os.Getenv(EnvKMS), nil)
		if err != nil {
			t.Fatal(err)
		}
		source = SealedKey(sealed, opener)
	}
	transport, err := New(Config{BaseURL: gateway, Key: source})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, gateway+"/v1/models", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Anthropic-Version", "2023-06-01")
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		t.Errorf("got %d", response.StatusCode)
	}
}
