package arch

import "math"

// Vocabulary is how llama.cpp's converter writes the vocabulary of an architecture from the files of a Hugging Face
// directory. The zero Vocabulary is byte-level BPE, as its files have it.
type Vocabulary struct {
	Sources []VocabularySource // that are tried, in this order; nil: ByteBPE
	// ByteBPEClass is the tokenizer_class of tokenizer_config.json with which the vocabulary is ByteBPE whatever Sources
	// say, "" where none is.
	ByteBPEClass string

	PadTo   int    // unused tokens fill the vocabulary up to a multiple of it; 0: none
	PadKey  string // the key of config.json with another multiple; "": none
	PadWith string // the entry of layer_types in config.json without which nothing is filled up; "": it always is

	SpacePrefix SpacePrefix
	Named       []NamedToken // special tokens that are known by their text, where no file names another
	EOSKey      string       // the key of config.json with the id of EOS, whatever else is named; "": none
	EOSEndsTurn bool         // the first of several EOS in generation_config.json ends a turn
	Shown       []string     // tokens whose text is shown though it is markup
	Settings    []VocabularySetting
}

// VocabularySource is a form in which directories have vocabularies.
type VocabularySource uint8

// The forms. The converter writes them as the kinds of tokenizer.ggml.model that stand behind them.
const (
	ByteBPE            VocabularySource = iota // tokenizer.json, or vocab.json and merges.txt: gpt2
	SentencePiece                              // tokenizer.model: llama
	SentencePieceAdded                         // tokenizer.model with the added tokens of tokenizer.json: llama
	CharacterBPE                               // tokenizer.json with byte fallback, whose merges get lost: llama
	MergedBPE                                  // the same with its merges: gemma4
	Tekken                                     // tekken.json: gpt2
)

// SpacePrefix says where add_prefix_space of tokenizer_config.json is written.
type SpacePrefix uint8

// The places.
const (
	NoSpacePrefix    SpacePrefix = iota
	SpacePrefixFirst             // before everything else of the tokenizer
	SpacePrefixLast              // behind it
)

// NamedToken is a special token: its name in keys ("eos", "eot") and its text.
type NamedToken struct{ Name, Text string }

// VocabularySetting is a value that is written behind all others, or in the place of one of them.
type VocabularySetting struct {
	Key    string // below tokenizer.ggml
	Value  any    // a bool, or a uint32 for an id
	Of     int    // only for vocabularies of so many tokens by config.json; 0: for all
	Source VocabularySource
	Unless string // not where config.json has this key; "": always
}

// anySource stands in a VocabularySetting for all forms.
const anySource = VocabularySource(math.MaxUint8)

// Fits reports whether a setting is for a vocabulary of a form and a size.
func (s *VocabularySetting) Fits(source VocabularySource, size int) bool {
	return (s.Source == anySource || s.Source == source) && (s.Of == 0 || s.Of == size)
}

// set is a setting that always applies.
func set(key string, value any) VocabularySetting {
	return VocabularySetting{Key: key, Value: value, Source: anySource}
}

// Vocabularies that several architectures have, and those that need more than a line.
var (
	sentencePieceOrBytes = Vocabulary{Sources: []VocabularySource{SentencePiece, ByteBPE}}

	llamaVocabulary = Vocabulary{
		Sources:     []VocabularySource{Tekken, SentencePiece, CharacterBPE, ByteBPE},
		SpacePrefix: SpacePrefixFirst,
		Settings: []VocabularySetting{
			{Key: "eot_token_id", Value: uint32(32010), Of: 32016, Source: anySource}, // Code Llama
			{Key: "add_bos_token", Value: false, Of: 49152, Source: anySource},        // small models of Granite
		},
	}

	gemmaVocabulary = Vocabulary{
		Sources:  []VocabularySource{SentencePiece},
		Settings: []VocabularySetting{set("eot_token_id", uint32(107)), set("add_space_prefix", false)},
	}
	gemma2Vocabulary = Vocabulary{
		Sources:  []VocabularySource{SentencePiece},
		Settings: []VocabularySetting{set("add_space_prefix", false)},
	}
	gemma3Vocabulary = Vocabulary{
		Sources:  []VocabularySource{SentencePiece, ByteBPE},
		Settings: []VocabularySetting{{Key: "add_space_prefix", Value: false, Source: SentencePiece}},
	}
	gemma4Vocabulary = Vocabulary{
		Sources: []VocabularySource{MergedBPE},
		Shown: []string{"<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>",
			`<|"|>`},
		Settings: []VocabularySetting{set("add_space_prefix", false), set("add_bos_token", true)},
	}

	phi3Vocabulary = Vocabulary{Sources: []VocabularySource{SentencePieceAdded}, ByteBPEClass: "GPT2Tokenizer"}

	mamba2Vocabulary = Vocabulary{
		Sources: []VocabularySource{SentencePiece, ByteBPE},
		PadTo:   16,
		PadKey:  "pad_vocab_size_multiple",
	}

	glm4Vocabulary = Vocabulary{Named: []NamedToken{{"eos", "<|endoftext|>"}, {"eot", "<|user|>"},
		{"unk", "<|endoftext|>"}, {"bos", "<|endoftext|>"}}}
	glm4moeVocabulary = Vocabulary{Named: []NamedToken{{"bos", "[gMASK]"}, {"eot", "<|user|>"},
		{"unk", "<|endoftext|>"}, {"eom", "<|observation|>"}}}
	glmVocabulary = Vocabulary{Named: []NamedToken{{"eos", "<|endoftext|>"}, {"eot", "<|user|>"},
		{"unk", "<|endoftext|>"}}}

	nemotronVocabulary = Vocabulary{
		Sources:  []VocabularySource{SentencePiece},
		Settings: []VocabularySetting{set("padding_token_id", uint32(0)), set("unknown_token_id", uint32(1))},
	}
	nemotronHVocabulary = Vocabulary{PadTo: 8, Settings: []VocabularySetting{
		{Key: "add_bos_token", Value: true, Source: anySource, Unless: "num_experts_per_tok"}}}
)
