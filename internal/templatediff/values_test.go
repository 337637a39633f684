package templatediff

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDifferences(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ old, changed, want string }{
		"the same":                   {`{"A": [1, {"B": true}]}`, `{"A": [1, {"B": true}]}`, ``},
		"a number written as text":   {`{"A": 5}`, `{"A": "5"}`, ``},
		"added and removed members":  {`{"A": 1}`, `{"B": 2}`, "A: 1 → (none)\nB: (none) → 2"},
		"a member deep down":         {`{"A": {"B": [{"C": 1}]}}`, `{"A": {"B": [{"C": 2}]}}`, "A.B[0].C: 1 → 2"},
		"elements with a key":        {`{"Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]}`, `{"Tags": [{"Key": "b", "Value": "3"}]}`, "Tags[a]: {Key: a, Value: 1} → (none)\nTags[b].Value: 2 → 3"},
		"the order alone":            {`{"R": [{"Priority": 1}, {"Priority": 2}]}`, `{"R": [{"Priority": 2}, {"Priority": 1}]}`, "R (order): [1, 2] → [2, 1]"},
		"lists of unlike lengths":    {`{"L": ["a", "b"]}`, `{"L": ["b", "c", "d"]}`, "L[]: a → c\nL[]: (none) → d"},
		"a reference for a value":    {`{"A": "x"}`, `{"A": {"Ref": "B"}}`, "A: x → ${B}"},
		"two references":             {`{"A": {"Fn::GetAtt": ["B", "Arn"]}}`, `{"A": {"Fn::ImportValue": "s:B"}}`, "A: ${B.Arn} → ${import s:B}"},
		"a document in text":         {`{"A": "{\"x\": 1}"}`, `{"A": "{\"x\": 2}"}`, "A.x: 1 → 2"},
		"a document joined":          {`{"A": {"Fn::Join": ["", ["{\"x\": \"", {"Ref": "B"}, "\"}"]]}}`, `{"A": "{\"x\": \"y\"}"}`, "A.x: ${B} → y"},
		"a document of references":   {`{"A": {"Fn::Join": ["", ["{\"x\": \"", {"Fn::Split": ["\"", "a"]}, "\"}"]]}}`, `{"A": "{\"x\": \"y\"}"}`, `A.x: {"Fn::Split":["\"","a"]} → y`},
		"another stack's output":     {`{"A": {"Fn::GetStackOutput": {"StackName": "s", "OutputName": "o"}}}`, `{"A": "b"}`, "A: ${output s:o} → b"},
		"text that looks like JSON":  {`{"A": "{x"}`, `{"A": "{y"}`, "A: {x → {y"},
		"an intrinsic without words": {`{"A": {"Fn::Split": [",", "a"]}}`, `{}`, `A: {"Fn::Split":[",","a"]} → (none)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var old, changed any
			require.NoError(t, decode([]byte(test.old), &old))
			require.NoError(t, decode([]byte(test.changed), &changed))
			var lines []string
			for _, d := range differences("", old, changed) {
				lines = append(lines, d.Path+": "+render(d.Old)+" → "+render(d.New))
			}
			assert.Equal(t, test.want, strings.Join(lines, "\n"))
		})
	}
}

func TestAssetHashes(t *testing.T) {
	t.Parallel()
	a, b := strings.Repeat("a", 64), strings.Repeat("b", 64)
	assert.True(t, Difference{Old: a + ".zip", New: b + ".zip"}.isAsset())
	assert.False(t, Difference{Old: a + ".zip", New: b + ".json"}.isAsset())
	assert.False(t, Difference{Old: "v1", New: "v2"}.isAsset())
	assert.False(t, Difference{New: b}.isAsset())
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	database := Resource{Type: "AWS::RDS::DBInstance", Properties: map[string]any{}}
	h := holdings[database.Type]
	assert.Equal(t, snapshot, h.fate(onRemoval(database)), "RDS keeps a snapshot unless told otherwise")
	assert.Equal(t, lost, h.fate(onReplacement(database, database)), "but not when it replaces")
	member := Resource{Type: database.Type, Properties: map[string]any{"DBClusterIdentifier": "c"}}
	assert.Equal(t, lost, h.fate(onRemoval(member)))

	queue := Resource{Type: "AWS::SQS::Queue", DeletionPolicy: "Snapshot"}
	assert.Equal(t, lost, holdings[queue.Type].fate(onRemoval(queue)), "a queue has no snapshot")
	retained := Resource{Type: queue.Type, UpdateReplacePolicy: "Retain"}
	assert.Equal(t, kept, holdings[queue.Type].fate(onReplacement(retained, retained)))
	assert.Equal(t, lost, holdings[queue.Type].fate(onReplacement(retained, queue)), "the worse of the two counts")
}
