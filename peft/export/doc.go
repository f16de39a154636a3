// Package export writes adapters for other programs: as a GGUF file for llama.cpp's --lora, as a GGUF model that any
// llama.cpp runs, as a model of Ollama, and as a state of llama.cpp's cache. What HF PEFT loads is written by
// peft.Adapter.SaveDir.
package export
