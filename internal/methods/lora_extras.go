package methods

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/quant"
)

// TokensPart is the rows of chosen tokens in the embedding table, (n, D).
const TokensPart = "token_adapter.trainable_tokens_delta"

// weightPart is a tensor that is trained whole.
const weightPart = "weight"

// loraExtras are the tensors of a LoRA that are not of pairs: their places among the adapter's, or -1.
type loraExtras struct {
	embed, head, tokens int
	ids                 []int32 // of the tokens
	norms, biases       []namedParam
}

// namedParam is the place of a module's tensor.
type namedParam struct {
	module string
	at     int
}

func newLoRAExtras() loraExtras { return loraExtras{embed: -1, head: -1, tokens: -1} }

// addExtras adds the shapes and starts of what is trained beside the pairs, and records it in the configuration.
func addExtras(opt *method.LoRA, b *attach.Base, c *attach.Config, chosen []string, shapes map[string][]int,
	starts map[string][]float32) error {
	add := func(module, part string, start []float32, shape ...int) {
		shapes[attach.PartName(module, part)], starts[attach.PartName(module, part)] = shape, start
	}
	names := opt.Save
	if slices.Contains(names, method.SaveBoth) {
		names = nil
		for _, l := range b.Model.Ends() {
			names = append(names, l.Module)
		}
	}
	for _, name := range names {
		l, err := findEnd(b, name)
		if err != nil {
			return err
		}
		add(l.Module, weightPart, model.Dequantized(&l.W), l.W.Rows, l.W.Cols)
		c.ToSave = append(c.ToSave, attach.LastPart(l.Module))
	}
	if opt.Norms {
		for _, n := range b.Model.Norms() {
			add(n.Module, weightPart, n.InHF(), n.W.Cols)
			if kind := attach.LastPart(n.Module); !slices.Contains(c.ToSave, kind) {
				c.ToSave = append(c.ToSave, kind)
			}
		}
	}
	if err := addBiases(b, c, chosen, add); err != nil {
		return err
	}
	if len(opt.TokenIDs) == 0 {
		return nil
	}
	c.TokenIDs = opt.TokenIDs
	spec := &b.Model.Spec
	rows := make([]float32, len(opt.TokenIDs)*spec.Width)
	for i, id := range opt.TokenIDs {
		if id < 0 || int(id) >= spec.Vocab {
			return fmt.Errorf("token %d is beyond the vocabulary of %d", id, spec.Vocab)
		}
		b.Model.Embed.Row(rows[i*spec.Width:(i+1)*spec.Width], int(id))
	}
	add(b.Model.Ends()[0].Module, TokensPart, rows, len(opt.TokenIDs), spec.Width)
	return nil
}

// findEnd is the embedding table or the output head.
func findEnd(b *attach.Base, name string) (*model.Linear, error) {
	for _, l := range b.Model.Ends() {
		if !attach.HasSuffix(l.Module, name) {
			continue
		}
		if b.Model.Spec.Tied {
			return nil, fmt.Errorf("%s: the output head of %s is its embedding "+
				"table, which would come apart; train rows of single tokens", name, b.Path)
		}
		return l, nil
	}
	var ends []string
	for _, l := range b.Model.Ends() {
		ends = append(ends, attach.LastPart(l.Module))
	}
	return nil, fmt.Errorf("%q cannot be trained whole, expected %s%s", name, strings.Join(ends, " or "),
		attach.TiedNote(b))
}

// addBiases adds the biases that the option asks for.
func addBiases(b *attach.Base, c *attach.Config, chosen []string,
	add func(module, part string, start []float32, shape ...int)) error {
	switch c.Bias {
	case "", method.BiasNone:
		return nil
	case method.BiasLoRA, method.BiasAll:
	default:
		return fmt.Errorf("bias %q is not known, expected %s, %s or %s", c.Bias, method.BiasNone, method.BiasLoRA,
			method.BiasAll)
	}
	found := false
	for _, l := range b.Model.Linears() {
		if l.Bias != nil && (c.Bias == method.BiasAll || slices.Contains(chosen, l.Module)) {
			add(l.Module, attach.BiasPart, model.InHFRows(l.Bias, l), len(l.Bias))
			found = true
		}
	}
	if !found {
		return fmt.Errorf("bias %s: %s has no bias there (the method bitfit adds biases)", c.Bias, b.Path)
	}
	return nil
}

