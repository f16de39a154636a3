package modelcard

import "testing"

// FuzzFrontMatter reads arbitrary texts as model cards.
func FuzzFrontMatter(f *testing.F) {
	f.Add("---\nlicense: mit\nlanguage: [en, no]\ntags:\n- a\n- &x b\n- *x\nbase_model: a/b-7B\n---\ntext")
	f.Add("---\r\nlanguage: no\r\ndatasets:\t[ ]\r\n")
	f.Add("no front matter")
	f.Fuzz(func(t *testing.T, text string) {
		m := &frontMatter{path: "README.md"}
		if m.parse(text) != nil {
			return
		}
		for key := range m.values {
			_, _, _ = m.text(key)
			_, _, _ = m.list(key)
		}
		_, _, _ = m.works(7e9, "base_model", "datasets")
	})
}
