package pixembed

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // lets WithHealthChecking work
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

const (
	defaultMaxMessageBytes  = 64 << 20
	defaultReconnectTimeout = time.Minute
)

// Option configures a Client.
type Option func(*config) error

type config struct {
	tls              *tls.Config
	asksForTLS       bool
	plaintext        bool
	token            func(context.Context) (string, error)
	exposeToken      bool
	keepalive        *keepalive.ClientParameters
	maxMessageBytes  int
	maxAttempts      int // 0: as many as there is time for
	reconnectTimeout time.Duration
	channels         int
	healthChecking   bool
	dialOptions      []grpc.DialOption
}

// WithPlaintext connects without TLS: whoever can read the network can read images and vectors. For
// loopback, and for networks that encrypt by other means.
func WithPlaintext() Option {
	return func(c *config) error {
		c.plaintext = true
		return nil
	}
}

// WithTLS connects with a configuration of your own, which is copied. Without it, and without
// WithPlaintext, servers are verified by the system's roots.
func WithTLS(configuration *tls.Config) Option {
	return func(c *config) error {
		if c.asksForTLS = true; configuration != nil {
			c.tls = configuration.Clone()
		}
		return nil
	}
}

// WithCAFile verifies servers by the certificates of a PEM file, and by nothing else. After WithTLS it
// adds to its configuration.
func WithCAFile(path string) Option {
	return func(c *config) error {
		pem, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no certificate", path)
		}
		c.asksForTLS, c.tls.RootCAs = true, roots
		return nil
	}
}

// WithClientCertificate shows a certificate to servers that ask for one (mTLS). The PEM files are read
// anew for each connection, so that renewed ones are taken up. After WithTLS it adds to its
// configuration.
func WithClientCertificate(certificateFile, keyFile string) Option {
	return func(c *config) error {
		load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			certificate, err := tls.LoadX509KeyPair(certificateFile, keyFile)
			return &certificate, err
		}
		if _, err := load(nil); err != nil {
			return err
		}
		c.asksForTLS, c.tls.GetClientCertificate = true, load
		return nil
	}
}

// WithToken sends "authorization: Bearer TOKEN" with every call; only over TLS.
func WithToken(token string) Option {
	return func(c *config) error {
		c.token = func(context.Context) (string, error) { return token, nil }
		return checkToken(token)
	}
}

// checkToken refuses what no header may hold; gRPC would drop the end of a line in silence.
func checkToken(token string) error {
	if token == "" {
		return errors.New("the token is empty")
	}
	for i, character := range []byte(token) {
		if character <= ' ' || character > '~' {
			return fmt.Errorf("byte %d of the token is %q: it has visible ASCII only, and no end of a line", i, character)
		}
	}
	return nil
}

// WithTokenSource is WithToken for tokens that change: source is asked at every attempt of a call, by
// several goroutines at once. Its error fails the call with UNAUTHENTICATED.
func WithTokenSource(source func(context.Context) (string, error)) Option {
	return func(c *config) error {
		if source == nil {
			return errors.New("the source of tokens is nil")
		}
		c.token = source
		return nil
	}
}

// WithTokenOverPlaintext lets a token travel without TLS, where whoever reads it can use it.
func WithTokenOverPlaintext() Option {
	return func(c *config) error {
		c.exposeToken = true
		return nil
	}
}

// WithKeepalive pings a connection that was silent for interval while calls are open, and gives it up
// where no answer comes within timeout. gRPC servers close connections that ping more often than they
// allow; by default that is every 5 minutes. The default is no pings.
func WithKeepalive(interval, timeout time.Duration) Option {
	return func(c *config) error {
		if interval <= 0 || timeout <= 0 {
			return fmt.Errorf("keepalive is every %v with a timeout of %v; both must be positive", interval, timeout)
		}
		c.keepalive = &keepalive.ClientParameters{Time: interval, Timeout: timeout}
		return nil
	}
}

// WithMaxMessageBytes limits the messages that are sent and received; 64 MiB by default. A batch that
// is larger goes through a stream. The server has a limit of its own (Model.Limits.MaxMessageBytes).
func WithMaxMessageBytes(bytes int) Option {
	return func(c *config) error {
		if bytes < 1 {
			return fmt.Errorf("the largest message has %d bytes; it must have at least 1", bytes)
		}
		c.maxMessageBytes = bytes
		return nil
	}
}

