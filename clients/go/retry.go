package claviger

import (
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// RetryMode says who repeats a request that failed.
type RetryMode int

const (
	// RetryAuto repeats, unless the request shows that an SDK does (its header X-Stainless-Retry-Count).
	RetryAuto RetryMode = iota
	// RetryAlways repeats, whatever the caller does.
	RetryAlways
	// RetryNever leaves it to the caller.
	RetryNever
)

// Defaults and bounds of repetition.
const (
	DefaultRetries = 3
	// MaxWait is the longest wait. When the gateway asks for more, its answer is handed on instead.
	MaxWait       = 60 * time.Second
	backoffBase   = time.Second
	backoffJitter = 0.25
)

// Retry says what is repeated and how often. The zero value is [RetryAuto] with 3 repetitions.
type Retry struct {
	Mode RetryMode
	// Max repetitions of one request; 3 when 0.
	Max int
	// MaxWait is the longest wait before one; 60 s when 0, and never more.
	MaxWait time.Duration
}

// sending is how far an attempt came that has no answer.
type sending int

const (
	answered sending = iota
	// unsent means that nothing reached the gateway.
	unsent
	// lost means that the request may have been carried out, and paid for.
	lost
)

// outcome is what is known after an attempt.
type outcome struct {
	// attempt counts from 0.
	attempt    int
	method     string
	replayable bool
	sending    sending
	status     int
	header     http.Header
	now        time.Time
	// chance is a random number, 0 ≤ chance < 1.
	chance float64
}

// decision is what follows.
type decision struct {
	retry bool
	wait  time.Duration
	// forbid sets `x-should-retry: false` on the answer, so that an SDK does not sleep beyond the cap.
	forbid bool
}

func (r Retry) maxRetries() int {
	if r.Max > 0 {
		return r.Max
	}
	return DefaultRetries
}

func (r Retry) maxWait() time.Duration {
	if r.MaxWait <= 0 || r.MaxWait > MaxWait {
		return MaxWait
	}
	return r.MaxWait
}

// leavesToCaller says whether somebody else repeats this request.
func (r Retry) leavesToCaller(request *http.Request) bool {
	sdk := request.Header.Get("X-Stainless-Retry-Count") != ""
	return r.Mode == RetryNever || (r.Mode == RetryAuto && sdk)
}

// decide is pure: everything that it looks at is in its arguments.
func (r Retry) decide(seen outcome, leave bool) decision {
	var asked time.Duration
	switch seen.sending {
	case unsent:
	case lost:
		if !isWithoutEffect(seen.method) {
			return decision{}
		}
	case answered:
		if !IsRetryable(seen.status, seen.header) {
			return decision{}
		}
		asked = retryAfter(seen.header, seen.now)
	}
	if asked > r.maxWait() {
		return decision{forbid: leave}
	}
	if leave || !seen.replayable || seen.attempt >= r.maxRetries() {
		return decision{}
	}
	if asked > 0 {
		return decision{retry: true, wait: asked}
	}
	return decision{retry: true, wait: r.backoff(seen.attempt, seen.chance)}
}

// isWithoutEffect says whether sending twice is as good as once.
func isWithoutEffect(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// IsRetryable says whether an answer may be asked for again: `x-should-retry` decides where it is set, else the
// status does (408, 409, 429 and from 500 on, but for 501, which is not going to change).
func IsRetryable(status int, header http.Header) bool {
	if status < http.StatusBadRequest {
		return false
	}
	switch header.Get("X-Should-Retry") {
	case "true":
		return true
	case "false":
		return false
	}
	switch status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented:
		return false
	}
	return status >= http.StatusInternalServerError
}

// retryAfter is the wait that an answer asks for; 0 when it asks for none.
func retryAfter(header http.Header, now time.Time) time.Duration {
	if wait, told := number(header.Get("Retry-After-Ms"), time.Millisecond); told {
		return wait
	}
	text := header.Get("Retry-After")
	if wait, told := number(text, time.Second); told {
		return wait
	}
	if moment, err := http.ParseTime(text); err == nil {
		return max(0, moment.Sub(now))
	}
	return 0
}

// number reads a wait; what is too long for any cap stays so.
func number(text string, unit time.Duration) (time.Duration, bool) {
	count, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if math.IsNaN(count) || (err != nil && !math.IsInf(count, 0)) {
		return 0, false
	}
	const forever = 24 * time.Hour
	switch {
	case count <= 0:
		return 0, true
	case count > float64(forever/unit):
		return forever, true
	}
	return time.Duration(math.Round(count * float64(unit))), true
}

// backoff is 1 s, doubled with each attempt up to the cap, less up to a quarter by chance.
func (r Retry) backoff(attempt int, chance float64) time.Duration {
	wait := r.maxWait()
	if attempt < 32 {
		wait = min(wait, backoffBase<<max(0, attempt))
	}
	return time.Duration(float64(wait) * (1 - backoffJitter*chance))
}

func chance() float64 { return rand.Float64() }
