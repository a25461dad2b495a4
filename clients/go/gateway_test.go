package claviger

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// realGateway is a transport to a running gateway whose key demands an access token and a signature.
func realGateway(t *testing.T, profile Profile, stats *Stats) (*http.Client, *Transport, string) {
	t.Helper()
	base := os.Getenv("CLAVIGER_TEST_GATEWAY")
	if base == "" {
		t.Skip("CLAVIGER_TEST_GATEWAY names no gateway")
	}
	transport, err := New(Config{
		BaseURL: base,
		Key:     EnvKey("CLAVIGER_TEST_KEY"),
		Auth:    AuthToken,
		Signer:  &Signer{Profile: profile, Secret: EnvKey("CLAVIGER_TEST_SIGNING_SECRET")},
		Stats:   stats,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: transport, Timeout: time.Minute}, transport, base
}

func TestGatewayTakesEveryKindOfCallUnderTokenAndSignature(t *testing.T) {
	for _, profile := range []Profile{ProfileV1, ProfileV2, ProfileRFC9421} {
		t.Run(string(profile), func(t *testing.T) {
			stats := NewStats(nil)
			client, transport, base := realGateway(t, profile, stats)
			call := caller{t, client, base}
			call.creates()
			call.streams()
			call.counts()
			call.uploads(profile)
			call.batches()
			call.runsMany()
			if seen := stats.Snapshot(); seen.Errors != 0 || seen.InputTokens == 0 || seen.OutputTokens == 0 {
				t.Errorf("%+v", seen)
			}
			if health := transport.Health(t.Context()); !health.Ready || !health.Accepted {
				t.Errorf("%+v", health)
			}
			if err := transport.Revoke(t.Context()); err != nil {
				t.Error(err)
			}
			// The tokens are gone; the key buys new ones.
			call.counts()
		})
	}
}

func TestGatewayRefusesWhatThePolicyDoesNotAllow(t *testing.T) {
	_, _, base := realGateway(t, ProfileV2, nil)
	for name, config := range map[string]Config{
		"no signature": {Auth: AuthToken},
		"no token":     {Signer: &Signer{Secret: EnvKey("CLAVIGER_TEST_SIGNING_SECRET")}},
		"wrong secret": {Auth: AuthToken, Signer: &Signer{Secret: StaticKey(testSecret)}},
	} {
		t.Run(name, func(t *testing.T) {
			config.BaseURL, config.Key = base, EnvKey("CLAVIGER_TEST_KEY")
			transport, err := New(config)
			if err != nil {
				t.Fatal(err)
			}
			response, err := (&http.Client{Transport: transport}).Get(base + "/v1/models")
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusUnauthorized {
				t.Errorf("status %d", response.StatusCode)
			}
		})
	}
}

type caller struct {
	t      *testing.T
	client *http.Client
	base   string
}

const testModel = "claude-opus-5-5"

func message(stream bool) string {
	return fmt.Sprintf(
		`{"model":%q,"max_tokens":64,"stream":%t,"messages":[{"role":"user","content":"你好, say | hello"}]}`, testModel, stream)
}

func (c caller) do(ctx context.Context, method, path, kind string, body io.Reader) *http.Response {
	c.t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Anthropic-Version", "2023-06-01")
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	response, err := c.client.Do(request)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		c.t.Fatalf("%s %s: status %d: %s", method, path, response.StatusCode, text)
	}
	return response
}

func (c caller) json(method, path, body string, into any) {
	c.t.Helper()
	kind, reader := "", io.Reader(nil)
	if body != "" {
		kind, reader = "application/json", strings.NewReader(body)
	}
	response := c.do(c.t.Context(), method, path, kind, reader)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || json.Unmarshal(text, into) != nil {
		c.t.Fatalf("%s %s: %q (%v)", method, path, text, err)
	}
}

func (c caller) creates() {
	c.t.Helper()
	var answer struct {
		Type  string
		Usage struct {
			Output int `json:"output_tokens"`
		}
	}
	c.json(http.MethodPost, "/v1/messages?beta=true", message(false), &answer)
	if answer.Type != "message" || answer.Usage.Output == 0 {
		c.t.Errorf("%+v", answer)
	}
}

func (c caller) streams() {
	c.t.Helper()
	response := c.do(c.t.Context(), http.MethodPost, "/v1/messages", "application/json", strings.NewReader(message(true)))
	defer func() { _ = response.Body.Close() }()
	events := map[string]int{}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if name, isEvent := strings.CutPrefix(lines.Text(), "event: "); isEvent {
			events[name]++
		}
	}
	if events["message_start"] != 1 || events["content_block_delta"] == 0 || events["message_stop"] != 1 {
		c.t.Errorf("%v", events)
	}
}

func (c caller) counts() {
	c.t.Helper()
	var answer struct {
		Input int `json:"input_tokens"`
	}
	c.json(http.MethodPost, "/v1/messages/count_tokens", strings.Replace(message(false), `"max_tokens":64,"stream":false,`, "", 1), &answer)
	if answer.Input == 0 {
		c.t.Error("no tokens")
	}
}

