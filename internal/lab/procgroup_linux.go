package lab

import "syscall"

// OwnGroup puts a program into a process group of its own, so that a signal
// reaches all that it forks, and kills it when the test dies before it.
func OwnGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
