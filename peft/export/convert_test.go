package export

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/converttest"
	"github.com/peftconv/peftconv/internal/lorafile"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/peft/method"
)

// converted is an adapter of the data and what it belongs to.
type converted struct{ dir, base string }

// eachAdapter runs a test for every adapter of the data.
func eachAdapter(t *testing.T, test func(t *testing.T, name string, c converted)) {
	root := testdata.Shared(t, "convert/adapters")
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		t.Run(entry.Name(), func(t *testing.T) {
			c := converted{dir: filepath.Join(root, entry.Name())}
			var config struct {
				Base string `json:"base_model_name_or_path"`
			}
			if err := json.Unmarshal(pefttest.FileBytes(t, filepath.Join(c.dir, attach.ConfigFile)), &config); err != nil {
				t.Fatal(err)
			}
			c.base = testdata.Shared(t, "convert/"+filepath.Base(config.Base))
			test(t, entry.Name(), c)
		})
	}
}

// wrong says what is wrong with the reference's files of an adapter: it takes rsLoRA and patterns for ordinary alphas,
// exchanges A and B of gpt2, and refuses columns in another order. "" where they are right.
func wrong(name string) string {
	switch {
	case strings.HasPrefix(name, "gpt2-"), name == "qwen3.5-lora":
		return "tensors"
	case strings.HasSuffix(name, "-rs"):
		return "scales"
	}
	return ""
}

// TestConvertReference converts the adapters of the data: where the reference is right the files are the same, byte for
// byte; where it has other scales A is the same; and from config.json alone.
func TestConvertReference(t *testing.T) {
	eachAdapter(t, func(t *testing.T, name string, c converted) {
		alone := filepath.Join(t.TempDir(), "config.json")
		if err := os.WriteFile(alone, pefttest.FileBytes(t, filepath.Join(c.base, "config.json")), 0o644); err != nil {
			t.Fatal(err)
		}
		for kind, want := range converttest.Forms(t, c.dir) {
			if wrong(name) == "tensors" {
				continue
			}
			out := filepath.Join(t.TempDir(), "lora.gguf")
			if _, err := ConvertAdapter(t.Context(), c.dir, out, alone, ConvertOptions{Type: kind}); err != nil {
				t.Fatal(err)
			}
			if wrong(name) == "" {
				want.File(t, out)
				continue
			}
			checkHalves(t, out, want)
		}
	})
}

// checkHalves compares all keys but the scale, the names, shapes and order of tensors, and the bytes of A.
func checkHalves(t *testing.T, path string, want *converttest.Form) {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want.Metadata(t, f.Meta, func(key string) bool { return key != lorafile.AlphaKey })
	if len(f.Tensors) != len(want.Tensors) {
		t.Fatalf("%d tensors, expected %d", len(f.Tensors), len(want.Tensors))
	}
	for i, x := range f.Tensors {
		w := want.Tensors[i]
		sum := sha256.Sum256(x.Bytes())
		same := hex.EncodeToString(sum[:]) == w.SHA256
		if x.Name != w.Name || !slices.Equal(x.Shape, w.Shape) || !same && strings.HasSuffix(x.Name, lorafile.EndA) {
			t.Errorf("tensor %s %v (same bytes: %v), expected %v %v", x.Name, x.Shape, same, w.Name, w.Shape)
		}
	}
}

// TestConvertLogits: a converted adapter gives the logits of the directory that it was made from, over the same base;
// where the data has logits of llama.cpp they are these. Converted back it has the same tensors, byte for byte, where
// no scale was multiplied into B.
func TestConvertLogits(t *testing.T) {
	eachAdapter(t, func(t *testing.T, name string, c converted) {
		b := pefttest.OpenBase(t, c.base)
		a, err := attach.Load(c.dir)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "lora.gguf")
		done, err := ConvertAdapter(t.Context(), c.dir, out, c.base, ConvertOptions{Type: "auto"})
		if err != nil {
			t.Fatal(err)
		}
		read, err := lorafile.Load(out, b)
		if err != nil {
			t.Fatal(err)
		}
		want := lastLogits(t, b, c.base, a)
		if off := pefttest.Relative(lastLogits(t, b, c.base, read), want); off > 1e-6 {
			t.Errorf("the logits of the converted adapter differ by %.2g", off)
		}
		back := filepath.Join(t.TempDir(), "peft")
		if _, err := ConvertAdapter(t.Context(), out, back, c.base, ConvertOptions{}); err != nil {
			t.Fatal(err)
		}
		if done.Alpha != 0 {
			sameAdapters(t, back, c.dir)
		}
		config, err := attach.Load(back)
		if err != nil || config.Config.FanInOut != a.Config.FanInOut {
			t.Errorf("fan_in_fan_out is not %v: %v", a.Config.FanInOut, err)
		}
		checkReferenceLogits(t, name, c, b, a)
	})
}

