package pixembed_test

// What the real server cannot be brought to on command.

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"pixembed"
	pixembedv1 "pixembed/v1"
)

// fake answers every image with one number, or as a test says.
type fake struct {
	pixembedv1.UnimplementedEmbeddingServiceServer
	calls  atomic.Int64
	embed  func(ctx context.Context, call int64) error
	stream func(call grpc.BidiStreamingServer[pixembedv1.EmbedRequest, pixembedv1.EmbedResult]) error
	health *health.Server
}

func (f *fake) GetModel(context.Context, *pixembedv1.GetModelRequest) (*pixembedv1.Model, error) {
	return &pixembedv1.Model{Name: "fake", Dimension: 1}, nil
}

func (f *fake) Embed(ctx context.Context, request *pixembedv1.EmbedRequest) (*pixembedv1.EmbedResponse, error) {
	call := f.calls.Add(1)
	if f.embed != nil {
		if err := f.embed(ctx, call); err != nil {
			return nil, err
		}
	}
	response := &pixembedv1.EmbedResponse{Fingerprint: "fake"}
	for i := range request.GetImages() {
		response.Results = append(response.Results, number(uint64(i)))
	}
	return response, nil
}

func (f *fake) EmbedStream(call grpc.BidiStreamingServer[pixembedv1.EmbedRequest, pixembedv1.EmbedResult]) error {
	return f.stream(call)
}

func number(index uint64) *pixembedv1.EmbedResult {
	return &pixembedv1.EmbedResult{Index: index, Outcome: &pixembedv1.EmbedResult_Embedding{
		Embedding: &pixembedv1.Embedding{Values: []float32{4.5}, Dimensions: 1, DataType: pixembed.Float32},
	}}
}

// serve runs a fake on a free port of loopback until the test ends.
func serve(t *testing.T, f *fake, options ...grpc.ServerOption) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.health = health.NewServer()
	server := grpc.NewServer(options...)
	pixembedv1.RegisterEmbeddingServiceServer(server, f)
	healthv1.RegisterHealthServer(server, f.health)
	var group sync.WaitGroup
	group.Add(1)
	go func() {
		defer group.Done()
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Stop()
		group.Wait()
	})
	return listener.Addr().String()
}

// overloaded is how the server refuses; a negative delay says nothing of when to come back.
func overloaded(t *testing.T, delay time.Duration) error {
	t.Helper()
	s, err := status.New(codes.ResourceExhausted, "the queue is full").WithDetails(
		&errdetails.ErrorInfo{Reason: "OVERLOADED", Domain: "pixembed"})
	if err == nil && delay >= 0 {
		s, err = s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(delay)})
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.Err()
}

func TestAnOverloadedServerIsTriedAgainWhenItSaid(t *testing.T) {
	leaves(t)
	const delay = 10 * time.Millisecond
	f := &fake{}
	var calls []time.Time
	f.embed = func(_ context.Context, call int64) error {
		calls = append(calls, time.Now())
		if call <= 2 {
			return overloaded(t, delay)
		}
		return nil
	}
	client := connect(t, serve(t, f))
	embeddings := embed(t, client, batch(1), nil)
	if embeddings.Vectors[0][0] != 4.5 || embeddings.Fingerprint != "fake" || f.calls.Load() != 3 {
		t.Errorf("%v after %d calls", embeddings.Vectors, f.calls.Load())
	}
	for i := 1; i < len(calls); i++ {
		if calls[i].Sub(calls[i-1]) < delay {
			t.Errorf("call %d came after %v", i, calls[i].Sub(calls[i-1]))
		}
	}
}

