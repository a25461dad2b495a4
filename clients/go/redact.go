package claviger

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// redacted stands where a secret was.
const redacted = "[redacted]"

const minKnownLen = 6

var (
	// Keys and tokens of a gateway of any brand, provider's keys, and JWTs.
	secretForms = regexp.MustCompile(
		`\b[a-z]{3}_[a-z]{4}_[0-9A-Za-z]{43,}` +
			`|\bsk-ant-[a-z0-9]+-[0-9A-Za-z_-]{16,}` +
			`|\beyJ[0-9A-Za-z_-]{6,}\.[0-9A-Za-z_-]{2,}\.[0-9A-Za-z_-]*`)
	// Credentials by the header's name: with a scheme, then without.
	schemeHeaders = regexp.MustCompile(
		`(?i)(\b(?:proxy-)?authorization["']?(?:["']\s*,|\s*[:=])\s*["']?(?:bearer|basic|dpop)\s+)[^\s"',;&})\]]+`)
	secretHeaders = regexp.MustCompile(
		`(?i)(\b(?:x-api-key|api-key|x-vault-token|dpop|x-request-signature|signature)(?:["']\s*,\s*["']|["']?\s*[:=]\s*["']?))` +
			`[^\s"',;&})\]]+`)
	// Members of token answers and forms.
	secretFields = regexp.MustCompile(
		`(?i)(\b(?:access_token|refresh_token|id_token|signing_secret|client_secret|client_assertion|subject_token|actor_token)` +
			`(?:["']\s*[:,]\s*["']|["']?\s*=\s*["']?))[^\s"',;&})\]]+`)
	// What may be a secret in another alphabet.
	encodedRuns = regexp.MustCompile(`[0-9A-Za-z+/_-]{32,}={0,2}`)
	hexRuns     = regexp.MustCompile(`[0-9A-Fa-f]{64,}`)
	escapedRuns = regexp.MustCompile(`[0-9A-Za-z._~-]*%[0-9A-Fa-f]{2}[0-9A-Za-z%._~-]*`)
)

// Redactor takes secrets out of texts: whatever has the form of a key, token or credential header, in clear, base64,
// hex or percent escapes, and the secrets that it was told of, in the same forms. It is safe for concurrent use.
type Redactor struct {
	mutex sync.RWMutex
	known []string
}

// NewRedactor makes one that knows the given secrets by value; those of fewer than 6 bytes are left out.
func NewRedactor(known ...Secret) *Redactor {
	made := &Redactor{}
	for _, secret := range known {
		made.Know(secret)
	}
	return made
}

// Know adds a secret.
func (r *Redactor) Know(secret Secret) {
	if len(secret.text) < minKnownLen {
		return
	}
	forms := knownForms(secret.text)
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, form := range forms {
		if !slices.Contains(r.known, form) {
			r.known = append(r.known, form)
		}
	}
	// The longest first: a form may contain another.
	slices.SortFunc(r.known, func(a, b string) int { return len(b) - len(a) })
}

func knownForms(text string) []string {
	raw := []byte(text)
	forms := []string{
		text, url.QueryEscape(text), url.PathEscape(text), percentAll(text),
		base64.StdEncoding.EncodeToString(raw), base64.RawStdEncoding.EncodeToString(raw),
		base64.URLEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw),
		hex.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)), asciiJSON(text),
	}
	if quoted, err := json.Marshal(text); err == nil {
		forms = append(forms, string(quoted[1:len(quoted)-1]))
	}
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(text) == nil && plain.Len() > 3 {
		forms = append(forms, plain.String()[1:plain.Len()-2])
	}
	slices.Sort(forms)
	return slices.Compact(forms)
}

func percentAll(text string) string {
	var made strings.Builder
	for _, char := range []byte(text) {
		isPlain := char >= '0' && char <= '9' || char >= 'A' && char <= 'Z' || char >= 'a' && char <= 'z'
		if isPlain {
			made.WriteByte(char)
		} else {
			fmt.Fprintf(&made, "%%%02X", char)
		}
	}
	return made.String()
}

func asciiJSON(text string) string {
	var made strings.Builder
	for _, char := range text {
		switch {
		case char == '"' || char == '\\':
			made.WriteRune('\\')
			made.WriteRune(char)
		case char < utf8.RuneSelf:
			made.WriteRune(char)
		case char <= 0xffff:
			fmt.Fprintf(&made, `\u%04x`, char)
		default:
			char -= 0x10000
			fmt.Fprintf(&made, `\u%04x\u%04x`, 0xd800+(char>>10), 0xdc00+(char&0x3ff))
		}
	}
	return made.String()
}

// String gives the text without its secrets.
func (r *Redactor) String(text string) string {
	r.mutex.RLock()
	for _, form := range r.known {
		text = strings.ReplaceAll(text, form, redacted)
	}
	r.mutex.RUnlock()
	text = secretForms.ReplaceAllString(text, redacted)
	text = schemeHeaders.ReplaceAllString(text, "${1}"+redacted)
	text = secretHeaders.ReplaceAllString(text, "${1}"+redacted)
	text = secretFields.ReplaceAllString(text, "${1}"+redacted)
	return r.decoded(text, 0)
}

