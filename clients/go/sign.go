package claviger

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Profile is the form of a request's signature.
type Profile string

const (
	// ProfileV1 signs the body, a timestamp and a nonce.
	ProfileV1 Profile = "v1"
	// ProfileV2 binds method, authority, path, query and key as well.
	ProfileV2 Profile = "v2"
	// ProfileRFC9421 makes HTTP Message Signatures with RFC 9530 digests.
	ProfileRFC9421 Profile = "rfc9421"
)

// Header names of the signing profiles.
const (
	headerSignature        = "X-Request-Signature"
	headerSignatureVersion = "X-Request-Signature-Version"
	headerTimestamp        = "X-Request-Timestamp"
	headerNonce            = "X-Request-Nonce"
	headerContentDigest    = "Content-Digest"
	headerRFCSignature     = "Signature"
	headerRFCInput         = "Signature-Input"
)

const (
	nonceBytes      = 16
	timestampDigits = 10
	signatureLabel  = "cvg"
)

// Signer makes the signature headers of requests. The zero value is not usable.
type Signer struct {
	// Profile is the form; [ProfileRFC9421] when empty.
	Profile Profile
	// Secret gives the signing secret; its UTF-8 bytes are the HMAC key, as printed. Not used with Ed25519.
	Secret KeySource
	// OnSuccessor is told once of the secret that follows, and from when it counts: store it, so that the next start of
	// the program has it. This transport signs with it from then on.
	OnSuccessor func(next Secret, validFrom time.Time)
	// Ed25519 signs in place of an HMAC; [ProfileRFC9421] only.
	Ed25519 ed25519.PrivateKey
	// KeyID is the key's public id; read from the gateway key when empty.
	KeyID string
	// Expires is how long an RFC 9421 signature says it holds; left out when 0. Whole seconds.
	Expires time.Duration

	succession succession
}

// Message is what of a request is signed.
type Message struct {
	// Method in upper case.
	Method string
	// Authority is the host in lower case, with its port unless that is the scheme's default.
	Authority string
	// Path as on the wire, still escaped; never empty.
	Path string
	// Query as on the wire, without the question mark.
	Query string
	// HasBody is false for a request without content.
	HasBody bool
	// BodyDigest is the SHA-256 of the body (of nothing, without one).
	BodyDigest [sha256.Size]byte
	// OpenBody gives the body's bytes for [ProfileV1]; nil when only the digest is known.
	OpenBody func() (io.ReadCloser, error)
}

// Moment is what makes one signature unique.
type Moment struct {
	// Unix time in seconds.
	Unix int64
	// Nonce as 32 lower-case hex digits.
	Nonce string
}

// NewMoment reads the time and 16 random bytes.
func NewMoment(now time.Time, random io.Reader) (Moment, error) {
	var bytes [nonceBytes]byte
	if _, err := io.ReadFull(random, bytes[:]); err != nil {
		return Moment{}, fmt.Errorf("claviger: randomness for a nonce: %w", err)
	}
	return Moment{Unix: now.Unix(), Nonce: hex.EncodeToString(bytes[:])}, nil
}

func (m Moment) timestamp() (string, error) {
	text := strconv.FormatInt(m.Unix, 10)
	if len(text) != timestampDigits {
		return "", errors.New("claviger: the clock is outside the range that signatures can carry")
	}
	return text, nil
}

// signing is a Signer with its secret at hand.
type signing struct {
	profile Profile
	secret  Secret
	ed25519 ed25519.PrivateKey
	keyID   string
	expires time.Duration
}

// headers gives the headers that a request needs, and nothing that was there before.
func (s signing) headers(message Message, moment Moment) (http.Header, error) {
	timestamp, err := moment.timestamp()
	if err != nil {
		return nil, err
	}
	headers := http.Header{}
	switch s.profile {
	case ProfileV1:
		err = s.v1(headers, message, timestamp, moment.Nonce)
	case ProfileV2:
		err = s.v2(headers, message, timestamp, moment.Nonce)
	case ProfileRFC9421, "":
		err = s.rfc9421(headers, message, moment)
	default:
		err = fmt.Errorf("claviger: unknown signing profile %q", s.profile)
	}
	if err != nil {
		return nil, err
	}
	return headers, nil
}

func (s signing) v1(headers http.Header, message Message, timestamp, nonce string) error {
	mac := hmac.New(sha256.New, []byte(s.secret.text))
	if message.HasBody {
		if message.OpenBody == nil {
			return ErrBodyNeeded
		}
		body, err := message.OpenBody()
		if err != nil {
			return fmt.Errorf("claviger: open the body to sign it: %w", err)
		}
		_, err = io.Copy(mac, body)
		if closing := body.Close(); err == nil {
			err = closing
		}
		if err != nil {
			return fmt.Errorf("claviger: read the body to sign it: %w", err)
		}
	}
	setOwn(headers, mac.Sum, timestamp, nonce, mac.Write)
	return nil
}

