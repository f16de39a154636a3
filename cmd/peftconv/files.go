package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
)

// copyMeter is a meter of bytes whose total is known with the first of them. Work that is done at once shows none.
type copyMeter struct {
	w     io.Writer
	mu    sync.Mutex // several threads may read
	begun time.Time
	m     *meter
}

// meterAfter is how long work takes before a copyMeter shows.
const meterAfter = 500 * time.Millisecond

func (c *copyMeter) update(done, size int64, note string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.begun.IsZero():
		c.begun = time.Now()
	case c.m == nil && time.Since(c.begun) > meterAfter:
		c.m = newMeter(c.w, inBytes, size)
		c.m.startAt(done)
	}
	if c.m != nil {
		c.m.update(done, printable(note, 0))
	}
}

func (c *copyMeter) stop() { c.m.stop() }

// sizeFlag is a flag's value that is a number of bytes: 500M, 2G, 1.5GiB, 4096.
type sizeFlag int64

func (s *sizeFlag) String() string {
	if *s == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*s), 10)
}

func (s *sizeFlag) Type() string { return "size" }

func (s *sizeFlag) Set(text string) error {
	n, err := parseSize(text)
	*s = sizeFlag(n)
	return err
}

// sizeUnits are the letters that may follow a number of bytes, each a thousand times the one before; with "i", 1024.
const sizeUnits = "KMGT"

// parseSize reads a number of bytes: a positive number, then K, M, G or T (powers of 1000), Ki, Mi … (powers of 1024),
// in upper or lower case, with or without a B.
func parseSize(text string) (int64, error) {
	number := strings.TrimRight(strings.TrimSpace(text), "BbIiKkMmGgTt")
	unit := strings.ToUpper(strings.TrimSpace(text)[len(number):])
	unit = strings.TrimSuffix(unit, "B")
	base := 1000.0
	if rest, ok := strings.CutSuffix(unit, "I"); ok && rest != "" {
		base, unit = 1024, rest
	}
	power := 0
	if unit != "" {
		power = 1 + strings.Index(sizeUnits, unit)
	}
	x, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || len(unit) > 1 || unit != "" && power == 0 {
		return 0, fmt.Errorf("%q, expected a number of bytes such as 500M, 2G or 1.5GiB", text)
	}
	bytes := x * math.Pow(base, float64(power))
	if !(bytes >= 1) || bytes >= math.MaxInt64 {
		return 0, errors.New("expected at least 1 byte, and no more than a file can have")
	}
	return int64(bytes), nil
}
