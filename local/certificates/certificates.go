// Package certificates makes the certificate authority of one local run and
// the certificate its servers present on the loopback interface, so that local
// connections to PostgreSQL and Redis are verified exactly as on AWS.
package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	// lifetime stays below the 398 days that Apple's and Chrome's verifiers
	// accept of a server certificate (CA/Browser Forum Baseline Requirements 6.3.2).
	lifetime = 365 * 24 * time.Hour
	// renewBefore is the least validity an existing set must have left.
	renewBefore = 30 * 24 * time.Hour
)

// CA is a run's certificate authority and the certificate it signed for
// 127.0.0.1, ::1 and localhost. The authority's private key is not kept: it
// signs once and is forgotten, so nobody can make another certificate that
// the run's programs would trust.
type CA struct {
	File     string // PEM of the authority's certificate; what contract.EnvCAFile names
	CertFile string // PEM of the servers' certificate
	KeyFile  string // PEM (PKCS #8) of its private key, mode 0600
}

// Open returns the CA kept in dir and makes it (ECDSA P-256) when there is
// none, or when the one there ends within 30 days.
func Open(dir string) (*CA, error) {
	ca := &CA{
		File:     filepath.Join(dir, "ca.pem"),
		CertFile: filepath.Join(dir, "server.pem"),
		KeyFile:  filepath.Join(dir, "server.key"),
	}
	err := ca.verify(time.Now().Add(renewBefore))
	if err == nil {
		return ca, nil
	}
	_, ended := errors.AsType[x509.CertificateInvalidError](err)
	if !ended && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the local certificates in %s: %w; remove the folder to have them made again", dir, err)
	}
	if err := create(dir); err != nil {
		return nil, fmt.Errorf("make the local certificates in %s: %w", dir, err)
	}
	return ca, nil
}

// ServerTLS is the configuration of a server that presents the certificate.
func (ca *CA) ServerTLS() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(ca.CertFile, ca.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("load the local server certificate: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, nil
}

// ClientTLS is the configuration of a client that trusts this authority and no other.
func (ca *CA) ClientTLS() (*tls.Config, error) {
	pool, err := ca.pool()
	if err != nil {
		return nil, err
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

func (ca *CA) pool() (*x509.CertPool, error) {
	data, err := os.ReadFile(ca.File)
	if err != nil {
		return nil, fmt.Errorf("read the local certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no certificate", ca.File)
	}
	return pool, nil
}

// verify checks that the set is complete, belongs together and is valid at a time.
func (ca *CA) verify(at time.Time) error {
	pool, err := ca.pool()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(ca.CertFile, ca.KeyFile)
	if err != nil {
		return err
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "localhost", CurrentTime: at})
	return err
}

// create makes the set beside dir and moves it into place whole, so that two
// programs that start at once never mix their halves.
func create(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	next, err := os.MkdirTemp(filepath.Dir(dir), ".certificates-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(next) }()
	// Servers that run as another user read the authority's file.
	if err := os.Chmod(next, 0o755); err != nil {
		return err
	}

	now := time.Now()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	authority := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Loadbearing local run " + now.UTC().Format(time.RFC3339)},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(lifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, caKey.Public(), caKey)
	if err != nil {
		return err
	}

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: "localhost"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, authority, key.Public(), caKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}

	for _, f := range []struct {
		name, kind string
		der        []byte
		mode       fs.FileMode
	}{
		{"ca.pem", "CERTIFICATE", authorityDER, 0o644},
		{"server.pem", "CERTIFICATE", leafDER, 0o644},
		{"server.key", "PRIVATE KEY", keyDER, 0o600},
	} {
		block := pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der})
		if err := os.WriteFile(filepath.Join(next, f.name), block, f.mode); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(next, dir)
}

// serial returns 127 random bits: RFC 5280, 4.1.2.2 allows 20 octets, positive.
func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}
