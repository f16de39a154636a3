package runlog

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"github.com/peftconv/peftconv/internal/infile"
)

// Log is a log that was read.
type Log struct {
	Starts      []Start // the first, and one for each time that the run was resumed
	Steps       []Step
	Evaluations []Evaluation
	Samples     []Sample
	Checkpoints []Checkpoint
	End         *End // nil: the run did not come to its end
}

// Open reads the log at a path.
func Open(path string) (*Log, error) {
	f, err := infile.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	log, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return log, nil
}

// Read reads a log. A last line that is not whole, as a killed run may leave it, and kinds that are not known are left
// out. Errors name the line.
func Read(r io.Reader) (*Log, error) {
	log, in := &Log{}, bufio.NewReaderSize(r, 1<<16)
	for number := 1; ; number++ {
		text, err := readLine(in)
		if err == io.EOF {
			return log, nil
		}
		if err == nil {
			err = log.add(text)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
}

// readLine is the next line that ends with a newline; io.EOF where there is none.
func readLine(in *bufio.Reader) (line []byte, err error) {
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > mostLine:
			return nil, fmt.Errorf("more than %d bytes", mostLine)
		case err != bufio.ErrBufferFull:
			return line, err
		}
	}
}

// add adds a line.
func (log *Log) add(text []byte) error {
	var l Line
	if err := json.Unmarshal(text, &l); err != nil {
		return fmt.Errorf("expected a JSON object: %w", err)
	}
	switch l.Kind {
	case KindStart:
		return appendTo(&log.Starts, text)
	case KindStep:
		return appendTo(&log.Steps, text)
	case KindEvaluation:
		return appendTo(&log.Evaluations, text)
	case KindSample:
		return appendTo(&log.Samples, text)
	case KindCheckpoint:
		return appendTo(&log.Checkpoints, text)
	case KindEnd:
		log.End = &End{}
		return json.Unmarshal(text, log.End)
	case "":
		return fmt.Errorf("no \"kind\", expected one of a run's log, such as %q", KindStep)
	}
	return nil
}

// appendTo appends what a line says to a list.
func appendTo[T any](list *[]T, text []byte) error {
	var item T
	if err := json.Unmarshal(text, &item); err != nil {
		return err
	}
	*list = append(*list, item)
	return nil
}