// add takes tensor i, which is not of a pair.
func (e *loraExtras) add(params []attach.Param, i int) error {
	name, ok := strings.CutPrefix(params[i].Name, attach.ParamPrefix)
	module, part := name, ""
	if at := strings.LastIndexByte(name, '.'); at >= 0 {
		module, part = name[:at], name[at+1:]
	}
	embedding, tokens := strings.CutSuffix(name, "."+TokensPart)
	switch {
	case !ok:
	case tokens && arch.IsEmbedding(embedding):
		e.tokens = i
		return nil
	case part == attach.BiasPart:
		e.biases = append(e.biases, namedParam{module, i})
		return nil
	case part != weightPart:
	case arch.IsEmbedding(module):
		e.embed = i
		return nil
	case arch.IsHead(module):
		e.head = i
		return nil
	case arch.IsNorm(module):
		e.norms = append(e.norms, namedParam{module, i})
		return nil
	}
	return fmt.Errorf("adapter: tensor %q is not one of a LoRA (….lora_A.weight, ….lora_B.weight), nor a norm, bias, "+
		"embedding or output head", params[i].Name)
}

// check compares the tensors with the configuration.
func (e *loraExtras) check(c *attach.Config, params []attach.Param) error {
	e.ids = c.TokenIDs
	if (e.tokens >= 0) != (len(e.ids) > 0) || e.tokens >= 0 && params[e.tokens].Rows() != len(e.ids) {
		return fmt.Errorf("adapter: trainable_token_indices lists %d tokens, which is not what the tensors hold", len(e.ids))
	}
	for _, i := range []int{e.embed, e.head, e.tokens} {
		if i >= 0 && len(params[i].Shape) != 2 {
			return fmt.Errorf("adapter: tensor %q has shape %v, expected a matrix", params[i].Name, params[i].Shape)
		}
	}
	return nil
}

// Describe lists what there is, after a comma.
func (e *loraExtras) Describe() string {
	var parts []string
	if e.embed >= 0 {
		parts = append(parts, "the embedding table")
	}
	if e.head >= 0 {
		parts = append(parts, "the output head")
	}
	for _, some := range []struct {
		n         int
		one, many string
	}{{len(e.ids), "token", "tokens"}, {len(e.norms), "norm", "norms"}, {len(e.biases), "bias", "biases"}} {
		switch some.n {
		case 0:
		case 1:
			parts = append(parts, "1 "+some.one)
		default:
			parts = append(parts, fmt.Sprintf("%d %s", some.n, some.many))
		}
	}
	if parts == nil {
		return ""
	}
	return ", " + strings.Join(parts, ", ")
}

// Vectors reports whether there are norms or biases.
func (e *loraExtras) Vectors() bool { return len(e.norms)+len(e.biases) > 0 }

// Whole reports whether the embedding table or the output head is there, all of it or rows of tokens, which Tokens are.
func (e *loraExtras) Whole() bool { return e.embed >= 0 || e.head >= 0 || e.tokens >= 0 }

// Tokens are those whose rows are there, where it is not the whole table.
func (e *loraExtras) Tokens() []int32 {
	if e.embed >= 0 {
		return nil
	}
	return e.ids
}

// permuted lists the biases whose values the base has in another order.
func (e *loraExtras) permuted(b *attach.Base) []attach.Permutation {
	var perms []attach.Permutation
	for _, l := range b.Model.Linears() {
		for _, p := range e.biases {
			if b.Canonical(p.module) == b.Canonical(l.Module) {
				perms = append(perms, attach.ByRow(l, p.at)...)
			}
		}
	}
	return perms
}

// bind attaches the tensors to a base.
func (e *loraExtras) bind(b *attach.Base, values, grads []attach.Param,
	strength float32) (*loraExtrasAttachment, error) {
	at := &loraExtrasAttachment{base: b, strength: strength, ids: e.ids}
	var err error
	spec := &b.Model.Spec
	whole := func(i int, base quant.Matrix, rows int) *autograd.Tensor {
		if i < 0 || err != nil {
			return nil
		}
		if p := &values[i]; p.Rows() != rows || p.Cols() != spec.Width {
			err = errkind.Errorf(attach.ErrWrongBase, "adapter: tensor %q has shape %v, but %s has %d×%d there: an "+
				"adapter of another base?", p.Name, p.Shape, b.Path, rows, spec.Width)
			return nil
		}
		return blended(attach.Leaf(values, grads, i), base, strength)
	}
	at.embed = whole(e.embed, b.Model.Embed, spec.Vocab)
	at.head = whole(e.head, b.Model.Head, spec.Vocab)
	if at.tokens = whole(e.tokens, rowsOf(b.Model.Embed, e.ids), len(e.ids)); at.tokens != nil && spec.Tied {
		at.tieTokens()
	}
	if err == nil {
		err = at.bindVectors(e, values, grads)
	}
	return at, err
}

