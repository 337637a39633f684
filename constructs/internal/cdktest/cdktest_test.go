package cdktest

import (
	"reflect"
	"testing"
)

type sample struct {
	Name  string
	List  []string
	Map   map[string]int
	Inner *struct{ N int }
	Func  func()
	Any   any
}

func TestRenderShowsEveryWrite(t *testing.T) {
	t.Parallel()
	fresh := func() sample {
		return sample{
			List:  append(make([]string, 0, 4), "a"),
			Map:   map[string]int{"k": 1},
			Inner: &struct{ N int }{1},
			Func:  func() {},
			Any:   &struct{ N int }{1},
		}
	}
	for name, write := range map[string]func(*sample){
		"field":                     func(s *sample) { s.Name = "x" },
		"element":                   func(s *sample) { s.List[0] = "x" },
		"element beyond the length": func(s *sample) { _ = append(s.List, "x") },
		"map entry":                 func(s *sample) { s.Map["new"] = 2 },
		"pointed-to struct":         func(s *sample) { s.Inner.N = 2 },
		"other object":              func(s *sample) { s.Any = &struct{ N int }{1} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			props := fresh()
			before := render(reflect.ValueOf(props))
			if again := render(reflect.ValueOf(props)); again != before {
				t.Fatalf("renders differently without a write:\n%s\n%s", before, again)
			}
			write(&props)
			if after := render(reflect.ValueOf(props)); after == before {
				t.Errorf("the write does not show in %s", after)
			}
		})
	}
}
