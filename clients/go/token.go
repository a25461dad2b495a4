package claviger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Where tokens are had, how early one is renewed, and how long a renewal that failed is left alone.
const (
	tokenPath     = "/v1/auth/token"
	refreshPath   = "/v1/auth/refresh"
	revokePath    = "/v1/auth/revoke"
	renewMargin   = time.Minute
	renewFraction = 10
	renewPause    = 10 * time.Second
	// The gateway repeats an answer that was lost for ten seconds; a later repetition it takes for theft.
	repeatedFor   = 8 * time.Second
	maxTokenBytes = 64 << 10
	tokenLimit    = 30 * time.Second
)

// tokens keeps one access token and renews it: one call at a time, whoever asks meanwhile waits for its answer.
type tokens struct {
	key   KeySource
	scope string
	send  func(request *http.Request, form string) (*http.Response, error)
	base  string
	// kind is what a token must be: Bearer, or DPoP.
	kind string
	now  func() time.Time

	mutex   sync.Mutex
	access  Secret
	refresh Secret
	// renewFrom is when the token is renewed; it holds until the end. A renewal that fails moves the first.
	renewFrom time.Time
	end       time.Time
	flight    *flight
}

// flight is a fetch under way.
type flight struct {
	done    chan struct{}
	access  Secret
	refusal *refusal
	err     error
}

// get gives an access token that holds now, or what the token endpoint said in place of one.
func (t *tokens) get(ctx context.Context) (Secret, *refusal, error) {
	t.mutex.Lock()
	if !t.access.IsEmpty() && t.now().Before(t.renewFrom) {
		defer t.mutex.Unlock()
		return t.access, nil, nil
	}
	under := t.flight
	if under == nil {
		under = &flight{done: make(chan struct{})}
		t.flight = under
		// The fetch belongs to all that wait: it does not end with the request of the first.
		go t.fly(context.WithoutCancel(ctx), under)
	}
	t.mutex.Unlock()
	select {
	case <-under.done:
		return under.access, under.refusal, under.err
	case <-ctx.Done():
		return Secret{}, nil, ctx.Err()
	}
}

// refused learns that the gateway did not take a token, and says whether another may be tried now.
func (t *tokens) refused(token Secret, code string) bool {
	switch code {
	case "token_expired", "token_revoked", "token_invalid":
	default:
		return false
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	// Another request may have renewed it meanwhile.
	if t.access.text == token.text {
		t.access = Secret{}
		if code != "token_expired" {
			t.refresh = Secret{}
		}
	}
	return code != "token_invalid"
}

func (t *tokens) fly(ctx context.Context, under *flight) {
	ctx, cancel := context.WithTimeout(ctx, tokenLimit)
	defer cancel()
	t.mutex.Lock()
	refresh := t.refresh
	t.mutex.Unlock()
	granted, keepRefresh, err := t.fetch(ctx, refresh)
	t.mutex.Lock()
	defer t.mutex.Unlock()
	defer close(under.done)
	t.flight = nil
	now := t.now()
	if err == nil {
		lifetime := time.Duration(granted.ExpiresIn) * time.Second
		t.access, t.refresh = Secret{granted.Access}, Secret{granted.Refresh}
		t.end = now.Add(lifetime)
		t.renewFrom = t.end.Add(-min(renewMargin, lifetime/renewFraction))
		under.access = t.access
		return
	}
	if !keepRefresh {
		t.refresh = Secret{}
	}
	if !t.access.IsEmpty() && now.Before(t.end) {
		// It still holds: the next renewal is tried after a pause.
		t.renewFrom = now.Add(renewPause)
		under.access = t.access
		return
	}
	if !errors.As(err, &under.refusal) {
		under.err = err
	}
}

type grant struct {
	Access    string `json:"access_token"`
	Refresh   string `json:"refresh_token"`
	Type      string `json:"token_type"`
	ExpiresIn int64  `json:"expires_in"`
}

// fetch refreshes where it can, and else buys with the key. A refresh whose answer was lost is repeated once, at once:
// the gateway repeats its answer for 10 s only, and takes a later repetition for theft. keepRefresh says whether
// the refresh token is still good after an error.
func (t *tokens) fetch(ctx context.Context, refresh Secret) (granted grant, keepRefresh bool, err error) {
	if !refresh.IsEmpty() {
		sent := t.now()
		granted, err = t.refreshOnce(ctx, refresh)
		wasLost := err != nil && isLost(err)
		if wasLost && t.now().Sub(sent) < repeatedFor {
			granted, err = t.refreshOnce(ctx, refresh)
		}
		var refused *refusal
		if err == nil || !errors.As(err, &refused) || refused.isPassing() {
			return granted, !wasLost, err
		}
	}
	key, err := t.key.Key(ctx)
	if err != nil {
		return grant{}, false, err
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if t.scope != "" {
		form.Set("scope", t.scope)
	}
	granted, err = t.ask(ctx, tokenPath, form, key)
	var refused *refusal
	if errors.As(err, &refused) && refused.status == http.StatusUnauthorized {
		forget(t.key)
	}
	return granted, false, err
}

func (t *tokens) refreshOnce(ctx context.Context, refresh Secret) (grant, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh.text}}
	return t.ask(ctx, refreshPath, form, Secret{})
}

