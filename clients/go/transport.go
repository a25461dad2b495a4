package claviger

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Auth is what a request proves itself with.
type Auth string

const (
	// AuthKey sends the gateway key with every request.
	AuthKey Auth = "key"
	// AuthToken buys a short-lived access token with the key, sends that, and renews it.
	AuthToken Auth = "token"
)

// Config says how a [Transport] works. BaseURL and Key are needed; everything else is off or at its default.
type Config struct {
	// BaseURL of the gateway, such as "https://gateway.example" or "https://gateway.example/team-a". Requests to any
	// other origin are refused, so that no credential follows a redirect. Plain http only to this machine.
	BaseURL string
	// Key gives the gateway key.
	Key KeySource
	// Auth is what is sent; [AuthKey] when empty.
	Auth Auth
	// Scope narrows access tokens (space-separated); the key's own when empty.
	Scope string
	// ProofKey binds access tokens to itself and proves that with each request (DPoP), when it is set; with
	// [AuthToken] only.
	ProofKey *ProofKey
	// Certificate is shown to the gateway when it is set, in place of Base.
	Certificate *ClientCertificate
	// Signer signs requests when it is set.
	Signer *Signer
	// Base sends the requests; a copy of [http.DefaultTransport] when nil.
	Base http.RoundTripper
	// MaxBuffer is how much of a body without GetBody is held in memory to sign it; [DefaultMaxBuffer] when 0.
	MaxBuffer int64
	// Retry says what is repeated.
	Retry Retry
	// Limiter holds requests back when it is set.
	Limiter *Limiter
	// Cache answers equal requests when it is set.
	Cache *Cache
	// Stats counts when it is set. One can be shared.
	Stats *Stats
}

// Transport is the [http.RoundTripper]. Make one with [New] or [FromEnv] and share it.
type Transport struct {
	config Config
	origin *url.URL
	prefix string
	tokens *tokens
	// nonce is the gateway's, for proofs.
	nonce atomic.Pointer[string]

	now    func() time.Time
	random io.Reader
	sleep  func(ctx context.Context, wait time.Duration) error
}

// New makes a transport.
func New(config Config) (*Transport, error) {
	origin, err := url.Parse(strings.TrimSuffix(config.BaseURL, "/"))
	if err != nil || origin.Host == "" || (origin.Scheme != "https" && origin.Scheme != "http") || origin.User != nil {
		return nil, errors.New("claviger: BaseURL must be an http or https URL of the gateway, without credentials")
	}
	if err := checkTransport(origin); err != nil {
		return nil, err
	}
	if config.Key == nil {
		return nil, ErrNoKey
	}
	if err := config.check(); err != nil {
		return nil, err
	}
	if err := config.complete(); err != nil {
		return nil, err
	}
	if config.MaxBuffer <= 0 {
		config.MaxBuffer = DefaultMaxBuffer
	}
	transport := &Transport{
		config: config,
		origin: origin,
		prefix: strings.TrimSuffix(origin.EscapedPath(), "/"),
		now:    time.Now,
		random: rand.Reader,
		sleep:  sleepFor,
	}
	transport.tokens = &tokens{
		key:   config.Key,
		scope: config.Scope,
		send:  transport.sendForm,
		base:  strings.TrimSuffix(config.BaseURL, "/"),
		kind:  config.tokenType(),
		now:   time.Now,
	}
	return transport, nil
}

func (c *Config) check() error {
	switch c.Auth {
	case "", AuthKey, AuthToken:
	default:
		return fmt.Errorf("claviger: Auth %q is neither %q nor %q", c.Auth, AuthKey, AuthToken)
	}
	if c.ProofKey != nil && c.Auth != AuthToken {
		return errors.New("claviger: ProofKey binds access tokens: it needs AuthToken")
	}
	if c.Certificate != nil && c.Base != nil {
		return errors.New("claviger: Base has its own TLS: leave it out, or give it the certificate yourself")
	}
	signer := c.Signer
	if signer == nil {
		return nil
	}
	switch signer.Profile {
	case "", ProfileV1, ProfileV2, ProfileRFC9421:
	default:
		return fmt.Errorf("claviger: unknown signing profile %q", signer.Profile)
	}
	if signer.Ed25519 != nil && signer.Profile != ProfileRFC9421 && signer.Profile != "" {
		return errors.New("claviger: Ed25519 signs with profile rfc9421 only")
	}
	if signer.Ed25519 == nil && signer.Secret == nil {
		return errors.New("claviger: Signer has neither Secret nor Ed25519")
	}
	return nil
}

