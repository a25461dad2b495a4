package claviger

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxSamples is how many latencies percentiles are made of: the newest.
const maxSamples = 10_000

// Stats counts the calls of one or several transports. It is safe for concurrent use; nil counts nothing.
type Stats struct {
	prices *Prices

	mutex    sync.Mutex
	counts   Snapshot
	metered  int64
	cost     big.Int
	total    time.Duration
	sent     int64
	samples  []time.Duration
	position int
}

// Snapshot is what was counted up to a moment.
type Snapshot struct {
	// Requests that the program made, those from the cache included.
	Requests int64
	// Errors are answers from status 400 on, and calls without an answer or with a broken one.
	Errors int64
	// Retries that were sent beside.
	Retries int64
	// CacheHits are answers from the client's own cache.
	CacheHits int64
	// InputTokens with cache writes and reads, and OutputTokens, as the answers say.
	InputTokens, OutputTokens int64
	// TokensPerRequest is the mean over calls with usage; 0 without any.
	TokensPerRequest float64
	// LatencyMean over all calls that were sent, from the first byte out to the last byte in, waits included.
	LatencyMean time.Duration
	// Percentiles by nearest rank over the newest 10 000 calls that were sent.
	LatencyP50, LatencyP95, LatencyP99 time.Duration
	// HasLatency is false as long as nothing was sent.
	HasLatency bool
	// EstimatedCost in pico-dollars (10⁻¹²): by the client's price table. The gateway's ledger is what counts.
	EstimatedCost *big.Int
	// Unpriced are calls with usage of a model without a price.
	Unpriced int64
}

// NewStats makes statistics with a price table; [DefaultPrices] when nil.
func NewStats(prices *Prices) *Stats {
	if prices == nil {
		prices = DefaultPrices()
	}
	return &Stats{prices: prices}
}

// Snapshot gives the figures.
func (s *Stats) Snapshot() Snapshot {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	seen := s.counts
	seen.EstimatedCost = new(big.Int).Set(&s.cost)
	if s.metered > 0 {
		seen.TokensPerRequest = float64(seen.InputTokens+seen.OutputTokens) / float64(s.metered)
	}
	if s.sent > 0 {
		seen.HasLatency = true
		seen.LatencyMean = s.total / time.Duration(s.sent)
		sorted := slices.Sorted(slices.Values(s.samples))
		seen.LatencyP50, seen.LatencyP95, seen.LatencyP99 = rank(sorted, 50), rank(sorted, 95), rank(sorted, 99)
	}
	return seen
}

// rank is the nearest-rank percentile of a sorted list that is not empty.
func rank(sorted []time.Duration, percent int) time.Duration {
	return sorted[(percent*len(sorted)+99)/100-1]
}

