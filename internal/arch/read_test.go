package arch

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/modeltest"
)

const config = `{"model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
	"num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "vocab_size": 10,
	"max_position_embeddings": 256, "head_dim": null, "rope_theta": 5000,
	"hidden_act": "silu", "rope_scaling": null, "sliding_window": null}`

// fromConfig reads config with replacements, each a text and what stands in its place.
func fromConfig(t *testing.T, replacements ...string) (*Model, error) {
	t.Helper()
	text := config
	for i := 0; i < len(replacements); i += 2 {
		text = strings.Replace(text, replacements[i], replacements[i+1], 1)
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return readHF(object)
}

func metadata(t *testing.T, pairs ...any) *Fields {
	return &Fields{arch: Llama, meta: modeltest.Meta(t, append([]any{
		"llama.block_count", uint32(2), "llama.embedding_length", uint32(64), "llama.feed_forward_length", uint32(96),
		"llama.attention.head_count", uint32(4), "llama.attention.head_count_kv", uint32(2),
		"llama.context_length", uint32(256), "llama.attention.layer_norm_rms_epsilon", float32(1e-5),
		"llama.rope.freq_base", float32(5000),
	}, pairs...)...)}
}

// TestBothContainers reads the same Spec from metadata and config.json, but for what only the tensors of a GGUF file
// say.
func TestBothContainers(t *testing.T) {
	m, err := fromConfig(t, "", "")
	if err != nil {
		t.Fatal(err)
	}
	f := metadata(t)
	s := llamaSpec(f)
	s.Vocab, s.Architecture = 10, Llama
	if s.Rope.Neox || !m.Spec.Rope.Neox {
		t.Errorf("pairs are halves: %v in GGUF, %v in config.json", s.Rope.Neox, m.Spec.Rope.Neox)
	}
	s.Rope.Neox = true
	if got, want := fmt.Sprintf("%+v", m.Spec), fmt.Sprintf("%+v", s); f.err != nil || got != want || s.HeadDim != 16 {
		t.Errorf("error %v, config.json\n%s, metadata\n%s", f.err, got, want)
	}
}

// TestConfig spoils config.json.
func TestConfig(t *testing.T) {
	for _, c := range []struct {
		old, new, want string
		unsupported    bool
	}{
		{`"llama"`, `"mistral"`, "", false},
		{`"llama"`, `"bert"`, `model_type "bert" is not supported, expected `, true},
		{`"silu"`, `"gelu"`, `hidden_act "gelu" is not supported, expected silu`, true},
		{`"num_hidden_layers"`, `"x"`, "layers is 0", false},
		{`64`, `"64"`, "hidden_size is 64, expected one whole number below 2^30", false},
		{`64`, `64.5`, "hidden_size is 64.5, expected one", false},
		{`64`, `-64`, "hidden_size is -64, expected one", false},
		{`96`, `[96]`, "intermediate_size has 1 numbers, expected one or 2", false},
		{`96`, `[96, 32]`, "", false},
		{`"rope_scaling": null`, `"rope_scaling": {"type": "linear", "factor": 4}`, "", false},
		{`"rope_scaling": null`, `"rope_scaling": {"rope_type": "ntk", "factor": 4}`, `"ntk" with factor 4`, true},
		{`"silu"`, `3`, "hidden_act is 3, expected a text", false},
		{`"rms_norm_eps": 1e-5`, `"rms_norm_eps": "x"`, "rms_norm_eps is x, expected a finite number", false},
		{`"rope_scaling": null`, `"tie_word_embeddings": 1`, "tie_word_embeddings is 1, expected true or false", false},
	} {
		_, err := fromConfig(t, c.old, c.new)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, expected %q", c.new, err, c.want)
		}
		if errors.Is(err, ErrUnsupported) != c.unsupported {
			t.Errorf("%s: unsupported is %v", c.new, !c.unsupported)
		}
	}
}

