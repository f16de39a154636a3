package main

import (
	"context"
	"fmt"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/input"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/merge"
)

// readEvalData reads --eval-data, nil where there is none.
func (o *mergeOptions) readEvalData(opened *opened) (*peft.Data, error) {
	if o.EvalData == "" {
		return nil, nil
	}
	return o.Load(o.EvalData, input.EvalSplits(), opened.base)
}

// check evaluates what was written, where --verify or --eval-data asks for it, and adds the result to the report.
func (o *mergeOptions) check(ctx context.Context, opened *opened, data *peft.Data, r *merge.Report) error {
	if !o.verify && o.EvalData == "" {
		return nil
	}
	v, err := merge.Verify(ctx, opened.base, opened.adapters, o.out, data)
	if err != nil {
		return err
	}
	r.Verification = v
	if v.KeptShare != nil {
		r.KeptShare = v.KeptShare
	}
	return nil
}

// printVerification prints the losses and, with --verify, the hashes.
func (o *mergeOptions) printVerification(s cli.Streams, v *merge.Verification) {
	if v == nil {
		return
	}
	fmt.Fprintf(s.Out, "\nloss on the %s: base %.6f, base and adapter %.6f, merged %.6f\n", v.Data, v.BaseLoss,
		v.AdapterLoss, v.MergedLoss)
	if v.KeptShare != nil {
		fmt.Fprintf(s.Out, "%.1f %% of what the adapter gains is kept\n", 100**v.KeptShare)
	}
	if !o.verify {
		return
	}
	if len(v.Tensors) == 0 {
		fmt.Fprintln(s.Out, "the adapter has no hashes of trained tensors to compare with (train --qat records them)")
		return
	}
	table := cli.NewTable(s.Out)
	fmt.Fprint(table, "tensor\tSHA-256 in the file\tas trained\n")
	for _, t := range v.Tensors {
		trained := "the same"
		if t.SHA256 != t.Trained {
			trained = t.Trained
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", cli.Name(t.Name), t.SHA256, trained)
	}
	table.Flush()
}
