package main

import (
	"context"
	"errors"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/doctor"
)

func init() { register(doctor.Verb(version(), prepare)) }

// prepare is the run of train without further flags.
func prepare(ctx context.Context, s cli.Streams, model, data string) (r *doctor.Run, err error) {
	t := new(trainOptions)
	args := []string{"--base", model}
	if data != "" {
		args = append(args, "--data", data)
	}
	if err := errors.Join(trainVerb.FlagSet(t).Parse(args), t.Validate(nil)); err != nil {
		return nil, err
	}
	opened, err := t.open(s.Err)
	if err != nil {
		return nil, err
	}
	r = &doctor.Run{Base: opened.base, SeqLen: t.SeqLen}
	if r.Adapter, err = t.adapter(r.Base); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if data != "" {
		t.In, t.Err, t.Stop = s.In, s.Err, ctx.Err
		if r.Data, r.EvalData, err = t.LoadTraining(r.Base, "", r.Adapter); err != nil {
			return r, err
		}
	}
	t.train.LR = r.Adapter.SuggestLR(r.Base)
	r.Options = t.options()
	return r, nil
}
