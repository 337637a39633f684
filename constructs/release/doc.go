// Package release makes the controller that releases versions of a fleet: rolling, blue-green or as a canary.
package release
