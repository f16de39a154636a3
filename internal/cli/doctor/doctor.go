// Package doctor says what peftconv finds on a machine and would use of it, and whether a model can be trained there.
package doctor

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/bench"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/memory"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/train"
)

// Report is what was found. The names of its JSON stay.
type Report struct {
	Version   string      `json:"version"`
	Go        string      `json:"go"`
	System    string      `json:"system"` // linux/amd64
	Processor Processor   `json:"processor"`
	Kernels   Kernels     `json:"kernels"`
	Peak      *bench.Peak `json:"peak,omitempty"` // where it was measured
	Memory    Memory      `json:"memory"`
	Disks     []Disk      `json:"disks"`
	Settings  []Setting   `json:"settings"` // that are set
	Warnings  []string    `json:"warnings"`
	Model     *Model      `json:"model,omitempty"`
}

// Processor is that of the machine.
type Processor struct {
	Name     string   `json:"name"`     // "": not known
	Features []string `json:"features"` // of those that kernels use
	Count    int      `json:"count"`    // of logical processors that the process may run on
	Allowed  int      `json:"allowed"`  // at once: by a control group, or GOMAXPROCS
	Threads  int      `json:"threads"`  // that would be used
}

// Kernels are the instructions that would be used.
type Kernels struct {
	Tier      string   `json:"tier"`
	Best      string   `json:"best"`              // tier of this processor
	Tiers     []string `json:"tiers"`             // that it has
	Better    string   `json:"better,omitempty"`  // the next tier, for features
	Lacks     []string `json:"lacks,omitempty"`   // that the processor has not
	Refused   string   `json:"refused,omitempty"` // the tier that the system does not let this process use
	Precision string   `json:"precision"`         // of products with quantized weights in training
}

// Memory is that of the machine, with the limits of the process.
type Memory struct {
	Total     int64         `json:"total_bytes,omitempty"` // 0: not known
	Available int64         `json:"available_bytes,omitempty"`
	Limits    []memory.Left `json:"limits"`
}

// Disk is what is free where a folder is.
type Disk struct {
	Folder string `json:"folder"`
	Use    string `json:"use"`
	Free   int64  `json:"free_bytes"`
}

// Setting is a variable of the environment that is set.
type Setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Effect string `json:"effect"`
}

// settings are the variables that change what the program does.
var settings = []struct{ name, effect string }{
	{"PEFTCONV_TIER", "kernels use this tier, where the processor has a higher one"},
	{"PEFTCONV_HASH_CACHE", "off: hashes of files are not kept for the next run"},
	{"PEFTCONV_DEBUG", "internal errors are printed with where they happened"},
	{"GOMAXPROCS", "the most threads that compute at once"},
	{"GOMEMLIMIT", "the most memory that is not in mapped files"},
	{"GOGC", "how early garbage is collected"},
	{"GODEBUG", "the Go runtime's switches; cpu.* hide features of the processor"},
	{"NO_COLOR", "no colours on the terminal"},
	{"HF_HOME", "where hf: names are looked up"},
	{"HF_HUB_CACHE", "where hf: names are looked up"},
	{"OLLAMA_MODELS", "where ollama: names are looked up"},
	{"TMPDIR", "where temporary files are"},
}

// machine is where a report's facts come from.
type machine struct {
	processor string
	total     int64 // memory, where no limit tells it
	getenv    func(string) string
	free      func(folder string) (int64, error)
	limits    []memory.Left
	kernels   Kernels
	features  []string
	count     int
	allowed   int
	threads   int
}

// thisMachine is the one that the program runs on.
func thisMachine() *machine {
	has, better, lacks := kernels.Features()
	tiers := kernels.Tiers()
	return &machine{
		processor: processorName(), total: memoryTotal(), getenv: os.Getenv, free: freeDisk, limits: memory.Limits(),
		kernels: Kernels{
			Tier: kernels.Tier(), Best: tiers[len(tiers)-1], Tiers: tiers, Better: better, Lacks: lacks,
			Refused:   kernels.Refused(),
			Precision: train.AutoPrecision().String(),
		},
		features: has, count: runtime.NumCPU(), allowed: runtime.GOMAXPROCS(0), threads: kernels.Threads(),
	}
}

// Examine looks at this machine; with measure it also measures its peaks, where there is memory for that.
func Examine(version string, measure bool) *Report {
	r := thisMachine().report(version)
	if measure && !r.short(leastMemory) {
		peak := bench.MeasurePeak()
		r.Peak = &peak
	}
	return r
}

// report is what there is to say without measuring.
func (m *machine) report(version string) *Report {
	r := &Report{
		Version: version, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH,
		Processor: Processor{
			Name: m.processor, Features: slices.Concat([]string{}, m.features), Count: m.count, Allowed: m.allowed,
			Threads: m.threads,
		},
		Kernels: m.kernels, Memory: Memory{Total: m.total, Limits: slices.Concat([]memory.Left{}, m.limits)},
		Disks: []Disk{}, Settings: []Setting{}, Warnings: []string{},
	}
	for i, l := range m.limits {
		if i == 0 || l.Bytes < r.Memory.Available {
			r.Memory.Available = l.Bytes
		}
		if l.By == memory.Machine {
			r.Memory.Total = l.Limit
		}
	}
	r.disks(m)
	for _, s := range settings {
		if value := m.getenv(s.name); value != "" {
			r.Settings = append(r.Settings, Setting{s.name, value, s.effect})
		}
	}
	r.warn(m)
	return r
}

// disks looks at the folder for outputs and at that for temporary files.
func (r *Report) disks(m *machine) {
	here, err := os.Getwd()
	if err != nil {
		here = "."
	}
	for _, d := range []Disk{{here, "this folder", 0}, {os.TempDir(), "temporary files", 0}} {
		if d.Free, err = m.free(d.Folder); err == nil {
			r.Disks = append(r.Disks, d)
		}
	}
}

// What is little, in bytes.
const (
	leastMemory = 1 << 30
	leastDisk   = 1 << 30
)

// short says whether less memory is available than that; where nothing is known it is not.
func (r *Report) short(bytes int64) bool {
	return len(r.Memory.Limits) > 0 && r.Memory.Available < bytes
}

// warn adds what is likely to disappoint.
func (r *Report) warn(m *machine) {
	say := func(format string, args ...any) { r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...)) }
	k := &r.Kernels
	asked := m.getenv("PEFTCONV_TIER")
	switch {
	case k.Tier != k.Best:
		say("kernels use %s, and the processor has %s: PEFTCONV_TIER is set", k.Tier, k.Best)
	case asked != "" && asked != k.Tier:
		say("PEFTCONV_TIER=%s has no effect: the processor has %s", asked, strings.Join(k.Tiers, ", "))
	}
	if k.Best == "generic" {
		say("there are no kernels for this processor: everything is computed in plain Go, many times slower")
	}
	if r.Processor.Allowed < r.Processor.Count {
		say("%d of %d processors may be used at once: by a control group, or by GOMAXPROCS", r.Processor.Allowed,
			r.Processor.Count)
	}
	if r.Processor.Threads == 1 {
		say("there is one thread to compute with")
	}
	switch {
	case len(r.Memory.Limits) == 0:
		say("how much memory is available is not known on this system: train starts without a check")
	case r.short(leastMemory):
		say("little memory is available: %s; peaks are not measured, and small models alone can be trained",
			cli.BytesText(r.Memory.Available))
	}
	for _, d := range r.Disks {
		if d.Free < leastDisk {
			say("the disk of %s (%s) is nearly full: %s are free", d.Folder, d.Use, cli.BytesText(d.Free))
		}
	}
}