// checkReferenceLogits compares with what llama.cpp computed of the reference's file, with the scales of that.
func checkReferenceLogits(t *testing.T, name string, c converted, b *attach.Base, a *attach.Adapter) {
	t.Helper()
	file := filepath.Join(c.dir, "expected", "last-logits.f32")
	if _, err := os.Stat(file); err != nil {
		return
	}
	if wrong(name) == "scales" {
		config := a.Config
		config.RSLoRA, config.AlphaPattern = false, nil
		changed := *a
		changed.Config = config
		var err error
		if changed.Method, err = attach.NewMethod(&changed.Config, changed.Tensors); err != nil {
			t.Fatal(err)
		}
		a = &changed
	}
	limit := 1e-4
	if strings.HasPrefix(name, "gemma") { // llama.cpp reads its activation from a table of half precision
		limit = 1e-3
	}
	if off := pefttest.Relative(lastLogits(t, b, c.base, a), archtest.Floats(t, file)); off > limit {
		t.Errorf("the logits differ from llama.cpp's by %.2g", off)
	}
}

// lastLogits are those of the last of the tokens that the data has for a base.
func lastLogits(t *testing.T, b *attach.Base, dir string, a *attach.Adapter) []float32 {
	t.Helper()
	var want struct {
		IDs []int32 `json:"ids"`
	}
	if err := json.Unmarshal(pefttest.FileBytes(t, filepath.Join(dir, "expected", "logits.json")), &want); err != nil {
		t.Fatal(err)
	}
	packed := &batch.Batch{}
	packed.Append(want.IDs, nil)
	all := pefttest.AllLogits(b, pefttest.BindOne(t, a, b), packed)
	return all[len(all)-b.Model.Spec.Vocab:]
}

// sameAdapters compares the tensors of two PEFT directories.
func sameAdapters(t *testing.T, got, want string) {
	t.Helper()
	x := pefttest.OpenTensors(t, filepath.Join(got, attach.WeightsFile))
	y := pefttest.OpenTensors(t, filepath.Join(want, attach.WeightsFile))
	if len(x.Tensors) != len(y.Tensors) {
		t.Errorf("%d tensors, expected %d", len(x.Tensors), len(y.Tensors))
	}
	for _, w := range y.Tensors {
		g := x.Tensor(w.Name)
		if g == nil || g.DType != w.DType || !slices.Equal(g.Bytes(), w.Bytes()) {
			t.Errorf("tensor %s is not there, or another", w.Name)
		}
	}
}

