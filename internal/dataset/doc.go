// Package dataset makes token sequences with loss masks of training and evaluation data, shuffles them and packs them
// into batches.
//
// Files are those of package records, of two kinds:
//
//   - a text: its tokens are cut into pieces of SeqLen that do not overlap. Each piece begins with BOS where the
//     vocabulary adds one, so that training sees text as perplexity windows do.
//   - records: the first of these forms whose fields are present is used: "input_ids" (with "labels", -100 for tokens
//     without loss, and "attention_mask", both optional); "messages" and other conversations, which package chat turns
//     into texts; "text"; "prompt" and "completion"; "question" and "answer"; "instruction" and "output", which is a
//     conversation too. Options chooses other fields, a form, or a prompt made of fields.
//
// Several sources are one set, in their order (LoadSplit); they may have weights, and a share of the records may be
// held back. Examples are made on all cores. They are in memory, or, where they are more than fit easily, in a file
// (Cache).
//
// A [template.Virtual] combines any fields of a record with virtual tokens, which have negative ids. With [Classes] a
// record is a text, or a template, with a label: the last token predicts the class, or the words of the label follow.
//
// A text record is BOS, text, EOS, all of it predicted. One that is longer than SeqLen becomes several examples, as a
// file does. A record with a prompt is BOS, prompt, separator, completion, EOS; completion and EOS are predicted.
// Prompt and completion are tokenized separately, the completion as a continuation of the prompt. So the boundary is
// exact whatever the vocabulary would merge across it, and training sees the same prompt tokens as generation.
//
// A record with a prompt that is longer than SeqLen first loses the beginning of its prompt, but keeps a quarter of
// SeqLen of it; then it loses the end of its completion, EOS included. Ready-made ids are cut at their end. [Overflow]
// is another way, and [Counts] counts what was cut.
//
// Records may spell control tokens as text ("<|im_end|>"). In plain text files such a spelling is ordinary text.
// [Options] changes both.
package dataset
