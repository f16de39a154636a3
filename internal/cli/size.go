package cli

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// SizeFlag is a flag's value that is a number of bytes: 500M, 2G, 1.5GiB, 4096.
type SizeFlag int64

// String is the number of bytes, "" for none.
func (s *SizeFlag) String() string {
	if *s == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Type implements pflag.Value.
func (s *SizeFlag) Type() string { return "size" }

// Set implements pflag.Value.
func (s *SizeFlag) Set(text string) error {
	n, err := parseSize(text)
	*s = SizeFlag(n)
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
