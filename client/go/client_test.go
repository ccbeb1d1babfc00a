package pixembed_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"image"
	"image/color"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pixembed"
)

// near says whether two vectors are the same but for the batches that they were in.
func near(a, b []float32, tolerance float64) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Abs(float64(x-y)) <= tolerance })
}

func embed(t *testing.T, client *pixembed.Client, images []pixembed.Image, options *pixembed.EmbedOptions) *pixembed.Embeddings {
	t.Helper()
	embeddings, err := client.Embed(t.Context(), images, options)
	if err == nil {
		err = embeddings.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	return embeddings
}

// wantService fails the test unless a call failed as a whole with a code and a reason.
func wantService(t *testing.T, err error, code codes.Code, reason pixembed.Reason) {
	t.Helper()
	var failure *pixembed.ServiceError
	if !errors.As(err, &failure) || failure.Code != code || failure.Reason != reason || status.Code(err) != code {
		t.Fatalf("the error is %#v, not %v, %q", err, code, reason)
	}
	if reason != "" && !errors.Is(err, reason) {
		t.Fatalf("%v is not %q", err, reason)
	}
}

func TestEmbedKeepsTheOrder(t *testing.T) {
	client := connect(t, address)
	images := batch(12)
	embeddings := embed(t, client, images, nil)
	if len(embeddings.Vectors) != 12 || embeddings.Dimension != 32 || len(embeddings.Fingerprint) != 64 {
		t.Fatalf("%d vectors of %d dimensions, fingerprint %q",
			len(embeddings.Vectors), embeddings.Dimension, embeddings.Fingerprint)
	}
	for i, vector := range embeddings.Vectors {
		if alone := embed(t, client, images[i:i+1], nil).Vectors[0]; !near(vector, alone, 1e-5) {
			t.Errorf("image %d: %v in the batch, %v alone", i, vector[:3], alone[:3])
		}
		if !slices.Equal(embeddings.Flat()[32*i:32*(i+1)], vector) {
			t.Errorf("image %d is not in its place of Flat", i)
		}
		if embeddings.Timings[i].BatchSize < 1 || embeddings.Timings[i].Compute <= 0 {
			t.Errorf("image %d has the timings %v", i, embeddings.Timings[i])
		}
	}
	if near(embeddings.Vectors[0], embeddings.Vectors[1], 1e-3) {
		t.Error("two pictures have one vector")
	}
}

func TestNoImagesGiveNoVectorsOfTheRightWidth(t *testing.T) {
	client := connect(t, address)
	for _, test := range []struct {
		options *pixembed.EmbedOptions
		want    int
	}{{nil, 32}, {&pixembed.EmbedOptions{Model: "small"}, 24}, {&pixembed.EmbedOptions{Dimensions: 5}, 5}} {
		if got := embed(t, client, nil, test.options); got.Dimension != test.want || len(got.Vectors) != 0 {
			t.Errorf("%v gives %d vectors of %d dimensions", test.options, len(got.Vectors), got.Dimension)
		}
	}
}

// broken is ways to be broken, each with the reason that the server gives.
func broken() map[pixembed.Reason][]byte {
	png, jpeg := pngOf(picture(50, 40, 10)), jpegOf(picture(120, 80, 9))
	flipped := bytes.Clone(png)
	flipped[len(png)/2] ^= 0xff
	return map[pixembed.Reason][]byte{
		pixembed.ReasonEmptyImage:        nil,
		pixembed.ReasonUnsupportedFormat: []byte("This is no picture.\n"),
		pixembed.ReasonTruncatedImage:    jpeg[:len(jpeg)/2],
		pixembed.ReasonCorruptImage:      flipped,
	}
}

func TestABrokenImageFailsAloneWithItsReason(t *testing.T) {
	client := connect(t, address)
	for reason, data := range broken() {
		images := batch(3)
		images[1].Data = data
		embeddings, err := client.Embed(t.Context(), images, nil)
		if err != nil {
			t.Fatal(err)
		}
		var failure *pixembed.ImageError
		if !errors.As(embeddings.Errors[1], &failure) || failure.Reason != reason || failure.Code != codes.InvalidArgument {
			t.Fatalf("the error is %#v, not %s", embeddings.Errors[1], reason)
		}
		if embeddings.Vectors[1] != nil || !math.IsNaN(float64(embeddings.Flat()[32])) || embeddings.Errors[0] != nil ||
			embeddings.Vectors[0] == nil || embeddings.Vectors[2] == nil {
			t.Errorf("%s: its neighbours do not have their vectors, or it has one", reason)
		}
		err = embeddings.Err()
		var batch *pixembed.BatchError
		if !errors.As(err, &batch) || !errors.Is(err, reason) || !errors.As(err, &failure) ||
			!strings.HasPrefix(err.Error(), "image 1: "+string(reason)+": ") {
			t.Errorf("the error of the batch is %v", err)
		}
	}
}

func TestVectorsTravelInEveryDataType(t *testing.T) {
	client := connect(t, address)
	images := batch(3)
	want := embed(t, client, images, nil)
	for dataType, tolerance := range map[pixembed.DataType]float64{
		pixembed.Float32: 1e-5, pixembed.Float16: 2e-3, pixembed.BFloat16: 2e-2, pixembed.Int8: 3e-2,
	} {
		got := embed(t, client, images, &pixembed.EmbedOptions{DataType: dataType})
		if !near(got.Flat(), want.Flat(), tolerance) {
			t.Errorf("%v is not near float32", dataType)
		}
	}
	got := embed(t, client, images, &pixembed.EmbedOptions{DataType: pixembed.Binary})
	for i, value := range want.Flat() {
		if math.Abs(float64(value)) > 1e-5 && (got.Flat()[i] == 1) != (value > 0) {
			t.Errorf("number %d is %v, its bit %v", i, value, got.Flat()[i])
		}
	}
}

func TestOptionsReachTheServer(t *testing.T) {
	client := connect(t, address)
	images := batch(1)
	plain := embed(t, client, images, nil)
	for name, options := range map[string]pixembed.EmbedOptions{
		"cls": {Pooling: pixembed.PoolingCLS}, "max": {Pooling: pixembed.PoolingMax}, "layers": {Layers: []int{0, -1}},
	} {
		got := embed(t, client, images, &options)
		if near(got.Vectors[0], plain.Vectors[0], 1e-4) || got.Fingerprint == plain.Fingerprint {
			t.Errorf("%s changes nothing", name)
		}
	}
	for _, lane := range []pixembed.Lane{pixembed.LaneOnline, pixembed.LaneBulk} {
		got := embed(t, client, images, &pixembed.EmbedOptions{
			Lane: lane, Pooling: pixembed.PoolingMean, ExifOrientation: pixembed.ExifIgnore,
			ExpectedFingerprint: plain.Fingerprint,
		})
		if !near(got.Vectors[0], plain.Vectors[0], 1e-5) {
			t.Errorf("%v changes the vector", lane)
		}
	}
	short := embed(t, client, images, &pixembed.EmbedOptions{Dimensions: 5, Normalize: true}).Vectors[0]
	length := 0.0
	for _, value := range short {
		length += float64(value) * float64(value)
	}
	if len(short) != 5 || math.Abs(length-1) > 1e-5 {
		t.Errorf("5 dimensions of length 1 are %v", short)
	}
}

func TestOrientationAndBackgroundGiveTheFinishedPicture(t *testing.T) {
	client := connect(t, address)
	finished := picture(40, 30, 1)
	holed := image.NewNRGBA(image.Rect(0, 0, 30, 40)) // turned by 90 degrees, with a hole
	for y := range 30 {
		for x := range 40 {
			pixel := finished.NRGBAAt(x, y)
			if x < 10 {
				finished.SetNRGBA(x, y, color.NRGBA{10, 200, 30, 255})
				pixel = color.NRGBA{1, 2, 3, 0}
			}
			holed.SetNRGBA(y, 39-x, pixel) // clockwise it is the finished one
		}
	}
	options := &pixembed.EmbedOptions{
		Background: &pixembed.Color{Red: 10, Green: 200, Blue: 30}, ExifOrientation: pixembed.ExifApply,
	}
	explanation, err := client.Explain(t.Context(), withOrientation(pngOf(holed), 6), options)
	if err != nil {
		t.Fatal(err)
	}
	pixels := make([]byte, 0, 40*30*3)
	for y := range 30 {
		for x := range 40 {
			pixel := finished.NRGBAAt(x, y)
			pixels = append(pixels, pixel.R, pixel.G, pixel.B)
		}
	}
	sum := sha256.Sum256(pixels)
	if explanation.GetDecodedSha256() != hex.EncodeToString(sum[:]) || !explanation.GetOrientationApplied() {
		t.Errorf("%dx%d pixels are not those of the finished picture", explanation.GetWidth(), explanation.GetHeight())
	}
	turned := embed(t, client, []pixembed.Image{{Data: withOrientation(pngOf(holed), 6)}}, options)
	if turned.Fingerprint != explanation.GetFingerprint() {
		t.Error("Embed and Explain name different spaces")
	}
}

func TestAWrongOptionFailsTheCallWithAReason(t *testing.T) {
	client := connect(t, address)
	for _, test := range []struct {
		options pixembed.EmbedOptions
		code    codes.Code
		reason  pixembed.Reason
	}{
		{pixembed.EmbedOptions{Model: "other"}, codes.NotFound, pixembed.ReasonUnknownModel},
		{pixembed.EmbedOptions{Dimensions: 100_000}, codes.InvalidArgument, pixembed.ReasonInvalidOption},
		{pixembed.EmbedOptions{Dimensions: -1}, codes.InvalidArgument, pixembed.ReasonInvalidOption},
		{pixembed.EmbedOptions{Layers: []int{math.MaxInt}}, codes.InvalidArgument, pixembed.ReasonInvalidOption},
		{pixembed.EmbedOptions{Layers: []int{77}}, codes.InvalidArgument, pixembed.ReasonInvalidOption},
		{
			pixembed.EmbedOptions{ExpectedFingerprint: strings.Repeat("0", 64)},
			codes.FailedPrecondition, pixembed.ReasonFingerprintMismatch,
		},
	} {
		_, err := client.Embed(t.Context(), batch(1), &test.options)
		wantService(t, err, test.code, test.reason)
		for _, err := range client.Stream(t.Context(), pixembed.Images(batch(1)...), &pixembed.StreamOptions{EmbedOptions: test.options}) {
			wantService(t, err, test.code, test.reason)
		}
	}
}

func TestABatchTooLargeForARequestGivesTheSame(t *testing.T) {
	images := batch(20)
	images[7].Data = []byte("broken")
	want, err := connect(t, address).Embed(t.Context(), images, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, limited := start(t, "--max_request_images=4", bothModels()[0])
	for name, client := range map[string]*pixembed.Client{
		"images": connect(t, limited),
		"bytes":  connect(t, address, pixembed.WithMaxMessageBytes(8<<10)),
	} {
		got, err := client.Embed(t.Context(), images, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !errors.Is(got.Errors[7], pixembed.ReasonUnsupportedFormat) || got.Fingerprint != want.Fingerprint {
			t.Errorf("%s: image 7 is %v", name, got.Errors[7])
		}
		for i := range images {
			if !near(got.Vectors[i], want.Vectors[i], 1e-5) {
				t.Errorf("%s: image %d differs", name, i)
			}
		}
	}
}

func TestAServerStartedAnewWithOtherLimits(t *testing.T) {
	socket := "unix:" + filepath.Join(t.TempDir(), "socket")
	client := connect(t, socket)
	before, _ := start(t, "--listen="+socket, bothModels()[0])
	embed(t, client, batch(10), nil)
	before.terminate()
	<-before.ended
	start(t, "--listen="+socket, "--max_request_images=4", bothModels()[0])
	if err := client.WaitUntilServing(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if got := embed(t, client, batch(10), nil); len(got.Vectors) != 10 {
		t.Errorf("%d vectors", len(got.Vectors))
	}
}

func TestAnImageAboveTheMessageLimitFailsAlone(t *testing.T) {
	client := connect(t, address, pixembed.WithMaxMessageBytes(1<<20))
	images := []pixembed.Image{batch(1)[0], {Data: make([]byte, 2<<20)}}
	embeddings, err := client.Embed(t.Context(), images, nil)
	if err != nil {
		t.Fatal(err)
	}
	if embeddings.Errors[0] != nil || !errors.Is(embeddings.Errors[1], pixembed.ReasonTooManyBytes) {
		t.Errorf("the errors are %v", embeddings.Errors)
	}
}

func TestModels(t *testing.T) {
	client := connect(t, address)
	all, err := client.Models(t.Context())
	if err != nil || len(all) != 2 || all[0].GetName() != "vit" || all[1].GetName() != "small" {
		t.Fatalf("the models are %v, %v", all, err)
	}
	small, err := client.Model(t.Context(), "small")
	if err != nil || small.GetDimension() != 24 || small.GetLimits().GetMaxRequestImages() == 0 {
		t.Errorf("the model is %v, %v", small, err)
	}
	_, err = client.Model(t.Context(), "other")
	wantService(t, err, codes.NotFound, pixembed.ReasonUnknownModel)
}

func TestExplain(t *testing.T) {
	client := connect(t, address)
	explanation, err := client.Explain(t.Context(), jpegOf(picture(70, 50, 1)), nil)
	if err != nil || explanation.GetFormat() != "JPEG" || explanation.GetWidth() != 70 || explanation.GetInputHeight() != 48 {
		t.Errorf("the explanation is %v, %v", explanation, err)
	}
	_, err = client.Explain(t.Context(), []byte("no image"), nil)
	wantService(t, err, codes.InvalidArgument, pixembed.ReasonUnsupportedFormat)
	_, err = client.Explain(t.Context(), nil, &pixembed.EmbedOptions{Dimensions: -1})
	wantService(t, err, codes.InvalidArgument, pixembed.ReasonInvalidOption)
}

func TestHealth(t *testing.T) {
	client := connect(t, address)
	for _, service := range []string{"", "small", "pixembed.v1.EmbeddingService"} {
		if serving, err := client.Health(t.Context(), service); !serving || err != nil {
			t.Errorf("%q: %v, %v", service, serving, err)
		}
		if err := client.WaitUntilServing(t.Context(), service); err != nil {
			t.Error(err)
		}
	}
	_, err := client.Health(t.Context(), "other")
	wantService(t, err, codes.NotFound, pixembed.ReasonUnknownModel)
	wantService(t, client.WaitUntilServing(t.Context(), "other"), codes.NotFound, pixembed.ReasonUnknownModel)
}

func TestWaitUntilServingStartsBeforeTheServer(t *testing.T) {
	socket := "unix:" + filepath.Join(t.TempDir(), "socket")
	client := connect(t, socket)
	waited := make(chan error)
	go func() { waited <- client.WaitUntilServing(t.Context(), "vit") }()
	start(t, append(bothModels(), "--listen="+socket)...)
	if err := <-waited; err != nil {
		t.Error(err)
	}
}

func TestWaitUntilServingEndsWithItsContext(t *testing.T) {
	client := connect(t, "unix:"+filepath.Join(t.TempDir(), "nobody"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := client.WaitUntilServing(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 1)
	defer cancel()
	if err := client.WaitUntilServing(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
}

func TestAnUnreachableServerIsUnavailable(t *testing.T) {
	client := connect(t, "unix:"+filepath.Join(t.TempDir(), "nobody"), pixembed.WithMaxAttempts(1))
	_, err := client.Embed(t.Context(), batch(1), nil)
	wantService(t, err, codes.Unavailable, "")
}

func TestTwoServersShareTheCalls(t *testing.T) {
	first, firstAddress := start(t, bothModels()[0])
	second, secondAddress := start(t, bothModels()[0])
	client := connect(t, firstAddress+", "+secondAddress)
	answered := func(s *server) int {
		s.terminate()
		<-s.ended
		log := strings.Join(s.log, "\n")
		match := regexp.MustCompile(`(\d+) images answered`).FindStringSubmatch(log)
		if match == nil {
			t.Fatal(log)
		}
		count, _ := strconv.Atoi(match[1])
		return count
	}
	// The second connection may come up later than the first; 100 calls are long enough.
	for range 100 {
		embed(t, client, batch(1), nil)
	}
	a, b := answered(first), answered(second)
	if a+b != 100 || a < 10 || b < 10 {
		t.Errorf("%d and %d calls", a, b)
	}
}

func TestAClientOutlivesOneOfTwoServers(t *testing.T) {
	first, firstAddress := start(t, bothModels()[0])
	_, secondAddress := start(t, bothModels()[0])
	client := connect(t, firstAddress+","+secondAddress)
	var group sync.WaitGroup
	for range 4 {
		group.Add(1)
		go func() {
			defer group.Done()
			for range 50 {
				if _, err := client.Embed(t.Context(), batch(1), nil); err != nil && !errors.Is(err, context.Canceled) {
					// CANCELLED: a call that reaches gRPC 1.51 between its shutdown and its GOAWAY.
					t.Error(err)
				}
			}
		}()
	}
	embed(t, client, batch(1), nil)
	first.terminate()
	group.Wait()
	<-first.ended
	if code := first.command.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the exit code is %d", code)
	}
}

func TestADrainingServerLosesNothing(t *testing.T) {
	s, where := start(t, bothModels()[0])
	client := connect(t, where, pixembed.WithMaxAttempts(1))
	vectors := 0
	forever := func(yield func(pixembed.Image, error) bool) {
		for image := batch(1)[0]; yield(image, nil); {
		}
	}
	var failure error
	for result, err := range client.Stream(t.Context(), forever, &pixembed.StreamOptions{Ordered: true}) {
		if err != nil {
			failure = err
			break
		}
		if vectors++; result.Index == 9 {
			s.terminate()
		}
	}
	if status.Code(failure) != codes.Unavailable {
		t.Fatalf("the error is %v", failure)
	}
	<-s.ended
	if log := strings.Join(s.log, "\n"); !strings.Contains(log, strconv.Itoa(vectors)+" images answered") {
		t.Errorf("%d vectors, but:\n%s", vectors, log)
	}
}

func TestAFullQueueIsTriedAgain(t *testing.T) {
	_, where := start(t, bothModels()[0], "--max_queued_images=2", "--max_request_images=2")
	client := connect(t, where, pixembed.WithMaxAttempts(1<<20))
	var group sync.WaitGroup
	for range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			for range 5 {
				if embeddings, err := client.Embed(t.Context(), batch(2), nil); err != nil || embeddings.Err() != nil {
					t.Error(err)
				}
			}
		}()
	}
	group.Wait()
}

func TestAContextBoundsACall(t *testing.T) {
	client := connect(t, address)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := client.Embed(ctx, batch(1), nil)
	if wantService(t, err, codes.Canceled, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("%v is not context.Canceled", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 1)
	defer cancel()
	_, err = client.Embed(ctx, batch(1), nil)
	if wantService(t, err, codes.DeadlineExceeded, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v is not context.DeadlineExceeded", err)
	}
}

func TestChannelsAreUsedInTurn(t *testing.T) {
	client := connect(t, address, pixembed.WithChannels(3))
	want := embed(t, client, batch(1), nil)
	for range 5 {
		if got := embed(t, client, batch(1), nil); !near(got.Flat(), want.Flat(), 1e-5) {
			t.Error("a channel gives another vector")
		}
	}
}

func TestWhatMakesNoSenseIsRefusedByNew(t *testing.T) {
	plaintext := pixembed.WithPlaintext()
	for name, test := range map[string]struct {
		target  string
		options []pixembed.Option
	}{
		"no port in a list":     {"a:1,b", []pixembed.Option{plaintext}},
		"a socket in a list":    {"a:1,unix:/b", []pixembed.Option{plaintext}},
		"an empty one":          {"a:1,", []pixembed.Option{plaintext}},
		"no attempts":           {"a:1", []pixembed.Option{plaintext, pixembed.WithMaxAttempts(0)}},
		"time runs backwards":   {"a:1", []pixembed.Option{plaintext, pixembed.WithReconnectTimeout(-1)}},
		"no channels":           {"a:1", []pixembed.Option{plaintext, pixembed.WithChannels(0)}},
		"no bytes":              {"a:1", []pixembed.Option{plaintext, pixembed.WithMaxMessageBytes(0)}},
		"no keepalive":          {"a:1", []pixembed.Option{plaintext, pixembed.WithKeepalive(0, 1)}},
		"TLS without TLS":       {"a:1", []pixembed.Option{plaintext, pixembed.WithTLS(nil)}},
		"a token in plain view": {"a:1", []pixembed.Option{plaintext, pixembed.WithToken("secret")}},
		"no CA file":            {"a:1", []pixembed.Option{pixembed.WithCAFile("/none")}},
		"a CA file without":     {"a:1", []pixembed.Option{pixembed.WithCAFile("client_test.go")}},
		"no certificate":        {"a:1", []pixembed.Option{pixembed.WithClientCertificate("/none", "/none")}},
		"an empty token":        {"a:1", []pixembed.Option{pixembed.WithToken("")}},
		"the end of a line":     {"a:1", []pixembed.Option{pixembed.WithToken("secret\n")}},
		"a token of two words":  {"a:1", []pixembed.Option{pixembed.WithToken("Bearer secret")}},
		"no source":             {"a:1", []pixembed.Option{pixembed.WithTokenSource(nil)}},
		"no option":             {"a:1", []pixembed.Option{plaintext, nil}},
	} {
		client, err := pixembed.New(test.target, test.options...)
		if err == nil {
			t.Errorf("%s: no error", name)
			_ = client.Close()
		}
	}
}
