package claviger

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
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

func TestSuccessorOfASigningSecretIsFetchedOnceAndUsedFromItsDayOn(t *testing.T) {
	day := time.Date(2027, 1, 15, 9, 0, 0, 0, time.UTC)
	secrets := map[string]string{}
	for name, char := range map[string]string{"old": "o", "new": "n", "third": "t", "stored": "s"} {
		secrets[name] = "cvg_sign_" + strings.Repeat(char, 43)
	}
	next, from := "new", day
	var seen []string
	isFailing := true
	base := roundTrips(func(request *http.Request) (*http.Response, error) {
		by := signedWith(request, secrets)
		path := request.URL.Path[strings.LastIndex(request.URL.Path, "/")+1:]
		seen = append(seen, path+" "+by)
		answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Request: request}
		text := `{}`
		if path == "signing-secret" {
			text = `{"current":{},"next":{"signing_secret":"` + secrets[next] + `","valid_from":"` + from.Format(time.RFC3339) + `"}}`
			if isFailing {
				answer.StatusCode, isFailing = http.StatusServiceUnavailable, false
			}
		}
		if by == "old" || next == "third" {
			answer.Header.Set(headerSuccessor, "rotates-at="+from.Format(time.RFC3339))
		}
		answer.Body = io.NopCloser(strings.NewReader(text))
		return answer, nil
	})
	stored := []string{}
	source := secrets["old"]
	signer := &Signer{
		Profile: ProfileV1,
		Secret:  KeyFunc(func(context.Context) (Secret, error) { return NewSecret(source), nil }),
		OnSuccessor: func(next Secret, validFrom time.Time) {
			stored = append(stored, next.text+validFrom.UTC().Format(" 02 15"))
		},
	}
	transport, err := New(Config{BaseURL: "https://gw.example", Key: StaticKey("cvg_live_x"), Signer: signer, Base: base})
	if err != nil {
		t.Fatal(err)
	}
	now := day.Add(-time.Hour)
	transport.now = func() time.Time { return now }
	call := func(times int) {
		for range times {
			response, err := (&http.Client{Transport: transport}).Get("https://gw.example/v1/models")
			if err != nil || response.StatusCode != http.StatusOK {
				t.Fatal(response, err)
			}
			_ = response.Body.Close()
		}
	}
	call(4)
	now = day
	call(2)
	// A month later, the source still gives the first.
	next, from = "third", day.AddDate(0, 1, 0)
	call(2)
	now = from
	next = "none"
	call(1)
	// The source was given another one: it counts.
	source = secrets["stored"]
	call(1)
	want := []string{
		"models old", "signing-secret old", "models old", "signing-secret old", "models old", "models old",
		"models new", "models new",
		"models new", "signing-secret new", "models new",
		"models third", "models stored",
	}
	if !slices.Equal(seen, want) {
		t.Errorf("got  %q\nwant %q", seen, want)
	}
	if !slices.Equal(stored, []string{secrets["new"] + " 15 09", secrets["third"] + " 15 09"}) {
		t.Errorf("stored %q", stored)
	}
}
