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

// VaultKey reads a key from a KV engine (version 2) of Vault or OpenBao, and keeps it for an hour.
type VaultKey struct {
	// Address such as "https://vault.example:8200"; plain http only to this machine.
	Address string
	// Mount of the KV engine; "secret" when empty.
	Mount string
	// Path of the secret, such as "claviger/ci".
	Path string
	// Field of the secret; "key" when empty.
	Field string
	// Namespace; sent when not empty.
	Namespace string
	// Token that may read the path. Give either this or WrappedTokenFile.
	Token KeySource
	// WrappedTokenFile holds a response-wrapping token (mode 0600), as a delivery puts it there. It is opened once;
	// the token in it stays in memory. If it was opened before, [ErrWrappedTokenUsed] says so: somebody else has it.
	WrappedTokenFile string
	// Client sends the requests; a client with a limit of 10 s when nil.
	Client *http.Client

	once      sync.Once
	kept      *keptKey
	mutex     sync.Mutex
	unwrapped Secret
}

// ErrWrappedTokenUsed says that a wrapped token was opened before, or is too old: treat it as an incident.
var ErrWrappedTokenUsed = errors.New("claviger: the wrapped token was opened before or has expired")

const vaultLimit = 10 * time.Second

// Key gives the kept key, or asks the server.
func (v *VaultKey) Key(ctx context.Context) (Secret, error) { return v.source().Key(ctx) }

// Forget makes the next call ask the server.
func (v *VaultKey) Forget() { v.source().Forget() }

func (v *VaultKey) source() *keptKey {
	v.once.Do(func() { v.kept = keep(sealedKeyTTL, v.read) })
	return v.kept
}

func (v *VaultKey) read(ctx context.Context) (Secret, error) {
	token, err := v.token(ctx)
	if err != nil {
		return Secret{}, err
	}
	mount, field := v.Mount, v.Field
	if mount == "" {
		mount = "secret"
	}
	if field == "" {
		field = "key"
	}
	var answer struct {
		Data struct {
			Data map[string]json.RawMessage `json:"data"`
		} `json:"data"`
	}
	path := "/v1/" + escapeSegments(mount) + "/data/" + escapeSegments(v.Path)
	if err := v.call(ctx, http.MethodGet, path, token, &answer); err != nil {
		return Secret{}, err
	}
	var text string
	if raw, found := answer.Data.Data[field]; !found || json.Unmarshal(raw, &text) != nil {
		return Secret{}, fmt.Errorf("%w: the secret has no text field %q", ErrNoKey, field)
	}
	return tidy(text)
}

func (v *VaultKey) token(ctx context.Context) (Secret, error) {
	if v.Token != nil {
		return v.Token.Key(ctx)
	}
	v.mutex.Lock()
	defer v.mutex.Unlock()
	if !v.unwrapped.IsEmpty() {
		return v.unwrapped, nil
	}
	text, err := readPrivateFile(v.WrappedTokenFile, maxSecretBytes)
	if err != nil {
		return Secret{}, err
	}
	wrapping, err := tidy(string(text))
	if err != nil {
		return Secret{}, err
	}
	var answer struct {
		Auth *struct {
			ClientToken string `json:"client_token"`
		} `json:"auth"`
		Data struct {
			Token string `json:"token"`
		} `json:"data"`
	}
	if err := v.call(ctx, http.MethodPost, "/v1/sys/wrapping/unwrap", wrapping, &answer); err != nil {
		var refused *vaultRefusal
		if errors.As(err, &refused) && (refused.status == http.StatusBadRequest || refused.status == http.StatusForbidden) {
			return Secret{}, ErrWrappedTokenUsed
		}
		return Secret{}, err
	}
	token := answer.Data.Token
	if answer.Auth != nil {
		token = answer.Auth.ClientToken
	}
	unwrapped, err := tidy(token)
	if err != nil {
		return Secret{}, fmt.Errorf("claviger: what was wrapped is not a token: %w", err)
	}
	v.unwrapped = unwrapped
	return unwrapped, nil
}

// vaultRefusal is an answer that is no success; its text is not repeated.
type vaultRefusal struct{ status int }

func (r *vaultRefusal) Error() string {
	return fmt.Sprintf("claviger: the secret store answered %d", r.status)
}

func (v *VaultKey) call(ctx context.Context, method, path string, token Secret, into any) error {
	address, err := url.Parse(v.Address)
	if err != nil {
		return errors.New("claviger: the secret store's address is not a URL")
	}
	if err := checkTransport(address); err != nil {
		return err
	}
	target := strings.TrimSuffix(v.Address, "/") + path
	request, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return fmt.Errorf("claviger: secret store: %w", err)
	}
	request.Header.Set("X-Vault-Token", token.text)
	request.Header.Set("X-Vault-Request", "true")
	if v.Namespace != "" {
		request.Header.Set("X-Vault-Namespace", v.Namespace)
	}
	client := v.Client
	if client == nil {
		client = &http.Client{Timeout: vaultLimit, CheckRedirect: neverFollow}
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("claviger: secret store: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxBlobBytes))
	if err != nil {
		return fmt.Errorf("claviger: secret store: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return &vaultRefusal{response.StatusCode}
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(into); err != nil {
		return errors.New("claviger: the secret store's answer is not what was expected")
	}
	return nil
}

// neverFollow keeps a token from following a redirect.
func neverFollow(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func escapeSegments(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.Join(parts, "/")
}
