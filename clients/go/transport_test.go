package claviger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	testKey    = "cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb"
	testSecret = "cvg_sign_Zz09Zz09Zz09Zz09Zz09Zz09Zz09Zz09Zz09Zz09abc"
)

// gateway is a server that the test scripts, and a transport to it that never sleeps.
func gateway(t *testing.T, config Config, handler http.HandlerFunc) (*http.Client, *Transport, string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	config.BaseURL = server.URL
	if config.Key == nil {
		config.Key = StaticKey(testKey)
	}
	transport, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	transport.sleep = func(context.Context, time.Duration) error { return nil }
	return &http.Client{Transport: transport}, transport, server.URL
}

func post(t *testing.T, client *http.Client, url, body string) (*http.Response, string) {
	t.Helper()
	response, err := client.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response, string(text)
}

func refuse(writer http.ResponseWriter, status int, code string) {
	writer.Header().Set("Content-Type", "application/json")
	writer.WriteHeader(status)
	_, _ = fmt.Fprintf(writer, `{"type":"error","error":{"type":"authentication_error","message":"no","details":{"error_code":%q}}}`, code)
}

func TestCredentialReplacesTheCallersAndStaysOutOfItsRequest(t *testing.T) {
	client, _, base := gateway(t, Config{}, func(writer http.ResponseWriter, request *http.Request) {
		if request.Header.Get("X-Api-Key") != testKey || request.Header.Get("Authorization") != "" {
			t.Errorf("headers %v", request.Header)
		}
	})
	request, _ := http.NewRequest(http.MethodGet, base+"/v1/models", nil)
	request.Header.Set("Authorization", "Bearer placeholder")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if request.Header.Get("Authorization") != "Bearer placeholder" || response.Request.Header.Get("X-Api-Key") != "" {
		t.Error("the caller's request was changed, or shows the key")
	}
}

func TestNoCredentialFollowsARedirect(t *testing.T) {
	var reached atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer other.Close()
	client, _, base := gateway(t, Config{}, func(writer http.ResponseWriter, request *http.Request) {
		http.Redirect(writer, request, other.URL, http.StatusTemporaryRedirect)
	})
	_, err := client.Get(base + "/v1/models")
	if !errors.Is(err, ErrForeignOrigin) || reached.Load() {
		t.Errorf("got %v", err)
	}
}

func TestBaseURLsThatWouldLeakAreRefused(t *testing.T) {
	for _, base := range []string{
		"", "gw.example", "ftp://gw.example", "http://gw.example", "http://10.0.0.1:8787", "https://user:pw@gw.example",
	} {
		if _, err := New(Config{BaseURL: base, Key: StaticKey(testKey)}); err == nil {
			t.Errorf("%q is taken", base)
		}
	}
	for _, base := range []string{"https://gw.example/team-a/", "http://127.0.0.1:8787", "http://[::1]:1", "http://localhost"} {
		if _, err := New(Config{BaseURL: base, Key: StaticKey(testKey)}); err != nil {
			t.Errorf("%q: %v", base, err)
		}
	}
}

func TestRequestsOutsideThePathPrefixAreForeign(t *testing.T) {
	transport, err := New(Config{BaseURL: "https://gw.example/team-a", Key: StaticKey(testKey)})
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"https://gw.example/v1/models", "https://gw.example/team-ab/v1", "http://gw.example/team-a/v1"} {
		request, _ := http.NewRequest(http.MethodGet, target, nil)
		if _, err := transport.RoundTrip(request); !errors.Is(err, ErrForeignOrigin) {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func TestManyCallersBuyOneToken(t *testing.T) {
	var bought atomic.Int64
	client, _, base := gateway(t, Config{Auth: AuthToken}, func(writer http.ResponseWriter, request *http.Request) {
		if request.URL.Path == "/v1/auth/token" {
			time.Sleep(20 * time.Millisecond)
			_, _ = fmt.Fprintf(writer, `{"access_token":"A%d","token_type":"Bearer","expires_in":7200,"refresh_token":"R"}`, bought.Add(1))
			return
		}
		if request.Header.Get("Authorization") != "Bearer A1" {
			t.Errorf("sent %q", request.Header.Get("Authorization"))
		}
	})
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			response, err := client.Get(base + "/v1/models")
			if err != nil {
				t.Error(err)
				return
			}
			_ = response.Body.Close()
		})
	}
	group.Wait()
	if bought.Load() != 1 {
		t.Errorf("%d tokens were bought", bought.Load())
	}
}