// rowsOf are single rows of a matrix in float32.
func rowsOf(w quant.Matrix, ids []int32) quant.Matrix {
	x := make([]float32, len(ids)*w.Cols)
	for i, id := range ids {
		if int(id) < w.Rows {
			w.Row(x[i*w.Cols:(i+1)*w.Cols], int(id))
		}
	}
	return model.FloatMatrix(len(ids), w.Cols, x)
}

// blended is base + strength·(x - base): x itself at full strength.
func blended(x *autograd.Tensor, base quant.Matrix, strength float32) *autograd.Tensor {
	if strength == 1 {
		return x
	}
	sum := model.Dequantized(&base)
	kernels.Scale(1-strength, sum)
	kernels.Axpy(strength, x.Data, sum)
	return autograd.NewConst(x.Rows, x.Cols, sum)
}

// loraExtrasAttachment is what is trained beside the pairs, bound to a base.
type loraExtrasAttachment struct {
	attach.Plain
	base                *attach.Base
	strength            float32
	embed, head, tokens *autograd.Tensor // (V, D), (V, D), (n, D) or nil
	ids                 []int32
	old, onehot         *autograd.Tensor // of the tokens, where the output head is the embedding table: (n, D), (V, n)
	norms               *lnAttachment
	biases              *biasAttachment
}

// tieTokens prepares the change of the logits of tokens whose rows are those of the output head too.
func (at *loraExtrasAttachment) tieTokens() {
	n, spec := len(at.ids), &at.base.Model.Spec
	old := rowsOf(at.base.Model.Embed, at.ids)
	at.old = autograd.NewConst(n, spec.Width, model.Dequantized(&old))
	at.onehot = autograd.NewConst(spec.Vocab, n, make([]float32, spec.Vocab*n))
	for i, id := range at.ids {
		at.onehot.Data[int(id)*n+i] = 1
	}
}

// bindVectors finds the norms and biases.
func (at *loraExtrasAttachment) bindVectors(e *loraExtras, values, grads []attach.Param) error {
	at.norms = &lnAttachment{strength: at.strength, weights: map[*model.Norm]*autograd.Tensor{}}
	at.biases = &biasAttachment{strength: at.strength, biases: map[*model.Linear]*autograd.Tensor{}}
	is := func(a, b string) bool { return at.base.Canonical(a) == at.base.Canonical(b) }
	for _, p := range e.norms {
		i := slices.IndexFunc(at.base.Model.Norms(), func(n *model.Norm) bool { return is(n.Module, p.module) })
		if i < 0 || at.base.Model.Norms()[i].W.Cols != len(values[p.at].Data) {
			return errkind.Errorf(attach.ErrWrongBase, "adapter: %s "+
				"has no norm %q of %d values: an adapter of another base?", at.base.Path, p.module, len(values[p.at].Data))
		}
		n := at.base.Model.Norms()[i]
		at.norms.norms, at.norms.weights[n] = append(at.norms.norms, n), attach.RowLeaf(values, grads, p.at)
	}
	for _, p := range e.biases {
		if same, found := sameBias(at.base, p.module, values[p.at].Data); same {
			continue
		} else if found {
			return errkind.Errorf(errors.ErrUnsupported, "adapter: the bias of %s is trained, which is not supported: "+
				"only those of linear maps of the layers are", p.module)
		}
		i := slices.IndexFunc(at.base.Model.Linears(), func(l *model.Linear) bool { return is(l.Module, p.module) })
		if i < 0 || at.base.Model.Linears()[i].W.Rows != len(values[p.at].Data) {
			return errkind.Errorf(attach.ErrWrongBase, "adapter: %s has "+
				"no linear map %q of %d rows: an adapter of another base?", at.base.Path, p.module, len(values[p.at].Data))
		}
		l := at.base.Model.Linears()[i]
		at.biases.linears, at.biases.biases[l] = append(at.biases.linears, l), attach.RowLeaf(values, grads, p.at)
	}
	return nil
}

