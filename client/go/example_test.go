package pixembed_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"pixembed"
)

// catJPEG and dogPNG are encoded images.
var catJPEG, dogPNG = jpegOf(picture(70, 50, 1)), pngOf(picture(40, 60, 2))

// A batch: one vector for each image that can be used, one error for each that cannot.
func ExampleClient_Embed() {
	client, err := pixembed.New(address, pixembed.WithPlaintext())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	images := []pixembed.Image{{Data: catJPEG}, {Data: []byte("no image")}, {Data: dogPNG}}
	embeddings, err := client.Embed(ctx, images, &pixembed.EmbedOptions{Normalize: true})
	if err != nil {
		log.Fatal(err)
	}
	for i, vector := range embeddings.Vectors {
		if errors.Is(embeddings.Errors[i], pixembed.ReasonUnsupportedFormat) {
			fmt.Println(i, "is no image")
			continue
		}
		fmt.Println(i, "has", len(vector), "dimensions")
	}
	// Output:
	// 0 has 32 dimensions
	// 1 is no image
	// 2 has 32 dimensions
}

// Any number of files in bounded memory, in their order.
func ExampleClient_Stream() {
	client, err := pixembed.New(address, pixembed.WithPlaintext())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	folder, err := os.MkdirTemp("", "photos")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	paths := []string{filepath.Join(folder, "cat.jpg"), filepath.Join(folder, "gone.jpg")}
	if err := os.WriteFile(paths[0], catJPEG, 0o600); err != nil {
		log.Fatal(err)
	}

	options := &pixembed.StreamOptions{Ordered: true}
	for result, err := range client.Stream(context.Background(), pixembed.Files(paths...), options) {
		switch {
		case err != nil: // of the stream as a whole
			log.Fatal(err)
		case errors.Is(result.Err, os.ErrNotExist):
			fmt.Println(filepath.Base(result.ID), "does not exist")
		case result.Err != nil:
			fmt.Println(filepath.Base(result.ID), result.Err)
		default:
			fmt.Println(filepath.Base(result.ID), len(result.Vector))
		}
	}
	// Output:
	// cat.jpg 32
	// gone.jpg does not exist
}

// Images that other goroutines send.
func ExampleClient_StreamChannel() {
	client, err := pixembed.New(address, pixembed.WithPlaintext())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	images := make(chan pixembed.Image)
	go func() {
		defer close(images)
		for range 100 {
			images <- pixembed.Image{Data: dogPNG}
		}
	}()
	count := 0
	for result, err := range client.StreamChannel(context.Background(), images, nil) {
		if err != nil {
			log.Fatal(err)
		}
		if result.Err == nil {
			count++
		}
	}
	fmt.Println(count)
	// Output: 100
}

// Vectors of two spaces must not meet in one index: the fingerprint keeps them apart.
func ExampleEmbedOptions_fingerprint() {
	client, err := pixembed.New(address, pixembed.WithPlaintext())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	images := []pixembed.Image{{Data: catJPEG}}

	indexed, err := client.Embed(ctx, images, nil)
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.Embed(ctx, images, &pixembed.EmbedOptions{
		Model: "small", ExpectedFingerprint: indexed.Fingerprint,
	})
	fmt.Println(errors.Is(err, pixembed.ReasonFingerprintMismatch))
	// Output: true
}

// Why is a vector what it is? The pixels that the model saw, by their hash.
func ExampleClient_Explain() {
	client, err := pixembed.New(address, pixembed.WithPlaintext())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	explanation, err := client.Explain(context.Background(), catJPEG, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(explanation.GetFormat(), explanation.GetWidth(), explanation.GetHeight())
	fmt.Println(explanation.GetPreprocessing().GetResize(), explanation.GetPreprocessing().GetFilter())
	// Output:
	// JPEG 70 50
	// 48x48 bilinear
}

// Starting beside a server: wait until it serves the model.
func ExampleClient_WaitUntilServing() {
	client, err := pixembed.New(address, pixembed.WithPlaintext())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	if err := client.WaitUntilServing(ctx, "vit"); err != nil {
		log.Fatal(err)
	}
	model, err := client.Model(ctx, "vit")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(model.GetName(), model.GetDimension())
	// Output: vit 32
}

// Three replicas behind TLS, and a token. (It connects at the first call.)
func ExampleNew() {
	client, err := pixembed.New("a.example.org:443,b.example.org:443,c.example.org:443",
		pixembed.WithToken(os.Getenv("TOKEN")),
		pixembed.WithKeepalive(5*time.Minute, 20*time.Second),
		pixembed.WithHealthChecking(),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
}
