package atomicfile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// FuzzReadJournal reads journals that are arbitrary, that are as they were written, and of these what is not complete
// or was changed.
func FuzzReadJournal(f *testing.F) {
	f.Add([]byte(journalMagic+"00\n{}"), "a.tmp", "a", "set", uint16(3))
	f.Add([]byte(`{"renames":[{"from":"../a","to":""}]}`), "../a", "/b", "", uint16(40))
	dir := f.TempDir()
	file, err := os.Create(filepath.Join(dir, "journal"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { file.Close() })
	put := func(t *testing.T, data []byte) {
		t.Helper()
		if err := file.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt(data, 0); err != nil {
			t.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, from, to, replace string, at uint16) {
		put(t, data)
		if j := readJournal(file, dir); j != nil && !strings.HasPrefix(string(data), journalMagic) {
			t.Fatalf("%q was read as %+v", data, j)
		}
		sum := sha256.Sum256(data)
		put(t, slices.Concat([]byte(journalMagic+hex.EncodeToString(sum[:])+"\n"), data))
		if j := readJournal(file, dir); j != nil && (j.dir != dir || !json.Valid(data)) {
			t.Fatalf("%q was read as %+v", data, j)
		}
		from, to, replace = strings.ToValidUTF8(from, ""), strings.ToValidUTF8(to, ""), strings.ToValidUTF8(replace, "")
		j := &journal{dir: dir, Renames: []rename{{from, to}, {to, from}}, Replace: replace}
		if err := file.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, err := file.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		if err := j.write(file); err != nil {
			t.Fatal(err)
		}
		if got := readJournal(file, dir); !reflect.DeepEqual(got, j) {
			t.Fatalf("%+v was read as %+v", j, got)
		}
		whole, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		n := int(at) % len(whole)
		put(t, whole[:n])
		if got := readJournal(file, dir); got != nil {
			t.Fatalf("%d bytes of %d were read as %+v", n, len(whole), got)
		}
		whole[n] ^= byte(at>>8) | 1
		put(t, whole)
		if got := readJournal(file, dir); got != nil {
			t.Fatalf("%q was read as %+v", whole, got)
		}
	})
}