// sameBias compares a bias with one of the base's that is not trained here, of a norm or the output head. PEFT saves
// all biases where it trains all.
func sameBias(b *attach.Base, module string, bias []float32) (same, found bool) {
	module = b.Canonical(module)
	for _, n := range b.Model.Norms() {
		if n.B != nil && b.Canonical(n.Module) == module {
			return slices.Equal(n.B.Data, bias), true
		}
	}
	if b.Model.Bias != nil && b.Canonical(b.Model.HeadMatrix().Module) == module {
		return slices.Equal(b.Model.Bias, bias), true
	}
	return false, false
}

// Linear implements model.Hooks.
func (at *loraExtrasAttachment) Linear(t *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
	return at.biases.Linear(t, l, x, y)
}

// Norm implements model.Hooks.
func (at *loraExtrasAttachment) Norm(n *model.Norm, w *autograd.Tensor) *autograd.Tensor {
	return at.norms.Norm(n, w)
}

// Embedding implements model.Hooks.
func (at *loraExtrasAttachment) Embedding(t *autograd.Tape, ids []int32, x *autograd.Tensor) *autograd.Tensor {
	if at.embed != nil {
		from := make([]int, len(ids))
		for i, id := range ids {
			from[i] = int(max(id, -1))
		}
		x = t.ReplaceRows(x, at.embed, from)
	}
	if at.tokens != nil {
		from := make([]int, len(ids))
		for i, id := range ids {
			from[i] = slices.Index(at.ids, id)
		}
		x = t.ReplaceRows(x, at.tokens, from)
	}
	return x
}

// Head is the trained output head, or what the rows of single tokens change where they are those of the output head
// too.
func (at *loraExtrasAttachment) Head(t *autograd.Tape, x *autograd.Tensor, head model.Head) model.Head {
	if at.head != nil {
		w := model.FloatMatrix(at.head.Rows, at.head.Cols, at.head.Data)
		head.W = &w
		if at.head.NeedsGrad() {
			head.Grad = at.head
		}
	}
	if at.onehot != nil {
		head.Add(t, t.Add(t.Dense(x, at.tokens, nil), t.Scaled(t.Dense(x, at.old, nil), -1)), at.onehot)
	}
	return head
}

func (at *loraExtrasAttachment) vectors() []attach.VectorChange {
	return append(at.norms.vectors(), at.biases.vectors()...)
}

func (at *loraExtrasAttachment) changes() map[*model.Linear]attach.Change {
	all := map[*model.Linear]attach.Change{}
	for _, l := range at.base.Model.Matrices() {
		switch {
		case l.Role == arch.TokenEmbedding && at.embed != nil:
			all[l] = attach.Change{AddRows: (&wholeChange{l, at.embed.Data}).addRows}
		case l.Role == arch.OutputHead && at.head != nil:
			all[l] = attach.Change{AddRows: (&wholeChange{l, at.head.Data}).addRows}
		case l.Role == arch.TokenEmbedding && at.tokens != nil:
			all[l] = attach.Change{AddRows: (&tokensChange{l, at.ids, at.tokens}).addRows}
		}
	}
	return all
}

// wholeChange is the change to a weight that was trained whole.
type wholeChange struct {
	linear *model.Linear
	values []float32
}

func (d *wholeChange) addRows(dst []float32, r0, r1 int) {
	cols := d.linear.W.Cols
	row := make([]float32, cols)
	for i := r0; i < r1; i++ {
		d.linear.W.Row(row, i)
		out := dst[(i-r0)*cols : (i-r0+1)*cols]
		kernels.Axpy(-1, row, out)
		kernels.Add(out, d.values[i*cols:(i+1)*cols])
	}
}

// tokensChange is the change of the rows of single tokens.
type tokensChange struct {
	linear *model.Linear
	ids    []int32
	rows   *autograd.Tensor
}

func (d *tokensChange) addRows(dst []float32, r0, r1 int) {
	cols := d.linear.W.Cols
	row := make([]float32, cols)
	for j, id := range d.ids {
		if int(id) < r0 || int(id) >= r1 {
			continue
		}
		d.linear.W.Row(row, int(id))
		out := dst[(int(id)-r0)*cols : (int(id)-r0+1)*cols]
		kernels.Axpy(-1, row, out)
		kernels.Add(out, d.rows.Row(j))
	}
}

// unmergeable says why an adapter cannot become part of the weights although it changes them.
func (at *loraAttachment) unmergeable() error {
	if at.extras.base.Model.Spec.Tied && (at.embed != nil || at.extras.embed != nil) {
		return errors.New("the adapter changes the embedding table alone, but in this base it is the output head too")
	}
	return nil
}
