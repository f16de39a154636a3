package pretrain

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/demo/tale"
	"github.com/peftconv/peftconv/internal/demo/vocab"
)

// A Recipe is everything that decides what the built-in model becomes.
type Recipe struct {
	Seed uint64 // of the text and of the first weights

	// The vocabulary.
	Tokens         int    // its size
	VocabDocuments uint64 // number of documents it is trained on

	// The decoder.
	Layers, Width, FFN   int
	QueryHeads, KeyHeads int
	Context              int
	RopeBase             float32
	NormEps              float32

	// The training.
	Steps       int
	BatchTokens int // tokens a step, at most
	Warmup      int // steps in which the learning rate rises
	LR, MinLR   float64
	Beta2       float32
	WeightDecay float32 // of the matrices, not of the norms
	Clip        float64 // largest norm of the gradient

	Type gguf.Type // of the matrices in the file
	Exam Exam      // of the finished model
}

// Builtin is the recipe of the model that this project carries.
func Builtin() Recipe {
	return Recipe{
		Seed:   1,
		Tokens: 1024, VocabDocuments: 8000,
		Layers: 5, Width: 256, FFN: 512, QueryHeads: 4, KeyHeads: 2, Context: 512, RopeBase: 10000, NormEps: 1e-5,
		Steps: 2600, BatchTokens: 3072, Warmup: 100, LR: 3e-3, MinLR: 1e-4, Beta2: 0.98, WeightDecay: 0.1, Clip: 1,
		Type: gguf.Q8_0, Exam: BuiltinExam(),
	}
}

// Vocabulary is trained on the recipe's first documents; sha is the SHA-256 of their text in hexadecimal digits.
func (r *Recipe) Vocabulary() (v *vocab.Vocabulary, sha string, err error) {
	var text writer
	h := sha256.New()
	if err := tale.WriteCorpus(io.MultiWriter(&text, h), r.Seed, 0, r.VocabDocuments, false); err != nil {
		return nil, "", err
	}
	v, err = vocab.Train(string(text), r.Tokens)
	return v, hex.EncodeToString(h.Sum(nil)), err
}

// writer collects text.
type writer []byte

func (w *writer) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}

// CorpusSHA256 is the SHA-256 of the first n documents, in hexadecimal digits.
func (r *Recipe) CorpusSHA256(n uint64) (string, error) {
	h := sha256.New()
	if err := tale.WriteCorpus(h, r.Seed, 0, n, false); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// rate is the learning rate of a step, counted from 0: a straight rise, then half a cosine down to MinLR.
func (r *Recipe) rate(step int) float64 {
	if step < r.Warmup {
		return r.LR * float64(step+1) / float64(r.Warmup)
	}
	done := float64(step-r.Warmup) / float64(max(r.Steps-r.Warmup, 1))
	return r.MinLR + (r.LR-r.MinLR)*(1+math.Cos(math.Pi*done))/2
}
