package peft

import (
	"github.com/peftconv/peftconv/internal/attach"
)

// What programs use of the rooms below.
type (
	Adapter     = attach.Adapter
	Base        = attach.Base
	Classes     = attach.Classes
	Config      = attach.Config
	Data        = attach.Data
	DataOptions = attach.DataOptions
	GridOptions = attach.GridOptions
	Placement   = attach.Placement
	Scaled      = attach.Scaled
)

// Values of options.
const (
	BiasAll       = attach.BiasAll
	BiasLoRA      = attach.BiasLoRA
	BiasNone      = attach.BiasNone
	ChannelCode   = attach.ChannelCode
	ChannelRow    = attach.ChannelRow
	DitherNone    = attach.DitherNone
	DitherUniform = attach.DitherUniform
	InitKaiming   = attach.InitKaiming
	InitLoftQ     = attach.InitLoftQ
	PrecisionAuto = attach.PrecisionAuto
	PrecisionBF16 = attach.PrecisionBF16
	PrecisionF32  = attach.PrecisionF32
	PrecisionInt8 = attach.PrecisionInt8
	Version       = attach.Version
)

// Functions of the rooms below.
var (
	BaseOf         = attach.BaseOf
	CheckBase      = attach.CheckBase
	FindBase       = attach.FindBase
	Inits          = attach.Inits
	Load           = attach.Load
	LoadData       = attach.LoadData
	OpenBase       = attach.OpenBase
	ParseChannels  = attach.ParseChannels
	ParseLayers    = attach.ParseLayers
	ParsePrecision = attach.ParsePrecision
)
