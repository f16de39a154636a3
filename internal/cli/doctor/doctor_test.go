package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/memory"
	"github.com/peftconv/peftconv/peft/train"
)

const gb = 1 << 30

// laptop is a machine that has nothing to warn of.
func laptop() *machine {
	return &machine{
		processor: "Some Processor 9000", getenv: func(string) string { return "" },
		free:   func(string) (int64, error) { return 100 * gb, nil },
		limits: []memory.Left{{By: memory.Machine, Limit: 16 * gb, Bytes: 12 * gb}},
		kernels: Kernels{
			Tier: "avx512", Best: "avx512", Tiers: []string{"generic", "avx2", "avx512"}, Better: "amx",
			Lacks: []string{"amx_tile", "amx_int8"}, Precision: "int8",
		},
		features: []string{"avx2", "avx512f"}, count: 8, allowed: 8, threads: 8,
	}
}

// environment answers as one in which these variables are set.
func environment(set map[string]string) func(string) string {
	return func(name string) string { return set[name] }
}

func TestWarnings(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*machine)
		want   []string // the beginning of each warning
	}{
		"nothing": {func(*machine) {}, nil},
		"a tier below the processor's": {func(m *machine) {
			m.kernels.Tier, m.getenv = "avx2", environment(map[string]string{"PEFTCONV_TIER": "avx2"})
		}, []string{"kernels use avx2, and the processor has avx512: PEFTCONV_TIER"}},
		"the tier that is used anyway": {func(m *machine) {
			m.getenv = environment(map[string]string{"PEFTCONV_TIER": "avx512"})
		}, nil},
		"a tier that is not there": {func(m *machine) {
			m.getenv = environment(map[string]string{"PEFTCONV_TIER": "amx"})
		}, []string{"PEFTCONV_TIER=amx has no effect: the processor has generic, avx2, avx512"}},
		"no kernels": {func(m *machine) {
			m.kernels.Tier, m.kernels.Best, m.kernels.Tiers = "generic", "generic", []string{"generic"}
		}, []string{"there are no kernels for this processor"}},
		"one processor of many": {func(m *machine) { m.allowed, m.threads = 1, 1 },
			[]string{"1 of 8 processors may be used", "there is one thread"}},
		"a small control group": {func(m *machine) {
			m.limits = append(m.limits, memory.Left{By: "a control group", Limit: gb, Bytes: gb / 2})
		}, []string{"little memory is available: 536.9 MB"}},
		"nothing known of memory": {func(m *machine) { m.limits = nil },
			[]string{"how much memory is available is not known"}},
		"a full disk": {func(m *machine) { m.free = func(string) (int64, error) { return 1e6, nil } },
			[]string{"the disk of ", "the disk of "}},
		"a disk that does not tell": {func(m *machine) {
			m.free = func(string) (int64, error) { return 0, errors.ErrUnsupported }
		}, nil},
	} {
		m := laptop()
		c.change(m)
		got := m.report("1.0").Warnings
		if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
			t.Errorf("%s: the warnings are %q, want %q", name, got, c.want)
		}
	}
}

func TestReport(t *testing.T) {
	m := laptop()
	m.getenv = environment(map[string]string{"NO_COLOR": "1", "HOME": "/home/ann"})
	m.limits = append(m.limits, memory.Left{By: "a control group", Limit: 8 * gb, Bytes: 6 * gb})
	r := m.report("1.0")
	if r.Memory.Total != 16*gb || r.Memory.Available != 6*gb {
		t.Errorf("%d of %d bytes are available", r.Memory.Available, r.Memory.Total)
	}
	if len(r.Settings) != 1 || r.Settings[0].Name != "NO_COLOR" {
		t.Errorf("the settings are %v", r.Settings)
	}
	r.Model = &Model{
		File: "m.gguf", Architecture: "llama", Types: []Type{{"Q4_K", 2, 5e6, true}, {"I8", 1, 2, false}}, Layers: 2,
		Tokenizer: true, Training: []Plan{{"", 2e9, false}, {"--recompute always", 1e9, true}},
		Epoch: &Epoch{"notes.txt", &train.Trial{Tokens: 5000, Steps: 3, Seconds: 95, StepTokens: 2048}},
	}
	var b bytes.Buffer
	r.Print(&b)
	for _, line := range []string{
		"processor     Some Processor 9000; 8 logical processors, of which 8 compute\n",
		"kernels       avx512, of generic, avx2, avx512; not amx: this processor lacks amx_tile, amx_int8\n",
		"memory        17.2 GB, 6.4 GB available; a control group has a limit of 8.6 GB and leaves 6.4 GB\n",
		"settings      NO_COLOR=1: no colours on the terminal\n",
		"types      Q4_K (2 tensors, 5.0 MB); I8 (1 tensor, 2 B), which cannot be computed with\n",
		"training   does not fit: about 2.0 GB with the default flags\n" +
			"           fits: about 1.0 GB with --recompute always\n",
		"epoch      about 1:35 for 5,000 tokens of notes.txt in 3 steps",
	} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("the report lacks %q:\n%s", line, &b)
		}
	}
}

// TestNames holds the names of the JSON, which scripts read.
func TestNames(t *testing.T) {
	r := laptop().report("1.0")
	r.Model = &Model{Training: []Plan{{}}, Types: []Type{{}}, Epoch: &Epoch{"a", &train.Trial{}}}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var found map[string]any
	if err := json.Unmarshal(text, &found); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ at, want string }{
		{"", "disks go kernels memory model processor settings system version warnings"},
		{"processor", "allowed count features name threads"},
		{"kernels", "best better lacks precision tier tiers"},
		{"memory", "available_bytes limits total_bytes"},
		{"model", "architecture epoch file parameters size_bytes tokenizer training types"},
	} {
		object := found
		if c.at != "" {
			object = found[c.at].(map[string]any)
		}
		if got := strings.Join(slices.Sorted(maps.Keys(object)), " "); got != c.want {
			t.Errorf("the fields of %q are %s, want %s", c.at, got, c.want)
		}
	}
}

// TestFails wants exit status 1 where the default flags do not do.
func TestFails(t *testing.T) {
	for _, c := range []struct {
		model Model
		want  bool
	}{
		{Model{}, false}, {Model{Problem: "no"}, true}, {Model{Training: []Plan{{Fits: true}}}, false},
		{Model{Training: []Plan{{Flags: ""}, {Flags: "--recompute always", Fits: true}}}, true},
	} {
		if got := c.model.Fails(); got != c.want {
			t.Errorf("%+v: fails is %v", c.model, got)
		}
	}
}

// TestPlan leaves out flags that save nothing.
func TestPlan(t *testing.T) {
	var m Model
	err := m.plan(func(change func(*train.Options)) (*train.Memory, error) {
		var o train.Options
		change(&o)
		needs := &train.Memory{Weights: 100, Available: 90, Known: true}
		if o.MicroBatch > 0 {
			needs.Weights = 60
		}
		return needs, nil
	})
	want := []Plan{{"", 100, false}, {"--recompute always --micro-batch-tokens 256", 60, true}}
	if err != nil || !slices.Equal(m.Training, want) {
		t.Errorf("the plans are %v, %v, want %v", m.Training, err, want)
	}
}