// WithMaxAttempts says how often one call is tried, the first time included, and a stream since its last
// result; by default as often as there is time for, until the context's deadline and within
// WithReconnectTimeout, but 5 times while no server has answered this client; 1 is never again. UNAVAILABLE is tried again with exponential backoff (50 ms to 1 s,
// with jitter), at the next server where there are several. RESOURCE_EXHAUSTED is tried again where the
// server said when (RetryInfo), after that time and up to half of it more at random; where it is refused
// again and again, after no less than the backoff. A stream does not count how often a server says that it is
// DRAINING. A certificate that does not fit is not tried again.
func WithMaxAttempts(attempts int) Option {
	return func(c *config) error {
		if attempts < 1 {
			return fmt.Errorf("calls are tried %d times; it must be at least once", attempts)
		}
		c.maxAttempts = attempts
		return nil
	}
}

// WithReconnectTimeout says how long a call is tried again, from its first failure on, and a stream from its
// first failure since its last result; a minute by default, 0 is without a limit.
func WithReconnectTimeout(timeout time.Duration) Option {
	return func(c *config) error {
		if timeout < 0 {
			return fmt.Errorf("a stream waits %v for its server; it must not be negative", timeout)
		}
		c.reconnectTimeout = timeout
		return nil
	}
}

// WithChannels opens so many connections to each server, used in turn; 1 by default. More help where
// one connection's flow control or TLS is the limit.
func WithChannels(count int) Option {
	return func(c *config) error {
		if count < 1 {
			return fmt.Errorf("there are %d channels; there must be at least 1", count)
		}
		c.channels = count
		return nil
	}
}

// WithHealthChecking sends calls only to servers that say they are SERVING, so that one which is about
// to shut down is left before it refuses anything. Where no server is SERVING every call fails with
// UNAVAILABLE, Health among them. For several servers.
func WithHealthChecking() Option {
	return func(c *config) error {
		c.healthChecking = true
		return nil
	}
}

// WithDialOptions adds options of gRPC: interceptors, statistics, a proxy. They win over this package's.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(c *config) error {
		c.dialOptions = append(c.dialOptions, options...)
		return nil
	}
}

func newConfig(options []Option) (*config, error) {
	c := &config{
		tls:              &tls.Config{},
		maxMessageBytes:  defaultMaxMessageBytes,
		reconnectTimeout: defaultReconnectTimeout,
		channels:         1,
	}
	for i, option := range options {
		if option == nil {
			return nil, fmt.Errorf("pixembed: option %d is nil", i)
		}
		if err := option(c); err != nil {
			return nil, fmt.Errorf("pixembed: %w", err)
		}
	}
	if c.plaintext && c.asksForTLS {
		return nil, errors.New("pixembed: WithPlaintext contradicts the options that concern TLS")
	}
	if c.plaintext && c.token != nil && !c.exposeToken {
		return nil, errors.New("pixembed: a token travels only over TLS: drop WithPlaintext, or add WithTokenOverPlaintext")
	}
	return c, nil
}

// connect makes one channel to the servers behind target.
func (c *config) connect(target string) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{
		grpc.WithDefaultServiceConfig(c.serviceConfig()),
		grpc.WithDisableServiceConfig(), // that of DNS: it would win
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(c.maxMessageBytes),
			// gRPC itself sends again what no server has seen, if it fits here; its default is 256 KiB.
			grpc.MaxRetryRPCBufferSize(c.maxMessageBytes)),
		// A server that is starting is found soon; gRPC's defaults are 1 s and 2 minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestBackoff},
			MinConnectTimeout: 5 * time.Second,
		}),
	}
	if c.plaintext {
		options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	} else {
		options = append(options, grpc.WithTransportCredentials(credentials.NewTLS(c.tls)))
	}
	if c.token != nil {
		options = append(options, grpc.WithPerRPCCredentials(bearer{c.token, !c.exposeToken}))
	}
	if c.keepalive != nil {
		options = append(options, grpc.WithKeepaliveParams(*c.keepalive))
	}
	if err := c.checkTarget(target); err != nil {
		return nil, err
	}
	if isList(target) {
		servers, err := staticList(target)
		if err != nil {
			return nil, err
		}
		options = append(options, grpc.WithResolvers(servers))
		target = servers.Scheme() + ":///" + servers.state.Addresses[0].Addr
	}
	return grpc.NewClient(target, append(options, c.dialOptions...)...)
}

