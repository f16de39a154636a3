// Package dataset reads training and evaluation data into token sequences that say which of their tokens are to be
// predicted, shuffles them and packs them into batches.
//
// A file is of one of two formats, by its name; either may be compressed (.gz, .zst):
//
//   - .txt: one text. Its tokens are cut into pieces of SeqLen that do not overlap. Each piece begins with BOS where the
//     vocabulary adds one, so that training sees text as perplexity windows do.
//   - .jsonl (.ndjson, .json): one JSON object a line, a record. The first of these that its fields allow is taken:
//     "input_ids" (with "labels", -100 for tokens without loss, and "attention_mask", both optional);
//     "text"; "prompt" and "completion"; "question" and "answer". Options chooses other field names.
//
// A [Template] takes any fields of a record and says where virtual tokens stand among them; they have negative ids. With
// [Classes] a record is a text, or a template, with a label: the class is what its last token has to predict, or the label's
// words are what follows.
//
// A text record is BOS, text, EOS, all of it to be predicted; one that is longer than SeqLen becomes several examples,
// as a file would. A record with a prompt is BOS, prompt, separator, completion, EOS, of which completion and EOS are
// to be predicted. Prompt and completion are tokenized apart, the completion as a continuation of the prompt: so the
// boundary is exact whatever the vocabulary would merge across it, and training sees the prompt in the very tokens that
// generation will give the model.
//
// A record with a prompt that is longer than SeqLen loses the beginning of its prompt first, but keeps a quarter of
// SeqLen of it; then it loses the end of its completion, EOS included. Ready-made ids are cut at their end. [Counts]
// says how often that happened.
//
// Records spell control tokens as text ("<|im_end|>") where they want them; in plain text files such a spelling is
// ordinary text. [Options] changes both.
package dataset
