package claviger

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// Health is what a [Transport.Health] check found.
type Health struct {
	// Ready says that the gateway takes calls.
	Ready bool
	// Status of its answer; 0 when there was none.
	Status int
	// Took is the time of the whole exchange.
	Took time.Duration
	// ClockAhead is how far this machine's clock is ahead of the gateway's, to a second or so; 0 when it does not say.
	// More than five minutes either way, and signatures are refused with `timestamp_skew`.
	ClockAhead time.Duration
	// Err says why there was no answer.
	Err error
}

const healthLimit = 5 * time.Second

// Health asks the gateway's `/readyz`: without the key, without retries, and for 5 s at most.
func (t *Transport) Health(ctx context.Context) Health {
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	started := t.now()
	target := strings.TrimSuffix(t.config.BaseURL, "/") + "/readyz"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return Health{Err: err}
	}
	response, err := t.config.Base.RoundTrip(request)
	if err != nil {
		return Health{Err: err, Took: t.now().Sub(started)}
	}
	discard(response)
	health := Health{
		Ready:  response.StatusCode == http.StatusOK,
		Status: response.StatusCode,
		Took:   t.now().Sub(started),
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		health.ClockAhead = started.Add(health.Took / 2).Sub(date).Truncate(time.Second)
	}
	return health
}
