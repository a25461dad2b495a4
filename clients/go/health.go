package claviger

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
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
	// Accepted says that it takes this client's credential: key or token, proof and signature are in order.
	Accepted bool
	// Refusal is what it says where it does not, in its own words.
	Refusal string
	// Err says why there was no answer.
	Err error
}

const healthLimit = 5 * time.Second

// Health asks the gateway's `/readyz`, without the key, and then `/v1/claviger/me` with it: without retries, and for 5 s
// at most in all.
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
	health.Accepted, health.Refusal, health.Err = t.isAccepted(ctx)
	return health
}

// isAccepted shows the gateway who calls.
func (t *Transport) isAccepted(ctx context.Context) (is bool, refusal string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.tokens.base+"/v1/claviger/me", nil)
	if err != nil {
		return false, "", err
	}
	response, err := t.attempt(request, &content{digest: sha256.Sum256(nil)})
	if err != nil {
		return false, "", err
	}
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxErrorBytes))
	_ = response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return true, "", nil
	}
	var envelope struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(text, &envelope) != nil || envelope.Error.Message == "" {
		return false, response.Status, nil
	}
	return false, fmt.Sprintf("%d, %s", response.StatusCode, envelope.Error.Message), nil
}
