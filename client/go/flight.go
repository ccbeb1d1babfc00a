package pixembed

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	pixembedv1 "pixembed/v1"
)

const fingerprintLength = 64

// item is one image of a stream.
type item struct {
	index  int // by the caller's count
	id     string
	bytes  int64
	images []*pixembedv1.Image // itself, alone
}

// flight is the images of one stream that were taken and are not answered yet. It survives the calls that
// carry them: restart makes all of them ready to be sent again. Its methods may be called by several
// goroutines, but next by one at a time.
type flight struct {
	wake chan struct{} // that something is ready, or that all was taken

	mutex      sync.Mutex
	header     *pixembedv1.EmbedRequest // of the first request of each call
	unanswered map[int]*item
	ready      []*item
	sent       map[uint64]*item // by the server's count, which begins anew with each call
	sentCount  uint64
	allTaken   bool
	anyAnswer  bool
}

func newFlight(header *pixembedv1.EmbedRequest) *flight {
	return &flight{
		wake: make(chan struct{}, 1), header: proto.CloneOf(header),
		unanswered: map[int]*item{}, sent: map[uint64]*item{},
	}
}

func (f *flight) ordered() bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.header.GetOptions().GetOrdered()
}

func (f *flight) add(image *item) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.unanswered[image.index] = image
	f.ready = append(f.ready, image)
	f.signal()
}

// complete says that nothing more will be added.
func (f *flight) complete() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.allTaken = true
	f.signal()
}

func (f *flight) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// next waits for what is to be sent next. False when there will be nothing, or the context ended.
func (f *flight) next(ctx context.Context) (*pixembedv1.EmbedRequest, bool) {
	for {
		request, over := f.takeReady()
		if request != nil || over {
			return request, !over
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return nil, false
		}
	}
}

func (f *flight) takeReady() (request *pixembedv1.EmbedRequest, over bool) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if len(f.ready) == 0 {
		return nil, f.allTaken
	}
	image := f.ready[0]
	f.ready[0] = nil
	f.ready = f.ready[1:]
	request = &pixembedv1.EmbedRequest{Images: image.images}
	if f.sentCount == 0 {
		first := proto.CloneOf(f.header) // gRPC may still look at it when the header changes
		request.Model, request.Options = first.GetModel(), first.GetOptions()
	}
	f.sent[f.sentCount] = image
	f.sentCount++
	return request, false
}

// answered takes an answer of the server, which is to an image that was sent on this call.
func (f *flight) answered(message *pixembedv1.EmbedResult) (*item, *ServiceError) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	image, ok := f.sent[message.GetIndex()]
	if !ok {
		return nil, nonsense("the server answered image %d, which waits for no answer", message.GetIndex())
	}
	delete(f.sent, message.GetIndex())
	delete(f.unanswered, image.index)
	f.anyAnswer = true
	if message.GetEmbedding() != nil {
		// Should another server go on with the stream, its vectors must be of the same space.
		f.header.Options.ExpectedFingerprint = message.GetFingerprint()
	}
	return image, nil
}

// restart is for another call: all that is unanswered is ready again, in the order of the images.
func (f *flight) restart() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.ready = slices.SortedFunc(maps.Values(f.unanswered), func(a, b *item) int { return cmp.Compare(a.index, b.index) })
	clear(f.sent)
	f.sentCount = 0
}

// wasAnswered says whether there was an answer to any image.
func (f *flight) wasAnswered() bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.anyAnswer
}

func (f *flight) isFinished() bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.allTaken && len(f.unanswered) == 0
}

// checkAllAnswered is called when the server has ended a call without an error.
func (f *flight) checkAllAnswered() *ServiceError {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.allTaken && len(f.unanswered) == 0 {
		return nil
	}
	return nonsense("the server ended the stream before all images, with %d unanswered", len(f.unanswered))
}
