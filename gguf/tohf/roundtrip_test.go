package tohf

import (
	"bytes"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/convert"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/converttest"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/hfvocab"
	"github.com/peftconv/peftconv/internal/store"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/quant"
)

// shared are the directories of models of all classes.
func sharedDirs(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(testdata.Shared(t, "convert"), "*", "config.json"))
	if err != nil || len(files) < 35 {
		t.Fatalf("%d directories: %v", len(files), err)
	}
	for i, file := range files {
		files[i] = filepath.Dir(file)
	}
	return files
}

// convertDir makes a GGUF file of a directory, whose tokens are cut by a pre-tokenizer of that name.
func convertDir(t *testing.T, dir, typ, pre string) *gguf.File {
	t.Helper()
	p, err := convert.NewPlan(dir, convert.Options{Type: typ, PreTokenizer: pre})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	path := filepath.Join(t.TempDir(), typ+".gguf")
	if err := p.Write(t.Context(), path, nil); err != nil {
		t.Fatal(err)
	}
	return openGGUF(t, path)
}

func openDir(t *testing.T, dir string) (*store.Store, *arch.Model) {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	m, err := arch.Read(s)
	if err != nil {
		t.Fatal(err)
	}
	return s, m
}

// TestRoundTrip converts each directory to a GGUF file of its own type, and one of F32, and back: every tensor comes
// back byte for byte, and config.json says the same.
func TestRoundTrip(t *testing.T) {
	for _, dir := range sharedDirs(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			was, model := openDir(t, dir)
			source, pre := sourceType(was), converttest.PreTokenizer(t, dir)
			for _, c := range []struct{ typ, dtype string }{{source, ""}, {"f32", source}} {
				if c.typ == "f32" && arch.ByName(model.Arch.Name).Tensor(arch.Sinks) != nil {
					continue // whose experts are blocks in every GGUF file, and become floats where a type is given
				}
				f := convertDir(t, dir, c.typ, pre)
				out := filepath.Join(t.TempDir(), "out")
				o := Options{DType: c.dtype, Files: func(create func(string, []byte) error) error {
					_, err := hfvocab.WriteHF(f.Meta, create)
					return err
				}}
				if _, err := Write(t.Context(), f, out, o, nil); err != nil {
					t.Fatal(err)
				}
				sameGGUF(t, f, convertDir(t, out, c.typ, pre))
				is, back := openDir(t, out)
				compareTensors(t, was, model, is, c.typ)
				if what := difference(&model.Spec, &back.Spec); what != lostSpec[filepath.Base(dir)] {
					t.Errorf("%s: config.json: %s", c.typ, what)
				}
				compareConfigs(t, dir, out)
				ids := archtest.IDs(24)
				if d := far(logitsOfDir(t, dir, ids), logitsOfDir(t, out, ids)); !(d <= 2e-6) {
					t.Errorf("%s: logits differ by %g", c.typ, d)
				}
			}
		})
	}
}

// lostKeys are keys that say nothing beside others: the base of RoPE in config.json is the scaled one.
var lostKeys = []string{"hunyuan-dense.rope.scaling.type", "hunyuan-dense.rope.scaling.original_context_length",
	"hunyuan-dense.rope.scaling.factor"}

// sameGGUF wants the same tensors and metadata in two files.
func sameGGUF(t *testing.T, a, b *gguf.File) {
	t.Helper()
	if len(a.Tensors) != len(b.Tensors) {
		t.Errorf("%d tensors became %d in a second conversion", len(a.Tensors), len(b.Tensors))
	}
	for _, x := range a.Tensors {
		if y := b.Tensor(x.Name); y == nil || x.Type != y.Type || !slices.Equal(x.Shape, y.Shape) ||
			!bytes.Equal(x.Bytes(), y.Bytes()) {
			t.Errorf("tensor %q is another in a second conversion", x.Name)
		}
	}
	for key, x := range a.Meta.All() {
		if y, ok := b.Meta.Get(key); !slices.Contains(lostKeys, key) && (!ok || !x.Equal(y)) {
			t.Errorf("key %s is %.200s, and %.200s in a second conversion", key, x, y)
		}
	}
}

// lostSpec is what a GGUF file does not say of some.
var lostSpec = map[string]string{
	"Nemotron-H-Tiny-8K":       "Context would be 1048576 in place of 8192", // as the reference converter has it
	"granite-4.0-h-micro-tiny": "Context would be 1048576 in place of 131072",
	"starcoder2-tiny":          "layer 0: Window would be 0 in place of 4096",
}

// sourceType is the type of the matrices of a directory.
func sourceType(s *store.Store) string {
	for t := range s.Tensors() {
		if strings.HasSuffix(t.Name, "proj.weight") || strings.HasSuffix(t.Name, "dense.weight") {
			return strings.ToLower(t.TypeName)
		}
	}
	return "f32"
}

// lost are tensors that a GGUF file does not have.
func lost(a *arch.Arch, layers int, name string) bool {
	inHF, inGGUF := a.Drafted(name, layers)
	draft := inHF+inGGUF != ""
	return a.LeavesOut(name) || a.Conversion.DropsDrafts && draft
}

