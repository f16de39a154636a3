package cli

import (
	"os"
	"path/filepath"
	"regexp"

	"github.com/peftconv/peftconv/internal/infile"
)

// knownBases is where this machine keeps the paths of bases, each in a file named after the hash of its weights. An
// adapter's file has the name of its base alone: it may be given to others.
func knownBases() (string, error) {
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "peftconv", "bases"), err
}

var isHash = regexp.MustCompile(`^[0-9a-f]{64}$`)

// RememberBase keeps the path of a base for RecallBase. It does nothing where that is not possible.
func RememberBase(hash, path string) {
	dir, err := knownBases()
	if err != nil || !isHash.MatchString(hash) {
		return
	}
	if path, err = filepath.Abs(path); err == nil && os.MkdirAll(dir, 0o700) == nil {
		os.WriteFile(filepath.Join(dir, hash), []byte(path), 0o600)
	}
}

// RecallBase is the path of a base by the hash of its weights, "" where none is kept, or there is nothing any more.
func RecallBase(hash string) string {
	dir, err := knownBases()
	if err != nil || !isHash.MatchString(hash) {
		return ""
	}
	path, err := infile.Read(filepath.Join(dir, hash), infile.Pointer)
	if err != nil || !Exists(string(path)) {
		return ""
	}
	return string(path)
}
