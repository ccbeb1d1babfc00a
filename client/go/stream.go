package pixembed

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	pixembedv1 "pixembed/v1"
)

const (
	defaultInFlightImages = 256
	defaultInFlightBytes  = 64 << 20
)

// StreamOptions says what to compute and how much of it at once; the zero value is the default.
type StreamOptions struct {
	EmbedOptions
	// Results in the order of the images.
	Ordered bool
	// Images and encoded bytes that may be on their way at once; 0 is 256 images and 64 MiB. An image
	// larger than MaxInFlightBytes travels alone.
	MaxInFlightImages int
	MaxInFlightBytes  int64
}

// Result is what became of one image of a stream: a vector or an error.
type Result struct {
	// Position of the image among those of the stream.
	Index int
	ID    string
	// Nil where the image failed.
	Vector []float32
	// Nil where there is a vector, else an *ImageError.
	Err     error
	Timings Timings
	// The space that the vector lives in. Vectors of two fingerprints must not meet in one index.
	Fingerprint string
}

// Stream gives a result for each image as soon as it exists, for any number of images in bounded
// memory; nil options are the default ones.
//
// The images come from an iterator (Images and Files make one; see StreamChannel for channels) that is
// run once each time that the results are, on a goroutine of its own, a little ahead of them. An error in
// the place of an image is an image that could not be read: it fails alone, with ReasonUnreadableImage.
//
// When the server goes away (UNAVAILABLE: a restart, a drain, a lost connection) what it has not answered
// is sent again, to the same server once it is back, or to another: WithMaxAttempts and
// WithReconnectTimeout bound how often and how long. No image is lost or answered twice, and Ordered holds.
// A server that would give vectors of another space does not go on with the stream:
// ReasonFingerprintMismatch. For this an image is held until it is answered.
//
// Leaving the loop early cancels what is on its way, and the end of the context does, too. In both cases
// the iterator is not asked again, but a step that it is in is waited for: one that blocks should end with
// the context. When the loop is over no goroutine is left. A panic of the iterator is one of the loop.
//
// The error, *ServiceError, is that of the stream as a whole and its last item: what Embed's are.
func (c *Client) Stream(
	ctx context.Context, images iter.Seq2[Image, error], options *StreamOptions,
) iter.Seq2[Result, error] {
	return c.results(ctx, fixed(images), options)
}

// StreamChannel is Stream for images that come from a channel; they end when it is closed. What is sent
// on the channel after the loop was left is not received.
func (c *Client) StreamChannel(
	ctx context.Context, images <-chan Image, options *StreamOptions,
) iter.Seq2[Result, error] {
	return c.results(ctx, func(ctx context.Context) iter.Seq2[Image, error] {
		return func(yield func(Image, error) bool) {
			for {
				select {
				case image, ok := <-images:
					if !ok || !yield(image, nil) {
						return
					}
				case <-ctx.Done():
					return
				}
			}
		}
	}, options)
}

// Images iterates over images for Stream.
func Images(images ...Image) iter.Seq2[Image, error] {
	return func(yield func(Image, error) bool) {
		for _, image := range images {
			if !yield(image, nil) {
				return
			}
		}
	}
}

// Files iterates over files for Stream, reading each when its turn comes. Their paths are the IDs.
func Files(paths ...string) iter.Seq2[Image, error] {
	return func(yield func(Image, error) bool) {
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if !yield(Image{Data: data, ID: path}, err) {
				return
			}
		}
	}
}

// source gives a stream its images; the context ends when nobody wants them any more.
type source func(context.Context) iter.Seq2[Image, error]

// fixed is nil of nil.
func fixed(images iter.Seq2[Image, error]) source {
	if images == nil {
		return nil
	}
	return func(context.Context) iter.Seq2[Image, error] { return images }
}

func (c *Client) results(ctx context.Context, images source, options *StreamOptions) iter.Seq2[Result, error] {
	if options == nil {
		options = &StreamOptions{}
	}
	message, err := options.message(options.Ordered)
	if err == nil && (options.MaxInFlightImages < 0 || options.MaxInFlightBytes < 0) {
		err = invalid("MaxInFlightImages is %d and MaxInFlightBytes %d; neither may be negative",
			options.MaxInFlightImages, options.MaxInFlightBytes)
	}
	if err == nil && images == nil {
		err = invalid("there are no images to iterate over: the iterator is nil")
	}
	if err != nil {
		return func(yield func(Result, error) bool) { yield(Result{}, err) }
	}
	header := &pixembedv1.EmbedRequest{Model: options.Model, Options: message}
	limits := inFlight{images: int64(options.MaxInFlightImages), bytes: options.MaxInFlightBytes}
	return func(yield func(Result, error) bool) {
		for answer, err := range c.answers(ctx, header, limits, images) {
			var result Result
			if err == nil {
				result, err = answer.result()
			}
			if !yield(result, err) || err != nil {
				return
			}
		}
	}
}

