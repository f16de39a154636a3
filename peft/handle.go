package peft

import (
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/handle"
)

func init() {
	handle.Base = func(b any) *attach.Base { return b.(*Base).base }
	handle.Adapter = func(a any) *attach.Adapter { return a.(*Adapter).adapter }
	handle.Data = func(d any) *attach.Data { return d.(*Data).held() }
	handle.Scaled = func(list any) []attach.Scaled { return heldBy(list.([]Scaled)) }
	handle.OfBase = func(b *attach.Base) any { return &Base{b} }
	handle.OfAdapter = func(a *attach.Adapter) any { return &Adapter{a} }
	handle.OfData = func(d *attach.Data) any { return holding(d) }
}

// heldBy are the adapters with their factors as the types of the packages below.
func heldBy(list []Scaled) []attach.Scaled {
	held := make([]attach.Scaled, len(list))
	for i, scaled := range list {
		held[i] = attach.Scaled{Adapter: scaled.Adapter.adapter, Scale: scaled.Scale}
	}
	return held
}
