package pixembed_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"pixembed"
)

// authority signs certificates and keeps them as PEM files.
type authority struct {
	folder      string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{folder: t.TempDir()}
	a.certificate, a.key = a.issue(t, "ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.folder, name+".pem") }

// issue writes a certificate and its key to NAME.pem and NAME.key.pem.
func (a *authority) issue(t *testing.T, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	must(err)
	template.Subject = pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	must(err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	must(os.WriteFile(a.path(name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(os.WriteFile(a.path(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	certificate, err := x509.ParseCertificate(der)
	must(err)
	return certificate, key
}

func (a *authority) forServer(t *testing.T) *tls.Config {
	t.Helper()
	a.issue(t, "server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	pair, err := tls.LoadX509KeyPair(a.path("server"), a.path("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.certificate)
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: roots, NextProtos: []string{"h2"}}
}

// proxy takes TLS in front of a server that has none, until the test ends.
func proxy(t *testing.T, configuration *tls.Config, target string) string {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", configuration)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	carry := func(to, from net.Conn) {
		defer group.Done()
		_, _ = io.Copy(to, from)
		_ = to.Close()
		_ = from.Close()
	}
	group.Add(1)
	go func() {
		defer group.Done()
		for {
			outside, err := listener.Accept()
			if err != nil {
				return
			}
			inside, err := net.Dial("tcp", target)
			if err != nil {
				t.Error(err)
				return
			}
			group.Add(2)
			go carry(inside, outside)
			go carry(outside, inside)
		}
	}()
	t.Cleanup(func() { // after the client was closed, which ends its connections
		_ = listener.Close()
		group.Wait()
	})
	return listener.Addr().String()
}

func connectTLS(t *testing.T, target string, options ...pixembed.Option) *pixembed.Client {
	t.Helper()
	client, err := pixembed.New(target, append(options, pixembed.WithMaxAttempts(1))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestTLSIsTheDefaultAndVerifiesTheServer(t *testing.T) {
	leaves(t)
	a := newAuthority(t)
	target := proxy(t, a.forServer(t), address)
	embed(t, connectTLS(t, target, pixembed.WithCAFile(a.path("ca"))), batch(2), nil)
	roots := x509.NewCertPool()
	roots.AddCert(a.certificate)
	embed(t, connectTLS(t, target, pixembed.WithTLS(&tls.Config{RootCAs: roots})), batch(2), nil)
	for name, client := range map[string]*pixembed.Client{
		"the system's roots": connectTLS(t, target),
		"another authority":  connectTLS(t, target, pixembed.WithCAFile(newAuthority(t).path("ca"))),
		"another name": connectTLS(t, target, pixembed.WithTLS(&tls.Config{ServerName: "other"}),
			pixembed.WithCAFile(a.path("ca"))),
		"no TLS": connectTLS(t, target, pixembed.WithPlaintext()),
	} {
		_, err := client.Embed(t.Context(), batch(1), nil)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		wantService(t, err, codes.Unavailable, "")
	}
}

func TestServersOfAListAreVerifiedByTheirOwnNames(t *testing.T) {
	leaves(t)
	a := newAuthority(t)
	configuration := a.forServer(t)
	target := proxy(t, configuration, address) + "," + proxy(t, configuration, address)
	client := connectTLS(t, target, pixembed.WithCAFile(a.path("ca")))
	for range 10 {
		embed(t, client, batch(1), nil)
	}
}

func TestAServerMayAskForACertificate(t *testing.T) {
	leaves(t)
	a := newAuthority(t)
	configuration := a.forServer(t)
	configuration.ClientAuth = tls.RequireAndVerifyClientCert
	target := proxy(t, configuration, address)
	a.issue(t, "client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	known := connectTLS(t, target, pixembed.WithCAFile(a.path("ca")),
		pixembed.WithClientCertificate(a.path("client"), a.path("client.key")))
	embed(t, known, batch(1), nil)
	_, err := connectTLS(t, target, pixembed.WithCAFile(a.path("ca"))).Embed(t.Context(), batch(1), nil)
	wantService(t, err, codes.Unavailable, "")
}

func TestATokenTravelsOverTLS(t *testing.T) {
	leaves(t)
	a := newAuthority(t)
	f := &fake{}
	seen := make(chan []string, 1)
	f.embed = func(ctx context.Context, _ int64) error {
		header, _ := metadata.FromIncomingContext(ctx)
		seen <- header.Get("authorization")
		return nil
	}
	target := serve(t, f, grpc.Creds(credentials.NewTLS(a.forServer(t))))
	client := connectTLS(t, target, pixembed.WithCAFile(a.path("ca")), pixembed.WithToken("secret"),
		pixembed.WithKeepalive(time.Minute, time.Minute))
	embed(t, client, batch(1), nil)
	if tokens := <-seen; len(tokens) != 1 || tokens[0] != "Bearer secret" {
		t.Errorf("the server saw %q", tokens)
	}
}
