package export

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/quant"
)

// Keys of a vocabulary in a GGUF file.
const (
	keyTokens   = "tokenizer.ggml.tokens"
	keyScores   = "tokenizer.ggml.scores"
	keyTypes    = "tokenizer.ggml.token_type"
	keyAddBOS   = "tokenizer.ggml.add_bos_token"
	keyTemplate = "tokenizer.chat_template"
)

// Types of tokens in a GGUF file.
const (
	tokenNormal      int32 = 1
	tokenUserDefined int32 = 4
)

// embeddingMethod is a method whose virtual tokens are embeddings before or in the input.
type embeddingMethod interface {
	// Embeddings are those of the virtual tokens (n, D).
	Embeddings(b *attach.Base, params []attach.Param) ([]float32, error)
}

// tokensModel is the base with an adapter's virtual tokens in its vocabulary.
func tokensModel(a *attach.Adapter, m embeddingMethod, b *attach.Base, params []attach.Param) (*modelFile, error) {
	rows, err := m.Embeddings(b, params)
	if err != nil {
		return nil, err
	}
	template, err := a.Template()
	if err != nil {
		return nil, err
	}
	return virtualModel(b, rows, template)
}

// virtualModel is the base with virtual tokens at the end of its vocabulary, whose embeddings are rows (n, D). A prompt
// that begins with them, or has them where the template has, is read as with the adapter.
func virtualModel(b *attach.Base, rows []float32, template *attach.Template) (*modelFile, error) {
	table := b.Model.Arch
	embed, head := b.GGUF.Tensor(table.Tensor(arch.TokenEmbedding).GGUF), table.Tensor(arch.OutputHead)
	if head == nil {
		return nil, fmt.Errorf("models of architecture %s have no output head but their embeddings", table.Name)
	}
	if b.Model.Spec.LayerEmbedding > 0 {
		return nil, fmt.Errorf("%s has a second embedding of each token, which virtual tokens have not", b.Path)
	}
	names, err := virtualNames(b, len(rows)/int(embed.Cols()))
	if err != nil {
		return nil, err
	}
	f := &modelFile{meta: b.GGUF.Meta.Clone()}
	if err := f.addTokens(b, names); err != nil {
		return nil, err
	}
	if err := f.addPrompt(b, names, template); err != nil {
		return nil, err
	}
	never, err := unlikeliestRow(b)
	if err != nil {
		return nil, err
	}
	for _, t := range b.GGUF.Tensors {
		switch t.Name {
		case embed.Name:
			f.tensors = append(f.tensors, wider(t, rows))
		case arch.BiasName(head.GGUF):
			bias := slices.Clone(b.Model.Bias)
			for range names {
				bias = append(bias, bias[never])
			}
			f.tensors = append(f.tensors, floatTensor(t.Name, bias, int64(len(bias))))
		case head.GGUF:
			f.tensors = append(f.tensors, repeated(t, t.Name, never, len(names)))
		default:
			f.tensors = append(f.tensors, copied(t))
		}
	}
	if b.Model.Spec.Tied {
		f.tensors = append(f.tensors, repeated(embed, head.GGUF, never, len(names)))
	}
	f.describeRounding(embed.Type, rows, int(embed.Cols()))
	return f, nil
}

// repeated is a matrix under a name with n more rows, copies of one of its own.
func repeated(t *gguf.Tensor, name string, row, n int) modelTensor {
	shape := []int64{t.Cols(), t.Rows() + int64(n)}
	return modelTensor{gguf.Tensor{Name: name, Shape: shape, Type: t.Type}, func(w io.Writer) error {
		if _, err := w.Write(t.Bytes()); err != nil {
			return err
		}
		size := len(t.Bytes()) / int(t.Rows())
		for range n {
			if _, err := w.Write(t.Bytes()[row*size : (row+1)*size]); err != nil {
				return err
			}
		}
		return nil
	}}
}

// virtualNames are texts for n tokens that the vocabulary does not have.
func virtualNames(b *attach.Base, n int) ([]string, error) {
	if b.Tokenizer == nil {
		return nil, fmt.Errorf("%s has no vocabulary to add virtual tokens to", b.Path)
	}
	names := make([]string, n)
	for i := range names {
		names[i] = "<pt_" + strconv.Itoa(i) + ">"
		if _, there := b.Tokenizer.ID(names[i]); there {
			return nil, fmt.Errorf("the vocabulary of %s has the token %q already: export over the model that the "+
				"adapter was trained over",
				b.Path, names[i])
		}
	}
	return names, nil
}

