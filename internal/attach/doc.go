// Package peft fine-tunes a frozen language model: it makes adapters, trains them over a GGUF file or a Hugging Face
// directory as it lies, saves and loads them in PEFT's layout, evaluates and generates with them, and writes models
// that have them merged in.
//
// The types, in the order a program meets them:
//
//   - A [Base] is the frozen model: [OpenBase] maps a GGUF file or a directory with safetensors. Its weights are
//     never copied, so it has to stay open as long as anything made from it is in use.
//   - An [Adapter] is a [Config] and its tensors under PEFT's names. [NewLoRA] makes a fresh one, [Load] reads one.
//     It belongs to no base and holds its rows in the order of the Hugging Face checkpoint.
//   - A [Bound] is an adapter at work on one base, from [Adapter.Bind]: shapes are checked, rows stand in the order of
//     the base's file. It is what a forward pass calls.
//   - [Train], [Merge], [Perplexity], [EvalLoss] and [Generate] do the work; [Adapter.Save], [Adapter.SaveDir] and
//     [Adapter.ExportGGUF] deliver it.
//
// # Rows of q and k
//
// GGUF files of the llama family store the rows of the query and key projections permuted, so that the two halves a
// rotation couples lie side by side. An adapter file does not: it fits PEFT and the Hugging Face checkpoint. The rows
// of lora_B are permuted where an adapter is bound to such a base and where it is exported for llama.cpp, nowhere else.
//
// # Files
//
// Every file is written aside, synchronised and renamed: a process that is killed leaves the old file or none. The same
// seed gives the same bytes whatever the number of threads, and a run that was interrupted and resumed gives the bytes
// of one that was not.
//
// # Adding a method
//
// What the methods differ in is behind one interface, method: which tensors a configuration has, how they attach to a
// model, what they add to its weights. All else (the flat parameters and their optimizer, checkpoints, files, merge)
// is written against that.
package attach
