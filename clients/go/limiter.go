package claviger

import (
	"container/list"
	"context"
	"math"
	"sync"
	"time"
)

// Limits of a [Limiter]; what is 0 is not limited.
type Limits struct {
	// Concurrency is how many calls may be under way; a stream is until its body is closed.
	Concurrency int
	// PerSecond is the even rate of starts.
	PerSecond float64
	// Burst is how many may start at once; 1 when 0.
	Burst int
	// MaxWait is how long a call may wait for its turn; it gets [ErrLimited] when that would be longer.
	MaxWait time.Duration
	// MaxQueue is how many calls may wait for a slot; 1000 when 0.
	MaxQueue int
}

const defaultQueue = 1000

// Limiter holds calls back: first a slot, first come, first served, then the rate (GCRA). It is safe for concurrent
// use, and may be shared by several transports. A nil Limiter limits nothing.
type Limiter struct {
	limits Limits

	mutex sync.Mutex
	taken int
	queue list.List
	// next is the theoretical arrival time of the next call.
	next time.Time
}

// NewLimiter makes a limiter.
func NewLimiter(limits Limits) *Limiter {
	if limits.Burst <= 0 {
		limits.Burst = 1
	}
	if limits.MaxQueue <= 0 {
		limits.MaxQueue = defaultQueue
	}
	return &Limiter{limits: limits}
}

// acquire waits for a call's turn; what it gives must be called once the call is over.
func (l *Limiter) acquire(ctx context.Context) (release func(), err error) {
	if l == nil {
		return func() {}, nil
	}
	arrived := time.Now()
	if err := l.slot(ctx, arrived); err != nil {
		return nil, err
	}
	var once sync.Once
	release = func() { once.Do(l.free) }
	wait, granted := l.turn(arrived, time.Now())
	if !granted {
		release()
		return nil, ErrLimited
	}
	if wait > 0 {
		if err := sleepFor(ctx, wait); err != nil {
			release()
			return nil, err
		}
	}
	return release, nil
}

// slot takes one of the slots, or waits in the queue.
func (l *Limiter) slot(ctx context.Context, arrived time.Time) error {
	if l.limits.Concurrency <= 0 {
		return nil
	}
	l.mutex.Lock()
	if l.taken < l.limits.Concurrency && l.queue.Len() == 0 {
		l.taken++
		l.mutex.Unlock()
		return nil
	}
	if l.queue.Len() >= l.limits.MaxQueue {
		l.mutex.Unlock()
		return ErrLimited
	}
	given := make(chan struct{})
	place := l.queue.PushBack(given)
	l.mutex.Unlock()

	var timeout <-chan time.Time
	if l.limits.MaxWait > 0 {
		timer := time.NewTimer(l.limits.MaxWait - time.Since(arrived))
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-given:
		return nil
	case <-timeout:
		return l.leave(place, given, ErrLimited)
	case <-ctx.Done():
		return l.leave(place, given, ctx.Err())
	}
}

// leave gives a place in the queue up; a slot that was given in the same moment goes on to the next.
func (l *Limiter) leave(place *list.Element, given chan struct{}, why error) error {
	l.mutex.Lock()
	select {
	case <-given:
		l.mutex.Unlock()
		l.free()
	default:
		l.queue.Remove(place)
		l.mutex.Unlock()
	}
	return why
}

// free hands a slot to the first of the queue.
func (l *Limiter) free() {
	if l.limits.Concurrency <= 0 {
		return
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	first := l.queue.Front()
	if first == nil {
		l.taken--
		return
	}
	if given, isWaiter := l.queue.Remove(first).(chan struct{}); isWaiter {
		close(given)
	}
}

// turn books a start at the rate: how long to wait for it, or that it would come too late. What comes too late books
// nothing.
func (l *Limiter) turn(arrived, now time.Time) (time.Duration, bool) {
	if l.limits.PerSecond <= 0 {
		return 0, true
	}
	interval := time.Duration(math.Round(float64(time.Second) / l.limits.PerSecond))
	l.mutex.Lock()
	defer l.mutex.Unlock()
	next := l.next
	if next.Before(now) {
		next = now
	}
	wait := max(0, next.Add(-interval*time.Duration(l.limits.Burst-1)).Sub(now))
	if l.limits.MaxWait > 0 && now.Add(wait).Sub(arrived) > l.limits.MaxWait {
		return 0, false
	}
	l.next = next.Add(interval)
	return wait, true
}
