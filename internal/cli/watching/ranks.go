package watching

import (
	"fmt"
	"io"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/dist"
	"github.com/peftconv/peftconv/peft/train"
)

// Idle says where ranks have nothing to do, because each part of a step is computed by one.
func Idle(w io.Writer, plan *train.Memory, accumulate int) {
	size := dist.Now().Size()
	parts := accumulate * (plan.BatchTokens / max(1, plan.MicroBatch))
	if parts >= size {
		return
	}
	fmt.Fprintf(w, "note: a step has about %s, and each is computed by one rank, so %d of %d have nothing to do: "+
		"--micro-batch-tokens %d or --accumulate %d gives all of them work; the result is then another, the same for any "+
		"number of ranks\n", cli.Plural(parts, "part"), size-parts, size, max(64, accumulate*plan.BatchTokens/size), size)
}
