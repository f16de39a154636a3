package tale

import (
	"bufio"
	"encoding/json"
	"io"
)

// An Example is one record of a fine-tuning task: after the prompt the model is to write the completion.
type Example struct {
	Prompt     string `json:"prompt"`
	Completion string `json:"completion"`
}

// The words that end a task's prompt.
const (
	OwlCue  = "\n\nThe owl tells it:"
	MoodCue = "\n\nMood:"
)

// OwlTask is n plain tales, each to be told again by the owl. Training examples and held-out ones share no pair of
// hero and thing.
func OwlTask(seed uint64, n int, heldOut bool) []Example {
	return draw(seed, 2, n, func(src *source) Example {
		s := newStory(src, heldOut)
		return Example{s.tell(src) + OwlCue, " " + s.Owl()}
	})
}

// MoodTask is n tales whose last sentence is missing, each to be labelled with one of [Moods], all equally often.
func MoodTask(seed uint64, n int, heldOut bool) []Example {
	moods := Moods()
	i := 0
	return draw(seed, 3, n, func(src *source) Example {
		s := newStory(src, heldOut)
		for s.Mood != moods[i%len(moods)] {
			s = newStory(src, heldOut)
		}
		i++
		return Example{s.WithoutMood().tell(src) + MoodCue, " " + string(s.Mood)}
	})
}

// Mixed is both tasks in one list, shuffled.
func Mixed(seed uint64, a, b []Example) []Example {
	all := append(append([]Example(nil), a...), b...)
	shuffle(newSource(seed, 4), all)
	return all
}

// OwlText is n tales in the owl's voice alone, an empty line between two of them.
func OwlText(seed uint64, n int, heldOut bool) string {
	var text []byte
	for i := range n {
		if i > 0 {
			text = append(text, "\n\n"...)
		}
		text = append(text, newStory(newSource(seed, uint64(i)), heldOut).Owl()...)
	}
	return string(append(text, '\n'))
}

// WriteJSONL writes one {"prompt", "completion"} object a line.
func WriteJSONL(w io.Writer, examples []Example) error {
	b := bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	for _, e := range examples {
		if err := enc.Encode(e); err != nil {
			return err
		}
	}
	return b.Flush()
}

func draw(seed, stream uint64, n int, one func(*source) Example) []Example {
	examples := make([]Example, n)
	for i := range examples {
		examples[i] = one(newSource(mix(seed+stream), uint64(i)))
	}
	return examples
}
