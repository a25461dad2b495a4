package claviger

import "errors"

var (
	// ErrNoKey says that a key source has no key.
	ErrNoKey = errors.New("claviger: no key")
	// ErrForeignOrigin says that a request (or a redirect) left the gateway's origin: no credential follows it there.
	ErrForeignOrigin = errors.New("claviger: request is not for the configured gateway")
	// ErrBodyTooLarge says that a body cannot be replayed and is larger than may be held in memory.
	ErrBodyTooLarge = errors.New("claviger: body is too large to sign: set Request.GetBody, or announce its digest with WithContentDigest")
	// ErrBodyNeeded says that the profile signs the body itself, which a stream with a digest does not give.
	ErrBodyNeeded = errors.New("claviger: profile v1 signs the body itself and cannot take a digest in its place: use v2 or rfc9421")
	// ErrDigestMismatch says that a streamed body was not the one whose digest was signed; the request is broken off.
	ErrDigestMismatch = errors.New("claviger: streamed body differs from its announced digest")
	// ErrNoKeyID says that a signature needs a key id and the credential does not show one.
	ErrNoKeyID = errors.New("claviger: no key id: the credential is not a gateway key, set Signer.KeyID")
	// ErrInsecure says that a credential would travel in clear.
	ErrInsecure = errors.New("claviger: plain http beyond this machine")
	// ErrLimited says that the client-side limiter's queue is full or its wait too long.
	ErrLimited = errors.New("claviger: client-side limit reached")
)
