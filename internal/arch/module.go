package arch

import "strings"

// IsModule reports whether a module of Hugging Face's classes has that name in some architecture and is for a role that
// fits.
func IsModule(name string, fits func(r Role) bool) bool {
	for _, a := range table {
		for i := range a.Tensors {
			t := &a.Tensors[i]
			if !fits(t.Role) {
				continue
			}
			module := strings.TrimSuffix(t.HF, weightSuffix)
			if module == "" {
				module = strings.TrimSuffix(t.GGUF, weightSuffix)
			}
			if _, ok := layerOf(module, name); ok {
				return true
			}
			for j := range a.HF {
				if _, ok := layerOf(a.HF[j].Rename(module), name); ok {
					return true
				}
			}
		}
	}
	return false
}

// IsEmbedding reports whether a module of that name is the embedding table in some architecture.
func IsEmbedding(name string) bool {
	return IsModule(name, func(r Role) bool { return r == TokenEmbedding })
}

// IsHead is the same for the output head.
func IsHead(name string) bool { return IsModule(name, func(r Role) bool { return r == OutputHead }) }

// IsNorm is the same for a norm.
func IsNorm(name string) bool { return IsModule(name, func(r Role) bool { return r.Kind() == Norm }) }
