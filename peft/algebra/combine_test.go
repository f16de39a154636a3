package algebra

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/linalg"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/method"
)

// loraOf makes a LoRA with random pairs for weights of the given shapes.
func loraOf(t testing.TB, c attach.Config, seed uint64, shapes map[string][2]int) *attach.Adapter {
	t.Helper()
	c.Method = attach.MethodLoRA
	a := &attach.Adapter{Config: c}
	tensors := map[string][]int{}
	for module, s := range shapes {
		tensors[attach.LoRAName(module, "A")] = []int{c.RankOf(module), s[1]}
		tensors[attach.LoRAName(module, "B")] = []int{s[0], c.RankOf(module)}
	}
	a.Allocate(tensors)
	for _, p := range a.Tensors {
		prng.NewRandom(seed, p.Name).Normal(p.Data, 0.3)
	}
	var err error
	if a.Method, err = attach.NewMethod(&a.Config, a.Tensors); err != nil {
		t.Fatal(err)
	}
	return a
}

const (
	q0 = "model.layers.0.self_attn.q_proj"
	v1 = "model.layers.1.self_attn.v_proj"
	d1 = "model.layers.1.mlp.down_proj"
)

var someShapes = map[string][2]int{q0: {12, 10}, v1: {7, 10}, d1: {10, 21}}

// tensorOf is a tensor's values in float64.
func tensorOf(a *attach.Adapter, module, which string) []float64 {
	for _, p := range a.Tensors {
		if p.Name == attach.LoRAName(module, which) {
			return lowrank.Widened(p.Data)
		}
	}
	return nil
}

// deltaOf is the change of a module's weight, from the definition.
func deltaOf(a *attach.Adapter, module string) []float64 {
	A, B := tensorOf(a, module, "A"), tensorOf(a, module, "B")
	if A == nil {
		return nil
	}
	s, r := someShapes[module], a.Config.RankOf(module)
	d := make([]float64, s[0]*s[1])
	for i := range s[0] {
		for j := range s[1] {
			for k := range r {
				d[i*s[1]+j] += a.Config.ScaleOf(module) * B[i*r+k] * A[k*s[1]+j]
			}
		}
	}
	return d
}

// peftCombine is PEFT's arithmetic on one set of tensors, written down from its definition.
func peftCombine(kind string, tensors [][]float64, weights []float64, density float64, frequency bool) []float64 {
	if strings.HasPrefix(kind, "ties") || strings.HasPrefix(kind, "magnitude") {
		for i, t := range tensors {
			tensors[i] = topShare(t, density)
		}
	}
	out := make([]float64, len(tensors[0]))
	for i := range out {
		vote, sum, n := 0.0, 0.0, 0.0
		for _, t := range tensors {
			if frequency && t[i] != 0 {
				vote += math.Copysign(1, t[i])
			} else {
				vote += t[i]
			}
		}
		for k, t := range tensors {
			agrees := t[i] > 0 && vote >= 0 || t[i] < 0 && vote < 0
			if !strings.Contains(kind, "ties") || agrees {
				sum += weights[k] * t[i]
				n++
			}
		}
		out[i] = sum
		if strings.Contains(kind, "ties") {
			out[i] = sum / max(n, 1)
		}
	}
	return out
}

func topShare(x []float64, density float64) []float64 {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return math.Abs(x[order[a]]) > math.Abs(x[order[b]]) })
	out := make([]float64, len(x))
	for _, i := range order[:int(density*float64(len(x)))] {
		out[i] = x[i]
	}
	return out
}

// bestOfRank is the nearest matrix of a rank.
func bestOfRank(x []float64, m, n, rank int) []float64 {
	u, s, vt := linalg.SVD(x, m, n)
	out := make([]float64, m*n)
	for k := range min(rank, len(s)) {
		for i := range m {
			for j := range n {
				out[i*n+j] += u[i*len(s)+k] * s[k] * vt[k*n+j]
			}
		}
	}
	return out
}