func isLost(err error) bool {
	var failed *sendError
	return errors.As(err, &failed) && failed.sending == lost
}

var errNoToken = errors.New("claviger: the token endpoint's answer is no token")

func (t *tokens) ask(ctx context.Context, path string, form url.Values, key Secret) (grant, error) {
	response, err := t.post(ctx, path, form, key)
	if err != nil {
		return grant{}, err
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxTokenBytes))
	_ = response.Body.Close()
	if err != nil {
		return grant{}, &sendError{sending: lost, inner: fmt.Errorf("claviger: read the token answer: %w", err)}
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return grant{}, &refusal{status: response.StatusCode, header: response.Header, text: text}
	}
	var granted grant
	isToken := json.Unmarshal(text, &granted) == nil && isTokenText(granted.Access) && granted.ExpiresIn > 0 &&
		strings.EqualFold(granted.Type, t.kind) && (granted.Refresh == "" || isTokenText(granted.Refresh))
	if !isToken {
		return grant{}, errNoToken
	}
	return granted, nil
}

// isTokenText says whether a text can stand in a header (RFC 6750 section 2.1, b64token and a little more).
func isTokenText(text string) bool {
	if text == "" || len(text) > maxTokenBytes {
		return false
	}
	for _, char := range []byte(text) {
		if char <= ' ' || char > '~' {
			return false
		}
	}
	return true
}

func (t *tokens) post(ctx context.Context, path string, form url.Values, key Secret) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.base+path, nil)
	if err != nil {
		return nil, fmt.Errorf("claviger: token request: %w", err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	if !key.IsEmpty() {
		request.Header.Set("X-Api-Key", key.text)
	}
	return t.send(request, form.Encode())
}

// revoke gives the kept tokens back; afterwards there are none.
func (t *tokens) revoke(ctx context.Context) error {
	t.mutex.Lock()
	token, hint := t.refresh, "refresh_token"
	if token.IsEmpty() {
		token, hint = t.access, "access_token"
	}
	t.access, t.refresh = Secret{}, Secret{}
	t.mutex.Unlock()
	if token.IsEmpty() {
		return nil
	}
	key, err := t.key.Key(ctx)
	if err != nil {
		return err
	}
	form := url.Values{"token": {token.text}, "token_type_hint": {hint}}
	response, err := t.post(ctx, revokePath, form, key)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxTokenBytes))
	if response.StatusCode != http.StatusOK {
		return &refusal{status: response.StatusCode, header: response.Header, text: text}
	}
	return nil
}

// refusal is an answer of the token endpoints that is no token. It becomes the answer to the call that needed one.
type refusal struct {
	status int
	header http.Header
	text   []byte
}

func (r *refusal) Error() string {
	code, oauth := errorCodes(r.text)
	return fmt.Sprintf("claviger: no access token: status %d, error_code %q, oauth_error %q, request %q",
		r.status, code, oauth, r.header.Get("Request-Id"))
}

// isPassing says that the same may succeed later, so that the refresh token is worth keeping.
func (r *refusal) isPassing() bool {
	return r.status >= http.StatusInternalServerError || r.status == http.StatusTooManyRequests ||
		r.status == http.StatusRequestTimeout
}

func (r *refusal) response(request *http.Request) *http.Response {
	header := r.header.Clone()
	header.Del("Content-Length")
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", r.status, http.StatusText(r.status)),
		StatusCode:    r.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		Body:          io.NopCloser(bytes.NewReader(r.text)),
		ContentLength: int64(len(r.text)),
		Request:       request,
	}
}

// errorCodes reads `error.details` of an answer in Anthropic's envelope.
func errorCodes(text []byte) (code, oauth string) {
	var envelope struct {
		Error struct {
			Details struct {
				Code  string `json:"error_code"`
				OAuth string `json:"oauth_error"`
			} `json:"details"`
		} `json:"error"`
	}
	if json.Unmarshal(text, &envelope) != nil {
		return "", ""
	}
	return envelope.Error.Details.Code, envelope.Error.Details.OAuth
}
