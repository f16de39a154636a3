package attach

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/peft/method"
)

// makers make adapters by the name of the method that options are of.
var makers = map[string]maker{}

// maker checks options of one method and makes an adapter by them.
type maker struct {
	check func(opt method.Options) error
	make  func(b *Base, opt method.Options) (*Adapter, error)
}

// RegisterOptions says how options of a method become an adapter. check, which may be nil, reports values that make no
// sense whatever the base is. It panics where there is a method of that name.
func RegisterOptions[O method.Options](check func(opt *O) error, make func(b *Base, opt O) (*Adapter, error)) {
	var zero O
	name := zero.Method()
	if makers[name].make != nil {
		panic("attach: two methods of the name " + name)
	}
	makers[name] = maker{
		check: func(opt method.Options) error {
			o, err := optionsOf[O](opt)
			if err != nil || check == nil {
				return err
			}
			return check(&o)
		},
		make: func(b *Base, opt method.Options) (*Adapter, error) {
			o, err := optionsOf[O](opt)
			if err != nil {
				return nil, err
			}
			return make(b, o)
		},
	}
}

// optionsOf are options as the struct of their method, given as it or by a pointer.
func optionsOf[O method.Options](opt method.Options) (o O, err error) {
	switch v := any(opt).(type) {
	case O:
		return v, nil
	case *O:
		return *v, nil
	}
	return o, fmt.Errorf("options of method %s are %T, expected %T", opt.Method(), opt, o)
}

// makerOf finds the maker for options.
func makerOf(opt method.Options) (maker, error) {
	if opt == nil {
		return maker{}, fmt.Errorf("new adapter: no options of a method are given")
	}
	m, ok := makers[opt.Method()]
	if !ok {
		known := slices.Sorted(maps.Keys(makers))
		return m, fmt.Errorf("new adapter: method %q is not known, expected %s", opt.Method(),
			strings.Join(known, ", "))
	}
	return m, nil
}

// New makes an adapter by the options of a method.
func New(b *Base, opt method.Options) (*Adapter, error) {
	m, err := makerOf(opt)
	if err != nil {
		return nil, err
	}
	return m.make(b, opt)
}

// CheckOptions reports options that make no sense, whatever the base is.
func CheckOptions(opt method.Options) error {
	m, err := makerOf(opt)
	if err != nil {
		return err
	}
	return m.check(opt)
}