// complete fills in what is sent with.
func (c *Config) complete() error {
	switch {
	case c.Certificate != nil:
		base, err := c.Certificate.Transport()
		if err != nil {
			return err
		}
		c.Base = base
	case c.Base == nil:
		c.Base = defaultBase()
	}
	return nil
}

// tokenType is what access tokens must be.
func (c *Config) tokenType() string {
	if c.ProofKey != nil {
		return "DPoP"
	}
	return "Bearer"
}

// defaultBase leaves compression to the caller: what arrives is what the gateway sent.
func defaultBase() http.RoundTripper {
	if base, isUsual := http.DefaultTransport.(*http.Transport); isUsual {
		return base.Clone()
	}
	return http.DefaultTransport
}

// checkTransport refuses plain http beyond this machine.
func checkTransport(address *url.URL) error {
	host := address.Hostname()
	local := host == "localhost"
	if parsed := net.ParseIP(host); parsed != nil {
		local = parsed.IsLoopback()
	}
	if address.Scheme != "https" && !local {
		return fmt.Errorf("%w: %s", ErrInsecure, address.Host)
	}
	return nil
}

// RoundTrip sends one request, as [http.RoundTripper] says.
func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	started := t.now()
	response, err := t.serve(request, started)
	if err != nil {
		if request.Body != nil {
			_ = request.Body.Close()
		}
		t.config.Stats.failed(t.now().Sub(started))
		return nil, err
	}
	return response, nil
}

func (t *Transport) serve(request *http.Request, started time.Time) (*http.Response, error) {
	if !t.isOurs(request.URL) {
		return nil, fmt.Errorf("%w: %s", ErrForeignOrigin, request.URL.Host)
	}
	body, err := contentOf(request, t.config.MaxBuffer, t.config.Signer != nil || t.config.Cache != nil)
	if err != nil {
		return nil, err
	}
	key, isCacheable := t.config.Cache.keyOf(request, body, t.config.Key)
	if isCacheable {
		if response := t.config.Cache.answer(key, request, t.now()); response != nil {
			t.config.Stats.hit()
			return response, nil
		}
	}
	release, err := t.config.Limiter.acquire(request.Context())
	if err != nil {
		return nil, err
	}
	t.succeedSigner(request.Context())
	response, err := t.persist(request, body)
	if err != nil {
		release()
		return nil, err
	}
	watch := &watchedBody{inner: response.Body, release: release}
	watch.meter = newMeter(request.URL.Path, response)
	watch.done = func(usage Usage, broken bool) {
		t.config.Stats.finished(t.now().Sub(started), response.StatusCode, usage, broken)
	}
	if isCacheable && isKeepable(response) {
		watch.copy, watch.limit = &bytes.Buffer{}, t.config.Cache.config.EntryBytes
		watch.keep = func(text []byte) { t.config.Cache.put(key, response, text, t.now()) }
	}
	response.Body = watch
	return response, nil
}

// isOurs says whether a URL is on the gateway's origin and under its path prefix.
func (t *Transport) isOurs(target *url.URL) bool {
	same := target.Scheme == t.origin.Scheme &&
		normalAuthority(target.Scheme, target.Host) == normalAuthority(t.origin.Scheme, t.origin.Host)
	path := target.EscapedPath()
	return same && target.User == nil && (t.prefix == "" || path == t.prefix || strings.HasPrefix(path, t.prefix+"/"))
}

