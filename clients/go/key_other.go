//go:build !unix

package claviger

import "os"

// checkPrivate has nothing to judge where files have no mode.
func checkPrivate(*os.File) error { return nil }