// addTokens puts tokens at the end of the vocabulary.
func (m *modelFile) addTokens(b *attach.Base, names []string) error {
	tokens, ok := m.meta.Strings(keyTokens)
	if !ok || len(tokens) != b.Model.Spec.Vocab {
		return fmt.Errorf("%s has %d tokens in %s, expected the %d of its embeddings",
			b.Path, len(tokens), keyTokens, b.Model.Spec.Vocab)
	}
	size := len(tokens) + len(names)
	kinds := kindsOf(m.meta, len(tokens))
	for range names {
		kinds = append(kinds, tokenUserDefined)
	}
	if err := m.meta.Set(keyTokens, slices.Concat(tokens, names)); err != nil {
		return err
	}
	if err := m.meta.Set(keyTypes, kinds); err != nil {
		return err
	}
	if scores, ok := m.meta.Floats(keyScores); ok {
		if err := m.meta.Set(keyScores, slices.Concat(scores, make([]float32, len(names)))); err != nil {
			return err
		}
	}
	key := b.Architecture() + ".vocab_size"
	if _, ok := m.meta.Uint(key); ok {
		return m.meta.Set(key, uint32(size))
	}
	return nil
}

// kindsOf are the types of n tokens, normal where the metadata says nothing.
func kindsOf(meta *gguf.Metadata, n int) []int32 {
	kinds := make([]int32, n)
	stored, _ := meta.Ints(keyTypes)
	for i := range kinds {
		kinds[i] = tokenNormal
		if i < len(stored) {
			kinds[i] = int32(stored[i])
		}
	}
	return kinds
}

// addPrompt makes chats begin with the tokens, and notes how other prompts have to begin. As in training the tokens
// stand before BOS, which a prompt then has to spell; those of a template stand after it.
func (m *modelFile) addPrompt(b *attach.Base, names []string, template *attach.Template) error {
	all, bos := strings.Join(names, ""), ""
	if id, ok := b.Tokenizer.BOS(); ok && b.Tokenizer.AddBOS() {
		tokens, _ := b.GGUF.Meta.Strings(keyTokens)
		bos = tokens[id]
	}
	if template != nil {
		return m.addTemplate(names, template)
	}
	m.note = fmt.Sprintf("a prompt has to begin with %s…%s%s", names[0], names[len(names)-1], bos)
	if bos != "" {
		if err := m.meta.Set(keyAddBOS, false); err != nil {
			return err
		}
	}
	chat, ok := m.meta.String(keyTemplate)
	if !ok {
		m.prompt = all + bos
		return nil
	}
	if !strings.Contains(chat, "bos_token") {
		all += bos
	}
	m.note += "; chats do by their template"
	return m.meta.Set(keyTemplate, all+chat)
}

// addTemplate makes a chat template of one with a single input: the last message.
func (m *modelFile) addTemplate(names []string, template *attach.Template) error {
	show := func(field string) func(string) string { return func(string) string { return field } }
	virtual := func(i int) string { return names[i] }
	m.note = "a prompt has to read " + template.Render(virtual, func(name string) string { return "{" + name + "}" })
	words := template.Render(func(int) string { return "" }, show(""))
	if len(template.Fields()) != 2 || strings.Contains(words, "{") {
		return nil
	}
	m.note += "; chats do by their template"
	return m.meta.Set(keyTemplate, template.Render(virtual, show("{{ messages[-1]['content'] }}")))
}

// describeRounding adds the rounding error of the embeddings to the note.
func (m *modelFile) describeRounding(t gguf.Type, rows []float32, cols int) {
	rounded := make([]float32, len(rows))
	quant.Dequantize(t, rounded, inType(t, rows, cols))
	var miss, norm float64
	for i, v := range rows {
		d := float64(rounded[i]) - float64(v)
		miss += d * d
		norm += float64(v) * float64(v)
	}
	if miss > 0 && norm > 0 {
		m.note += fmt.Sprintf("; the virtual tokens are rounded to %v, by %.2g %%", t, 100*math.Sqrt(miss/norm))
	}
}

// probeTokens is how many random tokens a model is run on.
const probeTokens = 64

// unlikeliestRow is the token that the base would choose last, judged by the best place it gets after any of some
// random tokens: one whose output row, copied to other tokens, means that they are never chosen.
func unlikeliestRow(b *attach.Base) (int, error) {
	vocab := b.Model.Spec.Vocab
	r := prng.NewRandom(1, "probe")
	var packed batch.Batch
	ids := make([]int32, min(probeTokens, max(2, b.Model.Spec.Context)))
	for i := range ids {
		ids[i] = int32(r.Next() % uint64(vocab))
	}
	packed.Append(ids, nil)
	tape := autograd.NewTape()
	tape.Record(false)
	rows := make([]int, len(ids))
	for i := range rows {
		rows[i] = i
	}
	logits := b.Model.Logits(tape, &packed, model.NoHooks{}, rows)
	nearest := make([]float32, vocab) // by how much each token misses being chosen, at its best
	for i := range rows {
		row := logits.Row(i)
		top := slices.Max(row)
		for v, logit := range row {
			if miss := top - logit; i == 0 || miss < nearest[v] {
				nearest[v] = miss
			}
		}
	}
	best := 0
	for v, miss := range nearest {
		if miss > nearest[best] {
			best = v
		}
	}
	if nearest[best] == 0 {
		return 0, fmt.Errorf("every token of %s can be the likeliest one: there is none whose row is never chosen",
			b.Path)
	}
	return best, nil
}