func (c *config) serviceConfig() string {
	type object map[string]any
	result := object{"loadBalancingConfig": []object{{"round_robin": object{}}}}
	if c.healthChecking {
		result["healthCheckConfig"] = object{"serviceName": ""}
	}
	text, err := json.Marshal(result)
	if err != nil {
		panic(err) // strings and numbers always are JSON
	}
	return string(text)
}

// isList tells a list of servers from one target; only gRPC knows what its schemes mean by a comma.
func isList(target string) bool {
	return strings.Contains(target, ",") && !strings.Contains(strings.SplitN(target, ",", 2)[0], "://")
}

// checkTarget refuses what cannot be meant: gRPC itself takes port 443 where there is none.
func (c *config) checkTarget(target string) error {
	address := strings.TrimPrefix(target, "dns:")
	scheme, rest, hasScheme := strings.Cut(target, "://")
	switch {
	case isList(target), isSocket(target):
		return nil
	case hasScheme && scheme == "dns":
		_, address, _ = strings.Cut(rest, "/") // after the name server
	case hasScheme && scheme == strings.ToLower(scheme) && c.resolves(scheme):
		return nil
	}
	if _, ok := hostOf(address); !ok {
		return fmt.Errorf(`pixembed: the target %q is not "host:port" with a port from 1 to 65535, `+
			`"unix:path", "dns:///name:port" or a list "host:port,host:port"`, target)
	}
	return nil
}

// resolves says whether gRPC may know a scheme: one that is registered, or in WithDialOptions, which
// nobody can look into.
func (c *config) resolves(scheme string) bool {
	return resolver.Get(scheme) != nil || len(c.dialOptions) > 0
}

func isSocket(target string) bool {
	scheme, path, _ := strings.Cut(target, ":")
	return (scheme == "unix" || scheme == "unix-abstract") && path != ""
}

// hostOf is the host of "host:port"; false: it is something else, or the port is none.
func hostOf(address string) (string, bool) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || strings.ContainsFunc(host, neverInHost) {
		return "", false
	}
	// Brackets are for what has colons.
	if strings.HasPrefix(address, "[") && strings.Trim(host, "0123456789abcdefABCDEF.:") != "" ||
		strings.HasPrefix(address, "[") != strings.Contains(host, ":") {
		return "", false
	}
	number, err := strconv.ParseUint(port, 10, 16)
	return host, err == nil && number > 0
}

func neverInHost(character rune) bool {
	return character <= ' ' || character == 0x7f || strings.ContainsRune(`/,[]@?#%\`, character)
}

// servers resolves to a list that was given.
type servers struct {
	*manual.Resolver
	state resolver.State
}

// staticList takes "host:port,host:port". Each server's certificate is held against its own name.
func staticList(target string) (*servers, error) {
	result := &servers{Resolver: manual.NewBuilderWithScheme("pixembed")}
	for address := range strings.SplitSeq(target, ",") {
		address = strings.TrimSpace(address)
		host, ok := hostOf(address)
		if !ok {
			return nil, fmt.Errorf(`pixembed: %q in a list of servers is not "host:port" with a port from 1 to 65535`, address)
		}
		result.state.Addresses = append(result.state.Addresses, resolver.Address{Addr: address, ServerName: host})
	}
	result.InitialState(result.state)
	return result, nil
}

// bearer is a token as gRPC's per-call credentials.
type bearer struct {
	source func(context.Context) (string, error)
	secure bool
}

func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b.source(ctx)
	if err == nil {
		err = checkToken(token)
	}
	if err != nil {
		return nil, fmt.Errorf("no token: %w", err)
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

func (b bearer) RequireTransportSecurity() bool { return b.secure }