// uploads sends one file held in memory and, where the profile can, one as a stream of which only the digest is known.
func (c caller) uploads(profile Profile) {
	c.t.Helper()
	var form bytes.Buffer
	writer := multipart.NewWriter(&form)
	part, err := writer.CreateFormFile("file", "notes.txt")
	if err != nil {
		c.t.Fatal(err)
	}
	_, _ = part.Write(bytes.Repeat([]byte("0123456789abcdef"), 16_384))
	_ = writer.Close()
	text := form.Bytes()
	send := func(ctx context.Context, body io.Reader) {
		response := c.do(ctx, http.MethodPost, "/v1/files", writer.FormDataContentType(), body)
		defer func() { _ = response.Body.Close() }()
		var file struct{ ID string }
		if json.NewDecoder(response.Body).Decode(&file) != nil || !strings.HasPrefix(file.ID, "file_") {
			c.t.Errorf("no file: %+v", file)
			return
		}
		var deleted struct{ Type string }
		c.json(http.MethodDelete, "/v1/files/"+file.ID, "", &deleted)
	}
	send(c.t.Context(), bytes.NewReader(text))
	if profile != ProfileV1 {
		send(WithContentDigest(c.t.Context(), sha256.Sum256(text)), onlyOnce{bytes.NewReader(text)})
	}
}

func (c caller) batches() {
	c.t.Helper()
	var made, seen struct {
		ID     string
		Status string `json:"processing_status"`
	}
	params := strings.Replace(message(false), `"stream":false,`, "", 1)
	c.json(http.MethodPost, "/v1/messages/batches", `{"requests":[{"custom_id":"one","params":`+params+`}]}`, &made)
	for range 100 {
		c.json(http.MethodGet, "/v1/messages/batches/"+made.ID, "", &seen)
		if seen.Status == "ended" {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if seen.Status != "ended" {
		c.t.Fatalf("%+v", seen)
	}
	response := c.do(c.t.Context(), http.MethodGet, "/v1/messages/batches/"+made.ID+"/results", "", nil)
	defer func() { _ = response.Body.Close() }()
	results, err := io.ReadAll(response.Body)
	if err != nil || !bytes.Contains(results, []byte(`"custom_id":"one"`)) {
		c.t.Errorf("%q %v", results, err)
	}
}

func (c caller) runsMany() {
	c.t.Helper()
	items := make([]int, 25)
	results := RunBatch(c.t.Context(), items, BatchOptions{Concurrency: 8}, func(ctx context.Context, _ int) (int, error) {
		response := c.do(ctx, http.MethodPost, "/v1/messages", "application/json", strings.NewReader(message(false)))
		_, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		return response.StatusCode, err
	})
	for index, result := range results {
		if result.Err != nil || result.Value != http.StatusOK {
			c.t.Errorf("%d: %+v", index, result)
		}
	}
}

// TestBoundCaller is a caller as its environment says, for a suite that has the gateway: it prints `bound: passed`, or
// the code of the first refusal.
func TestBoundCaller(t *testing.T) {
	base := os.Getenv(EnvBaseURL)
	if os.Getenv("CLAVIGER_TEST_BOUND") == "" {
		t.Skip("CLAVIGER_TEST_BOUND is not set")
	}
	transport, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/v1/models", nil)
	request.Header.Set("Anthropic-Version", "2023-06-01")
	probe, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if probe.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(probe.Body)
		code, _ := errorCodes(text)
		fmt.Println("bound:", code)
		return
	}
	_ = probe.Body.Close()
	call := caller{t, client, base}
	call.creates()
	call.streams()
	call.uploads(ProfileRFC9421)
	if health := transport.Health(t.Context()); !health.Ready || !health.Accepted {
		t.Errorf("%+v", health)
	}
	if err := transport.Revoke(t.Context()); err != nil {
		t.Error(err)
	}
	call.counts()
	fmt.Println("bound: passed")
}

// TestRotatingHolder is a holder for a suite that has the gateway: it reads `calls N` or `secs N`, four at once, and
// says `N calls` when so many were answered. What follows its signing secret it writes into a file.
func TestRotatingHolder(t *testing.T) {
	store, offset := os.Getenv("STORE"), os.Getenv("CLOCK")
	if store == "" || offset == "" {
		t.Skip("STORE and CLOCK name no files")
	}
	base := os.Getenv(EnvBaseURL)
	transport, err := New(Config{
		BaseURL: base, Key: EnvKey(EnvAPIKey), Auth: AuthToken,
		Signer: &Signer{
			Profile: Profile(os.Getenv(EnvSigningProfile)), Secret: EnvKey(EnvSigningSecret),
			OnSuccessor: func(next Secret, _ time.Time) {
				if err := os.WriteFile(store, []byte(next.Reveal()), 0o600); err != nil {
					fmt.Println("failed:", err)
				}
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	transport.now = func() time.Time {
		text, _ := os.ReadFile(offset)
		secs, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		return time.Now().Add(time.Duration(secs) * time.Second)
	}
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var unit string
		var number int
		_, _ = fmt.Sscan(lines.Text(), &unit, &number)
		end := time.Now().Add(time.Duration(number) * time.Second)
		results := RunBatch(t.Context(), make([]int, 4), BatchOptions{}, func(ctx context.Context, _ int) (int, error) {
			count := 0
			for (unit == "secs" && time.Now().Before(end)) || (unit == "calls" && count < number/4) {
				request, _ := http.NewRequestWithContext(ctx, http.MethodPost, base+"/v1/messages", strings.NewReader(message(false)))
				request.Header.Set("Anthropic-Version", "2023-06-01")
				request.Header.Set("Content-Type", "application/json")
				response, err := client.Do(request)
				if err != nil {
					return count, err
				}
				text, _ := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if response.StatusCode != http.StatusOK {
					return count, fmt.Errorf("%d: %s", response.StatusCode, text)
				}
				count++
			}
			return count, nil
		})
		sum, failed := 0, error(nil)
		for _, result := range results {
			sum, failed = sum+result.Value, errors.Join(failed, result.Err)
		}
		if failed != nil {
			fmt.Printf("failed: %q\n", failed)
			continue
		}
		fmt.Println(sum, "calls")
	}
}
