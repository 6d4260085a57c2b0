package lab

import "syscall"

// ownGroup puts a program into a process group of its own, so that a signal
// reaches all that it forks, and ends it when the test dies before it.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
