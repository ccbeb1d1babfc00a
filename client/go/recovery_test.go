package pixembed_test

// A stream outlives its server, and so does a call.

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pixembed"
	pixembedv1 "pixembed/v1"
)

type streamCall = grpc.BidiStreamingServer[pixembedv1.EmbedRequest, pixembedv1.EmbedResult]

// restart ends a server as it is told to and starts another at its address.
func restart(t *testing.T, old *server, end func(*server), where string, flags ...string) *server {
	t.Helper()
	end(old)
	<-old.ended
	next, _ := start(t, append(flags, "--listen="+where)...)
	return next
}

func TestARestartInMidStreamLosesAndRepeatsNothing(t *testing.T) {
	const count = 400
	for name, test := range map[string]struct {
		end     func(*server)
		ordered bool
	}{
		"killed":  {(*server).kill, false},
		"drained": {(*server).terminate, true},
	} {
		t.Run(name, func(t *testing.T) {
			leaves(t)
			s, where := start(t, bothModels()[0])
			client := connect(t, where)
			images := batch(count)
			missing := errors.New("no such image")
			want := embed(t, client, images[:len(pictures())], nil)
			source := func(yield func(pixembed.Image, error) bool) {
				for i, image := range images {
					var err error
					if i%10 == 7 {
						err = missing
					}
					if !yield(image, err) {
						return
					}
				}
			}
			options := &pixembed.StreamOptions{Ordered: test.ordered, MaxInFlightImages: 50}
			var indices []int
			for result, err := range client.Stream(t.Context(), source, options) {
				if err != nil {
					t.Fatal(err)
				}
				i := result.Index
				if indices = append(indices, i); result.ID != images[i].ID {
					t.Fatalf("image %d is %q", i, result.ID)
				}
				if i%10 == 7 {
					if !errors.Is(result.Err, missing) {
						t.Fatalf("image %d: %v", i, result.Err)
					}
				} else if result.Err != nil || !near(result.Vector, want.Vectors[i%len(pictures())], 1e-5) {
					t.Fatalf("image %d has another vector, or none: %v", i, result.Err)
				}
				if len(indices) == 30 || len(indices) == 200 { // on its way back to full speed it happens again
					s = restart(t, s, test.end, where, bothModels()[0])
				}
			}
			if !test.ordered {
				slices.Sort(indices)
			}
			for i, index := range indices {
				if i != index {
					t.Fatalf("result %d is %d", i, index)
				}
			}
			if len(indices) != count {
				t.Errorf("%d results", len(indices))
			}
		})
	}
}

// afterFailures runs a function when so many unary calls have failed, before the client hears of the last.
func afterFailures(count int64, then func()) (pixembed.Option, *atomic.Int64) {
	var failures atomic.Int64
	return pixembed.WithDialOptions(grpc.WithUnaryInterceptor(func(ctx context.Context, method string, request, reply any,
		connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
		err := invoke(ctx, method, request, reply, connection, options...)
		if err != nil && failures.Add(1) == count {
			then()
		}
		return err
	})), &failures
}

func TestAnEmbedOutlivesARestart(t *testing.T) {
	leaves(t)
	s, where := start(t, bothModels()[0])
	back, failures := afterFailures(7, func() { start(t, bothModels()[0], "--listen="+where) })
	client := connect(t, where, back)
	want := embed(t, client, batch(1), nil)
	s.kill()
	<-s.ended
	if got := embed(t, client, batch(1), nil); !near(got.Vectors[0], want.Vectors[0], 1e-5) {
		t.Error("the vector is another one")
	}
	if failures.Load() < 7 {
		t.Errorf("%d failures", failures.Load())
	}
}

func TestAnEmbedThatIsRefusedManyTimesComesThrough(t *testing.T) {
	leaves(t)
	f := &fake{embed: func(_ context.Context, call int64) error {
		if call <= 6 {
			return overloaded(t, time.Microsecond)
		}
		return nil
	}}
	embed(t, connect(t, serve(t, f)), batch(1), nil)
}

func TestACallIsGivenUpSoonWhereNobodyEverListened(t *testing.T) {
	leaves(t)
	for name, ask := range map[string]func(context.Context, *pixembed.Client) error{
		"embed": embedOne,
		"health": func(ctx context.Context, c *pixembed.Client) error {
			_, err := c.Health(ctx, "")
			return err
		},
	} {
		count, failures := afterFailures(-1, nil)
		client := connect(t, "unix:/none/socket", pixembed.WithReconnectTimeout(0), count)
		wantService(t, ask(t.Context(), client), codes.Unavailable, "")
		if failures.Load() != 5 {
			t.Errorf("%s: %d calls", name, failures.Load())
		}
	}
}

