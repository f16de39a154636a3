package quantize

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/modeltest"
)

const recordedArchs = "testdata/archs.json"

// archModel is a model that may be written as one of another architecture, of which no more is known than its rules.
type archModel struct {
	archtest.Model
	as string
}

// archModels are small models of every architecture, with rows that fit all types and with rows that fit few.
func archModels() []archModel {
	var all []archModel
	for _, m := range archtest.Wide() {
		all = append(all, archModel{Model: m})
	}
	for _, m := range archtest.All() {
		m.Name, m.Rows = m.Name+"-narrow", 2
		all = append(all, archModel{Model: m})
	}
	as := func(m archtest.Model, name, arch string, extra []gguf.Tensor, fields map[string]any) {
		m.Name, m.Extra, m.Fields = name, extra, maps.Clone(m.Fields)
		maps.Copy(m.Fields, fields)
		all = append(all, archModel{m, arch})
	}
	for _, m := range archtest.Wide() {
		switch m.Name {
		case "llama":
			as(m, "llama-names", "", otherTensors(), nil)
			as(m, "jais2-large", "jais2", nil, map[string]any{"block_count": 68, "attention.layer_norm_epsilon": 1e-5})
			as(m, "deci-large", "deci", nil, map[string]any{"block_count": 80})
			as(m, "llama-embed-large", "llama-embed", nil, map[string]any{"block_count": 80})
		case "mixtral-eight":
			as(m, "mixtral-eight-names", "", otherTensors(), nil)
			as(m, "bailingmoe3-names", "bailingmoe3", otherTensors(), map[string]any{
				"attention.key_length_mla": 192, "attention.value_length_mla": 128, "attention.kv_lora_rank": 256,
				"ssm.conv_kernel": 4, "kda.head_dim": 32, "kda.gate_lower_bound": -5.0, "expert_feed_forward_length": 512,
				"expert_shared_count": 1, "leading_dense_block_count": 0, "expert_gating_func": 2,
			})
		}
	}
	for i := range all { // what is recorded depends on these
		all[i].NoWords, all[i].Seed = true, 0
	}
	return all
}

