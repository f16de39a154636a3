package peft

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// Values of TrainOptions.Recompute.
const (
	RecomputeAuto   = "auto"   // keep activations where they fit easily
	RecomputeAlways = "always" // compute each layer again in the backward pass: the least memory
	RecomputeNever  = "never"  // keep the activations of all layers: a third less to compute
)

// unknownMemory is what is taken to be available where the system does not say.
const unknownMemory = 2 << 30

// keepsActivations says whether a run keeps the activations of a batch of so many tokens: in auto mode when they take
// no more than half of the memory that is available.
func keepsActivations(b *Base, mode string, tokens int) (bool, error) {
	switch mode {
	case RecomputeAlways:
		return false, nil
	case RecomputeNever:
		return true, nil
	case RecomputeAuto, "":
		return b.Model.ActivationBytes(tokens) <= availableMemory()/2, nil
	}
	return false, fmt.Errorf("recompute %q is not known, expected %s, %s or %s", mode, RecomputeAuto, RecomputeAlways, RecomputeNever)
}

// availableMemory is what the process can still take, in bytes: of the machine, and of the control group it runs in.
func availableMemory() int64 {
	available := int64(unknownMemory)
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if kib, ok := kibibytes(text, "MemAvailable:"); ok {
			available = kib << 10
		}
	}
	limit, limited := number("/sys/fs/cgroup/memory.max")
	if used, ok := number("/sys/fs/cgroup/memory.current"); ok && limited {
		available = min(available, max(limit-used, 0))
	}
	return available
}

// kibibytes is the value of a line of /proc/meminfo or /proc/self/status, in KiB.
func kibibytes(text []byte, key string) (int64, bool) {
	for line := range bytes.Lines(text) {
		if fields := bytes.Fields(line); len(fields) >= 2 && string(fields[0]) == key {
			n, err := strconv.ParseInt(string(fields[1]), 10, 53)
			return n, err == nil
		}
	}
	return 0, false
}

// number is the whole number that a file holds.
func number(path string) (int64, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	return n, err == nil
}
