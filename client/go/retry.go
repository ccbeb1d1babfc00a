package pixembed

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	pixembedv1 "pixembed/v1"
)

const (
	firstBackoff   = 50 * time.Millisecond
	longestBackoff = time.Second
)

// retry makes a call, and again where the server said when. UNAVAILABLE is gRPC's own (serviceConfig).
func retry[Response any](
	ctx context.Context, c *Client, call func(*grpc.ClientConn) (*Response, error),
) (*Response, error) {
	for attempt := 1; ; attempt++ {
		response, err := call(c.next())
		if err == nil {
			return response, nil
		}
		failure := serviceError(err)
		if failure.Code != codes.ResourceExhausted || !failure.Retryable || attempt == c.config.maxAttempts {
			return nil, failure
		}
		delay := jittered(failure.RetryDelay)
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= delay {
			return nil, failure
		}
		if err := c.pause(ctx, delay); err != nil {
			return nil, err
		}
	}
}

// pause ends after a time; or with the context or the client, which is then the error.
func (c *Client) pause(ctx context.Context, duration time.Duration) error {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return contextError(ctx)
	case <-c.closed:
		return &ServiceError{Code: codes.Canceled, Message: "the client was closed"}
	}
}

// jittered is up to half longer, at random, so that callers who were refused together do not come back
// together.
func jittered(delay time.Duration) time.Duration {
	return time.Duration(float64(delay) * (1 + rand.Float64()/2))
}

// attempts are the tries of one stream since its last result.
type attempts struct {
	most     int
	limit    time.Duration // 0: none
	made     int           // without those that met a draining server
	failed   int
	deadline time.Time // zero: nothing has failed, or there is no limit
}

func (c *Client) newAttempts() *attempts {
	return &attempts{most: c.config.maxAttempts, limit: c.config.reconnectTimeout}
}

// beginAnew is for each result: the next failure is the first, and the time counts from there.
func (a *attempts) beginAnew() { a.made, a.failed, a.deadline = 0, 0, time.Time{} }

// pause says how long to wait before the stream is tried again after a failure; false: it is not. away:
// see isAway.
func (a *attempts) pause(ctx context.Context, failure *ServiceError, away bool) (time.Duration, bool) {
	if a.limit > 0 && a.deadline.IsZero() {
		a.deadline = time.Now().Add(a.limit)
	}
	a.failed++
	if failure.Reason != ReasonDraining || a.most == 1 {
		a.made++
	}
	delay := failure.RetryDelay
	switch {
	case a.made >= a.most:
		return 0, false
	case failure.Retryable && (away || failure.Code == codes.ResourceExhausted):
	case away:
		delay = min(longestBackoff, firstBackoff<<min(a.failed-1, 10))
	default:
		return 0, false
	}
	delay = jittered(delay)
	end := time.Now().Add(delay)
	if !a.deadline.IsZero() && !end.Before(a.deadline) {
		return 0, false
	}
	if deadline, ok := ctx.Deadline(); ok && !end.Before(deadline) {
		return 0, false
	}
	return delay, true
}

// isAway says whether a call failed because its server went away. gRPC 1.51 ends calls with CANCELLED,
// too, when a server stops between two of its steps.
func (c *Client) isAway(ctx context.Context, failure *ServiceError) bool {
	switch failure.Code {
	case codes.Unavailable:
		return true
	case codes.Canceled:
		select {
		case <-c.closed:
			return false
		default:
			return ctx.Err() == nil
		}
	default:
		return false
	}
}

// waitUntilAnswered returns when a server answers, or there is none until the deadline; zero is none.
func waitUntilAnswered(ctx context.Context, connection *grpc.ClientConn, deadline time.Time) {
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	// Whatever it says, the stream will hear it, too.
	_, _ = pixembedv1.NewEmbeddingServiceClient(connection).GetModel(
		ctx, &pixembedv1.GetModelRequest{}, grpc.WaitForReady(true))
}
