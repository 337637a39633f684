// Package schematest checks events against their schemas in tests.
package schematest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/loadbearing/loadbearing/app/schema"
)

// Valid fails the test if an event is not as the schema of its type says.
func Valid(t testing.TB, event []byte) {
	t.Helper()
	if err := Check(event); err != nil {
		t.Errorf("%v\nin %s", err, event)
	}
}

// Check returns what is wrong with an event by the schema of its type.
func Check(event []byte) error {
	var envelope struct{ Type string }
	if err := json.Unmarshal(event, &envelope); err != nil {
		return fmt.Errorf("decode the event: %w", err)
	}
	data, err := schema.Of(envelope.Type)
	if err != nil {
		return err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("decode the schema of %s: %w", envelope.Type, err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	name := envelope.Type + ".json"
	if err := c.AddResource(name, document); err != nil {
		return fmt.Errorf("add the schema of %s: %w", envelope.Type, err)
	}
	compiled, err := c.Compile(name)
	if err != nil {
		return fmt.Errorf("compile the schema of %s: %w", envelope.Type, err)
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(event))
	if err != nil {
		return fmt.Errorf("decode the event: %w", err)
	}
	if err := compiled.Validate(instance); err != nil {
		return fmt.Errorf("event %s is not as its schema says: %w", envelope.Type, err)
	}
	return nil
}