// persist repeats what may be repeated.
func (t *Transport) persist(request *http.Request, body *content) (*http.Response, error) {
	leave := t.config.Retry.leavesToCaller(request)
	for attempt := 0; ; attempt++ {
		response, err := t.attempt(request, body)
		seen := outcome{
			attempt: attempt, method: request.Method, replayable: body.canRepeat(), now: t.now(), chance: chance(),
		}
		if err != nil {
			var failed *sendError
			if !errors.As(err, &failed) || request.Context().Err() != nil {
				return nil, err
			}
			seen.sending = failed.sending
		} else {
			seen.status, seen.header = response.StatusCode, response.Header
		}
		next := t.config.Retry.decide(seen, leave)
		if next.forbid {
			response.Header.Set("X-Should-Retry", "false")
		}
		if !next.retry {
			return response, err
		}
		discard(response)
		t.config.Stats.retried()
		if err := t.sleep(request.Context(), next.wait); err != nil {
			return nil, err
		}
	}
}

// sendError says how far a request without an answer came.
type sendError struct {
	sending sending
	inner   error
}

func (e *sendError) Error() string { return e.inner.Error() }
func (e *sendError) Unwrap() error { return e.inner }

// attempt sends once, and again when the gateway says that the access token is over, when it refuses a key that has
// another value at its source by now, and when it gives a nonce that the proof lacked: once for either reason.
func (t *Transport) attempt(request *http.Request, body *content) (*http.Response, error) {
	for isRenewed, hasNonce := false, false; ; {
		shown, response, err := t.send(request, body)
		if err != nil || response.StatusCode != http.StatusUnauthorized {
			return response, err
		}
		again := false
		switch {
		case t.demandsNonce(response):
			again, hasNonce = !hasNonce, true
		case !isRenewed:
			again, isRenewed = t.mayRepeat(request.Context(), shown, peekErrorCode(response)), true
		}
		if !again || !body.canRepeat() {
			return response, nil
		}
		discard(response)
	}
}

// mayRepeat says whether another credential is at hand after a refusal.
func (t *Transport) mayRepeat(ctx context.Context, shown proof, code string) bool {
	if code == "signature_invalid" {
		t.forgetSigningSecret()
	}
	if shown.access.IsEmpty() {
		return t.keyHasChanged(ctx, shown.key)
	}
	return t.tokens.refused(shown.access, code)
}

// keyHasChanged asks the source of a refused key again.
func (t *Transport) keyHasChanged(ctx context.Context, refused Secret) bool {
	forget(t.config.Key)
	key, err := t.config.Key.Key(ctx)
	return err == nil && !refused.IsEmpty() && key.text != refused.text
}

// forgetSigningSecret has the source read again. Where it says the same, a successor that was fetched stays.
func (t *Transport) forgetSigningSecret() {
	if signer := t.config.Signer; signer != nil && signer.Secret != nil {
		forget(signer.Secret)
	}
}

// proof is what a request showed: the key itself, or an access token in its place.
type proof struct{ key, access Secret }

// send sends the request once, and says what it showed.
func (t *Transport) send(request *http.Request, body *content) (proof, *http.Response, error) {
	ctx := request.Context()
	key, err := t.config.Key.Key(ctx)
	if err != nil {
		return proof{}, nil, err
	}
	outgoing := request.Clone(ctx)
	outgoing.Header.Del("X-Api-Key")
	outgoing.Header.Del("Authorization")
	shown := proof{key: key}
	switch {
	case isJWT(key):
		outgoing.Header.Set("Authorization", "Bearer "+key.text)
	case t.config.Auth == AuthToken:
		granted, refusal, err := t.tokens.get(ctx)
		var failed *sendError
		if errors.As(err, &failed) {
			// However far the token's request came: this one was not sent.
			err = &sendError{sending: unsent, inner: failed.inner}
		}
		if err != nil {
			return proof{}, nil, err
		}
		if refusal != nil {
			return proof{}, refusal.response(request), nil
		}
		shown = proof{access: granted}
		outgoing.Header.Set("Authorization", t.config.tokenType()+" "+granted.text)
	default:
		outgoing.Header.Set("X-Api-Key", key.text)
	}
	outgoing.Header.Del(headerDPoP)
	if !shown.access.IsEmpty() {
		if err := t.prove(outgoing, shown.access); err != nil {
			return proof{}, nil, err
		}
	}
	if err := t.sign(ctx, outgoing, body, key); err != nil {
		return proof{}, nil, err
	}
	if err := body.attach(outgoing); err != nil {
		return proof{}, nil, err
	}
	response, err := t.carry(outgoing)
	if err != nil {
		return proof{}, nil, err
	}
	// The caller sees its own request, without our credentials.
	response.Request = request
	return shown, response, nil
}

