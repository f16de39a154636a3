package export

import (
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/peft"
)

func init() {
	Register(&Form{
		Place: 40, Name: "peft", Directory: true, NoBase: true,
		About: "the directory that PEFT's PeftModel.from_pretrained takes",
		Write: func(in Input, path string, _ Options) (*Report, error) {
			a, err := in.one(path)
			if err != nil {
				return nil, err
			}
			if !a.InPEFT() {
				return nil, errkind.Errorf(peft.ErrUnsupported, "export %s: PEFT has no method %s", path, a.PEFTType())
			}
			return &Report{}, a.SaveDir(path)
		},
	})
	Register(&Form{
		Place: 50, Name: "adapterhub", Directory: true,
		About: "the directory that the adapters library takes, for bottleneck adapters",
		Write: func(in Input, path string, _ Options) (*Report, error) {
			a, err := in.one(path)
			if err != nil {
				return nil, err
			}
			return &Report{}, a.SaveAdapterHub(path, in.Base)
		},
	})
}
