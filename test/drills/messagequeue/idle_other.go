//go:build !linux

package messagequeue

import (
	"fmt"
	"syscall"
)

const lowestPriority = 19 // of setpriority(2)

// idle gives a process, which has a process group of its own, the least of the
// processor that the system has to give.
func idle(pid int) error {
	if err := syscall.Setpriority(syscall.PRIO_PGRP, pid, lowestPriority); err != nil {
		return fmt.Errorf("lower the priority of process %d: %w", pid, err)
	}
	return nil
}
