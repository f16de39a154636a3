package arch

import (
	"math"

	"github.com/peftconv/peftconv/gguf"
)

// Keys sets the metadata of a GGUF file from config.json. The first error is kept.
type Keys struct {
	Meta     *gguf.Metadata
	Arch     *Arch // that the file names
	Spec     *Spec
	FileType uint32
	Drafts   int // layers behind those that run

	f   *Fields
	err error
}

// NewKeys makes a Keys for a model.
func NewKeys(m *Model, config map[string]any, meta *gguf.Metadata) *Keys {
	return &Keys{Meta: meta, Arch: m.Arch.Written(&m.Spec), Spec: &m.Spec, f: fieldsOf(m.HF, config)}
}

// fieldsOf reads a config.json.
func fieldsOf(hf *HFModel, config map[string]any) *Fields {
	f := &Fields{HF: true, config: config, root: config}
	if text, ok := config[hf.Text].(map[string]any); ok {
		f.config = text
	}
	return f
}

// Err is the first error.
func (k *Keys) Err() error {
	if k.err != nil {
		return k.err
	}
	return k.f.err
}

// set sets a key of the architecture.
func (k *Keys) set(key string, v any) {
	if err := k.Meta.Set(k.Arch.Name+"."+key, v); err != nil && k.err == nil {
		k.err = err
	}
}

// found is the first of the fields that config.json has.
func (k *Keys) found(names []string) (v any, name string) {
	for _, name := range names {
		if v := k.f.find(name); v != nil {
			return v, name
		}
	}
	return nil, ""
}

// remove takes a key away.
func (k *Keys) remove(key string) { k.Meta.Delete(k.Arch.Name + "." + key) }

// counts sets a key to the first of the fields that config.json has: a whole number, or a list of one for each layer.
func (k *Keys) counts(key string, names ...string) {
	v, name := k.found(names)
	if v == nil {
		return
	}
	if list, ok := (fieldValue{json: v}).ints(); ok {
		numbers := make([]int32, len(list))
		for i, n := range list {
			numbers[i] = int32(n)
		}
		k.set(key, numbers)
		return
	}
	k.set(key, uint32(k.f.IntOr("", name, 0)))
}

// count sets a key to a whole number.
func (k *Keys) count(key string, n int) { k.set(key, uint32(n)) }

// float sets a key to the first of the fields that config.json has.
func (k *Keys) float(key string, names ...string) {
	if v, name := k.found(names); v != nil {
		k.set(key, float32(k.f.FloatOr("", name, 0)))
	}
}

// number is a whole number of config.json.
func (k *Keys) number(name string, missing int) int { return k.f.IntOr("", name, missing) }

// has reports whether config.json has a field that is not null.
func (k *Keys) has(name string) bool { return k.f.find(name) != nil }

// fileType sets the type of most tensors.
func (k *Keys) fileType() {
	if err := k.Meta.Set("general.file_type", k.FileType); err != nil && k.err == nil {
		k.err = err
	}
}

// noBOS says that no text begins with a token of its own.
func (k *Keys) noBOS() {
	if err := k.Meta.Set("tokenizer.ggml.add_bos_token", false); err != nil && k.err == nil {
		k.err = err
	}
}

// layers sets the number of layers in the file.
func (k *Keys) layers() { k.count("block_count", k.Spec.Layers+k.Drafts) }

// The names that config.json has for some fields.
var (
	contextNames = []string{"max_position_embeddings", "n_ctx", "n_positions", "max_length", "max_sequence_length",
		"model_max_length"}
	widthNames = []string{"hidden_size", "n_embd", "dim"}
	ffnNames   = []string{"prefix_dense_intermediate_size", "dense_intermediate_size", "intermediate_size", "n_inner",
		"hidden_dim"}
	headNames      = []string{"num_attention_heads", "n_head", "n_heads"}
	keyHeadNames   = []string{"num_key_value_heads", "n_kv_heads"}
	layerNormNames = []string{"layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"}
)

// base sets what most architectures have.
func (k *Keys) base() {
	k.layers()
	k.counts("context_length", contextNames...)
	k.counts("embedding_length", widthNames...)
	k.counts("feed_forward_length", ffnNames...)
	k.counts("attention.head_count", headNames...)
	k.counts("attention.head_count_kv", keyHeadNames...)
	k.ropeScaling()
	k.ropeBase()
	k.float("attention.layer_norm_rms_epsilon", "rms_norm_eps", "norm_eps")
	k.float("attention.layer_norm_epsilon", layerNormNames...)
	k.counts("expert_count", "num_local_experts", "num_experts", "n_routed_experts")
	k.counts("expert_used_count", "num_experts_per_tok", "num_experts_per_token", "top_k_experts")
	k.counts("expert_group_count", "n_group")
	k.counts("expert_group_used_count", "topk_group")
	k.gating()
	k.counts("attention.key_length", "head_dim")
	k.counts("attention.value_length", "head_dim")
	k.fileType()
}

// ropeIn is where config.json describes the scaling of RoPE, "" where it does not.
func (k *Keys) ropeIn() string {
	for _, in := range []string{"rope_parameters.full_attention.", "rope_parameters.", "rope_scaling."} {
		if k.has(in+"rope_type") || k.has(in+"type") {
			return in
		}
	}
	return ""
}

// ropeKind is the kind of scaling.
func (k *Keys) ropeKind() string {
	in := k.ropeIn()
	if kind := k.f.Text("", in+"rope_type"); kind != "" {
		return kind
	}
	return k.f.Text("", in+"type")
}

