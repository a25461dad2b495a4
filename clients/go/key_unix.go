//go:build unix

package claviger

import (
	"fmt"
	"os"
)

// checkPrivate refuses what others than its owner may read or write.
func checkPrivate(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("claviger: key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("claviger: key file %s is not a regular file", file.Name())
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("claviger: key file %s has mode %04o: others can read it; chmod 600 it", file.Name(), mode)
	}
	return nil
}
