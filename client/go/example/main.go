// The README's call from Go. usage: go run ./example IMAGE...
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"pixembed"
)

func main() {
	client, err := pixembed.New("127.0.0.1:50051", pixembed.WithPlaintext())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	var images []pixembed.Image
	for _, path := range os.Args[1:] {
		data, err := os.ReadFile(path)
		if err != nil {
			log.Fatal(err)
		}
		images = append(images, pixembed.Image{Data: data})
	}
	embeddings, err := client.Embed(context.Background(), images, &pixembed.EmbedOptions{Normalize: true})
	if err != nil {
		log.Fatal(err)
	}
	for i, path := range os.Args[1:] {
		if err := embeddings.Errors[i]; err != nil { // one broken image fails alone
			fmt.Printf("%s: %v\n", path, err)
			continue
		}
		fmt.Printf("%s: %v\n", path, embeddings.Vectors[i][0])
	}
}