func TestOneCallersEndDoesNotEndTheFetchOfOthers(t *testing.T) {
	release := make(chan struct{})
	client, transport, base := gateway(t, Config{Auth: AuthToken}, func(writer http.ResponseWriter, request *http.Request) {
		if request.URL.Path == "/v1/auth/token" {
			<-release
			_, _ = io.WriteString(writer, `{"access_token":"A1","token_type":"Bearer","expires_in":7200}`)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, _, err := transport.tokens.get(ctx)
		first <- err
	}()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first got %v", err)
	}
	close(release)
	response, err := client.Get(base + "/v1/models")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
}

func TestARefusedKeyIsReadAgainAndSentOnceMoreIfItHasChanged(t *testing.T) {
	values := []string{"cvg_live_old", "cvg_live_old", testKey, "cvg_live_late", "cvg_live_late", "cvg_live_late"}
	var reads, calls atomic.Int64
	source := KeyFunc(func(context.Context) (Secret, error) {
		return NewSecret(values[min(int(reads.Add(1)), len(values))-1]), nil
	})
	client, _, base := gateway(t, Config{Key: keep(time.Hour, source)}, func(writer http.ResponseWriter, request *http.Request) {
		calls.Add(1)
		if request.Header.Get("X-Api-Key") != testKey {
			refuse(writer, http.StatusUnauthorized, "")
		}
	})
	// The same key again is not tried again; another is, once.
	for index, want := range []struct{ status, calls int }{{401, 1}, {200, 3}, {200, 4}} {
		response, _ := post(t, client, base+"/v1/messages", "{}")
		if response.StatusCode != want.status || int(calls.Load()) != want.calls {
			t.Errorf("%d: status %d after %d calls", index, response.StatusCode, calls.Load())
		}
	}
}

func TestEverySendingIsSignedAnew(t *testing.T) {
	var nonces sync.Map
	var calls atomic.Int64
	config := Config{Signer: &Signer{Profile: ProfileV2, Secret: StaticKey(testSecret)}, Retry: Retry{Mode: RetryAlways}}
	client, _, base := gateway(t, config, func(writer http.ResponseWriter, request *http.Request) {
		if _, seen := nonces.LoadOrStore(request.Header.Get(headerNonce), true); seen {
			t.Error("a nonce was used twice")
		}
		body, _ := io.ReadAll(request.Body)
		if string(body) != `{"a":1}` || request.Header.Get(headerSignatureVersion) != "2" {
			t.Errorf("body %q, headers %v", body, request.Header)
		}
		if calls.Add(1) < 4 {
			writer.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	if response, _ := post(t, client, base+"/v1/messages", `{"a":1}`); response.StatusCode != http.StatusOK || calls.Load() != 4 {
		t.Errorf("status %d after %d calls", response.StatusCode, calls.Load())
	}
}

func TestNothingIsRepeatedThatAnSDKRepeats(t *testing.T) {
	var calls atomic.Int64
	client, _, base := gateway(t, Config{}, func(writer http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		writer.Header().Set("Retry-After", "3600")
		writer.WriteHeader(http.StatusTooManyRequests)
	})
	request, _ := http.NewRequest(http.MethodPost, base+"/v1/messages", strings.NewReader("{}"))
	request.Header.Set("X-Stainless-Retry-Count", "0")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if calls.Load() != 1 || response.Header.Get("X-Should-Retry") != "false" {
		t.Errorf("%d calls, x-should-retry %q", calls.Load(), response.Header.Get("X-Should-Retry"))
	}
}

// onlyOnce hides a reader's type, so that net/http makes no GetBody.
type onlyOnce struct{ io.Reader }

func TestStreamsAreSignedByTheirDigest(t *testing.T) {
	text := strings.Repeat("x", 100_000)
	digest := sha256.Sum256([]byte(text))
	for _, profile := range []Profile{ProfileV2, ProfileRFC9421} {
		config := Config{MaxBuffer: 10, Signer: &Signer{Profile: profile, Secret: StaticKey(testSecret)}}
		var whole atomic.Int64
		client, _, base := gateway(t, config, func(_ http.ResponseWriter, request *http.Request) {
			body, err := io.ReadAll(request.Body)
			if err == nil && string(body) == text {
				whole.Add(1)
			} else if err == nil {
				t.Errorf("a wrong body of %d bytes looked whole", len(body))
			}
		})
		send := func(digest [sha256.Size]byte, length int64) error {
			ctx := WithContentDigest(t.Context(), digest)
			request, _ := http.NewRequestWithContext(ctx, http.MethodPost, base+"/v1/files", onlyOnce{strings.NewReader(text)})
			request.ContentLength = length
			response, err := client.Do(request)
			if err == nil {
				_ = response.Body.Close()
			}
			return err
		}
		for _, length := range []int64{int64(len(text)), -1} {
			if err := send(digest, length); err != nil {
				t.Errorf("%s, length %d: %v", profile, length, err)
			}
			if err := send(sha256.Sum256(nil), length); !errors.Is(err, ErrDigestMismatch) {
				t.Errorf("%s, length %d: a wrong digest gave %v", profile, length, err)
			}
		}
		if whole.Load() != 2 {
			t.Errorf("%s: %d whole bodies", profile, whole.Load())
		}
	}
}

func TestBodiesThatCannotBeSignedAreRefusedWithTheReason(t *testing.T) {
	refusal := func(profile Profile, announce bool) error {
		client, _, base := gateway(t, Config{MaxBuffer: 10, Signer: &Signer{Profile: profile, Secret: StaticKey(testSecret)}},
			func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })
		ctx := t.Context()
		if announce {
			ctx = WithContentDigest(ctx, sha256.Sum256([]byte("12345678901")))
		}
		request, _ := http.NewRequestWithContext(ctx, http.MethodPost, base+"/v1/files", onlyOnce{strings.NewReader("12345678901")})
		_, err := client.Do(request)
		return err
	}
	if err := refusal(ProfileV2, false); !errors.Is(err, ErrBodyTooLarge) {
		t.Errorf("got %v", err)
	}
	if err := refusal(ProfileV1, true); !errors.Is(err, ErrBodyNeeded) {
		t.Errorf("got %v", err)
	}
}

func TestBodiesWithGetBodyAreNotHeldInMemory(t *testing.T) {
	config := Config{MaxBuffer: 1, Signer: &Signer{Profile: ProfileV1, Secret: StaticKey(testSecret)}}
	client, _, base := gateway(t, config, func(_ http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		if len(body) != 50_000 {
			t.Errorf("%d bytes", len(body))
		}
	})
	post(t, client, base+"/v1/messages", strings.Repeat("x", 50_000))
}

func TestEqualRequestsAreAnsweredFromTheCache(t *testing.T) {
	var calls atomic.Int64
	stats := NewStats(nil)
	config := Config{Cache: NewCache(CacheConfig{Entries: 2}), Stats: stats}
	client, transport, base := gateway(t, config, func(writer http.ResponseWriter, request *http.Request) {
		calls.Add(1)
		writer.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(writer, `{"model":"claude-opus-5-5","usage":{"input_tokens":10,"output_tokens":5}}`)
	})
	messages := base + "/v1/messages"
	_, first := post(t, client, messages, `{"m":1}`)
	response, second := post(t, client, messages, `{"m":1}`)
	if calls.Load() != 1 || first != second || response.Header.Get(CacheHeader) != "hit" {
		t.Errorf("%d calls, %q and %q", calls.Load(), first, second)
	}
	for _, other := range []string{`{"m":2}`, `{"m":1,"stream":true}`, `{"m":1,"stream":true}`, `no JSON`, `no JSON`} {
		post(t, client, messages, other)
	}
	if calls.Load() != 6 {
		t.Errorf("%d calls: what differs, streams or is not understood must be sent", calls.Load())
	}
	transport.config.Key = StaticKey("cvg_live_9876543210abcdefghijklmnopqrstuvwxyzA1nGeKb")
	post(t, client, messages, `{"m":1}`)
	if calls.Load() != 7 {
		t.Error("another key got a cached answer")
	}
	later := time.Now().Add(DefaultCacheTTL)
	transport.now = func() time.Time { return later }
	post(t, client, messages, `{"m":1}`)
	if calls.Load() != 8 {
		t.Error("an old answer was given")
	}
	if seen := stats.Snapshot(); seen.CacheHits != 1 || seen.Requests != 9 || seen.InputTokens != 80 || seen.Unpriced != 0 {
		t.Errorf("%+v", seen)
	}
}

func TestCutAnswersAreNotCached(t *testing.T) {
	var calls atomic.Int64
	client, _, base := gateway(t, Config{Cache: NewCache(CacheConfig{})}, func(writer http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		writer.Header().Set("Content-Type", "application/json")
		writer.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(writer, `{"model":"m"`)
	})
	for range 2 {
		response, err := client.Post(base+"/v1/messages", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(response.Body); err == nil {
			t.Error("a cut answer looked whole")
		}
		_ = response.Body.Close()
	}
	if calls.Load() != 2 {
		t.Errorf("%d calls", calls.Load())
	}
}

func TestAStreamHoldsItsSlotUntilItIsClosed(t *testing.T) {
	stats := NewStats(nil)
	config := Config{Limiter: NewLimiter(Limits{Concurrency: 1, MaxWait: 30 * time.Millisecond}), Stats: stats}
	client, _, base := gateway(t, config, func(writer http.ResponseWriter, _ *http.Request) {
		writer.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(writer, "data: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-opus-5-5\",\"usage\":{\"input_tokens\":3}}}\n\n")
		_, _ = io.WriteString(writer, "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":9}}\n\ndata: {\"type\":\"message_stop\"}\n\n")
	})
	open, err := client.Get(base + "/v1/messages")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(base + "/v1/models"); !errors.Is(err, ErrLimited) {
		t.Errorf("got %v", err)
	}
	_, _ = io.ReadAll(open.Body)
	_ = open.Body.Close()
	again, err := client.Get(base + "/v1/messages")
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Body.Close()
	if seen := stats.Snapshot(); seen.OutputTokens != 9 || seen.Errors != 1 || seen.Requests != 3 {
		t.Errorf("%+v", seen)
	}
}

func TestUnansweredCallsAreErrorsInTheStatistics(t *testing.T) {
	stats := NewStats(nil)
	transport, err := New(Config{
		BaseURL: "http://127.0.0.1:1", Key: StaticKey(testKey), Stats: stats, Retry: Retry{Mode: RetryAlways, Max: 2},
	})
	if err != nil {
		t.Fatal(err)
	}
	transport.sleep = func(context.Context, time.Duration) error { return nil }
	request, _ := http.NewRequest(http.MethodPost, "http://127.0.0.1:1/v1/messages", strings.NewReader("{}"))
	if _, err := transport.RoundTrip(request); err == nil {
		t.Fatal("an answer from nobody")
	}
	if seen := stats.Snapshot(); seen.Errors != 1 || seen.Retries != 2 {
		t.Errorf("%+v", seen)
	}
}

func TestHealthAsksWithoutTheKeyAndThenWithIt(t *testing.T) {
	status, me := http.StatusOK, http.StatusOK
	_, transport, _ := gateway(t, Config{}, func(writer http.ResponseWriter, request *http.Request) {
		switch request.URL.Path {
		case "/readyz":
			if request.Header.Get("X-Api-Key") != "" {
				t.Errorf("the key went to %s", request.URL.Path)
			}
			writer.WriteHeader(status)
		case "/v1/claviger/me":
			if request.Header.Get("X-Api-Key") == "" {
				t.Error("no key")
			}
			writer.WriteHeader(me)
			_, _ = io.WriteString(writer, `{"type":"error","error":{"type":"authentication_error","message":"The key is over."}}`)
		default:
			t.Errorf("%s", request.URL.Path)
		}
	})
	health := transport.Health(t.Context())
	if !health.Ready || !health.Accepted || health.Err != nil || health.ClockAhead.Abs() > 5*time.Second {
		t.Errorf("%+v", health)
	}
	me = http.StatusUnauthorized
	if health := transport.Health(t.Context()); !health.Ready || health.Accepted || health.Refusal != "401, The key is over." {
		t.Errorf("%+v", health)
	}
	status = http.StatusServiceUnavailable
	if health := transport.Health(t.Context()); health.Ready || health.Status != status {
		t.Errorf("%+v", health)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	secret := NewSecret(testKey)
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "secret", secret, "in", struct{ S Secret }{secret})
	shown := fmt.Sprintf("%v %+v %#v %s %q %x %d", secret, secret, secret, secret, secret, secret, []Secret{secret}) + logged.String()
	if strings.Contains(shown, testKey[9:]) || strings.Contains(shown, hex.EncodeToString([]byte(testKey))[18:]) {
		t.Errorf("shown: %s", shown)
	}
}

func TestLogsAreRedacted(t *testing.T) {
	var plain, filtered bytes.Buffer
	redactor := NewRedactor(NewSecret("pass phrase of somebody"))
	logger := slog.New(redactor.Handler(slog.NewJSONHandler(&plain, nil))).With("key", testKey).WithGroup("g")
	logger.Info("got "+testKey, "error", errors.New("bad "+testSecret), "header", http.Header{"X-Api-Key": {"short"}},
		"bytes", []byte(testKey), slog.Group("deep", "text", "pass phrase of somebody"), "authorization", "anything", "count", 3)
	slog.New(slog.NewTextHandler(redactor.Writer(&filtered), nil)).Info("got "+testKey, "phrase", "pass phrase of somebody")
	for _, text := range []string{plain.String(), filtered.String()} {
		for _, secret := range []string{testKey, testSecret, "short", "pass phrase", "anything"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is left in %s", secret, text)
			}
		}
	}
	if !strings.Contains(plain.String(), `"count":3`) {
		t.Errorf("lost too much: %s", plain.String())
	}
}
