package claviger

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// vectors reads a file that all client libraries replay. A field that is not known here is an error.
func vectors[T any](t *testing.T, name string) T {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "conformance", name))
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var read T
	if err := decoder.Decode(&read); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return read
}

type signingCase struct {
	Name       string `json:"name"`
	Profile    Profile
	Alg        string
	Secret     string  `json:"secret_utf8"`
	Method     string  `json:"method"`
	URL        string  `json:"url"`
	BodyText   *string `json:"body_utf8"`
	Body64     *string `json:"body_base64"`
	BodyRepeat *struct {
		Text  string `json:"utf8"`
		Times int    `json:"times"`
	} `json:"body_repeat"`
	Expires *int64 `json:"expires"`
	Expect  struct {
		Headers   map[string]string `json:"headers"`
		Payload   *string           `json:"payload"`
		Base      *string           `json:"signature_base"`
		OneString *string           `json:"one_string"`
	} `json:"expect"`
}

func (c signingCase) body(t *testing.T) []byte {
	t.Helper()
	switch {
	case c.BodyText != nil:
		return []byte(*c.BodyText)
	case c.Body64 != nil:
		raw, err := base64.StdEncoding.DecodeString(*c.Body64)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	case c.BodyRepeat != nil:
		return []byte(strings.Repeat(c.BodyRepeat.Text, c.BodyRepeat.Times))
	}
	return nil
}

func TestSignaturesAreThoseOfTheVectors(t *testing.T) {
	file := vectors[struct {
		About     string        `json:"about"`
		Timestamp int64         `json:"timestamp"`
		Nonce     string        `json:"nonce"`
		KeyID     string        `json:"key_id"`
		Cases     []signingCase `json:"cases"`
		Ed25519   struct {
			Seed   string `json:"seed_hex"`
			PEM    string `json:"private_pem"`
			Public string `json:"public_hex"`
		} `json:"ed25519"`
	}](t, "signing.json")
	seed, err := hex.DecodeString(file.Ed25519.Seed)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			signer := signing{profile: c.Profile, secret: NewSecret(c.Secret), keyID: file.KeyID}
			if c.Alg == "ed25519" {
				signer.ed25519 = ed25519.NewKeyFromSeed(seed)
			}
			if c.Expires != nil {
				signer.expires = time.Duration(*c.Expires-file.Timestamp) * time.Second
			}
			raw := c.body(t)
			request, err := http.NewRequest(c.Method, c.URL, bytes.NewReader(raw))
			if err != nil {
				t.Fatal(err)
			}
			body, err := contentOf(request, DefaultMaxBuffer, true)
			if err != nil {
				t.Fatal(err)
			}
			message := messageOf(request)
			message.HasBody, message.BodyDigest, message.OpenBody = body.exists, body.digest, body.open
			headers, err := signer.headers(message, Moment{Unix: file.Timestamp, Nonce: file.Nonce})
			if err != nil {
				t.Fatal(err)
			}
			if len(headers) != len(c.Expect.Headers) {
				t.Errorf("headers %v, want %v", headers, c.Expect.Headers)
			}
			for name, want := range c.Expect.Headers {
				if got := headers.Get(name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
			if c.Expect.Payload != nil && PayloadV2(file.KeyID, message) != *c.Expect.Payload {
				t.Errorf("payload %q, want %q", PayloadV2(file.KeyID, message), *c.Expect.Payload)
			}
		})
	}
}

