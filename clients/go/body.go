package claviger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
)

// DefaultMaxBuffer is how much of a body without GetBody is held in memory: as much as a Messages call may be.
const DefaultMaxBuffer = 32 << 20

type digestKey struct{}

// WithContentDigest announces the SHA-256 of a body that is streamed once, such as a large upload: it is signed in
// place of the body, and the stream is compared with it while it is sent. A stream that differs is broken off with
// [ErrDigestMismatch] before its end. Profiles v2 and rfc9421 only.
func WithContentDigest(ctx context.Context, digest [sha256.Size]byte) context.Context {
	return context.WithValue(ctx, digestKey{}, digest)
}

// content is a request's body in a form that can be signed, and if possible sent again.
type content struct {
	// open gives the body from its beginning; nil when there is none or it can be read once only.
	open func() (io.ReadCloser, error)
	// single is the body that can be read once only.
	single io.ReadCloser
	exists bool
	length int64
	digest [sha256.Size]byte
}

// canRepeat says whether the request can be sent a second time.
func (c *content) canRepeat() bool { return c.single == nil }

// contentOf takes the body over. With hash, its digest is known afterwards.
func contentOf(request *http.Request, maxBuffer int64, hash bool) (*content, error) {
	body := request.Body
	if body == nil || body == http.NoBody {
		return &content{digest: sha256.Sum256(nil)}, nil
	}
	taken := &content{exists: true, length: request.ContentLength}
	announced, isAnnounced := request.Context().Value(digestKey{}).([sha256.Size]byte)
	switch {
	case isAnnounced:
		taken.digest = announced
		taken.single = &checkedBody{inner: body, want: announced}
		return taken, nil
	case request.GetBody != nil:
		// A copy comes from GetBody for each sending; the one that was given is not needed.
		_ = body.Close()
		taken.open = request.GetBody
		if !hash {
			return taken, nil
		}
		return taken, taken.hash()
	case !hash:
		taken.single = body
		return taken, nil
	}
	return taken, taken.buffer(body, maxBuffer)
}

func (c *content) hash() error {
	body, err := c.open()
	if err != nil {
		return fmt.Errorf("claviger: open the body: %w", err)
	}
	defer func() { _ = body.Close() }()
	hasher := sha256.New()
	length, err := io.Copy(hasher, body)
	if err != nil {
		return fmt.Errorf("claviger: read the body: %w", err)
	}
	hasher.Sum(c.digest[:0])
	c.exists = length > 0
	return nil
}

func (c *content) buffer(body io.ReadCloser, limit int64) error {
	defer func() { _ = body.Close() }()
	text, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return fmt.Errorf("claviger: read the body: %w", err)
	}
	if int64(len(text)) > limit {
		return fmt.Errorf("%w (more than %d bytes)", ErrBodyTooLarge, limit)
	}
	c.length = int64(len(text))
	c.exists = len(text) > 0
	c.digest = sha256.Sum256(text)
	c.open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
	return nil
}

// attach puts the body into a request about to be sent.
func (c *content) attach(request *http.Request) error {
	request.GetBody = nil
	switch {
	case !c.exists:
		request.Body, request.ContentLength = nil, 0
		return nil
	case c.single != nil:
		request.Body = c.single
	default:
		body, err := c.open()
		if err != nil {
			return fmt.Errorf("claviger: open the body: %w", err)
		}
		request.Body, request.GetBody = body, c.open
	}
	request.ContentLength = c.length
	return nil
}

// checkedBody compares a stream with the digest that was signed. The last bytes are given only when it holds.
type checkedBody struct {
	inner  io.ReadCloser
	want   [sha256.Size]byte
	hasher sumHash
	held   []byte
	ended  error
}

type sumHash interface {
	io.Writer
	Sum([]byte) []byte
}

const checkedChunk = 32 << 10

// Read is one chunk behind the stream, so that a body that differs never looks whole to the gateway.
func (c *checkedBody) Read(into []byte) (int, error) {
	if c.hasher == nil {
		c.hasher = sha256.New()
	}
	for c.ended == nil && len(c.held) <= 1 {
		chunk := make([]byte, checkedChunk)
		count, err := c.inner.Read(chunk)
		_, _ = c.hasher.Write(chunk[:count])
		c.held = append(c.held, chunk[:count]...)
		if err == nil {
			continue
		}
		c.ended = err
		if err == io.EOF && !bytes.Equal(c.hasher.Sum(nil), c.want[:]) {
			c.ended = ErrDigestMismatch
		}
	}
	available := c.held
	if c.ended != io.EOF && len(available) > 0 {
		available = available[:len(available)-1]
	}
	if len(available) == 0 {
		return 0, c.ended
	}
	count := copy(into, available)
	c.held = c.held[count:]
	return count, nil
}

// Close closes the stream.
func (c *checkedBody) Close() error { return c.inner.Close() }
