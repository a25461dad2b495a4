package claviger

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"time"
)

const (
	headerDPoP      = "Dpop"
	headerDPoPNonce = "Dpop-Nonce"
	nonceDemanded   = "use_dpop_nonce"
	proofType       = "dpop+jwt"
	scalarBytes     = 32
)

// ErrProofKey says that a key cannot make proofs.
var ErrProofKey = errors.New("claviger: a proof key is a P-256 or an Ed25519 key, unencrypted in PKCS #8 PEM")

// ProofKey makes proofs of possession (RFC 9449): an access token that is bought with one is bound to the key, which
// is never sent, and each request proves it anew.
type ProofKey struct {
	signer     crypto.Signer
	algorithm  string
	jwk        json.RawMessage
	thumbprint string
}

// NewProofKey makes a P-256 key. It lives as long as the process, and so do the tokens that are bound to it.
func NewProofKey() (*ProofKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("claviger: proof key: %w", err)
	}
	return ProofKeyOf(key)
}

// ParseProofKey reads a private key in PEM form (PKCS #8): P-256 or Ed25519.
func ParseProofKey(text []byte) (*ProofKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, ErrProofKey
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, ErrProofKey
	}
	signer, can := key.(crypto.Signer)
	if !can {
		return nil, ErrProofKey
	}
	return ProofKeyOf(signer)
}

// ProofKeyOf takes a key that something else holds, such as a hardware module: its public half must be P-256 or
// Ed25519.
func ProofKeyOf(signer crypto.Signer) (*ProofKey, error) {
	made := &ProofKey{signer: signer}
	// The members of a JWK in the order that RFC 7638 hashes them in.
	switch public := signer.Public().(type) {
	case *ecdsa.PublicKey:
		if public.Curve != elliptic.P256() {
			return nil, ErrProofKey
		}
		point, err := public.Bytes()
		if err != nil {
			return nil, ErrProofKey
		}
		x, y := point[1:1+scalarBytes], point[1+scalarBytes:]
		made.algorithm = "ES256"
		made.jwk = fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":%q,"y":%q}`, base64URL(x), base64URL(y))
	case ed25519.PublicKey:
		made.algorithm = "EdDSA"
		made.jwk = fmt.Appendf(nil, `{"crv":"Ed25519","kty":"OKP","x":%q}`, base64URL(public))
	default:
		return nil, ErrProofKey
	}
	sum := sha256.Sum256(made.jwk)
	made.thumbprint = base64URL(sum[:])
	return made, nil
}

// Thumbprint is what the tokens say that they are bound to (`cnf.jkt`, RFC 7638).
func (k *ProofKey) Thumbprint() string { return k.thumbprint }

// String names the key by its thumbprint.
func (k *ProofKey) String() string { return "ProofKey(" + k.algorithm + ", jkt=" + k.thumbprint + ")" }

// GoString is the same as String: no part of the key is printed.
func (k *ProofKey) GoString() string { return k.String() }

// subject is what one proof is made for.
type subject struct {
	method string
	target *url.URL
	access Secret
	nonce  string
}

type proofHeader struct {
	Type      string          `json:"typ"`
	Algorithm string          `json:"alg"`
	JWK       json.RawMessage `json:"jwk"`
}

type proofClaims struct {
	ID        string `json:"jti"`
	Method    string `json:"htm"`
	URI       string `json:"htu"`
	IssuedAt  int64  `json:"iat"`
	TokenHash string `json:"ath,omitempty"`
	Nonce     string `json:"nonce,omitempty"`
}

// proof makes the value of the DPoP header for one request; never the same twice.
func (k *ProofKey) proof(of subject, now time.Time, random io.Reader) (string, error) {
	var id [nonceBytes]byte
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return "", fmt.Errorf("claviger: randomness for a proof: %w", err)
	}
	claims := proofClaims{
		ID: hex.EncodeToString(id[:]), Method: of.method, URI: htu(of.target), IssuedAt: now.Unix(), Nonce: of.nonce,
	}
	if !of.access.IsEmpty() {
		sum := sha256.Sum256([]byte(of.access.text))
		claims.TokenHash = base64URL(sum[:])
	}
	header, err := json.Marshal(proofHeader{Type: proofType, Algorithm: k.algorithm, JWK: k.jwk})
	if err != nil {
		return "", fmt.Errorf("claviger: proof: %w", err)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("claviger: proof: %w", err)
	}
	text := base64URL(header) + "." + base64URL(body)
	signature, err := k.sign([]byte(text))
	if err != nil {
		return "", err
	}
	return text + "." + base64URL(signature), nil
}

func (k *ProofKey) sign(message []byte) ([]byte, error) {
	if k.algorithm == "EdDSA" {
		signature, err := k.signer.Sign(rand.Reader, message, crypto.Hash(0))
		if err != nil {
			return nil, fmt.Errorf("claviger: sign a proof: %w", err)
		}
		return signature, nil
	}
	sum := sha256.Sum256(message)
	encoded, err := k.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("claviger: sign a proof: %w", err)
	}
	var pair struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(encoded, &pair); err != nil {
		return nil, fmt.Errorf("claviger: sign a proof: %w", err)
	}
	signature := make([]byte, 2*scalarBytes)
	pair.R.FillBytes(signature[:scalarBytes])
	pair.S.FillBytes(signature[scalarBytes:])
	return signature, nil
}

// htu is a URL without query and fragment, in the form that the gateway sees.
func htu(target *url.URL) string {
	path := target.EscapedPath()
	if path == "" {
		path = "/"
	}
	return target.Scheme + "://" + normalAuthority(target.Scheme, target.Host) + path
}

func base64URL(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// prove puts a proof into a request, in place of one that is there.
func (t *Transport) prove(request *http.Request, access Secret) error {
	request.Header.Del(headerDPoP)
	if t.config.ProofKey == nil {
		return nil
	}
	of := subject{method: request.Method, target: request.URL, access: access}
	if of.method == "" {
		of.method = http.MethodGet
	}
	if nonce := t.nonce.Load(); nonce != nil {
		of.nonce = *nonce
	}
	proof, err := t.config.ProofKey.proof(of, t.now(), t.random)
	if err != nil {
		return err
	}
	request.Header.Set(headerDPoP, proof)
	return nil
}

// takeNonce keeps the nonce of an answer for the next proofs (RFC 9449 section 8.2).
func (t *Transport) takeNonce(response *http.Response) {
	if nonce := response.Header.Get(headerDPoPNonce); nonce != "" && t.config.ProofKey != nil {
		t.nonce.Store(&nonce)
	}
}

// demandsNonce says whether an answer is a refusal that gives the nonce which the proof lacked. Token endpoints answer
// 400, others 401 (RFC 9449 section 8).
func (t *Transport) demandsNonce(response *http.Response) bool {
	isRefusal := response.StatusCode == http.StatusBadRequest || response.StatusCode == http.StatusUnauthorized
	return t.config.ProofKey != nil && isRefusal && response.Header.Get(headerDPoPNonce) != "" &&
		peekErrorCode(response) == nonceDemanded
}