// compareTensors wants each tensor of a directory in another one, of a class whose names begin otherwise.
func compareTensors(t *testing.T, was *store.Store, model *arch.Model, is *store.Store, what string) {
	t.Helper()
	names := map[string]bool{}
	_, class := arch.ByModelType(is.ModelType())
	for x := range was.Tensors() {
		name := class.Rename(model.HF.Unrenamed(x.Name))
		y, ok := is.Tensor(name)
		switch {
		case lost(model.Arch, model.Spec.Layers, x.Name):
			continue
		case !ok:
			t.Errorf("%s: tensor %q is missing", what, name)
			continue
		}
		names[name] = true
		if strings.HasSuffix(name, "A_log") && x.TypeName == "F32" {
			sameDecay(t, x, y)
			continue
		}
		if x.TypeName != y.TypeName || !slices.Equal(x.Shape, y.Shape) {
			t.Errorf("%s: tensor %q is %s %v, was %s %v", what, name, y.TypeName, y.Shape, x.TypeName, x.Shape)
		} else if !bytes.Equal(x.Data, y.Data) {
			t.Errorf("%s: tensor %q differs: %g, was %g", what, name, firstValues(y), firstValues(x))
		}
	}
	for y := range is.Tensors() {
		if !names[y.Name] {
			t.Errorf("%s: tensor %q is new", what, y.Name)
		}
	}
}

// sameDecay wants numbers of single precision with the same exponentials: several have one, and no GGUF file tells
// which of them it was.
func sameDecay(t *testing.T, x, y store.Tensor) {
	t.Helper()
	a, b := firstValues(x), firstValues(y)
	for i := range a {
		if floats.Exp(a[i]) != floats.Exp(b[i]) {
			t.Errorf("%s is %g, was %g", x.Name, b[i], a[i])
		}
	}
}

func firstValues(x store.Tensor) []float32 {
	if !quant.Supported(x.Type) {
		return nil
	}
	n := min(8, len(x.Data)/x.Type.BlockSize())
	y := make([]float32, n)
	quant.Dequantize(x.Type, y, x.Data)
	return y
}

// unsaid are keys of config.json of which a GGUF file says nothing and which no class computes with, or of which the
// class has the value that is meant where there is none. notKept are those that have another value.
var (
	unsaid = strings.Fields(`_name_or_path _sliding_window_pattern activation_function add_classification_head
		attention_bias attention_dropout attention_head_dim attention_softmax_in_fp32 attn_pdrop auto_map aux_loss_alpha
		block_dim block_ffn_dim_multiplier block_mlp_init_scale block_multiple_of block_norm_eps block_out_init_scale
		block_use_swiglu block_use_xavier_init bos_token_id cache_implementation cla_share_factor class_num conv_dim
		conv_dim_out conv_use_xavier_init dense_list dtype embd_pdrop embedding_dropout eod_token_id eos_token_id ep_size
		hidden_dropout im_end_id im_newline_id im_start_id init_method initializer_range layer_norm_epsilon layer_switch
		mask_init_id mlp_bias mlp_only_layers mlp_type norm_type num_experts num_heads num_logits_to_keep
		num_query_groups order_of_interleaved_layers org_vocab_size pad_id pad_token_id partial_rotary_factor pool_type
		position_embedding_type pretraining_tp rescale_prenorm_residual resid_pdrop residual_dropout residual_in_fp32
		rms_norm_eps rope_theta rotary_pct router_aux_loss_coef sep_token_id seq_aux summary_first_dropout
		summary_proj_to_labels summary_type summary_use_proj task_specific_params text_end_id text_start_id
		time_step_floor time_step_limit time_step_max time_step_min time_step_rank transformers_version use_cla
		use_embedding_sharing use_gated_activation use_mamba_kernels use_parallel_block use_parallel_embedding
		use_pos_enc use_sliding_window`)
	notKept = map[string][]string{
		"": {"initializer_range", "max_window_layers", "torch_dtype", "use_cache", "rope_scaling",
			"bos_token_id", "eos_token_id", "pad_token_id"}, // a GGUF file has those of the tokenizer's files
		"Mistral-Tiny-v0.3":              {"architectures", "model_type"},
		"Nemotron-H-Tiny-8K":             {"expand", "max_position_embeddings"},
		"Hunyuan-0.1M-Instruct":          {"rope_theta"},
		"LFM2-0.1M":                      {"block_ff_dim", "block_auto_adjust_ff_dim"},
		"starcoder2-tiny":                {"rope_theta", "sliding_window"},
		"Qwen1.5-MoE-A60K-Chat":          {"sliding_window"}, // which use_sliding_window switches off
		"Qwen2.5-0.2M-Instruct":          {"sliding_window"},
		"gemma-4-0.2M-A0.1M-it":          {"use_bidirectional_attention"}, // of images
		"DeepSeek-V3-Tiny-0324":          {"num_nextn_predict_layers"},
		"granite-4.0-h-micro-tiny":       {"max_position_embeddings"},
		"Ministral-3-Tiny-Instruct-2512": {"rope_parameters"}, // rope_type stands there under its old name too
	}
)

// compareConfigs wants the values of config.json of a directory in another.
func compareConfigs(t *testing.T, was, is string) {
	t.Helper()
	a, b := readConfig(t, was), readConfig(t, is)
	if text, ok := a["text_config"].(map[string]any); ok {
		a = text
	}
	free := append(notKept[""], notKept[filepath.Base(was)]...)
	for key, v := range a {
		w, ok := b[key]
		if !ok && v != nil && !slices.Contains(unsaid, key) || ok && !reflect.DeepEqual(v, w) && !slices.Contains(free, key) {
			t.Errorf("config.json has %s %v, had %v", key, w, v)
		}
	}
}
