package claviger

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestBatchResultsAreInOrderAndConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		items := make([]int, 100)
		for i := range items {
			items[i] = i
		}
		var under, most atomic.Int64
		results := RunBatch(t.Context(), items, BatchOptions{Concurrency: 7}, func(_ context.Context, item int) (int, error) {
			most.Store(max(most.Load(), under.Add(1)))
			time.Sleep(time.Duration(100-item) * time.Millisecond)
			under.Add(-1)
			return item * 2, nil
		})
		for i, result := range results {
			if result.Value != i*2 || result.Err != nil || result.Attempts != 1 {
				t.Fatalf("%d: %+v", i, result)
			}
		}
		if most.Load() != 7 {
			t.Errorf("%d at once", most.Load())
		}
	})
}

func TestFailedItemsRunAgainWithHalfTheConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failure, final := errors.New("again"), errors.New("never")
		began := time.Now()
		var slots [4]atomic.Int64
		options := BatchOptions{Concurrency: 4, Rounds: 4, Again: func(err error) bool { return err == failure }}
		results := RunBatch(t.Context(), make([]struct{}, 8), options, func(context.Context, struct{}) (int, error) {
			slots[min(3, int(time.Since(began)/time.Minute))].Add(1)
			time.Sleep(time.Minute)
			return 0, failure
		})
		// Two minutes of four, four of two, eight of one, eight of one.
		if took := time.Since(began); took != 22*time.Minute || results[7].Attempts != 4 {
			t.Errorf("took %v, %+v", took, results[7])
		}
		once := RunBatch(t.Context(), []int{1}, options, func(context.Context, int) (int, error) { return 0, final })
		if once[0].Attempts != 1 || once[0].Err != final {
			t.Errorf("%+v", once[0])
		}
	})
}

func TestTheContextsEndEndsABatch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	results := RunBatch(ctx, make([]int, 50), BatchOptions{Concurrency: 1, Rounds: 3}, func(context.Context, int) (int, error) {
		cancel()
		return 1, nil
	})
	if results[0].Err != nil || results[0].Attempts != 1 {
		t.Errorf("%+v", results[0])
	}
	for _, result := range results[1:] {
		if !errors.Is(result.Err, context.Canceled) || result.Attempts != 0 {
			t.Fatalf("%+v", result)
		}
	}
}

func TestNothingIsABatchToo(t *testing.T) {
	if got := RunBatch(t.Context(), []int(nil), BatchOptions{}, func(context.Context, int) (int, error) { return 0, nil }); len(got) != 0 {
		t.Errorf("%v", got)
	}
}
