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
	// An announcement is asked about at most once a minute, and a call does not wait longer for it than this.
	successorPause = time.Minute
	successorLimit = 5 * time.Second
)

// succession follows the signing secret of a source from one month to the next: the gateway announces the successor a
// week ahead, it is fetched with a signed request, and used from its time on. An announcement is asked about once if the
// answer can be read, else again after a minute. A source that gives another secret than before is believed, whatever
// was fetched.
type succession struct {
	mutex sync.Mutex
	// source is what the source gave; active stands in its place once a successor's time has come.
	source, active Secret
	next           Secret
	// switchAt is when next is used, by this machine's clock.
	switchAt                   time.Time
	announced, asking, settled string
	askedAt                    time.Time
}

// successor is a secret that follows, and from when it counts.
type successor struct {
	secret    Secret
	validFrom time.Time
}

// current is the secret to sign with now, where the source gives this one.
func (s *succession) current(source Secret, now time.Time) Secret {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.source.text != source.text {
		s.source, s.active, s.next, s.settled = source, Secret{}, Secret{}, ""
	}
	if !s.next.IsEmpty() && !now.Before(s.switchAt) {
		s.active, s.next = s.next, Secret{}
	}
	return s.mine()
}

// mine is what is signed with; the mutex is held.
func (s *succession) mine() Secret {
	if !s.active.IsEmpty() {
		return s.active
	}
	return s.source
}

// announce learns from an answer that there is a successor, in these words.
func (s *succession) announce(said string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.announced = said
}

// wants says whether it is time to ask. Whoever is told so asks.
func (s *succession) wants(now time.Time) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	since := now.Sub(s.askedAt)
	// A clock that was set back pauses nothing.
	pauses := since >= 0 && since < successorPause
	if s.announced == "" || s.announced == s.settled || pauses {
		return false
	}
	s.asking, s.askedAt = s.announced, now
	return true
}

// succeed reads the answer of the path for it, and its Date; it gives what is news, in the order in which it counts.
func (s *succession) succeed(answer []byte, date string, now time.Time) []successor {
	var told struct{ Current, Next *heldSecret }
	if json.Unmarshal(answer, &told) != nil {
		return nil
	}
	current, isCurrent := told.Current.read()
	next, isNext := told.Next.read()
	if !isCurrent || !isNext {
		return nil
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.settled = s.asking
	mine := s.mine()
	if next.secret.text == mine.text {
		return nil
	}
	var news []successor
	if !current.secret.IsEmpty() && current.secret.text != mine.text {
		// Somebody put it in this one's place.
		s.active, s.next = current.secret, Secret{}
		news = append(news, current)
	}
	if !next.secret.IsEmpty() && next.secret.text != s.next.text {
		s.next, s.switchAt = next.secret, next.validFrom.Add(-ahead(date, now))
		news = append(news, next)
	}
	return news
}

// ahead is by how much the gateway's clock is ahead of this one, as far as it told.
func ahead(date string, now time.Time) time.Duration {
	told, err := http.ParseTime(date)
	if err != nil {
		return 0
	}
	return told.Sub(now)
}

type heldSecret struct {
	Text      string    `json:"signing_secret"`
	ValidFrom time.Time `json:"valid_from"`
}

// read gives no secret where there is none, and false where there is one without its time or that is none.
func (h *heldSecret) read() (successor, bool) {
	if h == nil {
		return successor{}, true
	}
	return successor{Secret{h.Text}, h.ValidFrom}, isTokenText(h.Text) && !h.ValidFrom.IsZero()
}

// succeedSigner fetches the successor of the signing secret, if an earlier answer announced one. The call goes on
// without it where that fails.
func (t *Transport) succeedSigner(ctx context.Context) {
	signer := t.config.Signer
	if signer == nil || signer.Secret == nil || !signer.succession.wants(t.now()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, successorLimit)
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
	for _, next := range signer.succession.succeed(answer, response.Header.Get("Date"), t.now()) {
		if signer.OnSuccessor != nil {
			signer.OnSuccessor(next.secret, next.validFrom)
			continue
		}
		slog.WarnContext(ctx, "the signing secret has a successor that only this process knows: give Signer an OnSuccessor that stores it")
	}
}
