package pixembed

import (
	"context"
	"errors"
	"math"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	pixembedv1 "pixembed/v1"
)

// Image is an encoded image: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF, found by content.
type Image struct {
	Data []byte
	// The caller's name for it, given back in its Result. It stays with the client.
	ID string
}

// Color is what shows through where an image is transparent.
type Color struct{ Red, Green, Blue uint8 }

// Pooling is how the tokens of last_hidden_state become one vector.
type Pooling = pixembedv1.Pooling

// PoolingMean is the default. PoolingCLS needs a model with a class token.
const (
	PoolingMean = pixembedv1.Pooling_POOLING_MEAN
	PoolingCLS  = pixembedv1.Pooling_POOLING_CLS
	PoolingMax  = pixembedv1.Pooling_POOLING_MAX
)

// DataType is how the numbers of a vector travel. They arrive as float32.
type DataType = pixembedv1.DataType

// Float32 is the default. Int8 numbers arrive times their vector's scale; Binary ones as 1 where the
// value is positive, else 0.
const (
	Float32  = pixembedv1.DataType_DATA_TYPE_FLOAT32
	Float16  = pixembedv1.DataType_DATA_TYPE_FLOAT16
	BFloat16 = pixembedv1.DataType_DATA_TYPE_BFLOAT16
	Int8     = pixembedv1.DataType_DATA_TYPE_INT8
	Binary   = pixembedv1.DataType_DATA_TYPE_BINARY
)

// Lane is the urgency of a call.
type Lane = pixembedv1.Lane

// LaneBulk fills spare room in the server's batches and never delays online images. The default is
// LaneOnline for Embed and LaneBulk for Stream.
const (
	LaneOnline = pixembedv1.Lane_LANE_ONLINE
	LaneBulk   = pixembedv1.Lane_LANE_BULK
)

// ExifOrientation is whether images are turned upright as their EXIF data say. TIFF always is.
type ExifOrientation = pixembedv1.ExifOrientation

// ExifIgnore is the default: pixels as they are stored.
const (
	ExifIgnore = pixembedv1.ExifOrientation_EXIF_ORIENTATION_IGNORE
	ExifApply  = pixembedv1.ExifOrientation_EXIF_ORIENTATION_APPLY
)

// EmbedOptions says what to compute; the zero value is the default. The server applies: turn upright,
// composite on the background, preprocess, select layers, pool, truncate to Dimensions, normalize,
// convert.
type EmbedOptions struct {
	// Empty: the server's first model.
	Model   string
	Pooling Pooling
	// Which hidden states are pooled: indices into transformers' output_hidden_states, negative ones
	// from the end; several: their mean. Empty: last_hidden_state.
	Layers          []int
	ExifOrientation ExifOrientation
	// Nil: alpha is dropped.
	Background *Color
	// Scale each vector to length 1.
	Normalize bool
	// Keep the first so many dimensions; 0 keeps all.
	Dimensions int
	DataType   DataType
	Lane       Lane
	// Not empty: refuse with ReasonFingerprintMismatch unless the answer has this fingerprint.
	ExpectedFingerprint string
}

// message is the options as they travel.
func (o *EmbedOptions) message(ordered bool) (*pixembedv1.EmbedOptions, error) {
	if o.Dimensions < 0 || o.Dimensions > math.MaxInt32 {
		return nil, invalid("Dimensions is %d; it goes from 0 to %d", o.Dimensions, math.MaxInt32)
	}
	if !utf8.ValidString(o.Model) || !utf8.ValidString(o.ExpectedFingerprint) {
		return nil, invalid("Model is %q and ExpectedFingerprint %q; both are UTF-8", o.Model, o.ExpectedFingerprint)
	}
	layers := make([]int32, len(o.Layers))
	for i, layer := range o.Layers {
		if layer < math.MinInt32 || layer > math.MaxInt32 {
			return nil, invalid("Layers names %d, which no model has", layer)
		}
		layers[i] = int32(layer)
	}
	message := &pixembedv1.EmbedOptions{
		Pooling:             o.Pooling,
		Normalize:           o.Normalize,
		Dimensions:          uint32(o.Dimensions),
		DataType:            o.DataType,
		Packed:              true,
		Lane:                o.Lane,
		ExpectedFingerprint: o.ExpectedFingerprint,
		Ordered:             ordered,
		Layers:              layers,
		ExifOrientation:     o.ExifOrientation,
	}
	if b := o.Background; b != nil {
		message.Background = &pixembedv1.Color{Red: uint32(b.Red), Green: uint32(b.Green), Blue: uint32(b.Blue)}
	}
	return message, nil
}

