package claviger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// KeySource gives a credential: a gateway key, an access token, or a signing secret. It is asked for every call and
// keeps what it may keep by itself. It must be safe for concurrent use.
type KeySource interface {
	Key(ctx context.Context) (Secret, error)
}

// Forgetter is a [KeySource] that can be told that the gateway refused what it gave, so that it asks anew.
type Forgetter interface{ Forget() }

// KeyFunc makes a function a [KeySource].
type KeyFunc func(ctx context.Context) (Secret, error)

// Key calls the function.
func (f KeyFunc) Key(ctx context.Context) (Secret, error) { return f(ctx) }

// StaticKey always gives the same text.
func StaticKey(text string) KeySource {
	return KeyFunc(func(context.Context) (Secret, error) { return tidy(text) })
}

// EnvKey reads an environment variable at each call.
func EnvKey(name string) KeySource {
	return KeyFunc(func(context.Context) (Secret, error) {
		secret, err := tidy(os.Getenv(name))
		if err != nil {
			return Secret{}, fmt.Errorf("environment variable %s: %w", name, err)
		}
		return secret, nil
	})
}

// How long sources keep what they read.
const (
	fileKeyTTL    = 30 * time.Second
	commandKeyTTL = 5 * time.Minute
	sealedKeyTTL  = time.Hour
	commandLimit  = 30 * time.Second
)

// FileKey reads a file that only its owner may read (mode 0600 or stricter); another mode is refused. The file is
// read again after 30 s and after a refusal, so that a rotated key is taken up.
func FileKey(path string) KeySource {
	return keep(fileKeyTTL, func(context.Context) (Secret, error) {
		text, err := readPrivateFile(path, maxSecretBytes)
		if err != nil {
			return Secret{}, err
		}
		return tidy(string(text))
	})
}

// readPrivateFile judges the mode of the file that it has opened, so that none can be put in its place between.
func readPrivateFile(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("claviger: key file: %w", err)
	}
	defer func() { _ = file.Close() }()
	if err := checkPrivate(file); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fmt.Errorf("claviger: key file: %w", err)
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%w: %s is longer than %d bytes", ErrNoKey, path, limit)
	}
	return text, nil
}

// CommandKey runs a program (no shell) and takes the one line that it prints, as `claviger token` does. What it
// printed is kept for 5 minutes. Its standard error goes to this process's, its time is 30 s.
func CommandKey(name string, arguments ...string) KeySource {
	return keep(commandKeyTTL, func(ctx context.Context) (Secret, error) {
		ctx, cancel := context.WithTimeout(ctx, commandLimit)
		defer cancel()
		command := exec.CommandContext(ctx, name, arguments...)
		var printed bytes.Buffer
		command.Stdout = &cappedBuffer{buffer: &printed, left: maxSecretBytes}
		command.Stderr = os.Stderr
		if err := command.Run(); err != nil {
			// Nothing that was printed is repeated here.
			return Secret{}, fmt.Errorf("claviger: key command %s: %w", name, err)
		}
		return tidy(printed.String())
	})
}

var errPrintsTooMuch = errors.New("prints more than a key")

// cappedBuffer refuses what is over its limit.
type cappedBuffer struct {
	buffer *bytes.Buffer
	left   int
}

func (c *cappedBuffer) Write(text []byte) (int, error) {
	if len(text) > c.left {
		return 0, errPrintsTooMuch
	}
	c.left -= len(text)
	return c.buffer.Write(text)
}

// keptKey remembers what another source gave. An error is not remembered, and nothing old is given in its place: a
// source that fails is a failure, not a silent fallback.
type keptKey struct {
	read func(ctx context.Context) (Secret, error)
	ttl  time.Duration
	now  func() time.Time

	mutex sync.Mutex
	kept  Secret
	until time.Time
}

func keep(ttl time.Duration, read func(ctx context.Context) (Secret, error)) *keptKey {
	return &keptKey{read: read, ttl: ttl, now: time.Now}
}

// Key gives what is kept, or reads. Callers that come meanwhile wait for the one that reads.
func (k *keptKey) Key(ctx context.Context) (Secret, error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if !k.kept.IsEmpty() && k.now().Before(k.until) {
		return k.kept, nil
	}
	k.kept = Secret{}
	secret, err := k.read(ctx)
	if err != nil {
		return Secret{}, err
	}
	k.kept, k.until = secret, k.now().Add(k.ttl)
	return secret, nil
}

// Forget makes the next call read again.
func (k *keptKey) Forget() {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.kept = Secret{}
}

func forget(source KeySource) {
	if forgetter, can := source.(Forgetter); can {
		forgetter.Forget()
	}
}
