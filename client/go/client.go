// Package pixembed is a client of pixembed: encoded images in, transformer embeddings out, over gRPC.
//
//	client, err := pixembed.New("localhost:50051", pixembed.WithPlaintext())
//	embeddings, err := client.Embed(ctx, images, &pixembed.EmbedOptions{Normalize: true})
//	vector := embeddings.Vectors[0]
//
// An image that cannot be used fails alone, with an *ImageError; a call fails as a whole with a
// *ServiceError. Both hold the server's Reason, which errors.Is finds.
package pixembed

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	pixembedv1 "pixembed/v1"
)

// Client talks to one or several servers of the same models. It may be used by any number of
// goroutines.
type Client struct {
	config      *config
	connections []*grpc.ClientConn
	turn        atomic.Uint64
	models      sync.Map    // name to *pixembedv1.Model
	answered    atomic.Bool // whether a server has answered a call, be it with an error of its own
	closing     sync.Once
	closed      chan struct{} // closed by Close
}

// New makes a client; it connects at the first call. The target is one of gRPC's ("host:port",
// "dns:///name:port" for every address behind the name, "unix:path"), or a list of servers,
// "host:port,host:port". Calls go to all servers in turn.
//
// Connections use TLS and the system's roots unless an option says otherwise. A context bounds each
// call; without a deadline it may last as long as the server takes.
//
// Errors: a target or an option that makes no sense; a file of an option that cannot be read.
func New(target string, options ...Option) (*Client, error) {
	config, err := newConfig(options)
	if err != nil {
		return nil, err
	}
	client := &Client{config: config, closed: make(chan struct{})}
	for range config.channels {
		connection, err := config.connect(target)
		if err != nil {
			return nil, errors.Join(err, client.Close())
		}
		client.connections = append(client.connections, connection)
	}
	return client, nil
}

// Close ends the connections and every call on them, with CANCELLED. Again it does nothing.
func (c *Client) Close() error {
	var problems []error
	c.closing.Do(func() {
		close(c.closed)
		for _, connection := range c.connections {
			problems = append(problems, connection.Close())
		}
	})
	return errors.Join(problems...)
}

// Models lists the models that the server serves.
//
// Errors: *ServiceError.
func (c *Client) Models(ctx context.Context) ([]*pixembedv1.Model, error) {
	response, err := unary(ctx, c, pixembedv1.EmbeddingServiceClient.ListModels, &pixembedv1.ListModelsRequest{})
	return response.GetModels(), err
}

// Model describes one model: dimension, poolings, preprocessing, limits. An empty name is the server's
// first model.
//
// Errors: *ServiceError; ReasonUnknownModel.
func (c *Client) Model(ctx context.Context, name string) (*pixembedv1.Model, error) {
	return unary(ctx, c, pixembedv1.EmbeddingServiceClient.GetModel, &pixembedv1.GetModelRequest{Name: name})
}

// Explain says what the server does to one encoded image before the model sees it, for an embedding
// under these options; nil is the default ones.
//
// Errors: *ServiceError with the image's reason where it cannot be used, and those of Embed.
func (c *Client) Explain(ctx context.Context, data []byte, options *EmbedOptions) (*pixembedv1.ImageExplanation, error) {
	if options == nil {
		options = &EmbedOptions{}
	}
	message, err := options.message(false)
	if err != nil {
		return nil, err
	}
	request := &pixembedv1.ExplainImageRequest{Model: options.Model, Data: data, Options: message}
	return unary(ctx, c, pixembedv1.EmbeddingServiceClient.ExplainImage, request)
}

// next is the connection whose turn it is.
func (c *Client) next() *grpc.ClientConn {
	return c.connections[(c.turn.Add(1)-1)%uint64(len(c.connections))]
}

// unary is a call of the embedding service.
func unary[Request, Response any](
	ctx context.Context, c *Client,
	method func(pixembedv1.EmbeddingServiceClient, context.Context, Request, ...grpc.CallOption) (*Response, error),
	request Request,
) (*Response, error) {
	return retry(ctx, c, 0, func(connection *grpc.ClientConn) (*Response, error) {
		return method(pixembedv1.NewEmbeddingServiceClient(connection), ctx, request)
	})
}

// check is a call of the health service.
func (c *Client) check(ctx context.Context, service string) (*healthv1.HealthCheckResponse, error) {
	return retry(ctx, c, probes, func(connection *grpc.ClientConn) (*healthv1.HealthCheckResponse, error) {
		return healthv1.NewHealthClient(connection).Check(ctx, &healthv1.HealthCheckRequest{Service: service})
	})
}