// ropeScaling sets how positions are scaled.
func (k *Keys) ropeScaling() {
	in := k.ropeIn()
	if in == "" {
		return
	}
	kind := k.ropeKind()
	switch kind {
	case "linear":
		k.set("rope.scaling.type", kind)
		k.float("rope.scaling.factor", in+"factor")
	case "yarn":
		k.set("rope.scaling.type", kind)
		k.float("rope.scaling.factor", in+"factor")
		k.counts("rope.scaling.original_context_length", in+"original_max_position_embeddings",
			"original_max_position_embeddings")
		k.float("rope.scaling.yarn_ext_factor", in+"extrapolation_factor")
		k.float("rope.scaling.yarn_attn_factor", in+"attention_factor", in+"attn_factor")
		k.float("rope.scaling.yarn_beta_fast", in+"beta_fast")
		k.float("rope.scaling.yarn_beta_slow", in+"beta_slow")
	case "su", "longrope":
		k.set("rope.scaling.type", "longrope")
	}
	k.sections(in)
}

// sections sets how many pairs turn by each kind of position.
func (k *Keys) sections(in string) {
	v, name := k.found([]string{in + "mrope_section"})
	list, ok := (fieldValue{json: v}).ints()
	if v == nil {
		return
	}
	if !ok {
		k.f.Fail("%s is %v, expected a list of whole numbers", name, v)
		return
	}
	numbers := make([]int32, max(4, len(list)))
	for i, n := range list {
		numbers[i] = int32(n)
	}
	k.set("rope.dimension_sections", numbers)
}

// The names of bases of RoPE.
var (
	baseNames = []string{"rope_parameters.full_attention.rope_theta", "rope_parameters.rope_theta", "global_rope_theta",
		"rope_global_theta", "rope_theta_global", "rope_theta", "rotary_emb_base"}
	localBaseNames = []string{"rope_parameters.sliding_attention.rope_theta", "local_rope_theta", "rope_local_theta",
		"rope_theta_local", "swa_rope_theta", "rope_local_base_freq"}
)

// ropeBase sets the bases of RoPE, of all layers and of those with a window.
func (k *Keys) ropeBase() {
	k.float("rope.freq_base", baseNames...)
	k.float("rope.freq_base_swa", localBaseNames...)
}

// gating sets how weights are made of a router's scores.
func (k *Keys) gating() {
	v, name := k.found([]string{"score_function", "scoring_func", "score_func", "moe_router_activation_func"})
	if v == nil {
		return
	}
	ways := map[any]Gating{"softmax": Softmax, "sigmoid": Sigmoid, "sqrtsoftplus": SqrtSoftplus}
	way, ok := ways[v]
	if !ok {
		k.f.Fail("%s is %v, expected softmax, sigmoid or sqrtsoftplus", name, v)
		return
	}
	k.count("expert_gating_func", int(way))
}

// ropeDim sets how many values of a head turn.
func (k *Keys) ropeDim() { k.count("rope.dimension_count", k.Spec.Rope.Dim) }

// vocab sets the size of the vocabulary.
func (k *Keys) vocab() { k.counts("vocab_size", "vocab_size") }

// llamaKeys are those of llama and others that took its class over.
func llamaKeys(k *Keys) {
	k.base()
	k.vocab()
	k.count("rope.dimension_count", k.headDim())
}

// headDim is the size of a head as config.json has it.
func (k *Keys) headDim() int {
	heads, _ := k.found(headNames)
	width, _ := k.found(widthNames)
	n, _ := wholeNumber(heads)
	w, _ := wholeNumber(width)
	return k.number("head_dim", w/max(n, 1))
}

// baseKeys are those that most architectures have.
func baseKeys(k *Keys) { k.base() }

// expertWidths sets the inner widths of experts and of the shared one.
func (k *Keys) expertWidths() {
	k.counts("expert_feed_forward_length", "moe_intermediate_size")
	k.counts("expert_shared_feed_forward_length", "shared_expert_intermediate_size")
}

// window sets the sliding window.
func (k *Keys) window() { k.counts("attention.sliding_window", "sliding_window") }

// pattern sets which layers have a window.
func (k *Keys) pattern() {
	list := make([]bool, k.Spec.Layers)
	for i := range list {
		list[i] = k.Spec.At(i).Window > 0
	}
	k.set("attention.sliding_window_pattern", list)
}

// Keys that some architectures list in an order of their own.

func (k *Keys) context()  { k.count("context_length", k.Spec.Context) }
func (k *Keys) width()    { k.count("embedding_length", k.Spec.Width) }
func (k *Keys) ffn()      { k.count("feed_forward_length", k.Spec.FFN) }
func (k *Keys) heads()    { k.count("attention.head_count", k.Spec.QueryHeads) }
func (k *Keys) keyHeads() { k.count("attention.head_count_kv", k.Spec.KeyHeads) }

// sizes sets the width of the stream, the inner width, the number of layers and of heads.
func (k *Keys) sizes() {
	k.width()
	k.ffn()
	k.layers()
	k.heads()
	k.keyHeads()
}

func (k *Keys) layerNormEps() { k.set("attention.layer_norm_epsilon", k.Spec.NormEps) }
func (k *Keys) rmsEps()       { k.set("attention.layer_norm_rms_epsilon", k.Spec.NormEps) }
func (k *Keys) parallel()     { k.set("use_parallel_residual", k.Spec.Parallel) }
func (k *Keys) headDims(key, value int) {
	k.count("attention.key_length", key)
	k.count("attention.value_length", value)
}

// longFactor is the magnitude of longrope: of what has turned in a context that is longer than the original.
func longFactor(context, original int) float32 {
	scale := float64(context) / float64(original)
	if scale <= 1 {
		return 1
	}
	return float32(math.Sqrt(1 + math.Log(scale)/math.Log(float64(original))))
}