// meta is the metadata.
func (m *archModel) meta(t *testing.T) *gguf.Metadata {
	t.Helper()
	meta := m.Meta(t)
	if m.as == "" {
		return meta
	}
	out := &gguf.Metadata{}
	for key, v := range meta.All() {
		if rest, ok := strings.CutPrefix(key, m.Arch+"."); ok {
			key = m.as + "." + rest
		}
		if err := out.Set(key, v.Any()); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Set("general.architecture", m.as); err != nil {
		t.Fatal(err)
	}
	return out
}

// otherTensors are tensors that other architectures have: of latent attention, of recurrent layers, of sound and
// images. The names of some only look like those of others.
func otherTensors() (all []gguf.Tensor) {
	for _, name := range []string{
		"attn_kv_b.weight", "attn_q_a.weight", "attn_q_b.weight", "attn_kv_a_mqa.weight",
		"attn_qkv.weight", "attn_gate.weight",
		"attn_k_b.weight", "attn_v_b.weight", "attn_rel_b.weight", "attn_sinks.weight", "attn_q.lora_a.weight",
		"attn_norm_2.weight", "attn_sub_norm.weight", "cross_attn_v.weight", "cross_attn_output.weight",
		"attn_output.scale",
		"ffn_gate_inp_shexp.weight", "ffn_gate_tid2eid.weight", "ffn_gate_up_exps.weight", "ffn_down_exps.scale",
		"ffn_up_exps.bias", "ffn_down_shexp.weight", "ffn_latent_down.weight", "ffn_down_chexps.weight",
		"exp_probs_b.bias",
		"ffn_up.weight_scale", "ffn_up_enc.weight",
		"ssm_in.weight", "ssm_x.weight", "ssm_dt.weight", "ssm_a", "ssm_d", "ssm_conv1d.weight", "ssm_conv1d_q.weight",
		"ssm_out.weight", "ssm_ba.weight", "ssm_beta.weight", "shortconv.conv.weight", "shortconv.in_proj.weight",
		"indexer.k_proj.weight", "indexer.q_proj.weight", "indexer.proj.weight", "indexer.attn_k.weight",
		"altup_proj.weight", "altup_correct_coef.weight", "laurel_l.weight",
		"per_layer_model_proj.weight", "inp_gate.weight",
		"per_layer_token_embd.weight", "proj.weight", "nextn.eh_proj.weight",
		"nextn.embed_tokens.weight", "nextn.output.weight",
		"time_mix_first.weight", "time_mix_w1.weight", "time_mix_lerp_w.weight", "time_mix_key.weight",
		"channel_mix_key.weight",
		"position_embd.weight", "token_types.weight", "token_embd.weight", "rel_pos.weight",
		"patch_embd.weight", "output.weight",
	} {
		shape := []int64{256, 2}
		if strings.Contains(name, "_exps") || strings.HasSuffix(name, "_b.weight") {
			shape = []int64{256, 2, 3}
		}
		all = append(all, gguf.Tensor{Name: "blk.1." + name, Shape: shape})
	}
	for _, name := range []string{
		"position_embd.weight", "token_types.weight", "per_layer_token_embd.weight", "per_layer_model_proj.weight",
		"token_embd_norm.weight", "output_extra.weight", "v.position_embd.weight",
		"v.patch_embd.weight", "v.blk.0.attn_v.weight",
		"v.blk.0.attn_out.weight", "a.rvq.codebook.weight", "mm.a.code_embd.weight", "mm.0.weight",
		"sam.pos_embd.weight",
		"sam.neck.0.weight", "altup_proj.weight", "cls.weight", "enc.blk.0.attn_q.weight",
		"dec.blk.1.attn_rel_b.weight",
	} {
		all = append(all, gguf.Tensor{Name: name, Shape: []int64{256, 2}})
	}
	return all
}

// archTypes are the file types that are recorded of the models in a variant, n of each model in turn, and all of the
// models of tensors with other names.
var archTypes = map[string]struct {
	n     int
	types []string
}{
	"plain": {4, []string{
		"Q4_K_M", "Q3_K_L", "Q2_K", "Q5_K_M", "Q3_K_M", "Q4_K_S", "IQ4_XS", "MXFP4_MOE", "Q3_K_S", "TQ2_0", "Q6_K", "Q4_0",
		"IQ4_NL", "Q5_0", "Q5_K_S", "Q8_0", "Q2_0", "BF16", "TQ1_0", "Q4_1", "F16", "Q5_1", "Q1_0"}},
	"imatrix": {1, []string{
		"Q4_0", "IQ2_M", "Q2_K_S", "IQ3_XS", "IQ4_XS", "IQ3_M", "IQ1_M", "IQ2_XXS", "Q5_0", "IQ3_XXS", "IQ2_S", "IQ3_S",
		"IQ4_NL", "IQ1_S", "IQ2_XS"}},
	"pure": {1, []string{"Q4_K_M", "Q3_K_L", "IQ2_M", "Q4_0", "F16", "MXFP4_MOE"}},
}

// archKeys are what is recorded of model i: file types, or file type + variant.
func archKeys(m *archModel, i int) (keys []string) {
	if strings.HasSuffix(m.Name, "-large") {
		keys = append(keys, "Q3_K_S", "Q4_K_M") // in which attention values get more bits
	}
	for variant, list := range archTypes {
		n := list.n
		if len(m.Extra) > 0 {
			n = len(list.types)
		}
		for k := range n {
			keys = append(keys, archKey(list.types[(list.n*i+k)%len(list.types)], variant))
		}
	}
	return keys
}

func archKey(name, variant string) string { return strings.TrimSuffix(name+"+"+variant, "+plain") }

// writeArch writes a model and an importance matrix of its matrices.
func writeArch(t *testing.T, m *archModel) {
	t.Helper()
	r := rand.New(rand.NewPCG(11, 13))
	table := m.Tensors(t)
	slices.SortFunc(table, func(a, b gguf.Tensor) int { return strings.Compare(a.Name, b.Name) })
	modeltest.WriteValues(t, "model.gguf", m.meta(t), table, func(tensor *gguf.Tensor) []float32 {
		return weights(r, tensor.Elements())
	})
	writeImatrixOf(t, "imatrix.gguf", table, 17)
}

// TestArchitectures quantizes small models of every architecture and compares the files with those that llama-quantize
// makes. Recorded are a few file types of each. With the flag all are compared, or in short tests those to record, and
// the few are recorded anew:
//
//	go test ./gguf/quantize -run TestArchitectures -timeout 6h -llama-quantize /path/to/llama-quantize
func TestArchitectures(t *testing.T) {
	want := map[string]map[string]string{} // the beginning of the SHA-256 or "refused", by model and file type
	path := readRecorded(t, recordedArchs, &want)
	t.Chdir(t.TempDir())
	models := archModels()
	for i := range models {
		m := &models[i]
		t.Run(m.Name, func(t *testing.T) {
			writeArch(t, m)
			if *record != "" {
				want[m.Name] = recordArch(t, archKeys(m, i))
			}
			if len(want[m.Name]) == 0 {
				t.Skip("nothing is recorded")
			}
			for _, key := range slices.Sorted(maps.Keys(want[m.Name])) {
				if testing.Short() && slow(key) {
					continue
				}
				if got := quantizeArch(t, key); got != want[m.Name][key] {
					t.Errorf("%s: %s, llama-quantize's is %s", key, got, want[m.Name][key])
				}
			}
		})
	}
	if *record != "" {
		if err := os.WriteFile(path, archTable(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// quantizeArch is what TestArchitectures records of the model under a key.
func quantizeArch(t *testing.T, key string) string {
	t.Helper()
	name, variant, _ := strings.Cut(key, "+")
	opt := Options{Type: fileType(t, name)}
	for _, v := range variants {
		if v.name == variant {
			v.set(t, &opt)
		}
	}
	p, err := planOf(t, "model.gguf", opt)
	if err != nil {
		t.Logf("%s: %v", key, err)
		return "refused"
	}
	if err := p.Write(t.Context(), "out.gguf", nil); err != nil {
		t.Fatal(key, err)
	}
	return hashFile(t, "out.gguf")[:hashDigits]
}

const hashDigits = 16

// recordArch compares the model in all file types with what llama-quantize makes of it, and gives those kept.
func recordArch(t *testing.T, kept []string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, v := range variants {
		if _, ok := archTypes[v.name]; !ok {
			continue
		}
		for _, name := range variantTypes(v.name) {
			key := archKey(name, v.name)
			keep := slices.Contains(kept, key)
			if testing.Short() && !keep {
				continue
			}
			want := compareArch(t, key, append(slices.Clone(v.args), "model.gguf", "llama.gguf", name, "1"))
			if keep {
				out[key] = want
			}
		}
	}
	return out
}

// compareArch compares what is recorded under a key with what llama-quantize makes with the arguments given, and gives
// that.
func compareArch(t *testing.T, key string, args []string) string {
	t.Helper()
	os.Remove("llama.gguf")
	log, err := exec.Command(*record, args...).CombinedOutput()
	want := "refused"
	if err == nil {
		want = hashFile(t, "llama.gguf")[:hashDigits]
	}
	if got := quantizeArch(t, key); got != want {
		t.Errorf("%s: %s, llama-quantize's is %s", key, got, want)
		if err == nil {
			logDifference(t)
		} else {
			lines := strings.Split(strings.TrimSpace(string(log)), "\n")
			t.Log(strings.Join(lines[max(0, len(lines)-4):], "\n"))
		}
	}
	return want
}

// logDifference logs the first tensors that differ in type or data.
func logDifference(t *testing.T) {
	t.Helper()
	var files [2]*gguf.File
	for i, path := range []string{"out.gguf", "llama.gguf"} {
		f, err := gguf.Open(path)
		if err != nil {
			t.Log(err)
			return
		}
		defer f.Close()
		files[i] = f
	}
	shown := 0
	for i, a := range files[0].Tensors {
		if i >= len(files[1].Tensors) || shown == 4 {
			break
		}
		b := files[1].Tensors[i]
		if a.Name != b.Name || a.Type != b.Type || !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Logf("%s %v %v, llama-quantize's %s %v", a.Name, a.Type, a.Shape, b.Name, b.Type)
			shown++
		}
	}
	if shown == 0 {
		t.Log("the tensors are the same")
	}
}

// archTable is the recorded table, a model a line.
func archTable(want map[string]map[string]string) []byte {
	var out bytes.Buffer
	sep := "{\n"
	for _, name := range slices.Sorted(maps.Keys(want)) {
		types, err := json.Marshal(want[name])
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&out, "%s%q: %s", sep, name, types)
		sep = ",\n"
	}
	out.WriteString("\n}\n")
	return out.Bytes()
}
