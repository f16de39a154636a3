package attach

import (
	"fmt"
)

// VirtualTokens is the number of positions that the adapter takes beside those of the text: of virtual tokens, or of
// keys and values before every layer's attention.
func (a *Adapter) VirtualTokens() int { return a.Method.Traits().VirtualTokens }

// CheckStrength refuses a strength other than 1, which virtual tokens cannot have.
func CheckStrength(strength float64) error {
	if strength != 1 {
		return fmt.Errorf("adapter: the effect of virtual tokens cannot be scaled by %g, only be there or not", strength)
	}
	return nil
}

// Collapse leaves only the tensors that a trained adapter needs.
func (a *Adapter) Collapse(b *Base) error {
	collapse := a.Method.Traits().Collapse
	if collapse == nil {
		return nil
	}
	params, err := collapse(b, a.Tensors)
	if err != nil || params == nil {
		return err
	}
	shapes, data := map[string][]int{}, map[string][]float32{}
	for _, p := range params {
		shapes[p.Name], data[p.Name] = p.Shape, p.Data
	}
	a.Tensors = nil
	a.Allocate(shapes)
	for i := range a.Tensors {
		copy(a.Tensors[i].Data, data[a.Tensors[i].Name])
	}
	a.Method, err = NewMethod(&a.Config, a.Tensors)
	return err
}

// VirtualTokens is the number of positions that the adapters take beside those of a text.
func (s Stack) VirtualTokens() int {
	n := 0
	for _, bound := range s {
		n += bound.Adapter.VirtualTokens()
	}
	return n
}

// reserveAll gives each adapter ids of its own for its virtual tokens: those of the one with a template begin at -1.
func (s Stack) reserveAll() error {
	next, templates := int32(-1), 0
	for _, templated := range []bool{true, false} {
		for _, bound := range s {
			reserve := bound.Effect.Reserve
			if reserve != nil && templated == (bound.Adapter.Config.Template != "") {
				next = reserve(next)
				if templated {
					templates++
				}
			}
		}
	}
	if templates > 1 {
		return fmt.Errorf("%d adapters have a template, there can be one", templates)
	}
	return nil
}