// decoded gives the text without what hides a secret in another alphabet, or in one that was put into another.
func (r *Redactor) decoded(text string, depth int) string {
	text = hexRuns.ReplaceAllStringFunc(text, func(run string) string {
		raw, err := hex.DecodeString(run[:len(run)&^1])
		return concealIf(run, err == nil && r.isSecret(raw, depth))
	})
	text = encodedRuns.ReplaceAllStringFunc(text, func(run string) string {
		return concealIf(run, r.hidesSecret(run, depth))
	})
	return escapedRuns.ReplaceAllStringFunc(text, func(run string) string {
		raw, err := url.PathUnescape(run)
		return concealIf(run, err == nil && r.isSecret([]byte(raw), depth))
	})
}

func concealIf(run string, secret bool) string {
	if secret {
		return redacted
	}
	return run
}

// hidesSecret reads a run as base64 of both alphabets, from each place where a group of four may begin.
func (r *Redactor) hidesSecret(run string, depth int) bool {
	run = strings.TrimRight(run, "=")
	run = strings.NewReplacer("-", "+", "_", "/").Replace(run)
	for offset := range min(4, len(run)) {
		part := run[offset:]
		if len(part)%4 == 1 {
			part = part[:len(part)-1]
		}
		raw, err := base64.RawStdEncoding.DecodeString(part)
		if err == nil && r.isSecret(raw, depth) {
			return true
		}
	}
	return false
}

var decodedForms = regexp.MustCompile(
	`[a-z]{3}_[a-z]{4}_[0-9A-Za-z]{43}|sk-ant-[a-z0-9]+-[0-9A-Za-z_-]{16}|eyJ[0-9A-Za-z_-]{6,}\.[0-9A-Za-z_-]{2,}\.`)

// isSecret judges decoded bytes. What is no text was read from a wrong place, or holds nothing that can be read.
func (r *Redactor) isSecret(raw []byte, depth int) bool {
	if decodedForms.Match(raw) || r.isKnown(raw) {
		return true
	}
	isText := !slices.ContainsFunc(raw, func(char byte) bool { return char >= 0x80 })
	return depth == 0 && isText && r.decoded(string(raw), 1) != string(raw)
}

func (r *Redactor) isKnown(raw []byte) bool {
	r.mutex.RLock()
	defer r.mutex.RUnlock()
	return slices.ContainsFunc(r.known, func(form string) bool { return bytes.Contains(raw, []byte(form)) })
}

// Writer gives a writer that redacts each write as a whole: put it under any logger that writes a record at a time,
// as log and slog do. A secret that is split over two writes is not seen.
func (r *Redactor) Writer(inner io.Writer) io.Writer { return &redactingWriter{r, inner} }

type redactingWriter struct {
	redactor *Redactor
	inner    io.Writer
}

func (w *redactingWriter) Write(text []byte) (int, error) {
	if _, err := io.WriteString(w.inner, w.redactor.String(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}

// Handler gives a slog handler that redacts messages and attributes, groups and errors too, before inner sees them.
func (r *Redactor) Handler(inner slog.Handler) slog.Handler { return &redactingHandler{r, inner} }

type redactingHandler struct {
	redactor *Redactor
	inner    slog.Handler
}

func (h *redactingHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.inner.Enabled(ctx, level)
}

func (h *redactingHandler) Handle(ctx context.Context, record slog.Record) error {
	clean := slog.NewRecord(record.Time, record.Level, h.redactor.String(record.Message), record.PC)
	record.Attrs(func(attr slog.Attr) bool {
		clean.AddAttrs(h.redactor.attr(attr))
		return true
	})
	return h.inner.Handle(ctx, clean)
}

func (h *redactingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &redactingHandler{h.redactor, h.inner.WithAttrs(h.redactor.attrs(attrs))}
}

func (h *redactingHandler) WithGroup(name string) slog.Handler {
	return &redactingHandler{h.redactor, h.inner.WithGroup(name)}
}

func (r *Redactor) attrs(attrs []slog.Attr) []slog.Attr {
	clean := make([]slog.Attr, len(attrs))
	for i, attr := range attrs {
		clean[i] = r.attr(attr)
	}
	return clean
}

// secretNames are attributes and headers whose value is a secret whatever it looks like.
var secretNames = regexp.MustCompile(
	`(?i)^(?:(?:proxy-)?authorization|x-api-key|api-key|x-vault-token|dpop|x-request-signature|signature|` +
		`(?:access|refresh|id)_token|signing_secret|client_secret)$`)

func (r *Redactor) attr(attr slog.Attr) slog.Attr {
	value := attr.Value.Resolve()
	if secretNames.MatchString(attr.Key) {
		return slog.String(attr.Key, redacted)
	}
	switch value.Kind() {
	case slog.KindString:
		return slog.String(attr.Key, r.String(value.String()))
	case slog.KindGroup:
		return slog.Attr{Key: attr.Key, Value: slog.GroupValue(r.attrs(value.Group())...)}
	case slog.KindAny:
		text := fmt.Sprintf("%+v", value.Any())
		if clean := r.String(text); clean != text {
			return slog.String(attr.Key, clean)
		}
		// A handler may print more of it than this shows: bytes, for one.
		if raw, isBytes := value.Any().([]byte); isBytes {
			return slog.String(attr.Key, r.String(string(raw)))
		}
		if quoted, err := json.Marshal(value.Any()); err == nil && r.String(string(quoted)) != string(quoted) {
			return slog.String(attr.Key, redacted)
		}
	}
	return slog.Attr{Key: attr.Key, Value: value}
}
