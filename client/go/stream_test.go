package pixembed_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"

	"pixembed"
)

// leaves fails the test if goroutines are left that were not there.
func leaves(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // after the client was closed
}

// collect is the results of a stream that does not fail.
func collect(t *testing.T, results iter.Seq2[pixembed.Result, error]) []pixembed.Result {
	t.Helper()
	var all []pixembed.Result
	for result, err := range results {
		if err != nil {
			t.Fatal(err)
		}
		if (result.Vector == nil) == (result.Err == nil) {
			t.Fatalf("image %d has a vector and an error, or neither", result.Index)
		}
		all = append(all, result)
	}
	return all
}

// forever is one picture again and again; *ended is set when it is asked no more.
func forever(ended *bool) iter.Seq2[pixembed.Image, error] {
	return func(yield func(pixembed.Image, error) bool) {
		defer func() { *ended = true }()
		for image := batch(1)[0]; yield(image, nil); {
		}
	}
}

func TestAStreamAnswersAThousandImagesOnce(t *testing.T) {
	leaves(t)
	client := connect(t, address)
	images := batch(1000)
	images[5].Data = []byte("broken")
	results := collect(t, client.Stream(t.Context(), pixembed.Images(images...), nil))
	slices.SortFunc(results, func(a, b pixembed.Result) int { return a.Index - b.Index })
	if len(results) != 1000 || !errors.Is(results[5].Err, pixembed.ReasonUnsupportedFormat) {
		t.Fatalf("%d results; image 5 is %v", len(results), results[5].Err)
	}
	sample := []int{0, 1, 499, 999}
	for i, result := range results {
		if result.Index != i || result.ID != fmt.Sprint("image-", i) {
			t.Fatalf("result %d is %d, %q", i, result.Index, result.ID)
		}
		if slices.Contains(sample, i) {
			want := embed(t, client, images[i:i+1], nil)
			if !near(result.Vector, want.Vectors[0], 1e-5) || result.Fingerprint != want.Fingerprint {
				t.Errorf("image %d has another vector in the stream", i)
			}
		}
	}
}

func TestAnOrderedStreamKeepsTheOrder(t *testing.T) {
	leaves(t)
	client := connect(t, address)
	for _, inFlight := range []int{1, 4, 0} {
		missing := errors.New("no such image")
		source := func(yield func(pixembed.Image, error) bool) {
			for i, image := range batch(60) {
				var err error
				if i%10 == 0 || i == 59 {
					err = missing
				}
				if !yield(image, err) {
					return
				}
			}
		}
		options := &pixembed.StreamOptions{Ordered: true, MaxInFlightImages: inFlight}
		results := collect(t, client.Stream(t.Context(), source, options))
		if len(results) != 60 {
			t.Fatalf("%d results", len(results))
		}
		for i, result := range results {
			unreadable := errors.Is(result.Err, missing) && errors.Is(result.Err, pixembed.ReasonUnreadableImage)
			if result.Index != i || unreadable != (i%10 == 0 || i == 59) {
				t.Fatalf("result %d is %d, %v", i, result.Index, result.Err)
			}
		}
	}
}

func TestAStreamOfUnreadableImagesOnly(t *testing.T) {
	leaves(t)
	client := connect(t, address)
	for _, ordered := range []bool{false, true} {
		paths := slices.Repeat([]string{"/none/a.png"}, 600)
		results := collect(t, client.Stream(t.Context(), pixembed.Files(paths...), &pixembed.StreamOptions{Ordered: ordered}))
		if len(results) != 600 || !errors.Is(results[0].Err, fs.ErrNotExist) || results[0].ID != "/none/a.png" {
			t.Fatalf("%d results; image 0 is %v", len(results), results[0].Err)
		}
	}
}

func TestAStreamOfNothing(t *testing.T) {
	leaves(t)
	client := connect(t, address)
	if results := collect(t, client.Stream(t.Context(), pixembed.Images(), nil)); results != nil {
		t.Errorf("the results are %v", results)
	}
}

func TestAStreamOfFiles(t *testing.T) {
	leaves(t)
	client := connect(t, address)
	// A name that is no UTF-8, as file systems allow.
	path := filepath.Join(t.TempDir(), "\xff.png")
	if err := os.WriteFile(path, batch(1)[0].Data, 0o600); err != nil {
		t.Fatal(err)
	}
	results := collect(t, client.Stream(t.Context(), pixembed.Files(path), nil))
	if len(results) != 1 || results[0].ID != path || results[0].Vector == nil {
		t.Errorf("the results are %v", results)
	}
}

