package attach

import (
	"sync"

	"github.com/peftconv/peftconv/internal/arch"
)

// kindsOf are the last parts of the names that the modules of a role, or of all norms, have in any architecture.
func kindsOf(is func(t *arch.Tensor) bool) func() map[string]bool {
	return sync.OnceValue(func() map[string]bool {
		kinds := map[string]bool{}
		for _, name := range arch.Names() {
			a := arch.ByName(name)
			for i := range a.Tensors {
				if t := &a.Tensors[i]; is(t) {
					kinds[LastPart(t.Module(0))] = true
				}
			}
		}
		return kinds
	})
}

var (
	embeddingKinds = kindsOf(func(t *arch.Tensor) bool { return t.Role == arch.TokenEmbedding })
	headKinds      = kindsOf(func(t *arch.Tensor) bool { return t.Role == arch.OutputHead })
	normKinds      = kindsOf(func(t *arch.Tensor) bool { return t.Role.Kind() == arch.Norm })
)

// IsEmbedding reports whether a module is an embedding table of tokens: "model.embed_tokens", "transformer.wte".
func IsEmbedding(module string) bool { return embeddingKinds()[LastPart(module)] }

// IsHead reports whether a module is an output head: "lm_head", "embed_out".
func IsHead(module string) bool { return headKinds()[LastPart(module)] }

// IsNorm reports whether a module is a norm.
func IsNorm(module string) bool { return normKinds()[LastPart(module)] }
