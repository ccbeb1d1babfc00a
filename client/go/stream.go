package pixembed

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"sync"
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

func fixed(images iter.Seq2[Image, error]) source {
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

// answers runs one EmbedStream: the first request is the header with the first image, the others are an
// image each. Three goroutines work on it: send takes images, receive takes results, and the caller's
// yields them.
func (c *Client) answers(
	ctx context.Context, header *pixembedv1.EmbedRequest, limits inFlight, images source,
) iter.Seq2[answer, error] {
	return func(yield func(answer, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		call, err := pixembedv1.NewEmbeddingServiceClient(c.next()).EmbedStream(ctx)
		if err != nil {
			yield(answer{}, serviceError(err))
			return
		}
		s := newStream(ctx, cancel, call, header, limits, c.config.maxMessageBytes)
		go s.send(images(ctx))
		go s.receive()
		defer func() {
			cancel()
			<-s.received
			<-s.sending
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
			case <-s.received:
				if s.err != nil && s.panicked.Load() == nil {
					yield(answer{}, s.err)
				}
				return
			}
		}
	}
}

// stream is one EmbedStream on its way.
type stream struct {
	ctx             context.Context
	cancel          context.CancelFunc
	call            grpc.BidiStreamingClient[pixembedv1.EmbedRequest, pixembedv1.EmbedResult]
	header          *pixembedv1.EmbedRequest
	maxMessageBytes int
	limits          inFlight

	slots *semaphore.Weighted // of the images on their way, and the one that send holds
	bytes *semaphore.Weighted

	mutex   sync.Mutex
	sent    map[uint64]sentImage // by the server's count, which leaves out what was not sent
	allSent bool

	answers  chan answer
	panicked atomic.Pointer[any] // by the images
	sending  chan struct{}       // closed when send has ended
	received chan struct{}       // closed when receive has ended, and there are no more answers
	err      error               // of receive, once it has ended
}

type sentImage struct {
	index int // by the caller's count
	id    string
	bytes int64
}

func newStream(
	ctx context.Context, cancel context.CancelFunc,
	call grpc.BidiStreamingClient[pixembedv1.EmbedRequest, pixembedv1.EmbedResult],
	header *pixembedv1.EmbedRequest, limits inFlight, maxMessageBytes int,
) *stream {
	if limits.images == 0 {
		limits.images = defaultInFlightImages
	}
	if limits.bytes == 0 {
		limits.bytes = defaultInFlightBytes
	}
	return &stream{
		ctx: ctx, cancel: cancel, call: call, header: header, limits: limits, maxMessageBytes: maxMessageBytes,
		slots: semaphore.NewWeighted(limits.images), bytes: semaphore.NewWeighted(limits.bytes),
		sent: map[uint64]sentImage{}, answers: make(chan answer),
		sending: make(chan struct{}), received: make(chan struct{}),
	}
}

// send takes images, each when there is room for it, until there are no more or the stream is over.
func (s *stream) send(images iter.Seq2[Image, error]) {
	defer close(s.sending)
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
	s.sendAll(images)
	returned = true
}

func (s *stream) sendAll(images iter.Seq2[Image, error]) {
	index, number := 0, uint64(0)
	// Before the iterator is asked, so that it runs no further ahead than was promised.
	if s.slots.Acquire(s.ctx, 1) != nil {
		return
	}
	for image, err := range images {
		request := &pixembedv1.EmbedRequest{Images: []*pixembedv1.Image{{Data: image.Data}}}
		if number == 0 {
			request.Model, request.Options = s.header.GetModel(), s.header.GetOptions()
		}
		var unsent *ImageError
		if err != nil {
			unsent = unreadable(err)
		} else if proto.Size(request) > s.maxMessageBytes {
			unsent = tooLarge(request, s.maxMessageBytes)
		}
		ok := false
		if unsent != nil {
			ok = s.deliverUnsent(answer{index: index, id: image.ID, unsent: unsent})
		} else {
			ok = s.sendOne(number, sentImage{index, image.ID, min(int64(len(image.Data)), s.limits.bytes)}, request)
			number++
		}
		if !ok {
			return
		}
		index++
	}
	s.mutex.Lock()
	s.allSent = true
	s.mutex.Unlock()
	// An error is receive's to tell.
	_ = s.call.CloseSend()
}

// sendOne sends the image whose slot send holds, and takes a slot for the next one. False when the stream
// is over.
func (s *stream) sendOne(number uint64, image sentImage, request *pixembedv1.EmbedRequest) bool {
	if s.bytes.Acquire(s.ctx, image.bytes) != nil {
		return false
	}
	s.mutex.Lock()
	s.sent[number] = image
	s.mutex.Unlock()
	return s.call.Send(request) == nil && s.slots.Acquire(s.ctx, 1) == nil
}

// deliverUnsent answers an image that was not sent, whose slot send holds and keeps. False when the stream
// is over.
func (s *stream) deliverUnsent(unsent answer) bool {
	if s.header.GetOptions().GetOrdered() { // once all slots are free, its predecessors have been delivered
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

// receive takes results until there are no more.
func (s *stream) receive() {
	defer close(s.received)
	s.err = s.receiveAll()
	s.cancel()
}

func (s *stream) receiveAll() error {
	for {
		message, err := s.call.Recv()
		if errors.Is(err, io.EOF) {
			return s.checkAllAnswered()
		}
		if err != nil {
			return serviceError(err)
		}
		number := message.GetIndex()
		s.mutex.Lock()
		image, ok := s.sent[number]
		delete(s.sent, number)
		s.mutex.Unlock()
		if !ok {
			return nonsense("the server answered image %d, which waits for no answer", number)
		}
		if !s.deliver(answer{index: image.index, id: image.id, message: message}) {
			return contextError(s.ctx)
		}
		// Only now, so that an image which fails unsent is not delivered before its predecessors.
		s.bytes.Release(image.bytes)
		s.slots.Release(1)
	}
}

// checkAllAnswered is called when the server has ended the stream without an error.
func (s *stream) checkAllAnswered() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.allSent && len(s.sent) == 0 {
		return nil
	}
	return nonsense("the server ended the stream before all images, with %d unanswered", len(s.sent))
}
