//go:build unix && !linux

package lab

import "syscall"

// OwnGroup puts a program into a process group of its own, so that a signal
// reaches all that it forks.
func OwnGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
