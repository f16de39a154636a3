package train

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/dataset"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// TestStreamed trains on examples in memory and in a file, from sources with weights, whole and interrupted: the bytes
// are the same. Other weights, another way of packing and a checkpoint of a version without one are refused.
func TestStreamed(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	dir := t.TempDir()
	var sources []attach.Source
	for i, n := range []int{12, 30} {
		var text strings.Builder
		for e := range n {
			fmt.Fprintf(&text, "{\"input_ids\": [1, %d, %d, %d, 7", 3+i, 3+e, 5+e%7)
			fmt.Fprintf(&text, "%s, 2]}\n", strings.Repeat(", 9", e%9))
		}
		path := filepath.Join(dir, fmt.Sprintf("%d.jsonl", i))
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		sources = append(sources, attach.Source{Path: path, Weight: float64(i + 1)})
	}
	var checkpoint string
	run := func(sources []attach.Source, cache dataset.Cache, interrupt bool, change func(*Options)) ([]byte, error) {
		set, eval, err := attach.LoadData(sources, b, attach.DataOptions{SeqLen: 32, EvalSplit: 0.2, Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		defer set.Close()
		defer eval.Close()
		if inFile := set.Examples == nil; inFile != (cache.Prefix != "") {
			t.Fatalf("in a file: %v", inFile)
		}
		opt := trainOptions(filepath.Join(t.TempDir(), "out.safetensors"))
		if change != nil {
			change(&opt)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if interrupt {
			opt.Observer = OnStep(func(p Progress) {
				if p.Step == 5 {
					cancel()
				}
			})
		}
		a, err := methods.NewLoRA(b, method.LoRA{Rank: 4, Dropout: 0.1, Seed: 3})
		if err != nil {
			t.Fatal(err)
		}
		_, err = trainAdapter(ctx, b, a, set, eval, plain(opt))
		var stop *Interrupted
		if errors.As(err, &stop) {
			checkpoint = stop.Checkpoint
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return pefttest.FileBytes(t, opt.Out), nil
	}
	file := dataset.Cache{Prefix: dir, Limit: 1}
	whole, err := run(sources, dataset.Cache{}, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if streamed, err := run(sources, file, false, nil); err != nil || !bytes.Equal(streamed, whole) {
		t.Errorf("examples in a file give other bytes: %v", err)
	}
	if _, err := run(sources, file, true, nil); err != nil || checkpoint == "" {
		t.Fatalf("no checkpoint: %v", err)
	}
	again := func(o *Options) { o.Resume = checkpoint }
	other := []attach.Source{sources[0], {Path: sources[1].Path, Weight: 5}}
	if _, err := run(other, file, false, again); err == nil || !strings.Contains(err.Error(), "training data") {
		t.Errorf("other weights: %v", err)
	}
	if _, err := run(sources, file, false, func(o *Options) {
		o.Resume, o.NoPacking = checkpoint, true
	}); err == nil || !strings.Contains(err.Error(), "the run had packing best fit, this one has none") {
		t.Errorf("another way of packing: %v", err)
	}
	if resumed, err := run(sources, file, false, again); err != nil || !bytes.Equal(resumed, whole) {
		t.Errorf("an interrupted run over examples in a file gives other bytes: %v", err)
	}
}