// answer is what became of one image: either of message and unsent.
type answer struct {
	index   int
	id      string
	message *pixembedv1.EmbedResult
	unsent  *ImageError
}

func (a answer) result() (Result, error) {
	if a.unsent != nil {
		return Result{Index: a.index, ID: a.id, Err: a.unsent}, nil
	}
	one := newEmbeddings(1, 0)
	if err := one.set(0, a.message, a.message.GetFingerprint()); err != nil {
		return Result{}, err
	}
	return Result{
		Index: a.index, ID: a.id, Vector: one.Vectors[0], Err: one.Errors[0],
		Timings: one.Timings[0], Fingerprint: a.message.GetFingerprint(),
	}, nil
}

// inFlight is how much may be on its way at once; 0 is the default.
type inFlight struct{ images, bytes int64 }

// answers runs a stream: what the images give is sent, and sent again on another call where a server went
// away, until each is answered. Up to four goroutines work on it: take takes images, run opens calls and
// takes results, sendAll of the call sends, and the caller's yields.
func (c *Client) answers(
	ctx context.Context, header *pixembedv1.EmbedRequest, limits inFlight, images source,
) iter.Seq2[answer, error] {
	return func(yield func(answer, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s := newStream(ctx, cancel, c, header, limits)
		go s.take(images(ctx))
		go s.run()
		defer func() {
			cancel()
			<-s.ended
			<-s.taken
			if panicked := s.panicked.Load(); panicked != nil {
				panic(*panicked)
			}
		}()
		for {
			select {
			case answer := <-s.answers:
				if !yield(answer, nil) {
					return
				}
			case <-s.ended:
				if s.err != nil && s.panicked.Load() == nil {
					yield(answer{}, s.err)
				}
				return
			}
		}
	}
}

// stream is one stream on its way, over one or several EmbedStream calls.
type stream struct {
	ctx    context.Context
	cancel context.CancelFunc
	client *Client
	limits inFlight
	// Of a message, without the image: the options, and the fingerprint that they may come to name.
	headerBytes int
	flight      *flight

	slots *semaphore.Weighted // of the images without an answer, and the one that take holds
	bytes *semaphore.Weighted

	answers  chan answer
	panicked atomic.Pointer[any] // by the images
	taken    chan struct{}       // closed when take has ended
	ended    chan struct{}       // closed when run has ended, and there are no more answers
	err      error               // of run, once it has ended
}

func newStream(
	ctx context.Context, cancel context.CancelFunc, client *Client, header *pixembedv1.EmbedRequest, limits inFlight,
) *stream {
	if limits.images == 0 {
		limits.images = defaultInFlightImages
	}
	if limits.bytes == 0 {
		limits.bytes = defaultInFlightBytes
	}
	longest := proto.CloneOf(header)
	longest.Options.ExpectedFingerprint = strings.Repeat("f", fingerprintLength)
	return &stream{
		ctx: ctx, cancel: cancel, client: client, limits: limits,
		headerBytes: proto.Size(longest), flight: newFlight(header),
		slots: semaphore.NewWeighted(limits.images), bytes: semaphore.NewWeighted(limits.bytes),
		answers: make(chan answer), taken: make(chan struct{}), ended: make(chan struct{}),
	}
}

// take takes images, each when there is room for it, until there are no more or the stream is over.
func (s *stream) take(images iter.Seq2[Image, error]) {
	defer close(s.taken)
	returned := false
	defer func() {
		if returned {
			return
		}
		if panicked := recover(); panicked != nil {
			s.panicked.Store(&panicked)
		}
		s.cancel() // after a panic, or runtime.Goexit
	}()
	s.takeAll(images)
	returned = true
}

func (s *stream) takeAll(images iter.Seq2[Image, error]) {
	index := 0
	// Before the iterator is asked, so that it runs no further ahead than was promised.
	if s.slots.Acquire(s.ctx, 1) != nil {
		return
	}
	for image, err := range images {
		message := &pixembedv1.EmbedRequest{Images: []*pixembedv1.Image{{Data: image.Data}}}
		var unsent *ImageError
		if err != nil {
			unsent = unreadable(err)
		} else if size := proto.Size(message) + s.headerBytes; size > s.client.config.maxMessageBytes {
			unsent = tooLarge(size, s.client.config.maxMessageBytes)
		}
		ok := false
		if unsent != nil {
			ok = s.deliverUnsent(answer{index: index, id: image.ID, unsent: unsent})
		} else {
			bytes := min(int64(len(image.Data)), s.limits.bytes)
			ok = s.makeReady(&item{index: index, id: image.ID, bytes: bytes, images: message.Images})
		}
		if !ok {
			return
		}
		index++
	}
	s.flight.complete()
}

// makeReady lets the image whose slot take holds be sent, and takes a slot for the next one. False when the
// stream is over.
func (s *stream) makeReady(image *item) bool {
	if s.bytes.Acquire(s.ctx, image.bytes) != nil {
		return false
	}
	s.flight.add(image)
	return s.slots.Acquire(s.ctx, 1) == nil
}

// deliverUnsent answers an image that was not sent, whose slot take holds and keeps. False when the stream
// is over.
func (s *stream) deliverUnsent(unsent answer) bool {
	if s.flight.ordered() { // once all slots are free, its predecessors have been delivered
		if s.slots.Acquire(s.ctx, s.limits.images-1) != nil {
			return false
		}
		defer s.slots.Release(s.limits.images - 1)
	}
	return s.deliver(unsent)
}

func (s *stream) deliver(one answer) bool {
	select {
	case s.answers <- one:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// run takes results, call after call, until there are no more.
func (s *stream) run() {
	defer close(s.ended)
	s.err = s.runAll()
	s.cancel()
}

func (s *stream) runAll() error {
	tries := s.client.newStreamAttempts()
	connection := s.client.next()
	for {
		failure := s.runCall(connection, tries)
		if failure == nil {
			return nil
		}
		away := s.client.isAway(s.ctx, failure)
		if away && s.flight.isFinished() {
			return nil
		}
		delay, ok := tries.pause(s.ctx, failure, away, s.client.hasAnswered(failure))
		if !ok {
			return failure
		}
		if err := s.client.pause(s.ctx, delay); err != nil {
			return err
		}
		connection = s.client.next()
		if away && s.flight.wasAnswered() {
			waitUntilAnswered(s.ctx, connection, tries.deadline)
		}
		s.flight.restart()
	}
}

// runCall is one EmbedStream; nil when all images are answered.
func (s *stream) runCall(connection *grpc.ClientConn, tries *attempts) *ServiceError {
	ctx, cancel := context.WithCancel(s.ctx)
	// No copies of what was sent: the flight has it.
	call, err := pixembedv1.NewEmbeddingServiceClient(connection).EmbedStream(ctx, grpc.MaxRetryRPCBufferSize(0))
	if err != nil {
		cancel()
		return serviceError(err)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		s.sendAll(call)
	}()
	defer func() {
		cancel()
		<-sent
	}()
	return s.receiveAll(call, tries)
}

type streamCall = grpc.BidiStreamingClient[pixembedv1.EmbedRequest, pixembedv1.EmbedResult]

// sendAll sends what is ready until there is no more, or the call is over. Errors are receiveAll's to tell.
func (s *stream) sendAll(call streamCall) {
	for {
		request, ok := s.flight.next(call.Context())
		if !ok {
			_ = call.CloseSend()
			return
		}
		if call.Send(request) != nil {
			return
		}
	}
}

func (s *stream) receiveAll(call streamCall, tries *attempts) *ServiceError {
	for {
		message, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return s.flight.checkAllAnswered()
		}
		if err != nil {
			return serviceError(err)
		}
		image, failure := s.flight.answered(message)
		if failure != nil {
			return failure
		}
		tries.beginAnew()
		s.client.answered.Store(true)
		if !s.deliver(answer{index: image.index, id: image.id, message: message}) {
			return contextError(s.ctx)
		}
		// Only now, so that an image which fails unsent is not delivered before its predecessors.
		s.bytes.Release(image.bytes)
		s.slots.Release(1)
	}
}
