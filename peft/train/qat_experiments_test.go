package train

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/lycoris"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
)

// TestQATExperiments makes the measurements of docs/quantization-aware.md: adapters of several methods are trained over
// the built-in model in several types on a text unlike its training text, and merged. PEFTCONV_EXPERIMENTS says which,
// as words key=value: types=Q4_0,Q4_K_S runs=lora:3e-4,lora:5e-3,scale:3e-2,oft:0,qat-oft:0 steps=150 rank=16 seed=1
// base=FILE text=gsm8k precision=bf16 latent=yes rounding=requantize,compensate calibration=FILE. A rate of 0 is the
// method's own. Each run gives a line.
func TestQATExperiments(t *testing.T) {
	spec := os.Getenv("PEFTCONV_EXPERIMENTS")
	if spec == "" {
		t.Skip("PEFTCONV_EXPERIMENTS is not set")
	}
	e := newExperiments(t, spec)
	for _, typ := range e.list("types", "Q4_0,Q4_1,Q4_K_S,Q5_K_S,Q6_K,Q8_0,Q3_K_S,Q2_K,IQ4_NL,IQ4_XS") {
		e.base(typ)
		for _, run := range e.list("runs", "lora:3e-4,lora:5e-3,auto:0") {
			e.run(typ, run)
		}
	}
}

// experiments is what all runs share.
type experiments struct {
	t           *testing.T
	words       map[string]string
	dir         string
	train, eval string // texts
	calibration string // likewise, of compensated merges
	path        string // of the base in the present type
}

func newExperiments(t *testing.T, spec string) *experiments {
	e := &experiments{t: t, words: wordsOf(spec), dir: t.TempDir()}
	for _, rate := range e.list("rates", "") {
		if channel, factor, ok := strings.Cut(rate, ":"); ok {
			f, err := strconv.ParseFloat(factor, 64)
			if err != nil {
				t.Fatal(err)
			}
			methods.ChannelRates[channel] = f
		}
	}
	e.texts()
	return e
}

// wordsOf are the words key=value of a specification.
func wordsOf(spec string) map[string]string {
	words := map[string]string{}
	for _, word := range strings.Fields(spec) {
		key, value, _ := strings.Cut(word, "=")
		words[key] = value
	}
	return words
}

// texts sets what is trained on and what is held out: the end of Shakespeare, or the test problems of gsm8k.
func (e *experiments) texts() {
	held := e.number("held", 30000)
	switch text := e.word("text", "shakespeare"); text {
	case "shakespeare":
		all := pefttest.FileBytes(e.t, testdata.Shared(e.t, "text/tinyshakespeare.txt"))
		e.train, e.eval = e.write("train.txt", all[:len(all)-held]), e.write("eval.txt", all[len(all)-held:])
	case "gsm8k":
		e.train = testdata.Shared(e.t, "text/gsm8k/train.jsonl")
		test := pefttest.FileBytes(e.t, testdata.Shared(e.t, "text/gsm8k/test.jsonl"))
		e.eval = e.write("eval.jsonl", test[:bytes.LastIndexByte(test[:held], '\n')+1])
	default:
		e.t.Fatalf("text=%s is not known, expected shakespeare or gsm8k", text)
	}
	e.calibration = e.train
	if path, ok := e.words["calibration"]; ok {
		e.calibration = path
	}
}

func (e *experiments) write(name string, data []byte) string {
	path := filepath.Join(e.dir, name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		e.t.Fatal(err)
	}
	return path
}

// word is the value of a word, or its default.
func (e *experiments) word(key, missing string) string {
	if v, ok := e.words[key]; ok {
		return v
	}
	return missing
}

func (e *experiments) list(key, missing string) []string {
	return strings.Split(e.word(key, missing), ",")
}

func (e *experiments) number(key string, missing int) int {
	n, err := strconv.Atoi(e.word(key, strconv.Itoa(missing)))
	if err != nil {
		e.t.Fatalf("%s: %v", key, err)
	}
	return n
}

// base makes the base in a type.
func (e *experiments) base(typ string) {
	from, err := gguf.Open(e.word("base", "../internal/demo/base.gguf"))
	if err != nil {
		e.t.Fatal(err)
	}
	defer from.Close()
	kind, err := quantize.ParseFileType(typ)
	if err != nil {
		e.t.Fatal(err)
	}
	plan, err := quantize.NewPlan(from, quantize.Options{Type: kind, Pure: true, AllowRequantize: true})
	if err != nil {
		e.t.Fatal(err)
	}
	e.path = filepath.Join(e.dir, typ+".gguf")
	if err := plan.Write(e.t.Context(), e.path, nil); err != nil {
		e.t.Fatal(err)
	}
}

// latent reports whether codes are rounded from the master weights.
func (e *experiments) latent() bool { return e.word("latent", "") != "" }