func TestOverloadThatLastsIsTold(t *testing.T) {
	leaves(t)
	soon, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for name, test := range map[string]struct {
		delay time.Duration
		ctx   context.Context
		calls int64
	}{
		"every attempt":     {time.Microsecond, t.Context(), 3},
		"past the deadline": {10 * patience, soon, 1},
		"without a time":    {-1, t.Context(), 1},
	} {
		f := &fake{embed: func(context.Context, int64) error { return overloaded(t, test.delay) }}
		client := connect(t, serve(t, f), pixembed.WithMaxAttempts(3))
		_, err := client.Embed(test.ctx, batch(1), nil)
		wantService(t, err, codes.ResourceExhausted, pixembed.ReasonOverloaded)
		var failure *pixembed.ServiceError
		if errors.As(err, &failure); failure.Retryable != (test.delay >= 0) || failure.RetryDelay != max(test.delay, 0) {
			t.Errorf("%s: %#v", name, failure)
		}
		if f.calls.Load() != test.calls {
			t.Errorf("%s: %d calls", name, f.calls.Load())
		}
	}
}

func TestAContextEndsTheWaitForAnOverloadedServer(t *testing.T) {
	leaves(t)
	ctx, cancel := context.WithCancel(t.Context())
	f := &fake{}
	f.embed = func(context.Context, int64) error { return overloaded(t, 30*time.Second) }
	seen := grpc.WithUnaryInterceptor(func(ctx context.Context, method string, request, reply any,
		connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
		err := invoke(ctx, method, request, reply, connection, options...)
		if status.Code(err) == codes.ResourceExhausted {
			cancel() // the client is about to wait for half a minute
		}
		return err
	})
	client := connect(t, serve(t, f), pixembed.WithDialOptions(seen))
	_, err := client.Embed(ctx, batch(1), nil)
	if !errors.Is(err, context.Canceled) || f.calls.Load() != 1 {
		t.Errorf("the error is %v after %d calls", err, f.calls.Load())
	}
}

func TestAnUnavailableServerIsTriedAgain(t *testing.T) {
	leaves(t)
	for _, test := range []struct {
		attempts int
		calls    int64
		ok       bool
	}{{1, 1, false}, {2, 2, false}, {3, 3, true}} {
		f := &fake{embed: func(_ context.Context, call int64) error {
			if call <= 2 {
				return status.Error(codes.Unavailable, "draining")
			}
			return nil
		}}
		client := connect(t, serve(t, f), pixembed.WithMaxAttempts(test.attempts))
		_, err := client.Embed(t.Context(), batch(1), nil)
		if (err == nil) != test.ok || f.calls.Load() != test.calls {
			t.Errorf("%d attempts: %v after %d calls", test.attempts, err, f.calls.Load())
		}
	}
}

