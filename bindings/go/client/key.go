package client

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
)

// DefaultKey is scheme, host and port of a request, and a fingerprint of its
// X-API-Key or, without one, of its Authorization. The fingerprint is keyed
// anew in each process: it tells two secrets apart and betrays neither, so the
// key may be logged.
func DefaultKey(request *http.Request) string {
	origin := ""
	if url := request.URL; url != nil {
		host, port := strings.ToLower(url.Hostname()), url.Port()
		if port == "" {
			port = defaultPorts[url.Scheme]
		}
		origin = url.Scheme + "://" + host + ":" + port
	}
	secret := request.Header.Get("X-Api-Key")
	if secret == "" {
		secret = request.Header.Get("Authorization")
	}
	if secret == "" {
		return origin
	}
	mac := hmac.New(sha256.New, fingerprintKey())
	mac.Write([]byte(secret))
	return origin + " " + hex.EncodeToString(mac.Sum(nil)[:16])
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

var fingerprintKey = sync.OnceValue(func() []byte {
	key := make([]byte, sha256.Size)
	// It never fails: since Go 1.24 the program ends instead.
	_, _ = rand.Read(key)
	return key
})
