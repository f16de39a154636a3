// Package model is the frozen transformer: what it computes, as data (arch.Spec), its weights where they lie in the
// file ([Model]), and one decoder forward that reads both ([Model.Hidden], [Model.Loss], [Session]).
//
// The decoder finds linear maps and norms by their role (arch.Role) and knows no architecture by name. It knows no
// adapter either: it calls [Hooks] at the places where one may attach.
package model
