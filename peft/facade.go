package peft

import (
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/virtual"
)

// What programs use of the rooms below.
type (
	AdaLoRAOptions    = methods.AdaLoRAOptions
	Adapter           = attach.Adapter
	Base              = attach.Base
	BitFitOptions     = methods.BitFitOptions
	BottleneckOptions = methods.BottleneckOptions
	Classes           = attach.Classes
	Config            = attach.Config
	Data              = attach.Data
	DataOptions       = attach.DataOptions
	GridOptions       = attach.GridOptions
	IA3Options        = methods.IA3Options
	LoHaOptions       = methods.LoHaOptions
	LoKrOptions       = methods.LoKrOptions
	LoRAOptions       = methods.LoRAOptions
	NormOptions       = methods.NormOptions
	OFTOptions        = methods.OFTOptions
	PTuningOptions    = virtual.PTuningOptions
	PTuningV2Options  = virtual.PTuningV2Options
	Placement         = attach.Placement
	PrefixOptions     = virtual.PrefixOptions
	PromptOptions     = virtual.PromptOptions
	QATOptions        = methods.QATOptions
	Scaled            = attach.Scaled
	VeRAOptions       = methods.VeRAOptions
)

// Values of options.
const (
	BiasAll            = attach.BiasAll
	BiasLoRA           = attach.BiasLoRA
	BiasNone           = attach.BiasNone
	ChannelCode        = attach.ChannelCode
	ChannelRow         = attach.ChannelRow
	DitherNone         = attach.DitherNone
	DitherUniform      = attach.DitherUniform
	EncoderLSTM        = virtual.EncoderLSTM
	FormHidden         = virtual.FormHidden
	InitKaiming        = attach.InitKaiming
	InitLoftQ          = attach.InitLoftQ
	InputNorm          = methods.InputNorm
	MethodBitFit       = methods.MethodBitFit
	MethodLNTuning     = methods.MethodLNTuning
	MethodPrefixTuning = virtual.MethodPrefixTuning
	MethodQAT          = methods.MethodQAT
	Parallel           = methods.Parallel
	PrecisionAuto      = attach.PrecisionAuto
	PrecisionBF16      = attach.PrecisionBF16
	PrecisionF32       = attach.PrecisionF32
	PrecisionInt8      = attach.PrecisionInt8
	Version            = attach.Version
)

// Functions of the rooms below.
var (
	BaseOf          = attach.BaseOf
	CheckBase       = attach.CheckBase
	FindBase        = attach.FindBase
	Inits           = attach.Inits
	Load            = attach.Load
	LoadData        = attach.LoadData
	NewAdaLoRA      = methods.NewAdaLoRA
	NewBitFit       = methods.NewBitFit
	NewBottleneck   = methods.NewBottleneck
	NewIA3          = methods.NewIA3
	NewLNTuning     = methods.NewLNTuning
	NewLoHa         = methods.NewLoHa
	NewLoKr         = methods.NewLoKr
	NewLoRA         = methods.NewLoRA
	NewOFT          = methods.NewOFT
	NewPTuning      = virtual.NewPTuning
	NewPTuningV2    = virtual.NewPTuningV2
	NewPrefixTuning = virtual.NewPrefixTuning
	NewPromptTuning = virtual.NewPromptTuning
	NewQAT          = methods.NewQAT
	NewVeRA         = methods.NewVeRA
	OpenBase        = attach.OpenBase
	ParseChannels   = attach.ParseChannels
	ParseLayers     = attach.ParseLayers
	ParsePrecision  = attach.ParsePrecision
	SaveAdapterHub  = methods.SaveAdapterHub
)
