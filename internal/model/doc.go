// Package model is the frozen transformer: what an architecture is, as data ([Spec]), its weights where they lie in
// the file ([Model]), and one decoder forward that reads both ([Model.Hidden], [Model.Loss], [Session]).
//
// An architecture's own file (llama.go, …) only fills a Spec from metadata and names tensors. The decoder knows no
// adapter: it calls [Hooks] at the places where one may attach.
package model
