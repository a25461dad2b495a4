package claviger

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func proofKey(t *testing.T) *ProofKey {
	t.Helper()
	key, err := NewProofKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// verified reads a proof and verifies it with the key in its header, by the standard library.
func verified(t *testing.T, proof string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(proof, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no proof", proof)
	}
	for index, into := range []*map[string]any{&header, &claims} {
		text := raw(t, parts[index])
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	jwk, _ := header["jwk"].(map[string]any)
	member := func(name string) []byte { text, _ := jwk[name].(string); return raw(t, text) }
	signed, signature := []byte(parts[0]+"."+parts[1]), raw(t, parts[2])
	good := false
	switch header["alg"] {
	case "EdDSA":
		good = ed25519.Verify(member("x"), signed, signature)
	case "ES256":
		point := append(append([]byte{4}, member("x")...), member("y")...)
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		if err != nil || len(signature) != 64 {
			t.Fatal(err, len(signature))
		}
		sum := sha256.Sum256(signed)
		good = ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	}
	if !good {
		t.Fatalf("the signature of %q does not verify", proof)
	}
	return header, claims
}

func raw(t *testing.T, text string) []byte {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// checkProof compares a request's proof with what an exchange of the vectors says of it.
func (s *scripted) checkProof(request *http.Request, next tokenExchange) {
	s.t.Helper()
	proofs := request.Header.Values("DPoP")
	if s.proofs == nil {
		if len(proofs) != 0 {
			s.t.Error("a proof that nobody asked for")
		}
		return
	}
	if len(proofs) != 1 {
		s.t.Fatalf("%d proofs", len(proofs))
	}
	header, claims := verified(s.t, proofs[0])
	want := map[string]any{"htm": request.Method, "htu": request.URL.String(), "iat": claims["iat"], "jti": claims["jti"]}
	if token, isBound := strings.CutPrefix(next.Proof, "dpop:"); isBound {
		sum := sha256.Sum256([]byte(token))
		want["ath"] = base64URL(sum[:])
	}
	if next.Nonce != "" {
		want["nonce"] = next.Nonce
	}
	var jwk any
	_ = json.Unmarshal(s.proofs.jwk, &jwk)
	if !reflect.DeepEqual(claims, want) || !reflect.DeepEqual(header["jwk"], jwk) {
		s.t.Errorf("proof %v, want %v", claims, want)
	}
	id, _ := claims["jti"].(string)
	if len(id) != 32 || s.used[id] {
		s.t.Errorf("jti %q", id)
	}
	s.used[id] = true
}

func TestProofsAreWhatTheVectorsSay(t *testing.T) {
	file := vectors[struct {
		About string `json:"about"`
		At    int64  `json:"iat"`
		ID    string `json:"jti"`
		Keys  map[string]struct {
			PEM        string         `json:"private_pem"`
			JWK        map[string]any `json:"jwk"`
			Thumbprint string         `json:"jkt"`
		} `json:"keys"`
		Cases []struct {
			Name   string `json:"name"`
			Alg    string `json:"alg"`
			Method string `json:"method"`
			URL    string `json:"url"`
			Access string `json:"access_token"`
			Nonce  string `json:"nonce"`
			Expect struct {
				Header map[string]any `json:"header"`
				Claims map[string]any `json:"claims"`
			} `json:"expect"`
		} `json:"cases"`
	}](t, "dpop.json")
	id, _ := hex.DecodeString(file.ID)
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			key, err := ParseProofKey([]byte(file.Keys[c.Alg].PEM))
			if err != nil || key.Thumbprint() != file.Keys[c.Alg].Thumbprint {
				t.Fatal(key, err)
			}
			target, _ := url.Parse(c.URL)
			of := subject{method: c.Method, target: target, access: NewSecret(c.Access), nonce: c.Nonce}
			proof, err := key.proof(of, time.Unix(file.At, 900_000_000), bytes.NewReader(id))
			if err != nil {
				t.Fatal(err)
			}
			header, claims := verified(t, proof)
			if !reflect.DeepEqual(header, c.Expect.Header) || !reflect.DeepEqual(claims, c.Expect.Claims) {
				t.Errorf("%v %v, want %v %v", header, claims, c.Expect.Header, c.Expect.Claims)
			}
		})
	}
}

func TestProofKeysThatCannotBeAreRefused(t *testing.T) {
	weak, _ := rsa.GenerateKey(rand.Reader, 2048)
	encoded, _ := x509.MarshalPKCS8PrivateKey(weak)
	other, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	for name, text := range map[string][]byte{
		"nothing": nil, "no key": []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
		"RSA": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}),
	} {
		if _, err := ParseProofKey(text); err != ErrProofKey {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ProofKeyOf(crypto.Signer(other)); err != ErrProofKey {
		t.Errorf("P-384: %v", err)
	}
	if _, err := New(Config{BaseURL: "https://gw.example", Key: StaticKey("k"), ProofKey: proofKey(t)}); err == nil {
		t.Error("a proof key without tokens")
	}
}

func TestBindingsComeFromTheEnvironment(t *testing.T) {
	t.Setenv(EnvBaseURL, "https://gw.example")
	t.Setenv(EnvAPIKey, "cvg_live_x")
	t.Setenv(EnvAuth, "token")
	t.Setenv(EnvDPoP, "EdDSA")
	if config, err := ConfigFromEnv(); err != nil || config.ProofKey.algorithm != "EdDSA" {
		t.Error(config, err)
	}
	t.Setenv(EnvDPoP, "HS256")
	if _, err := ConfigFromEnv(); err == nil {
		t.Error("HS256 makes no proofs")
	}
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	encoded, _ := x509.MarshalPKCS8PrivateKey(key)
	file := filepath.Join(t.TempDir(), "proof.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(EnvDPoPKeyFile, file)
	config, err := ConfigFromEnv()
	if want, _ := ProofKeyOf(key); err != nil || config.ProofKey.Thumbprint() != want.Thumbprint() {
		t.Error(config.ProofKey, err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ConfigFromEnv(); err == nil {
		t.Error("a proof key that others can read")
	}
	t.Setenv(EnvDPoPKeyFile, "")
	t.Setenv(EnvDPoP, "")
	t.Setenv(EnvClientCert, filepath.Join(t.TempDir(), "none.pem"))
	if _, err := FromEnv(); err == nil {
		t.Error("a certificate that is not there")
	}
}

func TestEachAttemptHasAProofOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	count := 0
	base := roundTrips(func(request *http.Request) (*http.Response, error) {
		_, claims := verified(t, request.Header.Get("DPoP"))
		seen[claims["jti"].(string)] = true
		count++
		status, text := http.StatusOK, `{"access_token":"A1","token_type":"DPoP","expires_in":7200}`
		if request.URL.Path != tokenPath && count < 4 {
			status = 529
		}
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: request}, nil
	})
	transport, err := New(Config{
		BaseURL: "https://gw.example", Key: StaticKey("cvg_live_x"), Auth: AuthToken, ProofKey: proofKey(t), Base: base,
	})
	if err != nil {
		t.Fatal(err)
	}
	transport.sleep = func(context.Context, time.Duration) error { return nil }
	response, err := (&http.Client{Transport: transport}).Get("https://gw.example/v1/models")
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response, err)
	}
	_ = response.Body.Close()
	if len(seen) != 4 || count != 4 {
		t.Errorf("%d proofs for %d requests", len(seen), count)
	}
}

// roundTrips makes a function an [http.RoundTripper].
type roundTrips func(*http.Request) (*http.Response, error)

func (f roundTrips) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }
