// Package atomicfile writes files and directories that appear under their names whole or not at all.
//
// The bytes go to a hidden file in the same directory. Commit flushes it to the disk and renames it over the final
// name, which is one step for every other process: it sees the old file, or the new one complete. A process that is
// killed, or a machine that loses power, leaves the old file, or none.
//
//	f, err := atomicfile.Create(path)
//	if err != nil {
//		return err
//	}
//	defer f.Abort() // does nothing once committed
//	... write ...
//	return f.Commit()
//
// [CommitAll] does the same for several files that belong together, and [CreateDir] for a directory.
//
// A hidden file is called .NAME.RANDOM.peftconv-tmp and locked by the process that writes it. The next Create in the
// directory removes those whose lock has ended with their process, and finishes a change of several files that was
// interrupted after its files were complete.
package atomicfile
