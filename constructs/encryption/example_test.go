package encryption_test

import (
	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/encryption"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func Example() {
	app := cdktest.App()
	base := cdkapp.Stack(app, "base", cdkapp.StackProps{})
	key := encryption.New(base, "Encryption", encryption.Props{Alias: "shop/prod"})

	// Any later stack encrypts with it.
	jobs := cdkapp.Stack(app, "jobs", cdkapp.StackProps{})
	queue.New(jobs, "Jobs", queue.Props{Key: key.Key})

	cdktest.Print(base, "AWS::KMS::Key", "AWS::KMS::Alias")
	// Output:
	// 1 AWS::KMS::Key
	// 1 AWS::KMS::Alias
}
