package pixembed_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

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

// server starts the real one with a certificate of the authority, for 127.0.0.1.
func (a *authority) server(t *testing.T, flags ...string) string {
	t.Helper()
	a.issue(t, "server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	flags = append(flags, "--model="+filepath.Join(models, "vit"),
		"--tls_certificate_file="+a.path("server"), "--tls_private_key_file="+a.path("server.key"))
	_, target := start(t, flags...)
	return target
}

func connectTLS(t *testing.T, target string, options ...pixembed.Option) *pixembed.Client {
	t.Helper()
	client, err := pixembed.New(target, append(options, pixembed.WithReconnectTimeout(0))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestTLSIsTheDefaultAndVerifiesTheServer(t *testing.T) {
	leaves(t)
	a := newAuthority(t)
	target := a.server(t)
	embed(t, connectTLS(t, target, pixembed.WithCAFile(a.path("ca"))), batch(2), nil)
	roots := x509.NewCertPool()
	roots.AddCert(a.certificate)
	embed(t, connectTLS(t, target, pixembed.WithTLS(&tls.Config{RootCAs: roots})), batch(2), nil)
	for name, client := range map[string]*pixembed.Client{
		"the system's roots": connectTLS(t, target),
		"another authority":  connectTLS(t, target, pixembed.WithCAFile(newAuthority(t).path("ca"))),
		"another name": connectTLS(t, target, pixembed.WithTLS(&tls.Config{ServerName: "other"}),
			pixembed.WithCAFile(a.path("ca"))),
		"no TLS": connectTLS(t, target, pixembed.WithPlaintext(), pixembed.WithMaxAttempts(1)),
	} {
		// Waiting would mend nothing, and could be for ever.
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
	target := a.server(t) + "," + a.server(t)
	client := connectTLS(t, target, pixembed.WithCAFile(a.path("ca")))
	for range 10 {
		embed(t, client, batch(1), nil)
	}
}

func TestAServerMayAskForACertificate(t *testing.T) {
	leaves(t)
	a := newAuthority(t)
	target := a.server(t, "--tls_client_ca_file="+a.path("ca"))
	a.issue(t, "client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	known := connectTLS(t, target, pixembed.WithCAFile(a.path("ca")),
		pixembed.WithClientCertificate(a.path("client"), a.path("client.key")))
	embed(t, known, batch(1), nil)
	unknown := connectTLS(t, target, pixembed.WithCAFile(a.path("ca")), pixembed.WithMaxAttempts(1))
	_, err := unknown.Embed(t.Context(), batch(1), nil)
	wantService(t, err, codes.Unavailable, "")
}

func TestATokenTravelsOverTLS(t *testing.T) {
	leaves(t)
	a := newAuthority(t)
	tokens := filepath.Join(a.folder, "tokens")
	if err := os.WriteFile(tokens, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	target := a.server(t, "--auth_token_file="+tokens)
	client := connectTLS(t, target, pixembed.WithCAFile(a.path("ca")), pixembed.WithToken("secret"),
		pixembed.WithKeepalive(time.Minute, time.Minute))
	embed(t, client, batch(1), nil)
	for _, options := range [][]pixembed.Option{nil, {pixembed.WithToken("other")}} {
		stranger := connectTLS(t, target, append(options, pixembed.WithCAFile(a.path("ca")))...)
		_, err := stranger.Embed(t.Context(), batch(1), nil)
		wantService(t, err, codes.Unauthenticated, pixembed.ReasonInvalidToken)
	}
}