// TestConvertBack: over every architecture a PEFT directory is converted to GGUF and back to the same tensors, byte for
// byte, where no scale is multiplied into B.
func TestConvertBack(t *testing.T) {
	for _, m := range archtest.All() {
		t.Run(m.Name, func(t *testing.T) {
			b := pefttest.OpenModel(t, &m)
			for _, name := range []string{"one rank", "ends"} {
				if testing.Short() && name == "ends" {
					continue
				}
				a := pefttest.Trained(t, b, llamaLoRAs[name](b))
				dir := t.TempDir()
				from, lora, back := filepath.Join(dir, "from"), filepath.Join(dir, "lora.gguf"), filepath.Join(dir, "back")
				if err := a.SaveDir(from); err != nil {
					t.Fatal(err)
				}
				done, err := ConvertAdapter(t.Context(), from, lora, b.Path, ConvertOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := ConvertAdapter(t.Context(), lora, back, b.Path, ConvertOptions{}); err != nil {
					t.Fatal(err)
				}
				read, err := attach.Load(back)
				if err != nil {
					t.Fatal(err)
				}
				if done.Alpha == 0 || b.Model.Arch.Tensor(arch.ExpertScale) != nil {
					t.Logf("%s: scales or factors are in B", name)
					continue
				}
				checkSame(t, name, b, read, a)
			}
		})
	}
}

// checkSame compares the configurations and tensors of adapters, whose modules may have the names of another class.
func checkSame(t *testing.T, what string, b *attach.Base, got, want *attach.Adapter) {
	t.Helper()
	g, w := &got.Config, &want.Config
	if g.FanInOut != w.FanInOut {
		t.Errorf("%s: fan_in_fan_out is %v, expected %v", what, g.FanInOut, w.FanInOut)
	}
	if len(got.Tensors) != len(want.Tensors) || g.Rank != w.Rank || g.Alpha != w.Alpha {
		t.Errorf("%s: %d tensors of rank %d, alpha %v, expected %d, %d, %v", what, len(got.Tensors), g.Rank, g.Alpha,
			len(want.Tensors), w.Rank, w.Alpha)
		return
	}
	named := map[string]*attach.Param{}
	key := func(name string) string {
		return b.Canonical(strings.TrimPrefix(name, attach.ParamPrefix))
	}
	for i := range got.Tensors {
		named[key(got.Tensors[i].Name)] = &got.Tensors[i]
	}
	for _, w := range want.Tensors {
		g := named[key(w.Name)]
		if g == nil || !slices.Equal(g.Shape, w.Shape) || !slices.Equal(g.Data, w.Data) {
			t.Errorf("%s: tensor %s is not there, or another", what, w.Name)
		}
	}
}

// TestConvertRefused: what a GGUF LoRA cannot hold, and what is missing, is an error that says what helps, and leaves
// nothing.
func TestConvertRefused(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	save := func(opt method.Options) string {
		a, err := attach.New(b, opt)
		if err != nil {
			t.Fatal(err)
		}
		a.Origin, a.Config.BaseModel = attach.Origin{}, "nobody/nothing"
		dir := filepath.Join(t.TempDir(), "adapter")
		if err := a.SaveDir(dir); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	plain := save(method.LoRA{Rank: 2})
	out := filepath.Join(t.TempDir(), "out")
	for what, c := range map[string]struct{ in, base, want string }{
		"DoRA":          {save(method.LoRA{Rank: 2, DoRA: true}), b.Path, "merge it"},
		"IA3":           {save(method.IA3{}), b.Path, "merge it"},
		"a prompt":      {save(method.PromptTuning{VirtualTokens: 3}), b.Path, "merge it"},
		"norms":         {save(method.LoRA{Rank: 2, Norms: true}), b.Path, "merge it"},
		"no base":       {plain, "", "name the base"},
		"another base":  {plain, filepath.Join(t.TempDir(), "none.gguf"), "none.gguf"},
		"no adapter":    {t.TempDir(), b.Path, "not a PEFT adapter"},
		"a model":       {b.Path, b.Path, "general.type"},
		"a wrong model": {plain, pefttest.OpenModel(t, &archtest.All()[3]).Path, "another base"},
	} {
		_, err := ConvertAdapter(t.Context(), c.in, out, c.base, ConvertOptions{})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.in) {
			t.Errorf("%s: error %v, expected one with %q", what, err, c.want)
		}
	}
	if _, err := ConvertAdapter(t.Context(), plain, out, b.Path, ConvertOptions{Type: "q4_0"}); err == nil {
		t.Error("type q4_0 is taken")
	}
	pefttest.CheckEmpty(t, filepath.Dir(out))
}

// TestConvertInvocation: the tokens from which on an aLoRA acts are in both forms.
func TestConvertInvocation(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a := pefttest.Trained(t, b, method.LoRA{Rank: 2})
	a.Config.Invocation = []int32{7, 3, 9}
	dir := t.TempDir()
	from, lora, back := filepath.Join(dir, "from"), filepath.Join(dir, "lora.gguf"), filepath.Join(dir, "back")
	if err := a.SaveDir(from); err != nil {
		t.Fatal(err)
	}
	for _, step := range [][2]string{{from, lora}, {lora, back}} {
		if _, err := ConvertAdapter(t.Context(), step[0], step[1], b.Path, ConvertOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	f, err := gguf.Open(lora)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	value, _ := f.Meta.Get(lorafile.InvocationKey)
	if got, ok := value.Any().([]uint32); !ok || !slices.Equal(got, []uint32{7, 3, 9}) {
		t.Errorf("%s is %v", lorafile.InvocationKey, value)
	}
	again, err := attach.Load(back)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(again.Config.Invocation, a.Config.Invocation) {
		t.Errorf("the tokens are %v", again.Config.Invocation)
	}
}
