package pixembed

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// Health says whether a service is SERVING: the server (an empty name),
// "pixembed.v1.EmbeddingService", or a model, by its name. Of several servers the next one is asked. It
// does not wait for one that is away: there are 5 tries where WithMaxAttempts does not say.
//
// Errors: *ServiceError: ReasonUnknownModel: there is no such service; UNAVAILABLE: nobody answers.
func (c *Client) Health(ctx context.Context, service string) (bool, error) {
	response, err := c.check(ctx, service)
	return response.GetStatus() == healthv1.HealthCheckResponse_SERVING, err
}

// WaitUntilServing returns once a service, named as for Health, is SERVING, also when nobody listens
// yet. A push from the server ends the wait; nothing polls.
//
// Errors: *ServiceError: ReasonUnknownModel: there is no such service; the context's end, and what the server
// said last.
func (c *Client) WaitUntilServing(ctx context.Context, service string) error {
	last := ""
	for {
		connection := c.next()
		serving, err := watch(ctx, connection, service)
		if serving {
			return nil
		}
		if ctx.Err() != nil {
			failure := contextError(ctx)
			failure.Message = fmt.Sprintf("service %q of %s is not SERVING: %s%s", service, connection.Target(), failure.Message, last)
			return failure
		}
		if err.Code != codes.Unavailable {
			return err
		}
		last = "; " + err.Message
		// A server that takes connections and drops them is not asked without a pause. Where the context
		// ends it, the next round says so.
		_ = c.pause(ctx, 50*time.Millisecond)
	}
}

// watch follows one server's health until it is SERVING, or gives the error that ended it.
func watch(ctx context.Context, connection *grpc.ClientConn, service string) (bool, *ServiceError) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request := &healthv1.HealthCheckRequest{Service: service}
	updates, err := healthv1.NewHealthClient(connection).Watch(ctx, request, grpc.WaitForReady(true))
	if err != nil {
		return false, serviceError(err)
	}
	for {
		response, err := updates.Recv()
		if err != nil {
			return false, serviceError(err)
		}
		switch response.GetStatus() {
		case healthv1.HealthCheckResponse_SERVING:
			return true, nil
		case healthv1.HealthCheckResponse_SERVICE_UNKNOWN:
			return false, &ServiceError{
				Code: codes.NotFound, Reason: ReasonUnknownModel,
				Message: fmt.Sprintf("no service or model named %q is served", service),
			}
		}
	}
}