// Timings is where the time of one image went.
type Timings struct {
	Decode    time.Duration // decode and resize
	Queue     time.Duration // waiting
	Compute   time.Duration // the forward of the batch it was in
	BatchSize int
}

func timings(t *pixembedv1.Timings) Timings {
	return Timings{
		Decode:    t.GetDecode().AsDuration(),
		Queue:     t.GetQueue().AsDuration(),
		Compute:   t.GetCompute().AsDuration(),
		BatchSize: int(t.GetBatchSize()),
	}
}

// Embeddings is what became of a batch. Its slices are as long as the batch.
type Embeddings struct {
	// Nil where the image failed. All lie in one array: see Flat.
	Vectors [][]float32
	// Nil where there is a vector, else an *ImageError.
	Errors    []error
	Timings   []Timings
	Dimension int
	// The space that the vectors live in. Vectors of two fingerprints must not meet in one index. Empty
	// where there is no vector.
	Fingerprint string
	flat        []float32
}

// Flat gives the vectors one after the other, len(Vectors) * Dimension numbers, NaN where an image
// failed. It is the array that Vectors point into.
func (e *Embeddings) Flat() []float32 { return e.flat }

// Err is nil if every image has a vector, else a *BatchError.
func (e *Embeddings) Err() error {
	for _, err := range e.Errors {
		if err != nil {
			return &BatchError{Errors: e.Errors}
		}
	}
	return nil
}

// newEmbeddings has room for the answers to so many images.
func newEmbeddings(images, dimension int) *Embeddings {
	return &Embeddings{
		Vectors:   make([][]float32, images),
		Errors:    make([]error, images),
		Timings:   make([]Timings, images),
		Dimension: dimension,
	}
}

// set takes the answer to an image. The first vector says how long all are.
func (e *Embeddings) set(index int, message *pixembedv1.EmbedResult, fingerprint string) error {
	e.Timings[index] = timings(message.GetTimings())
	embedding := message.GetEmbedding()
	switch {
	case message.GetError() != nil:
		e.Errors[index] = imageError(message.GetError())
		return nil
	case embedding == nil:
		return nonsense("the server gave image %d neither a vector nor an error", index)
	}
	if e.flat == nil {
		if err := checkSize(embedding); err != nil {
			return err
		}
		e.Dimension = int(embedding.GetDimensions())
		e.allocate()
	}
	begin, end := index*e.Dimension, (index+1)*e.Dimension
	vector := e.flat[begin:end:end]
	if err := decode(embedding, vector); err != nil {
		return err
	}
	e.Vectors[index] = vector
	e.Fingerprint = fingerprint
	return nil
}

// allocate makes the array that Flat gives, where there is none.
func (e *Embeddings) allocate() {
	if e.flat != nil {
		return
	}
	e.flat = make([]float32, len(e.Vectors)*e.Dimension)
	for i := range e.flat {
		e.flat[i] = float32(math.NaN())
	}
}