func (s *Stats) hit() {
	if s == nil {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.counts.Requests++
	s.counts.CacheHits++
}

func (s *Stats) retried() {
	if s == nil {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.counts.Retries++
}

// failed counts a call without an answer.
func (s *Stats) failed(took time.Duration) { s.finished(took, 0, Usage{}, true) }

// finished counts a call whose answer ended; status 0 means that there was none.
func (s *Stats) finished(took time.Duration, status int, usage Usage, broken bool) {
	if s == nil {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.counts.Requests++
	if broken || status == 0 || status >= 400 {
		s.counts.Errors++
	}
	s.sent++
	s.total += took
	if len(s.samples) < maxSamples {
		s.samples = append(s.samples, took)
	} else {
		s.samples[s.position] = took
		s.position = (s.position + 1) % maxSamples
	}
	if usage.Model == "" {
		return
	}
	s.metered++
	s.counts.InputTokens += usage.Prompt()
	s.counts.OutputTokens += usage.Output
	cost, priced := s.prices.Cost(usage)
	if !priced {
		s.counts.Unpriced++
		return
	}
	s.cost.Add(&s.cost, cost)
}

// Prices is a price table in USD per million tokens.
type Prices struct{ rows map[string]priceRow }

// rates in pico-dollars per token.
type rates struct{ input, output, write5m, write1h, read int64 }

type priceRow struct {
	base rates
	// above is the row for prompts of more than threshold tokens; unused when threshold is 0.
	threshold int64
	above     rates
}

//go:embed prices.json
var builtinPrices []byte

// DefaultPrices is the table that this version carries.
func DefaultPrices() *Prices {
	prices, err := ParsePrices(builtinPrices)
	if err != nil {
		// The table is part of the package and tested.
		return &Prices{}
	}
	return prices
}

// ParsePrices reads a table: {"models": {NAME: {"input": "4", "output": "20", "cache_write_5m": "5",
// "cache_write_1h": "8", "cache_read": "0.20", "above": {"prompt_tokens": N, …}}}}, in USD per million tokens.
func ParsePrices(text []byte) (*Prices, error) {
	type row struct {
		Input   string `json:"input"`
		Output  string `json:"output"`
		Write5m string `json:"cache_write_5m"`
		Write1h string `json:"cache_write_1h"`
		Read    string `json:"cache_read"`
	}
	var file struct {
		Models map[string]struct {
			row
			Above *struct {
				row
				Threshold int64 `json:"prompt_tokens"`
			} `json:"above"`
		} `json:"models"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("claviger: price table: %w", err)
	}
	read := func(from row, into *rates) error {
		places := []struct {
			text string
			into *int64
		}{
			{from.Input, &into.input}, {from.Output, &into.output},
			{from.Write5m, &into.write5m}, {from.Write1h, &into.write1h}, {from.Read, &into.read},
		}
		for _, place := range places {
			value, err := picoPerToken(place.text)
			if err != nil {
				return err
			}
			*place.into = value
		}
		return nil
	}
	prices := &Prices{rows: map[string]priceRow{}}
	for name, model := range file.Models {
		var made priceRow
		if err := read(model.row, &made.base); err != nil {
			return nil, fmt.Errorf("claviger: price of %s: %w", name, err)
		}
		if model.Above != nil {
			made.threshold = model.Above.Threshold
			if err := read(model.Above.row, &made.above); err != nil {
				return nil, fmt.Errorf("claviger: price of %s: %w", name, err)
			}
		}
		prices.rows[name] = made
	}
	return prices, nil
}

// picoPerToken reads USD per million tokens exactly: one dollar per million is a million pico-dollars per token.
func picoPerToken(text string) (int64, error) {
	value, isNumber := new(big.Rat).SetString(text)
	if !isNumber || strings.ContainsAny(text, "eE/_") {
		return 0, fmt.Errorf("%q is not a decimal number", text)
	}
	value.Mul(value, big.NewRat(1_000_000, 1))
	if !value.IsInt() || value.Sign() < 0 || !value.Num().IsInt64() || value.Num().Int64() > math.MaxInt32*1000 {
		return 0, fmt.Errorf("%q is not a price", text)
	}
	return value.Num().Int64(), nil
}

// Cost in pico-dollars of one answer; false for a model without a price. A model's name may end in a date.
func (p *Prices) Cost(usage Usage) (*big.Int, bool) {
	row, found := p.rows[usage.Model]
	if !found {
		row, found = p.rows[withoutDate(usage.Model)]
	}
	if !found {
		return nil, false
	}
	used := row.base
	if row.threshold > 0 && usage.Prompt() > row.threshold {
		used = row.above
	}
	sum := new(big.Int)
	for _, class := range [...]struct{ tokens, rate int64 }{
		{usage.Input, used.input},
		{usage.Output, used.output},
		{usage.CacheWrite5m, used.write5m},
		{usage.CacheWrite1h, used.write1h},
		{usage.CacheRead, used.read},
	} {
		sum.Add(sum, new(big.Int).Mul(big.NewInt(class.tokens), big.NewInt(class.rate)))
	}
	return sum, true
}

const dateDigits = 8

// withoutDate takes `-20251001` off a model's name.
func withoutDate(model string) string {
	end := strings.LastIndexByte(model, '-')
	if end < 0 || len(model)-end-1 != dateDigits || strings.Trim(model[end+1:], "0123456789") != "" {
		return model
	}
	return model[:end]
}
