package claviger

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

const (
	successorPath   = "/v1/claviger/signing-secret"
	headerSuccessor = "X-Claviger-Signing-Secret"
)

// succession follows the signing secret of a source from one month to the next: the gateway announces the successor a
// week ahead, it is fetched with a signed request, and used from its day on. A source that gives another secret than
// before is believed, whatever was fetched.
type succession struct {
	mutex sync.Mutex
	// source is what the source gave; active stands in its place once a successor's day has come.
	source, active Secret
	next           Secret
	validFrom      time.Time
	isAnnounced    bool
}

// current is the secret to sign with now, where the source gives this one.
func (s *succession) current(source Secret, now time.Time) Secret {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.source.text != source.text {
		s.source, s.active, s.next = source, Secret{}, Secret{}
	}
	if !s.next.IsEmpty() && !now.Before(s.validFrom) {
		s.active, s.next = s.next, Secret{}
	}
	if !s.active.IsEmpty() {
		return s.active
	}
	return source
}

// announce learns from an answer that there is a successor.
func (s *succession) announce() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.isAnnounced = s.next.IsEmpty()
}

// wants is true once after an announcement.
func (s *succession) wants() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	wants := s.isAnnounced
	s.isAnnounced = false
	return wants
}

// succeed reads the answer of the path for it. One that says nothing new changes nothing.
func (s *succession) succeed(answer []byte) (next Secret, validFrom time.Time, isNew bool) {
	var read struct {
		Next *struct {
			Secret    string    `json:"signing_secret"`
			ValidFrom time.Time `json:"valid_from"`
		} `json:"next"`
	}
	if json.Unmarshal(answer, &read) != nil || read.Next == nil {
		return Secret{}, time.Time{}, false
	}
	next, err := tidy(read.Next.Secret)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	isKnown := next.text == s.active.text || (s.active.IsEmpty() && next.text == s.source.text)
	if err != nil || isKnown || !s.next.IsEmpty() {
		return Secret{}, time.Time{}, false
	}
	s.next, s.validFrom = next, read.Next.ValidFrom
	return next, read.Next.ValidFrom, true
}

// forget gives the word back to the source.
func (s *succession) forget() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.source, s.active, s.next, s.isAnnounced = Secret{}, Secret{}, Secret{}, false
}

// succeedSigner fetches the successor of the signing secret, if an earlier answer announced one. The call goes on
// without it where that fails: the next answer announces it again.
func (t *Transport) succeedSigner(ctx context.Context) {
	signer := t.config.Signer
	if signer == nil || signer.Secret == nil || !signer.succession.wants() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tokenLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.tokens.base+successorPath, nil)
	if err != nil {
		return
	}
	request.Header.Set("Accept", "application/json")
	response, err := t.attempt(request, &content{digest: sha256.Sum256(nil)})
	if err != nil {
		return
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxTokenBytes))
	_ = response.Body.Close()
	if err != nil || response.StatusCode != http.StatusOK {
		return
	}
	next, validFrom, isNew := signer.succession.succeed(answer)
	switch {
	case !isNew:
	case signer.OnSuccessor != nil:
		signer.OnSuccessor(next, validFrom)
	default:
		slog.WarnContext(ctx, "the signing secret has a successor that only this process knows: give Signer an OnSuccessor that stores it")
	}
}