func (s signing) v2(headers http.Header, message Message, timestamp, nonce string) error {
	if s.keyID == "" {
		return ErrNoKeyID
	}
	mac := hmac.New(sha256.New, []byte(s.secret.text))
	_, _ = io.WriteString(mac, PayloadV2(s.keyID, message))
	setOwn(headers, mac.Sum, timestamp, nonce, mac.Write)
	headers.Set(headerSignatureVersion, "2")
	return nil
}

// setOwn ends a MAC with `|timestamp|nonce` and sets the three headers of v1 and v2.
func setOwn(headers http.Header, sum func([]byte) []byte, timestamp, nonce string, write func([]byte) (int, error)) {
	_, _ = write([]byte("|" + timestamp + "|" + nonce))
	headers.Set(headerSignature, "sha256="+hex.EncodeToString(sum(nil)))
	headers.Set(headerTimestamp, timestamp)
	headers.Set(headerNonce, nonce)
}

// PayloadV2 is the text that profile v2 puts before the timestamp and the nonce.
func PayloadV2(keyID string, message Message) string {
	return strings.Join([]string{
		"cvg-sig-v2",
		keyID,
		message.Method,
		message.Authority,
		message.Path,
		message.Query,
		hex.EncodeToString(message.BodyDigest[:]),
	}, "\n")
}

func (s signing) rfc9421(headers http.Header, message Message, moment Moment) error {
	if s.keyID == "" {
		return ErrNoKeyID
	}
	algorithm := "hmac-sha256"
	if s.ed25519 != nil {
		algorithm = "ed25519"
	}
	digest := ""
	if message.HasBody {
		digest = ContentDigest(message.BodyDigest)
		headers.Set(headerContentDigest, digest)
	}
	params := s.params(digest != "", algorithm, moment)
	base := signatureBase(message, digest, params)
	var signature []byte
	if s.ed25519 != nil {
		signature = ed25519.Sign(s.ed25519, []byte(base))
	} else {
		mac := hmac.New(sha256.New, []byte(s.secret.text))
		_, _ = io.WriteString(mac, base)
		signature = mac.Sum(nil)
	}
	headers.Set(headerRFCInput, signatureLabel+"="+params)
	headers.Set(headerRFCSignature, signatureLabel+"=:"+base64.StdEncoding.EncodeToString(signature)+":")
	return nil
}

// params is the value of `@signature-params`: the covered components and what was said of the signature.
func (s signing) params(hasDigest bool, algorithm string, moment Moment) string {
	var text strings.Builder
	text.WriteString(`("@method" "@authority" "@path" "@query"`)
	if hasDigest {
		text.WriteString(` "content-digest"`)
	}
	fmt.Fprintf(&text, `);created=%d`, moment.Unix)
	if seconds := int64(s.expires / time.Second); seconds > 0 {
		fmt.Fprintf(&text, `;expires=%d`, moment.Unix+seconds)
	}
	fmt.Fprintf(&text, `;nonce="%s";keyid="%s";alg="%s"`, moment.Nonce, s.keyID, algorithm)
	return text.String()
}

// signatureBase is RFC 9421 section 2.5 for the components that Claviger covers.
func signatureBase(message Message, digest, params string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "\"@method\": %s\n", message.Method)
	fmt.Fprintf(&text, "\"@authority\": %s\n", message.Authority)
	fmt.Fprintf(&text, "\"@path\": %s\n", message.Path)
	fmt.Fprintf(&text, "\"@query\": ?%s\n", message.Query)
	if digest != "" {
		fmt.Fprintf(&text, "\"content-digest\": %s\n", digest)
	}
	fmt.Fprintf(&text, "\"@signature-params\": %s", params)
	return text.String()
}

// messageOf takes from a request what is signed, apart from its body.
func messageOf(request *http.Request) Message {
	host := request.Host
	if host == "" {
		host = request.URL.Host
	}
	path := request.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	method := request.Method
	if method == "" {
		method = http.MethodGet
	}
	return Message{
		Method:    method,
		Authority: normalAuthority(request.URL.Scheme, host),
		Path:      path,
		Query:     request.URL.RawQuery,
	}
}

// normalAuthority is RFC 9421 section 2.2.3: lower case, without the scheme's default port.
func normalAuthority(scheme, host string) string {
	host = strings.ToLower(host)
	switch scheme {
	case "https":
		return strings.TrimSuffix(host, ":443")
	case "http":
		return strings.TrimSuffix(host, ":80")
	}
	return host
}

// ContentDigest is the RFC 9530 header value of a SHA-256.
func ContentDigest(digest [sha256.Size]byte) string {
	return "sha-256=:" + base64.StdEncoding.EncodeToString(digest[:]) + ":"
}
