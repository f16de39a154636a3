// Package chaos holds tests that run the built program as its users do and disturb it: it is killed, interrupted and
// stopped at random moments, its disk fills up, files may not be written or grow, the model that it reads becomes
// shorter or cannot be read any more, and two of it write the same. Afterwards each output is the old one or the new
// one whole, nothing else is left, and a run that goes on ends with the bytes of one that was not disturbed.
//
// A few seconds of it are in every test run. PEFTCONV_CHAOS is the time that it takes in seconds; PEFTCONV_CHAOS_SEED
// repeats a run.
package chaos