func TestADeadlineReachesTheServerAndEndsTheCall(t *testing.T) {
	leaves(t)
	f := &fake{}
	f.embed = func(ctx context.Context, _ int64) error {
		<-ctx.Done()
		return ctx.Err()
	}
	client := connect(t, serve(t, f))
	if _, err := client.Embed(t.Context(), nil, nil); err != nil { // connects
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := client.Embed(ctx, batch(1), nil)
	if wantService(t, err, codes.DeadlineExceeded, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
}

func TestAStreamIsTriedAgainUntilItsFirstResult(t *testing.T) {
	leaves(t)
	f := &fake{}
	f.stream = func(call grpc.BidiStreamingServer[pixembedv1.EmbedRequest, pixembedv1.EmbedResult]) error {
		attempt := f.calls.Add(1)
		for index := uint64(0); ; index++ {
			if _, err := call.Recv(); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if attempt < 3 {
				return status.Error(codes.Unavailable, "draining")
			}
			if err := call.Send(number(index)); err != nil {
				return err
			}
		}
	}
	client := connect(t, serve(t, f))
	if results := collect(t, client.Stream(t.Context(), pixembed.Images(batch(30)...), nil)); len(results) != 30 {
		t.Errorf("%d results", len(results))
	}
	if f.calls.Load() != 3 {
		t.Errorf("%d calls", f.calls.Load())
	}
}

func TestAServerThatAnswersNonsense(t *testing.T) {
	leaves(t)
	type call = grpc.BidiStreamingServer[pixembedv1.EmbedRequest, pixembedv1.EmbedResult]
	for name, stream := range map[string]func(call) error{
		"an image that was not sent": func(c call) error { return c.Send(number(99)) },
		"one image twice": func(c call) error {
			if _, err := c.Recv(); err != nil {
				return err
			}
			return errors.Join(c.Send(number(0)), c.Send(number(0)))
		},
		"too little": func(c call) error {
			_, err := c.Recv()
			return err
		},
		"neither vector nor error": func(c call) error {
			if _, err := c.Recv(); err != nil {
				return err
			}
			return c.Send(&pixembedv1.EmbedResult{})
		},
		"a vector without its numbers": func(c call) error {
			if _, err := c.Recv(); err != nil {
				return err
			}
			result := number(0)
			result.GetEmbedding().Dimensions = 1 << 31
			return c.Send(result)
		},
	} {
		f := &fake{stream: stream}
		client := connect(t, serve(t, f))
		ended := false
		var last error
		for _, err := range client.Stream(t.Context(), forever(&ended), nil) {
			last = err
		}
		if status.Code(last) != codes.DataLoss || !ended {
			t.Errorf("%s: %v", name, last)
		}
	}
}

func TestAStreamThatFailsIsTold(t *testing.T) {
	leaves(t)
	f := &fake{}
	f.stream = func(call grpc.BidiStreamingServer[pixembedv1.EmbedRequest, pixembedv1.EmbedResult]) error {
		if _, err := call.Recv(); err != nil {
			return err
		}
		return errors.Join(call.Send(number(0)), overloaded(t, -1))
	}
	client := connect(t, serve(t, f))
	ended := false
	results, last := 0, error(nil)
	for _, err := range client.Stream(t.Context(), forever(&ended), nil) {
		if last = err; err == nil {
			results++
		}
	}
	wantService(t, last, codes.ResourceExhausted, pixembed.ReasonOverloaded)
	if results != 1 {
		t.Errorf("%d results", results)
	}
}

func TestAServerThatIsNotServingIsLeft(t *testing.T) {
	leaves(t)
	a, b := &fake{}, &fake{}
	target := serve(t, a) + "," + serve(t, b)
	a.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	client := connect(t, target, pixembed.WithHealthChecking())
	for range 20 {
		embed(t, client, batch(1), nil)
	}
	if a.calls.Load() != 0 || b.calls.Load() != 20 {
		t.Errorf("%d and %d calls", a.calls.Load(), b.calls.Load())
	}
}

func TestWaitUntilServingFollowsTheServer(t *testing.T) {
	leaves(t)
	f := &fake{}
	client := connect(t, serve(t, f))
	f.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	if serving, err := client.Health(t.Context(), ""); serving || err != nil {
		t.Errorf("%v, %v", serving, err)
	}
	waited := make(chan error)
	go func() { waited <- client.WaitUntilServing(t.Context(), "") }()
	f.health.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
	if err := <-waited; err != nil {
		t.Error(err)
	}
}

func TestATokenTravelsInPlainViewOnlyWhereAllowed(t *testing.T) {
	leaves(t)
	f := &fake{}
	var seen []string
	f.embed = func(ctx context.Context, _ int64) error {
		header, _ := metadata.FromIncomingContext(ctx)
		seen = append(seen, header.Get("authorization")...)
		return nil
	}
	tokens := []string{"model", "first", "second"}
	next := func(context.Context) (string, error) {
		token := tokens[0]
		tokens = tokens[1:]
		return token, nil
	}
	client := connect(t, serve(t, f), pixembed.WithTokenSource(next), pixembed.WithTokenOverPlaintext())
	embed(t, client, batch(1), nil)
	embed(t, client, batch(1), nil)
	if !slices.Equal(seen, []string{"Bearer first", "Bearer second"}) {
		t.Errorf("the server saw %q", seen)
	}
}

func TestATokenThatCannotBeHad(t *testing.T) {
	leaves(t)
	none := func(context.Context) (string, error) { return "", errors.New("the vault is closed") }
	client := connect(t, serve(t, &fake{}), pixembed.WithTokenSource(none), pixembed.WithTokenOverPlaintext())
	_, err := client.Embed(t.Context(), batch(1), nil)
	wantService(t, err, codes.Unauthenticated, "")
}
