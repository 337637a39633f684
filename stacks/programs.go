package stacks

import (
	"context"
	"path/filepath"
	"slices"
	"sync"

	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/release"
)

// Folders of the functions under lambdas. A consumer of events gives its
// subscription and queue the same name.
const (
	folderMigrate      = "migrate"
	folderProbe        = "probe"
	folderIndex        = "index"
	folderMeter        = "meter"
	folderNotify       = "notify"
	folderRotateOrigin = "rotate-origin"
)

// programs are the functions under lambdas, built with one call of the compiler
// while the first stacks are made.
type programs struct {
	settings Settings
	folders  []string
	binaries func() ([]function.Binary, error)
}

// startBuilds begins to build.
func startBuilds(settings Settings) *programs {
	p := &programs{settings: settings, folders: append(
		[]string{folderMigrate, folderProbe, folderIndex, folderMeter, folderNotify, folderRotateOrigin}, release.Programs()...)}
	sources := make([]function.Props, len(p.folders))
	for i, folder := range p.folders {
		sources[i] = p.source(function.Props{}, folder)
	}
	p.binaries = sync.OnceValues(func() ([]function.Binary, error) {
		return function.BuildAll(context.Background(), sources...)
	})
	go func() { _, _ = p.binaries() }()
	return p
}

func (p *programs) source(props function.Props, folder string) function.Props {
	props.Source = p.settings.Path(filepath.Join("lambdas", folder))
	props.BuildFolder = p.settings.Path(p.settings.BuildFolder)
	props.Architecture = function.Architecture(p.settings.Architecture)
	return props
}

// configure completes props with the source of a function and its binary, once
// that is built. Without one, because a program does not compile, the construct
// builds it again, fails and says where it stands.
func (p *programs) configure(props function.Props, folder string) function.Props {
	props = p.source(props, folder)
	if binaries, err := p.binaries(); err == nil {
		props.Binary = &binaries[slices.Index(p.folders, folder)]
	}
	return props
}
