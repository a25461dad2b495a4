// Package claviger lets a Go program call a Claviger gateway with the client it already uses.
//
// [Transport] is an [net/http.RoundTripper]: give it to the HTTP client of any SDK, or use it with net/http alone. It
// adds the gateway's credential (the key, or a short-lived access token that it fetches and renews), signs requests,
// and on request retries, limits, caches and counts them. Bodies and streams pass unchanged.
//
//	transport, err := claviger.FromEnv()
//	if err != nil {
//		return err
//	}
//	client := &http.Client{Transport: transport}
//
// The protocols here are Claviger's own, between a caller and its gateway. Claude's API knows nothing of them.
//
// Only the standard library is used.
package claviger