func TestACallIsGivenUpInTimeWhereItsServerDoesNotComeBack(t *testing.T) {
	leaves(t)
	s, where := start(t, bothModels()[0])
	patient := connect(t, where, pixembed.WithReconnectTimeout(0))
	hasty := connect(t, where, pixembed.WithReconnectTimeout(500*time.Millisecond))
	for _, client := range []*pixembed.Client{patient, hasty} {
		embed(t, client, batch(1), nil)
	}
	s.kill()
	<-s.ended
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	wantService(t, embedOne(ctx, patient), codes.Unavailable, "")
	wantService(t, embedOne(t.Context(), hasty), codes.Unavailable, "")
}

func embedOne(ctx context.Context, client *pixembed.Client) error {
	_, err := client.Embed(ctx, batch(1), nil)
	return err
}

func TestABatchThatGoesThroughAStreamOutlivesItsServer(t *testing.T) {
	leaves(t)
	f := &fake{stream: breaking(3, codes.Unavailable)}
	client := connect(t, serve(t, f), pixembed.WithMaxMessageBytes(4096))
	images := make([]pixembed.Image, 10)
	for i := range images {
		images[i].Data = make([]byte, 1000)
	}
	if embeddings := embed(t, client, images, nil); embeddings.Err() != nil {
		t.Error(embeddings.Err())
	}
}

func TestAStreamGoesOnAtAnotherServer(t *testing.T) {
	leaves(t)
	first, firstAddress := start(t, bothModels()[0])
	second, secondAddress := start(t, bothModels()[0])
	client := connect(t, firstAddress+","+secondAddress)
	servers := []*server{first, second}
	results := 0
	for result, err := range client.Stream(t.Context(), pixembed.Images(batch(300)...), &pixembed.StreamOptions{MaxInFlightImages: 20}) {
		if err != nil || result.Err != nil {
			t.Fatal(err, result.Err)
		}
		if results++; results == 30 {
			servers[0].kill()
		}
		if results == 100 { // whichever it was at, it is at the other one now
			restart(t, servers[0], func(*server) {}, firstAddress, bothModels()[0])
			servers[1].kill()
		}
	}
	if results != 300 {
		t.Errorf("%d results", results)
	}
}

func TestAnotherModelAtTheAddressDoesNotGoOnWithTheStream(t *testing.T) {
	leaves(t)
	s, where := start(t, bothModels()[0])
	client := connect(t, where)
	ended := false
	last := error(nil)
	results := 0
	for result, err := range client.Stream(t.Context(), forever(&ended), nil) {
		if last = err; err == nil && len(result.Vector) != 32 {
			t.Fatalf("a vector of %d dimensions", len(result.Vector))
		}
		if results++; results == 10 {
			s = restart(t, s, (*server).kill, where, bothModels()[1])
		}
	}
	wantService(t, last, codes.FailedPrecondition, pixembed.ReasonFingerprintMismatch)
}

// breaking is a stream of a fake that answers so many images, then breaks.
func breaking(answered int, code codes.Code) func(streamCall) error {
	return func(call streamCall) error {
		for i := 0; ; i++ {
			request, err := call.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if i == answered {
				return status.Error(code, "broken")
			}
			result := number(uint64(i))
			result.Fingerprint = strings.Repeat("f", 64)
			if want := request.GetOptions().GetExpectedFingerprint(); want != "" && want != result.GetFingerprint() {
				return status.Error(codes.Internal, "another space is expected")
			}
			if err := call.Send(result); err != nil {
				return err
			}
		}
	}
}

// calls are the streams that a fake was asked for, with the first request of each, if it came to that.
type calls struct {
	count atomic.Int64
	mutex sync.Mutex
	first []*pixembedv1.EmbedRequest
}

func (c *calls) of(stream func(streamCall) error) func(streamCall) error {
	return func(call streamCall) error {
		c.count.Add(1)
		return stream(&noting{streamCall: call, calls: c})
	}
}

type noting struct {
	streamCall
	calls *calls
	noted bool
}

func (n *noting) Recv() (*pixembedv1.EmbedRequest, error) {
	request, err := n.streamCall.Recv()
	if err == nil && !n.noted {
		n.noted = true
		n.calls.mutex.Lock()
		defer n.calls.mutex.Unlock()
		n.calls.first = append(n.calls.first, request)
	}
	return request, err
}