func TestRetryDecisionsAreThoseOfTheVectors(t *testing.T) {
	file := vectors[struct {
		About    string `json:"about"`
		Settings struct {
			Max    int     `json:"max_retries"`
			Base   int64   `json:"base_ms"`
			Cap    int64   `json:"cap_ms"`
			Jitter float64 `json:"jitter"`
		} `json:"settings"`
		Cases []struct {
			Name       string            `json:"name"`
			SDK        bool              `json:"sdk"`
			Method     string            `json:"method"`
			Attempt    int               `json:"attempt"`
			Max        *int              `json:"max_retries"`
			Replayable *bool             `json:"replayable"`
			Status     int               `json:"status"`
			Headers    map[string]string `json:"headers"`
			Error      string            `json:"error"`
			Now        int64             `json:"now"`
			Random     float64           `json:"random"`
			Expect     struct {
				Retry       bool   `json:"retry"`
				Wait        int64  `json:"wait_ms"`
				ShouldRetry string `json:"should_retry"`
			} `json:"expect"`
		} `json:"cases"`
	}](t, "retry.json")
	settings := file.Settings
	if settings.Max != DefaultRetries || settings.Base != backoffBase.Milliseconds() ||
		settings.Cap != MaxWait.Milliseconds() || settings.Jitter != backoffJitter {
		t.Errorf("defaults differ from %+v", settings)
	}
	states := map[string]sending{"": answered, "connect": unsent, "lost": lost}
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			retry := Retry{}
			if c.Max != nil {
				retry.Max = *c.Max
			}
			header := http.Header{}
			for name, value := range c.Headers {
				header.Set(name, value)
			}
			request := &http.Request{Header: http.Header{}}
			if c.SDK {
				request.Header.Set("x-stainless-retry-count", "0")
			}
			got := retry.decide(outcome{
				attempt: c.Attempt, method: c.Method, replayable: c.Replayable == nil || *c.Replayable,
				sending: states[c.Error], status: c.Status, header: header, now: time.Unix(c.Now, 0), chance: c.Random,
			}, retry.leavesToCaller(request))
			want := decision{
				retry: c.Expect.Retry, wait: time.Duration(c.Expect.Wait) * time.Millisecond,
				forbid: c.Expect.ShouldRetry == "false",
			}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestLimiterStartsCallsAsTheVectorsSay(t *testing.T) {
	file := vectors[struct {
		About string `json:"about"`
		Cases []struct {
			Name        string  `json:"name"`
			PerSecond   float64 `json:"per_second"`
			Burst       int     `json:"burst"`
			Concurrency int     `json:"concurrency"`
			MaxWait     int64   `json:"max_wait_ms"`
			Arrivals    []struct {
				At    int64 `json:"at_ms"`
				Takes int64 `json:"takes_ms"`
			} `json:"arrivals"`
			Starts []*int64 `json:"starts_ms"`
		} `json:"cases"`
	}](t, "limiter.json")
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limiter := NewLimiter(Limits{
					PerSecond: c.PerSecond, Burst: c.Burst, Concurrency: c.Concurrency,
					MaxWait: time.Duration(c.MaxWait) * time.Millisecond,
				})
				began := time.Now()
				starts := make([]*int64, len(c.Arrivals))
				for i, arrival := range c.Arrivals {
					time.Sleep(time.Duration(arrival.At)*time.Millisecond - time.Since(began))
					go func() {
						release, err := limiter.acquire(t.Context())
						if err != nil {
							return
						}
						at := time.Since(began).Milliseconds()
						starts[i] = &at
						time.Sleep(time.Duration(arrival.Takes) * time.Millisecond)
						release()
					}()
					synctest.Wait()
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				got, _ := json.Marshal(starts)
				want, _ := json.Marshal(c.Starts)
				if !bytes.Equal(got, want) {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		})
	}
}

type tokenExchange struct {
	Path       string            `json:"path"`
	Proof      string            `json:"proof"`
	Status     int               `json:"status"`
	ErrorCode  string            `json:"error_code"`
	Tokens     map[string]any    `json:"tokens"`
	JSON       json.RawMessage   `json:"json"`
	Form       map[string]string `json:"form"`
	Nonce      string            `json:"nonce"`
	GivenNonce string            `json:"dpop_nonce"`
}

type tokenCase struct {
	Name  string `json:"name"`
	Scope string `json:"scope"`
	DPoP  bool   `json:"dpop"`
	Calls []struct {
		At        float64         `json:"at"`
		Exchanges []tokenExchange `json:"exchanges"`
		Result    any             `json:"result"`
	} `json:"calls"`
}

// scripted answers as a case says, and complains about what it does not expect.
type scripted struct {
	t       *testing.T
	key     string
	waiting []tokenExchange
	// proofs is the client's proof key, if it has one; used, the `jti` that were seen.
	proofs *ProofKey
	used   map[string]bool
}

