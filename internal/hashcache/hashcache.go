// Package hashcache remembers hashes of large files from one command to the next, so that a model of gigabytes is not
// read whole only to see that it is still the same. A hash is that of a file as it was opened: its entry has the file's
// path, size, times of change and, where the system has them, device, inode and the time of the last change of the
// inode, which no program can set. A file that was written to a moment before it was hashed is not remembered, because
// its time may not tell the next change from that one.
package hashcache

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/mapped"
)

// Variable is the environment variable that turns the cache off with the value "off".
const Variable = "PEFTCONV_HASH_CACHE"

const (
	leastBytes = 64 << 20 // files that are smaller together are hashed faster than anyone notices
	mostKept   = 256      // entries; the oldest go first
	head       = "peftconv hash 1\n"
)

// settled is how long ago the last change has to be; FAT counts in steps of two seconds.
var settled = 3 * time.Second

// folder is where entries are; nil: the cache is off.
var folder atomic.Pointer[string]

// Use turns the cache on, in a directory that is made when it is needed; "" turns it off. Without it a program has no
// cache.
func Use(dir string) {
	if dir == "" || os.Getenv(Variable) == "off" {
		folder.Store(nil)
		return
	}
	folder.Store(&dir)
}

// Of is the hash of some open, mapped files that compute gives, or what it gave at an earlier time for the same kind
// and the same files. It is as compute's where nothing is known of the files, and whatever is wrong with the cache.
func Of(kind string, paths []string, compute func() (string, error)) (string, error) {
	dir := folder.Load()
	if dir == nil {
		return compute()
	}
	start := time.Now()
	key, changed, ok := describe(kind, paths)
	if !ok {
		return compute()
	}
	path := filepath.Join(*dir, fmt.Sprintf("%x", sha256.Sum256([]byte(key))))
	if sum := read(path, key); sum != "" {
		return sum, nil
	}
	sum, err := compute()
	if err != nil || start.Sub(changed) < settled {
		return sum, err
	}
	if now, _, ok := describe(kind, paths); ok && now == key {
		write(*dir, path, key, sum)
	}
	return sum, nil
}

// describe is the text that says which files there are and in what state, and the time of the last change. It is not ok
// where one of them is not mapped or all of them are small.
func describe(kind string, paths []string) (key string, changed time.Time, ok bool) {
	size := int64(0)
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n", kind)
	for _, path := range paths {
		info := mapped.Info(path)
		full, err := filepath.Abs(path)
		if info == nil || err != nil {
			return "", changed, false
		}
		state, inode := inodeOf(info)
		for _, t := range []time.Time{info.ModTime(), inode} {
			if t.After(changed) {
				changed = t
			}
		}
		size += info.Size()
		fmt.Fprintf(&text, "%q %d %d %s\n", full, info.Size(), info.ModTime().UnixNano(), state)
	}
	return text.String(), changed, size >= leastBytes
}

var isSum = regexp.MustCompile(`^[0-9a-f]{64}\n$`)

// read is the hash in an entry, "" where there is none, or one that is not whole.
func read(path, key string) string {
	text, err := infile.Read(path, infile.Pointer)
	rest, ok := strings.CutPrefix(string(text), head+key)
	if err != nil || !ok || !isSum.MatchString(rest) {
		return ""
	}
	return strings.TrimSuffix(rest, "\n")
}

// write makes an entry. Where that is not possible there is none.
func write(dir, path, key, sum string) {
	text := head + key + sum + "\n"
	if !isSum.MatchString(sum+"\n") || len(text) > infile.Pointer || os.MkdirAll(dir, 0o700) != nil {
		return
	}
	_ = atomicfile.Write(path, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
	prune(dir)
}

// prune removes the oldest entries where there are too many.
func prune(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= mostKept {
		return
	}
	age := func(e os.DirEntry) int64 {
		if info, err := e.Info(); err == nil {
			return info.ModTime().UnixNano()
		}
		return 0
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return cmp.Compare(age(a), age(b)) })
	for _, e := range entries[:len(entries)-mostKept] {
		_ = os.Remove(filepath.Join(dir, e.Name()))
	}
}
