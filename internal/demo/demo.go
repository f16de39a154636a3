// Package demo is peftconv's demonstration: a model that the program carries, data that it writes itself, and a run
// through everything from training to merging.
//
// The model ("Valley Tales", a llama of 3.2 million weights in Q8_0) has read nothing but the tales of package tale; it
// tells such tales, answers questions about them and knows the world they happen in. Package pretrain makes it.
// The fine-tuning data are two tasks that it has never seen, in words that it knows: to tell a tale again as the owl
// would ([tale.OwlTask]) and to name in one word the mood in which a tale leaves its hero ([tale.MoodTask]).
package demo

import (
	"bytes"
	_ "embed" // the built-in model
	"fmt"
	"os"
	"path/filepath"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/demo/tale"
	"github.com/peftconv/peftconv/quant"
)

//go:generate go run ./make --out base.gguf

//go:embed base.gguf
var base []byte

// BaseGGUF is the built-in model, a GGUF file with matrices of Q8_0. The caller must not write to it.
func BaseGGUF() []byte { return base }

// The sizes of the data sets, in examples, and the seeds they are drawn with.
const (
	trainSeed, evalSeed  = 11, 12
	owlTrain, moodTrain  = 1200, 800
	owlEval, moodEval    = 60, 100
	owlTextTrain, owlEnd = 1500, 150
	plainEval            = 150
)

// OwlTrain is the training data of the owl task: JSONL of {"prompt", "completion"}.
func OwlTrain() []byte { return jsonl(tale.OwlTask(trainSeed, owlTrain, false)) }

// OwlEval is the held-out data of the owl task.
func OwlEval() []byte { return jsonl(tale.OwlTask(evalSeed, owlEval, true)) }

// MoodTrain is the training data of the mood task, whose completions are the four [tale.Moods].
func MoodTrain() []byte { return jsonl(tale.MoodTask(trainSeed, moodTrain, false)) }

// MoodEval is the held-out data of the mood task.
func MoodEval() []byte { return jsonl(tale.MoodTask(evalSeed, moodEval, true)) }

// TrainData is the training data of both tasks, shuffled.
func TrainData() []byte {
	return jsonl(tale.Mixed(trainSeed, tale.OwlTask(trainSeed, owlTrain, false),
		tale.MoodTask(trainSeed, moodTrain, false)))
}

// EvalData is the held-out data of both tasks, shuffled.
func EvalData() []byte {
	return jsonl(tale.Mixed(evalSeed, tale.OwlTask(evalSeed, owlEval, true), tale.MoodTask(evalSeed, moodEval, true)))
}

// OwlTextTrain is running text: tales as the owl tells them.
func OwlTextTrain() []byte { return []byte(tale.OwlText(trainSeed, owlTextTrain, false)) }

// OwlTextEval is held-out running text of the owl's.
func OwlTextEval() []byte { return []byte(tale.OwlText(evalSeed, owlEnd, true)) }

// PlainEval is held-out text of the kind that the built-in model was trained on.
func PlainEval() []byte {
	var b bytes.Buffer
	if err := tale.WriteCorpus(&b, evalSeed, 0, plainEval, true); err != nil {
		panic("demo: a buffer cannot be written to") // it always can
	}
	return b.Bytes()
}

func jsonl(examples []tale.Example) []byte {
	var b bytes.Buffer
	if err := tale.WriteJSONL(&b, examples); err != nil {
		panic("demo: an example is no JSON") // two strings always are
	}
	return b.Bytes()
}

// A File is one of the files of the demonstration.
type File struct {
	Name string
	Data func() []byte
}

// Files are the built-in model and all data sets.
func Files() []File {
	return []File{
		{"base.gguf", BaseGGUF},
		{"train.jsonl", TrainData}, {"eval.jsonl", EvalData},
		{"owl.train.jsonl", OwlTrain}, {"owl.eval.jsonl", OwlEval},
		{"mood.train.jsonl", MoodTrain}, {"mood.eval.jsonl", MoodEval},
		{"owl.train.txt", OwlTextTrain}, {"owl.eval.txt", OwlTextEval},
		{"plain.eval.txt", PlainEval},
	}
}

// WriteFiles writes all Files to a directory, which it makes where it does not exist.
func WriteFiles(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write the demonstration's files: %w", err)
	}
	for _, f := range Files() {
		if err := atomicfile.WriteBytes(filepath.Join(dir, f.Name), f.Data()); err != nil {
			return fmt.Errorf("write the demonstration's files: %w", err)
		}
	}
	return nil
}

// BaseAs is the built-in model with its matrices in another type: every matrix is dequantized and quantized again.
func BaseAs(t gguf.Type) ([]byte, error) {
	from, err := gguf.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("built-in model: %w", err)
	}
	if !quant.Supported(t) {
		return nil, fmt.Errorf("built-in model as %v: that type cannot be written", t)
	}
	tensors := make([]gguf.Tensor, len(from.Tensors))
	for i, tensor := range from.Tensors {
		tensors[i] = gguf.Tensor{Name: tensor.Name, Shape: tensor.Shape, Type: tensor.Type}
		if len(tensor.Shape) > 1 {
			tensors[i].Type = t
		}
	}
	meta := from.Meta.Clone()
	meta.Delete("general.file_type")
	var b bytes.Buffer
	w, err := gguf.NewWriter(&b, meta, tensors)
	if err != nil {
		return nil, fmt.Errorf("built-in model as %v: %w", t, err)
	}
	for _, tensor := range from.Tensors {
		data := tensor.Bytes()
		if len(tensor.Shape) > 1 {
			data = convert(tensor, t)
		}
		if err := w.WriteTensor(tensor.Name, data); err != nil {
			return nil, fmt.Errorf("built-in model as %v: %w", t, err)
		}
	}
	return b.Bytes(), w.Close()
}

// convert quantizes a matrix to another type.
func convert(from *gguf.Tensor, t gguf.Type) []byte {
	x := make([]float32, from.Elements())
	quant.Dequantize(from.Type, x, from.Bytes())
	out := make([]byte, len(x)/t.BlockLen()*t.BlockSize())
	quant.Quantize(t, out, x, int(from.Cols()), nil)
	return out
}