func (s *scripted) RoundTrip(request *http.Request) (*http.Response, error) {
	s.t.Helper()
	var form string
	if request.Body != nil {
		text, _ := io.ReadAll(request.Body)
		form = string(text)
	}
	if len(s.waiting) == 0 {
		s.t.Fatalf("unexpected request to %s", request.URL.Path)
	}
	next := s.waiting[0]
	s.waiting = s.waiting[1:]
	if request.URL.Path != next.Path {
		s.t.Fatalf("request to %s, want %s", request.URL.Path, next.Path)
	}
	if proof := proofOf(request, form, s.key); proof != next.Proof {
		s.t.Fatalf("proof %q, want %q", proof, next.Proof)
	}
	s.checkProof(request, next)
	for name, value := range next.Form {
		if !strings.Contains("&"+form+"&", "&"+name+"="+strings.NewReplacer(":", "%3A", " ", "+").Replace(value)+"&") {
			s.t.Errorf("form %q has no %s=%s", form, name, value)
		}
	}
	status, text := next.Status, ""
	switch {
	case next.Tokens != nil:
		if next.Tokens["token_type"] == nil {
			next.Tokens["token_type"] = "Bearer"
		}
		made, _ := json.Marshal(next.Tokens)
		status, text = http.StatusOK, string(made)
	case next.JSON != nil:
		status, text = http.StatusOK, string(next.JSON)
	case status != http.StatusOK:
		text = `{"type":"error","error":{"type":"authentication_error","message":"no","details":{"error_code":"` + next.ErrorCode + `"}}}`
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if next.GivenNonce != "" {
		header.Set("DPoP-Nonce", next.GivenNonce)
	}
	return &http.Response{
		StatusCode: status, Header: header,
		Body: io.NopCloser(strings.NewReader(text)), Request: request,
	}, nil
}

func proofOf(request *http.Request, form, key string) string {
	bearer, hasBearer := strings.CutPrefix(request.Header.Get("Authorization"), "Bearer ")
	dpop, hasDPoP := strings.CutPrefix(request.Header.Get("Authorization"), "DPoP ")
	apiKey := request.Header.Get("X-Api-Key")
	switch {
	case hasDPoP && apiKey == "":
		return "dpop:" + dpop
	case apiKey == key && !hasBearer:
		return "key"
	case hasBearer && apiKey == "":
		return "bearer:" + bearer
	}
	for _, part := range strings.Split(form, "&") {
		if refresh, isRefresh := strings.CutPrefix(part, "refresh_token="); isRefresh && apiKey == "" {
			return "refresh:" + refresh
		}
	}
	return "?"
}

func TestTokensFlowAsTheVectorsSay(t *testing.T) {
	file := vectors[struct {
		About string      `json:"about"`
		Key   string      `json:"key"`
		Start int64       `json:"start"`
		Cases []tokenCase `json:"cases"`
	}](t, "tokens.json")
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			server := &scripted{t: t, key: file.Key, used: map[string]bool{}}
			config := Config{
				BaseURL: "https://gw.example", Key: StaticKey(file.Key), Auth: AuthToken, Scope: c.Scope, Base: server,
			}
			if c.DPoP {
				server.proofs = proofKey(t)
				config.ProofKey = server.proofs
			}
			transport, err := New(config)
			if err != nil {
				t.Fatal(err)
			}
			for _, call := range c.Calls {
				moment := time.Unix(file.Start, 0).Add(time.Duration(call.At * float64(time.Second)))
				transport.now = func() time.Time { return moment }
				transport.tokens.now = transport.now
				server.waiting = call.Exchanges
				request, _ := http.NewRequest(http.MethodGet, "https://gw.example/v1/models", nil)
				request.Header.Set("x-stainless-retry-count", "0")
				var result any = "error"
				response, err := transport.RoundTrip(request)
				if err == nil {
					result = float64(response.StatusCode)
					_ = response.Body.Close()
				}
				if result != call.Result {
					t.Errorf("at %v: result %v (%v), want %v", call.At, result, err, call.Result)
				}
				if len(server.waiting) > 0 {
					t.Errorf("at %v: %d exchange(s) did not happen", call.At, len(server.waiting))
				}
			}
		})
	}
}

func TestTextsAreRedactedAsTheVectorsSay(t *testing.T) {
	type textCase struct {
		Name   string `json:"name"`
		Text   string `json:"text"`
		Expect string `json:"expect"`
	}
	file := vectors[struct {
		About string     `json:"about"`
		Cases []textCase `json:"cases"`
		Known struct {
			Secret string     `json:"secret"`
			Cases  []textCase `json:"cases"`
		} `json:"known"`
		Plain []string `json:"plain"`
	}](t, "redaction.json")
	check := func(redactor *Redactor, c textCase) {
		t.Helper()
		if got := redactor.String(c.Text); got != c.Expect {
			t.Errorf("%s: got %q, want %q", c.Name, got, c.Expect)
		}
	}
	for _, c := range file.Cases {
		check(NewRedactor(), c)
	}
	for _, c := range file.Known.Cases {
		check(NewRedactor(NewSecret(file.Known.Secret)), c)
	}
	for _, plain := range file.Plain {
		check(NewRedactor(), textCase{"plain", plain, plain})
	}
}

func TestDotenvFilesReadAsTheVectorsSay(t *testing.T) {
	file := vectors[struct {
		About string `json:"about"`
		Cases []struct {
			Name   string            `json:"name"`
			Text   string            `json:"text"`
			Values map[string]string `json:"values"`
			Line   int               `json:"error_line"`
		} `json:"cases"`
	}](t, "dotenv.json")
	for _, c := range file.Cases {
		values, err := ParseDotenv(c.Text)
		var refused *DotenvError
		if c.Line > 0 {
			if !asError(err, &refused) || refused.Line != c.Line {
				t.Errorf("%s: got %v, want an error in line %d", c.Name, err, c.Line)
			}
			continue
		}
		got, _ := json.Marshal(values)
		want, _ := json.Marshal(c.Values)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %s (%v), want %s", c.Name, got, err, want)
		}
	}
}

func TestPriceTableIsTheSharedOne(t *testing.T) {
	shared, err := os.ReadFile("../conformance/prices.json")
	if err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(shared) != sha256.Sum256(builtinPrices) {
		t.Error("prices.json differs from ../conformance/prices.json: copy it")
	}
	if _, err := ParsePrices(builtinPrices); err != nil {
		t.Error(err)
	}
}
