// Package edit changes the metadata of a GGUF file and the names of its tensors, without touching the tensors' data.
//
// [Prepare] makes an [Edit] into a [Plan], which says what will differ and how it is to be written; [Plan.Apply] writes it.
// Where the new header fits into the space of the old one, the data stay where they are and only the header is written;
// what is left of the space is filled by the metadata value [PadKey]. Else the file is written anew, the data copied as
// they are.
//
// # What a crash leaves
//
// A file that is written anew appears under its name when it is complete. A header that fits is written the same way into
// a clone of the file, where the file system makes clones (Btrfs, XFS): that takes no time and no space. On other file
// systems it is written in place, after the bytes that change, old and new, have been brought to the disk in a file beside
// it, FILE.edit-journal. If the program or the machine stops in the moment between, no byte is lost: the journal is still
// there, and [Recover] finishes the edit. A file that has other names (hard links), which perhaps are somebody's copies of
// it, is never written in place.
//
// Two edits of one file at the same time are not guarded against each other.
package edit
