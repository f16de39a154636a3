package sanity

import (
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/modeltest"
)

func TestCheck(t *testing.T) {
	type file struct {
		meta    *gguf.Metadata
		tensors []gguf.Tensor
	}
	set := func(key string, v any) func(*file) {
		return func(f *file) {
			if err := f.meta.Set(key, v); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(key string) func(*file) { return func(f *file) { f.meta.Delete(key) } }
	drop := func(part string) func(*file) {
		return func(f *file) {
			f.tensors = slices.DeleteFunc(f.tensors, func(x gguf.Tensor) bool { return strings.Contains(x.Name, part) })
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*file)
		want   string // "" where all is well
	}{
		{"nothing", func(*file) {}, ""},
		{"no architecture", remove("general.architecture"), "general.architecture is missing"},
		{"another architecture", set("general.architecture", "qwen2"),
			`general.architecture is "qwen2", but the metadata are those of "llama"`},
		{"no number of blocks", remove("llama.block_count"), "llama.block_count is missing"},
		{"blocks that are text", set("llama.block_count", "two"), "llama.block_count is no whole number"},
		{"too few blocks", set("llama.block_count", uint32(1)), "llama.block_count is 1, but there are tensors of block 1"},
		{"too many blocks", set("llama.block_count", uint32(3)), "llama.block_count is 3, but block 2 has no tensors"},
		{"a block that lacks", drop("blk.0."), "block 0 has no tensors"},
		{"a token too many", set("tokenizer.ggml.tokens", make([]string, 9)),
			"tokenizer.ggml.scores has 8 entries, tokenizer.ggml.tokens has 9"},
		{"a type too few", set("tokenizer.ggml.token_type", make([]int32, 7)), "tokenizer.ggml.token_type has 7 entries"},
		{"an id beyond", set("tokenizer.ggml.bos_token_id", uint32(8)),
			"tokenizer.ggml.bos_token_id is 8, but there are 8 tokens"},
		{"an id of no token", set("tokenizer.ggml.padding_token_id", uint32(1<<32-1)), ""},
		{"a negative id", set("tokenizer.ggml.padding_token_id", int32(-2)), "padding_token_id is -2"},
		{"an id that is text", set("tokenizer.ggml.eos_token_id", "</s>"), `tokenizer.ggml.eos_token_id is "</s>"`},
		{"no version", remove("general.quantization_version"),
			`general.quantization_version is missing, though tensor "token_embd.weight" is quantized (Q4_0)`},
		{"a vocabulary alone", func(f *file) { f.tensors = nil; f.meta.Delete("llama.block_count") }, ""},
		{"an image encoder", set("general.type", "mmproj"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var f file
			f.meta, f.tensors = modeltest.Llama(t, 2, gguf.Q4_0)
			tt.change(&f)
			check(t, f.meta, f.tensors, tt.want)
		})
	}
	meta, tensors := modeltest.Llama(t, 1, gguf.F32)
	tensors[0].Shape = []int64{256, 9}
	check(t, meta, tensors, `tensor "token_embd.weight" has 9 rows, but there are 8 tokens`)
}

func check(t *testing.T, meta *gguf.Metadata, tensors []gguf.Tensor, want string) {
	t.Helper()
	var list []*gguf.Tensor
	for i := range tensors {
		list = append(list, &tensors[i])
	}
	wrong, odd := Check(meta, list)
	if all := strings.Join(slices.Concat(wrong, odd), "\n"); want == "" && all != "" || !strings.Contains(all, want) {
		t.Errorf("found %q, expected %q", all, want)
	}
}

func TestCheckAdapter(t *testing.T) {
	meta := modeltest.Meta(t, "general.type", "adapter", "general.architecture", "llama", "adapter.type", "lora")
	a := gguf.Tensor{Name: "blk.0.attn_q.weight.lora_a", Shape: []int64{64, 4}}
	b := gguf.Tensor{Name: "blk.0.attn_q.weight.lora_b", Shape: []int64{4, 64}}
	wide := b
	wide.Shape = []int64{5, 64}
	stackedA, stackedB, fewer := a, b, b
	stackedA.Shape, stackedB.Shape, fewer.Shape = []int64{64, 4, 8}, []int64{4, 64, 8}, []int64{4, 64, 7}
	for _, tt := range []struct {
		tensors []gguf.Tensor
		want    string
	}{
		{[]gguf.Tensor{a, b}, ""},
		{[]gguf.Tensor{a}, "has no blk.0.attn_q.weight.lora_b"},
		{[]gguf.Tensor{b}, "has no blk.0.attn_q.weight.lora_a"},
		{[]gguf.Tensor{a, wide}, "are of rank 4 and 5"},
		{[]gguf.Tensor{stackedA, stackedB}, ""},
		{[]gguf.Tensor{stackedA, fewer}, "are of 8 and 7 experts"},
		{[]gguf.Tensor{a, stackedB}, "have 2 and 3 dimensions"},
	} {
		check(t, meta, tt.tensors, tt.want)
	}
}
