package train

import "cmp"

// plain are options with defaults for comparisons with other computations: a constant rate, no clipping, and float32.
func plain(opt Options) Options {
	opt.Schedule = cmp.Or(opt.Schedule, ScheduleConstant)
	opt.Precision = cmp.Or(opt.Precision, PrecisionF32)
	opt.Clip = cmp.Or(opt.Clip, -1)
	return opt
}
