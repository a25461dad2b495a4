package claviger

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
)

// ClientCertificate is shown to the gateway with every call (mutual TLS), the purchase of tokens and the health check
// included, for keys and tokens that are bound to it (RFC 8705).
type ClientCertificate struct {
	// Certificate is a PEM file with the certificate, and those between it and its authority. It is read again for
	// each new connection, so that a renewed one is shown.
	Certificate string
	// Key is the PEM file of its private key; the same file when empty.
	Key string
	// Authority is a PEM file of those who may have signed the gateway's own certificate; whom the system believes
	// when empty.
	Authority string
}

// Transport makes an [http.Transport] that shows the certificate, with the settings of [http.DefaultTransport].
func (c ClientCertificate) Transport() (*http.Transport, error) {
	if _, err := c.load(); err != nil {
		return nil, err
	}
	made := http.DefaultTransport
	base, isUsual := made.(*http.Transport)
	if !isUsual {
		base = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	}
	base = base.Clone()
	base.TLSClientConfig = &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return c.load()
		},
	}
	if c.Authority == "" {
		return base, nil
	}
	text, err := os.ReadFile(c.Authority)
	if err != nil {
		return nil, fmt.Errorf("claviger: certificate authority: %w", err)
	}
	base.TLSClientConfig.RootCAs = x509.NewCertPool()
	if !base.TLSClientConfig.RootCAs.AppendCertsFromPEM(text) {
		return nil, errors.New("claviger: " + c.Authority + " holds no certificate")
	}
	return base, nil
}

func (c ClientCertificate) load() (*tls.Certificate, error) {
	key := c.Key
	if key == "" {
		key = c.Certificate
	}
	pair, err := tls.LoadX509KeyPair(c.Certificate, key)
	if err != nil {
		return nil, fmt.Errorf("claviger: client certificate: %w", err)
	}
	return &pair, nil
}
