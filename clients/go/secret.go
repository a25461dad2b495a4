package claviger

import (
	"fmt"
	"log/slog"
	"strings"
)

// Secret is a text that does not print itself: every formatting verb, JSON and slog show "[secret]".
type Secret struct{ text string }

const concealed = "[secret]"

// NewSecret takes a text over.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal gives the text itself. The name is meant to stand out in review.
func (s Secret) Reveal() string { return s.text }

// IsEmpty says whether there is no text.
func (s Secret) IsEmpty() bool { return s.text == "" }

// String conceals the text.
func (Secret) String() string { return concealed }

// GoString conceals the text.
func (Secret) GoString() string { return concealed }

// Format conceals the text for every verb, %x and %q too.
func (Secret) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(concealed)) }

// MarshalText conceals the text.
func (Secret) MarshalText() ([]byte, error) { return []byte(concealed), nil }

// LogValue conceals the text.
func (Secret) LogValue() slog.Value { return slog.StringValue(concealed) }

// Where the parts of a Claviger key stand: brand, tag (`cvg_live_`), then the public id.
const (
	keyPrefixLen   = 9
	publicIDLen    = 10
	keyMinimumLen  = keyPrefixLen + publicIDLen
	keyLive        = "_live_"
	keyTest        = "_test_"
	brandLen       = 3
	maxSecretBytes = 8 << 10
)

// PublicID is the part of a gateway key that names it and may be shown: signatures carry it as their key id.
// It is empty for a text that is no gateway key.
func PublicID(key Secret) string {
	text := key.text
	if len(text) < keyMinimumLen {
		return ""
	}
	tag := text[brandLen:keyPrefixLen]
	if tag != keyLive && tag != keyTest {
		return ""
	}
	return text[keyPrefixLen:keyMinimumLen]
}

// tidy takes the white space away that files and commands end with.
func tidy(text string) (Secret, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return Secret{}, ErrNoKey
	case len(text) > maxSecretBytes, strings.ContainsAny(text, "\r\n\x00"):
		return Secret{}, fmt.Errorf("%w: more than one line, or too long", ErrNoKey)
	}
	return Secret{text}, nil
}
