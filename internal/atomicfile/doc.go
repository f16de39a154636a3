// Package atomicfile writes files that appear under their name whole or not at all.
//
// The bytes go to a hidden file in the same directory. Commit flushes it to the disk and renames it over the final
// name, which is one step for every other process: it sees the old file, or the new one complete. A process that is
// killed, or a machine that loses power, leaves the old file, or none, and perhaps the hidden one, which can be
// deleted.
//
//	f, err := atomicfile.Create(path)
//	if err != nil {
//		return err
//	}
//	defer f.Abort() // does nothing once committed
//	... write ...
//	return f.Commit()
package atomicfile
