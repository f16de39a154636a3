package batch

import (
	"slices"
	"strings"
	"testing"
)

func TestAppend(t *testing.T) {
	var b Batch
	b.Append([]int32{1, 5, 6}, nil)
	b.Append([]int32{2, 7, 8, 9}, []bool{true, false, true, true})
	b.Append([]int32{3}, nil)
	for _, c := range []struct {
		name      string
		got, want []int32
	}{
		{"ids", b.IDs, []int32{1, 5, 6, 2, 7, 8, 9, 3}},
		{"positions", b.Pos, []int32{0, 1, 2, 0, 1, 2, 3, 0}},
		{"bounds", b.Bounds, []int32{0, 3, 7, 8}},
		{"targets", b.Targets, []int32{5, 6, Ignore, Ignore, 8, 9, Ignore, Ignore}},
		{"leads", b.Leads, []int32{Ignore, 2, Ignore}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s are %v, want %v", c.name, c.got, c.want)
		}
	}
	if b.Tokens() != 8 || b.Sequences() != 3 || b.TargetCount() != 4 {
		t.Errorf("%d tokens, %d sequences, %d targets; want 8, 3 and 4", b.Tokens(), b.Sequences(), b.TargetCount())
	}
	b.Reset()
	if b.Tokens() != 0 || b.Sequences() != 0 || b.TargetCount() != 0 {
		t.Error("a batch that was reset is not empty")
	}
}

// TestPrepend has virtual tokens before sequences that have none.
func TestPrepend(t *testing.T) {
	var b Batch
	b.Append([]int32{1, 5, 6}, nil)
	b.Append([]int32{2, -1, 8}, []bool{true, true, true})
	b.Append([]int32{3, 4}, []bool{true, false})
	b.AppendClass([]int32{7, 7}, 1)
	b.Shift(1)
	b.Prepend(2, -3, func(ids []int32) bool { return !slices.Contains(ids, -1) })
	for _, c := range []struct {
		name      string
		got, want []int32
	}{
		{"ids", b.IDs, []int32{-3, -4, 1, 5, 6, 2, -1, 8, -3, -4, 3, 4, -3, -4, 7, 7}},
		{"positions", b.Pos, []int32{1, 2, 3, 4, 5, 1, 2, 3, 1, 2, 3, 4, 1, 2, 3, 4}},
		{"bounds", b.Bounds, []int32{0, 5, 8, 12, 16}},
		{"targets", b.Targets, []int32{Ignore, Ignore, 5, 6, Ignore, Ignore, 8, Ignore, Ignore, 3, Ignore, Ignore, Ignore,
			Ignore, Ignore, 1}},
		{"leads", b.Leads, []int32{Ignore, 2, Ignore, Ignore}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s are %v, want %v", c.name, c.got, c.want)
		}
	}
	b.Prepend(1, -5, nil)
	if b.Sequences() != 4 || b.IDs[0] != -5 || b.Targets[6] != 2 {
		t.Errorf("a second time: ids %v, targets %v", b.IDs, b.Targets)
	}
}

func TestCheck(t *testing.T) {
	var b Batch
	b.Append([]int32{1, 5}, nil)
	if err := b.Check(6); err != nil {
		t.Error(err)
	}
	if err := b.Check(5); err == nil || !strings.Contains(err.Error(), "id 5, beyond the vocabulary of 5") {
		t.Errorf("an id beyond the vocabulary gives %v", err)
	}
	b.IDs[1], b.Targets[0] = 0, -2
	if err := b.Check(6); err == nil || !strings.Contains(err.Error(), "target 0") {
		t.Errorf("a negative target gives %v", err)
	}
}

// TestWindow wants the neighbours with the most targets, sequences cut.
func TestWindow(t *testing.T) {
	var b Batch
	b.Append([]int32{1, 5, 6}, []bool{true, true, true})
	b.Append([]int32{2, 7, 8, 9, 4}, []bool{true, false, true, true, true})
	for _, c := range []struct {
		n                                int
		ids, pos, bounds, targets, leads []int32
	}{
		{3, []int32{7, 8, 9}, []int32{1, 2, 3}, []int32{0, 3}, []int32{8, 9, 4}, []int32{Ignore}},
		{7, []int32{1, 5, 6, 2, 7, 8, 9}, []int32{0, 1, 2, 0, 1, 2, 3}, []int32{0, 3, 7},
			[]int32{5, 6, Ignore, Ignore, 8, 9, 4}, []int32{1, 2}},
		{100, b.IDs, b.Pos, b.Bounds, b.Targets, b.Leads},
	} {
		w := b.Window(c.n)
		for i, x := range [][2][]int32{{w.IDs, c.ids}, {w.Pos, c.pos}, {w.Bounds, c.bounds}, {w.Targets, c.targets},
			{w.Leads, c.leads}} {
			if !slices.Equal(x[0], x[1]) {
				t.Errorf("%d tokens: %d is %v, want %v", c.n, i, x[0], x[1])
			}
		}
	}
}
