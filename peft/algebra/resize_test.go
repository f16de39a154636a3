package algebra

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
)

func resized(t *testing.T, a *attach.Adapter, opt ResizeOptions) (*attach.Adapter, *ResizeReport) {
	t.Helper()
	small, report, err := resize(context.Background(), a, opt)
	if err != nil {
		t.Fatal(err)
	}
	return small, report
}

// The result is the nearest change of that rank, from the definition.
func TestResize(t *testing.T) {
	a := loraOf(t, attach.Config{Rank: 6, Alpha: 9}, 1, someShapes)
	for _, rank := range []int{1, 3, 6} {
		small, report := resized(t, a, ResizeOptions{Rank: rank})
		for i, module := range []string{q0, d1, v1} {
			s, full := someShapes[module], deltaOf(a, module)
			want := bestOfRank(full, s[0], s[1], rank)
			nearSlices(t, module, deltaOf(small, module), want, 1e-6)
			lost, all := 0.0, 0.0
			for j := range full {
				lost, all = lost+(full[j]-want[j])*(full[j]-want[j]), all+full[j]*full[j]
			}
			r := report.Modules[i]
			if r.Module != module || r.Was != 6 || r.Rank != rank || math.Abs(r.Energy-(1-lost/all)) > 1e-9 ||
				math.Abs(r.Error-math.Sqrt(lost/all)) > 1e-7 {
				t.Errorf("rank %d: %+v, want energy %v", rank, r, 1-lost/all)
			}
		}
		if small.Config.Rank != rank || small.Config.Alpha != float64(rank) {
			t.Errorf("config %+v", small.Config)
		}
	}
}

// Ranks of their own: from known singular values 8, 4, 2, 1.
func TestResizeChoosesRanks(t *testing.T) {
	a := loraOf(t, attach.Config{Rank: 4, Alpha: 4}, 1, map[string][2]int{q0: {12, 10}, v1: {7, 10}})
	for _, p := range a.Tensors {
		clear(p.Data)
		for i := range 4 {
			p.Data[i*p.Cols()+i] = 1
			if strings.Contains(p.Name, "q_proj") && strings.Contains(p.Name, "lora_A") {
				p.Data[i*p.Cols()+i] = float32(int(8) >> i)
			}
		}
	}
	for _, c := range []struct {
		opt  ResizeOptions
		q, v int
	}{
		{ResizeOptions{Energy: 64.0 / 85}, 1, 4}, // v has four equal values: 1/4 of the energy each
		{ResizeOptions{Energy: 0.76}, 2, 4},
		{ResizeOptions{Energy: 1}, 4, 4},
		{ResizeOptions{Energy: 0.5}, 1, 2},
		{ResizeOptions{Energy: 0.99, Rank: 2}, 2, 2},
		{ResizeOptions{Ratio: 3}, 2, 4},
		{ResizeOptions{Ratio: 4.5, Rank: 3}, 3, 3},
		{ResizeOptions{Ratio: 1.5}, 1, 4},
	} {
		small, report := resized(t, a, c.opt)
		got := map[string]int{}
		for _, m := range report.Modules {
			got[m.Module] = m.Rank
		}
		if got[q0] != c.q || got[v1] != c.v {
			t.Errorf("%+v: ranks %v, want %d and %d", c.opt, got, c.q, c.v)
		}
		if small.Config.RankOf(q0) != c.q || small.Config.RankOf(v1) != c.v || small.Config.ScaleOf(q0) != 1 {
			t.Errorf("%+v: config %+v", c.opt, small.Config)
		}
	}
}

// A higher rank is room: the change is the same, and A has rows that B can learn to use.
func TestResizeGrows(t *testing.T) {
	a := loraOf(t, attach.Config{Rank: 2, Alpha: 3}, 1, someShapes)
	large, report := resized(t, a, ResizeOptions{Rank: 8, Seed: 3})
	if large.Config.Rank != 8 || report.Energy != 1 {
		t.Errorf("rank %d, report %+v", large.Config.Rank, report)
	}
	for module, s := range someShapes {
		nearSlices(t, module, deltaOf(large, module), deltaOf(a, module), 1e-6)
		rows := tensorOf(large, module, "A")
		for r := range 8 {
			if rows[r*s[1]] == 0 {
				t.Errorf("%s: row %d of A is zero", module, r)
			}
		}
	}
}

// Nothing, and a negative alpha.
func TestResizeOddScales(t *testing.T) {
	zero := loraOf(t, attach.Config{Rank: 4, Alpha: 4}, 1, someShapes)
	clear(zero.Flat)
	small, report := resized(t, zero, ResizeOptions{Energy: 0.9})
	if small.Config.Rank != 1 || report.Energy != 1 || report.Error != 0 {
		t.Errorf("of nothing: rank %d, %+v", small.Config.Rank, report)
	}
	negative := loraOf(t, attach.Config{Rank: 4, Alpha: -6}, 1, someShapes)
	same, _ := resized(t, negative, ResizeOptions{Rank: 4})
	nearSlices(t, q0, deltaOf(same, q0), deltaOf(negative, q0), 1e-6)
}

func TestResizeRefuses(t *testing.T) {
	a := loraOf(t, attach.Config{Rank: 2, Alpha: 3}, 1, someShapes)
	for _, c := range []struct {
		opt  ResizeOptions
		want string
	}{
		{ResizeOptions{}, "no rank, no energy"},
		{ResizeOptions{Rank: -1}, "rank -1"},
		{ResizeOptions{Energy: 1.5}, "energy 1.5"},
		{ResizeOptions{Energy: math.NaN()}, "energy NaN"},
		{ResizeOptions{Ratio: 1}, "expected more than 1"},
		{ResizeOptions{Ratio: 2, Energy: 0.5}, "give one of them"},
	} {
		if _, _, err := resize(context.Background(), a, c.opt); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := resize(ctx, a, ResizeOptions{Rank: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v after cancelling", err)
	}
}