func TestAStreamTakesNoMoreImagesThanItsWindow(t *testing.T) {
	leaves(t)
	client := connect(t, address)
	answered := make(chan struct{}, 100)
	source := func(yield func(pixembed.Image, error) bool) {
		for i := range 50 {
			// The first five need no answer: four on their way, and one when the first of them is
			// delivered, which it is before the channel says so.
			if i > 4 {
				<-answered
			}
			if !yield(batch(1)[0], nil) {
				return
			}
		}
	}
	for result, err := range client.Stream(t.Context(), source, &pixembed.StreamOptions{MaxInFlightImages: 4}) {
		if err != nil || result.Err != nil {
			t.Fatal(err, result.Err)
		}
		answered <- struct{}{}
	}
	if len(answered) != 5 {
		t.Errorf("%d answers were not waited for", len(answered))
	}
}

func TestABoundOfBytesLetsALargeImageTravelAlone(t *testing.T) {
	leaves(t)
	client := connect(t, address)
	results := collect(t, client.Stream(t.Context(), pixembed.Images(batch(20)...), &pixembed.StreamOptions{MaxInFlightBytes: 1}))
	if len(results) != 20 {
		t.Errorf("%d results", len(results))
	}
}

func TestAStreamFromAChannel(t *testing.T) {
	leaves(t)
	client := connect(t, address)
	images := make(chan pixembed.Image)
	go func() {
		defer close(images)
		for _, image := range batch(30) {
			images <- image
		}
	}()
	if results := collect(t, client.StreamChannel(t.Context(), images, nil)); len(results) != 30 {
		t.Errorf("%d results", len(results))
	}
}

func TestLeavingAStreamEarlyEndsIt(t *testing.T) {
	leaves(t)
	client := connect(t, address)
	ended := false
	for result, err := range client.Stream(t.Context(), forever(&ended), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if result.Vector != nil {
			break
		}
	}
	if !ended {
		t.Error("the iterator still runs")
	}
	// A channel that nobody closes.
	images := make(chan pixembed.Image, 1)
	images <- batch(1)[0]
	for range client.StreamChannel(t.Context(), images, nil) {
		break
	}
	embed(t, client, batch(1), nil)
}

func TestAContextEndsAStream(t *testing.T) {
	leaves(t)
	client := connect(t, address)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := false
	var last error
	for _, err := range client.Stream(ctx, forever(&ended), nil) {
		cancel()
		last = err
	}
	if wantService(t, last, codes.Canceled, ""); !errors.Is(last, context.Canceled) || !ended {
		t.Errorf("the error is %v", last)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 1)
	defer cancel()
	for _, err := range client.Stream(ctx, forever(&ended), nil) {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error is %v", err)
		}
	}
}

func TestAStreamTellsItsEndBeforeItWaitsForItsImages(t *testing.T) {
	leaves(t)
	client := connect(t, address)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := make(chan struct{})
	source := func(yield func(pixembed.Image, error) bool) {
		yield(batch(1)[0], nil)
		<-told
	}
	for _, err := range client.Stream(ctx, source, nil) {
		cancel()
		if errors.Is(err, context.Canceled) {
			close(told)
		}
	}
	<-told
}

func TestAPanicOfTheImagesIsOneOfTheLoop(t *testing.T) {
	leaves(t)
	client := connect(t, address)
	source := func(yield func(pixembed.Image, error) bool) {
		yield(batch(1)[0], nil)
		panic("the source is broken")
	}
	defer func() {
		if panicked := recover(); panicked != "the source is broken" {
			t.Errorf("the panic is %v", panicked)
		}
	}()
	for _, err := range client.Stream(t.Context(), source, nil) {
		if err != nil {
			t.Error(err)
		}
	}
	t.Error("no panic")
}

func TestImagesThatEndTheirGoroutineEndTheStream(t *testing.T) {
	leaves(t)
	client := connect(t, address)
	source := func(yield func(pixembed.Image, error) bool) { runtime.Goexit() }
	for _, err := range client.Stream(t.Context(), source, nil) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
	}
}

func TestAStreamMayRunTwice(t *testing.T) {
	leaves(t)
	client := connect(t, address)
	results := client.Stream(t.Context(), pixembed.Images(batch(5)...), nil)
	for range 2 {
		if count := len(collect(t, results)); count != 5 {
			t.Errorf("%d results", count)
		}
	}
}

func TestAStreamRefusesABoundThatIsNone(t *testing.T) {
	client := connect(t, address)
	for _, options := range []pixembed.StreamOptions{{MaxInFlightImages: -1}, {MaxInFlightBytes: -1}} {
		for _, err := range client.Stream(t.Context(), pixembed.Images(), &options) {
			wantService(t, err, codes.InvalidArgument, pixembed.ReasonInvalidOption)
		}
	}
}

func TestClosingTheClientEndsAStream(t *testing.T) {
	leaves(t)
	client, err := pixembed.New(address, pixembed.WithPlaintext())
	if err != nil {
		t.Fatal(err)
	}
	ended := false
	var last error
	for _, err := range client.Stream(t.Context(), forever(&ended), nil) {
		last = err
		_ = client.Close()
	}
	wantService(t, last, codes.Canceled, "")
}
