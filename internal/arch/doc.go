// Package arch describes architectures of models as data: one file an architecture, with a table of its tensors
// ([Tensor]: what each is for, its name in GGUF and in Hugging Face files, its shape) and a function that reads from
// either kind of file what the model computes ([Spec]). Nothing outside this package knows an architecture by name.
package arch