// Embed gives the vectors of a batch, in the order of the images; nil options are the default ones. An
// image that cannot be used fails alone: see Embeddings.Errors, or Embeddings.Err for all of them as one.
// A batch that is too large for one request goes through a stream, in LaneOnline unless told otherwise.
//
// Errors: *ServiceError, for the call as a whole: an unknown model, a wrong option, overload, drain, the
// context's end.
func (c *Client) Embed(ctx context.Context, images []Image, options *EmbedOptions) (*Embeddings, error) {
	if options == nil {
		options = &EmbedOptions{}
	}
	message, err := options.message(false)
	if err != nil {
		return nil, err
	}
	model, err := c.knownModel(ctx, options.Model)
	if err != nil {
		return nil, err
	}
	embeddings := newEmbeddings(len(images), int(model.GetDimension()))
	if options.Dimensions != 0 { // more than the model has is for the server to refuse
		embeddings.Dimension = min(embeddings.Dimension, options.Dimensions)
	}
	if len(images) == 0 {
		return embeddings, nil
	}
	request := &pixembedv1.EmbedRequest{Model: options.Model, Options: message}
	for _, image := range images {
		request.Images = append(request.Images, &pixembedv1.Image{Data: image.Data})
	}
	if !c.fits(request, model.GetLimits()) {
		err = c.embedByStream(ctx, request, embeddings)
	} else {
		err = c.embedAtOnce(ctx, request, embeddings)
		if errors.Is(err, ReasonTooManyImages) || errors.Is(err, ReasonMessageTooLarge) {
			c.models.Delete(options.Model) // a server that was started anew, with other limits
			err = c.embedByStream(ctx, request, embeddings)
		}
	}
	if err != nil {
		return nil, err
	}
	embeddings.allocate()
	return embeddings, nil
}

// fits says whether a request may be one message.
func (c *Client) fits(request *pixembedv1.EmbedRequest, limits *pixembedv1.Limits) bool {
	size := uint64(proto.Size(request))
	within := func(number, limit uint64) bool { return limit == 0 || number <= limit }
	return within(uint64(len(request.GetImages())), uint64(limits.GetMaxRequestImages())) &&
		within(size, limits.GetMaxMessageBytes()) && size <= uint64(c.config.maxMessageBytes)
}

// embedAtOnce is Embed in one message.
func (c *Client) embedAtOnce(ctx context.Context, request *pixembedv1.EmbedRequest, embeddings *Embeddings) error {
	response, err := unary(ctx, c, pixembedv1.EmbeddingServiceClient.Embed, request)
	if err != nil {
		return err
	}
	if len(response.GetResults()) != len(request.GetImages()) {
		return nonsense("the server answered %d of %d images", len(response.GetResults()), len(request.GetImages()))
	}
	for i, result := range response.GetResults() {
		if err := embeddings.set(i, result, response.GetFingerprint()); err != nil {
			return err
		}
	}
	return nil
}

// embedByStream is Embed in messages of one image.
func (c *Client) embedByStream(ctx context.Context, request *pixembedv1.EmbedRequest, embeddings *Embeddings) error {
	header := &pixembedv1.EmbedRequest{
		Model: request.GetModel(), Options: proto.CloneOf(request.GetOptions()),
	}
	if header.Options.Lane == pixembedv1.Lane_LANE_UNSPECIFIED {
		header.Options.Lane = LaneOnline
	}
	images := func(yield func(Image, error) bool) {
		for _, image := range request.GetImages() {
			if !yield(Image{Data: image.GetData()}, nil) {
				return
			}
		}
	}
	for answer, err := range c.answers(ctx, header, inFlight{}, fixed(images)) {
		switch {
		case err != nil:
			return err
		case answer.unsent != nil:
			embeddings.Errors[answer.index] = answer.unsent
		default:
			if err := embeddings.set(answer.index, answer.message, answer.message.GetFingerprint()); err != nil {
				return err
			}
		}
	}
	return nil
}

// knownModel is Model, asked once.
func (c *Client) knownModel(ctx context.Context, name string) (*pixembedv1.Model, error) {
	if model, ok := c.models.Load(name); ok {
		return model.(*pixembedv1.Model), nil
	}
	model, err := c.Model(ctx, name)
	if err == nil {
		c.models.Store(name, model)
	}
	return model, err
}
