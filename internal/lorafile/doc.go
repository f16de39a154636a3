// Package lorafile reads the GGUF files that llama.cpp takes as LoRA adapters. Package export writes them.
//
// Such a file has a pair for each tensor of the base's own file that it changes: T.lora_a and T.lora_b, with the rows
// of B and the columns of A in the order of that tensor. What is read is the LoRA that HF PEFT would have: a pair for
// each module, rows in the order of the Hugging Face checkpoint. Names and orders depend on the base, which is needed.
package lorafile