// run trains one adapter: METHOD:RATE, the method being one of those below, also as qat-METHOD, or channels, with a
// dither after a slash.
func (e *experiments) run(typ, run string) {
	t := e.t
	b := pefttest.OpenBase(t, e.path)
	if e.latent() {
		if err := b.OpenMaster(e.word("base", "../internal/demo/base.gguf")); err != nil {
			t.Fatal(err)
		}
	}
	train, eval := e.load(b, e.train), e.load(b, e.eval)
	name, rate, _ := strings.Cut(run, ":")
	lr, err := strconv.ParseFloat(rate, 64)
	if err != nil {
		t.Fatal(err)
	}
	a := e.adapter(b, name)
	began := time.Now()
	r, err := trainAdapter(t.Context(), b, a, train, eval, plain(Options{
		Steps: e.number("steps", 100), BatchTokens: e.number("batch", 1024), LR: lr, Schedule: ScheduleCosine, Clip: 1,
		Seed: uint64(e.number("seed", 1)), Precision: e.word("precision", PrecisionF32),
	}))
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	fmt.Printf("%-7s %-20s base %.4f trained %.4f", typ, run, *r.BaseLoss, *r.EvalLoss)
	e.merged(b, a, eval, r)
	fmt.Printf("  %.1f s\n", took.Seconds())
}

// merged merges and measures the file.
func (e *experiments) merged(b *attach.Base, a *attach.Adapter, heldOut *attach.Data, r *Result) {
	t := e.t
	modes := []string{merge.RoundAuto}
	if a.Config.Method != methods.MethodQAT && a.Config.Quantized == nil {
		modes = e.list("rounding", merge.RoundRequantize)
	}
	for _, mode := range modes {
		out := filepath.Join(e.dir, "merged.gguf")
		os.Remove(out)
		opt := merge.Options{Rounding: mode}
		if mode == merge.RoundCompensate {
			opt.Calibration = pefttest.Data(e.load(b, e.calibration))
		}
		if _, err := merge.Run(t.Context(), pefttest.Base(b), pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), out,
			opt); err != nil {
			t.Fatal(err)
		}
		m := pefttest.OpenBase(t, out)
		loss, err := eval.Loss(t.Context(), pefttest.Base(m), nil, pefttest.Data(heldOut), 2048)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf(" %s %.4f kept %.3f", mode, loss.Loss, (*r.BaseLoss-loss.Loss)/(*r.BaseLoss-*r.EvalLoss))
	}
}

func (e *experiments) load(b *attach.Base, path string) *attach.Data {
	set, _, err := attach.LoadData([]attach.Source{{Path: path}}, b, attach.DataOptions{SeqLen: 256})
	if err != nil {
		e.t.Fatal(err)
	}
	return set
}

func (e *experiments) adapter(b *attach.Base, name string) *attach.Adapter {
	a, err := adapterNamed(b, name, e.number("rank", 16), uint64(e.number("seed", 1)), e.latent())
	if err != nil {
		e.t.Fatal(err)
	}
	return a
}

// adapterNamed is an untrained adapter: METHOD, qat-METHOD or channels, with a dither after a slash.
func adapterNamed(b *attach.Base, name string, rank int, seed uint64, latent bool) (*attach.Adapter, error) {
	name, dither, _ := strings.Cut(name, "/")
	kind, quantized := strings.CutPrefix(name, "qat-")
	at := method.Placement{Seed: seed}
	var a *attach.Adapter
	var err error
	switch kind {
	case "lora":
		a, err = methods.NewLoRA(b, method.LoRA{Rank: rank, Seed: seed})
	case "dora":
		a, err = methods.NewLoRA(b, method.LoRA{Rank: rank, DoRA: true, Seed: seed})
	case "pissa":
		a, err = methods.NewLoRA(b, method.LoRA{Rank: rank, Init: method.InitPiSSA, Seed: seed})
	case "loha":
		a, err = lycoris.NewLoHa(b, method.LoHa{Placement: at})
	case "lokr":
		a, err = lycoris.NewLoKr(b, method.LoKr{Placement: at})
	case "vera":
		a, err = methods.NewVeRA(b, method.VeRA{Placement: at})
	case "oft":
		a, err = methods.NewOFT(b, method.OFT{Placement: at})
	case "adalora":
		a, err = methods.NewAdaLoRA(b, method.AdaLoRA{Placement: at})
	case "ia3":
		a, err = methods.NewIA3(b, method.IA3{Placement: at})
	default:
		return methods.NewQAT(b, method.QAT{Channels: name, Rank: rank, Seed: seed, Dither: dither, Master: latent})
	}
	if err == nil && quantized {
		err = a.TrainQuantized(b, method.Quantized{Dither: dither, Seed: seed, Master: latent})
	}
	return a, err
}