// draining is how a server that shuts down refuses.
func draining(t *testing.T) error {
	t.Helper()
	s, err := status.New(codes.Unavailable, "shutting down").WithDetails(
		&errdetails.ErrorInfo{Reason: "DRAINING", Domain: "pixembed"})
	if err != nil {
		t.Fatal(err)
	}
	return s.Err()
}

func TestAStreamGoesOnAsLongAsResultsCome(t *testing.T) {
	for _, code := range []codes.Code{codes.Unavailable, codes.Canceled} {
		leaves(t)
		var asked calls
		f := &fake{stream: asked.of(breaking(3, code))}
		client := connect(t, serve(t, f), pixembed.WithMaxAttempts(2))
		results := collect(t, client.Stream(t.Context(), pixembed.Images(make([]pixembed.Image, 10)...), nil))
		for i, result := range results {
			if result.Index != i {
				t.Errorf("result %d is %d", i, result.Index)
			}
		}
		if len(results) != 10 || asked.count.Load() != 4 {
			t.Fatalf("%d results of %d calls", len(results), asked.count.Load())
		}
		// What follows a break must be of the space of what came before.
		for i, request := range asked.first {
			if got := request.GetOptions().GetExpectedFingerprint(); (got == "") != (i == 0) {
				t.Errorf("call %d expects %q", i, got)
			}
		}
	}
}

func TestAStreamThatBreaksAfterItsLastResultIsWhole(t *testing.T) {
	leaves(t)
	var asked calls
	f := &fake{stream: asked.of(func(call streamCall) error {
		for i := range 10 {
			if _, err := call.Recv(); err != nil {
				return err
			}
			if err := call.Send(number(uint64(i))); err != nil {
				return err
			}
		}
		if _, err := call.Recv(); !errors.Is(err, io.EOF) { // the client has sent all
			return status.Error(codes.Internal, "an eleventh image")
		}
		return status.Error(codes.Unavailable, "broken")
	})}
	client := connect(t, serve(t, f), pixembed.WithMaxAttempts(1))
	if results := collect(t, client.Stream(t.Context(), pixembed.Images(make([]pixembed.Image, 10)...), nil)); len(results) != 10 {
		t.Errorf("%d results", len(results))
	}
	if asked.count.Load() != 1 {
		t.Errorf("%d calls", asked.count.Load())
	}
}

func TestABrokenStreamTakesNoMoreImagesThanItsWindow(t *testing.T) {
	leaves(t)
	const window = 4
	var asked calls
	whole := breaking(-1, codes.OK)
	f := &fake{stream: asked.of(func(call streamCall) error {
		if asked.count.Load() > 3 {
			return whole(call)
		}
		for range window { // all that it may have, and no answer to any
			if _, err := call.Recv(); err != nil {
				return err
			}
		}
		return status.Error(codes.Unavailable, "broken")
	})}
	client := connect(t, serve(t, f))
	var answered atomic.Int64
	source := func(yield func(pixembed.Image, error) bool) {
		for taken := range int64(50) {
			// One is delivered before the loop can count it.
			if on := taken - answered.Load(); on > window+1 {
				t.Errorf("%d images are on their way", on)
			}
			if !yield(pixembed.Image{}, nil) {
				return
			}
		}
	}
	for result, err := range client.Stream(t.Context(), source, &pixembed.StreamOptions{MaxInFlightImages: window, Ordered: true}) {
		if err != nil || result.Index != int(answered.Load()) {
			t.Fatal(result.Index, err)
		}
		answered.Add(1)
	}
	if answered.Load() != 50 || asked.count.Load() != 4 {
		t.Errorf("%d answers of %d calls", answered.Load(), asked.count.Load())
	}
}

func TestAStreamIsGivenUp(t *testing.T) {
	drains := func(streamCall) error { return draining(t) }
	for name, test := range map[string]struct {
		stream  func(streamCall) error
		options []pixembed.Option
		code    codes.Code
		calls   int64 // 0: any number
	}{
		"without results":        {breaking(0, codes.Unavailable), []pixembed.Option{pixembed.WithMaxAttempts(3)}, codes.Unavailable, 3},
		"at once":                {breaking(2, codes.Unavailable), []pixembed.Option{pixembed.WithMaxAttempts(1)}, codes.Unavailable, 1},
		"no fault of the server": {breaking(2, codes.InvalidArgument), nil, codes.InvalidArgument, 1},
		"a drain, at once": {
			drains, []pixembed.Option{pixembed.WithMaxAttempts(1)}, codes.Unavailable, 1,
		},
		"a drain that does not end": {
			drains,
			[]pixembed.Option{pixembed.WithMaxAttempts(2), pixembed.WithReconnectTimeout(500 * time.Millisecond)}, codes.Unavailable, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			leaves(t)
			var asked calls
			f := &fake{stream: asked.of(test.stream)}
			client := connect(t, serve(t, f), test.options...)
			ended := false
			last := error(nil)
			for _, err := range client.Stream(t.Context(), forever(&ended), nil) {
				last = err
			}
			if status.Code(last) != test.code || !ended {
				t.Errorf("the error is %v", last)
			}
			if test.calls != 0 && asked.count.Load() != test.calls {
				t.Errorf("%d calls", asked.count.Load())
			}
		})
	}
}

