package claviger

import (
	"context"
	"fmt"
)

// BlobOpener opens what `claviger seal-key` sealed: one call of a key management service's decryption. The blob
// carries its own encryption context; pass it on unread.
type BlobOpener interface {
	OpenBlob(ctx context.Context, blob []byte) ([]byte, error)
}

const maxBlobBytes = 64 << 10

// SealedKey reads a blob from a file and has it opened. The opened key is kept for an hour, in memory only. When the
// service does not answer there is an error, never an older key or one from somewhere else.
func SealedKey(path string, opener BlobOpener) KeySource {
	return keep(sealedKeyTTL, func(ctx context.Context) (Secret, error) {
		blob, err := readBlob(path)
		if err != nil {
			return Secret{}, err
		}
		opened, err := opener.OpenBlob(ctx, blob)
		if err != nil {
			return Secret{}, fmt.Errorf("claviger: open the sealed key: %w", err)
		}
		return tidy(string(opened))
	})
}
