package merging

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/merge"
)

// Into merges into a new file or directory of the test.
func Into(t *testing.T, b *attach.Base, opt merge.Options, adapters ...attach.Scaled) (string, *merge.Report) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "merged")
	report, err := merge.Run(context.Background(), pefttest.Base(b), pefttest.Scaled(adapters), out, opt)
	if err != nil {
		t.Fatal(err)
	}
	return out, report
}
