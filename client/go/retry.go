package pixembed

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	pixembedv1 "pixembed/v1"
)

const (
	firstBackoff   = 50 * time.Millisecond
	longestBackoff = time.Second
	probes         = 5 // tries, within a second, of what is better answered soon, and of servers that were never there
)

// retry makes a call, and again where its server went away, or said when. most: see newAttempts.
func retry[Response any](
	ctx context.Context, c *Client, most int, call func(*grpc.ClientConn) (*Response, error),
) (*Response, error) {
	tries := c.newAttempts(most)
	for {
		response, err := call(c.next())
		if err == nil {
			c.answered.Store(true)
			return response, nil
		}
		failure := serviceError(err)
		delay, ok := tries.pause(ctx, failure, c.isAway(ctx, failure), c.hasAnswered(failure))
		if !ok {
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

// attempts are the tries of one call; of a stream, since its last result.
type attempts struct {
	most     int           // 0: as many as there is time for
	limit    time.Duration // since the first failure; 0: none
	isStream bool
	made     int // of a stream without those that met a draining server
	failed   int
	deadline time.Time // zero: nothing has failed, or there is no limit
}

// newAttempts takes most where WithMaxAttempts does not say.
func (c *Client) newAttempts(most int) *attempts {
	return &attempts{most: cmp.Or(c.config.maxAttempts, most), limit: c.config.reconnectTimeout}
}

func (c *Client) newStreamAttempts() *attempts {
	tries := c.newAttempts(0)
	tries.isStream = true
	return tries
}

// beginAnew is for each result: the next failure is the first, and the time counts from there.
func (a *attempts) beginAnew() { a.made, a.failed, a.deadline = 0, 0, time.Time{} }

// hasAnswered says whether a server has ever answered this client; with a reason a failure is an answer, too.
func (c *Client) hasAnswered(failure *ServiceError) bool {
	if failure.Reason != "" {
		c.answered.Store(true)
	}
	return c.answered.Load()
}

// pause says how long to wait before the next try after a failure; false: there is none. away: see isAway;
// answered: see hasAnswered. An address where nobody has ever answered is probably wrong.
func (a *attempts) pause(ctx context.Context, failure *ServiceError, away, answered bool) (time.Duration, bool) {
	if a.limit > 0 && a.deadline.IsZero() {
		a.deadline = time.Now().Add(a.limit)
	}
	a.failed++
	if !a.isStream || failure.Reason != ReasonDraining || a.most == 1 {
		a.made++
	}
	most := a.most
	if most == 0 && !answered {
		most = probes
	}
	left := a.left(ctx)
	delay := time.Duration(0)
	switch {
	case most > 0 && a.made >= most:
		return 0, false
	case failure.Retryable && (away || failure.Code == codes.ResourceExhausted):
		// The first pause is the server's; who is refused again and again asks less often all the same.
		delay = max(failure.RetryDelay, backoffAfter(a.failed-1))
	case away && !neverHeals(failure):
		// The last tries are not lost to a long pause.
		delay = min(backoffAfter(a.failed), max(firstBackoff, left/2))
	default:
		return 0, false
	}
	delay = jittered(delay)
	return delay, delay < left
}

// left is the time until there are no more tries.
func (a *attempts) left(ctx context.Context) time.Duration {
	left := time.Duration(math.MaxInt64)
	if !a.deadline.IsZero() {
		left = time.Until(a.deadline)
	}
	if deadline, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(deadline))
	}
	return left
}

func backoffAfter(failures int) time.Duration {
	if failures == 0 {
		return 0
	}
	return min(longestBackoff, firstBackoff<<min(failures-1, 10))
}

// neverHeals says whether a connection failed for what waiting does not change: a certificate that does not
// fit, or a server without TLS.
func neverHeals(failure *ServiceError) bool {
	return strings.Contains(failure.Message, "handshake failed: tls: ")
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
