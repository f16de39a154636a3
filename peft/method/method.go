// Package method has the options of the methods by which peft.New makes adapters: plain data, one struct a method. The
// zero value of each is what peftconv train does without flags, but for the seed, which is 0 here.
//
// Targets and layers are written as for the command: see peft.SelectTargets and peft.ParseLayers.
package method

// Options are the options of one method: LoRA, IA3, … of this package.
type Options interface {
	// Method is the name of the method, as in peftconv train --method: "lora", "prefix-tuning", …
	Method() string
}

// Placement says where an adapter of a method on linear maps goes and how it is initialized. The zero value is the
// method's own choice of weights, in every layer.
type Placement struct {
	Targets   []string // see peft.SelectTargets; none is the method's default
	Layers    string   // see peft.ParseLayers; "" is all
	Seed      uint64   // of the random numbers that tensors are initialized with
	BaseModel string   // what PEFT is told to load the adapter onto; "" is what the base's metadata says
}