// TestWindows reads which layers have the sliding window of config.json in classes whose GGUF files have none.
func TestWindows(t *testing.T) {
	for _, c := range []struct {
		kind, fields string
		want         []int
	}{
		{"llama", `"sliding_window": 128`, []int{0, 0}}, // the class does not read it
		{"mistral", `"sliding_window": null`, []int{0, 0}},
		{"mistral", `"sliding_window": 128`, []int{128, 128}},
		{"phi3", `"sliding_window": 128`, []int{128, 128}},
		{"qwen2", `"sliding_window": 128`, []int{0, 0}},
		{"qwen2", `"sliding_window": 128, "use_sliding_window": true`, []int{0, 0}},
		{"qwen2", `"sliding_window": 128, "use_sliding_window": true, "max_window_layers": 1`, []int{0, 128}},
		{"qwen3", `"sliding_window": 128, "use_sliding_window": true, "layer_types": ["sliding_attention", ""]`,
			[]int{128, 0}},
	} {
		m, err := fromConfig(t, `"sliding_window": null`, c.fields, `"llama"`, `"`+c.kind+`"`)
		if err != nil {
			t.Errorf("%s with %s: %v", c.kind, c.fields, err)
			continue
		}
		if got := []int{m.Spec.At(0).Window, m.Spec.At(1).Window}; !slices.Equal(got, c.want) {
			t.Errorf("%s with %s: windows %v, expected %v", c.kind, c.fields, got, c.want)
		}
	}
}

// TestRopeScaling: the fast pairs stay, the slow ones turn 8 times slower, the third and second are between.
func TestRopeScaling(t *testing.T) {
	m, err := fromConfig(t, `"rope_scaling": null`, `"rope_scaling": {"rope_type": "llama3", "factor": 8,
		"low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 64}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []float32{1, 1.16572, 5.35808, 8, 8, 8, 8, 8}
	for i, f := range m.Spec.Rope.Factors {
		if math.Abs(float64(f-want[i])) > 1e-3 {
			t.Errorf("factor %d is %g, expected %g", i, f, want[i])
		}
	}
	m, err = fromConfig(t, `"rope_scaling": null`, `"rope_scaling": {"type": "linear", "factor": 4}`)
	if err != nil || m.Spec.Rope.Scale != 0.25 {
		t.Errorf("linear scaling by 4: %v, error %v", m, err)
	}
}

// TestPerLayer reads one number for all layers and one for each.
func TestPerLayer(t *testing.T) {
	s := llamaSpec(metadata(t))
	if s.Each != nil || s.At(1).FFN != 96 || s.Widest() != 128 {
		t.Errorf("one width: %+v", s)
	}
	f := metadata(t, "llama.feed_forward_length", []int32{96, 160})
	s = llamaSpec(f)
	s.Vocab = 10
	err := errors.Join(f.err, s.Check())
	if err != nil || s.FFN != 96 || s.At(0).FFN != 96 || s.At(1).FFN != 160 || s.Widest() != 160 {
		t.Errorf("error %v, two widths: %+v", err, s)
	}
	if up := ByName(Llama).Tensor(Up).Sizes(&s, 1); !slices.Equal(up, []int64{160, 64}) {
		t.Errorf("shape %v", up)
	}
	if s.At(1).QueryHeads != 4 || s.At(1).Rope.Base != 5000 {
		t.Errorf("the second layer is %+v", s.At(1))
	}
	for _, wrong := range []any{[]int32{96}, []int32{96, -1}, []string{"a", "b"}, "x"} {
		f := metadata(t, "llama.feed_forward_length", wrong)
		if llamaSpec(f); f.err == nil || !strings.Contains(f.err.Error(), "metadata llama.feed_forward_length") {
			t.Errorf("%v: error %v", wrong, f.err)
		}
	}
	s.Each = s.Each[:1]
	if err := s.Check(); err == nil || !strings.Contains(err.Error(), "1 layers are described, expected 2") {
		t.Errorf("error %v", err)
	}
}

// TestMissing: what every model has is named where it is missing.
func TestMissing(t *testing.T) {
	f := metadata(t)
	f.meta = &gguf.Metadata{}
	if llamaSpec(f); f.err == nil || f.err.Error() != "metadata llama.block_count is missing" {
		t.Errorf("error %v", f.err)
	}
}
