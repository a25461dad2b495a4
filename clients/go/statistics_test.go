package claviger

import (
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"
)

func asError[E error](err error, into *E) bool { return errors.As(err, into) }

type statisticsCase struct {
	Name  string `json:"name"`
	Calls []struct {
		Latency  int64      `json:"latency_ms"`
		Model    string     `json:"model"`
		Status   *int       `json:"status"`
		CacheHit bool       `json:"cache_hit"`
		Usage    *wireUsage `json:"usage"`
	} `json:"calls"`
	Expect struct {
		Requests int64    `json:"requests"`
		Errors   int64    `json:"errors"`
		Hits     int64    `json:"cache_hits"`
		Input    int64    `json:"input_tokens"`
		Output   int64    `json:"output_tokens"`
		PerCall  float64  `json:"tokens_per_request"`
		Mean     *float64 `json:"latency_mean_ms"`
		P50      *int64   `json:"latency_p50_ms"`
		P95      *int64   `json:"latency_p95_ms"`
		P99      *int64   `json:"latency_p99_ms"`
		Cost     string   `json:"estimated_cost_pico_usd"`
		Unpriced int64    `json:"unpriced_requests"`
	} `json:"expect"`
}

type streamCase struct {
	Name  string `json:"name"`
	SSE   string `json:"sse"`
	Ended bool   `json:"ended"`
	Usage *struct {
		Model   string `json:"model"`
		Input   int64  `json:"input_tokens"`
		Output  int64  `json:"output_tokens"`
		Write5m int64  `json:"cache_write_5m"`
		Write1h int64  `json:"cache_write_1h"`
		Read    int64  `json:"cache_read"`
	} `json:"usage"`
}

type statisticsFile struct {
	About   string           `json:"about"`
	Prices  json.RawMessage  `json:"prices"`
	Cases   []statisticsCase `json:"cases"`
	Streams []streamCase     `json:"streams"`
}

func TestStatisticsAreThoseOfTheVectors(t *testing.T) {
	file := vectors[statisticsFile](t, "statistics.json")
	prices, err := ParsePrices([]byte(`{"models":` + string(file.Prices) + `}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			stats := NewStats(prices)
			for _, call := range c.Calls {
				if call.CacheHit {
					stats.hit()
					continue
				}
				var usage Usage
				if call.Usage != nil {
					usage.Model = call.Model
					call.Usage.apply(&usage)
				}
				status := 0
				if call.Status != nil {
					status = *call.Status
				}
				stats.finished(time.Duration(call.Latency)*time.Millisecond, status, usage, false)
			}
			compare(t, stats.Snapshot(), c)
		})
	}
}

func compare(t *testing.T, got Snapshot, c statisticsCase) {
	t.Helper()
	want := c.Expect
	if got.Requests != want.Requests || got.Errors != want.Errors || got.CacheHits != want.Hits ||
		got.InputTokens != want.Input || got.OutputTokens != want.Output || got.Unpriced != want.Unpriced {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if math.Abs(got.TokensPerRequest-want.PerCall) > 1e-9 {
		t.Errorf("tokens per request %v, want %v", got.TokensPerRequest, want.PerCall)
	}
	if got.EstimatedCost.String() != want.Cost {
		t.Errorf("cost %s, want %s", got.EstimatedCost, want.Cost)
	}
	if got.HasLatency != (want.Mean != nil) {
		t.Fatalf("has latency: %v", got.HasLatency)
	}
	if !got.HasLatency {
		return
	}
	if mean := float64(got.LatencyMean) / float64(time.Millisecond); math.Abs(mean-*want.Mean) > 1e-3 {
		t.Errorf("mean %v, want %v", mean, *want.Mean)
	}
	for name, pair := range map[string][2]int64{
		"p50": {got.LatencyP50.Milliseconds(), *want.P50},
		"p95": {got.LatencyP95.Milliseconds(), *want.P95},
		"p99": {got.LatencyP99.Milliseconds(), *want.P99},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %d ms, want %d ms", name, pair[0], pair[1])
		}
	}
}

func TestUsageIsReadFromStreamsInWhateverPieces(t *testing.T) {
	file := vectors[statisticsFile](t, "statistics.json")
	for _, c := range file.Streams {
		t.Run(c.Name, func(t *testing.T) {
			for _, size := range []int{1, 2, 3, 7, 64, 1 << 20} {
				meter := &streamMeter{}
				for text := c.SSE; text != ""; {
					piece := min(size, len(text))
					meter.write([]byte(text[:piece]))
					text = text[piece:]
				}
				var want Usage
				if c.Usage != nil {
					want = Usage{
						c.Usage.Model, c.Usage.Input, c.Usage.Output, c.Usage.Write5m, c.Usage.Write1h, c.Usage.Read,
					}
				}
				if got, ended := meter.end(); got != want || ended != c.Ended {
					t.Errorf("pieces of %d: got %+v %v, want %+v %v", size, got, ended, want, c.Ended)
				}
			}
		})
	}
}
