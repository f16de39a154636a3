// Package records reads the records of data files, one after another, in memory for a few of them.
//
// A file is of one of these formats, by its name; each may be compressed (.gz, .zst):
//
//   - .jsonl, .ndjson: one JSON object a line.
//   - .json: a JSON array of objects, or one object a line. (A .jsonl that is an array is read as one, too.)
//   - .csv, .tsv: the first row names the fields; every value is a text. Rows are as RFC 4180 has them, in quotes where
//     they hold the separator or a new line.
//   - .parquet: the columns are the fields. Row groups are read in pieces, lists and structures of columns are arrays
//     and objects.
//   - .txt, .text, .md, .raw: one text, which is no record. It is read in sections of whole lines.
//
// "-" is standard input. Its format, and its compression, are told by how it begins; what is neither JSON nor Parquet
// is a text, unless [Options] says otherwise.
//
// A path may be a directory with the splits of a data set: see [Find].
//
// Every [Record] knows its [Record.Place], and every error begins with one: the file, and the line or the row.
package records
