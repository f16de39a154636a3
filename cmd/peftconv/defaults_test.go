package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/internal/cli/input"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/peft/train"
)

// TestDefaults: for every method the library with zero options writes the bytes that the command without flags does.
func TestDefaults(t *testing.T) {
	path, text := tinyBase(t, tiny), tinyText(t)
	base, err := peft.OpenBase(path)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	for _, opt := range []method.Options{
		method.LoRA{}, method.IA3{}, method.LNTuning{}, method.BitFit{}, method.LoHa{}, method.LoKr{}, method.VeRA{},
		method.OFT{}, method.AdaLoRA{}, method.Bottleneck{}, method.PromptTuning{}, method.PrefixTuning{},
		method.PTuning{}, method.PTuningV2{}, method.QAT{},
	} {
		t.Run(opt.Method(), func(t *testing.T) {
			flags := []string{"--method", opt.Method(), "--seed", "0"}
			if opt.Method() == (method.QAT{}).Method() {
				flags = []string{"--qat", method.ChannelAuto, "--seed", "0"}
			}
			file, _, _ := trainWith(t, path, text, flags...)
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			a, err := peft.New(base, opt)
			if err != nil {
				t.Fatal(err)
			}
			data, err := peft.LoadData(text, base, peft.DataOptions{SeqLen: 48})
			if err != nil {
				t.Fatal(err)
			}
			sample, err := data.Sample(input.SampledTokens)
			if err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), "out.safetensors")
			_, err = train.Run(context.Background(), base, a, data, sample,
				train.Options{Steps: 3, Out: out})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the command wrote %d bytes, the library %d others: %v", len(want), len(got), err)
			}
		})
	}
}
