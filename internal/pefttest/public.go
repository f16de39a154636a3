package pefttest

import (
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/peft"
)

// Base is a base as package peft's type.
func Base(b *attach.Base) *peft.Base { return handle.OfBase(b).(*peft.Base) }

// Adapter is an adapter as package peft's type.
func Adapter(a *attach.Adapter) *peft.Adapter { return handle.OfAdapter(a).(*peft.Adapter) }

// Data is data as package peft's type.
func Data(d *attach.Data) *peft.Data { return handle.OfData(d).(*peft.Data) }

// Scaled are adapters with their factors as package peft's type.
func Scaled(list []attach.Scaled) []peft.Scaled {
	var out []peft.Scaled
	for _, scaled := range list {
		out = append(out, peft.Scaled{Adapter: Adapter(scaled.Adapter), Scale: scaled.Scale})
	}
	return out
}
