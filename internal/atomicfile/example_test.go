package atomicfile_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/peftconv/peftconv/internal/atomicfile"
)

func ExampleWrite() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	path := filepath.Join(dir, "greeting.txt")
	err = atomicfile.Write(path, func(w io.Writer) error {
		_, err := fmt.Fprint(w, "hello")
		return err
	})
	data, _ := os.ReadFile(path)
	fmt.Println(string(data), err)
	// Output: hello <nil>
}
