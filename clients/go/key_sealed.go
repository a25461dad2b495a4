package claviger

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
)

const (
	maxBlobBytes    = 64 << 10
	dataKeyBytes    = 32
	purposeKey      = "api_key"
	purposeSigning  = "signing_secret"
	kmsAWS          = "awskms"
	kmsTransit      = "hashivault"
	boundToDocument = "claviger sealed key v1"
	boundToDataKey  = "claviger data key v1"
)

// ErrSealed says that a sealed key was not opened: the file is no blob, it is for something else, it was changed, or
// the key management service refused.
var ErrSealed = errors.New("claviger: the sealed key was not opened")

// SealedBlob is a sealed key as it stands in its file: all but its cipher.
type SealedBlob struct {
	// Purpose is "api_key" or "signing_secret".
	Purpose string
	// ID is the public id of what is sealed.
	ID string
	// KMS is the kind of service: "awskms" or "hashivault".
	KMS string
	// KMSKey is what the service calls the key that it used. For people: openers use the key that they are told.
	KMSKey string
	// WrappedKey is the data key as the service wrapped it.
	WrappedKey string
	// SealedAt is when, in RFC 3339.
	SealedAt string

	nonce, ciphertext []byte
}

// BlobOpener has a key management service unwrap a blob's data key. [KMS] makes one.
type BlobOpener interface {
	DataKey(ctx context.Context, blob *SealedBlob) ([]byte, error)
}

// SealedKey reads what `claviger seal-key` wrote and has it opened. The opened key is kept for an hour, in memory only.
// When the service does not open it there is an error, never an older key, a plain one or one from somewhere else. The
// file needs no private mode, for only the service can open it.
func SealedKey(path string, opener BlobOpener) KeySource { return sealed(path, opener, purposeKey) }

// SealedSigningSecret is [SealedKey] for a signing secret.
func SealedSigningSecret(path string, opener BlobOpener) KeySource {
	return sealed(path, opener, purposeSigning)
}

func sealed(path string, opener BlobOpener, purpose string) *keptKey {
	return keep(sealedKeyTTL, func(ctx context.Context) (Secret, error) {
		text, err := readBlob(path)
		if err != nil {
			return Secret{}, err
		}
		blob, err := parseBlob(text, purpose)
		if err != nil {
			return Secret{}, err
		}
		dataKey, err := opener.DataKey(ctx, blob)
		if err != nil {
			return Secret{}, err
		}
		return blob.open(dataKey)
	})
}

func parseBlob(text []byte, purpose string) (*SealedBlob, error) {
	wrong := fmt.Errorf("%w: not a sealed key of version 1", ErrSealed)
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil || string(members["claviger_sealed"]) != "1" {
		return nil, wrong
	}
	var nonce, ciphertext string
	blob := &SealedBlob{}
	wanted := map[string]*string{
		"purpose": &blob.Purpose, "id": &blob.ID, "kms": &blob.KMS, "kms_key": &blob.KMSKey,
		"wrapped_key": &blob.WrappedKey, "sealed_at": &blob.SealedAt, "nonce": &nonce, "ciphertext": &ciphertext,
	}
	if len(members) != len(wanted)+1 {
		return nil, wrong
	}
	for name, into := range wanted {
		raw := members[name]
		if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, into) != nil {
			return nil, wrong
		}
	}
	var err error
	if blob.nonce, err = base64.StdEncoding.DecodeString(nonce); err != nil || len(blob.nonce) != 12 {
		return nil, wrong
	}
	if blob.ciphertext, err = base64.StdEncoding.DecodeString(ciphertext); err != nil {
		return nil, wrong
	}
	if blob.Purpose != purpose {
		return nil, fmt.Errorf("%w: what is sealed there is not for this purpose", ErrSealed)
	}
	return blob, nil
}

// AssociatedData is what the wrapped data key is bound to, where the service takes bytes.
func (b *SealedBlob) AssociatedData() []byte { return boundTo(boundToDataKey, b.Purpose, b.ID) }

var keyShapes = map[string]*regexp.Regexp{
	purposeKey:     regexp.MustCompile(`^[a-z]{3}_(?:live|test)_([0-9A-Za-z]{10})[0-9A-Za-z]{33}$`),
	purposeSigning: regexp.MustCompile(`^[a-z]{3}_sign_([0-9A-Za-z]{10})[0-9A-Za-z]{33}$`),
}

func (b *SealedBlob) open(dataKey []byte) (Secret, error) {
	changed := fmt.Errorf("%w: it was changed after it was sealed, or its data key is another's", ErrSealed)
	if len(dataKey) != dataKeyBytes {
		return Secret{}, changed
	}
	block, err := aes.NewCipher(dataKey)
	if err != nil {
		return Secret{}, changed
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return Secret{}, changed
	}
	bound := boundTo(boundToDocument, b.Purpose, b.ID, b.KMS, b.KMSKey, b.WrappedKey, b.SealedAt)
	text, err := aead.Open(nil, b.nonce, b.ciphertext, bound)
	if err != nil {
		return Secret{}, changed
	}
	found := keyShapes[b.Purpose].FindSubmatch(text)
	if found == nil || string(found[1]) != b.ID {
		return Secret{}, fmt.Errorf("%w: what is sealed there is not a key of this purpose and id", ErrSealed)
	}
	return NewSecret(string(text)), nil
}

// boundTo puts each part after its length as eight bytes, big-endian.
func boundTo(parts ...string) []byte {
	var out []byte
	for _, part := range parts {
		out = binary.BigEndian.AppendUint64(out, uint64(len(part)))
		out = append(out, part...)
	}
	return out
}

func readBlob(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("claviger: sealed key: %w", err)
	}
	defer func() { _ = file.Close() }()
	blob, err := io.ReadAll(io.LimitReader(file, maxBlobBytes+1))
	if err != nil {
		return nil, fmt.Errorf("claviger: sealed key: %w", err)
	}
	if len(blob) > maxBlobBytes {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrSealed, maxBlobBytes)
	}
	return blob, nil
}
