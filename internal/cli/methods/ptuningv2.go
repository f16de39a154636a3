package methods

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

func init() { register(140, pTuningV2Method) }

func pTuningV2Method() *Method {
	var opt method.PTuningV2
	var classifier string
	return &Method{
		name: "p-tuning-v2", short: "learned vectors at every block's input",
		shared: []string{"virtual-tokens", "prompt-text"},
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&opt.Form, "form", method.FormHidden, "what is learned: `FORM` hidden (vectors "+
				"at each block's input, of which it makes keys and values) or kv (keys and values)")
			fs.StringVar(&opt.Init, "hidden-init", "",
				"how they are initialized: `INIT` random, sampled-vocab (the model's own for random "+
					"tokens) or text (its own for --prompt-text); by default text where there is one, else sampled-vocab")
			fs.StringVar(&classifier, "classifier", "head",
				"how --task classify predicts: `HOW` head (a linear map of the last "+
					"token) or words (the label itself)")
		},
		check: func(f *Flags) error {
			opt.VirtualTokens, opt.Text = f.virtualTokens, f.promptText
			if classifier != "head" && classifier != "words" {
				return fmt.Errorf("--classifier: %q is not known, expected head or words", classifier)
			}
			if f.flagSet.Changed("classifier") && f.Classes() == nil {
				return errors.New("--classifier: needs --task classify")
			}
			return peft.CheckOptions(opt)
		},
		adapter: func(b *peft.Base, f *Flags) (*peft.Adapter, error) {
			opt.Seed = f.Seed
			if c := f.Classes(); c != nil {
				opt.Labels, opt.LabelField, opt.Words = c.Labels, c.Field, classifier == "words"
			}
			return peft.New(b, opt)
		},
	}
}
