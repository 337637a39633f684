package release_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/release"
)

// machine is what the state machine uses of the Amazon States Language; another
// word in it is a mistake.
type machine struct {
	Comment        string
	StartAt        string
	TimeoutSeconds int
	States         map[string]state
}

type state struct {
	Type, Comment, Next, Default, Resource, SecondsPath, InputPath string
	ResultPath                                                     json.RawMessage
	Parameters                                                     map[string]string
	Choices                                                        []struct{ Variable, StringEquals, Next string }
	Retry                                                          []struct {
		ErrorEquals                  []string
		IntervalSeconds, BackoffRate int
		MaxAttempts                  int
	}
	Catch []struct {
		ErrorEquals      []string
		ResultPath, Next string
	}
}

// next are the states that may follow.
func (s state) next() []string {
	var names []string
	for _, name := range []string{s.Next, s.Default} {
		if name != "" {
			names = append(names, name)
		}
	}
	for _, choice := range s.Choices {
		names = append(names, choice.Next)
	}
	for _, caught := range s.Catch {
		names = append(names, caught.Next)
	}
	return names
}

func definition(t *testing.T) (machine, []byte) {
	t.Helper()
	text, err := os.ReadFile("machine.asl.json")
	require.NoError(t, err)
	var m machine
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&m))
	return m, text
}

func TestEveryStateIsReachedAndExists(t *testing.T) {
	t.Parallel()
	m, text := definition(t)
	reached := map[string]bool{}
	for todo := []string{m.StartAt}; len(todo) > 0; todo = todo[1:] {
		if reached[todo[0]] {
			continue
		}
		reached[todo[0]] = true
		require.Contains(t, m.States, todo[0])
		todo = append(todo, m.States[todo[0]].next()...)
	}
	require.Equal(t, slices.Sorted(maps.Keys(m.States)), slices.Sorted(maps.Keys(reached)))

	var placeholders []string
	for _, found := range regexp.MustCompile(`\$\{(\w+)\}`).FindAllSubmatch(text, -1) {
		if name := string(found[1]); !slices.Contains(placeholders, name) {
			placeholders = append(placeholders, name)
		}
	}
	require.ElementsMatch(t, []string{"Control", "Shift", "Analyze", "Migrate"}, placeholders, "what New substitutes, in TestDefaults")
}

// What fails is tried again, and then given up for good. The states without a
// Catch end the execution: Begin has changed nothing, and the others are what a
// failure leads to, so that only another execution can help.
func TestEveryTaskIsRetriedAndCaught(t *testing.T) {
	t.Parallel()
	m, _ := definition(t)
	var uncaught []string
	for name, s := range m.States {
		if s.Type != "Task" {
			continue
		}
		require.NotEmpty(t, s.Retry, name)
		last := s.Retry[len(s.Retry)-1]
		require.Equal(t, []string{"States.ALL"}, last.ErrorEquals, name)
		require.Positive(t, last.MaxAttempts, name)
		require.Positive(t, last.IntervalSeconds, name)
		require.Greater(t, last.BackoffRate, 1, name)
		if len(s.Catch) == 0 {
			uncaught = append(uncaught, name)
			continue
		}
		require.Len(t, s.Catch, 1, name)
		require.Equal(t, []string{"States.ALL"}, s.Catch[0].ErrorEquals, name)
		require.Equal(t, "$.error", s.Catch[0].ResultPath, name)
		// It rolls back or goes on, and says what happened.
		require.Equal(t, "$.error.Cause", m.States[s.Catch[0].Next].Parameters["cause.$"], name)
	}
	require.ElementsMatch(t, []string{"Begin", "Give up", "Withdraw", "Not contracted"}, uncaught)
	require.Equal(t, "Not contracted", m.States["Contract"].Catch[0].Next, "a release that serves is not rolled back for it")
	// What an operator has to change is not tried again.
	for name, refused := range map[string]string{"Begin": "Refusal", "Expand": "RefusedError", "Contract": "RefusedError"} {
		require.Equal(t, []string{refused}, m.States[name].Retry[0].ErrorEquals, name)
		require.Zero(t, m.States[name].Retry[0].MaxAttempts, name)
	}
}

// Which function does which task, as their programs have it.
func TestTasksAreThoseOfTheController(t *testing.T) {
	t.Parallel()
	m, _ := definition(t)
	by := map[release.TaskName]string{}
	for name, s := range m.States {
		if task := s.Parameters["task"]; task != "" {
			by[release.TaskName(task)] = s.Resource
			require.Equal(t, "$$.Execution.Id", s.Parameters["execution.$"], name)
		}
	}
	require.Equal(t, map[release.TaskName]string{
		release.TaskBegin: "${Control}", release.TaskPrepare: "${Control}", release.TaskFinish: "${Control}", release.TaskRollback: "${Control}",
		release.TaskShift: "${Shift}", release.TaskAnalyze: "${Analyze}",
	}, by)

	chosen := map[release.TaskName]string{}
	for _, choice := range m.States["Which"].Choices {
		require.Equal(t, "$.next", choice.Variable)
		chosen[release.TaskName(choice.StringEquals)] = choice.Next
		if task := m.States[choice.Next].Parameters["task"]; task != "" {
			require.Equal(t, choice.StringEquals, task)
		}
	}
	require.Equal(t, map[release.TaskName]string{
		release.TaskExpand: "Expand", release.TaskPrepare: "Prepare", release.TaskShift: "Shift", release.TaskAnalyze: "Analyze",
		release.TaskFinish: "Finish", release.TaskContract: "Contract", release.TaskRollback: "Withdraw",
	}, chosen)
	require.Equal(t, "Succeed", m.States[m.States["Which"].Default].Type, release.TaskEnd)
	for _, name := range []string{"Expand", "Contract"} {
		require.Equal(t, "${Migrate}", m.States[name].Resource)
		require.Equal(t, "$.migrate", m.States[name].InputPath)
		require.JSONEq(t, "null", string(m.States[name].ResultPath), "the task after it needs the number of the release")
	}
}

// An execution is not ended before the longest release is.
func TestExecutionOutlastsTheLongestRelease(t *testing.T) {
	t.Parallel()
	m, _ := definition(t)
	longest := release.Plan{
		Strategy: release.Canary, Timeout: release.Duration(24 * time.Hour), Window: release.Duration(24 * time.Hour),
	}.WithDefaults()
	longest.Artifact = contract.Artifact{Bucket: "b", Key: "k", SHA256: string(bytes.Repeat([]byte("0"), 64))}
	require.NoError(t, longest.Validate())
	longer := longest
	longer.Timeout++
	require.ErrorContains(t, longer.Validate(), "timeout")
	longer = longest
	longer.Window++
	require.ErrorContains(t, longer.Validate(), "window")
	require.Greater(t, time.Duration(m.TimeoutSeconds)*time.Second, time.Duration(longest.Timeout+longest.Window))
}
