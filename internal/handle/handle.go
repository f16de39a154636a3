// Package handle gives the packages of this module what the opaque types of package peft hold. peft sets the variables
// when it is initialized; a package that is given a value of one of these types imports peft, so that they are set.
//
// A function of the public packages converts its arguments once, where it begins, and its results where it ends;
// everything between works on the types of internal/attach.
package handle

import "github.com/peftconv/peftconv/internal/attach"

// What values of package peft hold. The arguments are of the types that the comments name.
var (
	Base    func(b any) *attach.Base       // *peft.Base
	Adapter func(a any) *attach.Adapter    // *peft.Adapter
	Data    func(d any) *attach.Data       // *peft.Data; nil of a nil one
	Scaled  func(list any) []attach.Scaled // []peft.Scaled
)

// Values of package peft that hold what is given, of the types that the comments name.
var (
	OfBase    func(b *attach.Base) any    // *peft.Base
	OfAdapter func(a *attach.Adapter) any // *peft.Adapter
	OfData    func(d *attach.Data) any    // *peft.Data; a nil one of nil
)
