// Package tale writes the text that the built-in model is trained on: short tales of a closed little world, questions
// about them with their answers, descriptions of its people and places, and conversations. The world's facts never
// change, so that they can be learned; what happens in a tale is new each time, so that it has to be read.
//
// A [Story] is a list of events. It can be told in two voices: [Story.Tell] is the plain narrator whom the built-in
// model learns, with many ways to say the same; [Story.Owl] is the old owl of the tower, who turns every sentence
// round, always in the same manner. Retelling a plain tale in the owl's voice is the first fine-tuning task
// ([OwlTask]); naming the mood in which a tale leaves its hero, in one word, is the second ([MoodTask]).
//
// One tale in eight, chosen by its hero and the thing it is about, never occurs in a training text: the held-out texts
// are made of these alone.
//
// All texts are functions of a seed and of nothing else.
package tale