// carry sends and, without an answer, says how far it came.
func (t *Transport) carry(request *http.Request) (*http.Response, error) {
	var connected atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}
	response, err := t.config.Base.RoundTrip(request.WithContext(httptrace.WithClientTrace(request.Context(), trace)))
	if err == nil {
		t.takeNonce(response)
		if said := response.Header.Get(headerSuccessor); said != "" && t.config.Signer != nil {
			t.config.Signer.succession.announce(said)
		}
		return response, nil
	}
	_, isUsual := t.config.Base.(*http.Transport)
	var operation *net.OpError
	isDial := errors.As(err, &operation) && operation.Op == "dial"
	state := lost
	if isDial || (isUsual && !connected.Load()) {
		state = unsent
	}
	return nil, &sendError{sending: state, inner: err}
}

func (t *Transport) sign(ctx context.Context, request *http.Request, body *content, key Secret) error {
	signer := t.config.Signer
	if signer == nil {
		return nil
	}
	ready := signing{profile: signer.Profile, ed25519: signer.Ed25519, keyID: signer.KeyID, expires: signer.Expires}
	if ready.keyID == "" {
		ready.keyID = PublicID(key)
	}
	if signer.Ed25519 == nil {
		secret, err := signer.Secret.Key(ctx)
		if err != nil {
			return fmt.Errorf("signing secret: %w", err)
		}
		ready.secret = signer.succession.current(secret, t.now())
	}
	message := messageOf(request)
	message.HasBody, message.BodyDigest, message.OpenBody = body.exists, body.digest, body.open
	moment, err := NewMoment(t.now(), t.random)
	if err != nil {
		return err
	}
	headers, err := ready.headers(message, moment)
	if err != nil {
		return err
	}
	for name, values := range headers {
		request.Header[name] = values
	}
	return nil
}

// sendForm sends a request to the token endpoints: signed, but without an access token.
func (t *Transport) sendForm(request *http.Request, form string) (*http.Response, error) {
	ctx := request.Context()
	key, err := t.config.Key.Key(ctx)
	if err != nil {
		return nil, err
	}
	request.Body = io.NopCloser(strings.NewReader(form))
	body, err := contentOf(request, int64(len(form)), true)
	if err != nil {
		return nil, err
	}
	for isRepeated := false; ; isRepeated = true {
		if err := t.sign(ctx, request, body, key); err != nil {
			return nil, err
		}
		if err := t.prove(request, Secret{}); err != nil {
			return nil, err
		}
		if err := body.attach(request); err != nil {
			return nil, err
		}
		response, err := t.carry(request)
		if err != nil || isRepeated || !t.demandsNonce(response) {
			return response, err
		}
		discard(response)
	}
}

// Revoke gives the access and refresh tokens back, as a program may do at its end.
func (t *Transport) Revoke(ctx context.Context) error { return t.tokens.revoke(ctx) }

// CloseIdleConnections closes connections that wait for a next request.
func (t *Transport) CloseIdleConnections() {
	if closer, can := t.config.Base.(interface{ CloseIdleConnections() }); can {
		closer.CloseIdleConnections()
	}
}

func isJWT(key Secret) bool {
	return strings.HasPrefix(key.text, "eyJ") && strings.Count(key.text, ".") == 2
}

const maxErrorBytes = 64 << 10

// peekErrorCode reads a refusal's code and leaves the answer as it was.
func peekErrorCode(response *http.Response) string {
	head, err := io.ReadAll(io.LimitReader(response.Body, maxErrorBytes))
	rest := response.Body
	response.Body = &rejoined{Reader: io.MultiReader(bytes.NewReader(head), rest), Closer: rest}
	if err != nil {
		return ""
	}
	code, _ := errorCodes(head)
	return code
}

type rejoined struct {
	io.Reader
	io.Closer
}

// discard reads a little so that the connection can be used again.
func discard(response *http.Response) {
	if response == nil {
		return
	}
	_, _ = io.CopyN(io.Discard, response.Body, maxErrorBytes)
	_ = response.Body.Close()
}

func sleepFor(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
