// Package sanity finds contradictions between a GGUF file's metadata and tensors: errors in a well-formed file that no
// reader of the format notices.
package sanity

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/peftconv/peftconv/gguf"
)

// Keys that are read here.
const (
	keyType         = "general.type"
	keyArchitecture = "general.architecture"
	keyTokens       = "tokenizer.ggml.tokens"
	keyQuantVersion = "general.quantization_version"
)

// Check lists contradictions, a sentence each: those for which a file is not loaded here, and those that are only odd.
// Tensors may be nil where they are not known.
func Check(meta *gguf.Metadata, tensors []*gguf.Tensor) (wrong, odd []string) {
	c := &checker{meta: meta, tensors: tensors}
	kind, ok := meta.String(keyType)
	if !ok {
		kind = "model"
	}
	switch kind {
	case "model":
		if c.architecture() {
			c.layers()
		}
		c.vocabulary()
	case "adapter":
		c.architecture()
		c.adapter()
	}
	c.quantization()
	return c.wrong, c.odd
}

// noToken is the id of no token, -1, in the form that unsigned values have for it.
const noToken = 1<<32 - 1

type checker struct {
	meta    *gguf.Metadata
	tensors []*gguf.Tensor
	arch    string

	wrong, odd []string
}

func (c *checker) say(format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}
func (c *checker) note(format string, args ...any) {
	c.odd = append(c.odd, fmt.Sprintf(format, args...))
}

// architecture checks that the file names its architecture, and that its metadata are those of such a model.
func (c *checker) architecture() bool {
	arch, ok := c.meta.String(keyArchitecture)
	if !ok || arch == "" {
		c.say("%s is missing: no program can tell what the tensors mean", keyArchitecture)
		return false
	}
	c.arch = arch
	if kind, ok := c.meta.String(keyType); ok && kind != "model" {
		return true
	}
	if _, ok := c.meta.Get(arch + ".block_count"); ok {
		return true
	}
	for key := range c.meta.All() {
		if other, ok := strings.CutSuffix(key, ".block_count"); ok {
			c.say("%s is %q, but the metadata are those of %q: programs will look for %s.block_count and not find it",
				keyArchitecture, arch, other, arch)
			return false
		}
	}
	if len(c.tensors) > 0 {
		c.say("%s.block_count is missing", arch)
	}
	return false
}

// layers checks that the tensors form as many blocks as the metadata announce.
func (c *checker) layers() {
	key := c.arch + ".block_count"
	count, ok := c.meta.Uint(key)
	if !ok {
		c.say("%s is no whole number", key)
		return
	}
	has := map[uint64]bool{}
	for i := range c.tensors {
		if n, ok := block(c.tensors[i].Name); ok {
			has[n] = true
		}
	}
	if len(has) == 0 {
		return
	}
	var missing, beyond []uint64
	for n := range has {
		if n >= count {
			beyond = append(beyond, n)
		}
	}
	for n := uint64(0); n < count && len(missing) < 5; n++ {
		if !has[n] {
			missing = append(missing, n)
		}
	}
	slices.Sort(beyond)
	if len(beyond) > 0 {
		c.say("%s is %d, but there are tensors of block %d", key, count, beyond[0])
	}
	if len(missing) > 0 {
		c.say("%s is %d, but block %d has no tensors", key, count, missing[0])
	}
}

// block is the number N of a tensor blk.N.something.
func block(name string) (uint64, bool) {
	rest, ok := strings.CutPrefix(name, "blk.")
	if !ok {
		return 0, false
	}
	number, _, ok := strings.Cut(rest, ".")
	n, err := strconv.ParseUint(number, 10, 32)
	return n, ok && err == nil
}

// vocabulary checks that everything that is indexed by token has as many entries as there are tokens.
func (c *checker) vocabulary() {
	v, ok := c.meta.Get(keyTokens)
	if !ok {
		return
	}
	tokens := v.Len()
	for _, key := range []string{"tokenizer.ggml.scores", "tokenizer.ggml.token_type"} {
		if v, ok := c.meta.Get(key); ok && v.Len() != tokens {
			c.say("%s has %d entries, %s has %d", key, v.Len(), keyTokens, tokens)
		}
	}
	for key, v := range c.meta.All() {
		if !strings.HasPrefix(key, "tokenizer.ggml.") || !strings.HasSuffix(key, "_token_id") {
			continue
		}
		if id, ok := v.Int(); !ok || id != -1 && id != noToken && (id < 0 || id >= int64(tokens)) {
			c.note("%s is %v, but there are %d tokens", key, v, tokens)
		}
	}
	for i := range c.tensors {
		if t := c.tensors[i]; t.Name == "token_embd.weight" && t.Rows() != int64(tokens) {
			c.say("tensor %q has %d rows, but there are %d tokens", t.Name, t.Rows(), tokens)
		}
	}
}

// adapter checks that the two matrices of each low-rank pair are there and fit.
func (c *checker) adapter() {
	if v, ok := c.meta.String("adapter.type"); !ok || v != "lora" || c.tensors == nil {
		return
	}
	byName := map[string]*gguf.Tensor{}
	for i := range c.tensors {
		byName[c.tensors[i].Name] = c.tensors[i]
	}
	for i := range c.tensors {
		t := c.tensors[i]
		if base, ok := strings.CutSuffix(t.Name, ".lora_b"); ok && byName[base+".lora_a"] == nil {
			c.say("tensor %q has no %s.lora_a", t.Name, base)
		}
		base, ok := strings.CutSuffix(t.Name, ".lora_a")
		if !ok {
			continue
		}
		b := byName[base+".lora_b"]
		switch {
		case b == nil:
			c.say("tensor %q has no %s.lora_b", t.Name, base)
		case len(t.Shape) != len(b.Shape) || len(t.Shape) < 2:
			c.say("tensors %q and %q have %d and %d dimensions", t.Name, b.Name, len(t.Shape), len(b.Shape))
		case t.Shape[1] != b.Shape[0] && !(strings.HasPrefix(t.Name, "token_embd.") && t.Shape[0] == b.Shape[0]):
			c.say("tensors %q and %q are of rank %d and %d", t.Name, b.Name, t.Shape[1], b.Shape[0])
		case len(t.Shape) > 2 && t.Shape[2] != b.Shape[2]:
			c.say("tensors %q and %q are of %d and %d experts", t.Name, b.Name, t.Shape[2], b.Shape[2])
		}
	}
}

// quantization checks that a file with quantized tensors names the version of the formats.
func (c *checker) quantization() {
	if _, ok := c.meta.Get(keyQuantVersion); ok {
		return
	}
	for i := range c.tensors {
		if t := c.tensors[i]; t.Type.Known() && t.Type.BlockLen() > 1 {
			c.note("%s is missing, though tensor %q is quantized (%v)", keyQuantVersion, t.Name, t.Type)
			return
		}
	}
}
