package claviger

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// signedWith says which of some secrets signed a request without a body, by v1.
func signedWith(request *http.Request, secrets map[string]string) string {
	for name, secret := range secrets {
		mac := hmac.New(sha256.New, []byte(secret))
		_, _ = io.WriteString(mac, "|"+request.Header.Get(headerTimestamp)+"|"+request.Header.Get(headerNonce))
		if request.Header.Get(headerSignature) == "sha256="+hex.EncodeToString(mac.Sum(nil)) {
			return name
		}
	}
	return "?"
}

type successionFile struct {
	About   string            `json:"about"`
	Key     string            `json:"key"`
	Start   int64             `json:"start"`
	Secrets map[string]string `json:"secrets"`
	Cases   []successionCase  `json:"cases"`
}

type successionCase struct {
	Name   string           `json:"name"`
	Secret string           `json:"secret"`
	Calls  []successionCall `json:"calls"`
}

type successionCall struct {
	At        int64                `json:"at"`
	Exchanges []successionExchange `json:"exchanges"`
	Stored    [][2]string          `json:"stored"`
}

type successionExchange struct {
	Path      string `json:"path"`
	By        string `json:"by"`
	Status    int    `json:"status"`
	Announces string `json:"announces"`
	Answer    *struct {
		Current *successionHeld `json:"current"`
		Next    *successionHeld `json:"next"`
	} `json:"answer"`
	Text  *string `json:"text"`
	Lost  bool    `json:"lost"`
	Ahead *int    `json:"ahead"`
}

type successionHeld struct {
	Secret    string `json:"secret"`
	ValidFrom string `json:"valid_from"`
}

func (h *successionHeld) json(secrets map[string]string) any {
	if h == nil {
		return nil
	}
	return map[string]string{"signing_secret": secrets[h.Secret], "valid_from": h.ValidFrom}
}

// answer is what the gateway of the vectors says at a time of the client's clock.
func (e successionExchange) answer(request *http.Request, secrets map[string]string, now time.Time) (*http.Response, error) {
	if e.Lost {
		return nil, errors.New("the connection broke")
	}
	header := http.Header{}
	if e.Announces != "" {
		header.Set(headerSuccessor, e.Announces)
	}
	if e.Ahead != nil {
		header.Set("Date", now.Add(time.Duration(*e.Ahead)*time.Second).UTC().Format(http.TimeFormat))
	}
	text := "{}"
	if e.Answer != nil {
		made, _ := json.Marshal(map[string]any{"current": e.Answer.Current.json(secrets), "next": e.Answer.Next.json(secrets)})
		text = string(made)
	}
	if e.Text != nil {
		text = *e.Text
	}
	return &http.Response{StatusCode: e.Status, Header: header, Body: io.NopCloser(strings.NewReader(text)), Request: request}, nil
}

func TestSigningSecretsFollowOneAnotherAsTheVectorsSay(t *testing.T) {
	file := vectors[successionFile](t, "succession.json")
	for _, one := range file.Cases {
		t.Run(one.Name, func(t *testing.T) {
			now := time.Unix(file.Start, 0)
			var exchanges []successionExchange
			var stored [][2]string
			base := roundTrips(func(request *http.Request) (*http.Response, error) {
				if len(exchanges) == 0 {
					t.Fatalf("nothing was to be sent: %s", request.URL)
				}
				next := exchanges[0]
				exchanges = exchanges[1:]
				if by := signedWith(request, file.Secrets); request.URL.Path != next.Path || by != next.By {
					t.Fatalf("%s by %s, not %s by %s", request.URL.Path, by, next.Path, next.By)
				}
				return next.answer(request, file.Secrets, now)
			})
			signer := &Signer{
				Profile: ProfileV1,
				Secret:  StaticKey(file.Secrets[one.Secret]),
				OnSuccessor: func(next Secret, validFrom time.Time) {
					for name, secret := range file.Secrets {
						if secret == next.text {
							stored = append(stored, [2]string{name, validFrom.UTC().Format(time.RFC3339Nano)})
						}
					}
				},
			}
			transport, err := New(Config{BaseURL: "https://gw.example", Key: StaticKey(file.Key), Signer: signer, Base: base})
			if err != nil {
				t.Fatal(err)
			}
			transport.now = func() time.Time { return now }
			for _, call := range one.Calls {
				now = time.Unix(file.Start+call.At, 0)
				exchanges, stored = call.Exchanges, nil
				request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://gw.example/v1/models", nil)
				request.Header.Set("X-Stainless-Retry-Count", "0")
				response, err := (&http.Client{Transport: transport}).Do(request)
				if err != nil || response.StatusCode != http.StatusOK {
					t.Fatalf("at %d: %v %v", call.At, response, err)
				}
				_ = response.Body.Close()
				want := slices.Clone(call.Stored)
				for i, told := range want {
					at, _ := time.Parse(time.RFC3339Nano, told[1])
					want[i][1] = at.UTC().Format(time.RFC3339Nano)
				}
				if len(exchanges) != 0 || !slices.Equal(stored, want) {
					t.Fatalf("at %d: %d not sent; stored %v, not %v", call.At, len(exchanges), stored, want)
				}
			}
		})
	}
}

// TestSourceHasTheLastWordOnSigningSecrets: what was fetched stays where the source says what it said before, and gives
// way where the source says something else.
func TestSourceHasTheLastWordOnSigningSecrets(t *testing.T) {
	secrets := map[string]string{}
	for name, char := range map[string]string{"old": "o", "new": "n", "stored": "s"} {
		secrets[name] = "cvg_sign_" + strings.Repeat(char, 43)
	}
	var seen []string
	isRefusing := false
	base := roundTrips(func(request *http.Request) (*http.Response, error) {
		by := signedWith(request, secrets)
		path := request.URL.Path[strings.LastIndex(request.URL.Path, "/")+1:]
		seen = append(seen, path+" "+by)
		answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Request: request}
		text := `{}`
		switch {
		case path == "signing-secret":
			text = `{"current":{"signing_secret":"` + secrets["new"] + `","valid_from":"2026-01-01T00:00:00Z"},"next":null}`
		case isRefusing:
			answer.StatusCode = http.StatusUnauthorized
			text = `{"type":"error","error":{"type":"authentication_error","message":"no","details":{"error_code":"signature_invalid"}}}`
		case by == "old":
			answer.Header.Set(headerSuccessor, "rotates-at=2026-01-01T00:00:00Z")
		}
		answer.Body = io.NopCloser(strings.NewReader(text))
		return answer, nil
	})
	source := secrets["old"]
	signer := &Signer{
		Profile:     ProfileV1,
		Secret:      KeyFunc(func(context.Context) (Secret, error) { return NewSecret(source), nil }),
		OnSuccessor: func(Secret, time.Time) {},
	}
	transport, err := New(Config{BaseURL: "https://gw.example", Key: StaticKey("cvg_live_x"), Signer: signer, Base: base})
	if err != nil {
		t.Fatal(err)
	}
	call := func() {
		response, err := (&http.Client{Transport: transport}).Get("https://gw.example/v1/models")
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
	}
	call()
	call()
	isRefusing = true
	call()
	isRefusing = false
	call()
	source = secrets["stored"]
	call()
	want := []string{"models old", "signing-secret old", "models new", "models new", "models new", "models stored"}
	if !slices.Equal(seen, want) {
		t.Errorf("got  %q\nwant %q", seen, want)
	}
}
