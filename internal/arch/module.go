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

// Canonical is the name in the table of a module that a class of Hugging Face with another prefix has: the text model
// of a class with other parts too is called by the class, by its older or newer layout, or alone.
func (a *Arch) Canonical(name string) string {
	for i := range a.HF {
		m := &a.HF[i]
		heads, prefixes := []string{m.Head}, []string{m.In}
		if m.Text != "" {
			heads = append(heads, "language_model."+headModule, hfPrefix+headModule)
			prefixes = append(prefixes, "model.language_model.", "language_model.model.")
		}
		for _, head := range heads {
			if rest, ok := strings.CutPrefix(name, head); ok && head != "" {
				return headModule + rest
			}
		}
		for _, prefix := range prefixes {
			if rest, ok := strings.CutPrefix(name, prefix); ok && prefix != "" {
				return hfPrefix + rest
			}
		}
	}
	return name
}
