package claviger

import (
	"context"
	"sync"
	"sync/atomic"
)

// DefaultConcurrency is how many items of a batch are under way at once.
const DefaultConcurrency = 10

// BatchOptions says how a batch runs; the zero value is 10 at once and one round.
type BatchOptions struct {
	// Concurrency of the first round; every further round halves it, never below 1.
	Concurrency int
	// Rounds in all: items that failed in one are run again in the next.
	Rounds int
	// Again says whether an item that failed is worth another round; all are when nil.
	Again func(err error) bool
	// Done is told of each item that is finished, from many goroutines; it may be nil.
	Done func(index int, err error)
}

// Result is one item's.
type Result[R any] struct {
	Value R
	Err   error
	// Attempts that were made; 0 when the context ended before.
	Attempts int
}

// RunBatch runs call for every item, a bounded number at once. Results are in the order of items. One failure does
// not stop the others; the end of ctx does, and what had not begun has its error.
func RunBatch[T, R any](
	ctx context.Context, items []T, options BatchOptions, call func(ctx context.Context, item T) (R, error),
) []Result[R] {
	results := make([]Result[R], len(items))
	pending := make([]int, len(items))
	for index := range items {
		pending[index] = index
	}
	concurrency := options.Concurrency
	if concurrency <= 0 {
		concurrency = DefaultConcurrency
	}
	for round := 0; round < max(1, options.Rounds) && len(pending) > 0; round++ {
		runRound(pending, concurrency, func(index int) {
			result := &results[index]
			if err := ctx.Err(); err != nil {
				if result.Err == nil {
					result.Err = err
				}
				return
			}
			result.Attempts++
			result.Value, result.Err = call(ctx, items[index])
			if options.Done != nil {
				options.Done(index, result.Err)
			}
		})
		failed := pending[:0]
		for _, index := range pending {
			err := results[index].Err
			if err != nil && (options.Again == nil || options.Again(err)) {
				failed = append(failed, index)
			}
		}
		pending = failed
		concurrency = max(1, concurrency/2)
		if ctx.Err() != nil {
			break
		}
	}
	return results
}

func runRound(indices []int, concurrency int, run func(index int)) {
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(concurrency, len(indices)) {
		group.Add(1)
		go func() {
			defer group.Done()
			for {
				place := next.Add(1) - 1
				if place >= int64(len(indices)) {
					return
				}
				run(indices[place])
			}
		}()
	}
	group.Wait()
}
