package stacks

import (
	"context"
	"path/filepath"
	"sync"

	"github.com/loadbearing/loadbearing/constructs/function"
)

// programs are the functions under lambdas, built side by side while stacks are
// made.
type programs struct {
	settings Settings
	binaries map[string]func() *function.Binary
}

// startBuilds begins to build the functions in the given folders under lambdas.
func startBuilds(settings Settings, folders ...string) *programs {
	p := &programs{settings: settings, binaries: map[string]func() *function.Binary{}}
	for _, folder := range folders {
		props := p.source(function.Props{}, folder)
		built := sync.OnceValue(func() *function.Binary {
			binary, err := function.Build(context.Background(), props)
			if err != nil {
				// The construct builds it again, fails and says where it stands.
				return nil
			}
			return &binary
		})
		p.binaries[folder] = built
		go built()
	}
	return p
}

func (p *programs) source(props function.Props, folder string) function.Props {
	props.Source = p.settings.Path(filepath.Join("lambdas", folder))
	props.BuildFolder = p.settings.Path(p.settings.BuildFolder)
	props.Architecture = function.Architecture(p.settings.Architecture)
	return props
}

// configure completes props with the source of a function and its binary, once
// that is built.
func (p *programs) configure(props function.Props, folder string) function.Props {
	props = p.source(props, folder)
	props.Binary = p.binaries[folder]()
	return props
}