func nearSlices(t *testing.T, what string, got, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if math.Abs(got[i]-want[i]) > tolerance {
			t.Fatalf("%s: value %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// combinedPair are two adapters with scales 2 and 3/4, one of which lacks a module.
func combinedPair(t *testing.T, rankB int) []attach.Scaled {
	a := loraOf(t, attach.Config{Rank: 3, Alpha: 6, Targets: attach.Modules{Names: []string{"q_proj", "v_proj"}}}, 1,
		map[string][2]int{q0: someShapes[q0], v1: someShapes[v1]})
	b := loraOf(t, attach.Config{Rank: rankB, Alpha: 0.75 * float64(rankB),
		Targets: attach.Modules{Names: []string{"down_proj", "q_proj"}}}, 2,
		map[string][2]int{q0: someShapes[q0], d1: someShapes[d1]})
	return []attach.Scaled{{Adapter: a, Scale: 0.7}, {Adapter: b, Scale: -0.4}}
}

func combined(t *testing.T, adapters []attach.Scaled, opt CombineOptions) (*attach.Adapter, *CombineReport) {
	t.Helper()
	a, report, err := combine(context.Background(), adapters, opt)
	if err != nil {
		t.Fatal(err)
	}
	if a.Config.Alpha != float64(a.Config.Rank) || a.Config.RSLoRA || len(a.Tensors) != 6 {
		t.Fatalf("config %+v, %d tensors", a.Config, len(a.Tensors))
	}
	return a, report
}

func TestCombineOfFactors(t *testing.T) {
	for _, kind := range []string{CombineLinear, CombineTies, CombineMagnitude} {
		for _, frequency := range []bool{false, true} {
			in := combinedPair(t, 3)
			opt := CombineOptions{Type: kind, Density: 0.4}
			if frequency {
				opt.MajoritySign = MajorityFrequency
			}
			got, _ := combined(t, in, opt)
			for module := range someShapes {
				for _, which := range []string{"A", "B"} {
					var tensors [][]float64
					var weights []float64
					for _, s := range in {
						x := tensorOf(s.Adapter, module, which)
						if x == nil {
							continue
						}
						w := s.Scale * s.Adapter.Config.Alpha / float64(s.Adapter.Config.Rank)
						root := math.Sqrt(math.Abs(w))
						if which == "A" && w < 0 {
							root = -root
						}
						tensors, weights = append(tensors, x), append(weights, root)
					}
					want := peftCombine(kind, tensors, weights, 0.4, frequency)
					nearSlices(t, fmt.Sprint(kind, frequency, module, which), tensorOf(got, module, which), want, 1e-6)
				}
			}
		}
	}
}

func TestCombineOfChanges(t *testing.T) {
	for _, kind := range []string{CombineSVD, CombineTiesSVD, CombineMagnitudeSVD} {
		for _, once := range []bool{false, true} {
			in := combinedPair(t, 2)
			got, _ := combined(t, in, CombineOptions{Type: kind, Density: 0.6, Rank: 4, ScaleOnce: once})
			for module, s := range someShapes {
				var tensors [][]float64
				var weights []float64
				for _, s := range in {
					if d := deltaOf(s.Adapter, module); d != nil {
						w := s.Scale
						if !once {
							w *= s.Adapter.Config.Alpha / float64(s.Adapter.Config.Rank)
						}
						tensors, weights = append(tensors, d), append(weights, w)
					}
				}
				want := bestOfRank(peftCombine(kind, tensors, weights, 0.6, false), s[0], s[1], 4)
				nearSlices(t, fmt.Sprint(kind, once, " ", module), deltaOf(got, module), want, 2e-5)
			}
		}
	}
}

// PEFT leaves the singular values in B: the rows of A are orthonormal.
func TestCombineSVDForm(t *testing.T) {
	got, _ := combined(t, combinedPair(t, 2), CombineOptions{Type: CombineSVD})
	if got.Config.Rank != 3 {
		t.Errorf("rank %d, want the largest, 3", got.Config.Rank)
	}
	a := tensorOf(got, q0, "A")
	for i := range 3 {
		for j := range 3 {
			dot, want := 0.0, 0.0
			for k := range 10 {
				dot += a[i*10+k] * a[j*10+k]
			}
			if i == j {
				want = 1
			}
			if math.Abs(dot-want) > 1e-6 {
				t.Errorf("rows %d and %d of A have the product %v", i, j, dot)
			}
		}
	}
}

func TestCombineCat(t *testing.T) {
	in := combinedPair(t, 2)
	got, report := combined(t, in, CombineOptions{})
	if got.Config.Rank != 5 || len(got.Config.RankPattern) != 0 {
		t.Errorf("rank %d, pattern %v", got.Config.Rank, got.Config.RankPattern)
	}
	for module := range someShapes {
		want := make([]float64, someShapes[module][0]*someShapes[module][1])
		for _, s := range in {
			for i, x := range deltaOf(s.Adapter, module) {
				want[i] += s.Scale * x
			}
		}
		nearSlices(t, module, deltaOf(got, module), want, 1e-6)
	}
	if report.Difference > 1e-3 || math.Abs(report.Norm-report.Sum) > 1e-3*report.Sum {
		t.Errorf("report %+v", report)
	}
}

// A cut to a rank that holds everything is the sum too.
func TestCombineSVDLosesNothing(t *testing.T) {
	_, report := combined(t, combinedPair(t, 2), CombineOptions{Type: CombineSVD, Rank: 5, ScaleOnce: true})
	if report.Difference > 1e-3 {
		t.Errorf("difference %v", report.Difference)
	}
	_, report = combined(t, combinedPair(t, 2), CombineOptions{Type: CombineSVD, Rank: 2, ScaleOnce: true})
	if report.Difference < 0.05 {
		t.Errorf("difference %v at a rank that is too low", report.Difference)
	}
}

func TestCombineRankPattern(t *testing.T) {
	c := attach.Config{Rank: 2, Alpha: 2, RankPattern: map[string]int{"down_proj": 6},
		AlphaPattern: map[string]float64{"q_proj": 5}, RSLoRA: true}
	a, b := loraOf(t, c, 3, someShapes), loraOf(t, c, 4, someShapes)
	for _, kind := range []string{CombineCat, CombineSVD, CombineLinear} {
		got, _ := combined(t, []attach.Scaled{{Adapter: a, Scale: 1}, {Adapter: b, Scale: 0}},
			CombineOptions{Type: kind, ScaleOnce: true})
		for module := range someShapes {
			nearSlices(t, kind+" "+module, deltaOf(got, module), deltaOf(a, module), 1e-5)
		}
	}
	got, _ := combined(t, []attach.Scaled{{Adapter: a, Scale: 1}, {Adapter: b, Scale: 1}},
		CombineOptions{Type: CombineLinear})
	if got.Config.Rank != 6 || got.Config.RankOf(q0) != 2 || got.Config.RankOf(d1) != 6 || got.Config.ScaleOf(q0) != 1 {
		t.Errorf("config %+v", got.Config)
	}
}

// One adapter alone is scaled, whatever the type says.
func TestCombineOne(t *testing.T) {
	in := combinedPair(t, 3)[:1]
	a, _, err := combine(context.Background(), in, CombineOptions{Type: CombineTiesSVD, Density: 0.1})
	if err != nil {
		t.Fatal(err)
	}
	want := deltaOf(in[0].Adapter, q0)
	for i := range want {
		want[i] *= 0.7
	}
	nearSlices(t, q0, deltaOf(a, q0), want, 1e-6)
}

func TestDare(t *testing.T) {
	x := make([]float32, 20000)
	for i := range x {
		x[i] = 1
	}
	dropRandomly(x, 0.25, prng.NewRandom(5, "name"))
	kept := 0
	for _, v := range x {
		switch v {
		case 4:
			kept++
		case 0:
		default:
			t.Fatalf("value %v, want 0 or 4", v)
		}
	}
	if kept < 4800 || kept > 5200 {
		t.Errorf("%d of 20000 are kept, want about 5000", kept)
	}
	for _, kind := range []string{CombineDareLinear, CombineDareTies, CombineDareLinearSVD, CombineDareTiesSVD} {
		tensors := func(seed uint64) []float64 {
			a, _ := combined(t, combinedPair(t, 3), CombineOptions{Type: kind, Density: 0.5, Seed: seed})
			return append(deltaOf(a, q0), deltaOf(a, d1)...)
		}
		if one := tensors(1); !slices.Equal(one, tensors(1)) || slices.Equal(one, tensors(2)) {
			t.Errorf("%s: the seed does not say what is dropped", kind)
		}
	}
	// At density 1 nothing is dropped.
	a, _ := combined(t, combinedPair(t, 3), CombineOptions{Type: CombineDareLinear, Density: 1})
	b, _ := combined(t, combinedPair(t, 3), CombineOptions{Type: CombineLinear})
	if !slices.Equal(a.Flat, b.Flat) {
		t.Error("dare_linear of density 1 is not linear")
	}
}

func TestKeepLargest(t *testing.T) {
	for _, c := range []struct {
		k    int
		want []float32
	}{
		{0, []float32{0, 0, 0, 0, 0, 0}},
		{1, []float32{0, -5, 0, 0, 0, 0}},
		{3, []float32{2, -5, -2, 0, 0, 0}}, // of equal magnitudes the first
		{4, []float32{2, -5, -2, 2, 0, 0}},
		{6, []float32{2, -5, -2, 2, 1e-20, 0}},
	} {
		x := []float32{2, -5, -2, 2, 1e-20, 0}
		keepLargest(x, c.k)
		if !slices.Equal(x, c.want) {
			t.Errorf("%d of them: %v, want %v", c.k, x, c.want)
		}
	}
}

// The example of the paper's figure: the elected sign is that of the larger sum, and the mean is over those that agree.
func TestDisjointMean(t *testing.T) {
	tensors := [][]float32{{3, -1, 0, 2, 1}, {-1, -3, 0, -2, 1}, {-1, 0, 5, 0, -3}}
	out := make([]float32, 5)
	c := combiner{recipe: recipe{elect: true}}
	c.mix(out, tensors, []float32{1, 1, 1})
	if want := []float32{3, -2, 5, 2, -3}; !slices.Equal(out, want) {
		t.Errorf("total: %v, want %v", out, want)
	}
	c.opt.MajoritySign = MajorityFrequency
	c.mix(out, tensors, []float32{1, 2, 4})
	if want := []float32{-3, -3.5, 20, 2, 1.5}; !slices.Equal(out, want) {
		t.Errorf("frequency: %v, want %v", out, want)
	}
}

func TestCombineTargets(t *testing.T) {
	for _, c := range []struct {
		a, b attach.Config
		want string
	}{
		{attach.Config{Targets: attach.Modules{Names: []string{"v", "q"}}},
			attach.Config{Targets: attach.Modules{Names: []string{"k", "q"}}}, "[k q v] []"},
		{attach.Config{Targets: attach.Modules{Names: []string{"q"}}, Layers: []int{1}},
			attach.Config{Targets: attach.Modules{Names: []string{"q"}}, Layers: []int{1}}, "[q] [1]"},
		{attach.Config{Targets: attach.Modules{Names: []string{"q"}}, Layers: []int{1}},
			attach.Config{Targets: attach.Modules{Names: []string{"q"}}}, "[m.0.q m.1.q] []"},
		{attach.Config{Targets: attach.Modules{Regex: ".*q"}}, attach.Config{Targets: attach.Modules{Regex: ".*k"}},
			"(.*q)|(.*k) []"},
		{attach.Config{Targets: attach.Modules{Regex: ".*q"}}, attach.Config{Targets: attach.Modules{Names: []string{"q"}}},
			"[m.0.q m.1.q] []"},
		{attach.Config{Targets: attach.Modules{Regex: "all-linear"}}, attach.Config{Targets: attach.Modules{Regex: ".*q"}},
			"all-linear []"},
	} {
		targets, _, layers := unionOfTargets([]*attach.Config{&c.a, &c.b}, []string{"m.1.q", "m.0.q"})
		got := fmt.Sprint(targets.Names, layers)
		if targets.Regex != "" {
			got = fmt.Sprint(targets.Regex, " ", layers)
		}
		if got != c.want {
			t.Errorf("%v and %v: %s, want %s", c.a, c.b, got, c.want)
		}
	}
}

func TestCombineRefuses(t *testing.T) {
	in := combinedPair(t, 3)
	other := loraOf(t, attach.Config{Rank: 5, Alpha: 5}, 1, map[string][2]int{q0: someShapes[q0]})
	wide := loraOf(t, attach.Config{Rank: 3, Alpha: 5}, 1, map[string][2]int{q0: {12, 11}})
	foreign := loraOf(t, attach.Config{Rank: 3, Alpha: 5}, 1, map[string][2]int{q0: someShapes[q0]})
	foreign.Origin = attach.Origin{Base: "b.gguf", BaseSHA256: "22", Architecture: "llama"}
	home := loraOf(t, attach.Config{Rank: 3, Alpha: 5}, 1, map[string][2]int{q0: someShapes[q0]})
	home.Origin = attach.Origin{Base: "a.gguf", BaseSHA256: "11", Architecture: "llama"}
	for _, c := range []struct {
		in   []attach.Scaled
		opt  CombineOptions
		want string
	}{
		{nil, CombineOptions{}, "no adapter is given"},
		{in, CombineOptions{Type: "sum"}, `type "sum" is not known, expected one of cat, dare_linear`},
		{in, CombineOptions{Type: CombineTies}, "density is 0, expected more than 0"},
		{in, CombineOptions{Type: CombineTies, Density: math.NaN()}, "density is NaN"},
		{in, CombineOptions{Type: CombineTies, Density: 0.5, MajoritySign: "most"}, `majority sign "most"`},
		{in, CombineOptions{Rank: 4}, "type cat has no rank to choose"},
		{append(in[:1:1], attach.Scaled{Adapter: other, Scale: 1}), CombineOptions{Type: CombineLinear},
			"adapter 2 has rank 5, the first 3"},
		{append(in[:1:1], attach.Scaled{Adapter: wide, Scale: 1}), CombineOptions{},
			"made for a 12×11 weight, the first adapter that has it for one of 12×10"},
		{[]attach.Scaled{{Adapter: home, Scale: 1}, {Adapter: foreign, Scale: 1}}, CombineOptions{},
			"trained over b.gguf with SHA-256 22, but the first over a.gguf"},
		{[]attach.Scaled{{Adapter: home, Scale: math.Inf(1)}}, CombineOptions{}, "weight +Inf"},
	} {
		_, _, err := combine(context.Background(), c.in, c.opt)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	if _, _, err := combine(context.Background(), []attach.Scaled{{Adapter: home, Scale: 1}, {Adapter: foreign, Scale: 1}},
		CombineOptions{Force: true}); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := combine(ctx, in, CombineOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v after cancelling", err)
	}
}

// A combined adapter is an ordinary one: it is saved, loaded, and has the effect of both on a base.
func TestCombinedIsAnAdapter(t *testing.T) {
	base := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	var in []attach.Scaled
	for i, targets := range [][]string{{"q_proj", "k_proj"}, {"k_proj", "ffn"}} {
		a, err := methods.NewLoRA(base, method.LoRA{Rank: 2 + i, Targets: targets, Seed: uint64(i)})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range a.Tensors {
			prng.NewRandom(uint64(i), p.Name).Normal(p.Data, 0.1)
		}
		in = append(in, attach.Scaled{Adapter: a, Scale: 0.5 + float64(i)})
	}
	a, _, err := combine(context.Background(), in, CombineOptions{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sum.safetensors")
	if err := a.Save(path); err != nil {
		t.Fatal(err)
	}
	loaded, err := attach.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := attach.CheckBase(loaded, base); err != nil {
		t.Error(err)
	}
	set := &attach.Data{Examples: []attach.Example{{IDs: []int32{1, 5, 9, 40, 77, 100, 5, 9}}}}
	both, err := eval.Loss(context.Background(), pefttest.Base(base), pefttest.Scaled(in), pefttest.Data(set), 0)
	if err != nil {
		t.Fatal(err)
	}
	one, err := eval.Loss(context.Background(), pefttest.Base(base),
		pefttest.Scaled([]attach.Scaled{{Adapter: loaded, Scale: 1}}), pefttest.Data(set), 0)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(both.Loss-one.Loss) > 1e-5 {
		t.Errorf("loss %v with both, %v with the combination", both.Loss, one.Loss)
	}
}

// The same bytes on any number of threads.
func TestCombineThreads(t *testing.T) {
	defer kernels.SetThreads(0)
	shapes := map[string][2]int{"a": {300, 280}, "b": {280, 140}}
	in := []attach.Scaled{{Adapter: loraOf(t, attach.Config{Rank: 4, Alpha: 8}, 1, shapes), Scale: 1},
		{Adapter: loraOf(t, attach.Config{Rank: 4, Alpha: 4}, 2, shapes), Scale: 0.5}}
	var first []float32
	for _, threads := range []int{1, 3} {
		kernels.SetThreads(threads)
		a, _, err := combine(context.Background(), in, CombineOptions{Type: CombineDareTiesSVD, Density: 0.5, Rank: 6})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = a.Flat
		}
		if !slices.Equal(a.Flat, first) {
			t.Errorf("other values on %d threads", threads)
		}
	}
}