func TestAStreamWaitsForTheEndOfADrain(t *testing.T) {
	leaves(t)
	var asked calls
	whole := breaking(-1, codes.OK)
	f := &fake{}
	f.stream = asked.of(func(call streamCall) error {
		if asked.count.Load() <= 4 { // more often than attempts are allowed
			return draining(t)
		}
		return whole(call)
	})
	client := connect(t, serve(t, f), pixembed.WithMaxAttempts(2))
	if results := collect(t, client.Stream(t.Context(), pixembed.Images(make([]pixembed.Image, 10)...), nil)); len(results) != 10 {
		t.Errorf("%d results", len(results))
	}
}

func TestAStreamThatWasRefusedForLoadComesBack(t *testing.T) {
	leaves(t)
	var asked calls
	whole := breaking(-1, codes.OK)
	f := &fake{}
	f.stream = asked.of(func(call streamCall) error {
		if asked.count.Load() <= 2 {
			return overloaded(t, time.Millisecond)
		}
		return whole(call)
	})
	client := connect(t, serve(t, f))
	if results := collect(t, client.Stream(t.Context(), pixembed.Images(make([]pixembed.Image, 10)...), nil)); len(results) != 10 {
		t.Errorf("%d results", len(results))
	}
	if asked.count.Load() != 3 {
		t.Errorf("%d calls", asked.count.Load())
	}
}

func TestAServerThatNeverComesBackIsWaitedForUntilTheTimeout(t *testing.T) {
	const soon = 500 * time.Millisecond
	for name, test := range map[string]struct {
		timeout time.Duration // of the client
		ctx     func() (context.Context, context.CancelFunc)
		codes   []codes.Code
	}{
		"of the client": {
			soon, func() (context.Context, context.CancelFunc) { return context.WithCancel(t.Context()) },
			[]codes.Code{codes.Unavailable},
		},
		// It may end a pause or a call.
		"of the context": {
			0, func() (context.Context, context.CancelFunc) { return context.WithTimeout(t.Context(), soon) },
			[]codes.Code{codes.Unavailable, codes.DeadlineExceeded},
		},
	} {
		t.Run(name, func(t *testing.T) {
			leaves(t)
			s, where := start(t, bothModels()[0])
			client := connect(t, where, pixembed.WithReconnectTimeout(test.timeout))
			ctx, cancel := test.ctx()
			defer cancel()
			asked := false
			last := error(nil)
			for _, err := range client.Stream(ctx, forever(&asked), nil) {
				if last = err; err == nil {
					s.kill()
				}
			}
			if last == nil || !slices.Contains(test.codes, status.Code(last)) {
				t.Errorf("the error is %v", last)
			}
		})
	}
}

func TestLeavingAStreamThatWaitsForItsServerEndsIt(t *testing.T) {
	for name, leave := range map[string]func(*pixembed.Client, context.CancelFunc){
		"by its context": func(_ *pixembed.Client, cancel context.CancelFunc) { cancel() },
		"by its client":  func(client *pixembed.Client, _ context.CancelFunc) { _ = client.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			leaves(t)
			f := &fake{}
			f.stream = func(call streamCall) error {
				if _, err := call.Recv(); err != nil {
					return err
				}
				return errors.Join(call.Send(number(0)), overloaded(t, time.Hour))
			}
			client, err := pixembed.New(serve(t, f), pixembed.WithPlaintext(), pixembed.WithReconnectTimeout(0))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := false
			last := error(nil)
			for _, err := range client.Stream(ctx, forever(&ended), nil) {
				if last = err; err == nil {
					leave(client, cancel)
				}
			}
			if status.Code(last) != codes.Canceled || !ended {
				t.Errorf("the error is %v", last)
			}
		})
	}
}
