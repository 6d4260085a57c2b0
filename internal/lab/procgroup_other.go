//go:build unix && !linux

package lab

import "syscall"

// ownGroup puts a program into a process group of its own, so that a signal
// reaches all that it forks.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
