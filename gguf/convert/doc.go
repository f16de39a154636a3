// Package convert makes a GGUF file of a model in Hugging Face's form: metadata, tensors and their order are those of
// llama.cpp's converter (convert_hf_to_gguf.py of v0.5.0). The tensors are read from maps of the files a few rows at a
// time, brought into GGUF's form, and written, or quantized as package quantize does, in one pass.
package convert
