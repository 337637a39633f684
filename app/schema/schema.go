// Package schema holds the JSON Schemas (draft 2020-12) of the events this
// service emits, one file for each type and major version. A schema only ever
// gains optional members; anything else is a new version of the type.
package schema

import (
	"embed"
	"encoding/json"
	"fmt"
)

//go:embed *.json
var files embed.FS

// Of returns the schema of an event type, such as
// com.loadbearing.video.ready.v1. The error says that there is none.
func Of(eventType string) ([]byte, error) {
	data, err := files.ReadFile(eventType + ".json")
	if err != nil {
		return nil, fmt.Errorf("schema of event type %q: %w", eventType, err)
	}
	return data, nil
}

// Examples returns the events that the schema of a type gives as examples: the
// first with every member, the second as versions before this one emitted it.
func Examples(eventType string) ([]json.RawMessage, error) {
	data, err := Of(eventType)
	if err != nil {
		return nil, err
	}
	var document struct{ Examples []json.RawMessage }
	if err := json.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("schema of event type %q: %w", eventType, err)
	}
	return document.Examples, nil
}
